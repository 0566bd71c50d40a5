//! Conversations that every vendor accepts: roles alternate, every tool request has exactly one result.
//!
//! One unpaired request spoils a conversation for good, because vendors refuse it on every later call. So what a model
//! sends is put in order when it arrives ([`adopt`]) and what is sent to a model is put in order before it leaves
//! ([`repair`]), whoever made it. The engage loop's own conversation is put in order as it grows ([`Ordered`]).

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

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
    let mut ordered = Ordered::default();
    ordered.extend(messages);
    ordered.messages.into_iter().map(Arc::unwrap_or_clone).collect()
}

/// A conversation in order, which stays so while it grows: what is added is put in order, and what was there before is
/// not looked at again.
#[derive(Clone, Debug, Default)]
pub struct Ordered {
    messages: Vec<Arc<Message>>,
    /// The identifiers of all tool requests so far.
    asked: HashSet<String>,
}

impl Ordered {
    /// The conversation.
    #[must_use]
    pub fn messages(&self) -> &[Arc<Message>] {
        &self.messages
    }

    /// For changing what messages say. Roles, tool requests, and the identifiers and order of results have to stay.
    pub(crate) fn messages_mut(&mut self) -> &mut [Arc<Message>] {
        &mut self.messages
    }

    /// Puts `first` in the place of all messages before the place `from`, or before the next of the model's where one of
    /// the user's stands there.
    pub(crate) fn keep_from(&mut self, from: usize, first: Message) {
        let is_the_models = |at: &usize| self.messages.get(*at).is_none_or(|it| it.role == Role::Assistant);
        let from = (from..self.messages.len()).find(is_the_models).unwrap_or(self.messages.len());
        self.messages.splice(..from, [Arc::new(first)]);
        self.asked = self.messages.iter().flat_map(|message| message.tool_uses()).map(|it| it.id.clone()).collect();
    }

    /// The identifiers of the tool requests in it.
    pub(crate) fn asked(&self) -> &HashSet<String> {
        &self.asked
    }

    /// Adds messages: the outcome is that of [`repair`] for the conversation so far and `messages` together. Returns the
    /// place of the first message that is new or has changed, which may be one from before: a message that goes on with
    /// the role of the last one is joined with it.
    ///
    /// The conversation so far is complete: requests that `messages` leave open are answered as missing at once. So a
    /// request is added together with its result.
    pub fn extend(&mut self, messages: impl IntoIterator<Item = Message>) -> usize {
        let mut first = self.messages.len();
        let mut open: Vec<ToolUse> = Vec::new();
        for Message { role, mut content } in join(messages) {
            match role {
                Role::Assistant => {
                    content.retain(|part| match part {
                        Content::ToolUse(tool_use) => self.asked.insert(tool_use.id.clone()),
                        Content::ToolResult(_) => false,
                        _ => true,
                    });
                }
                Role::User => content = answered(&mut open, content),
            }
            if content.is_empty() {
                continue;
            }
            if role == Role::Assistant && self.messages.is_empty() {
                self.messages.push(Message::user("Go on.").into());
            }
            let last = self.messages.len().saturating_sub(1);
            match self.messages.last_mut().filter(|last| last.role == role) {
                // The message between these two turned out empty, or what is added begins with the role of the last.
                Some(message) => {
                    Arc::make_mut(message).content.extend(content);
                    first = first.min(last);
                }
                None => self.messages.push(Message { role, content }.into()),
            }
            if let Some(last) = self.messages.last().filter(|_| role == Role::Assistant) {
                open = last.tool_uses().cloned().collect();
            }
        }
        let rest = answered(&mut open, Vec::new());
        if !rest.is_empty() {
            self.messages.push(Message { role: Role::User, content: rest }.into());
        }
        first
    }
}

/// Joins neighbours of one role, without blank text.
fn join(messages: impl IntoIterator<Item = Message>) -> Vec<Message> {
    let mut joined: Vec<Message> = Vec::new();
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

/// A user's content with one result for each open request first, in their order. Of several results of one request the
/// first counts.
fn answered(open: &mut Vec<ToolUse>, content: Vec<Content>) -> Vec<Content> {
    let mut results: HashMap<String, ToolResult> = HashMap::new();
    let mut rest = Vec::new();
    for part in content {
        match part {
            Content::ToolUse(_) => {}
            Content::ToolResult(result) => {
                results.entry(result.id.clone()).or_insert(result);
            }
            part => rest.push(part),
        }
    }
    let ordered = open.drain(..).map(|ToolUse { id, .. }| results.remove(&id).unwrap_or_else(|| missing(id)));
    ordered.map(Content::ToolResult).chain(rest).collect()
}

fn missing(id: String) -> ToolResult {
    let text = "the result of this call is not known".to_owned();
    ToolResult { id, text, images: Vec::new(), is_error: true }
}
