//! How telemetry reaches the collector, and what the operator is told when it does not.

use std::{
    error::Error as _,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use reqwest::redirect::Policy;
use tokio::{runtime::Handle, sync::OnceCell};

use crate::out::{self, Out};

/// Whether telemetry arrives. Told once when it stops doing so, however many signals and tries that takes.
pub(super) struct Health {
    out: Out,
    told: AtomicBool,
}

impl Health {
    pub(super) fn new(out: Out) -> Self {
        Self { out, told: AtomicBool::new(false) }
    }

    pub(super) fn failed(&self, to: &str, why: &str) {
        if !self.told.swap(true, Ordering::Relaxed) {
            let text = format!("warning: telemetry does not reach {to}: {why}; the work itself is not affected");
            self.out.note(out::paint(out::WARN, out::safe(&text).replace('\n', " ")));
        }
    }

    fn arrived(&self) {
        self.told.store(false, Ordering::Relaxed);
    }
}

/// An HTTP client that the SDK's own threads can use: they run no reactor, so the exchange happens on the runtime of the
/// process.
#[derive(Clone)]
pub(super) struct Client {
    runtime: Handle,
    timeout: Duration,
    /// Made when something is sent first: most commands send little, and reading certificates takes time.
    http: Arc<OnceCell<reqwest::Client>>,
    health: Arc<Health>,
}

impl Client {
    pub(super) fn new(runtime: Handle, timeout: Duration, health: Arc<Health>) -> Self {
        Self { runtime, timeout, http: Arc::default(), health }
    }

    async fn send(self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let make = async || {
            // Somebody else may have installed one; any will do.
            let _ = rustls::crypto::ring::default_provider().install_default();
            // A redirect could send data and headers to somebody whom the operator never named.
            reqwest::Client::builder().timeout(self.timeout).redirect(Policy::none()).build()
        };
        let client = self.http.get_or_try_init(make).await?;
        HttpClient::send_bytes(client, request).await
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let to = origin(&request);
        let sent = self.runtime.spawn(self.clone().send(request)).await;
        let result = sent.unwrap_or_else(|lost| Err(lost.into()));
        match &result {
            Ok(response) if response.status().is_success() => self.health.arrived(),
            Ok(response) => self.health.failed(&to, &format!("it answers {}", response.status())),
            Err(error) => self.health.failed(&to, &reason(error)),
        }
        result
    }
}

/// Where a request goes, without path and credentials.
fn origin(request: &Request<Bytes>) -> String {
    let uri = request.uri();
    let port = uri.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}", uri.scheme_str().unwrap_or("http"), uri.host().unwrap_or_default())
}

/// The innermost cause: what surrounds it repeats the URL, which may hold credentials.
fn reason(error: &HttpError) -> String {
    let Some(failed) = error.downcast_ref::<reqwest::Error>() else { return error.to_string() };
    if failed.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause = failed.source();
    while let Some(inner) = cause.and_then(std::error::Error::source) {
        cause = Some(inner);
    }
    cause.map_or_else(|| "the request failed".to_owned(), ToString::to_string)
}
