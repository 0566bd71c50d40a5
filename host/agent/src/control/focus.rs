//! One claimed item, from its claim to its end: settled or let go of, whatever happens.

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use animus_core::{
    Error, Result,
    event::{Unwatched, Watcher},
    faculties::Route,
    plugins::PluginSet,
    work::{Backoff, Claimed, MAX_TAKEOVERS, Settlement, State},
};
use futures::FutureExt as _;
use tokio_util::sync::CancellationToken;

use super::{ControlPlane, Kit, lock};
use crate::{RunContext, RunReport, Terms, judge::may_mend, lease::Keeper, run::run_kept, slot::Slot};

/// How long a host leaves a focus to others that it could not go on with, the longer the more hosts it has had.
const LEFT_ALONE: Backoff = Backoff { first_ms: 30_000, most_ms: 3_600_000 };

/// What a focus is begun with.
pub(super) struct Assignment {
    pub(super) claimed: Claimed,
    pub(super) route: Route,
    pub(super) plugins: Arc<dyn PluginSet>,
    pub(super) slot: Slot,
    pub(super) cancel: CancellationToken,
    pub(super) leave: CancellationToken,
    /// Cancels `cancel`.
    pub(super) keeper: Keeper,
}

/// Runs it. The places are given back when this returns.
pub(super) async fn run(plane: Arc<ControlPlane>, assignment: Assignment) {
    let (claimed, backoff) = (assignment.claimed.clone(), assignment.route.config.recover.backoff);
    let (work, lease) = (claimed.work.id, claimed.lease);
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
        Err(_) => Some(Failure::Broken),
    };
    if let Some(failure) = failure
        && let Err(error) = give_up(&plane, &claimed, backoff, failure).await
    {
        tracing::warn!(%work, %error, "a focus that failed cannot be settled; its lease runs out by itself");
    }
    let mut running = lock(&plane.running);
    // This host may have taken it over from itself.
    if running.get(&work).is_some_and(|(newest, _)| *newest == lease) {
        running.remove(&work);
    }
}

/// Why a focus has no report.
enum Failure {
    /// This host cannot begin it, or go on with it.
    Here(Error),
    /// Nobody can go on with it.
    Anywhere(Error),
    /// This host stops.
    Left,
    /// Another host has it.
    Lost,
    /// The host panicked in it.
    Broken,
}

async fn give_up(plane: &ControlPlane, claimed: &Claimed, backoff: Backoff, failure: Failure) -> Result<()> {
    let Claimed { work, lease, resumed, .. } = claimed;
    let (error, retry_in_ms) = match failure {
        Failure::Lost => return Ok(()),
        Failure::Left => {
            lock(&plane.served).released += 1;
            return plane.tenant.focus_release(*lease).await;
        }
        // What its journal has must not be thrown away because of this host. The lease runs out by itself, so that it counts
        // as a host that the focus has lost: what no host can go on with comes to an end.
        Failure::Here(error) if *resumed && work.takeovers < MAX_TAKEOVERS => {
            let wait = Duration::from_millis(LEFT_ALONE.wait_ms(work.takeovers));
            tracing::warn!(
                work = %work.id, focus = %lease.focus, %error,
                "this host cannot go on with a focus of another, and leaves it to others for {} s", wait.as_secs()
            );
            lock(&plane.left_alone).insert(work.id, Instant::now() + wait);
            return Ok(());
        }
        Failure::Here(error) => {
            let again = !resumed && may_mend(Some(&error));
            (error, again.then(|| backoff.wait_ms(work.attempts)))
        }
        Failure::Anywhere(error) => (error, None),
        Failure::Broken => {
            tracing::error!(work = %work.id, focus = %lease.focus, "the host panicked in a focus");
            (Error::Internal("the host failed in the middle of the work; its log has the cause".into()), None)
        }
    };
    let settlement = Settlement { error: Some(error), retry_in_ms, ..Settlement::default() };
    plane.tenant.focus_end(*lease, State::Failed, settlement).await.map(drop)
}

async fn attempt(plane: &ControlPlane, assignment: Assignment) -> Result<RunReport, Failure> {
    let Assignment { claimed, route, plugins, slot, cancel, leave, keeper } = assignment;
    let prepared = tokio::select! {
        biased;
        () = keeper.lost() => return Err(Failure::Lost),
        () = leave.cancelled() => return Err(Failure::Left),
        prepared = prepare(plane, &claimed, &route, plugins) => prepared?,
    };
    let (plugins, Kit { models, skills, hooks, budget, workspace, place }) = prepared;
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
    let backoff = cx.faculty.recover.backoff;
    let terms = Terms { backoff, lease_ms: plane.settings.lease_ms, leave, place };
    let report = AssertUnwindSafe(run_kept(cx, claimed, terms, keeper)).catch_unwind().await;
    if let Some(channel) = channel {
        plane.hub.close(&channel).await;
    }
    report.map_err(|_| Failure::Broken)
}

/// The plugins and the kit of a focus. Where it worked before, they are those of before.
async fn prepare(
    plane: &ControlPlane,
    claimed: &Claimed,
    route: &Route,
    plugins: Arc<dyn PluginSet>,
) -> Result<(Arc<dyn PluginSet>, Kit), Failure> {
    let plugins = match claimed.resumed {
        true => plane.outfit.plugins_of(&claimed.plugins).await.map_err(|error| match error {
            // The store has not what it began with any more.
            Error::NotFound(_) | Error::Conflict(_) | Error::Invalid(_) => Failure::Anywhere(error),
            error => Failure::Here(error),
        })?,
        false => plugins,
    };
    let kit = plane.outfit.kit(&claimed.work, claimed.lease.focus, route).await.map_err(Failure::Here)?;
    Ok((plugins, kit))
}
