//! From the start of a process to the first answer of one of 50 plugins from the cache, against compiling the 50.
//!
//! They are copies of one plugin, and a process remembers the functions that it compiled. So each is compiled by an engine
//! of its own, as plugins that have nothing in common are; of that only the first calls count, and not opening a host.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use animus_core::services::Services as _;
use anyhow::{Context as _, Result, ensure};
use tempfile::tempdir;

use crate::{
    fixture::Host,
    measure::Samples,
    rows::CHILD,
    table::{Row, time},
};

const PLUGINS: usize = 50;

pub(crate) async fn measure() -> Result<Vec<Row>> {
    let home = tempdir()?;
    Host::with_plugins(home.path(), PLUGINS).await?.call_all().await?;
    let (mut warm, mut cold) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        fs::remove_dir_all(home.path().join("artifacts"))?;
        cold.push(compiled(home.path())?);
        for _ in 0..5 {
            warm.push(start(home.path())?);
        }
    }
    let (warm, cold) = (Samples::new(warm), Samples::new(cold));
    let ratio = cold.p50().as_secs_f64() / warm.p50().as_secs_f64();
    Ok(vec![Row {
        id: "load",
        figure: format!("process start → first call served, {PLUGINS} plugins: compiled / cached (more is better)"),
        ours: format!("{} / {}", time(warm.p50()), time(warm.p99())),
        baseline: format!("{} / {}", time(cold.p50()), time(cold.p99())),
        ratio,
        target: "≥ 100".into(),
        met: ratio >= 100.0,
    }])
}

fn start(home: &Path) -> Result<Duration> {
    let begun = Instant::now();
    child_of(home)?;
    Ok(begun.elapsed())
}

/// How long a process with an empty cache took for the first calls of all.
fn compiled(home: &Path) -> Result<Duration> {
    Ok(Duration::from_nanos(child_of(home)?.trim().parse()?))
}

/// What the child said.
fn child_of(home: &Path) -> Result<String> {
    let done = Command::new(std::env::current_exe()?)
        .args([CHILD, "load"])
        .arg(home)
        .stderr(Stdio::inherit())
        .output()
        .context("could not start the child")?;
    ensure!(done.status.success(), "the child ended with {}", done.status);
    Ok(String::from_utf8(done.stdout)?)
}

/// Serves the first call; where nothing is cached, compiles all plugins, and says how many nanoseconds that took.
#[allow(clippy::print_stdout, reason = "how the child tells its parent")]
pub(crate) async fn child(home: &Path) -> Result<()> {
    let cached = fs::read_dir(home.join("artifacts")).is_ok_and(|mut entries| entries.next().is_some());
    if cached {
        return call(&Host::open(home).await?, 7).await;
    }
    let mut took = Duration::ZERO;
    for plugin in 0..PLUGINS {
        let host = Host::open(home).await?;
        let begun = Instant::now();
        call(&host, plugin).await?;
        took += begun.elapsed();
    }
    println!("{}", took.as_nanos());
    Ok(())
}

async fn call(host: &Host, plugin: usize) -> Result<()> {
    let (focus, by) = host.caller()?;
    focus.tool_call(&by, &format!("bench{plugin}.echo"), r#"{"text":"x"}"#.into()).await?;
    Ok(())
}
