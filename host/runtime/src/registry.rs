//! What is installed, granted and serving, as pinned snapshots.
//!
//! A snapshot is immutable; publishing a new one swaps a pointer, and whoever holds an old one keeps it and the code
//! that it needs. Nothing is compiled, linked or even read before its first call.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
};

use animus_core::{
    Denial, Error, Gate, Result, Unlock,
    authority::Authority,
    code::{Description, Program, Ran, Tested},
    event::Event,
    grant::{Capability, Grant},
    hook::{HookEvent, Verdict},
    id::{Digest, PluginName, TenantId},
    manifest::Manifest,
    plugins::{FacultyOutcome, Failure, Loaded, Phases, PluginSet, Recovery, Task},
    services::CallContext,
    skill::PLUGIN_SOURCE,
    store::{self, PluginState, Tenant},
    text::nearest,
    tool::{Output, Tool},
};
use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{OnceCell, broadcast};
use wasmtime::component::Component;
use wasmtime_wasi_config::WasiConfigVariables;

use crate::{
    artifact::Artifacts,
    bindings::{json_object, tool_types},
    call::{Callee, Linked},
    egress::Egress,
    hook,
    interpreter::{self, Waiting},
    limits::Limit,
    linker::{self, Linkers, Shape},
    phases,
    reload::{Fared, Health},
    text,
};

/// How many events of reloads a slow subscriber may lag behind before it loses the oldest.
const RELOADS: usize = 64;

/// A generation that a focus keeps.
#[derive(Deserialize)]
struct Pin {
    generation: u64,
    digest: Option<Digest>,
}

/// What all snapshots of a host share.
struct Shared {
    artifacts: Arc<Artifacts>,
    linkers: Linkers,
    egress: Arc<Egress>,
    /// Code by content, as long as any snapshot holds it.
    codes: Mutex<HashMap<Digest, Weak<Code>>>,
    reloads: broadcast::Sender<Event>,
    /// What the operator set of the configuration of plugins, over what their manifests say.
    config: BTreeMap<PluginName, BTreeMap<String, String>>,
}

/// A component, and how it was linked for each shape of grant.
struct Code {
    digest: Digest,
    component: OnceCell<Component>,
    linked: Mutex<HashMap<Shape, Arc<Linked>>>,
    /// Instances made ahead, where it is an interpreter.
    waiting: Arc<Waiting>,
}

/// The plugins of all tenants.
pub struct Registry {
    shared: Arc<Shared>,
    tenants: Mutex<HashMap<TenantId, Arc<Slot>>>,
}

/// One tenant's snapshot.
#[derive(Default)]
struct Slot {
    snapshot: ArcSwapOption<Snapshot>,
    /// One refresh at a time.
    refreshing: tokio::sync::Mutex<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Everything kept behind these locks is valid at every point.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    /// A registry without tenants.
    #[must_use]
    pub fn new(artifacts: Arc<Artifacts>, egress: Arc<Egress>) -> Self {
        Self::configured(artifacts, egress, BTreeMap::new())
    }

    /// A registry without tenants, whose plugins read these keys of their configuration instead of what their manifests
    /// say.
    #[must_use]
    pub fn configured(
        artifacts: Arc<Artifacts>,
        egress: Arc<Egress>,
        config: BTreeMap<PluginName, BTreeMap<String, String>>,
    ) -> Self {
        let linkers = Linkers::new(artifacts.engine().clone());
        Self {
            shared: Arc::new(Shared {
                artifacts,
                linkers,
                egress,
                codes: Mutex::default(),
                reloads: broadcast::Sender::new(RELOADS),
                config,
            }),
            tenants: Mutex::default(),
        }
    }

    /// The tenant's snapshot as of now: a new one only when plugins, grants or the ceiling have changed. Plugins that
    /// did not change keep what was loaded of them.
    ///
    /// # Errors
    /// What the store fails with. A plugin whose manifest this host cannot read is left out and logged, so that it
    /// does not take the others down.
    pub async fn refresh(&self, tenant: &Arc<dyn Tenant>, ceiling: &Grant) -> Result<Arc<Snapshot>> {
        let slot = lock(&self.tenants).entry(tenant.id().clone()).or_default().clone();
        let _one = slot.refreshing.lock().await;
        // Asked for before the records are read: a change in between shows at the next refresh.
        let revision = tenant.plugins_revision().await?;
        let old = slot.snapshot.load_full();
        if let Some(old) = &old
            && old.revision == revision
            && old.ceiling == *ceiling
        {
            return Ok(old.clone());
        }
        let records = tenant.plugins().await?;
        let snapshot = Arc::new(self.build(tenant, ceiling, revision, records, old.as_deref()));
        slot.snapshot.store(Some(snapshot.clone()));
        lock(&self.shared.codes).retain(|_, code| code.strong_count() > 0);
        Ok(snapshot)
    }

    /// A snapshot of exactly the generations that a focus began with (`pins`: name → `{generation, digest}`), under the
    /// grants of today: what an operator has taken back since is gone, and a plugin that awaits a grant is left out.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a plugin or generation that is no longer kept, [`Error::Conflict`] for one of other bytes,
    /// [`Error::Invalid`] for pins that are none.
    pub async fn pinned(&self, tenant: &Arc<dyn Tenant>, pins: &Value, ceiling: &Grant) -> Result<Arc<Snapshot>> {
        self.pinned_with(tenant, pins, ceiling, Vec::new()).await
    }

    /// The same with other components in place of some: those were prepared here and need not be installed.
    ///
    /// # Errors
    /// As [`Registry::pinned`]; [`Error::NotFound`] for one of a plugin that the focus did not have.
    pub async fn pinned_with(
        &self,
        tenant: &Arc<dyn Tenant>,
        pins: &Value,
        ceiling: &Grant,
        swapped: Vec<store::Plugin>,
    ) -> Result<Arc<Snapshot>> {
        let pins: BTreeMap<PluginName, Pin> = serde_json::from_value(pins.clone()).map_err(|error| {
            Error::Invalid(format!("the plugins that the focus began with cannot be read: {error}"))
        })?;
        let revision = tenant.plugins_revision().await?;
        let mut records = Vec::with_capacity(pins.len());
        for (name, pin) in pins {
            let record = tenant.plugin_at(&name, pin.generation).await.map_err(|error| match error {
                Error::NotFound(why) => Error::NotFound(format!(
                    "the focus cannot go on with the plugins that it began with: {why}; `animus work retry` begins anew"
                )),
                error => error,
            })?;
            if pin.digest.is_some_and(|digest| digest != record.digest) {
                return Err(Error::Conflict(format!(
                    "generation {} of the plugin '{name}' is not the one that the focus began with: it was removed and \
                     installed again; `animus work retry` begins anew",
                    pin.generation
                )));
            }
            records.push(record);
        }
        for other in swapped {
            let there = records.iter_mut().find(|record| record.name == other.name);
            let there = there.ok_or_else(|| {
                Error::NotFound(format!(
                    "the focus began without a plugin '{}', so none can take its place",
                    other.name
                ))
            })?;
            *there = store::Plugin { granted: there.granted.clone(), state: there.state, ..other };
        }
        let current = self.snapshot(tenant.id());
        Ok(Arc::new(self.build(tenant, ceiling, revision, records, current.as_deref())))
    }

    /// The tenant's last snapshot, without asking the store.
    #[must_use]
    pub fn snapshot(&self, tenant: &TenantId) -> Option<Arc<Snapshot>> {
        lock(&self.tenants).get(tenant)?.snapshot.load_full()
    }

    /// Whether a component's machine code is in the cache, so that its first call need not wait for the compiler.
    #[must_use]
    pub fn is_compiled(&self, digest: &Digest) -> bool {
        self.shared.artifacts.is_cached(digest)
    }

    /// Every [`Event::Reload`] from now on, of all tenants: loads, what other processes changed, rollbacks. The last 64
    /// are kept for a subscriber that lags.
    #[must_use]
    pub fn reloads(&self) -> broadcast::Receiver<Event> {
        self.shared.reloads.subscribe()
    }

    pub(crate) fn tell(&self, event: Event) {
        // Nobody may be listening.
        let _ = self.shared.reloads.send(event);
    }

    pub(crate) fn artifacts(&self) -> &Arc<Artifacts> {
        &self.shared.artifacts
    }

    pub(crate) fn linkers(&self) -> &Linkers {
        &self.shared.linkers
    }

    pub(crate) fn egress(&self) -> &Arc<Egress> {
        &self.shared.egress
    }

    fn build(
        &self,
        tenant: &Arc<dyn Tenant>,
        ceiling: &Grant,
        revision: u64,
        records: Vec<store::Plugin>,
        old: Option<&Snapshot>,
    ) -> Snapshot {
        let same_ceiling = old.filter(|old| old.ceiling == *ceiling);
        let mut plugins = Vec::with_capacity(records.len());
        let mut awaiting = HashMap::new();
        for record in records {
            if record.state != PluginState::Serving {
                awaiting.extend(record.tools.into_iter().map(|tool| (tool.name, record.name.clone())));
                continue;
            }
            let kept = same_ceiling.and_then(|old| old.by_name.get(record.name.as_str()));
            match kept.filter(|plugin| plugin.record == record) {
                Some(plugin) => plugins.push(plugin.clone()),
                None => match self.plugin(tenant, ceiling, record) {
                    Ok(plugin) => plugins.push(Arc::new(plugin)),
                    Err((name, error)) => tracing::error!(plugin = %name, %error, "plugin left out"),
                },
            }
        }
        Snapshot::new(revision, ceiling.clone(), plugins, awaiting)
    }

    fn plugin(
        &self,
        tenant: &Arc<dyn Tenant>,
        ceiling: &Grant,
        record: store::Plugin,
    ) -> Result<Plugin, (PluginName, Error)> {
        let manifest = Manifest::parse(&record.manifest).map_err(|error| (record.name.clone(), error))?;
        let granted = record.granted.clone().unwrap_or_default();
        let authority = Authority::new(record.name.clone(), manifest.request, granted, ceiling.clone());
        let loaded = Loaded {
            name: record.name.clone(),
            generation: record.generation,
            digest: record.digest,
            authority: Arc::new(authority),
            is_faculty: record.is_faculty,
            is_interpreter: record.is_interpreter,
            is_hook: record.is_hook,
            tools: record.tools.iter().cloned().map(Arc::new).collect(),
        };
        let mut config = manifest.config;
        config.extend(self.shared.config.get(&record.name).cloned().unwrap_or_default());
        Ok(Plugin {
            shape: Shape::of(loaded.authority.effective()),
            loaded: Arc::new(loaded),
            code: self.shared.code(record.digest),
            linked: OnceCell::new(),
            runner: OnceCell::new(),
            config: Arc::new(config.into_iter().collect()),
            health: Health::new(tenant.clone(), record.name.clone(), record.generation, self.shared.reloads.clone()),
            tenant: tenant.clone(),
            shared: self.shared.clone(),
            record,
        })
    }
}

impl Shared {
    fn code(&self, digest: Digest) -> Arc<Code> {
        let mut codes = lock(&self.codes);
        if let Some(code) = codes.get(&digest).and_then(Weak::upgrade) {
            return code;
        }
        let code =
            Arc::new(Code { digest, component: OnceCell::new(), linked: Mutex::default(), waiting: Arc::default() });
        codes.insert(digest, Arc::downgrade(&code));
        code
    }
}

/// A plugin of a snapshot.
struct Plugin {
    record: store::Plugin,
    loaded: Arc<Loaded>,
    shape: Shape,
    code: Arc<Code>,
    /// The code, linked for this plugin's grant.
    linked: OnceCell<Arc<Linked>>,
    /// The code, linked for the programs that it runs.
    runner: OnceCell<Arc<Linked>>,
    config: Arc<WasiConfigVariables>,
    health: Health,
    tenant: Arc<dyn Tenant>,
    shared: Arc<Shared>,
}

impl Plugin {
    async fn callee(&self) -> Result<Callee<'_>> {
        Ok(Callee {
            linked: self.linked.get_or_try_init(|| self.link()).await?,
            name: self.loaded.name.as_str(),
            plugin: self.loaded.name.as_str(),
            authority: &self.loaded.authority,
            generation: self.loaded.generation,
            digest: self.loaded.digest,
            config: &self.config,
            egress: &self.shared.egress,
            fared: OnceLock::new(),
        })
    }

    /// Counts how a tool call fared. A thin component does not trap: what a skill's code raises is its failure, and what
    /// the host or the grants refuse it is an answer, as with every plugin.
    async fn count_call(&self, fared: Option<&Fared>, result: &Result<tool_types::ToolResult>) {
        let raised = match result {
            _ if !self.record.source.starts_with(PLUGIN_SOURCE) || fared.is_none() => None,
            // The last line of a traceback says what was raised.
            Ok(answer) if answer.is_error => {
                Some(answer.text.trim_end().lines().next_back().unwrap_or_default().to_owned())
            }
            Err(error @ Error::Internal(_)) => Some(error.to_string()),
            _ => None,
        };
        match raised {
            Some(why) => drop(self.health.count_failure(&why).await),
            None => self.count(fared, result).await,
        }
    }

    /// Counts how a call fared.
    async fn count<T>(&self, fared: Option<&Fared>, result: &Result<T>) {
        match (fared, result) {
            (Some(Fared::Answered), _) => self.health.count_success().await,
            (Some(Fared::Broke), Err(error)) => drop(self.health.count_failure(&error.to_string()).await),
            (Some(Fared::Broke), Ok(_)) | (None, _) => {}
        }
    }

    /// Loads and links, each at most once for all snapshots.
    async fn link(&self) -> Result<Arc<Linked>> {
        let component = self.component().await?;
        linker::check(&linker::imports(self.shared.artifacts.engine(), component), &self.loaded.authority)?;
        self.link_as(component, self.shape)
    }

    async fn component(&self) -> Result<&Component> {
        let digest = self.code.digest;
        let load = || self.shared.artifacts.load(digest, self.tenant.artifact(&digest));
        self.code.component.get_or_try_init(load).await
    }

    fn link_as(&self, component: &Component, shape: Shape) -> Result<Arc<Linked>> {
        let mut linked = lock(&self.code.linked);
        if let Some(linked) = linked.get(&shape) {
            return Ok(linked.clone());
        }
        let fresh = Arc::new(Linked::new(self.shared.linkers.link(component, shape)?));
        linked.insert(shape, fresh.clone());
        Ok(fresh)
    }

    /// Linked to everything: what a program may reach of it is checked against its principal at every call.
    async fn runner(&self) -> Result<&Arc<Linked>> {
        let link = || async { self.link_as(self.component().await?, Shape::all()) };
        self.runner.get_or_try_init(link).await
    }

    /// As the one that runs a program under `authority`.
    async fn running<'a>(&'a self, name: &'a str, authority: &'a Arc<Authority>) -> Result<Callee<'a>> {
        Ok(Callee {
            linked: self.runner().await?,
            name,
            plugin: self.loaded.name.as_str(),
            authority,
            generation: self.loaded.generation,
            digest: self.loaded.digest,
            config: &self.config,
            egress: &self.shared.egress,
            fared: OnceLock::new(),
        })
    }
}

/// A tenant's plugins at one moment.
pub struct Snapshot {
    revision: u64,
    ceiling: Grant,
    plugins: Vec<Arc<Loaded>>,
    by_name: HashMap<String, Arc<Plugin>>,
    tools: Vec<Arc<Tool>>,
    by_tool: HashMap<String, (Arc<Tool>, Arc<Plugin>)>,
    /// The tools of plugins that await a grant, each with its plugin.
    awaiting: HashMap<String, PluginName>,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("revision", &self.revision)
            .field("plugins", &self.plugins)
            .finish_non_exhaustive()
    }
}

impl Snapshot {
    fn new(
        revision: u64,
        ceiling: Grant,
        mut plugins: Vec<Arc<Plugin>>,
        awaiting: HashMap<String, PluginName>,
    ) -> Self {
        plugins.sort_by(|a, b| a.loaded.name.cmp(&b.loaded.name));
        let by_tool: HashMap<_, _> = plugins
            .iter()
            .flat_map(|plugin| plugin.loaded.tools.iter().map(move |tool| (tool, plugin)))
            .map(|(tool, plugin)| (tool.name.clone(), (tool.clone(), plugin.clone())))
            .collect();
        let mut tools: Vec<_> = by_tool.values().map(|(tool, _)| tool.clone()).collect();
        tools.sort_by(|a, b| a.name.cmp(&b.name));
        Self {
            revision,
            ceiling,
            plugins: plugins.iter().map(|plugin| plugin.loaded.clone()).collect(),
            by_name: plugins.into_iter().map(|plugin| (plugin.loaded.name.to_string(), plugin)).collect(),
            tools,
            by_tool,
            awaiting,
        }
    }

    /// Loads a plugin's code, and compiles it where the cache does not have it.
    ///
    /// # Errors
    /// [`Error::NotFound`] for no such plugin; what compiling fails with.
    pub async fn compile(&self, plugin: &str) -> Result<()> {
        let known = || self.by_name.keys().map(String::as_str);
        let plugin = self.by_name.get(plugin).ok_or_else(|| not_found("plugin", plugin, known()))?;
        plugin.component().await.map(drop)
    }

    /// The store's revision that it shows.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Counts a failure of a plugin that is no trap, such as an answer that its tests refute, like a trap: so many in a
    /// row ([`crate::reload::TOLERATED`]) take the generation of this snapshot out of service. Returns the generation
    /// that serves instead, when it came to that. `why` is for people.
    pub async fn count_failure(&self, plugin: &str, why: &str) -> Option<u64> {
        self.by_name.get(plugin)?.health.count_failure(why).await
    }
}

#[async_trait]
impl PluginSet for Snapshot {
    fn plugins(&self) -> &[Arc<Loaded>] {
        &self.plugins
    }

    fn plugin(&self, name: &str) -> Option<&Arc<Loaded>> {
        self.by_name.get(name).map(|plugin| &plugin.loaded)
    }

    fn tools(&self) -> &[Arc<Tool>] {
        &self.tools
    }

    fn tool(&self, name: &str) -> Option<&Arc<Tool>> {
        self.by_tool.get(name).map(|(tool, _)| tool)
    }

    async fn call_tool(&self, cx: &CallContext, name: &str, args: String) -> Result<Output> {
        let Some((_, plugin)) = self.by_tool.get(name) else {
            return Err(not_found("tool", name, self.by_tool.keys().map(String::as_str)));
        };
        json_object("the arguments", &args)?;
        let callee = plugin.callee().await?;
        let tools = callee.linked.tools.as_ref().ok_or_else(|| no_export(&plugin.loaded.name, "animus:tool/tools"))?;
        let short = name.split_once('.').map_or(name, |(_, short)| short);
        let result = callee
            .run(cx, short, async |store, instance| {
                tools.load(&mut *store, instance)?.call_call_tool(&mut *store, short, &args).await
            })
            .await;
        plugin.count_call(callee.fared.get(), &result).await;
        let result = result?;
        let size = result.text.len()
            + result.structured.as_ref().map_or(0, String::len)
            + result.images.iter().map(|image| image.data.len()).sum::<usize>();
        let limits = plugin.loaded.authority.limits();
        if u64::try_from(size).unwrap_or(u64::MAX) > limits.output_bytes {
            return Err(Limit::Output.error(plugin.loaded.name.as_str(), limits));
        }
        result.try_into()
    }

    async fn engage(&self, cx: &CallContext, faculty: &str, task: Task) -> Result<FacultyOutcome> {
        let plugin = self.faculty(faculty)?;
        let callee = plugin.callee().await?;
        let outcome = phases::engage(&callee, cx, task).await;
        plugin.count(callee.fared.get(), &outcome).await;
        outcome
    }

    async fn phases(&self, faculty: &str) -> Result<Phases> {
        self.faculty(faculty)?.callee().await.map(|callee| phases::of(callee.linked))
    }

    async fn orient(&self, cx: &CallContext, faculty: &str, task: Task) -> Result<String> {
        let plugin = self.faculty(faculty)?;
        let callee = plugin.callee().await?;
        let found = phases::orient(&callee, cx, task).await;
        plugin.count(callee.fared.get(), &found).await;
        found
    }

    async fn consolidate(
        &self,
        cx: &CallContext,
        faculty: &str,
        task: Task,
        outcome: FacultyOutcome,
    ) -> Result<FacultyOutcome> {
        let plugin = self.faculty(faculty)?;
        let callee = plugin.callee().await?;
        let outcome = phases::consolidate(&callee, cx, task, outcome).await;
        plugin.count(callee.fared.get(), &outcome).await;
        outcome
    }

    async fn recover(&self, cx: &CallContext, faculty: &str, task: Task, failure: Failure) -> Result<Recovery> {
        let plugin = self.faculty(faculty)?;
        let callee = plugin.callee().await?;
        let recovery = phases::recover(&callee, cx, task, failure).await;
        plugin.count(callee.fared.get(), &recovery).await;
        recovery
    }

    async fn run_code(&self, cx: &CallContext, interpreter: &str, by: &Authority, program: Program) -> Result<Ran> {
        program.check()?;
        let plugin = self.interpreter(interpreter)?;
        let own = &plugin.loaded.authority;
        let (name, authority) = (format!("{interpreter} for {}", by.plugin()), Arc::new(by.bounded(own.limits())));
        let callee = plugin.running(&name, &authority).await?;
        let waiting = &plugin.code.waiting;
        // What was made ahead has looked for its folders, and found none.
        let ready = if authority.effective().paths.is_empty() { waiting.take() } else { None };
        let ran = interpreter::run(&callee, cx, ready, program).await;
        // Not before: what is made ahead would only take the program's time.
        waiting.refill(plugin.runner().await?, own, &plugin.shared.egress);
        ran
    }

    async fn describe_code(&self, cx: &CallContext, interpreter: &str, program: Program) -> Result<Description> {
        program.check()?;
        let plugin = self.interpreter(interpreter)?;
        let authority = interpreter::nobody(&plugin.loaded.authority);
        let callee = plugin.running(interpreter, &authority).await?;
        interpreter::describe(&callee, cx, program).await
    }

    async fn test_code(
        &self,
        cx: &CallContext,
        interpreter: &str,
        by: &Authority,
        program: Program,
    ) -> Result<Vec<Tested>> {
        program.check()?;
        let plugin = self.interpreter(interpreter)?;
        let own = &plugin.loaded.authority;
        let (name, authority) = (format!("{interpreter} for {}", by.plugin()), Arc::new(by.bounded(own.limits())));
        let callee = plugin.running(&name, &authority).await?;
        interpreter::test(&callee, cx, program).await
    }

    async fn warm(&self, plugin: &str) -> Result<()> {
        let known = || self.by_name.keys().map(String::as_str);
        let plugin = self.by_name.get(plugin).ok_or_else(|| not_found("plugin", plugin, known()))?;
        plugin.callee().await.map(drop)
    }

    async fn hook(&self, cx: &CallContext, plugin: &str, event: &HookEvent) -> Result<Verdict> {
        let is = |plugin: &&Arc<Plugin>| plugin.loaded.is_hook;
        let found = self.by_name.get(plugin).filter(is).ok_or_else(|| {
            let known = self.by_name.values().filter(is).map(|plugin| plugin.record.name.as_str());
            not_found("hook", plugin, known)
        })?;
        found.loaded.authority.check(&Capability::Hook(event.point().access()))?;
        let callee = found.callee().await?;
        let export = callee.linked.hook.as_ref();
        let export = export.ok_or_else(|| no_export(&found.loaded.name, "animus:hook/hook"))?;
        let point = event.point().as_str();
        let event = hook::Event::from(event);
        let answer =
            callee.run(cx, point, async |store, instance| hook::call(store, instance, export, event).await).await;
        found.count(callee.fared.get(), &answer).await;
        let answer = answer?;
        let limits = found.loaded.authority.limits();
        if u64::try_from(answer.size()).unwrap_or(u64::MAX) > limits.output_bytes {
            return Err(Limit::Output.error(plugin, limits));
        }
        answer.try_into()
    }

    fn awaiting(&self, tool: &str) -> Option<Denial> {
        self.awaiting.get(tool).map(|plugin| Denial {
            who: plugin.to_string(),
            capability: Capability::Tool(tool.to_owned()).to_string(),
            gate: Gate::Grant,
            unlock: Unlock::AskOperator,
            reason: None,
            command: Some(format!("animus plugin grant {plugin} --requested")),
        })
    }
}

impl Snapshot {
    fn faculty(&self, name: &str) -> Result<&Arc<Plugin>> {
        self.by_name.get(name).ok_or_else(|| {
            let known = self.by_name.values().filter(|plugin| plugin.loaded.is_faculty);
            not_found("faculty", name, known.map(|plugin| plugin.record.name.as_str()))
        })
    }

    fn interpreter(&self, name: &str) -> Result<&Arc<Plugin>> {
        let is = |plugin: &&Arc<Plugin>| plugin.loaded.is_interpreter;
        self.by_name.get(name).filter(is).ok_or_else(|| {
            let known = self.by_name.values().filter(is).map(|plugin| plugin.record.name.as_str());
            not_found("interpreter", name, known)
        })
    }
}

fn no_export(plugin: &PluginName, interface: &str) -> Error {
    Error::Invalid(format!("'{plugin}' does not export {interface}"))
}

fn not_found<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Error {
    let hint = nearest(name, known).map_or(String::new(), |near| format!("; did you mean '{near}'?"));
    Error::NotFound(format!("no {what} '{}'{hint}", text::cut(name.escape_debug().to_string(), 200)))
}
