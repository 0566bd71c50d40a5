//! Work items and their focuses.

use animus_core::{
    Error, Result,
    id::{FocusId, WorkId},
    store::Works,
    work::{NewWork, Settlement, State, Work},
};
use async_trait::async_trait;
use serde_json::{Value, json};
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use super::{
    Handle,
    error::{Columns as _, During as _, json as to_json, missing, signed},
    now_ms,
};

fn work(row: &SqliteRow) -> Result<Work> {
    Ok(Work {
        id: row.parsed("id")?,
        faculty: row.text("faculty")?,
        source: row.text("source")?,
        instruction: row.text("instruction")?,
        params: row.json("params")?,
        state: row.parsed("state")?,
        attempts: u32::try_from(row.number("attempts")?).unwrap_or(u32::MAX),
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
    async fn work_in(&self, tx: &mut SqliteConnection, id: WorkId) -> Result<Work> {
        let row = sqlx::query("SELECT * FROM works WHERE tenant = ?1 AND id = ?2")
            .bind(self.t())
            .bind(id.to_string())
            .fetch_optional(tx)
            .await
            .during(format_args!("read the work item {id}"))?;
        work(&row.ok_or_else(|| missing("work item", id))?)
    }

    /// Takes a running item to `to`. The caller has made sure that `focus` runs it.
    async fn settle(
        &self,
        tx: &mut SqliteConnection,
        work: &Work,
        focus: FocusId,
        to: State,
        settlement: &Settlement,
    ) -> Result<()> {
        let what = format!("end the focus {focus}");
        let now = now_ms();
        sqlx::query("UPDATE focuses SET ended_ms = ?3 WHERE tenant = ?1 AND id = ?2")
            .bind(self.t())
            .bind(focus.to_string())
            .bind(now)
            .execute(&mut *tx)
            .await
            .during(&what)?;
        sqlx::query(
            "UPDATE works SET state = ?3, outcome = ?4, error = ?5, tokens = ?6, cost_microusd = ?7, updated_ms = ?8
             WHERE tenant = ?1 AND id = ?2",
        )
        .bind(self.t())
        .bind(work.id.to_string())
        .bind(to.as_str())
        .bind(settlement.outcome.as_ref().map(to_json).transpose()?)
        .bind(settlement.error.as_ref().map(to_json).transpose()?)
        .bind(signed(work.tokens.saturating_add(settlement.tokens)))
        .bind(signed(work.cost_microusd.saturating_add(settlement.cost_microusd)))
        .bind(now)
        .execute(tx)
        .await
        .during(&what)?;
        Ok(())
    }
}

#[async_trait]
impl Works for Handle {
    async fn work_submit(&self, new: NewWork) -> Result<Work> {
        if !new.params.is_object() {
            return Err(Error::Invalid("the parameters of a work item are a JSON object".into()));
        }
        let (id, now) = (WorkId::new(), now_ms());
        let what = "submit a work item";
        let mut tx = self.pool.write().await?;
        sqlx::query(
            "INSERT INTO works (tenant, id, faculty, source, instruction, params, state, created_ms, updated_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)",
        )
        .bind(self.t())
        .bind(id.to_string())
        .bind(new.faculty)
        .bind(new.source)
        .bind(new.instruction)
        .bind(to_json(&new.params)?)
        .bind(State::Queued.as_str())
        .bind(now)
        .execute(&mut *tx)
        .await
        .during(what)?;
        let work = self.work_in(&mut tx, id).await?;
        tx.commit().await.during(what)?;
        Ok(work)
    }

    async fn work(&self, id: WorkId) -> Result<Work> {
        let mut reader = self.pool.readers().acquire().await.during(format_args!("read the work item {id}"))?;
        self.work_in(&mut reader, id).await
    }

    async fn works(&self, state: Option<State>, limit: u32) -> Result<Vec<Work>> {
        // Identifiers sort by time.
        let rows = sqlx::query(
            "SELECT * FROM works WHERE tenant = ?1 AND (?2 IS NULL OR state = ?2) ORDER BY id DESC LIMIT ?3",
        )
        .bind(self.t())
        .bind(state.map(State::as_str))
        .bind(limit)
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

    /// A failed item is queued and begun in one step, as its retry.
    async fn focus_begin(&self, id: WorkId, from: State, plugins: Value) -> Result<FocusId> {
        let what = format!("begin a focus on the work item {id}");
        let mut tx = self.pool.write().await?;
        let work = self.work_in(&mut tx, id).await?;
        if work.state != from || !matches!(from, State::Queued | State::Failed) {
            return Err(Error::Conflict(format!("cannot {what}: it is {}", work.state)));
        }
        let (focus, now) = (FocusId::new(), now_ms());
        sqlx::query(
            "INSERT INTO focuses (tenant, id, work, process, plugins, started_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )
        .bind(self.t())
        .bind(focus.to_string())
        .bind(id.to_string())
        .bind(std::process::id())
        .bind(to_json(&plugins)?)
        .bind(now)
        .execute(&mut *tx)
        .await
        .during(&what)?;
        sqlx::query(
            "UPDATE works SET state = ?3, attempts = attempts + 1, focus = ?4, updated_ms = ?5
             WHERE tenant = ?1 AND id = ?2",
        )
        .bind(self.t())
        .bind(id.to_string())
        .bind(State::Running.as_str())
        .bind(focus.to_string())
        .bind(now)
        .execute(&mut *tx)
        .await
        .during(&what)?;
        tx.commit().await.during(&what)?;
        Ok(focus)
    }

    async fn focus_end(&self, id: WorkId, focus: FocusId, to: State, settlement: Settlement) -> Result<()> {
        if !State::Running.may_become(to) {
            return Err(Error::Invalid(format!("a focus cannot leave its work item {to}")));
        }
        let mut tx = self.pool.write().await?;
        let work = self.work_in(&mut tx, id).await?;
        if work.state != State::Running || work.focus != Some(focus) {
            return Err(Error::Conflict(format!(
                "cannot end the focus {focus}: it no longer runs the work item {id}, which is {}",
                work.state
            )));
        }
        self.settle(&mut tx, &work, focus, to, &settlement).await?;
        tx.commit().await.during(format_args!("end the focus {focus}"))
    }

    async fn focus_recover(&self, alive: &(dyn Fn(u32) -> bool + Sync)) -> Result<Vec<WorkId>> {
        let what = "recover focuses that were cut off";
        let open =
            sqlx::query("SELECT id, work, process FROM focuses WHERE tenant = ?1 AND ended_ms IS NULL ORDER BY id")
                .bind(self.t())
                .fetch_all(self.pool.readers())
                .await
                .during(what)?;
        let mut recovered = Vec::new();
        for row in open {
            let (focus, id) = (row.parsed::<FocusId>("id")?, row.parsed::<WorkId>("work")?);
            let process = row.number("process")?;
            if u32::try_from(process).is_ok_and(alive) {
                continue;
            }
            let mut tx = self.pool.write().await?;
            let work = self.work_in(&mut tx, id).await?;
            // Another host may have recovered it since.
            if work.state != State::Running || work.focus != Some(focus) {
                continue;
            }
            let error =
                Error::Internal(format!("its host (process {process}) ended in the middle of the focus {focus}"));
            let settlement = Settlement { error: Some(error), ..Settlement::default() };
            self.settle(&mut tx, &work, focus, State::Failed, &settlement).await?;
            let detail = json!({ "focus": focus, "process": process });
            self.record(&mut tx, "host", "focus.recover", &id.to_string(), &detail).await?;
            tx.commit().await.during(what)?;
            recovered.push(id);
        }
        Ok(recovered)
    }
}
