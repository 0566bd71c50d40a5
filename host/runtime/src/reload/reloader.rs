//! From a changed source to the generation that serves, or to the reason why the old one goes on.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use animus_core::{
    Error, Result,
    event::{Event, Reload},
    grant::Grant,
    id::{Digest, PluginName},
    manifest::Manifest,
    package,
    plugins::PluginSet as _,
    store::{Plugin, PluginState, Tenant},
    tool::Tool,
};
use async_trait::async_trait;

use crate::{Artifacts, Prepared, Registry};

/// Who makes a prepared plugin the next generation, and decides what that is granted.
#[async_trait]
pub trait Commit: Send + Sync {
    /// Installs what was prepared from `wasm`. `there` is what is installed under its name so far. What it does not
    /// decide stays: an upgrade keeps its grant, and something new waits for one.
    ///
    /// # Errors
    /// What the store fails with, or the reason not to install it.
    async fn commit(&self, wasm: Arc<[u8]>, prepared: Prepared, source: &str, there: Option<&Plugin>)
    -> Result<Plugin>;
}

/// What came of one load.
#[derive(Clone, Debug)]
pub struct Reloaded {
    /// Where it was loaded from.
    pub source: String,
    /// What came of it.
    pub kind: Reload,
    /// The plugin, where the load came far enough to know.
    pub name: Option<PluginName>,
    /// What served before, and goes on serving where the load failed.
    pub before: Option<Plugin>,
    /// What is installed now; none when the load failed.
    pub plugin: Option<Plugin>,
    /// What is no mistake and yet worth a look.
    pub notes: Vec<String>,
    /// Why it failed.
    pub error: Option<Error>,
    /// From the call of [`Reloader::load`] to the end of it.
    pub elapsed: Duration,
}

impl Reloaded {
    /// The same as an event.
    #[must_use]
    pub fn event(&self) -> Event {
        let serving = self.plugin.as_ref().or(self.before.as_ref());
        let generation = serving.map(|plugin| plugin.generation);
        let text = match (self.kind, &self.error, generation) {
            (_, Some(error), Some(old)) => format!("{} does not load, so generation {old} stays: {error}", self.source),
            (_, Some(error), None) => format!("{} does not load: {error}", self.source),
            (Reload::Unchanged, None, _) => format!("{} holds what is installed already", self.source),
            (Reload::AwaitingGrant, None, _) => format!("{} is installed, and waits for a grant", self.source),
            (_, None, _) => format!("{} serves", self.source),
        };
        Event::Reload { plugin: self.name.as_ref().map(PluginName::to_string), generation, kind: self.kind, text }
    }

    /// The tools that the new generation has and the old one had not, the other way round, and those that both have and
    /// that differ in anything a caller sees; full names. All of its tools are new when nothing was there before.
    #[must_use]
    pub fn tools(&self) -> [Vec<String>; 3] {
        let tools = |plugin: &Option<Plugin>| plugin.as_ref().map_or(Vec::new(), |plugin| plugin.tools.clone());
        let (before, after) = (tools(&self.before), tools(&self.plugin));
        let names = |tools: Vec<&Tool>| tools.into_iter().map(|tool| tool.name.clone()).collect();
        let has = |tools: &[Tool], name: &str| tools.iter().any(|tool| tool.name == name);
        [
            names(after.iter().filter(|tool| !has(&before, &tool.name)).collect()),
            names(before.iter().filter(|tool| !has(&after, &tool.name)).collect()),
            names(after.iter().filter(|tool| has(&before, &tool.name) && !before.contains(tool)).collect()),
        ]
    }
}

/// Loads sources, one after another, for one tenant: whoever holds it loads from one task.
///
/// What fails leaves everything as it was, is kept as the fault of its source ([`animus_core::store::PluginFault`]), and is
/// told like a success to the subscribers of the registry.
pub struct Reloader<'a> {
    registry: &'a Registry,
    tenant: Arc<dyn Tenant>,
    ceiling: Grant,
    commit: &'a dyn Commit,
}

/// What a load came to, before anybody was told.
struct Loaded {
    kind: Reload,
    before: Option<Plugin>,
    plugin: Plugin,
    notes: Vec<String>,
}

impl<'a> Reloader<'a> {
    /// Loads for `tenant` into `registry`, whose snapshots have this ceiling.
    #[must_use]
    pub fn new(registry: &'a Registry, tenant: Arc<dyn Tenant>, ceiling: Grant, commit: &'a dyn Commit) -> Self {
        Self { registry, tenant, ceiling, commit }
    }

    pub(super) fn artifacts(&self) -> &Arc<Artifacts> {
        self.registry.artifacts()
    }

    /// Loads what `read` yields, a component with its manifest inside: checked, compiled and tried as at installation,
    /// committed, and published to the next snapshot. Bytes that serve already are left alone. `expected` is the name
    /// that the plugin must have, where the source is named after it.
    pub async fn load(
        &self,
        source: &str,
        expected: Option<&PluginName>,
        read: impl Future<Output = Result<Vec<u8>>>,
    ) -> Reloaded {
        self.load_unless(source, expected, read, false).await
    }

    /// As [`Reloader::load`], for what was there before anybody watched. Bytes of *any* generation that is kept are left
    /// alone: a rollback, the operator's or the host's own, outlives a restart.
    pub async fn catch_up(
        &self,
        source: &str,
        expected: Option<&PluginName>,
        read: impl Future<Output = Result<Vec<u8>>>,
    ) -> Reloaded {
        self.load_unless(source, expected, read, true).await
    }

    async fn load_unless(
        &self,
        source: &str,
        expected: Option<&PluginName>,
        read: impl Future<Output = Result<Vec<u8>>>,
        known: bool,
    ) -> Reloaded {
        let begun = Instant::now();
        let mut name = expected.cloned();
        let loaded = match read.await {
            Ok(wasm) => self.try_load(source, expected, wasm.into(), known, &mut name).await,
            Err(error) => Err(error),
        };
        let source = source.to_owned();
        let reloaded = match loaded {
            Ok(Loaded { kind, before, plugin, notes }) => {
                self.kept(&source, self.tenant.plugin_fault_clear(&source).await);
                let (plugin, error) = (Some(plugin), None);
                Reloaded { source, kind, name, before, plugin, notes, error, elapsed: begun.elapsed() }
            }
            Err(error) => {
                let before = match &name {
                    Some(name) => self.tenant.plugin(name).await.ok(),
                    None => None,
                };
                let fault = self.tenant.plugin_fault(&source, name.as_ref(), &error.to_string()).await;
                self.kept(&source, fault);
                let (kind, notes, elapsed) = (Reload::Failed, Vec::new(), begun.elapsed());
                Reloaded { source, kind, name, before, plugin: None, notes, error: Some(error), elapsed }
            }
        };
        if reloaded.kind != Reload::Unchanged {
            self.registry.tell(reloaded.event());
        }
        reloaded
    }

    async fn try_load(
        &self,
        source: &str,
        expected: Option<&PluginName>,
        wasm: Arc<[u8]>,
        known: bool,
        name: &mut Option<PluginName>,
    ) -> Result<Loaded> {
        // A manifest that is missing or wrong is `prepare`'s to tell, together with everything else.
        let manifest = package::manifest_of(&wasm).ok().flatten().and_then(|text| Manifest::parse(text).ok());
        let mut before = None;
        if let Some(manifest) = manifest {
            if let Some(expected) = expected.filter(|expected| **expected != manifest.name) {
                return Err(Error::Invalid(format!(
                    "this is the plugin '{}', and its source is named for '{expected}'; rename the one or the other",
                    manifest.name
                )));
            }
            before = match self.tenant.plugin(&manifest.name).await {
                Ok(plugin) => Some(plugin),
                Err(Error::NotFound(_)) => None,
                Err(error) => return Err(error),
            };
            *name = Some(manifest.name);
        }
        if let Some(there) = &before {
            let digest = Digest::of(&wasm);
            let is_kept = known && {
                let generations = self.tenant.plugin_generations(&there.name).await?;
                generations.iter().any(|generation| generation.digest == digest)
            };
            if is_kept || there.digest == digest {
                let plugin = there.clone();
                return Ok(Loaded { kind: Reload::Unchanged, before, plugin, notes: Vec::new() });
            }
        }
        let prepared = self.registry.prepare(wasm.clone()).await?;
        let notes = prepared.inspection.notes.clone();
        let plugin = self.commit.commit(wasm, prepared, source, before.as_ref()).await?;
        *name = Some(plugin.name.clone());
        let snapshot = self.registry.refresh(&self.tenant, &self.ceiling).await?;
        let kind = match plugin.state {
            PluginState::Serving => Reload::Serving,
            PluginState::AwaitingGrant => Reload::AwaitingGrant,
        };
        // So that its first caller does not wait for that. It was committed all the same: an error shows at that call.
        if kind == Reload::Serving
            && let Err(error) = snapshot.warm(plugin.name.as_str()).await
        {
            tracing::warn!(tenant = %self.tenant.id(), plugin = %plugin.name, %error, "loaded, and does not link");
        }
        Ok(Loaded { kind, before, plugin, notes })
    }

    /// Forgets the fault of a source that is gone. What was installed from it stays.
    pub async fn gone(&self, source: &str) {
        self.kept(source, self.tenant.plugin_fault_clear(source).await);
    }

    /// Forgets the faults of sources in `folder` that are gone.
    pub async fn tidy(&self, folder: &Path) {
        let faults = match self.tenant.plugin_faults().await {
            Ok(faults) => faults,
            Err(error) => return tracing::error!(tenant = %self.tenant.id(), %error, "faults cannot be read"),
        };
        for fault in faults {
            let source = Path::new(&fault.source);
            if source.starts_with(folder) && !source.exists() {
                self.gone(&fault.source).await;
            }
        }
    }

    /// The listing of faults lags behind when the store fails; the load itself is told all the same.
    fn kept(&self, source: &str, result: Result<()>) {
        if let Err(error) = result {
            tracing::error!(tenant = %self.tenant.id(), source, %error, "the fault of a source cannot be kept");
        }
    }
}
