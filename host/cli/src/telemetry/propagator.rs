//! Contexts of traces as OpenTelemetry keeps them, in the words of the W3C.

use std::{cell::Cell, collections::HashMap};

use animus_core::trace::{Propagator, TraceParent};
use opentelemetry::{SpanId, TraceId, propagation::TextMapPropagator as _, trace::TraceContextExt as _};
use opentelemetry_sdk::{
    propagation::TraceContextPropagator,
    trace::{IdGenerator, RandomIdGenerator},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

std::thread_local! {
    /// The identifier of the trace whose root is being started on this thread.
    static ROOT: Cell<Option<u128>> = const { Cell::new(None) };
}

pub(super) struct OpenTelemetry;

impl Propagator for OpenTelemetry {
    fn traceparent(&self, span: &Span) -> Option<String> {
        let context = span.context();
        let at = context.span().span_context().clone();
        let flags = at.trace_flags().to_u8();
        at.is_valid().then(|| format!("00-{}-{}-{flags:02x}", at.trace_id(), at.span_id()))
    }

    fn adopt(&self, span: &Span, parent: &TraceParent) {
        let carried = HashMap::from([("traceparent".to_owned(), parent.as_str().to_owned())]);
        // A span that nobody records has no parent to set.
        let _ = span.set_parent(TraceContextPropagator::new().extract(&carried));
    }

    fn root(&self, span: &Span, trace: u128) {
        ROOT.set(Some(trace));
        // Asking for its context starts it, and so has it take the identifier.
        drop(span.context());
        ROOT.set(None);
    }
}

/// Random identifiers, but for roots that were given one.
#[derive(Debug, Default)]
pub(super) struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        ROOT.take().map_or_else(|| self.0.new_trace_id(), TraceId::from)
    }

    fn new_span_id(&self) -> SpanId {
        self.0.new_span_id()
    }
}
