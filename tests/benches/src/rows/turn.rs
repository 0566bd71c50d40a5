//! What the engage loop adds to a turn, the model excluded: one tool call, a durable journal, a context of 100 kB; and
//! turn 200 against turn 1.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use animus_agent::{Focus, LEASE_MS};
use animus_core::{
    authority::Authority,
    grant::Grant,
    id::{Digest, PluginName, TenantId},
    services::{EngageOptions, Principal, Services as _},
    work::{self, Claim, NewWork, State},
};
use anyhow::{Result, ensure};
use serde_json::json;
use tempfile::tempdir;

use crate::{
    fixture::Host,
    measure::Samples,
    models::Scripted,
    table::{Row, time},
};

const TURNS: u32 = 200;

pub(crate) async fn measure() -> Result<Vec<Row>> {
    let home = tempdir()?;
    let host = Host::with_plugins(home.path(), 1).await?;
    let (mut early, mut late, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..5 {
        let turns = run(&host).await?;
        let tail = turns.len() - 20;
        early.extend_from_slice(&turns[1..21]);
        late.extend_from_slice(&turns[tail..]);
        all.extend(turns);
    }
    let (early, late, all) = (Samples::new(early), Samples::new(late), Samples::new(all));
    let growth = late.p50().as_secs_f64() / early.p50().as_secs_f64();
    Ok(vec![
        Row {
            id: "turn",
            figure: "engage loop a turn: 1 tool, durable journal, 100 kB of context, no hooks yet (ms)".into(),
            ours: format!("{} / {}", time(all.p50()), time(all.p99())),
            baseline: "–".into(),
            ratio: all.p50().as_secs_f64() * 1e3,
            target: "≤ 5 ms".into(),
            met: all.p50() <= Duration::from_millis(5),
        },
        Row {
            id: "turn",
            figure: format!("turns {}–{TURNS} / turns 1–20", TURNS - 19),
            ours: format!("{} / {}", time(late.p50()), time(late.p99())),
            baseline: format!("{} / {}", time(early.p50()), time(early.p99())),
            ratio: growth,
            target: "≤ 1.2".into(),
            met: growth <= 1.2,
        },
    ])
}

/// Runs the loop and returns how long each turn took, from one question to the model to the next.
async fn run(host: &Host) -> Result<Vec<Duration>> {
    let asked = Arc::new(Mutex::new(Vec::<Instant>::new()));
    let noted = asked.clone();
    let model = Scripted::calling("bench0.echo", TURNS, move || {
        noted.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
    });
    let work = host.tenant.work_submit(NewWork::held("caller", "bench", "measure", json!({}))).await?.work;
    let claim = Claim::held(work::Host::this("bench"), LEASE_MS, json!({}));
    let lease = host.tenant.focus_begin(work.id, State::Queued, &claim).await?.lease;
    let grant = Grant::parse_toml("llm = { roles = [\"*\"] }\ntool = [\"*\"]")?;
    let by = Principal {
        tenant: TenantId::local(),
        focus: lease.focus,
        authority: Arc::new(Authority::new(PluginName::new("caller")?, grant.clone(), grant, Grant::everything())),
        generation: 1,
        digest: Digest::of(b""),
        depth: 0,
        parent: None,
    };
    let focus = Focus::new(host.run_context(Arc::new(model)), work.id, lease);
    let options = EngageOptions {
        prompt: "context ".repeat(12_800),
        tools: vec!["*".into()],
        max_turns: Some(TURNS + 1),
        ..EngageOptions::default()
    };
    let engagement = focus.engage(&by, options).await?;
    ensure!(engagement.tool_calls == TURNS, "the loop made {} tool calls: {engagement:?}", engagement.tool_calls);
    let asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(asked.iter().zip(asked.iter().skip(1)).map(|(from, to)| *to - *from).collect())
}
