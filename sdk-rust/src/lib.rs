//! Write Animus plugins in Rust.
//!
//! A plugin is a WebAssembly component. It can compute, and beyond that do what its operator granted: nothing else is
//! even linked. This crate gives its author plain Rust: a struct with doc comments is a tool, its fields are the
//! arguments, and their JSON Schema is derived.
//!
//! ```
//! use animus_sdk::prelude::*;
//!
//! /// Greets somebody by name.
//! #[derive(Deserialize, JsonSchema)]
//! struct Greet {
//!     /// Who is greeted.
//!     name: String,
//! }
//!
//! impl Tool for Greet {
//!     const NAME: &str = "greet";
//!     const ANNOTATIONS: Annotations = Annotations::READ_ONLY;
//!     type Output = String;
//!
//!     fn call(self) -> Result<String> {
//!         Ok(format!("Hello, {}!", self.name))
//!     }
//! }
//!
//! export_tools!(Greet);
//! ```
//!
//! The crate of a plugin has `crate-type = ["cdylib"]`, depends on `animus-sdk`, `serde` and `schemars`, and is built for
//! `wasm32-wasip2`.
//!
//! | to … | use | capability |
//! |---|---|---|
//! | offer tools | [`Tool`], [`export_tools!`] | |
//! | be a faculty | [`Faculty`], [`export_faculty!`] | |
//! | do something before and after its work | [`Orient`], [`Consolidate`], [`Recover`] | |
//! | be a hook | [`hook::Hook`], [`export_hook!`] | `hook` |
//! | run the host's agent loop | [`engage`] | `llm`, `tool` |
//! | ask a model | [`llm`] | `llm` |
//! | call other plugins' tools | [`tools`] | `tool` |
//! | have an interpreter run code | [`code`] | `interpreter` |
//! | give work to other faculties | [`children`] | `spawn-child` |
//! | write and read the work's ledger | [`ledger`] | `ledger` |
//! | remember beyond the work | [`memory`] | `memory` |
//! | speak HTTP | [`http`] | `http` |
//! | read files | [`std::fs`] below the granted folders | `allowed_paths` |
//! | read configuration | [`config`] | none |
//!
//! Where a call needs a capability that was not granted, it fails with [`Error::Denied`]; a plugin that imports an
//! interface without any grant for it is not even started.
//!
//! Natively (in unit tests) tools can be called, and the host's side is a `testing::FakeHost`: without one, a call to it
//! panics.

#[doc(hidden)]
pub mod bindings;

pub mod children;
pub mod code;
pub mod config;
pub mod engage;
mod error;
mod faculty;
pub mod hook;
mod host;
pub mod http;
pub mod ledger;
pub mod llm;
pub mod memory;
mod panics;
mod schema;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
pub mod tool;
pub mod tools;

pub use error::{Context, Denial, Error, Gate, Result, Unlock};
pub use faculty::{Consolidate, Faculty, Failure, Orient, Outcome, Phase, Recover, Recovery, Task};
pub use tool::{Annotations, Both, Json, Tool, ToolOutput};

/// What nearly every plugin needs.
pub mod prelude {
    pub use crate::{
        Annotations, Both, Consolidate, Context, Error, Faculty, Failure, Json, Orient, Outcome, Phase, Recover,
        Recovery, Result, Task, Tool, ToolOutput, export_faculty, export_hook, export_tools,
    };
    pub use schemars::JsonSchema;
    pub use serde::{Deserialize, Serialize};
    pub use serde_json::{Value, json};
}

/// For the macros of this crate only.
#[doc(hidden)]
pub mod private {
    pub use crate::{faculty::serve as faculty, tool::run_tool};
}

// The examples of the documentation are compiled and run.
#[cfg(doctest)]
mod documentation {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../../docs/plugin-authors-guide.md")]
    struct Guide;
}
