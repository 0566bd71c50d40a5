//! Which hooks a run has, and in what order they are run.

use std::{collections::BTreeMap, fmt, sync::Arc};

use animus_core::{
    grant::Grant,
    hook::{COMMAND, CommandHooks, Point, Settings},
    id::PluginName,
    plugins::PluginSet,
};

/// How the operator set the hooks of this host. The default has hook plugins run as they come, and no command hooks.
#[derive(Clone, Default)]
pub struct Hooks {
    settings: BTreeMap<PluginName, Settings>,
    commands: Option<Arc<dyn CommandHooks>>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Hooks {
    /// Hook plugins by these settings, the defaults where there are none, and the operator's command hooks.
    #[must_use]
    pub fn new(settings: BTreeMap<PluginName, Settings>, commands: Option<Arc<dyn CommandHooks>>) -> Self {
        Self { settings, commands }
    }

    /// Those of them that are run beside `plugins`: enabled, and granted or allowed to watch something.
    pub(crate) fn chain(&self, plugins: &dyn PluginSet) -> Chain {
        let mut links = Vec::new();
        for plugin in plugins.plugins().iter().filter(|plugin| plugin.is_hook) {
            let settings = self.settings.get(&plugin.name).cloned().unwrap_or_default();
            let settings = within(settings, plugin.authority.effective());
            links.push(Link { name: plugin.name.to_string(), settings, runner: Runner::Plugin });
        }
        for command in self.commands.iter().flat_map(|commands| commands.hooks()) {
            let name = format!("{COMMAND}{}", command.name);
            links.push(Link {
                name,
                settings: command.settings.clone(),
                runner: Runner::Command(command.name.clone()),
            });
        }
        links.retain(|link| link.settings.enabled && !link.settings.events.is_empty());
        sort(&mut links, |link| (&link.settings, &link.name));
        Chain { links: links.into_iter().map(Arc::new).collect(), commands: self.commands.clone() }
    }
}

/// What of the settings a grant leaves.
#[must_use]
pub fn within(settings: Settings, granted: &Grant) -> Settings {
    let events = settings.events.iter().copied().filter(|point| granted.hook.contains(&point.access()));
    Settings { events: events.collect(), ..settings }
}

/// Puts hooks in the order in which they are run: by priority, then by name.
pub fn sort<T>(hooks: &mut [T], of: impl Fn(&T) -> (&Settings, &str)) {
    hooks.sort_by(|a, b| {
        let ((a, a_name), (b, b_name)) = (of(a), of(b));
        (a.priority, a_name).cmp(&(b.priority, b_name))
    });
}

/// The hooks of one focus, in order.
#[derive(Default)]
pub(crate) struct Chain {
    links: Vec<Arc<Link>>,
    pub(crate) commands: Option<Arc<dyn CommandHooks>>,
}

/// One hook.
pub(crate) struct Link {
    /// What people call it.
    pub(crate) name: String,
    pub(crate) settings: Settings,
    pub(crate) runner: Runner,
}

/// What runs it.
pub(crate) enum Runner {
    /// The plugin of its name.
    Plugin,
    /// The operator's command hook of this name.
    Command(String),
}

impl Chain {
    /// Those that are run at a point.
    pub(crate) fn at(&self, point: Point) -> impl Iterator<Item = &Arc<Link>> {
        self.links.iter().filter(move |link| link.settings.events.contains(&point))
    }
}
