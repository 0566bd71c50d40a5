//! How a host runs a faculty: the operator's configuration, `faculties/<name>.toml`. A faculty without one runs with the
//! defaults. Nothing here grants anything.
//!
//! ```toml
//! accepts = ["research-request"]     # kinds of work that come here beside the faculty's own name
//! concurrent = true                  # several of its foci at once
//!
//! [engage]
//! model = "planner"
//! max_turns = 100
//!
//! [recover]
//! max_attempts = 3
//! ```

use serde::{Deserialize, Serialize};

use crate::{Error, Result, grant::Pattern, id::PluginName, work::Backoff};

/// The configuration of one faculty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FacultyConfig {
    /// The plugin that exports the faculty; one of the faculty's own name where it is not said. Several faculties may
    /// share a plugin.
    pub plugin: Option<PluginName>,
    /// For people.
    pub description: String,
    /// Kinds of work that come here, beside the faculty's own name; at most 32.
    pub accepts: Vec<String>,
    /// Whether several of its foci run at once on one host; one at a time unless said otherwise.
    pub concurrent: bool,
    /// At most so many of its foci at once on one host, where it is concurrent; the host's own bound otherwise.
    pub max_concurrent: Option<u32>,
    /// Where its foci work.
    pub isolation: Isolation,
    /// Before the work.
    pub orient: Orient,
    /// The work itself.
    pub engage: Engage,
    /// What a focus is told of the others.
    pub awareness: Awareness,
    /// After a failure.
    pub recover: Recover,
}

/// Where the foci of a faculty work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// In the workspace itself.
    #[default]
    None,
    /// Each in a git worktree of its own, made of the workspace's current commit. One that was left unchanged is removed at
    /// the end; the others stay, and the outcome says where.
    Worktree,
}

/// Before the work.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Orient {
    /// Whether skills become active by their triggers; yes unless said otherwise.
    pub auto_activate_skills: bool,
    /// At most so many; 5 unless said otherwise, and never more than the host's own bound.
    pub max_auto_activated: u32,
}

impl Default for Orient {
    fn default() -> Self {
        Self { auto_activate_skills: true, max_auto_activated: 5 }
    }
}

/// The host's engage loop, for a faculty that runs it. What the faculty itself asks for is within these bounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Engage {
    /// The role or alias of requests that name none; `default` where it is not said.
    pub model: Option<String>,
    /// The tools on offer, by full name or pattern, of those that the faculty offers; all of these where it is not said.
    pub tools: Option<Vec<Pattern>>,
    /// At most so many model calls, 1 to 1,000; what the faculty says where it is not said here.
    pub max_turns: Option<u32>,
    /// The longest single answer, in tokens.
    pub max_tokens: Option<u32>,
    /// 0 to 2, for requests that name none.
    pub temperature: Option<f32>,
    /// Whether the tool calls of a turn run at the same time; yes unless said otherwise.
    pub parallel_tools: bool,
    /// At most so many of them at the same time, 1 to 64; 8 unless said otherwise.
    pub max_parallel_tools: u32,
    /// The share of the model's window from which on the conversation is compacted, above 0 to 1; 0.7 unless said
    /// otherwise.
    pub compact_threshold: f32,
    /// The newest messages that compacting keeps as they are; 10 unless said otherwise.
    pub compact_keep_recent: u32,
    /// After so many turns without a ledger entry the model is reminded of its ledger; 5 unless said otherwise, 0 for
    /// never.
    pub ledger_nudge_interval: u32,
    /// Whether what a completed step has read is reduced to one line; yes unless said otherwise.
    pub truncate_closed_blocks: bool,
    /// Whether `execute_code` is offered, where the faculty may use an interpreter; yes unless said otherwise.
    pub code_execution: bool,
}

impl Default for Engage {
    fn default() -> Self {
        Self {
            model: None,
            tools: None,
            max_turns: None,
            max_tokens: None,
            temperature: None,
            parallel_tools: true,
            max_parallel_tools: 8,
            compact_threshold: 0.7,
            compact_keep_recent: 10,
            ledger_nudge_interval: 5,
            truncate_closed_blocks: true,
            code_execution: true,
        }
    }
}

/// What a focus is told of other work, as context and not as instructions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Awareness {
    /// Whether it is told anything; yes unless said otherwise.
    pub enabled: bool,
    /// How old what is told may be, in hours; 24 unless said otherwise.
    pub lookback_hours: u32,
    /// Items that run, at most; 10 unless said otherwise.
    pub max_running: u32,
    /// Items that were completed, at most; 20 unless said otherwise.
    pub max_recent_completed: u32,
    /// Findings, at most; 20 unless said otherwise.
    pub max_recent_findings: u32,
    /// Whether items that have a parent are told of; no unless said otherwise.
    pub include_child_work: bool,
}

impl Default for Awareness {
    fn default() -> Self {
        Self {
            enabled: true,
            lookback_hours: 24,
            max_running: 10,
            max_recent_completed: 20,
            max_recent_findings: 20,
            include_child_work: false,
        }
    }
}

/// After a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recover {
    /// The attempts of an item that does not say it itself; 3 unless said otherwise.
    pub max_attempts: u32,
    /// How long to wait between them.
    pub backoff: Backoff,
}

impl Default for Recover {
    fn default() -> Self {
        Self { max_attempts: 3, backoff: Backoff::default() }
    }
}

impl FacultyConfig {
    /// Checks what a type cannot say.
    ///
    /// # Errors
    /// [`Error::Invalid`] that names the key and what it may hold.
    pub fn check(&self) -> Result<()> {
        let invalid = |why: &str| Err(Error::Invalid(why.to_owned()));
        let engage = &self.engage;
        if self.accepts.len() > 32 || self.accepts.iter().any(|kind| kind.is_empty() || kind.len() > 128) {
            return invalid("accepts holds at most 32 kinds of work, of 1 to 128 bytes each");
        }
        if self.max_concurrent == Some(0) || (self.max_concurrent.is_some() && !self.concurrent) {
            return invalid("max_concurrent is at least 1, and goes with concurrent = true");
        }
        if engage.max_turns.is_some_and(|n| n == 0 || n > 1_000) {
            return invalid("engage.max_turns is 1 to 1000");
        }
        if engage.temperature.is_some_and(|t| !(0.0..=2.0).contains(&t)) {
            return invalid("engage.temperature is 0 to 2");
        }
        if !(1..=64).contains(&engage.max_parallel_tools) {
            return invalid("engage.max_parallel_tools is 1 to 64");
        }
        if !(engage.compact_threshold > 0.0 && engage.compact_threshold <= 1.0) {
            return invalid("engage.compact_threshold is above 0, to 1");
        }
        if !(2..=1_000).contains(&engage.compact_keep_recent) {
            return invalid("engage.compact_keep_recent is 2 to 1000");
        }
        if !(1..=crate::work::MAX_ATTEMPTS).contains(&self.recover.max_attempts) {
            return invalid("recover.max_attempts is 1 to 100");
        }
        if self.recover.backoff.first_ms == 0 || self.recover.backoff.most_ms < self.recover.backoff.first_ms {
            return invalid("recover.backoff.first_ms is at least 1, and most_ms at least as much");
        }
        Ok(())
    }
}
