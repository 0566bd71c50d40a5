//! One claimed item, from its claim to its end: settled or let go of, whatever happens.

use std::{panic::AssertUnwindSafe, sync::Arc};

use animus_core::{
    Error,
    event::{Unwatched, Watcher},
    faculties::Route,
    plugins::PluginSet,
    work::{Claimed, Settlement, State},
};
use futures::FutureExt as _;
use tokio_util::sync::CancellationToken;

use super::{ControlPlane, Kit, lock};
use crate::{RunContext, RunReport, Terms, run::run_claimed, slot::Slot};

/// What a focus is begun with.
pub(super) struct Assignment {
    pub(super) claimed: Claimed,
    pub(super) route: Route,
    pub(super) plugins: Arc<dyn PluginSet>,
    pub(super) slot: Slot,
    pub(super) cancel: CancellationToken,
    pub(super) leave: CancellationToken,
}

/// Runs it. The places are given back when this returns.
pub(super) async fn run(plane: Arc<ControlPlane>, assignment: Assignment) {
    let (work, lease) = (assignment.claimed.work.id, assignment.claimed.lease);
    let ended = AssertUnwindSafe(attempt(&plane, assignment)).catch_unwind().await;
    let failure = match ended {
        Ok(Ok(report)) => {
            if report.state == State::Running {
                lock(&plane.served).released += 1;
            }
            tracing::debug!(%work, focus = %lease.focus, state = %report.state, "a focus is over");
            None
        }
        Ok(Err(failure)) => Some(failure),
        Err(_) => {
            tracing::error!(%work, focus = %lease.focus, "the host panicked in a focus");
            let error = Error::Internal("the host failed in the middle of the work; its log has the cause".into());
            Some(Failure { error, retry_in_ms: None })
        }
    };
    if let Some(Failure { error, retry_in_ms }) = failure {
        let settlement = Settlement { error: Some(error), retry_in_ms, ..Settlement::default() };
        if let Err(error) = plane.tenant.focus_end(lease, State::Failed, settlement).await {
            tracing::warn!(%work, %error, "a focus that failed cannot be settled; its lease runs out by itself");
        }
    }
    lock(&plane.running).remove(&work);
}

/// Why a focus could not even begin, and when to try again.
struct Failure {
    error: Error,
    retry_in_ms: Option<u64>,
}

async fn attempt(plane: &ControlPlane, assignment: Assignment) -> Result<RunReport, Failure> {
    let Assignment { claimed, route, plugins, slot, cancel, leave } = assignment;
    let backoff = route.config.recover.backoff;
    let retry_in_ms = Some(backoff.wait_ms(claimed.work.attempts));
    let failed = |error| Failure { error, retry_in_ms };
    let plugins = match claimed.resumed {
        true => plane.outfit.plugins_of(&claimed.plugins).await.map_err(failed)?,
        false => plugins,
    };
    let kit = plane.outfit.kit(&claimed.work, claimed.lease.focus, &route).await.map_err(failed)?;
    let Kit { models, skills, hooks, budget, workspace, place } = kit;
    let channel = match plane.hub.open(claimed.work.id).await {
        Ok(channel) => Some(channel),
        Err(error) => {
            // The work itself needs none.
            tracing::warn!(work = %claimed.work.id, %error, "the work goes on without a stream of its events");
            None
        }
    };
    let watcher: Arc<dyn Watcher> = match &channel {
        Some(channel) => channel.clone(),
        None => Arc::new(Unwatched),
    };
    let cx = RunContext {
        tenant: plane.tenant.clone(),
        plugins,
        skills,
        hooks,
        models,
        watcher,
        budget,
        tools: None,
        workspace,
        host: plane.host.clone(),
        faculty: route.config,
        slot: Some(Arc::new(slot)),
        cancel,
    };
    let terms = Terms { backoff, lease_ms: plane.settings.lease_ms, leave, place };
    let report = AssertUnwindSafe(run_claimed(cx, claimed, terms)).catch_unwind().await;
    if let Some(channel) = channel {
        plane.hub.close(&channel).await;
    }
    report.map_err(|_| Failure {
        error: Error::Internal("the host failed in the middle of the work; its log has the cause".into()),
        retry_in_ms: None,
    })
}
