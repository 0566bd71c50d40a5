//! What rooms know of traces and metrics: the targets by which `tracing` sorts them, and the port through which the
//! context of a trace enters and leaves. Only the binary knows who listens.
//!
//! Nothing of what is told here may hold a secret, nor, but under [`CONTENT`], a prompt, an argument or a result:
//! telemetry leaves the machine. Errors are told by their class for the same reason.

use std::sync::OnceLock;

use tracing::Span;

use crate::{Error, id::WorkId, work::Work};

/// The target of spans. They are of level `INFO`; those of single operations on the store are of level `DEBUG`.
pub const SPANS: &str = "animus::trace";
/// The target of events that are measurements: fields `monotonic_counter.NAME`, `counter.NAME` and `histogram.NAME`, and
/// labels beside them. Labels never hold identifiers of work, or anything else without a bound.
pub const METRICS: &str = "animus::metrics";
/// The target of events with prompts, answers, arguments and results. Off unless the operator turned it on.
pub const CONTENT: &str = "animus::content";

/// Carries the context of traces, in the form of the header `traceparent` of the W3C.
pub trait Propagator: Send + Sync {
    /// The context of a span; none where nobody records it.
    fn traceparent(&self, span: &Span) -> Option<String>;

    /// Makes a span that has not been entered yet the child of a context that came from elsewhere.
    fn adopt(&self, span: &Span, parent: &TraceParent);

    /// Makes a span that has not been entered yet the root of a trace with this identifier.
    fn root(&self, span: &Span, trace: u128);
}

static PROPAGATOR: OnceLock<Box<dyn Propagator>> = OnceLock::new();
static INHERITED: OnceLock<TraceParent> = OnceLock::new();

/// Sets the propagator of this process. Only the first one counts.
pub fn set_propagator(propagator: Box<dyn Propagator>) {
    let _ = PROPAGATOR.set(propagator);
}

/// Sets the context in which this process itself was started. Only the first one counts.
pub fn set_inherited(parent: TraceParent) {
    let _ = INHERITED.set(parent);
}

/// The context of the current span, or that in which the process was started: what work that is submitted now should
/// continue.
#[must_use]
pub fn current_traceparent() -> Option<String> {
    let current = PROPAGATOR.get().and_then(|propagator| propagator.traceparent(&Span::current()));
    current.or_else(|| INHERITED.get().map(|parent| parent.0.clone()))
}

/// Makes a new span the beginning of a work item: it continues the trace of whoever submitted the item, or begins the one
/// that bears the item's own identifier.
pub fn begin(span: &Span, work: &Work) {
    let Some(propagator) = PROPAGATOR.get().filter(|_| !span.is_disabled()) else { return };
    match submitter(work) {
        Some(parent) => propagator.adopt(span, &parent),
        None => propagator.root(span, work.id.as_u128()),
    }
}

/// The identifier of the trace in which a work item is told, 32 hexadecimal digits: its submitter's, or its own.
#[must_use]
pub fn trace_id(work: &Work) -> String {
    let own = |id: WorkId| format!("{:032x}", id.as_u128());
    submitter(work).map_or_else(|| own(work.id), |parent| parent.trace_id().to_owned())
}

/// The context of whoever submitted an item. Words that are no `traceparent` count as none: they come from strangers.
fn submitter(work: &Work) -> Option<TraceParent> {
    work.trace.as_deref().and_then(TraceParent::parse)
}

/// A figure for a span. Larger ones are cut: attributes of spans are signed, and what is not arrives as text.
#[must_use]
pub fn figure(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Marks a span as failed, by the class of the error.
pub fn failed(span: &Span, error: &Error) {
    if !span.is_disabled() {
        span.record("otel.status_code", "ERROR").record("error.type", error.class());
    }
}

/// A `traceparent` that is well-formed: `00-<trace>-<parent>-<flags>` in lower-case hexadecimal, neither identifier zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceParent(String);

impl TraceParent {
    /// Reads one; none where the text is none. A later version of the format is read as far as this one goes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().splitn(5, '-');
        let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |part: &str, len| part.len() == len && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let named = |part: &str, len| hex(part, len) && part.bytes().any(|b| b != b'0');
        let whole = version != "00" || parts.next().is_none();
        (hex(version, 2) && version != "ff" && whole && named(trace, 32) && named(parent, 16) && hex(flags, 2))
            .then(|| Self(format!("00-{trace}-{parent}-{flags}")))
    }

    /// The identifier of the trace, 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        self.0.split('-').nth(1).unwrap_or_default()
    }

    /// The text, as the header carries it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_read_and_names_its_trace() {
        let parent = TraceParent::parse(GOOD).unwrap();
        assert_eq!((parent.as_str(), parent.trace_id()), (GOOD, "4bf92f3577b34da6a3ce929d0e0e4736"));
        let later = TraceParent::parse(&format!("{}-more", GOOD.replacen("00", "cc", 1))).unwrap();
        assert_eq!(later.as_str(), GOOD);
    }

    #[test]
    fn what_is_no_traceparent_is_none() {
        for bad in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceParent::parse(bad), None, "{bad}");
        }
    }
}
