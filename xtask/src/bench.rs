//! `cargo xtask bench`: the figures, each beside its baseline.

use std::path::Path;

use anyhow::Result;
use clap::Args;

use crate::sh;

/// What to measure.
#[derive(Args)]
pub(crate) struct Bench {
    /// Only these rows (call, call@100, boundary, parallel, load, turn, idle)
    rows: Vec<String>,
}

impl Bench {
    pub(crate) fn run(self, root: &Path) -> Result<()> {
        sh::run("build (release)", &mut sh::cargo(root, &["build", "--locked", "--release", "-p", "animus", "-p", "animus-bench"]))?;
        let mut bench = sh::cargo(root, &["run", "--locked", "--quiet", "--release", "-p", "animus-bench", "--"]);
        sh::run("bench", bench.args(self.rows))
    }
}
