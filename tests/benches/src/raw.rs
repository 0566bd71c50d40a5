//! The baseline: the engine alone, with nothing of ours around it. Same component, same engine configuration, typed calls,
//! pre-linked, a fresh store and instance for each call.

use std::sync::Arc;

use anyhow::{Result, anyhow};
use wasmtime::{
    Engine, Store,
    component::{Component, InstancePre, Linker, ResourceTable, bindgen, types::ComponentItem},
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

/// What the guest imports beside WASI.
const LLM: &str = "animus:llm/llm@0.1.0";

bindgen!({
    path: "../../wit",
    world: "animus:plugin/tool-plugin",
    imports: { default: async | trappable },
    exports: { default: async },
});

/// What a store of the baseline holds.
pub(crate) struct State {
    wasi: WasiCtx,
    table: ResourceTable,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// A pre-linked component.
#[derive(Clone)]
pub(crate) struct Raw {
    engine: Engine,
    pre: Arc<InstancePre<State>>,
    tools: exports::animus::tool::tools::GuestIndices,
}

impl Raw {
    pub(crate) fn new(engine: &Engine, wasm: &[u8]) -> Result<Self> {
        let component = Component::from_binary(engine, wasm).map_err(own)?;
        let mut linker = Linker::new(engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).map_err(own)?;
        let mut llm = linker.instance(LLM).map_err(own)?;
        llm.func_wrap("list-models", |_, ()| Ok((Vec::<String>::new(),))).map_err(own)?;
        let imported = component.component_type().get_import(engine, LLM).map(|it| it.ty);
        if let Some(ComponentItem::ComponentInstance(instance)) = imported {
            // What else the guest imports of it is not called.
            let functions = instance.exports(engine).filter(|(_, it)| matches!(it.ty, ComponentItem::ComponentFunc(_)));
            for (name, _) in functions.filter(|(name, _)| *name != "list-models") {
                llm.func_new(name, |_, _, _, _| Err(wasmtime::Error::msg("not called"))).map_err(own)?;
            }
        }
        let pre = linker.instantiate_pre(&component).map_err(own)?;
        let tools = exports::animus::tool::tools::GuestIndices::new(&pre).map_err(own)?;
        Ok(Self { engine: engine.clone(), pre: Arc::new(pre), tools })
    }

    /// Calls a tool in a fresh instance.
    pub(crate) async fn call(&self, tool: &str, args: &str) -> Result<String> {
        let state = State { wasi: WasiCtx::builder().build(), table: ResourceTable::new() };
        let mut store = Store::new(&self.engine, state);
        store.set_epoch_deadline(u64::MAX / 2);
        let instance = self.pre.instantiate_async(&mut store).await.map_err(own)?;
        let tools = self.tools.load(&mut store, &instance).map_err(own)?;
        let result = tools.call_call_tool(&mut store, tool, &args.to_owned()).await.map_err(own)?;
        result.map(|result| result.text).map_err(|error| anyhow!("the guest failed: {error:?}"))
    }
}

fn own(error: wasmtime::Error) -> anyhow::Error {
    anyhow!("{error:#}")
}
