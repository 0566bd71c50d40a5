//! Bytes to frames: server-sent events (by the `sse-stream` crate) and newline-delimited JSON.

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _, future, stream};
use sse_stream::SseByteStream;

use crate::failure::Failure;

/// How a vendor cuts its stream into frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// `data: …`, a blank line.
    Events,
    /// One JSON object a line.
    Lines,
}

/// The data of each frame, in order.
pub(crate) fn frames<S>(framing: Framing, bytes: S) -> stream::BoxStream<'static, Result<String, Failure>>
where
    S: Stream<Item = Result<Bytes, Failure>> + Send + 'static,
{
    match framing {
        Framing::Events => events(bytes).boxed(),
        Framing::Lines => lines(bytes).boxed(),
    }
}

fn events<S>(bytes: S) -> impl Stream<Item = Result<String, Failure>>
where
    S: Stream<Item = Result<Bytes, Failure>> + Send + 'static,
{
    // By the standard an event without its blank line is discarded; yet some servers close right after the last line.
    // Ending every stream with a blank line keeps that event. One that was cut short is no JSON, and refused as such.
    let ended = bytes.boxed().chain(stream::once(future::ready(Ok(Bytes::from_static(b"\n\n")))));
    SseByteStream::new(ended).filter_map(|event| {
        future::ready(match event {
            Ok(event) => event.data.map(Ok),
            Err(sse_stream::Error::Body(source)) => Some(Err(match source.downcast::<Failure>() {
                Ok(failure) => *failure,
                Err(other) => unreadable(&other),
            })),
            Err(other) => Some(Err(unreadable(&other))),
        })
    })
}

fn lines<S>(bytes: S) -> impl Stream<Item = Result<String, Failure>>
where
    S: Stream<Item = Result<Bytes, Failure>> + Send + 'static,
{
    let state = (bytes.boxed(), BytesMut::new(), false);
    stream::try_unfold(state, |(mut bytes, mut buffer, mut ended)| async move {
        loop {
            let line = match buffer.iter().position(|byte| *byte == b'\n') {
                Some(end) => buffer.split_to(end + 1),
                None if ended => std::mem::take(&mut buffer),
                None => {
                    match bytes.next().await {
                        Some(chunk) => buffer.extend_from_slice(&chunk?),
                        None => ended = true,
                    }
                    continue;
                }
            };
            let line = std::str::from_utf8(&line).map_err(|error| unreadable(&error))?.trim();
            if !line.is_empty() {
                return Ok(Some((line.to_owned(), (bytes, buffer, ended))));
            }
            if ended && buffer.is_empty() {
                return Ok(None);
            }
        }
    })
}

fn unreadable(error: &dyn std::fmt::Display) -> Failure {
    Failure::again(animus_core::Error::Unavailable(format!("the vendor's stream cannot be read: {error}")))
}
