//! Takes over what another process has changed.

use std::{sync::Arc, time::Duration};

use animus_core::{
    Result,
    event::{Event, Reload},
    grant::Grant,
    plugins::PluginSet as _,
    store::Tenant,
};
use tokio_util::sync::CancellationToken;

use crate::{Registry, Snapshot};

/// How often the store is asked. One question is one read of one row.
const EVERY: Duration = Duration::from_millis(200);

/// Keeps a registry's snapshot of one tenant at what the store says, whoever changes that.
pub struct Follower<'a> {
    registry: &'a Registry,
    tenant: Arc<dyn Tenant>,
    ceiling: Grant,
}

impl<'a> Follower<'a> {
    /// Follows `tenant` for `registry`, under the ceiling that its snapshots have.
    #[must_use]
    pub fn new(registry: &'a Registry, tenant: Arc<dyn Tenant>, ceiling: Grant) -> Self {
        Self { registry, tenant, ceiling }
    }

    /// Asks the store every 200 ms until cancelled. A store that does not answer is logged and asked again: what serves
    /// goes on serving.
    pub async fn run(&self, cancel: &CancellationToken) {
        let mut failing = false;
        while cancel.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
            match self.poll().await {
                Ok(_) => failing = false,
                // Once for each outage, not five times a second.
                Err(error) if !failing => {
                    failing = true;
                    tracing::error!(tenant = %self.tenant.id(), %error, "changes of plugins cannot be followed");
                }
                Err(_) => {}
            }
        }
    }

    /// Asks the store once, and publishes a new snapshot if anything has changed since the registry's last one. Tells the
    /// registry's subscribers what serves now, and returns the same.
    ///
    /// # Errors
    /// What the store fails with.
    pub async fn poll(&self) -> Result<Vec<Event>> {
        let before = self.registry.snapshot(self.tenant.id());
        let after = self.registry.refresh(&self.tenant, &self.ceiling).await?;
        let events = match &before {
            Some(before) if !Arc::ptr_eq(before, &after) => differences(before, &after),
            // The first snapshot is no change of anything.
            _ => Vec::new(),
        };
        for event in &events {
            self.registry.tell(event.clone());
        }
        Ok(events)
    }
}

/// What serves otherwise in `after` than in `before`.
fn differences(before: &Snapshot, after: &Snapshot) -> Vec<Event> {
    let changed = after.plugins().iter().filter_map(|now| {
        let then = before.plugin(now.name.as_str());
        let text = match then {
            Some(then) if Arc::ptr_eq(then, now) => return None,
            Some(then) if then.generation == now.generation => "its grant has changed".to_owned(),
            Some(then) => format!("generation {} serves in place of {}", now.generation, then.generation),
            None => format!("generation {} serves", now.generation),
        };
        Some((now.name.to_string(), Some(now.generation), Reload::Serving, text))
    });
    let gone = before.plugins().iter().filter(|then| after.plugin(then.name.as_str()).is_none());
    let gone = gone.map(|then| (then.name.to_string(), None, Reload::Removed, "it no longer serves".to_owned()));
    let all = changed.chain(gone);
    all.map(|(plugin, generation, kind, text)| Event::Reload { plugin: Some(plugin), generation, kind, text }).collect()
}
