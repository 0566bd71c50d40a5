//! `animus`: runs agents made of WebAssembly components.

mod bundled;
mod cmd;
mod config;
mod context;
mod faculties;
mod fault;
mod home;
mod hooks;
mod interrupt;
mod keys;
mod machine;
mod out;
mod sdk;
mod serve;
mod telemetry;
mod watch;

use std::process::ExitCode;

fn main() -> ExitCode {
    cmd::main()
}
