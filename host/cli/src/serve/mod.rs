//! What `animus serve`, and `animus work submit` where no server lives, are made of.

pub(crate) mod api;
pub(crate) mod auth;
mod day;
pub(crate) mod drops;
pub(crate) mod http;
mod outfit;
mod worktree;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use animus_agent::{
    control::{ControlPlane, Settings},
    events::Hub,
};
use animus_core::{
    faculties::{Faculties, Route, Stands},
    store::{Plugin, PluginState, Tenant},
    work::HostRecord,
};

use crate::{config::Config, context::Context, fault::Result, machine};

/// Foci at once, where nobody says.
const FOCI: u32 = 4;
/// How long what runs may go on when a host stops, where nobody says, in milliseconds.
const GRACE_MS: u64 = 30_000;

/// What the command line says of a host.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) max_concurrent: Option<u32>,
    pub(crate) only: BTreeSet<String>,
    pub(crate) workspace: PathBuf,
    pub(crate) is_listed: bool,
    pub(crate) address: Option<String>,
}

/// A control plane for the one tenant of this host. Nothing runs yet.
pub(crate) async fn plane(cx: &Context, config: &Config, wishes: Wishes, hub: Arc<Hub>) -> Result<Arc<ControlPlane>> {
    let tenant = cx.tenant().await?;
    let settings = Settings {
        max_concurrent: wishes.max_concurrent.or(config.serve.max_concurrent).unwrap_or(FOCI),
        only: wishes.only,
        lease_ms: config.serve.lease_ms(),
        grace: Duration::from_millis(config.serve.grace_ms.unwrap_or(GRACE_MS)),
        is_listed: wishes.is_listed,
        address: wishes.address,
    };
    let outfit = outfit::Hosted::new(cx.clone(), config.clone(), tenant.clone(), wishes.workspace);
    Ok(ControlPlane::new(tenant, Arc::new(outfit), machine::host(), settings, hub))
}

/// The hosts that take work now.
pub(crate) async fn servers(tenant: &dyn Tenant) -> Result<Vec<HostRecord>> {
    let mut hosts = tenant.hosts().await?;
    hosts.retain(|host| {
        let here = host.beat.host.machine == machine::name();
        // Of this machine it is known at once when one has died.
        host.serves() && (!here || machine::is_alive(host.beat.host.process))
    });
    Ok(hosts)
}

/// What is known of plugins, for routing.
pub(crate) fn stands(plugins: &[Plugin], name: &str) -> Stands {
    match plugins.iter().find(|plugin| plugin.name.as_str() == name) {
        None => Stands::Missing,
        Some(plugin) if !plugin.is_faculty => Stands::NoFaculty,
        Some(plugin) if plugin.state == PluginState::AwaitingGrant => Stands::AwaitingGrant,
        Some(_) => Stands::Serving,
    }
}

/// Where work goes, or why nowhere.
pub(crate) fn route(faculties: &Faculties, plugins: &[Plugin], asked: &str) -> animus_core::Result<Route> {
    faculties.route(asked, &|name| stands(plugins, name))
}

/// The attempts of an item that does not say it itself: those of its faculty.
pub(crate) fn attempts(faculties: &Faculties, plugins: &[Plugin], asked: &str) -> u32 {
    match route(faculties, plugins, asked) {
        Ok(route) => route.config.recover.max_attempts,
        Err(_) => faculties.get(asked).map(|faculty| faculty.config.clone()).unwrap_or_default().recover.max_attempts,
    }
}

/// The faculties for work in `folder`.
pub(crate) fn faculties(cx: &Context, folder: &Path) -> Result<Faculties> {
    crate::faculties::load(cx.home.path(), folder)
}
