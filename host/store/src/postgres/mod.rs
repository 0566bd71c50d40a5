//! The Postgres back end: what several hosts share.
//!
//! Where SQLite relies on its one writer, a transaction here locks what it is about to change, always in this order, so
//! that two never wait for each other: a work item, its focus, then the row of the tenant. The last one stands for
//! everything that a tenant has once: its audit log, its plugins, its skills, its secrets.

/// The server's clock in a statement, milliseconds since the epoch, read once.
macro_rules! clock {
    () => {
        "(SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint)"
    };
}

mod audit;
mod awareness;
mod embeddings;
mod error;
mod events;
mod focuses;
mod hooks;
mod hosts;
mod journal;
mod ledger;
mod memories;
mod plugins;
mod pool;
mod recall;
mod secrets;
mod skills;
mod text;
mod watch;
mod works;

use std::sync::Arc;

use animus_core::{
    Error, Result,
    id::TenantId,
    store::{Store, StoreHealth, Tenant},
};
use async_trait::async_trait;
use sqlx::PgConnection;

use self::{
    error::{Columns as _, During as _, now_ms, signed},
    pool::{Pool, Tx},
};
use crate::MasterKey;

/// A store in one Postgres database, which many hosts use at a time. Clones share their connections, eleven at most, one of
/// them for the renewal of leases alone.
#[derive(Clone, Debug)]
pub struct Postgres {
    pool: Pool,
    keys: MasterKey,
}

impl Postgres {
    /// Opens the database that `url` names, as `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, and brings its tables up to
    /// date. The database must exist; its server must have the extension `vector`. All hosts of one database need the
    /// same `keys`: those that sealed the secrets in it, or these do not open.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no such URL; [`Error::Unavailable`] when the server does not answer, does not let
    /// this host in, or a newer build has written the store. None of them tells the password.
    pub async fn open(url: &str, keys: MasterKey) -> Result<Self> {
        Ok(Self { pool: Pool::open(url).await?, keys })
    }
}

/// The handle of one tenant: the only thing here that reads and writes rows of tenants, and always its own.
#[derive(Debug)]
struct Handle {
    tenant: TenantId,
    pool: Pool,
    keys: MasterKey,
}

impl Handle {
    /// The tenant as a query argument.
    fn t(&self) -> &str {
        self.tenant.as_str()
    }

    /// A transaction of this tenant.
    async fn tx(&self) -> Result<Tx> {
        self.pool.tenant(&self.tenant).await
    }

    /// A transaction that is the tenant's only one of its kind until it ends.
    async fn alone(&self) -> Result<Tx> {
        let mut tx = self.tx().await?;
        self.lock(&mut tx).await?;
        Ok(tx)
    }

    /// Waits until no other transaction holds the tenant's row. References to it stay possible meanwhile.
    async fn lock(&self, tx: &mut PgConnection) -> Result<()> {
        sqlx::query("SELECT 1 FROM tenants WHERE tenant = $1 FOR NO KEY UPDATE")
            .bind(self.t())
            .execute(tx)
            .await
            .during(format_args!("lock the tenant {}", self.tenant))?;
        Ok(())
    }
}

impl Tenant for Handle {
    fn id(&self) -> &TenantId {
        &self.tenant
    }
}

#[async_trait]
impl Store for Postgres {
    async fn tenant(&self, id: &TenantId) -> Result<Arc<dyn Tenant>> {
        let what = format!("open the tenant {id}");
        let mut tx = self.pool.host().await?;
        let found = sqlx::query("SELECT 1 FROM tenants WHERE tenant = $1").bind(id.as_str()).fetch_optional(&mut *tx);
        if found.await.during(&what)?.is_none() {
            sqlx::query("INSERT INTO tenants (tenant, created_ms) VALUES ($1, $2) ON CONFLICT (tenant) DO NOTHING")
                .bind(id.as_str())
                .bind(now_ms())
                .execute(&mut *tx)
                .await
                .during(&what)?;
            tx.commit().await.during(&what)?;
        }
        Ok(Arc::new(Handle { tenant: id.clone(), pool: self.pool.clone(), keys: self.keys.clone() }))
    }

    async fn tenants(&self) -> Result<Vec<TenantId>> {
        let mut tx = self.pool.host().await?;
        let rows = sqlx::query("SELECT tenant FROM tenants ORDER BY tenant").fetch_all(&mut *tx).await;
        rows.during("list the tenants")?.iter().map(|row| row.parsed("tenant")).collect()
    }

    async fn check(&self) -> Result<StoreHealth> {
        let location = self.pool.location().to_owned();
        let what = format!("check the store {location}");
        let mut tx = self.pool.host().await?;
        let row = sqlx::query(
            "SELECT (SELECT max(version) FROM _sqlx_migrations) AS schema, pg_is_in_recovery() AS standby,
             (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = (SELECT role FROM store)) AS unwalled,
             (SELECT string_agg(c.relname, ', ' ORDER BY c.relname)
              FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
              WHERE a.attname = 'tenant' AND c.relkind = 'r'
              AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'store'::regclass)
              AND NOT (c.relrowsecurity AND c.relforcerowsecurity)) AS open",
        )
        .fetch_one(&mut *tx)
        .await
        .during(&what)?;
        if row.flag("standby")? {
            return Err(Error::Unavailable(format!(
                "the store {location} is read-only; connect to its primary server"
            )));
        }
        let open = row.maybe_text("open")?;
        if row.flag("unwalled")? || open.is_some() {
            return Err(Error::Internal(format!(
                "the store {location} was changed by another program: {} no longer bound to tenants; restore a backup",
                open.map_or("its role is".into(), |tables| format!("the tables {tables} are")),
            )));
        }
        Ok(StoreHealth { backend: "postgres".into(), location, schema: signed(row.number("schema")?) })
    }
}
