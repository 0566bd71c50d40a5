//! Having an interpreter plugin run a program. Needs the capability `interpreter`, whose grant names interpreters such
//! as `python`.
//!
//! The program runs as this plugin: under its grant, and from its budget.

use crate::{Error, Result, bindings::imports::animus::interpreter::code as host};

pub use crate::bindings::imports::animus::interpreter::types::{Failure, Module, Outcome, Program};

impl Program {
    /// The body of a function, without arguments: it may return, and the value of a last expression is its answer.
    pub fn body(source: impl Into<String>) -> Self {
        Self {
            name: "<program>".to_owned(),
            source: source.into(),
            modules: Vec::new(),
            entry: None,
            args: "{}".to_owned(),
            state: None,
        }
    }
}

/// Runs a program. One that raises is no error here: see [`Outcome::failure`].
///
/// # Errors
/// [`Error::NotFound`] for no such interpreter; [`Error::Denied`] for one outside the grant; [`Error::Invalid`] for a
/// program beyond the bounds; a limit that bit.
pub fn run(interpreter: &str, program: &Program) -> Result<Outcome> {
    host::run(interpreter, program).map_err(Error::from_host)
}
