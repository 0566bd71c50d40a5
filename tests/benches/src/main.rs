//! The figures of `docs/performance.md`, each beside its baseline in the same run: `cargo xtask bench [ROW…]`.

#![allow(clippy::indexing_slicing, reason = "a figure that cannot be taken ends the program with it")]

mod fixture;
mod measure;
mod models;
#[path = "../../src/postgres.rs"]
mod postgres;
mod raw;
mod rival;
mod rows;
mod table;

use anyhow::{Result, bail};

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1).peekable();
    // `load`, `density` and `idle` measure whole processes: this program starts itself.
    if args.peek().is_some_and(|arg| arg == rows::CHILD) {
        return rows::child(args.skip(1).collect()).await;
    }
    let wanted: Vec<String> = args.collect();
    if let Some(unknown) = wanted.iter().find(|row| !rows::ALL.contains(&row.as_str())) {
        bail!("no row '{unknown}': there are {}", rows::ALL.join(", "));
    }
    let (mut table, shared) = (Vec::new(), rows::Shared::default());
    for id in rows::ALL.iter().filter(|id| wanted.is_empty() || wanted.iter().any(|w| w == *id)) {
        match rows::measure(id, &shared).await {
            Ok(rows) => table.extend(rows),
            Err(error) => table.push(table::Row::failed(id, &error)),
        }
    }
    table::print(&table);
    table::write(&table, &fixture::target().join("bench.json"))?;
    let missed = table.iter().filter(|row| !row.met).count();
    if missed > 0 {
        bail!("{missed} of {} targets not met", table.len());
    }
    Ok(())
}
