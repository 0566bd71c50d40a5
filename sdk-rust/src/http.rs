//! HTTP requests. Needs the capability `http`, whose grant names hosts and methods; the host resolves, connects and
//! speaks TLS, and adds the secrets that were granted for the destination. It follows no redirects.
//!
//! ```no_run
//! # fn example() -> animus_sdk::Result<()> {
//! use animus_sdk::http;
//!
//! let page = http::get("https://example.org/")?.error_for_status()?;
//! println!("{} bytes", page.body.len());
//! # Ok(())
//! # }
//! ```

use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};
use wasip2::{
    http::{
        outgoing_handler,
        types::{
            ErrorCode, Fields, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest, RequestOptions,
            Scheme,
        },
    },
    io::streams::{InputStream, OutputStream, StreamError},
};

use crate::{Denial, Error, Gate, Result, Unlock, host};

/// The bytes of a body that are kept where a request says nothing else.
pub const DEFAULT_MAX_BYTES: usize = 4 << 20;

/// What one write to a stream of WASI may carry.
const WRITE_BYTES: usize = 4096;
const READ_BYTES: u64 = 64 << 10;

/// Gets a page.
///
/// # Errors
/// As [`Request::send`].
pub fn get(url: &str) -> Result<Response> {
    Request::get(url).send()
}

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    timeout: Option<Duration>,
    max_bytes: usize,
}

/// A response, whatever its status.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// Such as 200.
    pub status: u16,
    /// Names in lower case, in the order of arrival. Bytes that are not UTF-8 are replaced.
    pub headers: Vec<(String, String)>,
    /// At most [`Request::max_bytes`].
    pub body: Vec<u8>,
    /// Whether there was more of the body.
    pub truncated: bool,
}

impl Request {
    /// A request with any method, in upper case.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            method: method.into(),
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout: None,
            max_bytes: DEFAULT_MAX_BYTES,
        }
    }

    /// GET.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new("GET", url)
    }

    /// POST.
    pub fn post(url: impl Into<String>) -> Self {
        Self::new("POST", url)
    }

    /// Adds a header. Secrets do not belong here: the host adds them.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The body.
    #[must_use]
    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// A JSON body, with its content type.
    ///
    /// # Errors
    /// [`Error::Internal`] for a value that has no JSON form.
    pub fn json(self, body: &impl Serialize) -> Result<Self> {
        let body = serde_json::to_vec(body).map_err(Error::internal)?;
        Ok(self.header("content-type", "application/json").body(body))
    }

    /// How long to wait for the connection, for the first byte, and between bytes; the host's own limits hold as well.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    /// Keeps at most so many bytes of the response's body; [`DEFAULT_MAX_BYTES`] where nothing is said.
    #[must_use]
    pub fn max_bytes(self, max_bytes: usize) -> Self {
        Self { max_bytes, ..self }
    }

    /// Its method, in upper case.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Where it goes.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its headers, without those that the host adds.
    #[must_use]
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// Its body.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// The capability that it needs, as grants write it.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn capability(&self) -> Result<String> {
        Ok(capability(&self.method, &Url::parse(&self.url)?))
    }

    /// The most of the response's body that is kept.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn most(&self) -> usize {
        self.max_bytes
    }

    /// Sends it and waits for the response.
    ///
    /// # Errors
    /// [`Error::Denied`] for a destination or method outside the grant; [`Error::Invalid`] for an URL or a header that
    /// does not parse; [`Error::Timeout`]; [`Error::BudgetExhausted`] for a limit of the host;
    /// [`Error::Unavailable`] when the other side cannot be reached.
    pub fn send(self) -> Result<Response> {
        if let Some(faked) = host::http(&self) {
            return faked;
        }
        let url = Url::parse(&self.url)?;
        let at = |error: ErrorCode| of_code(error, &self.method, &url);
        let request = OutgoingRequest::new(self.fields()?);
        let refused = |what: &str| Error::invalid(format!("{what} of {} {}", self.method, self.url));
        request.set_method(&method(&self.method)).map_err(|()| refused("method"))?;
        let scheme = if url.secure { Scheme::Https } else { Scheme::Http };
        request.set_scheme(Some(&scheme)).map_err(|()| refused("scheme"))?;
        request.set_authority(Some(&url.authority)).map_err(|()| refused("host"))?;
        request.set_path_with_query(Some(&url.path)).map_err(|()| refused("path"))?;
        let body = request.body().map_err(|()| refused("body"))?;
        let pending = outgoing_handler::handle(request, Some(self.options())).map_err(at)?;
        write(body, &self.body, at)?;
        pending.subscribe().block();
        let response = match pending.get() {
            Some(Ok(Ok(response))) => response,
            Some(Ok(Err(code))) => return Err(at(code)),
            // Ready, and taken for the first time: WASI has no other case.
            Some(Err(())) | None => {
                return Err(Error::internal(format!("no response to {} {}", self.method, self.url)));
            }
        };
        receive(&response, self.max_bytes).map_err(|error| error.context(format!("{} {}", self.method, self.url)))
    }

    fn fields(&self) -> Result<Fields> {
        let fields: Vec<_> =
            self.headers.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes())).collect();
        Fields::from_list(&fields).map_err(|error| Error::invalid(format!("headers of {}: {error}", self.url)))
    }

    fn options(&self) -> RequestOptions {
        let options = RequestOptions::new();
        let nanos = self.timeout.map(|timeout| u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
        // A host that does not know one of these keeps its own limit, which holds in any case.
        let _ = options.set_connect_timeout(nanos);
        let _ = options.set_first_byte_timeout(nanos);
        let _ = options.set_between_bytes_timeout(nanos);
        options
    }
}

impl Response {
    /// A response without headers, for a fake host to give.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), truncated: false }
    }

    /// The first header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body as text; bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// [`Error::BudgetExhausted`] for a body that was cut; [`Error::Internal`] for one that does not fit `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        if self.truncated {
            return Err(Error::BudgetExhausted(format!("the response exceeds {} bytes", self.body.len())));
        }
        serde_json::from_slice(&self.body).map_err(|error| Error::internal(format!("response: {error}")))
    }

    /// The response, unless its status is 400 or more.
    ///
    /// # Errors
    /// [`Error::NotFound`] for 404 and 410, [`Error::Unavailable`] for 408, 429 and 5xx, else [`Error::Invalid`]; with
    /// the beginning of the body.
    pub fn error_for_status(self) -> Result<Self> {
        if self.status < 400 {
            return Ok(self);
        }
        let beginning: String = self.text().trim().chars().take(200).collect();
        let text = format!("HTTP status {}: {beginning}", self.status).trim_end_matches(": ").to_owned();
        Err(match self.status {
            404 | 410 => Error::NotFound(text),
            408 | 429 | 500.. => Error::Unavailable(text),
            _ => Error::Invalid(text),
        })
    }
}

/// The parts of an URL that WASI wants by themselves.
struct Url {
    secure: bool,
    authority: String,
    path: String,
}

impl Url {
    fn parse(url: &str) -> Result<Self> {
        let refuse = |why: &str| Error::invalid(format!("'{}' is not an http(s) URL: {why}", url.escape_debug()));
        let (scheme, rest) = url.split_once("://").ok_or_else(|| refuse("it has no scheme"))?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(refuse("the scheme is neither http nor https")),
        };
        if url.bytes().any(|byte| !(0x21..0x7f).contains(&byte)) {
            return Err(refuse("percent-encode spaces, control characters and what is not ASCII"));
        }
        let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if authority.is_empty() {
            return Err(refuse("it has no host"));
        }
        if authority.contains('@') {
            return Err(refuse("user information does not belong in it; the host adds granted secrets"));
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self { secure, authority: authority.to_owned(), path: format!("{slash}{path}") })
    }

    /// `host:port`, as grants write it.
    fn host_and_port(&self) -> String {
        let has_port = self.authority.rsplit(']').next().is_some_and(|tail| tail.contains(':'));
        match (has_port, self.secure) {
            (true, _) => self.authority.clone(),
            (false, true) => format!("{}:443", self.authority),
            (false, false) => format!("{}:80", self.authority),
        }
    }
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "CONNECT" => Method::Connect,
        "OPTIONS" => Method::Options,
        "TRACE" => Method::Trace,
        "PATCH" => Method::Patch,
        other => Method::Other(other.to_owned()),
    }
}

fn write(body: OutgoingBody, bytes: &[u8], at: impl Fn(ErrorCode) -> Error) -> Result<()> {
    if !bytes.is_empty() {
        let stream: OutputStream = body.write().map_err(|()| Error::internal("the request's body is taken"))?;
        for chunk in bytes.chunks(WRITE_BYTES) {
            match stream.blocking_write_and_flush(chunk) {
                Ok(()) => {}
                // The other side has heard enough; what it has to say is in the response.
                Err(StreamError::Closed) => break,
                Err(StreamError::LastOperationFailed(error)) => {
                    return Err(Error::unavailable(format!("send the request: {}", error.to_debug_string())));
                }
            }
        }
    }
    OutgoingBody::finish(body, None).map_err(at)
}

fn receive(response: &IncomingResponse, max_bytes: usize) -> Result<Response> {
    let headers = response.headers().entries().into_iter();
    let headers =
        headers.map(|(name, value)| (name.to_ascii_lowercase(), String::from_utf8_lossy(&value).into_owned()));
    let mut received =
        Response { status: response.status(), headers: headers.collect(), body: Vec::new(), truncated: false };
    let body: IncomingBody = response.consume().map_err(|()| Error::internal("the response's body is taken"))?;
    let stream: InputStream = body.stream().map_err(|()| Error::internal("the response's body is taken"))?;
    loop {
        match stream.blocking_read(READ_BYTES) {
            Ok(chunk) => {
                let room = max_bytes.saturating_sub(received.body.len());
                received.body.extend(chunk.iter().take(room));
                if chunk.len() > room {
                    received.truncated = true;
                    return Ok(received);
                }
            }
            Err(StreamError::Closed) => return Ok(received),
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(match wasip2::http::types::http_error_code(&error) {
                    Some(ErrorCode::HttpResponseBodySize(_)) => {
                        Error::BudgetExhausted("the response exceeds the limit of this plugin".into())
                    }
                    Some(code) if is_timeout(&code) => Error::Timeout(format!("the response stopped: {code}")),
                    _ => Error::unavailable(format!("the response broke off: {}", error.to_debug_string())),
                });
            }
        }
    }
}

fn is_timeout(code: &ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::DnsTimeout
            | ErrorCode::ConnectionTimeout
            | ErrorCode::ConnectionReadTimeout
            | ErrorCode::ConnectionWriteTimeout
            | ErrorCode::HttpResponseTimeout
    )
}

/// In the words of grants; https goes without saying.
fn capability(method: &str, url: &Url) -> String {
    let scheme = if url.secure { "" } else { "http://" };
    format!("http:{method} {scheme}{}", url.host_and_port())
}

/// What an error code of WASI means for this request.
fn of_code(code: ErrorCode, method: &str, url: &Url) -> Error {
    let destination = url.host_and_port();
    let request = format!("{method} {destination}");
    match code {
        // WASI has no room for the gate; the operator's log has it.
        ErrorCode::HttpRequestDenied => {
            let capability = capability(method, url);
            Error::Denied(Denial { capability, gate: Gate::Grant, unlock: Unlock::AskOperator })
        }
        ErrorCode::DestinationIpProhibited => Error::Denied(Denial {
            capability: format!("http:{method} {destination}, whose address is not public"),
            gate: Gate::Policy,
            unlock: Unlock::AskOperator,
        }),
        ErrorCode::DnsError(_) | ErrorCode::DestinationNotFound => {
            Error::unavailable(format!("{request}: the host name does not resolve"))
        }
        ErrorCode::ConnectionLimitReached => {
            Error::BudgetExhausted(format!("{request}: the limit of this plugin's requests is reached"))
        }
        ErrorCode::ConnectionRefused => Error::unavailable(format!("{request}: connection refused")),
        ErrorCode::HttpRequestBodySize(_) => {
            Error::BudgetExhausted(format!("{request}: the request exceeds the limit of this plugin"))
        }
        ErrorCode::HttpResponseBodySize(_) => {
            Error::BudgetExhausted(format!("{request}: the response exceeds the limit of this plugin"))
        }
        ErrorCode::HttpRequestMethodInvalid | ErrorCode::HttpRequestUriInvalid | ErrorCode::HttpRequestUriTooLong => {
            Error::invalid(format!("{request}: {code}"))
        }
        ErrorCode::InternalError(Some(text)) => Error::unavailable(format!("{request}: {text}")),
        code if is_timeout(&code) => Error::Timeout(format!("{request}: {code}")),
        code => Error::unavailable(format!("{request}: {code}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(url: &str) -> (bool, String, String) {
        let url = Url::parse(url).unwrap();
        (url.secure, url.host_and_port(), url.path)
    }

    #[test]
    fn urls_come_apart_as_wasi_wants_them() {
        assert_eq!(parts("https://example.org"), (true, "example.org:443".into(), "/".into()));
        assert_eq!(parts("http://[::1]/a?b#c"), (false, "[::1]:80".into(), "/a?b".into()));
        assert_eq!(parts("HTTPS://h:8443?q"), (true, "h:8443".into(), "/?q".into()));
    }

    #[test]
    fn urls_that_cannot_be_sent_are_refused_with_the_reason() {
        for (url, why) in [
            ("example.org", "no scheme"),
            ("file:///etc/passwd", "neither http nor https"),
            ("https:///x", "no host"),
            ("https://me:secret@h/", "user information"),
            ("https://h/ü", "percent-encode"),
            ("https://h/\r\nx: y", "percent-encode"),
        ] {
            let error = Url::parse(url).map(|_| ()).unwrap_err();
            assert!(matches!(&error, Error::Invalid(text) if text.contains(why)), "{url}: {error}");
        }
    }

    #[test]
    fn a_refused_destination_is_a_denial_in_the_words_of_grants() {
        let url = Url::parse("https://example.org/secret?token=1").unwrap();
        let Error::Denied(denial) = of_code(ErrorCode::HttpRequestDenied, "GET", &url) else { panic!("not denied") };
        assert_eq!(denial.capability, "http:GET example.org:443");
    }

    #[test]
    fn statuses_become_errors_by_class() {
        let response = |status| Response { status, headers: Vec::new(), body: b"why".to_vec(), truncated: false };
        assert!(response(302).error_for_status().is_ok());
        assert_eq!(response(404).error_for_status(), Err(Error::not_found("HTTP status 404: why")));
        assert!(matches!(response(503).error_for_status(), Err(Error::Unavailable(_))));
        assert!(matches!(response(403).error_for_status(), Err(Error::Invalid(_))));
    }
}
