//! A store in memory that records the order of what it is told.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use animus_core::{
    Error, Result,
    grant::Grant,
    id::{Digest, FocusId, MemoryId, PluginName, TenantId, WorkId},
    journal::{Intent, Outcome, Record},
    ledger::{Entry, EntryType, Filter},
    memory::{Hit, Memory, NewMemory, Query},
    skill::{Approvals, Decision, How, NewSkill, SkillName, SkillRecord, SkillUse},
    store::{
        Audit, AuditEntry, AuditVerdict, Generation, HookStates, Journal, Ledger, Memories, NewGeneration, Plugin,
        PluginFault, Plugins, SecretValue, Secrets, Skills, Tenant, Works,
    },
    work::{NewWork, Settlement, State, Work},
};
use async_trait::async_trait;
use serde_json::{Value, json};

#[derive(Default)]
struct Kept {
    works: BTreeMap<WorkId, Work>,
    ledger: Vec<Entry>,
    journal: Vec<Record>,
    memories: Vec<Memory>,
    audit: Vec<(String, String, String, Value)>,
    happened: Vec<String>,
    settlements: Vec<Settlement>,
}

pub struct FakeTenant {
    id: TenantId,
    kept: Mutex<Kept>,
    /// Makes `focus_end` fail.
    pub cannot_settle: Mutex<bool>,
}

impl Default for FakeTenant {
    fn default() -> Self {
        Self { id: TenantId::local(), kept: Mutex::default(), cannot_settle: Mutex::new(false) }
    }
}

fn unused<T>() -> Result<T> {
    Err(Error::Internal("no test reaches this".into()))
}

impl FakeTenant {
    pub fn submit(&self, faculty: &str, instruction: &str) -> Work {
        let work = Work {
            id: WorkId::new(),
            faculty: faculty.into(),
            source: "test".into(),
            instruction: instruction.into(),
            params: json!({}),
            state: State::Queued,
            attempts: 0,
            focus: None,
            outcome: None,
            error: None,
            tokens: 0,
            cost_microusd: 0,
            created_ms: 0,
            updated_ms: 0,
        };
        self.kept.lock().unwrap().works.insert(work.id, work.clone());
        work
    }

    pub fn state(&self, work: WorkId) -> State {
        self.kept.lock().unwrap().works[&work].state
    }

    pub fn journal(&self) -> Vec<Record> {
        self.kept.lock().unwrap().journal.clone()
    }

    pub fn ledger(&self) -> Vec<Entry> {
        self.kept.lock().unwrap().ledger.clone()
    }

    pub fn audited(&self) -> Vec<(String, String, String, Value)> {
        self.kept.lock().unwrap().audit.clone()
    }

    pub fn settlement(&self) -> Settlement {
        self.kept.lock().unwrap().settlements.last().unwrap().clone()
    }

    /// Notes that something happened, for [`Self::order`].
    pub fn happens(&self, what: impl Into<String>) {
        self.kept.lock().unwrap().happened.push(what.into());
    }

    /// What happened, in order: `intent KIND SUBJECT`, `outcome KIND SUBJECT`, and what tests noted.
    pub fn order(&self) -> Vec<String> {
        self.kept.lock().unwrap().happened.clone()
    }
}

impl Tenant for FakeTenant {
    fn id(&self) -> &TenantId {
        &self.id
    }
}

#[async_trait]
impl Works for FakeTenant {
    async fn work_submit(&self, new: NewWork) -> Result<Work> {
        Ok(self.submit(&new.faculty, &new.instruction))
    }
    async fn work(&self, id: WorkId) -> Result<Work> {
        Ok(self.kept.lock().unwrap().works[&id].clone())
    }
    async fn works(&self, _: Option<State>, _: u32) -> Result<Vec<Work>> {
        Ok(self.kept.lock().unwrap().works.values().cloned().collect())
    }
    async fn works_by_prefix(&self, _: &str, _: u32) -> Result<Vec<Work>> {
        unused()
    }
    async fn focus_begin(&self, work: WorkId, from: State, _: Value) -> Result<FocusId> {
        let mut kept = self.kept.lock().unwrap();
        let item = kept.works.get_mut(&work).unwrap();
        if item.state != from || !from.may_become(State::Running) {
            return Err(Error::Conflict(format!("work item {work} is {}", item.state)));
        }
        let focus = FocusId::new();
        (item.state, item.focus, item.attempts) = (State::Running, Some(focus), item.attempts + 1);
        Ok(focus)
    }
    async fn focus_end(&self, work: WorkId, focus: FocusId, to: State, settlement: Settlement) -> Result<()> {
        if *self.cannot_settle.lock().unwrap() {
            return Err(Error::Unavailable("the disk is full".into()));
        }
        let mut kept = self.kept.lock().unwrap();
        let item = kept.works.get_mut(&work).unwrap();
        assert!(item.focus == Some(focus) && item.state.may_become(to));
        item.state = to;
        kept.settlements.push(settlement);
        Ok(())
    }
    async fn focus_recover(&self, _: &(dyn Fn(u32) -> bool + Sync)) -> Result<Vec<WorkId>> {
        unused()
    }
}

#[async_trait]
impl Ledger for FakeTenant {
    async fn ledger_append(&self, _: WorkId, entry_type: EntryType, content: &str) -> Result<Entry> {
        self.happens(format!("append {content}"));
        let mut kept = self.kept.lock().unwrap();
        let seq = kept.ledger.len() as u64 + 1;
        let entry = Entry { seq, entry_type, content: content.into(), created_ms: 0 };
        kept.ledger.push(entry.clone());
        Ok(entry)
    }
    async fn ledger_read(&self, _: WorkId, filter: Filter) -> Result<Vec<Entry>> {
        let mut entries = self.ledger();
        entries.retain(|entry| filter.entry_type.is_none_or(|t| t == entry.entry_type));
        let last = filter.last_n.map_or(entries.len(), |n| n as usize);
        Ok(entries.split_off(entries.len().saturating_sub(last)))
    }
}

#[async_trait]
impl Journal for FakeTenant {
    async fn journal_begin(&self, _: FocusId, intent: Intent) -> Result<u64> {
        self.happens(format!("intent {} {}", intent.kind.as_str(), intent.subject));
        let mut kept = self.kept.lock().unwrap();
        let seq = kept.journal.len() as u64 + 1;
        kept.journal.push(Record { seq, intent, outcome: None, started_ms: 0, ended_ms: None });
        Ok(seq)
    }
    async fn journal_end(&self, _: FocusId, seq: u64, outcome: Outcome) -> Result<()> {
        let mut kept = self.kept.lock().unwrap();
        let record = &mut kept.journal[seq as usize - 1];
        if record.outcome.is_some() {
            return Err(Error::Conflict(format!("entry {seq} has its outcome")));
        }
        record.outcome = Some(outcome);
        let happened = format!("outcome {} {}", record.intent.kind.as_str(), record.intent.subject);
        kept.happened.push(happened);
        Ok(())
    }
    async fn journal_read(&self, _: FocusId) -> Result<Vec<Record>> {
        Ok(self.journal())
    }
}

#[async_trait]
impl Memories for FakeTenant {
    async fn memory_store(&self, new: NewMemory) -> Result<MemoryId> {
        let id = MemoryId::new();
        self.happens(format!("store {}", new.content));
        let NewMemory { content, kind, tags, source } = new;
        self.kept.lock().unwrap().memories.push(Memory { id, content, kind, tags, source, created_ms: 0 });
        Ok(id)
    }
    async fn memory_recall(&self, _: Query) -> Result<Vec<Hit>> {
        let memories = self.kept.lock().unwrap().memories.clone();
        Ok(memories.into_iter().map(|memory| Hit { memory, score: 1.0 }).collect())
    }
    async fn memory_get(&self, _: MemoryId) -> Result<Memory> {
        unused()
    }
    async fn memory_forget(&self, id: MemoryId) -> Result<()> {
        self.happens("forget");
        self.kept.lock().unwrap().memories.retain(|memory| memory.id != id);
        Ok(())
    }
    async fn memory_tag(&self, _: MemoryId, tag: &str) -> Result<()> {
        self.happens(format!("tag {tag}"));
        Ok(())
    }
}

#[async_trait]
impl Plugins for FakeTenant {
    async fn plugin_install(&self, _: &str, _: NewGeneration) -> Result<Plugin> {
        unused()
    }
    async fn plugins(&self) -> Result<Vec<Plugin>> {
        unused()
    }
    async fn plugin(&self, _: &PluginName) -> Result<Plugin> {
        unused()
    }
    async fn plugin_generations(&self, _: &PluginName) -> Result<Vec<Generation>> {
        unused()
    }
    async fn plugin_grant(&self, _: &str, _: &PluginName, _: Option<Grant>) -> Result<Plugin> {
        unused()
    }
    async fn plugin_rollback(&self, _: &str, _: &PluginName, _: Option<u64>) -> Result<Plugin> {
        unused()
    }
    async fn plugin_remove(&self, _: &str, _: &PluginName) -> Result<()> {
        unused()
    }
    async fn artifact(&self, _: &Digest) -> Result<Arc<[u8]>> {
        unused()
    }
    async fn plugins_revision(&self) -> Result<u64> {
        unused()
    }
    async fn plugin_failed(&self, _: &PluginName, _: u64) -> Result<u32> {
        unused()
    }
    async fn plugin_worked(&self, _: &PluginName, _: u64) -> Result<()> {
        unused()
    }
    async fn plugin_retire(&self, _: &str, _: &PluginName, _: u64, _: &str) -> Result<Option<Plugin>> {
        unused()
    }
    async fn plugin_fault(&self, _: &str, _: Option<&PluginName>, _: &str) -> Result<()> {
        unused()
    }
    async fn plugin_fault_clear(&self, _: &str) -> Result<()> {
        unused()
    }
    async fn plugin_faults(&self) -> Result<Vec<PluginFault>> {
        unused()
    }
}

#[async_trait]
impl HookStates for FakeTenant {
    async fn hook_states(&self) -> Result<BTreeMap<String, bool>> {
        unused()
    }
    async fn hook_switch(&self, _: &str, _: &str, _: bool) -> Result<()> {
        unused()
    }
}

#[async_trait]
impl Skills for FakeTenant {
    async fn skill_put(&self, _: &str, _: NewSkill) -> Result<SkillRecord> {
        unused()
    }
    async fn skills(&self) -> Result<Vec<SkillRecord>> {
        unused()
    }
    async fn skill(&self, _: &SkillName, _: Option<u64>) -> Result<SkillRecord> {
        unused()
    }
    async fn skill_versions(&self, _: &SkillName) -> Result<Vec<SkillRecord>> {
        unused()
    }
    async fn skill_pending(&self) -> Result<Vec<SkillRecord>> {
        unused()
    }
    async fn skill_decide(&self, _: &str, _: &SkillName, _: u64, _: Decision, _: &str) -> Result<SkillRecord> {
        unused()
    }
    async fn skill_activated(&self, _: WorkId, _: FocusId, _: &SkillName, _: u64, _: How) -> Result<()> {
        unused()
    }
    async fn skill_activations(&self, _: &SkillName) -> Result<SkillUse> {
        unused()
    }
    async fn skill_approvals(&self) -> Result<Approvals> {
        unused()
    }
    async fn skill_remove(&self, _: &str, _: &SkillName) -> Result<()> {
        unused()
    }
    async fn skills_revision(&self) -> Result<u64> {
        unused()
    }
}

#[async_trait]
impl Secrets for FakeTenant {
    async fn secret_set(&self, _: &str, _: &str, _: SecretValue) -> Result<()> {
        unused()
    }
    async fn secret(&self, _: &str) -> Result<SecretValue> {
        unused()
    }
    async fn secrets(&self) -> Result<Vec<(String, u64)>> {
        unused()
    }
    async fn secret_remove(&self, _: &str, _: &str) -> Result<()> {
        unused()
    }
}

#[async_trait]
impl Audit for FakeTenant {
    async fn audit(&self, actor: &str, action: &str, subject: &str, detail: Value) -> Result<()> {
        self.kept.lock().unwrap().audit.push((actor.into(), action.into(), subject.into(), detail));
        Ok(())
    }
    async fn audit_read(&self, _: u32) -> Result<Vec<AuditEntry>> {
        unused()
    }
    async fn audit_verify(&self) -> Result<AuditVerdict> {
        unused()
    }
}
