//! A focus's place among those that a host runs at once. A focus that waits for its children lends it to others, so that a
//! parent never keeps its own children from running.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places that one focus holds: one of each of the given kinds (of the host, of its faculty).
#[derive(Debug)]
pub struct Slot {
    kinds: Vec<Arc<Semaphore>>,
    state: Mutex<State>,
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
        Self { kinds, state: Mutex::new(State { held, lent: 0 }) }
    }

    /// The same for permits that were taken already, one of each kind.
    #[must_use]
    pub fn of(kinds: Vec<Arc<Semaphore>>, held: Vec<OwnedSemaphorePermit>) -> Self {
        Self { kinds, state: Mutex::new(State { held, lent: 0 }) }
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
            let held = acquire(&self.kinds).await;
            let mut state = self.lock();
            // Another wait may have begun meanwhile.
            if state.lent == 0 {
                state.held = held;
            }
        }
        done
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
}
