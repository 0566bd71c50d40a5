//! Repeated calls: the same call with the same answer is answered from cache, then warned about, then stopped.
//!
//! Only a call that gives the *same answer* counts: polling something that changes is work. Any new call or new answer
//! is progress and starts the counts over.

use std::collections::VecDeque;

use animus_core::llm::{ToolInput, ToolResult, ToolUse};
use serde_json::Value;

/// From this repetition on, a call that reads only is answered from cache.
const CACHED: u32 = 3;
/// From this one on, the answer carries a warning.
const WARNED: u32 = 4;
/// This one is not run, and the loop ends.
const STOPPED: u32 = 6;
/// How many different calls are remembered.
const REMEMBERED: usize = 64;

/// What to do with a call.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// Run it.
    Run,
    /// Its answer is known.
    Cached(ToolResult),
    /// Enough.
    Stop,
}

#[derive(Debug)]
struct Seen {
    name: String,
    input: Value,
    answer: ToolResult,
    /// How often in a row of no progress this call gave this answer.
    count: u32,
    /// The world's version in which it was last given.
    world: u64,
}

/// The calls of one engage loop.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    seen: VecDeque<Seen>,
    /// Grows with every call that may have changed something: answers from before are not given from cache.
    world: u64,
}

/// Malformed arguments are all alike: what they hold differs by where they were cut off.
fn input_of(tool_use: &ToolUse) -> Value {
    match &tool_use.input {
        ToolInput::Malformed { .. } => Value::Null,
        ToolInput::Object(object) => Value::Object(object.clone()),
    }
}

fn same(a: &ToolResult, b: &ToolResult) -> bool {
    a.text == b.text && a.is_error == b.is_error && a.images == b.images
}

impl Repeats {
    /// What to do with a call; `cacheable` if its answer may be given again while the focus changes nothing.
    pub(super) fn verdict(&self, tool_use: &ToolUse, cacheable: bool) -> Verdict {
        let input = input_of(tool_use);
        let Some(seen) = self.seen.iter().find(|seen| seen.name == tool_use.name && seen.input == input) else {
            return Verdict::Run;
        };
        match seen.count + 1 {
            STOPPED.. => Verdict::Stop,
            CACHED.. if cacheable && seen.world == self.world => {
                Verdict::Cached(ToolResult { id: tool_use.id.clone(), ..seen.answer.clone() })
            }
            _ => Verdict::Run,
        }
    }

    /// Takes note of an answer, run or cached, and returns the warning that it should carry.
    pub(super) fn note(&mut self, tool_use: &ToolUse, answer: &ToolResult) -> Option<String> {
        let input = input_of(tool_use);
        let at = self.seen.iter().position(|seen| seen.name == tool_use.name && seen.input == input);
        let known = at.and_then(|at| self.seen.remove(at)).filter(|seen| same(&seen.answer, answer));
        if known.is_none() {
            for seen in &mut self.seen {
                seen.count = 1;
            }
        }
        let count = known.map_or(1, |seen| seen.count + 1);
        let name = tool_use.name.clone();
        self.seen.push_back(Seen { name, input, answer: answer.clone(), count, world: self.world });
        if self.seen.len() > REMEMBERED {
            self.seen.pop_front();
        }
        (count >= WARNED).then(|| {
            format!(
                "this exact call has now given this exact answer {count} times; it will not change by itself, \
                 and the run ends if you go on repeating it: do something else, or finish with what you have"
            )
        })
    }

    /// Something may have changed.
    pub(super) fn world_changed(&mut self) {
        self.world += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &str, arg: u64) -> ToolUse {
        let input = serde_json::from_value(serde_json::json!({ "arg": arg })).unwrap();
        ToolUse { id: "x".into(), name: name.into(), input: ToolInput::Object(input) }
    }

    fn answer(text: &str) -> ToolResult {
        ToolResult { id: "x".into(), text: text.into(), images: Vec::new(), is_error: false }
    }

    #[test]
    fn the_ladder_is_run_cached_warned_stopped() {
        let mut repeats = Repeats::default();
        for repetition in 1..STOPPED {
            match repeats.verdict(&call("fs.read", 1), true) {
                Verdict::Run => assert!(repetition < CACHED),
                Verdict::Cached(given) => assert!(repetition >= CACHED && given == answer("same")),
                Verdict::Stop => panic!("stopped at {repetition}"),
            }
            assert_eq!(repeats.note(&call("fs.read", 1), &answer("same")).is_some(), repetition >= WARNED);
        }
        assert_eq!(repeats.verdict(&call("fs.read", 1), true), Verdict::Stop);
        assert_eq!(repeats.verdict(&call("fs.read", 2), true), Verdict::Run);
    }

    #[test]
    fn a_different_answer_or_another_new_call_starts_over() {
        let mut repeats = Repeats::default();
        for n in 0..20 {
            assert_eq!(repeats.verdict(&call("ci.status", 1), false), Verdict::Run);
            assert_eq!(repeats.note(&call("ci.status", 1), &answer(&n.to_string())), None);
        }
        for n in 0..20 {
            assert_eq!(repeats.note(&call("fs.list", 1), &answer("same")), None, "{n}");
            assert_eq!(repeats.note(&call("fs.read", n), &answer("new")), None);
        }
    }

    #[test]
    fn nothing_is_answered_from_cache_after_a_change_but_the_repetition_still_counts() {
        let mut repeats = Repeats::default();
        for _ in 1..STOPPED {
            assert_eq!(repeats.verdict(&call("fs.read", 1), true), Verdict::Run);
            repeats.note(&call("fs.read", 1), &answer("same"));
            repeats.note(&call("fs.write", 1), &answer("done"));
            repeats.world_changed();
        }
        assert_eq!(repeats.verdict(&call("fs.read", 1), true), Verdict::Stop);
    }

    #[test]
    fn cut_off_arguments_are_one_call_however_they_were_cut() {
        let mut repeats = Repeats::default();
        let cut = |n: usize| ToolUse {
            input: ToolInput::Malformed { malformed_json: "{\"text\": \"abc".repeat(n) },
            ..call("fs.write", 1)
        };
        for n in 1..STOPPED {
            repeats.note(&cut(n as usize), &answer("cut off"));
        }
        assert_eq!(repeats.verdict(&cut(99), false), Verdict::Stop);
    }
}
