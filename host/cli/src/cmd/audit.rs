//! `animus audit`: who changed what, in a chain that shows tampering.

use animus_core::store::{AuditEntry, AuditVerdict};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::{
    context::Context,
    fault::{Exit, Result},
    out::{self, BAD, DIM, GOOD, Table, paint, plain},
};

#[derive(Args)]
pub(crate) struct Audit {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the newest entries
    Show {
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: u32,
    },
    /// Check the whole chain; exit code 1 when an entry was changed or removed
    Verify,
}

#[derive(Serialize)]
struct Shown {
    entries: Vec<AuditEntry>,
}

impl Audit {
    pub(crate) async fn run(self, cx: &Context) -> Result<Exit> {
        let tenant = cx.tenant().await?;
        match self.command {
            Command::Show { limit } => {
                cx.out.show(&Shown { entries: tenant.audit_read(limit).await? }, table);
                Ok(Exit::Done)
            }
            Command::Verify => {
                let verdict = tenant.audit_verify().await?;
                cx.out.show(&verdict, verdict_text);
                Ok(if verdict.broken.is_none() { Exit::Done } else { Exit::Failed })
            }
        }
    }
}

fn table(shown: &Shown) -> String {
    let mut table = Table::new(["#", "WHEN", "WHO", "WHAT", "ON", "DETAIL"]);
    for entry in &shown.entries {
        table.row([
            (DIM, entry.seq.to_string()),
            plain(out::time(entry.at_ms)),
            plain(&entry.actor),
            plain(&entry.action),
            plain(&entry.subject),
            (DIM, out::short(&entry.detail.to_string(), 80)),
        ]);
    }
    table.to_string()
}

fn verdict_text(verdict: &AuditVerdict) -> String {
    match &verdict.broken {
        None => format!(
            "{} {} entries; head {}\nkeep the head elsewhere: it pins the whole log",
            paint(GOOD, "intact:"),
            verdict.entries,
            verdict.head,
        ),
        Some((seq, why)) => format!(
            "{} entry {seq}: {}\nthe log was changed outside animus from there on; compare it with a backup",
            paint(BAD, "broken:"),
            out::safe(why),
        ),
    }
}
