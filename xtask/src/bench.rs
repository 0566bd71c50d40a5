//! `cargo xtask bench`: the figures, each beside its baseline.

use std::{path::Path, process::Command};

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
        let build = ["build", "--locked", "--release", "--workspace", "--bin", "animus-bench"];
        sh::run("build (release)", &mut sh::cargo(root, &build))?;
        let bench = sh::target(root).join("release").join(format!("animus-bench{}", std::env::consts::EXE_SUFFIX));
        sh::run("bench", Command::new(bench).current_dir(root).args(self.rows))
    }
}
