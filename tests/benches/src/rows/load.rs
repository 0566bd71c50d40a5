//! From the start of a process to the first answer of each of 50 plugins: from the cache, against compiling them.

use std::{
    fs,
    path::Path,
    process::Command,
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
        cold.push(start(home.path())?);
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
    let status = Command::new(std::env::current_exe()?)
        .args([CHILD, "load"])
        .arg(home)
        .status()
        .context("could not start the child")?;
    ensure!(status.success(), "the child ended with {status}");
    Ok(begun.elapsed())
}

/// Serves the first call; where nothing is cached, compiles all plugins as an installation would.
pub(crate) async fn child(home: &Path) -> Result<()> {
    let cached = fs::read_dir(home.join("artifacts")).is_ok_and(|mut entries| entries.next().is_some());
    let host = Host::open(home).await?;
    if cached {
        let (focus, by) = host.caller()?;
        focus.tool_call(&by, "bench7.echo", r#"{"text":"x"}"#.into()).await?;
    } else {
        host.call_all().await?;
    }
    Ok(())
}
