//! A vendor on loopback: real HTTP, recorded answers, and a note of every request.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "shared by test crates that each use a part of it; tests may panic"
)]

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};

use animus_core::{
    Error,
    llm::{Message, Models as _, Request, Response, StreamEvent, ToolDefinition},
    store::SecretValue,
};
use animus_llm::{KeySource, LlmConfig, Router};
use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
};
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// What the server saw.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: Value,
}

/// One answer.
#[derive(Clone)]
pub struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    end: End,
    echo: bool,
}

/// What follows the body.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Close,
    Cut,
    Hang,
    NeverBegin,
}

impl Reply {
    fn new(kind: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status: 200,
            headers: vec![("content-type", kind.to_owned())],
            body: body.into(),
            end: End::Close,
            echo: false,
        }
    }

    pub fn json(body: impl Into<Vec<u8>>) -> Self {
        Self::new("application/json", body)
    }

    pub fn sse(body: impl Into<Vec<u8>>) -> Self {
        Self::new("text/event-stream; charset=utf-8", body)
    }

    pub fn ndjson(body: impl Into<Vec<u8>>) -> Self {
        Self::new("application/x-ndjson", body)
    }

    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The connection breaks after the body.
    pub fn then_cut(mut self) -> Self {
        self.end = End::Cut;
        self
    }

    /// Nothing follows the body, and the connection stays.
    pub fn then_hang(mut self) -> Self {
        self.end = End::Hang;
        self
    }

    /// Not even a status line.
    pub fn silence() -> Self {
        Self { end: End::NeverBegin, ..Self::json("") }
    }

    /// The body is all that the request's headers said.
    pub fn echo_headers(mut self) -> Self {
        self.echo = true;
        self
    }
}

#[derive(Clone)]
pub struct Vendor {
    pub base: String,
    state: Arc<Mutex<(VecDeque<Reply>, Vec<Seen>)>>,
}

impl Vendor {
    /// Answers with `replies` in order; whatever is asked beyond them is refused as 418.
    pub async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let vendor = Self { base, state: Arc::new(Mutex::new((replies.into_iter().collect(), Vec::new()))) };
        let app = axum::Router::new().fallback(answer).with_state(vendor.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        vendor
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().1.clone()
    }

    /// The body of the only request.
    pub fn body(&self) -> Value {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:#?}");
        seen[0].body.clone()
    }
}

async fn answer(
    State(vendor): State<Vendor>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> axum::response::Response {
    let headers: BTreeMap<String, String> =
        headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    let reply = {
        let mut state = vendor.state.lock().unwrap();
        state.1.push(Seen {
            method: method.to_string(),
            path: uri.path().to_owned(),
            headers: headers.clone(),
            body: serde_json::from_slice(&body).unwrap_or_default(),
        });
        state.0.pop_front().unwrap_or_else(|| Reply::json(r#"{"error":"nobody expected this request"}"#).status(418))
    };
    if reply.end == End::NeverBegin {
        std::future::pending::<()>().await;
    }
    let body = if reply.echo { format!("you sent {headers:?}").into_bytes() } else { reply.body };
    let mut response = axum::response::Response::builder().status(StatusCode::from_u16(reply.status).unwrap());
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    let head = stream::once(async move { Ok::<_, std::io::Error>(Bytes::from(body)) });
    let body = match reply.end {
        End::Cut => {
            // The body leaves before the break, so that the client has read some of it.
            let cut = stream::once(async {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                Err(std::io::Error::other("cut"))
            });
            Body::from_stream(head.chain(cut))
        }
        End::Hang => Body::from_stream(head.chain(stream::pending())),
        End::Close | End::NeverBegin => Body::from_stream(head),
    };
    response.body(body).unwrap()
}

/// Keys held in memory.
#[derive(Default)]
pub struct Keys {
    pub env: BTreeMap<String, String>,
    pub secrets: BTreeMap<String, String>,
}

#[async_trait::async_trait]
impl KeySource for Keys {
    fn env(&self, name: &str) -> Option<SecretValue> {
        self.env.get(name).map(|value| SecretValue::new(value.as_str()))
    }

    async fn secret(&self, name: &str) -> Result<Option<SecretValue>, Error> {
        Ok(self.secrets.get(name).map(|value| SecretValue::new(value.as_str())))
    }
}

pub const KEY: &str = "sk-test-0123456789abcdef";

/// The keys that most tests use: one for each built-in vendor.
pub fn keys() -> Arc<Keys> {
    let env = ["ANTHROPIC_API_KEY", "OPENAI_API_KEY"].map(|name| (name.to_owned(), KEY.to_owned()));
    Arc::new(Keys { env: env.into(), secrets: BTreeMap::new() })
}

pub fn config(config: Value) -> LlmConfig {
    serde_json::from_value(config).unwrap()
}

/// The role `default` served by `model` at `base`; three quick retries.
pub fn router(model: &str, base: &str) -> Router {
    let provider = model.split(':').next().unwrap();
    let config = config(json!({
        "roles": {"default": model},
        "providers": {provider: {"base_url": base}},
        "retry": {"max": 3, "base_ms": 1, "max_wait_ms": 1000},
    }));
    Router::new(config, keys()).unwrap()
}

pub fn request() -> Request {
    Request {
        model: String::new(),
        system: Some("Be brief.".into()),
        messages: vec![Message::user("Hello?").into()],
        tools: [ToolDefinition {
            name: "fs.read_file".into(),
            description: "Reads a file".into(),
            input_schema: json!({"type": "object", "properties": {"path": {"type": "string"}}}),
        }]
        .into(),
        max_tokens: None,
        temperature: None,
    }
}

/// All events of a stream, the last one apart.
pub async fn stream(router: &Router, request: Request) -> (Vec<StreamEvent>, Result<Response, Error>) {
    let mut events = Vec::new();
    let mut stream = router.stream(request, CancellationToken::new()).await.unwrap();
    let mut last = None;
    while let Some(event) = stream.next().await {
        assert!(last.is_none(), "an event after the last one: {event:?}");
        match event {
            Ok(StreamEvent::Done(response)) => last = Some(Ok(response)),
            Ok(event) => events.push(event),
            Err(error) => last = Some(Err(error)),
        }
    }
    (events, last.unwrap())
}

pub async fn complete(router: &Router, request: Request) -> Result<Response, Error> {
    router.complete(request, CancellationToken::new()).await
}
