//! The tool by which a model has code run. On offer to a faculty that is granted an interpreter.

use std::fmt::Write as _;

use animus_core::{
    Error, Result,
    code::{Failure, Program, Ran},
    grant::Capability,
    llm::{ToolInput, ToolUse},
    services::Principal,
    tool::{Annotations, Output, Tool},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::engine_tools::parse;
use crate::focus::{Execution, Focus};

pub(super) const NAME: &str = "execute_code";
/// What tracebacks call a model's program.
const PROGRAM: &str = "<code>";
/// How much of a stream goes to the model beside the value, in bytes: what is printed is for people and for debugging.
const SHOWN: usize = 4 << 10;
/// The longest that one run may take, where neither the model nor the grants say less.
const SECONDS: u64 = 120;

/// The interpreters of this run that `by` may use, in the order of their names.
fn interpreters(focus: &Focus, by: &Principal) -> Vec<String> {
    if !focus.cx().faculty.engage.code_execution {
        return Vec::new();
    }
    let plugins = focus.plugins();
    let names = plugins.plugins().iter().filter(|plugin| plugin.is_interpreter).map(|plugin| plugin.name.to_string());
    names.filter(|name| by.authority.check(&Capability::Interpreter(name.clone())).is_ok()).collect()
}

/// Its definition, where there is an interpreter for it.
pub(super) fn definition(focus: &Focus, by: &Principal) -> Option<Tool> {
    let interpreters = interpreters(focus, by);
    let first = interpreters.first()?;
    let mut properties = json!({
        "code": {
            "type": "string",
            "description": "The body of a function: it may import, define, loop, call tools, await, and return a value. \
                            The value of a last expression is returned too.",
        },
        "timeout_seconds": {
            "type": "integer", "minimum": 1, "maximum": 3600,
            "description": format!("The longest that it may take; {SECONDS} when absent."),
        },
        "session": {
            "type": "string", "maxLength": 64,
            "description": "Keeps what the code defines for later calls that name the same session, which run one after the other. \
                            Without one nothing is kept.",
        },
    });
    if let (Some(properties), true) = (properties.as_object_mut(), interpreters.len() > 1) {
        let described = format!("The interpreter; {first} when absent.");
        properties.insert("interpreter".into(), json!({ "enum": interpreters, "description": described }));
    }
    let more = match by.authority.effective().spawn_child {
        Some(_) => " `from animus import children` gives work to others.",
        None => "",
    };
    Some(Tool {
        name: NAME.to_owned(),
        description: format!(
            "Run {first} code in a sandbox and get the value that it returns. Your tools are functions there: \
             tools.fs.read_file(path=\"README.md\"); tools.search(\"words\") finds them and tools.describe(\"fs.grep\") \
             explains one; ledger and memory are there as well. Only the returned value comes back, so loop over many \
             files or large results in code and return what matters. A failed call raises an exception. There are no \
             files, sockets, processes or environment but through tools.{more}"
        ),
        input_schema: json!({
            "type": "object", "properties": properties, "required": ["code"], "additionalProperties": false,
        }),
        output_schema: None,
        // What it does is up to the code, so the careful reading holds.
        annotations: Annotations { destructive: true, open_world: true, ..Annotations::default() },
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Execute {
    code: String,
    timeout_seconds: Option<u64>,
    session: Option<String>,
    interpreter: Option<String>,
}

/// The session that a model's request for a run names.
pub(super) fn session(request: &ToolUse) -> Option<&str> {
    match &request.input {
        ToolInput::Object(args) if request.name == NAME => args.get("session")?.as_str(),
        _ => None,
    }
}

/// Runs it; `None` when this tool is not on offer.
pub(super) async fn call(focus: &Focus, by: &Principal, args: &Map<String, Value>) -> Option<Result<Output>> {
    let first = interpreters(focus, by).into_iter().next()?;
    Some(execute(focus, by, first, args).await)
}

async fn execute(focus: &Focus, by: &Principal, first: String, args: &Map<String, Value>) -> Result<Output> {
    let Execute { code, timeout_seconds, session, interpreter } = parse(NAME, args)?;
    if session.as_ref().is_some_and(|session| session.is_empty() || session.len() > 64) {
        return Err(Error::Invalid("the name of a session has 1 to 64 bytes".into()));
    }
    let seconds = timeout_seconds.unwrap_or(SECONDS).clamp(1, 3_600);
    let execution = Execution {
        interpreter: interpreter.unwrap_or(first),
        program: Program::body(PROGRAM, code),
        session,
        wall_ms: Some(seconds.saturating_mul(1_000)),
    };
    focus.execute(by, execution).await.map(readable)
}

/// What the model reads: the value, or why there is none; then what was written.
fn readable(ran: Ran) -> Output {
    let Ran { mut text, stdout, stderr, failure, .. } = ran;
    let is_error = failure.is_some();
    if let Some(Failure { kind, message, traceback, .. }) = failure {
        text = if traceback.is_empty() { format!("{kind}: {message}") } else { traceback };
    }
    for (name, stream) in [("stdout", stdout), ("stderr", stderr)] {
        if !stream.is_empty() {
            let gap = if text.is_empty() { "" } else { "\n" };
            let _ = write!(text, "{gap}[{name}]\n{}", middle_out(&stream));
        }
    }
    Output { text, is_error, ..Output::default() }
}

/// Beginning and end of a long text.
fn middle_out(text: &str) -> String {
    if text.len() <= SHOWN {
        return text.to_owned();
    }
    let head = text.floor_char_boundary(SHOWN / 2);
    let tail = text.ceil_char_boundary(text.len() - SHOWN / 2);
    let (head, tail) = (text.get(..head).unwrap_or_default(), text.get(tail..).unwrap_or_default());
    format!("{head}\n[… {} bytes …]\n{tail}", text.len() - head.len() - tail.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_stands_first_and_what_was_written_is_marked_and_bounded() {
        let ran = Ran { text: "42".into(), stdout: "x".repeat(100_000), ..Ran::default() };
        let output = readable(ran);
        assert!(
            output.text.starts_with("42\n[stdout]\nxxx") && output.text.len() < SHOWN + 100,
            "{}",
            output.text.len()
        );
        assert!(output.text.contains("bytes …]") && !output.is_error);
    }

    #[test]
    fn a_failure_is_an_error_with_its_traceback_and_what_was_written_before() {
        let failure = Failure {
            kind: "ValueError".into(),
            message: "no".into(),
            traceback: "line 3\nValueError: no".into(),
            cause: None,
        };
        let output = readable(Ran { stdout: "so far".into(), failure: Some(failure), ..Ran::default() });
        assert!(output.is_error && output.text == "line 3\nValueError: no\n[stdout]\nso far", "{}", output.text);
    }
}
