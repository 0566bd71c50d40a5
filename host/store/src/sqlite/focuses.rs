//! Focuses: the queue gives out work under a lease, and only who holds the newest lease may write for it.

use animus_core::{
    Error, Result,
    budget::Amount,
    id::{FocusId, WorkId},
    store::Renewed,
    work::{Claim, Claimed, Disposal, FocusRecord, Host, Lease, Settlement, State, Work},
};
use futures::TryStreamExt as _;
use serde_json::json;
use sqlx::SqliteConnection;

use super::{
    Handle,
    error::{Columns as _, During as _, json as to_json, missing, signed},
    now_ms,
};
use crate::{
    measure,
    works::{
        after, beyond_takeover, cut_off, effect, expect_end, expect_held, focus, lost, runs_in, spawned, taken, until,
        work,
    },
};

/// A running item whose lease has run out; where there is none, a queued one whose time has come.
const NEXT: &str = "SELECT * FROM (
         SELECT works.*, 1 AS lost FROM focuses JOIN works ON works.tenant = ?1 AND works.id = focuses.work
         WHERE focuses.tenant = ?1 AND focuses.ended_ms IS NULL AND focuses.lease_until_ms < ?2
             AND works.state = 'running' AND works.disposal = 'queue' AND works.focus = focuses.id
             AND works.faculty IN (SELECT value FROM json_each(?3))
             AND works.id NOT IN (SELECT value FROM json_each(?4))
         ORDER BY works.priority DESC, works.id LIMIT 1)
     UNION ALL SELECT * FROM (
         SELECT *, 0 AS lost FROM works INDEXED BY works_ready
         WHERE tenant = ?1 AND state = 'queued' AND disposal = 'queue' AND not_before_ms <= ?2
             AND faculty IN (SELECT value FROM json_each(?3))
             AND id NOT IN (SELECT value FROM json_each(?4))
         ORDER BY priority DESC, id LIMIT 1)
     LIMIT 1";

impl Handle {
    /// The next item for a host, if there is one.
    pub(super) async fn claim(&self, claim: &Claim) -> Result<Option<Claimed>> {
        let what = "claim work";
        if claim.faculties.is_empty() {
            return Ok(None);
        }
        let (faculties, except) = (to_json(&claim.faculties)?, to_json(&claim.except)?);
        let mut tx = self.pool.write().await?;
        let mut settled = false;
        let claimed = loop {
            let next = sqlx::query(NEXT).bind(self.t()).bind(now_ms()).bind(&faculties).bind(&except);
            let next = next.fetch_optional(&mut *tx).await;
            let Some(row) = next.during(what)? else { break None };
            let next = work(&row)?;
            if !row.flag("lost")? {
                break Some(self.begin(&mut tx, &next, claim).await?);
            }
            match self.take_over(&mut tx, next, claim).await? {
                Some(claimed) => break Some(claimed),
                None => settled = true,
            }
        };
        if claimed.is_some() || settled {
            tx.commit().await.during(what)?;
            self.pool.changed();
        }
        Ok(claimed)
    }

    /// Gives a focus that lost its host to another one. None for an item that was to be cancelled, or that has lost too many
    /// hosts: it is settled instead.
    async fn take_over(&self, tx: &mut SqliteConnection, work: Work, claim: &Claim) -> Result<Option<Claimed>> {
        let what = format!("take over the work item {}", work.id);
        let focus = runs_in(&work)?;
        let row = self.focus_row(tx, focus).await?;
        if let Some((to, settlement)) = beyond_takeover(&work, focus) {
            self.settle(tx, &work, focus, to, &settlement, work.not_before_ms).await?;
            let detail = json!({ "focus": focus, "to": to });
            self.record(tx, "host", "focus.settle", &work.id.to_string(), &detail).await?;
            measure::transition(&self.tenant, work.state, to);
            return Ok(None);
        }
        let token = row.token + 1;
        sqlx::query("UPDATE focuses SET token = ?3, lease_until_ms = ?4, host = ?5 WHERE tenant = ?1 AND id = ?2")
            .bind(self.t())
            .bind(focus.to_string())
            .bind(signed(token))
            .bind(until(claim.lease_ms))
            .bind(claim.host.to_string())
            .execute(&mut *tx)
            .await
            .during(&what)?;
        sqlx::query("UPDATE works SET takeovers = takeovers + 1, updated_ms = ?3 WHERE tenant = ?1 AND id = ?2")
            .bind(self.t())
            .bind(work.id.to_string())
            .bind(now_ms())
            .execute(&mut *tx)
            .await
            .during(&what)?;
        let detail = json!({ "focus": focus, "from": row.host, "by": claim.host });
        self.record(tx, "host", "focus.takeover", &work.id.to_string(), &detail).await?;
        let work = self.work_in(tx, work.id).await?;
        let lease = Lease { focus, token };
        Ok(Some(Claimed { work, lease, plugins: row.plugins, began_ms: row.began_ms, resumed: true }))
    }

    /// A new focus on a queued item.
    async fn begin(&self, tx: &mut SqliteConnection, queued: &Work, claim: &Claim) -> Result<Claimed> {
        let what = format!("begin a focus on the work item {}", queued.id);
        let (focus, now) = (FocusId::new(), now_ms());
        sqlx::query(
            "INSERT INTO focuses (tenant, id, work, token, lease_until_ms, host, plugins, started_ms)
             VALUES (?1, ?2, ?3, 1, ?4, ?5, ?6, ?7)",
        )
        .bind(self.t())
        .bind(focus.to_string())
        .bind(queued.id.to_string())
        .bind(until(claim.lease_ms))
        .bind(claim.host.to_string())
        .bind(to_json(&claim.plugins)?)
        .bind(now)
        .execute(&mut *tx)
        .await
        .during(&what)?;
        let row = sqlx::query(
            "UPDATE works SET state = 'running', attempts = attempts + 1, takeovers = 0, focus = ?3, updated_ms = ?4
             WHERE tenant = ?1 AND id = ?2 RETURNING *",
        )
        .bind(self.t())
        .bind(queued.id.to_string())
        .bind(focus.to_string())
        .bind(now)
        .fetch_one(tx)
        .await
        .during(&what)?;
        Ok(Claimed {
            work: work(&row)?,
            lease: Lease { focus, token: 1 },
            plugins: claim.plugins.clone(),
            began_ms: u64::try_from(now).unwrap_or_default(),
            resumed: false,
        })
    }

    /// A failed item is queued and begun in one step, as its retry.
    pub(super) async fn begin_held(&self, id: WorkId, from: State, claim: &Claim) -> Result<Claimed> {
        let what = format!("begin a focus on the work item {id}");
        let mut tx = self.pool.write().await?;
        let work = self.work_in(&mut tx, id).await?;
        expect_held(&what, &work, from)?;
        let claimed = self.begin(&mut tx, &work, claim).await?;
        tx.commit().await.during(&what)?;
        self.pool.changed();
        Ok(claimed)
    }

    pub(super) async fn renew(&self, leases: &[Lease], lease_ms: u64) -> Result<Renewed> {
        let what = "renew leases";
        let mut renewed = Renewed::default();
        let mut tx = self.pool.write().await?;
        for lease in leases {
            let row = sqlx::query(
                "UPDATE focuses SET lease_until_ms = ?4 WHERE tenant = ?1 AND id = ?2 AND token = ?3 AND ended_ms IS NULL
                 RETURNING (SELECT cancelling FROM works WHERE tenant = ?1 AND id = focuses.work) AS cancelling",
            )
            .bind(self.t())
            .bind(lease.focus.to_string())
            .bind(signed(lease.token))
            .bind(until(lease_ms))
            .fetch_optional(&mut *tx)
            .await
            .during(what)?;
            match row {
                None => renewed.lost.push(*lease),
                Some(row) if row.flag("cancelling")? => renewed.cancelling.push(*lease),
                Some(_) => {}
            }
        }
        tx.commit().await.during(what)?;
        Ok(renewed)
    }

    pub(super) async fn end(&self, lease: Lease, to: State, settlement: Settlement) -> Result<Work> {
        let focus = lease.focus;
        expect_end(to)?;
        let mut tx = self.pool.write().await?;
        let row = self.focus_row(&mut tx, focus).await?;
        let work = self.work_in(&mut tx, row.work).await?;
        if row.token != lease.token || row.ended_ms.is_some() || work.focus != Some(focus) {
            return Err(lost(lease));
        }
        let (to, not_before) = after(&work, to, &settlement, now_ms());
        let work = self.settle(&mut tx, &work, focus, to, &settlement, not_before).await?;
        tx.commit().await.during(format_args!("end the focus {focus}"))?;
        self.pool.changed();
        Ok(work)
    }

    /// Takes a running item to `to`. The caller has made sure that `focus` runs it.
    async fn settle(
        &self,
        tx: &mut SqliteConnection,
        running: &Work,
        focus: FocusId,
        to: State,
        settlement: &Settlement,
        not_before_ms: u64,
    ) -> Result<Work> {
        let what = format!("end the focus {focus}");
        let now = now_ms();
        // A focus that ends by itself tells what it spent; of one that was cut off, its journal knows.
        let told = settlement.tokens > 0 || settlement.cost_microusd > 0;
        let spent = if told { Amount::default() } else { self.spent(tx, focus).await? };
        sqlx::query("UPDATE focuses SET ended_ms = ?3 WHERE tenant = ?1 AND id = ?2")
            .bind(self.t())
            .bind(focus.to_string())
            .bind(now)
            .execute(&mut *tx)
            .await
            .during(&what)?;
        let row = sqlx::query(
            "UPDATE works SET state = ?3, outcome = ?4, error = ?5, tokens = ?6, cost_microusd = ?7, not_before_ms = ?8,
                 cancelling = 0, updated_ms = ?9
             WHERE tenant = ?1 AND id = ?2 RETURNING *",
        )
        .bind(self.t())
        .bind(running.id.to_string())
        .bind(to.as_str())
        .bind(settlement.outcome.as_ref().map(to_json).transpose()?)
        .bind(settlement.error.as_ref().map(to_json).transpose()?)
        .bind(signed(running.tokens.saturating_add(settlement.tokens.max(spent.tokens))))
        .bind(signed(running.cost_microusd.saturating_add(settlement.cost_microusd.max(spent.microusd))))
        .bind(signed(not_before_ms))
        .bind(now)
        .fetch_one(tx)
        .await
        .during(&what)?;
        work(&row)
    }

    /// What a focus has spent, by its journal.
    async fn spent(&self, tx: &mut SqliteConnection, focus: FocusId) -> Result<Amount> {
        let (mut spent, mut children) = (Amount::default(), Vec::new());
        {
            let mut rows = sqlx::query(
                "SELECT * FROM journal_intents JOIN journal_outcomes USING (tenant, focus, seq)
                 WHERE tenant = ?1 AND focus = ?2 AND kind IN ('llm', 'child')",
            )
            .bind(self.t())
            .bind(focus.to_string())
            .fetch(&mut *tx);
            while let Some(row) = rows.try_next().await.during(format_args!("count what the focus {focus} spent"))? {
                // What cannot be read keeps nobody from its end.
                let Ok(record) = effect(&row) else { continue };
                spent = spent.plus(record.cost());
                children.extend(spawned(&record));
            }
        }
        for child in children {
            match self.work_in(tx, child).await {
                Ok(child) => spent = spent.plus(taken(&child)),
                Err(Error::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(spent)
    }

    pub(super) async fn release(&self, lease: Lease) -> Result<()> {
        let what = format!("let go of the focus {}", lease.focus);
        let mut tx = self.pool.write().await?;
        let let_go = sqlx::query(
            "UPDATE focuses SET lease_until_ms = 0 WHERE tenant = ?1 AND id = ?2 AND token = ?3 AND ended_ms IS NULL",
        )
        .bind(self.t())
        .bind(lease.focus.to_string())
        .bind(signed(lease.token))
        .execute(&mut *tx)
        .await
        .during(&what)?
        .rows_affected();
        if let_go == 0 {
            return Err(lost(lease));
        }
        // A host that stops on purpose is no host that was lost.
        sqlx::query(
            "UPDATE works SET takeovers = takeovers - 1, updated_ms = ?3
             WHERE tenant = ?1 AND focus = ?2 AND state = 'running'",
        )
        .bind(self.t())
        .bind(lease.focus.to_string())
        .bind(now_ms())
        .execute(&mut *tx)
        .await
        .during(&what)?;
        tx.commit().await.during(&what)?;
        self.pool.changed();
        Ok(())
    }

    /// One focus, as this transaction sees it.
    async fn focus_row(&self, tx: &mut SqliteConnection, id: FocusId) -> Result<FocusRecord> {
        let row = sqlx::query("SELECT * FROM focuses WHERE tenant = ?1 AND id = ?2")
            .bind(self.t())
            .bind(id.to_string())
            .fetch_optional(tx)
            .await
            .during(format_args!("read the focus {id}"))?;
        focus(&row.ok_or_else(|| missing("focus", id))?)
    }

    pub(super) async fn focus_record(&self, id: FocusId) -> Result<FocusRecord> {
        let mut reader = self.pool.readers().acquire().await.during(format_args!("read the focus {id}"))?;
        self.focus_row(&mut reader, id).await
    }

    pub(super) async fn focuses_of(&self, work: WorkId) -> Result<Vec<FocusRecord>> {
        let rows = sqlx::query("SELECT * FROM focuses WHERE tenant = ?1 AND work = ?2 ORDER BY id")
            .bind(self.t())
            .bind(work.to_string())
            .fetch_all(self.pool.readers())
            .await;
        rows.during(format_args!("list the focuses of the work item {work}"))?.iter().map(focus).collect()
    }

    pub(super) async fn focuses_that_begin(&self, prefix: &str, limit: u32) -> Result<Vec<FocusRecord>> {
        let rows = sqlx::query(
            "SELECT * FROM focuses WHERE tenant = ?1 AND id >= ?2 AND id < ?2 || 'g' ORDER BY id DESC LIMIT ?3",
        )
        .bind(self.t())
        .bind(prefix.to_ascii_lowercase())
        .bind(limit)
        .fetch_all(self.pool.readers())
        .await;
        rows.during("find focuses")?.iter().map(focus).collect()
    }

    pub(super) async fn recover(&self, machine: &str, alive: &(dyn Fn(u32) -> bool + Sync)) -> Result<Vec<WorkId>> {
        let what = "recover focuses that were cut off";
        let open =
            sqlx::query("SELECT id, work, host, lease_until_ms FROM focuses WHERE tenant = ?1 AND ended_ms IS NULL")
                .bind(self.t())
                .fetch_all(self.pool.readers())
                .await
                .during(what)?;
        let (mut recovered, mut changed) = (Vec::new(), false);
        for row in open {
            let (focus, id, host) = (row.parsed::<FocusId>("id")?, row.parsed("work")?, row.parsed::<Host>("host")?);
            // Focuses of before there were leases do not say on which machine.
            let here = host.machine == machine || host.machine.is_empty();
            let lease_until = row.integer("lease_until_ms")?;
            let overdue = lease_until < now_ms();
            let gone = if here { !alive(host.process) } else { overdue };
            if !gone {
                continue;
            }
            let mut tx = self.pool.write().await?;
            let work = self.work_in(&mut tx, id).await?;
            // Another host may have recovered it since, or its own come back to it.
            let as_seen = sqlx::query("SELECT 1 FROM focuses WHERE tenant = ?1 AND id = ?2 AND lease_until_ms = ?3")
                .bind(self.t())
                .bind(focus.to_string())
                .bind(lease_until)
                .fetch_optional(&mut *tx)
                .await
                .during(what)?
                .is_some();
            if work.state != State::Running || work.focus != Some(focus) || !as_seen {
                continue;
            }
            if work.disposal == Disposal::Queue {
                // Whoever claims next takes it over; nobody needs to wait for its lease.
                sqlx::query("UPDATE focuses SET lease_until_ms = 0 WHERE tenant = ?1 AND id = ?2 AND host = ?3")
                    .bind(self.t())
                    .bind(focus.to_string())
                    .bind(host.to_string())
                    .execute(&mut *tx)
                    .await
                    .during(what)?;
                tx.commit().await.during(what)?;
                changed = true;
                continue;
            }
            let Host { process, .. } = host;
            let settlement = cut_off(process, focus);
            self.settle(&mut tx, &work, focus, State::Failed, &settlement, work.not_before_ms).await?;
            let detail = json!({ "focus": focus, "process": process });
            self.record(&mut tx, "host", "focus.recover", &id.to_string(), &detail).await?;
            tx.commit().await.during(what)?;
            measure::transition(&self.tenant, work.state, State::Failed);
            recovered.push(id);
        }
        if changed || !recovered.is_empty() {
            self.pool.changed();
        }
        Ok(recovered)
    }
}
