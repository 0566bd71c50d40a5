//! The default faculty: the host's agent loop with every tool that the operator granted it.

use animus_sdk::{
    engage::{self, Ending, Engagement, Options},
    prelude::*,
};

const SYSTEM: &str = include_str!("system.md");

struct Assistant;

/// What a submitter may set.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Params {
    /// A role or alias; the default model where nothing is said.
    model: String,
    /// The tools on offer, by full name or pattern; all granted ones where nothing is said.
    tools: Option<Vec<String>>,
    /// At most so many model calls.
    max_turns: Option<u32>,
}

impl Faculty for Assistant {
    fn engage(task: Task) -> Result<Outcome> {
        let Params { model, tools, max_turns } = task.params()?;
        let options = Options {
            system: SYSTEM.trim_end().to_owned(),
            prompt: prompt(&task),
            model,
            tools: tools.unwrap_or_else(|| vec!["*".to_owned()]),
            max_turns,
            ..Options::default()
        };
        Ok(outcome(engage::run(&options)?))
    }
}

fn prompt(task: &Task) -> String {
    if task.attempt > 1 {
        format!(
            "{}\n\n(This is attempt {}. An earlier one broke off: look at the ledger and at what is already there \
             before you begin.)",
            task.instruction, task.attempt
        )
    } else {
        task.instruction.clone()
    }
}

fn outcome(engagement: Engagement) -> Outcome {
    let Engagement { ending, text, turns, tool_calls } = engagement;
    let data = json!({ "ending": word(ending), "turns": turns, "tool_calls": tool_calls });
    let outcome = match missing(ending) {
        None => Outcome::done(text),
        Some(why) if text.trim().is_empty() => Outcome::unfinished(why),
        Some(why) => Outcome::unfinished(format!("{}\n\n({why})", text.trim_end())),
    };
    outcome.with_data(data)
}

/// What keeps an ending from being success.
fn missing(ending: Ending) -> Option<&'static str> {
    match ending {
        Ending::Done => None,
        Ending::MaxTurns => Some("stopped before it was done: the most model calls were made"),
        Ending::Budget => Some("stopped before it was done: the budget is used up"),
        Ending::ContextFull => Some("stopped before it was done: the conversation no longer fits the model"),
        Ending::Repetition => Some("stopped before it was done: the same call was made again and again"),
        Ending::Cancelled => Some("cancelled"),
        Ending::Blocked => Some("stopped by a hook before it was done"),
    }
}

fn word(ending: Ending) -> &'static str {
    match ending {
        Ending::Done => "done",
        Ending::MaxTurns => "max-turns",
        Ending::Budget => "budget",
        Ending::ContextFull => "context-full",
        Ending::Repetition => "repetition",
        Ending::Cancelled => "cancelled",
        Ending::Blocked => "blocked",
    }
}

export_faculty!(Assistant);

#[cfg(test)]
mod tests {
    use super::*;

    fn task(attempt: u32, params: Value) -> Task {
        Task { params, attempt, ..Task::of("Mend it.") }
    }

    fn ended(ending: Ending, text: &str) -> Outcome {
        outcome(Engagement { ending, text: text.into(), turns: 3, tool_calls: 2 })
    }

    #[test]
    fn only_a_model_that_finished_is_success() {
        let done = ended(Ending::Done, "Mended.");
        assert_eq!((done.success, done.summary.as_str()), (true, "Mended."));
        for ending in [
            Ending::MaxTurns,
            Ending::Budget,
            Ending::ContextFull,
            Ending::Repetition,
            Ending::Cancelled,
            Ending::Blocked,
        ] {
            let outcome = ended(ending, "");
            assert!(!outcome.success && !outcome.summary.is_empty(), "{ending:?}");
        }
    }

    #[test]
    fn an_unfinished_outcome_keeps_what_was_said_and_says_why_it_stopped() {
        let outcome = ended(Ending::Budget, "Half of it.\n");
        assert_eq!(outcome.summary, "Half of it.\n\n(stopped before it was done: the budget is used up)");
        assert_eq!(outcome.data, Some(json!({ "ending": "budget", "turns": 3, "tool_calls": 2 })));
    }

    #[test]
    fn a_later_attempt_is_told_to_look_first() {
        assert_eq!(prompt(&task(1, json!({}))), "Mend it.");
        assert!(prompt(&task(2, json!({}))).starts_with("Mend it.\n\n(This is attempt 2."));
    }

    #[test]
    fn parameters_that_nobody_knows_are_refused_by_name() {
        let params: Params = task(1, json!({ "model": "coder", "max_turns": 5 })).params().unwrap();
        assert_eq!(params, Params { model: "coder".into(), tools: None, max_turns: Some(5) });
        let refusal = task(1, json!({ "modle": "coder" })).params::<Params>().unwrap_err();
        assert!(refusal.to_string().contains("unknown field `modle`"), "{refusal}");
    }
}
