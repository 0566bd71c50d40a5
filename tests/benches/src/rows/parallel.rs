//! Calls a second with many callers at once, against one caller times the cores.

use std::{sync::Arc, time::Instant};

use animus_core::services::Services as _;
use anyhow::Result;
use tempfile::tempdir;

use crate::{fixture::Host, table::Row};

const CALLERS: usize = 64;
const CALLS: usize = 20_000;
const ROUNDS: usize = 5;

pub(crate) async fn measure() -> Result<Vec<Row>> {
    let home = tempdir()?;
    let host = Arc::new(Host::with_plugins(home.path(), 1).await?);
    host.call_all().await?;
    let cores = std::thread::available_parallelism()?.get().min(2);
    let (mut one, mut many): (Vec<f64>, Vec<f64>) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        one.push(rate(&host, 1).await?);
        many.push(rate(&host, CALLERS).await?);
    }
    one.sort_by(f64::total_cmp);
    many.sort_by(f64::total_cmp);
    let (one, many) = (one[ROUNDS / 2], many[ROUNDS / 2]);
    let ratio = many / (one * cores as f64);
    Ok(vec![Row {
        id: "parallel",
        figure: format!("calls/s, {CALLERS} callers on {cores} cores / 1 caller × {cores} (more is better)"),
        ours: format!("{many:.0}/s"),
        baseline: format!("{:.0}/s", one * cores as f64),
        ratio,
        target: "≥ 0.9".into(),
        met: ratio >= 0.9,
    }])
}

/// Calls a second.
async fn rate(host: &Arc<Host>, callers: usize) -> Result<f64> {
    let begun = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let host = host.clone();
            tokio::spawn(async move {
                let (focus, by) = host.caller()?;
                for _ in 0..CALLS / callers {
                    focus.tool_call(&by, "bench0.echo", r#"{"text":"hello"}"#.into()).await?;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok((CALLS / callers * callers) as f64 / begun.elapsed().as_secs_f64())
}
