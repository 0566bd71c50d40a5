//! `cargo xtask bench`: the figures, each beside its baseline.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::Result;
use clap::Args;

use crate::{postgres, sh};

/// What *python* is measured against, from the Python package index.
const RIVALS: &[&str] = &["pyeryx==0.11.0", "pydantic-monty==1.4.0"];

/// What to measure.
#[derive(Args)]
pub(crate) struct Bench {
    /// Only these rows (call, call@100, boundary, parallel, load, python, 'python cpu', 'python rss', skill, reload,
    /// turn, queue, recall, density, stream, idle)
    rows: Vec<String>,
}

impl Bench {
    pub(crate) fn run(self, root: &Path) -> Result<()> {
        if self.rows.is_empty() || self.rows.iter().any(|row| row.starts_with("python")) {
            rivals(&sh::target(root).join("rivals"));
        }
        let wanted = |row: &str| self.rows.is_empty() || self.rows.iter().any(|it| it == row);
        let mut build = vec!["build", "--locked", "--release", "--workspace", "--bin", "animus-bench"];
        // *stream* goes through the real server.
        build.extend(wanted("stream").then_some(["--bin", "animus"]).into_iter().flatten());
        sh::run("build (release)", &mut sh::cargo(root, &build))?;
        let bench = sh::target(root).join("release").join(format!("animus-bench{}", env::consts::EXE_SUFFIX));
        let mut bench = Command::new(bench);
        // Lives until the figures are taken. Without one, *queue* says what is missing, and the others are taken.
        let postgres = if wanted("queue") { postgres(root) } else { None };
        if let Some(server) = &postgres {
            bench.env(postgres::VARIABLE, server.url());
        }
        sh::run("bench", bench.current_dir(root).args(&self.rows))
    }
}

/// A server as durable as Postgres is by default, unless one is named.
fn postgres(root: &Path) -> Option<postgres::Server> {
    postgres::Server::unless_named(root, true).unwrap_or_else(|error| {
        sh::say(&format!("  {error:#}"));
        None
    })
}

/// Installs the rivals in a virtual environment, once. What is missing is missing from the table, which says so.
fn rivals(folder: &Path) {
    let (stamp, wanted) = (folder.join("animus-stamp"), RIVALS.join("\n"));
    if fs::read_to_string(&stamp).is_ok_and(|there| there == wanted) {
        return;
    }
    let Some(python) = newest() else {
        sh::say("▸ no Python 3.12 or later: figures of other Pythons will be missing");
        return;
    };
    let venv = sh::run("virtual environment", Command::new(&python).args(["-m", "venv", "--clear"]).arg(folder));
    let pip = venv.and_then(|()| {
        let mut pip = Command::new(folder.join("bin/python"));
        sh::run("rivals", pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(RIVALS))
    });
    if let Err(error) = pip.and_then(|()| Ok(fs::write(&stamp, wanted)?)) {
        sh::say(&format!("  {error:#}; figures of other Pythons may be missing"));
    }
}

/// The newest Python that starts and that the rivals have wheels for.
fn newest() -> Option<PathBuf> {
    let named = ["python3.14", "python3.13", "python3.12", "python3"].map(PathBuf::from);
    // Where pyenv keeps those whose names lead nowhere while another one is chosen.
    let pyenv = env::var_os("PYENV_ROOT").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".pyenv")));
    let kept = pyenv.and_then(|root| fs::read_dir(root.join("versions")).ok()).into_iter().flatten();
    let kept = kept.filter_map(|entry| Some(entry.ok()?.path().join("bin/python3")));
    let found = named.into_iter().chain(kept).filter_map(|python| Some((version(&python)?, python)));
    found
        .filter(|(version, _)| (12..=14).contains(version))
        .max_by_key(|(version, _)| *version)
        .map(|(_, python)| python)
}

/// Which 3.x it is, where it has what a virtual environment is made with.
fn version(python: &Path) -> Option<u32> {
    let ask = "import ensurepip, sys, venv; print(sys.version_info.minor)";
    let done = Command::new(python).args(["-I", "-c", ask]).stderr(Stdio::null()).output().ok()?;
    String::from_utf8(done.stdout).ok()?.trim().parse().ok()
}
