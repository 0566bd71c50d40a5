//! One call of a small tool in a fresh instance: through grants, budget and limits, without a journal.

use animus_core::services::Services as _;
use anyhow::{Result, ensure};
use tempfile::tempdir;

use crate::{
    fixture::{Host, guest},
    measure::interleaved,
    raw::Raw,
    table::{Row, time},
};

const ARGS: &str = r#"{"text":"hello"}"#;

/// Against the engine alone.
pub(crate) async fn fresh() -> Result<Vec<Row>> {
    let home = tempdir()?;
    let host = Host::with_plugins(home.path(), 1).await?;
    let raw = Raw::new(host.engine.wasmtime(), &guest()?)?;
    let (focus, by) = host.caller()?;
    ensure!(focus.tool_call(&by, "bench0.echo", ARGS.into()).await?.text == raw.call("echo", ARGS).await?);
    let (ours, baseline) = interleaved(
        5_000,
        async || focus.tool_call(&by, "bench0.echo", ARGS.into()).await.map(drop).map_err(Into::into),
        async || raw.call("echo", ARGS).await.map(drop),
    )
    .await?;
    let ratio = ours.p50().as_secs_f64() / baseline.p50().as_secs_f64();
    Ok(vec![Row {
        id: "call",
        figure: "fresh instance of a small tool, typed call, drop / the engine alone".into(),
        ours: format!("{} / {}", time(ours.p50()), time(ours.p99())),
        baseline: format!("{} / {}", time(baseline.p50()), time(baseline.p99())),
        ratio,
        target: "≤ 2.0".into(),
        met: ratio <= 2.0,
    }])
}

/// With 100 plugins installed, against one.
pub(crate) async fn among_100() -> Result<Vec<Row>> {
    let (one_home, many_home) = (tempdir()?, tempdir()?);
    let (one, many) = (Host::with_plugins(one_home.path(), 1).await?, Host::with_plugins(many_home.path(), 100).await?);
    many.call_all().await?;
    let ((focus_1, by_1), (focus_100, by_100)) = (one.caller()?, many.caller()?);
    let (ours, baseline) = interleaved(
        5_000,
        async || focus_100.tool_call(&by_100, "bench50.echo", ARGS.into()).await.map(drop).map_err(Into::into),
        async || focus_1.tool_call(&by_1, "bench0.echo", ARGS.into()).await.map(drop).map_err(Into::into),
    )
    .await?;
    let ratio = ours.p50().as_secs_f64() / baseline.p50().as_secs_f64();
    Ok(vec![Row {
        id: "call@100",
        figure: "the same with 100 plugins installed / with 1".into(),
        ours: format!("{} / {}", time(ours.p50()), time(ours.p99())),
        baseline: format!("{} / {}", time(baseline.p50()), time(baseline.p99())),
        ratio,
        target: "≤ 1.1".into(),
        met: ratio <= 1.1,
    }])
}
