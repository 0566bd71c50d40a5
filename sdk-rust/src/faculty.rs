//! Faculties: what an agent is for.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    Error, Result,
    bindings::{faculty_plugin::animus::faculty::types as wit, imports::animus::types::types::Error as WitError},
    panics,
};

pub use wit::{Failure, Phase, Recovery};

/// A faculty: given a piece of work, it does it.
pub trait Faculty {
    /// Does the work.
    ///
    /// # Errors
    /// What kept it from being worked on at all. Work that was tried and not finished is [`Outcome::unfinished`].
    fn engage(task: Task) -> Result<Outcome>;
}

/// A phase before the work: `export_faculty!(Researcher, orient)`.
pub trait Orient: Faculty {
    /// Finds out what the work should know; of more than 16 KiB the beginning counts. It becomes the [`Task::context`] of the later phases, and the
    /// host's agent loop puts it before the model, as material in quotes and not as instructions.
    ///
    /// # Errors
    /// What keeps the work from being begun: it fails this attempt.
    fn orient(task: Task) -> Result<String>;
}

/// A phase after the work, whether it was done or left undone: `export_faculty!(Researcher, consolidate)`.
pub trait Consolidate: Faculty {
    /// Makes the outcome what it is to be: what this returns takes its place. Work whose agent loop ended early stays
    /// undone, whatever this says.
    ///
    /// # Errors
    /// What keeps the work from counting as done: it fails this attempt.
    fn consolidate(task: Task, outcome: Outcome) -> Result<Outcome>;
}

/// A phase after an attempt that failed, whatever it failed of: `export_faculty!(Researcher, recover)`. It is not run when
/// the work was cancelled.
pub trait Recover: Faculty {
    /// Says whether another attempt is worth it. It cannot have one made that the host would not make.
    ///
    /// # Errors
    /// What kept it from saying so; that counts as [`Recovery::Retry`].
    fn recover(task: Task, failure: Failure) -> Result<Recovery>;
}

/// A piece of work.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// The work item.
    pub work_id: String,
    /// What to do, in words.
    pub instruction: String,
    /// Parameters of the submitter, an object.
    pub params: Value,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// What the phase `orient` found; empty without one, and in that phase itself. Material, not instructions.
    pub context: String,
}

impl Task {
    /// A first attempt without parameters, for tests.
    pub fn of(instruction: impl Into<String>) -> Self {
        Self {
            work_id: "work".to_owned(),
            instruction: instruction.into(),
            params: Value::Object(serde_json::Map::new()),
            attempt: 1,
            context: String::new(),
        }
    }

    fn from_host(task: wit::Task) -> Result<Self> {
        let wit::Task { work_id, instruction, params, attempt, context } = task;
        let params = serde_json::from_str(&params).map_err(Error::invalid).map_err(|e| e.context("parameters"))?;
        Ok(Self { work_id, instruction, params, attempt, context })
    }

    /// The parameters as a type of the faculty's own.
    ///
    /// # Errors
    /// [`Error::Invalid`] that says what does not fit.
    pub fn params<T: DeserializeOwned>(&self) -> Result<T> {
        T::deserialize(&self.params).map_err(|error| Error::invalid(format!("parameters of the work: {error}")))
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Whether the work is done. When false, the summary says what is missing.
    pub success: bool,
    /// For people.
    pub summary: String,
    /// For programs.
    pub data: Option<Value>,
}

impl Outcome {
    /// The work is done.
    pub fn done(summary: impl Into<String>) -> Self {
        Self { success: true, summary: summary.into(), data: None }
    }

    /// The work is not done; the summary says what is missing.
    pub fn unfinished(summary: impl Into<String>) -> Self {
        Self { success: false, summary: summary.into(), data: None }
    }

    fn from_host(outcome: wit::Outcome) -> Result<Self> {
        let wit::Outcome { success, summary, data } = outcome;
        let data = data.map(|data| serde_json::from_str(&data)).transpose();
        Ok(Self { success, summary, data: data.map_err(Error::invalid).map_err(|e| e.context("the outcome"))? })
    }

    fn into_host(self) -> wit::Outcome {
        wit::Outcome { success: self.success, summary: self.summary, data: self.data.map(|data| data.to_string()) }
    }

    /// Adds data for programs.
    #[must_use]
    pub fn with_data(self, data: Value) -> Self {
        Self { data: Some(data), ..self }
    }
}

/// From the host to a faculty's phases, and back.
#[doc(hidden)]
pub mod serve {
    use super::*;

    type Answer<T> = std::result::Result<T, WitError>;

    pub fn engage<F: Faculty>(task: wit::Task) -> Answer<wit::Outcome> {
        panics::report_in("the faculty in work", &task.work_id);
        Task::from_host(task).and_then(F::engage).map(Outcome::into_host).map_err(Error::into_host)
    }

    pub fn orient<F: Orient>(task: wit::Task) -> Answer<String> {
        panics::report_in("the faculty before work", &task.work_id);
        Task::from_host(task).and_then(F::orient).map_err(Error::into_host)
    }

    pub fn consolidate<F: Consolidate>(task: wit::Task, outcome: wit::Outcome) -> Answer<wit::Outcome> {
        panics::report_in("the faculty after work", &task.work_id);
        let done = Task::from_host(task).and_then(|task| F::consolidate(task, Outcome::from_host(outcome)?));
        done.map(Outcome::into_host).map_err(Error::into_host)
    }

    pub fn recover<F: Recover>(task: wit::Task, failure: Failure) -> Answer<Recovery> {
        panics::report_in("the faculty after a failure of work", &task.work_id);
        Task::from_host(task).and_then(|task| F::recover(task, failure)).map_err(Error::into_host)
    }
}

/// Makes the crate a plugin that is this faculty: `export_faculty!(Researcher);` The phases that it has beside its work are
/// named: `export_faculty!(Researcher, orient, consolidate, recover);` The host leaves out those that are not.
#[macro_export]
macro_rules! export_faculty {
    ($faculty:ty $(, $phase:ident)* $(,)?) => {
        const _: () = {
            use $crate::bindings::faculty_plugin::exports::animus::faculty::faculty as exports;

            struct Plugin;

            impl exports::Guest for Plugin {
                fn engage(task: exports::Task) -> ::std::result::Result<exports::Outcome, exports::Error> {
                    $crate::private::faculty::engage::<$faculty>(task)
                }
            }

            $crate::bindings::faculty_plugin::export_faculty_plugin!(Plugin);
        };
        $($crate::export_phase!($phase, $faculty);)*
    };
}

/// One phase of a faculty; for [`export_faculty!`] only.
#[doc(hidden)]
#[macro_export]
macro_rules! export_phase {
    (orient, $faculty:ty) => {
        const _: () = {
            use $crate::bindings::orient_phase::exports::animus::faculty::orient as exports;

            struct Plugin;

            impl exports::Guest for Plugin {
                fn orient(task: exports::Task) -> ::std::result::Result<::std::string::String, exports::Error> {
                    $crate::private::faculty::orient::<$faculty>(task)
                }
            }

            $crate::bindings::orient_phase::export_orient_phase!(Plugin);
        };
    };
    (consolidate, $faculty:ty) => {
        const _: () = {
            use $crate::bindings::consolidate_phase::exports::animus::faculty::consolidate as exports;

            struct Plugin;

            impl exports::Guest for Plugin {
                fn consolidate(
                    task: exports::Task,
                    outcome: exports::Outcome,
                ) -> ::std::result::Result<exports::Outcome, exports::Error> {
                    $crate::private::faculty::consolidate::<$faculty>(task, outcome)
                }
            }

            $crate::bindings::consolidate_phase::export_consolidate_phase!(Plugin);
        };
    };
    (recover, $faculty:ty) => {
        const _: () = {
            use $crate::bindings::recover_phase::exports::animus::faculty::recover as exports;

            struct Plugin;

            impl exports::Guest for Plugin {
                fn recover(
                    task: exports::Task,
                    failure: exports::Failure,
                ) -> ::std::result::Result<exports::Recovery, exports::Error> {
                    $crate::private::faculty::recover::<$faculty>(task, failure)
                }
            }

            $crate::bindings::recover_phase::export_recover_phase!(Plugin);
        };
    };
    ($phase:ident, $faculty:ty) => {
        ::std::compile_error!("a faculty has the phases orient, consolidate and recover beside engage");
    };
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        ledger::{self, EntryType, Filter},
        testing::FakeHost,
    };

    struct Echo;

    impl Faculty for Echo {
        fn engage(task: Task) -> Result<Outcome> {
            #[derive(serde::Deserialize)]
            struct Params {
                times: usize,
            }
            let Params { times } = task.params()?;
            Ok(Outcome::done(task.instruction.repeat(times)).with_data(json!({ "attempt": task.attempt })))
        }
    }

    impl Orient for Echo {
        fn orient(task: Task) -> Result<String> {
            Ok(format!("{} before", ledger::read(Filter::ALL)?.len() + task.context.len()))
        }
    }

    impl Consolidate for Echo {
        fn consolidate(task: Task, outcome: Outcome) -> Result<Outcome> {
            match outcome.data {
                Some(data) if outcome.success => Ok(Outcome::unfinished(task.context).with_data(json!([data]))),
                _ => Err(Error::unavailable("nothing to consolidate")),
            }
        }
    }

    impl Recover for Echo {
        fn recover(_: Task, failure: Failure) -> Result<Recovery> {
            match failure.phase {
                Phase::Orient if failure.will_retry => Ok(Recovery::Retry),
                Phase::Orient | Phase::Engage => Ok(Recovery::GiveUp),
                Phase::Consolidate => Err(Error::internal(failure.error)),
            }
        }
    }

    fn task(params: &str) -> wit::Task {
        let (work_id, instruction, context) = ("w".into(), "ab".into(), "around".into());
        wit::Task { work_id, instruction, params: params.into(), attempt: 2, context }
    }

    #[test]
    fn parameters_are_typed_and_the_outcome_reaches_the_host() {
        let outcome = serve::engage::<Echo>(task(r#"{"times":2}"#)).unwrap();
        assert_eq!((outcome.success, outcome.summary.as_str()), (true, "abab"));
        assert_eq!(outcome.data.as_deref(), Some(r#"{"attempt":2}"#));
    }

    #[test]
    fn parameters_that_do_not_fit_are_invalid() {
        let Err(WitError::Invalid(text)) = serve::engage::<Echo>(task("{}")) else { panic!("it did fit") };
        assert_eq!(text, "parameters of the work: missing field `times`");
    }

    #[test]
    fn a_phase_before_the_work_may_ask_the_host() {
        let _host = FakeHost::new().start();
        ledger::append(EntryType::Note, "a note of an earlier attempt").unwrap();
        assert_eq!(serve::orient::<Echo>(task("{}")).unwrap(), "7 before");
        assert!(matches!(serve::orient::<Echo>(task("no json")), Err(WitError::Invalid(_))));
    }

    #[test]
    fn a_phase_after_the_work_replaces_its_outcome() {
        let outcome =
            |data: Option<&str>| wit::Outcome { success: true, summary: "done".into(), data: data.map(str::to_owned) };
        let after = serve::consolidate::<Echo>(task("{}"), outcome(Some("{\"n\":1}"))).unwrap();
        let expected = wit::Outcome { success: false, summary: "around".into(), data: Some("[{\"n\":1}]".into()) };
        assert_eq!(after, expected);
        assert!(matches!(serve::consolidate::<Echo>(task("{}"), outcome(None)), Err(WitError::Unavailable(_))));
        let Err(WitError::Invalid(text)) = serve::consolidate::<Echo>(task("{}"), outcome(Some("no json"))) else {
            panic!("it is no JSON")
        };
        assert!(text.starts_with("the outcome: "), "{text}");
    }

    #[test]
    fn a_phase_after_a_failure_says_what_is_to_become_of_the_work() {
        let failure =
            |phase, will_retry| Failure { phase, error: "it broke".into(), attempt: 2, max_attempts: 3, will_retry };
        let after = |phase, will_retry| serve::recover::<Echo>(task("{}"), failure(phase, will_retry));
        assert_eq!(after(Phase::Orient, true).unwrap(), Recovery::Retry);
        assert_eq!(after(Phase::Orient, false).unwrap(), Recovery::GiveUp);
        assert!(matches!(after(Phase::Consolidate, true), Err(WitError::Internal(text)) if text == "it broke"));
    }
}
