//! The store of a host, behind the traits of [`animus_core::store`].
//!
//! [`Sqlite`] keeps everything in one file; nothing has to be installed. Every change is one transaction, durable when
//! the call returns. A [`MasterKey`] seals the secrets, which are the only rows that are encrypted: protect the file
//! itself by its mode (it is made with 0600) and the disk.
//!
//! Errors: [`Unavailable`](animus_core::Error::Unavailable) when the store is busy, full, not writable or newer than
//! this build, [`Internal`](animus_core::Error::Internal) when it is damaged; both name the operation.

mod chain;
mod fusion;
mod keys;
mod measure;
mod plugins;
mod postgres;
mod rows;
mod secrets;
mod skills;
mod sqlite;
mod vectors;
mod works;

pub use keys::MasterKey;
pub use postgres::Postgres;
pub use sqlite::Sqlite;
