//! What an item may know of the others.

use animus_core::{
    Result,
    awareness::{Completed, Finding, MAX_ROWS, MAX_TEXT, Query, Rows, Running},
};
use sqlx::{Sqlite as Driver, SqliteConnection, query::Query as Statement, sqlite::SqliteArguments};

use super::{
    Handle,
    error::{Columns as _, During as _, signed},
};

const WHAT: &str = "look at other work";
/// Whether an item may be told of.
const OTHER: &str = "works.tenant = ?1 AND works.id <> ?2 AND (?3 OR works.parent IS NULL)";

impl Handle {
    pub(super) async fn look_around(&self, query: &Query) -> Result<Rows> {
        let mut tx = self.pool.snapshot().await?;
        Ok(Rows {
            running: self.running(&mut tx, query).await?,
            completed: self.completed(&mut tx, query).await?,
            findings: self.findings(&mut tx, query).await?,
        })
    }

    /// A statement with [`OTHER`], the length of texts as ?4, the limit as ?5 and the beginning as ?6 in it.
    fn others<'q>(&self, sql: String, query: &Query, limit: u32) -> Statement<'q, Driver, SqliteArguments> {
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(self.t().to_owned())
            .bind(query.except.to_string())
            .bind(query.children)
            .bind(MAX_TEXT)
            .bind(limit.min(MAX_ROWS))
            .bind(signed(query.since_ms))
    }

    async fn running(&self, tx: &mut SqliteConnection, query: &Query) -> Result<Vec<Running>> {
        let sql = format!(
            "SELECT faculty, substr(instruction, 1, ?4) AS instruction,
                 (SELECT substr(content, 1, ?4) FROM ledger
                  WHERE ledger.tenant = ?1 AND ledger.work = works.id AND entry_type = 'plan'
                  ORDER BY seq DESC LIMIT 1) AS plan
             FROM works WHERE {OTHER} AND state = 'running' AND ?6 IS NOT NULL ORDER BY works.id DESC LIMIT ?5"
        );
        let rows = self.others(sql, query, query.running).fetch_all(tx).await.during(WHAT)?;
        let one = |row: &sqlx::sqlite::SqliteRow| {
            Ok(Running {
                faculty: row.text("faculty")?,
                instruction: row.text("instruction")?,
                plan: row.maybe_text("plan")?,
            })
        };
        rows.iter().map(one).collect()
    }

    async fn completed(&self, tx: &mut SqliteConnection, query: &Query) -> Result<Vec<Completed>> {
        let sql = format!(
            "SELECT faculty, substr(instruction, 1, ?4) AS instruction, updated_ms,
                 substr(CASE json_type(outcome, '$.summary') WHEN 'text' THEN outcome ->> '$.summary' END, 1, ?4)
                 AS summary
             FROM works WHERE {OTHER} AND state = 'completed' AND updated_ms >= ?6
             ORDER BY updated_ms DESC, works.id DESC LIMIT ?5"
        );
        let rows = self.others(sql, query, query.completed).fetch_all(tx).await.during(WHAT)?;
        let one = |row: &sqlx::sqlite::SqliteRow| {
            Ok(Completed {
                faculty: row.text("faculty")?,
                instruction: row.text("instruction")?,
                summary: row.maybe_text("summary")?,
                at_ms: row.number("updated_ms")?,
            })
        };
        rows.iter().map(one).collect()
    }

    async fn findings(&self, tx: &mut SqliteConnection, query: &Query) -> Result<Vec<Finding>> {
        let sql = format!(
            "SELECT works.faculty, substr(ledger.content, 1, ?4) AS content, ledger.created_ms
             FROM ledger JOIN works ON works.tenant = ?1 AND works.id = ledger.work
             WHERE ledger.tenant = ?1 AND entry_type = 'finding' AND ledger.created_ms >= ?6 AND {OTHER}
             ORDER BY ledger.created_ms DESC, ledger.work DESC, ledger.seq DESC LIMIT ?5"
        );
        let rows = self.others(sql, query, query.findings).fetch_all(tx).await.during(WHAT)?;
        let one = |row: &sqlx::sqlite::SqliteRow| {
            Ok(Finding { faculty: row.text("faculty")?, text: row.text("content")?, at_ms: row.number("created_ms")? })
        };
        rows.iter().map(one).collect()
    }
}
