//! The agent room at its boundary: real loop, real focus, scripted ports.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "tests fail by panicking, and share their fakes between modules"
)]

mod children;
mod code;
mod context;
mod control;
mod docs;
mod effects;
mod engage;
mod events;
mod growth;
mod hooks;
mod pairing;
mod phases;
mod resume;
mod retrace;
mod runs;
mod support;
