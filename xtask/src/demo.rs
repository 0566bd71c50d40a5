//! `cargo xtask demo`.

use std::path::Path;

use anyhow::Result;
use clap::Args;

/// Demo.
#[derive(Args)]
pub(crate) struct Demo {}

impl Demo {
    pub(crate) fn run(self, _root: &Path) -> Result<()> {
        Ok(())
    }
}
