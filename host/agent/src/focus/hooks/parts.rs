//! The texts of a request, out of it and back into it.

use std::sync::Arc;

use animus_core::{
    hook::{Kind, LlmCall, Part, Role},
    llm::{self, Content, Message, Request, ToolInput},
};
use serde_json::Value;

/// What stands in place of a text of which a hook left nothing: no vendor takes an empty one.
const REMOVED: &str = "(removed by a hook)";

/// The texts of a request, in order.
pub(super) fn of(request: &Request) -> Vec<Part> {
    let mut parts = Vec::new();
    for (at, message) in request.messages.iter().enumerate() {
        let role = match message.role {
            llm::Role::User => Role::User,
            llm::Role::Assistant => Role::Assistant,
        };
        let message_at = u32::try_from(at).unwrap_or(u32::MAX);
        let texts = message.content.iter().filter_map(text_of);
        parts.extend(texts.map(|(kind, text)| Part { message: message_at, role, kind, text }));
    }
    parts
}

/// Texts as the parts of a conversation, each a message of its own.
pub(super) fn of_texts(texts: Vec<String>) -> Vec<Part> {
    (0..).zip(texts).map(|(message, text)| Part { message, role: Role::User, kind: Kind::Text, text }).collect()
}

/// The texts that [`of_texts`] took, as they are now.
pub(super) fn texts(call: LlmCall) -> Vec<String> {
    let left = |text: String| if text.trim().is_empty() { REMOVED.to_owned() } else { text };
    call.parts.into_iter().map(|part| left(part.text)).collect()
}

fn text_of(content: &Content) -> Option<(Kind, String)> {
    match content {
        Content::Text { text } => Some((Kind::Text, text.clone())),
        Content::ToolUse(tool) => Some((
            Kind::ToolUse,
            match &tool.input {
                ToolInput::Object(object) => Value::Object(object.clone()).to_string(),
                ToolInput::Malformed { malformed_json } => malformed_json.clone(),
            },
        )),
        Content::ToolResult(result) => Some((Kind::ToolResult, result.text.clone())),
        Content::Image(_) | Content::Opaque { .. } => None,
    }
}

/// Puts the texts of `call` in place of those that [`of`] took out. Messages that stay as they are stay shared.
pub(super) fn put(request: &mut Request, call: LlmCall) {
    request.system = call.system.filter(|system| !system.is_empty());
    let mut parts = call.parts.into_iter();
    for message in &mut request.messages {
        for at in 0..message.content.len() {
            let Some((_, old)) = message.content.get(at).and_then(text_of) else { continue };
            let Some(part) = parts.next() else { return };
            if part.text == old {
                continue;
            }
            if let Some(content) = Arc::make_mut(message).content.get_mut(at) {
                set(content, part.text);
            }
        }
    }
}

fn set(content: &mut Content, new: String) {
    match content {
        Content::Text { text } => *text = if new.is_empty() { REMOVED.to_owned() } else { new },
        Content::ToolResult(result) => result.text = new,
        Content::ToolUse(tool) => {
            tool.input = match serde_json::from_str(&new) {
                Ok(object) => ToolInput::Object(object),
                Err(_) => ToolInput::Malformed { malformed_json: new },
            }
        }
        Content::Image(_) | Content::Opaque { .. } => {}
    }
}

/// Makes `text` the one text of a message, in the place of its first, or behind what a vendor wants to stand first.
pub(super) fn say(message: &mut Message, text: String) {
    let is_text = |content: &Content| matches!(content, Content::Text { .. });
    let first = message.content.iter().position(is_text);
    let opaque = message.content.iter().take_while(|content| matches!(content, Content::Opaque { .. })).count();
    message.content.retain(|content| !is_text(content));
    if !text.is_empty() {
        message.content.insert(first.unwrap_or(opaque), Content::Text { text });
    }
}

#[cfg(test)]
mod tests {
    use animus_core::llm::{ToolResult, ToolUse};
    use serde_json::json;

    use super::*;

    fn request() -> Request {
        let used = ToolUse {
            id: "1".into(),
            name: "fs.read".into(),
            input: ToolInput::Object(json!({ "path": "a" }).as_object().unwrap().clone()),
        };
        let result = ToolResult { id: "1".into(), text: "found".into(), images: Vec::new(), is_error: false };
        let opaque = Content::Opaque { vendor: "v".into(), block: json!({}) };
        let said = vec![opaque, Content::Text { text: "I look".into() }, Content::ToolUse(used)];
        Request {
            model: "default".into(),
            system: Some("be brief".into()),
            messages: vec![
                Message::user("hello").into(),
                Message { role: llm::Role::Assistant, content: said }.into(),
                Message { role: llm::Role::User, content: vec![Content::ToolResult(result)] }.into(),
            ],
            tools: [].into(),
            max_tokens: None,
            temperature: None,
        }
    }

    fn call(request: &Request) -> LlmCall {
        LlmCall {
            work_id: String::new(),
            caller: String::new(),
            number: 1,
            model: request.model.clone(),
            system: request.system.clone(),
            parts: of(request),
            tools: Vec::new(),
        }
    }

    #[test]
    fn what_is_taken_out_and_put_back_is_the_same_and_shared() {
        let (mut request, before) = (request(), request());
        let shared = request.messages.clone();
        let call = call(&request);
        let texts: Vec<_> = call.parts.iter().map(|part| (part.message, part.kind, part.text.as_str())).collect();
        let expected = [
            (0, Kind::Text, "hello"),
            (1, Kind::Text, "I look"),
            (1, Kind::ToolUse, r#"{"path":"a"}"#),
            (2, Kind::ToolResult, "found"),
        ];
        assert_eq!(texts, expected);
        put(&mut request, call);
        assert_eq!(request, before);
        assert!(request.messages.iter().zip(&shared).all(|(a, b)| Arc::ptr_eq(a, b)));
    }

    #[test]
    fn each_text_lands_where_it_came_from_and_nothing_else_moves() {
        let mut request = request();
        let mut call = call(&request);
        for (part, text) in call.parts.iter_mut().zip(["", "B", r#"{"path":"b"}"#, ""]) {
            part.text = text.into();
        }
        call.system = Some(String::new());
        put(&mut request, call);
        let texts: Vec<_> = of(&request).into_iter().map(|part| part.text).collect();
        assert_eq!(texts, [REMOVED, "B", r#"{"path":"b"}"#, ""]);
        assert_eq!((request.system, request.messages[1].content.len()), (None, 3));
    }

    #[test]
    fn a_new_answer_takes_the_place_of_the_old_text() {
        let mut message = Message::clone(&request().messages[1]);
        message.content.push(Content::Text { text: "and more".into() });
        say(&mut message, "new".into());
        assert_eq!((message.text().as_str(), message.content.len()), ("new", 3));
        assert!(matches!(&message.content[1], Content::Text { text } if text == "new"));
        say(&mut message, String::new());
        assert_eq!((message.text().as_str(), message.content.len()), ("", 2));
        say(&mut message, "again".into());
        assert!(matches!(&message.content[1], Content::Text { text } if text == "again"));
    }
}
