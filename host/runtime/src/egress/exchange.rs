//! One exchange from its intent to its outcome.

use std::{
    error::Error as _,
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use animus_core::{
    Denial, Error, Gate, Unlock,
    grant::SecretGrant,
    journal::{EffectKind, Intent, Outcome},
    trace::{self, SPANS},
};
use bytes::Bytes;
use http::{HeaderName, Method, Request, Response, header, request::Parts};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::task::AbortOnDropHandle;
use tracing::{Span, field::Empty, info_span};
use wasmtime_wasi_http::{Error as Code, RequestOptions, WasiBody};

use super::{
    Answer, Call, Failure, address,
    body::{Feed, Outbound},
    is_forbidden,
    secrets::{BodyMask, Carried},
    target::Target,
};
use crate::{measure, text};

/// The longest header section of a response, in bytes, and the most headers in it.
const HEADER_BYTES: usize = 64 << 10;
const HEADERS: usize = 128;
/// The longest name of a host that a span repeats, in bytes: longer than DNS has any.
const HOST: usize = 256;

/// The span of an exchange, inside the current one. It says with whom the guest speaks and not what about: neither the
/// path nor the query. The request itself carries no `traceparent`: identifiers of this host are nobody else's to know.
pub(super) fn span(request: &Request<WasiBody>) -> Span {
    let (method, uri) = (request.method(), request.uri());
    let known = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];
    let method = if known.contains(method) { method.as_str() } else { "_OTHER" };
    info_span!(
        target: SPANS, "http",
        otel.name = method,
        otel.kind = "client",
        http.request.method = method,
        url.scheme = uri.scheme_str(),
        server.address = uri.host().map(|host| text::cut(host.to_owned(), HOST)),
        server.port = uri.port_u16().map(i64::from),
        http.response.status_code = Empty,
        animus.journal.seq = Empty,
        otel.status_code = Empty,
        "error.type" = Empty,
    )
}

/// Runs one exchange and journals it. The guest gets the response head by `answer`, and the body as it reads.
pub(super) async fn run(
    call: Arc<Call>,
    request: Request<WasiBody>,
    options: RequestOptions,
    answer: oneshot::Sender<Answer>,
) {
    let (parts, body) = request.into_parts();
    let begun = match Target::of(&parts.method, &parts.uri) {
        Ok(target) => begin(&call, &parts, &target).await.map(|seq| (target, seq)),
        Err(failure) => Err(failure),
    };
    let (target, seq) = match begun {
        Ok(begun) => begun,
        Err(Failure { code, error }) => {
            call.note(&error);
            // The guest may have gone; then nobody is left to tell.
            let _ = answer.send(Err(code));
            return;
        }
    };
    let span = Span::current();
    span.record("animus.journal.seq", trace::figure(seq));
    let (sent, received) = (Arc::new(AtomicU64::new(0)), AtomicU64::new(0));
    let exchange = Exchange {
        deadline: Instant::now() + Duration::from_millis(call.by.authority.limits().http_ms.min(YEAR_MS)),
        call: &call,
        target,
        options,
        sent: sent.clone(),
        received: &received,
    };
    let outcome = match exchange.run(parts, body, answer).await {
        Ok(done) => {
            span.record("http.response.status_code", i64::from(done.status));
            Outcome::Ok {
                response: json!({
                    "status": done.status,
                    "address": done.address,
                    "sent": sent.load(Ordering::Relaxed),
                    "received": done.received,
                    "complete": done.complete,
                }),
            }
        }
        Err(error) => {
            call.note(&error);
            trace::failed(&span, &error);
            Outcome::Failed { error }
        }
    };
    measure::exchange(&call.by, sent.load(Ordering::Relaxed), received.load(Ordering::Relaxed));
    if let Err(error) = call.services.effect_end(&call.by, seq, outcome).await {
        tracing::error!(tenant = %call.by.tenant, focus = %call.by.focus, seq, %error, "http outcome not journaled");
    }
}

/// An unlimited `http_ms` must not overflow the clock.
const YEAR_MS: u64 = 365 * 24 * 3_600 * 1_000;

/// Journals the intent: which secrets travel, but not their values; which headers, but not what they say.
async fn begin(call: &Call, request: &Parts, target: &Target) -> Result<u64, Failure> {
    let handles: Vec<_> = secrets(call, target).into_iter().map(|secret| secret.handle).collect();
    let headers: Vec<_> = request.headers.keys().map(HeaderName::as_str).collect();
    let intent = Intent {
        kind: EffectKind::Http,
        caller: call.by.authority.plugin().to_string(),
        subject: format!("{} {}", request.method, target.journaled()),
        request: json!({ "headers": headers, "secrets": handles }),
        parent: call.by.parent,
    };
    let begun = call.services.effect_begin(&call.by, intent).await;
    begun.map_err(|error| Failure::new(Code::InternalError(None), error))
}

fn secrets(call: &Call, target: &Target) -> Vec<SecretGrant> {
    call.by.authority.secrets_for(target.scheme(), target.host(), target.port()).cloned().collect()
}

struct Exchange<'a> {
    call: &'a Call,
    target: Target,
    options: RequestOptions,
    deadline: Instant,
    sent: Arc<AtomicU64>,
    received: &'a AtomicU64,
}

/// What the journal keeps of an exchange.
struct Done {
    status: u16,
    address: SocketAddr,
    received: u64,
    complete: bool,
}

/// A response whose body is still to come.
struct Head {
    response: Response<Incoming>,
    address: SocketAddr,
    mask: BodyMask,
    /// Moves the bytes; the body ends without it.
    _connection: AbortOnDropHandle<()>,
}

impl Exchange<'_> {
    async fn run(&self, parts: Parts, body: WasiBody, mut answer: oneshot::Sender<Answer>) -> Result<Done, Error> {
        let head = match self.unless_gone(answer.closed(), self.head(parts, body)).await {
            Some(Ok(head)) => head,
            Some(Err(Failure { code, error })) => {
                let _ = answer.send(Err(code));
                return Err(error);
            }
            None => return Err(Error::Cancelled),
        };
        let Head { response, address, mask, _connection } = head;
        let Some((feed, body)) = Feed::new() else {
            return Err(Error::Internal("a new channel has no room".to_owned()));
        };
        let (mut parts, incoming) = response.into_parts();
        mask.headers(&mut parts.headers);
        let mut done = Done { status: parts.status.as_u16(), address, received: 0, complete: false };
        if answer.send(Ok((Response::from_parts(parts, body), Box::new(async { Ok(()) })))).is_err() {
            return Ok(done);
        }
        match self.unless_gone(feed.abandoned(), self.pump(incoming, mask, &feed, &mut done)).await {
            Some(Err(Failure { code, error })) => {
                feed.fail(code);
                Err(error)
            }
            Some(Ok(())) | None => Ok(done),
        }
    }

    /// Runs a part of the exchange within its time; none when the guest dropped its end or the plugin's call is over.
    async fn unless_gone<T>(
        &self,
        gone: impl Future<Output = ()>,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Option<Result<T, Failure>> {
        tokio::select! {
            biased;
            () = self.call.stop.cancelled() => None,
            () = gone => None,
            result = timeout_at(self.deadline, work) => Some(result.unwrap_or_else(|_| {
                let limit = self.call.by.authority.limits().http_ms;
                let text = self.limit("http_ms", limit, "ms for the exchange");
                Err(Failure::new(Code::HttpResponseTimeout, Error::Timeout(text)))
            })),
        }
    }

    /// Checks, connects, sends, and reads the response's head.
    async fn head(&self, mut parts: Parts, body: WasiBody) -> Result<Head, Failure> {
        let Exchange { call, target, options, .. } = self;
        let (by, connector) = (&call.by, &call.egress.connector);
        by.authority.check(&target.capability(&parts.method))?;
        let addresses = connector.addresses(&by.authority, target).await?;
        let secrets = secrets(call, target);
        self.audience(&secrets, &addresses)?;

        parts.uri = target.request_target()?;
        let names: Vec<_> = parts.headers.keys().filter(|name| is_forbidden(name)).cloned().collect();
        for name in names {
            parts.headers.remove(name);
        }
        let carried = Carried::inject(&*call.services, by, &secrets, &mut parts.headers)
            .await
            .map_err(|error| Failure::new(Code::ConfigurationError, error))?;
        parts.headers.insert(header::HOST, target.host_header()?);
        let body = Outbound::new(body, by.authority.limits().http_request_bytes, self.sent.clone());

        let (stream, address) = connector.connect(target, &addresses, options.connect_timeout).await?;
        let mut builder = http1::Builder::new();
        builder.max_buf_size(HEADER_BYTES).max_headers(HEADERS);
        let (mut sender, connection) =
            builder.handshake(TokioIo::new(stream)).await.map_err(|error| self.failed(&error))?;
        let connection = AbortOnDropHandle::new(tokio::spawn(async move {
            // The sender and the body report the same failure to those who wait.
            let _ = connection.await;
        }));
        let response = self.within(options.first_byte_timeout, sender.send_request(Request::from_parts(parts, body)));
        let response = response.await?.map_err(|error| self.failed(&error))?;

        let announced = response.body().size_hint().lower();
        if announced > by.authority.limits().http_response_bytes {
            return Err(self.too_much());
        }
        Ok(Head { response, address, mask: carried.into_mask(), _connection: connection })
    }

    /// A secret leaves under TLS, or to a network that is not public and was granted by name.
    fn audience(&self, secrets: &[SecretGrant], addresses: &[SocketAddr]) -> Result<(), Denial> {
        match secrets.first() {
            Some(secret) if !self.target.is_https() && addresses.iter().any(|to| address::is_public(to.ip())) => {
                Err(Denial {
                    who: self.call.by.authority.plugin().to_string(),
                    capability: format!("secret:{} over {}", secret.handle, self.target.origin()),
                    gate: Gate::Policy,
                    unlock: Unlock::Nothing,
                    reason: None,
                    command: None,
                })
            }
            _ => Ok(()),
        }
    }

    /// Hands the body to the guest, piece by piece.
    async fn pump(&self, mut body: Incoming, mut mask: BodyMask, feed: &Feed, done: &mut Done) -> Result<(), Failure> {
        let limit = self.call.by.authority.limits().http_response_bytes;
        while let Some(frame) = self.within(self.options.between_bytes_timeout, body.frame()).await? {
            let frame = match frame.map_err(|error| self.failed(&error))?.into_data() {
                Ok(data) => {
                    done.received = done.received.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
                    self.received.store(done.received, Ordering::Relaxed);
                    if done.received > limit {
                        return Err(self.too_much());
                    }
                    mask.push(data)
                }
                Err(frame) => {
                    if let Ok(mut trailers) = frame.into_trailers() {
                        mask.headers(&mut trailers);
                        if !pass(feed, mask.finish()).await || !feed.send(Frame::trailers(trailers)).await {
                            return Ok(());
                        }
                    }
                    continue;
                }
            };
            if !pass(feed, frame).await {
                return Ok(());
            }
        }
        done.complete = pass(feed, mask.finish()).await;
        Ok(())
    }

    /// Waits no longer than the guest's own limit.
    async fn within<T>(&self, limit: Option<Duration>, work: impl Future<Output = T>) -> Result<T, Failure> {
        let Some(limit) = limit else { return Ok(work.await) };
        timeout(limit, work).await.map_err(|_| {
            let error =
                format!("{} sent nothing for {} ms, the plugin's own limit", self.target.origin(), limit.as_millis());
            Failure::new(Code::ConnectionReadTimeout, Error::Timeout(error))
        })
    }

    fn too_much(&self) -> Failure {
        let limit = self.call.by.authority.limits().http_response_bytes;
        let text = self.limit("http_response_bytes", limit, "bytes in the response");
        Failure::new(Code::HttpResponseBodySize(Some(limit)), Error::BudgetExhausted(text))
    }

    fn limit(&self, name: &str, figure: u64, counts: &str) -> String {
        self.call.limit(name, figure, &format!("{counts} with {}", self.target.origin()))
    }

    fn failed(&self, error: &hyper::Error) -> Failure {
        let origin = self.target.origin();
        let cause = error.source();
        if let Some(Code::HttpRequestBodySize(Some(limit))) = cause.and_then(|cause| cause.downcast_ref::<Code>()) {
            let text = self.limit("http_request_bytes", *limit, "bytes in the request");
            return Failure::new(Code::HttpRequestBodySize(Some(*limit)), Error::BudgetExhausted(text));
        }
        let (code, why) = if error.is_parse_too_large() {
            (
                Code::HttpResponseHeaderSectionSize(None),
                format!(": more than {HEADERS} headers or {HEADER_BYTES} bytes"),
            )
        } else if error.is_incomplete_message() {
            (Code::HttpResponseIncomplete, String::new())
        } else {
            (Code::HttpProtocolError, cause.map(|cause| format!(": {cause}")).unwrap_or_default())
        };
        Failure::new(code, Error::Unavailable(format!("HTTP with {origin} failed: {error}{why}")))
    }
}

async fn pass(feed: &Feed, data: Bytes) -> bool {
    data.is_empty() || feed.send(Frame::data(data)).await
}
