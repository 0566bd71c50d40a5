//! Faculties: what an agent is for.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    Error, Result,
    bindings::{
        faculty_plugin::exports::animus::faculty::faculty as wit, imports::animus::types::types::Error as WitError,
    },
    panics,
};

/// A faculty: given a piece of work, it does it.
pub trait Faculty {
    /// Does the work.
    ///
    /// # Errors
    /// What kept it from being worked on at all. Work that was tried and not finished is [`Outcome::unfinished`].
    fn engage(task: Task) -> Result<Outcome>;
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
}

impl Task {
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

    /// Adds data for programs.
    #[must_use]
    pub fn with_data(self, data: Value) -> Self {
        Self { data: Some(data), ..self }
    }
}

/// One task from the host.
#[doc(hidden)]
pub fn run_faculty<F: Faculty>(task: wit::Task) -> std::result::Result<wit::Outcome, WitError> {
    panics::report_in("the faculty in work", &task.work_id);
    let work = |task: wit::Task| {
        let params = serde_json::from_str(&task.params).map_err(Error::invalid).map_err(|e| e.context("parameters"))?;
        F::engage(Task { work_id: task.work_id, instruction: task.instruction, params, attempt: task.attempt })
    };
    let to_host = |outcome: Outcome| wit::Outcome {
        success: outcome.success,
        summary: outcome.summary,
        data: outcome.data.map(|data| data.to_string()),
    };
    work(task).map(to_host).map_err(Error::into_host)
}

/// Makes the crate a plugin that is this faculty: `export_faculty!(Researcher);`
#[macro_export]
macro_rules! export_faculty {
    ($faculty:ty) => {
        const _: () = {
            use $crate::bindings::faculty_plugin::exports::animus::faculty::faculty as exports;

            struct Plugin;

            impl exports::Guest for Plugin {
                fn engage(task: exports::Task) -> ::std::result::Result<exports::Outcome, exports::Error> {
                    $crate::private::run_faculty::<$faculty>(task)
                }
            }

            $crate::bindings::faculty_plugin::export_faculty_plugin!(Plugin);
        };
    };
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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

    fn task(params: &str) -> wit::Task {
        wit::Task { work_id: "w".into(), instruction: "ab".into(), params: params.into(), attempt: 2 }
    }

    #[test]
    fn parameters_are_typed_and_the_outcome_reaches_the_host() {
        let outcome = run_faculty::<Echo>(task(r#"{"times":2}"#)).unwrap();
        assert_eq!((outcome.success, outcome.summary.as_str()), (true, "abab"));
        assert_eq!(outcome.data.as_deref(), Some(r#"{"attempt":2}"#));
    }

    #[test]
    fn parameters_that_do_not_fit_are_invalid() {
        let Err(WitError::Invalid(text)) = run_faculty::<Echo>(task("{}")) else { panic!("it did fit") };
        assert_eq!(text, "parameters of the work: missing field `times`");
    }
}
