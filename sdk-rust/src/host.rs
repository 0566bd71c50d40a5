//! The one way to the host: the imports in a component, elsewhere the fake host of a test.

#[cfg(target_family = "wasm")]
pub(crate) use crate::bindings::{
    config::wasi::config::store as config,
    imports::animus::{
        faculty::engage, interpreter::code, ledger::ledger, llm::llm, memory::memory, spawn_child::spawn_child,
        tool::tool,
    },
};
#[cfg(not(target_family = "wasm"))]
pub(crate) use crate::testing::seam::{code, config, engage, http, ledger, llm, memory, spawn_child, tool};

/// HTTP is WASI's; there is nothing in its place.
#[cfg(target_family = "wasm")]
pub(crate) fn http(_: &crate::http::Request) -> Option<crate::Result<crate::http::Response>> {
    None
}
