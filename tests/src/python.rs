//! The Python interpreter that ships, and programs run in it.

use std::{collections::BTreeSet, fs, path::Path, process::Command, sync::OnceLock};

use animus_agent::{RunContext, Script, ScriptReport, run_script};
use animus_core::{
    authority::Authority,
    code::{Program, Ran},
    grant::Grant,
    id::PluginName,
    limits::{Limits, SomeLimits},
    manifest::Manifest,
    store::NewGeneration,
};

use crate::{Guest, TestHost, guests};

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The interpreter's component, built once for each process; where nothing changed, that is its script having a look.
pub(crate) fn python() -> &'static Guest {
    static BUILT: OnceLock<Guest> = OnceLock::new();
    BUILT.get_or_init(|| {
        let target = guests::target().join("python");
        let wasm = target.join("component.wasm");
        let status = Command::new("python3")
            .arg(root().join("plugins/python/build.py"))
            .arg("--target")
            .arg(&target)
            .arg("--out")
            .arg(&wasm)
            .status()
            .unwrap();
        assert!(status.success(), "plugins/python does not build ({status})");
        Guest { name: "python".to_owned(), wasm: fs::read(wasm).unwrap(), tools: Vec::new() }
    })
}

/// A plugin of `plugins/` that ships, with its tools. Where the command line was built before, its components are there
/// already.
#[must_use]
pub fn shipped(name: &str, tools: &[&str]) -> Guest {
    static BUILT: OnceLock<std::path::PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let out = guests::target().join("guests");
        let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--quiet", "--locked", "--release", "--target", "wasm32-wasip2"])
            .current_dir(root().join("plugins"))
            .env("CARGO_TARGET_DIR", &out)
            .status()
            .unwrap();
        assert!(status.success(), "plugins/ does not build ({status})");
        out.join("wasm32-wasip2/release")
    });
    let wasm = fs::read(folder.join(format!("animus_{name}.wasm"))).unwrap();
    Guest { name: name.to_owned(), wasm, tools: tools.iter().map(|tool| (*tool).to_owned()).collect() }
}

/// The text of the manifest of a plugin that ships.
#[must_use]
pub fn manifest_of(name: &str) -> String {
    fs::read_to_string(root().join("plugins").join(name).join("plugin.toml")).unwrap()
}

/// The operator's authority over programs, as `animus exec` has it, with other limits.
#[must_use]
pub fn operator(limits: Limits) -> Authority {
    let grant = Grant { http: None, paths: BTreeSet::new(), limits: SomeLimits::all(limits), ..Grant::everything() };
    Authority::new(PluginName::new("operator").unwrap(), grant.clone(), grant, Grant::everything())
}

impl TestHost {
    /// A host with the interpreter and the files' plugin, each with all that it asks for.
    pub async fn with_python() -> Self {
        let host = Self::new().await;
        host.install_python().await;
        let fs = shipped("fs", &["read_file", "write_file", "edit_file", "list_files", "glob", "grep"]);
        let text = manifest_of("fs");
        let grant = Manifest::parse(&text).unwrap().request;
        host.install_manifest(&fs, &text, Some(grant)).await;
        host
    }

    /// Installs the interpreter with the limits that it asks for. It is compiled once for all builds of these tests.
    pub async fn install_python(&self) {
        let text = manifest_of("python");
        let grant = Manifest::parse(&text).unwrap().request;
        self.install_kind(python(), &text, Some(grant), |new| NewGeneration { is_interpreter: true, ..new }).await;
    }

    /// Runs a body as `animus exec` does.
    ///
    /// # Panics
    /// When the program could not be run at all.
    pub async fn exec(&self, source: &str) -> Ran {
        self.exec_within(source, Limits::unlimited()).await.ran.unwrap_or_else(|e| panic!("{source}\n{e}"))
    }

    /// The JSON value of a body that must end well.
    ///
    /// # Panics
    /// When it fails.
    pub async fn value(&self, source: &str) -> serde_json::Value {
        let ran = self.exec(source).await;
        assert_eq!(ran.failure, None, "{source}");
        ran.value.unwrap_or_default()
    }

    /// Runs a body as the operator within limits.
    pub async fn exec_within(&self, source: &str, limits: Limits) -> ScriptReport {
        let script = Script {
            interpreter: "python".to_owned(),
            program: Program::body("main.py", source),
            authority: operator(limits),
            wall_ms: None,
        };
        self.script(self.context().await, script).await
    }

    /// Runs a script in a context.
    pub async fn script(&self, cx: RunContext, script: Script) -> ScriptReport {
        run_script(cx, script).await.unwrap()
    }
}
