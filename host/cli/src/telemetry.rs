//! What this process tells of itself: logs on standard error always; traces, metrics and logs by OTLP where an endpoint
//! is named; metrics for Prometheus where somebody serves them.
//!
//! The rooms know `tracing` alone. Here its events and spans become OpenTelemetry's, and only here is decided what of
//! them leaves the machine (docs/telemetry.md).

mod catalog;
mod client;
mod logs;
mod propagator;
mod settings;

use std::{
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use animus_core::trace::{self, TraceParent};
use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{
    ExporterBuildError, LogExporter, MetricExporter, Protocol, RetryPolicy, SpanExporter, WithExportConfig as _,
    WithHttpConfig as _,
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    logs::SdkLoggerProvider,
    metrics::{PeriodicReader, SdkMeterProvider},
    trace::SdkTracerProvider,
};
use prometheus::{Registry, TextEncoder};
use tokio::runtime::Handle;
use tracing::{Level, Subscriber, level_filters::LevelFilter};
use tracing_opentelemetry::MetricsLayer;
use tracing_subscriber::{
    EnvFilter, Layer, filter::filter_fn, layer::SubscriberExt as _, registry::LookupSpan, util::SubscriberInitExt as _,
};

use self::{
    client::{Client, Health},
    logs::LogLayer,
    settings::Plan,
};
use crate::{
    fault::{Fault, Result},
    out::Out,
};

pub(crate) use self::settings::Settings;

/// The longest that the end of the process waits for what is still to be delivered.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// What the instruments and tracers are called.
const SCOPE: &str = "animus";

/// Where telemetry goes while this process runs. [`Telemetry::finish`] delivers the rest.
pub(crate) struct Telemetry {
    health: Arc<Health>,
    traces: Option<SdkTracerProvider>,
    metrics: Option<SdkMeterProvider>,
    logs: Option<SdkLoggerProvider>,
    prometheus: Option<Registry>,
}

/// What of it this process wants.
pub(crate) struct Wants {
    /// What the operator's file says.
    pub(crate) settings: Settings,
    /// Whether [`Telemetry::scrape`] will be asked for something. It needs no endpoint.
    pub(crate) prometheus: bool,
    /// Whether this process continues the trace that the variable `TRACEPARENT` names; a server has one for each request
    /// instead.
    pub(crate) continues: bool,
}

impl Telemetry {
    /// Begins to listen. Nothing is connected before something is delivered, which happens on threads of the SDK, with
    /// the client's work on `runtime`; a collector that does not answer costs the process no more than
    /// [`LAST_WORDS`] at its end.
    ///
    /// # Errors
    /// For a variable `ANIMUS_LOG` or an endpoint that cannot be read.
    pub(crate) fn start(wants: Wants, runtime: &Handle, out: &Out) -> Result<Self> {
        let plan = Plan::new(wants.settings, &|name| std::env::var(name).ok())?;
        let health = Arc::new(Health::new(out.clone()));
        let client = Client::new(runtime.clone(), plan.timeout, health.clone());
        let built = Self::build(&plan, wants.prometheus, &client, health);
        let telemetry = built.map_err(|error| Fault::usage(format!("telemetry cannot be exported: {error}")))?;
        telemetry.listen(&plan)?;
        if telemetry.traces.is_some() {
            trace::set_propagator(Box::new(propagator::OpenTelemetry));
        }
        let inherited = std::env::var("TRACEPARENT").ok().filter(|_| wants.continues);
        if let Some(parent) = inherited.as_deref().and_then(TraceParent::parse) {
            trace::set_inherited(parent);
        }
        Ok(telemetry)
    }

    fn build(
        plan: &Plan,
        prometheus: bool,
        client: &Client,
        health: Arc<Health>,
    ) -> std::result::Result<Self, ExporterBuildError> {
        let resource = resource(plan);
        let mut telemetry = Self { health, traces: None, metrics: None, logs: None, prometheus: None };
        if let Some(to) = &plan.traces {
            let builder = SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary);
            let builder = builder.with_http_client(client.clone()).with_retry_policy(patience());
            let exporter = match &to.endpoint {
                Some(endpoint) => builder.with_endpoint(endpoint).build()?,
                None => builder.build()?,
            };
            let provider = SdkTracerProvider::builder().with_resource(resource.clone());
            let provider = provider.with_id_generator(propagator::Ids::default());
            telemetry.traces = Some(provider.with_batch_exporter(exporter).build());
        }
        if let Some(to) = &plan.logs {
            let builder = LogExporter::builder().with_http().with_protocol(Protocol::HttpBinary);
            let builder = builder.with_http_client(client.clone()).with_retry_policy(patience());
            let exporter = match &to.endpoint {
                Some(endpoint) => builder.with_endpoint(endpoint).build()?,
                None => builder.build()?,
            };
            let provider = SdkLoggerProvider::builder().with_resource(resource.clone());
            telemetry.logs = Some(provider.with_batch_exporter(exporter).build());
        }
        let mut metrics = SdkMeterProvider::builder().with_resource(resource).with_view(catalog::view);
        if let Some(to) = &plan.metrics {
            let builder = MetricExporter::builder().with_http().with_protocol(Protocol::HttpBinary);
            let builder = builder.with_http_client(client.clone()).with_retry_policy(patience());
            let exporter = match &to.endpoint {
                Some(endpoint) => builder.with_endpoint(endpoint).build()?,
                None => builder.build()?,
            };
            metrics = metrics.with_reader(PeriodicReader::builder(exporter).build());
        }
        if prometheus {
            let registry = Registry::new();
            // Units would be said twice: `duration_ms_milliseconds`.
            let reader = opentelemetry_prometheus::exporter().with_registry(registry.clone()).without_units();
            let reader = reader.scope_info_enabled(false).build();
            metrics = metrics.with_reader(reader.map_err(|e| ExporterBuildError::InternalFailure(e.to_string()))?);
            telemetry.prometheus = Some(registry);
        }
        if plan.metrics.is_some() || prometheus {
            telemetry.metrics = Some(metrics.build());
        }
        Ok(telemetry)
    }

    /// Sets the subscriber of the process. Whatever is not wanted has no layer, so that its call sites cost a comparison
    /// of levels and no more.
    fn listen(&self, plan: &Plan) -> Result {
        let wanted = std::env::var("ANIMUS_LOG").ok().filter(|text| !text.trim().is_empty());
        let wanted = wanted.as_deref().unwrap_or("warn");
        let level = log_filter(wanted)?.max_level_hint().unwrap_or(LevelFilter::TRACE);
        let mut layers = vec![
            tracing_subscriber::fmt::layer().with_writer(anstream::stderr).with_filter(log_filter(wanted)?).boxed(),
        ];
        if let Some(provider) = &self.traces {
            layers.push(spans(provider, level.max(LevelFilter::INFO), plan.content));
        }
        if let Some(provider) = &self.metrics {
            let metrics = filter_fn(|of| of.is_event() && of.target() == trace::METRICS);
            let layer = MetricsLayer::new(provider.clone()).with_filter(metrics.with_max_level_hint(Level::INFO));
            layers.push(layer.boxed());
        }
        if let Some(provider) = &self.logs {
            layers.push(LogLayer::new(provider, plan.content).with_filter(logs::filter(log_filter(wanted)?)).boxed());
        }
        tracing_subscriber::registry().with(layers).init();
        Ok(())
    }

    /// What a server shows of the metrics.
    pub(crate) fn scrape(&self) -> Scrape {
        Scrape(self.prometheus.clone())
    }

    /// Delivers what waits, within [`LAST_WORDS`].
    pub(crate) fn finish(self) {
        let (done, ends) = mpsc::channel();
        let mut waiting = 0_u32;
        let mut end = |deliver: Box<dyn FnOnce() -> OTelSdkResult + Send>| {
            let done = done.clone();
            // A thread each: one signal that is stuck must not take the others' time. They end with the process.
            let started = thread::Builder::new().spawn(move || done.send(deliver()));
            waiting += u32::from(started.is_ok());
        };
        if let Some(traces) = self.traces {
            end(Box::new(move || traces.shutdown_with_timeout(LAST_WORDS)));
        }
        if let Some(metrics) = self.metrics {
            end(Box::new(move || metrics.shutdown_with_timeout(LAST_WORDS)));
        }
        if let Some(logs) = self.logs {
            end(Box::new(move || logs.shutdown_with_timeout(LAST_WORDS)));
        }
        let deadline = Instant::now() + LAST_WORDS;
        for _ in 0..waiting {
            // Why a delivery failed, its client has told.
            if ends.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_err() {
                self.health.failed("the collector", &format!("no answer in {} s", LAST_WORDS.as_secs()));
                break;
            }
        }
    }
}

/// The metrics of this process.
#[derive(Clone, Default)]
pub(crate) struct Scrape(Option<Registry>);

impl Scrape {
    /// As Prometheus reads them; nothing where they were not wanted.
    pub(crate) fn prometheus_text(&self) -> String {
        let families = self.0.as_ref().map(Registry::gather).unwrap_or_default();
        // A family that cannot be written has no name or no metric, and the exporter makes no such families.
        TextEncoder::new().encode_to_string(&families).unwrap_or_default()
    }
}

/// One more try, soon: what waits behind it has little room, and a run that ends has little time.
fn patience() -> RetryPolicy {
    RetryPolicy::default().with_max_retries(1).with_initial_delay(Duration::from_millis(200))
}

/// Who tells all this. Variables of the environment stand over the file.
fn resource(plan: &Plan) -> Resource {
    let instance = KeyValue::new("service.instance.id", uuid::Uuid::now_v7().to_string());
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let mut resource = Resource::builder().with_attributes([version, instance]);
    if let Some(name) = &plan.service_name {
        resource = resource.with_service_name(name.clone());
    }
    resource.build()
}

/// What goes to standard error. Spans and measurements are no lines of a log, content is nobody's to read there, and what
/// the exporters say of a collector is told once, by [`Health`].
fn log_filter(wanted: &str) -> Result<EnvFilter> {
    let unread = |e| Fault::usage(format!("ANIMUS_LOG is not a log filter: {e}")).advise("such as ANIMUS_LOG=debug");
    let mut filter = EnvFilter::try_new(wanted).map_err(unread)?;
    for target in [trace::SPANS, trace::METRICS, trace::CONTENT, "opentelemetry"] {
        let off = format!("{target}=off").parse();
        filter = filter.add_directive(off.map_err(|e| Fault::failed(format!("could not filter the log: {e}")))?);
    }
    Ok(filter)
}

type Boxed<S> = Box<dyn Layer<S> + Send + Sync>;

/// The layer of spans up to `level`. Events are not among them, but those of content where that is wanted: the others are
/// logs, and their texts are not fit for everyone.
fn spans<S>(provider: &SdkTracerProvider, level: LevelFilter, content: bool) -> Boxed<S>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    let wanted = filter_fn(move |of| {
        (of.is_span() && of.target() == trace::SPANS && *of.level() <= level)
            // A room that asks whether anybody wants it asks by neither span nor event.
            || (content && !of.is_span() && of.target() == trace::CONTENT)
    });
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer(SCOPE))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_target(false)
        .with_level(false)
        .with_filter(wanted.with_max_level_hint(level))
        .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet(prometheus: bool) -> Telemetry {
        let health = Arc::new(Health::new(Out::new(false)));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let plan = Plan::new(Settings::default(), &|_| None).unwrap();
        let client = Client::new(runtime.handle().clone(), plan.timeout, health.clone());
        Telemetry::build(&plan, prometheus, &client, health).unwrap()
    }

    #[test]
    fn without_an_endpoint_there_is_nothing_to_tell_and_nothing_to_wait_for() {
        let telemetry = quiet(false);
        assert!(telemetry.traces.is_none() && telemetry.metrics.is_none() && telemetry.logs.is_none());
        assert_eq!(telemetry.scrape().prometheus_text(), "");
        telemetry.finish();
    }

    #[test]
    fn prometheus_reads_measurements_without_an_endpoint() {
        let telemetry = quiet(true);
        let layer = MetricsLayer::new(telemetry.metrics.clone().unwrap());
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            tracing::event!(target: trace::METRICS, Level::INFO, monotonic_counter.animus.plugin.calls = 2_u64, plugin = "fs");
            tracing::event!(target: trace::METRICS, Level::INFO, histogram.animus.operation.duration_ms = 3.5, operation = "tool");
        });
        let text = telemetry.scrape().prometheus_text();
        assert!(text.contains("animus_plugin_calls_total{plugin=\"fs\"} 2"), "{text}");
        assert!(text.contains("animus_operation_duration_ms_sum{operation=\"tool\"} 3.5"), "{text}");
        assert!(text.contains("# HELP animus_plugin_calls_total Calls into plugins"), "{text}");
        assert!(text.contains("service_name=\"animus\""), "{text}");
        telemetry.finish();
    }

    #[test]
    fn by_default_measurements_and_spans_are_above_the_level_of_everybody_who_listens() {
        assert_eq!(log_filter("warn").unwrap().max_level_hint(), Some(LevelFilter::WARN));
    }

    #[test]
    fn measurements_spans_and_content_are_no_lines_of_the_log_however_much_is_logged() {
        let said = Arc::new(std::sync::Mutex::new(Vec::new()));
        let written = said.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || Written(written.clone()));
        let subscriber = tracing_subscriber::registry().with(layer.with_filter(log_filter("trace").unwrap()));
        tracing::subscriber::with_default(subscriber, || {
            let _span = tracing::info_span!(target: trace::SPANS, "work.execute", marker = "span").entered();
            tracing::event!(target: trace::METRICS, Level::INFO, monotonic_counter.x = 1_u64, marker = "metric");
            tracing::event!(target: trace::CONTENT, Level::INFO, marker = "content");
            tracing::debug!(marker = "line");
        });
        let said = String::from_utf8(said.lock().unwrap().clone()).unwrap();
        assert!(said.contains("line"), "{said}");
        assert!(!said.contains("span") && !said.contains("metric") && !said.contains("content"), "{said}");
    }

    struct Written(Arc<std::sync::Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
}
