//! The ledger. Nothing here changes or removes an entry.

use animus_core::{
    Error, Result,
    id::WorkId,
    ledger::{Entry, EntryType, Filter, MAX_CONTENT, MAX_READ},
    store::Ledger,
};
use async_trait::async_trait;

use super::{
    Handle,
    error::{During as _, missing, now_ms},
    text::kept,
};
use crate::works::entry;

#[async_trait]
impl Ledger for Handle {
    async fn ledger_append(&self, work: WorkId, entry_type: EntryType, content: &str) -> Result<Entry> {
        if content.len() > MAX_CONTENT {
            return Err(Error::Invalid(format!(
                "a ledger entry holds at most {MAX_CONTENT} bytes; this one has {}",
                content.len()
            )));
        }
        let what = format!("append to the ledger of the work item {work}");
        let mut tx = self.tx().await?;
        // Whoever raises the count holds the item's row until the entry is there: no number is given out twice, and none
        // is skipped.
        let row = sqlx::query(
            "WITH counted AS (
                 UPDATE works SET entries = entries + 1 WHERE tenant = $1 AND id = $2 RETURNING entries
             )
             INSERT INTO ledger SELECT $1, $2, entries, $3, $4, $5 FROM counted
             RETURNING seq, entry_type, content, created_ms",
        )
        .bind(self.t())
        .bind(work.to_string())
        .bind(entry_type.as_str())
        .bind(kept(content))
        .bind(now_ms())
        .fetch_optional(&mut *tx)
        .await
        .during(&what)?;
        let entry = entry(&row.ok_or_else(|| missing("work item", work))?)?;
        tx.commit().await.during(&what)?;
        Ok(entry)
    }

    async fn ledger_read(&self, work: WorkId, filter: Filter) -> Result<Vec<Entry>> {
        let what = format!("read the ledger of the work item {work}");
        let mut tx = self.tx().await?;
        let rows = sqlx::query(
            "SELECT * FROM (
                 SELECT * FROM ledger WHERE tenant = $1 AND work = $2 AND ($3::text IS NULL OR entry_type = $3)
                 ORDER BY seq DESC LIMIT $4
             ) AS newest ORDER BY seq",
        )
        .bind(self.t())
        .bind(work.to_string())
        .bind(filter.entry_type.map(EntryType::as_str))
        .bind(i64::from(filter.last_n.unwrap_or(MAX_READ).min(MAX_READ)))
        .fetch_all(&mut *tx)
        .await
        .during(&what)?;
        if rows.is_empty() {
            sqlx::query("SELECT 1 FROM works WHERE tenant = $1 AND id = $2")
                .bind(self.t())
                .bind(work.to_string())
                .fetch_optional(&mut *tx)
                .await
                .during(&what)?
                .ok_or_else(|| missing("work item", work))?;
        }
        rows.iter().map(entry).collect()
    }
}
