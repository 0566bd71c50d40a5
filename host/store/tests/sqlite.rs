//! The SQLite back end keeps the contract of every store.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice, reason = "tests")]

mod conformance;

use std::sync::Arc;

use animus_core::store::Store;
use animus_store::{MasterKey, Sqlite};
use tempfile::TempDir;

async fn fresh() -> Option<(Arc<dyn Store>, TempDir)> {
    let home = tempfile::tempdir().unwrap();
    let key = MasterKey::load_or_create(&home.path().join("key")).unwrap();
    Some((Arc::new(Sqlite::open(&home.path().join("animus.db"), key).await.unwrap()), home))
}

conformance::suite!(crate::fresh);
