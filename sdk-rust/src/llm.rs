//! Language models, by role. Needs the capability `llm`. Keys, vendors and prices stay in the host.

use crate::{Error, Result, host::llm as host};

pub use crate::bindings::imports::animus::llm::llm::{
    Content, Embeddings, Event, Image, Message, Request, Response, Role, StopReason, ToolDefinition, ToolResult,
    ToolUse, Usage,
};

impl Default for Request {
    /// The default model, no messages, no tools.
    fn default() -> Self {
        Self {
            model: String::new(),
            system: None,
            messages: Vec::new(),
            tools: Vec::new(),
            max_tokens: None,
            temperature: None,
        }
    }
}

impl Request {
    /// One question to the model of a role or alias; the empty string means `default`.
    pub fn ask(model: impl Into<String>, prompt: impl Into<String>) -> Self {
        Self { model: model.into(), messages: vec![Message::user(prompt)], ..Self::default() }
    }
}

impl Message {
    /// The user says this.
    pub fn user(text: impl Into<String>) -> Self {
        Self { role: Role::User, content: vec![Content::Text(text.into())] }
    }

    /// The texts of the message, one after the other.
    #[must_use]
    pub fn text(&self) -> String {
        let text = |part: &Content| match part {
            Content::Text(text) => Some(text.clone()),
            _ => None,
        };
        self.content.iter().filter_map(text).collect()
    }
}

/// Completes, and returns the whole answer.
///
/// # Errors
/// [`Error::Denied`] for a role outside the grant; [`Error::BudgetExhausted`]; [`Error::Unavailable`].
pub fn complete(request: &Request) -> Result<Response> {
    host::complete(request).map_err(Error::from_host)
}

/// Completes, piece by piece. The last piece is [`Event::Done`]; dropping the iterator cancels the request.
///
/// # Errors
/// As [`complete`].
pub fn stream(request: &Request) -> Result<impl Iterator<Item = Result<Event>>> {
    let completion = host::open_stream(request).map_err(Error::from_host)?;
    let mut ended = false;
    Ok(std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let piece = completion.next().map_err(Error::from_host).transpose();
        ended = !matches!(piece, Some(Ok(_)));
        piece
    }))
}

/// Where each of 1 to 256 texts points, by the models of the role `embed`: texts that say alike things point alike ways.
/// No text is blank or longer than 64 KiB.
///
/// # Errors
/// [`Error::Denied`] when the role `embed` is not granted; [`Error::Invalid`]; [`Error::BudgetExhausted`];
/// [`Error::Unavailable`].
pub fn embed(texts: &[String]) -> Result<Embeddings> {
    host::embed(texts).map_err(Error::from_host)
}

/// The roles and aliases that this plugin may use.
#[must_use]
pub fn models() -> Vec<String> {
    host::list_models()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_message_leaves_out_what_is_not_text() {
        let request = Request::ask("fast", "one ");
        let mut message = request.messages.into_iter().next().unwrap();
        message.content.push(Content::Opaque("{}".into()));
        message.content.push(Content::Text("two".into()));
        assert_eq!(message.text(), "one two");
    }
}
