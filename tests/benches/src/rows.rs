//! The figures.

mod boundary;
mod call;
mod idle;
mod load;
mod parallel;
mod turn;

use std::path::Path;

use anyhow::{Result, bail};

use crate::table::Row;

/// All of them, in the order of the table.
pub(crate) const ALL: &[&str] = &["call", "call@100", "boundary", "parallel", "load", "turn", "idle"];

/// The first argument of this program when it is its own child.
pub(crate) const CHILD: &str = "__child";

/// Takes one figure.
pub(crate) async fn measure(id: &str) -> Result<Vec<Row>> {
    match id {
        "call" => call::fresh().await,
        "call@100" => call::among_100().await,
        "boundary" => boundary::measure().await,
        "parallel" => parallel::measure().await,
        "load" => load::measure().await,
        "turn" => turn::measure().await,
        "idle" => idle::measure().await,
        other => bail!("no row '{other}'"),
    }
}

/// What this program does as its own child.
pub(crate) async fn child(args: Vec<String>) -> Result<()> {
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["load", home] => load::child(Path::new(home)).await,
        ["idle", home] => idle::child(Path::new(home)).await,
        _ => bail!("not for people: `cargo xtask bench`"),
    }
}
