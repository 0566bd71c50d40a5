//! A hook that does what its configuration says, and a tool that tells its arguments. The key of a point (`before_tool`)
//! holds what is done there: `block WHY`, `modify WHAT`, `spin`, `trap`, `fail`, `cancel`, `call TOOL`, `remember`.

#[allow(clippy::all, reason = "generated")]
mod contract {
    wit_bindgen::generate!({
        path: "../../../wit",
        inline: "
            package test:hooker;
            world both {
                include animus:plugin/imports@0.1.0;
                export animus:tool/tools@0.1.0;
                export animus:hook/hook@0.1.0;
            }
        ",
        world: "test:hooker/both",
        generate_all,
    });
}

#[allow(clippy::all, reason = "generated")]
mod config {
    wit_bindgen::generate!({ path: "../../../sdk-rust/wit", world: "wasi:config/imports", generate_all });
}

use contract::{
    animus::{memory::memory, tool::tool},
    exports::animus::{
        hook::hook::{
            AnswerVerdict, Error, Guest as Hook, LlmAnswer, LlmCall, LlmPatch, LlmVerdict, OutcomePatch,
            OutcomeVerdict, PartPatch, ToolCall, ToolOutcome, ToolVerdict, TurnEnd, TurnVerdict,
        },
        tool::tools::{Definition, Guest as Tools, ToolResult},
    },
};

enum Act {
    Continue,
    Block(String),
    Modify(String),
}

/// Does what is asked at a point, as far as that is no verdict.
fn act(point: &str, shown: &str) -> Result<Act, Error> {
    let asked = config::wasi::config::store::get(point).ok().flatten().unwrap_or_default();
    let (what, rest) = asked.split_once(' ').unwrap_or((&asked, ""));
    match what {
        "block" => Ok(Act::Block(rest.to_owned())),
        "modify" => Ok(Act::Modify(rest.replace("$shown", shown))),
        "spin" => loop {
            std::hint::spin_loop();
        },
        "trap" => std::process::abort(),
        "fail" => Err(Error::Unavailable(rest.to_owned())),
        "cancel" => Err(Error::Cancelled),
        "call" => {
            let called = tool::call(rest, "{}")?;
            Ok(Act::Block(format!("called, and got: {}", called.text)))
        }
        "remember" => {
            memory::store(&format!("saw: {shown}"), "note", &[])?;
            Ok(Act::Continue)
        }
        "tell" => Ok(Act::Block(shown.to_owned())),
        _ => Ok(Act::Continue),
    }
}

struct Plugin;

impl Hook for Plugin {
    fn before_llm_call(event: LlmCall) -> Result<LlmVerdict, Error> {
        let texts: Vec<_> = event.parts.iter().map(|part| part.text.as_str()).collect();
        Ok(match act("before_llm", &texts.join("|"))? {
            Act::Continue => LlmVerdict::Continue,
            Act::Block(why) => LlmVerdict::Block(why),
            Act::Modify(text) => {
                // `9:` before the text names a part.
                let (index, text) =
                    text.split_once(':').map_or((0, text.as_str()), |(index, text)| (index.parse().unwrap_or(0), text));
                let part = PartPatch { index, text: text.to_owned() };
                LlmVerdict::Modify(LlmPatch { system: Some("from a hook".to_owned()), parts: vec![part] })
            }
        })
    }

    fn after_llm_call(event: LlmAnswer) -> Result<AnswerVerdict, Error> {
        Ok(match act("after_llm", &event.text)? {
            Act::Continue => AnswerVerdict::Continue,
            Act::Block(why) => AnswerVerdict::Block(why),
            Act::Modify(text) => AnswerVerdict::Modify(text),
        })
    }

    fn before_tool_call(event: ToolCall) -> Result<ToolVerdict, Error> {
        let shown = format!("{} {} {} {}", event.tool, event.args, event.calls, event.calls_last_minute);
        Ok(match act("before_tool", &shown)? {
            Act::Continue => ToolVerdict::Continue,
            Act::Block(why) => ToolVerdict::Block(why),
            Act::Modify(args) => ToolVerdict::Modify(args),
        })
    }

    fn after_tool_call(event: ToolOutcome) -> Result<OutcomeVerdict, Error> {
        Ok(match act("after_tool", &event.text)? {
            Act::Continue => OutcomeVerdict::Continue,
            Act::Block(why) => OutcomeVerdict::Block(why),
            Act::Modify(text) => {
                OutcomeVerdict::Modify(OutcomePatch { text: Some(text), structured: None, is_error: Some(false) })
            }
        })
    }

    fn after_turn(event: TurnEnd) -> Result<TurnVerdict, Error> {
        Ok(match act("after_turn", &event.text)? {
            Act::Block(why) => TurnVerdict::Block(why),
            _ => TurnVerdict::Continue,
        })
    }
}

impl Tools for Plugin {
    fn list_tools() -> Vec<Definition> {
        let annotations = contract::animus::tool::types::Annotations {
            read_only: false,
            idempotent: false,
            destructive: false,
            open_world: false,
        };
        vec![Definition {
            name: "echo".to_owned(),
            description: "a test's".to_owned(),
            input_schema: r#"{"type":"object"}"#.to_owned(),
            output_schema: None,
            annotations,
        }]
    }

    fn call_tool(_: String, args: String) -> Result<ToolResult, Error> {
        let arguments: serde_json::Value = args.parse().map_err(|_| Error::Invalid("no JSON".to_owned()))?;
        if arguments.get("fail").is_some() {
            return Err(Error::NotFound("nothing there".to_owned()));
        }
        Ok(ToolResult { structured: Some(args.clone()), text: args, images: Vec::new(), is_error: false })
    }
}

contract::export!(Plugin with_types_in contract);
