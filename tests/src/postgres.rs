//! A Postgres database of its own for each test. Also the test helper of other crates, which take this file in by
//! `#[path]`; it stands on animus-core, animus-store, sqlx and tokio, and on nothing of this crate.
//!
//! `cargo xtask test` starts the server and names it in [`SERVER`]. Whoever runs `cargo test` alone names a server there,
//! or leaves these tests out with [`WITHOUT`]; without either they fail, so that nobody takes what did not run for green.

#![allow(dead_code, unreachable_pub, reason = "some crates take this in as a module of their own, and use a part")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "tests")]

use std::{env, fs, path::Path, str::FromStr as _};

use animus_core::id::Digest;
use animus_store::{MasterKey, Postgres};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection, postgres::PgConnectOptions,
};

/// The URL of a server with the extension `vector`, for a role that may make databases and roles.
pub const SERVER: &str = "ANIMUS_TEST_POSTGRES";
/// Set to `1`, the tests that need such a server say that they were left out, and pass.
pub const WITHOUT: &str = "ANIMUS_WITHOUT_POSTGRES";

/// Who owns the databases, and connects to them as a host does: no superuser, as it should be.
const OWNER: &str = "animus_test";
/// The owner's password. A server that asks for none takes it as well; no text that a test reads may hold it.
pub const PASSWORD: &str = "hunter2-of-the-tests";

/// What only a superuser may do, and so the operator does before the first host comes.
const EXTENSION: &str = "CREATE EXTENSION vector";

/// A database. It is dropped with this, whoever is still connected.
#[derive(Debug)]
pub struct Database {
    server: PgConnectOptions,
    name: String,
}

impl Database {
    /// A database with all tables and no rows: opening a store there has nothing to migrate. None where these tests are
    /// left out.
    ///
    /// # Panics
    /// Where no server is named and these tests are not left out, and when the server refuses.
    pub async fn fresh() -> Option<Self> {
        let server = server()?;
        let template = prepare(&server).await;
        Some(Self::make(server, &format!(" TEMPLATE \"{template}\"")).await)
    }

    /// A database with nothing in it. None where these tests are left out.
    ///
    /// # Panics
    /// As [`Self::fresh`].
    pub async fn empty() -> Option<Self> {
        let server = server()?;
        prepare(&server).await;
        let database = Self::make(server, "").await;
        database.run(EXTENSION).await;
        Some(database)
    }

    /// A database with everything that is in this one. Who is connected to this one is thrown out.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn copy(&self) -> Self {
        run(&self.server, &quiet(&self.name)).await;
        Self::make(self.server.clone(), &format!(" TEMPLATE \"{}\"", self.name)).await
    }

    async fn make(server: PgConnectOptions, how: &str) -> Self {
        let name = format!("animus_{}", animus_core::id::WorkId::new().to_string().replace('-', ""));
        run(&server, &format!("CREATE DATABASE \"{name}\" OWNER {OWNER}{how}")).await;
        Self { server, name }
    }

    /// Its URL, as `DATABASE_URL` has it.
    #[must_use]
    pub fn url(&self) -> String {
        url(&self.server, &self.name)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the role of the server's URL, a superuser most likely, connects to it with.
    #[must_use]
    pub fn options(&self) -> PgConnectOptions {
        self.server.clone().database(&self.name)
    }

    /// Another program that is connected to it.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn stranger(&self) -> PgConnection {
        self.options().connect().await.unwrap()
    }

    /// Runs statements as another program.
    ///
    /// # Panics
    /// When they fail.
    pub async fn run(&self, sql: &str) {
        run(&self.options(), sql).await;
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, sql) = (self.server.clone(), format!("DROP DATABASE \"{}\" WITH (FORCE)", self.name));
        // A runtime cannot wait for itself.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(run(&server, &sql));
        });
        if dropped.join().is_err() && !std::thread::panicking() {
            panic!("the database {} was not dropped", self.name);
        }
    }
}

fn server() -> Option<PgConnectOptions> {
    match env::var(SERVER).ok().filter(|url| !url.is_empty()) {
        Some(url) => Some(PgConnectOptions::from_str(&url).unwrap().disable_statement_logging()),
        None if env::var_os(WITHOUT).is_some_and(|value| value == "1") => {
            eprintln!("left out: {WITHOUT}=1, and no server is named in {SERVER}");
            None
        }
        None => panic!(
            "this test needs a Postgres: run `cargo xtask test`, which starts one; or name one with pgvector in \
             {SERVER}=postgres://…, or leave such tests out with {WITHOUT}=1"
        ),
    }
}

fn url(server: &PgConnectOptions, database: &str) -> String {
    server.clone().username(OWNER).password(PASSWORD).database(database).to_url_lossy().to_string()
}

/// Ends what a store may not have closed yet; a template has no visitors.
fn quiet(database: &str) -> String {
    format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")
}

async fn run(options: &PgConnectOptions, sql: &str) {
    let mut connection = PgConnection::connect_with(options).await.unwrap();
    connection.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
    connection.close().await.unwrap();
}

/// Makes the owner, and a database with all tables, when the first test asks for them; returns that database's name. What
/// it is named after are the migrations and this file, so that a server may stay while they change.
async fn prepare(server: &PgConnectOptions) -> String {
    let made_by = migrations() + include_str!("postgres.rs");
    let name = format!("animus_template_{}", Digest::of(made_by.as_bytes()).short());
    let mut connection = PgConnection::connect_with(server).await.unwrap();
    // One at a time, also of those in other processes.
    connection.execute("SELECT pg_advisory_lock(20260)").await.unwrap();
    let found =
        sqlx::query("SELECT 1 FROM pg_roles WHERE rolname = $1").bind(OWNER).fetch_optional(&mut connection).await;
    if found.unwrap().is_none() {
        let role = format!("CREATE ROLE {OWNER} LOGIN CREATEROLE PASSWORD '{PASSWORD}'; GRANT {OWNER} TO CURRENT_USER");
        connection.execute(AssertSqlSafe(role)).await.unwrap();
    }
    let find = "SELECT 1 FROM pg_database WHERE datname = $1";
    if sqlx::query(find).bind(&name).fetch_optional(&mut connection).await.unwrap().is_none() {
        let half = format!("{name}_half");
        let drop_half = format!("DROP DATABASE IF EXISTS \"{half}\" WITH (FORCE)");
        for sql in [drop_half, format!("CREATE DATABASE \"{half}\" OWNER {OWNER}")] {
            connection.execute(AssertSqlSafe(sql)).await.unwrap();
        }
        run(&server.clone().database(&half), EXTENSION).await;
        let key = env::temp_dir().join(format!("{half}-{}.key", std::process::id()));
        let keys = MasterKey::load_or_create(&key).unwrap();
        fs::remove_file(&key).unwrap();
        drop(Postgres::open(&url(server, &half), keys).await.unwrap());
        connection.execute(AssertSqlSafe(quiet(&half))).await.unwrap();
        connection.execute(AssertSqlSafe(format!("ALTER DATABASE \"{half}\" RENAME TO \"{name}\""))).await.unwrap();
    }
    connection.close().await.unwrap();
    name
}

/// The texts of all migrations, in order.
fn migrations() -> String {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let folder = above.map(|folder| folder.join("migrations/postgres")).find(|folder| folder.is_dir()).unwrap();
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read_to_string(file).unwrap()).collect()
}
