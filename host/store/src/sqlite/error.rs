//! From the driver's errors to ours, and from rows to values.

use std::{fmt::Display, str::FromStr};

use animus_core::{Error, Result};
use serde::{Serialize, de::DeserializeOwned};
use sqlx::{Row as _, sqlite::SqliteRow};

/// Names the operation in which the driver failed.
pub(super) trait During<T> {
    /// `what` completes the sentence "cannot …".
    fn during(self, what: impl Display) -> Result<T>;
}

impl<T> During<T> for Result<T, sqlx::Error> {
    fn during(self, what: impl Display) -> Result<T> {
        self.map_err(|e| explain(&what, &e))
    }
}

/// SQLite's primary result codes, <https://www.sqlite.org/rescode.html>.
fn explain(what: &dyn Display, error: &sqlx::Error) -> Error {
    let code = error.as_database_error().and_then(|e| e.code()).and_then(|code| code.parse::<u32>().ok());
    match code.map(|extended| extended & 0xff) {
        _ if matches!(error, sqlx::Error::PoolTimedOut) => {
            Error::Unavailable(format!("cannot {what}: the store is busy; try again"))
        }
        Some(5 | 6) => Error::Unavailable(format!("cannot {what}: another process keeps the store busy; try again")),
        Some(8 | 14) => Error::Unavailable(format!(
            "cannot {what}: the store is not writable; check that its file and folder belong to you ({error})"
        )),
        Some(10) => Error::Unavailable(format!("cannot {what}: the disk failed ({error})")),
        Some(13) => Error::Unavailable(format!("cannot {what}: the disk is full; make room and try again")),
        Some(11 | 26) => Error::Internal(format!(
            "cannot {what}: the store is damaged ({error}); stop all hosts, move the file away together with those that \
             end in -wal and -shm, and put a backup in its place"
        )),
        _ => Error::internal(format!("cannot {what}"), error),
    }
}

/// Whether the row refers to one that is not there.
pub(super) fn is_dangling(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|e| e.is_foreign_key_violation())
}

/// Whether the key is taken.
pub(super) fn is_taken(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|e| e.is_unique_violation())
}

/// The error of an object that is not there.
pub(super) fn missing(what: &str, name: impl Display) -> Error {
    Error::NotFound(format!("there is no {what} {name}"))
}

/// A number as SQLite holds it. Counters of ours never reach 2^63; should one be handed in, it stays the largest.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A value as the JSON text of a column.
pub(super) fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::internal("cannot write a value to the store as JSON", &e))
}

/// Reads columns by name.
pub(super) trait Columns {
    fn text(&self, column: &str) -> Result<String>;
    /// None for NULL.
    fn maybe_text(&self, column: &str) -> Result<Option<String>>;
    fn number(&self, column: &str) -> Result<u64>;
    fn maybe_number(&self, column: &str) -> Result<Option<u64>>;
    fn flag(&self, column: &str) -> Result<bool>;
    /// An identifier or a word.
    fn parsed<T: FromStr<Err = Error>>(&self, column: &str) -> Result<T>;
    /// None for NULL.
    fn maybe_parsed<T: FromStr<Err = Error>>(&self, column: &str) -> Result<Option<T>>;
    fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T>;
    /// None for NULL.
    fn maybe_json<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>>;
}

fn strange(column: &str, why: &dyn Display) -> Error {
    Error::Internal(format!("the store holds a {column} that this build cannot read: {why}"))
}

impl Columns for SqliteRow {
    fn text(&self, column: &str) -> Result<String> {
        self.try_get(column).map_err(|e| strange(column, &e))
    }

    fn maybe_text(&self, column: &str) -> Result<Option<String>> {
        self.try_get(column).map_err(|e| strange(column, &e))
    }

    fn number(&self, column: &str) -> Result<u64> {
        self.maybe_number(column)?.ok_or_else(|| strange(column, &"it is NULL"))
    }

    fn maybe_number(&self, column: &str) -> Result<Option<u64>> {
        let number: Option<i64> = self.try_get(column).map_err(|e| strange(column, &e))?;
        number.map(u64::try_from).transpose().map_err(|e| strange(column, &e))
    }

    fn flag(&self, column: &str) -> Result<bool> {
        Ok(self.number(column)? != 0)
    }

    fn parsed<T: FromStr<Err = Error>>(&self, column: &str) -> Result<T> {
        self.maybe_parsed(column)?.ok_or_else(|| strange(column, &"it is NULL"))
    }

    fn maybe_parsed<T: FromStr<Err = Error>>(&self, column: &str) -> Result<Option<T>> {
        let text: Option<&str> = self.try_get(column).map_err(|e| strange(column, &e))?;
        text.map(str::parse).transpose().map_err(|e| strange(column, &e))
    }

    fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T> {
        self.maybe_json(column)?.ok_or_else(|| strange(column, &"it is NULL"))
    }

    fn maybe_json<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>> {
        let text: Option<&str> = self.try_get(column).map_err(|e| strange(column, &e))?;
        text.map(serde_json::from_str).transpose().map_err(|e| strange(column, &e))
    }
}
