//! `animus work show`: what came of an item, and what belongs to it.

use animus_core::{
    id::WorkId,
    ledger::{self, Filter},
    store::Tenant,
    work::{Disposal, FocusRecord, State, Work as Item, WorkFilter},
};
use clap::Args;
use serde::Serialize;

use super::{exit, find, submit};
use crate::{
    cmd::state_style,
    context::Context,
    fault::{Exit, Result},
    machine,
    out::{self, BAD, BOLD, DIM, GOOD, Table, WARN, paint, plain},
    serve,
};

/// The most children that are shown.
const CHILDREN: u32 = 100;

#[derive(Args)]
pub(crate) struct Show {
    /// Its identifier, a unique beginning of it, or `last`
    #[arg(default_value = "last")]
    work: String,
    /// Wait until it is settled; where no server takes work, this process does it
    #[arg(long)]
    wait: bool,
}

#[derive(Serialize)]
struct Shown {
    work: Item,
    /// Why it waits, where nothing runs it.
    waiting: Option<String>,
    entries: Vec<ledger::Entry>,
    children: Vec<Item>,
    foci: Vec<FocusRecord>,
}

impl Show {
    /// Shows this item.
    pub(super) fn of(id: WorkId) -> Self {
        Self { work: id.to_string(), wait: false }
    }

    pub(super) async fn run(self, cx: &Context) -> Result<Exit> {
        let tenant = cx.tenant().await?;
        let mut work = find(&*tenant, &self.work).await?;
        if self.wait && !work.state.is_settled() {
            let folder = work.workspace.as_ref().map(std::path::PathBuf::from).filter(|folder| folder.is_dir());
            let workspace = cx.workspace(folder.as_deref())?;
            if serve::servers(&*tenant).await?.is_empty() {
                cx.seeded().await?;
                let config = cx.config(&workspace)?;
                submit::work_until_settled(cx, &config, tenant.clone(), workspace, work.id).await?;
            } else {
                submit::wait(cx, tenant.clone(), work.id).await?;
            }
            work = tenant.work(work.id).await?;
        }
        let children = WorkFilter { parent: Some(work.id), limit: Some(CHILDREN), ..WorkFilter::default() };
        let foci = tenant.focuses(work.id).await?;
        let shown = Shown {
            waiting: waiting(cx, &*tenant, &work, &foci).await?,
            entries: tenant.ledger_read(work.id, Filter::default()).await?,
            children: tenant.works(children).await?,
            foci,
            work,
        };
        cx.out.show(&shown, text);
        Ok(if self.wait { exit(&shown.work) } else { Exit::Done })
    }
}

/// Why nothing works on an item now that is not settled.
async fn waiting(cx: &Context, tenant: &dyn Tenant, work: &Item, foci: &[FocusRecord]) -> Result<Option<String>> {
    match work.state {
        State::Queued => {}
        State::Running => return orphaned(tenant, work, foci).await,
        _ => return Ok(None),
    }
    let servers = serve::servers(tenant).await?;
    if servers.iter().any(|server| server.beat.faculties.contains(&work.faculty)) {
        return Ok(None);
    }
    let faculties = serve::faculties(cx, &cx.workspace(None)?)?;
    Ok(match serve::route(&faculties, &tenant.plugins().await?, &work.faculty) {
        Err(why) => Some(why.to_string()),
        Ok(_) if servers.is_empty() => Some("no server takes work now; start one: animus serve".to_owned()),
        Ok(route) => Some(format!("no server that runs now serves the faculty '{}'", route.faculty)),
    })
}

/// Why nothing works on a running item: the process that ran it is gone, after it let go of it or in the middle. Of another
/// machine's processes only servers are known.
pub(super) async fn orphaned(tenant: &dyn Tenant, work: &Item, foci: &[FocusRecord]) -> Result<Option<String>> {
    let Some(focus) = foci.last().filter(|focus| work.state == State::Running && Some(focus.id) == work.focus) else {
        return Ok(None);
    };
    if focus.host.machine != machine::name() || machine::is_alive(focus.host.process) {
        return Ok(None);
    }
    let what = "the process that ran it let go of it or is gone";
    let next = match (work.disposal, serve::servers(tenant).await?.is_empty()) {
        (Disposal::Held, _) => "it counts as failed as soon as anything else is run: animus doctor",
        (Disposal::Queue, true) => "the next server goes on with it; start one: animus serve",
        (Disposal::Queue, false) => "another server goes on with it when its lease has run out",
    };
    Ok(Some(format!("{what}; {next}")))
}

fn text(shown: &Shown) -> String {
    let Shown { work, waiting, entries, children, foci } = shown;
    let mut text = format!(
        "{} {}\n{} · {} · attempt {} of {} · {} tokens · {} · {}\n",
        paint(BOLD, work.id),
        out::short(&work.instruction, 100),
        paint(state_style(work.state), work.state),
        out::safe(&work.faculty),
        work.attempts,
        work.max_attempts,
        work.tokens,
        out::usd(work.cost_microusd),
        out::time(work.created_ms),
    );
    if let Some(canonical) = work.merged_into {
        text.push_str(&format!("merged into {canonical}\n"));
    }
    if let Some(parent) = work.parent {
        text.push_str(&format!("{}\n", paint(DIM, format_args!("child of {parent}"))));
    }
    if let Some(why) = waiting {
        text.push_str(&format!("{} {}\n", paint(WARN, "waiting:"), out::safe(why)));
    }
    if let Some(error) = &work.error {
        text.push_str(&format!("{} {}\n", paint(BAD, "error:"), out::safe(&error.to_string())));
    }
    if let Some(outcome) = &work.outcome {
        let (style, word) = if work.state == State::Completed { (GOOD, "outcome:") } else { (WARN, "came to:") };
        let summary = outcome.get("summary").and_then(serde_json::Value::as_str).unwrap_or_default();
        text.push_str(&format!("\n{}\n{}\n", paint(style, word), out::safe(summary)));
        if let Some(data) = outcome.get("data").filter(|data| !data.is_null()) {
            text.push_str(&format!("{}\n", paint(DIM, out::safe(&data.to_string()))));
        }
    }
    let ledger = ledger::formatted(entries);
    if !ledger.is_empty() {
        text.push_str(&format!("\n{}", out::safe(&ledger)));
    }
    if !children.is_empty() {
        text.push_str(&format!("\n{}\n{}", paint(BOLD, "CHILDREN"), super::table(children)));
    }
    if !foci.is_empty() {
        let mut table = Table::new(["FOCUS", "BEGAN", "ENDED", "HOST"]);
        for focus in foci {
            table.row([
                (DIM, focus.id.to_string()),
                plain(out::time(focus.began_ms)),
                plain(focus.ended_ms.map(out::time).unwrap_or_else(|| "runs".into())),
                plain(&focus.host),
            ]);
        }
        text.push_str(&format!("\n{table}"));
    }
    text
}
