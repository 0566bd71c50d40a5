//! The hooks of this host as its operator set them.

mod commands;

use std::{collections::BTreeMap, sync::Arc};

use animus_agent::Hooks;
use animus_core::hook::{COMMAND, CommandHooks};

pub(crate) use self::commands::{Commands, Found};
use crate::{
    config::Config,
    context::{Context, Host},
    fault::Result,
};

/// What a run's hooks are set to: the files, what the operator switched by hand, and the command hooks where they are
/// allowed.
pub(crate) async fn of(cx: &Context, host: &Host, config: &Config) -> Result<Hooks> {
    let switched = host.tenant.hook_states().await?;
    let plugins = animus_core::plugins::PluginSet::plugins(&*host.plugins).iter().filter(|plugin| plugin.is_hook);
    let settings: BTreeMap<_, _> = plugins
        .map(|plugin| {
            let name = plugin.name.clone();
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
