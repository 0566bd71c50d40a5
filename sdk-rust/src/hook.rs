//! Hooks: what watches an agent's model calls, tool calls and turns, and may change or stop them.
//!
//! A hook implements the functions of what it watches and asks for it in its manifest: `hook = ["tool"]`. It can narrow
//! and never widen: nothing that it answers allows what was refused. Every call has a fresh instance.
//!
//! ```
//! use animus_sdk::{hook::{Args, Hook, ToolCall, Verdict}, prelude::*};
//!
//! struct NoForce;
//!
//! impl Hook for NoForce {
//!     fn before_tool_call(call: ToolCall) -> Result<Verdict<Args>> {
//!         Ok(match call.args.get("force") {
//!             Some(Value::Bool(true)) => Verdict::block("nothing is forced here"),
//!             _ => Verdict::Continue,
//!         })
//!     }
//! }
//!
//! let call = ToolCall::of("git.push", json!({ "force": true }));
//! assert_eq!(NoForce::before_tool_call(call), Ok(Verdict::block("nothing is forced here")));
//! ```

use std::convert::Infallible;

use serde_json::{Map, Value};

use crate::{
    Error, Result,
    bindings::{hook_plugin::exports::animus::hook::hook as wit, imports::animus::types::types::Error as WitError},
    panics,
};

pub use wit::{Kind, LlmAnswer, LlmCall, LlmPatch, Part, PartPatch, Role, TurnEnd};

/// The arguments of a tool call.
pub type Args = Map<String, Value>;

/// What becomes of what a hook is shown. There is no word that allows anything.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict<P = Infallible> {
    /// As it is.
    Continue,
    /// Changed.
    Modify(P),
    /// Not at all; why, in a sentence of at most 500 bytes.
    Block(String),
}

impl<P> Verdict<P> {
    /// Not at all, for this reason.
    pub fn block(reason: impl Into<String>) -> Self {
        Self::Block(reason.into())
    }

    /// Changed, if there is a change.
    pub fn modify(patch: Option<P>) -> Self {
        patch.map_or(Self::Continue, Self::Modify)
    }
}

/// A tool is about to be called.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    /// The work item.
    pub work_id: String,
    /// The plugin that calls, or `operator`.
    pub caller: String,
    /// How deep inside other calls the tool will run; 1 for a faculty's own.
    pub depth: u32,
    /// The full name.
    pub tool: String,
    /// Its arguments.
    pub args: Args,
    /// Calls of this tool in this run before this one; blocked ones do not count.
    pub calls: u32,
    /// Those of the last 60 seconds.
    pub calls_last_minute: u32,
}

/// A tool has answered, or failed.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolOutcome {
    /// The work item.
    pub work_id: String,
    /// The plugin that called, or `operator`.
    pub caller: String,
    /// How deep inside other calls the tool ran.
    pub depth: u32,
    /// The full name.
    pub tool: String,
    /// The arguments that it ran with.
    pub args: Args,
    /// What it says.
    pub text: String,
    /// The same answer as data.
    pub structured: Option<Value>,
    /// Whether it failed.
    pub is_error: bool,
    /// How long it took.
    pub elapsed_ms: u64,
}

/// Changes to a tool's answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutcomePatch {
    /// The text; unchanged when none.
    pub text: Option<String>,
    /// The data. A patch of the text without data takes the data away.
    pub structured: Option<Value>,
    /// Whether it counts as failed; unchanged when none.
    pub is_error: Option<bool>,
}

/// A hook. What it does not implement goes on as it is.
///
/// An error counts as a block, unless the operator set the hook to be passed over when it fails.
pub trait Hook {
    /// A model is about to be called. Asks for `llm`.
    ///
    /// # Errors
    /// What kept the hook from its verdict.
    fn before_llm_call(call: LlmCall) -> Result<Verdict<LlmPatch>> {
        let _ = call;
        Ok(Verdict::Continue)
    }

    /// A model has answered; a change is its new text. Asks for `llm`.
    ///
    /// # Errors
    /// As [`Hook::before_llm_call`].
    fn after_llm_call(answer: LlmAnswer) -> Result<Verdict<String>> {
        let _ = answer;
        Ok(Verdict::Continue)
    }

    /// A tool is about to be called; a change is its new arguments. Asks for `tool`.
    ///
    /// # Errors
    /// As [`Hook::before_llm_call`].
    fn before_tool_call(call: ToolCall) -> Result<Verdict<Args>> {
        let _ = call;
        Ok(Verdict::Continue)
    }

    /// A tool has answered, or failed. Asks for `tool`.
    ///
    /// # Errors
    /// As [`Hook::before_llm_call`].
    fn after_tool_call(outcome: ToolOutcome) -> Result<Verdict<OutcomePatch>> {
        let _ = outcome;
        Ok(Verdict::Continue)
    }

    /// A turn of the host's agent loop is over. Asks for `turn`.
    ///
    /// # Errors
    /// As [`Hook::before_llm_call`].
    fn after_turn(turn: TurnEnd) -> Result<Verdict> {
        let _ = turn;
        Ok(Verdict::Continue)
    }
}

/// Events for tests.
impl LlmCall {
    /// A call of the default model that says these texts, as the user.
    pub fn of<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Self {
        let part = |(message, text): (u32, T)| Part { message, role: Role::User, kind: Kind::Text, text: text.into() };
        Self {
            work_id: "work".to_owned(),
            caller: "assistant".to_owned(),
            number: 1,
            model: "default".to_owned(),
            system: None,
            parts: (0..).zip(texts).map(part).collect(),
            tools: Vec::new(),
        }
    }
}

impl LlmAnswer {
    /// An answer of the default model.
    pub fn of(text: impl Into<String>) -> Self {
        Self {
            work_id: "work".to_owned(),
            caller: "assistant".to_owned(),
            number: 1,
            model: "default".to_owned(),
            text: text.into(),
            tool_uses: Vec::new(),
            elapsed_ms: 0,
        }
    }
}

impl ToolCall {
    /// The first call of a tool by the assistant. Arguments that are no object are none.
    pub fn of(tool: &str, args: Value) -> Self {
        Self {
            work_id: "work".to_owned(),
            caller: "assistant".to_owned(),
            depth: 1,
            tool: tool.to_owned(),
            args: object(args),
            calls: 0,
            calls_last_minute: 0,
        }
    }
}

impl ToolOutcome {
    /// What a tool answered to the assistant.
    pub fn of(tool: &str, text: impl Into<String>) -> Self {
        Self {
            work_id: "work".to_owned(),
            caller: "assistant".to_owned(),
            depth: 1,
            tool: tool.to_owned(),
            args: Args::new(),
            text: text.into(),
            structured: None,
            is_error: false,
            elapsed_ms: 0,
        }
    }
}

impl TurnEnd {
    /// A turn of the assistant's with this text and so many tool calls.
    pub fn of(text: impl Into<String>, tool_calls: u32) -> Self {
        let (work_id, caller) = ("work".to_owned(), "assistant".to_owned());
        Self { work_id, caller, turn: 1, text: text.into(), tool_calls }
    }
}

fn object(value: Value) -> Args {
    match value {
        Value::Object(object) => object,
        _ => Args::new(),
    }
}

/// From the host's events to a hook, and back.
#[doc(hidden)]
pub mod serve {
    use super::*;

    type Answer<T> = std::result::Result<T, WitError>;

    fn parse(what: &str, json: &str) -> Result<Value> {
        serde_json::from_str(json).map_err(|error| Error::invalid(format!("{what}: {error}")))
    }

    pub fn before_llm_call<H: Hook>(call: wit::LlmCall) -> Answer<wit::LlmVerdict> {
        panics::report_in("the hook before", "llm-call");
        let verdict = H::before_llm_call(call).map_err(Error::into_host)?;
        Ok(match verdict {
            Verdict::Continue => wit::LlmVerdict::Continue,
            Verdict::Modify(patch) => wit::LlmVerdict::Modify(patch),
            Verdict::Block(reason) => wit::LlmVerdict::Block(reason),
        })
    }

    pub fn after_llm_call<H: Hook>(answer: wit::LlmAnswer) -> Answer<wit::AnswerVerdict> {
        panics::report_in("the hook after", "llm-call");
        let verdict = H::after_llm_call(answer).map_err(Error::into_host)?;
        Ok(match verdict {
            Verdict::Continue => wit::AnswerVerdict::Continue,
            Verdict::Modify(text) => wit::AnswerVerdict::Modify(text),
            Verdict::Block(reason) => wit::AnswerVerdict::Block(reason),
        })
    }

    pub fn before_tool_call<H: Hook>(call: wit::ToolCall) -> Answer<wit::ToolVerdict> {
        panics::report_in("the hook before", &call.tool);
        let look = |call: wit::ToolCall| {
            let args = object(parse("arguments", &call.args)?);
            H::before_tool_call(ToolCall {
                work_id: call.work_id,
                caller: call.caller,
                depth: call.depth,
                tool: call.tool,
                args,
                calls: call.calls,
                calls_last_minute: call.calls_last_minute,
            })
        };
        Ok(match look(call).map_err(Error::into_host)? {
            Verdict::Continue => wit::ToolVerdict::Continue,
            Verdict::Modify(args) => wit::ToolVerdict::Modify(Value::Object(args).to_string()),
            Verdict::Block(reason) => wit::ToolVerdict::Block(reason),
        })
    }

    pub fn after_tool_call<H: Hook>(outcome: wit::ToolOutcome) -> Answer<wit::OutcomeVerdict> {
        panics::report_in("the hook after", &outcome.tool);
        let look = |outcome: wit::ToolOutcome| {
            let args = object(parse("arguments", &outcome.args)?);
            let structured = outcome.structured.map(|data| parse("data", &data)).transpose()?;
            H::after_tool_call(ToolOutcome {
                work_id: outcome.work_id,
                caller: outcome.caller,
                depth: outcome.depth,
                tool: outcome.tool,
                args,
                text: outcome.text,
                structured,
                is_error: outcome.is_error,
                elapsed_ms: outcome.elapsed_ms,
            })
        };
        Ok(match look(outcome).map_err(Error::into_host)? {
            Verdict::Continue => wit::OutcomeVerdict::Continue,
            Verdict::Modify(OutcomePatch { text, structured, is_error }) => {
                let structured = structured.map(|data| data.to_string());
                wit::OutcomeVerdict::Modify(wit::OutcomePatch { text, structured, is_error })
            }
            Verdict::Block(reason) => wit::OutcomeVerdict::Block(reason),
        })
    }

    pub fn after_turn<H: Hook>(turn: wit::TurnEnd) -> Answer<wit::TurnVerdict> {
        panics::report_in("the hook after", "turn");
        Ok(match H::after_turn(turn).map_err(Error::into_host)? {
            Verdict::Continue => wit::TurnVerdict::Continue,
            Verdict::Block(reason) => wit::TurnVerdict::Block(reason),
            Verdict::Modify(never) => match never {},
        })
    }
}

/// Makes the crate a plugin that is this hook: `export_hook!(Guard);` It may export tools as well.
#[macro_export]
macro_rules! export_hook {
    ($hook:ty) => {
        const _: () = {
            use $crate::{bindings::hook_plugin::exports::animus::hook::hook as exports, hook::serve};

            struct Plugin;

            impl exports::Guest for Plugin {
                fn before_llm_call(
                    event: exports::LlmCall,
                ) -> ::std::result::Result<exports::LlmVerdict, exports::Error> {
                    serve::before_llm_call::<$hook>(event)
                }

                fn after_llm_call(
                    event: exports::LlmAnswer,
                ) -> ::std::result::Result<exports::AnswerVerdict, exports::Error> {
                    serve::after_llm_call::<$hook>(event)
                }

                fn before_tool_call(
                    event: exports::ToolCall,
                ) -> ::std::result::Result<exports::ToolVerdict, exports::Error> {
                    serve::before_tool_call::<$hook>(event)
                }

                fn after_tool_call(
                    event: exports::ToolOutcome,
                ) -> ::std::result::Result<exports::OutcomeVerdict, exports::Error> {
                    serve::after_tool_call::<$hook>(event)
                }

                fn after_turn(event: exports::TurnEnd) -> ::std::result::Result<exports::TurnVerdict, exports::Error> {
                    serve::after_turn::<$hook>(event)
                }
            }

            $crate::bindings::hook_plugin::export_hook_plugin!(Plugin);
        };
    };
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    struct Loud;

    impl Hook for Loud {
        fn before_tool_call(call: ToolCall) -> Result<Verdict<Args>> {
            match call.tool.as_str() {
                "a.block" => Ok(Verdict::block("no")),
                "a.fail" => Err(Error::unavailable("busy")),
                _ => Ok(Verdict::modify(call.args.contains_key("x").then(Args::new))),
            }
        }

        fn after_tool_call(outcome: ToolOutcome) -> Result<Verdict<OutcomePatch>> {
            let text = Some(outcome.text.to_uppercase());
            Ok(Verdict::Modify(OutcomePatch { text, structured: Some(json!({ "n": 1 })), is_error: None }))
        }
    }

    fn call(tool: &str, args: &str) -> wit::ToolCall {
        wit::ToolCall {
            work_id: "w".into(),
            caller: "assistant".into(),
            depth: 1,
            tool: tool.into(),
            args: args.into(),
            calls: 0,
            calls_last_minute: 0,
        }
    }

    #[test]
    fn verdicts_and_errors_reach_the_host() {
        let ask = |tool, args| serve::before_tool_call::<Loud>(call(tool, args));
        assert!(matches!(ask("a.block", "{}"), Ok(wit::ToolVerdict::Block(why)) if why == "no"));
        assert!(matches!(ask("a.b", r#"{"x":1}"#), Ok(wit::ToolVerdict::Modify(args)) if args == "{}"));
        assert!(matches!(ask("a.b", "{}"), Ok(wit::ToolVerdict::Continue)));
        assert!(matches!(ask("a.fail", "{}"), Err(WitError::Unavailable(_))));
        assert!(matches!(ask("a.b", "no json"), Err(WitError::Invalid(_))));
    }

    #[test]
    fn data_crosses_as_json_text() {
        let outcome = wit::ToolOutcome {
            work_id: "w".into(),
            caller: "assistant".into(),
            depth: 1,
            tool: "a.b".into(),
            args: "{}".into(),
            text: "said".into(),
            structured: Some("[1]".into()),
            is_error: false,
            elapsed_ms: 1,
        };
        let Ok(wit::OutcomeVerdict::Modify(patch)) = serve::after_tool_call::<Loud>(outcome) else { panic!("changed") };
        assert_eq!((patch.text.as_deref(), patch.structured.as_deref()), (Some("SAID"), Some(r#"{"n":1}"#)));
    }

    #[test]
    fn what_is_not_implemented_goes_on() {
        assert!(matches!(serve::before_llm_call::<Loud>(LlmCall::of(["hi"])), Ok(wit::LlmVerdict::Continue)));
        assert!(matches!(serve::after_llm_call::<Loud>(LlmAnswer::of("hi")), Ok(wit::AnswerVerdict::Continue)));
        assert!(matches!(serve::after_turn::<Loud>(TurnEnd::of("hi", 0)), Ok(wit::TurnVerdict::Continue)));
    }
}
