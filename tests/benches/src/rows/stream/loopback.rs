//! A provider on loopback that notes when it sends each token, and the clients that read such streams off a socket. HTTP
//! is written and read by hand here, so that no library of ours or of others stands between a figure and the socket.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use super::{KEY, PACE};

/// Nothing here takes longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Before the first token, so that whoever follows the work is there by then.
const LEAD: Duration = Duration::from_millis(150);
/// A request or an answer that is read whole.
const MOST: usize = 1 << 20;

/// Speaks OpenAI's Chat Completions, streamed, one token a frame.
pub(super) struct Provider {
    address: SocketAddr,
    base: String,
    /// When each token of the newest answer was given to the socket.
    sent: Arc<Mutex<Vec<Instant>>>,
    tokens: usize,
}

impl Provider {
    /// One that answers every request with so many tokens, for as long as the program runs.
    pub(super) async fn start(tokens: usize) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let sent = Arc::<Mutex<Vec<Instant>>>::default();
        let notes = sent.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let notes = notes.clone();
                // A client that goes early is missed by whoever counts the tokens.
                tokio::spawn(async move { answer(socket, tokens, &notes).await });
            }
        });
        Ok(Self { address, base: format!("http://{address}/v1"), sent, tokens })
    }

    /// Its base URL, as the configuration has it.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Asks it as a client without a host in between, and returns when each token came.
    pub(super) async fn direct(&self) -> Result<Vec<Instant>> {
        let body = json!({ "model": "bench", "messages": [{ "role": "user", "content": "speak" }], "stream": true });
        let head = format!("Content-Type: application/json\r\nAuthorization: Bearer {KEY}\r\n");
        let mut socket = ask(self.address, "POST", "/v1/chat/completions", &head, &body.to_string()).await?;
        let mut marks = Marks::new(self.tokens);
        marks.read(&mut socket).await?;
        Ok(marks.seen())
    }

    /// How long each token of the newest answer took until it was seen.
    pub(super) fn delays(&self, seen: &[Instant]) -> Result<Vec<Duration>> {
        let sent = lock(&self.sent);
        ensure!(sent.len() == seen.len(), "of {} tokens that were sent, {} came", sent.len(), seen.len());
        Ok(sent.iter().zip(seen).map(|(sent, seen)| seen.saturating_duration_since(*sent)).collect())
    }
}

async fn answer(mut socket: TcpStream, tokens: usize, notes: &Mutex<Vec<Instant>>) -> Result<()> {
    socket.set_nodelay(true)?;
    message(&mut socket).await?;
    lock(notes).clear();
    socket
        .write_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
        )
        .await?;
    send(&mut socket, &frame(json!({ "role": "assistant", "content": "" }), None)).await?;
    sleep(LEAD).await;
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0..tokens {
        let frame = frame(json!({ "content": mark(number) }), None);
        pace.tick().await;
        lock(notes).push(Instant::now());
        send(&mut socket, &frame).await?;
    }
    let usage = json!({
        "id": "bench", "object": "chat.completion.chunk", "model": "bench", "choices": [],
        "usage": { "prompt_tokens": 10, "completion_tokens": tokens, "total_tokens": tokens + 10 },
    });
    for data in [frame(json!({}), Some("stop")), format!("data: {usage}\n\n"), "data: [DONE]\n\n".to_owned()] {
        send(&mut socket, &data).await?;
    }
    socket.write_all(b"0\r\n\r\n").await?;
    Ok(socket.shutdown().await?)
}

fn frame(delta: serde_json::Value, finish: Option<&str>) -> String {
    let chunk = json!({
        "id": "bench", "object": "chat.completion.chunk", "model": "bench",
        "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }],
    });
    format!("data: {chunk}\n\n")
}

/// One chunk of the body, in one write.
async fn send(socket: &mut TcpStream, data: &str) -> Result<()> {
    Ok(socket.write_all(format!("{:x}\r\n{data}\r\n", data.len()).as_bytes()).await?)
}

/// The text of a token, which no other one has.
fn mark(number: usize) -> String {
    format!("tok{number:05} ")
}

/// The tokens of an answer, as they are found one after another in what comes.
pub(super) struct Marks {
    expected: usize,
    seen: Vec<Instant>,
    /// What came since the last token.
    rest: Vec<u8>,
}

impl Marks {
    pub(super) fn new(expected: usize) -> Self {
        Self { expected, seen: Vec::new(), rest: Vec::new() }
    }

    /// Looks for tokens in more bytes, which came now; true when all have come.
    pub(super) fn take(&mut self, bytes: &[u8]) -> bool {
        let now = Instant::now();
        self.rest.extend_from_slice(bytes);
        while self.seen.len() < self.expected {
            let mark = mark(self.seen.len());
            let Some(at) = self.rest.windows(mark.len()).position(|text| text == mark.as_bytes()) else { break };
            self.rest.drain(..at + mark.len());
            self.seen.push(now);
        }
        self.seen.len() == self.expected
    }

    /// Reads from a socket until all have come.
    pub(super) async fn read(&mut self, socket: &mut TcpStream) -> Result<()> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = timeout(PATIENCE, socket.read(&mut buffer)).await.context("a stream stands still")??;
            ensure!(read > 0, "a stream ended after {} of {} tokens", self.seen.len(), self.expected);
            if self.take(&buffer[..read]) {
                return Ok(());
            }
        }
    }

    pub(super) fn seen(self) -> Vec<Instant> {
        self.seen
    }
}

/// Sends a request on a connection of its own; `head` are further whole lines.
pub(super) async fn ask(address: SocketAddr, method: &str, path: &str, head: &str, body: &str) -> Result<TcpStream> {
    let mut socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{head}Content-Length: {length}\r\n\r\n{body}"
    );
    socket.write_all(request.as_bytes()).await?;
    Ok(socket)
}

/// Reads a request or an answer whose length is said; returns its first line and its body.
pub(super) async fn message(socket: &mut TcpStream) -> Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        ensure!(bytes.len() < MOST, "a message has no end");
        let read = timeout(PATIENCE, socket.read_buf(&mut bytes)).await.context("nothing comes")??;
        if let Some(at) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..at]).into_owned();
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            let body = &bytes[at + 4..];
            if body.len() >= length.unwrap_or_default() {
                return Ok((head.lines().next().unwrap_or_default().to_owned(), body.to_vec()));
            }
        }
        if read == 0 {
            bail!("a connection ended early: {}", String::from_utf8_lossy(&bytes));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_wherever_the_pieces_end() {
        let text: String = (0..3).map(|number| format!("data: {}\n\n", mark(number))).collect();
        for size in [1, 7, 100] {
            let mut marks = Marks::new(3);
            let all = text.as_bytes().chunks(size).fold(false, |_, piece| marks.take(piece));
            assert!(all, "in pieces of {size}");
        }
        assert!(!Marks::new(4).take(text.as_bytes()));
    }
}
