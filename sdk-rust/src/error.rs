//! Errors, by the classes that hosts, plugins and models share.

use std::{error, fmt, io};

use crate::bindings::imports::animus::types::types as wit;

pub use wit::{Denial, Gate, Unlock};

/// The result of nearly everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed. The text is for people and models: lowercase, no final full stop, and it names what failed.
///
/// Every [`std::error::Error`] becomes one by `?`: an [`io::Error`] by its kind, anything else as
/// [`Error::Internal`]. For that reason this type does not implement [`std::error::Error`] itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Error {
    /// Not allowed. Repeating the same call does not help.
    Denied(Denial),
    /// A budget (tokens, money) or a limit (bytes, calls, entries) is used up.
    BudgetExhausted(String),
    /// The work was cancelled. Return soon; the host ends the call otherwise.
    Cancelled,
    /// A deadline has passed.
    Timeout(String),
    /// The arguments are wrong; the text says which and why.
    Invalid(String),
    /// No such thing; the text names what was looked for.
    NotFound(String),
    /// It exists already, or changed meanwhile.
    Conflict(String),
    /// Not now: busy or unreachable. The same call may pass later.
    Unavailable(String),
    /// The plugin or the host failed.
    Internal(String),
}

impl Error {
    /// [`Error::Invalid`] with this text.
    pub fn invalid(text: impl fmt::Display) -> Self {
        Self::Invalid(text.to_string())
    }

    /// [`Error::NotFound`] with this text.
    pub fn not_found(text: impl fmt::Display) -> Self {
        Self::NotFound(text.to_string())
    }

    /// [`Error::Conflict`] with this text.
    pub fn conflict(text: impl fmt::Display) -> Self {
        Self::Conflict(text.to_string())
    }

    /// [`Error::Unavailable`] with this text.
    pub fn unavailable(text: impl fmt::Display) -> Self {
        Self::Unavailable(text.to_string())
    }

    /// [`Error::Internal`] with this text.
    pub fn internal(text: impl fmt::Display) -> Self {
        Self::Internal(text.to_string())
    }

    /// The same error, its text after `what` and a colon. Denials and cancellations stay as they are.
    #[must_use]
    pub fn context(self, what: impl fmt::Display) -> Self {
        let with = |text: String| format!("{what}: {text}");
        match self {
            Self::Denied(_) | Self::Cancelled => self,
            Self::BudgetExhausted(text) => Self::BudgetExhausted(with(text)),
            Self::Timeout(text) => Self::Timeout(with(text)),
            Self::Invalid(text) => Self::Invalid(with(text)),
            Self::NotFound(text) => Self::NotFound(with(text)),
            Self::Conflict(text) => Self::Conflict(with(text)),
            Self::Unavailable(text) => Self::Unavailable(with(text)),
            Self::Internal(text) => Self::Internal(with(text)),
        }
    }

    pub(crate) fn from_host(error: wit::Error) -> Self {
        match error {
            wit::Error::Denied(denial) => Self::Denied(denial),
            wit::Error::BudgetExhausted(text) => Self::BudgetExhausted(text),
            wit::Error::Cancelled => Self::Cancelled,
            wit::Error::Timeout(text) => Self::Timeout(text),
            wit::Error::Invalid(text) => Self::Invalid(text),
            wit::Error::NotFound(text) => Self::NotFound(text),
            wit::Error::Conflict(text) => Self::Conflict(text),
            wit::Error::Unavailable(text) => Self::Unavailable(text),
            wit::Error::Internal(text) => Self::Internal(text),
        }
    }

    pub(crate) fn into_host(self) -> wit::Error {
        match self {
            Self::Denied(denial) => wit::Error::Denied(denial),
            Self::BudgetExhausted(text) => wit::Error::BudgetExhausted(text),
            Self::Cancelled => wit::Error::Cancelled,
            Self::Timeout(text) => wit::Error::Timeout(text),
            Self::Invalid(text) => wit::Error::Invalid(text),
            Self::NotFound(text) => wit::Error::NotFound(text),
            Self::Conflict(text) => wit::Error::Conflict(text),
            Self::Unavailable(text) => wit::Error::Unavailable(text),
            Self::Internal(text) => wit::Error::Internal(text),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(Denial { capability, unlock, .. }) => {
                write!(f, "not allowed: {capability}")?;
                f.write_str(match unlock {
                    Unlock::AskOperator => "; only the operator can allow it",
                    Unlock::AskForLess => "; the same with smaller figures would pass",
                    Unlock::Nothing => "",
                })
            }
            Self::Cancelled => f.write_str("the work was cancelled"),
            Self::BudgetExhausted(text)
            | Self::Timeout(text)
            | Self::Invalid(text)
            | Self::NotFound(text)
            | Self::Conflict(text)
            | Self::Unavailable(text)
            | Self::Internal(text) => f.write_str(text),
        }
    }
}

impl<E: error::Error + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        let kind = (&error as &(dyn error::Error + 'static)).downcast_ref::<io::Error>().map(io::Error::kind);
        match kind {
            Some(io::ErrorKind::NotFound) => Self::NotFound(text),
            Some(io::ErrorKind::AlreadyExists) => Self::Conflict(text),
            Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => Self::Invalid(text),
            Some(io::ErrorKind::TimedOut) => Self::Timeout(text),
            Some(io::ErrorKind::WouldBlock | io::ErrorKind::ResourceBusy) => Self::Unavailable(text),
            _ => Self::Internal(text),
        }
    }
}

/// Says what was being done when something failed.
pub trait Context<T> {
    /// Puts `what` and a colon before the error's text.
    ///
    /// # Errors
    /// The error that was there, its class unchanged.
    fn context(self, what: impl fmt::Display) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|error| error.into().context(what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_standard_library_keeps_its_class_and_gains_its_context() {
        let missing = std::fs::read("/no/such/file").context("read the plan").unwrap_err();
        assert!(matches!(&missing, Error::NotFound(text) if text.starts_with("read the plan: ")), "{missing:?}");
        let digits = "x".parse::<u8>().context("count").unwrap_err();
        assert_eq!(digits, Error::internal("count: invalid digit found in string"));
    }

    #[test]
    fn every_class_survives_the_way_to_the_host_and_back() {
        let denial = Denial { capability: "llm:coder".into(), gate: Gate::Grant, unlock: Unlock::AskOperator };
        for error in [
            Error::Denied(denial),
            Error::BudgetExhausted("a".into()),
            Error::Cancelled,
            Error::Timeout("b".into()),
            Error::invalid("c"),
            Error::not_found("d"),
            Error::conflict("e"),
            Error::unavailable("f"),
            Error::internal("g"),
        ] {
            assert_eq!(Error::from_host(error.clone().into_host()), error);
        }
    }

    #[test]
    fn a_denial_says_who_can_lift_it() {
        let denial = Denial { capability: "llm:coder".into(), gate: Gate::Grant, unlock: Unlock::AskOperator };
        assert_eq!(Error::Denied(denial).to_string(), "not allowed: llm:coder; only the operator can allow it");
    }
}
