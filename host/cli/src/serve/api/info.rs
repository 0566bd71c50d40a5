//! What serves here: health, plugins, faculties, the whole.

use std::sync::atomic::Ordering;

use animus_core::work;
use axum::{extract::State, http::StatusCode};

use super::{
    Json, Refused, Shared,
    error::Failure,
    shapes::{Faculties, Health, Plugin, Plugins, Server, Status},
    work::state_word,
};
use crate::{cmd::described, fault::Fault, serve};

/// Whether this server lives. Asks for nothing, and needs no token.
#[utoipa::path(get, path = "/healthz", tag = "host", responses((status = 200, body = Health)))]
pub(super) async fn live() -> Json<Health> {
    Json(Health { status: "ok".into() })
}

/// Whether this server is ready: its store can be reached, and it takes work. Needs no token.
#[utoipa::path(
    get, path = "/readyz", tag = "host",
    responses((status = 200, body = Health), (status = 503, description = "Not ready, or no longer", body = Health)),
)]
pub(super) async fn ready(State(served): State<Shared>) -> (StatusCode, Json<Health>) {
    let status = if served.stop.is_cancelled() {
        "draining"
    } else if !served.ready.load(Ordering::Acquire) {
        "starting"
    } else if served.tenant.plugins_revision().await.is_err() {
        "the store cannot be reached"
    } else {
        return (StatusCode::OK, Json(Health { status: "ok".into() }));
    };
    (StatusCode::SERVICE_UNAVAILABLE, Json(Health { status: status.into() }))
}

/// The installed plugins.
#[utoipa::path(get, path = "/v1/plugins", tag = "host", responses((status = 200, body = Plugins), (status = 503, body = Failure)))]
pub(super) async fn plugins(State(served): State<Shared>) -> Result<Json<Plugins>, Refused> {
    let plugins = served.tenant.plugins().await?.into_iter().map(|plugin| Plugin {
        name: plugin.name.to_string(),
        version: plugin.version,
        generation: plugin.generation,
        state: state_word(plugin.state).to_owned(),
        is_faculty: plugin.is_faculty,
        tools: plugin.tools.into_iter().map(|tool| tool.name).collect(),
    });
    Ok(Json(Plugins { plugins: plugins.collect() }))
}

/// The faculties: those that are configured, and plugins that export one.
#[utoipa::path(get, path = "/v1/faculties", tag = "host", responses((status = 200, body = Faculties), (status = 503, body = Failure)))]
pub(super) async fn faculties(State(served): State<Shared>) -> Result<Json<Faculties>, Refused> {
    let plugins = served.tenant.plugins().await?;
    Ok(Json(Faculties { faculties: described(&served.faculties()?, &plugins) }))
}

/// How the whole stands: the queue, and who serves.
#[utoipa::path(get, path = "/v1/status", tag = "host", responses((status = 200, body = Status), (status = 503, body = Failure)))]
pub(super) async fn status(State(served): State<Shared>) -> Result<Json<Status>, Refused> {
    let tenant = &served.tenant;
    let (counts, plugins, faculties) = (tenant.work_counts().await?, tenant.plugins().await?, served.faculties()?);
    let why = |name: &String| Some((name.clone(), serve::route(&faculties, &plugins, name).err()?.to_string()));
    let ready = work::by_name(counts.ready);
    let unroutable = ready.keys().filter(|name| *name != work::OTHERS).filter_map(why).collect();
    let servers = serve::servers(&**tenant).await.map_err(Fault::into_error)?;
    let store = served.cx.store().await.map_err(Fault::into_error)?.check().await?;
    let plane = served.plane.as_ref();
    Ok(Json(Status {
        version: env!("CARGO_PKG_VERSION").into(),
        store: store.backend,
        takes_work: plane.is_some_and(|plane| !plane.is_draining()),
        draining: served.stop.is_cancelled(),
        running: plane.map_or(0, |plane| u64::try_from(plane.running()).unwrap_or(u64::MAX)),
        by_state: counts.by_state,
        ready,
        oldest_ready_ms: counts.oldest_ready_ms,
        unroutable,
        servers: servers
            .into_iter()
            .map(|server| Server {
                host: server.beat.host.to_string(),
                max_concurrent: server.beat.max_concurrent,
                running: server.beat.running,
                draining: server.beat.draining,
                age_ms: server.age_ms,
            })
            .collect(),
    }))
}
