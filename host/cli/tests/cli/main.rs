//! Drives the real binary in homes of its own.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "../../../../tests/src/postgres.rs"]
mod database;
mod home;

mod authoring;
mod cluster;
mod dev;
mod documented;
mod exec;
mod hooks;
mod plugins;
mod postgres;
mod records;
mod runs;
mod serve;
mod server;
mod skills;
mod surface;
mod telemetry;
mod watching;
