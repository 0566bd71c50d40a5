//! One crossing guest → host → guest with a grant check and a meter, against the engine's own typed import.

use std::time::{Duration, Instant};

use animus_core::services::Services as _;
use anyhow::Result;
use tempfile::tempdir;

use crate::{
    fixture::{Host, guest},
    measure::Samples,
    raw::Raw,
    table::{Row, time},
};

/// Crossings of one call; under the limit of host calls.
const CROSSINGS: u32 = 9_000;

pub(crate) async fn measure() -> Result<Vec<Row>> {
    let home = tempdir()?;
    let host = Host::with_plugins(home.path(), 1).await?;
    let raw = Raw::new(host.engine.wasmtime(), &guest()?)?;
    let (focus, by) = host.caller()?;
    let args = |times: u32| format!(r#"{{"times":{times}}}"#);
    let (mut ours, mut baseline) = (Vec::new(), Vec::new());
    for round in 0..220 {
        // A call without crossings beside one with, so that what a call costs by itself is taken off.
        let mut of = [Duration::ZERO; 4];
        for (at, times) in [(0, 0), (1, CROSSINGS)] {
            let begun = Instant::now();
            focus.tool_call(&by, "bench0.cross", args(times)).await?;
            of[at] = begun.elapsed();
            let begun = Instant::now();
            raw.call("cross", &args(times)).await?;
            of[at + 2] = begun.elapsed();
        }
        if round >= 20 {
            ours.push(of[1].saturating_sub(of[0]) / CROSSINGS);
            baseline.push(of[3].saturating_sub(of[2]) / CROSSINGS);
        }
    }
    let (ours, baseline) = (Samples::new(ours), Samples::new(baseline));
    let ratio = ours.p50().as_secs_f64() / baseline.p50().as_secs_f64();
    Ok(vec![Row {
        id: "boundary",
        figure: "one import with grant check and meter / the engine's typed import".into(),
        ours: format!("{} / {}", time(ours.p50()), time(ours.p99())),
        baseline: format!("{} / {}", time(baseline.p50()), time(baseline.p99())),
        ratio,
        target: "≤ 3".into(),
        met: ratio <= 3.0,
    }])
}
