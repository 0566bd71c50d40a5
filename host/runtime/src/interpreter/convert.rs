//! Programs and what comes of them, between `animus-core` and the contract.

use animus_core::{
    Error,
    code::{Description, Failure, MAX_STATE, Module, Problem, Program, Ran, Tested},
    tool::Tool,
};

use crate::{
    bindings::{code_types as wit, guest_error, json, tool_types},
    install::tool_of,
    text,
};

/// The longest standard output or error of a program, in bytes; an interpreter cuts in the middle, the host at the end.
const MAX_STREAM: usize = 72 << 10;
/// The longest message of an exception, and traceback, in bytes.
const MAX_WORDS: usize = 16 << 10;

impl From<wit::Program> for Program {
    fn from(program: wit::Program) -> Self {
        let module = |module: wit::Module| Module { name: module.name, source: module.source };
        Self {
            name: program.name,
            source: program.source,
            modules: program.modules.into_iter().map(module).collect(),
            entry: program.entry,
            args: program.args,
            state: program.state,
        }
    }
}

impl From<Program> for wit::Program {
    fn from(program: Program) -> Self {
        let module = |module: Module| wit::Module { name: module.name, source: module.source };
        Self {
            name: program.name,
            source: program.source,
            modules: program.modules.into_iter().map(module).collect(),
            entry: program.entry,
            args: program.args,
            state: program.state,
        }
    }
}

fn failed(interpreter: &str, failure: wit::Failure) -> Failure {
    Failure {
        kind: text::cut(text::escaped(&failure.kind), 200),
        message: text::cut(text::escaped(&failure.message), MAX_WORDS),
        traceback: text::cut(text::escaped(&failure.traceback), MAX_WORDS),
        cause: failure.cause.map(|error| guest_error(interpreter, error)),
    }
}

/// How a test went.
pub(super) fn tested(interpreter: &str, tested: wit::Tested) -> Tested {
    Tested {
        name: text::cut(text::escaped(&tested.name), 200),
        failure: tested.failure.map(|failure| failed(interpreter, failure)),
    }
}

/// How a program ended, as the interpreter of that name says.
pub(super) fn ran(interpreter: &str, outcome: wit::Outcome) -> Result<Ran, Error> {
    let stream = |s: String| text::cut(text::escaped(&s), MAX_STREAM);
    let failure = outcome.failure.map(|failure| failed(interpreter, failure));
    // One that is too large to keep would fail the next run, where nobody could tell why.
    let state = outcome.state;
    if let Some(state) = state.as_ref().filter(|state| state.len() > MAX_STATE) {
        return Err(Error::BudgetExhausted(format!(
            "the session's state has {} bytes; at most {MAX_STATE} are kept",
            state.len()
        )));
    }
    Ok(Ran {
        text: outcome.text,
        value: outcome.value.map(|value| json("the program's value", &value)).transpose()?,
        stdout: stream(outcome.stdout),
        stderr: stream(outcome.stderr),
        failure,
        state,
    })
}

impl From<Ran> for wit::Outcome {
    fn from(ran: Ran) -> Self {
        Self {
            text: ran.text,
            value: ran.value.map(|value| value.to_string()),
            stdout: ran.stdout,
            stderr: ran.stderr,
            failure: ran.failure.map(|failure| wit::Failure {
                kind: failure.kind,
                message: failure.message,
                traceback: failure.traceback,
                cause: failure.cause.map(Into::into),
            }),
            state: ran.state,
        }
    }
}

/// What a program offers, as the interpreter says.
pub(super) fn description(found: wit::Description) -> Result<Description, Error> {
    let problem = |problem: wit::Problem| Problem {
        line: problem.line,
        message: text::cut(text::escaped(&problem.message), MAX_WORDS),
    };
    let tool = |definition: tool_types::Definition| -> Result<Tool, Error> { tool_of(definition) };
    Ok(Description {
        tools: found.tools.into_iter().map(tool).collect::<Result<_, _>>()?,
        uses: found.uses,
        problems: found.problems.into_iter().map(problem).collect(),
    })
}
