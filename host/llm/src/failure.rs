//! What went wrong with one try, and what to do about it.

use std::time::Duration;

use animus_core::Error;
use serde_json::Value;

/// A failed try.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub(crate) struct Failure {
    pub(crate) error: Error,
    pub(crate) next: Next,
}

/// What to do about a failed try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The same again, after the vendor's own wait or ours.
    Again { after: Option<Duration> },
    /// It will fail again with this model; another one may do.
    Fallback,
    /// No model can do it.
    Stop,
}

impl Failure {
    pub(crate) fn again(error: Error) -> Self {
        Self { error, next: Next::Again { after: None } }
    }

    pub(crate) fn fallback(error: Error) -> Self {
        Self { error, next: Next::Fallback }
    }

    pub(crate) fn stop(error: Error) -> Self {
        Self { error, next: Next::Stop }
    }

    /// The same failure in other words.
    pub(crate) fn reworded(self, reword: impl FnOnce(&str) -> String) -> Self {
        Self { error: reworded(self.error, reword), next: self.next }
    }
}

/// The same class with another text. Denials and cancellations carry none.
pub(crate) fn reworded(error: Error, reword: impl FnOnce(&str) -> String) -> Error {
    match error {
        Error::BudgetExhausted(text) => Error::BudgetExhausted(reword(&text)),
        Error::Timeout(text) => Error::Timeout(reword(&text)),
        Error::Invalid(text) => Error::Invalid(reword(&text)),
        Error::NotFound(text) => Error::NotFound(reword(&text)),
        Error::Conflict(text) => Error::Conflict(reword(&text)),
        Error::Unavailable(text) => Error::Unavailable(reword(&text)),
        Error::Internal(text) => Error::Internal(reword(&text)),
        // No vendor causes the last two.
        Error::Denied(_) | Error::Cancelled | Error::Uncertain(_) | Error::Diverged(_) => error,
    }
}

/// A vendor's own "no", from a status line or from within a stream.
#[derive(Debug, Default)]
pub(crate) struct Refusal {
    /// The HTTP status, or what the vendor's error type means as one.
    pub(crate) status: u16,
    /// The vendor's error type or code, where it names one.
    pub(crate) kind: String,
    /// The vendor's own words.
    pub(crate) message: String,
    /// `Retry-After`.
    pub(crate) after: Option<Duration>,
}

impl Refusal {
    /// Reads the body of an error answer, in any of the shapes that vendors use; other text is taken as it is.
    pub(crate) fn read(status: u16, body: &str) -> Self {
        match serde_json::from_str::<Value>(body) {
            Ok(value) => Self { status, ..Self::within(&value) },
            Err(_) => Self { status, message: body.trim().to_owned(), ..Self::default() },
        }
    }

    /// Reads an error that arrives within an answer, where no status line tells its class:
    /// `{"error": {type, code, message}}`, `{"error": "…"}`, `{"message": "…"}` or `{"detail": …}`.
    pub(crate) fn within(value: &Value) -> Self {
        let error = value.get("error").filter(|error| !error.is_null()).unwrap_or(value);
        let text = |key: &str| error.get(key).and_then(Value::as_str);
        let mut message = text("message")
            .or_else(|| error.as_str())
            .map(str::to_owned)
            .unwrap_or_else(|| error.get("detail").unwrap_or(error).to_string());
        // A router (OpenRouter) passes on what the vendor behind it said.
        if let Some(raw) = error.pointer("/metadata/raw").and_then(Value::as_str) {
            message = format!("{message}: {raw}");
        }
        let kind = text("code").or_else(|| text("type")).unwrap_or_default().to_owned();
        let code = error.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
        Self { status: code.unwrap_or_else(|| status_of(&kind)), kind, message, after: None }
    }

    /// Whether the conversation is longer than the model's window.
    fn is_context_overflow(&self) -> bool {
        const SAYINGS: &[&str] = &[
            "context_length_exceeded",
            "exceed_context_size",
            "maximum context length",
            "context window",
            "context limit",
            "available context size",
            "exceeds the context length",
            "greater than the context length",
            "prompt is too long",
            "input is too long",
            "reduce the length of the messages",
        ];
        let said = format!("{} {}", self.kind, self.message).to_lowercase();
        self.status == 413
            || (matches!(self.status, 400 | 422 | 500) && SAYINGS.iter().any(|saying| said.contains(saying)))
    }

    /// The failure that this refusal amounts to. `key_advice` says where a key is set.
    pub(crate) fn into_failure(self, provider: &str, model: &str, key_advice: &str) -> Failure {
        let Self { status, ref kind, ref message, after } = self;
        let message = bounded(message);
        let overflow = self.is_context_overflow();
        let text = |what: &str| match after {
            Some(after) => {
                format!("{provider} {what} ({status}): {message}; retry after {} s", after.as_secs_f64().ceil())
            }
            None => format!("{provider} {what} ({status}): {message}"),
        };
        let again = |what: &str| Failure { error: Error::Unavailable(text(what)), next: Next::Again { after } };
        match status {
            _ if overflow => Failure::fallback(Error::context_overflow(text("refused the request"))),
            // Waiting does not refill an account.
            402 => Failure::fallback(Error::Unavailable(text("wants payment"))),
            429 if kind == "insufficient_quota" => Failure::fallback(Error::Unavailable(text("wants payment"))),
            401 | 403 => Failure::fallback(Error::Invalid(format!("{}; {key_advice}", text("refused the key")))),
            404 => Failure::fallback(Error::NotFound(text(&format!("does not know model '{model}'")))),
            408 | 409 | 425 => again("gave up"),
            429 => again("limits us"),
            503 | 529 => again("is overloaded"),
            500.. => again("failed"),
            300..=399 => Failure::fallback(Error::Invalid(text("answers from elsewhere; correct its base_url"))),
            _ => Failure::stop(Error::Invalid(text("refused the request"))),
        }
    }
}

/// The status that a vendor's error type stands for.
fn status_of(kind: &str) -> u16 {
    match kind {
        "invalid_request_error" | "context_length_exceeded" => 400,
        "authentication_error" | "invalid_api_key" => 401,
        "billing_error" | "insufficient_quota" => 402,
        "permission_error" => 403,
        "not_found_error" | "model_not_found" => 404,
        "request_too_large" => 413,
        "rate_limit_error" | "rate_limit_exceeded" => 429,
        "timeout_error" => 504,
        "overloaded_error" => 529,
        _ => 500,
    }
}

/// Longer texts of vendors are cut: some answer with whole pages.
const LONGEST_MESSAGE: usize = 600;

fn bounded(message: &str) -> String {
    let mut text: String =
        message.chars().take(LONGEST_MESSAGE).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if message.chars().nth(LONGEST_MESSAGE).is_some() {
        text.push('…');
    }
    if text.is_empty() { "no message".to_owned() } else { text }
}
