//! `animus:faculty/engage`.

use animus_core::services::EngageOptions;
use wasmtime::component::{HasData, Linker};

use super::llm::admit;
use crate::{
    bindings::{engage, types},
    state::{HostView, State},
};

pub(crate) struct EngageView<'a>(HostView<'a>);

pub(crate) struct HasEngage;

impl HasData for HasEngage {
    type Data<'a> = EngageView<'a>;
}

impl engage::Host for EngageView<'_> {
    async fn run(&mut self, options: engage::Options) -> wasmtime::Result<Result<engage::Engagement, types::Error>> {
        let who = self.0.enter()?;
        let engagement = async {
            let max_tokens = admit(who, &options.model, options.max_tokens)?;
            let options = EngageOptions { max_tokens: Some(max_tokens), ..options.into() };
            who.services.engage(&who.principal, options).await
        };
        let engagement = engagement.await;
        Ok(self.0.answer(engagement))
    }
}

pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    engage::add_to_linker::<_, HasEngage>(linker, |state| EngageView(state.host()))
}
