//! `cargo xtask test`: every test of the project.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{postgres, sh};

/// What to test.
#[derive(Args)]
pub(crate) struct Test {
    /// Arguments for `cargo test` of the host, such as `-p animus-core` or `-- name`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

impl Test {
    pub(crate) fn run(self, root: &Path) -> Result<()> {
        let mut host = sh::cargo(root, &["test", "--locked"]);
        // Lives until the tests have ended.
        let postgres = postgres::Server::unless_named(root, false)?;
        if let Some(server) = &postgres {
            host.env(postgres::VARIABLE, server.url());
        }
        if self.args.is_empty() {
            host.arg("--workspace");
        } else {
            return sh::run("host tests", host.args(self.args));
        }
        sh::run("host tests", &mut host)?;
        drop(postgres);
        for (what, folder) in [("SDK tests", "sdk-rust"), ("plugin tests", "plugins")] {
            let mut native = sh::cargo(&root.join(folder), &["test", "--locked", "--workspace"]);
            // Their own folder: another set of features must not rebuild the host's dependencies.
            native.env("CARGO_TARGET_DIR", sh::target(root).join("guests-native"));
            sh::run(what, &mut native)?;
        }
        for (what, folder) in [("Python SDK tests", "sdk-python/tests"), ("interpreter tests", "plugins/python/tests")]
        {
            let mut python = Command::new("python3");
            python.args(["-m", "unittest", "discover", "--start-directory", folder]).current_dir(root);
            // Compiled files would lie beside the sources, which the binary embeds.
            sh::run(what, python.env("PYTHONDONTWRITEBYTECODE", "1"))?;
        }
        Ok(())
    }
}

/// Builds the first-party plugins for `wasm32-wasip2` and copies the components to `target/plugins/`.
pub(crate) fn build_plugins(root: &Path) -> Result<()> {
    let target = sh::target(root);
    let wasm = target.join("guests");
    let mut build = sh::cargo(&root.join("plugins"), &["build", "--locked", "--release", "--target", "wasm32-wasip2"]);
    build.env("CARGO_TARGET_DIR", &wasm);
    sh::run("first-party plugins", &mut build)?;
    let out = target.join("plugins");
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    for entry in fs::read_dir(wasm.join("wasm32-wasip2/release"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "wasm") {
            let to = out.join(path.file_name().context("a file without a name")?);
            fs::copy(&path, &to)?;
            sh::say(&format!("  {}", to.display()));
        }
    }
    Ok(())
}
