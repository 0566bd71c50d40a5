//! Calling other plugins' tools. Needs the capability `tool`.
//!
//! The called tool runs under its own plugin's grant, never the caller's; its costs are the caller's.

use serde::Serialize;

use crate::{Error, Result, ToolOutput, host::tool as host, tool::Definition};

/// The tools that this plugin may call, by full name.
#[must_use]
pub fn list() -> Vec<Definition> {
    host::list()
}

/// One of them.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Denied`] for a tool outside the grant.
pub fn describe(name: &str) -> Result<Definition> {
    host::describe(name).map_err(Error::from_host)
}

/// Calls `<plugin>.<tool>`. `args` must serialise to a JSON object: a struct, a map, or `json!({…})`.
///
/// A tool that ran and failed is not an error here: see [`ToolOutput::is_error`].
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Denied`] for a tool outside the grant; [`Error::Invalid`] for arguments that do not
/// fit; whatever error the tool returned.
pub fn call(name: &str, args: impl Serialize) -> Result<ToolOutput> {
    let args = serde_json::to_string(&args)?;
    ToolOutput::from_host(host::call(name, &args).map_err(Error::from_host)?)
}
