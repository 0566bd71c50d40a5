//! The hooks of this host as its operator set them.

mod commands;

use std::{collections::BTreeMap, sync::Arc};

use animus_agent::Hooks;
use animus_core::{
    hook::{COMMAND, CommandHooks},
    id::PluginName,
    store::Tenant,
};

pub(crate) use self::commands::{Commands, Found};
use crate::{config::Config, context::Context, fault::Result};

/// What a run's hooks are set to: the files, what the operator switched by hand, and the command hooks where they are
/// allowed.
pub(crate) async fn of(cx: &Context, tenant: &dyn Tenant, config: &Config) -> Result<Hooks> {
    let switched = tenant.hook_states().await?;
    let by_hand = switched.keys().filter_map(|name| PluginName::new(name).ok());
    let settings: BTreeMap<_, _> = config
        .hooks
        .names()
        .chain(by_hand)
        .map(|name| {
            let settings = config.hooks.settings(&name, switched.get(name.as_str()).copied());
            (name, settings)
        })
        .collect();
    let mut commands: Option<Arc<dyn CommandHooks>> = None;
    if config.hooks.host_processes {
        commands = Some(Arc::new(Commands::of(commands::find(cx.home.path())?, &switched)));
    }
    Ok(Hooks::new(settings, commands))
}

/// The command hooks of a home, allowed or not, each as the operator switched it.
pub(crate) fn found(cx: &Context, switched: &BTreeMap<String, bool>) -> Result<Vec<Found>> {
    let mut found = commands::find(cx.home.path())?;
    for one in &mut found {
        one.switch(switched.get(&format!("{COMMAND}{}", one.name)).copied());
    }
    Ok(found)
}
