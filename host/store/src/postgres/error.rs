//! From the driver's errors to ours, and from rows to values.

use std::fmt::Display;

use animus_core::{Error, Result};
use sqlx::{Row as _, postgres::PgRow};

use super::text::restored;
use crate::rows::strange;
pub(super) use crate::rows::{Columns, is_dangling, is_taken, json, missing, now_ms, signed};

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

/// Classes and codes: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn explain(what: &dyn Display, error: &sqlx::Error) -> Error {
    if is_gone(error) {
        return Error::Unavailable(format!("cannot {what}: the connection to the store was lost ({error}); try again"));
    }
    let why = match code(error).as_deref() {
        _ if matches!(error, sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed) => {
            "the store is busy, or its server does not answer; try again".to_owned()
        }
        Some("55P03" | "40001" | "40P01") => "others keep the store busy; try again".to_owned(),
        Some("57014") => "the store took too long; try again".to_owned(),
        Some("25006") => "the store is read-only; connect to its primary server".to_owned(),
        Some("53300") => "the server of the store has no connection left; raise its max_connections".to_owned(),
        Some("53100") => "the disk of the store is full; make room and try again".to_owned(),
        Some("53200") => "the server of the store is out of memory".to_owned(),
        Some(code) if code.starts_with("28") => format!("the store does not let this host in ({error}); check its URL"),
        Some("3D000") => format!("{error}; make it with: createdb"),
        Some("42501") => {
            format!("the role of the URL may not do this ({error}); docs/operators-guide.md says what it needs")
        }
        Some("XX001" | "XX002") => {
            return Error::Internal(format!(
                "cannot {what}: the store is damaged ({error}); stop all hosts and restore a backup"
            ));
        }
        _ => return Error::internal(format!("cannot {what}"), error),
    };
    Error::Unavailable(format!("cannot {what}: {why}"))
}

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|e| e.code()).map(|code| code.into_owned())
}

/// Whether the connection is gone, whatever became of the statement.
pub(super) fn is_gone(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
        // 08: connections. 57P: the server ended it, or starts.
        error => code(error).is_some_and(|code| code.starts_with("08") || code.starts_with("57P")),
    }
}

impl Columns for PgRow {
    fn maybe_text(&self, column: &str) -> Result<Option<String>> {
        let text: Option<String> = self.try_get(column).map_err(|e| strange(column, &e))?;
        let text = text.map(|text| restored(text).ok_or_else(|| strange(column, &"its escapes are broken")));
        text.transpose()
    }

    fn maybe_integer(&self, column: &str) -> Result<Option<i64>> {
        self.try_get(column).map_err(|e| strange(column, &e))
    }

    fn flag(&self, column: &str) -> Result<bool> {
        self.try_get(column).map_err(|e| strange(column, &e))
    }

    fn bytes(&self, column: &str) -> Result<&[u8]> {
        self.try_get(column).map_err(|e| strange(column, &e))
    }
}
