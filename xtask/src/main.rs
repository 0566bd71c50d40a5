//! The project's own commands: `cargo xtask demo | test | bench | ci | build-plugins | tidy | wit`.

mod bench;
mod ci;
mod demo;
mod policy;
mod postgres;
mod sh;
mod test;
mod wit;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "The project's own commands", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build what is missing and watch an agent work on this repository
    Demo(demo::Demo),
    /// Run all tests: host, guests, SDK, plugins
    Test(test::Test),
    /// Measure the figures beside their baselines (release profile)
    Bench(bench::Bench),
    /// Run everything that must hold before a change lands
    Ci,
    /// Build the first-party plugins into target/plugins/
    BuildPlugins,
    /// Check what a compiler does not: dependency arrows, where dangerous calls may stand, file sizes
    Tidy,
    /// Check the contracts in wit/, or freeze them at a release
    Wit {
        /// Record the hashes of all packages that are not frozen yet
        #[arg(long)]
        freeze: bool,
    },
}

fn main() -> Result<()> {
    let root = sh::root()?;
    match Cli::parse().command {
        Command::Demo(demo) => demo.run(&root),
        Command::Test(test) => test.run(&root),
        Command::Bench(bench) => bench.run(&root),
        Command::Ci => ci::run(&root),
        Command::BuildPlugins => test::build_plugins(&root),
        Command::Tidy => policy::check(&root),
        Command::Wit { freeze: true } => wit::freeze(&root.join("wit")),
        Command::Wit { freeze: false } => wit::check(&root.join("wit")),
    }
}
