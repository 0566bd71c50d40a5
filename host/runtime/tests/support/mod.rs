//! A host for tests: a tenant in memory, services that record, and guests.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test support"
)]

pub mod guest;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use animus_core::{
    Denial, Error, Result,
    child::{Child, NewChild},
    code::{Program, Ran},
    event::Event,
    grant::Grant,
    id::{Digest, FocusId, MemoryId, PluginName, TenantId, WorkId},
    journal::{self, Intent, Outcome},
    ledger::{Entry, EntryType, Filter},
    llm, memory,
    plugins::PluginSet as _,
    services::{CallContext, EngageOptions, Engagement, Principal, Services},
    skill::{Approvals, Decision, How, NewSkill, SkillName, SkillRecord, SkillUse},
    store::*,
    tool::{Annotations, Output, Tool},
    work::{Claim, Claimed, Counts, FocusRecord, Lease, NewWork, Settlement, State, Submitted, Work, WorkFilter},
};
use animus_runtime::{Artifacts, Egress, Engine, EngineConfig, Registry, Snapshot};
use async_trait::async_trait;
use serde_json::Value;

/// The engine of a test process: one pool of address space.
pub fn engine() -> Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new(&EngineConfig { instances: 64 }).unwrap()).clone()
}

/// A host with plugins.
pub struct Host {
    pub dir: tempfile::TempDir,
    pub tenant: Arc<FakeTenant>,
    pub registry: Registry,
    pub services: Arc<FakeServices>,
}

impl Host {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let artifacts = Arc::new(Artifacts::open(engine(), dir.path().join("artifacts")).unwrap());
        Self {
            registry: Registry::new(artifacts, Egress::new()),
            tenant: Arc::default(),
            services: Arc::default(),
            dir,
        }
    }

    /// Installs and grants without the checks of installation.
    pub fn install(&self, name: &str, wasm: &[u8], manifest: &str, grant: Grant) {
        self.tenant.install(name, wasm, manifest, Some(grant));
    }

    pub async fn snapshot(&self) -> Arc<Snapshot> {
        let tenant: Arc<dyn Tenant> = self.tenant.clone();
        let snapshot = self.registry.refresh(&tenant, &Grant::everything()).await.unwrap();
        *self.services.snapshot.lock().unwrap() = Arc::downgrade(&snapshot);
        snapshot
    }

    pub fn cx(&self) -> CallContext {
        CallContext {
            tenant: TenantId::local(),
            focus: self.services.focus,
            depth: 0,
            parent: None,
            cancel: Default::default(),
            workspace: Some(self.dir.path().to_owned()),
            deterministic: None,
            cap: None,
            services: self.services.clone(),
        }
    }

    /// Installs one guest as `guest`, granted what its manifest requests, and calls its tool `go`.
    pub async fn go(&self, wasm: &[u8], manifest: &str) -> Result<Output> {
        let request = animus_core::manifest::Manifest::parse(manifest).unwrap().request;
        self.install("guest", wasm, manifest, request);
        self.snapshot().await.call_tool(&self.cx(), "guest.go", "{}".into()).await
    }
}

/// A tenant that has plugins and nothing else.
#[derive(Default)]
pub struct FakeTenant {
    plugins: Mutex<Vec<Plugin>>,
    pub wasm: Mutex<Vec<Arc<[u8]>>>,
    revision: AtomicU64,
    pub artifacts_read: AtomicU64,
    pub told_of_success: AtomicU64,
}

impl FakeTenant {
    pub fn install(&self, name: &str, wasm: &[u8], manifest: &str, granted: Option<Grant>) {
        self.install_tool(name, "go", wasm, manifest, granted);
    }

    pub fn install_tool(&self, name: &str, tool: &str, wasm: &[u8], manifest: &str, granted: Option<Grant>) {
        let mut plugins = self.plugins.lock().unwrap();
        let name = PluginName::new(name).unwrap();
        let generation = plugins.iter().find(|p| p.name == name).map_or(1, |p| p.generation + 1);
        plugins.retain(|p| p.name != name);
        plugins.push(Plugin {
            generation,
            digest: Digest::of(wasm),
            version: "0.1.0".into(),
            manifest: manifest.into(),
            source: "test".into(),
            state: if granted.is_some() { PluginState::Serving } else { PluginState::AwaitingGrant },
            granted,
            at_most: None,
            tools: vec![Tool {
                name: format!("{name}.{tool}"),
                description: String::new(),
                input_schema: serde_json::json!({"type": "object"}),
                output_schema: None,
                annotations: Annotations::default(),
            }],
            is_faculty: false,
            is_interpreter: false,
            is_hook: false,
            installed_ms: 0,
            name,
        });
        self.wasm.lock().unwrap().push(wasm.into());
        self.revision.fetch_add(1, Ordering::SeqCst);
    }
}

fn no<T>() -> Result<T> {
    Err(Error::Internal("the test's store has no such thing".into()))
}

#[async_trait]
impl Plugins for FakeTenant {
    async fn plugin_install(&self, _: &str, _: NewGeneration) -> Result<Plugin> {
        no()
    }
    async fn plugins(&self) -> Result<Vec<Plugin>> {
        Ok(self.plugins.lock().unwrap().clone())
    }
    async fn plugin(&self, _: &PluginName) -> Result<Plugin> {
        no()
    }
    async fn plugin_at(&self, _: &PluginName, _: u64) -> Result<Plugin> {
        no()
    }
    async fn plugin_generations(&self, _: &PluginName) -> Result<Vec<Generation>> {
        no()
    }
    async fn plugin_grant(&self, _: &str, _: &PluginName, _: Option<Grant>) -> Result<Plugin> {
        no()
    }
    async fn plugin_rollback(&self, _: &str, _: &PluginName, _: Option<u64>) -> Result<Plugin> {
        no()
    }
    async fn plugin_remove(&self, _: &str, _: &PluginName) -> Result<()> {
        no()
    }
    async fn artifact(&self, digest: &Digest) -> Result<Arc<[u8]>> {
        self.artifacts_read.fetch_add(1, Ordering::SeqCst);
        let wasm = self.wasm.lock().unwrap();
        wasm.iter().find(|w| Digest::of(w) == *digest).cloned().ok_or_else(|| Error::NotFound("no artifact".into()))
    }
    async fn plugins_revision(&self) -> Result<u64> {
        Ok(self.revision.load(Ordering::SeqCst))
    }
    async fn plugin_failed(&self, _: &PluginName, _: u64) -> Result<u32> {
        Ok(0)
    }
    async fn plugin_worked(&self, _: &PluginName, _: u64) -> Result<()> {
        self.told_of_success.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
    async fn plugin_retire(&self, _: &str, _: &PluginName, _: u64, _: &str) -> Result<Option<Plugin>> {
        no()
    }
    async fn plugin_fault(&self, _: &str, _: Option<&PluginName>, _: &str) -> Result<()> {
        no()
    }
    async fn plugin_fault_clear(&self, _: &str) -> Result<()> {
        no()
    }
    async fn plugin_faults(&self) -> Result<Vec<PluginFault>> {
        no()
    }
}

#[async_trait]
impl Works for FakeTenant {
    async fn work_submit(&self, _: NewWork) -> Result<Submitted> {
        no()
    }
    async fn work(&self, _: WorkId) -> Result<Work> {
        no()
    }
    async fn works(&self, _: WorkFilter) -> Result<Vec<Work>> {
        no()
    }
    async fn works_by_prefix(&self, _: &str, _: u32) -> Result<Vec<Work>> {
        no()
    }
    async fn awareness(&self, _: animus_core::awareness::Query) -> Result<animus_core::awareness::Rows> {
        no()
    }
    async fn work_counts(&self) -> Result<Counts> {
        no()
    }
    async fn work_cancel(&self, _: &str, _: WorkId) -> Result<Work> {
        no()
    }
    async fn work_retry(&self, _: &str, _: WorkId) -> Result<Work> {
        no()
    }
    async fn work_claim(&self, _: &Claim) -> Result<Option<Claimed>> {
        no()
    }
    async fn work_next_due(&self) -> Result<Option<u64>> {
        no()
    }
    async fn focus_begin(&self, _: WorkId, _: State, _: &Claim) -> Result<Claimed> {
        no()
    }
    async fn focus_renew(&self, _: &[Lease], _: u64) -> Result<Renewed> {
        no()
    }
    async fn focus_end(&self, _: Lease, _: State, _: Settlement) -> Result<Work> {
        no()
    }
    async fn focus_release(&self, _: Lease) -> Result<()> {
        no()
    }
    async fn focus(&self, _: FocusId) -> Result<FocusRecord> {
        no()
    }
    async fn focuses(&self, _: WorkId) -> Result<Vec<FocusRecord>> {
        no()
    }
    async fn focuses_by_prefix(&self, _: &str, _: u32) -> Result<Vec<FocusRecord>> {
        no()
    }
    async fn focus_recover(&self, _: &str, _: &(dyn Fn(u32) -> bool + Sync)) -> Result<Vec<WorkId>> {
        no()
    }
    async fn work_watch(&self) -> Result<Box<dyn Watch>> {
        no()
    }
}

#[async_trait]
impl Hosts for FakeTenant {
    async fn host_beat(&self, _: &animus_core::work::Beat) -> Result<()> {
        no()
    }
    async fn host_gone(&self, _: &animus_core::work::Host) -> Result<()> {
        no()
    }
    async fn hosts(&self) -> Result<Vec<animus_core::work::HostRecord>> {
        no()
    }
}

#[async_trait]
impl Ledger for FakeTenant {
    async fn ledger_append(&self, _: WorkId, _: EntryType, _: &str, _: Option<Origin>) -> Result<Entry> {
        no()
    }
    async fn ledger_read(&self, _: WorkId, _: Filter) -> Result<Vec<Entry>> {
        no()
    }
}

#[async_trait]
impl Journal for FakeTenant {
    async fn journal_begin(&self, _: Lease, _: Intent) -> Result<u64> {
        no()
    }
    async fn journal_end(&self, _: Lease, _: u64, _: Outcome) -> Result<()> {
        no()
    }
    async fn journal_read(&self, _: FocusId) -> Result<Vec<journal::Record>> {
        no()
    }
    async fn journal_tally(&self, _: FocusId) -> Result<journal::Tally> {
        no()
    }
}

#[async_trait]
impl Events for FakeTenant {
    async fn events_append(&self, _: WorkId, _: u64, _: &[Event]) -> Result<()> {
        no()
    }
    async fn events_read(&self, _: WorkId, _: u64, _: u32) -> Result<Vec<(u64, Event)>> {
        no()
    }
    async fn events_last(&self, _: WorkId) -> Result<u64> {
        no()
    }
}

#[async_trait]
impl Memories for FakeTenant {
    async fn memory_store(&self, _: memory::NewMemory) -> Result<MemoryId> {
        no()
    }
    async fn memory_recall(&self, _: memory::Query) -> Result<memory::Recalled> {
        no()
    }
    async fn memory_get(&self, _: MemoryId) -> Result<memory::Memory> {
        no()
    }
    async fn memory_versions(&self, _: MemoryId) -> Result<Vec<memory::Version>> {
        no()
    }
    async fn memory_update(&self, _: MemoryId, _: memory::Update) -> Result<u64> {
        no()
    }
    async fn memory_forget(&self, _: MemoryId) -> Result<()> {
        no()
    }
    async fn memory_unembedded(&self, _: &str, _: usize, _: u64, _: u32) -> Result<Vec<memory::Unembedded>> {
        no()
    }
    async fn memory_embed(&self, _: MemoryId, _: u64, _: memory::Embedding) -> Result<bool> {
        no()
    }
    async fn memory_coverage(&self, _: &str, _: usize) -> Result<memory::Coverage> {
        no()
    }
    async fn memory_tag(&self, _: MemoryId, _: &str) -> Result<()> {
        no()
    }
}

#[async_trait]
impl HookStates for FakeTenant {
    async fn hook_states(&self) -> Result<BTreeMap<String, bool>> {
        no()
    }
    async fn hook_switch(&self, _: &str, _: &str, _: bool) -> Result<()> {
        no()
    }
}

#[async_trait]
impl Skills for FakeTenant {
    async fn skill_put(&self, _: &str, _: NewSkill) -> Result<SkillRecord> {
        no()
    }
    async fn skill_made(&self, _: Origin) -> Result<Option<SkillRecord>> {
        no()
    }
    async fn skills(&self) -> Result<Vec<SkillRecord>> {
        no()
    }
    async fn skill(&self, _: &SkillName, _: Option<u64>) -> Result<SkillRecord> {
        no()
    }
    async fn skill_versions(&self, _: &SkillName) -> Result<Vec<SkillRecord>> {
        no()
    }
    async fn skill_pending(&self) -> Result<Vec<SkillRecord>> {
        no()
    }
    async fn skill_decide(&self, _: &str, _: &SkillName, _: u64, _: Decision, _: &str) -> Result<SkillRecord> {
        no()
    }
    async fn skill_activated(&self, _: WorkId, _: FocusId, _: &SkillName, _: u64, _: How) -> Result<()> {
        no()
    }
    async fn skill_activations(&self, _: &SkillName) -> Result<SkillUse> {
        no()
    }
    async fn skill_approvals(&self) -> Result<Approvals> {
        no()
    }
    async fn skill_remove(&self, _: &str, _: &SkillName) -> Result<()> {
        no()
    }
    async fn skills_revision(&self) -> Result<u64> {
        no()
    }
}

#[async_trait]
impl Secrets for FakeTenant {
    async fn secret_set(&self, _: &str, _: &str, _: SecretValue) -> Result<()> {
        no()
    }
    async fn secret(&self, _: &str) -> Result<SecretValue> {
        no()
    }
    async fn secrets(&self) -> Result<Vec<(String, u64)>> {
        no()
    }
    async fn secret_remove(&self, _: &str, _: &str) -> Result<()> {
        no()
    }
}

#[async_trait]
impl Audit for FakeTenant {
    async fn audit(&self, _: &str, _: &str, _: &str, _: Value) -> Result<()> {
        no()
    }
    async fn audit_read(&self, _: u32) -> Result<Vec<AuditEntry>> {
        no()
    }
    async fn audit_verify(&self) -> Result<AuditVerdict> {
        no()
    }
}

impl Tenant for FakeTenant {
    fn id(&self) -> &TenantId {
        static LOCAL: OnceLock<TenantId> = OnceLock::new();
        LOCAL.get_or_init(TenantId::local)
    }
}

/// Services that record what reaches them. `tool_call` has a few tools of its own: `host.wait` never returns,
/// `host.panic` panics, and any other goes to the snapshot, one deeper.
pub struct FakeServices {
    pub focus: FocusId,
    pub logs: Mutex<Vec<String>>,
    pub calls: Mutex<Vec<String>>,
    pub snapshot: Mutex<Weak<Snapshot>>,
    pub ledger: Mutex<Vec<Entry>>,
    pub denials: Mutex<Vec<Denial>>,
}

impl Default for FakeServices {
    fn default() -> Self {
        Self {
            focus: FocusId::new(),
            logs: Mutex::default(),
            calls: Mutex::default(),
            snapshot: Mutex::default(),
            ledger: Mutex::default(),
            denials: Mutex::default(),
        }
    }
}

impl FakeServices {
    fn note(&self, call: String) {
        self.calls.lock().unwrap().push(call);
    }
}

#[async_trait]
impl Services for FakeServices {
    fn work(&self) -> WorkId {
        WorkId::new()
    }
    async fn llm_stream(&self, _: &Principal, _: llm::Request) -> Result<llm::ResponseStream> {
        no()
    }
    async fn llm_complete(&self, _: &Principal, request: llm::Request) -> Result<llm::Response> {
        self.note(format!("llm_complete {} {:?}", request.model, request.max_tokens));
        no()
    }
    async fn llm_embed(&self, _: &Principal, _: Vec<String>) -> Result<llm::Embeddings> {
        no()
    }
    fn llm_roles(&self) -> Vec<String> {
        vec!["coder".into(), "default".into(), "planner".into()]
    }
    async fn ledger_append(&self, by: &Principal, entry_type: EntryType, content: String) -> Result<u64> {
        self.note(format!("ledger_append by {}", by.authority.plugin()));
        let mut ledger = self.ledger.lock().unwrap();
        let seq = ledger.len() as u64 + 1;
        ledger.push(Entry { seq, entry_type, content, created_ms: 0 });
        Ok(seq)
    }
    async fn ledger_read(&self, _: &Principal, _: Filter) -> Result<Vec<Entry>> {
        self.note("ledger_read".into());
        Ok(self.ledger.lock().unwrap().clone())
    }
    async fn memory_store(&self, _: &Principal, _: String, _: String, _: Vec<String>) -> Result<MemoryId> {
        no()
    }
    async fn memory_recall(&self, _: &Principal, _: memory::Query) -> Result<Vec<memory::Hit>> {
        no()
    }
    async fn memory_get(&self, _: &Principal, _: MemoryId) -> Result<memory::Memory> {
        no()
    }
    async fn memory_update(&self, _: &Principal, _: MemoryId, _: String, _: Option<u64>) -> Result<u64> {
        no()
    }
    async fn memory_versions(&self, _: &Principal, _: MemoryId) -> Result<Vec<memory::Version>> {
        no()
    }
    async fn memory_forget(&self, _: &Principal, _: MemoryId) -> Result<()> {
        no()
    }
    async fn memory_tag(&self, _: &Principal, _: MemoryId, _: String) -> Result<()> {
        no()
    }
    fn tools(&self) -> Vec<Arc<Tool>> {
        self.snapshot.lock().unwrap().upgrade().map_or(Vec::new(), |s| s.tools().to_vec())
    }
    async fn tool_call(&self, by: &Principal, name: &str, args: String) -> Result<Output> {
        self.note(format!("tool_call {name} at depth {}", by.depth));
        match name {
            "host.wait" => {
                tokio::time::sleep(Duration::from_secs(3_600)).await;
                no()
            }
            "host.panic" => panic!("a bug of the host"),
            name => {
                let snapshot = self.snapshot.lock().unwrap().upgrade().unwrap();
                let cx = CallContext {
                    tenant: by.tenant.clone(),
                    focus: by.focus,
                    depth: by.depth + 1,
                    parent: None,
                    cancel: Default::default(),
                    workspace: None,
                    deterministic: None,
                    cap: None,
                    services: Arc::new(Self { snapshot: Mutex::new(Arc::downgrade(&snapshot)), ..Self::default() }),
                };
                snapshot.call_tool(&cx, name, args).await
            }
        }
    }
    async fn code_run(&self, by: &Principal, interpreter: &str, program: Program) -> Result<Ran> {
        let snapshot = self.snapshot.lock().unwrap().upgrade().unwrap();
        let cx = CallContext {
            tenant: by.tenant.clone(),
            focus: by.focus,
            depth: by.depth + 1,
            parent: None,
            cancel: Default::default(),
            workspace: None,
            deterministic: None,
            cap: None,
            services: Arc::new(Self { snapshot: Mutex::new(Arc::downgrade(&snapshot)), ..Self::default() }),
        };
        snapshot.run_code(&cx, interpreter, &by.authority, program).await
    }
    async fn child_spawn(&self, _: &Principal, _: NewChild) -> Result<WorkId> {
        no()
    }
    async fn child_await(&self, _: &Principal, _: Vec<String>, _: u64) -> Result<Vec<Child>> {
        no()
    }
    async fn child_check(&self, _: &Principal, _: Vec<String>) -> Result<Vec<Child>> {
        no()
    }
    async fn child_cancel(&self, _: &Principal, _: String) -> Result<()> {
        no()
    }
    async fn engage(&self, _: &Principal, _: EngageOptions) -> Result<Engagement> {
        no()
    }
    async fn effect_begin(&self, _: &Principal, _: Intent) -> Result<u64> {
        Ok(1)
    }
    async fn effect_end(&self, _: &Principal, _: u64, _: Outcome) -> Result<()> {
        Ok(())
    }
    async fn secret(&self, _: &Principal, _: &str) -> Result<SecretValue> {
        no()
    }
    async fn denied(&self, _: &Principal, denial: &Denial) {
        self.denials.lock().unwrap().push(denial.clone());
    }
    fn log(&self, _: &Principal, line: String) {
        self.logs.lock().unwrap().push(line);
    }
}
