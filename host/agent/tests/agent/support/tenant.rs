//! A store in memory that records the order of what it is told.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use animus_core::{
    Error, Result,
    budget::Allowance,
    event::Event,
    grant::Grant,
    id::{Digest, FocusId, MemoryId, PluginName, TenantId, WorkId},
    journal::{Intent, Outcome, Record},
    ledger::{Entry, EntryType, Filter},
    memory::{Hit, Memory, NewMemory, Query},
    skill::{Approvals, Decision, How, NewSkill, SkillName, SkillRecord, SkillUse},
    store::{
        Audit, AuditEntry, AuditVerdict, Events, Generation, HookStates, Journal, Ledger, Memories, NewGeneration,
        Origin, Plugin, PluginFault, Plugins, Renewed, SecretValue, Secrets, Skills, Tenant, Watch, Works,
    },
    work::{
        Claim, Claimed, Counts, Disposal, FocusRecord, Lease, NewWork, Settlement, State, Submission, Submitted, Work,
        WorkFilter,
    },
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
            disposal: Disposal::Held,
            dedup_key: None,
            merged_into: None,
            priority: 0,
            attempts: 0,
            max_attempts: 1,
            takeovers: 0,
            not_before_ms: 0,
            parent: None,
            depth: 0,
            cap: None,
            allowance: Allowance::default(),
            workspace: None,
            trace: None,
            cancelling: false,
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
    async fn work_submit(&self, new: NewWork) -> Result<Submitted> {
        Ok(Submitted { work: self.submit(&new.faculty, &new.instruction), how: Submission::Created })
    }
    async fn work(&self, id: WorkId) -> Result<Work> {
        Ok(self.kept.lock().unwrap().works[&id].clone())
    }
    async fn works(&self, _: WorkFilter) -> Result<Vec<Work>> {
        Ok(self.kept.lock().unwrap().works.values().cloned().collect())
    }
    async fn works_by_prefix(&self, _: &str, _: u32) -> Result<Vec<Work>> {
        unused()
    }
    async fn work_counts(&self) -> Result<Counts> {
        unused()
    }
    async fn work_cancel(&self, _: &str, _: WorkId) -> Result<Work> {
        unused()
    }
    async fn work_retry(&self, _: &str, _: WorkId) -> Result<Work> {
        unused()
    }
    async fn work_claim(&self, _: &Claim) -> Result<Option<Claimed>> {
        unused()
    }
    async fn work_next_due(&self) -> Result<Option<u64>> {
        unused()
    }
    async fn focus_begin(&self, work: WorkId, from: State, claim: &Claim) -> Result<Claimed> {
        let mut kept = self.kept.lock().unwrap();
        let item = kept.works.get_mut(&work).unwrap();
        if item.state != from || !matches!(from, State::Queued | State::Failed) {
            return Err(Error::Conflict(format!("work item {work} is {}", item.state)));
        }
        let lease = Lease { focus: FocusId::new(), token: 1 };
        (item.state, item.focus, item.attempts) = (State::Running, Some(lease.focus), item.attempts + 1);
        Ok(Claimed { work: item.clone(), lease, plugins: claim.plugins.clone(), began_ms: 0, resumed: false })
    }
    async fn focus_renew(&self, _: &[Lease], _: u64) -> Result<Renewed> {
        Ok(Renewed::default())
    }
    async fn focus_end(&self, lease: Lease, to: State, settlement: Settlement) -> Result<Work> {
        if *self.cannot_settle.lock().unwrap() {
            return Err(Error::Unavailable("the disk is full".into()));
        }
        let mut kept = self.kept.lock().unwrap();
        let item = kept.works.values_mut().find(|work| work.focus == Some(lease.focus)).unwrap();
        assert!(item.state.may_become(to));
        item.state = to;
        let item = item.clone();
        kept.settlements.push(settlement);
        Ok(item)
    }
    async fn focus_release(&self, _: Lease) -> Result<()> {
        unused()
    }
    async fn focus(&self, _: FocusId) -> Result<FocusRecord> {
        unused()
    }
    async fn focuses(&self, _: WorkId) -> Result<Vec<FocusRecord>> {
        unused()
    }
    async fn focuses_by_prefix(&self, _: &str, _: u32) -> Result<Vec<FocusRecord>> {
        unused()
    }
    async fn focus_recover(&self, _: &str, _: &(dyn Fn(u32) -> bool + Sync)) -> Result<Vec<WorkId>> {
        unused()
    }
    async fn work_watch(&self) -> Result<Box<dyn Watch>> {
        unused()
    }
}

#[async_trait]
impl Ledger for FakeTenant {
    async fn ledger_append(&self, _: WorkId, entry_type: EntryType, content: &str, _: Option<Origin>) -> Result<Entry> {
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
    async fn journal_begin(&self, _: Lease, intent: Intent) -> Result<u64> {
        self.happens(format!("intent {} {}", intent.kind.as_str(), intent.subject));
        let mut kept = self.kept.lock().unwrap();
        let seq = kept.journal.len() as u64 + 1;
        kept.journal.push(Record { seq, intent, outcome: None, started_ms: 0, ended_ms: None });
        Ok(seq)
    }
    async fn journal_end(&self, _: Lease, seq: u64, outcome: Outcome) -> Result<()> {
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
impl Events for FakeTenant {
    async fn events_append(&self, _: WorkId, _: u64, _: &[Event]) -> Result<()> {
        unused()
    }
    async fn events_read(&self, _: WorkId, _: u64, _: u32) -> Result<Vec<(u64, Event)>> {
        unused()
    }
    async fn events_last(&self, _: WorkId) -> Result<u64> {
        unused()
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
