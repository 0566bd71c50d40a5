//! A host with 20 plugins, doing nothing: resident memory, and how long it took to be ready.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tempfile::tempdir;

use crate::{
    fixture::Host,
    measure::Samples,
    rows::CHILD,
    table::{Row, time},
};

const PLUGINS: usize = 20;

pub(crate) async fn measure() -> Result<Vec<Row>> {
    let home = tempdir()?;
    Host::with_plugins(home.path(), PLUGINS).await?.call_all().await?;
    let (mut ready, mut resident) = (Vec::new(), 0);
    for _ in 0..10 {
        let (took, kb) = start(home.path())?;
        ready.push(took);
        resident = resident.max(kb);
    }
    let ready = Samples::new(ready);
    let mb = resident as f64 / 1024.0;
    Ok(vec![
        Row {
            id: "idle",
            figure: format!("resident memory with {PLUGINS} plugins called once, idle (MB)"),
            ours: format!("{mb:.1} MB"),
            baseline: "–".into(),
            ratio: mb,
            target: "≤ 120 MB".into(),
            met: mb <= 120.0,
        },
        Row {
            id: "idle",
            figure: format!("process start → ready with {PLUGINS} plugins (ms)"),
            ours: format!("{} / {}", time(ready.p50()), time(ready.p99())),
            baseline: "–".into(),
            ratio: ready.p50().as_secs_f64() * 1e3,
            target: "≤ 500 ms".into(),
            met: ready.p50() <= Duration::from_millis(500),
        },
    ])
}

/// Starts a host, waits until it is ready, has it call every plugin, and reads its resident memory in kB.
fn start(home: &Path) -> Result<(Duration, u64)> {
    let begun = Instant::now();
    let mut child = Command::new(std::env::current_exe()?)
        .args([CHILD, "idle"])
        .arg(home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("could not start the child")?;
    let mut lines = BufReader::new(child.stdout.take().context("the child has no output")?).lines();
    let mut expect = |word: &str| -> Result<()> {
        let line = lines.next().context("the child ended early")??;
        ensure!(line == word, "the child said '{line}' instead of '{word}'");
        Ok(())
    };
    expect("ready")?;
    let took = begun.elapsed();
    expect("idle")?;
    let status =
        fs::read_to_string(format!("/proc/{}/status", child.id())).context("resident memory is read from /proc")?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kb = resident.trim().trim_end_matches(" kB").trim().parse()?;
    drop(child.stdin.take());
    ensure!(child.wait()?.success(), "the child failed");
    Ok((took, kb))
}

/// Is ready, then calls every plugin, then idles until its input ends.
#[allow(clippy::print_stdout, reason = "how the child tells its parent")]
pub(crate) async fn child(home: &Path) -> Result<()> {
    let host = Host::open(home).await?;
    println!("ready");
    host.call_all().await?;
    println!("idle");
    std::io::stdout().flush()?;
    let mut end = String::new();
    std::io::stdin().read_line(&mut end)?;
    Ok(())
}
