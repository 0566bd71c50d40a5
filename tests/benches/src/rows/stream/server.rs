//! `animus serve` as a process of its own, in a home of its own.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStdout, Command},
    time::{sleep, timeout},
};

use super::{
    KEY,
    loopback::{Marks, ask, message},
};

/// The first start compiles the first-party plugins.
const START: Duration = Duration::from_secs(300);
const JSON: &str = "Content-Type: application/json\r\n";

/// A server. It ends with this.
pub(super) struct Server {
    address: SocketAddr,
    _process: Child,
    _out: BufReader<ChildStdout>,
    _home: TempDir,
}

impl Server {
    /// The binary of the same build, where it was built.
    pub(super) fn find() -> Result<Option<PathBuf>> {
        let this = std::env::current_exe()?;
        let binary = this.with_file_name(format!("animus{}", std::env::consts::EXE_SUFFIX));
        Ok(binary.is_file().then_some(binary))
    }

    /// Starts one whose model is at `provider`, and waits until it takes work.
    pub(super) async fn start(binary: &Path, provider: &str) -> Result<Self> {
        let home = tempdir()?;
        let config =
            format!("[llm.roles]\ndefault = 'openai:bench'\n[llm.providers.openai]\nbase_url = '{provider}'\n");
        fs::write(home.path().join("animus.toml"), config)?;
        let workspace = home.path().join("workspace");
        fs::create_dir(&workspace)?;
        let mut command = Command::new(binary);
        // What this machine says about other hosts is not meant for this one.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("ANIMUS_") || text.starts_with("OTEL_") || text == "DATABASE_URL" {
                command.env_remove(&name);
            }
        }
        let mut process = command
            .args(["serve", "--bind", "127.0.0.1:0", "--json"])
            .env("ANIMUS_HOME", home.path())
            .env("OPENAI_API_KEY", KEY)
            .current_dir(&workspace)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("could not start it")?;
        let mut out = BufReader::new(process.stdout.take().context("it has no output")?);
        let mut line = String::new();
        timeout(START, out.read_line(&mut line)).await.context("it does not say where it listens")??;
        let listening: Value = serde_json::from_str(&line).with_context(|| format!("it said '{line}'"))?;
        let address = listening["address"].as_str().context("it listens nowhere")?.parse()?;
        let server = Self { address, _process: process, _out: out, _home: home };
        timeout(START, server.ready()).await.context("it does not become ready")??;
        Ok(server)
    }

    async fn ready(&self) -> Result<()> {
        loop {
            let mut socket = ask(self.address, "GET", "/readyz", "", "").await?;
            if message(&mut socket).await?.0.contains(" 200 ") {
                return Ok(());
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Submits work, follows it as SSE, and returns when each token came.
    pub(super) async fn run(&self, tokens: usize) -> Result<Vec<Instant>> {
        let work = json!({ "faculty": "assistant", "instruction": "speak" }).to_string();
        let mut socket = ask(self.address, "POST", "/v1/work", JSON, &work).await?;
        let (status, body) = message(&mut socket).await?;
        ensure!(status.contains(" 201 "), "work was answered by '{status}': {}", String::from_utf8_lossy(&body));
        let submitted: Value = serde_json::from_slice(&body)?;
        let id = submitted["work"]["id"].as_str().context("the work has no identifier")?;
        let mut socket = ask(self.address, "GET", &format!("/v1/work/{id}/events"), "", "").await?;
        let mut marks = Marks::new(tokens);
        marks.read(&mut socket).await?;
        let seen = marks.seen();
        self.settled(id).await?;
        Ok(seen)
    }

    /// Waits until the work is done, so that nothing of it is left when the next is measured.
    async fn settled(&self, id: &str) -> Result<()> {
        for _ in 0..600 {
            let mut socket = ask(self.address, "GET", &format!("/v1/work/{id}"), "", "").await?;
            let shown: Value = serde_json::from_slice(&message(&mut socket).await?.1)?;
            match shown["work"]["state"].as_str() {
                Some("completed") => return Ok(()),
                Some("queued" | "running") => sleep(Duration::from_millis(50)).await,
                _ => bail!("the work ended as {shown}"),
            }
        }
        bail!("the work does not end")
    }
}
