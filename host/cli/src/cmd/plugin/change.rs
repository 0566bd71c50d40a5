//! `animus plugin rollback` and `animus plugin remove`.

use animus_core::id::PluginName;
use clap::Args;
use serde::Serialize;

use super::{Shown, installed};
use crate::{
    cmd::OPERATOR,
    context::Context,
    fault::{Exit, Result},
};

#[derive(Args)]
pub(crate) struct Rollback {
    /// The plugin
    name: PluginName,
    /// The generation to serve [default: the one before the serving one]
    #[arg(long, value_name = "GENERATION")]
    to: Option<u64>,
}

#[derive(Serialize)]
struct RolledBack {
    plugin: Shown,
}

impl Rollback {
    pub(super) async fn run(self, cx: &Context) -> Result<Exit> {
        let tenant = cx.seeded().await?;
        installed(&*tenant, &self.name).await?;
        let plugin = Shown::of(tenant.plugin_rollback(OPERATOR, &self.name, self.to).await?)?;
        cx.out.show(&RolledBack { plugin }, |done| {
            let Shown { name, generation, version, .. } = &done.plugin;
            format!("{name} serves generation {generation} (version {version})")
        });
        Ok(Exit::Done)
    }
}

#[derive(Args)]
pub(crate) struct Remove {
    /// The plugin
    name: PluginName,
}

#[derive(Serialize)]
struct Removed {
    removed: PluginName,
}

impl Remove {
    pub(super) async fn run(self, cx: &Context) -> Result<Exit> {
        let tenant = cx.seeded().await?;
        installed(&*tenant, &self.name).await?;
        tenant.plugin_remove(OPERATOR, &self.name).await?;
        cx.out.show(&Removed { removed: self.name }, |done| format!("{} is removed", done.removed));
        Ok(Exit::Done)
    }
}
