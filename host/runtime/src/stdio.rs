//! A plugin's standard output and error: captured line by line into the log, bounded, and made harmless to read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::{
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamResult},
};

use crate::{state::Who, text};

/// The longest line, in bytes; a longer one is broken.
const MAX_LINE: usize = 4 << 10;
/// How much of the end of standard error is kept to explain a trap, in bytes.
const MAX_TAIL: usize = 2 << 10;
/// What a guest may write at once, in bytes.
const PERMIT: usize = 64 << 10;

/// What a call wrote.
pub(crate) struct Capture {
    inner: Mutex<Inner>,
}

struct Inner {
    who: Arc<Who>,
    out: Vec<u8>,
    err: Vec<u8>,
    /// The end of standard error, kept even when the log's bound is reached: a panic comes last.
    tail: Vec<u8>,
    logged: u64,
    dropped: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stream {
    Out,
    Err,
}

impl Capture {
    pub(crate) fn new(who: Arc<Who>) -> Arc<Self> {
        Arc::new(Self { inner: Mutex::new(Inner::new(who)) })
    }

    /// What is written from now on is `who`'s.
    pub(crate) fn assign(&self, who: Arc<Who>) {
        *self.lock() = Inner::new(who);
    }

    pub(crate) fn stdout(self: &Arc<Self>) -> impl StdoutStream + 'static {
        Pipe { capture: self.clone(), stream: Stream::Out }
    }

    pub(crate) fn stderr(self: &Arc<Self>) -> impl StdoutStream + 'static {
        Pipe { capture: self.clone(), stream: Stream::Err }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Plain bytes, valid at every point.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, stream: Stream, mut bytes: &[u8]) {
        let mut inner = self.lock();
        let limit = inner.log_bytes();
        if stream == Stream::Err {
            keep_tail(&mut inner.tail, bytes);
        }
        // A broken line counts once for each piece, so that a flood of empty lines is bounded as well.
        while !bytes.is_empty() {
            if inner.logged >= limit {
                inner.dropped = inner.dropped.saturating_add(bytes.len() as u64);
                return;
            }
            let Inner { who, out, err, logged, .. } = &mut *inner;
            let line = if stream == Stream::Out { out } else { err };
            let room = MAX_LINE.saturating_sub(line.len());
            let end = bytes.iter().take(room).position(|b| *b == b'\n');
            let (taken, rest) = bytes.split_at(end.map_or(room, |end| end + 1).min(bytes.len()));
            line.extend_from_slice(taken);
            *logged = logged.saturating_add(taken.len() as u64);
            bytes = rest;
            if end.is_some() || line.len() >= MAX_LINE || *logged >= limit {
                log(who, &std::mem::take(line));
            }
        }
    }

    /// Logs what remains without a line end, and how much the bound left out.
    pub(crate) fn finish(&self) {
        let mut inner = self.lock();
        for line in [std::mem::take(&mut inner.out), std::mem::take(&mut inner.err)] {
            if !line.is_empty() {
                log(&inner.who, &line);
            }
        }
        if inner.dropped > 0 {
            let text = format!("[{} more bytes of output are over log_bytes = {}]", inner.dropped, inner.log_bytes());
            inner.dropped = 0;
            inner.who.services.log(&inner.who.principal, text);
        }
    }

    /// The end of standard error: where a panic says what it was.
    pub(crate) fn last_words(&self) -> String {
        let inner = self.lock();
        let words = String::from_utf8_lossy(&inner.tail);
        let kept = words.lines().filter(|line| !line.starts_with("note: run with `RUST_BACKTRACE"));
        text::escaped(kept.collect::<Vec<_>>().join("\n").trim())
    }
}

impl Inner {
    fn new(who: Arc<Who>) -> Self {
        Self { who, out: Vec::new(), err: Vec::new(), tail: Vec::new(), logged: 0, dropped: 0 }
    }

    fn log_bytes(&self) -> u64 {
        self.who.principal.authority.limits().log_bytes
    }
}

fn log(who: &Who, line: &[u8]) {
    let line = String::from_utf8_lossy(line);
    who.services.log(&who.principal, text::escaped(line.trim_end_matches(['\r', '\n'])));
}

fn keep_tail(tail: &mut Vec<u8>, bytes: &[u8]) {
    let (_, bytes) = bytes.split_at(bytes.len().saturating_sub(MAX_TAIL));
    let excess = (tail.len() + bytes.len()).saturating_sub(MAX_TAIL);
    tail.drain(..excess.min(tail.len()));
    tail.extend_from_slice(bytes);
}

#[derive(Clone)]
struct Pipe {
    capture: Arc<Capture>,
    stream: Stream,
}

impl IsTerminal for Pipe {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Pipe {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Pipe {
    async fn ready(&mut self) {}
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Pipe {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.capture.write(self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PERMIT)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        self.capture.write(self.stream, bytes);
        std::task::Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn poll_shutdown(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }
}
