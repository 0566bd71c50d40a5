//! Log lines as OpenTelemetry's log records.
//!
//! A line on the operator's own terminal may hold the text of an error, and with it words of a guest or a vendor. What
//! leaves the machine must not, unless the operator said so: without content only labels that are known to be harmless
//! go along, and numbers.

use std::{fmt, time::SystemTime};

use animus_core::trace;
use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry_sdk::logs::{SdkLogRecord, SdkLogger, SdkLoggerProvider};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt as _, filter_fn},
    layer::{Context, Filter},
    registry::LookupSpan,
};

/// Texts that go along in any case: names that an operator gave, identifiers, and places on this machine.
const HARMLESS: [&str; 13] = [
    "because",
    "faculty",
    "focus",
    "generation",
    "id",
    "kind",
    "memory",
    "model",
    "path",
    "plugin",
    "skill",
    "tenant",
    "work",
];

/// The longest text of a record, in bytes.
const LONGEST: usize = 8 << 10;

/// What is logged on standard error too, as far as the host itself says it: libraries do not know what they may tell.
pub(super) fn filter<S>(wanted: EnvFilter) -> impl Filter<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let own = |target: &str| target == "animus" || target.starts_with("animus_") || target.starts_with("animus::");
    let aside = [trace::SPANS, trace::METRICS, trace::CONTENT];
    wanted.and(filter_fn(move |of| of.is_event() && own(of.target()) && !aside.contains(&of.target())))
}

/// Hands events to the SDK, which knows the span in which they happen.
pub(super) struct LogLayer {
    logger: SdkLogger,
    content: bool,
}

impl LogLayer {
    pub(super) fn new(provider: &SdkLoggerProvider, content: bool) -> Self {
        Self { logger: provider.logger(super::SCOPE), content }
    }
}

impl<S> Layer<S> for LogLayer
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let of = event.metadata();
        let (severity, text) = match *of.level() {
            Level::ERROR => (Severity::Error, "ERROR"),
            Level::WARN => (Severity::Warn, "WARN"),
            Level::INFO => (Severity::Info, "INFO"),
            Level::DEBUG => (Severity::Debug, "DEBUG"),
            Level::TRACE => (Severity::Trace, "TRACE"),
        };
        let mut record = self.logger.create_log_record();
        record.set_timestamp(SystemTime::now());
        record.set_target(of.target());
        record.set_severity_number(severity);
        record.set_severity_text(text);
        let mut fields = Fields { record: &mut record, content: self.content, withheld: String::new() };
        event.record(&mut fields);
        let withheld = fields.withheld;
        if !withheld.is_empty() {
            record.add_attribute("animus.withheld", AnyValue::from(withheld));
        }
        self.logger.emit(record);
    }
}

struct Fields<'a> {
    record: &'a mut SdkLogRecord,
    content: bool,
    /// The names of fields whose texts stay here.
    withheld: String,
}

impl Fields<'_> {
    fn text(&mut self, name: &'static str, text: impl fmt::Display) {
        if name == "message" {
            // Constant in all rooms.
            self.record.set_body(AnyValue::from(cut(text.to_string())));
        } else if self.content || HARMLESS.contains(&name) {
            self.record.add_attribute(name, AnyValue::from(cut(text.to_string())));
        } else {
            let gap = if self.withheld.is_empty() { "" } else { "," };
            self.withheld = format!("{}{gap}{name}", self.withheld);
        }
    }
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(LONGEST));
    text
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field.name(), format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.record.add_attribute(field.name(), AnyValue::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.record.add_attribute(field.name(), AnyValue::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.record.add_attribute(field.name(), AnyValue::from(i64::try_from(value).unwrap_or(i64::MAX)));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.record_u64(field, u64::try_from(value).unwrap_or(u64::MAX));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.record.add_attribute(field.name(), AnyValue::from(value));
    }
}
