//! `cargo xtask ci`: what must hold before a change lands, cheapest first.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

use crate::{demo, policy, sh, wit};

/// The version of cargo-deny that CI installs; a newer one on the machine is used as it is.
const CARGO_DENY: &str = "0.20.2";

/// Every cargo workspace of the repository.
const WORKSPACES: &[&str] = &[".", "plugins", "sdk-rust", "tests/guests", "tests/benches/guest"];

pub(crate) fn run(root: &Path) -> Result<()> {
    for folder in WORKSPACES {
        sh::run(&format!("format of {folder}"), &mut sh::cargo(&root.join(folder), &["fmt", "--all", "--check"]))?;
    }
    sh::say("▸ contracts");
    wit::check(&root.join("wit"))?;
    sh::say("▸ arrows and sites");
    policy::check(root)?;
    dependency_policy(root)?;
    sh::run(
        "clippy",
        &mut sh::cargo(root, &["clippy", "--locked", "--workspace", "--all-targets", "--", "--deny", "warnings"]),
    )?;
    for folder in WORKSPACES.iter().filter(|folder| **folder != ".") {
        let mut clippy = sh::cargo(
            &root.join(folder),
            &["clippy", "--locked", "--workspace", "--target", "wasm32-wasip2", "--", "--deny", "warnings"],
        );
        clippy.env("CARGO_TARGET_DIR", sh::target(root).join("guests"));
        sh::run(&format!("clippy of {folder}"), &mut clippy)?;
    }
    let test = readme_test_command(&fs::read_to_string(root.join("README.md")).context("cannot read README.md")?)?;
    let mut words = test.split_whitespace().skip(1);
    sh::run(&format!("`{test}`"), &mut sh::cargo(root, &words.by_ref().collect::<Vec<_>>()))?;
    demo::Demo::recorded().run(root)?;
    sh::run("benches compile", &mut sh::cargo(root, &["build", "--locked", "--workspace", "--bin", "animus-bench"]))?;
    sh::run(
        "docs",
        sh::cargo(root, &["doc", "--locked", "--workspace", "--no-deps", "--document-private-items"])
            .env("RUSTDOCFLAGS", "--deny warnings"),
    )
}

fn dependency_policy(root: &Path) -> Result<()> {
    let installed = Command::new("cargo-deny").arg("--version").output().is_ok_and(|out| out.status.success());
    if !installed {
        // A policy check needs no optimised build; an optimised one takes three times as long.
        let mut install = sh::cargo(root, &["install", "cargo-deny", "--locked", "--version", CARGO_DENY]);
        for (key, value) in [("LTO", "off"), ("OPT_LEVEL", "0"), ("CODEGEN_UNITS", "16")] {
            install.env(format!("CARGO_PROFILE_RELEASE_{key}"), value);
        }
        sh::run("install cargo-deny", &mut install)?;
    }
    for folder in WORKSPACES {
        let mut deny = sh::cargo(&root.join(folder), &["deny", "--locked", "--config"]);
        deny.arg(root.join("deny.toml")).args(["check", "licenses", "bans", "sources"]);
        sh::run(&format!("dependency policy of {folder}"), &mut deny)?;
    }
    Ok(())
}

/// The command that the README gives between `<!-- test -->` and the end of the next code block.
fn readme_test_command(readme: &str) -> Result<String> {
    let after = readme.split("<!-- test -->").nth(1).context("README.md has no <!-- test --> mark")?;
    let block = after.split("```").nth(1).context("no code block follows <!-- test --> in README.md")?;
    let command =
        block.lines().skip(1).map(str::trim).find(|line| !line.is_empty()).context("the code block is empty")?;
    ensure!(command.starts_with("cargo "), "README.md's test command `{command}` is not a cargo command");
    Ok(command.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_command_is_the_one_that_the_readme_gives() {
        let readme = "x\n<!-- test -->\n```console\ncargo xtask test\n```\n";
        assert_eq!(readme_test_command(readme).unwrap(), "cargo xtask test");
        assert!(readme_test_command("no mark").is_err());
        assert!(readme_test_command("<!-- test -->\n```\nmake test\n```").is_err());
    }
}
