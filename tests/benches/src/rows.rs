//! The figures.

mod boundary;
mod call;
mod density;
mod idle;
mod load;
mod parallel;
mod python;
mod queue;
mod recall;
mod reload;
mod skill;
mod soak;
mod stream;
mod turn;

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::{fixture::Host, table::Row};

/// All of them, in the order of the table.
pub(crate) const ALL: &[&str] = &[
    "call",
    "call@100",
    "boundary",
    "parallel",
    "load",
    "python",
    "python cpu",
    "python rss",
    "skill",
    "reload",
    "turn",
    "queue",
    "recall",
    "density",
    "stream",
    "idle",
];

/// The first argument of this program when it is its own child.
pub(crate) const CHILD: &str = "__child";

/// What several rows share: compiling the interpreter takes longer than they do.
#[derive(Default)]
pub(crate) struct Shared {
    python: OnceCell<(Arc<Host>, TempDir)>,
}

impl Shared {
    async fn python(&self) -> Result<&Arc<Host>> {
        let made = self.python.get_or_try_init(async || {
            let home = tempfile::tempdir()?;
            anyhow::Ok((Arc::new(Host::with_python(home.path()).await?), home))
        });
        Ok(&made.await?.0)
    }

    /// Where that host is at home, for a process of its own.
    async fn python_home(&self) -> Result<&Path> {
        self.python().await?;
        Ok(self.python.get().context("it was made")?.1.path())
    }
}

/// Takes one figure.
pub(crate) async fn measure(id: &str, shared: &Shared) -> Result<Vec<Row>> {
    match id {
        "call" => call::fresh().await,
        "call@100" => call::among_100().await,
        "boundary" => boundary::measure().await,
        "parallel" => parallel::measure().await,
        "load" => load::measure().await,
        "python" => python::execute(shared.python().await?).await,
        "python cpu" => python::cpu(shared.python().await?).await,
        "python rss" => soak::measure(shared.python().await?).await,
        "skill" => skill::measure(shared.python().await?).await,
        "reload" => reload::measure().await,
        "turn" => turn::measure().await,
        "queue" => queue::measure().await,
        "recall" => recall::measure().await,
        "density" => density::measure(shared.python_home().await).await,
        "stream" => stream::measure().await,
        "idle" => idle::measure().await,
        other => bail!("no row '{other}'"),
    }
}

/// What this program does as its own child.
pub(crate) async fn child(args: Vec<String>) -> Result<()> {
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["load", home] => load::child(Path::new(home)).await,
        ["idle", home] => idle::child(Path::new(home)).await,
        ["parallel", home, callers] => parallel::child(Path::new(home), callers.parse()?).await,
        ["density", home, kind, count] => density::child(Path::new(home), kind, count.parse()?).await,
        _ => bail!("not for people: `cargo xtask bench`"),
    }
}
