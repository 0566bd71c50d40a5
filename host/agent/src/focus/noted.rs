//! What this focus appended to the ledger, as its engage loops go by it. The ledger itself is the store's.

use std::collections::VecDeque;

use animus_core::ledger::Entry;

use super::{Focus, lock};

/// What is kept of it, in bytes; the oldest entries go first.
const KEPT: usize = 256 << 10;

/// The newest entries, and how many there were in all.
#[derive(Default)]
pub(super) struct Noted {
    count: u64,
    bytes: usize,
    newest: VecDeque<Entry>,
}

impl Noted {
    fn add(&mut self, entry: Entry) {
        self.count += 1;
        self.bytes += entry.content.len();
        self.newest.push_back(entry);
        while self.bytes > KEPT && self.newest.len() > 1 {
            self.bytes -= self.newest.pop_front().map_or(0, |entry| entry.content.len());
        }
    }
}

impl Focus {
    /// Takes note of an entry.
    pub(super) fn note(&self, entry: Entry) {
        lock(&self.0.noted).add(entry);
    }

    /// How many entries this focus appended, and those after the first `seen`, by their numbers; the oldest may be missing.
    pub(crate) fn appended(&self, seen: u64) -> (u64, Vec<Entry>) {
        let noted = lock(&self.0.noted);
        let new = usize::try_from(noted.count.saturating_sub(seen)).unwrap_or(usize::MAX);
        let mut entries: Vec<_> = noted.newest.iter().rev().take(new).cloned().collect();
        // Those of one turn are appended at the same time.
        entries.sort_by_key(|entry| entry.seq);
        (noted.count, entries)
    }
}
