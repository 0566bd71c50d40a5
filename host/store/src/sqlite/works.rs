//! Work items: submitting, looking, cancelling, trying again. Their focuses are in `focuses.rs`.

use animus_core::{
    Error, Result,
    id::WorkId,
    store::{Renewed, Watch, Works},
    work::{
        Claim, Claimed, Counts, Disposal, FocusRecord, Lease, MAX_DEPTH, NewWork, Settlement, State, Submission,
        Submitted, Work, WorkFilter,
    },
};
use async_trait::async_trait;
use serde_json::json;
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};

use super::{
    Handle,
    error::{Columns as _, During as _, is_taken, json as to_json, missing, signed},
    now_ms,
    watch::Watching,
};

/// Items of one list, where it is not said.
const LISTED: u32 = 20;
/// The most items of one list.
const MOST_LISTED: u32 = 1_000;

pub(super) fn work(row: &SqliteRow) -> Result<Work> {
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
        priority: row.try_get("priority").during("read the priority of a work item")?,
        attempts: count("attempts")?,
        max_attempts: count("max_attempts")?,
        takeovers: count("takeovers")?,
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

    /// How deep a child of `parent` is.
    async fn depth_below(&self, tx: &mut SqliteConnection, parent: WorkId) -> Result<u32> {
        let parent = self.work_in(tx, parent).await?;
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

    async fn insert(&self, tx: &mut SqliteConnection, new: &NewWork, merged_into: Option<WorkId>) -> Result<WorkId> {
        let what = "submit a work item";
        let depth = match new.parent {
            Some(parent) => self.depth_below(tx, parent).await?,
            None => 0,
        };
        let (id, now) = (WorkId::new(), now_ms());
        let state = if merged_into.is_some() { State::Merged } else { State::Queued };
        sqlx::query(
            "INSERT INTO works (
                 tenant, id, faculty, source, instruction, params, state, disposal, dedup_key, idempotency_key, merged_into,
                 priority, max_attempts, not_before_ms, parent, depth, cap, allowance, workspace, trace, created_ms,
                 updated_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?21)",
        )
        .bind(self.t())
        .bind(id.to_string())
        .bind(&new.faculty)
        .bind(&new.source)
        .bind(&new.instruction)
        .bind(to_json(&new.params)?)
        .bind(state.as_str())
        .bind(match new.disposal {
            Disposal::Queue => "queue",
            Disposal::Held => "held",
        })
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
        .execute(tx)
        .await
        .during(what)?;
        Ok(id)
    }
}

#[async_trait]
impl Works for Handle {
    async fn work_submit(&self, new: NewWork) -> Result<Submitted> {
        const BY_SUBMIT: &str = "SELECT * FROM works WHERE tenant = ?1 AND idempotency_key = ?2 AND ?3 = ''";
        const ALIKE: &str = "SELECT * FROM works
             WHERE tenant = ?1 AND faculty = ?2 AND dedup_key = ?3 AND state IN ('queued', 'running')";
        new.check()?;
        let mut tx = self.pool.write().await?;
        if let Some(key) = &new.idempotency_key
            && let Some(earlier) = self.find(&mut tx, BY_SUBMIT, [key, ""]).await?
        {
            let same = (&earlier.faculty, &earlier.instruction, &earlier.params)
                == (&new.faculty, &new.instruction, &new.params);
            if !same {
                return Err(Error::Conflict(format!(
                    "the idempotency key '{}' came with other work before: the item {}",
                    key.escape_debug(),
                    earlier.id
                )));
            }
            return Ok(match earlier.merged_into {
                None => Submitted { work: earlier, how: Submission::Repeated },
                Some(canonical) => {
                    let how = Submission::Merged { item: earlier.id };
                    Submitted { work: self.work_in(&mut tx, canonical).await?, how }
                }
            });
        }
        let alike = match &new.dedup_key {
            Some(key) => self.find(&mut tx, ALIKE, [&new.faculty, key]).await?,
            None => None,
        };
        let id = self.insert(&mut tx, &new, alike.as_ref().map(|work| work.id)).await?;
        let submitted = match alike {
            Some(work) => Submitted { work, how: Submission::Merged { item: id } },
            None => Submitted { work: self.work_in(&mut tx, id).await?, how: Submission::Created },
        };
        tx.commit().await.during("submit a work item")?;
        self.pool.changed();
        Ok(submitted)
    }

    async fn work(&self, id: WorkId) -> Result<Work> {
        let mut reader = self.pool.readers().acquire().await.during(format_args!("read the work item {id}"))?;
        self.work_in(&mut reader, id).await
    }

    async fn works(&self, filter: WorkFilter) -> Result<Vec<Work>> {
        // Identifiers sort by time.
        let rows = sqlx::query(
            "SELECT * FROM works WHERE tenant = ?1 AND (?2 IS NULL OR state = ?2) AND (?3 IS NULL OR faculty = ?3)
             AND (?4 IS NULL OR parent = ?4) ORDER BY id DESC LIMIT ?5",
        )
        .bind(self.t())
        .bind(filter.state.map(State::as_str))
        .bind(filter.faculty)
        .bind(filter.parent.map(|id| id.to_string()))
        .bind(filter.limit.unwrap_or(LISTED).min(MOST_LISTED))
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
        Ok(work)
    }

    async fn work_retry(&self, actor: &str, id: WorkId) -> Result<Work> {
        let what = format!("try the work item {id} again");
        let mut tx = self.pool.write().await?;
        let before = self.work_in(&mut tx, id).await?;
        if !matches!(before.state, State::Failed | State::Dead) {
            return Err(Error::Conflict(format!("cannot {what}: it is {}", before.state)));
        }
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
            Err(e) if is_taken(&e) => {
                return Err(Error::Conflict(format!("cannot {what}: the same work is queued or running already")));
            }
            queued => queued.during(&what)?,
        };
        self.record(&mut tx, actor, "work.retry", &id.to_string(), &json!({ "was": before.state })).await?;
        let work = self.work_in(&mut tx, id).await?;
        tx.commit().await.during(&what)?;
        self.pool.changed();
        Ok(work)
    }

    async fn work_claim(&self, claim: &Claim) -> Result<Option<Claimed>> {
        self.claim(claim).await
    }

    async fn work_next_due(&self) -> Result<Option<u64>> {
        let row = sqlx::query(
            "SELECT min(at) AS at FROM (
                 SELECT min(not_before_ms) AS at FROM works
                 WHERE tenant = ?1 AND state = 'queued' AND disposal = 'queue'
                 UNION ALL
                 SELECT min(lease_until_ms) FROM focuses WHERE tenant = ?1 AND ended_ms IS NULL)",
        )
        .bind(self.t())
        .fetch_one(self.pool.readers())
        .await;
        row.during("look when work is due")?.maybe_number("at")
    }

    async fn focus_begin(&self, work: WorkId, from: State, claim: &Claim) -> Result<Claimed> {
        self.begin_held(work, from, claim).await
    }

    async fn focus_renew(&self, leases: &[Lease], lease_ms: u64) -> Result<Renewed> {
        self.renew(leases, lease_ms).await
    }

    async fn focus_end(&self, lease: Lease, to: State, settlement: Settlement) -> Result<Work> {
        self.end(lease, to, settlement).await
    }

    async fn focus_release(&self, lease: Lease) -> Result<()> {
        self.release(lease).await
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
