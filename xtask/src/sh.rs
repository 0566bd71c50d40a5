//! Running commands, and telling what runs.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};

/// The repository's root: the folder above `xtask/`. Where cargo says that this is now, because two checkouts may share
/// their build products, and this program with them.
pub(crate) fn root() -> Result<PathBuf> {
    let own = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    own.parent().map(Path::to_owned).context("xtask has no parent folder")
}

/// Where cargo puts build products.
pub(crate) fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir))
}

/// A cargo command that runs in `dir`. What the outer cargo set for xtask itself is not handed down.
pub(crate) fn cargo(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(dir);
    for (key, _) in std::env::vars_os() {
        let name = key.to_string_lossy();
        let of_xtask =
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") || name == "CARGO_BIN_NAME";
        if of_xtask {
            command.env_remove(key);
        }
    }
    command
}

/// Runs a command to its end, with a heading before it and the time it took after it.
pub(crate) fn run(what: &str, command: &mut Command) -> Result<()> {
    say(&format!("▸ {what}"));
    let begun = Instant::now();
    let status = command.status().with_context(|| format!("could not start {command:?}"))?;
    if !status.success() {
        bail!("{what} failed ({status}): {command:?}");
    }
    say(&format!("  {what}: {:.1} s", begun.elapsed().as_secs_f32()));
    Ok(())
}

/// The standard output of a command, which must succeed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let out = command.stderr(Stdio::inherit()).output().with_context(|| format!("could not start {command:?}"))?;
    if !out.status.success() {
        bail!("{command:?} failed ({})", out.status);
    }
    String::from_utf8(out.stdout).context("the output is not UTF-8")
}

/// Tells the person at the terminal.
#[allow(clippy::print_stderr, reason = "the one place where xtask speaks")]
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}
