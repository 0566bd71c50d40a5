//! Real servers on loopback, reached under the granted network 127.0.0.0/8.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use animus_core::{
    Denial, Error, Gate, Result,
    authority::Authority,
    child::{Child, NewChild},
    code::{Program, Ran},
    grant::{Grant, HttpGrant, SecretGrant},
    id::{Digest, FocusId, MemoryId, PluginName, TenantId, WorkId},
    journal::{Intent, Outcome},
    ledger::{Entry, EntryType, Filter},
    limits::SomeLimits,
    llm, memory,
    services::{EngageOptions, Engagement, Principal, Services},
    store::SecretValue,
    tool::{Output, Tool},
};
use async_trait::async_trait;
use axum::{Router, body::Body, http::HeaderMap, routing::any};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use wasmtime_wasi_http::{Error as Code, RequestOptions, WasiHttpHooks};

use super::{Egress, Outgoing, Resolver};

const SECRET: &str = "s3cret-value-0123456789";

/// Keeps the journal and one secret; the rest of the host is not there.
#[derive(Default)]
struct Recorder(Mutex<Vec<(Intent, Option<Outcome>)>>);

impl Recorder {
    fn journal(&self) -> Vec<(Intent, Option<Outcome>)> {
        self.0.lock().unwrap().clone()
    }
}

fn absent<T>() -> Result<T> {
    Err(Error::Internal("not in this test".into()))
}

#[async_trait]
impl Services for Recorder {
    fn work(&self) -> WorkId {
        WorkId::new()
    }
    async fn llm_stream(&self, _: &Principal, _: llm::Request) -> Result<llm::ResponseStream> {
        absent()
    }
    async fn llm_complete(&self, _: &Principal, _: llm::Request) -> Result<llm::Response> {
        absent()
    }
    async fn llm_embed(&self, _: &Principal, _: Vec<String>) -> Result<llm::Embeddings> {
        absent()
    }
    fn llm_roles(&self) -> Vec<String> {
        Vec::new()
    }
    async fn ledger_append(&self, _: &Principal, _: EntryType, _: String) -> Result<u64> {
        absent()
    }
    async fn ledger_read(&self, _: &Principal, _: Filter) -> Result<Vec<Entry>> {
        absent()
    }
    async fn memory_store(&self, _: &Principal, _: String, _: String, _: Vec<String>) -> Result<MemoryId> {
        absent()
    }
    async fn memory_recall(&self, _: &Principal, _: memory::Query) -> Result<Vec<memory::Hit>> {
        absent()
    }
    async fn memory_get(&self, _: &Principal, _: MemoryId) -> Result<memory::Memory> {
        absent()
    }
    async fn memory_update(&self, _: &Principal, _: MemoryId, _: String, _: Option<u64>) -> Result<u64> {
        absent()
    }
    async fn memory_versions(&self, _: &Principal, _: MemoryId) -> Result<Vec<memory::Version>> {
        absent()
    }
    async fn memory_forget(&self, _: &Principal, _: MemoryId) -> Result<()> {
        absent()
    }
    async fn memory_tag(&self, _: &Principal, _: MemoryId, _: String) -> Result<()> {
        absent()
    }
    fn tools(&self) -> Vec<Arc<Tool>> {
        Vec::new()
    }
    async fn tool_call(&self, _: &Principal, _: &str, _: String) -> Result<Output> {
        absent()
    }
    async fn code_run(&self, _: &Principal, _: &str, _: Program) -> Result<Ran> {
        absent()
    }
    async fn child_spawn(&self, _: &Principal, _: NewChild) -> Result<WorkId> {
        absent()
    }
    async fn child_await(&self, _: &Principal, _: Vec<String>, _: u64) -> Result<Vec<Child>> {
        absent()
    }
    async fn child_check(&self, _: &Principal, _: Vec<String>) -> Result<Vec<Child>> {
        absent()
    }
    async fn child_cancel(&self, _: &Principal, _: String) -> Result<()> {
        absent()
    }
    async fn engage(&self, _: &Principal, _: EngageOptions) -> Result<Engagement> {
        absent()
    }
    async fn effect_begin(&self, _: &Principal, intent: Intent) -> Result<u64> {
        let mut journal = self.0.lock().unwrap();
        journal.push((intent, None));
        Ok(journal.len() as u64 - 1)
    }
    async fn effect_end(&self, _: &Principal, seq: u64, outcome: Outcome) -> Result<()> {
        self.0.lock().unwrap()[seq as usize].1 = Some(outcome);
        Ok(())
    }
    async fn secret(&self, _: &Principal, handle: &str) -> Result<SecretValue> {
        match handle {
            "set" => Ok(SecretValue::new(SECRET)),
            "broken" => Ok(SecretValue::new("line\nbreak-0123456789")),
            _ => Err(Error::NotFound(format!("no secret '{handle}'"))),
        }
    }
    async fn denied(&self, _: &Principal, _: &Denial) {}
    fn log(&self, _: &Principal, _: String) {}
}

struct Names(Box<dyn Fn() -> Vec<IpAddr> + Send + Sync>);

#[async_trait]
impl Resolver for Names {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        if host == "nowhere.test" {
            return Err(io::Error::other("no such name"));
        }
        Ok((self.0)())
    }
}

/// A grant of everything at loopback, to be narrowed or widened.
fn loopback() -> Grant {
    let http = HttpGrant {
        hosts: ["*://*:*".parse().unwrap()].into(),
        methods: ["GET".to_owned(), "POST".to_owned(), "CONNECT".to_owned()].into(),
        networks: ["127.0.0.0/8".parse().unwrap()].into(),
        secrets: [].into(),
    };
    Grant { http: Some(http), ..Grant::default() }
}

fn with_limits(limits: SomeLimits) -> Grant {
    Grant { limits, ..loopback() }
}

fn with_secret(handle: &str, host: &str) -> Grant {
    let mut grant = loopback();
    grant.http.as_mut().unwrap().secrets.insert(SecretGrant {
        handle: handle.into(),
        host: host.parse().unwrap(),
        header: "Authorization".into(),
        prefix: "Bearer ".into(),
    });
    grant
}

struct Host {
    services: Arc<Recorder>,
    out: Outgoing,
}

/// What a guest gets of a whole exchange: status, headers and body, or the code that ended it.
type Got = Result<(u16, HeaderMap, Bytes), Code>;

impl Host {
    fn new(grant: Grant) -> Self {
        Self::resolving(grant, || vec!["127.0.0.1".parse().unwrap()])
    }

    fn resolving(grant: Grant, names: impl Fn() -> Vec<IpAddr> + Send + Sync + 'static) -> Self {
        let ceiling = Grant::everything();
        let by = Principal {
            tenant: TenantId::local(),
            focus: FocusId::new(),
            authority: Arc::new(Authority::new(PluginName::new("web").unwrap(), grant.clone(), grant, ceiling)),
            generation: 1,
            digest: Digest::of(b""),
            depth: 0,
            parent: Some(7),
        };
        let services = Arc::new(Recorder::default());
        let out = Egress::with_resolver(Arc::new(Names(Box::new(names)))).open(by, services.clone());
        Self { services, out }
    }

    async fn send(&mut self, request: http::request::Builder, body: Vec<u8>, options: RequestOptions) -> Got {
        let request = request.body(Full::new(Bytes::from(body)).map_err(|e| match e {}).boxed_unsync()).unwrap();
        let answer = self.out.send_request(request, Some(options), Box::new(async { Ok(()) }));
        let (response, _io) = Box::into_pin(answer).await?;
        let (parts, body) = response.into_parts();
        Ok((parts.status.as_u16(), parts.headers, body.collect().await?.to_bytes()))
    }

    async fn get(&mut self, url: &str) -> Got {
        self.send(Request::get(url), Vec::new(), RequestOptions::default()).await
    }

    /// The journal, when everything has ended.
    async fn journal(self) -> Vec<(Intent, Option<Outcome>)> {
        self.out.finish().await;
        self.services.journal()
    }

    /// The error that the journal keeps of the only request.
    async fn failure(self) -> Error {
        match self.journal().await.as_slice() {
            [(_, Some(Outcome::Failed { error }))] => error.clone(),
            other => panic!("{other:?}"),
        }
    }
}

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// Echoes headers, one a line, then the body.
async fn echo() -> SocketAddr {
    serve(Router::new().fallback(any(|method: http::Method, headers: HeaderMap, body: Bytes| async move {
        let mut text = format!("{method}\n");
        for (name, value) in &headers {
            text.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
        }
        let echoed = headers.get("authorization").cloned();
        (echoed.map(|value| [("x-echo", value)]), format!("{text}\n{}", String::from_utf8_lossy(&body)))
    })))
    .await
}

/// Answers every connection with `answer` and keeps it open.
async fn raw(answer: impl Into<Vec<u8>>) -> SocketAddr {
    let (listener, answer) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), answer.into());
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut seen = [0; 1024];
                let _ = stream.read(&mut seen).await;
                let _ = stream.write_all(&answer).await;
                while stream.read(&mut seen).await.is_ok_and(|n| n > 0) {}
            });
        }
    });
    address
}

#[tokio::test]
async fn a_granted_request_arrives_with_the_hosts_own_host_header_and_is_journaled() {
    let at = echo().await;
    let mut host = Host::new(loopback());
    let request = Request::post(format!("http://Example.TEST.:{}/a/b?token=t0p", at.port()))
        .header("host", "forged.example")
        .header("connection", "keep-alive, x-dropped")
        .header("proxy-authorization", "forged")
        .header("te", "trailers")
        .header("x-kept", "yes");
    let (status, _, body) = host.send(request, b"hello".to_vec(), RequestOptions::default()).await.unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    assert_eq!(status, 200);
    assert!(body.starts_with("POST\n") && body.ends_with("\n\nhello"), "{body}");
    assert!(body.contains(&format!("host: example.test:{}\n", at.port())) && body.contains("x-kept: yes\n"), "{body}");
    for forged in ["forged", "x-dropped", "trailers"] {
        assert!(!body.contains(forged), "{forged} arrived: {body}");
    }
    let journal = host.journal().await;
    let [(intent, Some(Outcome::Ok { response }))] = journal.as_slice() else { panic!("{journal:?}") };
    assert_eq!(intent.subject, format!("POST http://example.test:{}/a/b", at.port()));
    assert_eq!((intent.caller.as_str(), intent.parent), ("web", Some(7)));
    assert_eq!((&response["status"], &response["sent"], &response["complete"]), (&200.into(), &5.into(), &true.into()));
    assert_eq!(response["received"], body.len());
    assert!(!format!("{journal:?}").contains("t0p"), "the query was journaled");
}

#[tokio::test]
async fn host_port_scheme_and_method_are_checked_each() {
    let mut grant = loopback();
    grant.http.as_mut().unwrap().hosts = ["http://api.test:8080".parse().unwrap()].into();
    for (method, url, capability) in [
        ("GET", "http://evil.test:8080/", "http:GET http://evil.test:8080"),
        ("GET", "http://api.test:8081/", "http:GET http://api.test:8081"),
        ("GET", "http://api.test/", "http:GET http://api.test:80"),
        ("GET", "https://api.test:8080/", "http:GET api.test:8080"),
        ("GET", "http://api.test.evil.test:8080/", "http:GET http://api.test.evil.test:8080"),
        ("DELETE", "http://api.test:8080/", "http:DELETE http://api.test:8080"),
        ("get", "http://api.test:8080/", "http:get http://api.test:8080"),
    ] {
        let mut host = Host::new(grant.clone());
        let got = host.send(Request::builder().method(method).uri(url), vec![], RequestOptions::default()).await;
        assert!(matches!(got, Err(Code::HttpRequestDenied)), "{method} {url}: {got:?}");
        let refusal = host.out.refusal().unwrap();
        assert_eq!((refusal.capability.as_str(), refusal.gate), (capability, Gate::Manifest));
        assert_eq!(host.failure().await, refusal.into());
    }
}

#[tokio::test]
async fn what_is_no_plain_request_never_reaches_the_journal() {
    for (method, url) in [
        ("GET", "http://user:pw@api.test/"),
        ("GET", "ftp://api.test/"),
        ("GET", "http://api.test:0/"),
        ("CONNECT", "http://api.test/"),
    ] {
        let mut host = Host::new(loopback());
        let got = host.send(Request::builder().method(method).uri(url), vec![], RequestOptions::default()).await;
        assert!(matches!(got, Err(Code::HttpRequestUriInvalid | Code::HttpRequestMethodInvalid)), "{url}: {got:?}");
        assert!(host.journal().await.is_empty());
    }
}

#[tokio::test]
async fn a_name_that_leads_to_a_forbidden_address_is_refused() {
    let mut grant = loopback();
    grant.http.as_mut().unwrap().networks.clear();
    for ip in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00:ec2::254", "::ffff:127.0.0.1", "0.0.0.0"] {
        let ip: IpAddr = ip.parse().unwrap();
        let mut host = Host::resolving(grant.clone(), move || vec![ip]);
        let got = host.get("http://innocent.test/").await;
        assert!(matches!(got, Err(Code::DestinationIpProhibited)), "{ip}: {got:?}");
        let Error::Denied(denial) = host.failure().await else { panic!() };
        assert_eq!(denial.capability, format!("network:{ip}"));
    }
}

#[tokio::test]
async fn an_address_is_refused_in_every_notation() {
    let mut grant = loopback();
    grant.http.as_mut().unwrap().networks.clear();
    for literal in [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "017700000001",
        "0177.0.0.1",
        "0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "169.254.169.254",
        "0xa9fea9fe",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "255.255.255.255",
        "10.1",
        "192.168.257",
        "172.16.0.1",
    ] {
        let mut host = Host::new(grant.clone());
        let got = host.get(&format!("http://{literal}/")).await;
        assert!(matches!(got, Err(Code::DestinationIpProhibited)), "{literal}: {got:?}");
    }
}

#[tokio::test]
async fn the_address_that_was_checked_is_the_one_connected_to() {
    let at = echo().await;
    // A name server that says loopback once and something else to whoever asks again.
    let asked = Arc::new(Mutex::new(0));
    let count = asked.clone();
    let mut host = Host::resolving(loopback(), move || {
        let mut asked = count.lock().unwrap();
        *asked += 1;
        vec![if *asked == 1 { "127.0.0.1" } else { "10.0.0.1" }.parse().unwrap()]
    });
    assert_eq!(host.get(&format!("http://rebind.test:{}/", at.port())).await.unwrap().0, 200);
    assert_eq!(*asked.lock().unwrap(), 1, "resolved more than once");
    let again = host.get(&format!("http://rebind.test:{}/", at.port())).await;
    assert!(matches!(again, Err(Code::DestinationIpProhibited)), "{again:?}");
}

#[tokio::test]
async fn of_several_addresses_only_the_allowed_are_connected_to() {
    let at = echo().await;
    let mut host = Host::resolving(loopback(), || vec!["10.0.0.1".parse().unwrap(), "127.0.0.1".parse().unwrap()]);
    host.get(&format!("http://mixed.test:{}/", at.port())).await.unwrap();
    let journal = host.journal().await;
    let Some(Outcome::Ok { response }) = &journal[0].1 else { panic!("{journal:?}") };
    assert_eq!(response["address"], at.to_string());
}

#[tokio::test]
async fn a_redirect_is_the_guests_to_follow_and_is_checked_anew() {
    let router = Router::new().fallback(any(|| async {
        (http::StatusCode::FOUND, [("location", "http://169.254.169.254/latest/meta-data/")])
    }));
    let at = serve(router).await;
    let mut host = Host::new(loopback());
    let (status, headers, _) = host.get(&format!("http://{at}/")).await.unwrap();
    assert_eq!(status, 302);
    let next = host.get(headers["location"].to_str().unwrap()).await;
    assert!(matches!(next, Err(Code::DestinationIpProhibited)), "{next:?}");
    assert_eq!(host.journal().await.len(), 2, "the host followed by itself");
}

#[tokio::test]
async fn names_without_address_and_closed_ports_are_unavailable() {
    let mut host = Host::new(loopback());
    let got = host.get("http://nowhere.test/").await;
    assert!(matches!(got, Err(Code::DnsError { .. })), "{got:?}");
    assert_eq!(host.failure().await, Error::Unavailable("cannot resolve 'nowhere.test': no such name".into()));

    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut host = Host::new(loopback());
    let got = host.get(&format!("http://{closed}/")).await;
    assert!(matches!(got, Err(Code::ConnectionRefused)), "{got:?}");
    assert!(host.failure().await.to_string().starts_with(&format!("cannot connect to http://{closed}: ")));
}

#[tokio::test]
async fn the_number_of_requests_is_limited() {
    let at = echo().await;
    let mut host = Host::new(with_limits(SomeLimits { http_requests: Some(2), ..SomeLimits::default() }));
    for _ in 0..2 {
        host.get(&format!("http://{at}/")).await.unwrap();
    }
    let third = host.get(&format!("http://{at}/")).await;
    assert!(matches!(third, Err(Code::ConnectionLimitReached)), "{third:?}");
    assert_eq!(host.journal().await.len(), 2);
}

#[tokio::test]
async fn a_request_body_beyond_its_limit_ends_the_exchange() {
    let at = echo().await;
    let mut host = Host::new(with_limits(SomeLimits { http_request_bytes: Some(100), ..SomeLimits::default() }));
    let url = format!("http://{at}/");
    assert!(host.send(Request::post(&url), vec![b'x'; 100], RequestOptions::default()).await.is_ok());
    let mut host = Host::new(with_limits(SomeLimits { http_request_bytes: Some(100), ..SomeLimits::default() }));
    let got = host.send(Request::post(&url), vec![b'x'; 101], RequestOptions::default()).await;
    assert!(matches!(got, Err(Code::HttpRequestBodySize(Some(100)))), "{got:?}");
    assert!(matches!(host.failure().await, Error::BudgetExhausted(text) if text.contains("http_request_bytes")));
}

#[tokio::test]
async fn an_endless_response_ends_at_its_limit() {
    let endless = futures::stream::repeat_with(|| Ok::<_, io::Error>(Bytes::from_static(&[b'x'; 4096])));
    let endless = Arc::new(Mutex::new(Some(Body::from_stream(endless))));
    let router = Router::new().fallback(any(move || {
        let body = endless.lock().unwrap().take().unwrap();
        async move { body }
    }));
    let limits = SomeLimits { http_response_bytes: Some(1 << 20), ..SomeLimits::default() };
    let mut host = Host::new(with_limits(limits));
    let got = host.get(&format!("http://{}/", serve(router).await)).await;
    assert!(matches!(got, Err(Code::HttpResponseBodySize(Some(1_048_576)))), "{got:?}");
    assert!(matches!(host.failure().await, Error::BudgetExhausted(text) if text.contains("http_response_bytes")));

    // One that announces its length is refused before its body.
    let mut host = Host::new(with_limits(limits));
    let at = raw("HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n").await;
    let got = host.get(&format!("http://{at}/")).await;
    assert!(matches!(got, Err(Code::HttpResponseBodySize(_))), "{got:?}");
}

#[tokio::test]
async fn a_server_that_never_ends_its_answer_meets_the_time_limit() {
    let head_never = raw("HTTP/1.1 200 OK\r\nx-slow: ").await;
    let body_never = raw("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhal").await;
    let nothing = raw("").await;
    for at in [head_never, body_never, nothing] {
        let mut host = Host::new(with_limits(SomeLimits { http_ms: Some(200), ..SomeLimits::default() }));
        let got = host.get(&format!("http://{at}/")).await;
        assert!(matches!(got, Err(Code::HttpResponseTimeout)), "{got:?}");
        let error = host.failure().await;
        assert!(matches!(&error, Error::Timeout(text) if text.contains("`http_ms`")), "{error}");
    }
}

#[tokio::test]
async fn a_guest_may_ask_for_shorter_times() {
    let short = Some(Duration::from_millis(100));
    for (answer, options) in [
        ("", RequestOptions { first_byte_timeout: short, ..RequestOptions::default() }),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhal",
            RequestOptions { between_bytes_timeout: short, ..RequestOptions::default() },
        ),
    ] {
        let at = raw(answer).await;
        let mut host = Host::new(loopback());
        let got = host.send(Request::get(format!("http://{at}/")), vec![], options).await;
        assert!(matches!(got, Err(Code::ConnectionReadTimeout)), "{got:?}");
    }
}

#[tokio::test]
async fn broken_answers_have_their_own_codes() {
    let many: String = (0..200).map(|n| format!("x-{n}: y\r\n")).collect();
    for (answer, close) in [
        (format!("HTTP/1.1 200 OK\r\nx-huge: {}\r\n\r\n", "x".repeat(200_000)), false),
        (format!("HTTP/1.1 200 OK\r\n{many}\r\n"), false),
        ("SSH-2.0-OpenSSH_9.2\r\n".to_owned(), true),
    ] {
        let at = raw(answer).await;
        let mut host = Host::new(with_limits(SomeLimits { http_ms: Some(10_000), ..SomeLimits::default() }));
        let got = host.get(&format!("http://{at}/")).await;
        match got {
            Err(Code::HttpResponseHeaderSectionSize(_)) if !close => {}
            Err(Code::HttpProtocolError) if close => {}
            other => panic!("{other:?}"),
        }
        assert!(host.failure().await.to_string().starts_with(&format!("HTTP with http://{at} failed: ")));
    }
}

#[tokio::test]
async fn tls_with_a_server_that_speaks_none_fails_with_its_name() {
    let at = raw("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let mut host = Host::new(loopback());
    let got = host.get(&format!("https://plain.test:{}/", at.port())).await;
    assert!(matches!(got, Err(Code::TlsProtocolError)), "{got:?}");
    let error = host.failure().await.to_string();
    assert!(error.starts_with(&format!("TLS with https://plain.test:{} failed: ", at.port())), "{error}");
}

#[tokio::test]
async fn a_secret_reaches_its_audience_over_a_granted_network_and_nobody_else() {
    let at = echo().await;
    let mut host = Host::new(with_secret("set", &format!("http://api.test:{}", at.port())));
    let request = Request::get(format!("http://api.test:{}/", at.port()))
        .header("authorization", "the guest's own")
        .header("accept-encoding", "gzip");
    let (_, headers, body) = host.send(request, vec![], RequestOptions::default()).await.unwrap();
    let (body, masked) = (String::from_utf8(body.to_vec()).unwrap(), "*".repeat(SECRET.len()));
    // It arrived: the echo has a mask of its very length, and nothing of the guest's.
    assert!(body.contains(&format!("authorization: Bearer {masked}\n")), "{body}");
    assert!(body.contains("accept-encoding: identity\n"), "{body}");
    assert_eq!(headers["x-echo"], format!("Bearer {masked}"));

    let (_, _, other) = host.get(&format!("http://other.test:{}/", at.port())).await.unwrap();
    assert!(!String::from_utf8_lossy(&other).contains("authorization"), "the secret went elsewhere");

    let journal = host.journal().await;
    assert_eq!(journal[0].0.request["secrets"], serde_json::json!(["set"]));
    assert_eq!(journal[1].0.request["secrets"], serde_json::json!([]));
    assert!(!format!("{journal:?}").contains(SECRET), "the journal holds the secret");
}

#[tokio::test]
async fn a_secret_never_leaves_in_the_clear_for_a_public_address() {
    let mut host = Host::resolving(with_secret("set", "http://api.test:80"), || vec!["93.184.216.34".parse().unwrap()]);
    let got = host.get("http://api.test/").await;
    assert!(matches!(got, Err(Code::HttpRequestDenied)), "{got:?}");
    let Error::Denied(denial) = host.failure().await else { panic!() };
    assert_eq!(denial.gate, Gate::Policy);
}

#[tokio::test]
async fn a_missing_or_broken_secret_says_what_to_type_and_no_value() {
    let at = echo().await;
    for (handle, says) in [("missing", "not set"), ("broken", "no header can hold")] {
        let mut host = Host::new(with_secret(handle, &format!("http://api.test:{}", at.port())));
        let got = host.get(&format!("http://api.test:{}/", at.port())).await;
        assert!(matches!(got, Err(Code::ConfigurationError)), "{got:?}");
        let error = host.failure().await.to_string();
        assert!(error.contains(says) && error.contains(&format!("animus secret set {handle}")), "{error}");
        assert!(!error.contains("0123456789"), "{error}");
    }
}

#[tokio::test]
async fn a_dropped_response_is_journaled_as_incomplete() {
    let at = raw("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhal").await;
    let mut host = Host::new(loopback());
    let request = Request::get(format!("http://{at}/"))
        .body(Full::new(Bytes::new()).map_err(|e| match e {}).boxed_unsync())
        .unwrap();
    let answer = host.out.send_request(request, None, Box::new(async { Ok(()) }));
    drop(Box::into_pin(answer).await.unwrap());
    let journal = host.journal().await;
    let Some(Outcome::Ok { response }) = &journal[0].1 else { panic!("{journal:?}") };
    assert_eq!((&response["status"], &response["complete"]), (&200.into(), &false.into()));
}

#[tokio::test]
async fn the_end_of_the_call_ends_its_exchanges_and_journals_them() {
    let at = raw("").await;
    let mut host = Host::new(loopback());
    let request = Request::get(format!("http://{at}/"))
        .body(Full::new(Bytes::new()).map_err(|e| match e {}).boxed_unsync())
        .unwrap();
    let _waiting = host.out.send_request(request, None, Box::new(async { Ok(()) }));
    while host.services.journal().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(host.failure().await, Error::Cancelled);
}

#[test]
fn connection_headers_are_forbidden_to_guests() {
    for name in ["host", "connection", "transfer-encoding", "upgrade", "te", "expect", "proxy-foo", "keep-alive"] {
        assert!(super::is_forbidden(&name.parse().unwrap()), "{name}");
    }
    for name in ["authorization", "accept", "content-length", "cookie", "user-agent"] {
        assert!(!super::is_forbidden(&name.parse().unwrap()), "{name}");
    }
}
