//! Connections, and the two identities in which they are used.

use std::{fmt, str::FromStr as _, sync::Arc, time::Duration};

use animus_core::{Error, Result, id::TenantId};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection, PgPool, Postgres as Driver,
    SqlSafeStr as _, Transaction,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{
    error::{During as _, is_gone},
    watch::Listening,
};

/// The most connections of one host to its store, beside the one that renews leases.
const CONNECTIONS: u32 = 10;
/// How long a call waits for a connection of its own process, behind as many calls as foci run and clients ask.
const QUEUE: Duration = Duration::from_secs(120);
/// How long the server works on one statement, waits for another's lock, and keeps a transaction whose host is silent.
/// A transaction here takes milliseconds; one with an artifact of tens of megabytes, seconds.
const LIMITS: [(&str, &str); 3] =
    [("statement_timeout", "60s"), ("lock_timeout", "10s"), ("idle_in_transaction_session_timeout", "60s")];

/// Makes an exception for the statements of one transaction that may take long.
pub(super) const LONG: &str = "SET LOCAL statement_timeout = '15min'";
/// The advisory lock of a host that opens the store.
const OPENING: i64 = 0x616e_696d_7573;

/// A transaction. Dropped, it leaves no trace.
pub(super) type Tx = Transaction<'static, Driver>;

/// Connections that are not the role of the URL, which may be a superuser or owns the tables, but the store's own role,
/// for which row-level security holds. Nothing outside of a transaction sees any row of a tenant.
#[derive(Clone)]
pub(super) struct Pool {
    pool: PgPool,
    /// One connection for what must not wait behind anything: a lease that is not renewed in time is another host's.
    renewing: PgPool,
    /// For the connection that listens, which is none of the pool's.
    options: PgConnectOptions,
    location: String,
    listening: Arc<Listening>,
}

impl fmt::Debug for Pool {
    /// The options hold the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pool").field(&self.location).finish()
    }
}

impl Pool {
    /// Connects, and brings the tables up to date.
    pub(super) async fn open(url: &str) -> Result<Self> {
        let options = PgConnectOptions::from_str(url).map_err(|e| {
            Error::Invalid(format!(
                "the URL of the store cannot be read ({e}); write postgres://USER:PASSWORD@HOST:PORT/DATABASE"
            ))
        })?;
        // Every statement of ours is known by its text; logging it would log what tenants store.
        let options = options.application_name("animus").disable_statement_logging();
        let location = location(&options);
        let what = format!("open the store {location}");
        let mut own = PgConnection::connect_with(&options).await.during(&what)?;
        // Until this connection is closed, no other host looks at a store that is half made.
        sqlx::query("SELECT pg_advisory_lock($1)").bind(OPENING).execute(&mut own).await.during(&what)?;
        expect_own(&mut own, &location).await?;
        migrate(&mut own, &location).await?;
        let role: String = sqlx::query_scalar("SELECT role FROM store").fetch_one(&mut own).await.during(&what)?;
        own.close().await.during(&what)?;

        let identity = format!("SET ROLE \"{}\"", role.replace('"', "\"\""));
        let connections = |most| {
            let identity = identity.clone();
            PgPoolOptions::new()
                .max_connections(most)
                .acquire_timeout(QUEUE)
                // A connection that died is found by the first statement of a transaction, see `begin`.
                .test_before_acquire(false)
                .after_connect(move |connection, _| {
                    let identity = identity.clone();
                    Box::pin(async move { connection.execute(AssertSqlSafe(identity)).await.map(drop) })
                })
        };
        let limited = options.clone().options(LIMITS);
        // Made when there is something to renew.
        let renewing = connections(1).connect_lazy_with(limited.clone());
        let pool = connections(CONNECTIONS).connect_with(limited).await.during(&what)?;
        Ok(Self { pool, renewing, options, location, listening: Arc::default() })
    }

    /// Where the server and the database are, without who connects.
    pub(super) fn location(&self) -> &str {
        &self.location
    }

    pub(super) fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    pub(super) fn listening(&self) -> &Listening {
        &self.listening
    }

    /// A transaction that sees and writes the rows of one tenant.
    pub(super) async fn tenant(&self, tenant: &TenantId) -> Result<Tx> {
        begin(&self.pool, &bound_to(tenant)).await
    }

    /// The same on the connection that is kept for the renewal of leases.
    pub(super) async fn renewing(&self, tenant: &TenantId) -> Result<Tx> {
        begin(&self.renewing, &bound_to(tenant)).await
    }

    /// A transaction as the role of the URL: for what belongs to no tenant.
    pub(super) async fn host(&self) -> Result<Tx> {
        begin(&self.pool, "BEGIN; SET LOCAL ROLE NONE").await
    }
}

/// What begins a transaction of a tenant. A name has letters, digits, dashes and underscores, so it is safe in a statement;
/// and a statement that begins the transaction and binds it at once costs one round trip.
fn bound_to(tenant: &TenantId) -> String {
    format!("BEGIN; SET LOCAL animus.tenant = '{tenant}'")
}

/// Begins on another connection when one turns out to be dead: until here, nothing was done.
async fn begin(pool: &PgPool, statement: &str) -> Result<Tx> {
    let mut dead = 0;
    loop {
        let (pool, statement) = (pool.clone(), AssertSqlSafe(statement.to_owned()));
        // In a task of its own, which ends whoever gives up meanwhile. sqlx knows of a transaction only when it has
        // begun: given up before, the connection would go back with it open, and whoever gets it next would work
        // in there, with the role of whoever gave up.
        let begun = tokio::spawn(async move { pool.begin_with(statement).await }).await;
        match begun.map_err(|e| Error::internal("cannot begin a transaction", &e))? {
            Err(e) if is_gone(&e) && dead < CONNECTIONS => dead += 1,
            begun => return begun.during("begin a transaction"),
        }
    }
}

fn location(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or(options.get_username());
    match options.get_socket() {
        Some(socket) => format!("postgres:///{database}?host={}&port={}", socket.display(), options.get_port()),
        None => format!("postgres://{}:{}/{database}", options.get_host(), options.get_port()),
    }
}

fn migrations() -> Migrator {
    let files = [
        (1, "tenants", include_str!("../../../../migrations/postgres/0001_tenants.sql")),
        (2, "work", include_str!("../../../../migrations/postgres/0002_work.sql")),
        (3, "plugins", include_str!("../../../../migrations/postgres/0003_plugins.sql")),
        (4, "skills", include_str!("../../../../migrations/postgres/0004_skills.sql")),
        (5, "memories", include_str!("../../../../migrations/postgres/0005_memories.sql")),
        (6, "hosts", include_str!("../../../../migrations/postgres/0006_hosts.sql")),
        (7, "hooks", include_str!("../../../../migrations/postgres/0007_hooks.sql")),
        (8, "makings", include_str!("../../../../migrations/postgres/0008_makings.sql")),
    ];
    let migration = |(version, name, sql): (i64, &'static str, &'static str)| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(files.map(migration).into())
}

/// Refuses a database that another program uses: a shell in which work is done on several programs has one `DATABASE_URL`,
/// and our tables in its database would be a mess, or a disaster where names meet.
async fn expect_own(own: &mut PgConnection, location: &str) -> Result<()> {
    let strange: Option<String> = sqlx::query_scalar(
        "SELECT min(relname::text) FROM pg_class AS c
         WHERE relnamespace = to_regnamespace(current_schema()) AND relkind IN ('r', 'p', 'v', 'm', 'f')
         AND to_regprocedure('protect(regclass, text)') IS NULL
         AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = c.oid AND deptype = 'e')",
    )
    .fetch_one(own)
    .await
    .during(format_args!("open the store {location}"))?;
    match strange {
        None => Ok(()),
        Some(table) => Err(Error::Invalid(format!(
            "the database {location} belongs to another program: it has a table '{table}' and no store; make one for \
             animus (createdb animus), and name it in DATABASE_URL or in [store] of animus.toml"
        ))),
    }
}

/// Under an advisory lock of the database: hosts that open a new one together migrate it once.
async fn migrate(own: &mut PgConnection, location: &str) -> Result<()> {
    let what = format!("bring the store {location} up to date");
    match migrations().run_direct(None, own, false).await {
        Ok(()) => Ok(()),
        Err(MigrateError::VersionMissing(version)) => Err(Error::Unavailable(format!(
            "the store {location} was written by a newer animus (schema {version}); upgrade this one"
        ))),
        Err(MigrateError::Execute(e) | MigrateError::ExecuteMigration(e, _)) => Err(e).during(&what),
        Err(e) => Err(Error::internal(format!("cannot {what}"), &e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_names_server_and_database_and_nobody() {
        for (url, expected) in [
            ("postgres://ada:hunter2@db.example:5433/animus?sslmode=require", "postgres://db.example:5433/animus"),
            ("postgresql://ada@localhost", "postgres://localhost:5432/ada"),
            ("postgres:///animus?host=/run/pg&user=ada&password=hunter2", "postgres:///animus?host=/run/pg&port=5432"),
        ] {
            assert_eq!(location(&PgConnectOptions::from_str(url).unwrap()), expected);
        }
    }
}
