//! A host put together as the command line does it: a real store, the real runtime, the real focus. Only the model is not
//! real.

use std::{
    path::Path,
    sync::{Arc, Mutex, OnceLock},
};

use animus_agent::{CallReport, Hooks, RunContext, call_tool};
use animus_core::{
    Result,
    budget::{Allowance, Budget},
    event::{Event, Watcher},
    grant::Grant,
    id::{PluginName, TenantId},
    journal::Record,
    manifest::Manifest,
    package,
    skill::{Policy, Rules},
    store::{NewGeneration, Store as _, Tenant},
    tool::{Annotations, Output, Tool},
    work::Host,
};
use animus_runtime::{
    Artifacts, Egress, Engine, EngineConfig, Prepared, Registry, Snapshot, egress::Resolver, skill::Forge,
};
use animus_store::{MasterKey, Postgres, Sqlite};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::{Guest, guests, models::Laconic, postgres::Database};

/// A host with an empty store and an empty workspace.
pub struct TestHost {
    home: TempDir,
    tenant: Arc<dyn Tenant>,
    registry: Arc<Registry>,
    log: Arc<Log>,
}

/// The lines that plugins wrote.
#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl Watcher for Log {
    fn event(&self, event: Event) {
        if let Event::Log { line, .. } = event {
            self.0.lock().unwrap().push(line);
        }
    }
}

/// One for each test process: a pool of address space, and code that is compiled once for all builds.
fn artifacts() -> Arc<Artifacts> {
    static ARTIFACTS: OnceLock<Arc<Artifacts>> = OnceLock::new();
    let open = || {
        // CPython takes some dozens of core instances, and a test runs 64 of it at once.
        let engine = Engine::new(&EngineConfig { instances: 512 }).unwrap();
        Arc::new(Artifacts::open(engine, guests::target().join("test-artifacts")).unwrap())
    };
    ARTIFACTS.get_or_init(open).clone()
}

impl TestHost {
    /// A host that resolves names as the system does.
    pub async fn new() -> Self {
        Self::with_egress(Egress::new()).await
    }

    /// A host that resolves names by `resolver`.
    pub async fn resolving(resolver: Arc<dyn Resolver>) -> Self {
        Self::with_egress(Egress::with_resolver(resolver)).await
    }

    /// A host with its store in a Postgres database, sealed with the `key` in the folder [`Self::outside`].
    pub async fn on(database: &Database) -> Self {
        let (home, keys) = home();
        let store = Postgres::open(&database.url(), keys).await.unwrap();
        Self::over(home, store.tenant(&TenantId::local()).await.unwrap(), Egress::new())
    }

    async fn with_egress(egress: Arc<Egress>) -> Self {
        let (home, keys) = home();
        let store = Sqlite::open(&home.path().join("animus.db"), keys).await.unwrap();
        Self::over(home, store.tenant(&TenantId::local()).await.unwrap(), egress)
    }

    fn over(home: TempDir, tenant: Arc<dyn Tenant>, egress: Arc<Egress>) -> Self {
        Self { home, tenant, registry: Arc::new(Registry::new(artifacts(), egress)), log: Arc::default() }
    }

    /// The folder that `$workspace` stands for.
    #[must_use]
    pub fn workspace(&self) -> std::path::PathBuf {
        self.home.path().join("workspace")
    }

    /// The folder above it, which no plugin is granted.
    #[must_use]
    pub fn outside(&self) -> &Path {
        self.home.path()
    }

    /// The tenant's store.
    #[must_use]
    pub fn tenant(&self) -> &Arc<dyn Tenant> {
        &self.tenant
    }

    /// What plugins wrote, line by line.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.log.0.lock().unwrap().clone()
    }

    /// Installs a guest whose manifest asks for `request` (the tables after `[plugin]`), and grants it all of that.
    pub async fn install(&self, guest: &Guest, request: &str) {
        let grant = parse(&manifest(&guest.name, request)).request;
        self.install_with(guest, request, Some(grant)).await;
    }

    /// Installs a guest that asks for `request` and is granted `grant`; without one it awaits it.
    pub async fn install_with(&self, guest: &Guest, request: &str, grant: Option<Grant>) {
        self.install_manifest(guest, &manifest(&guest.name, request), grant).await;
    }

    /// Installs a guest with the whole text of its `plugin.toml`. Nothing is checked: the host must hold what got past
    /// its checks, too.
    pub async fn install_manifest(&self, guest: &Guest, text: &str, grant: Option<Grant>) {
        self.install_kind(guest, text, grant, |new| new).await;
    }

    /// The same, and says of the generation what installation would find out.
    pub async fn install_kind(
        &self,
        guest: &Guest,
        text: &str,
        grant: Option<Grant>,
        kind: impl FnOnce(NewGeneration) -> NewGeneration,
    ) {
        let tools = guest.tools.iter().map(|tool| Tool {
            name: format!("{}.{tool}", guest.name),
            description: "a test's".to_owned(),
            input_schema: json!({ "type": "object" }),
            output_schema: None,
            annotations: Annotations::default(),
        });
        let new = NewGeneration {
            name: PluginName::new(&guest.name).unwrap(),
            wasm: package::embed(&guest.wasm, text).unwrap().into(),
            version: parse(text).version.to_string(),
            manifest: text.to_owned(),
            source: "test".to_owned(),
            tools: tools.collect(),
            is_faculty: false,
            is_interpreter: false,
            is_hook: false,
            grant,
        };
        self.tenant.plugin_install("test", kind(new)).await.unwrap();
    }

    /// Has bytes checked and tried as installation does.
    ///
    /// # Errors
    /// Why they may not be installed.
    pub async fn prepare(&self, wasm: Vec<u8>) -> Result<Prepared> {
        self.registry.prepare(wasm.into()).await
    }

    /// Calls a tool as an operator does.
    ///
    /// # Errors
    /// What the call comes to.
    pub async fn call(&self, tool: &str, args: Value) -> Result<Output> {
        self.report(tool, args).await?.output
    }

    /// Calls a tool as an operator does, and returns its journal too.
    pub async fn call_journaled(&self, tool: &str, args: Value) -> (Result<Output>, Vec<Record>) {
        let report = self.report(tool, args).await.expect("the call has a journal");
        (report.output, self.tenant.journal_read(report.focus).await.unwrap())
    }

    async fn report(&self, tool: &str, args: Value) -> Result<CallReport> {
        call_tool(self.context().await, tool, args.to_string()).await
    }

    /// What a run works with: the plugins as they are now, no skills, and a model that says one word.
    pub async fn context(&self) -> RunContext {
        RunContext {
            tenant: self.tenant.clone(),
            plugins: self.snapshot().await,
            skills: None,
            hooks: Hooks::default(),
            models: Arc::new(Laconic),
            watcher: self.log.clone(),
            budget: Budget::new("test", Allowance::default()),
            tools: None,
            workspace: Some(self.workspace()),
            host: Host::this("test"),
            faculty: Arc::default(),
            slot: None,
            cancel: CancellationToken::new(),
        }
    }

    /// The plugins as they are now.
    pub async fn snapshot(&self) -> Arc<Snapshot> {
        self.registry.refresh(&self.tenant, &Grant::everything()).await.unwrap()
    }

    /// The plugins as another process sees them.
    pub async fn elsewhere(&self) -> Arc<Snapshot> {
        let registry = Registry::new(artifacts(), Egress::new());
        registry.refresh(&self.tenant, &Grant::everything()).await.unwrap()
    }

    /// A forge for this host's skills.
    #[must_use]
    pub fn forge(&self, create: Policy) -> Arc<Forge> {
        let rules = Rules { create, ..Rules::default() };
        Arc::new(Forge::new(self.registry.clone(), self.tenant.clone(), Grant::everything(), rules))
    }
}

/// A folder with a workspace and a key.
fn home() -> (TempDir, MasterKey) {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("workspace")).unwrap();
    let keys = MasterKey::load_or_create(&home.path().join("key")).unwrap();
    (home, keys)
}

fn parse(manifest: &str) -> Manifest {
    Manifest::parse(manifest).unwrap_or_else(|e| panic!("{manifest}\n{e}"))
}

/// The text of a `plugin.toml`.
#[must_use]
pub fn manifest(name: &str, request: &str) -> String {
    format!("[plugin]\nname = \"{name}\"\nversion = \"0.1.0\"\ndescription = \"a test's\"\nwit = \"0.1\"\n\n{request}")
}
