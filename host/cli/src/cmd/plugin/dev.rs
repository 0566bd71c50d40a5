//! `animus plugin dev`: the author's loop. Every save is built and swapped in; without a folder, what is put into the
//! drop folder is.

mod call;
mod told;

use std::{
    cell::Cell,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use animus_core::{
    Error,
    event::{Event, Reload},
    grant::Grant,
    id::PluginName,
    manifest::Manifest,
    store::{Plugin, Tenant},
};
use animus_runtime::{
    Prepared, Registry,
    reload::{Commit, DropFolder, Follower, Pace, Reloaded, Reloader, Scope, Sources, Watcher},
};
use async_trait::async_trait;
use clap::Args;
use tokio::sync::broadcast::Receiver;
use tokio_util::sync::CancellationToken;

use self::{
    call::{Call, Calls},
    told::Told,
};
use super::{
    beyond,
    build::{self, Messages},
    install::ask,
    source,
};
use crate::{
    cmd::OPERATOR,
    context::Context,
    fault::{Exit, Fault, Result},
    interrupt,
    watch::Spinner,
};

/// How often the store is asked what other processes changed.
const FOLLOW: Duration = Duration::from_millis(200);

#[derive(Args)]
pub(crate) struct Dev {
    /// The plugin's folder; without one, the folder `plugins` in the home is watched
    path: Option<PathBuf>,
    /// A tool to call after every reload: 'TOOL' or 'TOOL {"some": "arguments"}'; may be repeated
    #[arg(long, value_name = "CALL")]
    call: Vec<Call>,
    /// Grant all that the manifest requests, at every reload
    #[arg(long, requires = "path")]
    grant_requested: bool,
    /// Load and call once, and exit; not with 0 when a load or a call failed
    #[arg(long)]
    once: bool,
    /// The folder that plugins with a grant for `$workspace` see in calls [default: the current folder]
    #[arg(long, value_name = "FOLDER")]
    workspace: Option<PathBuf>,
}

impl Dev {
    pub(super) async fn run(self, cx: &Context) -> Result<Exit> {
        let cancel = interrupt::listen(&cx.out)?;
        let workspace = cx.workspace(self.workspace.as_deref())?;
        let config = cx.config(&workspace)?;
        let ceiling = config.ceiling();
        // The first snapshot: what other processes change is seen against it.
        let tenant = cx.host(&ceiling).await?.tenant;
        let registry = cx.registry().await?;
        let told = Told::new(&cx.out);
        let calls = Calls::new(cx, self.call, config, workspace, cancel.clone());
        let events = registry.reloads();
        let desk = Desk { cx, tenant, registry, ceiling, told, calls, events, cancel, once: self.once };
        match &self.path {
            Some(path) => desk.source(path, self.grant_requested).await,
            None => desk.drop_folder().await,
        }
    }
}

/// Where the author works: what both loops need.
struct Desk<'a> {
    cx: &'a Context,
    tenant: Arc<dyn Tenant>,
    registry: &'a Registry,
    ceiling: Grant,
    told: Told<'a>,
    calls: Calls<'a>,
    events: Receiver<Event>,
    cancel: CancellationToken,
    once: bool,
}

/// What ends a wait.
enum Woken<T> {
    Changed(T),
    Cancelled,
}

impl Desk<'_> {
    /// Builds and reloads the plugin in a folder.
    async fn source(mut self, path: &Path, grant_requested: bool) -> Result<Exit> {
        let missing = |e| Fault::from(Error::NotFound(format!("could not find {}: {e}", path.display())));
        let folder = path.canonicalize().map_err(missing)?;
        if !folder.join("plugin.toml").is_file() {
            // In the wrong folder there is nothing to wait for.
            build::read_manifest(&folder)?;
        }
        let author = Author { cx: self.cx, grant_requested, declined: Mutex::default() };
        let reloader = Reloader::new(self.registry, self.tenant.clone(), self.ceiling.clone(), &author);
        // Before the first build, so that no save is lost.
        let mut watcher = match self.once {
            true => None,
            false => Some(Watcher::start(&folder, Scope::Source, Pace::default())?),
        };
        self.told.watching(&folder, self.once);
        let (mut first, mut name) = (true, None);
        loop {
            let cancel = self.cancel.clone();
            // What does not build is still the plugin that its manifest names, or named before that broke.
            name = build::read_manifest(&folder).ok().map(|(_, manifest)| manifest.name).or(name);
            let build = self.build(&reloader, &folder, name.as_ref(), grant_requested);
            let Some((reloaded, built)) = cancel.run_until_cancelled(build).await else {
                return Ok(if self.once { Exit::Cancelled } else { Exit::Done });
            };
            let exit = self.after(reloaded, Some(built), first).await?;
            let Some(watcher) = watcher.as_mut() else { return Ok(exit) };
            match self.wait(watcher.next()).await? {
                Woken::Changed(_) => first = false,
                Woken::Cancelled => return Ok(Exit::Done),
            }
        }
    }

    async fn build(
        &self,
        reloader: &Reloader<'_>,
        folder: &Path,
        name: Option<&PluginName>,
        grant: bool,
    ) -> (Result<Reloaded>, Duration) {
        self.told.building();
        let (begun, built) = (Instant::now(), Cell::new(Duration::ZERO));
        let read = async {
            let spinner = Spinner::start(&self.cx.out, "building");
            let packed = build::build(self.cx, folder, Messages::Kept).await;
            drop(spinner);
            built.set(begun.elapsed());
            packed.map(|packed| packed.bytes).map_err(Fault::into_error)
        };
        let mut reloaded = reloader.load(&folder.display().to_string(), name, read).await;
        let granted = match grant {
            true => self.grant(&mut reloaded).await,
            false => Ok(()),
        };
        (granted.map(|()| reloaded), built.get())
    }

    /// Grants what is requested to what was installed before it was to be granted all.
    async fn grant(&self, reloaded: &mut Reloaded) -> Result {
        let Some(there) = reloaded.plugin.as_mut().filter(|_| reloaded.kind == Reload::Unchanged) else {
            return Ok(());
        };
        let request = Manifest::parse(&there.manifest)?.request;
        if there.granted.is_some() && beyond(&request, there.granted.as_ref()).is_empty() {
            return Ok(());
        }
        *there = self.tenant.plugin_grant(OPERATOR, &there.name, Some(request)).await?;
        self.registry.refresh(&self.tenant, &self.ceiling).await?;
        reloaded.kind = Reload::Serving;
        Ok(())
    }

    /// Installs and reloads what is put into the drop folder.
    async fn drop_folder(mut self) -> Result<Exit> {
        let folder = self.cx.home.drop_folder()?;
        let dropped = Dropped { cx: self.cx };
        let reloader = Reloader::new(self.registry, self.tenant.clone(), self.ceiling.clone(), &dropped);
        let mut drops = DropFolder::start(&folder, Pace::default(), reloader, &dropped)?;
        self.told.watching(drops.root(), self.once);
        let mut exit = Exit::Done;
        for reloaded in drops.catch_up().await {
            let failed = self.after(Ok(reloaded), None, self.once).await?;
            exit = if exit == Exit::Done { failed } else { exit };
        }
        if self.once {
            return Ok(exit);
        }
        loop {
            let changed = match self.wait(drops.next()).await? {
                Woken::Changed(changed) => changed,
                Woken::Cancelled => return Ok(Exit::Done),
            };
            for plugin in changed {
                let reloaded = drops.load(&plugin).await;
                if let Some(reloaded) = reloaded.filter(|reloaded| reloaded.kind != Reload::Unchanged) {
                    self.after(Ok(reloaded), None, false).await?;
                }
            }
        }
    }

    /// Tells what came of a load, and makes the calls, after one that changed nothing only with `always`. Returns the exit
    /// code that the whole comes to.
    async fn after(&mut self, reloaded: Result<Reloaded>, built: Option<Duration>, always: bool) -> Result<Exit> {
        let reloaded = reloaded?;
        self.told.reloaded(&reloaded, built)?;
        let mut exit = reloaded.error.clone().map_or(Exit::Done, |error| Fault::from(error).exit());
        let swapped = !matches!(reloaded.kind, Reload::Unchanged | Reload::Failed);
        if let Some(plugin) = reloaded.plugin.filter(|_| swapped || always) {
            // In the drop folder, a call is made when its own plugin was reloaded.
            let called = self.calls.make(&self.told, &plugin.name, built.is_some()).await;
            exit = if exit == Exit::Done { called } else { exit };
        }
        self.rolled_back();
        Ok(exit)
    }

    /// Waits for a change of sources, and meanwhile follows what other processes change.
    async fn wait<T>(&mut self, changed: impl Future<Output = animus_core::Result<T>>) -> Result<Woken<T>> {
        let follower = Follower::new(self.registry, self.tenant.clone(), self.ceiling.clone());
        let mut changed = std::pin::pin!(changed);
        loop {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Ok(Woken::Cancelled),
                changed = &mut changed => return Ok(Woken::Changed(changed?)),
                () = tokio::time::sleep(FOLLOW) => match follower.poll().await {
                    Ok(events) => events.iter().for_each(|event| self.told.event(event)),
                    // What serves goes on; the next question is asked all the same.
                    Err(error) => tracing::error!(%error, "changes of plugins cannot be followed"),
                }
            }
        }
    }

    /// What the calls have brought about. All else was told where it happened.
    fn rolled_back(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            if matches!(event, Event::Reload { kind: Reload::RolledBack, .. }) {
                self.told.event(&event);
            }
        }
    }
}

/// Installs what an author builds: asks for a grant as `plugin install` does, or grants all.
struct Author<'a> {
    cx: &'a Context,
    grant_requested: bool,
    /// What the author was asked for and did not grant: it is not asked for again at every save.
    declined: Mutex<Vec<String>>,
}

#[async_trait]
impl Commit for Author<'_> {
    async fn commit(
        &self,
        wasm: Arc<[u8]>,
        prepared: Prepared,
        source: &str,
        there: Option<&Plugin>,
    ) -> animus_core::Result<Plugin> {
        let request = &prepared.inspection.manifest.request;
        let lacking = beyond(request, there.and_then(|plugin| plugin.granted.as_ref()));
        let declined = || self.declined.lock().unwrap_or_else(PoisonError::into_inner);
        let grant = if self.grant_requested {
            Some(request.clone())
        } else if !lacking.is_empty() && *declined() == lacking {
            None
        } else {
            let grant = ask(self.cx, &prepared, there).map_err(Fault::into_error)?;
            *declined() = if grant.is_none() { lacking } else { Vec::new() };
            grant
        };
        self.cx.commit(OPERATOR, wasm, prepared, source.into(), grant).await.map_err(Fault::into_error)
    }
}

/// Installs what is put into the drop folder: nobody is asked, so what is new waits for its grant.
pub(crate) struct Dropped<'a> {
    pub(crate) cx: &'a Context,
}

#[async_trait]
impl Commit for Dropped<'_> {
    async fn commit(
        &self,
        wasm: Arc<[u8]>,
        prepared: Prepared,
        source: &str,
        there: Option<&Plugin>,
    ) -> animus_core::Result<Plugin> {
        let request = &prepared.inspection.manifest.request;
        let granted = there.and_then(|plugin| plugin.granted.as_ref());
        // As at installation: where nothing is to be decided, it serves.
        let grant = (granted.is_none() && beyond(request, None).is_empty()).then(|| request.clone());
        self.cx.commit(OPERATOR, wasm, prepared, source.into(), grant).await.map_err(Fault::into_error)
    }
}

#[async_trait]
impl Sources for Dropped<'_> {
    async fn read(&self, path: &Path) -> animus_core::Result<Vec<u8>> {
        source::at(path).map_err(Fault::into_error)
    }
}
