//! The drop folder, watched while a server runs.

use animus_core::event::Reload;
use animus_runtime::reload::{DropFolder, Pace, Reloaded, Reloader};
use tokio_util::sync::CancellationToken;

use crate::{cmd::Dropped, config::Config, context::Context, fault::Result};

/// Installs and upgrades what is put into the drop folder, until `stop` fires.
pub(crate) async fn watch(cx: &Context, config: &Config, stop: &CancellationToken) -> Result {
    let folder = cx.home.drop_folder()?;
    let (registry, tenant) = (cx.registry().await?, cx.tenant().await?);
    let dropped = Dropped { cx };
    let reloader = Reloader::new(registry, tenant, config.ceiling(), &dropped);
    let mut drops = DropFolder::start(&folder, Pace::default(), reloader, &dropped)?;
    drops.catch_up().await.iter().for_each(tell);
    while let Some(changed) = stop.run_until_cancelled(drops.next()).await {
        for plugin in changed? {
            if let Some(reloaded) = drops.load(&plugin).await {
                tell(&reloaded);
            }
        }
    }
    Ok(())
}

fn tell(reloaded: &Reloaded) {
    let source = &reloaded.source;
    match (&reloaded.error, reloaded.kind) {
        (Some(error), _) => tracing::error!(source, %error, "a plugin of the drop folder does not load"),
        (None, Reload::Unchanged) => {}
        (None, kind) => {
            let plugin = reloaded.name.as_ref().map(ToString::to_string);
            tracing::info!(source, plugin, ?kind, "a plugin of the drop folder was installed");
        }
    }
}
