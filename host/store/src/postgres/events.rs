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
    error::{Columns as _, During as _, is_dangling, json, missing, now_ms, signed},
};

#[async_trait]
impl Events for Handle {
    async fn events_append(&self, work: WorkId, first: u64, events: &[Event]) -> Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        let what = format!("keep events of the work item {work}");
        let texts = events.iter().map(json).collect::<Result<Vec<_>>>()?;
        let mut tx = self.tx().await?;
        let written = sqlx::query(
            "INSERT INTO events (tenant, work, seq, event, at_ms)
             SELECT $1, $2, $3 + place - 1, event, $5 FROM unnest($4::text[]) WITH ORDINALITY AS given (event, place)
             ON CONFLICT DO NOTHING",
        )
        .bind(self.t())
        .bind(work.to_string())
        .bind(signed(first))
        .bind(texts)
        .bind(now_ms())
        .execute(&mut *tx)
        .await;
        match written {
            Err(e) if is_dangling(&e) => return Err(missing("work item", work)),
            written => written.during(&what)?,
        };
        self.changed(&mut tx).await?;
        tx.commit().await.during(&what)
    }

    async fn events_read(&self, work: WorkId, after: u64, limit: u32) -> Result<Vec<(u64, Event)>> {
        let mut tx = self.tx().await?;
        let rows = sqlx::query(
            "SELECT seq, event FROM events WHERE tenant = $1 AND work = $2 AND seq > $3 ORDER BY seq LIMIT $4",
        )
        .bind(self.t())
        .bind(work.to_string())
        .bind(signed(after))
        .bind(i64::from(limit.min(MAX_EVENTS)))
        .fetch_all(&mut *tx)
        .await
        .during(format_args!("read events of the work item {work}"))?;
        rows.iter().map(|row| Ok((row.number("seq")?, row.json("event")?))).collect()
    }

    async fn events_last(&self, work: WorkId) -> Result<u64> {
        let mut tx = self.tx().await?;
        let row = sqlx::query("SELECT max(seq) AS last FROM events WHERE tenant = $1 AND work = $2")
            .bind(self.t())
            .bind(work.to_string())
            .fetch_one(&mut *tx)
            .await;
        Ok(row.during(format_args!("read events of the work item {work}"))?.maybe_number("last")?.unwrap_or_default())
    }
}
