//! How many instances a GiB holds while each waits in a call of the host: of a small tool, and of CPython.

use std::{path::Path, process::Command, sync::Arc, time::Duration};

use animus_core::{
    Error,
    llm::{Embeddings, ModelInfo, Models, Request, Response, ResponseStream},
    services::Services as _,
};
use anyhow::{Context as _, Result, bail, ensure};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tempfile::tempdir;
use tokio::{sync::watch, task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use super::python;
use crate::{fixture::Host, measure::resident, models::Scripted, rows::CHILD, table::Row};

/// Under the thousand that the engine has room for.
const TOOLS: usize = 900;
const PYTHONS: usize = 60;
/// A program that is held in a call of the small tool, which in turn is held by the model.
const PROGRAM: &str = "return tools.bench0.ask(text='x')";

/// What is held.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tool,
    Python,
}

/// Resident memory in MB.
#[derive(Serialize, Deserialize)]
struct Memory {
    before: f64,
    held: f64,
}

/// Both figures; `python` is the home of a host with the interpreter, compiled.
pub(crate) async fn measure(python: Result<&Path>) -> Result<Vec<Row>> {
    let home = tempdir()?;
    Host::with_plugins(home.path(), 1).await?.call_all().await?;
    let tools = run(home.path(), "tool", TOOLS)?;
    let mut rows = vec![row(
        format!("live instances of a small tool per GiB, each with its call and focus: {TOOLS} held in a model call"),
        TOOLS,
        &tools,
        2_000.0,
    )?];
    let pythons = python.and_then(|home| run(home, "python", PYTHONS)).and_then(|memory| {
        let what = "parked CPython instances per GiB, each with an instance of the small tool that it called";
        row(format!("{what}: {PYTHONS}"), PYTHONS, &memory, 100.0)
    });
    rows.push(pythons.unwrap_or_else(|error| Row::failed("density", &error)));
    Ok(rows)
}

fn row(figure: String, count: usize, memory: &Memory, target: f64) -> Result<Row> {
    let grown = memory.held - memory.before;
    ensure!(grown > 0.0, "memory did not grow with {count} instances: {} → {} MB", memory.before, memory.held);
    let per_gib = count as f64 / (grown / 1024.0);
    Ok(Row {
        id: "density",
        figure: format!("{figure} (more is better)"),
        ours: format!("{per_gib:.0}/GiB ({:.1} MB → {:.1} MB)", memory.before, memory.held),
        baseline: "–".into(),
        ratio: per_gib,
        target: format!("≥ {target}"),
        met: per_gib >= target,
    })
}

/// In a process of its own, in which nothing else was made.
fn run(home: &Path, kind: &str, count: usize) -> Result<Memory> {
    let done = Command::new(std::env::current_exe()?)
        .args([CHILD, "density"])
        .arg(home)
        .args([kind, &count.to_string()])
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("could not start the child")?;
    ensure!(done.status.success(), "the child that held {count} of {kind} ended with {}", done.status);
    serde_json::from_slice(&done.stdout).context("the child's memory cannot be read")
}

/// Holds so many, and says what that takes.
#[allow(clippy::print_stdout, reason = "how the child tells its parent")]
pub(crate) async fn child(home: &Path, kind: &str, count: usize) -> Result<()> {
    let kind = match kind {
        "tool" => Kind::Tool,
        "python" => Kind::Python,
        other => bail!("'{other}' is nothing to hold"),
    };
    let memory = held(&Arc::new(Host::open(home).await?), kind, count).await?;
    println!("{}", serde_json::to_string(&memory)?);
    Ok(())
}

/// Memory before, and while `count` calls wait for the same model.
async fn held(host: &Arc<Host>, kind: Kind, count: usize) -> Result<Memory> {
    // What the first call of all makes once is no matter of how many there are.
    let open = Gate::new();
    open.open.cancel();
    call(host, kind, open).await?;
    let before = settled().await?;
    let gate = Gate::new();
    let mut waiting = gate.waiting.subscribe();
    let mut calls = JoinSet::new();
    for _ in 0..count {
        let (host, gate) = (host.clone(), gate.clone());
        calls.spawn(async move { call(&host, kind, gate).await });
    }
    tokio::select! {
        all = waiting.wait_for(|waiting| *waiting == count) => drop(all?),
        Some(ended) = calls.join_next() => {
            ended??;
            bail!("a call ended before the model answered");
        }
    }
    let memory = Memory { before, held: settled().await? };
    gate.open.cancel();
    while let Some(ended) = calls.join_next().await {
        ended??;
    }
    Ok(memory)
}

/// Resident memory, once what is made ahead is made.
async fn settled() -> Result<f64> {
    sleep(Duration::from_millis(500)).await;
    resident()
}

async fn call(host: &Host, kind: Kind, models: Arc<dyn Models>) -> Result<()> {
    let (focus, by) = host.caller_of(models)?;
    let text = match kind {
        Kind::Tool => focus.tool_call(&by, "bench0.ask", r#"{"text":"x"}"#.to_owned()).await?.text,
        Kind::Python => python::once(&focus, &by, PROGRAM).await?,
    };
    ensure!(text == "done", "the call answered '{text}'");
    Ok(())
}

/// A model that answers everybody once it is open, and counts those who wait.
struct Gate {
    open: CancellationToken,
    waiting: watch::Sender<usize>,
    answers: Scripted,
}

impl Gate {
    fn new() -> Arc<Self> {
        let (open, waiting) = (CancellationToken::new(), watch::Sender::new(0));
        Arc::new(Self { open, waiting, answers: Scripted::silent() })
    }

    async fn pass(&self) {
        self.waiting.send_modify(|waiting| *waiting += 1);
        self.open.cancelled().await;
    }
}

#[async_trait]
impl Models for Gate {
    fn roles(&self) -> Vec<String> {
        self.answers.roles()
    }

    fn resolve(&self, role: &str) -> Result<ModelInfo, Error> {
        self.answers.resolve(role)
    }

    async fn stream(&self, request: Request, cancel: CancellationToken) -> Result<ResponseStream, Error> {
        self.pass().await;
        self.answers.stream(request, cancel).await
    }

    async fn complete(&self, request: Request, cancel: CancellationToken) -> Result<Response, Error> {
        self.pass().await;
        self.answers.complete(request, cancel).await
    }

    async fn embed(&self, role: &str, texts: &[String], cancel: CancellationToken) -> Result<Embeddings, Error> {
        self.answers.embed(role, texts, cancel).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All are in the model call at once, or this would wait for ever; and all end well.
    #[tokio::test]
    async fn all_instances_are_live_at_once() {
        let home = tempdir().unwrap();
        let host = Arc::new(Host::with_plugins(home.path(), 1).await.unwrap());
        let memory = held(&host, Kind::Tool, 5).await.unwrap();
        assert!(memory.held > 0.0);
    }
}
