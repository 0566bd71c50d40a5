//! `animus focus replay`: a run again, against its journal.

use std::{fs, path::PathBuf, sync::Arc};

use animus_agent::{Retrace, Retraced, RunContext, Verdict};
use animus_core::{
    Error,
    budget::{Allowance, Budget},
    event::Unwatched,
    id::PluginName,
    journal::Outcome,
    plugins::PluginSet,
    store::Plugin,
};
use animus_runtime::Prepared;
use clap::Args;

use super::find;
use crate::{
    context::Context,
    fault::{During as _, Exit, Fault, Result},
    interrupt, machine,
    out::{self, BAD, GOOD, WARN, paint},
    watch::Viewer,
};

#[derive(Args)]
pub(crate) struct Replay {
    /// The run or its work item: its identifier, a unique beginning of it, or `last`
    #[arg(default_value = "last")]
    focus: String,
    /// Stop after this record of the journal
    #[arg(long, value_name = "N", conflicts_with = "from")]
    until: Option<u64>,
    /// Answer up to this record from the journal, and go on from there as a new work item; needs --live
    #[arg(long, value_name = "N", requires = "live")]
    from: Option<u64>,
    /// Call models, tools and the network for what follows
    #[arg(long, requires = "from")]
    live: bool,
    /// With this component in place of the one that ran; may be repeated
    #[arg(long = "plugin", value_name = "NAME=FILE", value_parser = swap)]
    plugins: Vec<(PluginName, PathBuf)>,
    /// With the plugins that serve now, not those that the run began with
    #[arg(long)]
    latest: bool,
    /// The folder that plugins with a grant for `$workspace` see [default: that of the work, or the current folder]
    #[arg(long, value_name = "FOLDER")]
    workspace: Option<PathBuf>,
}

fn swap(text: &str) -> Result<(PluginName, PathBuf), String> {
    let (name, file) = text.split_once('=').ok_or("it is NAME=FILE")?;
    Ok((PluginName::new(name).map_err(|error| error.to_string())?, file.into()))
}

impl Replay {
    pub(crate) async fn run(self, cx: &Context) -> Result<Exit> {
        let past = find(&*cx.tenant().await?, &self.focus).await?;
        let named = self.workspace.clone().or_else(|| past.work.workspace.clone().map(PathBuf::from));
        let workspace = cx.workspace(named.as_deref())?;
        let config = cx.config(&workspace)?;
        let ceiling = config.ceiling();
        let cancel = interrupt::listen(&cx.out)?;
        let tenant = cx.seeded().await?;
        let registry = cx.registry().await?;
        let mut swapped = Vec::new();
        for (name, file) in &self.plugins {
            swapped.push(changed(cx, name, file).await?);
        }
        let plugins: Arc<dyn PluginSet> = match self.latest {
            true => {
                let current = registry.refresh(&tenant, &ceiling).await?;
                let pins = animus_agent::pinned(&*current);
                registry.pinned_with(&tenant, &pins, &ceiling, swapped).await?
            }
            false => registry.pinned_with(&tenant, &past.focus.plugins, &ceiling, swapped).await?,
        };
        let (models, _) = cx.router(&config, None).await?;
        let run = RunContext {
            tenant,
            plugins,
            skills: Some(cx.forge(&config).await?),
            models: Arc::new(models),
            watcher: Arc::new(Unwatched),
            budget: Budget::new("replay", Allowance::default()),
            tools: None,
            workspace: Some(workspace),
            host: machine::host(),
            faculty: Arc::default(),
            slot: None,
            cancel,
        };
        match self.from {
            Some(from) => {
                let run = RunContext { budget: Budget::new("run", config.budget.allowance()), ..run };
                live(cx, run, past, from).await
            }
            None => {
                let found = animus_agent::retrace(run, past, self.until).await?;
                let exit = match found.verdict {
                    Verdict::Diverged { .. } => Exit::Failed,
                    Verdict::Reproduced { .. } | Verdict::Stopped { .. } => Exit::Done,
                };
                cx.out.show(&found, text);
                Ok(exit)
            }
        }
    }
}

/// The work that goes on is told like any other run.
async fn live(cx: &Context, run: RunContext, past: Retrace, from: u64) -> Result<Exit> {
    let viewer = Viewer::start(&cx.out, "thinking");
    let report = animus_agent::fork(RunContext { watcher: viewer.watcher(), ..run }, past, from).await;
    viewer.finish(&cx.out);
    Ok(super::super::run::exit(report?))
}

/// The plugin as it would be with another component, which is not installed.
async fn changed(cx: &Context, name: &PluginName, file: &std::path::Path) -> Result<Plugin> {
    let wasm: Arc<[u8]> = fs::read(file).during(|| format!("read {}", file.display()))?.into();
    let there = cx.tenant().await?.plugin(name).await?;
    let Prepared { inspection, tools } = cx.registry().await?.prepare(wasm).await?;
    if inspection.manifest.name != *name {
        let wrong = format!("{} is the plugin '{}', not '{name}'", file.display(), inspection.manifest.name);
        return Err(Fault::from(Error::Invalid(wrong)));
    }
    Ok(Plugin {
        digest: inspection.digest,
        version: inspection.manifest.version.to_string(),
        manifest: inspection.manifest_text,
        source: file.display().to_string(),
        tools,
        is_faculty: inspection.is_faculty,
        is_interpreter: inspection.is_interpreter,
        ..there
    })
}

fn text(found: &Retraced) -> String {
    let Retraced { focus, records, answered, verdict } = found;
    let told = match verdict {
        Verdict::Reproduced { outcome: Outcome::Ok { response } } => {
            let summary = response.get("summary").and_then(serde_json::Value::as_str).unwrap_or_default();
            format!("{}: {}", paint(GOOD, "reproduced"), out::safe(summary))
        }
        Verdict::Reproduced { outcome: Outcome::Failed { error } } => {
            format!("{}, and it fails as it did: {}", paint(GOOD, "reproduced"), out::safe(&error.to_string()))
        }
        Verdict::Diverged { why } => format!("{}: {}", paint(BAD, "diverged"), out::safe(why)),
        Verdict::Stopped { why } => format!("{}: {}", paint(WARN, "stopped"), out::safe(why)),
    };
    format!("{told}\n{focus}: {answered} of {records} records\n")
}
