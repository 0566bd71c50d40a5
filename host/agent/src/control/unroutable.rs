//! Work that waits although nothing on this host would ever run it.

use animus_core::work::by_name;
use serde::{Deserialize, Serialize};

use super::{ControlPlane, lock};
use crate::measure;

/// So many names have a line of the log at each look: whoever submits makes them up.
const TOLD: usize = 10;

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
        let found = counts.ready.into_iter().filter(|(faculty, _)| !served.contains_key(faculty));
        let found: std::collections::BTreeMap<_, _> =
            by_name(found).into_iter().map(|(faculty, items)| (faculty, Unroutable { items })).collect();
        let before = std::mem::replace(&mut *lock(&self.unroutable), found.clone());
        let mut told = 0;
        for (faculty, now) in found {
            let then = before.get(&faculty).map_or(0, |then| then.items);
            if now.items <= then {
                continue;
            }
            measure::unroutable(self.tenant.id(), &faculty, now.items - then);
            told += 1;
            if told <= TOLD {
                tracing::warn!(
                    faculty,
                    items = now.items,
                    "work waits that no faculty here runs; see why: animus work show",
                );
            }
        }
        if told > TOLD {
            tracing::warn!(names = told - TOLD, "and work under more names that no faculty here has");
        }
    }
}
