//! `animus:spawn-child/spawn-child`. Whose children an id may name is the focus's to say.

use animus_core::{
    child::{MAX_WAIT_MS, NewChild},
    grant::Capability,
};
use wasmtime::component::{HasData, Linker};

use crate::{
    bindings::{json_object, spawn_child, types},
    state::{HostView, State},
};

pub(crate) struct ChildView<'a>(HostView<'a>);

pub(crate) struct HasChild;

impl HasData for HasChild {
    type Data<'a> = ChildView<'a>;
}

impl spawn_child::Host for ChildView<'_> {
    async fn spawn(&mut self, new_child: spawn_child::NewChild) -> wasmtime::Result<Result<String, types::Error>> {
        let who = self.0.enter()?;
        let spawned = async {
            who.check(&Capability::SpawnChild(new_child.faculty.clone()))?;
            let params = json_object("the parameters of a child", &new_child.params)?.into();
            let spawn_child::NewChild { faculty, description, priority, max_tokens, max_cost, dedup_key, .. } =
                new_child;
            let max_microusd = max_cost;
            let new = NewChild { faculty, description, params, priority, max_tokens, max_microusd, dedup_key };
            who.services.child_spawn(&who.principal, new).await
        };
        let spawned = spawned.await.map(|id| id.to_string());
        Ok(self.0.answer(spawned))
    }

    async fn await_(
        &mut self,
        ids: Vec<String>,
        timeout_ms: u64,
    ) -> wasmtime::Result<Result<Vec<spawn_child::Child>, types::Error>> {
        let who = self.0.enter()?;
        let children = who.services.child_await(&who.principal, ids, timeout_ms.min(MAX_WAIT_MS)).await;
        let children = children.map(|children| children.into_iter().map(Into::into).collect::<Vec<_>>());
        Ok(self.0.answer(children))
    }

    async fn check(&mut self, ids: Vec<String>) -> wasmtime::Result<Result<Vec<spawn_child::Child>, types::Error>> {
        let who = self.0.enter()?;
        let children = who.services.child_check(&who.principal, ids).await;
        let children = children.map(|children| children.into_iter().map(Into::into).collect::<Vec<_>>());
        Ok(self.0.answer(children))
    }

    async fn cancel(&mut self, id: String) -> wasmtime::Result<Result<(), types::Error>> {
        let who = self.0.enter()?;
        let cancelled = who.services.child_cancel(&who.principal, id).await;
        Ok(self.0.answer(cancelled))
    }
}

pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    spawn_child::add_to_linker::<_, HasChild>(linker, |state| ChildView(state.host()))
}
