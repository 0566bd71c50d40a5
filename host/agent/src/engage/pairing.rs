//! Conversations that every vendor accepts: roles alternate, every tool request has exactly one result.
//!
//! One unpaired request spoils a conversation for good, because vendors refuse it on every later call. So what a model
//! sends is put in order when it arrives ([`adopt`]) and what is sent to a model is put in order before it leaves
//! ([`repair`]), whoever made it.

use std::collections::HashSet;

use animus_core::llm::{Content, Message, Role, ToolResult, ToolUse};

/// Stands in for a tool name that no vendor accepts.
const UNREADABLE_NAME: &str = "unreadable_tool_name";

/// Takes in a model's message: identifiers become unique within the conversation and names acceptable to vendors.
pub fn adopt(mut message: Message, ids: &mut HashSet<String>) -> Message {
    for part in &mut message.content {
        if let Content::ToolUse(tool_use) = part {
            if !is_acceptable(&tool_use.name) {
                UNREADABLE_NAME.clone_into(&mut tool_use.name);
            }
            make_unique(&mut tool_use.id, ids);
        }
    }
    message
}

fn is_acceptable(name: &str) -> bool {
    (1..=128).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn make_unique(id: &mut String, ids: &mut HashSet<String>) {
    let stem = if id.is_empty() { "call".to_owned() } else { id.clone() };
    let mut number = 1;
    while id.is_empty() || ids.contains(id) {
        number += 1;
        *id = format!("{stem}_{number}");
    }
    ids.insert(id.clone());
}

/// Puts a conversation in order and changes nothing in one that is.
///
/// Neighbours of one role are joined; blank text and empty messages go; a conversation that the model begins gets a
/// user's line before it. Every tool request is answered in the next message, in the order of the requests and before
/// anything else there: missing results are made up as errors that say so, results that answer nothing go, and so does
/// a second result or request of the same identifier.
#[must_use]
pub fn repair(messages: Vec<Message>) -> Vec<Message> {
    let mut asked = HashSet::new();
    let mut repaired: Vec<Message> = Vec::with_capacity(messages.len());
    let mut open: Vec<ToolUse> = Vec::new();
    for message in join(messages) {
        let role = message.role;
        let mut content = message.content;
        match role {
            Role::Assistant => {
                content.retain(|part| match part {
                    Content::ToolUse(tool_use) => asked.insert(tool_use.id.clone()),
                    Content::ToolResult(_) => false,
                    _ => true,
                });
            }
            Role::User => content = answered(&mut open, content),
        }
        if content.is_empty() {
            continue;
        }
        if role == Role::Assistant && repaired.is_empty() {
            repaired.push(Message::user("Go on."));
        }
        match repaired.last_mut().filter(|last| last.role == role) {
            // The message between these two turned out empty.
            Some(last) => last.content.extend(content),
            None => repaired.push(Message { role, content }),
        }
        if let Some(last) = repaired.last().filter(|_| role == Role::Assistant) {
            open = last.tool_uses().cloned().collect();
        }
    }
    let rest = answered(&mut open, Vec::new());
    if !rest.is_empty() {
        repaired.push(Message { role: Role::User, content: rest });
    }
    repaired
}

/// Joins neighbours of one role, without blank text.
fn join(messages: Vec<Message>) -> Vec<Message> {
    let mut joined: Vec<Message> = Vec::with_capacity(messages.len());
    for mut message in messages {
        message.content.retain(|part| !matches!(part, Content::Text { text } if text.trim().is_empty()));
        match joined.last_mut().filter(|last| last.role == message.role) {
            Some(last) => last.content.append(&mut message.content),
            None if message.content.is_empty() => {}
            None => joined.push(message),
        }
    }
    joined
}

/// A user's content with one result for each open request first, in their order.
fn answered(open: &mut Vec<ToolUse>, content: Vec<Content>) -> Vec<Content> {
    let (mut results, rest): (Vec<_>, Vec<_>) = content
        .into_iter()
        .filter(|part| !matches!(part, Content::ToolUse(_)))
        .partition(|part| matches!(part, Content::ToolResult(_)));
    let mut ordered: Vec<Content> = open
        .drain(..)
        .map(|tool_use| {
            let found = results.iter().position(|part| matches!(part, Content::ToolResult(r) if r.id == tool_use.id));
            found.map_or_else(|| Content::ToolResult(missing(tool_use.id)), |at| results.swap_remove(at))
        })
        .collect();
    ordered.extend(rest);
    ordered
}

fn missing(id: String) -> ToolResult {
    let text = "the result of this call is not known".to_owned();
    ToolResult { id, text, images: Vec::new(), is_error: true }
}
