//! A store in memory that records the order of what it is told.

use std::{
    collections::{BTreeMap, HashMap},
    pin::Pin,
    sync::{Arc, Mutex},
};

use animus_core::{
    Error, Result, awareness,
    budget::Allowance,
    event::Event,
    grant::Grant,
    id::{Digest, FocusId, MemoryId, PluginName, TenantId, WorkId},
    journal::{Intent, Outcome, Record, Tally},
    ledger::{Entry, EntryType, Filter},
    memory::{Coverage, Embedding, Hit, Memory, NewMemory, Query, Recalled, Unembedded, Update, Version},
    skill::{Approvals, Decision, How, NewSkill, SkillName, SkillRecord, SkillUse},
    store::{
        Audit, AuditEntry, AuditVerdict, Events, Generation, HookStates, Hosts, Journal, Ledger, Memories,
        NewGeneration, Origin, Plugin, PluginFault, Plugins, Renewed, SecretValue, Secrets, Skills, Tenant, Watch,
        Works,
    },
    work::{
        Beat, Claim, Claimed, Counts, Disposal, FocusRecord, Host, HostRecord, Lease, MAX_DEPTH, NewWork, Settlement,
        State, Submission, Submitted, Work, WorkFilter,
    },
};
use async_trait::async_trait;
use futures::FutureExt as _;
use serde_json::{Value, json};
use tokio::sync::{Notify, futures::OwnedNotified};

#[derive(Default)]
struct Kept {
    works: BTreeMap<WorkId, Work>,
    ledger: Vec<Entry>,
    origins: HashMap<Origin, Entry>,
    journal: Vec<Record>,
    events: BTreeMap<(WorkId, u64), Event>,
    memories: Vec<Memory>,
    audit: Vec<(String, String, String, Value)>,
    happened: Vec<String>,
    settlements: Vec<Settlement>,
    /// What there is of other work, and who asked for it.
    around: awareness::Rows,
    looked: Vec<awareness::Query>,
    submits: BTreeMap<String, WorkId>,
    /// Running items whose lease has run out.
    abandoned: Vec<WorkId>,
    renewals: usize,
    claims: usize,
    reads: usize,
}

pub struct FakeTenant {
    id: TenantId,
    kept: Mutex<Kept>,
    /// How many more writes of the journal go through before the host is gone, and all who waited for it.
    pub writes_left: Mutex<Option<usize>>,
    /// Told when the host is gone.
    pub gone: Notify,
    /// The token of the lease that may write.
    pub token: Mutex<u64>,
    /// Makes `focus_end` fail.
    pub cannot_settle: Mutex<bool>,
    changed: Arc<Notify>,
}

impl Default for FakeTenant {
    fn default() -> Self {
        Self {
            id: TenantId::local(),
            kept: Mutex::default(),
            writes_left: Mutex::default(),
            gone: Notify::new(),
            token: Mutex::new(1),
            cannot_settle: Mutex::new(false),
            changed: Arc::default(),
        }
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

    /// Changes an item as another process would.
    pub fn change(&self, id: WorkId, change: impl FnOnce(&mut Work)) {
        change(self.kept.lock().unwrap().works.get_mut(&id).unwrap());
        self.changed.notify_waiters();
    }

    /// The children of an item, oldest first.
    pub fn children(&self, parent: WorkId) -> Vec<Work> {
        let of = |work: &&Work| work.parent == Some(parent);
        self.kept.lock().unwrap().works.values().filter(of).cloned().collect()
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

    /// From now on other work is there; and how often anybody looked.
    pub fn others(&self, around: awareness::Rows) {
        self.kept.lock().unwrap().around = around;
    }

    pub fn looked(&self) -> Vec<awareness::Query> {
        self.kept.lock().unwrap().looked.clone()
    }

    /// Takes an item to a state, as its end would.
    pub fn settle(&self, work: WorkId, state: State) {
        self.kept.lock().unwrap().works.get_mut(&work).unwrap().state = state;
        self.changed.notify_waiters();
    }

    pub fn memories(&self) -> Vec<Memory> {
        self.kept.lock().unwrap().memories.clone()
    }

    /// The host ends after a write of the journal: whoever of it waits for the store waits for ever.
    async fn counted(&self, lease: Lease) -> Result<()> {
        if lease.token != *self.token.lock().unwrap() {
            return Err(Error::Conflict("the lease was lost".into()));
        }
        let is_gone = match &mut *self.writes_left.lock().unwrap() {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        };
        if is_gone {
            self.gone.notify_one();
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    pub fn submitted(&self, work: WorkId) -> Work {
        self.kept.lock().unwrap().works[&work].clone()
    }

    pub fn only_work(&self) -> WorkId {
        let kept = self.kept.lock().unwrap();
        assert_eq!(kept.works.len(), 1);
        *kept.works.keys().next().unwrap()
    }

    /// Puts a record into the journal.
    pub fn push(&self, record: Record) {
        self.kept.lock().unwrap().journal.push(record);
    }

    /// Another host takes the running item over.
    pub fn take_over(&self, work: WorkId) -> Claimed {
        *self.writes_left.lock().unwrap() = None;
        // Several may have waited for the host that is gone.
        let _ = self.gone.notified().now_or_never();
        let mut token = self.token.lock().unwrap();
        *token += 1;
        let work = self.kept.lock().unwrap().works[&work].clone();
        let lease = Lease { focus: work.focus.unwrap(), token: *token };
        Claimed { work, lease, plugins: json!({}), began_ms: 0, resumed: true }
    }

    /// The lease of a running item runs out.
    pub fn abandon(&self, work: WorkId) {
        self.kept.lock().unwrap().abandoned.push(work);
        self.changed.notify_waiters();
    }

    /// How often leases were renewed, work was claimed, and events were read.
    pub fn asked(&self) -> [usize; 3] {
        let kept = self.kept.lock().unwrap();
        [kept.renewals, kept.claims, kept.reads]
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
        new.check()?;
        if let Some(id) =
            new.idempotency_key.as_ref().and_then(|key| self.kept.lock().unwrap().submits.get(key).copied())
        {
            return Ok(Submitted { work: self.work(id).await?, how: Submission::Repeated });
        }
        let depth = match new.parent {
            Some(parent) => self.work(parent).await?.depth + 1,
            None => 0,
        };
        if depth > MAX_DEPTH {
            return Err(Error::Invalid(format!("{MAX_DEPTH} levels of children deep")));
        }
        let alike = |work: &&Work| {
            new.dedup_key.is_some()
                && work.dedup_key == new.dedup_key
                && work.faculty == new.faculty
                && !work.state.is_settled()
        };
        let found = self.kept.lock().unwrap().works.values().find(alike).cloned();
        if let Some(work) = found {
            return Ok(Submitted { work, how: Submission::Merged { item: WorkId::new() } });
        }
        let Work { id, .. } = self.submit(&new.faculty, &new.instruction);
        if let Some(key) = &new.idempotency_key {
            self.kept.lock().unwrap().submits.insert(key.clone(), id);
        }
        self.change(id, |work| {
            *work = Work {
                source: new.source,
                params: new.params,
                disposal: new.disposal,
                dedup_key: new.dedup_key,
                priority: new.priority,
                parent: new.parent,
                depth,
                cap: new.cap,
                allowance: new.allowance,
                ..work.clone()
            };
        });
        Ok(Submitted { work: self.work(id).await?, how: Submission::Created })
    }
    async fn work(&self, id: WorkId) -> Result<Work> {
        let found = self.kept.lock().unwrap().works.get(&id).cloned();
        found.ok_or_else(|| Error::NotFound(format!("there is no work item {id}")))
    }
    async fn works(&self, filter: WorkFilter) -> Result<Vec<Work>> {
        let fits = |work: &&Work| filter.parent.is_none_or(|parent| work.parent == Some(parent));
        Ok(self.kept.lock().unwrap().works.values().filter(fits).cloned().collect())
    }
    async fn works_by_prefix(&self, _: &str, _: u32) -> Result<Vec<Work>> {
        unused()
    }
    async fn awareness(&self, query: awareness::Query) -> Result<awareness::Rows> {
        let mut kept = self.kept.lock().unwrap();
        kept.looked.push(query);
        Ok(kept.around.clone())
    }
    async fn work_counts(&self) -> Result<Counts> {
        unused()
    }
    async fn work_cancel(&self, actor: &str, id: WorkId) -> Result<Work> {
        self.happens(format!("{actor} cancels"));
        self.change(id, |work| match work.state {
            State::Queued => work.state = State::Cancelled,
            _ => work.cancelling = true,
        });
        self.work(id).await
    }
    async fn work_retry(&self, _: &str, _: WorkId) -> Result<Work> {
        unused()
    }
    async fn work_claim(&self, claim: &Claim) -> Result<Option<Claimed>> {
        let abandoned = {
            let mut kept = self.kept.lock().unwrap();
            kept.claims += 1;
            let fits = |id: &WorkId| !claim.except.contains(id) && claim.faculties.contains(&kept.works[id].faculty);
            let next = kept.abandoned.iter().position(fits);
            next.map(|next| kept.abandoned.remove(next))
        };
        if let Some(id) = abandoned {
            self.change(id, |work| work.takeovers += 1);
            return Ok(Some(self.take_over(id)));
        }
        let next = {
            let kept = self.kept.lock().unwrap();
            let ready = |work: &&Work| work.state == State::Queued && work.disposal == Disposal::Queue;
            kept.works.values().find(ready).map(|work| work.id)
        };
        match next {
            Some(id) => self.focus_begin(id, State::Queued, claim).await.map(Some),
            None => Ok(None),
        }
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
    async fn focus_renew(&self, leases: &[Lease], _: u64) -> Result<Renewed> {
        self.kept.lock().unwrap().renewals += 1;
        let newest = *self.token.lock().unwrap();
        let lost = leases.iter().filter(|lease| lease.token != newest).copied().collect();
        Ok(Renewed { lost, ..Renewed::default() })
    }
    async fn focus_end(&self, lease: Lease, to: State, settlement: Settlement) -> Result<Work> {
        if *self.cannot_settle.lock().unwrap() {
            return Err(Error::Unavailable("the disk is full".into()));
        }
        let mut kept = self.kept.lock().unwrap();
        let item = kept.works.values_mut().find(|work| work.focus == Some(lease.focus)).unwrap();
        assert!(item.state.may_become(to));
        item.state = to;
        item.outcome = settlement.outcome.clone();
        item.error = settlement.error.clone();
        item.tokens += settlement.tokens;
        item.cost_microusd += settlement.cost_microusd;
        let item = item.clone();
        kept.settlements.push(settlement);
        drop(kept);
        self.changed.notify_waiters();
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
        Ok(Box::new(Watching(Box::pin(self.changed.clone().notified_owned()), self.changed.clone())))
    }
}

/// Listens from its making on.
struct Watching(Pin<Box<OwnedNotified>>, Arc<Notify>);

#[async_trait]
impl Watch for Watching {
    async fn changed(&mut self) {
        self.0.as_mut().await;
        self.0 = Box::pin(self.1.clone().notified_owned());
    }
}

#[async_trait]
impl Hosts for FakeTenant {
    async fn host_beat(&self, _: &Beat) -> Result<()> {
        unused()
    }
    async fn host_gone(&self, _: &Host) -> Result<()> {
        unused()
    }
    async fn hosts(&self) -> Result<Vec<HostRecord>> {
        unused()
    }
}

#[async_trait]
impl Ledger for FakeTenant {
    async fn ledger_append(
        &self,
        _: WorkId,
        entry_type: EntryType,
        content: &str,
        origin: Option<Origin>,
    ) -> Result<Entry> {
        self.happens(format!("append {content}"));
        let mut kept = self.kept.lock().unwrap();
        if let Some(known) = origin.and_then(|origin| kept.origins.get(&origin)) {
            return Ok(known.clone());
        }
        let seq = kept.ledger.len() as u64 + 1;
        let entry = Entry { seq, entry_type, content: content.into(), created_ms: 0 };
        kept.ledger.push(entry.clone());
        kept.origins.extend(origin.map(|origin| (origin, entry.clone())));
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
    async fn journal_begin(&self, lease: Lease, intent: Intent) -> Result<u64> {
        self.counted(lease).await?;
        self.happens(format!("intent {} {}", intent.kind.as_str(), intent.subject));
        let mut kept = self.kept.lock().unwrap();
        let seq = kept.journal.len() as u64 + 1;
        kept.journal.push(Record { seq, intent, outcome: None, started_ms: 0, ended_ms: None });
        Ok(seq)
    }
    async fn journal_end(&self, lease: Lease, seq: u64, outcome: Outcome) -> Result<()> {
        self.counted(lease).await?;
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
    async fn journal_tally(&self, _: FocusId) -> Result<Tally> {
        unused()
    }
}

#[async_trait]
impl Events for FakeTenant {
    async fn events_append(&self, work: WorkId, first: u64, events: &[Event]) -> Result<()> {
        if *self.cannot_settle.lock().unwrap() {
            return Err(Error::Unavailable("the disk is full".into()));
        }
        let mut kept = self.kept.lock().unwrap();
        for (number, event) in (first..).zip(events) {
            kept.events.entry((work, number)).or_insert_with(|| event.clone());
        }
        drop(kept);
        self.changed.notify_waiters();
        Ok(())
    }
    async fn events_read(&self, work: WorkId, after: u64, limit: u32) -> Result<Vec<(u64, Event)>> {
        let mut kept = self.kept.lock().unwrap();
        kept.reads += 1;
        let events = kept.events.range((work, after + 1)..=(work, u64::MAX)).take(limit as usize);
        Ok(events.map(|((_, number), event)| (*number, event.clone())).collect())
    }
    async fn events_last(&self, work: WorkId) -> Result<u64> {
        let kept = self.kept.lock().unwrap();
        let last = kept.events.range((work, 0)..=(work, u64::MAX)).next_back();
        Ok(last.map_or(0, |((_, number), _)| *number))
    }
}

#[async_trait]
impl Memories for FakeTenant {
    async fn memory_store(&self, new: NewMemory) -> Result<MemoryId> {
        let id = new.id.unwrap_or_else(MemoryId::new);
        self.happens(format!("store {}", new.content));
        let NewMemory { content, kind, tags, source, .. } = new;
        let memory = Memory { id, content, kind, tags, source, version: 1, created_ms: 0, updated_ms: 0 };
        let mut kept = self.kept.lock().unwrap();
        if !kept.memories.iter().any(|known| known.id == id) {
            kept.memories.push(memory);
        }
        Ok(id)
    }
    async fn memory_recall(&self, _: Query) -> Result<Recalled> {
        let memories = self.kept.lock().unwrap().memories.clone();
        let hit = |memory| Hit { memory, score: 1.0, text_rank: Some(1), vector_rank: None, similarity: None };
        Ok(Recalled { hits: memories.into_iter().map(hit).collect(), left_out: 0 })
    }
    async fn memory_get(&self, _: MemoryId) -> Result<Memory> {
        unused()
    }
    async fn memory_versions(&self, _: MemoryId) -> Result<Vec<Version>> {
        unused()
    }
    async fn memory_update(&self, id: MemoryId, update: Update) -> Result<u64> {
        self.happens(format!("update {}", update.content));
        let mut kept = self.kept.lock().unwrap();
        let memory = kept.memories.iter_mut().find(|memory| memory.id == id).unwrap();
        (memory.content, memory.version) = (update.content, memory.version + 1);
        Ok(memory.version)
    }
    async fn memory_forget(&self, id: MemoryId) -> Result<()> {
        self.happens("forget");
        let mut kept = self.kept.lock().unwrap();
        let place = kept.memories.iter().position(|memory| memory.id == id);
        let place = place.ok_or_else(|| Error::NotFound(format!("there is no memory {id}")))?;
        kept.memories.remove(place);
        Ok(())
    }
    async fn memory_tag(&self, _: MemoryId, tag: &str) -> Result<()> {
        self.happens(format!("tag {tag}"));
        Ok(())
    }
    async fn memory_unembedded(&self, _: &str, _: usize, _: u64, _: u32) -> Result<Vec<Unembedded>> {
        unused()
    }
    async fn memory_embed(&self, _: MemoryId, _: u64, _: Embedding) -> Result<bool> {
        unused()
    }
    async fn memory_coverage(&self, _: &str, _: usize) -> Result<Coverage> {
        unused()
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
    async fn plugin_at(&self, _: &PluginName, _: u64) -> Result<Plugin> {
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
    async fn skill_made(&self, _: Origin) -> Result<Option<SkillRecord>> {
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
