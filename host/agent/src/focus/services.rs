//! What running plugins ask of the focus.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use animus_core::{
    Denial, Error, Result,
    child::{Child, MAX_WAIT_MS, NewChild},
    code::{Program, Ran},
    event::Event,
    id::{MemoryId, WorkId},
    journal::{EffectKind, Intent, Outcome},
    ledger::{self, Entry, EntryType, Filter},
    llm, memory,
    services::{EngageOptions, Engagement, Principal, Services},
    store::{Origin, SecretValue},
    tool::{Output, Tool},
};
use async_trait::async_trait;
use serde_json::{Value, json};
use tracing::Instrument as _;

use super::{Call, Focus, lock};
use crate::{engage, measure, spans};

#[async_trait]
impl Services for Focus {
    fn work(&self) -> WorkId {
        self.0.work
    }

    async fn llm_stream(&self, by: &Principal, request: llm::Request) -> Result<llm::ResponseStream> {
        Ok(self.stream(by, self.prepare(by, request).await?))
    }

    async fn llm_complete(&self, by: &Principal, request: llm::Request) -> Result<llm::Response> {
        self.complete(by, self.prepare(by, request).await?).await
    }

    async fn llm_embed(&self, by: &Principal, texts: Vec<String>) -> Result<llm::Embeddings> {
        self.embed(by, texts).await
    }

    fn llm_roles(&self) -> Vec<String> {
        self.cx().models.roles()
    }

    async fn ledger_append(&self, by: &Principal, entry_type: EntryType, content: String) -> Result<u64> {
        Ok(self.append(by, entry_type, content).await?.seq)
    }

    async fn ledger_read(&self, by: &Principal, filter: Filter) -> Result<Vec<Entry>> {
        let (tenant, work) = (self.cx().tenant.clone(), self.0.work);
        let request = json!({ "type": filter.entry_type, "last_n": filter.last_n });
        self.observe(
            intent(by, EffectKind::Ledger, "read", request),
            async move { tenant.ledger_read(work, filter).await },
        )
        .await
    }

    async fn memory_store(&self, by: &Principal, content: String, kind: String, tags: Vec<String>) -> Result<MemoryId> {
        self.store_memory(by, content, kind, tags).await
    }

    async fn memory_recall(&self, by: &Principal, query: memory::Query) -> Result<Vec<memory::Hit>> {
        self.recall_memories(by, query).await
    }

    async fn memory_update(&self, by: &Principal, id: MemoryId, content: String, from: Option<u64>) -> Result<u64> {
        self.update_memory(by, id, content, from).await
    }

    async fn memory_versions(&self, by: &Principal, id: MemoryId) -> Result<Vec<memory::Version>> {
        let tenant = self.cx().tenant.clone();
        let intent = intent(by, EffectKind::Memory, "versions", json!({ "id": id }));
        self.observe(intent, async move { tenant.memory_versions(id).await }).await
    }

    async fn memory_get(&self, by: &Principal, id: MemoryId) -> Result<memory::Memory> {
        let tenant = self.cx().tenant.clone();
        measure::memory(tenant.id(), "get");
        let intent = intent(by, EffectKind::Memory, "get", json!({ "id": id }));
        self.observe(intent, async move { tenant.memory_get(id).await }).await
    }

    async fn memory_forget(&self, by: &Principal, id: MemoryId) -> Result<()> {
        let tenant = self.cx().tenant.clone();
        measure::memory(tenant.id(), "forget");
        let intent = intent(by, EffectKind::Memory, "forget", json!({ "id": id }));
        self.effect(intent, move |acting| async move {
            match tenant.memory_forget(id).await {
                // The host that is gone has done it, and nobody was told.
                Err(Error::NotFound(_)) if acting.again => Ok(()),
                forgotten => forgotten,
            }
        })
        .await
    }

    async fn memory_tag(&self, by: &Principal, id: MemoryId, tag: String) -> Result<()> {
        let tenant = self.cx().tenant.clone();
        measure::memory(tenant.id(), "tag");
        let intent = intent(by, EffectKind::Memory, "tag", json!({ "id": id, "tag": tag }));
        self.effect(intent, move |_| async move { tenant.memory_tag(id, &tag).await }).await
    }

    fn tools(&self) -> Vec<Arc<Tool>> {
        self.tools_in_reach()
    }

    async fn tool_call(&self, by: &Principal, tool: &str, args: String) -> Result<Output> {
        self.call(Call::by(by, tool, args)).instrument(spans::nested(tool)).await
    }

    async fn code_run(&self, by: &Principal, interpreter: &str, program: Program) -> Result<Ran> {
        // Running a program touches nothing: what it does is journaled, each thing by itself, inside its caller's call.
        let cx = self.call_context(by.depth.saturating_add(1), by.parent, self.0.cancel.child_token());
        self.plugins().run_code(&cx, interpreter, &by.authority, program).await
    }

    async fn child_spawn(&self, by: &Principal, new: NewChild) -> Result<WorkId> {
        self.spawn_child(by, new).await
    }

    async fn child_await(&self, by: &Principal, ids: Vec<String>, timeout_ms: u64) -> Result<Vec<Child>> {
        self.await_children(by, ids, timeout_ms.min(MAX_WAIT_MS)).await
    }

    async fn child_check(&self, by: &Principal, ids: Vec<String>) -> Result<Vec<Child>> {
        self.check_children(by, ids).await
    }

    async fn child_cancel(&self, by: &Principal, id: String) -> Result<()> {
        self.cancel_child(by, id).await
    }

    async fn engage(&self, by: &Principal, options: EngageOptions) -> Result<Engagement> {
        let engagement = engage::run(self, by, options).await?;
        if by.depth == 0 {
            *lock(&self.0.ending) = Some(engagement.ending);
        }
        Ok(engagement)
    }

    async fn effect_begin(&self, _: &Principal, intent: Intent) -> Result<u64> {
        // Without a journal every effect is number 0, which nothing looks up.
        self.begin_request(intent).await
    }

    async fn effect_end(&self, by: &Principal, seq: u64, outcome: Outcome) -> Result<()> {
        self.end_request(seq, name(by), outcome).await
    }

    async fn secret(&self, _: &Principal, handle: &str) -> Result<SecretValue> {
        self.cx().tenant.secret(handle).await
    }

    async fn denied(&self, by: &Principal, denial: &Denial) {
        self.audit_denial(name(by), denial).await;
    }

    fn log(&self, by: &Principal, line: String) {
        self.tell(Event::Log { plugin: name(by).to_owned(), line });
    }
}

impl Focus {
    /// Appends to the ledger of the work item.
    pub(crate) async fn append(&self, by: &Principal, entry_type: EntryType, content: String) -> Result<Entry> {
        if content.trim().is_empty() || content.len() > ledger::MAX_CONTENT {
            return Err(Error::Invalid(format!(
                "a ledger entry has 1 to {} bytes; this one has {}",
                ledger::MAX_CONTENT,
                content.trim().len()
            )));
        }
        let intent = intent(by, EffectKind::Ledger, entry_type.as_str(), json!({ "content": content }));
        let (tenant, work, focus) = (self.cx().tenant.clone(), self.0.work, self.0.lease.focus);
        let acted = Arc::new(AtomicBool::new(false));
        let acts = acted.clone();
        let entry = self
            .effect(intent, move |acting| async move {
                acts.store(true, Ordering::Release);
                let origin = acting.seq.map(|seq| Origin { focus, seq });
                tenant.ledger_append(work, entry_type, &content, origin).await
            })
            .await?;
        self.note(entry.clone());
        // What the journal answers was counted and told by the host that did it.
        if acted.load(Ordering::Acquire) {
            measure::ledger(self.cx().tenant.id(), entry_type);
            self.tell(Event::Ledger { entry: entry.clone() });
        }
        Ok(entry)
    }
}

impl Call {
    /// A call on behalf of `by`, one deeper than they are. How deep is too deep, the called plugin's limits say.
    pub(crate) fn by(by: &Principal, tool: &str, args: String) -> Self {
        let depth = by.depth.saturating_add(1);
        Self { caller: name(by).to_owned(), parent: by.parent, depth, name: tool.to_owned(), args }
    }
}

pub(super) fn name(by: &Principal) -> &str {
    by.authority.plugin().as_str()
}

/// An effect that `by` asks for.
pub(super) fn intent(by: &Principal, kind: EffectKind, subject: &str, request: Value) -> Intent {
    Intent { kind, caller: name(by).to_owned(), subject: subject.to_owned(), request, parent: by.parent }
}
