//! `animus focus show`: the timeline of one run.

use std::collections::BTreeMap;

use animus_agent::Retrace;
use animus_core::{
    journal::{EffectKind, Outcome, Record},
    llm::Response,
    work::{FocusRecord, Work},
};
use serde::{Deserialize as _, Serialize};

use super::find;
use crate::{
    context::Context,
    fault::{Exit, Result},
    out::{self, BAD, BOLD, DIM, GOOD, Table, WARN, paint, plain},
};

#[derive(Serialize)]
struct Shown {
    focus: FocusRecord,
    work: Work,
    journal: Vec<Record>,
    totals: Totals,
}

/// What all effects come to.
#[derive(Default, Serialize)]
struct Totals {
    effects: usize,
    failed: usize,
    /// Effects of which nobody knows how they went.
    open: usize,
    model_calls: usize,
    tokens: u64,
    cost_microusd: u64,
}

impl Totals {
    fn of(journal: &[Record]) -> Self {
        let mut totals = Self { effects: journal.len(), ..Self::default() };
        for record in journal {
            match &record.outcome {
                None => totals.open += 1,
                Some(Outcome::Failed { .. }) => totals.failed += 1,
                Some(Outcome::Ok { .. }) => {}
            }
            if record.intent.kind == EffectKind::Llm {
                totals.model_calls += 1;
            }
            let cost = record.cost();
            totals.tokens = totals.tokens.saturating_add(cost.tokens);
            totals.cost_microusd = totals.cost_microusd.saturating_add(cost.microusd);
        }
        totals
    }
}

/// What a model answered, where that is what the record holds.
fn answer(record: &Record) -> Option<Response> {
    match (&record.outcome, record.intent.kind) {
        (Some(Outcome::Ok { response }), EffectKind::Llm) => Response::deserialize(response).ok(),
        _ => None,
    }
}

pub(super) async fn show(cx: &Context, named: &str) -> Result<Exit> {
    let Retrace { work, focus, records } = find(&*cx.tenant().await?, named).await?;
    let shown = Shown { totals: Totals::of(&records), focus, work, journal: records };
    cx.out.show(&shown, text);
    Ok(Exit::Done)
}

fn text(shown: &Shown) -> String {
    let Shown { focus, work, journal, totals } = shown;
    let ended = focus
        .ended_ms
        .map_or_else(|| paint(WARN, "running"), |ended| format!("{} s", ended.saturating_sub(focus.began_ms) / 1_000));
    let mut text = format!(
        "{} of work {}\n{} · {} · {} · attempt {} · host {} · taken over {} times\n\n",
        paint(BOLD, focus.id),
        work.id,
        out::short(&work.instruction, 100),
        out::time(focus.began_ms),
        ended,
        work.attempts,
        out::safe(&focus.host.to_string()),
        focus.token.saturating_sub(1),
    );
    text.push_str(&timeline(focus.began_ms, journal).to_string());
    text.push_str(&format!(
        "\n{} effects, {} failed, {} without an outcome · {} model calls · {} tokens · {}",
        totals.effects,
        totals.failed,
        totals.open,
        totals.model_calls,
        totals.tokens,
        out::usd(totals.cost_microusd),
    ));
    text
}

fn timeline(began_ms: u64, journal: &[Record]) -> Table {
    let mut table = Table::new(["#", "AT S", "KIND", "BY", "WHAT", "MS", "TOKENS", "COST", "OUTCOME"]);
    let mut depths = BTreeMap::<u64, usize>::new();
    for record in journal {
        let depth = record.intent.parent.and_then(|parent| depths.get(&parent)).map_or(0, |depth| depth + 1);
        depths.insert(record.seq, depth);
        let (style, outcome) = match &record.outcome {
            Some(Outcome::Ok { .. }) => (GOOD, "ok".to_owned()),
            Some(Outcome::Failed { error }) => (BAD, format!("{}: {error}", error.class())),
            None => (WARN, "unknown: the host ended first".to_owned()),
        };
        let at = record.started_ms.saturating_sub(began_ms);
        let elapsed = record.ended_ms.map(|end| end.saturating_sub(record.started_ms).to_string());
        let answer = answer(record);
        table.row([
            (DIM, record.seq.to_string()),
            plain(format!("{}.{:03}", at / 1_000, at % 1_000)),
            plain(format!("{}{}", "  ".repeat(depth.min(8)), record.intent.kind.as_str())),
            plain(out::short(&record.intent.caller, 24)),
            plain(out::short(&record.intent.subject, 48)),
            plain(elapsed.unwrap_or_default()),
            plain(answer.as_ref().map(|answer| answer.usage.total().to_string()).unwrap_or_default()),
            plain(answer.and_then(|answer| answer.cost_microusd).map(out::usd).unwrap_or_default()),
            (style, out::short(&outcome, 60)),
        ]);
    }
    table
}
