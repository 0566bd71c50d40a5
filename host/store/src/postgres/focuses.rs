//! Focuses: the queue gives out work under a lease, and only who holds the newest lease may write for it.
//!
//! The queue is the table of work items itself, of which a claim takes a row that nobody else has locked (`SKIP LOCKED`):
//! hosts that claim at once get different rows and never wait for each other. See docs/decisions/0006-postgres-queue.md.
//! Whether a lease has run out goes by the server's clock: clocks of hosts may differ.

use animus_core::{
    Error, Result,
    budget::Amount,
    id::{FocusId, WorkId},
    store::Renewed,
    work::{Claim, Claimed, Disposal, FocusRecord, Host, Lease, Settlement, State, Work},
};
use futures::TryStreamExt as _;
use serde_json::json;
use sqlx::{PgConnection, postgres::PgRow};

use super::{
    Handle,
    error::{Columns as _, During as _, json as to_json, missing, now_ms, signed},
    text::kept,
};
use crate::{
    measure,
    works::{
        after, beyond_takeover, cut_off, effect, expect_end, expect_held, focus, lost, runs_in, spawned, taken, work,
    },
};

/// A running item whose lease has run out.
const ABANDONED: &str = concat!(
    "SELECT works.* FROM focuses JOIN works ON works.tenant = $1 AND works.id = focuses.work
     WHERE focuses.tenant = $1 AND focuses.ended_ms IS NULL AND focuses.lease_until_ms < ",
    clock!(),
    " AND works.state = 'running' AND works.disposal = 'queue' AND works.focus = focuses.id
         AND works.faculty = ANY ($2) AND NOT works.id = ANY ($3)
     ORDER BY works.priority DESC, works.id LIMIT 1 FOR NO KEY UPDATE OF works SKIP LOCKED"
);

/// A queued item whose time has come.
const READY: &str = concat!(
    "SELECT * FROM works
     WHERE tenant = $1 AND state = 'queued' AND disposal = 'queue' AND faculty = ANY ($2)
         AND NOT id = ANY ($3) AND not_before_ms <= ",
    clock!(),
    " AND NOT id = ANY ($3) ORDER BY priority DESC, id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED"
);

/// The longest lease, in milliseconds: a year.
const LONGEST: u64 = 365 * 24 * 3_600 * 1_000;

/// How long a lease lasts that is given or renewed.
fn lasting(lease_ms: u64) -> i64 {
    signed(lease_ms.min(LONGEST))
}

impl Handle {
    /// The next item for a host, if there is one.
    pub(super) async fn claim(&self, claim: &Claim) -> Result<Option<Claimed>> {
        let what = "claim work";
        if claim.faculties.is_empty() {
            return Ok(None);
        }
        let faculties: Vec<_> = claim.faculties.iter().map(|faculty| kept(faculty).into_owned()).collect();
        let except: Vec<_> = claim.except.iter().map(WorkId::to_string).collect();
        let mut tx = self.tx().await?;
        let mut settled = false;
        let claimed = loop {
            if let Some(row) = self.next(&mut tx, ABANDONED, &faculties, &except).await? {
                match self.take_over(&mut tx, work(&row)?, claim).await? {
                    Some(claimed) => break Some(claimed),
                    None => settled = true,
                }
            } else if let Some(row) = self.next(&mut tx, READY, &faculties, &except).await? {
                break Some(self.begin(&mut tx, &work(&row)?, claim).await?);
            } else {
                break None;
            }
        };
        if claimed.is_some() || settled {
            self.changed(&mut tx).await?;
            tx.commit().await.during(what)?;
        }
        Ok(claimed)
    }

    async fn next(
        &self,
        tx: &mut PgConnection,
        sql: &'static str,
        faculties: &[String],
        except: &[String],
    ) -> Result<Option<PgRow>> {
        let query = sqlx::query(sql).bind(self.t()).bind(faculties).bind(except);
        query.fetch_optional(tx).await.during("claim work")
    }

    /// Gives a focus that lost its host to another one. None for an item that was to be cancelled, or that has lost too many
    /// hosts: it is settled instead. None as well where its host came back in the last moment.
    async fn take_over(&self, tx: &mut PgConnection, work: Work, claim: &Claim) -> Result<Option<Claimed>> {
        let what = format!("take over the work item {}", work.id);
        let focus = runs_in(&work)?;
        let row = self.focus_held(tx, focus).await?;
        let overdue =
            sqlx::query(concat!("SELECT 1 FROM focuses WHERE tenant = $1 AND id = $2 AND lease_until_ms < ", clock!()))
                .bind(self.t())
                .bind(focus.to_string())
                .fetch_optional(&mut *tx)
                .await
                .during(&what)?;
        if overdue.is_none() || row.ended_ms.is_some() {
            return Ok(None);
        }
        if let Some((to, settlement)) = beyond_takeover(&work, focus) {
            self.settle(tx, &work, focus, to, &settlement, work.not_before_ms).await?;
            let detail = json!({ "focus": focus, "to": to });
            self.record(tx, "host", "focus.settle", &work.id.to_string(), &detail).await?;
            measure::transition(&self.tenant, work.state, to);
            return Ok(None);
        }
        let token = row.token + 1;
        sqlx::query(concat!(
            "UPDATE focuses SET token = $3, lease_until_ms = $4 + ",
            clock!(),
            ", host = $5 WHERE tenant = $1 AND id = $2"
        ))
        .bind(self.t())
        .bind(focus.to_string())
        .bind(signed(token))
        .bind(lasting(claim.lease_ms))
        .bind(kept(&claim.host.to_string()))
        .execute(&mut *tx)
        .await
        .during(&what)?;
        sqlx::query("UPDATE works SET takeovers = takeovers + 1, updated_ms = $3 WHERE tenant = $1 AND id = $2")
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

    /// A new focus on a queued item, whose row this transaction holds.
    async fn begin(&self, tx: &mut PgConnection, queued: &Work, claim: &Claim) -> Result<Claimed> {
        let what = format!("begin a focus on the work item {}", queued.id);
        let (focus, now) = (FocusId::new(), now_ms());
        sqlx::query(concat!(
            "INSERT INTO focuses (tenant, id, work, token, lease_until_ms, host, plugins, started_ms)
             VALUES ($1, $2, $3, 1, $4 + ",
            clock!(),
            ", $5, $6, $7)",
        ))
        .bind(self.t())
        .bind(focus.to_string())
        .bind(queued.id.to_string())
        .bind(lasting(claim.lease_ms))
        .bind(kept(&claim.host.to_string()))
        .bind(to_json(&claim.plugins)?)
        .bind(now)
        .execute(&mut *tx)
        .await
        .during(&what)?;
        let row = sqlx::query(
            "UPDATE works SET state = 'running', attempts = attempts + 1, takeovers = 0, focus = $3, updated_ms = $4
             WHERE tenant = $1 AND id = $2 RETURNING *",
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
            began_ms: now.unsigned_abs(),
            resumed: false,
        })
    }

    /// A failed item is queued and begun in one step, as its retry.
    pub(super) async fn begin_held(&self, id: WorkId, from: State, claim: &Claim) -> Result<Claimed> {
        let what = format!("begin a focus on the work item {id}");
        let mut tx = self.tx().await?;
        let work = self.work_held(&mut tx, id).await?;
        expect_held(&what, &work, from)?;
        let claimed = self.begin(&mut tx, &work, claim).await?;
        self.changed(&mut tx).await?;
        tx.commit().await.during(&what)?;
        Ok(claimed)
    }

    pub(super) async fn renew(&self, leases: &[Lease], lease_ms: u64) -> Result<Renewed> {
        let what = "renew leases";
        let (focuses, tokens): (Vec<_>, Vec<_>) =
            leases.iter().map(|lease| (lease.focus.to_string(), signed(lease.token))).unzip();
        // Behind whatever this host asks of its store at the moment, a renewal would come too late.
        let mut tx = self.pool.renewing(&self.tenant).await?;
        let rows = sqlx::query(concat!(
            "UPDATE focuses SET lease_until_ms = $4 + ",
            clock!(),
            " FROM unnest($2::text[], $3::bigint[]) AS held (id, token)
             WHERE focuses.tenant = $1 AND focuses.id = held.id AND focuses.token = held.token AND ended_ms IS NULL
             RETURNING focuses.id, focuses.token,
                 (SELECT cancelling FROM works WHERE tenant = $1 AND id = focuses.work) AS cancelling",
        ))
        .bind(self.t())
        .bind(focuses)
        .bind(tokens)
        .bind(lasting(lease_ms))
        .fetch_all(&mut *tx)
        .await
        .during(what)?;
        let mut renewed = Renewed { lost: leases.to_vec(), cancelling: Vec::new() };
        for row in rows {
            let lease = Lease { focus: row.parsed("id")?, token: row.number("token")? };
            renewed.lost.retain(|other| *other != lease);
            if row.flag("cancelling")? {
                renewed.cancelling.push(lease);
            }
        }
        tx.commit().await.during(what)?;
        Ok(renewed)
    }

    pub(super) async fn end(&self, lease: Lease, to: State, settlement: Settlement) -> Result<Work> {
        let focus = lease.focus;
        expect_end(to)?;
        let mut tx = self.tx().await?;
        let id = self.focus_row(&mut tx, focus).await?.work;
        let work = self.work_held(&mut tx, id).await?;
        let row = self.focus_held(&mut tx, focus).await?;
        if row.token != lease.token || row.ended_ms.is_some() || work.focus != Some(focus) {
            return Err(lost(lease));
        }
        let now = match settlement.retry_in_ms {
            Some(_) => self.clock(&mut tx).await?,
            None => 0,
        };
        let (to, not_before) = after(&work, to, &settlement, now);
        self.settle(&mut tx, &work, focus, to, &settlement, not_before).await?;
        let work = self.work_in(&mut tx, work.id).await?;
        self.changed(&mut tx).await?;
        tx.commit().await.during(format_args!("end the focus {focus}"))?;
        Ok(work)
    }

    /// Takes a running item to `to`. The caller holds it, and has made sure that `focus` runs it.
    async fn settle(
        &self,
        tx: &mut PgConnection,
        work: &Work,
        focus: FocusId,
        to: State,
        settlement: &Settlement,
        not_before_ms: u64,
    ) -> Result<()> {
        let what = format!("end the focus {focus}");
        let now = now_ms();
        // A focus that ends by itself tells what it spent; of one that was cut off, its journal knows.
        let told = settlement.tokens > 0 || settlement.cost_microusd > 0;
        let spent = if told { Amount::default() } else { self.spent(tx, focus).await? };
        sqlx::query("UPDATE focuses SET ended_ms = $3 WHERE tenant = $1 AND id = $2")
            .bind(self.t())
            .bind(focus.to_string())
            .bind(now)
            .execute(&mut *tx)
            .await
            .during(&what)?;
        sqlx::query(
            "UPDATE works SET state = $3, outcome = $4, error = $5, tokens = $6, cost_microusd = $7, not_before_ms = $8,
                 cancelling = false, updated_ms = $9
             WHERE tenant = $1 AND id = $2",
        )
        .bind(self.t())
        .bind(work.id.to_string())
        .bind(to.as_str())
        .bind(settlement.outcome.as_ref().map(to_json).transpose()?)
        .bind(settlement.error.as_ref().map(to_json).transpose()?)
        .bind(signed(work.tokens.saturating_add(settlement.tokens.max(spent.tokens))))
        .bind(signed(work.cost_microusd.saturating_add(settlement.cost_microusd.max(spent.microusd))))
        .bind(signed(not_before_ms))
        .bind(now)
        .execute(tx)
        .await
        .during(&what)?;
        Ok(())
    }

    /// What a focus has spent, by its journal.
    async fn spent(&self, tx: &mut PgConnection, focus: FocusId) -> Result<Amount> {
        let (mut spent, mut children) = (Amount::default(), Vec::new());
        {
            let mut rows = sqlx::query(
                "SELECT * FROM journal_intents JOIN journal_outcomes USING (tenant, focus, seq)
                 WHERE tenant = $1 AND focus = $2 AND kind IN ('llm', 'child')",
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

    /// The server's clock, milliseconds since the epoch.
    async fn clock(&self, tx: &mut PgConnection) -> Result<i64> {
        sqlx::query_scalar(concat!("SELECT ", clock!())).fetch_one(tx).await.during("read the server's clock")
    }

    pub(super) async fn release(&self, lease: Lease) -> Result<()> {
        let what = format!("let go of the focus {}", lease.focus);
        let mut tx = self.tx().await?;
        let id = match self.focus_row(&mut tx, lease.focus).await {
            Err(Error::NotFound(_)) => return Err(lost(lease)),
            row => row?.work,
        };
        self.work_held(&mut tx, id).await?;
        let let_go = sqlx::query(
            "UPDATE focuses SET lease_until_ms = 0 WHERE tenant = $1 AND id = $2 AND token = $3 AND ended_ms IS NULL",
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
            "UPDATE works SET takeovers = takeovers - 1, updated_ms = $3
             WHERE tenant = $1 AND id = $2 AND state = 'running'",
        )
        .bind(self.t())
        .bind(id.to_string())
        .bind(now_ms())
        .execute(&mut *tx)
        .await
        .during(&what)?;
        self.changed(&mut tx).await?;
        tx.commit().await.during(&what)
    }

    /// One focus, as this transaction sees it.
    async fn focus_row(&self, tx: &mut PgConnection, id: FocusId) -> Result<FocusRecord> {
        let row = sqlx::query("SELECT * FROM focuses WHERE tenant = $1 AND id = $2")
            .bind(self.t())
            .bind(id.to_string())
            .fetch_optional(tx)
            .await;
        found(id, row)
    }

    /// One focus, which nobody else changes until the transaction ends. Its item is held before it.
    async fn focus_held(&self, tx: &mut PgConnection, id: FocusId) -> Result<FocusRecord> {
        let row = sqlx::query("SELECT * FROM focuses WHERE tenant = $1 AND id = $2 FOR NO KEY UPDATE")
            .bind(self.t())
            .bind(id.to_string())
            .fetch_optional(tx)
            .await;
        found(id, row)
    }

    pub(super) async fn focus_record(&self, id: FocusId) -> Result<FocusRecord> {
        let mut tx = self.tx().await?;
        self.focus_row(&mut tx, id).await
    }

    pub(super) async fn focuses_of(&self, work: WorkId) -> Result<Vec<FocusRecord>> {
        let mut tx = self.tx().await?;
        let rows = sqlx::query("SELECT * FROM focuses WHERE tenant = $1 AND work = $2 ORDER BY id")
            .bind(self.t())
            .bind(work.to_string())
            .fetch_all(&mut *tx)
            .await;
        rows.during(format_args!("list the focuses of the work item {work}"))?.iter().map(focus).collect()
    }

    pub(super) async fn focuses_that_begin(&self, prefix: &str, limit: u32) -> Result<Vec<FocusRecord>> {
        let mut tx = self.tx().await?;
        let rows = sqlx::query(
            "SELECT * FROM focuses WHERE tenant = $1 AND id >= $2 AND id < $2 || 'g' ORDER BY id DESC LIMIT $3",
        )
        .bind(self.t())
        .bind(kept(&prefix.to_ascii_lowercase()))
        .bind(i64::from(limit))
        .fetch_all(&mut *tx)
        .await;
        rows.during("find focuses")?.iter().map(focus).collect()
    }

    pub(super) async fn recover(&self, machine: &str, alive: &(dyn Fn(u32) -> bool + Sync)) -> Result<Vec<WorkId>> {
        let what = "recover focuses that were cut off";
        let mut tx = self.tx().await?;
        let open = sqlx::query(concat!(
            "SELECT id, work, host, lease_until_ms, lease_until_ms < ",
            clock!(),
            " AS overdue FROM focuses WHERE tenant = $1 AND ended_ms IS NULL ORDER BY id",
        ))
        .bind(self.t())
        .fetch_all(&mut *tx)
        .await
        .during(what)?;
        drop(tx);
        let mut recovered = Vec::new();
        for row in open {
            let (focus, id, host) = (row.parsed::<FocusId>("id")?, row.parsed("work")?, row.parsed::<Host>("host")?);
            let gone = if host.machine == machine { !alive(host.process) } else { row.flag("overdue")? };
            if !gone {
                continue;
            }
            let mut tx = self.tx().await?;
            let work = self.work_held(&mut tx, id).await?;
            // Another host may have recovered it since, or its own come back to it.
            let as_seen = sqlx::query(
                "SELECT 1 FROM focuses WHERE tenant = $1 AND id = $2 AND lease_until_ms = $3 FOR NO KEY UPDATE",
            )
            .bind(self.t())
            .bind(focus.to_string())
            .bind(row.integer("lease_until_ms")?)
            .fetch_optional(&mut *tx)
            .await
            .during(what)?
            .is_some();
            if work.state != State::Running || work.focus != Some(focus) || !as_seen {
                continue;
            }
            if work.disposal == Disposal::Queue {
                // Whoever claims next takes it over; nobody needs to wait for its lease.
                sqlx::query("UPDATE focuses SET lease_until_ms = 0 WHERE tenant = $1 AND id = $2 AND host = $3")
                    .bind(self.t())
                    .bind(focus.to_string())
                    .bind(kept(&host.to_string()))
                    .execute(&mut *tx)
                    .await
                    .during(what)?;
            } else {
                let settlement = cut_off(host.process, focus);
                self.settle(&mut tx, &work, focus, State::Failed, &settlement, work.not_before_ms).await?;
                let detail = json!({ "focus": focus, "process": host.process });
                self.record(&mut tx, "host", "focus.recover", &id.to_string(), &detail).await?;
                recovered.push(id);
            }
            self.changed(&mut tx).await?;
            tx.commit().await.during(what)?;
            if work.disposal == Disposal::Held {
                measure::transition(&self.tenant, work.state, State::Failed);
            }
        }
        Ok(recovered)
    }
}

fn found(id: FocusId, row: Result<Option<PgRow>, sqlx::Error>) -> Result<FocusRecord> {
    let row = row.during(format_args!("read the focus {id}"))?;
    focus(&row.ok_or_else(|| missing("focus", id))?)
}
