//! Hooks: what watches an agent's model calls, tool calls and turns, and may change or stop them. See
//! `animus:hook/hook`.
//!
//! The chain of hooks is run by `animus-agent`. Here are its shapes, and what a patch may do to an event.

pub mod command;
mod patch;

use std::{collections::BTreeSet, fmt, str::FromStr, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use self::patch::{LlmPatch, OutcomePatch, PartPatch, Patch};
use crate::{Error, Result, grant::HookAccess, id::is_name, text};

/// The time that a hook gets where nobody says, in milliseconds.
pub const TIMEOUT_MS: u64 = 1_500;
/// The shortest and the longest time that a hook may be given, in milliseconds.
pub const TIMEOUTS_MS: std::ops::RangeInclusive<u64> = 10..=120_000;
/// The place of a hook where nobody says: low ones come first.
pub const PRIORITY: i32 = 100;
/// The longest reason that is kept of a block, in bytes.
pub const MAX_REASON: usize = 500;

/// Where hooks are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Point {
    /// Before every model call.
    BeforeLlmCall,
    /// After every model call.
    AfterLlmCall,
    /// Before every tool call.
    BeforeToolCall,
    /// After every tool call that was run.
    AfterToolCall,
    /// After every turn of the engage loop.
    AfterTurn,
}

impl Point {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::BeforeLlmCall, Self::AfterLlmCall, Self::BeforeToolCall, Self::AfterToolCall, Self::AfterTurn];

    /// The stable word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BeforeLlmCall => "before-llm-call",
            Self::AfterLlmCall => "after-llm-call",
            Self::BeforeToolCall => "before-tool-call",
            Self::AfterToolCall => "after-tool-call",
            Self::AfterTurn => "after-turn",
        }
    }

    /// What a plugin must be granted to be run there.
    #[must_use]
    pub fn access(self) -> HookAccess {
        match self {
            Self::BeforeLlmCall | Self::AfterLlmCall => HookAccess::Llm,
            Self::BeforeToolCall | Self::AfterToolCall => HookAccess::Tool,
            Self::AfterTurn => HookAccess::Turn,
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Point {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|point| point.as_str() == s).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str).join(", ");
            Error::Invalid(format!("'{}' is none of: {known}", text::escape(s)))
        })
    }
}

/// What is made of a hook that fails, traps, is too slow or answers a patch that does not fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// It is passed over.
    Open,
    /// It counts as a block.
    #[default]
    Closed,
}

impl OnFailure {
    /// The stable word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

impl FromStr for OnFailure {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        [Self::Open, Self::Closed]
            .into_iter()
            .find(|word| word.as_str() == s)
            .ok_or_else(|| Error::Invalid(format!("'{}' is none of: open, closed", text::escape(s))))
    }
}

/// How a hook is run, as its operator set it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Low ones come first; ties go by name.
    pub priority: i32,
    /// The time that one call of it gets, in milliseconds.
    pub timeout_ms: u64,
    /// What is made of its failures.
    pub on_failure: OnFailure,
    /// Where it is run, as far as its grant goes.
    pub events: BTreeSet<Point>,
    /// Whether it is run at all.
    pub enabled: bool,
}

impl Default for Settings {
    /// Everywhere, closed, 1.5 seconds.
    fn default() -> Self {
        Self {
            priority: PRIORITY,
            timeout_ms: TIMEOUT_MS,
            on_failure: OnFailure::default(),
            events: Point::ALL.into(),
            enabled: true,
        }
    }
}

impl Settings {
    /// The time that one call gets.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms.clamp(*TIMEOUTS_MS.start(), *TIMEOUTS_MS.end()))
    }
}

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The user, tool results included.
    User,
    /// The model.
    Assistant,
}

/// What a piece of a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Plain text.
    Text,
    /// The arguments of a tool call that the model asked for.
    ToolUse,
    /// What a tool answered.
    ToolResult,
}

/// A piece of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Which message, from 0.
    pub message: u32,
    /// Who says it.
    pub role: Role,
    /// What it is.
    pub kind: Kind,
    /// What it says.
    pub text: String,
}

/// A model is about to be called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LlmCall {
    /// The work item.
    pub work_id: String,
    /// The plugin that asks.
    pub caller: String,
    /// Which model call of this focus, from 1.
    pub number: u32,
    /// The role or alias.
    pub model: String,
    /// The system prompt.
    pub system: Option<String>,
    /// The whole conversation.
    pub parts: Vec<Part>,
    /// The tools on offer.
    pub tools: Vec<String>,
}

/// A model has answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LlmAnswer {
    /// The work item.
    pub work_id: String,
    /// The plugin that asked.
    pub caller: String,
    /// Which model call of this focus, from 1.
    pub number: u32,
    /// The role or alias.
    pub model: String,
    /// The answer's text.
    pub text: String,
    /// The tools that it asks for.
    pub tool_uses: Vec<String>,
    /// How long it took.
    pub elapsed_ms: u64,
}

/// A tool is about to be called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The work item.
    pub work_id: String,
    /// The plugin that calls, or `operator`.
    pub caller: String,
    /// How deep inside other calls the tool will run.
    pub depth: u32,
    /// The full name.
    pub tool: String,
    /// Its arguments.
    pub args: Map<String, Value>,
    /// Calls of this tool in this focus before this one; blocked ones do not count.
    pub calls: u32,
    /// Those of the last 60 seconds.
    pub calls_last_minute: u32,
}

/// A tool has answered, or failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    pub args: Map<String, Value>,
    /// What it says.
    pub text: String,
    /// The same as data.
    pub structured: Option<Value>,
    /// Whether it failed.
    pub is_error: bool,
    /// How long it took.
    pub elapsed_ms: u64,
}

/// A turn of the engage loop is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnEnd {
    /// The work item.
    pub work_id: String,
    /// The faculty.
    pub caller: String,
    /// Which turn of the loop, from 1.
    pub turn: u32,
    /// The model's text.
    pub text: String,
    /// Tool calls of this turn.
    pub tool_calls: u32,
}

/// What a hook is shown. In JSON the field `event` carries the [`Point`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event")]
pub enum HookEvent {
    /// A model is about to be called.
    #[serde(rename = "before-llm-call")]
    BeforeLlm(LlmCall),
    /// A model has answered.
    #[serde(rename = "after-llm-call")]
    AfterLlm(LlmAnswer),
    /// A tool is about to be called.
    #[serde(rename = "before-tool-call")]
    BeforeTool(ToolCall),
    /// A tool has answered.
    #[serde(rename = "after-tool-call")]
    AfterTool(ToolOutcome),
    /// A turn is over.
    #[serde(rename = "after-turn")]
    AfterTurn(TurnEnd),
}

impl HookEvent {
    /// Where it is shown.
    #[must_use]
    pub fn point(&self) -> Point {
        match self {
            Self::BeforeLlm(_) => Point::BeforeLlmCall,
            Self::AfterLlm(_) => Point::AfterLlmCall,
            Self::BeforeTool(_) => Point::BeforeToolCall,
            Self::AfterTool(_) => Point::AfterToolCall,
            Self::AfterTurn(_) => Point::AfterTurn,
        }
    }

    /// What it is about: a role, a tool's name, a faculty.
    #[must_use]
    pub fn subject(&self) -> &str {
        match self {
            Self::BeforeLlm(call) => &call.model,
            Self::AfterLlm(answer) => &answer.model,
            Self::BeforeTool(call) => &call.tool,
            Self::AfterTool(outcome) => &outcome.tool,
            Self::AfterTurn(turn) => &turn.caller,
        }
    }
}

/// What a hook answers. There is no word by which it could allow anything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", content = "detail", rename_all = "kebab-case")]
pub enum Verdict {
    /// As it is.
    Continue,
    /// Changed.
    Modify(Patch),
    /// Not at all; why.
    Block(String),
}

/// A hook that is a program of the operator's, described by a `HOOK.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandHook {
    /// Its name.
    pub name: String,
    /// How it is run.
    pub settings: Settings,
}

/// The port to the operator's command hooks. The host's agent starts no processes itself.
#[async_trait]
pub trait CommandHooks: Send + Sync {
    /// Those that there are.
    fn hooks(&self) -> &[CommandHook];

    /// Runs one. Dropping the future ends what it started.
    ///
    /// # Errors
    /// [`Error::NotFound`] for no such hook; [`Error::Invalid`] for an event that is too large for it and an answer that
    /// is none; [`Error::Internal`] for a program that could not be started or failed.
    async fn run(&self, name: &str, event: &HookEvent) -> Result<Verdict>;
}

/// What the name of an operator's command hook stands behind, so that it is never taken for a plugin's.
pub const COMMAND: &str = "command:";

/// Whether a text can be the name of a hook: a plugin's, or [`COMMAND`] and a name of the same form.
#[must_use]
pub fn is_hook_name(name: &str) -> bool {
    is_name(name.strip_prefix(COMMAND).unwrap_or(name))
}

/// A hook's reason as others may read it: one line without anything that a terminal or a reader would be misled by, at
/// most [`MAX_REASON`] bytes.
#[must_use]
pub fn reason(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_REASON);
    let mut shown = text::escape(text.get(..end).unwrap_or_default().trim()).to_string();
    // An escape is longer than what it stands for.
    shown.truncate(shown.floor_char_boundary(MAX_REASON));
    if shown.is_empty() { "no reason given".to_owned() } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_reads_back_and_needs_a_grant() {
        for point in Point::ALL {
            assert_eq!(point.as_str().parse(), Ok(point));
            assert_eq!(serde_json::to_value(point).unwrap(), point.as_str());
        }
        assert!("before-everything".parse::<Point>().is_err());
    }

    #[test]
    fn a_reason_is_one_short_line_without_tricks() {
        assert_eq!(reason(" no\nsecrets\u{202e} "), "no\\u{a}secrets\\u{202e}");
        assert_eq!(reason("\u{1}".repeat(400).as_str()).len(), MAX_REASON - MAX_REASON % 5);
        assert_eq!(reason(&"ä".repeat(400)).len(), MAX_REASON);
        assert_eq!(reason("  \n"), "no reason given");
    }

    #[test]
    fn a_time_is_never_beyond_its_bounds() {
        let with = |timeout_ms| Settings { timeout_ms, ..Settings::default() }.timeout().as_millis();
        assert_eq!([with(0), with(10), with(1_500), with(u64::MAX)], [10, 10, 1_500, 120_000]);
    }
}
