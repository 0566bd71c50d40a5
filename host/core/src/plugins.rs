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

/// What a faculty is to do; see `animus:faculty/faculty.task`.
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
}

/// What came of it; see `animus:faculty/faculty.outcome`.
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
