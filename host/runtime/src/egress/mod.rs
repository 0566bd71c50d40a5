//! The one way by which plugins' HTTP requests leave.
//!
//! A request is counted, read into a target, journaled, checked against the plugin's grant, resolved
//! once, checked again by address, given its secrets, and sent to the very address that was checked. Redirects are not
//! followed: a guest that follows one makes a new request. The guest learns a `wasi:http` error code; the precise error,
//! with the command that would lift a denial, goes to the journal, the operator's log and the refusal that ends the call.

mod address;
mod body;
mod connect;
mod exchange;
mod secrets;
mod target;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use animus_core::{
    Denial, Error,
    services::{Principal, Services},
};
use http::{HeaderName, Request, Response, header};
use tokio::sync::oneshot;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;
use wasmtime_wasi_http::{Error as Code, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpHooks};

pub use connect::Resolver;

/// What all calls of a host share: the resolver and the trust in certificates.
pub struct Egress {
    connector: connect::Connector,
}

impl Egress {
    /// Resolves as the system does.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Self::with_resolver(Arc::new(connect::System))
    }

    /// Resolves by `resolver`.
    #[must_use]
    pub fn with_resolver(resolver: Arc<dyn Resolver>) -> Arc<Self> {
        Arc::new(Self { connector: connect::Connector::new(resolver) })
    }

    /// The way out of one plugin call.
    pub(crate) fn open(self: &Arc<Self>, by: Principal, services: Arc<dyn Services>) -> Outgoing {
        let call = Call {
            egress: self.clone(),
            by,
            services,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            refusal: Mutex::default(),
        };
        Outgoing { call: Arc::new(call), requests: 0 }
    }
}

/// What the exchanges of one plugin call share.
struct Call {
    egress: Arc<Egress>,
    by: Principal,
    services: Arc<dyn Services>,
    stop: CancellationToken,
    tasks: TaskTracker,
    refusal: Mutex<Option<Denial>>,
}

impl Call {
    /// The error of a limit; the words are those of the limits of computing.
    fn limit(&self, name: &str, figure: u64, counts: &str) -> String {
        let plugin = self.by.authority.plugin();
        format!(
            "'{plugin}' reached its limit of {figure} {counts}; its operator can raise `{name}` in the limits of its grant"
        )
    }

    /// Tells the operator what the guest sees as a mere code.
    fn note(&self, error: &Error) {
        let (tenant, focus, plugin) = (&self.by.tenant, &self.by.focus, self.by.authority.plugin());
        match error {
            Error::Denied(denial) => {
                tracing::warn!(%tenant, %focus, %plugin, %error, "http request denied");
                let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
                refusal.get_or_insert_with(|| (**denial).clone());
            }
            error => tracing::info!(%tenant, %focus, %plugin, %error, "http request failed"),
        }
    }
}

/// Whether a denial is one of egress, of which the guest learned a mere code.
pub(crate) fn is_of_egress(denial: &Denial) -> bool {
    ["http:", "network:", "secret:"].iter().any(|kind| denial.capability.starts_with(kind))
}

/// The way out of one plugin call. Dropping it ends what is still under way.
pub(crate) struct Outgoing {
    call: Arc<Call>,
    requests: u64,
}

impl Outgoing {
    /// The first denial of this call.
    pub(crate) fn refusal(&self) -> Option<Denial> {
        self.call.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends what is still under way, and returns when every outcome is journaled. No request can follow.
    pub(crate) async fn finish(self) {
        self.call.stop.cancel();
        self.call.tasks.close();
        self.call.tasks.wait().await;
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.call.stop.cancel();
    }
}

/// Headers that belong to the connection, not to the request: the host sets them or nobody does.
fn is_forbidden(name: &HeaderName) -> bool {
    wasmtime_wasi_http::DEFAULT_FORBIDDEN_HEADERS.contains(name)
        || [header::TE, header::TRAILER, header::EXPECT].contains(name)
        || name.as_str().starts_with("proxy-")
}

type Io = Box<dyn Future<Output = Result<(), Code>> + Send>;
type Answer = Result<(Response<WasiBody>, Io), Code>;

impl WasiHttpHooks for Outgoing {
    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::new(is_forbidden)
    }

    /// The exchange sets it, from the destination that was checked.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _processed: Io,
    ) -> Box<dyn Future<Output = Answer> + Send> {
        let limit = self.call.by.authority.limits().http_requests;
        if self.requests >= limit {
            let text = self.call.limit("http_requests", limit, "HTTP requests in one call");
            self.call.note(&Error::BudgetExhausted(text));
            return Box::new(async { Err(Code::ConnectionLimitReached) });
        }
        self.requests += 1;
        let (answer, answered) = oneshot::channel();
        // A task of its own, so that the outcome is journaled even if the guest drops the response or is dropped itself.
        let span = exchange::span(&request);
        let exchange = exchange::run(self.call.clone(), request, options.unwrap_or_default(), answer);
        self.call.tasks.spawn(exchange.instrument(span));
        Box::new(async move { answered.await.unwrap_or(Err(Code::InternalError(None))) })
    }
}

/// A failed request: what the guest learns, and what happened.
#[derive(Debug)]
struct Failure {
    code: Code,
    error: Error,
}

impl Failure {
    fn new(code: Code, error: Error) -> Self {
        Self { code, error }
    }
}

impl From<Denial> for Failure {
    fn from(denial: Denial) -> Self {
        Self::new(Code::HttpRequestDenied, denial.into())
    }
}
