//! The host's own interfaces, one file each, always by the same four words: `XView` (what an implementation sees of the
//! store), `HasX` (how the linker gets at it), the `Host` implementation, `add_to_linker`.
//!
//! Every function counts the call, checks the plugin's own grant, and hands over to the focus's
//! [`Services`](animus_core::services::Services), which journal and do it. Refusals go back as values.

pub(crate) mod code;
pub(crate) mod engage;
pub(crate) mod ledger;
pub(crate) mod llm;
pub(crate) mod memory;
pub(crate) mod spawn_child;
pub(crate) mod tool;
