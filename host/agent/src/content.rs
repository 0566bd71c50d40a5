//! What was said and answered, for an operator who wants it in traces: events of the target
//! [`CONTENT`], which are off unless they were turned on. Secrets are not among it: the host
//! keeps them from models and plugins to begin with.

use animus_core::{
    llm::{Content, Message, Request, Response, ToolInput},
    trace::CONTENT,
};
use serde_json::{Value, json};
use tracing::{Level, enabled, event};

/// The most of one attribute, in bytes.
const LONGEST: usize = 32 << 10;

fn is_wanted() -> bool {
    enabled!(target: CONTENT, Level::INFO)
}

/// A request leaves for a model.
pub(crate) fn asked(request: &Request) {
    if !is_wanted() {
        return;
    }
    let system = request.system.as_deref().map(|text| cut(text.to_owned())).unwrap_or_default();
    event!(
        target: CONTENT, Level::INFO,
        gen_ai.system_instructions = json!([{ "type": "text", "content": system }]).to_string(),
        gen_ai.input.messages = newest(request.messages.iter().map(|message| written(message))),
        "gen_ai.client.inference.operation.details"
    );
}

/// A model answered.
pub(crate) fn answered(response: &Response) {
    if is_wanted() {
        event!(
            target: CONTENT, Level::INFO,
            gen_ai.output.messages = newest([written(&response.message)].into_iter()),
            "gen_ai.client.inference.operation.details"
        );
    }
}

/// A tool is called.
pub(crate) fn called(input: &ToolInput) {
    if is_wanted() {
        let arguments = cut(arguments(input).to_string());
        event!(target: CONTENT, Level::INFO, gen_ai.tool.call.arguments = arguments, "gen_ai.execute_tool.arguments");
    }
}

/// A tool answered.
pub(crate) fn returned(text: &str) {
    if is_wanted() {
        let text = cut(text.to_owned());
        event!(target: CONTENT, Level::INFO, gen_ai.tool.call.result = text, "gen_ai.execute_tool.result");
    }
}

fn arguments(input: &ToolInput) -> Value {
    match input {
        ToolInput::Object(object) => Value::Object(object.clone()),
        ToolInput::Malformed { malformed_json } => Value::String(malformed_json.clone()),
    }
}

/// A message in the form of the conventions for generative models.
fn written(message: &Message) -> Value {
    let parts = message.content.iter().map(|part| match part {
        Content::Text { text } => json!({ "type": "text", "content": text }),
        Content::Image(image) => json!({ "type": "blob", "mime_type": image.media_type, "bytes": image.data.len() }),
        Content::ToolUse(call) => {
            json!({ "type": "tool_call", "id": call.id, "name": call.name, "arguments": arguments(&call.input) })
        }
        Content::ToolResult(result) => {
            json!({ "type": "tool_call_response", "id": result.id, "response": result.text })
        }
        Content::Opaque { vendor, .. } => json!({ "type": "opaque", "vendor": vendor }),
    });
    json!({ "role": message.role, "parts": parts.collect::<Vec<_>>() })
}

/// The newest messages that fit, as a JSON array.
fn newest(messages: impl DoubleEndedIterator<Item = Value>) -> String {
    let mut room = LONGEST;
    let mut kept: Vec<String> = messages
        .rev()
        .map(|message| message.to_string())
        .take_while(|text| {
            let fits = text.len() <= room;
            room = room.saturating_sub(text.len());
            fits
        })
        .collect();
    kept.reverse();
    format!("[{}]", kept.join(","))
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(LONGEST));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_messages_are_kept_whole_and_in_order() {
        let long = |n: usize| json!("x".repeat(n));
        let text = newest([long(LONGEST), json!("a"), json!("b")].into_iter());
        assert_eq!(text, r#"["a","b"]"#);
        assert_eq!(newest([json!("a"), long(LONGEST)].into_iter()), "[]");
    }
}
