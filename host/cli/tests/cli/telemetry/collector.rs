//! A collector on loopback that takes OTLP over HTTP and decodes what arrives.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{KeyValue, any_value::Value as Any},
    metrics::v1::{metric::Data, number_data_point},
};
use prost::Message as _;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

pub(crate) type Fields = BTreeMap<String, Value>;

#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) name: String,
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: String,
    /// 1 internal, 3 client.
    pub(crate) kind: i32,
    pub(crate) times: (u64, u64),
    pub(crate) fields: Fields,
    pub(crate) is_error: bool,
    pub(crate) status: String,
    pub(crate) events: Vec<(String, Fields)>,
}

/// One series of a metric.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    pub(crate) metric: String,
    pub(crate) unit: String,
    pub(crate) fields: Fields,
    /// The value of a counter, the sum of a histogram.
    pub(crate) sum: f64,
    /// How many values a histogram has.
    pub(crate) count: u64,
    pub(crate) bounds: Vec<f64>,
}

#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub(crate) body: String,
    pub(crate) severity: String,
    pub(crate) trace: String,
    pub(crate) fields: Fields,
}

/// What arrived.
#[derive(Clone, Debug, Default)]
pub(crate) struct Got {
    pub(crate) spans: Vec<Span>,
    pub(crate) points: Vec<Point>,
    pub(crate) logs: Vec<Log>,
    pub(crate) resources: Vec<Fields>,
    pub(crate) headers: Vec<HeaderMap>,
    /// All bodies as they came.
    pub(crate) bytes: Vec<u8>,
}

impl Got {
    /// The one span of this name.
    pub(crate) fn span(&self, name: &str) -> &Span {
        let all = self.named(name);
        assert_eq!(all.len(), 1, "{name}: {:#?}", self.spans);
        all[0]
    }

    pub(crate) fn named(&self, name: &str) -> Vec<&Span> {
        self.spans.iter().filter(|span| span.name == name).collect()
    }

    /// The sum over the series of a metric that bear these labels.
    pub(crate) fn sum(&self, metric: &str, labels: &[(&str, &str)]) -> f64 {
        let bears = |point: &&Point| labels.iter().all(|(name, text)| point.fields.get(*name) == Some(&json!(text)));
        let points: Vec<_> = self.points.iter().filter(|point| point.metric == metric).filter(bears).collect();
        assert!(!points.is_empty(), "no {metric} with {labels:?}: {:#?}", self.points);
        points.iter().map(|point| point.sum).sum()
    }

    pub(crate) fn holds(&self, text: &str) -> bool {
        self.bytes.windows(text.len()).any(|window| window == text.as_bytes())
    }
}

pub(crate) struct Collector {
    at: SocketAddr,
    got: Arc<Mutex<Got>>,
    /// Ends with it.
    _runtime: Runtime,
}

impl Collector {
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let got = Arc::new(Mutex::new(Got::default()));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let at = listener.local_addr().unwrap();
        let app = Router::new().route("/v1/{signal}", post(take)).with_state(got.clone());
        runtime.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { at, got, _runtime: runtime }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.at)
    }

    /// What arrived so far.
    pub(crate) fn got(&self) -> Got {
        self.got.lock().unwrap().clone()
    }
}

async fn take(
    State(got): State<Arc<Mutex<Got>>>,
    Path(signal): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let mut got = got.lock().unwrap();
    assert_eq!(headers["content-type"], "application/x-protobuf");
    got.headers.push(headers);
    got.bytes.extend_from_slice(&body);
    match signal.as_str() {
        "traces" => got.traces(ExportTraceServiceRequest::decode(body).unwrap()),
        "metrics" => got.metrics(ExportMetricsServiceRequest::decode(body).unwrap()),
        "logs" => got.logs(ExportLogsServiceRequest::decode(body).unwrap()),
        _ => return StatusCode::NOT_FOUND,
    }
    StatusCode::OK
}

impl Got {
    fn traces(&mut self, request: ExportTraceServiceRequest) {
        for of in request.resource_spans {
            self.resources.push(fields(of.resource.unwrap().attributes));
            for span in of.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                let status = span.status.unwrap_or_default();
                self.spans.push(Span {
                    name: span.name,
                    trace: hex(&span.trace_id),
                    id: hex(&span.span_id),
                    parent: hex(&span.parent_span_id),
                    kind: span.kind,
                    times: (span.start_time_unix_nano, span.end_time_unix_nano),
                    fields: fields(span.attributes),
                    is_error: status.code == 2,
                    status: status.message,
                    events: span.events.into_iter().map(|event| (event.name, fields(event.attributes))).collect(),
                });
            }
        }
    }

    /// Values are cumulative, so the newest word of a process counts.
    fn metrics(&mut self, request: ExportMetricsServiceRequest) {
        for of in request.resource_metrics {
            self.resources.push(fields(of.resource.unwrap().attributes));
            for metric in of.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
                let (name, unit) = (metric.name, metric.unit);
                let point = |labels, sum, count, bounds| Point {
                    metric: name.clone(),
                    unit: unit.clone(),
                    fields: fields(labels),
                    sum,
                    count,
                    bounds,
                };
                let number = |value| match value {
                    Some(number_data_point::Value::AsInt(n)) => n as f64,
                    Some(number_data_point::Value::AsDouble(n)) => n,
                    None => panic!("a point without a value"),
                };
                let points: Vec<_> = match metric.data.unwrap() {
                    Data::Sum(sum) => {
                        sum.data_points.into_iter().map(|p| point(p.attributes, number(p.value), 1, vec![])).collect()
                    }
                    Data::Histogram(histogram) => histogram
                        .data_points
                        .into_iter()
                        .map(|p| point(p.attributes, p.sum.unwrap(), p.count, p.explicit_bounds))
                        .collect(),
                    other => panic!("{other:?}"),
                };
                self.points.retain(|old| old.metric != points[0].metric);
                self.points.extend(points);
            }
        }
    }

    fn logs(&mut self, request: ExportLogsServiceRequest) {
        for of in request.resource_logs {
            self.resources.push(fields(of.resource.unwrap().attributes));
            for log in of.scope_logs.into_iter().flat_map(|scope| scope.log_records) {
                self.logs.push(Log {
                    body: value(log.body.unwrap().value).as_str().unwrap().to_owned(),
                    severity: log.severity_text,
                    trace: hex(&log.trace_id),
                    fields: fields(log.attributes),
                });
            }
        }
    }
}

fn fields(pairs: Vec<KeyValue>) -> Fields {
    pairs.into_iter().map(|pair| (pair.key, value(pair.value.unwrap().value))).collect()
}

fn value(any: Option<Any>) -> Value {
    match any {
        Some(Any::StringValue(text)) => json!(text),
        Some(Any::BoolValue(it)) => json!(it),
        Some(Any::IntValue(n)) => json!(n),
        Some(Any::DoubleValue(n)) => json!(n),
        other => panic!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
