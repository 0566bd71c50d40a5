//! How a command fails: what the person reads, what a program reads, and the exit code.

use std::{fmt::Display, process::ExitCode};

use animus_core::{Denial, Error};
use serde::Serialize;

use crate::out::{self, Out, paint};

/// The result of a command.
pub(crate) type Result<T = (), E = Fault> = std::result::Result<T, E>;

/// Exit codes; `docs/cli.md` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// It failed.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// It was denied.
    Denied = 3,
    /// A budget or a limit ended it.
    Limit = 4,
    /// It was cancelled.
    Cancelled = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A failure.
#[derive(Debug)]
pub(crate) struct Fault {
    error: Error,
    exit: Exit,
    advice: Option<String>,
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let exit = match error {
            Error::Denied(_) => Exit::Denied,
            Error::BudgetExhausted(_) | Error::Timeout(_) => Exit::Limit,
            Error::Cancelled => Exit::Cancelled,
            _ => Exit::Failed,
        };
        Self { error, exit, advice: None }
    }
}

impl Fault {
    /// The command line asks for something that makes no sense.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self { error: Error::Invalid(text.into()), exit: Exit::Usage, advice: None }
    }

    /// Something that is read is wrong.
    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Error::Invalid(text.into()).into()
    }

    /// An operation on this machine failed.
    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Error::Internal(text.into()).into()
    }

    /// Says what to do about it.
    pub(crate) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// As one error, its advice included, for whoever keeps errors.
    pub(crate) fn into_error(self) -> Error {
        let Some(advice) = self.advice else { return self.error };
        let with = |text: String| format!("{text}; to mend it: {advice}");
        match self.error {
            Error::Invalid(text) => Error::Invalid(with(text)),
            Error::NotFound(text) => Error::NotFound(with(text)),
            Error::Conflict(text) => Error::Conflict(with(text)),
            Error::Unavailable(text) => Error::Unavailable(with(text)),
            Error::Internal(text) => Error::Internal(with(text)),
            // These say themselves what helps.
            other => other,
        }
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// Tells the person, or the program, and gives the exit code.
    pub(crate) fn report(&self, out: &Out) -> Exit {
        if out.is_json() {
            out.object(&self.for_programs());
        } else {
            out.note(format_args!("{} {}", paint(out::BAD, "error:"), out::safe(&self.error.to_string())));
            if let Some(advice) = &self.advice {
                out.note(format_args!("{} {}", paint(out::GOOD, "to mend it:"), out::safe(advice)));
            }
        }
        self.exit
    }

    /// The object that a failed command writes for programs.
    pub(crate) fn to_json(&self) -> Result<serde_json::Value> {
        serde_json::to_value(self.for_programs()).during(|| "write the error as JSON".into())
    }

    fn for_programs(&self) -> impl Serialize {
        #[derive(Serialize)]
        struct Report<'a> {
            error: Body<'a>,
        }
        #[derive(Serialize)]
        struct Body<'a> {
            class: &'static str,
            message: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            denial: Option<&'a Denial>,
            #[serde(skip_serializing_if = "Option::is_none")]
            advice: Option<&'a str>,
        }
        let denial = match &self.error {
            Error::Denied(denial) => Some(&**denial),
            _ => None,
        };
        let class = if self.exit == Exit::Usage { "usage" } else { self.error.class() };
        Report { error: Body { class, message: self.error.to_string(), denial, advice: self.advice.as_deref() } }
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

/// Adds to a foreign error what was being done.
pub(crate) trait During<T> {
    /// `what`: an operation and its object, such as `read /a/b`.
    fn during(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Display> During<T> for std::result::Result<T, E> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| Fault::failed(format!("could not {}: {e}", what())))
    }
}
