//! The HTTP interface: what it offers, and the document that says so.

mod error;
mod info;
mod json;
mod metrics;
mod shapes;
mod stream;
mod work;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use animus_agent::{control::ControlPlane, events::Hub};
use animus_core::{faculties::Faculties, store::Tenant};
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi as _;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) use self::error::Refused;
use self::json::Json;
use super::auth::{self, Auth};
use crate::{
    context::Context,
    fault::{During as _, Fault, Result},
};

/// The largest body of a request, in bytes: an instruction and parameters of the largest size, as JSON.
const BODY: usize = 1 << 20;
/// How long an answer may take to begin. Streams go on for as long as they last.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the handlers work with.
pub(crate) struct Served {
    cx: Context,
    tenant: Arc<dyn Tenant>,
    hub: Arc<Hub>,
    /// None where this server takes no work.
    plane: Option<Arc<ControlPlane>>,
    /// The folder of work that has none of its own, and of the project.
    workspace: PathBuf,
    /// It takes no more work.
    stop: CancellationToken,
    /// What ran has ended or was let go of, so that nothing more is told here.
    over: CancellationToken,
    ready: AtomicBool,
}

/// The state of every handler.
type Shared = Arc<Served>;

impl Served {
    pub(crate) fn new(
        cx: Context,
        tenant: Arc<dyn Tenant>,
        hub: Arc<Hub>,
        plane: Option<Arc<ControlPlane>>,
        workspace: PathBuf,
        stop: CancellationToken,
    ) -> Self {
        let over = CancellationToken::new();
        Self { cx, tenant, hub, plane, workspace, stop, over, ready: AtomicBool::new(false) }
    }

    /// Ends what waits for more to happen here.
    pub(crate) fn is_over(&self) {
        self.over.cancel();
    }

    /// From now on it does what it is for.
    pub(crate) fn is_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    fn faculties(&self) -> Result<Faculties, Refused> {
        Ok(super::faculties(&self.cx, &self.workspace).map_err(Fault::into_error)?)
    }
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "Animus", description = "Work for faculties: submit it, watch it, read what came of it"),
    tags(
        (name = "work", description = "The queue"),
        (name = "foci", description = "Runs of work items"),
        (name = "host", description = "What serves here"),
    )
)]
struct Document;

fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(info::live))
        .routes(routes!(info::ready))
        .routes(routes!(work::submit, work::list))
        .routes(routes!(work::show))
        .routes(routes!(work::cancel))
        .routes(routes!(work::retry))
        .routes(routes!(work::ledger))
        .routes(routes!(work::foci))
        .routes(routes!(work::focus))
        .routes(routes!(stream::events))
        .routes(routes!(info::plugins))
        .routes(routes!(info::faculties))
        .routes(routes!(info::status))
        .routes(routes!(metrics::metrics))
}

/// The OpenAPI document, generated from the code.
pub(crate) fn document() -> Result<String> {
    let (_, document) = routes().split_for_parts();
    document.to_pretty_json().during(|| "write the OpenAPI document".into())
}

/// Everything that is offered, behind its guards.
pub(crate) fn router(served: Shared, auth: Auth) -> Router {
    let (router, document) = routes().split_for_parts();
    let document = document.to_json().unwrap_or_default() + "\n";
    let shown = move || async move { ([(axum::http::header::CONTENT_TYPE, "application/json")], document) };
    router
        .route("/openapi.json", axum::routing::get(shown))
        .fallback(|| async { Refused::not_found("there is no such path; see which there are: /openapi.json") })
        .method_not_allowed_fallback(|| async { Refused::method("the path takes no such method; see /openapi.json") })
        .with_state(served)
        .layer(DefaultBodyLimit::max(BODY))
        .layer(middleware::from_fn(in_time))
        .layer(middleware::from_fn_with_state(auth, auth::guard))
}

async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(PATIENCE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Refused::timeout("the answer took too long to begin").into_response(),
    }
}
