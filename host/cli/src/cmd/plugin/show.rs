//! `animus plugin list` and `animus plugin inspect`.

use std::path::Path;

use animus_core::{
    Error,
    authority::Authority,
    grant::Grant,
    id::{Digest, PluginName},
    limits::Limits,
    store::{Generation, Plugin, PluginFault, PluginState},
    tool::Tool,
};
use clap::Args;
use serde::Serialize;

use super::{Shown, beyond, lines, source, state, written};
use crate::{
    cmd::tool::effects,
    context::Context,
    fault::{Exit, Result},
    out::{self, BAD, BOLD, DIM, Table, paint, plain},
};

/// How much of a compiler's complaint a listing shows.
const FAULT_LINES: usize = 20;

#[derive(Args)]
pub(crate) struct List {}

#[derive(Serialize)]
struct Listed {
    plugins: Vec<Row>,
    /// Of all sources, those that are no plugin yet included.
    faults: Vec<PluginFault>,
}

#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    plugin: Shown,
    /// The newest load of this plugin that failed, where none has passed since.
    fault: Option<PluginFault>,
}

impl List {
    pub(super) async fn run(self, cx: &Context) -> Result<Exit> {
        let tenant = cx.seeded().await?;
        let faults = tenant.plugin_faults().await?;
        let row = |plugin: Plugin| {
            let of_it = faults.iter().filter(|fault| fault.name.as_ref() == Some(&plugin.name));
            let fault = of_it.max_by_key(|fault| fault.at_ms).cloned();
            Ok(Row { plugin: Shown::of(plugin)?, fault })
        };
        let plugins = tenant.plugins().await?.into_iter().map(row).collect::<Result<_>>()?;
        cx.out.show(&Listed { plugins, faults }, list_text);
        Ok(Exit::Done)
    }
}

fn list_text(listed: &Listed) -> String {
    if listed.plugins.is_empty() && listed.faults.is_empty() {
        return "no plugins; to add one: animus plugin install SOURCE".to_owned();
    }
    let mut table = Table::new(["PLUGIN", "VERSION", "GEN", "STATE", "OFFERS", "SOURCE"]);
    for Row { plugin, .. } in &listed.plugins {
        let tools = match plugin.tools.len() {
            0 => None,
            1 => Some("1 tool".to_owned()),
            n => Some(format!("{n} tools")),
        };
        let kinds = [(plugin.is_faculty, "faculty"), (plugin.is_interpreter, "interpreter"), (plugin.is_hook, "hook")];
        let kinds = kinds.into_iter().filter(|(is, _)| *is).map(|(_, kind)| kind.to_owned());
        let offers = kinds.chain(tools).collect::<Vec<_>>();
        table.row([
            (BOLD, plugin.name.to_string()),
            plain(&plugin.version),
            plain(plugin.generation),
            state(plugin.state),
            plain(offers.join(", ")),
            (DIM, plugin.source.clone()),
        ]);
    }
    let mut text = table.to_string();
    let plugins = listed.plugins.iter().map(|row| &row.plugin);
    for plugin in plugins.filter(|plugin| plugin.state == PluginState::AwaitingGrant) {
        text.push_str(&format!(
            "\n{0} asks for:\n{1}to grant it: animus plugin grant {0} --requested\n",
            plugin.name,
            lines("?", &plugin.lacking)
        ));
    }
    for fault in &listed.faults {
        text.push_str(&format!("\n{}\n", paint(BAD, format_args!("{} does not load:", out::safe(&fault.source)))));
        let error = out::safe(&fault.error);
        text.extend(error.lines().take(FAULT_LINES).map(|line| format!("  {line}\n")));
        if error.lines().nth(FAULT_LINES).is_some() {
            text.push_str("  … all of it: animus plugin list --json\n");
        }
    }
    text
}

#[derive(Args)]
pub(crate) struct Inspect {
    /// An installed plugin, a plugin's folder, or a .wasm file
    target: String,
}

#[derive(Serialize)]
struct Inspected {
    name: PluginName,
    version: String,
    description: String,
    license: String,
    homepage: String,
    digest: Digest,
    bytes: usize,
    is_faculty: bool,
    is_interpreter: bool,
    is_hook: bool,
    /// Of a faculty, in the order in which they are run.
    phases: Vec<&'static str>,
    imports: Vec<String>,
    exports: Vec<String>,
    /// What the imports need.
    capabilities: Vec<String>,
    requested: Grant,
    notes: Vec<String>,
    installed: Option<Installed>,
}

#[derive(Serialize)]
struct Installed {
    generation: u64,
    state: PluginState,
    source: String,
    granted: Option<Grant>,
    /// What is requested and not granted, in its written form.
    lacking: Vec<String>,
    /// What it may do: requested, granted, and within the ceiling.
    effective: Grant,
    /// The limits of its calls.
    limits: Limits,
    tools: Vec<Tool>,
    generations: Vec<Generation>,
}

impl Inspect {
    pub(super) async fn run(self, cx: &Context) -> Result<Exit> {
        let (bytes, installed) = match self.installed(cx).await? {
            Some(plugin) => {
                let tenant = cx.tenant().await?;
                let bytes = tenant.artifact(&plugin.digest).await?.to_vec();
                (bytes, Some((tenant.plugin_generations(&plugin.name).await?, plugin)))
            }
            None => (source::read(cx, &self.target, None).await?.wasm, None),
        };
        let inspection = animus_runtime::inspect(&bytes).map_err(Error::from)?;
        let manifest = inspection.manifest;
        let installed = match installed {
            Some((generations, plugin)) => {
                let ceiling = cx.config(&cx.workspace(None)?)?.ceiling();
                let granted = plugin.granted.clone().unwrap_or_default();
                let authority = Authority::new(plugin.name, manifest.request.clone(), granted, ceiling);
                Some(Installed {
                    generation: plugin.generation,
                    state: plugin.state,
                    source: plugin.source,
                    lacking: beyond(&manifest.request, plugin.granted.as_ref()),
                    granted: plugin.granted,
                    effective: authority.effective().clone(),
                    limits: *authority.limits(),
                    tools: plugin.tools,
                    generations,
                })
            }
            None => None,
        };
        let inspected = Inspected {
            name: manifest.name,
            version: manifest.version.to_string(),
            description: manifest.description,
            license: manifest.license,
            homepage: manifest.homepage,
            digest: inspection.digest,
            bytes: inspection.size,
            is_faculty: inspection.is_faculty,
            is_interpreter: inspection.is_interpreter,
            is_hook: inspection.is_hook,
            phases: if inspection.is_faculty { inspection.phases.names() } else { Vec::new() },
            imports: inspection.imports,
            exports: inspection.exports,
            capabilities: inspection.capabilities,
            requested: manifest.request,
            notes: inspection.notes,
            installed,
        };
        cx.out.show(&inspected, inspected_text);
        Ok(Exit::Done)
    }

    /// A name means what is installed; what is no name, or not installed, is a path.
    async fn installed(&self, cx: &Context) -> Result<Option<Plugin>> {
        let Ok(name) = PluginName::new(&self.target) else { return Ok(None) };
        match super::installed(&*cx.seeded().await?, &name).await {
            Ok(plugin) => Ok(Some(plugin)),
            Err(_) if Path::new(&self.target).exists() => Ok(None),
            Err(fault) => Err(fault),
        }
    }
}

fn inspected_text(shown: &Inspected) -> String {
    let mut text = format!(
        "{} {} · {}\n{} · {} KiB\n",
        paint(BOLD, &shown.name),
        shown.version,
        out::safe(&shown.description),
        paint(DIM, format_args!("sha256:{}", shown.digest)),
        shown.bytes.div_ceil(1024),
    );
    let mut section = |title: &str, body: String| {
        if !body.is_empty() {
            text.push_str(&format!("\n{}\n{body}", paint(BOLD, title)));
        }
    };
    section("exports", lines("·", &shown.exports));
    section("phases", if shown.phases.is_empty() { String::new() } else { format!("  {}\n", shown.phases.join(", ")) });
    section("imports", lines("·", &shown.imports));
    section("asks for", lines("?", &written(&shown.requested)));
    if let Some(installed) = &shown.installed {
        let (style, word) = state(installed.state);
        let generations = installed.generations.len();
        let of = format!("  {}, generation {} of {generations}\n", paint(style, word), installed.generation);
        section("installed", of);
        section("may do", lines("+", &written(&installed.effective)));
        section("lacks", lines("-", &installed.lacking));
        let tools = installed.tools.iter().map(|tool| format!("{} {}", tool.name, effects(&tool.annotations)));
        section("tools", lines("·", &tools.collect::<Vec<_>>()));
    }
    section("worth a look", lines("!", &shown.notes));
    text
}
