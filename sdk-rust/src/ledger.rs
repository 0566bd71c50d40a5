//! The ledger of the current work: what it planned, found, decided and did. Needs the capability `ledger`: `append`
//! to append, `read` for the rest.

use crate::{Error, Result, host::ledger as host};

pub use crate::bindings::imports::animus::ledger::ledger::{Entry, EntryType, Filter};

impl Filter {
    /// All entries.
    pub const ALL: Self = Self { entry_type: None, last_n: None };
}

/// Appends an entry of at most 64 KiB and returns its number.
///
/// # Errors
/// [`Error::Denied`]; [`Error::Invalid`] for an entry that is too long.
pub fn append(entry_type: EntryType, content: &str) -> Result<u64> {
    host::append(entry_type, content).map_err(Error::from_host)
}

/// Entries in the order of their numbers, at most 1,000: the last ones where there are more.
///
/// # Errors
/// [`Error::Denied`].
pub fn read(filter: Filter) -> Result<Vec<Entry>> {
    host::read(filter).map_err(Error::from_host)
}

/// The ledger as text: the newest plan, findings, steps, decisions, errors.
///
/// # Errors
/// [`Error::Denied`].
pub fn formatted() -> Result<String> {
    host::formatted().map_err(Error::from_host)
}
