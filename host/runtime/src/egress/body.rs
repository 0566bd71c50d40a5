//! Bodies on their way: the guest's request counted and capped, the server's response handed over piece by piece.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::mpsc;
use wasmtime_wasi_http::{Error as Code, WasiBody};

/// A request body that ends with an error beyond `limit` bytes.
pub(super) struct Outbound {
    body: WasiBody,
    limit: u64,
    sent: Arc<AtomicU64>,
}

impl Outbound {
    /// `sent` counts the bytes that the guest gave.
    pub(super) fn new(body: WasiBody, limit: u64, sent: Arc<AtomicU64>) -> Self {
        Self { body, limit, sent }
    }
}

impl Body for Outbound {
    type Data = Bytes;
    type Error = Code;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Code>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            let len = u64::try_from(data.len()).unwrap_or(u64::MAX);
            if self.sent.fetch_add(len, Ordering::Relaxed).saturating_add(len) > self.limit {
                return Poll::Ready(Some(Err(Code::HttpRequestBodySize(Some(self.limit)))));
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The guest's end of a response body.
struct Inbound(mpsc::Receiver<Result<Frame<Bytes>, Code>>);

impl Body for Inbound {
    type Data = Bytes;
    type Error = Code;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Code>>> {
        self.0.poll_recv(cx)
    }
}

/// The host's end of a response body. At most one piece waits; the server is read no faster than the guest reads.
pub(super) struct Feed {
    pieces: mpsc::Sender<Result<Frame<Bytes>, Code>>,
    /// A place kept free, so that an error reaches a guest that has stopped reading without anybody waiting for it.
    last: mpsc::OwnedPermit<Result<Frame<Bytes>, Code>>,
}

impl Feed {
    /// Both ends; none if the channel has no room, which a new one has.
    pub(super) fn new() -> Option<(Self, WasiBody)> {
        let (pieces, receiver) = mpsc::channel(2);
        let last = pieces.clone().try_reserve_owned().ok()?;
        Some((Self { pieces, last }, Inbound(receiver).boxed_unsync()))
    }

    /// Hands over a piece when there is room; false when the guest has dropped its end.
    pub(super) async fn send(&self, frame: Frame<Bytes>) -> bool {
        self.pieces.send(Ok(frame)).await.is_ok()
    }

    /// Returns when the guest has dropped its end.
    pub(super) async fn abandoned(&self) {
        self.pieces.closed().await;
    }

    /// Ends the body with an error.
    pub(super) fn fail(self, code: Code) {
        self.last.send(Err(code));
    }
}
