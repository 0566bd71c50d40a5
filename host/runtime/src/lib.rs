//! Everything in Animus that touches WebAssembly: the engine, compiled plugins, what is linked for whom, and calls.
//!
//! A plugin's authority is settled here twice: its linker holds only what its grant opens, and every use is checked
//! again where it happens. One store serves one call of one principal and is dropped after it.

mod artifact;
mod bindings;
mod call;
mod capability;
mod deterministic;
pub mod egress;
mod engine;
mod folders;
mod functions;
mod hook;
mod inspect;
mod install;
mod interpreter;
mod limits;
mod linker;
mod measure;
mod phases;
mod registry;
pub mod reload;
pub mod skill;
mod state;
mod stdio;
mod text;

pub use artifact::{Artifacts, MAX_WASM};
pub use egress::Egress;
pub use engine::{Engine, EngineConfig};
pub use inspect::{Inspection, Report, inspect};
pub use install::Prepared;
pub use registry::{Registry, Snapshot};
