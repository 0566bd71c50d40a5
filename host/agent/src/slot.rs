//! A focus's place among those that a host runs at once. A focus that waits for its children lends it to others, so that a
//! parent never keeps its own children from running.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places that one focus holds: one of each of the given kinds (of the host, of its faculty).
#[derive(Debug)]
pub struct Slot {
    kinds: Vec<Arc<Semaphore>>,
    state: Mutex<State>,
    /// Held while places are taken again: two waits that end one soon after the other would take two, and with one place
    /// in all the second would wait for what the first has.
    retaking: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    held: Vec<OwnedSemaphorePermit>,
    /// How many waits of this focus lend it at present.
    lent: usize,
}

impl Slot {
    /// Takes a place of each kind, in their order, when there is one; waits until then. Hosts give the kinds in one order
    /// everywhere, so that no two foci wait for each other.
    pub async fn take(kinds: Vec<Arc<Semaphore>>) -> Self {
        let held = acquire(&kinds).await;
        Self::of(kinds, held)
    }

    /// The same for permits that were taken already, one of each kind.
    #[must_use]
    pub fn of(kinds: Vec<Arc<Semaphore>>, held: Vec<OwnedSemaphorePermit>) -> Self {
        Self { kinds, state: Mutex::new(State { held, lent: 0 }), retaking: tokio::sync::Mutex::default() }
    }

    /// Gives the places back while `wait` goes on, and takes them again when it ends. Of several waits at once, the first
    /// gives and the last takes. A wait that is dropped leaves the focus without its places: it ends then.
    pub async fn lend<T>(&self, wait: impl Future<Output = T>) -> T {
        {
            let mut state = self.lock();
            state.lent += 1;
            if state.lent == 1 {
                state.held.clear();
            }
        }
        let done = wait.await;
        let is_last = {
            let mut state = self.lock();
            state.lent -= 1;
            state.lent == 0
        };
        if is_last {
            self.retake().await;
        }
        done
    }

    async fn retake(&self) {
        let _one_at_a_time = self.retaking.lock().await;
        let is_needed = || {
            let state = self.lock();
            // Another wait may have begun meanwhile, or one that has ended since has taken them.
            state.lent == 0 && state.held.is_empty()
        };
        if is_needed() {
            let held = acquire(&self.kinds).await;
            let mut state = self.lock();
            if state.lent == 0 {
                state.held = held;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn acquire(kinds: &[Arc<Semaphore>]) -> Vec<OwnedSemaphorePermit> {
    let mut held = Vec::with_capacity(kinds.len());
    for kind in kinds {
        // Nobody closes them.
        if let Ok(permit) = kind.clone().acquire_owned().await {
            held.push(permit);
        }
    }
    held
}

#[cfg(test)]
mod tests {
    use futures::poll;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn while_a_focus_waits_another_has_its_place() {
        let places = Arc::new(Semaphore::new(1));
        let slot = Slot::take(vec![places.clone()]).await;
        assert_eq!(places.available_permits(), 0);
        slot.lend(async {
            assert_eq!(places.available_permits(), 1);
            slot.lend(async { assert_eq!(places.available_permits(), 1) }).await;
            assert_eq!(places.available_permits(), 1, "the other wait still goes on");
        })
        .await;
        assert_eq!(places.available_permits(), 0);
        drop(slot);
        assert_eq!(places.available_permits(), 1);
    }

    #[tokio::test]
    async fn waits_of_one_focus_that_end_in_turn_take_its_place_once() {
        let places = Arc::new(Semaphore::new(1));
        let slot = Slot::take(vec![places.clone()]).await;
        let ((end_first, first), (end_second, second)) = (oneshot::channel::<()>(), oneshot::channel::<()>());
        let mut first = std::pin::pin!(slot.lend(first));
        assert!(poll!(&mut first).is_pending());
        let foreign = places.clone().try_acquire_owned().unwrap();
        end_first.send(()).unwrap();
        assert!(poll!(&mut first).is_pending(), "another focus has the place");
        let mut second = std::pin::pin!(slot.lend(second));
        assert!(poll!(&mut second).is_pending());
        end_second.send(()).unwrap();
        assert!(poll!(&mut second).is_pending());
        drop(foreign);
        assert!(poll!(&mut first).is_ready());
        assert!(poll!(&mut second).is_ready(), "it waits for a place that its own focus has");
        assert_eq!(places.available_permits(), 0);
    }
}
