//! `animus completions`.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::{
    context::Context,
    fault::{Exit, Result},
};

#[derive(Args)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self, cx: &Context) -> Result<Exit> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::Cli::command(), "animus", &mut script);
        cx.out.raw(&String::from_utf8_lossy(&script));
        Ok(Exit::Done)
    }
}
