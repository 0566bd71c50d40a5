//! What a run tells its watchers: one schema, used by the terminal view and by `--json` (one object a line).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Error,
    budget::Standing,
    hook::Point,
    id::{FocusId, WorkId},
    ledger::Entry,
    llm::{Stop, Usage},
    work::State,
};

/// One event. In JSON the field `type` carries the variant's name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// A focus begins.
    Started {
        /// The work item.
        work: WorkId,
        /// This run of it.
        focus: FocusId,
        /// The faculty plugin.
        faculty: String,
    },
    /// More of the model's text.
    Token {
        /// The text.
        text: String,
    },
    /// A try at a model call failed and another follows; tokens since the last message are void.
    Retry {
        /// Why, and what is tried next.
        reason: String,
        /// The wait before it, in milliseconds.
        wait_ms: u64,
    },
    /// The model's whole message.
    Message {
        /// Which turn, from 1.
        turn: u32,
        /// Its text; may be empty.
        text: String,
        /// Why the model stopped.
        stop: Stop,
        /// The model that answered.
        model: String,
    },
    /// A tool call begins.
    ToolStart {
        /// The model's identifier of the call.
        id: String,
        /// The full tool name.
        tool: String,
        /// The arguments.
        args: Value,
    },
    /// A tool call ended.
    ToolEnd {
        /// The model's identifier of the call.
        id: String,
        /// The full tool name.
        tool: String,
        /// The answer as the model reads it, cut to 2,000 bytes.
        text: String,
        /// The answer's full size, in bytes.
        bytes: u64,
        /// The tool failed, was refused, or reports failure.
        is_error: bool,
        /// The class when the host refused or failed it; see [`Error::class`].
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<Error>,
        /// How long it took.
        elapsed_ms: u64,
    },
    /// A ledger entry was appended.
    Ledger {
        /// The entry.
        entry: Entry,
    },
    /// Work was given to a child.
    ChildSpawned {
        /// The child.
        child: WorkId,
        /// Its faculty.
        faculty: String,
        /// What it is to do, cut to 2,000 bytes.
        description: String,
    },
    /// A child was seen to have ended.
    ChildFinished {
        /// The child.
        child: WorkId,
        /// Its faculty.
        faculty: String,
        /// How it ended.
        state: State,
        /// Tokens that models counted for it.
        tokens: u64,
        /// What it cost, in millionths of a US dollar.
        cost_microusd: u64,
    },
    /// The conversation was made shorter, so that it goes on fitting the model's window.
    Compacted {
        /// Why.
        trigger: Compaction,
        /// The request's size before, in estimated tokens.
        before: u64,
        /// Its size now.
        after: u64,
        /// Whether a model was called for it.
        summarised: bool,
    },
    /// A model call was counted.
    Usage {
        /// What the vendor counted.
        usage: Usage,
        /// Its price, in millionths of a US dollar, where the model has one.
        cost_microusd: Option<u64>,
    },
    /// A share of the budget (50, 75 or 90 %) was crossed.
    Budget {
        /// Which share.
        percent: u8,
        /// Where the budget stands.
        standing: Standing,
    },
    /// The host did something that the reader should know: an oversized result was cut, a call was answered from cache.
    Notice {
        /// What.
        text: String,
    },
    /// A hook changed or stopped something, or failed.
    Hook {
        /// The hook: a plugin, or `command:` and the name of the operator's own.
        hook: String,
        /// Where it was run.
        point: Point,
        /// What about: a role, a tool's name, a faculty.
        subject: String,
        /// What came of it.
        action: HookAction,
        /// Its reason for a block, in its own words; of a failure, what failed. One line, control characters escaped.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A plugin wrote to its standard output or error.
    Log {
        /// The plugin.
        plugin: String,
        /// One line, control characters escaped.
        line: String,
    },
    /// What serves has changed, or has not although its source did. A focus that runs keeps what it began with.
    Reload {
        /// The plugin; none where its source does not even say that.
        #[serde(skip_serializing_if = "Option::is_none")]
        plugin: Option<String>,
        /// The generation that is installed now; none when there is none.
        #[serde(skip_serializing_if = "Option::is_none")]
        generation: Option<u64>,
        /// What came of it.
        kind: Reload,
        /// Why, for people.
        text: String,
    },
    /// The focus ended. Always the last event.
    Done {
        /// Whether the work is done.
        success: bool,
        /// How the engage loop ended, where there was one: `done`, `max-turns`, `budget`, `context-full`,
        /// `repetition`, `cancelled`, `blocked`.
        #[serde(skip_serializing_if = "Option::is_none")]
        ending: Option<String>,
        /// For people.
        summary: String,
        /// For programs.
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<Value>,
        /// Why it failed.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<Error>,
        /// Where the budget stands.
        standing: Standing,
    },
}

/// What came of showing something to a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookAction {
    /// It was changed.
    Modified,
    /// It was stopped.
    Blocked,
    /// The hook failed and is set to be passed over.
    Failed,
}

/// Why a conversation was made shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compaction {
    /// A step was completed: what led to it became one line.
    Step,
    /// The next request was over the threshold.
    Threshold,
    /// The vendor said that the request is too long.
    Overflow,
}

/// What came of a change of a plugin or its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reload {
    /// Another generation, or another grant, serves from now on.
    Serving,
    /// It is installed, and serves when the operator grants it something.
    AwaitingGrant,
    /// The source holds what is installed already.
    Unchanged,
    /// The source does not load; what served before goes on serving.
    Failed,
    /// The generation failed too often in a row; an earlier one serves again.
    RolledBack,
    /// It no longer serves.
    Removed,
}

/// Who watches. Called on the path of the run, so it must not block; an event that cannot be taken may be dropped,
/// [`Event::Done`] excepted.
pub trait Watcher: Send + Sync {
    /// Takes an event.
    fn event(&self, event: Event);
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Watcher for Unwatched {
    fn event(&self, _: Event) {}
}
