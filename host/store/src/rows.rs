//! From rows to values, for whatever database they come from.

use std::{
    fmt::Display,
    str::FromStr,
    time::{SystemTime, UNIX_EPOCH},
};

use animus_core::{Error, Result};
use serde::{Serialize, de::DeserializeOwned};

/// Reads columns by name. Back ends say how they hold texts, numbers, flags and bytes.
pub(crate) trait Columns {
    /// None for NULL.
    fn maybe_text(&self, column: &str) -> Result<Option<String>>;
    /// None for NULL.
    fn maybe_integer(&self, column: &str) -> Result<Option<i64>>;
    fn flag(&self, column: &str) -> Result<bool>;
    fn bytes(&self, column: &str) -> Result<&[u8]>;

    fn text(&self, column: &str) -> Result<String> {
        self.maybe_text(column)?.ok_or_else(|| strange(column, &"it is NULL"))
    }

    fn integer(&self, column: &str) -> Result<i64> {
        self.maybe_integer(column)?.ok_or_else(|| strange(column, &"it is NULL"))
    }

    /// None for NULL.
    fn maybe_number(&self, column: &str) -> Result<Option<u64>> {
        self.maybe_integer(column)?.map(u64::try_from).transpose().map_err(|e| strange(column, &e))
    }

    fn number(&self, column: &str) -> Result<u64> {
        self.maybe_number(column)?.ok_or_else(|| strange(column, &"it is NULL"))
    }

    /// An identifier or a word.
    fn parsed<T: FromStr<Err = Error>>(&self, column: &str) -> Result<T> {
        self.maybe_parsed(column)?.ok_or_else(|| strange(column, &"it is NULL"))
    }

    /// None for NULL.
    fn maybe_parsed<T: FromStr<Err = Error>>(&self, column: &str) -> Result<Option<T>> {
        self.maybe_text(column)?.map(|text| text.parse()).transpose().map_err(|e| strange(column, &e))
    }

    fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T> {
        self.maybe_json(column)?.ok_or_else(|| strange(column, &"it is NULL"))
    }

    /// None for NULL.
    fn maybe_json<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>> {
        let text = self.maybe_text(column)?;
        text.map(|text| serde_json::from_str(&text)).transpose().map_err(|e| strange(column, &e))
    }
}

/// The error of a column that does not hold what it should.
pub(crate) fn strange(column: &str, why: &dyn Display) -> Error {
    Error::Internal(format!("the store holds a {column} that this build cannot read: {why}"))
}

/// Whether the row refers to one that is not there.
pub(crate) fn is_dangling(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|e| e.is_foreign_key_violation())
}

/// Whether the key is taken.
pub(crate) fn is_taken(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|e| e.is_unique_violation())
}

/// The error of an object that is not there.
pub(crate) fn missing(what: &str, name: impl Display) -> Error {
    Error::NotFound(format!("there is no {what} {name}"))
}

/// A number as databases hold it. Counters of ours never reach 2^63; should one be handed in, it stays the largest.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A value as the JSON text of a column.
pub(crate) fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::internal("cannot write a value to the store as JSON", &e))
}

/// Milliseconds since the epoch, as databases hold them.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
