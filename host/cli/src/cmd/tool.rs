//! `animus tool`: the tools of installed plugins.

use std::{path::PathBuf, sync::Arc};

use animus_agent::RunContext;
use animus_core::{
    budget::{Amount, Budget},
    event::Unwatched,
    id::{FocusId, WorkId},
    store::{Plugin, PluginState},
    tool::{Annotations, Output, Tool as Offered},
};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::words;
use crate::{
    context::{Context, Host},
    fault::{Exit, Result},
    hooks, interrupt, machine,
    out::{self, BOLD, DIM, Table, WARN, plain},
    watch::Viewer,
};

#[derive(Args)]
pub(crate) struct Tool {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the tools of installed plugins
    List {
        /// Only those of this plugin
        plugin: Option<String>,
    },
    /// Call a tool, under its plugin's own grant
    Call {
        /// The tool's full name, PLUGIN.TOOL
        name: String,
        /// The arguments, a JSON object; `-` reads standard input
        #[arg(default_value = "{}")]
        arguments: String,
        /// The folder that plugins with a grant for `$workspace` see [default: the current folder]
        #[arg(long, value_name = "FOLDER")]
        workspace: Option<PathBuf>,
    },
}

#[derive(Serialize)]
struct List {
    tools: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    plugin: String,
    state: PluginState,
    #[serde(flatten)]
    tool: Offered,
}

#[derive(Serialize)]
struct Called {
    work: WorkId,
    focus: FocusId,
    tool: String,
    output: Output,
    spent: Amount,
}

impl Tool {
    pub(crate) async fn run(self, cx: &Context) -> Result<Exit> {
        match self.command {
            Command::List { plugin } => {
                let all = cx.seeded().await?.plugins().await?;
                let tools = all
                    .into_iter()
                    .filter(|p| plugin.as_deref().is_none_or(|wanted| wanted == p.name.as_str()))
                    .flat_map(|Plugin { name, state, tools, .. }| {
                        tools.into_iter().map(move |tool| Listed { plugin: name.to_string(), state, tool })
                    })
                    .collect();
                cx.out.show(&List { tools }, table);
                Ok(Exit::Done)
            }
            Command::Call { name, arguments, workspace } => call(cx, name, arguments, workspace).await,
        }
    }
}

async fn call(cx: &Context, name: String, arguments: String, workspace: Option<PathBuf>) -> Result<Exit> {
    let arguments = words(&[arguments])?;
    let cancel = interrupt::listen(&cx.out)?;
    let workspace = cx.workspace(workspace.as_deref())?;
    let config = cx.config(&workspace)?;
    let host = cx.host(&config.ceiling()).await?;
    host.expect_tool(&name)?;
    let (models, _) = cx.router(&config, None).await?;
    // A program reads one result; a person may see what the plugin says meanwhile.
    let viewer = (!cx.out.is_json()).then(|| Viewer::start(&cx.out, &name));
    let hooks = hooks::of(cx, &*host.tenant, &config).await?;
    let run = RunContext {
        tenant: host.tenant,
        plugins: host.plugins,
        skills: None,
        hooks,
        models: Arc::new(models),
        watcher: viewer.as_ref().map_or_else(|| Arc::new(Unwatched), Viewer::watcher),
        budget: Budget::new("run", config.budget.allowance()),
        tools: None,
        workspace: Some(workspace),
        host: machine::host(),
        faculty: Arc::default(),
        slot: None,
        cancel,
    };
    let mut reloads = cx.registry().await?.reloads();
    let report = animus_agent::call_tool(run, &name, arguments).await;
    if let Some(viewer) = viewer {
        Host::pass_on(&mut reloads, &*viewer.watcher());
        viewer.finish(&cx.out);
    }
    let report = report?;
    let called =
        Called { work: report.work, focus: report.focus, tool: name, output: report.output?, spent: report.spent };
    cx.out.show(&called, |called| out::safe(&called.output.text));
    Ok(if called.output.is_error { Exit::Failed } else { Exit::Done })
}

/// What a tool does to the world, in one column.
pub(super) fn effects(annotations: &Annotations) -> String {
    let Annotations { read_only, idempotent, destructive, open_world } = *annotations;
    let words = [
        (read_only, "read-only"),
        (idempotent && !read_only, "idempotent"),
        (destructive, "destructive"),
        (open_world, "open-world"),
    ];
    words.into_iter().filter_map(|(holds, word)| holds.then_some(word)).collect::<Vec<_>>().join(" ")
}

fn table(list: &List) -> String {
    if list.tools.is_empty() {
        return "no tools; to add some: animus plugin install SOURCE".to_owned();
    }
    let mut table = Table::new(["TOOL", "EFFECTS", "DESCRIPTION"]);
    for Listed { state, tool, .. } in &list.tools {
        let what = match state {
            PluginState::Serving => plain(out::short(&tool.description, 90)),
            PluginState::AwaitingGrant => (WARN, "awaits a grant".to_owned()),
        };
        table.row([(BOLD, tool.name.clone()), (DIM, effects(&tool.annotations)), what]);
    }
    table.to_string()
}
