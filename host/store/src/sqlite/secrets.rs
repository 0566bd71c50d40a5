//! Secrets, sealed. No error and no audit entry carries a value.

use animus_core::{
    Result,
    store::{SecretValue, Secrets},
};
use async_trait::async_trait;
use serde_json::json;

use super::{
    Handle,
    error::{Columns as _, During as _, missing},
    now_ms,
};
use crate::secrets::check;

#[async_trait]
impl Secrets for Handle {
    async fn secret_set(&self, actor: &str, handle: &str, value: SecretValue) -> Result<()> {
        check(handle, &value)?;
        let what = format!("set the secret '{handle}'");
        let sealed = self.keys.seal(&self.tenant, handle, &value)?;
        let mut tx = self.pool.write().await?;
        sqlx::query(
            "INSERT INTO secrets VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (tenant, handle) DO UPDATE SET sealed = excluded.sealed, set_ms = excluded.set_ms",
        )
        .bind(self.t())
        .bind(handle)
        .bind(sealed)
        .bind(now_ms())
        .execute(&mut *tx)
        .await
        .during(&what)?;
        self.record(&mut tx, actor, "secret.set", handle, &json!({})).await?;
        tx.commit().await.during(&what)
    }

    async fn secret(&self, handle: &str) -> Result<SecretValue> {
        let what = format!("read the secret '{}'", handle.escape_debug());
        let row = sqlx::query("SELECT sealed FROM secrets WHERE tenant = ?1 AND handle = ?2")
            .bind(self.t())
            .bind(handle)
            .fetch_optional(self.pool.readers())
            .await
            .during(&what)?
            .ok_or_else(|| missing("secret", format_args!("'{}'", handle.escape_debug())))?;
        self.keys.open(&self.tenant, handle, row.bytes("sealed")?)
    }

    async fn secrets(&self) -> Result<Vec<(String, u64)>> {
        let rows = sqlx::query("SELECT handle, set_ms FROM secrets WHERE tenant = ?1 ORDER BY handle")
            .bind(self.t())
            .fetch_all(self.pool.readers())
            .await
            .during("list the secrets")?;
        rows.iter().map(|row| Ok((row.text("handle")?, row.number("set_ms")?))).collect()
    }

    async fn secret_remove(&self, actor: &str, handle: &str) -> Result<()> {
        let what = format!("remove the secret '{}'", handle.escape_debug());
        let mut tx = self.pool.write().await?;
        let removed = sqlx::query("DELETE FROM secrets WHERE tenant = ?1 AND handle = ?2")
            .bind(self.t())
            .bind(handle)
            .execute(&mut *tx)
            .await
            .during(&what)?;
        if removed.rows_affected() == 0 {
            return Err(missing("secret", format_args!("'{}'", handle.escape_debug())));
        }
        self.record(&mut tx, actor, "secret.remove", handle, &json!({})).await?;
        tx.commit().await.during(&what)
    }
}
