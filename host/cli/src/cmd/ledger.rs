//! `animus ledger`: what a piece of work planned, found, decided and did.

use animus_core::{
    id::WorkId,
    journal::{Outcome, Record},
    ledger::{Entry, EntryType, Filter, formatted},
    store::Tenant,
    work::{Work, WorkFilter},
};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::words;
use crate::{
    context::Context,
    fault::{Exit, Fault, Result},
    out::{self, BAD, BOLD, DIM, GOOD, Table, WARN, paint, plain},
};

#[derive(Args)]
pub(crate) struct Ledger {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show a work item with its ledger
    Show {
        /// The work item: its identifier, a unique beginning of it, or `last`
        #[arg(default_value = "last")]
        work: String,
        /// Only entries of this type: plan, finding, decision, step, error, note
        #[arg(long = "type", value_name = "TYPE")]
        entry_type: Option<EntryType>,
        /// Only the last N of them
        #[arg(long, value_name = "N")]
        last: Option<u32>,
        /// Show the journal of its newest run as well: every effect, its intent and its outcome
        #[arg(long)]
        journal: bool,
    },
    /// Append an entry to the ledger of a work item
    Append {
        /// The work item: its identifier, a unique beginning of it, or `last`
        work: String,
        /// plan, finding, decision, step, error or note
        #[arg(long = "type", value_name = "TYPE", default_value = "note")]
        entry_type: EntryType,
        /// What it says; `-` reads standard input
        #[arg(required = true)]
        text: Vec<String>,
    },
}

#[derive(Serialize)]
struct Shown {
    work: Work,
    entries: Vec<Entry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    journal: Option<Vec<Record>>,
}

#[derive(Serialize)]
struct Appended {
    work: WorkId,
    entry: Entry,
}

impl Ledger {
    pub(crate) async fn run(self, cx: &Context) -> Result<Exit> {
        let tenant = cx.tenant().await?;
        match self.command {
            Command::Show { work, entry_type, last, journal } => {
                let work = find(&*tenant, &work).await?;
                let entries = tenant.ledger_read(work.id, Filter { entry_type, last_n: last }).await?;
                let journal = match work.focus {
                    Some(focus) if journal => Some(tenant.journal_read(focus).await?),
                    None if journal => Some(Vec::new()),
                    _ => None,
                };
                cx.out.show(&Shown { work, entries, journal }, text);
            }
            Command::Append { work, entry_type, text } => {
                let text = words(&text)?;
                let work = find(&*tenant, &work).await?.id;
                let entry = tenant.ledger_append(work, entry_type, &text, None).await?;
                cx.out.show(&Appended { work, entry }, |done| format!("appended as [{}]", done.entry.seq));
            }
        }
        Ok(Exit::Done)
    }
}

/// The work item that a person means.
async fn find(tenant: &dyn Tenant, named: &str) -> Result<Work> {
    let found = if named == "last" {
        tenant.works(WorkFilter { limit: Some(1), ..WorkFilter::default() }).await?
    } else {
        tenant.works_by_prefix(named, 2).await?
    };
    match <[Work; 1]>::try_from(found) {
        Ok([work]) => Ok(work),
        Err(none) if none.is_empty() && named == "last" => {
            Err(Fault::from(animus_core::Error::NotFound("there is no work item yet".into()))
                .advise("begin one: animus run \"…\""))
        }
        Err(none) if none.is_empty() => {
            Err(Fault::from(animus_core::Error::NotFound(format!("no work item's identifier begins with '{named}'")))
                .advise("list the newest ones: animus status"))
        }
        Err(_) => {
            Err(Fault::usage(format!("several work items begin with '{named}'")).advise("type more of the identifier"))
        }
    }
}

fn text(shown: &Shown) -> String {
    let work = &shown.work;
    let mut text = format!(
        "{} {}\n{} · {} · {} tokens · {} · {}\n",
        paint(BOLD, work.id),
        out::short(&work.instruction, 100),
        paint(super::state_style(work.state), work.state),
        work.faculty,
        work.tokens,
        out::usd(work.cost_microusd),
        out::time(work.created_ms),
    );
    if let Some(error) = &work.error {
        text.push_str(&format!("{} {}\n", paint(BAD, "error:"), out::safe(&error.to_string())));
    }
    let ledger = formatted(&shown.entries);
    text.push_str(if ledger.is_empty() { "\nthe ledger is empty\n" } else { "\n" });
    text.push_str(&out::safe(&ledger));
    if let Some(journal) = &shown.journal {
        text.push_str(&format!("\n{}\n{}", paint(BOLD, "JOURNAL"), journal_table(journal)));
    }
    text
}

fn journal_table(journal: &[Record]) -> Table {
    let mut table = Table::new(["#", "KIND", "BY", "WHAT", "MS", "OUTCOME"]);
    for record in journal {
        let (style, outcome) = match &record.outcome {
            Some(Outcome::Ok { .. }) => (GOOD, "ok".to_owned()),
            Some(Outcome::Failed { error }) => (BAD, format!("{}: {error}", error.class())),
            None => (WARN, "unknown: the host ended first".to_owned()),
        };
        let elapsed = record.ended_ms.map(|end| end.saturating_sub(record.started_ms).to_string());
        table.row([
            (DIM, record.seq.to_string()),
            plain(record.intent.kind.as_str()),
            plain(&record.intent.caller),
            plain(&record.intent.subject),
            plain(elapsed.unwrap_or_default()),
            (style, out::short(&outcome, 60)),
        ]);
    }
    table
}
