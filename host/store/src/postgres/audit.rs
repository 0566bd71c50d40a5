//! The audit log.

use animus_core::{
    Result,
    store::{Audit, AuditEntry, AuditVerdict},
};
use async_trait::async_trait;
use futures::TryStreamExt as _;
use serde_json::Value;
use sqlx::PgConnection;

use super::{
    Handle,
    error::{During as _, json, now_ms, signed},
    pool::LONG,
    text::kept,
};
use crate::chain::{Chain, Link, entry, next};

impl Handle {
    /// Appends an entry within the transaction of what it records: either both are there or neither. Locks the tenant's
    /// row, so that the chain has one end.
    pub(super) async fn record(
        &self,
        tx: &mut PgConnection,
        actor: &str,
        action: &str,
        subject: &str,
        detail: &Value,
    ) -> Result<()> {
        let what = format!("record {action} in the audit log");
        self.lock(tx).await?;
        let last = sqlx::query("SELECT seq, hash FROM audit WHERE tenant = $1 ORDER BY seq DESC LIMIT 1")
            .bind(self.t())
            .fetch_optional(&mut *tx)
            .await
            .during(&what)?;
        let (seq, previous) = next(last.as_ref())?;
        let (at_ms, detail) = (now_ms(), json(detail)?);
        let link =
            Link { tenant: &self.tenant, seq, at_ms: at_ms.unsigned_abs(), actor, action, subject, detail: &detail };
        sqlx::query("INSERT INTO audit VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
            .bind(self.t())
            .bind(signed(seq))
            .bind(at_ms)
            .bind(kept(actor))
            .bind(kept(action))
            .bind(kept(subject))
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
        let mut tx = self.tx().await?;
        self.record(&mut tx, actor, action, subject, &detail).await?;
        tx.commit().await.during(format_args!("record {action} in the audit log"))
    }

    async fn audit_read(&self, limit: u32) -> Result<Vec<AuditEntry>> {
        let mut tx = self.tx().await?;
        let rows = sqlx::query(
            "SELECT * FROM (SELECT * FROM audit WHERE tenant = $1 ORDER BY seq DESC LIMIT $2) AS newest ORDER BY seq",
        )
        .bind(self.t())
        .bind(i64::from(limit))
        .fetch_all(&mut *tx)
        .await
        .during("read the audit log")?;
        rows.iter().map(entry).collect()
    }

    async fn audit_verify(&self) -> Result<AuditVerdict> {
        let mut tx = self.tx().await?;
        // A log of years takes its time.
        sqlx::query(LONG).execute(&mut *tx).await.during("verify the audit log")?;
        // One statement sees one state, however long it takes; the log itself is never held as a whole.
        let mut rows = sqlx::query("SELECT * FROM audit WHERE tenant = $1 ORDER BY seq").bind(self.t()).fetch(&mut *tx);
        let mut chain = Chain::new(&self.tenant);
        while let Some(row) = rows.try_next().await.during("verify the audit log")? {
            if !chain.follows(&row)? {
                break;
            }
        }
        Ok(chain.verdict())
    }
}
