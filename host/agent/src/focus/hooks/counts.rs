//! How often each tool was called, for hooks that keep no state of their own.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

/// The seconds of a minute.
const MINUTE: u64 = 60;

/// The calls of each tool in one focus. Names are those of tools that there are, so they are few.
pub(crate) struct Counts {
    begun: Instant,
    tools: BTreeMap<String, Tally>,
}

#[derive(Default)]
struct Tally {
    total: u32,
    /// Calls by the second in which they came, the oldest first: at most a minute of them.
    seconds: VecDeque<(u64, u32)>,
}

/// Calls before one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Earlier {
    /// In this focus.
    pub(super) total: u32,
    /// In the last 60 seconds.
    pub(super) last_minute: u32,
}

impl Default for Counts {
    fn default() -> Self {
        Self { begun: Instant::now(), tools: BTreeMap::new() }
    }
}

impl Counts {
    /// Counts a call, and says how many there were before. Calls that come together each get another number, so that a
    /// limit holds for them too.
    pub(super) fn begin(&mut self, tool: &str) -> Earlier {
        self.begin_at(tool, self.begun.elapsed().as_secs())
    }

    /// Takes back the last count of a tool: the call was stopped.
    pub(super) fn undo(&mut self, tool: &str) {
        let Some(tally) = self.tools.get_mut(tool) else { return };
        tally.total = tally.total.saturating_sub(1);
        if let Some((_, calls)) = tally.seconds.iter_mut().rev().find(|(_, calls)| *calls > 0) {
            *calls -= 1;
        }
    }

    fn begin_at(&mut self, tool: &str, now: u64) -> Earlier {
        if !self.tools.contains_key(tool) {
            self.tools.insert(tool.to_owned(), Tally::default());
        }
        let Some(tally) = self.tools.get_mut(tool) else { return Earlier { total: 0, last_minute: 0 } };
        while tally.seconds.front().is_some_and(|(second, _)| second.saturating_add(MINUTE) <= now) {
            tally.seconds.pop_front();
        }
        let last_minute = tally.seconds.iter().fold(0_u32, |sum, (_, calls)| sum.saturating_add(*calls));
        let earlier = Earlier { total: tally.total, last_minute };
        tally.total = tally.total.saturating_add(1);
        match tally.seconds.back_mut() {
            Some((second, calls)) if *second == now => *calls = calls.saturating_add(1),
            _ => tally.seconds.push_back((now, 1)),
        }
        earlier
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_tool_and_by_the_minute() {
        let mut counts = Counts::default();
        let mut begin = |tool, now| {
            let Earlier { total, last_minute } = counts.begin_at(tool, now);
            (total, last_minute)
        };
        assert_eq!([begin("a.b", 0), begin("a.b", 0), begin("a.c", 1)], [(0, 0), (1, 1), (0, 0)]);
        assert_eq!([begin("a.b", 30), begin("a.b", 59)], [(2, 2), (3, 3)]);
        assert_eq!(begin("a.b", 60), (4, 2), "those of the first second are a minute old");
        assert_eq!(begin("a.b", 1_000), (5, 0));
        assert!(counts.tools["a.b"].seconds.len() <= 60);
    }

    #[test]
    fn a_stopped_call_does_not_count() {
        let mut counts = Counts::default();
        counts.begin_at("a.b", 0);
        counts.begin_at("a.b", 5);
        counts.undo("a.b");
        assert_eq!(counts.begin_at("a.b", 6), Earlier { total: 1, last_minute: 1 });
        counts.undo("a.c");
        assert_eq!(counts.begin_at("a.c", 6), Earlier { total: 0, last_minute: 0 });
    }
}
