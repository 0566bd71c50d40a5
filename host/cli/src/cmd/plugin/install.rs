//! `animus plugin install` and `animus plugin upgrade`.

use std::{path::PathBuf, sync::Arc};

use animus_core::{
    grant::Grant,
    id::{Digest, PluginName},
    store::{Plugin, PluginState},
};
use animus_runtime::Prepared;
use clap::Args;
use serde::Serialize;

use super::{Shown, beyond, grant, installed, lines, source, state};
use crate::{
    bundled,
    cmd::{OPERATOR, tool::effects},
    context::Context,
    fault::{During as _, Exit, Fault, Result},
    out::{self, BOLD, GOOD, WARN, paint},
    watch::Spinner,
};

#[derive(Args)]
pub(crate) struct Install {
    /// A plugin's folder, a .wasm file, or an https address
    source: String,
    #[command(flatten)]
    options: Options,
}

#[derive(Args)]
pub(crate) struct Upgrade {
    /// The plugin
    name: PluginName,
    /// Where its new build is [default: where it was installed from]
    source: Option<String>,
    #[command(flatten)]
    options: Options,
}

#[derive(Args)]
struct Options {
    /// The digest that the file must have; needed for an address
    #[arg(long, value_name = "DIGEST")]
    sha256: Option<Digest>,
    /// Grant all that its manifest requests
    #[arg(long, conflicts_with = "grant")]
    grant_requested: bool,
    /// Grant what a TOML file says
    #[arg(long, value_name = "FILE")]
    grant: Option<PathBuf>,
}

#[derive(Serialize)]
struct Done {
    plugin: Shown,
    /// The same bytes served before.
    unchanged: bool,
    /// What served before, where that came from somewhere else.
    replaced: Option<Replaced>,
    /// What is worth a look before granting.
    notes: Vec<String>,
}

/// A generation that another one serves in place of.
#[derive(Serialize)]
struct Replaced {
    generation: u64,
    source: String,
}

impl Install {
    pub(super) async fn run(self, cx: &Context) -> Result<Exit> {
        install(cx, &self.source, None, self.options).await
    }
}

impl Upgrade {
    pub(super) async fn run(self, cx: &Context) -> Result<Exit> {
        let plugin = installed(&*cx.seeded().await?, &self.name).await?;
        let source = match self.source {
            Some(source) => source,
            None if plugin.source == bundled::SOURCE => {
                return Err(Fault::usage(format!("{} came with animus, and is upgraded with it", self.name))
                    .advise(format!("to replace it by another build: animus plugin upgrade {} SOURCE", self.name)));
            }
            None => plugin.source,
        };
        install(cx, &source, Some(&self.name), self.options).await
    }
}

async fn install(cx: &Context, source: &str, expected: Option<&PluginName>, options: Options) -> Result<Exit> {
    let tenant = cx.seeded().await?;
    let granted = options.grant.as_deref().map(grant::read).transpose()?;
    let source = source::read(cx, source, options.sha256).await?;
    let wasm: Arc<[u8]> = source.wasm.into();
    let spinner = Spinner::start(&cx.out, "checking and compiling");
    let prepared = cx.registry().await?.prepare(wasm.clone()).await?;
    drop(spinner);
    let manifest = &prepared.inspection.manifest;
    if let Some(expected) = expected.filter(|expected| **expected != manifest.name) {
        return Err(Fault::invalid(format!("this is the plugin '{}', and not '{expected}'", manifest.name))
            .advise("install it beside the other: animus plugin install SOURCE"));
    }
    let there = tenant.plugins().await?.into_iter().find(|plugin| plugin.name == manifest.name);
    let grant = match granted {
        Some(granted) => Some(granted),
        None if options.grant_requested => Some(manifest.request.clone()),
        None => ask(cx, &prepared, there.as_ref())?,
    };
    let notes = prepared.inspection.notes.clone();
    let unchanged = there.as_ref().is_some_and(|there| there.digest == prepared.inspection.digest);
    let replaced = there
        .as_ref()
        .filter(|there| !unchanged && there.source != source.name)
        .map(|there| Replaced { generation: there.generation, source: there.source.clone() });
    let plugin = match (there, grant) {
        (Some(there), None) if unchanged => there,
        (Some(there), grant) if unchanged => tenant.plugin_grant(OPERATOR, &there.name, grant).await?,
        (_, grant) => cx.commit(OPERATOR, wasm, prepared, source.name, grant).await?,
    };
    let done = Done { plugin: Shown::of(plugin)?, unchanged, replaced, notes };
    cx.out.show(&done, text);
    Ok(Exit::Done)
}

/// Shows what is asked for beyond what is granted, and asks a person, if there is one. None leaves things as they are.
pub(super) fn ask(cx: &Context, prepared: &Prepared, there: Option<&Plugin>) -> Result<Option<Grant>> {
    let manifest = &prepared.inspection.manifest;
    let granted = there.and_then(|plugin| plugin.granted.as_ref());
    let more = beyond(&manifest.request, granted);
    if more.is_empty() {
        // Nothing to decide: by installing it, the operator wants it to serve.
        return Ok(granted.is_none().then(|| manifest.request.clone()));
    }
    if cx.out.is_json() || !out::is_interactive() {
        return Ok(None);
    }
    let mut text = format!("{} {} · {}\n", paint(BOLD, &manifest.name), manifest.version, manifest.description);
    let tools = prepared.tools.iter().map(|tool| format!("{} {}", tool.name, effects(&tool.annotations)));
    text.push_str(&lines("·", &tools.collect::<Vec<_>>()));
    text.push_str(if granted.is_some() { "asks for more than it is granted:\n" } else { "asks for:\n" });
    text.push_str(&lines("?", &more));
    text.push_str(&lines("!", &prepared.inspection.notes));
    cx.out.note(text.trim_end());
    let yes = out::confirm("grant all of it?").during(|| "ask".into())?;
    Ok(yes.then(|| manifest.request.clone()))
}

fn text(done: &Done) -> String {
    let Done { plugin, unchanged, replaced, notes } = done;
    let (style, word) = state(plugin.state);
    let verb = if *unchanged { "already installed:" } else { "installed" };
    let mut text = format!(
        "{} {} {} (generation {}): {}\n",
        paint(GOOD, verb),
        plugin.name,
        plugin.version,
        plugin.generation,
        paint(style, word),
    );
    if let Some(Replaced { generation, source }) = replaced {
        let from = out::safe(source);
        text.push_str(&paint(WARN, format_args!("it replaces generation {generation} from {from}\n")));
    }
    text.push_str(&lines("·", &plugin.tools));
    if !plugin.lacking.is_empty() {
        let asks = if plugin.granted.is_some() { "asks for more than it is granted:\n" } else { "asks for:\n" };
        text.push_str(&paint(WARN, asks));
        text.push_str(&lines("?", &plugin.lacking));
        text.push_str(&format!("to grant it: animus plugin grant {} --requested\n", plugin.name));
    } else if plugin.state == PluginState::AwaitingGrant {
        text.push_str(&format!("to have it serve: animus plugin grant {} --requested\n", plugin.name));
    }
    text.push_str(&lines("!", notes));
    text
}
