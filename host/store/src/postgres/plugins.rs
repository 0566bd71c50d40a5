//! Installed plugins: generations, grants, artifacts.

use std::sync::Arc;

use animus_core::{
    Error, Result,
    grant::Grant,
    id::{Digest, PluginName},
    skill::PLUGIN_SOURCE,
    store::{Generation, MAX_FAULTS, NewGeneration, Plugin, PluginFault, Plugins},
};
use async_trait::async_trait;
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::{
    Handle,
    error::{Columns as _, During as _, json as to_json, missing, now_ms, signed},
    pool::Tx,
    text::kept,
};
use crate::plugins::{
    Grantor, KEPT, expect_from, fault, generation, granting, head, installed, intact, left, no_goal, plugin, requests,
};

impl Handle {
    /// The serving generation, as this transaction sees it.
    async fn plugin_in(&self, tx: &mut PgConnection, name: &PluginName) -> Result<Plugin> {
        let row = sqlx::query(
            "SELECT * FROM plugins JOIN plugin_generations USING (tenant, name, generation)
             WHERE tenant = $1 AND name = $2",
        )
        .bind(self.t())
        .bind(name.as_str())
        .fetch_optional(tx)
        .await
        .during(format_args!("read the plugin '{name}'"))?;
        plugin(&row.ok_or_else(|| missing("plugin", format_args!("'{name}'")))?)
    }

    /// The same; none where there is no such plugin.
    async fn plugin_if_any(&self, tx: &mut PgConnection, name: &PluginName) -> Result<Option<Plugin>> {
        match self.plugin_in(tx, name).await {
            Err(Error::NotFound(_)) => Ok(None),
            found => found.map(Some),
        }
    }

    /// What every change ends with: its note, the commit.
    async fn plugin_changed(
        &self,
        mut tx: Tx,
        actor: &str,
        action: &str,
        name: &PluginName,
        detail: Value,
    ) -> Result<()> {
        self.plugin_noted(&mut tx, actor, action, name, detail).await?;
        tx.commit().await.during(format_args!("record the change of the plugin '{name}'"))
    }

    /// A new revision, and the audit entry.
    async fn plugin_noted(
        &self,
        tx: &mut PgConnection,
        actor: &str,
        action: &str,
        name: &PluginName,
        detail: Value,
    ) -> Result<()> {
        let what = format!("record the change of the plugin '{name}'");
        sqlx::query("UPDATE tenants SET plugins_revision = plugins_revision + 1 WHERE tenant = $1")
            .bind(self.t())
            .execute(&mut *tx)
            .await
            .during(&what)?;
        self.record(tx, actor, action, name.as_str(), &detail).await
    }

    /// Sets what a plugin is granted, and the most that agents get of it later.
    async fn set_grant(
        &self,
        tx: &mut PgConnection,
        name: &PluginName,
        grant: Option<&Grant>,
        at_most: Option<&Grant>,
    ) -> Result<()> {
        sqlx::query("UPDATE plugins SET granted = $3, at_most = $4 WHERE tenant = $1 AND name = $2")
            .bind(self.t())
            .bind(name.as_str())
            .bind(grant.map(to_json).transpose()?)
            .bind(at_most.map(to_json).transpose()?)
            .execute(tx)
            .await
            .during(format_args!("change the grant of the plugin '{name}'"))?;
        Ok(())
    }

    /// What a rollback leads to: the generation that was named, or the newest before `serving` that was not retired.
    async fn goal(
        &self,
        tx: &mut PgConnection,
        name: &PluginName,
        serving: u64,
        to: Option<u64>,
    ) -> Result<Option<u64>> {
        let found = sqlx::query(
            "SELECT generation FROM plugin_generations AS g
             WHERE tenant = $1 AND name = $2 AND (generation = $4 OR ($4::bigint IS NULL AND generation < $3 AND NOT EXISTS (
                 SELECT 1 FROM plugin_health AS h
                 WHERE h.tenant = $1 AND h.name = $2 AND h.generation = g.generation AND h.retired
             )))
             ORDER BY generation DESC LIMIT 1",
        )
        .bind(self.t())
        .bind(name.as_str())
        .bind(signed(serving))
        .bind(to.map(signed))
        .fetch_optional(tx)
        .await
        .during(format_args!("find an earlier generation of the plugin '{name}'"))?;
        found.map(|row| row.number("generation")).transpose()
    }

    async fn serve(&self, tx: &mut PgConnection, name: &PluginName, generation: u64) -> Result<()> {
        sqlx::query("UPDATE plugins SET generation = $3 WHERE tenant = $1 AND name = $2")
            .bind(self.t())
            .bind(name.as_str())
            .bind(signed(generation))
            .execute(tx)
            .await
            .during(format_args!("serve generation {generation} of the plugin '{name}'"))?;
        Ok(())
    }

    /// Keeps the bytes of a generation. Before the tenant is locked: it may take seconds.
    pub(super) async fn keep_artifact(&self, tx: &mut PgConnection, new: &NewGeneration) -> Result<()> {
        sqlx::query("SELECT artifact_put($1, $2)")
            .bind(Digest::of(&new.wasm).to_string())
            .bind(&*new.wasm)
            .execute(tx)
            .await
            .during(format_args!("keep the component of the plugin '{}'", new.name))
            .map(drop)
    }

    /// Adds a generation and has it serve. A skill's is refused where another plugin has its name.
    pub(super) async fn install_in(
        &self,
        tx: &mut PgConnection,
        actor: &str,
        new: NewGeneration,
        by: Grantor,
    ) -> Result<Plugin> {
        let NewGeneration { name, wasm, version, manifest, source, tools, is_faculty, is_interpreter, is_hook, grant } =
            new;
        let what = format!("install the plugin '{name}'");
        let requests = requests(&manifest)?;
        let digest = Digest::of(&wasm);
        let before = self.plugin_if_any(tx, &name).await?;
        if source.starts_with(PLUGIN_SOURCE) {
            expect_from(&source, before.as_ref())?;
        }
        // Refers to the generation that the next statement adds.
        let row = sqlx::query(
            "INSERT INTO plugins (tenant, name, generation) VALUES ($1, $2, 1)
             ON CONFLICT (tenant, name) DO UPDATE SET generation = 1 + (
                 SELECT max(generation) FROM plugin_generations WHERE tenant = $1 AND name = $2
             )
             RETURNING generation",
        )
        .bind(self.t())
        .bind(name.as_str())
        .fetch_one(&mut *tx)
        .await
        .during(&what)?;
        sqlx::query(
            "INSERT INTO plugin_generations (
                 tenant, name, generation, digest, version, manifest, source, requests, tools, is_faculty, installed_ms,
                 is_interpreter, is_hook)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        )
        .bind(self.t())
        .bind(name.as_str())
        .bind(signed(row.number("generation")?))
        .bind(digest.to_string())
        .bind(kept(&version))
        .bind(kept(&manifest))
        .bind(kept(&source))
        .bind(requests)
        .bind(to_json(&tools)?)
        .bind(is_faculty)
        .bind(now_ms())
        .bind(is_interpreter)
        .bind(is_hook)
        .execute(&mut *tx)
        .await
        .during(&what)?;
        if let Some((grant, at_most)) = granting(by, before.as_ref(), grant) {
            self.set_grant(tx, &name, Some(&grant), at_most.as_ref()).await?;
        }
        self.forget_fault(tx, &source).await.during(&what)?;
        self.prune(tx, &name).await.during(&what)?;
        let plugin = self.plugin_in(tx, &name).await?;
        self.plugin_noted(tx, actor, "plugin.install", &name, installed(&plugin)).await?;
        Ok(plugin)
    }

    async fn forget_fault(&self, tx: &mut PgConnection, source: &str) -> Result<(), sqlx::Error> {
        sqlx::query("DELETE FROM plugin_faults WHERE tenant = $1 AND md5(source) = md5($2)")
            .bind(self.t())
            .bind(kept(source))
            .execute(tx)
            .await
            .map(drop)
    }

    /// Removes generations too old to be kept, then the bytes that no generation of any tenant refers to. Part of an
    /// installation, after which the newest generation serves: so the serving one is never removed.
    async fn prune(&self, tx: &mut PgConnection, name: &PluginName) -> Result<(), sqlx::Error> {
        let released: Vec<String> = sqlx::query_scalar(
            "DELETE FROM plugin_generations
             WHERE tenant = $1 AND name = $2
             AND generation NOT IN (
                 SELECT generation FROM plugin_generations WHERE tenant = $1 AND name = $2
                 ORDER BY generation DESC LIMIT $3
             )
             RETURNING digest",
        )
        .bind(self.t())
        .bind(name.as_str())
        .bind(i64::from(KEPT))
        .fetch_all(&mut *tx)
        .await?;
        drop_unused(tx, &released).await
    }
}

/// Of these artifacts, drops those that no generation of any tenant refers to.
async fn drop_unused(tx: &mut PgConnection, released: &[String]) -> Result<(), sqlx::Error> {
    if released.is_empty() {
        return Ok(());
    }
    sqlx::query("SELECT artifacts_drop($1)").bind(released).execute(tx).await.map(drop)
}

#[async_trait]
impl Plugins for Handle {
    async fn plugin_install(&self, actor: &str, new: NewGeneration) -> Result<Plugin> {
        let what = format!("install the plugin '{}'", new.name);
        let mut tx = self.tx().await?;
        self.keep_artifact(&mut tx, &new).await?;
        self.lock(&mut tx).await?;
        let plugin = self.install_in(&mut tx, actor, new, Grantor::Operator).await?;
        tx.commit().await.during(what)?;
        Ok(plugin)
    }

    async fn plugins(&self) -> Result<Vec<Plugin>> {
        let mut tx = self.tx().await?;
        let rows = sqlx::query(
            "SELECT * FROM plugins JOIN plugin_generations USING (tenant, name, generation)
             WHERE tenant = $1 ORDER BY name",
        )
        .bind(self.t())
        .fetch_all(&mut *tx)
        .await;
        rows.during("list the plugins")?.iter().map(plugin).collect()
    }

    async fn plugin(&self, name: &PluginName) -> Result<Plugin> {
        let mut tx = self.tx().await?;
        self.plugin_in(&mut tx, name).await
    }

    async fn plugin_at(&self, name: &PluginName, generation: u64) -> Result<Plugin> {
        let mut tx = self.tx().await?;
        let row = sqlx::query(
            "SELECT g.*, p.granted, p.at_most FROM plugin_generations AS g JOIN plugins AS p USING (tenant, name)
             WHERE tenant = $1 AND name = $2 AND g.generation = $3",
        )
        .bind(self.t())
        .bind(name.as_str())
        .bind(signed(generation))
        .fetch_optional(&mut *tx)
        .await
        .during(format_args!("read generation {generation} of the plugin '{name}'"))?;
        let what = || missing("generation", format_args!("{generation} of the plugin '{name}'"));
        plugin(&row.ok_or_else(what)?)
    }

    async fn plugin_generations(&self, name: &PluginName) -> Result<Vec<Generation>> {
        let mut tx = self.tx().await?;
        let rows = sqlx::query(
            "SELECT g.*, g.generation = p.generation AS serving
             FROM plugin_generations AS g JOIN plugins AS p USING (tenant, name)
             WHERE tenant = $1 AND name = $2 ORDER BY g.generation DESC",
        )
        .bind(self.t())
        .bind(name.as_str())
        .fetch_all(&mut *tx)
        .await
        .during(format_args!("list the generations of the plugin '{name}'"))?;
        if rows.is_empty() {
            return Err(missing("plugin", format_args!("'{name}'")));
        }
        rows.iter().map(generation).collect()
    }

    async fn plugin_grant(&self, actor: &str, name: &PluginName, grant: Option<Grant>) -> Result<Plugin> {
        let mut tx = self.alone().await?;
        let before = self.plugin_in(&mut tx, name).await?;
        let at_most = left(&before, grant.as_ref());
        self.set_grant(&mut tx, name, grant.as_ref(), at_most.as_ref()).await?;
        let plugin = self.plugin_in(&mut tx, name).await?;
        let action = if grant.is_some() { "plugin.grant" } else { "plugin.revoke" };
        self.plugin_changed(tx, actor, action, name, json!({ "before": before.granted, "granted": grant })).await?;
        Ok(plugin)
    }

    async fn plugin_rollback(&self, actor: &str, name: &PluginName, to: Option<u64>) -> Result<Plugin> {
        let what = format!("roll back the plugin '{name}'");
        let mut tx = self.alone().await?;
        let serving = self.plugin_in(&mut tx, name).await?.generation;
        let target = self.goal(&mut tx, name, serving, to).await?.ok_or_else(|| no_goal(name, serving, to))?;
        if target == serving {
            return Err(Error::Conflict(format!("generation {serving} of the plugin '{name}' serves already")));
        }
        self.serve(&mut tx, name, target).await?;
        // Whoever chose it chose it with its past; the count begins anew.
        sqlx::query("DELETE FROM plugin_health WHERE tenant = $1 AND name = $2 AND generation = $3")
            .bind(self.t())
            .bind(name.as_str())
            .bind(signed(target))
            .execute(&mut *tx)
            .await
            .during(&what)?;
        let plugin = self.plugin_in(&mut tx, name).await?;
        let skill = self.skill_follows(&mut tx, &plugin).await?;
        let detail = json!({ "from": serving, "generation": target, "digest": plugin.digest, "skill-version": skill });
        self.plugin_changed(tx, actor, "plugin.rollback", name, detail).await?;
        Ok(plugin)
    }

    async fn plugin_remove(&self, actor: &str, name: &PluginName) -> Result<()> {
        let what = format!("remove the plugin '{name}'");
        let mut tx = self.alone().await?;
        let before = self.plugin_in(&mut tx, name).await?;
        let released: Vec<String> =
            sqlx::query_scalar("SELECT digest FROM plugin_generations WHERE tenant = $1 AND name = $2")
                .bind(self.t())
                .bind(name.as_str())
                .fetch_all(&mut *tx)
                .await
                .during(&what)?;
        // Takes its generations along.
        sqlx::query("DELETE FROM plugins WHERE tenant = $1 AND name = $2")
            .bind(self.t())
            .bind(name.as_str())
            .execute(&mut *tx)
            .await
            .during(&what)?;
        sqlx::query("DELETE FROM plugin_faults WHERE tenant = $1 AND name = $2")
            .bind(self.t())
            .bind(name.as_str())
            .execute(&mut *tx)
            .await
            .during(&what)?;
        drop_unused(&mut tx, &released).await.during(&what)?;
        // Numbers begin anew, should a plugin of this name come again.
        sqlx::query("UPDATE skill_versions SET plugin_generation = NULL WHERE tenant = $1 AND name = $2")
            .bind(self.t())
            .bind(name.as_str())
            .execute(&mut *tx)
            .await
            .during(&what)?;
        let detail = json!({ "generation": before.generation, "digest": before.digest, "granted": before.granted });
        self.plugin_changed(tx, actor, "plugin.remove", name, detail).await
    }

    async fn artifact(&self, digest: &Digest) -> Result<Arc<[u8]>> {
        let what = format!("read the artifact {digest}");
        let mut tx = self.tx().await?;
        let row = sqlx::query(
            "SELECT bytes FROM artifacts WHERE digest = $2
             AND EXISTS (SELECT 1 FROM plugin_generations WHERE digest = $2 AND tenant = $1)",
        )
        .bind(self.t())
        .bind(digest.to_string())
        .fetch_optional(&mut *tx)
        .await
        .during(&what)?
        .ok_or_else(|| missing("artifact", digest))?;
        intact(digest, row.bytes("bytes")?)
    }

    async fn plugins_revision(&self) -> Result<u64> {
        let mut tx = self.tx().await?;
        let row = sqlx::query("SELECT plugins_revision FROM tenants WHERE tenant = $1")
            .bind(self.t())
            .fetch_one(&mut *tx)
            .await
            .during("read the revision of the plugins")?;
        row.number("plugins_revision")
    }

    async fn plugin_failed(&self, name: &PluginName, generation: u64) -> Result<u32> {
        let what = format!("count a failure of the plugin '{name}'");
        let mut tx = self.alone().await?;
        let row = sqlx::query(
            "INSERT INTO plugin_health (tenant, name, generation, failures)
             SELECT tenant, name, generation, 1 FROM plugin_generations
             WHERE tenant = $1 AND name = $2 AND generation = $3
             ON CONFLICT (tenant, name, generation) DO UPDATE SET failures = plugin_health.failures + 1
             RETURNING plugin_health.failures",
        )
        .bind(self.t())
        .bind(name.as_str())
        .bind(signed(generation))
        .fetch_optional(&mut *tx)
        .await
        .during(&what)?;
        tx.commit().await.during(&what)?;
        let failures = row.map_or(Ok(0), |row| row.number("failures"))?;
        Ok(u32::try_from(failures).unwrap_or(u32::MAX))
    }

    async fn plugin_worked(&self, name: &PluginName, generation: u64) -> Result<()> {
        let what = format!("end the failures of the plugin '{name}'");
        let mut tx = self.tx().await?;
        let failing = sqlx::query(
            "SELECT 1 FROM plugin_health WHERE tenant = $1 AND name = $2 AND generation = $3 AND failures > 0",
        )
        .bind(self.t())
        .bind(name.as_str())
        .bind(signed(generation))
        .fetch_optional(&mut *tx)
        .await
        .during(&what)?;
        if failing.is_none() {
            return Ok(());
        }
        self.lock(&mut tx).await?;
        sqlx::query("UPDATE plugin_health SET failures = 0 WHERE tenant = $1 AND name = $2 AND generation = $3")
            .bind(self.t())
            .bind(name.as_str())
            .bind(signed(generation))
            .execute(&mut *tx)
            .await
            .during(&what)?;
        tx.commit().await.during(&what)
    }

    async fn plugin_retire(
        &self,
        actor: &str,
        name: &PluginName,
        generation: u64,
        why: &str,
    ) -> Result<Option<Plugin>> {
        let mut tx = self.alone().await?;
        if self.plugin_in(&mut tx, name).await?.generation != generation {
            return Ok(None);
        }
        let Some(goal) = self.goal(&mut tx, name, generation, None).await? else { return Ok(None) };
        sqlx::query(
            "INSERT INTO plugin_health (tenant, name, generation, failures, retired) VALUES ($1, $2, $3, 0, true)
             ON CONFLICT (tenant, name, generation) DO UPDATE SET retired = true",
        )
        .bind(self.t())
        .bind(name.as_str())
        .bind(signed(generation))
        .execute(&mut *tx)
        .await
        .during(format_args!("retire generation {generation} of the plugin '{name}'"))?;
        self.serve(&mut tx, name, goal).await?;
        let plugin = self.plugin_in(&mut tx, name).await?;
        let why = head(why);
        let skill = self.skill_follows(&mut tx, &plugin).await?;
        let detail = json!({
            "from": generation, "generation": goal, "digest": plugin.digest, "why": why, "skill-version": skill,
        });
        self.plugin_changed(tx, actor, "plugin.rollback", name, detail).await?;
        Ok(Some(plugin))
    }

    async fn plugin_fault(&self, source: &str, name: Option<&PluginName>, error: &str) -> Result<()> {
        let what = "keep the fault of a plugin's source";
        let mut tx = self.alone().await?;
        sqlx::query(
            "INSERT INTO plugin_faults VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (tenant, md5(source)) DO UPDATE SET name = $3, error = $4, at_ms = $5",
        )
        .bind(self.t())
        .bind(kept(source))
        .bind(name.map(PluginName::as_str))
        .bind(kept(head(error)))
        .bind(now_ms())
        .execute(&mut *tx)
        .await
        .during(what)?;
        sqlx::query(
            "DELETE FROM plugin_faults WHERE tenant = $1 AND number NOT IN (
                 SELECT number FROM plugin_faults WHERE tenant = $1 ORDER BY at_ms DESC, number DESC LIMIT $2
             )",
        )
        .bind(self.t())
        .bind(i64::from(MAX_FAULTS))
        .execute(&mut *tx)
        .await
        .during(what)?;
        tx.commit().await.during(what)
    }

    async fn plugin_fault_clear(&self, source: &str) -> Result<()> {
        let what = "forget the fault of a plugin's source";
        let mut tx = self.tx().await?;
        let found = sqlx::query("SELECT 1 FROM plugin_faults WHERE tenant = $1 AND md5(source) = md5($2)")
            .bind(self.t())
            .bind(kept(source))
            .fetch_optional(&mut *tx)
            .await
            .during(what)?;
        if found.is_none() {
            return Ok(());
        }
        self.lock(&mut tx).await?;
        self.forget_fault(&mut tx, source).await.during(what)?;
        tx.commit().await.during(what)
    }

    async fn plugin_faults(&self) -> Result<Vec<PluginFault>> {
        let mut tx = self.tx().await?;
        let rows = sqlx::query("SELECT * FROM plugin_faults WHERE tenant = $1 ORDER BY source")
            .bind(self.t())
            .fetch_all(&mut *tx)
            .await;
        rows.during("list the faults of plugins")?.iter().map(fault).collect()
    }
}
