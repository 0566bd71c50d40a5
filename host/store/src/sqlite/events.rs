//! What the watchers of work were told.

use animus_core::{
    Result,
    event::Event,
    id::WorkId,
    store::{Events, MAX_EVENTS},
};
use async_trait::async_trait;

use super::{
    Handle,
    error::{Columns as _, During as _, is_dangling, json, missing, signed},
    now_ms,
};

#[async_trait]
impl Events for Handle {
    async fn events_append(&self, work: WorkId, first: u64, events: &[Event]) -> Result<()> {
        let what = format!("keep events of the work item {work}");
        let mut tx = self.pool.write().await?;
        for (seq, event) in (first..).zip(events) {
            let kept = sqlx::query(
                "INSERT INTO events (tenant, work, seq, event, at_ms) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO NOTHING",
            )
            .bind(self.t())
            .bind(work.to_string())
            .bind(signed(seq))
            .bind(json(event)?)
            .bind(now_ms())
            .execute(&mut *tx)
            .await;
            match kept {
                Err(e) if is_dangling(&e) => return Err(missing("work item", work)),
                kept => kept.during(&what)?,
            };
        }
        tx.commit().await.during(&what)?;
        self.pool.changed();
        Ok(())
    }

    async fn events_read(&self, work: WorkId, after: u64, limit: u32) -> Result<Vec<(u64, Event)>> {
        let rows = sqlx::query(
            "SELECT seq, event FROM events WHERE tenant = ?1 AND work = ?2 AND seq > ?3 ORDER BY seq LIMIT ?4",
        )
        .bind(self.t())
        .bind(work.to_string())
        .bind(signed(after))
        .bind(limit.min(MAX_EVENTS))
        .fetch_all(self.pool.readers())
        .await
        .during(format_args!("read events of the work item {work}"))?;
        rows.iter().map(|row| Ok((row.number("seq")?, row.json("event")?))).collect()
    }

    async fn events_last(&self, work: WorkId) -> Result<u64> {
        let row = sqlx::query("SELECT max(seq) AS last FROM events WHERE tenant = ?1 AND work = ?2")
            .bind(self.t())
            .bind(work.to_string())
            .fetch_one(self.pool.readers())
            .await;
        Ok(row.during(format_args!("read events of the work item {work}"))?.maybe_number("last")?.unwrap_or_default())
    }
}
