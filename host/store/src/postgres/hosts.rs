//! Hosts that serve, as they say themselves. Times are the server's own: clocks of hosts may differ.

use animus_core::{
    Result,
    store::Hosts,
    work::{Beat, Host, HostRecord},
};
use async_trait::async_trait;

use super::{
    Handle,
    error::{Columns as _, During as _, json},
};

/// A host that was not heard of for so long is forgotten, in milliseconds: a day.
const FORGOTTEN: i64 = 24 * 3_600 * 1_000;

#[async_trait]
impl Hosts for Handle {
    async fn host_beat(&self, beat: &Beat) -> Result<()> {
        let what = "say that this host serves";
        let mut tx = self.tx().await?;
        sqlx::query(
            "INSERT INTO hosts (tenant, host, beat, since_ms, seen_ms)
             SELECT $1, $2, $3, now, now FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now) AS clock
             ON CONFLICT (tenant, host) DO UPDATE SET beat = excluded.beat, seen_ms = excluded.seen_ms",
        )
        .bind(self.t())
        .bind(beat.host.to_string())
        .bind(json(beat)?)
        .execute(&mut *tx)
        .await
        .during(what)?;
        sqlx::query(
            "DELETE FROM hosts
             WHERE tenant = $1 AND seen_ms < (extract(epoch FROM clock_timestamp()) * 1000)::bigint - $2",
        )
        .bind(self.t())
        .bind(FORGOTTEN)
        .execute(&mut *tx)
        .await
        .during(what)?;
        tx.commit().await.during(what)
    }

    async fn host_gone(&self, host: &Host) -> Result<()> {
        let what = "say that this host has stopped";
        let mut tx = self.tx().await?;
        sqlx::query("DELETE FROM hosts WHERE tenant = $1 AND host = $2")
            .bind(self.t())
            .bind(host.to_string())
            .execute(&mut *tx)
            .await
            .during(what)?;
        tx.commit().await.during(what)
    }

    async fn hosts(&self) -> Result<Vec<HostRecord>> {
        let mut tx = self.tx().await?;
        let rows = sqlx::query(
            "SELECT beat, since_ms, greatest(now - seen_ms, 0) AS age_ms
             FROM hosts, (SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now) AS clock
             WHERE tenant = $1 AND now - seen_ms <= $2 ORDER BY seen_ms DESC, host",
        )
        .bind(self.t())
        .bind(FORGOTTEN)
        .fetch_all(&mut *tx)
        .await;
        rows.during("list hosts")?
            .iter()
            .map(|row| {
                Ok(HostRecord {
                    beat: row.json("beat")?,
                    age_ms: row.number("age_ms")?,
                    since_ms: row.number("since_ms")?,
                })
            })
            .collect()
    }
}
