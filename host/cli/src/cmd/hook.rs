//! `animus hook`: what watches this host's agents, and may change or stop what they do.

use std::collections::{BTreeMap, BTreeSet};

use animus_agent::hooks::{sort, within};
use animus_core::{
    authority::Authority,
    hook::{COMMAND, Point, Settings},
    manifest::Manifest,
    store::PluginState,
    text::nearest,
};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::{
    cmd::OPERATOR,
    context::Context,
    fault::{Exit, Fault, Result},
    hooks,
    out::{self, BOLD, DIM, GOOD, Table, WARN, plain},
};

#[derive(Args)]
pub(crate) struct Hook {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the hooks in the order in which they are run
    List,
    /// Run a hook that was switched off
    Enable {
        /// A plugin, or command:NAME for one of the home's hooks folder
        name: String,
    },
    /// Do not run a hook, whatever the operator's configuration says
    Disable {
        /// A plugin, or command:NAME for one of the home's hooks folder
        name: String,
    },
}

#[derive(Serialize)]
struct List {
    hooks: Vec<Row>,
}

#[derive(Serialize)]
struct Switched {
    hook: Row,
}

#[derive(Clone, Serialize)]
struct Row {
    name: String,
    kind: Kind,
    /// Where it is run.
    events: BTreeSet<Point>,
    #[serde(flatten)]
    how: How,
    enabled: bool,
    /// Of a plugin.
    state: Option<PluginState>,
    /// Whether it is run in work that begins now.
    runs: bool,
    /// Why it is not.
    reason: Option<String>,
}

#[derive(Clone, Serialize)]
struct How {
    priority: i32,
    timeout_ms: u64,
    on_failure: animus_core::hook::OnFailure,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Plugin,
    Command,
}

impl Row {
    fn new(name: String, kind: Kind, settings: Settings, state: Option<PluginState>, reason: Option<String>) -> Self {
        let Settings { priority, timeout_ms, on_failure, events, enabled } = settings;
        let idle = events.is_empty().then(|| "it may watch nothing: animus plugin grant".to_owned());
        let reason = reason.or_else(|| (!enabled).then(|| "it is switched off".to_owned())).or(idle);
        let how = How { priority, timeout_ms, on_failure };
        Self { name, kind, events, how, enabled, state, runs: reason.is_none(), reason }
    }
}

impl Hook {
    pub(crate) async fn run(self, cx: &Context) -> Result<Exit> {
        match self.command {
            Command::List => {
                cx.out.show(&List { hooks: rows(cx).await? }, table);
                Ok(Exit::Done)
            }
            Command::Enable { name } => switch(cx, &name, true).await,
            Command::Disable { name } => switch(cx, &name, false).await,
        }
    }
}

async fn switch(cx: &Context, name: &str, on: bool) -> Result<Exit> {
    let known = rows(cx).await?;
    if !known.iter().any(|row| row.name == name) {
        let fault = Fault::from(animus_core::Error::NotFound(format!("there is no hook '{}'", name.escape_debug())));
        return Err(match nearest(name, known.iter().map(|row| row.name.as_str())) {
            Some(near) => fault.advise(format!("did you mean '{near}'?")),
            None => fault.advise("see which there are: animus hook list"),
        });
    }
    cx.tenant().await?.hook_switch(OPERATOR, name, on).await?;
    let hook = rows(cx).await?.into_iter().find(|row| row.name == name);
    let hook = hook.ok_or_else(|| Fault::failed(format!("the hook '{name}' was removed meanwhile")))?;
    cx.out.show(&Switched { hook }, |switched| {
        let Row { name, runs, reason, .. } = &switched.hook;
        match reason {
            Some(reason) => format!("{name} is not run: {}", out::safe(reason)),
            None if *runs => format!("{name} is run in all work that begins from now on"),
            None => String::new(),
        }
    });
    Ok(Exit::Done)
}

/// All hooks, in the order in which they are run.
async fn rows(cx: &Context) -> Result<Vec<Row>> {
    let tenant = cx.seeded().await?;
    let config = cx.config(&cx.workspace(None)?)?;
    let ceiling = config.ceiling();
    let switched: BTreeMap<String, bool> = tenant.hook_states().await?;
    let mut rows = Vec::new();
    for plugin in tenant.plugins().await?.into_iter().filter(|plugin| plugin.is_hook) {
        let settings = config.hooks.settings(&plugin.name, switched.get(plugin.name.as_str()).copied());
        let request = Manifest::parse(&plugin.manifest)?.request;
        let granted = plugin.granted.unwrap_or_default();
        let authority = Authority::new(plugin.name.clone(), request, granted, ceiling.clone());
        let settings = within(settings, authority.effective());
        let waits = (plugin.state == PluginState::AwaitingGrant)
            .then(|| format!("it awaits a grant: animus plugin grant {} --requested", plugin.name));
        rows.push((
            settings.clone(),
            Row::new(plugin.name.to_string(), Kind::Plugin, settings, Some(plugin.state), waits),
        ));
    }
    for found in hooks::found(cx, &switched)? {
        let name = format!("{COMMAND}{}", found.name);
        let (settings, reason) = match found.file {
            Ok(file) => (file.settings, None),
            Err(problem) => (Settings::default(), Some(problem)),
        };
        let refused = (!config.hooks.host_processes)
            .then(|| "[hooks] host_processes is not set in the home's animus.toml".to_owned());
        let row = Row::new(name, Kind::Command, settings.clone(), None, refused.or(reason));
        rows.push((settings, row));
    }
    sort(&mut rows, |(settings, row)| (settings, &row.name));
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

fn table(list: &List) -> String {
    if list.hooks.is_empty() {
        return "no hooks; docs/operators-guide.md says how to add one".to_owned();
    }
    let mut table = Table::new(["HOOK", "EVENTS", "PRIORITY", "TIMEOUT", "ON FAILURE", "RUNS"]);
    for Row { name, events, how, reason, .. } in &list.hooks {
        let runs = match reason {
            None => (GOOD, "yes".to_owned()),
            Some(reason) => (WARN, format!("no: {}", out::short(reason, 60))),
        };
        table.row([
            (BOLD, name.clone()),
            plain(events.iter().map(|point| point.as_str()).collect::<Vec<_>>().join(" ")),
            plain(how.priority),
            plain(format!("{} ms", how.timeout_ms)),
            (DIM, how.on_failure.as_str().to_owned()),
            runs,
        ]);
    }
    table.to_string()
}
