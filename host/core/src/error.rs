//! The one error that crosses rooms. Its classes are those of `animus:types/types.error`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The result of an operation that crosses rooms.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Where a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gate {
    /// The plugin's manifest never asked for it.
    Manifest,
    /// The operator has not granted it.
    Grant,
    /// The tenant's ceiling is lower than what was granted.
    Ceiling,
    /// The principal on whose behalf the plugin runs does not hold it.
    Principal,
    /// A host policy that no grant lifts.
    Policy,
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Manifest => "manifest",
            Self::Grant => "grant",
            Self::Ceiling => "ceiling",
            Self::Principal => "principal",
            Self::Policy => "policy",
        })
    }
}

/// What would lift a refusal: a closed vocabulary, because this reaches models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unlock {
    /// Only the operator can allow this.
    AskOperator,
    /// The same request with smaller figures would pass.
    AskForLess,
    /// Nothing lifts this refusal.
    Nothing,
}

/// A refusal: what was needed, which gate refused, what would lift it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// Who was refused: a plugin's name, or `operator`.
    pub who: String,
    /// The capability in its written form, such as `http:GET api.example.org:443`.
    pub capability: String,
    /// The gate that refused.
    pub gate: Gate,
    /// What would lift it, in the words that a guest or model may see.
    pub unlock: Unlock,
    /// What the *operator* can type to allow it. Never shown to guests or models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

impl Denial {
    /// The refusal as a model may read it: no command, nothing that helps to get round the gate.
    #[must_use]
    pub fn for_model(&self) -> String {
        let advice = match self.unlock {
            Unlock::AskOperator => "Only your operator can allow this; you may ask them and go on without it.",
            Unlock::AskForLess => "A smaller request would pass.",
            Unlock::Nothing => "Nothing lifts this refusal; find another way.",
        };
        format!("denied: {} (refused at: {}). {advice}", self.capability, self.gate)
    }
}

impl fmt::Display for Denial {
    /// The refusal as the operator reads it, with the command that lifts it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' was denied {} at the {} gate", self.who, self.capability, self.gate)?;
        match (&self.command, self.unlock) {
            (Some(command), _) => write!(f, "; to allow it: {command}"),
            (None, Unlock::AskForLess) => f.write_str("; a smaller request would pass"),
            (None, _) => Ok(()),
        }
    }
}

/// Why an operation failed, by class. Texts are for people: lowercase, no final full stop, no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "class", content = "detail", rename_all = "kebab-case")]
pub enum Error {
    /// Not allowed.
    #[error("{0}")]
    Denied(Box<Denial>),
    /// A budget or limit is used up; the text names it.
    #[error("{0}")]
    BudgetExhausted(String),
    /// The work was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The deadline of the named operation has passed.
    #[error("{0}")]
    Timeout(String),
    /// The arguments are wrong.
    #[error("{0}")]
    Invalid(String),
    /// No such thing.
    #[error("{0}")]
    NotFound(String),
    /// It exists already, or changed meanwhile.
    #[error("{0}")]
    Conflict(String),
    /// Not now: busy or unreachable.
    #[error("{0}")]
    Unavailable(String),
    /// It may or may not have happened: the host ended in the middle of it, and it is nothing that may be repeated unasked.
    /// The text says what, and what to do.
    #[error("{0}")]
    Uncertain(String),
    /// A focus that was resumed or replayed did something else than its journal says. The text has both sides.
    #[error("{0}")]
    Diverged(String),
    /// The host failed, or a plugin broke.
    #[error("{0}")]
    Internal(String),
}

/// How the text of every [`Error::context_overflow`] begins.
const CONTEXT_OVERFLOW: &str = "context too long: ";

impl Error {
    /// The class as a stable word: `denied`, `budget-exhausted`, `cancelled`, …
    #[must_use]
    pub fn class(&self) -> &'static str {
        match self {
            Self::Denied(_) => "denied",
            Self::BudgetExhausted(_) => "budget-exhausted",
            Self::Cancelled => "cancelled",
            Self::Timeout(_) => "timeout",
            Self::Invalid(_) => "invalid",
            Self::NotFound(_) => "not-found",
            Self::Conflict(_) => "conflict",
            Self::Unavailable(_) => "unavailable",
            Self::Uncertain(_) => "uncertain",
            Self::Diverged(_) => "diverged",
            Self::Internal(_) => "internal",
        }
    }

    /// A conversation that does not fit the model's window, by the vendor's own word.
    #[must_use]
    pub fn context_overflow(detail: impl fmt::Display) -> Self {
        Self::Invalid(format!("{CONTEXT_OVERFLOW}{detail}"))
    }

    /// Whether this is an [`Error::context_overflow`]: a shorter conversation may pass.
    #[must_use]
    pub fn is_context_overflow(&self) -> bool {
        matches!(self, Self::Invalid(text) if text.starts_with(CONTEXT_OVERFLOW))
    }

    /// The error as a model may read it.
    #[must_use]
    pub fn for_model(&self) -> String {
        match self {
            Self::Denied(denial) => denial.for_model(),
            other => format!("{}: {other}", other.class()),
        }
    }

    /// An [`Error::Internal`] that keeps the whole chain of causes of `source`.
    pub fn internal(context: impl fmt::Display, source: &dyn std::error::Error) -> Self {
        let mut text = format!("{context}: {source}");
        let mut cause = source.source();
        while let Some(next) = cause {
            text.push_str(": ");
            text.push_str(&next.to_string());
            cause = next.source();
        }
        Self::Internal(text)
    }
}

impl From<Denial> for Error {
    fn from(denial: Denial) -> Self {
        Self::Denied(Box::new(denial))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_never_reads_the_command() {
        let denial = Denial {
            who: "web".into(),
            capability: "http:GET example.org:443".into(),
            gate: Gate::Grant,
            unlock: Unlock::AskOperator,
            command: Some("animus plugin grant web --requested".into()),
        };
        assert!(denial.to_string().ends_with("to allow it: animus plugin grant web --requested"));
        let seen = Error::from(denial).for_model();
        assert!(!seen.contains("animus") && !seen.contains("grant web"), "{seen}");
        assert!(seen.contains("http:GET example.org:443"), "{seen}");
    }
}
