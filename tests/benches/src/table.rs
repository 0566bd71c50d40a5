//! The table of figures, for people and as JSON.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result};
use serde::Serialize;

/// One figure.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) id: &'static str,
    /// What was measured, in a few words.
    pub(crate) figure: String,
    pub(crate) ours: String,
    pub(crate) baseline: String,
    /// Ours over the baseline, or the other way round where more is better; `figure` says which.
    pub(crate) ratio: f64,
    /// `–` for a figure without a target.
    pub(crate) target: String,
    /// True where there is no target.
    pub(crate) met: bool,
}

impl Row {
    /// A row that could not be taken, which is no reason not to take the others.
    pub(crate) fn failed(id: &'static str, error: &anyhow::Error) -> Self {
        let figure = format!("failed: {error:#}").replace('\n', " ");
        Self { met: false, figure, ..Self::unmeasured(id, "") }
    }

    /// A row for which something is missing on this machine.
    pub(crate) fn unmeasured(id: &'static str, why: &str) -> Self {
        let nothing = || "–".to_owned();
        let figure = format!("not measured: {why}");
        Self { id, figure, ours: nothing(), baseline: nothing(), ratio: f64::NAN, target: nothing(), met: true }
    }
}

/// Prints the table.
#[allow(clippy::print_stdout, reason = "the table is what this program is for")]
pub(crate) fn print(rows: &[Row]) {
    let head = ["id", "figure", "ours p50 / p99", "baseline p50 / p99", "ratio", "target", "met"].map(str::to_owned);
    let lines: Vec<[String; 7]> = std::iter::once(head)
        .chain(rows.iter().map(|row| {
            [
                row.id.to_owned(),
                row.figure.clone(),
                row.ours.clone(),
                row.baseline.clone(),
                if row.ratio.is_nan() { "–".to_owned() } else { format!("{:.2}", row.ratio) },
                row.target.clone(),
                match (row.met, row.target.as_str()) {
                    (true, "–") => "–",
                    (true, _) => "yes",
                    (false, _) => "NO",
                }
                .to_owned(),
            ]
        }))
        .collect();
    let mut widths = [0; 7];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for line in &lines {
        let cells: Vec<_> = line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        println!("{}", cells.join(" | ").trim_end());
    }
}

/// Writes the table as JSON.
pub(crate) fn write(rows: &[Row], path: &Path) -> Result<()> {
    std::fs::write(path, serde_json::to_vec_pretty(rows)?).with_context(|| format!("cannot write {}", path.display()))
}

/// A duration in the unit that suits it.
pub(crate) fn time(duration: Duration) -> String {
    let micros = duration.as_secs_f64() * 1e6;
    match micros {
        us if us < 1.0 => format!("{:.0} ns", us * 1e3),
        us if us < 1e3 => format!("{us:.1} µs"),
        us if us < 1e6 => format!("{:.2} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}
