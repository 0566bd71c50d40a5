//! What outlives a piece of work. Needs the capability `memory`: `read` for [`recall`] and [`get`], `write` for the
//! rest.

use crate::{Error, Result, host::memory as host};

pub use crate::bindings::imports::animus::memory::memory::{Hit, Item, RecallOptions};

impl Default for RecallOptions {
    /// Ten hits of any kind.
    fn default() -> Self {
        Self { limit: None, kind: None, tags: Vec::new() }
    }
}

/// Stores a memory of at most 64 KiB and returns its id. `kind` is a sorting word such as `fact`; it and each of at
/// most 32 tags is `[a-z][a-z0-9_-]*` of at most 64 bytes.
///
/// # Errors
/// [`Error::Denied`]; [`Error::Invalid`].
pub fn store(content: &str, kind: &str, tags: &[String]) -> Result<String> {
    host::store(content, kind, tags).map_err(Error::from_host)
}

/// Memories whose text matches the query's words, best first. An empty query gives the newest.
///
/// # Errors
/// [`Error::Denied`]; [`Error::Invalid`].
pub fn recall(query: &str, options: &RecallOptions) -> Result<Vec<Hit>> {
    host::recall(query, options).map_err(Error::from_host)
}

/// One memory.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Denied`].
pub fn get(id: &str) -> Result<Item> {
    host::get(id).map_err(Error::from_host)
}

/// Removes a memory for good.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Denied`].
pub fn forget(id: &str) -> Result<()> {
    host::forget(id).map_err(Error::from_host)
}

/// Adds a tag.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Denied`]; [`Error::Invalid`].
pub fn tag(id: &str, tag: &str) -> Result<()> {
    host::tag(id, tag).map_err(Error::from_host)
}
