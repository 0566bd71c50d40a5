//! Work over HTTP: submit, list, show, cancel, try again; ledgers and runs.

use animus_core::{
    id::{FocusId, WorkId},
    ledger::{EntryType, Filter},
    store::PluginState,
    work::{State, Submission, Work, WorkFilter},
};
use axum::{
    extract::State as Context,
    http::{HeaderMap, StatusCode},
};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    Json, Refused, Served, Shared,
    error::{Asked, Failure, Named, Sent},
    shapes::{Entry, Foci, Focus, FocusShown, Item, Items, Journal, Ledger, Shown, Submit, Submitted},
};
use crate::serve;

/// Who did it, in the audit log.
const ACTOR: &str = "api";

/// Submit work.
///
/// With the header `Idempotency-Key`, the same request may be sent again and gives the same item. The header
/// `traceparent` is kept with the item.
#[utoipa::path(
    post, path = "/v1/work", tag = "work", request_body = Submit,
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 256 bytes"),
        ("traceparent" = Option<String>, Header, description = "W3C trace context"),
    ),
    responses(
        (status = 201, description = "The item is new", body = Submitted),
        (status = 200, description = "An item of before stands for it", body = Submitted),
        (status = 400, description = "It is malformed", body = Failure),
        (status = 409, description = "The key came with other work before", body = Failure),
    ),
)]
pub(super) async fn submit(
    Context(served): Context<Shared>,
    headers: HeaderMap,
    Sent(sent): Sent<Submit>,
) -> Result<(StatusCode, Json<Submitted>), Refused> {
    let header = |name: &str| match headers.get(name).map(|value| value.to_str()) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text.to_owned())),
        Some(Err(_)) => Err(Refused::bad_request(format!("the header {name} is no text"))),
    };
    let mut new = sent.into_new(header("idempotency-key")?, header("traceparent")?);
    let (faculties, plugins) = (served.faculties()?, served.tenant.plugins().await?);
    new.max_attempts = new.max_attempts.or_else(|| Some(serve::attempts(&faculties, &plugins, &new.faculty)));
    let submitted = served.tenant.work_submit(new).await?;
    let (status, result, item) = match submitted.how {
        Submission::Created => (StatusCode::CREATED, "created", None),
        Submission::Merged { item } => (StatusCode::OK, "merged", Some(item.to_string())),
        Submission::Repeated => (StatusCode::OK, "repeated", None),
    };
    let work = submitted.work;
    let unroutable = match work.state {
        State::Queued => serve::route(&faculties, &plugins, &work.faculty).err().map(|why| why.to_string()),
        _ => None,
    };
    Ok((status, Json(Submitted { result: result.to_owned(), work: work.into(), item, unroutable })))
}

/// What to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Only those in this state.
    state: Option<String>,
    /// Only those of this faculty or kind, as it was asked for.
    faculty: Option<String>,
    /// Only children of this item.
    parent: Option<String>,
    /// At most so many, 1 to 1,000; 20 when it is not said.
    limit: Option<u32>,
    /// What `next` of the list before was.
    cursor: Option<String>,
}

/// List work, newest first.
#[utoipa::path(
    get, path = "/v1/work", tag = "work", params(Which),
    responses((status = 200, body = Items), (status = 400, body = Failure)),
)]
pub(super) async fn list(Context(served): Context<Shared>, Asked(which): Asked<Which>) -> Result<Json<Items>, Refused> {
    let limit = which.limit.unwrap_or(20);
    if !(1..=1_000).contains(&limit) {
        return Err(Refused::bad_request("limit is 1 to 1000"));
    }
    let id = |text: Option<String>| text.map(|text| text.parse::<WorkId>()).transpose();
    let filter = WorkFilter {
        state: which.state.map(|state| state.parse::<State>()).transpose()?,
        faculty: which.faculty,
        parent: id(which.parent)?,
        before: id(which.cursor)?,
        limit: Some(limit),
    };
    let found = served.tenant.works(filter).await?;
    let full = u32::try_from(found.len()).is_ok_and(|n| n == limit);
    let next = found.last().filter(|_| full).map(|last| last.id.to_string());
    Ok(Json(Items { work: found.into_iter().map(Item::from).collect(), next }))
}

/// Show an item, with its children and runs.
#[utoipa::path(
    get, path = "/v1/work/{id}", tag = "work", params(("id" = String, Path)),
    responses((status = 200, body = Shown), (status = 404, body = Failure)),
)]
pub(super) async fn show(Context(served): Context<Shared>, Named(id): Named<WorkId>) -> Result<Json<Shown>, Refused> {
    let work = served.tenant.work(id).await?;
    let unroutable = unroutable(&served, &work).await?;
    let children = WorkFilter { parent: Some(id), limit: Some(100), ..WorkFilter::default() };
    Ok(Json(Shown {
        unroutable,
        children: served.tenant.works(children).await?.into_iter().map(Item::from).collect(),
        foci: served.tenant.focuses(id).await?.into_iter().map(Focus::from).collect(),
        work: work.into(),
    }))
}

/// Why nothing here runs an item, where it is queued and nothing does.
pub(super) async fn unroutable(served: &Served, work: &Work) -> Result<Option<String>, Refused> {
    if work.state != State::Queued {
        return Ok(None);
    }
    let plugins = served.tenant.plugins().await?;
    Ok(serve::route(&served.faculties()?, &plugins, &work.faculty).err().map(|why| why.to_string()))
}

/// Cancel an item and its children. One that runs is cancelled by its host, within moments.
#[utoipa::path(
    post, path = "/v1/work/{id}/cancel", tag = "work", params(("id" = String, Path)),
    responses((status = 200, body = Item), (status = 404, body = Failure)),
)]
pub(super) async fn cancel(Context(served): Context<Shared>, Named(id): Named<WorkId>) -> Result<Json<Item>, Refused> {
    let work = served.tenant.work_cancel(ACTOR, id).await?;
    if let Some(plane) = served.plane.as_ref().filter(|_| work.cancelling) {
        plane.cancel(id);
    }
    Ok(Json(work.into()))
}

/// Put a failed or dead item back into the queue.
#[utoipa::path(
    post, path = "/v1/work/{id}/retry", tag = "work", params(("id" = String, Path)),
    responses(
        (status = 200, body = Item),
        (status = 404, body = Failure),
        (status = 409, description = "It is in another state", body = Failure),
    ),
)]
pub(super) async fn retry(Context(served): Context<Shared>, Named(id): Named<WorkId>) -> Result<Json<Item>, Refused> {
    Ok(Json(served.tenant.work_retry(ACTOR, id).await?.into()))
}

/// Which entries of a ledger to read.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Entries {
    /// Only this type: `plan`, `finding`, `decision`, `step`, `error`, `note`.
    #[serde(rename = "type")]
    entry_type: Option<String>,
    /// Only the last so many of them.
    last: Option<u32>,
}

/// The ledger of an item; of more than 1,000 entries the last ones.
#[utoipa::path(
    get, path = "/v1/work/{id}/ledger", tag = "work", params(("id" = String, Path), Entries),
    responses((status = 200, body = Ledger), (status = 404, body = Failure)),
)]
pub(super) async fn ledger(
    Context(served): Context<Shared>,
    Named(id): Named<WorkId>,
    Asked(entries): Asked<Entries>,
) -> Result<Json<Ledger>, Refused> {
    let entry_type = entries.entry_type.map(|text| text.parse::<EntryType>()).transpose()?;
    let found = served.tenant.ledger_read(id, Filter { entry_type, last_n: entries.last }).await?;
    Ok(Json(Ledger { entries: found.into_iter().map(Entry::from).collect() }))
}

/// The runs of an item.
#[utoipa::path(
    get, path = "/v1/work/{id}/foci", tag = "foci", params(("id" = String, Path)),
    responses((status = 200, body = Foci), (status = 404, body = Failure)),
)]
pub(super) async fn foci(Context(served): Context<Shared>, Named(id): Named<WorkId>) -> Result<Json<Foci>, Refused> {
    served.tenant.work(id).await?;
    Ok(Json(Foci { foci: served.tenant.focuses(id).await?.into_iter().map(Focus::from).collect() }))
}

/// One run, with what its journal comes to.
#[utoipa::path(
    get, path = "/v1/foci/{id}", tag = "foci", params(("id" = String, Path)),
    responses((status = 200, body = FocusShown), (status = 404, body = Failure)),
)]
pub(super) async fn focus(
    Context(served): Context<Shared>,
    Named(id): Named<FocusId>,
) -> Result<Json<FocusShown>, Refused> {
    let focus = served.tenant.focus(id).await?;
    let journal = Journal::from(served.tenant.journal_tally(id).await?);
    Ok(Json(FocusShown { focus: focus.into(), journal }))
}

/// The word for where a plugin stands.
pub(super) fn state_word(state: PluginState) -> &'static str {
    match state {
        PluginState::Serving => "serving",
        PluginState::AwaitingGrant => "awaiting-grant",
    }
}
