//! What a command works with. Everything is opened when it is first asked for.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use animus_core::{
    Denial, Error, Gate, Unlock,
    event::{Event, Watcher},
    grant::{Capability, Grant},
    id::{Digest, TenantId},
    llm::{EMBED_ROLE, Models as _},
    plugins::PluginSet as _,
    store::{NewGeneration, Plugin, PluginState, Store, Tenant},
};
use animus_llm::{Candidates, NO_MODEL, Router};
use animus_runtime::{Artifacts, Egress, Engine, EngineConfig, Prepared, Registry, Snapshot, skill::Forge};
use animus_store::{MasterKey, Postgres, Sqlite};
use tokio::sync::{OnceCell, broadcast::Receiver};

use crate::{
    bundled,
    config::Config,
    fault::{During as _, Fault, Result},
    home::Home,
    keys::StoredKeys,
    machine,
    out::Out,
    telemetry::Scrape,
};

/// The role that a model named on the command line gets.
const COMMAND_LINE: &str = "command-line";
/// Names the database of the store; it wins over the configuration.
const DATABASE: &str = "DATABASE_URL";
/// The role of requests that name none.
const DEFAULT: &str = "default";

/// The folders, streams and rooms of this process. Clones share them.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) out: Out,
    pub(crate) home: Home,
    /// What a server shows of this process's metrics.
    pub(crate) scrape: Scrape,
    store: Arc<OnceCell<Arc<dyn Store>>>,
    registry: Arc<OnceCell<Arc<Registry>>>,
}

/// What work runs with.
pub(crate) struct Host {
    pub(crate) tenant: Arc<dyn Tenant>,
    pub(crate) plugins: Arc<Snapshot>,
    /// Those that await a grant, and so are not in the snapshot.
    waiting: Vec<Plugin>,
}

impl Context {
    pub(crate) fn new(out: Out, home: Home, scrape: Scrape) -> Self {
        Self { out, home, scrape, store: Arc::default(), registry: Arc::default() }
    }

    /// The folder that plugins may see as `$workspace`.
    pub(crate) fn workspace(&self, named: Option<&Path>) -> Result<PathBuf> {
        let path = named.unwrap_or(Path::new("."));
        let folder = path.canonicalize().during(|| format!("find the workspace {}", path.display()))?;
        if folder.is_dir() { Ok(folder) } else { Err(Fault::usage(format!("{} is not a folder", path.display()))) }
    }

    /// The configuration, as it is for work in `folder`.
    pub(crate) fn config(&self, folder: &Path) -> Result<Config> {
        Config::load(self.home.path(), folder)
    }

    /// The store: the Postgres database that `DATABASE_URL` or the operator's configuration names, or else a file in the
    /// home folder.
    pub(crate) async fn store(&self) -> Result<&Arc<dyn Store>> {
        let open = async {
            let key = MasterKey::load_or_create(&self.home.key())?;
            let store: Arc<dyn Store> = match self.database()? {
                Some(url) => Arc::new(Postgres::open(&url, key).await?),
                None => Arc::new(Sqlite::open(&self.home.database(), key).await?),
            };
            tracing::debug!("the store is open");
            Ok(store)
        };
        self.store.get_or_try_init(|| open).await
    }

    /// The URL of the Postgres database that holds the store, if it is in one. A `DATABASE_URL` of another kind is that of
    /// another program, which is often set in the same shell.
    fn database(&self) -> Result<Option<String>> {
        let is_postgres = |url: &str| url.starts_with("postgres://") || url.starts_with("postgresql://");
        if let Some(url) = std::env::var(DATABASE).ok().filter(|url| is_postgres(url)) {
            return Ok(Some(url));
        }
        match Config::of_operator(self.home.path())?.store.url {
            Some(url) if !is_postgres(&url) => {
                Err(Fault::invalid("store.url in animus.toml is no URL of a Postgres database")
                    .advise("write postgres://USER:PASSWORD@HOST:PORT/DATABASE, or remove the key"))
            }
            url => Ok(url),
        }
    }

    /// The file with the names of what ships that the store was given by this home, one a line: what the operator removed
    /// does not come back by itself. One for each store, by the place of the database without who connects to it.
    pub(crate) fn given(&self) -> Result<PathBuf> {
        let Some(url) = self.database()? else { return Ok(self.home.given(None)) };
        let place = url.rsplit_once('@').map_or(url.as_str(), |(_, place)| place);
        Ok(self.home.given(Some(&Digest::of(place.as_bytes()).short())))
    }

    /// The one tenant of this host.
    pub(crate) async fn tenant(&self) -> Result<Arc<dyn Tenant>> {
        Ok(self.store().await?.tenant(&TenantId::local()).await?)
    }

    /// The models, and the role to ask for when `named` is a role or a model of the form `provider:model`.
    pub(crate) async fn router(&self, config: &Config, named: Option<&str>) -> Result<(Router, Option<String>)> {
        let keys = Arc::new(StoredKeys(self.tenant().await?));
        let mut llm = config.llm.clone();
        let mut role = named.map(str::to_owned);
        if let Some(model) = named.filter(|named| named.contains(':')) {
            let model = Candidates::One(model.to_owned());
            llm.roles.insert(COMMAND_LINE.to_owned(), model.clone());
            llm.roles.entry(DEFAULT.to_owned()).or_insert(model);
            role = Some(COMMAND_LINE.to_owned());
        }
        // Whoever names models for embeddings alone has not said who answers.
        if llm.roles.keys().all(|role| role == EMBED_ROLE)
            && let Some(found) = animus_llm::detect(&llm, &*keys).await?
        {
            tracing::info!(model = found.model, because = found.because, "no model is configured; one was found");
            llm.roles.insert(DEFAULT.to_owned(), Candidates::One(found.model));
        }
        Ok((Router::new(llm, keys)?, role))
    }

    /// The models that the configuration names, and no others: enough for whoever embeds.
    pub(crate) async fn configured(&self, config: &Config) -> Result<Router> {
        Ok(Router::new(config.llm.clone(), Arc::new(StoredKeys(self.tenant().await?)))?)
    }

    /// What loads and runs plugins.
    pub(crate) async fn registry(&self) -> Result<&Arc<Registry>> {
        let dir = self.home.artifacts();
        let start = async || {
            // Both block: the engine reserves address space, and the cache reads files.
            let started = tokio::task::spawn_blocking(move || {
                Artifacts::open(Engine::new(&EngineConfig::default())?, dir).map(Arc::new)
            });
            let artifacts = started.await.during(|| "start the engine".into())??;
            let config = Config::hook_configs(self.home.path())?;
            Ok(Arc::new(Registry::configured(artifacts, Egress::new(), config)))
        };
        self.registry.get_or_try_init(start).await
    }

    /// Adds a generation that was prepared from these bytes. A grant of none keeps the one there is.
    pub(crate) async fn commit(
        &self,
        actor: &str,
        wasm: Arc<[u8]>,
        prepared: Prepared,
        source: String,
        grant: Option<Grant>,
    ) -> Result<Plugin> {
        let Prepared { inspection, tools } = prepared;
        let new = NewGeneration {
            name: inspection.manifest.name,
            wasm,
            version: inspection.manifest.version.to_string(),
            manifest: inspection.manifest_text,
            source,
            tools,
            is_faculty: inspection.is_faculty,
            is_interpreter: inspection.is_interpreter,
            is_hook: inspection.is_hook,
            grant,
        };
        Ok(self.tenant().await?.plugin_install(actor, new).await?)
    }

    /// The tenant, with the first-party plugins installed.
    pub(crate) async fn seeded(&self) -> Result<Arc<dyn Tenant>> {
        let tenant = self.tenant().await?;
        bundled::seed(self, &*tenant).await?;
        Ok(tenant)
    }

    /// Where skills are kept and made.
    pub(crate) async fn forge(&self, config: &Config) -> Result<Arc<Forge>> {
        let (registry, tenant) = (self.registry().await?.clone(), self.seeded().await?);
        Ok(Arc::new(Forge::new(registry, tenant, config.ceiling(), config.skills.rules())))
    }

    /// Everything that work runs with. Settles what a process that is gone has left.
    pub(crate) async fn host(&self, ceiling: &Grant) -> Result<Host> {
        let tenant = self.seeded().await?;
        for work in tenant.focus_recover(&machine::name(), &machine::is_alive).await? {
            self.out.note(format_args!("the process that ran {work} is gone; the work is marked as failed"));
        }
        let plugins = self.registry().await?.refresh(&tenant, ceiling).await?;
        let mut waiting = tenant.plugins().await?;
        waiting.retain(|plugin| plugin.state == PluginState::AwaitingGrant);
        Ok(Host { tenant, plugins, waiting })
    }
}

/// Whether there is a model that answers. One for embeddings there always is.
pub(crate) fn has_models(router: &Router) -> bool {
    router.roles().iter().any(|role| role != EMBED_ROLE)
}

/// Refuses work that would end at its first model call, before any of it is stored.
pub(crate) fn expect_model(router: &Router, role: Option<&str>) -> Result {
    if !has_models(router) {
        let none = Error::NotFound("no model is configured, and none was found".into());
        return Err(Fault::from(none).advise(NO_MODEL));
    }
    router.resolve(role.unwrap_or(DEFAULT))?;
    Ok(())
}

impl Host {
    /// Refuses a faculty that waits for its grant, with the command that ends the waiting.
    pub(crate) fn expect_faculty(&self, name: &str) -> Result {
        match self.waiting.iter().find(|plugin| plugin.is_faculty && plugin.name.as_str() == name) {
            Some(plugin) => Err(waits(plugin, format!("faculty:{name}"))),
            None if self.plugins.plugin(name).is_some_and(|plugin| !plugin.is_faculty) => {
                Err(Fault::usage(format!("'{name}' is no faculty")).advise("see which are: animus plugin list"))
            }
            None => Ok(()),
        }
    }

    /// The generation whose tool this is.
    pub(crate) fn generation_of(&self, tool: &str) -> Option<u64> {
        let (plugin, _) = tool.split_once('.')?;
        Some(self.plugins.plugin(plugin)?.generation)
    }

    /// Tells a run's watcher what happened to plugins meanwhile: a version that failed too often, and was taken back.
    pub(crate) fn pass_on(reloads: &mut Receiver<Event>, watcher: &dyn Watcher) {
        while let Ok(event) = reloads.try_recv() {
            watcher.event(event);
        }
    }

    /// Refuses a tool whose plugin waits for its grant, with the command that ends the waiting.
    pub(crate) fn expect_tool(&self, name: &str) -> Result {
        match self.waiting.iter().find(|plugin| plugin.tools.iter().any(|tool| tool.name == name)) {
            Some(plugin) => Err(waits(plugin, Capability::Tool(name.to_owned()).to_string())),
            None => Ok(()),
        }
    }
}

fn waits(plugin: &Plugin, capability: String) -> Fault {
    let denial = Denial {
        who: plugin.name.to_string(),
        capability,
        gate: Gate::Grant,
        unlock: Unlock::AskOperator,
        reason: None,
        command: Some(format!("animus plugin grant {} --requested", plugin.name)),
    };
    Error::from(denial).into()
}
