//! `animus:memory/memory`.

use animus_core::{
    grant::{Capability, MemoryAccess},
    memory::Query,
};
use wasmtime::component::{HasData, Linker};

use crate::{
    bindings::{memory, types},
    state::{HostView, State},
};

pub(crate) struct MemoryView<'a>(HostView<'a>);

pub(crate) struct HasMemory;

impl HasData for HasMemory {
    type Data<'a> = MemoryView<'a>;
}

impl memory::Host for MemoryView<'_> {
    async fn store(
        &mut self,
        content: String,
        kind: String,
        tags: Vec<String>,
    ) -> wasmtime::Result<Result<String, types::Error>> {
        let who = self.0.enter()?;
        let stored = async {
            who.check(&Capability::Memory(MemoryAccess::Write))?;
            who.services.memory_store(&who.principal, content, kind, tags).await
        };
        let stored = stored.await.map(|id| id.to_string());
        Ok(self.0.answer(stored))
    }

    async fn recall(
        &mut self,
        query: String,
        options: memory::RecallOptions,
    ) -> wasmtime::Result<Result<Vec<memory::Hit>, types::Error>> {
        let who = self.0.enter()?;
        let hits = async {
            who.check(&Capability::Memory(MemoryAccess::Read))?;
            let query = Query { text: query, ..options.into() };
            who.services.memory_recall(&who.principal, query).await
        };
        let hits = hits.await.map(|hits| hits.into_iter().map(Into::into).collect::<Vec<_>>());
        Ok(self.0.answer(hits))
    }

    async fn get(&mut self, id: String) -> wasmtime::Result<Result<memory::Item, types::Error>> {
        let who = self.0.enter()?;
        let item = async {
            who.check(&Capability::Memory(MemoryAccess::Read))?;
            who.services.memory_get(&who.principal, id.parse()?).await
        };
        let item = item.await;
        Ok(self.0.answer(item))
    }

    async fn update(
        &mut self,
        id: String,
        content: String,
        from: Option<u64>,
    ) -> wasmtime::Result<Result<u64, types::Error>> {
        let who = self.0.enter()?;
        let version = async {
            who.check(&Capability::Memory(MemoryAccess::Write))?;
            who.services.memory_update(&who.principal, id.parse()?, content, from).await
        };
        let version = version.await;
        Ok(self.0.answer(version))
    }

    async fn versions(&mut self, id: String) -> wasmtime::Result<Result<Vec<memory::Version>, types::Error>> {
        let who = self.0.enter()?;
        let versions = async {
            who.check(&Capability::Memory(MemoryAccess::Read))?;
            who.services.memory_versions(&who.principal, id.parse()?).await
        };
        let versions = versions.await.map(|all| all.into_iter().map(Into::into).collect::<Vec<_>>());
        Ok(self.0.answer(versions))
    }

    async fn forget(&mut self, id: String) -> wasmtime::Result<Result<(), types::Error>> {
        let who = self.0.enter()?;
        let forgotten = async {
            who.check(&Capability::Memory(MemoryAccess::Write))?;
            who.services.memory_forget(&who.principal, id.parse()?).await
        };
        let forgotten = forgotten.await;
        Ok(self.0.answer(forgotten))
    }

    async fn tag(&mut self, id: String, tag: String) -> wasmtime::Result<Result<(), types::Error>> {
        let who = self.0.enter()?;
        let tagged = async {
            who.check(&Capability::Memory(MemoryAccess::Write))?;
            who.services.memory_tag(&who.principal, id.parse()?, tag).await
        };
        let tagged = tagged.await;
        Ok(self.0.answer(tagged))
    }
}

pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    memory::add_to_linker::<_, HasMemory>(linker, |state| MemoryView(state.host()))
}
