//! The events of an item as a stream that can be cut and resumed.

use std::{convert::Infallible, time::Duration};

use animus_agent::events::{Following, Next};
use animus_core::{event::Event, id::WorkId};
use axum::{
    body::{Body, Bytes},
    extract::State as Context,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures::stream;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use utoipa::IntoParams;

use super::{
    Refused, Shared,
    error::{Asked, Failure, Named},
    shapes::Item,
    work::unroutable,
};

/// After so long without an event something is sent, so that nobody in between takes the stream for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long a stream still tells what happened when its server has stopped: the end of items that ended just then.
const LAST: Duration = Duration::from_millis(500);

/// From where, and how.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct From {
    /// Only events after this number; the header `Last-Event-ID` says the same.
    after: Option<u64>,
    /// `sse` or `ndjson`; what the header `Accept` asks for when it is not said, else `sse`.
    format: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Sse,
    Ndjson,
}

/// Watch an item: what happened so far, then what happens, until it is settled.
///
/// Each event has a number to go on from. As SSE it is the `id`, the kind of event is the `event`, and `data` is the event
/// as JSON; as NDJSON each line is the event with its `number`. The last message is `settled`, with the item as
/// `work` and without a number; a stream that ends without it was cut, and goes on after the last number. An item that
/// nothing runs begins with a `notice` that says why, without a number. Comments (or empty lines) are heartbeats.
#[utoipa::path(
    get, path = "/v1/work/{id}/events", tag = "work",
    params(
        ("id" = String, Path), From,
        ("Last-Event-ID" = Option<u64>, Header, description = "Only events after this number"),
    ),
    responses(
        (status = 200, description = "The stream", content(
            (String = "text/event-stream"), (String = "application/x-ndjson"),
        )),
        (status = 204, description = "The item is settled, and nothing came after `Last-Event-ID`"),
        (status = 404, body = Failure),
        (status = 503, description = "The server stops; `Retry-After` says when to ask again", body = Failure),
    ),
)]
pub(super) async fn events(
    Context(served): Context<Shared>,
    Named(id): Named<WorkId>,
    Asked(from): Asked<From>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let form = form(from.format.as_deref(), &headers)?;
    let last =
        match headers.get("last-event-id").map(|value| value.to_str().ok().and_then(|text| text.trim().parse().ok())) {
            Some(None) => return Err(Refused::bad_request("the header Last-Event-ID is no number of an event")),
            Some(last) => last,
            None => None,
        };
    // Before the head of the answer is sent.
    let work = served.tenant.work(id).await?;
    if let Some(last) = last
        && form == Form::Sse
        && work.state.is_settled()
        && served.tenant.events_last(id).await? <= last
    {
        // What browsers' event sources take as the end; on anything else they would ask again for ever.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    if served.over.is_cancelled() {
        return Err(Refused::unavailable("this server stops; ask the next one"));
    }
    // What cannot be said is no reason to tell nothing.
    let waits = unroutable(&served, &work).await.unwrap_or_default();
    let following = served.hub.follow(id, from.after.or(last).unwrap_or_default());
    let feed = Feed { following, form, waits, stops: served.over.clone(), ends: None, over: false };
    let body = Body::from_stream(stream::unfold(feed, |mut feed| async move {
        let bytes = feed.next().await?;
        Some((Ok::<_, Infallible>(bytes), feed))
    }));
    let kind = match form {
        Form::Sse => "text/event-stream",
        Form::Ndjson => "application/x-ndjson",
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((headers, body).into_response())
}

fn form(asked: Option<&str>, headers: &HeaderMap) -> Result<Form, Refused> {
    match asked {
        Some("sse") => Ok(Form::Sse),
        Some("ndjson") => Ok(Form::Ndjson),
        Some(_) => Err(Refused::bad_request("format is sse or ndjson")),
        None => {
            let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
            let ndjson = ["application/x-ndjson", "application/jsonl", "application/ndjson"];
            Ok(if ndjson.iter().any(|kind| accepts.contains(kind)) { Form::Ndjson } else { Form::Sse })
        }
    }
}

struct Feed {
    following: Following,
    form: Form,
    /// Why nothing runs the item; said once.
    waits: Option<String>,
    /// Fires when nothing more happens on this server.
    stops: CancellationToken,
    /// When the server has stopped: what is not told by then is told by the next one.
    ends: Option<Instant>,
    over: bool,
}

impl Feed {
    /// The next piece of the body; none at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        if let Some(why) = self.waits.take() {
            let text = format!("nothing runs this item now: {why}");
            return Some(self.write(None, event_json(&Event::Notice { text })));
        }
        let next = loop {
            let ends = self.ends;
            tokio::select! {
                biased;
                () = until(ends), if ends.is_some() => {
                    // Whoever watches goes on with another server, by number.
                    self.over = true;
                    return Some(self.aside(b": the server stops; ask again with the last number\n\n"));
                }
                () = self.stops.cancelled(), if ends.is_none() => self.ends = Some(Instant::now() + LAST),
                next = self.following.next() => break next,
                () = tokio::time::sleep(HEARTBEAT) => return Some(self.aside(b": still here\n\n")),
            }
        };
        match next {
            Ok(Next::Event(number, event)) => Some(self.write(Some(number), event_json(&event))),
            Ok(Next::Settled(work)) => {
                self.over = true;
                let work = serde_json::to_value(Item::from(*work)).unwrap_or_default();
                Some(self.write(None, json!({ "type": "settled", "work": work })))
            }
            Ok(Next::Over) => None,
            Err(error) => {
                tracing::warn!(%error, "a stream of events is cut off");
                None
            }
        }
    }

    /// What readers of events pass over.
    fn aside(&self, comment: &'static [u8]) -> Bytes {
        Bytes::from_static(match self.form {
            Form::Sse => comment,
            Form::Ndjson => b"\n",
        })
    }

    fn write(&self, number: Option<u64>, mut event: Value) -> Bytes {
        let text = match self.form {
            Form::Sse => {
                let kind = event.get("type").and_then(Value::as_str).unwrap_or("event").to_owned();
                let id = number.map(|number| format!("id: {number}\n")).unwrap_or_default();
                format!("{id}event: {kind}\ndata: {event}\n\n")
            }
            Form::Ndjson => {
                if let (Some(number), Value::Object(fields)) = (number, &mut event) {
                    fields.insert("number".to_owned(), number.into());
                }
                format!("{event}\n")
            }
        };
        Bytes::from(text)
    }
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

fn event_json(event: &Event) -> Value {
    serde_json::to_value(event).unwrap_or_default()
}
