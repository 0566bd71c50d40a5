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
    error::{During as _, json, signed},
    now_ms,
};
use crate::chain::{Chain, Link, entry, next};

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
        let (seq, previous) = next(last.as_ref())?;
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
        rows.iter().map(entry).collect()
    }

    async fn audit_verify(&self) -> Result<AuditVerdict> {
        let what = "verify the audit log";
        // One statement sees one state, however long it takes; the log itself is never held as a whole.
        let mut rows =
            sqlx::query("SELECT * FROM audit WHERE tenant = ?1 ORDER BY seq").bind(self.t()).fetch(self.pool.readers());
        let mut chain = Chain::new(&self.tenant);
        while let Some(row) = rows.try_next().await.during(what)? {
            if !chain.follows(&row)? {
                break;
            }
        }
        Ok(chain.verdict())
    }
}
