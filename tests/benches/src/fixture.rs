//! A host as the command line puts it together, with copies of one small tool installed.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use animus_agent::{Focus, RunContext};
use animus_core::{
    authority::Authority,
    budget::{Allowance, Budget},
    event::Unwatched,
    grant::Grant,
    id::{Digest, FocusId, PluginName, TenantId, WorkId},
    llm::Models,
    package,
    plugins::PluginSet as _,
    services::Principal,
    store::{NewGeneration, Store as _, Tenant},
    tool::{Annotations, Tool},
};
use animus_runtime::{Artifacts, Egress, Engine, EngineConfig, Registry, Snapshot};
use animus_store::{MasterKey, Sqlite};
use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::models::Scripted;

/// A host, in a folder of its own.
pub(crate) struct Host {
    pub(crate) tenant: Arc<dyn Tenant>,
    pub(crate) engine: Engine,
    pub(crate) plugins: Arc<Snapshot>,
}

impl Host {
    /// Opens the host in `home` with what is installed there.
    pub(crate) async fn open(home: &Path) -> Result<Self> {
        let keys = MasterKey::load_or_create(&home.join("key"))?;
        let store = Sqlite::open(&home.join("animus.db"), keys).await?;
        let tenant = store.tenant(&TenantId::local()).await?;
        let engine = Engine::new(&EngineConfig::default())?;
        let artifacts = Arc::new(Artifacts::open(engine.clone(), home.join("artifacts"))?);
        let registry = Registry::new(artifacts, Egress::new());
        let plugins = registry.refresh(&tenant, &Grant::everything()).await?;
        Ok(Self { tenant, engine, plugins })
    }

    /// Installs `copies` plugins `bench0`, `bench1`, …, each with bytes of its own, and opens the host.
    pub(crate) async fn with_plugins(home: &Path, copies: usize) -> Result<Self> {
        let wasm = guest()?;
        let host = Self::open(home).await?;
        for copy in 0..copies {
            let name = format!("bench{copy}");
            let manifest = manifest(&name);
            host.tenant
                .plugin_install(
                    "bench",
                    NewGeneration {
                        name: PluginName::new(&name)?,
                        wasm: package::embed(&wasm, &manifest)?.into(),
                        version: "0.1.0".into(),
                        manifest,
                        source: "bench".into(),
                        tools: ["echo", "cross"].map(|tool| definition(&name, tool)).into(),
                        is_faculty: false,
                        is_interpreter: false,
                        grant: Some(Grant::parse_toml("llm = { roles = [\"bench\"] }")?),
                    },
                )
                .await?;
        }
        Self::open(home).await
    }

    /// A focus without a journal, and a principal that may call every tool.
    pub(crate) fn caller(&self) -> Result<(Focus, Principal)> {
        let focus = FocusId::new();
        let everything = Grant::parse_toml("tool = [\"*\"]")?;
        let authority = Authority::new(PluginName::new("caller")?, everything.clone(), everything, Grant::everything());
        let by = Principal {
            tenant: TenantId::local(),
            focus,
            authority: Arc::new(authority),
            generation: 1,
            digest: Digest::of(b""),
            depth: 0,
            parent: None,
        };
        let cx = self.run_context(Arc::new(Scripted::silent()));
        Ok((Focus::unjournaled(cx, WorkId::new(), focus), by))
    }

    pub(crate) fn run_context(&self, models: Arc<dyn Models>) -> RunContext {
        RunContext {
            tenant: self.tenant.clone(),
            plugins: self.plugins.clone(),
            skills: None,
            models,
            watcher: Arc::new(Unwatched),
            budget: Budget::new("bench", Allowance::default()),
            tools: None,
            workspace: None,
            cancel: CancellationToken::new(),
        }
    }

    /// Calls every plugin once, so that all are compiled and cached.
    pub(crate) async fn call_all(&self) -> Result<()> {
        use animus_core::services::Services as _;
        let (focus, by) = self.caller()?;
        for plugin in self.plugins.plugins() {
            let tool = format!("{}.echo", plugin.name);
            focus.tool_call(&by, &tool, r#"{"text":"x"}"#.to_owned()).await?;
        }
        Ok(())
    }
}

fn manifest(name: &str) -> String {
    format!(
        "[plugin]\nname = \"{name}\"\nversion = \"0.1.0\"\ndescription = \"for measuring\"\nlicense = \"Apache-2.0\"\n\
         wit = \"0.1\"\n\n[capabilities]\nllm = {{ roles = [\"bench\"] }}\n"
    )
}

fn definition(plugin: &str, tool: &str) -> Tool {
    Tool {
        name: format!("{plugin}.{tool}"),
        description: "for measuring".into(),
        input_schema: json!({ "type": "object" }),
        output_schema: None,
        annotations: Annotations { read_only: true, ..Annotations::default() },
    }
}

/// Where build products go.
pub(crate) fn target() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir))
}

/// The guest of the figures, built if need be.
pub(crate) fn guest() -> Result<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest");
    let out = target().join("guests-bench");
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--quiet", "--locked", "--release", "--target", "wasm32-wasip2"])
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", &out)
        .status()
        .context("could not start cargo")?;
    ensure!(status.success(), "the bench guest does not build ({status})");
    let wasm = out.join("wasm32-wasip2/release/bench_guest.wasm");
    std::fs::read(&wasm).with_context(|| format!("cannot read {}", wasm.display()))
}
