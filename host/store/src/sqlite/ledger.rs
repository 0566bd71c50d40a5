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
    error::{During as _, missing, signed},
    now_ms,
};
use crate::works::{entry, expect_short};

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
        let mut tx = self.pool.write().await?;
        if let Some(origin) = origin {
            let known = sqlx::query("SELECT * FROM ledger WHERE tenant = ?1 AND origin_focus = ?2 AND origin_seq = ?3")
                .bind(self.t())
                .bind(origin.focus.to_string())
                .bind(signed(origin.seq))
                .fetch_optional(&mut *tx)
                .await
                .during(&what)?;
            if let Some(row) = known {
                return entry(&row);
            }
        }
        // The write lock makes this number ours; no row comes back for an item that is not there.
        let row = sqlx::query(
            "INSERT INTO ledger
             SELECT tenant, id, 1 + coalesce((SELECT max(seq) FROM ledger WHERE tenant = ?1 AND work = ?2), 0), ?3, ?4, ?5,
                    ?6, ?7
             FROM works WHERE tenant = ?1 AND id = ?2
             RETURNING seq, entry_type, content, created_ms",
        )
        .bind(self.t())
        .bind(work.to_string())
        .bind(entry_type.as_str())
        .bind(content)
        .bind(now_ms())
        .bind(origin.map(|origin| origin.focus.to_string()))
        .bind(origin.map(|origin| signed(origin.seq)))
        .fetch_optional(&mut *tx)
        .await
        .during(&what)?;
        let entry = entry(&row.ok_or_else(|| missing("work item", work))?)?;
        tx.commit().await.during(&what)?;
        Ok(entry)
    }

    async fn ledger_read(&self, work: WorkId, filter: Filter) -> Result<Vec<Entry>> {
        let what = format!("read the ledger of the work item {work}");
        let rows = sqlx::query(
            "SELECT * FROM (
                 SELECT * FROM ledger WHERE tenant = ?1 AND work = ?2 AND (?3 IS NULL OR entry_type = ?3)
                 ORDER BY seq DESC LIMIT ?4
             ) ORDER BY seq",
        )
        .bind(self.t())
        .bind(work.to_string())
        .bind(filter.entry_type.map(EntryType::as_str))
        .bind(filter.last_n.unwrap_or(MAX_READ).min(MAX_READ))
        .fetch_all(self.pool.readers())
        .await
        .during(&what)?;
        if rows.is_empty() {
            sqlx::query("SELECT 1 FROM works WHERE tenant = ?1 AND id = ?2")
                .bind(self.t())
                .bind(work.to_string())
                .fetch_optional(self.pool.readers())
                .await
                .during(&what)?
                .ok_or_else(|| missing("work item", work))?;
        }
        rows.iter().map(entry).collect()
    }
}
