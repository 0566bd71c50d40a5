//! Work that waits although nothing on this host would ever run it.

use serde::{Deserialize, Serialize};

use super::{ControlPlane, lock};
use crate::measure;

/// Queued items that name what no faculty of the host is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unroutable {
    /// How many of them could begin now.
    pub items: u64,
}

impl ControlPlane {
    /// Counts such work, and says so in the log when there is more of it than before.
    pub(super) async fn note_unroutable(&self) {
        let (counts, plugins) = match (self.tenant.work_counts().await, self.outfit.plugins().await) {
            (Ok(counts), Ok(plugins)) => (counts, plugins),
            // The claiming tells of it.
            _ => return,
        };
        let served = self.routes(&*plugins).await;
        if !self.settings.only.is_empty() {
            // What it was told to leave alone is for others.
            lock(&self.unroutable).clear();
            return;
        }
        let found: std::collections::BTreeMap<_, _> = counts
            .ready
            .into_iter()
            .filter(|(faculty, _)| !served.contains_key(faculty))
            .map(|(faculty, items)| (faculty, Unroutable { items }))
            .collect();
        let before = std::mem::replace(&mut *lock(&self.unroutable), found.clone());
        for (faculty, now) in found {
            let then = before.get(&faculty).map_or(0, |then| then.items);
            if now.items > then {
                measure::unroutable(self.tenant.id(), &faculty, now.items - then);
                tracing::warn!(
                    faculty,
                    items = now.items,
                    "work waits that no faculty here runs; see why: animus work show",
                );
            }
        }
    }
}
