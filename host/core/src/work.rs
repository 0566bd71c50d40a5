//! Work items and their states.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Error,
    id::{FocusId, WorkId},
};

/// The state of a work item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Waits for a host.
    Queued,
    /// A focus runs it.
    Running,
    /// Done. Terminal.
    Completed,
    /// The last focus failed; may be queued again.
    Failed,
    /// Cancelled. Terminal.
    Cancelled,
}

impl State {
    /// All states.
    pub const ALL: [Self; 5] = [Self::Queued, Self::Running, Self::Completed, Self::Failed, Self::Cancelled];

    /// The stable word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether an item may go from here to `next`.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        use State::{Cancelled, Completed, Failed, Queued, Running};
        matches!(
            (self, next),
            (Queued, Running | Cancelled) | (Running, Completed | Failed | Cancelled | Queued) | (Failed, Queued)
        )
    }

    /// Whether nothing follows.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled)
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

/// Work to submit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewWork {
    /// The faculty plugin that is to do it.
    pub faculty: String,
    /// Who submits: `cli`, `tool-call`, …
    pub source: String,
    /// What to do, in words.
    pub instruction: String,
    /// Parameters, an object.
    pub params: Value,
}

/// A work item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// Its identifier.
    pub id: WorkId,
    /// The faculty plugin that is to do it.
    pub faculty: String,
    /// Who submitted it.
    pub source: String,
    /// What to do, in words.
    pub instruction: String,
    /// Parameters, an object.
    pub params: Value,
    /// Where it stands.
    pub state: State,
    /// How often a focus has begun on it.
    pub attempts: u32,
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

/// What an ended focus leaves on its work item.
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_states_have_no_way_out_and_all_states_are_reachable() {
        for from in State::ALL {
            let ways = State::ALL.into_iter().filter(|to| from.may_become(*to)).count();
            assert_eq!(ways == 0, from.is_terminal(), "{from}");
            assert!(from == State::Queued || State::ALL.into_iter().any(|s| s.may_become(from)), "{from}");
            assert_eq!(from.as_str().parse::<State>().unwrap(), from);
        }
        assert!(!State::Completed.may_become(State::Running));
    }
}
