//! What every back end does alike with work: rows to values, and what an end of a focus means.

use animus_core::{
    Error, Result,
    budget::Amount,
    child::SPAWN,
    id::{FocusId, WorkId},
    journal::{EffectKind, Intent, Outcome, Record, Tally},
    ledger::{self, MAX_CONTENT},
    work::{Disposal, FocusRecord, Lease, MAX_DEPTH, MAX_TAKEOVERS, NewWork, Settlement, State, Work, WorkFilter},
};

use crate::rows::{Columns, now_ms, signed};

/// Items of one list, where it is not said.
const LISTED: u32 = 20;
/// The most items of one list.
const MOST_LISTED: u32 = 1_000;

/// A row of the work items.
pub(crate) fn work(row: &impl Columns) -> Result<Work> {
    let count = |column| row.number(column).map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    Ok(Work {
        id: row.parsed("id")?,
        faculty: row.text("faculty")?,
        source: row.text("source")?,
        instruction: row.text("instruction")?,
        params: row.json("params")?,
        state: row.parsed("state")?,
        disposal: if row.text("disposal")? == "queue" { Disposal::Queue } else { Disposal::Held },
        dedup_key: row.maybe_text("dedup_key")?,
        merged_into: row.maybe_parsed("merged_into")?,
        priority: i32::try_from(row.integer("priority")?).unwrap_or_default(),
        attempts: count("attempts")?,
        max_attempts: count("max_attempts")?,
        // Below zero after a host let go: the next one takes over without being counted.
        takeovers: u32::try_from(row.integer("takeovers")?.max(0)).unwrap_or(u32::MAX),
        not_before_ms: row.number("not_before_ms")?,
        parent: row.maybe_parsed("parent")?,
        depth: count("depth")?,
        cap: row.maybe_json("cap")?,
        allowance: row.json("allowance")?,
        workspace: row.maybe_text("workspace")?,
        trace: row.maybe_text("trace")?,
        cancelling: row.flag("cancelling")?,
        focus: row.maybe_parsed("focus")?,
        outcome: row.maybe_json("outcome")?,
        error: row.maybe_json("error")?,
        tokens: row.number("tokens")?,
        cost_microusd: row.number("cost_microusd")?,
        created_ms: row.number("created_ms")?,
        updated_ms: row.number("updated_ms")?,
    })
}

/// A row of the focuses.
pub(crate) fn focus(row: &impl Columns) -> Result<FocusRecord> {
    Ok(FocusRecord {
        id: row.parsed("id")?,
        work: row.parsed("work")?,
        token: row.number("token")?,
        host: row.parsed("host")?,
        plugins: row.json("plugins")?,
        began_ms: row.number("started_ms")?,
        ended_ms: row.maybe_number("ended_ms")?,
    })
}

/// A row of a ledger.
pub(crate) fn entry(row: &impl Columns) -> Result<ledger::Entry> {
    Ok(ledger::Entry {
        seq: row.number("seq")?,
        entry_type: row.parsed("entry_type")?,
        content: row.text("content")?,
        created_ms: row.number("created_ms")?,
    })
}

/// An intent with its outcome.
pub(crate) fn effect(row: &impl Columns) -> Result<Record> {
    let kind = row.text("kind")?;
    let kind = EffectKind::parse(&kind).ok_or_else(|| {
        Error::Internal(format!("the journal holds an effect of a kind unknown to this build: {kind}"))
    })?;
    Ok(Record {
        seq: row.number("seq")?,
        intent: Intent {
            kind,
            caller: row.text("caller")?,
            subject: row.text("subject")?,
            request: row.json("request")?,
            parent: row.maybe_number("parent")?,
        },
        outcome: row.maybe_json("outcome")?,
        started_ms: row.number("started_ms")?,
        ended_ms: row.maybe_number("ended_ms")?,
    })
}

/// A journal that is being read.
#[derive(Default)]
pub(crate) struct Reading {
    records: Vec<Record>,
    bytes: usize,
}

impl Reading {
    /// One record more.
    ///
    /// # Errors
    /// [`Error::Invalid`] when they are more than `most` bytes together.
    pub(crate) fn push(&mut self, row: &impl Columns, focus: FocusId, most: usize) -> Result<()> {
        let long = |column| row.maybe_text(column).map(|text| text.map_or(0, |text| text.len()));
        self.bytes = self.bytes.saturating_add(long("request")?).saturating_add(long("outcome")?);
        if self.bytes > most {
            return Err(Error::Invalid(format!(
                "the journal of the focus {focus} has more than the {most} bytes that are read at once; `animus work retry` \
                 begins its work anew"
            )));
        }
        self.records.push(effect(row)?);
        Ok(())
    }

    pub(crate) fn records(self) -> Vec<Record> {
        self.records
    }
}

/// What a journal comes to, from a row for each kind of effect.
pub(crate) fn tally<R: Columns>(rows: &[R]) -> Result<Tally> {
    let mut tally = Tally::default();
    for row in rows {
        tally.effects.insert(row.text("kind")?, row.number("effects")?);
        tally.failed = tally.failed.saturating_add(row.number("failed")?);
        tally.open = tally.open.saturating_add(row.number("open")?);
    }
    Ok(tally)
}

/// The child that this record is the spawning of.
pub(crate) fn spawned(record: &Record) -> Option<WorkId> {
    match (&record.outcome, record.intent.kind) {
        (Some(Outcome::Ok { response }), EffectKind::Child) if record.intent.subject == SPAWN => {
            response.get("id")?.as_str()?.parse().ok()
        }
        _ => None,
    }
}

/// What a child took of what its parent may spend: what it spent, and all that it still may where it goes on.
pub(crate) fn taken(child: &Work) -> Amount {
    let most = |spent: u64, most: Option<u64>| most.filter(|_| !child.state.is_settled()).unwrap_or(0).max(spent);
    Amount {
        tokens: most(child.tokens, child.allowance.tokens),
        microusd: most(child.cost_microusd, child.allowance.microusd),
    }
}

/// When a lease that is given or renewed now runs out, by the clock of this host.
pub(crate) fn until(lease_ms: u64) -> i64 {
    now_ms().saturating_add(signed(lease_ms))
}

/// The error of a host that writes for a focus which is no longer its own.
pub(crate) fn lost(lease: Lease) -> Error {
    let Lease { focus, token } = lease;
    Error::Conflict(format!("the lease {token} of the focus {focus} was lost: it has ended, or another host has it"))
}

/// Whether a CHECK failed: here, that a parent stands before its child.
pub(crate) fn is_unordered(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|e| e.is_check_violation())
}

/// The word of a disposal in its column.
pub(crate) fn word(disposal: Disposal) -> &'static str {
    match disposal {
        Disposal::Queue => "queue",
        Disposal::Held => "held",
    }
}

/// How many items a list has at most.
pub(crate) fn limit(filter: &WorkFilter) -> u32 {
    filter.limit.unwrap_or(LISTED).min(MOST_LISTED)
}

/// How deep a child of `parent` is, where it may have one.
pub(crate) fn depth_below(parent: &Work) -> Result<u32> {
    if parent.depth >= MAX_DEPTH {
        return Err(Error::Invalid(format!(
            "the work item {} is {MAX_DEPTH} levels of children deep and may have none of its own",
            parent.id
        )));
    }
    if parent.cancelling || parent.state == State::Cancelled {
        return Err(Error::Cancelled);
    }
    Ok(parent.depth + 1)
}

/// Refuses other work under an idempotency key that came before.
pub(crate) fn expect_same(earlier: &Work, new: &NewWork, key: &str) -> Result<()> {
    let same =
        (&earlier.faculty, &earlier.instruction, &earlier.params) == (&new.faculty, &new.instruction, &new.params);
    if same {
        return Ok(());
    }
    Err(Error::Conflict(format!(
        "the idempotency key '{}' came with other work before: the item {}",
        key.escape_debug(),
        earlier.id
    )))
}

/// Refuses to begin by hand what is not as it was seen, or what the queue gives out.
pub(crate) fn expect_held(what: &str, work: &Work, from: State) -> Result<()> {
    if work.state != from || !matches!(from, State::Queued | State::Failed) {
        return Err(Error::Conflict(format!("cannot {what}: it is {}", work.state)));
    }
    if work.disposal != Disposal::Held {
        return Err(Error::Conflict(format!("cannot {what}: the queue gives it out")));
    }
    Ok(())
}

/// Refuses to try again what is not over, or is for good.
pub(crate) fn expect_over(what: &str, work: &Work) -> Result<()> {
    match work.state {
        State::Failed | State::Dead => Ok(()),
        other if other.is_settled() => Err(Error::Conflict(format!(
            "cannot {what}: it is {other}, and only what is failed or dead is tried again; submit it again"
        ))),
        other => Err(Error::Conflict(format!(
            "cannot {what}: it is {other}, and only what is failed or dead is tried again; wait for its end, or cancel it \
             and submit it again"
        ))),
    }
}

/// Refuses a state in which no focus leaves its item.
pub(crate) fn expect_end(to: State) -> Result<()> {
    if matches!(to, State::Completed | State::Failed | State::Cancelled) {
        return Ok(());
    }
    Err(Error::Invalid(format!("a focus cannot leave its work item {to}")))
}

/// Where an item goes whose focus ends so, and not before when, by the clock that says it is `now_ms`.
pub(crate) fn after(work: &Work, to: State, settlement: &Settlement, now_ms: i64) -> (State, u64) {
    match (to, work.disposal, settlement.retry_in_ms) {
        (State::Failed, ..) if work.cancelling => (State::Cancelled, work.not_before_ms),
        (State::Failed, Disposal::Queue, Some(wait)) if work.attempts < work.max_attempts => {
            (State::Queued, now_ms.unsigned_abs().saturating_add(wait))
        }
        (State::Failed, Disposal::Queue, _) => (State::Dead, work.not_before_ms),
        _ => (to, work.not_before_ms),
    }
}

/// What becomes of an item that lost its host, where nobody is to take it over.
pub(crate) fn beyond_takeover(work: &Work, focus: FocusId) -> Option<(State, Settlement)> {
    let (to, error) = if work.cancelling {
        (State::Cancelled, Error::Cancelled)
    } else if work.takeovers >= MAX_TAKEOVERS {
        let error = Error::Internal(format!(
            "{} hosts ended in the middle of the focus {focus}: what it does may be what ends them; look at `animus focus \
             show`, then `animus work retry {}`",
            work.takeovers + 1,
            work.id
        ));
        (State::Dead, error)
    } else {
        return None;
    };
    Some((to, Settlement { error: Some(error), ..Settlement::default() }))
}

/// What is left on a held item whose process is gone.
pub(crate) fn cut_off(process: u32, focus: FocusId) -> Settlement {
    let error = Error::Internal(format!("its host (process {process}) ended in the middle of the focus {focus}"));
    Settlement { error: Some(error), ..Settlement::default() }
}

/// The focus of a running item.
pub(crate) fn runs_in(work: &Work) -> Result<FocusId> {
    let focus = work.focus;
    focus.ok_or_else(|| Error::Internal(format!("the work item {} runs without a focus", work.id)))
}

/// The error of a retry of work that is live under another item.
pub(crate) fn alike(what: &str) -> Error {
    Error::Conflict(format!("cannot {what}: the same work is queued or running already"))
}

/// Refuses a ledger entry that is too long.
pub(crate) fn expect_short(content: &str) -> Result<()> {
    if content.len() > MAX_CONTENT {
        return Err(Error::Invalid(format!(
            "a ledger entry holds at most {MAX_CONTENT} bytes; this one has {}",
            content.len()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    struct Row(BTreeMap<&'static str, String>);

    impl Columns for Row {
        fn maybe_text(&self, column: &str) -> Result<Option<String>> {
            Ok(self.0.get(column).cloned())
        }
        fn maybe_integer(&self, column: &str) -> Result<Option<i64>> {
            Ok(self.0.get(column).and_then(|number| number.parse().ok()))
        }
        fn flag(&self, _: &str) -> Result<bool> {
            Err(Error::Internal("a journal has no flags".into()))
        }
        fn bytes(&self, _: &str) -> Result<&[u8]> {
            Err(Error::Internal("a journal has no bytes".into()))
        }
    }

    #[test]
    fn a_journal_is_read_up_to_so_many_bytes() {
        let texts = [("kind", "tool"), ("caller", "a"), ("subject", "x.y"), ("request", "\"12345678\"")];
        let mut row = Row(texts.map(|(column, text)| (column, text.to_owned())).into());
        row.0.insert("seq", "1".into());
        row.0.insert("started_ms", "0".into());
        row.0.insert("outcome", r#"{"status":"ok","response":1}"#.into());
        let mut reading = Reading::default();
        reading.push(&row, FocusId::new(), 76).unwrap();
        reading.push(&row, FocusId::new(), 76).unwrap();
        let why = reading.push(&row, FocusId::new(), 76).unwrap_err().to_string();
        assert!(why.contains("more than the 76 bytes") && why.contains("animus work retry"), "{why}");
        assert_eq!(reading.records().len(), 2);
    }
}
