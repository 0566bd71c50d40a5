//! Calls a second with many callers at once, against one caller times the cores; and the same of the engine alone, which
//! says how much of it the machine and the engine have to give.

use std::{sync::Arc, time::Instant};

use animus_core::services::Services as _;
use anyhow::Result;
use tempfile::tempdir;

use crate::{
    fixture::{Host, guest},
    raw::Raw,
    table::Row,
};

const CALLERS: usize = 64;
const CALLS: usize = 20_000;
const ROUNDS: usize = 9;
const ARGS: &str = r#"{"text":"hello"}"#;

pub(crate) async fn measure() -> Result<Vec<Row>> {
    let home = tempdir()?;
    let host = Arc::new(Host::with_plugins(home.path(), 1).await?);
    host.call_all().await?;
    let raw = Raw::new(host.engine.wasmtime(), &guest()?)?;
    let cores = std::thread::available_parallelism()?.get().min(2);
    let ways = [Way::Ours(host), Way::Engine(raw)];
    let mut rates: [[Vec<f64>; 2]; 2] = Default::default();
    for _ in 0..ROUNDS {
        for (way, [one, many]) in ways.iter().zip(&mut rates) {
            one.push(way.rate(1).await?);
            many.push(way.rate(CALLERS).await?);
        }
    }
    let [ours, engine] = rates.map(|[one, many]| (median(many), median(one) * cores as f64));
    let what = format!("{CALLERS} callers on {cores} cores / 1 caller × {cores} (more is better)");
    let row = |figure, (many, alone): (f64, f64), target: &str| Row {
        id: "parallel",
        figure,
        ours: format!("{many:.0}/s"),
        baseline: format!("{alone:.0}/s"),
        ratio: many / alone,
        target: target.into(),
        met: target == "–" || many / alone >= 0.9,
    };
    Ok(vec![
        row(format!("calls/s, {what}"), ours, "≥ 0.9"),
        row(format!("the engine alone: calls/s, {what}"), engine, "–"),
    ])
}

/// Who is called.
#[derive(Clone)]
enum Way {
    Ours(Arc<Host>),
    Engine(Raw),
}

impl Way {
    /// So many calls, one after another.
    async fn calls(&self, calls: usize) -> Result<()> {
        match self {
            Self::Ours(host) => {
                let (focus, by) = host.caller()?;
                for _ in 0..calls {
                    focus.tool_call(&by, "bench0.echo", ARGS.into()).await?;
                }
            }
            Self::Engine(raw) => {
                for _ in 0..calls {
                    raw.call("echo", ARGS).await?;
                }
            }
        }
        Ok(())
    }

    /// Calls a second, of so many callers.
    async fn rate(&self, callers: usize) -> Result<f64> {
        let begun = Instant::now();
        let tasks: Vec<_> = (0..callers)
            .map(|_| {
                let way = self.clone();
                tokio::spawn(async move { way.calls(CALLS / callers).await })
            })
            .collect();
        for task in tasks {
            task.await??;
        }
        Ok((CALLS / callers * callers) as f64 / begun.elapsed().as_secs_f64())
    }
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
