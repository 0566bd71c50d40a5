//! The journal: intents and outcomes, each written once.

use animus_core::{
    Error, Result,
    id::FocusId,
    journal::{Intent, MAX_READ, Outcome, Record, Tally},
    store::Journal,
    work::Lease,
};
use async_trait::async_trait;
use futures::TryStreamExt as _;
use sqlx::PgConnection;

use super::{
    Handle,
    error::{Columns as _, During as _, is_dangling, is_taken, json, missing, now_ms, signed},
    text::kept,
};
use crate::works::{Reading, is_unordered, lost, tally};

impl Handle {
    /// Whether the focus still runs.
    async fn is_open(&self, tx: &mut PgConnection, focus: FocusId) -> Result<bool> {
        let row = sqlx::query("SELECT ended_ms FROM focuses WHERE tenant = $1 AND id = $2")
            .bind(self.t())
            .bind(focus.to_string())
            .fetch_optional(tx)
            .await
            .during(format_args!("read the focus {focus}"))?;
        Ok(row.ok_or_else(|| missing("focus", focus))?.maybe_number("ended_ms")?.is_none())
    }
}

#[async_trait]
impl Journal for Handle {
    /// Refuses a focus that has ended, so that a host that was taken for dead causes no effect afterwards.
    async fn journal_begin(&self, lease: Lease, intent: Intent) -> Result<u64> {
        let focus = lease.focus;
        let what = format!("write the journal of the focus {focus}");
        let mut tx = self.tx().await?;
        // Whoever raises the count holds the focus's row until the intent is there; so does whoever takes it over.
        let row = sqlx::query(
            "WITH counted AS (
                 UPDATE focuses SET effects = effects + 1
                 WHERE tenant = $1 AND id = $2 AND ended_ms IS NULL AND token = $9 RETURNING effects
             )
             INSERT INTO journal_intents SELECT $1, $2, effects, $3, $4, $5, $6, $7, $8 FROM counted RETURNING seq",
        )
        .bind(self.t())
        .bind(focus.to_string())
        .bind(intent.kind.as_str())
        .bind(kept(&intent.caller))
        .bind(kept(&intent.subject))
        .bind(json(&intent.request)?)
        .bind(intent.parent.map(signed))
        .bind(now_ms())
        .bind(signed(lease.token))
        .fetch_optional(&mut *tx)
        .await;
        let row = match row {
            Err(e) if intent.parent.is_some() && (is_dangling(&e) || is_unordered(&e)) => {
                return Err(Error::Invalid(format!("cannot {what}: the parent of an intent is an earlier one")));
            }
            row => row.during(&what)?,
        };
        match row {
            Some(row) => {
                tx.commit().await.during(&what)?;
                row.number("seq")
            }
            None if self.is_open(&mut tx, focus).await? => Err(lost(lease)),
            None => Err(Error::Conflict(format!("cannot {what}: it has ended"))),
        }
    }

    async fn journal_end(&self, lease: Lease, seq: u64, outcome: Outcome) -> Result<()> {
        let focus = lease.focus;
        let what = format!("write the outcome of effect {seq} of the focus {focus}");
        let mut tx = self.tx().await?;
        // A focus that has ended may still learn how its last effects went; one that another host has may not, also when
        // it is being taken over at this moment: hence the lock.
        let written = sqlx::query(
            "WITH own AS (
                 SELECT FROM focuses WHERE tenant = $1 AND id = $2 AND token = $6 FOR NO KEY UPDATE
             )
             INSERT INTO journal_outcomes SELECT $1, $2, $3, $4, $5 FROM own",
        )
        .bind(self.t())
        .bind(focus.to_string())
        .bind(signed(seq))
        .bind(json(&outcome)?)
        .bind(now_ms())
        .bind(signed(lease.token))
        .execute(&mut *tx)
        .await;
        match written {
            Err(e) if is_taken(&e) => Err(Error::Conflict(format!("cannot {what}: it has one already"))),
            Err(e) if is_dangling(&e) => Err(missing("effect", format_args!("{seq} of the focus {focus}"))),
            written => {
                if written.during(&what)?.rows_affected() == 0 {
                    self.is_open(&mut tx, focus).await?;
                    return Err(lost(lease));
                }
                tx.commit().await.during(&what)
            }
        }
    }

    async fn journal_read(&self, focus: FocusId) -> Result<Vec<Record>> {
        let what = format!("read the journal of the focus {focus}");
        let mut tx = self.tx().await?;
        let mut reading = Reading::default();
        {
            let mut rows = sqlx::query(
                "SELECT * FROM journal_intents LEFT JOIN journal_outcomes USING (tenant, focus, seq)
                 WHERE tenant = $1 AND focus = $2 ORDER BY seq",
            )
            .bind(self.t())
            .bind(focus.to_string())
            .fetch(&mut *tx);
            while let Some(row) = rows.try_next().await.during(&what)? {
                reading.push(&row, focus, MAX_READ)?;
            }
        }
        let records = reading.records();
        if records.is_empty() {
            self.is_open(&mut tx, focus).await?;
        }
        Ok(records)
    }

    async fn journal_tally(&self, focus: FocusId) -> Result<Tally> {
        let mut tx = self.tx().await?;
        // An outcome's first word says how it went, and is read without the rest of it.
        let rows = sqlx::query(
            r#"SELECT kind, count(*) AS effects,
                   count(*) FILTER (WHERE substr(outcome, 1, 18) = '{"status":"failed"') AS failed,
                   count(*) FILTER (WHERE outcome IS NULL) AS open
               FROM journal_intents LEFT JOIN journal_outcomes USING (tenant, focus, seq)
               WHERE tenant = $1 AND focus = $2 GROUP BY kind"#,
        )
        .bind(self.t())
        .bind(focus.to_string())
        .fetch_all(&mut *tx)
        .await
        .during(format_args!("count the journal of the focus {focus}"))?;
        if rows.is_empty() {
            self.is_open(&mut tx, focus).await?;
        }
        tally(&rows)
    }
}
