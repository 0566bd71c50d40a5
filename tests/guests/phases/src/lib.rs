//! A faculty with all phases. The parameter of a phase (`orient`, `engage`, …) says what it does: `say TEXT`, `undone WHY`,
//! `fail WHY`, `trap`, `loop`. Each notes in the ledger that it was run, and with what.
//!
//! It is written with the SDK, unlike the other guests: that the SDK exports what its author names is a part of what it is
//! there for.

use animus_sdk::{
    engage::{self, Ending, Options},
    ledger::{self, EntryType, Filter},
    prelude::*,
};

struct Phases;

/// What a phase is to do: a word, and what follows it.
fn asked(task: &Task, phase: &str) -> (String, String) {
    let asked = task.params.get(phase).and_then(Value::as_str).unwrap_or_default();
    let (word, rest) = asked.split_once(' ').unwrap_or((asked, ""));
    (word.to_owned(), rest.to_owned())
}

fn note(text: String) -> Result<()> {
    ledger::append(EntryType::Note, &text).map(drop)
}

/// Runs the host's loop; its last text, and whether it came to its end.
fn run(task: &Task, turns: u32) -> Result<(String, bool)> {
    let ended = engage::run(&Options {
        system: "You are a test.".to_owned(),
        prompt: task.instruction.clone(),
        tools: vec!["*".to_owned()],
        max_turns: Some(turns),
        ..Options::default()
    })?;
    Ok((ended.text, ended.ending == Ending::Done))
}

impl Faculty for Phases {
    fn engage(task: Task) -> Result<Outcome> {
        note(format!("engage {} with [{}]", task.attempt, task.context))?;
        let (word, rest) = asked(&task, "engage");
        match word.as_str() {
            "undone" => Ok(Outcome::unfinished(rest)),
            "fail" => Err(Error::unavailable(rest)),
            // The first attempt fails, the next does not.
            "once" if task.attempt == 1 => Err(Error::unavailable(rest)),
            "wrong" => Err(Error::invalid(rest)),
            "trap" => std::process::abort(),
            "loop" => Ok(Outcome::done(run(&task, 5)?.0)),
            // The model has one turn, and says that all is well whatever it did.
            "short-loop" => run(&task, 1).map(|_| Outcome::done("all is well")),
            _ => Ok(Outcome::done(rest).with_data(json!({ "b": task.context, "a": 1 }))),
        }
    }
}

impl Orient for Phases {
    fn orient(task: Task) -> Result<String> {
        note(format!("orient with [{}]", task.context))?;
        let (word, rest) = asked(&task, "orient");
        match word.as_str() {
            "fail" => Err(Error::unavailable(rest)),
            "trap" => std::process::abort(),
            "long" => Ok("x".repeat(rest.parse().unwrap_or_default())),
            "loop" => Ok(run(&task, 1)?.0),
            _ => Ok(rest.replace("\\n", "\n")),
        }
    }
}

impl Consolidate for Phases {
    fn consolidate(task: Task, outcome: Outcome) -> Result<Outcome> {
        let entries = ledger::read(Filter::ALL)?.len();
        let data = outcome.data.as_ref().map(Value::to_string).unwrap_or_default();
        note(format!("consolidate {} [{}] {data} with [{}]", outcome.success, outcome.summary, task.context))?;
        let (word, rest) = asked(&task, "consolidate");
        match word.as_str() {
            "say" => Ok(Outcome::done(format!("{rest} ({entries} entries before)"))),
            "undone" => Ok(Outcome::unfinished(rest)),
            "fail" => Err(Error::unavailable(rest)),
            "trap" => std::process::abort(),
            _ => Ok(outcome),
        }
    }
}

impl Recover for Phases {
    fn recover(task: Task, failure: Failure) -> Result<Recovery> {
        let Failure { phase, error, attempt, max_attempts, will_retry } = failure;
        let phase = match phase {
            Phase::Orient => "orient",
            Phase::Engage => "engage",
            Phase::Consolidate => "consolidate",
        };
        note(format!("recover {phase} {attempt}/{max_attempts} {will_retry}: {error}"))?;
        let (word, rest) = asked(&task, "recover");
        match word.as_str() {
            "give-up" => Ok(Recovery::GiveUp),
            "fail" => Err(Error::unavailable(rest)),
            "trap" => std::process::abort(),
            _ => Ok(Recovery::Retry),
        }
    }
}

export_faculty!(Phases, orient, consolidate, recover);
