//! The host's agent loop: model, tools, results, model, until it is done. Needs the capability `llm`; the tools of the
//! loop need `tool`.

use crate::{Error, Result, host::engage as host};

pub use crate::bindings::imports::animus::faculty::engage::{Ending, Engagement, Options};

impl Default for Options {
    /// The default model, no tools, the host's own limits.
    fn default() -> Self {
        Self {
            system: String::new(),
            prompt: String::new(),
            model: String::new(),
            tools: Vec::new(),
            max_turns: None,
            max_tokens: None,
            temperature: None,
        }
    }
}

/// Runs the loop to its end. A refused or failing tool is the model's to handle; an error here is the loop's own.
///
/// # Errors
/// [`Error::Denied`] for the model or the tools; [`Error::Unavailable`] when no model answers.
pub fn run(options: &Options) -> Result<Engagement> {
    host::run(options).map_err(Error::from_host)
}
