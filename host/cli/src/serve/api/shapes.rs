//! What goes over the wire. Fields may be added; those that are here stay.

use animus_core::{
    Error,
    budget::Allowance,
    id::{FocusId, WorkId},
    journal::Tally,
    ledger,
    work::{self, FocusRecord, NewWork},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Work to submit.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Submit {
    /// The faculty that is to do it, or a kind of work that one accepts.
    pub(super) faculty: String,
    /// Who submits; `api` when it is not said.
    #[serde(default)]
    source: Option<String>,
    /// What to do, in words.
    #[serde(default)]
    instruction: String,
    /// Parameters of the faculty.
    #[serde(default)]
    #[schema(value_type = Object)]
    params: Map<String, Value>,
    /// Greater is sooner; 0 when it is not said.
    #[serde(default)]
    priority: i32,
    /// While an item of this faculty and key is queued or running, another one is merged into it.
    #[serde(default)]
    dedup_key: Option<String>,
    /// The most attempts, 1 to 100; what the faculty says when it is not said.
    #[serde(default)]
    pub(super) max_attempts: Option<u32>,
    /// Not before so many milliseconds from now.
    #[serde(default)]
    delay_ms: Option<u64>,
    /// The most tokens that all its attempts together may use.
    #[serde(default)]
    max_tokens: Option<u64>,
    /// The most that all its attempts together may cost, in millionths of a US dollar.
    #[serde(default)]
    max_microusd: Option<u64>,
}

impl Submit {
    pub(super) fn into_new(self, idempotency_key: Option<String>, trace: Option<String>) -> NewWork {
        NewWork {
            faculty: self.faculty,
            source: self.source.unwrap_or_else(|| "api".to_owned()),
            instruction: self.instruction,
            params: Value::Object(self.params),
            dedup_key: self.dedup_key,
            idempotency_key,
            priority: self.priority,
            max_attempts: self.max_attempts,
            not_before_ms: self.delay_ms.map(|delay| now_ms().saturating_add(delay)),
            allowance: Allowance { tokens: self.max_tokens, microusd: self.max_microusd },
            trace,
            ..NewWork::default()
        }
    }
}

pub(super) fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What a submit came to.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Submitted {
    /// `created`; `merged` into an item that was there; `repeated`, the same submit was made before.
    pub(super) result: String,
    /// The item that stands for the work.
    pub(super) work: Item,
    /// The item of this submit, where it was merged.
    pub(super) item: Option<String>,
    /// Why nothing here runs it, where it is queued and nothing does.
    pub(super) unroutable: Option<String>,
}

/// A work item.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Item {
    id: String,
    /// The faculty, or kind of work, that was asked for.
    faculty: String,
    source: String,
    instruction: String,
    #[schema(value_type = Object)]
    params: Value,
    /// `queued`, `running`, `completed`, `failed`, `dead`, `cancelled`, `merged`.
    state: String,
    priority: i32,
    dedup_key: Option<String>,
    merged_into: Option<String>,
    attempts: u32,
    max_attempts: u32,
    takeovers: u32,
    /// Not before this time; milliseconds since 1970, as all times here.
    not_before_ms: u64,
    parent: Option<String>,
    depth: u32,
    /// Somebody asked for its end while it runs.
    cancelling: bool,
    /// Its newest run.
    focus: Option<String>,
    /// What came of it: `success`, `summary` for people, `data` for programs.
    #[schema(value_type = Option<Object>)]
    outcome: Option<Value>,
    /// Why its last run failed: `class` and `detail`.
    #[schema(value_type = Option<Object>)]
    error: Option<Error>,
    tokens: u64,
    cost_microusd: u64,
    created_ms: u64,
    updated_ms: u64,
}

impl From<work::Work> for Item {
    fn from(work: work::Work) -> Self {
        let text = |id: WorkId| id.to_string();
        Self {
            id: work.id.to_string(),
            faculty: work.faculty,
            source: work.source,
            instruction: work.instruction,
            params: work.params,
            state: work.state.to_string(),
            priority: work.priority,
            dedup_key: work.dedup_key,
            merged_into: work.merged_into.map(text),
            attempts: work.attempts,
            max_attempts: work.max_attempts,
            takeovers: work.takeovers,
            not_before_ms: work.not_before_ms,
            parent: work.parent.map(text),
            depth: work.depth,
            cancelling: work.cancelling,
            focus: work.focus.map(|id: FocusId| id.to_string()),
            outcome: work.outcome,
            error: work.error,
            tokens: work.tokens,
            cost_microusd: work.cost_microusd,
            created_ms: work.created_ms,
            updated_ms: work.updated_ms,
        }
    }
}

/// A list of work items, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Items {
    pub(super) work: Vec<Item>,
    /// What to ask for as `cursor` to read on; none at the end.
    pub(super) next: Option<String>,
}

/// A work item with what belongs to it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Shown {
    pub(super) work: Item,
    /// Why nothing here runs it, where it is queued and nothing does.
    pub(super) unroutable: Option<String>,
    /// Its children, the newest 100.
    pub(super) children: Vec<Item>,
    /// Its runs, oldest first.
    pub(super) foci: Vec<Focus>,
}

/// One run of a work item.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Focus {
    id: String,
    work: String,
    /// 1, and one more each time that another host took it over.
    token: u64,
    /// Who runs it, or did: `process@machine`.
    host: String,
    /// The plugins that it keeps, with generation and digest.
    #[schema(value_type = Object)]
    plugins: Value,
    began_ms: u64,
    ended_ms: Option<u64>,
}

impl From<FocusRecord> for Focus {
    fn from(focus: FocusRecord) -> Self {
        Self {
            id: focus.id.to_string(),
            work: focus.work.to_string(),
            token: focus.token,
            host: focus.host.to_string(),
            plugins: focus.plugins,
            began_ms: focus.began_ms,
            ended_ms: focus.ended_ms,
        }
    }
}

/// The runs of a work item, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Foci {
    pub(super) foci: Vec<Focus>,
}

/// One run with what its journal comes to.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FocusShown {
    pub(super) focus: Focus,
    pub(super) journal: Journal,
}

/// What a journal comes to.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct Journal {
    /// Effects, by kind.
    effects: std::collections::BTreeMap<String, u64>,
    /// Those that failed.
    failed: u64,
    /// Those whose outcome is not known (yet).
    open: u64,
}

impl From<Tally> for Journal {
    fn from(tally: Tally) -> Self {
        let Tally { effects, failed, open } = tally;
        Self { effects, failed, open }
    }
}

/// The ledger of a work item.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Ledger {
    pub(super) entries: Vec<Entry>,
}

/// An entry of a ledger.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Entry {
    seq: u64,
    /// `plan`, `finding`, `decision`, `step`, `error`, `note`.
    entry_type: String,
    content: String,
    created_ms: u64,
}

impl From<ledger::Entry> for Entry {
    fn from(entry: ledger::Entry) -> Self {
        Self {
            seq: entry.seq,
            entry_type: entry.entry_type.to_string(),
            content: entry.content,
            created_ms: entry.created_ms,
        }
    }
}

/// A plugin.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Plugin {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) generation: u64,
    /// `serving` or `awaiting-grant`.
    pub(super) state: String,
    pub(super) is_faculty: bool,
    /// Its tools, by full name.
    pub(super) tools: Vec<String>,
}

/// All plugins.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Plugins {
    pub(super) plugins: Vec<Plugin>,
}

/// All faculties.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Faculties {
    pub(super) faculties: Vec<crate::cmd::Described>,
}

/// A host that serves.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Server {
    pub(super) host: String,
    pub(super) max_concurrent: u32,
    pub(super) running: u32,
    pub(super) draining: bool,
    pub(super) age_ms: u64,
}

/// How the whole stands.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Status {
    pub(super) version: String,
    /// `sqlite` or `postgres`.
    pub(super) store: String,
    /// Whether this server takes work.
    pub(super) takes_work: bool,
    pub(super) draining: bool,
    /// Foci that run here.
    pub(super) running: u64,
    /// Items by state.
    pub(super) by_state: std::collections::BTreeMap<String, u64>,
    /// Items that could begin now, by what they name.
    pub(super) ready: std::collections::BTreeMap<String, u64>,
    pub(super) oldest_ready_ms: Option<u64>,
    /// Of these, what no faculty here runs, and why.
    pub(super) unroutable: std::collections::BTreeMap<String, String>,
    /// Servers that were heard of lately.
    pub(super) servers: Vec<Server>,
}

/// Whether it lives, or is ready.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    pub(super) status: String,
}
