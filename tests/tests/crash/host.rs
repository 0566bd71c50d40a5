//! One host of the sweep: a process of its own, which ends after so many writes.

use std::{
    env,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use animus_agent::{RunContext, Terms, pinned, run_claimed};
use animus_core::{
    budget::{Allowance, Budget},
    event::Unwatched,
    grant::Grant,
    id::TenantId,
    plugins::PluginSet,
    skill::{Policy, Rules},
    store::{Store as _, Tenant},
    work::{Claim, Host, WorkFilter},
};
use animus_runtime::{Artifacts, Egress, Engine, EngineConfig, Registry, skill::Forge};
use animus_store::{MasterKey, Postgres, Sqlite};
use tokio_util::sync::CancellationToken;

use crate::focus::{ByTurn, Counting};

/// The folder that a host of the sweep works in; set for the processes that the sweep starts.
pub(crate) const HOME: &str = "ANIMUS_SWEEP_HOME";
/// The URL of its database; not set, its store is a file in the folder.
pub(crate) const DATABASE: &str = "ANIMUS_SWEEP_DATABASE";
/// After so many writes it ends.
pub(crate) const WRITES: &str = "ANIMUS_SWEEP_WRITES";
/// Set where skills that are made wait for approval.
pub(crate) const ASKS: &str = "ANIMUS_SWEEP_ASKS";

/// Ends the process after so many writes: of journals, and of skills, which are kept between two of those.
struct Ends(AtomicU64);

impl tracing::Subscriber for Ends {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        ["animus_agent::journal", "animus_runtime::skill::forge"].contains(&metadata.target())
    }

    fn event(&self, _: &tracing::Event<'_>) {
        if self.0.fetch_sub(1, Ordering::AcqRel) == 1 {
            std::process::abort();
        }
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

pub(crate) async fn open(home: &Path, database: Option<String>) -> Arc<dyn Tenant> {
    let key = MasterKey::load_or_create(&home.join("key")).unwrap();
    let local = TenantId::local();
    match database {
        Some(url) => Postgres::open(&url, key).await.unwrap().tenant(&local).await.unwrap(),
        None => Sqlite::open(&home.join("animus.db"), key).await.unwrap().tenant(&local).await.unwrap(),
    }
}

/// Compiled code is kept for all hosts.
pub(crate) fn registry() -> Arc<Registry> {
    let target = env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned();
    let engine = Engine::new(&EngineConfig { instances: 64 }).unwrap();
    let artifacts = Arc::new(Artifacts::open(engine, target.join("test-artifacts")).unwrap());
    Arc::new(Registry::new(artifacts, Egress::new()))
}

/// What a focus in `home` runs with.
pub(crate) fn context(
    home: &Path,
    tenant: Arc<dyn Tenant>,
    registry: Arc<Registry>,
    plugins: Arc<dyn PluginSet>,
    asks: bool,
) -> RunContext {
    let rules = Rules { create: if asks { Policy::Ask } else { Policy::Auto }, ..Rules::default() };
    RunContext {
        tenant: tenant.clone(),
        plugins: Arc::new(Counting { plugins, file: home.join("calls") }),
        skills: Some(Arc::new(Forge::new(registry, tenant, Grant::everything(), rules))),
        hooks: Default::default(),
        models: Arc::new(ByTurn),
        watcher: Arc::new(Unwatched),
        budget: Budget::new("run", Allowance::default()),
        tools: None,
        workspace: Some(home.join("workspace")),
        host: Host::this("sweep"),
        faculty: Arc::default(),
        slot: None,
        cancel: CancellationToken::new(),
    }
}

/// Ends the process when all the work that there is is done, or before.
pub(crate) fn run(home: &Path) -> ! {
    let writes: u64 = env::var(WRITES).unwrap().parse().unwrap();
    if writes > 0 {
        tracing::subscriber::set_global_default(Ends(AtomicU64::new(writes))).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(serve(home));
    std::process::exit(0);
}

/// Does all the work that there is.
async fn serve(home: &Path) {
    let tenant = open(home, env::var(DATABASE).ok()).await;
    let registry = registry();
    // The host before this one is gone.
    tenant.focus_recover("sweep", &|process| process == std::process::id()).await.unwrap();
    let works: Vec<_> = (0..2).map(|_| tokio::spawn(work(home.to_owned(), tenant.clone(), registry.clone()))).collect();
    for work in works {
        work.await.unwrap();
    }
}

async fn work(home: PathBuf, tenant: Arc<dyn Tenant>, registry: Arc<Registry>) {
    let ceiling = Grant::everything();
    let asks = env::var_os(ASKS).is_some();
    loop {
        let current = registry.refresh(&tenant, &ceiling).await.unwrap();
        let claim = Claim {
            faculties: vec!["lead".into(), "transform".into()],
            ..Claim::held(Host::this("sweep"), 60_000, pinned(&*current))
        };
        let Some(claimed) = tenant.work_claim(&claim).await.unwrap() else {
            let works = tenant.works(WorkFilter::default()).await.unwrap();
            if works.iter().all(|work| work.state.is_settled()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let plugins = registry.pinned(&tenant, &claimed.plugins, &ceiling).await.unwrap();
        let cx = context(&home, tenant.clone(), registry.clone(), plugins, asks);
        run_claimed(cx, claimed, Terms::default()).await;
    }
}
