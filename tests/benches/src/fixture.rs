//! A host as the command line puts it together, with copies of one small tool installed.

use std::{
    convert::Infallible,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use animus_agent::{Focus, Hooks, RunContext};
use animus_core::{
    authority::Authority,
    budget::{Allowance, Budget},
    event::Unwatched,
    grant::Grant,
    id::{Digest, FocusId, PluginName, TenantId, WorkId},
    llm::Models,
    manifest::Manifest,
    package,
    plugins::PluginSet as _,
    services::Principal,
    store::{NewGeneration, Store as _, Tenant},
    tool::{Annotations, Tool},
    work,
};
use animus_runtime::{Artifacts, Egress, Engine, EngineConfig, Registry, Snapshot};
use animus_store::{MasterKey, Sqlite};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use wasm_encoder::{
    CodeSection, Instruction,
    reencode::{self, Reencode, ReencodeComponent},
};

use crate::models::Scripted;

/// A host, in a folder of its own.
pub(crate) struct Host {
    pub(crate) tenant: Arc<dyn Tenant>,
    pub(crate) engine: Engine,
    pub(crate) registry: Arc<Registry>,
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
        let registry = Arc::new(Registry::new(artifacts, Egress::new()));
        let plugins = registry.refresh(&tenant, &Grant::everything()).await?;
        Ok(Self { tenant, engine, registry, plugins })
    }

    /// The same host with the plugins as they are now.
    pub(crate) async fn refreshed(&self) -> Result<Self> {
        let plugins = self.registry.refresh(&self.tenant, &Grant::everything()).await?;
        let (tenant, engine) = (self.tenant.clone(), self.engine.clone());
        Ok(Self { tenant, engine, registry: self.registry.clone(), plugins })
    }

    /// Installs one plugin `bench0` and the Python interpreter, and opens the host with both compiled.
    pub(crate) async fn with_python(home: &Path) -> Result<Self> {
        let host = Self::with_plugins(home, 1).await?;
        let manifest = fs::read_to_string(root().join("plugins/python/plugin.toml"))?;
        let limits = "limits = { wall_ms = 600_000, cpu_ms = 300_000, memory_bytes = 536_870_912 }";
        host.tenant
            .plugin_install(
                "bench",
                NewGeneration {
                    name: PluginName::new("python")?,
                    wasm: package::embed(&python()?, &manifest)?.into(),
                    version: "0.1.0".into(),
                    manifest,
                    source: "bench".into(),
                    tools: Vec::new(),
                    is_faculty: false,
                    is_interpreter: true,
                    is_hook: false,
                    grant: Some(Grant::parse_toml(limits)?),
                },
            )
            .await?;
        drop(host);
        let host = Self::open(home).await?;
        host.plugins.compile("python").await?;
        Ok(host)
    }

    /// Installs one plugin `bench0` and three hooks: `redact`, and `guard` under two names.
    pub(crate) async fn with_hooks(home: &Path) -> Result<Self> {
        let host = Self::with_plugins(home, 1).await?;
        for (plugin, name) in [("redact", "redact"), ("guard", "guard"), ("guard", "guard-2")] {
            let manifest = fs::read_to_string(root().join("plugins").join(plugin).join("plugin.toml"))?;
            let manifest = manifest.replace(&format!("name = \"{plugin}\""), &format!("name = \"{name}\""));
            let request = Manifest::parse(&manifest)?.request;
            host.tenant
                .plugin_install(
                    "bench",
                    NewGeneration {
                        name: PluginName::new(name)?,
                        wasm: package::embed(&shipped(plugin)?, &manifest)?.into(),
                        version: "0.1.0".into(),
                        manifest,
                        source: "bench".into(),
                        tools: Vec::new(),
                        is_faculty: false,
                        is_interpreter: false,
                        is_hook: true,
                        grant: Some(request),
                    },
                )
                .await?;
        }
        drop(host);
        Self::open(home).await
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
                        tools: ["echo", "cross", "ask"].map(|tool| definition(&name, tool)).into(),
                        is_faculty: false,
                        is_interpreter: false,
                        is_hook: false,
                        grant: Some(Grant::parse_toml("llm = { roles = [\"bench\"] }")?),
                    },
                )
                .await?;
        }
        Self::open(home).await
    }

    /// A focus without a journal, and a principal that may call every tool.
    pub(crate) fn caller(&self) -> Result<(Focus, Principal)> {
        self.caller_of(Arc::new(Scripted::silent()))
    }

    /// The same with models of one's own.
    pub(crate) fn caller_of(&self, models: Arc<dyn Models>) -> Result<(Focus, Principal)> {
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
        let cx = self.run_context(models);
        Ok((Focus::unjournaled(cx, WorkId::new(), focus), by))
    }

    pub(crate) fn run_context(&self, models: Arc<dyn Models>) -> RunContext {
        RunContext {
            tenant: self.tenant.clone(),
            plugins: self.plugins.clone(),
            skills: None,
            hooks: Hooks::default(),
            models,
            watcher: Arc::new(Unwatched),
            budget: Budget::new("bench", Allowance::default()),
            tools: None,
            workspace: None,
            host: work::Host::this("bench"),
            faculty: Arc::default(),
            slot: None,
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

/// The repository's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Where build products go.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// The Python interpreter as the build of the command line makes it, built if need be.
fn python() -> Result<Vec<u8>> {
    let folder = target().join("python");
    let wasm = folder.join("component.wasm");
    let status = Command::new("python3")
        .arg(root().join("plugins/python/build.py"))
        .arg("--target")
        .arg(&folder)
        .arg("--out")
        .arg(&wasm)
        .status()
        .context("could not start python3")?;
    ensure!(status.success(), "the Python interpreter does not build ({status})");
    fs::read(&wasm).with_context(|| format!("cannot read {}", wasm.display()))
}

/// So many versions of a large guest, which answer with their numbers, under the name `plugin`. Each differs from every
/// other one in the code of `changed` of ten functions.
pub(crate) fn versions(plugin: &str, count: usize, changed: u32) -> Result<Vec<Vec<u8>>> {
    const MARK: &[u8] = b"bench-guest-version:0000";
    let wasm = built("large")?;
    let mut at = wasm.windows(MARK.len()).enumerate().filter(|(_, bytes)| *bytes == MARK).map(|(at, _)| at);
    let (Some(at), None) = (at.next(), at.next()) else { bail!("the guest's version does not stand in it once") };
    let manifest = format!(
        "[plugin]\nname = \"{plugin}\"\nversion = \"0.1.0\"\ndescription = \"for measuring\"\nwit = \"0.1\"\n\n\
         [capabilities]\nllm = {{ roles = [\"bench\"] }}\n"
    );
    let version = |number| {
        let mut wasm = wasm.clone();
        let mark = format!("bench-guest-version:{number:04}");
        wasm.get_mut(at..at + MARK.len()).context("the mark is inside")?.copy_from_slice(mark.as_bytes());
        Ok(package::embed(&edited(&wasm, i32::try_from(number)?, changed)?, &manifest)?)
    };
    (0..count).map(version).collect()
}

/// The same with something done in `changed` of ten functions that has no effect, and is another thing in each version.
fn edited(wasm: &[u8], version: i32, changed: u32) -> Result<Vec<u8>> {
    let mut component = wasm_encoder::Component::new();
    let mut edit = Edit { version, changed, function: 0 };
    edit.parse_component(&mut component, wasmparser::Parser::new(0), wasm).context("the guest does not parse")?;
    Ok(component.finish())
}

struct Edit {
    version: i32,
    changed: u32,
    function: u32,
}

impl Reencode for Edit {
    type Error = Infallible;

    fn parse_function_body(
        &mut self,
        code: &mut CodeSection,
        body: wasmparser::FunctionBody<'_>,
    ) -> Result<(), reencode::Error> {
        let mut function = self.new_function_with_parsed_locals(&body)?;
        self.function += 1;
        if self.function % 10 < self.changed {
            function.instruction(&Instruction::I32Const(self.version)).instruction(&Instruction::Drop);
        }
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() {
            function.instruction(&self.parse_instruction(&mut operators)?);
        }
        code.function(&function);
        Ok(())
    }
}

impl ReencodeComponent for Edit {}

/// The guest of the figures, built if need be.
pub(crate) fn guest() -> Result<Vec<u8>> {
    built("release")
}

/// The guest in one of its profiles.
fn built(profile: &str) -> Result<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest");
    compiled(&folder, "guests-bench", &["--profile", profile], &format!("{profile}/bench_guest.wasm"))
}

/// A plugin as it is shipped.
fn shipped(plugin: &str) -> Result<Vec<u8>> {
    let package = format!("animus-{plugin}");
    let wasm = format!("release/{}.wasm", package.replace('-', "_"));
    compiled(&root().join("plugins"), "guests", &["--release", "--package", &package], &wasm)
}

/// A component of a workspace of guests, built if need be.
fn compiled(workspace: &Path, out: &str, what: &[&str], wasm: &str) -> Result<Vec<u8>> {
    let out = target().join(out);
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--quiet", "--locked", "--target", "wasm32-wasip2"])
        .args(what)
        .current_dir(workspace)
        .env("CARGO_TARGET_DIR", &out)
        .status()
        .context("could not start cargo")?;
    ensure!(status.success(), "the guests in {} do not build ({status})", workspace.display());
    let wasm = out.join("wasm32-wasip2").join(wasm);
    fs::read(&wasm).with_context(|| format!("cannot read {}", wasm.display()))
}
