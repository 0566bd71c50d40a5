//! A thousand programs one after another and 64 at once: does memory stay where it was?

use std::{fs, sync::Arc};

use anyhow::{Context as _, Result};

use super::python::small;
use crate::{fixture::Host, table::Row};

const RUNS: usize = 1_000;
const AT_ONCE: usize = 64;
/// As many as it takes until what is kept for later runs is kept.
const WARM_UP: usize = 200;

pub(crate) async fn measure(host: &Arc<Host>) -> Result<Vec<Row>> {
    soak(host, WARM_UP).await?;
    let before = resident()?;
    soak(host, RUNS).await?;
    let after = resident()?;
    let ratio = after / before;
    Ok(vec![Row {
        id: "python rss",
        figure: format!("resident memory after {RUNS} runs and {AT_ONCE} at once / after {WARM_UP} and {AT_ONCE}"),
        ours: format!("{after:.1} MB"),
        baseline: format!("{before:.1} MB"),
        ratio,
        target: "≤ 1.05".into(),
        met: ratio <= 1.05,
    }])
}

async fn soak(host: &Arc<Host>, runs: usize) -> Result<()> {
    let (focus, by) = host.caller()?;
    for _ in 0..runs {
        small(&focus, &by).await?;
    }
    let tasks: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let host = host.clone();
            tokio::spawn(async move {
                let (focus, by) = host.caller()?;
                small(&focus, &by).await
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    // Those that are made ahead again after the last run belong to the picture.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    Ok(())
}

/// This process's resident memory, in MB.
fn resident() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status").context("resident memory is read from /proc")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kb: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kb / 1024.0)
}
