//! `animus plugin`: the life of a plugin.

mod build;
mod change;
mod dev;
mod grant;
mod install;
mod new;
mod show;
mod source;

pub(crate) use self::dev::Dropped;
pub(super) use self::{
    build::{Messages, build},
    grant::read as read_grant,
};

use animus_core::{
    Error,
    grant::Grant,
    id::{Digest, PluginName},
    limits::Limits,
    manifest::Manifest,
    store::{PluginState, Tenant},
    text::nearest,
};
use anstyle::Style;
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::{
    context::Context,
    fault::{Exit, Fault, Result},
    out,
};

#[derive(Args)]
pub(crate) struct Plugin {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Begin a plugin in a new folder
    New(new::New),
    /// Build a plugin's folder into a component that carries its manifest
    Build(build::Build),
    /// Build and reload a plugin at every save of its source; without PATH, reload what is put into the drop folder
    Dev(dev::Dev),
    /// Install a plugin from a folder, a .wasm file, or an https address with its digest
    Install(install::Install),
    /// List the installed plugins
    List(show::List),
    /// Show what a component exports, imports, asks for and is granted
    Inspect(show::Inspect),
    /// Grant an installed plugin what it may reach, or take it back
    Grant(grant::GrantTo),
    /// Install the newest build of a plugin; its grant stays as it is unless you say otherwise
    Upgrade(install::Upgrade),
    /// Serve an earlier generation again
    Rollback(change::Rollback),
    /// Remove a plugin with its grant and generations
    Remove(change::Remove),
}

impl Plugin {
    pub(crate) async fn run(self, cx: &Context) -> Result<Exit> {
        match self.command {
            Command::New(new) => new.run(cx),
            Command::Build(build) => build.run(cx).await,
            Command::Dev(dev) => dev.run(cx).await,
            Command::Install(install) => install.run(cx).await,
            Command::List(list) => list.run(cx).await,
            Command::Inspect(inspect) => inspect.run(cx).await,
            Command::Grant(grant) => grant.run(cx).await,
            Command::Upgrade(upgrade) => upgrade.run(cx).await,
            Command::Rollback(rollback) => rollback.run(cx).await,
            Command::Remove(remove) => remove.run(cx).await,
        }
    }
}

/// An installed plugin, as every command shows it.
#[derive(Serialize)]
struct Shown {
    name: PluginName,
    version: String,
    generation: u64,
    digest: Digest,
    source: String,
    state: PluginState,
    is_faculty: bool,
    is_interpreter: bool,
    is_hook: bool,
    /// Full names.
    tools: Vec<String>,
    requested: Grant,
    granted: Option<Grant>,
    /// What is requested and not granted, in its written form.
    lacking: Vec<String>,
    installed_ms: u64,
}

impl Shown {
    fn of(plugin: animus_core::store::Plugin) -> Result<Self> {
        let requested = Manifest::parse(&plugin.manifest)?.request;
        let lacking = beyond(&requested, plugin.granted.as_ref());
        Ok(Self {
            name: plugin.name,
            version: plugin.version,
            generation: plugin.generation,
            digest: plugin.digest,
            source: plugin.source,
            state: plugin.state,
            is_faculty: plugin.is_faculty,
            is_interpreter: plugin.is_interpreter,
            is_hook: plugin.is_hook,
            tools: plugin.tools.into_iter().map(|tool| tool.name).collect(),
            requested,
            granted: plugin.granted,
            lacking,
            installed_ms: plugin.installed_ms,
        })
    }
}

/// What `requested` asks for beyond a grant, limits above what is in force included, in written form.
pub(super) fn beyond(requested: &Grant, granted: Option<&Grant>) -> Vec<String> {
    let nothing = Grant::default();
    let granted = granted.unwrap_or(&nothing);
    let mut beyond = requested.within(granted).err().unwrap_or_default();
    beyond.extend(requested.limits.above(&granted.limits.or(Limits::default())));
    beyond
}

/// Everything in a grant, in written form.
pub(super) fn written(grant: &Grant) -> Vec<String> {
    beyond(grant, None)
}

/// One capability a line.
pub(super) fn lines(mark: &str, capabilities: &[String]) -> String {
    capabilities.iter().map(|capability| format!("  {mark} {}\n", out::safe(capability))).collect()
}

fn state(state: PluginState) -> (Style, String) {
    match state {
        PluginState::Serving => (out::GOOD, "serving".to_owned()),
        PluginState::AwaitingGrant => (out::WARN, "awaiting-grant".to_owned()),
    }
}

/// An installed plugin by its name.
async fn installed(tenant: &dyn Tenant, name: &PluginName) -> Result<animus_core::store::Plugin> {
    match tenant.plugin(name).await {
        Err(error @ Error::NotFound(_)) => {
            let known = tenant.plugins().await?;
            let fault = Fault::from(error);
            Err(match nearest(name.as_str(), known.iter().map(|plugin| plugin.name.as_str())) {
                Some(known) => fault.advise(format!("did you mean '{known}'?")),
                None => fault.advise("see what is installed: animus plugin list"),
            })
        }
        other => Ok(other?),
    }
}
