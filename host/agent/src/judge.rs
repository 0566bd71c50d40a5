//! What a faculty's word and the endings of its loops come to together.

use animus_core::{Denial, Error, Result, plugins::FacultyOutcome, services::Ending, work::State};

/// Where that leaves the work.
#[derive(Clone)]
pub(crate) struct Judged {
    pub(crate) state: State,
    pub(crate) outcome: Option<FacultyOutcome>,
    pub(crate) error: Option<Error>,
}

impl Judged {
    /// Work that failed of this.
    pub(crate) fn failing(error: Error) -> Self {
        Self { state: State::Failed, outcome: None, error: Some(error) }
    }

    pub(crate) fn failed(&self) -> bool {
        self.state == State::Failed
    }
}

/// Work is done when its faculty says so and no loop of it ended early.
pub(crate) fn judge(
    result: Result<FacultyOutcome>,
    ending: Option<Ending>,
    block: Option<Denial>,
    cancelled: bool,
) -> Judged {
    let block = block.filter(|_| ending == Some(Ending::Blocked)).map(Error::from);
    match result {
        Err(_) if cancelled => Judged { state: State::Cancelled, outcome: None, error: Some(Error::Cancelled) },
        Err(error) => Judged::failing(block.unwrap_or(error)),
        Ok(outcome) => {
            let (state, error) = match ending.and_then(early) {
                Some(Error::Cancelled) => (State::Cancelled, Some(Error::Cancelled)),
                Some(error) => (State::Failed, Some(block.unwrap_or(error))),
                None if outcome.success => (State::Completed, None),
                None => (State::Failed, None),
            };
            Judged { state, outcome: Some(FacultyOutcome { success: state == State::Completed, ..outcome }), error }
        }
    }
}

/// Whether another attempt may go better: not where the same would be refused again.
pub(crate) fn may_mend(error: Option<&Error>) -> bool {
    use Error::{BudgetExhausted, Cancelled, Denied, Diverged, Invalid, Uncertain};
    // What is invalid is so each time; after the last two nobody knows what another attempt would do twice.
    !matches!(error, Some(Denied(_) | Invalid(_) | BudgetExhausted(_) | Cancelled | Diverged(_) | Uncertain(_)))
}

/// Whether a loop that ended so leaves its work undone.
pub(crate) fn ended_early(ending: Ending) -> bool {
    early(ending).is_some()
}

/// Why a loop that ended so leaves its work undone.
fn early(ending: Ending) -> Option<Error> {
    let why = match ending {
        Ending::Done => return None,
        Ending::Cancelled => return Some(Error::Cancelled),
        Ending::MaxTurns => "the run made all the model calls that it may make; allow it more turns",
        Ending::Budget => "the run's budget is used up; give it more",
        Ending::ContextFull => {
            "the conversation no longer fits the model's window; split the work or use a larger model"
        }
        Ending::Blocked => return Some(Error::Unavailable("a hook stopped the run".into())),
        Ending::Repetition => {
            "the model kept repeating one call that gives one answer; say in other words what is wanted"
        }
    };
    Some(Error::BudgetExhausted(why.to_owned()))
}
