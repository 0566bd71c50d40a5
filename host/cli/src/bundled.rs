//! The first-party plugins, which travel inside the binary, and what this binary grants them on a fresh home.
//!
//! These grants are this host's own policy and not the plugins' word: they are written here, audited as made by `host`,
//! and the operator's to change. `docs/operators-guide.md` lists them.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{Seek as _, SeekFrom, Write as _},
    path::Path,
    sync::Arc,
};

use animus_core::{
    Error,
    grant::Grant,
    id::PluginName,
    skill::{Author, NewSkill, SkillFiles, SkillName, SkillOrigin, SkillRecord},
    store::{Plugin, Tenant},
};

use animus_runtime::Prepared;
use serde_json::json;

use crate::{
    context::Context,
    fault::{During as _, Result},
    watch::Spinner,
};

/// Where a plugin comes from that came with the binary, as the store has it.
pub(crate) const SOURCE: &str = "embedded";
/// Who installs them, in the audit log.
const ACTOR: &str = "host";

/// Paths and contents.
type SkillFolder = &'static [(&'static str, &'static [u8])];

/// The skills that ship, each with its files. They hold instructions and no code, so there is nothing to grant.
const SKILLS: &[(&str, SkillFolder)] = include!(concat!(env!("OUT_DIR"), "/skills.rs"));

struct Embedded {
    name: &'static str,
    digest: &'static str,
    wasm: &'static [u8],
}

const PLUGINS: &[Embedded] = include!(concat!(env!("OUT_DIR"), "/plugins.rs"));

/// What a first-party plugin is granted when it is first installed; nothing for `web`, whose hosts only the operator
/// knows, and for the hooks, which change what agents do.
fn policy(name: &str) -> Option<&'static str> {
    match name {
        "assistant" => Some(
            "llm = { roles = ['*'], max_tokens = 16000 }\n\
             ledger = ['read']\n\
             tool = ['*']\n\
             interpreter = ['python']\n\
             limits = { wall_ms = 14_400_000, cpu_ms = 300_000 }",
        ),
        "fs" => Some("paths = [{ host = '$workspace', guest = '/workspace', mode = 'rw' }]"),
        "notes" => Some("memory = ['read', 'write']"),
        // It holds nothing; these bound each program, under the limits of whoever has it run.
        "python" => Some("limits = { wall_ms = 600_000, cpu_ms = 300_000, memory_bytes = 536_870_912 }"),
        "transform" => Some("ledger = ['append']"),
        "researcher" => Some(
            "llm = { roles = ['*'], max_tokens = 16000 }\n\
             ledger = ['append', 'read']\n\
             tool = ['*']\n\
             interpreter = ['python']\n\
             spawn-child = { faculties = ['*'], max = 8 }\n\
             limits = { wall_ms = 14_400_000 }",
        ),
        _ => None,
    }
}

/// Installs what is missing, and what came with a newer binary. Costs one look at the store when there is nothing to do.
pub(crate) async fn seed(cx: &Context, tenant: &dyn Tenant) -> Result {
    let skills = due_skills(cx, tenant).await?;
    if skills.is_empty() && due(cx, tenant).await?.is_empty() {
        return Ok(());
    }
    let path = cx.given()?;
    let open = File::options().create(true).truncate(false).read(true).write(true).open(&path);
    let given = open.during(|| format!("open {}", path.display()))?;
    // Another process may be at it; what it installs is not due any more.
    let given = tokio::task::spawn_blocking(move || given.lock().map(|()| given));
    let mut given = given.await.during(|| "wait".into())?.during(|| format!("lock {}", path.display()))?;
    for files in due_skills(cx, tenant).await? {
        let new = NewSkill {
            files,
            created_by: Author::Human,
            origin: SkillOrigin::default(),
            pending: false,
            plugin: None,
            report: Some(json!({ "source": SOURCE })),
        };
        let name = tenant.skill_put(ACTOR, new).await?.name;
        note(&mut given, &path, &format!("skill:{name}"))?;
    }
    let due = due(cx, tenant).await?;
    let _spinner = Spinner::start(&cx.out, "preparing the first-party plugins");
    for plugin in due {
        let grant = policy(plugin.name).map(Grant::parse_toml).transpose()?;
        let there = tenant.plugin(&PluginName::new(plugin.name)?).await.is_ok();
        // What the operator granted, or took back, stays as it is.
        let wasm: Arc<[u8]> = plugin.wasm.into();
        let inspection = animus_runtime::inspect(&wasm).map_err(Error::from)?;
        let prepared = if inspection.acts_itself() {
            cx.registry().await?.prepare(wasm.clone()).await?
        } else {
            // An interpreter has no tools to be asked for, and takes long to compile: that waits for its first program.
            Prepared { inspection, tools: Vec::new() }
        };
        cx.commit(ACTOR, wasm, prepared, SOURCE.into(), grant.filter(|_| !there)).await?;
        note(&mut given, &path, plugin.name)?;
    }
    Ok(())
}

/// Notes what this home was given.
fn note(given: &mut File, path: &Path, what: &str) -> Result {
    given.seek(SeekFrom::End(0)).and_then(|_| writeln!(given, "{what}")).during(|| format!("write {}", path.display()))
}

/// The skills that are to be installed: those that this home never had, and those of an older binary that nobody
/// replaced.
async fn due_skills(cx: &Context, tenant: &dyn Tenant) -> Result<Vec<SkillFiles>> {
    let given = fs::read_to_string(cx.given()?).unwrap_or_default();
    let mut due = Vec::new();
    for (name, files) in SKILLS {
        let files = files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec()));
        let files = SkillFiles::new(files)?;
        let versions = tenant.skill_versions(&SkillName::new(name)?).await.unwrap_or_default();
        let known = versions.iter().any(|version| version.digest == files.digest());
        let removed = versions.is_empty() && given.lines().any(|line| line == format!("skill:{name}"));
        // What an operator or an agent put in its place stays.
        let shipped = |version: &SkillRecord| version.report.as_ref() == Some(&json!({ "source": SOURCE }));
        let newest = versions.first().is_none_or(shipped);
        if !known && !removed && newest {
            due.push(files);
        }
    }
    Ok(due)
}

/// What is to be installed.
async fn due(cx: &Context, tenant: &dyn Tenant) -> Result<Vec<&'static Embedded>> {
    let installed = tenant.plugins().await?;
    let mut given: BTreeSet<String> =
        fs::read_to_string(cx.given()?).unwrap_or_default().lines().map(str::to_owned).collect();
    if installed.is_empty() && tenant.audit_read(1).await?.is_empty() {
        // The store is new, whatever an older one was given.
        given.clear();
    }
    let mut due = Vec::new();
    for plugin in PLUGINS {
        let wanted = match installed.iter().find(|there| there.name.as_str() == plugin.name) {
            Some(there) => is_older(there, plugin, tenant).await?,
            None => !given.contains(plugin.name),
        };
        if wanted {
            due.push(plugin);
        }
    }
    Ok(due)
}

/// Whether `there` came with another binary. One that was rolled back to stays: this binary's is among its generations.
async fn is_older(there: &Plugin, plugin: &Embedded, tenant: &dyn Tenant) -> Result<bool> {
    if there.source != SOURCE || there.digest.to_string() == plugin.digest {
        return Ok(false);
    }
    let generations = tenant.plugin_generations(&there.name).await?;
    Ok(!generations.iter().any(|generation| generation.digest.to_string() == plugin.digest))
}

#[cfg(test)]
mod tests {
    use animus_core::{id::Digest, manifest::Manifest, package};

    use super::*;

    #[test]
    fn every_plugin_is_granted_exactly_what_its_manifest_requests_except_web_and_hooks() {
        let names: Vec<_> = PLUGINS.iter().map(|plugin| plugin.name).collect();
        let expected = ["assistant", "fs", "guard", "notes", "python", "redact", "researcher", "transform", "web"];
        assert_eq!(names, expected);
        // Agents make no skills of these names.
        assert_eq!(names, animus_core::plugins::SHIPPED);
        for plugin in PLUGINS {
            assert_eq!(Digest::of(plugin.wasm).to_string(), plugin.digest);
            let manifest = Manifest::parse(package::manifest_of(plugin.wasm).unwrap().unwrap()).unwrap();
            assert_eq!(manifest.name.as_str(), plugin.name);
            match policy(plugin.name).map(|policy| Grant::parse_toml(policy).unwrap()) {
                Some(grant) => assert_eq!(grant, manifest.request, "{}", plugin.name),
                None => {
                    assert!(["guard", "redact", "web"].contains(&plugin.name) && !manifest.request.is_nothing());
                }
            }
        }
    }
}
