//! What the store has of an item that another process runs: asked once for all who follow it, however many they are and
//! however often other work changes.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use animus_core::{
    Result,
    id::{FocusId, WorkId},
    work::State,
};
use tokio::sync::watch;

use super::{Hub, PACE, lock};

/// The store is asked after so long where nothing says that it has changed.
const LATEST: Duration = Duration::from_secs(5);

/// What a follower asks for again where it has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The number of the last event.
    last: u64,
    state: Option<State>,
    focus: Option<FocusId>,
    /// How often the store did not answer: those who follow ask for themselves, and hear why.
    failures: u64,
}

impl Hub {
    /// What moves with an item. One poll serves all who follow it, and ends when nobody does.
    pub(super) fn seen(self: &Arc<Self>, work: WorkId) -> watch::Receiver<Seen> {
        let mut polls = lock(&self.polls);
        if let Some(there) = polls.get(&work) {
            return there.subscribe();
        }
        let (sender, receiver) = watch::channel(Seen::default());
        polls.insert(work, sender.clone());
        tokio::spawn(poll(Arc::downgrade(self), self.pulse(), work, sender));
        receiver
    }

    async fn ask(&self, work: WorkId) -> Result<Seen> {
        let last = self.tenant.events_last(work).await?;
        let work = self.tenant.work(work).await?;
        Ok(Seen { last, state: Some(work.state), focus: work.focus, failures: 0 })
    }

    /// Ends a poll that serves nobody.
    fn forget(&self, work: WorkId, seen: &watch::Sender<Seen>) -> bool {
        let mut polls = lock(&self.polls);
        let is_over = seen.receiver_count() == 0;
        if is_over {
            polls.remove(&work);
        }
        is_over
    }
}

async fn poll(hub: Weak<Hub>, mut pulse: watch::Receiver<u64>, work: WorkId, seen: watch::Sender<Seen>) {
    loop {
        // Before the store is asked, so that no change in between is missed.
        pulse.mark_unchanged();
        let Some(hub) = hub.upgrade().filter(|hub| !hub.forget(work, &seen)) else { return };
        let now = hub.ask(work).await;
        drop(hub);
        seen.send_if_modified(|seen| {
            let failures = seen.failures;
            let now = now.map_or_else(|_| Seen { failures: failures + 1, ..*seen }, |now| Seen { failures, ..now });
            std::mem::replace(seen, now) != now
        });
        tokio::time::sleep(PACE).await;
        let _ = tokio::time::timeout(LATEST, pulse.changed()).await;
    }
}
