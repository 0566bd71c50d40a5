//! What an item may know of the others.

use animus_core::{
    Result,
    awareness::{Completed, Finding, MAX_ROWS, MAX_TEXT, Query, Rows, Running},
};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection, Postgres as Driver, Row as _, postgres::PgArguments, postgres::PgRow};

use super::{
    Handle,
    error::{Columns as _, During as _, signed},
    text::restored,
};

const WHAT: &str = "look at other work";
/// Whether an item may be told of.
const OTHER: &str = "works.tenant = $1 AND works.id <> $2 AND ($3 OR works.parent IS NULL)";
/// The longest outcome in which a summary is looked for, in characters of JSON.
const OUTCOME: i32 = 256 << 10;

/// A text that the database may have cut within an escape.
fn cut(row: &PgRow, column: &str) -> Result<Option<String>> {
    let Some(mut text) = row.try_get::<Option<String>, _>(column).during(WHAT)? else { return Ok(None) };
    if let Some(whole) = restored(text.clone()) {
        return Ok(Some(whole));
    }
    text.pop();
    Ok(restored(text))
}

fn summary(row: &PgRow) -> Result<Option<String>> {
    let outcome: Option<Value> = row.maybe_json("outcome")?;
    let summary = outcome.as_ref().and_then(|outcome| outcome.get("summary")).and_then(Value::as_str);
    let most = usize::try_from(MAX_TEXT).unwrap_or(usize::MAX);
    Ok(summary.map(|summary| summary.chars().take(most).collect()))
}

impl Handle {
    pub(super) async fn look_around(&self, query: &Query) -> Result<Rows> {
        let mut tx = self.tx().await?;
        Ok(Rows {
            running: self.running(&mut tx, query).await?,
            completed: self.completed(&mut tx, query).await?,
            findings: self.findings(&mut tx, query).await?,
        })
    }

    /// A statement with [`OTHER`], the length of texts as $4, the limit as $5 and the beginning as $6 in it.
    fn others<'q>(&self, sql: String, query: &Query, limit: u32) -> sqlx::query::Query<'q, Driver, PgArguments> {
        sqlx::query(AssertSqlSafe(sql))
            .bind(self.t().to_owned())
            .bind(query.except.to_string())
            .bind(query.children)
            .bind(i32::try_from(MAX_TEXT).unwrap_or(i32::MAX))
            .bind(i64::from(limit.min(MAX_ROWS)))
            .bind(signed(query.since_ms))
    }

    async fn running(&self, tx: &mut PgConnection, query: &Query) -> Result<Vec<Running>> {
        let sql = format!(
            "SELECT faculty, left(instruction, $4) AS instruction,
                 (SELECT left(content, $4) FROM ledger
                  WHERE ledger.tenant = $1 AND ledger.work = works.id AND entry_type = 'plan'
                  ORDER BY seq DESC LIMIT 1) AS plan
             FROM works WHERE {OTHER} AND state = 'running' AND $6::bigint IS NOT NULL ORDER BY works.id DESC LIMIT $5"
        );
        let rows = self.others(sql, query, query.running).fetch_all(tx).await.during(WHAT)?;
        let one = |row: &PgRow| {
            let instruction = cut(row, "instruction")?.unwrap_or_default();
            Ok(Running { faculty: row.text("faculty")?, instruction, plan: cut(row, "plan")? })
        };
        rows.iter().map(one).collect()
    }

    async fn completed(&self, tx: &mut PgConnection, query: &Query) -> Result<Vec<Completed>> {
        let sql = format!(
            "SELECT faculty, left(instruction, $4) AS instruction, updated_ms,
                 CASE WHEN length(outcome) <= {OUTCOME} THEN outcome END AS outcome
             FROM works WHERE {OTHER} AND state = 'completed' AND updated_ms >= $6
             ORDER BY updated_ms DESC, works.id DESC LIMIT $5"
        );
        let rows = self.others(sql, query, query.completed).fetch_all(tx).await.during(WHAT)?;
        let one = |row: &PgRow| {
            Ok(Completed {
                faculty: row.text("faculty")?,
                instruction: cut(row, "instruction")?.unwrap_or_default(),
                summary: summary(row)?,
                at_ms: row.number("updated_ms")?,
            })
        };
        rows.iter().map(one).collect()
    }

    async fn findings(&self, tx: &mut PgConnection, query: &Query) -> Result<Vec<Finding>> {
        let sql = format!(
            "SELECT works.faculty, left(ledger.content, $4) AS content, ledger.created_ms
             FROM ledger JOIN works ON works.tenant = $1 AND works.id = ledger.work
             WHERE ledger.tenant = $1 AND entry_type = 'finding' AND ledger.created_ms >= $6 AND {OTHER}
             ORDER BY ledger.created_ms DESC, ledger.work DESC, ledger.seq DESC LIMIT $5"
        );
        let rows = self.others(sql, query, query.findings).fetch_all(tx).await.during(WHAT)?;
        let one = |row: &PgRow| {
            Ok(Finding {
                faculty: row.text("faculty")?,
                text: cut(row, "content")?.unwrap_or_default(),
                at_ms: row.number("created_ms")?,
            })
        };
        rows.iter().map(one).collect()
    }
}
