//! Looking at a focus again: everything is answered from its journal, nothing is done and nothing is written. Or going on
//! from a point of it, as a work item of its own.

use std::sync::Arc;

use animus_core::{
    Error, Result,
    event::Unwatched,
    id::FocusId,
    journal::{COPIED, EffectKind, Outcome, Record},
    store::Origin,
    work::{Claim, Disposal, FocusRecord, NewWork, Work},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    focus::{Focus, Replayed},
    lease::LEASE_MS,
    phases::{Asked, Attempts, phases},
    run::{Begun, RunContext, RunReport, keep, pinned},
};

/// A focus with its journal.
#[derive(Clone, Debug)]
pub struct Retrace {
    /// The item that it ran.
    pub work: Work,
    /// The focus.
    pub focus: FocusRecord,
    /// Its journal, in order.
    pub records: Vec<Record>,
}

/// What a look at a focus found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retraced {
    /// The focus.
    pub focus: FocusId,
    /// How many records its journal has.
    pub records: usize,
    /// The last record that answered.
    pub answered: u64,
    /// How it ended.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// How a look at a focus ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// All came out as it had.
    Reproduced {
        /// What came of it: an answer, or why it failed.
        outcome: Outcome,
    },
    /// It took another way than the journal has. The text has both sides.
    Diverged {
        /// Where and how.
        why: String,
    },
    /// It came to where it was to stop, or where the journal ends.
    Stopped {
        /// Where.
        why: String,
    },
}

/// Runs a focus again against its journal, with the plugins in `cx`. Models, tools and the network are never called, and
/// no store is written. The record `until` is the last that answers.
///
/// # Errors
/// [`Error::Invalid`] for a focus that runs no faculty, [`Error::Internal`] for a journal that was not kept whole.
pub async fn retrace(cx: RunContext, past: Retrace, until: Option<u64>) -> Result<Retraced> {
    let Retrace { work, focus: FocusRecord { id, began_ms, .. }, records } = past;
    let asked = Asked::of(&records)?;
    let count = records.len();
    let cx = RunContext { watcher: Arc::new(Unwatched), ..cx };
    let cap = work.cap.clone().map(Arc::new);
    let focus = Focus::replayed(cx, work.id, id, cap, Replayed { began_ms, records, until })?;
    let attempts = Attempts::of(&work, work.disposal == Disposal::Queue);
    let result = phases(&focus, asked, attempts).await.result;
    focus.finish().await;
    let verdict = match (focus.halted(), result) {
        (Some(Error::Unavailable(why)), _) => Verdict::Stopped { why },
        (Some(error), _) => Verdict::Diverged { why: error.to_string() },
        (None, result) => Verdict::Reproduced { outcome: outcome(result) },
    };
    Ok(Retraced { focus: id, records: count, answered: focus.last_answered(), verdict })
}

fn outcome(result: Result<impl Serialize>) -> Outcome {
    match result {
        Ok(value) => Outcome::Ok { response: serde_json::to_value(value).unwrap_or_default() },
        Err(error) => Outcome::Failed { error },
    }
}

/// Goes on from a focus as it stood after the record `from`, as a new work item that this process runs: what came before is
/// answered from a copy of the journal, what follows is done. The focus and its item stay as they are. The new item holds no
/// more than the old one did and may spend as much, and so may whoever tries it again.
///
/// # Errors
/// As [`retrace`], [`Error::NotFound`] for no such record, and the store's own.
pub async fn fork(cx: RunContext, past: Retrace, from: u64) -> Result<RunReport> {
    let Retrace { work, focus: old, records } = past;
    Asked::of(&records)?;
    if !records.iter().any(|record| record.seq == from) {
        return Err(Error::NotFound(format!("the focus {} has no record #{from}", old.id)));
    }
    let new = NewWork {
        cap: work.cap,
        allowance: work.allowance,
        workspace: cx.workspace.as_ref().map(|folder| folder.display().to_string()),
        ..NewWork::held(work.faculty, "replay", work.instruction, work.params)
    };
    let item = cx.tenant.work_submit(new).await?.work;
    let cx = RunContext { budget: cx.budget.derive("work", item.left()), ..cx };
    let claim = Claim::held(cx.host.clone(), LEASE_MS, pinned(&*cx.plugins));
    let claimed = cx.tenant.focus_begin(item.id, item.state, &claim).await?;
    // The journal may be long.
    let (keeper, cx) = keep(cx, claimed.lease, LEASE_MS, None);
    let records = up_to(records, from);
    for record in &records {
        let seq = cx.tenant.journal_begin(claimed.lease, record.intent.clone()).await?;
        if seq != record.seq {
            return Err(Error::Internal(format!("the copy of #{} became #{seq}", record.seq)));
        }
        if let Some(outcome) = record.outcome.clone() {
            cx.tenant.journal_end(claimed.lease, seq, copy(record.intent.kind, outcome)).await?;
        }
        if let (EffectKind::Ledger, Some(Outcome::Ok { .. }), Ok(entry_type)) =
            (record.intent.kind, &record.outcome, record.intent.subject.parse())
            && let Some(content) = record.intent.request.get("content").and_then(Value::as_str)
        {
            let origin = Origin { focus: claimed.lease.focus, seq };
            cx.tenant.ledger_append(item.id, entry_type, content, Some(origin)).await?;
        }
    }
    Ok(Begun::forked(cx, claimed, keeper, &old, records)?.engage().await)
}

/// An outcome as the copy has it: what was paid for is not paid again.
fn copy(kind: EffectKind, mut outcome: Outcome) -> Outcome {
    if let (EffectKind::Llm, Outcome::Ok { response: Value::Object(response) }) = (kind, &mut outcome) {
        response.insert(COPIED.to_owned(), Value::Bool(true));
    }
    outcome
}

/// The journal as it was after the record `from`. A phase that had more in it has not ended.
fn up_to(records: Vec<Record>, from: u64) -> Vec<Record> {
    let later: Vec<_> = records.iter().filter(|record| record.seq > from).map(|record| record.intent.parent).collect();
    let kept = records.into_iter().filter(|record| record.seq <= from);
    kept.map(|record| match record.intent.kind {
        EffectKind::Phase if later.contains(&Some(record.seq)) => Record { outcome: None, ..record },
        _ => record,
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use animus_core::journal::Intent;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_copy_ends_where_it_was_asked_to_and_leaves_open_what_went_on() {
        let record = |seq, kind, parent| Record {
            seq,
            intent: Intent { kind, caller: "a".into(), subject: "b".into(), request: json!({}), parent },
            outcome: Some(Outcome::Ok { response: json!({}) }),
            started_ms: 0,
            ended_ms: Some(0),
        };
        let records = vec![
            record(1, EffectKind::Phase, None),
            record(2, EffectKind::Llm, Some(1)),
            record(3, EffectKind::Tool, Some(1)),
            record(4, EffectKind::Llm, Some(3)),
            record(5, EffectKind::Llm, Some(1)),
        ];
        let ended = |records: &[Record]| records.iter().map(|r| (r.seq, r.outcome.is_some())).collect::<Vec<_>>();
        assert_eq!(ended(&up_to(records.clone(), 3)), [(1, false), (2, true), (3, true)], "a tool's answer is kept");
        assert_eq!(ended(&up_to(records.clone(), 5)), [1, 2, 3, 4, 5].map(|seq| (seq, true)));
        assert_eq!(ended(&up_to(records, 1)), [(1, false)]);
    }
}
