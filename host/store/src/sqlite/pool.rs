//! Connections: one that writes, some that read.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use animus_core::{Error, Result};
use sqlx::{
    ConnectOptions as _, Connection as _, SqlSafeStr as _, Sqlite as Driver, SqliteConnection, SqlitePool, Transaction,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use tokio::sync::watch;

use super::{
    error::{During as _, is_busy},
    writer::{Write, Writer},
};

/// How long a writer waits for another process. A transaction here takes milliseconds; one that lasts longer is a
/// checkpoint of a large file or a stopped process.
const BUSY: Duration = Duration::from_secs(5);
/// How long to wait before a file is opened again that another process is making.
const AGAIN: Duration = Duration::from_millis(20);
/// How long a call waits for a connection of its own process, behind at most as many calls as foci run.
const QUEUE: Duration = Duration::from_secs(30);
const READERS: u32 = 4;
/// So many rows the connection's thread finds before it waits for them to be taken: each wait costs two changes of threads.
const ROWS: usize = 512;
/// The log grows with the largest transaction (an artifact of tens of megabytes) and would stay so; this trims it.
const WAL_BYTES: u32 = 16 << 20;

/// Transactions that write, one at a time; reads, many at a time, each on the newest committed state.
///
/// Two walls keep writers apart: within the process there is one writing connection, for which calls queue in order
/// ([`Writer`]); between processes, every writing transaction begins with `BEGIN IMMEDIATE`, which waits up to [`BUSY`]. (A deferred
/// one that reads first and then writes fails at once when another wrote in between.)
#[derive(Clone, Debug)]
pub(super) struct Pool {
    path: PathBuf,
    writer: Writer,
    readers: SqlitePool,
    /// Grows with every change of work that this process makes.
    changes: Arc<watch::Sender<u64>>,
}

impl Pool {
    /// Opens the file, makes it when there is none, and brings its tables up to date.
    pub(super) async fn open(path: &Path) -> Result<Self> {
        let place = path.display();
        make_private(path).await.map_err(|e| Error::Unavailable(format!("cannot make the store {place}: {e}")))?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .disable_statement_logging()
            .busy_timeout(BUSY)
            .row_buffer_size(ROWS)
            .foreign_keys(true);
        let writing = options
            .clone()
            .journal_mode(SqliteJournalMode::Wal)
            // A commit returns when it is on the disk. NORMAL survives a killed process too, but may lose the last
            // commits when the power goes, and then an effect would have happened without its intent. It costs 0.3 ms
            // a commit instead of 0.15 ms (an append to a ledger, on a virtual disk), which is nothing beside a model.
            .synchronous(SqliteSynchronous::Full)
            // What is deleted is overwritten, so that what was forgotten cannot be found in the file.
            .pragma("secure_delete", "ON")
            .pragma("journal_size_limit", WAL_BYTES.to_string());
        let what = format!("open the store {place}");
        // Only one process at a time can make a new file one with a write-ahead log, and SQLite does not wait for that.
        let end = Instant::now() + BUSY;
        let mut writer = loop {
            match writing.connect().await {
                Err(e) if is_busy(&e) && Instant::now() < end => tokio::time::sleep(AGAIN).await,
                opened => break opened.during(&what)?,
            }
        };
        migrate(&mut writer, path).await?;
        let reading = options.pragma("query_only", "ON");
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(QUEUE)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .connect_with(reading);
        let readers = readers.await.during(&what)?;
        Ok(Self { path: path.to_owned(), writer: Writer::new(writer), readers, changes: Arc::default() })
    }

    /// Where the file is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Connections for single statements that read.
    pub(super) fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    /// A transaction that reads: all its statements see the store as it was at the first of them. Keep it short: while
    /// it lasts, what is forgotten stays in the write-ahead log.
    pub(super) async fn snapshot(&self) -> Result<Transaction<'static, Driver>> {
        self.readers.begin().await.during("begin to read")
    }

    /// A transaction that may write; dropped, it leaves no trace. Never ask for a second one while holding one.
    pub(super) async fn write(&self) -> Result<Write> {
        self.writer.begin().await.during("begin a transaction")
    }

    /// Tells the watches of this process that work has changed.
    pub(super) fn changed(&self) {
        self.changes.send_modify(|n| *n += 1);
    }

    /// What tells of such changes.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Moves everything from the write-ahead log to the file and empties the log, so that no old page stays in it.
    /// False when that cannot be now, for example because somebody reads.
    pub(super) async fn checkpoint(&self) -> bool {
        let emptied = self.writer.idle(async |connection| {
            sqlx::query_scalar::<_, i64>("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(connection).await
        });
        matches!(emptied.await, Ok(0))
    }
}

/// Makes the empty file with mode 0600; SQLite gives the same mode to the files that it adds.
async fn make_private(path: &Path) -> std::io::Result<()> {
    match tokio::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).await {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop),
    }
}

fn migrations() -> Migrator {
    let files = [
        (1, "store", include_str!("../../../../migrations/sqlite/0001_store.sql")),
        (2, "reload", include_str!("../../../../migrations/sqlite/0002_reload.sql")),
        (3, "skills", include_str!("../../../../migrations/sqlite/0003_skills.sql")),
        (4, "interpreters", include_str!("../../../../migrations/sqlite/0004_interpreters.sql")),
        (5, "queue", include_str!("../../../../migrations/sqlite/0005_queue.sql")),
        (6, "memories", include_str!("../../../../migrations/sqlite/0006_memories.sql")),
        (7, "hooks", include_str!("../../../../migrations/sqlite/0007_hooks.sql")),
        (8, "hosts", include_str!("../../../../migrations/sqlite/0008_hosts.sql")),
        (9, "makings", include_str!("../../../../migrations/sqlite/0009_makings.sql")),
    ];
    let migration = |(version, name, sql): (i64, &'static str, &'static str)| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(files.map(migration).into())
}

/// The newest migration that was applied; none in a new file.
async fn schema(tx: &mut Transaction<'_, Driver>) -> Option<i64> {
    sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations").fetch_one(&mut **tx).await.ok()
}

/// All in one transaction that holds the write lock from its start: processes that open a new file together migrate it
/// once.
async fn migrate(writer: &mut SqliteConnection, path: &Path) -> Result<()> {
    let place = path.display();
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&mut *writer)
        .await
        .during(format_args!("open the store {place}"))?;
    if mode != "wal" {
        return Err(Error::Unavailable(format!(
            "cannot open the store {place}: its file system does not support write-ahead logging; use a local disk"
        )));
    }
    let opening = format!("bring the store {place} up to date");
    // A table whose checks change is made anew, and dropping the old one would take along what refers to it. The pragma is
    // ignored inside a transaction, and there is one writing connection.
    sqlx::query("PRAGMA foreign_keys = OFF").execute(&mut *writer).await.during(&opening)?;
    let mut tx = writer.begin_with("BEGIN IMMEDIATE").await.during(&opening)?;
    let before = schema(&mut tx).await;
    match migrations().run_direct(None, &mut *tx, false).await {
        Ok(()) => {
            if schema(&mut tx).await != before {
                let dangling = sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut *tx).await.during(&opening)?;
                if !dangling.is_empty() {
                    return Err(Error::Internal(format!(
                        "cannot {opening}: {} rows would refer to rows that are gone; nothing was changed",
                        dangling.len()
                    )));
                }
            }
            tx.commit().await.during(&opening)?;
            sqlx::query("PRAGMA foreign_keys = ON").execute(writer).await.during(&opening).map(drop)
        }
        Err(MigrateError::VersionMissing(version)) => Err(Error::Unavailable(format!(
            "the store {place} was written by a newer animus (schema {version}); upgrade this one"
        ))),
        Err(MigrateError::Execute(e) | MigrateError::ExecuteMigration(e, _)) => Err(e).during(&opening),
        Err(e) => Err(Error::internal(format!("cannot {opening}"), &e)),
    }
}
