//! Children: work that a focus gives to other faculties, and waits for.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Error,
    error::Result,
    grant::Grant,
    id::WorkId,
    ledger,
    plugins::FacultyOutcome,
    text,
    work::{State, Work},
};

/// The most children of one focus, and the most that one call awaits or looks at.
pub const MAX_CHILDREN: u32 = 64;
/// The most items of one family: a work item without a parent, its children, theirs, and so on, whatever became of them.
/// So a family that multiplies comes to an end.
pub const MAX_FAMILY: usize = 256;
/// The longest time to wait for children in one call, in milliseconds: a day.
pub const MAX_WAIT_MS: u64 = 86_400_000;
/// The longest key for deduplication, in bytes. The host puts the parent and its plugin before it.
pub const MAX_DEDUP_KEY: usize = 128;
/// How the journal calls the spawning of a child; the answer has its `id`.
pub const SPAWN: &str = "spawn";
/// What one answer holds of texts and data, in bytes, the same share for each child: the journal keeps answers whole.
const SHOWN: usize = 128 << 10;

/// A child to be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NewChild {
    /// The faculty that is to do it, or a kind of work that one accepts.
    pub faculty: String,
    /// What to do, in words: the child's instruction.
    pub description: String,
    /// Parameters, an object.
    pub params: Value,
    /// Greater is sooner; the parent's own where none, and never more than that: no child goes before others' work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// The most tokens that it may spend; a share of what is left to the parent where none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// The most that it may cost, in millionths of a US dollar; a share of what is left to the parent where none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_microusd: Option<u64>,
    /// What makes it the same work as another child of the same plugin and parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedup_key: Option<String>,
}

impl NewChild {
    /// Checks what the work item that it becomes cannot say by itself.
    ///
    /// # Errors
    /// [`Error::Invalid`] that names the offending part.
    pub fn check(&self) -> Result<()> {
        if self.description.trim().is_empty() {
            return Err(Error::Invalid("the description of a child is empty; it is all that the child is told".into()));
        }
        if !self.params.is_object() {
            return Err(Error::Invalid("the parameters of a child are a JSON object".into()));
        }
        if self.dedup_key.as_ref().is_some_and(|key| key.is_empty() || key.len() > MAX_DEDUP_KEY) {
            return Err(Error::Invalid(format!("the deduplication key of a child has 1 to {MAX_DEDUP_KEY} bytes")));
        }
        Ok(())
    }
}

/// Where a child stands, as its parent sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Child {
    /// The item that the parent spawned.
    pub id: WorkId,
    /// The faculty that it was given to.
    pub faculty: String,
    /// Where it stands; of one that was merged into another, where that stands.
    pub state: State,
    /// Whether the faculty says that the work is done.
    pub success: bool,
    /// What it says for people; empty before the end.
    pub summary: String,
    /// What it says for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
    /// Why it failed, as a model may read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Its ledger as text.
    pub ledger: String,
    /// Summary, data or ledger are too long to be whole here: texts are cut, data is left out.
    pub cut: bool,
    /// Tokens that models counted for it so far.
    pub tokens: u64,
    /// What it cost so far, in millionths of a US dollar.
    pub cost_microusd: u64,
}

impl Child {
    /// The child `id` whose work stands at `work` (another item where it was merged), one of `of` in an answer.
    #[must_use]
    pub fn of(id: WorkId, work: &Work, entries: &[ledger::Entry], of: usize) -> Self {
        let share = SHOWN / of.max(1);
        let outcome: Option<FacultyOutcome> =
            work.outcome.as_ref().and_then(|outcome| serde_json::from_value(outcome.clone()).ok());
        let (success, summary, data) =
            outcome.map_or((false, String::new(), None), |it| (it.success, it.summary, it.data));
        let fits = data.as_ref().is_none_or(|data| data.to_string().len() <= share / 2);
        let (ledger, error) = (ledger::formatted(entries), work.error.as_ref().map(Error::for_model));
        let cut = !fits || summary.len() > share / 4 || ledger.len() > share / 4;
        Self {
            id,
            faculty: work.faculty.clone(),
            state: work.state,
            success: success && work.state == State::Completed,
            summary: text::head(&summary, share / 4).to_owned(),
            data: data.filter(|_| fits),
            error: error.map(|error| text::head(&error, 1_000).to_owned()),
            ledger: text::head(&ledger, share / 4).to_owned(),
            cut,
            tokens: work.tokens,
            cost_microusd: work.cost_microusd,
        }
    }
}

/// What a child of a parent may hold: what the plugin holds that spawns it and the parent's own cap allows, without
/// limits, which are each plugin's own.
#[must_use]
pub fn cap(spawner: &Grant, parent: Option<&Grant>) -> Grant {
    let held = parent.map_or_else(|| spawner.clone(), |cap| spawner.meet(cap));
    Grant { limits: crate::limits::SomeLimits::default(), ..held }
}
