//! The smallest faculty: reverses a text, without a model, and tells its steps if it is to have any.

use std::{thread, time::Duration};

use animus_sdk::{
    ledger::{self, EntryType},
    prelude::*,
};

/// The most steps.
const STEPS: u32 = 30;
/// The longest pause, in milliseconds: with all steps half of the time that a call has.
const PAUSE_MS: u64 = 1_000;

struct Transform;

/// What a submitter sets.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    /// The text.
    content: String,
    /// So many entries are appended to the ledger on the way, at most 30; none when it is not said.
    #[serde(default)]
    steps: u32,
    /// How long to wait before each of them, in milliseconds, at most 1,000; no time when it is not said.
    #[serde(default)]
    pause_ms: u64,
}

impl Faculty for Transform {
    fn engage(task: Task) -> Result<Outcome> {
        let Params { content, steps, pause_ms } = task.params()?;
        if steps > STEPS || pause_ms > PAUSE_MS {
            return Err(Error::invalid(format!("steps is at most {STEPS}, and pause_ms at most {PAUSE_MS}")));
        }
        for step in 1..=steps {
            thread::sleep(Duration::from_millis(pause_ms));
            ledger::append(EntryType::Step, &format!("step {step} of {steps}"))?;
        }
        let reversed: String = content.chars().rev().collect();
        let data = json!({ "content": reversed, "verdict": "pass" });
        Ok(Outcome::done(reversed).with_data(data))
    }
}

export_faculty!(Transform);

#[cfg(test)]
mod tests {
    use animus_sdk::testing::FakeHost;

    use super::*;

    fn task(params: Value) -> Task {
        Task { params, ..Task::of("") }
    }

    #[test]
    fn the_content_comes_back_reversed() {
        let outcome = Transform::engage(task(json!({ "content": "hello world" }))).unwrap();
        assert_eq!((outcome.success, outcome.summary.as_str()), (true, "dlrow olleh"));
        assert_eq!(outcome.data, Some(json!({ "content": "dlrow olleh", "verdict": "pass" })));
    }

    #[test]
    fn steps_are_told_one_by_one_and_are_bounded() {
        let host = FakeHost::new().grant(["ledger:append"]).start();
        Transform::engage(task(json!({ "content": "ab", "steps": 2, "pause_ms": 1 }))).unwrap();
        let told: Vec<_> = host.entries().into_iter().map(|entry| entry.content).collect();
        assert_eq!(told, ["step 1 of 2", "step 2 of 2"]);
        for too_much in [json!({ "content": "", "steps": 31 }), json!({ "content": "", "pause_ms": 1_001 })] {
            let refusal = Transform::engage(task(too_much)).unwrap_err();
            assert!(refusal.to_string().contains("at most 30"), "{refusal}");
        }
    }

    #[test]
    fn work_without_content_is_refused_by_name() {
        let refusal = Transform::engage(task(json!({}))).unwrap_err();
        assert!(refusal.to_string().contains("content"), "{refusal}");
    }
}
