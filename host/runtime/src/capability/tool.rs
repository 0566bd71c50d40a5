//! `animus:tool/tool`.

use std::sync::Arc;

use animus_core::{Error, grant::Capability, tool::Tool};
use wasmtime::component::{HasData, Linker};

use crate::{
    bindings::{json_object, tool, tool_types, types},
    state::{HostView, State, Who},
};

pub(crate) struct ToolView<'a>(HostView<'a>);

pub(crate) struct HasTool;

impl HasData for HasTool {
    type Data<'a> = ToolView<'a>;
}

impl tool::Host for ToolView<'_> {
    fn list(&mut self) -> wasmtime::Result<Vec<tool_types::Definition>> {
        let who = self.0.enter()?;
        let tools = who.services.tools();
        Ok(tools.iter().filter(|tool| check(who, &tool.name).is_ok()).map(|tool| (&**tool).into()).collect())
    }

    fn describe(&mut self, name: String) -> wasmtime::Result<Result<tool_types::Definition, types::Error>> {
        let tool = find(self.0.enter()?, &name).map(|tool| tool_types::Definition::from(&*tool));
        Ok(self.0.answer(tool))
    }

    async fn call(
        &mut self,
        name: String,
        args: String,
    ) -> wasmtime::Result<Result<tool_types::ToolResult, types::Error>> {
        let who = self.0.enter()?;
        let output = async {
            check(who, &name)?;
            json_object("the arguments", &args)?;
            who.services.tool_call(&who.principal, &name, args).await
        };
        let output = output.await;
        Ok(self.0.answer(output))
    }
}

fn check(who: &Who, name: &str) -> Result<(), Error> {
    who.check(&Capability::Tool(name.to_owned()))
}

fn find(who: &Who, name: &str) -> Result<Arc<Tool>, Error> {
    check(who, name)?;
    let mut tools = who.services.tools().into_iter();
    tools.find(|tool| tool.name == name).ok_or_else(|| {
        Error::NotFound(format!("no tool '{}'; list shows those that may be called", name.escape_debug()))
    })
}

pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    tool::add_to_linker::<_, HasTool>(linker, |state| ToolView(state.host()))
}
