//! Which hooks the operator switched by hand.

use std::collections::BTreeMap;

use animus_core::{Error, Result, hook, store::HookStates};
use async_trait::async_trait;
use serde_json::json;

use super::{
    Handle,
    error::{Columns as _, During as _},
};

#[async_trait]
impl HookStates for Handle {
    async fn hook_states(&self) -> Result<BTreeMap<String, bool>> {
        let rows = sqlx::query("SELECT name, enabled FROM hook_states WHERE tenant = ?1")
            .bind(self.t())
            .fetch_all(self.pool.readers())
            .await;
        let rows = rows.during("list the switched hooks")?;
        rows.iter().map(|row| Ok((row.text("name")?, row.flag("enabled")?))).collect()
    }

    async fn hook_switch(&self, actor: &str, name: &str, on: bool) -> Result<()> {
        if !hook::is_hook_name(name) {
            return Err(Error::Invalid(format!(
                "'{}' is no hook's name: a plugin's, or 'command:' and the name of a command hook",
                name.escape_debug()
            )));
        }
        let what = format!("switch the hook '{name}'");
        let mut tx = self.pool.write().await?;
        sqlx::query(
            "INSERT INTO hook_states VALUES (?1, ?2, ?3)
             ON CONFLICT (tenant, name) DO UPDATE SET enabled = excluded.enabled",
        )
        .bind(self.t())
        .bind(name)
        .bind(on)
        .execute(&mut *tx)
        .await
        .during(&what)?;
        let action = if on { "hook.enable" } else { "hook.disable" };
        self.record(&mut tx, actor, action, name, &json!({})).await?;
        tx.commit().await.during(&what)
    }
}
