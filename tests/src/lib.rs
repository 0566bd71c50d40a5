//! What the tests that cross rooms share: guests, and a host put together of the real rooms.
//!
//! A failure in here is a failed test, so it panics.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test support: whatever goes wrong here fails a test"
)]

mod agent;
mod contracts;
mod guests;
mod host;
mod models;
pub mod postgres;
mod python;
pub mod skills;

pub use agent::Agent;
pub use contracts::{Imported, encode, imported_functions};
pub use guests::Guest;
pub use host::{TestHost, manifest};
pub use python::{manifest_of, operator, shipped};
