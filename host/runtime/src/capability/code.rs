//! `animus:interpreter/code`.

use animus_core::{Error, code::Program, grant::Capability};
use wasmtime::component::{HasData, Linker};

use crate::{
    bindings::{code, code_types, types},
    state::{HostView, State},
};

pub(crate) struct CodeView<'a>(HostView<'a>);

pub(crate) struct HasCode;

impl HasData for HasCode {
    type Data<'a> = CodeView<'a>;
}

impl code::Host for CodeView<'_> {
    async fn run(
        &mut self,
        interpreter: String,
        program: code_types::Program,
    ) -> wasmtime::Result<Result<code_types::Outcome, types::Error>> {
        let who = self.0.enter()?;
        let ran = async {
            who.check(&Capability::Interpreter(interpreter.clone()))?;
            if program.state.is_some() {
                // Sessions belong to a focus, which keeps them.
                return Err(Error::Invalid("a plugin's program has no session; leave `state` none".into()));
            }
            who.services.code_run(&who.principal, &interpreter, Program::from(program)).await
        };
        let ran = ran.await;
        Ok(self.0.answer(ran))
    }
}

pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    code::add_to_linker::<_, HasCode>(linker, |state| CodeView(state.host()))
}
