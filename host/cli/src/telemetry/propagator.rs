//! Contexts of traces as OpenTelemetry keeps them, in the words of the W3C.

use std::collections::HashMap;

use animus_core::trace::{Propagator, TraceParent};
use opentelemetry::{
    propagation::TextMapPropagator as _,
    trace::{SpanContext, TraceContextExt as _},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

pub(super) struct OpenTelemetry;

impl Propagator for OpenTelemetry {
    fn traceparent(&self, span: &Span) -> Option<String> {
        let context = span.context();
        let context: &SpanContext = context.span().span_context();
        context.is_valid().then(|| {
            format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), context.trace_flags().to_u8())
        })
    }

    fn adopt(&self, span: &Span, parent: &TraceParent) {
        let carried = HashMap::from([("traceparent".to_owned(), parent.as_str().to_owned())]);
        // A span that nobody records has no parent to set.
        let _ = span.set_parent(TraceContextPropagator::new().extract(&carried));
    }
}
