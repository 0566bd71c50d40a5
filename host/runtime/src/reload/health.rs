//! How a generation fares: a row of failures takes it out of service.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use animus_core::{
    event::{Event, Reload},
    id::PluginName,
    store::Tenant,
};
use tokio::sync::broadcast;

use crate::text;

/// So many failures in a row, in all processes together, take a generation out of service.
///
/// One may be bad luck with one input, and a second the retry of it; a third is the version.
pub const TOLERATED: u32 = 3;
/// How much of a failure's text goes into events and the audit log, in bytes.
const MAX_WHY: usize = 500;

/// How a call of a plugin fared, as far as that says something about the plugin's code.
///
/// Limits, cancellation and failures of the host say nothing: those are neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fared {
    /// It answered; a typed error, or the passing on of a refusal, is an answer.
    Answered,
    /// It trapped. Of a skill, whose code the interpreter keeps from trapping, an exception counts the same; see
    /// `Plugin::count_call`.
    Broke,
}

/// The record of one generation in this process. Its failures are counted in the store, so that calls which are
/// processes of their own add up.
pub(crate) struct Health {
    tenant: Arc<dyn Tenant>,
    name: PluginName,
    generation: u64,
    /// How many failures were seen here, plus one for those that other processes may have seen before.
    failures: AtomicU64,
    /// What `failures` was when the store was last told of a success. A success that finds both equal costs nothing.
    told: AtomicU64,
    reloads: broadcast::Sender<Event>,
}

impl Health {
    pub(crate) fn new(
        tenant: Arc<dyn Tenant>,
        name: PluginName,
        generation: u64,
        reloads: broadcast::Sender<Event>,
    ) -> Self {
        Self { tenant, name, generation, failures: AtomicU64::new(1), told: AtomicU64::new(0), reloads }
    }

    /// Counts a success: the row of failures has ended. Costs two loads while there is none; the first success of a
    /// process asks the store.
    pub(crate) async fn count_success(&self) {
        let failures = self.failures.load(Ordering::SeqCst);
        if self.told.load(Ordering::SeqCst) == failures {
            return;
        }
        match self.tenant.plugin_worked(&self.name, self.generation).await {
            Ok(()) => self.told.store(failures, Ordering::SeqCst),
            Err(error) => {
                tracing::warn!(tenant = %self.tenant.id(), plugin = %self.name, %error, "success not counted")
            }
        }
    }

    /// Counts a failure. The one that makes the row too long takes the generation out of service, if it serves and there
    /// is an earlier one that was not itself taken out; then the generation that serves instead is returned. The call
    /// that failed has failed all the same, and snapshots that exist keep what they have.
    pub(crate) async fn count_failure(&self, why: &str) -> Option<u64> {
        self.failures.fetch_add(1, Ordering::SeqCst);
        match self.retire(why).await {
            Ok(goal) => goal,
            Err(error) => {
                tracing::error!(tenant = %self.tenant.id(), plugin = %self.name, %error, "failure not counted");
                None
            }
        }
    }

    async fn retire(&self, why: &str) -> animus_core::Result<Option<u64>> {
        let Self { tenant, name, generation, .. } = self;
        let failures = tenant.plugin_failed(name, *generation).await?;
        if failures < TOLERATED {
            return Ok(None);
        }
        let last = text::cut(why.lines().next().unwrap_or_default().to_owned(), MAX_WHY);
        let why = format!("it failed {failures} times in a row, at last so: {last}");
        let Some(plugin) = tenant.plugin_retire("host", name, *generation, &why).await? else {
            if failures == TOLERATED {
                tracing::warn!(tenant = %tenant.id(), plugin = %name, generation, why, "nothing to roll back to");
            }
            return Ok(None);
        };
        let goal = plugin.generation;
        tracing::warn!(tenant = %tenant.id(), plugin = %name, generation, goal, why, "rolled back");
        // Nobody may be listening.
        let _ = self.reloads.send(Event::Reload {
            plugin: Some(name.to_string()),
            generation: Some(goal),
            kind: Reload::RolledBack,
            text: format!("generation {generation} is out of service: {why}; generation {goal} serves again"),
        });
        Ok(Some(goal))
    }
}
