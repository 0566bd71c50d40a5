//! The ledger. Nothing here changes or removes an entry.

use animus_core::{
    Result,
    id::WorkId,
    ledger::{Entry, EntryType, Filter, MAX_READ},
    store::{Ledger, Origin},
};
use async_trait::async_trait;

use super::{
    Handle,
    error::{During as _, is_taken, missing, now_ms, signed},
    text::kept,
};
use crate::works::{entry, expect_short};

impl Handle {
    /// What an effect of a focus has appended already.
    async fn appended(&self, origin: Option<Origin>) -> Result<Option<Entry>> {
        let Some(origin) = origin else { return Ok(None) };
        let mut tx = self.tx().await?;
        let row = sqlx::query("SELECT * FROM ledger WHERE tenant = $1 AND origin_focus = $2 AND origin_seq = $3")
            .bind(self.t())
            .bind(origin.focus.to_string())
            .bind(signed(origin.seq))
            .fetch_optional(&mut *tx)
            .await
            .during(format_args!("read what the focus {} has appended", origin.focus))?;
        row.as_ref().map(entry).transpose()
    }
}

#[async_trait]
impl Ledger for Handle {
    async fn ledger_append(
        &self,
        work: WorkId,
        entry_type: EntryType,
        content: &str,
        origin: Option<Origin>,
    ) -> Result<Entry> {
        expect_short(content)?;
        let what = format!("append to the ledger of the work item {work}");
        if let Some(known) = self.appended(origin).await? {
            return Ok(known);
        }
        let mut tx = self.tx().await?;
        // Whoever raises the count holds the item's row until the entry is there: no number is given out twice, and none
        // is skipped.
        let row = sqlx::query(
            "WITH counted AS (
                 UPDATE works SET entries = entries + 1 WHERE tenant = $1 AND id = $2 RETURNING entries
             )
             INSERT INTO ledger SELECT $1, $2, entries, $3, $4, $5, $6, $7 FROM counted
             RETURNING seq, entry_type, content, created_ms",
        )
        .bind(self.t())
        .bind(work.to_string())
        .bind(entry_type.as_str())
        .bind(kept(content))
        .bind(now_ms())
        .bind(origin.map(|origin| origin.focus.to_string()))
        .bind(origin.map(|origin| signed(origin.seq)))
        .fetch_optional(&mut *tx)
        .await;
        let row = match row {
            // The same effect was a moment faster.
            Err(e) if origin.is_some() && is_taken(&e) => {
                drop(tx);
                return self.appended(origin).await?.ok_or(e).during(&what);
            }
            row => row.during(&what)?,
        };
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
