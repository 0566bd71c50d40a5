//! The Postgres back end keeps the contract of every store.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice, reason = "tests")]

mod conformance;
#[path = "../../../tests/src/postgres.rs"]
mod database;

use std::sync::Arc;

use animus_core::store::Store;
use animus_store::{MasterKey, Postgres};

use self::database::Database;

async fn fresh() -> Option<(Arc<dyn Store>, Database)> {
    let database = Database::fresh().await?;
    let home = tempfile::tempdir().unwrap();
    let key = MasterKey::load_or_create(&home.path().join("key")).unwrap();
    Some((Arc::new(Postgres::open(&database.url(), key).await.unwrap()), database))
}

conformance::suite!(crate::fresh);
