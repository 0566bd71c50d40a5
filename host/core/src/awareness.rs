//! What a focus may know of other work: what runs, what was done, what was found. Texts of strangers.

use crate::id::WorkId;

/// The most characters that are read of a text.
pub const MAX_TEXT: u32 = 1_000;
/// The most of each sort that are read.
pub const MAX_ROWS: u32 = 100;

/// What to look for. Of each limit at most [`MAX_ROWS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// The item that asks, which is told nothing of itself.
    pub except: WorkId,
    /// Nothing older of what was completed or found, milliseconds since the epoch.
    pub since_ms: u64,
    /// Items that run, at most.
    pub running: u32,
    /// Items that were completed, at most.
    pub completed: u32,
    /// Findings, at most.
    pub findings: u32,
    /// Whether items that have a parent count.
    pub children: bool,
}

/// What there is, the newest of each sort first; of each text at most [`MAX_TEXT`] characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// Items that run.
    pub running: Vec<Running>,
    /// Items that were completed.
    pub completed: Vec<Completed>,
    /// Findings in the ledgers of all items.
    pub findings: Vec<Finding>,
}

/// An item that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its faculty, or the kind of work that it is.
    pub faculty: String,
    /// What it is to do.
    pub instruction: String,
    /// The newest plan in its ledger.
    pub plan: Option<String>,
}

/// An item that was completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completed {
    /// Its faculty, or the kind of work that it was.
    pub faculty: String,
    /// What it was to do.
    pub instruction: String,
    /// What came of it, in words.
    pub summary: Option<String>,
    /// When, milliseconds since the epoch.
    pub at_ms: u64,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The faculty that found it.
    pub faculty: String,
    /// What.
    pub text: String,
    /// When, milliseconds since the epoch.
    pub at_ms: u64,
}
