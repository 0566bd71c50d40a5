//! Work items and their states.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Error,
    budget::Allowance,
    grant::Grant,
    id::{FocusId, WorkId},
    trace,
};

/// The state of a work item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Waits for a host; perhaps not before a time, after an attempt that failed.
    Queued,
    /// A focus runs it, under a lease.
    Running,
    /// Done. Terminal.
    Completed,
    /// The last attempt of an item that no queue retries failed; an operator may have it tried again.
    Failed,
    /// Every attempt that the queue had for it failed, or it lost its host too often; an operator may have it tried again.
    Dead,
    /// Cancelled. Terminal.
    Cancelled,
    /// The same work was there already: see [`Work::merged_into`]. Terminal.
    Merged,
}

impl State {
    /// All states.
    pub const ALL: [Self; 7] =
        [Self::Queued, Self::Running, Self::Completed, Self::Failed, Self::Dead, Self::Cancelled, Self::Merged];

    /// The stable word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
            Self::Merged => "merged",
        }
    }

    /// Whether an item may go from here to `next`. An item may also be born merged.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        use State::{Cancelled, Completed, Dead, Failed, Queued, Running};
        matches!(
            (self, next),
            (Queued, Running | Cancelled)
                | (Running, Completed | Failed | Dead | Cancelled | Queued)
                | (Failed | Dead, Queued | Cancelled)
        )
    }

    /// Whether nothing follows, whatever anybody does.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled | Self::Merged)
    }

    /// Whether nothing follows by itself: what a parent or a client waits for.
    #[must_use]
    pub fn is_settled(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for State {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == s)
            .ok_or_else(|| Error::Invalid(format!("'{}' is not a work state", s.escape_debug())))
    }
}

/// The longest word for who submits, in bytes.
pub const MAX_SOURCE: usize = 64;
/// The most names of faculties that are told apart where work is counted.
pub const MAX_NAMED: usize = 100;
/// All other names, where work is counted.
pub const OTHERS: &str = "(other)";
/// The longest of a key for deduplication or of an idempotent submit, in bytes.
pub const MAX_KEY: usize = 256;
/// The longest instruction, in bytes.
pub const MAX_INSTRUCTION: usize = 256 << 10;
/// The largest parameters, in bytes of JSON.
pub const MAX_PARAMS: usize = 256 << 10;
/// The most attempts that an item may ask for.
pub const MAX_ATTEMPTS: u32 = 100;
/// How deep children of children may be: an item at this depth has none.
pub const MAX_DEPTH: u32 = 5;
/// How often an item may lose its host in the middle of one attempt before it counts as deadly.
pub const MAX_TAKEOVERS: u32 = 5;

/// Who has an item tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disposal {
    /// Any host that serves: the item waits in the queue, and is retried there.
    #[default]
    Queue,
    /// The process that submits it, by [`crate::store::Works::focus_begin`]; no queue ever hands it out, until an operator
    /// puts it there.
    Held,
}

/// Work to submit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NewWork {
    /// The faculty that is to do it, or a kind of work that one accepts.
    pub faculty: String,
    /// Who submits: `cli`, `api`, `tool-call`, `child`, …
    pub source: String,
    /// What to do, in words.
    pub instruction: String,
    /// Parameters, an object.
    pub params: Value,
    /// Who has it tried.
    pub disposal: Disposal,
    /// What makes it the same work as another of its faculty: while one is queued or running, a submit with an equal key
    /// is merged into it.
    pub dedup_key: Option<String>,
    /// What makes it the same *submit*: a second one with an equal key gives the item of the first, whatever became of it.
    pub idempotency_key: Option<String>,
    /// Greater is sooner; 0 is usual.
    pub priority: i32,
    /// The most attempts; 1 where it is not said.
    pub max_attempts: Option<u32>,
    /// Not before this time, milliseconds since the epoch.
    pub not_before_ms: Option<u64>,
    /// The item whose focus submits it.
    pub parent: Option<WorkId>,
    /// The most that its focus may hold, whatever its faculty is granted; of children what their parent holds.
    pub cap: Option<Grant>,
    /// The most that all its attempts together may spend.
    pub allowance: Allowance,
    /// The folder that `$workspace` in a path grant stands for.
    pub workspace: Option<String>,
    /// The W3C trace context (`traceparent`) of whoever submits.
    pub trace: Option<String>,
}

impl NewWork {
    /// Work that a process submits and runs by itself, in the trace in which it does so.
    #[must_use]
    pub fn held(faculty: impl Into<String>, source: &str, instruction: impl Into<String>, params: Value) -> Self {
        Self {
            faculty: faculty.into(),
            source: source.to_owned(),
            instruction: instruction.into(),
            params,
            disposal: Disposal::Held,
            trace: trace::current_traceparent(),
            ..Self::default()
        }
    }

    /// Checks forms and sizes.
    ///
    /// # Errors
    /// [`Error::Invalid`] that names the offending part.
    pub fn check(&self) -> Result<(), Error> {
        let invalid = |why: String| Err(Error::Invalid(why));
        if self.faculty.is_empty() || self.faculty.len() > 128 {
            return invalid("a work item names a faculty, in at most 128 bytes".into());
        }
        if self.source.len() > MAX_SOURCE {
            let bytes = self.source.len();
            return invalid(format!("who submits is said in at most {MAX_SOURCE} bytes; this has {bytes}"));
        }
        if !self.params.is_object() {
            return invalid("the parameters of a work item are a JSON object".into());
        }
        let params = self.params.to_string().len();
        if params > MAX_PARAMS {
            return invalid(format!(
                "the parameters of a work item have at most {MAX_PARAMS} bytes; these have {params}"
            ));
        }
        if self.instruction.len() > MAX_INSTRUCTION {
            let bytes = self.instruction.len();
            return invalid(format!("an instruction has at most {MAX_INSTRUCTION} bytes; this one has {bytes}"));
        }
        for (what, key) in [("deduplication", &self.dedup_key), ("idempotent submit", &self.idempotency_key)] {
            if key.as_ref().is_some_and(|key| key.is_empty() || key.len() > MAX_KEY) {
                return invalid(format!("a key for {what} has 1 to {MAX_KEY} bytes"));
            }
        }
        if self.max_attempts.is_some_and(|n| n == 0 || n > MAX_ATTEMPTS) {
            return invalid(format!("a work item has 1 to {MAX_ATTEMPTS} attempts"));
        }
        if self.trace.as_ref().is_some_and(|trace| trace.len() > 128) {
            return invalid("a trace context has at most 128 bytes".into());
        }
        Ok(())
    }
}

/// What a submit came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Submitted {
    /// The item that stands for the work: the new one, or the one that was there already.
    pub work: Work,
    /// How it came to be.
    pub how: Submission,
}

/// How a submit came to its item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Submission {
    /// The item is new.
    Created,
    /// The same work was queued or running; this submit is kept as an item of its own, which points there.
    Merged {
        /// The item of this submit, in the state [`State::Merged`].
        item: WorkId,
    },
    /// The same submit was made before.
    Repeated,
}

/// A work item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// Its identifier.
    pub id: WorkId,
    /// The faculty that is to do it, or a kind of work that one accepts.
    pub faculty: String,
    /// Who submitted it.
    pub source: String,
    /// What to do, in words.
    pub instruction: String,
    /// Parameters, an object.
    pub params: Value,
    /// Where it stands.
    pub state: State,
    /// Who has it tried.
    pub disposal: Disposal,
    /// What makes it the same work as another.
    pub dedup_key: Option<String>,
    /// The item that stands for this one.
    pub merged_into: Option<WorkId>,
    /// Greater is sooner.
    pub priority: i32,
    /// How often a focus has begun on it.
    pub attempts: u32,
    /// The most attempts.
    pub max_attempts: u32,
    /// How often another host took over its newest focus.
    pub takeovers: u32,
    /// Not before this time, milliseconds since the epoch.
    pub not_before_ms: u64,
    /// The item whose focus submitted it.
    pub parent: Option<WorkId>,
    /// 0 for an item without a parent, one more than its parent's otherwise.
    pub depth: u32,
    /// The most that its focus may hold, whatever its faculty is granted.
    pub cap: Option<Grant>,
    /// The most that all its attempts together may spend.
    pub allowance: Allowance,
    /// The folder that `$workspace` in a path grant stands for.
    pub workspace: Option<String>,
    /// The W3C trace context of whoever submitted it.
    pub trace: Option<String>,
    /// Whether somebody asked for its end while it runs; its host is to cancel it.
    pub cancelling: bool,
    /// The newest focus.
    pub focus: Option<FocusId>,
    /// What came of it, as data: see [`crate::plugins::FacultyOutcome`].
    pub outcome: Option<Value>,
    /// Why the last focus failed.
    pub error: Option<Error>,
    /// Tokens that models counted for it.
    pub tokens: u64,
    /// What it cost, in millionths of a US dollar.
    pub cost_microusd: u64,
    /// When it was submitted, milliseconds since the epoch.
    pub created_ms: u64,
    /// When it last changed.
    pub updated_ms: u64,
}

impl Work {
    /// What is left of its allowance.
    #[must_use]
    pub fn left(&self) -> Allowance {
        Allowance {
            tokens: self.allowance.tokens.map(|most| most.saturating_sub(self.tokens)),
            microusd: self.allowance.microusd.map(|most| most.saturating_sub(self.cost_microusd)),
        }
    }
}

/// Which items to list; the parts compose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkFilter {
    /// Only those in this state.
    pub state: Option<State>,
    /// Only those of this faculty.
    pub faculty: Option<String>,
    /// Only children of this item.
    pub parent: Option<WorkId>,
    /// Only those that were submitted before this one: to go on where a list ended.
    pub before: Option<WorkId>,
    /// At most so many; 20 when none, at most 1,000.
    pub limit: Option<u32>,
}

/// The right to run an item, as long as it is renewed. Whoever holds an older token can write nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lease {
    /// The focus.
    pub focus: FocusId,
    /// 1 when the focus begins, one more each time that another host takes it over.
    pub token: u64,
}

/// A host: one process on one machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Host {
    /// The machine, by a name that no other machine has which shares the store.
    pub machine: String,
    /// The process there.
    pub process: u32,
}

impl Host {
    /// This process.
    #[must_use]
    pub fn this(machine: impl Into<String>) -> Self {
        Self { machine: machine.into(), process: std::process::id() }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.process, self.machine)
    }
}

impl FromStr for Host {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self, Error> {
        let parts = s.split_once('@').and_then(|(process, machine)| Some((process.parse().ok()?, machine)));
        let (process, machine) = parts.ok_or_else(|| Error::Invalid(format!("'{}' is no host", s.escape_debug())))?;
        Ok(Self { machine: machine.to_owned(), process })
    }
}

/// What a host says of itself while it serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// The host.
    pub host: Host,
    /// The faculties, and kinds of work, that it takes.
    pub faculties: Vec<String>,
    /// At most so many focuses at once.
    pub max_concurrent: u32,
    /// So many run now.
    pub running: u32,
    /// Whether it has stopped taking work.
    pub draining: bool,
    /// Where its HTTP interface listens, where it has one.
    pub address: Option<String>,
}

/// A host that serves or did lately.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    /// What it said last.
    #[serde(flatten)]
    pub beat: Beat,
    /// How long ago that was, in milliseconds.
    pub age_ms: u64,
    /// When it was first heard of, milliseconds since the epoch.
    pub since_ms: u64,
}

/// How often a host that serves says so, in milliseconds.
pub const BEAT_MS: u64 = 2_000;

impl HostRecord {
    /// Whether it probably serves: it was heard of within three beats, and takes work.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.age_ms <= 3 * BEAT_MS && !self.beat.draining
    }
}

/// What a host asks of the queue.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Who claims.
    pub host: Host,
    /// The faculties, and kinds of work, that it has room for.
    pub faculties: Vec<String>,
    /// How long the lease lasts without being renewed, in milliseconds.
    pub lease_ms: u64,
    /// The plugins that a new focus is to keep; a focus that is taken over keeps its own.
    pub plugins: Value,
    /// Items that this host is not to be given now.
    pub except: Vec<WorkId>,
}

impl Claim {
    /// What a process asks that begins work of its own: [`crate::store::Works::focus_begin`].
    #[must_use]
    pub fn held(host: Host, lease_ms: u64, plugins: Value) -> Self {
        Self { host, faculties: Vec::new(), lease_ms, plugins, except: Vec::new() }
    }
}

/// An item that was claimed.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The item, running.
    pub work: Work,
    /// The right to run it.
    pub lease: Lease,
    /// The plugins that the focus keeps: name → `{generation, digest}`.
    pub plugins: Value,
    /// When the focus began, milliseconds since the epoch.
    pub began_ms: u64,
    /// Whether a host has run this focus before, so that there may be a journal to resume.
    pub resumed: bool,
}

/// What an ended focus leaves on its work item. Of what it spent the larger figure is added: the one here, or what its
/// journal says of model calls and of the children that it spawned; so nothing is forgotten of one that ended badly.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Settlement {
    /// What came of it.
    pub outcome: Option<Value>,
    /// Why it failed.
    pub error: Option<Error>,
    /// Tokens to add.
    pub tokens: u64,
    /// Cost to add, in millionths of a US dollar.
    pub cost_microusd: u64,
    /// Of a failure: how long to wait before the next attempt, in milliseconds; no next attempt where none.
    pub retry_in_ms: Option<u64>,
}

/// How long to wait between attempts: doubled each time, up to a most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Backoff {
    /// After the first attempt, in milliseconds; 1,000 unless said otherwise.
    pub first_ms: u64,
    /// The most, in milliseconds; an hour unless said otherwise.
    pub most_ms: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first_ms: 1_000, most_ms: 3_600_000 }
    }
}

impl Backoff {
    /// How long to wait after the attempt of this number (from 1), in milliseconds.
    #[must_use]
    pub fn wait_ms(self, attempt: u32) -> u64 {
        let doublings = attempt.saturating_sub(1).min(40);
        self.first_ms.saturating_mul(1 << doublings).min(self.most_ms)
    }
}

/// How many items stand where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// By state, those that have any.
    pub by_state: std::collections::BTreeMap<String, u64>,
    /// Queued items that may begin now, by faculty.
    pub ready: std::collections::BTreeMap<String, u64>,
    /// When the oldest item that may begin now was submitted, milliseconds since the epoch.
    pub oldest_ready_ms: Option<u64>,
}

/// Counts of work by what it names, told apart for the [`MAX_NAMED`] names that have most and summed up for all others
/// ([`OTHERS`]): whoever submits makes up names.
#[must_use]
pub fn by_name(counts: impl IntoIterator<Item = (String, u64)>) -> std::collections::BTreeMap<String, u64> {
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by(|(a, few), (b, many)| many.cmp(few).then_with(|| a.cmp(b)));
    let others = counts.split_off(counts.len().min(MAX_NAMED));
    let mut named: std::collections::BTreeMap<_, _> = counts.into_iter().collect();
    for (_, n) in others {
        let sum = named.entry(OTHERS.to_owned()).or_default();
        *sum = sum.saturating_add(n);
    }
    named
}

/// A focus, as the store knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FocusRecord {
    /// Its identifier.
    pub id: FocusId,
    /// The item that it runs.
    pub work: WorkId,
    /// The newest lease token.
    pub token: u64,
    /// The host that ran it last.
    pub host: Host,
    /// The plugins that it keeps: name → `{generation, digest}`.
    pub plugins: Value,
    /// When it began, milliseconds since the epoch.
    pub began_ms: u64,
    /// When it ended.
    pub ended_ms: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_states_have_no_way_out_and_all_states_are_reachable() {
        for from in State::ALL {
            let ways = State::ALL.into_iter().filter(|to| from.may_become(*to)).count();
            assert_eq!(ways == 0, from.is_terminal(), "{from}");
            let born = matches!(from, State::Queued | State::Merged);
            assert!(born || State::ALL.into_iter().any(|s| s.may_become(from)), "{from}");
            assert_eq!(from.as_str().parse::<State>().unwrap(), from);
        }
        assert!(!State::Completed.may_become(State::Running));
    }

    #[test]
    fn who_submits_is_said_in_a_word() {
        let from = |source: String| {
            NewWork { faculty: "a".into(), source, params: serde_json::json!({}), ..NewWork::default() }.check()
        };
        assert!(from("x".repeat(MAX_SOURCE)).is_ok());
        assert!(from("x".repeat(MAX_SOURCE + 1)).unwrap_err().to_string().contains("at most 64 bytes"));
    }

    #[test]
    fn names_that_somebody_made_up_are_counted_together() {
        let few = [("a".to_owned(), 3), ("b".to_owned(), 1)];
        assert_eq!(by_name(few.clone()), few.into());
        let many = (0..1_000).map(|n| (format!("{n:04}"), if n < 500 { 1 } else { 2 }));
        let counted = by_name(many);
        assert_eq!((counted.len(), counted[OTHERS]), (MAX_NAMED + 1, 400 * 2 + 500));
        assert_eq!((counted["0500"], counted["0599"], counted.get("0600")), (2, 2, None));
    }
}
