//! `animus skill install` and `animus skill remove`.

use std::path::PathBuf;

use animus_core::{
    Error,
    grant::Grant,
    id::PluginName,
    skill::{Author, NewSkill, SkillFiles, SkillName, SkillOrigin, SkillRecord, plugin_source},
    store::{PluginState, Tenant},
};
use animus_runtime::{
    reload::{Pace, Scope, Watcher},
    skill::Forged,
};
use clap::Args;
use serde::Serialize;

use super::{Bench, folder, read};
use crate::{
    cmd::{
        OPERATOR,
        plugin::{beyond, lines, read_grant},
    },
    context::Context,
    fault::{During as _, Exit, Fault, Result},
    out::{self, GOOD, WARN, paint},
    watch::Spinner,
};

#[derive(Args)]
pub(crate) struct Install {
    /// The skill's folder [default: the current folder]
    path: Option<PathBuf>,
    /// Grant its tools all that its code uses
    #[arg(long, conflicts_with = "grant")]
    grant_requested: bool,
    /// Grant its tools what a TOML file says
    #[arg(long, value_name = "FILE")]
    grant: Option<PathBuf>,
    /// Go on, and install it anew at every change of its folder, until Ctrl-C
    #[arg(long)]
    watch: bool,
}

#[derive(Args)]
pub(crate) struct Remove {
    /// The skill
    name: SkillName,
}

#[derive(Serialize)]
struct Installed {
    skill: SkillName,
    version: u64,
    /// The same files were installed before.
    unchanged: bool,
    tests: usize,
    /// The plugin that its code became.
    plugin: Option<Tools>,
}

#[derive(Serialize)]
struct Tools {
    name: PluginName,
    generation: u64,
    state: PluginState,
    tools: Vec<String>,
    /// What its code uses and it is not granted, in written form.
    lacking: Vec<String>,
}

#[derive(Serialize)]
struct Removed {
    skill: SkillName,
    plugin: Option<PluginName>,
}

impl Install {
    pub(super) async fn run(self, cx: &Context) -> Result<Exit> {
        let path = folder(self.path.clone()).canonicalize().during(|| "find the skill's folder".into())?;
        let bench = Bench::open(cx, None).await?;
        let done = self.once(cx, &bench, &path).await;
        if !self.watch {
            return done.map(|()| Exit::Done);
        }
        report(cx, done);
        let mut watcher = Watcher::start(&path, Scope::Source, Pace::default())?;
        cx.out.note(format_args!("watching {}; Ctrl-C ends it", path.display()));
        loop {
            tokio::select! {
                changed = watcher.next() => drop(changed?),
                () = bench.run.cancel.cancelled() => return Ok(Exit::Done),
            }
            report(cx, self.once(cx, &bench, &path).await);
        }
    }

    async fn once(&self, cx: &Context, bench: &Bench, path: &std::path::Path) -> Result {
        let files = read(path)?;
        let spinner = Spinner::start(&cx.out, "testing and compiling");
        let forged = bench.forge(&files).await?;
        drop(spinner);
        if let Some(forged) = forged.as_ref().filter(|forged| !forged.tests.is_empty()) {
            forged.expect_tested()?;
        }
        let installed = self.install(bench, files, forged).await?;
        cx.out.show(&installed, text);
        Ok(())
    }

    async fn install(&self, bench: &Bench, files: SkillFiles, forged: Option<Forged>) -> Result<Installed> {
        let tenant = &bench.run.tenant;
        let name = files.skill(None)?.name;
        let granted = self.grant.as_deref().map(read_grant).transpose()?;
        let tests = forged.as_ref().map_or(0, |forged| forged.tests.len());
        let grant = forged.as_ref().and_then(|forged| granted.or(self.grant_requested.then(|| asked(forged))));
        let there = unchanged(&**tenant, &name, &files, forged.as_ref()).await?;
        let is_known = there.is_some();
        let record = match there {
            Some(record) => {
                if let Some(grant) = grant {
                    tenant.plugin_grant(OPERATOR, &PluginName::new(name.as_str())?, Some(grant)).await?;
                }
                record
            }
            None => {
                let plugin = match &forged {
                    Some(forged) => Some(bench.forge.generation(forged, grant).await?),
                    None => None,
                };
                let report = forged.as_ref().map(|forged| serde_json::json!({ "tests": forged.tests }));
                let (created_by, origin) = (Author::Human, SkillOrigin::default());
                let new = NewSkill { files, created_by, origin, pending: false, plugin, report };
                tenant.skill_put(OPERATOR, new).await?
            }
        };
        let plugin = match &forged {
            Some(forged) => {
                let plugin = tenant.plugin(&forged.inspection.manifest.name).await?;
                Some(Tools {
                    lacking: beyond(&forged.inspection.manifest.request, plugin.granted.as_ref()),
                    name: plugin.name,
                    generation: plugin.generation,
                    state: plugin.state,
                    tools: plugin.tools.into_iter().map(|tool| tool.name).collect(),
                })
            }
            None => None,
        };
        Ok(Installed { skill: name, version: record.version, unchanged: is_known, tests, plugin })
    }
}

/// The active version, where it has the same files and the plugin that serves is what they compile into.
async fn unchanged(
    tenant: &dyn Tenant,
    name: &SkillName,
    files: &SkillFiles,
    forged: Option<&Forged>,
) -> Result<Option<SkillRecord>> {
    let record = match tenant.skill(name, None).await {
        Ok(there) if there.digest == files.digest() => there,
        Ok(_) | Err(Error::NotFound(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let Some(forged) = forged else { return Ok(Some(record)) };
    match tenant.plugin(&forged.inspection.manifest.name).await {
        Ok(plugin) => {
            let same = plugin.digest == forged.inspection.digest && plugin.source == plugin_source(name);
            Ok((same && record.plugin_generation == Some(plugin.generation)).then_some(record))
        }
        Err(Error::NotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// All that the code uses, within the usual limits.
fn asked(forged: &Forged) -> Grant {
    forged.inspection.manifest.request.clone()
}

fn report(cx: &Context, done: Result) {
    if let Err(fault) = done {
        fault.report(&cx.out);
    }
}

fn text(installed: &Installed) -> String {
    let Installed { skill, version, unchanged, tests, plugin } = installed;
    let verb = if *unchanged { "already installed:" } else { "installed" };
    let mut text = format!("{} {skill} (version {version})\n", paint(GOOD, verb));
    let Some(plugin) = plugin else { return text };
    let passed = if *tests == 0 { "it has no tests".to_owned() } else { format!("{tests} tests passed") };
    text.push_str(&format!("its tools (generation {}; {passed}):\n", plugin.generation));
    text.push_str(&lines("·", &plugin.tools));
    if !plugin.lacking.is_empty() {
        text.push_str(&paint(WARN, "its code uses:\n"));
        text.push_str(&lines("?", &plugin.lacking));
        text.push_str(&format!("to grant it: animus plugin grant {} --requested\n", plugin.name));
    }
    text
}

impl Remove {
    pub(super) async fn run(self, cx: &Context) -> Result<Exit> {
        let tenant = cx.seeded().await?;
        tenant
            .skill(&self.name, None)
            .await
            .map_err(|error| Fault::from(error).advise("see which there are: animus skill list"))?;
        let mut removed = None;
        if let Ok(plugin) = PluginName::new(self.name.as_str())
            && let Ok(there) = tenant.plugin(&plugin).await
            && there.source == plugin_source(&self.name)
        {
            tenant.plugin_remove(OPERATOR, &plugin).await?;
            removed = Some(plugin);
        }
        tenant.skill_remove(OPERATOR, &self.name).await?;
        cx.out.show(&Removed { skill: self.name, plugin: removed }, |removed| {
            let with = removed.plugin.as_ref().map_or("", |_| " and its plugin");
            format!("removed {}{with}", out::safe(removed.skill.as_str()))
        });
        Ok(Exit::Done)
    }
}
