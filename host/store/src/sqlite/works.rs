//! Work items: submitting, looking, cancelling, trying again. Their focuses are in `focuses.rs`.

use animus_core::{
    Result, awareness,
    id::WorkId,
    store::{Renewed, Watch, Works},
    work::{
        Claim, Claimed, Counts, FocusRecord, Lease, NewWork, Settlement, State, Submission, Submitted, Work, WorkFilter,
    },
};
use async_trait::async_trait;
use serde_json::json;
use sqlx::SqliteConnection;

use super::{
    Handle,
    error::{Columns as _, During as _, is_taken, json as to_json, missing, signed},
    now_ms,
    watch::Watching,
};
use crate::{
    measure,
    works::{alike, depth_below, expect_over, expect_same, limit, word, work},
};

impl Handle {
    /// One item, as this transaction sees it.
    pub(super) async fn work_in(&self, tx: &mut SqliteConnection, id: WorkId) -> Result<Work> {
        let row = sqlx::query("SELECT * FROM works WHERE tenant = ?1 AND id = ?2")
            .bind(self.t())
            .bind(id.to_string())
            .fetch_optional(tx)
            .await
            .during(format_args!("read the work item {id}"))?;
        work(&row.ok_or_else(|| missing("work item", id))?)
    }

    /// The one item with a key, where there is one.
    async fn find(&self, tx: &mut SqliteConnection, sql: &'static str, keys: [&str; 2]) -> Result<Option<Work>> {
        let [first, second] = keys;
        let row = sqlx::query(sql).bind(self.t()).bind(first).bind(second).fetch_optional(tx).await;
        row.during("look for the same work")?.as_ref().map(work).transpose()
    }

    async fn insert(&self, tx: &mut SqliteConnection, new: &NewWork, merged_into: Option<WorkId>) -> Result<Work> {
        let what = "submit a work item";
        let depth = match new.parent {
            Some(parent) => depth_below(&self.work_in(tx, parent).await?)?,
            None => 0,
        };
        let (id, now) = (WorkId::new(), now_ms());
        let state = if merged_into.is_some() { State::Merged } else { State::Queued };
        let row = sqlx::query(
            "INSERT INTO works (
                 tenant, id, faculty, source, instruction, params, state, disposal, dedup_key, idempotency_key, merged_into,
                 priority, max_attempts, not_before_ms, parent, depth, cap, allowance, workspace, trace, created_ms,
                 updated_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?21)
             RETURNING *",
        )
        .bind(self.t())
        .bind(id.to_string())
        .bind(&new.faculty)
        .bind(&new.source)
        .bind(&new.instruction)
        .bind(to_json(&new.params)?)
        .bind(state.as_str())
        .bind(word(new.disposal))
        .bind(new.dedup_key.as_ref().filter(|_| merged_into.is_none()))
        .bind(&new.idempotency_key)
        .bind(merged_into.map(|id| id.to_string()))
        .bind(new.priority)
        .bind(new.max_attempts.unwrap_or(1))
        .bind(signed(new.not_before_ms.unwrap_or_default()))
        .bind(new.parent.map(|id| id.to_string()))
        .bind(depth)
        .bind(new.cap.as_ref().map(to_json).transpose()?)
        .bind(to_json(&new.allowance)?)
        .bind(&new.workspace)
        .bind(&new.trace)
        .bind(now)
        .fetch_one(tx)
        .await
        .during(what)?;
        work(&row)
    }

    async fn submit(&self, new: NewWork) -> Result<Submitted> {
        const BY_SUBMIT: &str = "SELECT * FROM works WHERE tenant = ?1 AND idempotency_key = ?2 AND ?3 = ''";
        const ALIKE: &str = "SELECT * FROM works
             WHERE tenant = ?1 AND faculty = ?2 AND dedup_key = ?3 AND state IN ('queued', 'running')";
        new.check()?;
        let mut tx = self.pool.write().await?;
        if let Some(key) = &new.idempotency_key
            && let Some(earlier) = self.find(&mut tx, BY_SUBMIT, [key, ""]).await?
        {
            expect_same(&earlier, &new, key)?;
            return Ok(match earlier.merged_into {
                None => Submitted { work: earlier, how: Submission::Repeated },
                Some(canonical) => {
                    let how = Submission::Merged { item: earlier.id };
                    Submitted { work: self.work_in(&mut tx, canonical).await?, how }
                }
            });
        }
        let same = match &new.dedup_key {
            Some(key) => self.find(&mut tx, ALIKE, [&new.faculty, key]).await?,
            None => None,
        };
        let item = self.insert(&mut tx, &new, same.as_ref().map(|work| work.id)).await?;
        let submitted = match same {
            Some(work) => Submitted { work, how: Submission::Merged { item: item.id } },
            None => Submitted { work: item, how: Submission::Created },
        };
        tx.commit().await.during("submit a work item")?;
        self.pool.changed();
        Ok(submitted)
    }
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
        let mut reader = self.pool.readers().acquire().await.during(format_args!("read the work item {id}"))?;
        self.work_in(&mut reader, id).await
    }

    async fn works(&self, filter: WorkFilter) -> Result<Vec<Work>> {
        // Identifiers sort by time.
        let most = limit(&filter);
        let rows = sqlx::query(
            "SELECT * FROM works WHERE tenant = ?1 AND (?2 IS NULL OR state = ?2) AND (?3 IS NULL OR faculty = ?3)
             AND (?4 IS NULL OR parent = ?4) AND (?5 IS NULL OR id < ?5) ORDER BY id DESC LIMIT ?6",
        )
        .bind(self.t())
        .bind(filter.state.map(State::as_str))
        .bind(filter.faculty)
        .bind(filter.parent.map(|id| id.to_string()))
        .bind(filter.before.map(|id| id.to_string()))
        .bind(most)
        .fetch_all(self.pool.readers())
        .await;
        rows.during("list work items")?.iter().map(work).collect()
    }

    async fn works_by_prefix(&self, prefix: &str, limit: u32) -> Result<Vec<Work>> {
        // 'g' sorts after every digit and dash of an identifier.
        let rows = sqlx::query(
            "SELECT * FROM works WHERE tenant = ?1 AND id >= ?2 AND id < ?2 || 'g' ORDER BY id DESC LIMIT ?3",
        )
        .bind(self.t())
        .bind(prefix.to_ascii_lowercase())
        .bind(limit)
        .fetch_all(self.pool.readers())
        .await;
        rows.during("find work items")?.iter().map(work).collect()
    }

    async fn awareness(&self, query: awareness::Query) -> Result<awareness::Rows> {
        self.look_around(&query).await
    }

    async fn work_counts(&self) -> Result<Counts> {
        let what = "count work items";
        let mut counts = Counts::default();
        let states = sqlx::query("SELECT state, count(*) AS n FROM works WHERE tenant = ?1 GROUP BY state")
            .bind(self.t())
            .fetch_all(self.pool.readers())
            .await
            .during(what)?;
        for row in states {
            counts.by_state.insert(row.text("state")?, row.number("n")?);
        }
        let ready = sqlx::query(
            "SELECT faculty, count(*) AS n, min(created_ms) AS oldest FROM works
             WHERE tenant = ?1 AND state = 'queued' AND disposal = 'queue' AND not_before_ms <= ?2 GROUP BY faculty",
        )
        .bind(self.t())
        .bind(now_ms())
        .fetch_all(self.pool.readers())
        .await
        .during(what)?;
        for row in ready {
            counts.ready.insert(row.text("faculty")?, row.number("n")?);
            let oldest = row.number("oldest")?;
            counts.oldest_ready_ms = Some(counts.oldest_ready_ms.map_or(oldest, |other| other.min(oldest)));
        }
        Ok(counts)
    }

    async fn work_cancel(&self, actor: &str, id: WorkId) -> Result<Work> {
        let what = format!("cancel the work item {id}");
        let mut tx = self.pool.write().await?;
        let before = self.work_in(&mut tx, id).await?;
        let changed = sqlx::query(
            "WITH RECURSIVE family (id) AS (
                 SELECT ?2 UNION SELECT works.id FROM works JOIN family ON works.parent = family.id WHERE works.tenant = ?1)
             UPDATE works SET
                 cancelling = state = 'running',
                 state = CASE state WHEN 'running' THEN state ELSE 'cancelled' END,
                 updated_ms = ?3
             WHERE tenant = ?1 AND id IN family AND state IN ('queued', 'running', 'failed', 'dead')",
        )
        .bind(self.t())
        .bind(id.to_string())
        .bind(now_ms())
        .execute(&mut *tx)
        .await
        .during(&what)?
        .rows_affected();
        if changed > 0 {
            let detail = json!({ "was": before.state, "items": changed });
            self.record(&mut tx, actor, "work.cancel", &id.to_string(), &detail).await?;
        }
        let work = self.work_in(&mut tx, id).await?;
        tx.commit().await.during(&what)?;
        self.pool.changed();
        measure::changed(&self.tenant, "cancel", usize::try_from(changed).unwrap_or(usize::MAX), before.state, &work);
        Ok(work)
    }

    async fn work_retry(&self, actor: &str, id: WorkId) -> Result<Work> {
        let what = format!("try the work item {id} again");
        let mut tx = self.pool.write().await?;
        let before = self.work_in(&mut tx, id).await?;
        expect_over(&what, &before)?;
        let queued = sqlx::query(
            "UPDATE works SET state = 'queued', disposal = 'queue', max_attempts = max(max_attempts, attempts + 1),
                 takeovers = 0, not_before_ms = 0, cancelling = 0, updated_ms = ?3
             WHERE tenant = ?1 AND id = ?2",
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
        tx.commit().await.during(&what)?;
        self.pool.changed();
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
        let row = sqlx::query(
            "SELECT min(at) AS at FROM (
                 SELECT min(not_before_ms) AS at FROM works
                 WHERE tenant = ?1 AND state = 'queued' AND disposal = 'queue' AND not_before_ms > ?2
                 UNION ALL
                 SELECT min(lease_until_ms) FROM focuses
                 WHERE tenant = ?1 AND ended_ms IS NULL AND lease_until_ms > ?2)",
        )
        .bind(self.t())
        .bind(now_ms())
        .fetch_one(self.pool.readers())
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

    async fn focus(&self, id: animus_core::id::FocusId) -> Result<FocusRecord> {
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
        Ok(Box::new(Watching::new(&self.pool).await?))
    }
}
