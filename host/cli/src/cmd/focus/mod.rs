//! `animus focus`: single runs of work, from their journals.

mod replay;
mod show;

use animus_agent::Retrace;
use animus_core::{
    Error,
    store::Tenant,
    work::{FocusRecord, WorkFilter},
};
use clap::{Args, Subcommand};

use crate::{
    context::Context,
    fault::{Exit, Fault, Result},
};

#[derive(Args)]
pub(crate) struct Focus {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show what a run did: every effect with its time, outcome and cost
    Show {
        /// The run or its work item: its identifier, a unique beginning of it, or `last`
        #[arg(default_value = "last")]
        focus: String,
    },
    /// Run it again against its journal: nothing is called, nothing is written; exit code 1 when it goes another way
    Replay(Box<replay::Replay>),
}

impl Focus {
    pub(crate) async fn run(self, cx: &Context) -> Result<Exit> {
        match self.command {
            Command::Show { focus } => show::show(cx, &focus).await,
            Command::Replay(replay) => replay.run(cx).await,
        }
    }
}

/// The run that a person means, with its journal: of a work item, the newest.
async fn find(tenant: &dyn Tenant, named: &str) -> Result<Retrace> {
    let focus = match named {
        "last" => {
            let works = tenant.works(WorkFilter { limit: Some(100), ..WorkFilter::default() }).await?;
            let newest = works.iter().find_map(|work| work.focus);
            let none = || Fault::from(Error::NotFound("nothing has been run yet".into()));
            tenant.focus(newest.ok_or_else(none)?).await?
        }
        prefix => by_prefix(tenant, prefix).await?,
    };
    let work = tenant.work(focus.work).await?;
    let records = tenant.journal_read(focus.id).await?;
    Ok(Retrace { work, focus, records })
}

async fn by_prefix(tenant: &dyn Tenant, prefix: &str) -> Result<FocusRecord> {
    let several = || {
        Fault::usage(format!("several runs or work items begin with '{prefix}'")).advise("type more of the identifier")
    };
    let foci = tenant.focuses_by_prefix(prefix, 2).await?;
    let works = tenant.works_by_prefix(prefix, 2).await?;
    match (foci.as_slice(), works.as_slice()) {
        ([focus], []) => Ok(focus.clone()),
        ([], [work]) => {
            let none = || Fault::from(Error::NotFound(format!("the work item {} was never run", work.id)));
            Ok(tenant.focus(work.focus.ok_or_else(none)?).await?)
        }
        ([], []) => {
            let none = Error::NotFound(format!("no run's or work item's identifier begins with '{prefix}'"));
            Err(Fault::from(none).advise("list the newest work: animus work list"))
        }
        _ => Err(several()),
    }
}
