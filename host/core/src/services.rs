//! What a running plugin reaches in the host: the port from the runtime's capabilities to the focus it runs in.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{
    Denial, Result,
    authority::Authority,
    child::{Child, NewChild},
    code::{Program, Ran},
    grant::Grant,
    id::{Digest, FocusId, MemoryId, TenantId, WorkId},
    journal::{Intent, Outcome},
    ledger::{Entry, EntryType, Filter},
    llm, memory,
    tool::{Output, Tool},
};

/// The principal of a store: the plugin generation that runs, for whom, and how deep inside other calls. Immutable.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The tenant.
    pub tenant: TenantId,
    /// The focus.
    pub focus: FocusId,
    /// The plugin and what it may do.
    pub authority: Arc<Authority>,
    /// The plugin's generation.
    pub generation: u64,
    /// The plugin's bytes.
    pub digest: Digest,
    /// 0 for a faculty or an operator's tool call, 1 for a tool that it calls, and so on.
    pub depth: u64,
    /// The journal entry inside which this call happens.
    pub parent: Option<u64>,
}

/// What a call into a plugin carries from the focus.
#[derive(Clone)]
pub struct CallContext {
    /// The tenant.
    pub tenant: TenantId,
    /// The focus.
    pub focus: FocusId,
    /// 0 for a faculty or an operator's tool call, 1 for a tool that it calls, and so on.
    pub depth: u64,
    /// The journal entry inside which this call happens.
    pub parent: Option<u64>,
    /// Cancels the call.
    pub cancel: CancellationToken,
    /// The folder that `$workspace` in a path grant stands for.
    pub workspace: Option<PathBuf>,
    /// The most that whoever acts for the focus itself, at depth 0, may hold, whatever it is granted. Tools that it calls
    /// run under their own grants.
    pub cap: Option<Arc<Grant>>,
    /// The host's side of the focus.
    pub services: Arc<dyn Services>,
    /// What the plugin reads as time and randomness, where it is to run again alike; the real ones otherwise.
    pub deterministic: Option<Deterministic>,
}

/// The time and randomness of a program that runs again when its focus is resumed, and must ask for the same then.
#[derive(Clone, Debug)]
pub struct Deterministic {
    /// The time.
    pub clock: Arc<VirtualClock>,
    /// What all random numbers come from. It follows from public identifiers, so it is no secret: such a program keeps no
    /// keys, and must make none.
    pub seed: [u8; 32],
}

/// A clock that goes on when the program gets an answer or sleeps, and stands still otherwise.
#[derive(Debug, Default)]
pub struct VirtualClock(AtomicU64);

impl VirtualClock {
    /// A clock at a time, in milliseconds since the epoch.
    #[must_use]
    pub fn at(ms: u64) -> Self {
        Self(AtomicU64::new(ms.saturating_mul(1_000_000)))
    }

    /// Goes on to a time, in milliseconds since the epoch; never back.
    pub fn advance(&self, ms: u64) {
        self.advance_ns(ms.saturating_mul(1_000_000));
    }

    /// The same in nanoseconds.
    pub fn advance_ns(&self, ns: u64) {
        self.0.fetch_max(ns, Ordering::AcqRel);
    }

    /// The time since the epoch.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Acquire))
    }
}

/// How to run the engage loop; see `animus:faculty/engage.options`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EngageOptions {
    /// The faculty's system prompt.
    pub system: String,
    /// The user's message.
    pub prompt: String,
    /// A role or alias; empty means `default`.
    pub model: String,
    /// The tools on offer, by full name or pattern.
    pub tools: Vec<String>,
    /// At most so many model calls.
    pub max_turns: Option<u32>,
    /// The longest single answer, in tokens.
    pub max_tokens: Option<u32>,
    /// 0 to 2.
    pub temperature: Option<f32>,
}

/// Why the engage loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// The model finished.
    Done,
    /// `max_turns` model calls were made.
    MaxTurns,
    /// Tokens or money ran out.
    Budget,
    /// The conversation no longer fits the model's window.
    ContextFull,
    /// The model kept repeating one call that gives one answer.
    Repetition,
    /// The work was cancelled.
    Cancelled,
}

impl Ending {
    /// The stable word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::MaxTurns => "max-turns",
            Self::Budget => "budget",
            Self::ContextFull => "context-full",
            Self::Repetition => "repetition",
            Self::Cancelled => "cancelled",
        }
    }
}

/// How the engage loop ended, with what was done so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Engagement {
    /// Why.
    pub ending: Ending,
    /// The model's last text.
    pub text: String,
    /// Model calls made.
    pub turns: u32,
    /// Tool calls made.
    pub tool_calls: u32,
}

/// The host's side of a focus. The runtime has already checked `by`'s own grant when it calls these; they check what
/// only the focus knows (its budget, its own narrower grant), journal intent and result, and do it.
#[async_trait]
pub trait Services: Send + Sync {
    /// The work item.
    fn work(&self) -> WorkId;

    /// Completes, piece by piece. Roles that `by` may not use are already refused.
    async fn llm_stream(&self, by: &Principal, request: llm::Request) -> Result<llm::ResponseStream>;

    /// Completes, and returns the whole answer.
    async fn llm_complete(&self, by: &Principal, request: llm::Request) -> Result<llm::Response>;

    /// Where texts point, by the models of the role `embed`, which `by` may use.
    async fn llm_embed(&self, by: &Principal, texts: Vec<String>) -> Result<llm::Embeddings>;

    /// All roles and aliases; the runtime narrows them to the grant.
    fn llm_roles(&self) -> Vec<String>;

    /// Appends to the work item's ledger.
    async fn ledger_append(&self, by: &Principal, entry_type: EntryType, content: String) -> Result<u64>;

    /// Reads the work item's ledger.
    async fn ledger_read(&self, by: &Principal, filter: Filter) -> Result<Vec<Entry>>;

    /// Stores a memory; its source is `by`.
    async fn memory_store(&self, by: &Principal, content: String, kind: String, tags: Vec<String>) -> Result<MemoryId>;

    /// Recalls memories.
    async fn memory_recall(&self, by: &Principal, query: memory::Query) -> Result<Vec<memory::Hit>>;

    /// One memory.
    async fn memory_get(&self, by: &Principal, id: MemoryId) -> Result<memory::Memory>;

    /// Gives a memory new content and returns its version; a conflict when it is not at the version `from`.
    async fn memory_update(&self, by: &Principal, id: MemoryId, content: String, from: Option<u64>) -> Result<u64>;

    /// What a memory says and said, the newest version first.
    async fn memory_versions(&self, by: &Principal, id: MemoryId) -> Result<Vec<memory::Version>>;

    /// Removes a memory.
    async fn memory_forget(&self, by: &Principal, id: MemoryId) -> Result<()>;

    /// Tags a memory.
    async fn memory_tag(&self, by: &Principal, id: MemoryId, tag: String) -> Result<()>;

    /// All tools of the focus's pinned plugins; the runtime narrows them to the grant.
    fn tools(&self) -> Vec<Arc<Tool>>;

    /// Calls a tool by its full name, under the tool's own grant. `args` is JSON text.
    async fn tool_call(&self, by: &Principal, name: &str, args: String) -> Result<Output>;

    /// Has an interpreter plugin run a program as `by`. The runtime has checked that `by` may.
    async fn code_run(&self, by: &Principal, interpreter: &str, program: Program) -> Result<Ran>;

    /// Gives work to another faculty. The runtime has checked that `by` may.
    async fn child_spawn(&self, by: &Principal, new: NewChild) -> Result<WorkId>;

    /// Waits until all of these children have ended, and returns them in this order. Ids as the caller wrote them: one
    /// that is none of this work's children is not found, whether there is such an item or not.
    async fn child_await(&self, by: &Principal, ids: Vec<String>, timeout_ms: u64) -> Result<Vec<Child>>;

    /// Where these children stand now, in this order.
    async fn child_check(&self, by: &Principal, ids: Vec<String>) -> Result<Vec<Child>>;

    /// Asks for the end of a child and of its own.
    async fn child_cancel(&self, by: &Principal, id: String) -> Result<()>;

    /// Runs the engage loop as `by`.
    async fn engage(&self, by: &Principal, options: EngageOptions) -> Result<Engagement>;

    /// Journals that an effect is about to happen which the runtime itself carries out (an HTTP request).
    async fn effect_begin(&self, by: &Principal, intent: Intent) -> Result<u64>;

    /// Journals how it went.
    async fn effect_end(&self, by: &Principal, seq: u64, outcome: Outcome) -> Result<()>;

    /// The value of a secret, for injection at egress.
    async fn secret(&self, by: &Principal, handle: &str) -> Result<crate::store::SecretValue>;

    /// `by`'s own grant refused it something during a call, and the call's outcome does not show it. At most once a call.
    async fn denied(&self, by: &Principal, denial: &Denial);

    /// A plugin wrote a line to its standard output or error (already bounded and escaped).
    fn log(&self, by: &Principal, line: String);
}
