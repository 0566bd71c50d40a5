//! The audit log.

use animus_core::{
    Result,
    store::{Audit, AuditEntry, AuditVerdict},
};
use async_trait::async_trait;
use futures::TryStreamExt as _;
use serde_json::Value;
use sqlx::SqliteConnection;

use super::{
    Handle,
    error::{Columns as _, During as _, json, signed},
    now_ms,
};
use crate::chain::{GENESIS, Link};

impl Handle {
    /// Appends an entry within the transaction of what it records: either both are there or neither.
    pub(super) async fn record(
        &self,
        tx: &mut SqliteConnection,
        actor: &str,
        action: &str,
        subject: &str,
        detail: &Value,
    ) -> Result<()> {
        let what = format!("record {action} in the audit log");
        let last = sqlx::query("SELECT seq, hash FROM audit WHERE tenant = ?1 ORDER BY seq DESC LIMIT 1")
            .bind(self.t())
            .fetch_optional(&mut *tx)
            .await
            .during(&what)?;
        let (seq, previous) = match &last {
            Some(row) => (row.number("seq")?.saturating_add(1), row.text("hash")?),
            None => (1, GENESIS.to_owned()),
        };
        let (at_ms, detail) = (now_ms(), json(detail)?);
        let link =
            Link { tenant: &self.tenant, seq, at_ms: at_ms.unsigned_abs(), actor, action, subject, detail: &detail };
        sqlx::query("INSERT INTO audit VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")
            .bind(self.t())
            .bind(signed(seq))
            .bind(at_ms)
            .bind(actor)
            .bind(action)
            .bind(subject)
            .bind(&detail)
            .bind(link.hash(&previous)?)
            .execute(tx)
            .await
            .during(&what)?;
        Ok(())
    }
}

#[async_trait]
impl Audit for Handle {
    async fn audit(&self, actor: &str, action: &str, subject: &str, detail: Value) -> Result<()> {
        let mut tx = self.pool.write().await?;
        self.record(&mut tx, actor, action, subject, &detail).await?;
        tx.commit().await.during(format_args!("record {action} in the audit log"))
    }

    async fn audit_read(&self, limit: u32) -> Result<Vec<AuditEntry>> {
        let rows = sqlx::query(
            "SELECT * FROM (SELECT * FROM audit WHERE tenant = ?1 ORDER BY seq DESC LIMIT ?2) ORDER BY seq",
        )
        .bind(self.t())
        .bind(limit)
        .fetch_all(self.pool.readers())
        .await
        .during("read the audit log")?;
        let entry = |row: &sqlx::sqlite::SqliteRow| {
            Ok(AuditEntry {
                seq: row.number("seq")?,
                at_ms: row.number("at_ms")?,
                actor: row.text("actor")?,
                action: row.text("action")?,
                subject: row.text("subject")?,
                detail: row.json("detail")?,
                hash: row.text("hash")?,
            })
        };
        rows.iter().map(entry).collect()
    }

    async fn audit_verify(&self) -> Result<AuditVerdict> {
        let what = "verify the audit log";
        // One statement sees one state, however long it takes; the log itself is never held as a whole.
        let mut rows =
            sqlx::query("SELECT * FROM audit WHERE tenant = ?1 ORDER BY seq").bind(self.t()).fetch(self.pool.readers());
        let mut verdict = AuditVerdict { entries: 0, head: GENESIS.to_owned(), broken: None };
        while let Some(row) = rows.try_next().await.during(what)? {
            let (seq, expected) = (row.number("seq")?, verdict.entries.saturating_add(1));
            let why = if seq == expected {
                let fields = (row.text("actor")?, row.text("action")?, row.text("subject")?, row.text("detail")?);
                let (actor, action, subject, detail) = &fields;
                let link =
                    Link { tenant: &self.tenant, seq, at_ms: row.number("at_ms")?, actor, action, subject, detail };
                let hash = row.text("hash")?;
                if link.hash(&verdict.head)? == hash {
                    verdict.head = hash;
                    verdict.entries = seq;
                    continue;
                }
                "it was changed, or does not follow the entry before it"
            } else {
                "the entries before it are gone"
            };
            verdict.broken = Some((seq, why.to_owned()));
            break;
        }
        Ok(verdict)
    }
}
