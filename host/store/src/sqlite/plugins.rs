//! Installed plugins: generations, grants, artifacts.

use std::sync::Arc;

use animus_core::{
    Error, Result,
    grant::Grant,
    id::{Digest, PluginName},
    manifest::Manifest,
    store::{Generation, NewGeneration, Plugin, PluginState, Plugins},
};
use async_trait::async_trait;
use serde_json::{Value, json};
use sqlx::{Row as _, Sqlite as Driver, SqliteConnection, Transaction, sqlite::SqliteRow};

use super::{
    Handle,
    error::{Columns as _, During as _, json as to_json, missing, signed},
    now_ms,
};

/// How many generations of a plugin are kept to roll back to, the newest of them included.
const KEPT: u32 = 10;

fn plugin(row: &SqliteRow) -> Result<Plugin> {
    let granted: Option<Grant> = row.maybe_json("granted")?;
    let waits = granted.is_none() && row.flag("requests")?;
    Ok(Plugin {
        name: row.parsed("name")?,
        generation: row.number("generation")?,
        digest: row.parsed("digest")?,
        version: row.text("version")?,
        manifest: row.text("manifest")?,
        source: row.text("source")?,
        state: if waits { PluginState::AwaitingGrant } else { PluginState::Serving },
        granted,
        tools: row.json("tools")?,
        is_faculty: row.flag("is_faculty")?,
        is_interpreter: row.flag("is_interpreter")?,
        installed_ms: row.number("installed_ms")?,
    })
}

fn generation(row: &SqliteRow) -> Result<Generation> {
    Ok(Generation {
        generation: row.number("generation")?,
        digest: row.parsed("digest")?,
        version: row.text("version")?,
        source: row.text("source")?,
        installed_ms: row.number("installed_ms")?,
        serving: row.flag("serving")?,
    })
}

impl Handle {
    /// The serving generation, as this transaction sees it.
    async fn plugin_in(&self, tx: &mut SqliteConnection, name: &PluginName) -> Result<Plugin> {
        let row = sqlx::query(
            "SELECT * FROM plugins JOIN plugin_generations USING (tenant, name, generation)
             WHERE tenant = ?1 AND name = ?2",
        )
        .bind(self.t())
        .bind(name.as_str())
        .fetch_optional(tx)
        .await
        .during(format_args!("read the plugin '{name}'"))?;
        plugin(&row.ok_or_else(|| missing("plugin", format_args!("'{name}'")))?)
    }

    /// What every change ends with: a new revision, the audit entry, the commit.
    async fn changed(
        &self,
        mut tx: Transaction<'static, Driver>,
        actor: &str,
        action: &str,
        name: &PluginName,
        detail: Value,
    ) -> Result<()> {
        let what = format!("record the change of the plugin '{name}'");
        sqlx::query("UPDATE tenants SET plugins_revision = plugins_revision + 1 WHERE tenant = ?1")
            .bind(self.t())
            .execute(&mut *tx)
            .await
            .during(&what)?;
        self.record(&mut tx, actor, action, name.as_str(), &detail).await?;
        tx.commit().await.during(&what)
    }

    async fn set_grant(&self, tx: &mut SqliteConnection, name: &PluginName, grant: Option<&Grant>) -> Result<()> {
        sqlx::query("UPDATE plugins SET granted = ?3 WHERE tenant = ?1 AND name = ?2")
            .bind(self.t())
            .bind(name.as_str())
            .bind(grant.map(to_json).transpose()?)
            .execute(tx)
            .await
            .during(format_args!("change the grant of the plugin '{name}'"))?;
        Ok(())
    }

    /// Removes generations too old to be kept, then the bytes that no generation of any tenant refers to. Part of an
    /// installation, after which the newest generation serves: so the serving one is never removed.
    async fn prune(&self, tx: &mut SqliteConnection, name: &PluginName) -> Result<(), sqlx::Error> {
        sqlx::query(
            "DELETE FROM plugin_generations
             WHERE tenant = ?1 AND name = ?2
             AND generation NOT IN (
                 SELECT generation FROM plugin_generations WHERE tenant = ?1 AND name = ?2
                 ORDER BY generation DESC LIMIT ?3
             )",
        )
        .bind(self.t())
        .bind(name.as_str())
        .bind(KEPT)
        .execute(&mut *tx)
        .await?;
        drop_unused_artifacts(tx).await
    }
}

async fn drop_unused_artifacts(tx: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM artifacts WHERE digest NOT IN (SELECT digest FROM plugin_generations)")
        .execute(tx)
        .await
        .map(drop)
}

#[async_trait]
impl Plugins for Handle {
    async fn plugin_install(&self, actor: &str, new: NewGeneration) -> Result<Plugin> {
        let NewGeneration { name, wasm, version, manifest, source, tools, is_faculty, is_interpreter, grant } = new;
        let what = format!("install the plugin '{name}'");
        let requests = !Manifest::parse(&manifest)?.request.is_nothing();
        let digest = Digest::of(&wasm);
        let mut tx = self.pool.write().await?;
        sqlx::query("INSERT INTO artifacts VALUES (?1, ?2) ON CONFLICT (digest) DO NOTHING")
            .bind(digest.to_string())
            .bind(&*wasm)
            .execute(&mut *tx)
            .await
            .during(&what)?;
        // Refers to the generation that the next statement adds.
        let row = sqlx::query(
            "INSERT INTO plugins (tenant, name, generation) VALUES (?1, ?2, 1)
             ON CONFLICT (tenant, name) DO UPDATE SET generation = 1 + (
                 SELECT max(generation) FROM plugin_generations WHERE tenant = ?1 AND name = ?2
             )
             RETURNING generation",
        )
        .bind(self.t())
        .bind(name.as_str())
        .fetch_one(&mut *tx)
        .await
        .during(&what)?;
        sqlx::query("INSERT INTO plugin_generations VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)")
            .bind(self.t())
            .bind(name.as_str())
            .bind(signed(row.number("generation")?))
            .bind(digest.to_string())
            .bind(version)
            .bind(manifest)
            .bind(source)
            .bind(requests)
            .bind(to_json(&tools)?)
            .bind(is_faculty)
            .bind(now_ms())
            .bind(is_interpreter)
            .execute(&mut *tx)
            .await
            .during(&what)?;
        if let Some(grant) = &grant {
            self.set_grant(&mut tx, &name, Some(grant)).await?;
        }
        self.prune(&mut tx, &name).await.during(&what)?;
        let plugin = self.plugin_in(&mut tx, &name).await?;
        let Plugin { generation, version, source, granted, .. } = &plugin;
        let detail = json!({
            "generation": generation, "digest": digest, "version": version, "source": source, "granted": granted,
        });
        self.changed(tx, actor, "plugin.install", &name, detail).await?;
        Ok(plugin)
    }

    async fn plugins(&self) -> Result<Vec<Plugin>> {
        let rows = sqlx::query(
            "SELECT * FROM plugins JOIN plugin_generations USING (tenant, name, generation)
             WHERE tenant = ?1 ORDER BY name",
        )
        .bind(self.t())
        .fetch_all(self.pool.readers())
        .await;
        rows.during("list the plugins")?.iter().map(plugin).collect()
    }

    async fn plugin(&self, name: &PluginName) -> Result<Plugin> {
        let mut reader = self.pool.readers().acquire().await.during(format_args!("read the plugin '{name}'"))?;
        self.plugin_in(&mut reader, name).await
    }

    async fn plugin_generations(&self, name: &PluginName) -> Result<Vec<Generation>> {
        let rows = sqlx::query(
            "SELECT g.*, g.generation = p.generation AS serving
             FROM plugin_generations AS g JOIN plugins AS p USING (tenant, name)
             WHERE tenant = ?1 AND name = ?2 ORDER BY g.generation DESC",
        )
        .bind(self.t())
        .bind(name.as_str())
        .fetch_all(self.pool.readers())
        .await
        .during(format_args!("list the generations of the plugin '{name}'"))?;
        if rows.is_empty() {
            return Err(missing("plugin", format_args!("'{name}'")));
        }
        rows.iter().map(generation).collect()
    }

    async fn plugin_grant(&self, actor: &str, name: &PluginName, grant: Option<Grant>) -> Result<Plugin> {
        let mut tx = self.pool.write().await?;
        let before = self.plugin_in(&mut tx, name).await?;
        self.set_grant(&mut tx, name, grant.as_ref()).await?;
        let plugin = self.plugin_in(&mut tx, name).await?;
        let action = if grant.is_some() { "plugin.grant" } else { "plugin.revoke" };
        self.changed(tx, actor, action, name, json!({ "before": before.granted, "granted": grant })).await?;
        Ok(plugin)
    }

    async fn plugin_rollback(&self, actor: &str, name: &PluginName, to: Option<u64>) -> Result<Plugin> {
        let what = format!("roll back the plugin '{name}'");
        let mut tx = self.pool.write().await?;
        let serving = self.plugin_in(&mut tx, name).await?.generation;
        let found = sqlx::query(
            "SELECT generation FROM plugin_generations
             WHERE tenant = ?1 AND name = ?2 AND (generation = ?4 OR (?4 IS NULL AND generation < ?3))
             ORDER BY generation DESC LIMIT 1",
        )
        .bind(self.t())
        .bind(name.as_str())
        .bind(signed(serving))
        .bind(to.map(signed))
        .fetch_optional(&mut *tx)
        .await
        .during(&what)?;
        let target = match (found, to) {
            (Some(row), _) => row.number("generation")?,
            (None, Some(to)) => {
                return Err(missing(
                    "generation",
                    format_args!("{to} of the plugin '{name}'; the last {KEPT} are kept"),
                ));
            }
            (None, None) => return Err(missing("generation", format_args!("of the plugin '{name}' before {serving}"))),
        };
        if target == serving {
            return Err(Error::Conflict(format!("generation {serving} of the plugin '{name}' serves already")));
        }
        sqlx::query("UPDATE plugins SET generation = ?3 WHERE tenant = ?1 AND name = ?2")
            .bind(self.t())
            .bind(name.as_str())
            .bind(signed(target))
            .execute(&mut *tx)
            .await
            .during(&what)?;
        let plugin = self.plugin_in(&mut tx, name).await?;
        let detail = json!({ "from": serving, "generation": target, "digest": plugin.digest });
        self.changed(tx, actor, "plugin.rollback", name, detail).await?;
        Ok(plugin)
    }

    async fn plugin_remove(&self, actor: &str, name: &PluginName) -> Result<()> {
        let what = format!("remove the plugin '{name}'");
        let mut tx = self.pool.write().await?;
        let before = self.plugin_in(&mut tx, name).await?;
        // Takes its generations along.
        sqlx::query("DELETE FROM plugins WHERE tenant = ?1 AND name = ?2")
            .bind(self.t())
            .bind(name.as_str())
            .execute(&mut *tx)
            .await
            .during(&what)?;
        drop_unused_artifacts(&mut tx).await.during(&what)?;
        let detail = json!({ "generation": before.generation, "digest": before.digest, "granted": before.granted });
        self.changed(tx, actor, "plugin.remove", name, detail).await
    }

    async fn artifact(&self, digest: &Digest) -> Result<Arc<[u8]>> {
        let what = format!("read the artifact {digest}");
        let row = sqlx::query(
            "SELECT bytes FROM artifacts WHERE digest = ?2
             AND EXISTS (SELECT 1 FROM plugin_generations WHERE digest = ?2 AND tenant = ?1)",
        )
        .bind(self.t())
        .bind(digest.to_string())
        .fetch_optional(self.pool.readers())
        .await
        .during(&what)?
        .ok_or_else(|| missing("artifact", digest))?;
        let bytes: &[u8] = row.try_get("bytes").during(&what)?;
        if Digest::of(bytes) != *digest {
            return Err(Error::Internal(format!(
                "the artifact {digest} was changed in the store; install its plugin again"
            )));
        }
        Ok(bytes.into())
    }

    async fn plugins_revision(&self) -> Result<u64> {
        let row = sqlx::query("SELECT plugins_revision FROM tenants WHERE tenant = ?1")
            .bind(self.t())
            .fetch_one(self.pool.readers())
            .await
            .during("read the revision of the plugins")?;
        row.number("plugins_revision")
    }
}
