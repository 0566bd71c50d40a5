//! `animus plugin grant`: what a plugin may reach. Nothing else grants anything.

use std::path::{Path, PathBuf};

use animus_core::{
    grant::{Capability, Grant},
    id::PluginName,
    manifest::Manifest,
};
use clap::Args;
use serde::Serialize;

use super::{Shown, installed, lines, state, written};
use crate::{
    cmd::OPERATOR,
    context::Context,
    fault::{During as _, Exit, Result},
    out::{WARN, paint},
};

#[derive(Args)]
pub(crate) struct GrantTo {
    /// The plugin
    name: PluginName,
    #[command(flatten)]
    how: How,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct How {
    /// Grant all that its manifest requests
    #[arg(long)]
    requested: bool,
    /// Grant what a TOML file says, in place of what was granted
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Grant one capability more, such as 'tool:fs.*' or 'http:GET api.example.org'; may be repeated
    #[arg(long, value_name = "CAPABILITY")]
    allow: Vec<Capability>,
    /// Take everything back; the plugin no longer serves
    #[arg(long)]
    revoke: bool,
}

#[derive(Serialize)]
struct Granted {
    plugin: Shown,
    /// What else is allowed from now on: methods count for all hosts, tokens for all roles, children for all
    /// faculties.
    also: Vec<String>,
    /// What is granted and has no effect, because the manifest does not request it.
    idle: Vec<String>,
}

impl GrantTo {
    pub(super) async fn run(self, cx: &Context) -> Result<Exit> {
        let tenant = cx.seeded().await?;
        let plugin = installed(&*tenant, &self.name).await?;
        let request = Manifest::parse(&plugin.manifest)?.request;
        let mut also = Vec::new();
        let How { requested, file, allow, revoke } = self.how;
        let grant = if revoke {
            None
        } else if let Some(file) = &file {
            Some(read(file)?)
        } else if requested {
            Some(request.clone())
        } else {
            let mut grant = plugin.granted.unwrap_or_default();
            for capability in &allow {
                also.extend(grant.add(capability, &request)?);
            }
            Some(grant)
        };
        let idle = grant.as_ref().and_then(|grant| grant.within(&request).err()).unwrap_or_default();
        let plugin = Shown::of(tenant.plugin_grant(OPERATOR, &self.name, grant).await?)?;
        cx.out.show(&Granted { plugin, also, idle }, text);
        Ok(Exit::Done)
    }
}

/// A grant file.
pub(in crate::cmd) fn read(path: &Path) -> Result<Grant> {
    let text = std::fs::read_to_string(path).during(|| format!("read {}", path.display()))?;
    Ok(Grant::parse_toml(&text)?)
}

fn text(granted: &Granted) -> String {
    let Granted { plugin, also, idle } = granted;
    let (style, word) = state(plugin.state);
    let mut text = format!("{}: {}\n", plugin.name, paint(style, word));
    let held = plugin.granted.as_ref().map(written).unwrap_or_default();
    text.push_str(&lines("+", &held));
    if !also.is_empty() {
        text.push_str("with that it may also:\n");
        text.push_str(&lines("+", also));
    }
    if !idle.is_empty() {
        text.push_str(&paint(WARN, "without effect, because the manifest does not request it:\n"));
        text.push_str(&lines("·", idle));
    }
    if plugin.granted.is_some() && !plugin.lacking.is_empty() {
        text.push_str("requested and not granted:\n");
        text.push_str(&lines("-", &plugin.lacking));
    }
    text
}
