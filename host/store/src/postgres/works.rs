//! Work items: submitting, looking, cancelling, trying again. Their focuses are in `focuses.rs`.

use animus_core::{
    Error, Result, awareness,
    id::{FocusId, WorkId},
    store::{Renewed, Watch, Works},
    work::{
        Claim, Claimed, Counts, FocusRecord, Lease, NewWork, Settlement, State, Submission, Submitted, Work, WorkFilter,
    },
};
use async_trait::async_trait;
use serde_json::json;
use sqlx::{PgConnection, postgres::PgRow};

use super::{
    Handle,
    error::{Columns as _, During as _, is_taken, json as to_json, missing, now_ms, signed},
    text::kept,
};
use crate::{
    measure,
    works::{alike, depth_below, expect_over, expect_same, limit, word, work},
};

/// How often a submit looks again when the same work came, or went, between its look and its insert. Each time another
/// submit has won, so a second look nearly always finds it.
const LOOKS: u32 = 50;

impl Handle {
    /// One item, as this transaction sees it.
    pub(super) async fn work_in(&self, tx: &mut PgConnection, id: WorkId) -> Result<Work> {
        let row = sqlx::query("SELECT * FROM works WHERE tenant = $1 AND id = $2")
            .bind(self.t())
            .bind(id.to_string())
            .fetch_optional(tx)
            .await;
        found(id, row)
    }

    /// One item, which nobody else changes until the transaction ends.
    pub(super) async fn work_held(&self, tx: &mut PgConnection, id: WorkId) -> Result<Work> {
        let row = sqlx::query("SELECT * FROM works WHERE tenant = $1 AND id = $2 FOR NO KEY UPDATE")
            .bind(self.t())
            .bind(id.to_string())
            .fetch_optional(tx)
            .await;
        found(id, row)
    }

    /// The item of an earlier submit with the same key.
    async fn submitted_before(&self, tx: &mut PgConnection, new: &NewWork) -> Result<Option<Submitted>> {
        let Some(key) = &new.idempotency_key else { return Ok(None) };
        let row = sqlx::query("SELECT * FROM works WHERE tenant = $1 AND idempotency_key = $2")
            .bind(self.t())
            .bind(kept(key))
            .fetch_optional(&mut *tx)
            .await
            .during("look for the same submit")?;
        let Some(row) = row else { return Ok(None) };
        let earlier = work(&row)?;
        expect_same(&earlier, new, key)?;
        Ok(Some(match earlier.merged_into {
            None => Submitted { work: earlier, how: Submission::Repeated },
            Some(canonical) => {
                let how = Submission::Merged { item: earlier.id };
                Submitted { work: self.work_in(tx, canonical).await?, how }
            }
        }))
    }

    /// The live item of the same work.
    async fn live(&self, tx: &mut PgConnection, new: &NewWork) -> Result<Option<Work>> {
        let Some(key) = &new.dedup_key else { return Ok(None) };
        let row = sqlx::query(
            "SELECT * FROM works
             WHERE tenant = $1 AND faculty = $2 AND dedup_key = $3 AND state IN ('queued', 'running')",
        )
        .bind(self.t())
        .bind(kept(&new.faculty))
        .bind(kept(key))
        .fetch_optional(tx)
        .await;
        row.during("look for the same work")?.as_ref().map(work).transpose()
    }

    /// The new item; none when another submit with one of its keys was faster.
    async fn insert(&self, tx: &mut PgConnection, new: &NewWork, merged_into: Option<WorkId>) -> Result<Option<Work>> {
        let depth = match new.parent {
            Some(parent) => {
                // Until this item is there nobody cancels its parent, and so misses it.
                let row = sqlx::query("SELECT * FROM works WHERE tenant = $1 AND id = $2 FOR SHARE")
                    .bind(self.t())
                    .bind(parent.to_string())
                    .fetch_optional(&mut *tx)
                    .await;
                depth_below(&found(parent, row)?)?
            }
            None => 0,
        };
        let (id, now) = (WorkId::new(), now_ms());
        let state = if merged_into.is_some() { State::Merged } else { State::Queued };
        let row = sqlx::query(
            "INSERT INTO works (
                 tenant, id, faculty, source, instruction, params, state, disposal, dedup_key, idempotency_key, merged_into,
                 priority, max_attempts, not_before_ms, parent, depth, cap, allowance, workspace, trace, created_ms,
                 updated_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $21)
             ON CONFLICT DO NOTHING RETURNING *",
        )
        .bind(self.t())
        .bind(id.to_string())
        .bind(kept(&new.faculty))
        .bind(kept(&new.source))
        .bind(kept(&new.instruction))
        .bind(to_json(&new.params)?)
        .bind(state.as_str())
        .bind(word(new.disposal))
        .bind(new.dedup_key.as_deref().filter(|_| merged_into.is_none()).map(kept))
        .bind(new.idempotency_key.as_deref().map(kept))
        .bind(merged_into.map(|id| id.to_string()))
        .bind(i64::from(new.priority))
        .bind(i64::from(new.max_attempts.unwrap_or(1)))
        .bind(signed(new.not_before_ms.unwrap_or_default()))
        .bind(new.parent.map(|id| id.to_string()))
        .bind(i64::from(depth))
        .bind(new.cap.as_ref().map(to_json).transpose()?)
        .bind(to_json(&new.allowance)?)
        .bind(new.workspace.as_deref().map(kept))
        .bind(new.trace.as_deref().map(kept))
        .bind(now)
        .fetch_optional(tx)
        .await;
        row.during("submit a work item")?.as_ref().map(work).transpose()
    }

    async fn submit(&self, new: NewWork) -> Result<Submitted> {
        new.check()?;
        let mut tx = self.tx().await?;
        for _ in 0..LOOKS {
            // Each statement sees what was committed before it, and an insert waits for one with the same key that is
            // under way: so whoever is refused finds, at the next look, who won.
            if let Some(earlier) = self.submitted_before(&mut tx, &new).await? {
                return Ok(earlier);
            }
            let same = self.live(&mut tx, &new).await?;
            let Some(made) = self.insert(&mut tx, &new, same.as_ref().map(|work| work.id)).await? else { continue };
            let submitted = match same {
                // Nothing that anybody waits for has changed.
                Some(work) => Submitted { work, how: Submission::Merged { item: made.id } },
                None => {
                    self.changed(&mut tx).await?;
                    Submitted { work: made, how: Submission::Created }
                }
            };
            tx.commit().await.during("submit a work item")?;
            return Ok(submitted);
        }
        Err(Error::Unavailable("cannot submit a work item: too many submit the same work; try again".into()))
    }

    /// Items below these, held like them.
    async fn children_held(&self, tx: &mut PgConnection, of: &[String]) -> Result<Vec<String>> {
        let rows =
            sqlx::query("SELECT id FROM works WHERE tenant = $1 AND parent = ANY ($2) ORDER BY id FOR NO KEY UPDATE")
                .bind(self.t())
                .bind(of)
                .fetch_all(tx)
                .await;
        rows.during("find the children of a work item")?.iter().map(|row| row.text("id")).collect()
    }
}

fn found(id: WorkId, row: Result<Option<PgRow>, sqlx::Error>) -> Result<Work> {
    let row = row.during(format_args!("read the work item {id}"))?;
    work(&row.ok_or_else(|| missing("work item", id))?)
}

#[async_trait]
impl Works for Handle {
    async fn work_submit(&self, new: NewWork) -> Result<Submitted> {
        let (faculty, disposal) = (new.faculty.clone(), new.disposal);
        let submitted = self.submit(new).await;
        measure::submitted(&self.tenant, &faculty, disposal, &submitted);
        submitted
    }

    async fn work(&self, id: WorkId) -> Result<Work> {
        let mut tx = self.tx().await?;
        self.work_in(&mut tx, id).await
    }

    async fn works(&self, filter: WorkFilter) -> Result<Vec<Work>> {
        let most = limit(&filter);
        let mut tx = self.tx().await?;
        // Identifiers sort by time.
        let rows = sqlx::query(
            "SELECT * FROM works WHERE tenant = $1 AND ($2::text IS NULL OR state = $2)
             AND ($3::text IS NULL OR faculty = $3) AND ($4::text IS NULL OR parent = $4)
             AND ($5::text IS NULL OR id < $5) ORDER BY id DESC LIMIT $6",
        )
        .bind(self.t())
        .bind(filter.state.map(State::as_str))
        .bind(filter.faculty.as_deref().map(kept))
        .bind(filter.parent.map(|id| id.to_string()))
        .bind(filter.before.map(|id| id.to_string()))
        .bind(i64::from(most))
        .fetch_all(&mut *tx)
        .await;
        rows.during("list work items")?.iter().map(work).collect()
    }

    async fn works_by_prefix(&self, prefix: &str, limit: u32) -> Result<Vec<Work>> {
        let mut tx = self.tx().await?;
        // 'g' sorts after every digit and dash of an identifier.
        let rows = sqlx::query(
            "SELECT * FROM works WHERE tenant = $1 AND id >= $2 AND id < $2 || 'g' ORDER BY id DESC LIMIT $3",
        )
        .bind(self.t())
        .bind(kept(&prefix.to_ascii_lowercase()))
        .bind(i64::from(limit))
        .fetch_all(&mut *tx)
        .await;
        rows.during("find work items")?.iter().map(work).collect()
    }

    async fn awareness(&self, query: awareness::Query) -> Result<awareness::Rows> {
        self.look_around(&query).await
    }

    async fn work_counts(&self) -> Result<Counts> {
        let what = "count work items";
        let mut counts = Counts::default();
        let mut tx = self.tx().await?;
        let states = sqlx::query("SELECT state, count(*) AS n FROM works WHERE tenant = $1 GROUP BY state")
            .bind(self.t())
            .fetch_all(&mut *tx)
            .await
            .during(what)?;
        for row in states {
            counts.by_state.insert(row.text("state")?, row.number("n")?);
        }
        let ready = sqlx::query(
            "SELECT faculty, count(*) AS n, min(created_ms) AS oldest FROM works
             WHERE tenant = $1 AND state = 'queued' AND disposal = 'queue' AND not_before_ms <= $2 GROUP BY faculty",
        )
        .bind(self.t())
        .bind(now_ms())
        .fetch_all(&mut *tx)
        .await
        .during(what)?;
        for row in ready {
            counts.ready.insert(row.text("faculty")?, row.number("n")?);
            let oldest = row.number("oldest")?;
            counts.oldest_ready_ms = Some(counts.oldest_ready_ms.map_or(oldest, |other| other.min(oldest)));
        }
        Ok(counts)
    }

    /// Level by level: while all items of one are held, none of them gets another child.
    async fn work_cancel(&self, actor: &str, id: WorkId) -> Result<Work> {
        let what = format!("cancel the work item {id}");
        let mut tx = self.tx().await?;
        let before = self.work_held(&mut tx, id).await?;
        let mut level = vec![id.to_string()];
        let mut changed = 0;
        while !level.is_empty() {
            changed += sqlx::query(
                "UPDATE works SET
                     cancelling = state = 'running',
                     state = CASE state WHEN 'running' THEN state ELSE 'cancelled' END,
                     updated_ms = $3
                 WHERE tenant = $1 AND id = ANY ($2) AND state IN ('queued', 'running', 'failed', 'dead')",
            )
            .bind(self.t())
            .bind(&level)
            .bind(now_ms())
            .execute(&mut *tx)
            .await
            .during(&what)?
            .rows_affected();
            level = self.children_held(&mut tx, &level).await?;
        }
        if changed > 0 {
            let detail = json!({ "was": before.state, "items": changed });
            self.record(&mut tx, actor, "work.cancel", &id.to_string(), &detail).await?;
        }
        let work = self.work_in(&mut tx, id).await?;
        self.changed(&mut tx).await?;
        tx.commit().await.during(&what)?;
        measure::changed(&self.tenant, "cancel", usize::try_from(changed).unwrap_or(usize::MAX), before.state, &work);
        Ok(work)
    }

    async fn work_retry(&self, actor: &str, id: WorkId) -> Result<Work> {
        let what = format!("try the work item {id} again");
        let mut tx = self.tx().await?;
        let before = self.work_held(&mut tx, id).await?;
        if let Err(refused) = expect_over(&what, &before) {
            // Dropped, the transaction would hold the item a moment longer, and claims pass over what is held.
            tx.rollback().await.during(&what)?;
            return Err(refused);
        }
        let queued = sqlx::query(
            "UPDATE works SET state = 'queued', disposal = 'queue', max_attempts = greatest(max_attempts, attempts + 1),
                 takeovers = 0, not_before_ms = 0, cancelling = false, updated_ms = $3
             WHERE tenant = $1 AND id = $2",
        )
        .bind(self.t())
        .bind(id.to_string())
        .bind(now_ms())
        .execute(&mut *tx)
        .await;
        match queued {
            Err(e) if is_taken(&e) => return Err(alike(&what)),
            queued => queued.during(&what)?,
        };
        self.record(&mut tx, actor, "work.retry", &id.to_string(), &json!({ "was": before.state })).await?;
        let work = self.work_in(&mut tx, id).await?;
        self.changed(&mut tx).await?;
        tx.commit().await.during(&what)?;
        measure::changed(&self.tenant, "retry", 1, before.state, &work);
        Ok(work)
    }

    async fn work_claim(&self, claim: &Claim) -> Result<Option<Claimed>> {
        let claimed = self.claim(claim).await?;
        if let Some(claimed) = &claimed {
            measure::claimed(&self.tenant, claimed);
        }
        Ok(claimed)
    }

    async fn work_next_due(&self) -> Result<Option<u64>> {
        let mut tx = self.tx().await?;
        // Told by the clock of this host, which is to wait until then.
        let row = sqlx::query(concat!(
            "SELECT min(at) - min(now) + $2 AS at FROM (SELECT ",
            clock!(),
            " AS now) AS clock LEFT JOIN LATERAL (
                 SELECT min(not_before_ms) AS at FROM works
                 WHERE tenant = $1 AND state = 'queued' AND disposal = 'queue' AND not_before_ms > now
                 UNION ALL
                 SELECT min(lease_until_ms) FROM focuses
                 WHERE tenant = $1 AND ended_ms IS NULL AND lease_until_ms > now) AS times ON true",
        ))
        .bind(self.t())
        .bind(now_ms())
        .fetch_one(&mut *tx)
        .await;
        row.during("look when work is due")?.maybe_number("at")
    }

    async fn focus_begin(&self, work: WorkId, from: State, claim: &Claim) -> Result<Claimed> {
        let claimed = self.begin_held(work, from, claim).await?;
        measure::transition(&self.tenant, from, claimed.work.state);
        Ok(claimed)
    }

    async fn focus_renew(&self, leases: &[Lease], lease_ms: u64) -> Result<Renewed> {
        let renewed = self.renew(leases, lease_ms).await?;
        measure::renewed(&self.tenant, leases.len(), &renewed);
        Ok(renewed)
    }

    async fn focus_end(&self, lease: Lease, to: State, settlement: Settlement) -> Result<Work> {
        let work = self.end(lease, to, settlement).await?;
        measure::ended(&self.tenant, &work);
        Ok(work)
    }

    async fn focus_release(&self, lease: Lease) -> Result<()> {
        self.release(lease).await?;
        measure::queue(&self.tenant, "release", 1);
        Ok(())
    }

    async fn focus(&self, id: FocusId) -> Result<FocusRecord> {
        self.focus_record(id).await
    }

    async fn focuses(&self, work: WorkId) -> Result<Vec<FocusRecord>> {
        self.focuses_of(work).await
    }

    async fn focuses_by_prefix(&self, prefix: &str, limit: u32) -> Result<Vec<FocusRecord>> {
        self.focuses_that_begin(prefix, limit).await
    }

    async fn focus_recover(&self, machine: &str, alive: &(dyn Fn(u32) -> bool + Sync)) -> Result<Vec<WorkId>> {
        self.recover(machine, alive).await
    }

    async fn work_watch(&self) -> Result<Box<dyn Watch>> {
        Ok(Box::new(self.pool.watch(&self.tenant).await?))
    }
}
