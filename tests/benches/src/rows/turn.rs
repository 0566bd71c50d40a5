//! What the engage loop adds to a turn, the model excluded: one tool call, three hooks, a durable journal, a context of
//! 100 kB; and turn 200 against turn 1, in time and in memory.

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
use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tempfile::tempdir;

use crate::{
    fixture::Host,
    measure::{Samples, resident},
    models::Scripted,
    table::{Row, time},
};

const TURNS: u32 = 200;
const FOCI: usize = 5;
/// The turn from which on memory should not grow.
const WARM: u32 = 20;

pub(crate) async fn measure() -> Result<Vec<Row>> {
    let home = tempdir()?;
    let host = Host::with_hooks(home.path()).await?;
    let (mut early, mut late, mut all) = (Vec::new(), Vec::new(), Vec::new());
    // Of the first focus: the others have the room that it left, so that nothing would show in them.
    let mut first = None;
    for _ in 0..FOCI {
        let Run { turns, resident } = run(&host).await?;
        let tail = turns.len() - 20;
        early.extend_from_slice(&turns[1..21]);
        late.extend_from_slice(&turns[tail..]);
        all.extend(turns);
        first.get_or_insert(resident);
    }
    let [small, large] = first.context("no focus was run")?;
    let (early, late, all) = (Samples::new(early), Samples::new(late), Samples::new(all));
    let growth = late.p50().as_secs_f64() / early.p50().as_secs_f64();
    Ok(vec![
        Row {
            id: "turn",
            figure: "engage loop a turn: 3 hooks, 1 tool, durable journal, 100 kB of context (ms)".into(),
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
        Row {
            id: "turn",
            figure: format!("resident memory at turn {TURNS} / at turn {WARM}"),
            ours: format!("{large:.1} MB"),
            baseline: format!("{small:.1} MB"),
            ratio: large / small,
            target: "≤ 1.05".into(),
            met: large / small <= 1.05,
        },
    ])
}

/// One focus.
struct Run {
    /// How long each turn took, from one question to the model to the next.
    turns: Vec<Duration>,
    /// Resident memory in MB at turn [`WARM`], and at the end.
    resident: [f64; 2],
}

/// Runs the loop.
async fn run(host: &Host) -> Result<Run> {
    let asked = Arc::new(Mutex::new(Vec::<Instant>::new()));
    let warm = Arc::new(Mutex::new(None));
    let (noted, at_warm) = (asked.clone(), warm.clone());
    let model = Scripted::calling("bench0.echo", TURNS, move || {
        let mut asked = noted.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.len() == WARM as usize {
            *at_warm.lock().unwrap_or_else(PoisonError::into_inner) = resident().ok();
        }
        asked.push(Instant::now());
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
    let warm = warm.lock().unwrap_or_else(PoisonError::into_inner).context("memory was not read")?;
    let asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
    let turns = asked.iter().zip(asked.iter().skip(1)).map(|(from, to)| *to - *from).collect();
    Ok(Run { turns, resident: [warm, resident()?] })
}
