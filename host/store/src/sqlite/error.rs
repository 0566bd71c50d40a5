//! From the driver's errors to ours, and from rows to values.

use std::{fmt::Display, sync::Arc};

use animus_core::{Error, Result};
use sqlx::{Row as _, sqlite::SqliteRow};

use crate::rows::strange;
pub(super) use crate::rows::{Columns, is_dangling, is_taken, json, missing, signed};

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

impl<T> During<T> for Result<T, Arc<sqlx::Error>> {
    fn during(self, what: impl Display) -> Result<T> {
        self.map_err(|e| explain(&what, &e))
    }
}

/// SQLite's primary result code, <https://www.sqlite.org/rescode.html>.
fn code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error().and_then(|e| e.code()).and_then(|code| code.parse::<u32>().ok());
    code.map(|extended| extended & 0xff)
}

/// Whether another process is in the way.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    code(error) == Some(5)
}

fn explain(what: &dyn Display, error: &sqlx::Error) -> Error {
    match code(error) {
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

impl Columns for SqliteRow {
    fn maybe_text(&self, column: &str) -> Result<Option<String>> {
        self.try_get(column).map_err(|e| strange(column, &e))
    }

    fn maybe_integer(&self, column: &str) -> Result<Option<i64>> {
        self.try_get(column).map_err(|e| strange(column, &e))
    }

    fn flag(&self, column: &str) -> Result<bool> {
        Ok(self.integer(column)? != 0)
    }

    fn bytes(&self, column: &str) -> Result<&[u8]> {
        self.try_get(column).map_err(|e| strange(column, &e))
    }
}
