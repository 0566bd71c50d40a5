//! The SQLite back end: one file, many processes of one machine.

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
mod watch;
mod works;
mod writer;

use std::{path::Path, sync::Arc};

use animus_core::{
    Error, Result,
    id::TenantId,
    store::{Store, StoreHealth, Tenant},
};
use async_trait::async_trait;

use self::{
    error::{Columns as _, During as _, signed},
    pool::Pool,
};
use crate::{MasterKey, rows::now_ms, vectors::Indexes};

/// A store in one SQLite file. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Sqlite {
    pool: Pool,
    keys: MasterKey,
    indexes: Arc<Indexes>,
}

impl Sqlite {
    /// Opens the file at `path`, or makes it with mode 0600; its folder must exist, on a local disk. Brings the tables
    /// up to date. `keys` must be the key that sealed the secrets in it, or these do not open.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the file cannot be used or a newer build has written it; [`Error::Internal`] when it
    /// is damaged or no store.
    pub async fn open(path: &Path, keys: MasterKey) -> Result<Self> {
        Ok(Self { pool: Pool::open(path).await?, keys, indexes: Arc::default() })
    }
}

/// The handle of one tenant: the only thing here that reads and writes rows of tenants, and always its own.
#[derive(Debug)]
struct Handle {
    tenant: TenantId,
    /// Names the tenant's full-text table.
    number: u64,
    pool: Pool,
    keys: MasterKey,
    /// Of all tenants, which the process shares.
    indexes: Arc<Indexes>,
}

impl Handle {
    /// The tenant as a query argument.
    fn t(&self) -> &str {
        self.tenant.as_str()
    }
}

impl Tenant for Handle {
    fn id(&self) -> &TenantId {
        &self.tenant
    }
}

#[async_trait]
impl Store for Sqlite {
    async fn tenant(&self, id: &TenantId) -> Result<Arc<dyn Tenant>> {
        const FIND: &str = "SELECT number FROM tenants WHERE tenant = ?1";
        let what = format!("open the tenant {id}");
        let found = sqlx::query(FIND).bind(id.as_str()).fetch_optional(self.pool.readers()).await.during(&what)?;
        let row = match found {
            Some(row) => row,
            None => {
                let mut tx = self.pool.write().await?;
                let made = sqlx::query(
                    "INSERT INTO tenants (tenant, number, created_ms)
                     SELECT ?1, 1 + coalesce(max(number), 0), ?2 FROM tenants WHERE true
                     ON CONFLICT (tenant) DO NOTHING RETURNING number",
                )
                .bind(id.as_str())
                .bind(now_ms())
                .fetch_optional(&mut *tx)
                .await
                .during(&what)?;
                let row = match made {
                    Some(row) => {
                        memories::create_index(&mut tx, row.number("number")?).await.during(&what)?;
                        row
                    }
                    // Another process made it in between.
                    None => sqlx::query(FIND).bind(id.as_str()).fetch_one(&mut *tx).await.during(&what)?,
                };
                tx.commit().await.during(&what)?;
                row
            }
        };
        let number = row.number("number")?;
        Ok(Arc::new(Handle {
            tenant: id.clone(),
            number,
            pool: self.pool.clone(),
            keys: self.keys.clone(),
            indexes: self.indexes.clone(),
        }))
    }

    async fn tenants(&self) -> Result<Vec<TenantId>> {
        let rows = sqlx::query("SELECT tenant FROM tenants ORDER BY tenant").fetch_all(self.pool.readers()).await;
        rows.during("list the tenants")?.iter().map(|row| row.parsed("tenant")).collect()
    }

    async fn check(&self) -> Result<StoreHealth> {
        let location = self.pool.path().display().to_string();
        let what = format!("check the store {location}");
        // Every page, every index against its table, every full-text index.
        let found: Vec<String> =
            sqlx::query_scalar("PRAGMA integrity_check(5)").fetch_all(self.pool.readers()).await.during(&what)?;
        if found != ["ok"] {
            return Err(Error::Internal(format!(
                "the store {location} is damaged: {}; stop all hosts, move it away together with the files that end in \
                 -wal and -shm, and put a backup in its place",
                found.join("; ")
            )));
        }
        let dangling =
            sqlx::query("PRAGMA foreign_key_check").fetch_all(self.pool.readers()).await.during(&what)?.len();
        if dangling > 0 {
            return Err(Error::Internal(format!(
                "the store {location} was changed by another program: {dangling} rows refer to rows that are gone; put \
                 a backup in its place"
            )));
        }
        // Takes the write lock, which fails for a file that cannot be written, and changes nothing.
        let mut tx = self.pool.write().await?;
        let row = sqlx::query("SELECT max(version) AS schema FROM _sqlx_migrations").fetch_one(&mut *tx).await;
        let schema = signed(row.during(&what)?.number("schema")?);
        drop(tx);
        Ok(StoreHealth { backend: "sqlite".into(), location, schema })
    }
}
