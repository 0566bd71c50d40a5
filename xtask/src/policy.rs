//! What a compiler does not check: which crate may know which, where dangerous calls may stand, how long files get.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};

use crate::sh;

/// `(crate, what it must never depend on)`.
const FORBIDDEN_ARROWS: &[(&str, &str)] = &[
    ("animus-core", "wasmtime"),
    ("animus-core", "sqlx"),
    ("animus-core", "reqwest"),
    ("animus-store", "wasmtime"),
    ("animus-store", "reqwest"),
    ("animus-llm", "wasmtime"),
    ("animus-llm", "sqlx"),
    ("animus-runtime", "sqlx"),
    ("animus-runtime", "reqwest"),
    ("animus-runtime", "animus-agent"),
    ("animus-agent", "wasmtime"),
    ("animus-agent", "sqlx"),
    ("animus-agent", "reqwest"),
];

/// `(text, the only file that may hold it)`, over the host's sources.
const ONLY_HERE: &[(&str, &str)] = &[
    ("bindgen!(", "host/runtime/src/bindings.rs"),
    ("deserialize_file(", "host/runtime/src/artifact.rs"),
    ("Component::deserialize(", "host/runtime/src/artifact.rs"),
    ("unsafe {", "host/runtime/src/artifact.rs"),
];

/// Longer files are split, tests aside.
const MAX_LINES: usize = 700;

/// Checks all of it.
pub(crate) fn check(root: &Path) -> Result<()> {
    for (package, banned) in FORBIDDEN_ARROWS {
        let mut tree = sh::cargo(
            root,
            &["tree", "--package", package, "--edges", "normal", "--prefix", "none", "--format", "{p}"],
        );
        let tree = sh::output(&mut tree)?;
        ensure!(!depends_on(&tree, banned), "{package} must not depend on {banned}: see docs/architecture.md");
    }
    sources(root)
}

fn depends_on(tree: &str, banned: &str) -> bool {
    tree.lines().any(|line| line.split(' ').next() == Some(banned))
}

fn sources(root: &Path) -> Result<()> {
    let mut folders = vec![root.join("host")];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(root)?.to_string_lossy().replace('\\', "/");
                if name.contains("/src/") {
                    seen += 1;
                    source(&name, &fs::read_to_string(&path)?)?;
                }
            }
        }
    }
    ensure!(seen > 20, "only {seen} sources found under host/: the check looks in the wrong place");
    Ok(())
}

fn source(name: &str, text: &str) -> Result<()> {
    let lines = text.lines().count();
    ensure!(lines <= MAX_LINES, "{name} has {lines} lines, more than {MAX_LINES}: split it by idea");
    for (banned, home) in ONLY_HERE {
        ensure!(name == *home || !text.contains(banned), "{name} holds `{banned}`, which belongs in {home} only");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_banned_dependency_is_seen_by_its_whole_name() {
        let tree = "animus-core v0.1.0 (host/core)\nwasmtime v48.0.8\nserde v1.0.0";
        assert!(depends_on(tree, "wasmtime"));
        assert!(!depends_on(tree, "wasm") && !depends_on(tree, "sqlx"));
    }

    #[test]
    fn dangerous_calls_stay_in_their_file() {
        let text = "fn f() { unsafe { g() } }";
        assert!(source("host/runtime/src/artifact.rs", text).is_ok());
        assert!(source("host/runtime/src/call.rs", text).is_err());
    }

    #[test]
    fn a_long_file_is_refused() {
        assert!(source("host/x/src/a.rs", &"//\n".repeat(MAX_LINES)).is_ok());
        assert!(source("host/x/src/a.rs", &"//\n".repeat(MAX_LINES + 1)).is_err());
    }
}
