//! Memories and embeddings as effects of a focus, and what it is told of others.
//!
//! The journal holds of a memory its digest and not its text: who forgets a memory should not find it there again.

use std::time::{SystemTime, UNIX_EPOCH};

use animus_core::{
    Error, Result,
    event::Event,
    grant::{Capability, LedgerAccess},
    id::{Digest, MemoryId},
    journal::EffectKind,
    llm::{EMBED_ROLE, Embeddings, check_embedded},
    memory::{Embedding, Hit, NewMemory, Query, Update, check_content},
    services::Principal,
};
use serde_json::json;

use super::{Focus, services::intent};
use crate::{
    awareness::digest,
    charge::Charge,
    measure,
    memory::{embedding, one, part, served_here},
};

impl Focus {
    /// Embeds texts by the models of the role `embed`, which hooks see first where they leave this machine.
    pub(crate) async fn embed(&self, by: &Principal, texts: Vec<String>) -> Result<Embeddings> {
        check_embedded(&texts)?;
        // What stays on this machine is shown to nobody, and so to no hook.
        let texts = match served_here(&*self.cx().models) {
            true => texts,
            false => self.before_embedding(by, texts).await?,
        };
        check_embedded(&texts)?;
        let model = self.cx().models.resolve(EMBED_ROLE)?;
        let bytes = texts.iter().map(String::len).sum();
        let mut charge = Charge::for_embeddings(self.spending(), bytes, &model)?;
        let digest = Digest::of(json!(texts).to_string().as_bytes());
        let request = json!({ "sha256": digest, "bytes": bytes, "texts": texts.len() });
        let (models, focus) = (self.cx().models.clone(), self.clone());
        self.effect(intent(by, EffectKind::Llm, EMBED_ROLE, request), |acting| async move {
            charge.dispatched()?;
            match models.embed(EMBED_ROLE, &texts, acting.cancel).await {
                Ok(embeddings) => {
                    charge.settle_embeddings(&embeddings);
                    focus.tell(Event::Usage { usage: embeddings.usage, cost_microusd: embeddings.cost_microusd });
                    Ok(embeddings)
                }
                Err(error) => {
                    if error != Error::Cancelled {
                        charge.release();
                    }
                    Err(error)
                }
            }
        })
        .await
    }

    /// Where a text of a memory or a query points. None when that cannot be told now: memories are stored and found
    /// without it too.
    async fn embedded(&self, by: &Principal, text: &str) -> Result<Option<Embedding>> {
        let part = part(text);
        if part.trim().is_empty() {
            return Ok(None);
        }
        let models = &*self.cx().models;
        // What this host computes costs nothing and is the same each time, so it needs no entry in the journal.
        let embedded = if served_here(models) {
            embedding(models, text, self.0.cancel.child_token()).await
        } else {
            self.embed(by, vec![part.to_owned()]).await.and_then(one)
        };
        match embedded {
            Ok(embedding) => Ok(Some(embedding)),
            Err(Error::Cancelled) => Err(Error::Cancelled),
            Err(error) => {
                self.notice(format!("a memory is handled by its words only, for it could not be embedded: {error}"));
                Ok(None)
            }
        }
    }

    /// What `by` is told of other work now; empty when it is told nothing. Plans and findings stand in the ledgers of that
    /// work, so it must be allowed to read ledgers, by its own grant and by what its work may hold.
    pub(crate) async fn awareness(&self, by: &Principal) -> Result<String> {
        let reads = Capability::Ledger(LedgerAccess::Read);
        let capped = self.0.cap.as_ref().is_some_and(|cap| !cap.allows(&reads));
        if capped || !by.authority.effective().allows(&reads) {
            return Ok(String::new());
        }
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
        digest(&*self.cx().tenant, self.0.work, &self.cx().faculty.awareness, now_ms).await
    }

    pub(super) async fn store_memory(
        &self,
        by: &Principal,
        content: String,
        kind: String,
        tags: Vec<String>,
    ) -> Result<MemoryId> {
        let source = by.authority.plugin().to_string();
        let new = NewMemory { content, kind, tags, source, ..NewMemory::default() }.checked()?;
        measure::memory(self.cx().tenant.id(), "store");
        let embedding = self.embedded(by, &new.content).await?;
        let request = json!({
            "sha256": Digest::of(new.content.as_bytes()),
            "bytes": new.content.len(),
            "kind": new.kind,
            "tags": new.tags,
        });
        let (tenant, focus) = (self.cx().tenant.clone(), self.0.lease.focus);
        self.effect(intent(by, EffectKind::Memory, "store", request), move |acting| async move {
            let id = acting.seq.map(|seq| MemoryId::of_effect(focus, seq));
            tenant.memory_store(NewMemory { id, embedding, ..new }).await
        })
        .await
    }

    pub(super) async fn recall_memories(&self, by: &Principal, mut query: Query) -> Result<Vec<Hit>> {
        query.checked_limit()?;
        measure::memory(self.cx().tenant.id(), "recall");
        let intent = intent(by, EffectKind::Memory, "recall", json!(query));
        query.embedding = self.embedded(by, &query.text).await?;
        let tenant = self.cx().tenant.clone();
        self.observe(intent, async move { Ok(tenant.memory_recall(query).await?.hits) }).await
    }

    pub(super) async fn update_memory(
        &self,
        by: &Principal,
        id: MemoryId,
        content: String,
        from: Option<u64>,
    ) -> Result<u64> {
        check_content(&content)?;
        measure::memory(self.cx().tenant.id(), "update");
        let embedding = self.embedded(by, &content).await?;
        let digest = Digest::of(content.as_bytes());
        let request = json!({ "id": id, "sha256": digest, "bytes": content.len(), "from": from });
        let tenant = self.cx().tenant.clone();
        self.effect(intent(by, EffectKind::Memory, "update", request), move |_| async move {
            tenant.memory_update(id, Update { content, embedding, from }).await
        })
        .await
    }
}
