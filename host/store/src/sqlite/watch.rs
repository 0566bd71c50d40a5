//! Hints that something was committed: of this process at once, of others when they are noticed.

use std::time::Duration;

use animus_core::{Result, store::Watch};
use async_trait::async_trait;
use sqlx::SqliteConnection;
use tokio::{sync::watch::Receiver, time::Instant};

use super::{error::During as _, pool::Pool};

/// How often other processes are looked for. One look reads a number in shared memory.
const LOOK: Duration = Duration::from_millis(50);
/// A watch that has missed something says so after this at the latest.
const AT_LEAST: Duration = Duration::from_secs(5);

pub(super) struct Watching {
    own: Receiver<u64>,
    connection: SqliteConnection,
    /// SQLite's count of the commits of *other* connections, as this one sees it.
    seen: i64,
}

impl Watching {
    pub(super) async fn new(pool: &Pool) -> Result<Self> {
        let mut connection = pool.readers().acquire().await.during("watch for work")?.detach();
        let seen = commits(&mut connection).await.unwrap_or_default();
        Ok(Self { own: pool.changes(), connection, seen })
    }
}

async fn commits(connection: &mut SqliteConnection) -> Option<i64> {
    sqlx::query_scalar("PRAGMA data_version").fetch_one(connection).await.ok()
}

#[async_trait]
impl Watch for Watching {
    async fn changed(&mut self) {
        let end = Instant::now() + AT_LEAST;
        while Instant::now() < end {
            tokio::select! {
                biased;
                told = self.own.changed() => if told.is_ok() { return },
                () = tokio::time::sleep(LOOK) => {}
            }
            let now = commits(&mut self.connection).await.unwrap_or_default();
            if std::mem::replace(&mut self.seen, now) != now {
                return;
            }
        }
    }
}
