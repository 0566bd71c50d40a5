//! The port to plugins: a pinned snapshot of what is installed for a tenant.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Denial, Result,
    authority::Authority,
    code,
    hook::{HookEvent, Verdict},
    id::{Digest, PluginName},
    services::CallContext,
    tool::{Output, Tool},
};

/// The plugins that ship with this host. Agents make no skill of these names, also where one was removed: what other
/// plugins and people know under a name must not turn into something else.
pub const SHIPPED: [&str; 9] =
    ["assistant", "fs", "guard", "notes", "python", "redact", "researcher", "transform", "web"];

/// The longest context of work, in bytes: of what an `orient` phase finds beyond that, the beginning.
pub const MAX_CONTEXT: usize = 16 << 10;

/// What a faculty is to do; see `animus:faculty/types.task`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// The work item.
    pub work_id: String,
    /// What to do, in words.
    pub instruction: String,
    /// Parameters, an object.
    pub params: Value,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// What the faculty's `orient` phase found; empty without one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub context: String,
}

/// What came of it; see `animus:faculty/types.outcome`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FacultyOutcome {
    /// Whether the work is done.
    pub success: bool,
    /// For people.
    pub summary: String,
    /// For programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

/// Which phases a faculty has beside `engage`, which every faculty has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// Before the work.
    pub orient: bool,
    /// After it.
    pub consolidate: bool,
    /// After a failure.
    pub recover: bool,
}

impl Phases {
    /// The words for all phases of a faculty that has these, in the order in which they are run.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        let all =
            [(self.orient, "orient"), (true, "engage"), (self.consolidate, "consolidate"), (self.recover, "recover")];
        all.into_iter().filter(|(has, _)| *has).map(|(_, name)| name).collect()
    }
}

/// A phase that can fail; see `animus:faculty/types.phase`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Before the work.
    Orient,
    /// The work.
    Engage,
    /// After it.
    Consolidate,
}

/// How an attempt failed; see `animus:faculty/types.failure`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// In which phase.
    pub phase: Phase,
    /// Why, in words.
    pub error: String,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// The most attempts of the work item.
    pub max_attempts: u32,
    /// Whether the host tries again, unless it is told to give up.
    pub will_retry: bool,
}

/// What a faculty makes of its failure; see `animus:faculty/types.recovery`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recovery {
    /// What the host makes of it.
    Retry,
    /// No other attempt.
    GiveUp,
}

/// A plugin in a snapshot.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Its name.
    pub name: PluginName,
    /// Its generation, from 1.
    pub generation: u64,
    /// Its bytes.
    pub digest: Digest,
    /// What it may do.
    pub authority: Arc<Authority>,
    /// Whether it exports the faculty interface.
    pub is_faculty: bool,
    /// Whether it exports the interpreter interface.
    pub is_interpreter: bool,
    /// Whether it exports the hook interface. What it may watch is in its authority.
    pub is_hook: bool,
    /// Its tools, by full name.
    pub tools: Vec<Arc<Tool>>,
}

/// What is installed, granted and serving for one tenant, at one moment. A focus keeps the one that it began with.
#[async_trait]
pub trait PluginSet: Send + Sync {
    /// The plugins, by name.
    fn plugins(&self) -> &[Arc<Loaded>];

    /// One plugin. Costs the same however many are installed.
    fn plugin(&self, name: &str) -> Option<&Arc<Loaded>>;

    /// All tools, sorted by full name.
    fn tools(&self) -> &[Arc<Tool>];

    /// One tool by its full name. Costs the same however many are installed.
    fn tool(&self, name: &str) -> Option<&Arc<Tool>>;

    /// Calls a tool in a fresh instance under its plugin's own grant. `args` is JSON text.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`] with the nearest name; whatever the tool returned as its error; a limit that bit; a
    /// trap as [`crate::Error::Internal`] with the plugin's backtrace.
    async fn call_tool(&self, cx: &CallContext, name: &str, args: String) -> Result<Output>;

    /// Has a faculty do its work.
    ///
    /// # Errors
    /// As [`PluginSet::call_tool`].
    async fn engage(&self, cx: &CallContext, faculty: &str, task: Task) -> Result<FacultyOutcome>;

    /// Which phases a faculty has beside that. Loads its code, as its first call does.
    ///
    /// # Errors
    /// As [`PluginSet::warm`].
    async fn phases(&self, faculty: &str) -> Result<Phases>;

    /// Has a faculty find out what its work should know.
    ///
    /// # Errors
    /// As [`PluginSet::call_tool`]; [`crate::Error::Invalid`] where it has no such phase.
    async fn orient(&self, cx: &CallContext, faculty: &str, task: Task) -> Result<String>;

    /// Has a faculty make the outcome of its work what it is to be.
    ///
    /// # Errors
    /// As [`PluginSet::orient`].
    async fn consolidate(
        &self,
        cx: &CallContext,
        faculty: &str,
        task: Task,
        outcome: FacultyOutcome,
    ) -> Result<FacultyOutcome>;

    /// Asks a faculty whether another attempt is worth it.
    ///
    /// # Errors
    /// As [`PluginSet::orient`].
    async fn recover(&self, cx: &CallContext, faculty: &str, task: Task, failure: Failure) -> Result<Recovery>;

    /// Has an interpreter plugin run a program in a fresh instance, as `by`: everything that the program reaches for is
    /// checked against `by`'s authority, and the limits of both bound it.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`] for no such interpreter, [`crate::Error::Invalid`] for a program beyond a bound, a
    /// limit that bit, a trap. A program that fails by itself is no error: see [`Ran::failure`](code::Ran::failure).
    async fn run_code(
        &self,
        cx: &CallContext,
        interpreter: &str,
        by: &Authority,
        program: code::Program,
    ) -> Result<code::Ran>;

    /// Has an interpreter plugin look at a program as the source of tools. Nothing is in its reach meanwhile.
    ///
    /// # Errors
    /// As [`PluginSet::run_code`].
    async fn describe_code(
        &self,
        cx: &CallContext,
        interpreter: &str,
        program: code::Program,
    ) -> Result<code::Description>;

    /// Has an interpreter plugin run the tests of a program as `by`.
    ///
    /// # Errors
    /// As [`PluginSet::run_code`], and why the program could not be loaded. A test that fails is no error.
    async fn test_code(
        &self,
        cx: &CallContext,
        interpreter: &str,
        by: &Authority,
        program: code::Program,
    ) -> Result<Vec<code::Tested>>;

    /// Loads a plugin's code, and compiles it where it has to be, so that its first call is as quick as any.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`] for no such plugin; an import that it is not granted; what compiling fails with.
    async fn warm(&self, plugin: &str) -> Result<()>;

    /// Shows an event to a hook plugin, in a fresh instance under its own grant. What it answers is its word alone:
    /// whether it fits the event is for the caller to see.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`] for no such hook, [`crate::Error::Denied`] for an event that it may not watch, and as
    /// [`PluginSet::call_tool`].
    async fn hook(&self, cx: &CallContext, plugin: &str, event: &HookEvent) -> Result<Verdict>;

    /// Why an installed tool does not serve, where its plugin awaits a grant.
    fn awaiting(&self, tool: &str) -> Option<Denial>;
}
