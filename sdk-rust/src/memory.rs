//! What outlives a piece of work. Needs the capability `memory`: `read` for [`recall`], [`get`] and [`versions`],
//! `write` for the rest.

use crate::{Error, Result, host::memory as host};

pub use crate::bindings::imports::animus::memory::memory::{Hit, Item, RecallOptions, Version};

impl Default for RecallOptions {
    /// Ten hits of any kind and age.
    fn default() -> Self {
        Self {
            limit: None,
            kind: None,
            tags: Vec::new(),
            source: None,
            since_ms: None,
            until_ms: None,
            half_life_days: None,
        }
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

/// Memories that share words with the query or are near it by their embeddings, best first. An empty query gives the
/// newest.
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

/// Gives a memory new content and returns its version. The same content again changes nothing. `from` is the version
/// that is updated; none: whichever it is by now.
///
/// # Errors
/// [`Error::Conflict`] when it is at another version than `from`; [`Error::NotFound`]; [`Error::Denied`];
/// [`Error::Invalid`].
pub fn update(id: &str, content: &str, from: Option<u64>) -> Result<u64> {
    host::update(id, content, from).map_err(Error::from_host)
}

/// What a memory says and what it said: the current version first, then at most ten earlier ones.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Denied`].
pub fn versions(id: &str) -> Result<Vec<Version>> {
    host::versions(id).map_err(Error::from_host)
}

/// Removes a memory for good, its versions too.
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
