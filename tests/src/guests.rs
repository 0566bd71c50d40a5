//! The guests of `tests/guests`, built when a test first asks for one.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// A component with its tools.
#[derive(Clone, Debug)]
pub struct Guest {
    /// The plugin name it is installed under.
    pub name: String,
    /// Its bytes.
    pub wasm: Vec<u8>,
    /// The short names of its tools.
    pub tools: Vec<String>,
}

impl Guest {
    /// A guest of `tests/guests`, with the tools that its registry gives. Builds the guests once for each process; where
    /// nothing changed, that is cargo having a look.
    #[must_use]
    pub fn built(name: &str, tools: &[&str]) -> Self {
        let path = build().join(format!("{name}.wasm"));
        let wasm = std::fs::read(&path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
        Self { name: name.to_owned(), wasm, tools: tools.iter().map(|tool| (*tool).to_owned()).collect() }
    }

    /// A guest with the one tool `go`, written in WebAssembly text; see [`crate::encode`].
    #[must_use]
    pub fn text(name: &str, fields: &str, go: &str) -> Self {
        Self { name: name.to_owned(), wasm: crate::encode(fields, go), tools: vec!["go".to_owned()] }
    }
}

/// The folder of this build's products.
pub(crate) fn target() -> PathBuf {
    // A test runs from `<target>/<profile>/deps/`.
    let own = std::env::current_exe().unwrap();
    own.ancestors().nth(3).unwrap().to_owned()
}

/// The folder of the built components.
fn build() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests");
        // A folder of its own: what lies beside first-party plugins is taken for one.
        let out = target().join("test-guests");
        let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--quiet", "--locked", "--release", "--target", "wasm32-wasip2"])
            .current_dir(folder)
            .env("CARGO_TARGET_DIR", &out)
            .status()
            .unwrap();
        assert!(status.success(), "tests/guests does not build ({status})");
        out.join("wasm32-wasip2/release")
    })
}
