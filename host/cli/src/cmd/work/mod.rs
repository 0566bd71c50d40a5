//! `animus work`: the queue.

mod show;
mod submit;
mod watch;

use animus_core::{
    Error,
    id::WorkId,
    store::Tenant,
    work::{State, Work as Item, WorkFilter},
};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::{OPERATOR, state_style};
use crate::{
    context::Context,
    fault::{Exit, Fault, Result},
    out::{self, BOLD, DIM, Table, plain},
};

#[derive(Args)]
pub(crate) struct Work {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Submit work; where no server takes it, this process does it right away
    Submit(Box<submit::Submit>),
    /// List work, newest first
    List {
        /// Only those in this state: queued, running, completed, failed, dead, cancelled, merged
        #[arg(long)]
        state: Option<State>,
        /// Only those of this faculty or kind, as it was asked for
        #[arg(long, value_name = "NAME")]
        faculty: Option<String>,
        /// Only children of this item: its identifier, a unique beginning of it, or `last`
        #[arg(long, value_name = "WORK")]
        parent: Option<String>,
        /// At most so many, up to 1,000
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Show an item: what came of it, its ledger, children and runs
    Show(show::Show),
    /// Cancel an item and its children
    Cancel {
        /// Its identifier, a unique beginning of it, or `last`
        work: String,
    },
    /// Put a failed or dead item back into the queue
    Retry {
        /// Its identifier, a unique beginning of it, or `last`
        work: String,
    },
    /// Watch what happens to an item, from its beginning, until it is settled
    Watch(watch::Watch),
}

#[derive(Serialize)]
struct List {
    work: Vec<Item>,
}

#[derive(Serialize)]
struct Changed {
    work: Item,
}

#[derive(Serialize)]
struct Cancelled {
    work: Item,
    /// Why nobody hears of it yet, where the process that ran it is gone.
    waiting: Option<String>,
}

impl Work {
    pub(crate) async fn run(self, cx: &Context) -> Result<Exit> {
        match self.command {
            Command::Submit(submit) => return submit.run(cx).await,
            Command::Show(show) => return show.run(cx).await,
            Command::Watch(watch) => return watch.run(cx).await,
            Command::List { state, faculty, parent, limit } => {
                let tenant = cx.tenant().await?;
                let parent = match parent {
                    Some(parent) => Some(find(&*tenant, &parent).await?.id),
                    None => None,
                };
                let filter = WorkFilter { state, faculty, parent, before: None, limit: Some(limit) };
                cx.out.show(&List { work: tenant.works(filter).await? }, |list| table(&list.work));
            }
            Command::Cancel { work } => {
                let tenant = cx.tenant().await?;
                let id = find(&*tenant, &work).await?.id;
                let work = tenant.work_cancel(OPERATOR, id).await?;
                let waiting = match work.cancelling {
                    true => show::orphaned(&*tenant, &work, &tenant.focuses(id).await?).await?,
                    false => None,
                };
                cx.out.show(&Cancelled { work, waiting }, |cancelled| {
                    match (cancelled.work.cancelling, &cancelled.waiting) {
                        (true, Some(why)) => format!("{id} is to be cancelled, and {why}"),
                        (true, None) => format!("{id} is running, and its host is told to cancel it"),
                        (false, _) => format!("{id} is {}", cancelled.work.state),
                    }
                });
            }
            Command::Retry { work } => {
                let tenant = cx.tenant().await?;
                let id = find(&*tenant, &work).await?.id;
                let work = tenant.work_retry(OPERATOR, id).await?;
                cx.out.show(&Changed { work }, |_| format!("{id} is queued again"));
            }
        }
        Ok(Exit::Done)
    }
}

/// The work item that a person means.
pub(super) async fn find(tenant: &dyn Tenant, named: &str) -> Result<Item> {
    let found = match named.parse::<WorkId>() {
        Ok(id) => vec![tenant.work(id).await?],
        Err(_) if named == "last" => tenant.works(WorkFilter { limit: Some(1), ..WorkFilter::default() }).await?,
        Err(_) => tenant.works_by_prefix(named, 2).await?,
    };
    match <[Item; 1]>::try_from(found) {
        Ok([work]) => Ok(work),
        Err(none) if none.is_empty() && named == "last" => {
            let none = Error::NotFound("there is no work item yet".into());
            Err(Fault::from(none).advise("submit one: animus work submit FACULTY SOURCE \"…\""))
        }
        Err(none) if none.is_empty() => {
            let none = Error::NotFound(format!("no work item's identifier begins with '{named}'"));
            Err(Fault::from(none).advise("list the newest ones: animus work list"))
        }
        Err(_) => {
            Err(Fault::usage(format!("several work items begin with '{named}'")).advise("type more of the identifier"))
        }
    }
}

fn table(work: &[Item]) -> String {
    if work.is_empty() {
        return "no such work\n".to_owned();
    }
    let mut table = Table::new(["WORK", "STATE", "FACULTY", "WHEN", "TRIES", "WHAT"]);
    for item in work {
        table.row([
            (DIM, item.id.to_string()),
            (state_style(item.state), item.state.to_string()),
            plain(&item.faculty),
            plain(out::time(item.created_ms)),
            plain(format!("{}/{}", item.attempts, item.max_attempts)),
            (BOLD, out::short(&item.instruction, 60)),
        ]);
    }
    table.to_string()
}

/// The exit code that says how work ended.
fn exit(work: &Item) -> Exit {
    match (work.state, &work.error) {
        (State::Failed | State::Dead, Some(error)) => Fault::from(error.clone()).exit(),
        (State::Failed | State::Dead, None) => Exit::Failed,
        (State::Cancelled, _) => Exit::Cancelled,
        _ => Exit::Done,
    }
}
