//! What the rooms of the Animus host share: identifiers, authority (manifest, grant, ceiling), budgets and limits,
//! the types of ledger, journal, work and memory, canonical model messages, events, and the **ports**: the traits by
//! which `animus-agent` reaches stores, models and plugins without knowing them.
//!
//! No I/O and no WebAssembly engine happen here, so the rules that security rests on are tested in seconds.

pub mod authority;
pub mod awareness;
pub mod budget;
pub mod child;
pub mod code;
pub mod error;
pub mod event;
pub mod faculties;
pub mod faculty;
pub mod grant;
pub mod id;
pub mod journal;
pub mod ledger;
pub mod limits;
pub mod llm;
pub mod manifest;
pub mod memory;
pub mod package;
pub mod plugins;
pub mod services;
pub mod skill;
pub mod store;
mod strict;
pub mod text;
pub mod tool;
pub mod trace;
pub mod work;

pub use error::{Denial, Error, Gate, Result, Unlock};
