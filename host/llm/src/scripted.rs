//! `scripted:FILE`: a recorded transcript in place of a model. Only the model's part is recorded; the tools that it calls
//! run for real.
//!
//! The crate's documentation has the format of the file.

use std::{path::Path, time::Duration};

use animus_core::{
    Error,
    llm::{Content, Message, Request, Role, Stop, Usage},
};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{assemble::Assembler, failure::Failure};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Transcript {
    turns: Vec<Turn>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Turn {
    #[serde(default)]
    expect: Expect,
    content: Vec<Part>,
    stop: Option<Stop>,
    #[serde(default)]
    usage: Usage,
    /// How long each piece takes, in milliseconds.
    #[serde(default)]
    pace_ms: u64,
}

/// The longest that one piece takes.
const SLOWEST: Duration = Duration::from_secs(60);

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    tool_error: Option<bool>,
    contains: Option<String>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Part {
    Text {
        text: String,
    },
    ToolUse {
        #[serde(default)]
        id: String,
        name: String,
        #[serde(default)]
        input: Map<String, Value>,
    },
}

/// Plays the turn that follows the conversation, and says how long each piece of it takes.
pub(crate) async fn play(file: &Path, request: &Request, out: &mut Assembler<'_>) -> Result<Duration, Failure> {
    let shown = file.display();
    let text = tokio::fs::read_to_string(file)
        .await
        .map_err(|error| Failure::fallback(Error::NotFound(format!("cannot read the transcript {shown}: {error}"))))?;
    let transcript: Transcript = serde_json::from_str(&text).map_err(|error| {
        Failure::fallback(Error::Invalid(format!("the transcript {shown} cannot be read: {error}")))
    })?;
    let at = request.messages.iter().filter(|message| message.role == Role::Assistant).count();
    let turn = transcript.turns.get(at).ok_or_else(|| {
        Failure::fallback(Error::NotFound(format!(
            "the transcript {shown} has {} turns, and the conversation asks for one more",
            transcript.turns.len()
        )))
    })?;
    turn.expect.check(request.messages.last().map(AsRef::as_ref)).map_err(|why| {
        Failure::fallback(Error::Conflict(format!("turn {} of the transcript {shown} expects {why}", at + 1)))
    })?;
    let mut asks = false;
    for (index, part) in (0..).zip(&turn.content) {
        match part {
            // Word by word, as models write.
            Part::Text { text } => text.split_inclusive(' ').for_each(|word| out.text((0, index), word)),
            Part::ToolUse { id, name, input } => {
                asks = true;
                out.tool((0, index), id, name, &Value::Object(input.clone()).to_string());
            }
        }
    }
    out.usage(turn.usage);
    out.stop(turn.stop.clone().unwrap_or(if asks { Stop::ToolUse } else { Stop::EndTurn }));
    out.end();
    Ok(Duration::from_millis(turn.pace_ms).min(SLOWEST))
}

impl Expect {
    fn check(&self, last: Option<&Message>) -> Result<(), String> {
        let parts = last.map(|message| message.content.as_slice()).unwrap_or_default();
        let results = parts.iter().filter_map(|part| match part {
            Content::ToolResult(result) => Some(result),
            _ => None,
        });
        let text: Vec<&str> = parts
            .iter()
            .filter_map(|part| match part {
                Content::Text { text } => Some(text.as_str()),
                Content::ToolResult(result) => Some(result.text.as_str()),
                _ => None,
            })
            .collect();
        let text = text.join("\n");
        let shown: String = text.chars().take(300).collect();
        if let Some(wanted) = self.tool_error {
            let failed = results.clone().any(|result| result.is_error);
            if failed != wanted {
                let wanted = if wanted { "a tool to fail" } else { "no tool to fail" };
                return Err(format!("{wanted}, but the last results are: {shown}"));
            }
        }
        match &self.contains {
            Some(wanted) if !text.contains(wanted.as_str()) => {
                Err(format!("'{wanted}' in the last message, which is: {shown}"))
            }
            _ => Ok(()),
        }
    }
}
