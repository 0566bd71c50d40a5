//! A thousand programs one after another and 64 at once: does memory stay where it was?

use std::{sync::Arc, time::Duration};

use anyhow::Result;

use super::python::small;
use crate::{fixture::Host, measure::resident, table::Row};

const RUNS: usize = 1_000;
const AT_ONCE: usize = 64;
/// How often so many run at once. The most that is resident after any of them counts: the engine gives memory back in
/// batches, so one look alone would see a random part of a batch.
const TIMES: usize = 4;
/// As many as it takes until what is kept for later runs is kept.
const WARM_UP: usize = 200;

pub(crate) async fn measure(host: &Arc<Host>) -> Result<Vec<Row>> {
    let before = soak(host, WARM_UP).await?;
    let after = soak(host, RUNS).await?;
    let ratio = after / before;
    Ok(vec![Row {
        id: "python rss",
        figure: format!(
            "resident memory after {RUNS} runs and {TIMES} × {AT_ONCE} at once / after {WARM_UP} and as many"
        ),
        ours: format!("{after:.1} MB"),
        baseline: format!("{before:.1} MB"),
        ratio,
        target: "≤ 1.05".into(),
        met: ratio <= 1.05,
    }])
}

/// Runs so many one after another, then [`AT_ONCE`] at once and again; returns the memory that stayed, in MB.
async fn soak(host: &Arc<Host>, runs: usize) -> Result<f64> {
    let (focus, by) = host.caller()?;
    for _ in 0..runs {
        small(&focus, &by).await?;
    }
    let mut most = 0.0_f64;
    for _ in 0..TIMES {
        at_once(host).await?;
        // Those that are made ahead again after the last run belong to the picture.
        tokio::time::sleep(Duration::from_millis(500)).await;
        most = most.max(resident()?);
    }
    Ok(most)
}

async fn at_once(host: &Arc<Host>) -> Result<()> {
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
    Ok(())
}
