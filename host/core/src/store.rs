//! The port to a store. A [`Tenant`] handle is bound to one tenant by its making: no method takes a tenant, so no query
//! can forget or forge one.

use std::{collections::BTreeMap, fmt, sync::Arc};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Result, awareness,
    event::Event,
    grant::Grant,
    id::{Digest, FocusId, MemoryId, PluginName, TenantId, WorkId},
    journal, ledger,
    ledger::EntryType,
    memory,
    skill::{Approvals, Decision, How, NewSkill, SkillName, SkillRecord, SkillUse},
    work::{
        Beat, Claim, Claimed, Counts, FocusRecord, Host, HostRecord, Lease, NewWork, Settlement, State, Submitted,
        Work, WorkFilter,
    },
};

/// A store of all tenants.
#[async_trait]
pub trait Store: Send + Sync {
    /// The handle of a tenant, which is made when it is new.
    async fn tenant(&self, id: &TenantId) -> Result<Arc<dyn Tenant>>;

    /// All tenants, sorted.
    async fn tenants(&self) -> Result<Vec<TenantId>>;

    /// Checks that the store can be read and written and is intact.
    ///
    /// # Errors
    /// Says what is wrong and how to mend it.
    async fn check(&self) -> Result<StoreHealth>;
}

/// What [`Store::check`] found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreHealth {
    /// `sqlite` or `postgres`.
    pub backend: String,
    /// Where it is, without credentials.
    pub location: String,
    /// The newest migration that was applied.
    pub schema: i64,
}

/// Everything of one tenant.
pub trait Tenant:
    Works + Hosts + Ledger + Journal + Events + Memories + Plugins + HookStates + Skills + Secrets + Audit
{
    /// The tenant.
    fn id(&self) -> &TenantId;
}

/// Work items, the queue, and the focuses that run them.
#[async_trait]
pub trait Works: Send + Sync {
    /// Stores a new item: [`State::Queued`], or merged into the one that is there. One transaction, however many submit at
    /// once.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] for what [`NewWork::check`] refuses and for a child deeper than
    /// [`crate::work::MAX_DEPTH`]; [`crate::Error::NotFound`] for a parent that is not there; [`crate::Error::Conflict`]
    /// for an idempotency key that came with other work.
    async fn work_submit(&self, work: NewWork) -> Result<Submitted>;
    /// One item.
    async fn work(&self, id: WorkId) -> Result<Work>;
    /// The newest items first.
    async fn works(&self, filter: WorkFilter) -> Result<Vec<Work>>;
    /// The items whose identifier begins so, at most `limit`, newest first.
    async fn works_by_prefix(&self, prefix: &str, limit: u32) -> Result<Vec<Work>>;
    /// What an item may know of the others.
    async fn awareness(&self, query: awareness::Query) -> Result<awareness::Rows>;
    /// How many items stand where.
    async fn work_counts(&self) -> Result<Counts>;
    /// Asks for the end of an item and of its children, theirs included: what is queued, failed or dead is cancelled at
    /// once; what runs is marked ([`Work::cancelling`]), and its host cancels it. What is terminal stays. Returns the item.
    async fn work_cancel(&self, actor: &str, id: WorkId) -> Result<Work>;
    /// Puts a failed or dead item back into the queue, with at least one more attempt.
    ///
    /// # Errors
    /// [`crate::Error::Conflict`] in any other state.
    async fn work_retry(&self, actor: &str, id: WorkId) -> Result<Work>;

    /// Gives out the next item: of those that the host has room for, first a running one whose lease has run out, else the
    /// queued one of the greatest priority, the oldest of them, whose time has come. Of many hosts that claim at once, one
    /// gets it; none gets what it excepts. An item that lost its host [`crate::work::MAX_TAKEOVERS`] times in one attempt is dead instead.
    async fn work_claim(&self, claim: &Claim) -> Result<Option<Claimed>>;
    /// When [`Works::work_claim`] may next have something by the mere passing of time: the earliest time to come of a queued
    /// item, or of a lease's end, milliseconds since the epoch. What is due already is no matter of time.
    async fn work_next_due(&self) -> Result<Option<u64>>;
    /// Begins a focus on a held item, which the calling process runs: `from` → running, one more attempt, a lease.
    /// Compare-and-set in one transaction.
    ///
    /// # Errors
    /// [`crate::Error::Conflict`] when the item is not in `from`.
    async fn focus_begin(&self, work: WorkId, from: State, claim: &Claim) -> Result<Claimed>;
    /// Renews leases. Returns what has changed: leases that are lost (another host has the focus, or it has ended), and
    /// items that are to be cancelled.
    async fn focus_renew(&self, leases: &[Lease], lease_ms: u64) -> Result<Renewed>;
    /// Ends a focus: running → `to`, with what came of it. A failure with [`Settlement::retry_in_ms`] and an attempt left is
    /// queued again; a queued item's last failure is dead. Returns the item as it is then.
    ///
    /// # Errors
    /// [`crate::Error::Conflict`] for a lease that was lost.
    async fn focus_end(&self, lease: Lease, to: State, settlement: Settlement) -> Result<Work>;
    /// Lets go of a focus that this host cannot finish now (it stops): any host may take it over at once.
    async fn focus_release(&self, lease: Lease) -> Result<()>;
    /// One focus.
    async fn focus(&self, id: FocusId) -> Result<FocusRecord>;
    /// The focuses of an item, oldest first.
    async fn focuses(&self, work: WorkId) -> Result<Vec<FocusRecord>>;
    /// The focuses whose identifier begins so, at most `limit`, newest first.
    async fn focuses_by_prefix(&self, prefix: &str, limit: u32) -> Result<Vec<FocusRecord>>;
    /// Items whose process is gone before their focus ended: marks held ones failed and returns them; lets go of the
    /// others, so that any host may take them over at once. `alive` tells of a process of this `machine` whether it still
    /// runs; a held item of another machine is left until its lease has run out.
    async fn focus_recover(&self, machine: &str, alive: &(dyn Fn(u32) -> bool + Sync)) -> Result<Vec<WorkId>>;
    /// A watch on changes of this tenant's work by any process: a hint, never a promise.
    async fn work_watch(&self) -> Result<Box<dyn Watch>>;
}

/// What [`Works::focus_renew`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renewed {
    /// Leases that are no longer held.
    pub lost: Vec<Lease>,
    /// Leases whose item is to be cancelled.
    pub cancelling: Vec<Lease>,
}

/// A watch on changes.
#[async_trait]
pub trait Watch: Send {
    /// Returns when something may have changed since the last call (or since the watch began), and after some seconds
    /// anyway. Dropping the future loses nothing.
    async fn changed(&mut self);
}

/// The hosts that take work of a tenant from the queue.
#[async_trait]
pub trait Hosts: Send + Sync {
    /// Says that a host serves, and how: to be said again every few seconds.
    async fn host_beat(&self, beat: &Beat) -> Result<()>;
    /// Takes a host off the list, because it has stopped. One that is not on it is none's concern.
    async fn host_gone(&self, host: &Host) -> Result<()>;
    /// The hosts that were heard of within a day, the newest beat first. Ages are by the clock of the store.
    async fn hosts(&self) -> Result<Vec<HostRecord>>;
}

/// The ledger of each work item.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Appends, and returns the entry with its number: 1, 2, 3 … within the item, also under parallel appends. An append
    /// with an `origin` that was appended before gives that entry and changes nothing.
    async fn ledger_append(
        &self,
        work: WorkId,
        entry_type: EntryType,
        content: &str,
        origin: Option<Origin>,
    ) -> Result<ledger::Entry>;
    /// Entries in the order of their numbers; at most [`ledger::MAX_READ`], the last ones where there are more.
    async fn ledger_read(&self, work: WorkId, filter: ledger::Filter) -> Result<Vec<ledger::Entry>>;
}

/// The effect of a focus that something came from: what makes a repeated effect the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The focus.
    pub focus: FocusId,
    /// The number of the effect in its journal.
    pub seq: u64,
}

/// The journal of each focus.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Writes an intent durably and returns its number.
    ///
    /// # Errors
    /// [`crate::Error::Conflict`] for a lease that was lost, and for a focus that has ended.
    async fn journal_begin(&self, lease: Lease, intent: journal::Intent) -> Result<u64>;
    /// Writes how it went.
    ///
    /// # Errors
    /// [`crate::Error::Conflict`] when an outcome is already there, and for a lease that was lost.
    async fn journal_end(&self, lease: Lease, seq: u64, outcome: journal::Outcome) -> Result<()>;
    /// The whole journal of a focus, in order.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] for one of more than [`journal::MAX_READ`] bytes.
    async fn journal_read(&self, focus: FocusId) -> Result<Vec<journal::Record>>;
    /// What the journal of a focus comes to, without reading it.
    async fn journal_tally(&self, focus: FocusId) -> Result<journal::Tally>;
}

/// The most events of one read.
pub const MAX_EVENTS: u32 = 1_000;

/// What the watchers of each work item were told, so that a stream can go on where it was cut.
#[async_trait]
pub trait Events: Send + Sync {
    /// Keeps events of an item under the numbers that its host gave them, `first` and on; numbers that are taken are left
    /// as they are.
    async fn events_append(&self, work: WorkId, first: u64, events: &[Event]) -> Result<()>;
    /// Events after the number `after`, in order, at most `limit` and [`MAX_EVENTS`].
    async fn events_read(&self, work: WorkId, after: u64, limit: u32) -> Result<Vec<(u64, Event)>>;
    /// The greatest number given so far; 0 for none.
    async fn events_last(&self, work: WorkId) -> Result<u64>;
}

/// Memories.
#[async_trait]
pub trait Memories: Send + Sync {
    /// Stores one. An identifier that the caller names is stored once: see [`memory::NewMemory::id`].
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] for what is no memory; [`crate::Error::Conflict`] when the named identifier is that of a
    /// memory which never said the same.
    async fn memory_store(&self, memory: memory::NewMemory) -> Result<MemoryId>;
    /// Finds some: full text over content, kind and tags, joined by reciprocal rank fusion with the nearest vectors where
    /// the query has an embedding; the newest for an empty text without one. Ties go to the newer memory. No query text
    /// is an error.
    async fn memory_recall(&self, query: memory::Query) -> Result<memory::Recalled>;
    /// One.
    async fn memory_get(&self, id: MemoryId) -> Result<memory::Memory>;
    /// What it says and what it said: the current version first, then at most [`memory::MAX_EARLIER`] earlier ones.
    async fn memory_versions(&self, id: MemoryId) -> Result<Vec<memory::Version>>;
    /// Gives one new content, and returns its version. The same content again changes nothing but a missing embedding.
    ///
    /// # Errors
    /// [`crate::Error::Conflict`] when it is not at the version that the update names.
    async fn memory_update(&self, id: MemoryId, update: memory::Update) -> Result<u64>;
    /// Removes one, its versions and vector, its text from the index and the file too.
    async fn memory_forget(&self, id: MemoryId) -> Result<()>;
    /// Adds a tag.
    async fn memory_tag(&self, id: MemoryId, tag: &str) -> Result<()>;

    /// Memories without a vector of this model and of so many dimensions, at most `limit`, in an order that does not
    /// change; `after` is the [`memory::Unembedded::cursor`] of the last one seen, 0 at first.
    async fn memory_unembedded(
        &self,
        model: &str,
        dims: usize,
        after: u64,
        limit: u32,
    ) -> Result<Vec<memory::Unembedded>>;
    /// Gives a memory a vector in place of the one that it has, unless it is at another version by now or gone; says
    /// whether it did.
    async fn memory_embed(&self, id: MemoryId, version: u64, embedding: memory::Embedding) -> Result<bool>;
    /// How many memories have a vector of this model and of so many dimensions.
    async fn memory_coverage(&self, model: &str, dims: usize) -> Result<memory::Coverage>;
}

/// Where a plugin stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PluginState {
    /// Installed; serves when the operator grants it something.
    AwaitingGrant,
    /// Serves.
    Serving,
}

/// An installed plugin: its serving generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plugin {
    /// Its name.
    pub name: PluginName,
    /// The serving generation, from 1.
    pub generation: u64,
    /// The bytes of that generation.
    pub digest: Digest,
    /// The version in its manifest.
    pub version: String,
    /// The text of its manifest (`plugin.toml`), as the component carries it.
    pub manifest: String,
    /// Where it came from, as the operator typed it; `embedded` for first-party plugins.
    pub source: String,
    /// Whether it serves.
    pub state: PluginState,
    /// What the operator granted; none while it awaits a grant. A grant survives an upgrade.
    pub granted: Option<Grant>,
    /// The most that versions get which an agent makes of it: the operator's last word, once they took something back by
    /// hand. None while they did not.
    pub at_most: Option<Grant>,
    /// Its tools as `list-tools` gave them at installation, full names.
    pub tools: Vec<crate::tool::Tool>,
    /// Whether it exports the faculty interface.
    pub is_faculty: bool,
    /// Whether it exports the interpreter interface.
    pub is_interpreter: bool,
    /// Whether it exports the hook interface.
    pub is_hook: bool,
    /// When the generation was installed, milliseconds since the epoch.
    pub installed_ms: u64,
}

/// A generation to install.
#[derive(Clone, Debug)]
pub struct NewGeneration {
    /// The plugin.
    pub name: PluginName,
    /// The component with its manifest inside.
    pub wasm: Arc<[u8]>,
    /// The version in its manifest.
    pub version: String,
    /// The text of its manifest (`plugin.toml`), as the component carries it.
    pub manifest: String,
    /// Where it came from, as the operator typed it.
    pub source: String,
    /// Its tools, full names.
    pub tools: Vec<crate::tool::Tool>,
    /// Whether it exports the faculty interface.
    pub is_faculty: bool,
    /// Whether it exports the interpreter interface.
    pub is_interpreter: bool,
    /// Whether it exports the hook interface.
    pub is_hook: bool,
    /// The new grant; none keeps the one there is.
    pub grant: Option<Grant>,
}

/// A past or present generation of a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Its number, from 1.
    pub generation: u64,
    /// Its bytes.
    pub digest: Digest,
    /// The version in its manifest.
    pub version: String,
    /// Where it came from.
    pub source: String,
    /// When it was installed, milliseconds since the epoch.
    pub installed_ms: u64,
    /// Whether it serves.
    pub serving: bool,
}

/// The most faults of sources that a tenant keeps; of more, the newest.
pub const MAX_FAULTS: u32 = 100;
/// The longest text of a fault that is kept, in bytes. A compiler's output is longer now and then; its beginning, where
/// the first error is, stays.
pub const MAX_FAULT: usize = 16 << 10;

/// The last load of a source that failed: a file or folder of the drop folder, or the source folder of an author. It is
/// gone when a load of that source succeeds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginFault {
    /// Where it was loaded from.
    pub source: String,
    /// The plugin, where the load came far enough to know, or the source is named after it.
    pub name: Option<PluginName>,
    /// What is wrong, as the compiler or the host said it.
    pub error: String,
    /// When it failed, milliseconds since the epoch.
    pub at_ms: u64,
}

/// Installed plugins. Every change is one transaction with its audit entry; `actor` says who changed it.
#[async_trait]
pub trait Plugins: Send + Sync {
    /// Adds a generation and makes it the serving one.
    async fn plugin_install(&self, actor: &str, new: NewGeneration) -> Result<Plugin>;
    /// All plugins, by name.
    async fn plugins(&self) -> Result<Vec<Plugin>>;
    /// One plugin.
    async fn plugin(&self, name: &PluginName) -> Result<Plugin>;
    /// One of its generations, as it would serve under the grant of today.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`] for one that is no longer kept.
    async fn plugin_at(&self, name: &PluginName, generation: u64) -> Result<Plugin>;
    /// Its generations, newest first.
    async fn plugin_generations(&self, name: &PluginName) -> Result<Vec<Generation>>;
    /// Replaces its grant; none revokes it. What this takes back is kept from the versions that agents make later, see
    /// [`Plugin::at_most`].
    async fn plugin_grant(&self, actor: &str, name: &PluginName, grant: Option<Grant>) -> Result<Plugin>;
    /// Serves another generation: the given one, or the newest before the serving one that was not retired. The one that
    /// serves from now on begins with a clean record, even when it was retired. Where it is a skill's, the version that it
    /// was compiled from becomes the active one, in the same transaction.
    async fn plugin_rollback(&self, actor: &str, name: &PluginName, to: Option<u64>) -> Result<Plugin>;
    /// Removes it with its grant and generations.
    async fn plugin_remove(&self, actor: &str, name: &PluginName) -> Result<()>;
    /// The bytes of a digest, verified against it.
    async fn artifact(&self, digest: &Digest) -> Result<Arc<[u8]>>;
    /// A number that grows with every change to any plugin of this tenant.
    async fn plugins_revision(&self) -> Result<u64>;

    /// Counts one more failure of a generation and returns how many it has had in a row, in all processes together; 0
    /// for a generation that is gone. No change of plugins, so neither audited nor a new revision.
    async fn plugin_failed(&self, name: &PluginName, generation: u64) -> Result<u32>;
    /// Ends the row of failures of a generation. Writes only where there is one.
    async fn plugin_worked(&self, name: &PluginName, generation: u64) -> Result<()>;
    /// Takes a failing generation out of service: the newest earlier one that was not itself retired serves, and this one
    /// is no rollback's goal until an operator names it. Returns the plugin as it serves then; none when `generation`
    /// does not serve (another process was faster), or no earlier one is left. A skill's version follows, as with
    /// [`Plugins::plugin_rollback`]. `why` goes to the audit log.
    async fn plugin_retire(&self, actor: &str, name: &PluginName, generation: u64, why: &str)
    -> Result<Option<Plugin>>;

    /// Keeps that a load of `source` failed, in place of what was kept of it: at most [`MAX_FAULT`] bytes of `error`, and
    /// the newest [`MAX_FAULTS`] faults.
    async fn plugin_fault(&self, source: &str, name: Option<&PluginName>, error: &str) -> Result<()>;
    /// Forgets the fault of a source, if there is one. Writes only then. An installation from that source does the same.
    async fn plugin_fault_clear(&self, source: &str) -> Result<()>;
    /// All faults, by source.
    async fn plugin_faults(&self) -> Result<Vec<PluginFault>>;
}

/// Which hooks the operator switched on or off by hand, whatever the configuration says.
#[async_trait]
pub trait HookStates: Send + Sync {
    /// The hooks that were switched, by name: true for on.
    async fn hook_states(&self) -> Result<BTreeMap<String, bool>>;
    /// Switches one, with an audit entry. It need not be there: a plugin that is installed later comes switched.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] for a name that no hook can have.
    async fn hook_switch(&self, actor: &str, name: &str, on: bool) -> Result<()>;
}

/// Skills, each with its versions. Every change is one transaction with its audit entry; `actor` says who changed it.
#[async_trait]
pub trait Skills: Send + Sync {
    /// Adds a version, which is active at once or waits, and installs the generation of its plugin with it. The last ten
    /// versions are kept, the active one, and those whose generation is. A version of an effect
    /// ([`crate::skill::SkillOrigin::effect`]) that was added before is given back, and nothing changes.
    ///
    /// What an agent made is granted nothing that an operator took back: a plugin whose grant was revoked goes on awaiting
    /// one, and one that was narrowed gets at most [`Plugin::at_most`].
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] for what is not a skill; [`crate::Error::BudgetExhausted`] when the tenant has
    /// [`crate::skill::MAX_SKILLS`] others, or 64 MiB of them; [`crate::Error::Conflict`] when there is a plugin of its name
    /// that is no skill's, and for an effect that added something else; [`crate::Error::NotFound`] for what an effect
    /// added and is no longer kept.
    async fn skill_put(&self, actor: &str, new: NewSkill) -> Result<SkillRecord>;
    /// The version that an effect of a focus added; none where it added none.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`] for one that is no longer kept.
    async fn skill_made(&self, effect: Origin) -> Result<Option<SkillRecord>>;
    /// The active version of each skill that has one, by name.
    async fn skills(&self) -> Result<Vec<SkillRecord>>;
    /// The given version of a skill, or the active one.
    async fn skill(&self, name: &SkillName, version: Option<u64>) -> Result<SkillRecord>;
    /// The versions of a skill, newest first.
    async fn skill_versions(&self, name: &SkillName) -> Result<Vec<SkillRecord>>;
    /// All versions that wait, oldest first.
    async fn skill_pending(&self) -> Result<Vec<SkillRecord>>;
    /// Approves or rejects a version that waits, and installs the generation of its plugin with the approval.
    /// Compare-and-set. Of a plugin that serves already the new generation is granted at most [`Plugin::at_most`].
    ///
    /// # Errors
    /// [`crate::Error::Conflict`] when it no longer waits, a newer one is active that approving it would undo, or there is a
    /// plugin of its name that is no skill's.
    async fn skill_decide(
        &self,
        actor: &str,
        name: &SkillName,
        version: u64,
        decision: Decision,
        reason: &str,
    ) -> Result<SkillRecord>;
    /// Records that a focus activated a skill; a second time changes nothing. It is no change of the skill: the journal
    /// has it, the audit log does not.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`] for a focus that is none of the work item, and for a version that is not kept;
    /// [`crate::Error::Conflict`] for a version that nobody approved.
    async fn skill_activated(
        &self,
        work: WorkId,
        focus: FocusId,
        name: &SkillName,
        version: u64,
        how: How,
    ) -> Result<()>;
    /// How often a skill was activated, all versions together.
    async fn skill_activations(&self, name: &SkillName) -> Result<SkillUse>;
    /// What became of the versions that the agent made, of removed skills too.
    async fn skill_approvals(&self) -> Result<Approvals>;
    /// Removes a skill with its versions and activations.
    async fn skill_remove(&self, actor: &str, name: &SkillName) -> Result<()>;
    /// A number that grows with every change to any skill of this tenant.
    async fn skills_revision(&self) -> Result<u64>;
}

/// A secret's value. It has no `Debug` or `Display` that shows it and does not serialise.
#[derive(Clone)]
pub struct SecretValue(Arc<str>);

impl SecretValue {
    /// Wraps a value.
    #[must_use]
    pub fn new(value: impl Into<Arc<str>>) -> Self {
        Self(value.into())
    }

    /// The value itself. Call it at the one place where it leaves.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

/// Secrets, encrypted at rest, each bound to its tenant and handle.
#[async_trait]
pub trait Secrets: Send + Sync {
    /// Stores or replaces one.
    async fn secret_set(&self, actor: &str, handle: &str, value: SecretValue) -> Result<()>;
    /// One value.
    async fn secret(&self, handle: &str) -> Result<SecretValue>;
    /// All handles, with the time each was set in milliseconds since the epoch.
    async fn secrets(&self) -> Result<Vec<(String, u64)>>;
    /// Removes one.
    async fn secret_remove(&self, actor: &str, handle: &str) -> Result<()>;
}

/// One entry of the audit log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// 1, 2, 3 … within the tenant.
    pub seq: u64,
    /// When, milliseconds since the epoch.
    pub at_ms: u64,
    /// Who: `operator`, `host`, or `plugin:<name>`.
    pub actor: String,
    /// What: `plugin.install`, `plugin.grant`, `call.denied`, …
    pub action: String,
    /// On what.
    pub subject: String,
    /// Particulars, secrets excluded.
    pub detail: Value,
    /// SHA-256 over the previous entry's hash and this entry, hexadecimal.
    pub hash: String,
}

/// What [`Audit::audit_verify`] found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditVerdict {
    /// How many entries were checked.
    pub entries: u64,
    /// The hash of the last one, to be kept elsewhere: it pins the whole log.
    pub head: String,
    /// The first entry that does not fit, and why.
    pub broken: Option<(u64, String)>,
}

/// The audit log, hash-chained.
#[async_trait]
pub trait Audit: Send + Sync {
    /// Appends an entry.
    async fn audit(&self, actor: &str, action: &str, subject: &str, detail: Value) -> Result<()>;
    /// The newest entries, oldest of them first.
    async fn audit_read(&self, limit: u32) -> Result<Vec<AuditEntry>>;
    /// Checks the whole chain.
    async fn audit_verify(&self) -> Result<AuditVerdict>;
}
