//! The one connection that writes. Transactions that have to wait for each other are committed together: what a commit
//! costs is waiting for the disk, and one wait serves all of them.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

use sqlx::{AssertSqlSafe, SqliteConnection};
use tokio::{
    runtime::Handle,
    sync::{Mutex, OwnedMutexGuard, oneshot},
    time::timeout,
};

/// How long a call waits for the connection, behind at most as many calls as foci run.
const QUEUE: Duration = Duration::from_secs(30);

/// What came of a commit; the same for all that were committed together.
type Outcome = Result<(), Arc<sqlx::Error>>;

/// The connection that writes. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Writer(Arc<Mutex<Batch>>);

/// Transactions that are committed together: savepoints of one transaction of the database.
#[derive(Debug)]
struct Batch {
    connection: SqliteConnection,
    /// Whether the connection may be in a transaction.
    open: bool,
    /// The newest savepoint. No two of a connection have the same name, so that none is taken for another.
    savepoint: u64,
    /// Whoever made the newest savepoint went away without a commit.
    abandoned: bool,
    /// Those who wait for the commit.
    members: Vec<oneshot::Sender<Outcome>>,
}

/// A transaction that may write. Dropped, it leaves no trace.
pub(super) struct Write {
    batch: OwnedMutexGuard<Batch>,
    writer: Writer,
    /// Whether it has its savepoint.
    begun: bool,
    /// Whether it is to be committed, or there is nothing to give up.
    over: bool,
}

impl Writer {
    pub(super) fn new(connection: SqliteConnection) -> Self {
        let batch = Batch { connection, open: false, savepoint: 0, abandoned: false, members: Vec::new() };
        Self(Arc::new(Mutex::new(batch)))
    }

    /// A transaction, after those that were asked for earlier. It sees what they wrote, and is committed no earlier than
    /// they are.
    pub(super) async fn begin(&self) -> sqlx::Result<Write> {
        let batch = timeout(QUEUE, self.0.clone().lock_owned()).await.map_err(|_| sqlx::Error::PoolTimedOut)?;
        let mut write = Write { batch, writer: self.clone(), begun: false, over: false };
        let begun = write.batch.begin().await;
        (write.begun, write.over) = (begun.is_ok(), begun.is_err());
        begun.map(|()| write)
    }

    /// The connection, when no transaction is under way on it.
    pub(super) async fn idle<T>(&self, work: impl AsyncFnOnce(&mut SqliteConnection) -> T) -> T {
        let mut batch = self.0.lock().await;
        batch.finish().await;
        work(&mut batch.connection).await
    }

    /// Ends the transaction of the database, unless others have begun something in it: then they do.
    fn finish(&self) {
        // Without a runtime, the process is about to end, and takes the transaction along.
        if let Ok(runtime) = Handle::try_current() {
            let writer = self.clone();
            runtime.spawn(async move { writer.0.lock().await.finish().await });
        }
    }
}

impl Batch {
    async fn begin(&mut self) -> sqlx::Result<()> {
        if self.open
            && self.abandoned
            && let Err(error) = self.undo().await
        {
            self.fail(error).await;
        }
        self.savepoint += 1;
        let savepoint = format!("SAVEPOINT s{}", self.savepoint);
        if self.open {
            match self.run(savepoint.clone()).await {
                Ok(()) => return Ok(()),
                Err(error) => self.fail(error).await,
            }
        }
        self.open = true;
        let begun = self.run(format!("BEGIN IMMEDIATE; {savepoint}")).await;
        if begun.is_err() {
            self.roll_back().await;
        }
        begun
    }

    /// Takes back what came after the newest savepoint.
    async fn undo(&mut self) -> sqlx::Result<()> {
        self.run(format!("ROLLBACK TO s{}", self.savepoint)).await?;
        self.abandoned = false;
        Ok(())
    }

    /// Commits what is whole, and tells those who wait.
    async fn finish(&mut self) {
        if !self.open {
            return;
        }
        let undone = if self.abandoned { self.undo().await } else { Ok(()) };
        let done = match undone {
            Ok(()) if self.members.is_empty() => return self.roll_back().await,
            Ok(()) => self.run("COMMIT".to_owned()).await,
            Err(error) => Err(error),
        };
        match done {
            Ok(()) => {
                (self.open, self.abandoned) = (false, false);
                self.tell(&Ok(()));
            }
            Err(error) => self.fail(error).await,
        }
    }

    /// Nothing of the batch is kept.
    async fn fail(&mut self, error: sqlx::Error) {
        self.roll_back().await;
        self.tell(&Err(Arc::new(error)));
    }

    async fn roll_back(&mut self) {
        // It fails where the database has already done so by itself.
        if let Err(error) = self.run("ROLLBACK".to_owned()).await {
            tracing::debug!(%error, "no transaction was left to roll back");
        }
        (self.open, self.abandoned) = (false, false);
    }

    fn tell(&mut self, outcome: &Outcome) {
        for member in self.members.drain(..) {
            // Whoever no longer waits has committed all the same.
            let _ = member.send(outcome.clone());
        }
    }

    async fn run(&mut self, sql: String) -> sqlx::Result<()> {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.connection).await.map(drop)
    }
}

impl Write {
    /// Returns when what was written is on the disk. Whoever stops waiting for that has committed all the same.
    ///
    /// # Errors
    /// What kept it from being written; nothing of the transaction is kept then, nor of others that were to be committed with
    /// it, which get the same error.
    pub(super) async fn commit(mut self) -> Outcome {
        let (member, outcome) = oneshot::channel();
        self.batch.members.push(member);
        self.over = true;
        let writer = self.writer.clone();
        // Behind those who already wait for the connection, so that they are in time for this commit.
        drop(self);
        writer.finish();
        outcome.await.unwrap_or_else(|_| Err(Arc::new(sqlx::Error::WorkerCrashed)))
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        if !self.over {
            self.batch.abandoned = self.begun;
            self.writer.finish();
        }
    }
}

impl Deref for Write {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.batch.connection
    }
}

impl DerefMut for Write {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.batch.connection
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use sqlx::{ConnectOptions as _, sqlite::SqliteConnectOptions};

    use super::*;

    /// A writer, another connection, and how often the first one has committed.
    async fn table(folder: &tempfile::TempDir) -> (Writer, SqliteConnection, Arc<AtomicU32>) {
        let options = SqliteConnectOptions::new().filename(folder.path().join("db")).create_if_missing(true);
        let options = options.pragma("journal_mode", "WAL");
        let (mut connection, commits) = (options.connect().await.unwrap(), Arc::new(AtomicU32::new(0)));
        sqlx::raw_sql("CREATE TABLE t (n INTEGER PRIMARY KEY)").execute(&mut connection).await.unwrap();
        let counted = commits.clone();
        connection.lock_handle().await.unwrap().set_commit_hook(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            true
        });
        (Writer::new(connection), options.connect().await.unwrap(), commits)
    }

    async fn insert(write: &mut Write, n: i64) {
        sqlx::query("INSERT INTO t VALUES (?1)").bind(n).execute(&mut **write).await.unwrap();
    }

    /// What another connection sees.
    async fn all(reader: &mut SqliteConnection) -> Vec<i64> {
        sqlx::query_scalar("SELECT n FROM t ORDER BY n").fetch_all(reader).await.unwrap()
    }

    #[tokio::test]
    async fn a_commit_is_seen_by_others_when_it_returns() {
        let folder = tempfile::tempdir().unwrap();
        let (writer, mut reader, _) = table(&folder).await;
        let mut write = writer.begin().await.unwrap();
        insert(&mut write, 1).await;
        assert_eq!(all(&mut reader).await, [0; 0]);
        write.commit().await.unwrap();
        assert_eq!(all(&mut reader).await, [1]);
    }

    #[tokio::test]
    async fn what_waits_is_committed_together_and_what_is_given_up_among_it_leaves_no_trace() {
        let folder = tempfile::tempdir().unwrap();
        let (writer, mut reader, commits) = table(&folder).await;
        let mut first = writer.begin().await.unwrap();
        insert(&mut first, 0).await;
        let others = (1..=20).map(|n| {
            let writer = writer.clone();
            async move {
                let mut write = writer.begin().await.unwrap();
                insert(&mut write, n).await;
                if n % 3 == 0 { drop(write) } else { write.commit().await.unwrap() }
            }
        });
        // All wait before the first one commits.
        let others = futures::future::join_all(others);
        tokio::pin!(others);
        assert!(futures::poll!(&mut others).is_pending());
        let (committed, _) = tokio::join!(first.commit(), others);
        committed.unwrap();
        assert_eq!(all(&mut reader).await, (0..=20).filter(|n| n % 3 != 0 || *n == 0).collect::<Vec<_>>());
        assert_eq!(commits.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_transaction_that_is_given_up_alone_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let (writer, mut reader, _) = table(&folder).await;
        let mut write = writer.begin().await.unwrap();
        insert(&mut write, 1).await;
        drop(write);
        // Another connection gets the lock of the file, so the transaction is over.
        sqlx::raw_sql("PRAGMA busy_timeout = 5000; BEGIN IMMEDIATE; INSERT INTO t VALUES (2); COMMIT")
            .execute(&mut reader)
            .await
            .unwrap();
        assert_eq!(all(&mut reader).await, [2]);
        let mut write = writer.begin().await.unwrap();
        insert(&mut write, 1).await;
        write.commit().await.unwrap();
        assert_eq!(all(&mut reader).await, [1, 2]);
    }

    #[tokio::test]
    async fn who_stops_waiting_for_a_commit_has_committed() {
        let folder = tempfile::tempdir().unwrap();
        let (writer, mut reader, _) = table(&folder).await;
        let mut write = writer.begin().await.unwrap();
        insert(&mut write, 1).await;
        let mut commit = Box::pin(write.commit());
        assert!(futures::poll!(&mut commit).is_pending());
        drop(commit);
        let mut next = writer.begin().await.unwrap();
        insert(&mut next, 2).await;
        next.commit().await.unwrap();
        assert_eq!(all(&mut reader).await, [1, 2]);
    }

    #[tokio::test]
    async fn whoever_is_in_a_transaction_that_the_database_ended_is_told_and_the_next_one_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (writer, mut reader, _) = table(&folder).await;
        let mut first = writer.begin().await.unwrap();
        insert(&mut first, 1).await;
        let second = async {
            let mut write = writer.begin().await.unwrap();
            // As SQLite does by itself when, for one, the disk is full.
            sqlx::raw_sql("ROLLBACK").execute(&mut *write).await.unwrap();
            write.commit().await
        };
        tokio::pin!(second);
        assert!(futures::poll!(&mut second).is_pending());
        let (one, two) = tokio::join!(first.commit(), second);
        for outcome in [one, two] {
            assert!(outcome.unwrap_err().to_string().contains("no transaction is active"));
        }
        assert_eq!(all(&mut reader).await, [0; 0]);
        let mut write = writer.begin().await.unwrap();
        insert(&mut write, 3).await;
        write.commit().await.unwrap();
        assert_eq!(all(&mut reader).await, [3]);
    }
}
