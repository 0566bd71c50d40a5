//! Skills: versions, decisions on them, activations.

use animus_core::{
    Error, Result,
    id::{Digest, FocusId, WorkId},
    skill::{Approvals, Author, Decision, How, NewSkill, PLUGIN_SOURCE, SkillName, SkillRecord, SkillUse},
    store::{Origin, Plugin, Skills},
};
use async_trait::async_trait;
use serde_json::{Value, json};
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use super::{
    Handle,
    error::{Columns as _, During as _, json as to_json, missing, signed},
    now_ms,
    writer::Write,
};
use crate::{
    plugins::Grantor,
    skills::{
        KEPT, approvals, expect_approved, expect_few, expect_newest, expect_pending, expect_same, expect_small,
        no_longer, no_version, record, usage,
    },
};

/// Every version of the tenant `?1`, with whether it is the active one; the caller's condition follows.
macro_rules! versions {
    ($condition:literal) => {
        concat!(
            "SELECT v.*, v.version IS s.active AS is_active
             FROM skill_versions AS v JOIN skills AS s USING (tenant, name) WHERE tenant = ?1 AND ",
            $condition
        )
    };
}

impl Handle {
    /// The given version or the active one, as this transaction sees it.
    async fn skill_in(&self, tx: &mut SqliteConnection, name: &SkillName, version: Option<u64>) -> Result<SkillRecord> {
        let row = sqlx::query(versions!("name = ?2 AND v.version = coalesce(?3, s.active)"))
            .bind(self.t())
            .bind(name.as_str())
            .bind(version.map(signed))
            .fetch_optional(tx)
            .await
            .during(format_args!("read the skill '{name}'"))?;
        let row = row.ok_or_else(|| no_version(name, version))?;
        record(&row)
    }

    /// The active version of a skill, if it has one; an error where there is no skill.
    async fn active_in(&self, tx: &mut SqliteConnection, name: &SkillName) -> Result<Option<u64>> {
        let row = sqlx::query("SELECT active FROM skills WHERE tenant = ?1 AND name = ?2")
            .bind(self.t())
            .bind(name.as_str())
            .fetch_optional(tx)
            .await
            .during(format_args!("read the skill '{name}'"))?;
        row.ok_or_else(|| missing("skill", format_args!("'{name}'")))?.maybe_number("active")
    }

    async fn set_active(&self, tx: &mut SqliteConnection, name: &SkillName, version: u64) -> Result<()> {
        sqlx::query("UPDATE skills SET active = ?3 WHERE tenant = ?1 AND name = ?2")
            .bind(self.t())
            .bind(name.as_str())
            .bind(signed(version))
            .execute(tx)
            .await
            .during(format_args!("activate the skill '{name}'"))?;
        Ok(())
    }

    /// Refuses what would go beyond what a tenant may keep: a model that makes skills all day would fill the disk.
    async fn skills_fit(&self, tx: &mut SqliteConnection, name: &SkillName) -> Result<()> {
        let what = format!("count the skills beside '{name}'");
        let row = sqlx::query("SELECT count(*) AS others FROM skills WHERE tenant = ?1 AND name <> ?2")
            .bind(self.t())
            .bind(name.as_str())
            .fetch_one(&mut *tx)
            .await
            .during(&what)?;
        expect_few(name, row.number("others")?)?;
        let row = sqlx::query("SELECT coalesce(sum(length(files)), 0) AS bytes FROM skill_versions WHERE tenant = ?1")
            .bind(self.t())
            .fetch_one(tx)
            .await
            .during(&what)?;
        expect_small(name, row.number("bytes")?)
    }

    /// A new revision, and what counts in the totals.
    async fn skills_counted(
        &self,
        tx: &mut SqliteConnection,
        [auto, approved, rejected]: [bool; 3],
        what: &str,
    ) -> Result<()> {
        sqlx::query(
            "INSERT INTO skill_totals (tenant, revision, auto, approved, rejected) VALUES (?1, 1, ?2, ?3, ?4)
             ON CONFLICT (tenant) DO UPDATE SET
             revision = revision + 1, auto = auto + ?2, approved = approved + ?3, rejected = rejected + ?4",
        )
        .bind(self.t())
        .bind(auto)
        .bind(approved)
        .bind(rejected)
        .execute(tx)
        .await
        .during(what)
        .map(drop)
    }

    /// The version that an effect added, as this transaction sees it.
    async fn made_in(&self, tx: &mut SqliteConnection, effect: Origin) -> Result<Option<SkillRecord>> {
        let row = sqlx::query("SELECT name, version FROM skill_makings WHERE tenant = ?1 AND focus = ?2 AND seq = ?3")
            .bind(self.t())
            .bind(effect.focus.to_string())
            .bind(signed(effect.seq))
            .fetch_optional(&mut *tx)
            .await
            .during(format_args!("look for what #{} of the focus {} made", effect.seq, effect.focus))?;
        let Some(row) = row else { return Ok(None) };
        let (name, version) = (row.parsed::<SkillName>("name")?, row.number("version")?);
        match self.skill_in(tx, &name, Some(version)).await {
            Err(Error::NotFound(_)) => Err(no_longer(effect, &name, version)),
            found => found.map(Some),
        }
    }

    /// Another generation of a plugin serves. Where it was compiled from a skill, its version is the active one from now on:
    /// what agents read is what their calls do. Returns that version.
    pub(super) async fn skill_follows(&self, tx: &mut SqliteConnection, plugin: &Plugin) -> Result<Option<u64>> {
        if plugin.source.strip_prefix(PLUGIN_SOURCE) != Some(plugin.name.as_str()) {
            return Ok(None);
        }
        let what = format!("activate the version of the skill '{}' that serves", plugin.name);
        // A version without code has no part in this, whatever serves.
        let row = sqlx::query(
            "UPDATE skills SET active = found.version
             FROM (SELECT max(version) AS version FROM skill_versions
                   WHERE tenant = ?1 AND name = ?2 AND plugin_generation = ?3 AND state = 'approved') AS found
             WHERE tenant = ?1 AND name = ?2 AND found.version IS NOT NULL AND EXISTS (
                 SELECT 1 FROM skill_versions AS v
                 WHERE v.tenant = ?1 AND v.name = ?2 AND v.version = skills.active AND v.plugin_generation IS NOT NULL
             )
             RETURNING active",
        )
        .bind(self.t())
        .bind(plugin.name.as_str())
        .bind(signed(plugin.generation))
        .fetch_optional(&mut *tx)
        .await
        .during(&what)?;
        let Some(row) = row else { return Ok(None) };
        self.skills_counted(tx, [false; 3], &what).await?;
        row.number("active").map(Some)
    }

    /// What every change ends with: what is counted, a new revision, the audit entry, the commit.
    async fn skill_changed(
        &self,
        mut tx: Write,
        counted: [bool; 3],
        actor: &str,
        action: &str,
        name: &SkillName,
        detail: Value,
    ) -> Result<()> {
        let what = format!("record the change of the skill '{name}'");
        self.skills_counted(&mut tx, counted, &what).await?;
        self.record(&mut tx, actor, action, name.as_str(), &detail).await?;
        tx.commit().await.during(&what)
    }

    /// The row of the totals, if anything was ever counted.
    async fn skill_totals(&self) -> Result<Option<SqliteRow>> {
        let row = sqlx::query("SELECT * FROM skill_totals WHERE tenant = ?1").bind(self.t());
        row.fetch_optional(self.pool.readers()).await.during("read the totals of the skills")
    }
}

#[async_trait]
impl Skills for Handle {
    async fn skill_put(&self, actor: &str, new: NewSkill) -> Result<SkillRecord> {
        let name = new.check()?;
        let NewSkill { files, created_by, origin, pending, plugin, report } = new;
        let what = format!("store the skill '{name}'");
        let bytes = files.to_bytes();
        let digest = Digest::of(&bytes);
        let mut tx = self.pool.write().await?;
        if let Some(effect) = origin.effect()
            && let Some(made) = self.made_in(&mut tx, effect).await?
        {
            expect_same(effect, &made, digest)?;
            return Ok(made);
        }
        let by = if created_by == Author::Animus { Grantor::Agent } else { Grantor::Operator };
        let plugin_generation = match plugin {
            Some(plugin) => Some(self.install_in(&mut tx, actor, plugin, by).await?.generation),
            None => None,
        };
        let row = sqlx::query(
            "INSERT INTO skills (tenant, name, newest) VALUES (?1, ?2, 1)
             ON CONFLICT (tenant, name) DO UPDATE SET newest = newest + 1
             RETURNING newest",
        )
        .bind(self.t())
        .bind(name.as_str())
        .fetch_one(&mut *tx)
        .await
        .during(&what)?;
        let version = row.number("newest")?;
        sqlx::query("INSERT INTO skill_versions VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, NULL, ?11)")
            .bind(self.t())
            .bind(name.as_str())
            .bind(signed(version))
            .bind(if pending { "pending" } else { "approved" })
            .bind(digest.to_string())
            .bind(bytes)
            .bind(created_by.as_str())
            .bind(to_json(&origin)?)
            .bind(plugin_generation.map(signed))
            .bind(report.as_ref().map(to_json).transpose()?)
            .bind(now_ms())
            .execute(&mut *tx)
            .await
            .during(&what)?;
        if !pending {
            self.set_active(&mut tx, &name, version).await?;
        }
        if let Some(effect) = origin.effect() {
            sqlx::query("INSERT INTO skill_makings VALUES (?1, ?2, ?3, ?4, ?5)")
                .bind(self.t())
                .bind(effect.focus.to_string())
                .bind(signed(effect.seq))
                .bind(name.as_str())
                .bind(signed(version))
                .execute(&mut *tx)
                .await
                .during(&what)?;
        }
        sqlx::query(
            "DELETE FROM skill_versions
             WHERE tenant = ?1 AND name = ?2
             AND version IS NOT (SELECT active FROM skills WHERE tenant = ?1 AND name = ?2)
             AND version NOT IN (
                 SELECT version FROM skill_versions WHERE tenant = ?1 AND name = ?2 ORDER BY version DESC LIMIT ?3
             )
             -- A rollback of the plugin leads to it.
             AND NOT EXISTS (
                 SELECT 1 FROM plugin_generations AS g
                 WHERE g.tenant = ?1 AND g.name = ?2 AND g.generation = skill_versions.plugin_generation
             )",
        )
        .bind(self.t())
        .bind(name.as_str())
        .bind(KEPT)
        .execute(&mut *tx)
        .await
        .during(&what)?;
        self.skills_fit(&mut tx, &name).await?;
        let put = self.skill_in(&mut tx, &name, Some(version)).await?;
        let detail = json!({
            "version": version, "digest": digest, "state": put.state, "created-by": created_by,
            "work": put.origin.work, "focus": put.origin.focus, "plugin-generation": plugin_generation,
        });
        let auto = !pending && created_by == Author::Animus;
        self.skill_changed(tx, [auto, false, false], actor, "skill.put", &name, detail).await?;
        Ok(put)
    }

    async fn skill_made(&self, effect: Origin) -> Result<Option<SkillRecord>> {
        let mut reader = self.pool.snapshot().await?;
        self.made_in(&mut reader, effect).await
    }

    async fn skills(&self) -> Result<Vec<SkillRecord>> {
        let rows = sqlx::query(versions!("v.version = s.active ORDER BY name")).bind(self.t());
        rows.fetch_all(self.pool.readers()).await.during("list the skills")?.iter().map(record).collect()
    }

    async fn skill(&self, name: &SkillName, version: Option<u64>) -> Result<SkillRecord> {
        let mut reader = self.pool.readers().acquire().await.during(format_args!("read the skill '{name}'"))?;
        self.skill_in(&mut reader, name, version).await
    }

    async fn skill_versions(&self, name: &SkillName) -> Result<Vec<SkillRecord>> {
        let rows = sqlx::query(versions!("name = ?2 ORDER BY v.version DESC"))
            .bind(self.t())
            .bind(name.as_str())
            .fetch_all(self.pool.readers())
            .await
            .during(format_args!("list the versions of the skill '{name}'"))?;
        if rows.is_empty() {
            return Err(missing("skill", format_args!("'{name}'")));
        }
        rows.iter().map(record).collect()
    }

    async fn skill_pending(&self) -> Result<Vec<SkillRecord>> {
        let rows = sqlx::query(versions!("v.state = 'pending' ORDER BY v.at_ms, name, v.version")).bind(self.t());
        rows.fetch_all(self.pool.readers()).await.during("list the skills that wait")?.iter().map(record).collect()
    }

    async fn skill_decide(
        &self,
        actor: &str,
        name: &SkillName,
        version: u64,
        decision: Decision,
        reason: &str,
    ) -> Result<SkillRecord> {
        decision.check(name, reason)?;
        let what = format!("{} version {version} of the skill '{name}'", decision.as_str());
        let mut tx = self.pool.write().await?;
        let before = self.skill_in(&mut tx, name, Some(version)).await?;
        expect_pending(&what, before.state)?;
        let active = self.active_in(&mut tx, name).await?;
        let action = format!("skill.{}", decision.as_str());
        let (state, generation) = match decision {
            Decision::Approve { plugin } => {
                expect_newest(&what, version, active)?;
                self.set_active(&mut tx, name, version).await?;
                let by = if before.created_by == Author::Animus { Grantor::Approver } else { Grantor::Operator };
                let generation = match plugin {
                    Some(plugin) => Some(self.install_in(&mut tx, actor, *plugin, by).await?.generation),
                    None => None,
                };
                ("approved", generation)
            }
            Decision::Reject => ("rejected", None),
        };
        sqlx::query(
            "UPDATE skill_versions
             SET state = ?4, reason = ?5, plugin_generation = ?6
             WHERE tenant = ?1 AND name = ?2 AND version = ?3",
        )
        .bind(self.t())
        .bind(name.as_str())
        .bind(signed(version))
        .bind(state)
        .bind(reason)
        .bind(generation.map(signed))
        .execute(&mut *tx)
        .await
        .during(&what)?;
        let after = self.skill_in(&mut tx, name, Some(version)).await?;
        let detail = json!({
            "version": version, "digest": after.digest, "reason": reason, "active-before": active,
            "plugin-generation": after.plugin_generation,
        });
        let approved = state == "approved";
        self.skill_changed(tx, [false, approved, !approved], actor, &action, name, detail).await?;
        Ok(after)
    }

    async fn skill_activated(
        &self,
        work: WorkId,
        focus: FocusId,
        name: &SkillName,
        version: u64,
        how: How,
    ) -> Result<()> {
        let what = format!("record that the focus {focus} activated the skill '{name}'");
        let mut tx = self.pool.write().await?;
        let state = self.skill_in(&mut tx, name, Some(version)).await?.state;
        expect_approved(&what, version, state)?;
        sqlx::query("SELECT 1 FROM focuses WHERE tenant = ?1 AND id = ?2 AND work = ?3")
            .bind(self.t())
            .bind(focus.to_string())
            .bind(work.to_string())
            .fetch_optional(&mut *tx)
            .await
            .during(&what)?
            .ok_or_else(|| missing("focus", format_args!("{focus} of the work item {work}")))?;
        sqlx::query(
            "INSERT INTO skill_activations (tenant, name, focus, work, version, how, at_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (tenant, name, focus) DO NOTHING",
        )
        .bind(self.t())
        .bind(name.as_str())
        .bind(focus.to_string())
        .bind(work.to_string())
        .bind(signed(version))
        .bind(how.as_str())
        .bind(now_ms())
        .execute(&mut *tx)
        .await
        .during(&what)?;
        tx.commit().await.during(&what)
    }

    async fn skill_activations(&self, name: &SkillName) -> Result<SkillUse> {
        let what = format!("count the activations of the skill '{name}'");
        let row = sqlx::query(
            "SELECT s.name, count(a.focus) AS count, max(a.at_ms) AS last_ms
             FROM skills AS s LEFT JOIN skill_activations AS a USING (tenant, name)
             WHERE tenant = ?1 AND name = ?2 GROUP BY s.name",
        )
        .bind(self.t())
        .bind(name.as_str())
        .fetch_optional(self.pool.readers())
        .await
        .during(&what)?
        .ok_or_else(|| missing("skill", format_args!("'{name}'")))?;
        usage(&row)
    }

    async fn skill_approvals(&self) -> Result<Approvals> {
        self.skill_totals().await?.map_or(Ok(Approvals::default()), |row| approvals(&row))
    }

    async fn skill_remove(&self, actor: &str, name: &SkillName) -> Result<()> {
        let what = format!("remove the skill '{name}'");
        let mut tx = self.pool.write().await?;
        let active = self.active_in(&mut tx, name).await?;
        // Takes its versions and activations along.
        sqlx::query("DELETE FROM skills WHERE tenant = ?1 AND name = ?2")
            .bind(self.t())
            .bind(name.as_str())
            .execute(&mut *tx)
            .await
            .during(&what)?;
        self.skill_changed(tx, [false; 3], actor, "skill.remove", name, json!({ "active": active })).await
    }

    async fn skills_revision(&self) -> Result<u64> {
        self.skill_totals().await?.map_or(Ok(0), |row| row.number("revision"))
    }
}
