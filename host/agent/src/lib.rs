//! The life of a focus: one run of one work item, from its first journal entry to its settlement.
//!
//! [`run()`] has a faculty do a work item; [`call_tool`] is an operator's single tool call, and [`run_script`] an
//! operator's program. All go through a [`Focus`],
//! which is the host's side of everything that plugins ask for: it checks the run's own narrowing, reserves budget, writes
//! the intent of every effect before the effect and its outcome after, and tells the watcher. The engage loop is host
//! code that a faculty calls; see `docs/engage-loop.md`.

pub mod awareness;
mod charge;
mod content;
pub mod control;
mod conversation;
mod engage;
pub mod events;
mod focus;
pub mod hooks;
mod judge;
mod lease;
mod measure;
pub mod memory;
mod phases;
mod retrace;
mod run;
mod slot;
mod spans;

pub use engage::{TURNS, pairing};
pub use focus::Focus;
pub use hooks::Hooks;
pub use lease::LEASE_MS;
pub use retrace::{Retrace, Retraced, Verdict, fork, retrace};
pub use run::{
    CallReport, Place, RunContext, RunReport, Script, ScriptReport, Terms, call_tool, operate, pinned, run,
    run_claimed, run_script,
};
pub use slot::Slot;
