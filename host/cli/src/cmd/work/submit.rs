//! `animus work submit`: puts work into the queue, and does it where nobody else would.

use std::{path::PathBuf, sync::Arc, time::Duration};

use animus_agent::{
    control::Until,
    events::{Hub, Next},
};
use animus_core::{
    budget::Allowance,
    id::WorkId,
    store::Tenant,
    trace,
    work::{NewWork, Submission, Work as Item},
};
use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::{exit, show};
use crate::{
    cmd::words,
    config::{Config, Usd},
    context::Context,
    fault::{Exit, Fault, Result},
    interrupt,
    serve::{self, Wishes},
    watch::Viewer,
};

#[derive(Args)]
pub(crate) struct Submit {
    /// The faculty that is to do it, or a kind of work that one accepts
    faculty: String,
    /// Who submits: a word for the record, such as `cli`
    source: String,
    /// What to do, in words; `-` reads standard input
    instruction: Vec<String>,
    /// Parameters of the faculty, a JSON object
    #[arg(long, value_name = "JSON", value_parser = object)]
    params: Option<Map<String, Value>>,
    /// Greater is sooner
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    priority: i32,
    /// Merge it into the item of this faculty and key that is queued or running, if there is one
    #[arg(long, value_name = "KEY")]
    dedup_key: Option<String>,
    /// Submit it once, however often this is repeated with the same key
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// At most so many attempts, 1 to 100 [default: what the faculty says]
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
    /// Not before so many seconds from now
    #[arg(long, value_name = "SECONDS")]
    delay: Option<u64>,
    /// At most so many tokens, read and written, in all attempts together
    #[arg(long, value_name = "N")]
    budget_tokens: Option<u64>,
    /// At most so many US dollars in all attempts together
    #[arg(long, value_name = "USD")]
    budget_usd: Option<Usd>,
    /// The folder that plugins with a grant for `$workspace` see [default: the current folder]
    #[arg(long, value_name = "FOLDER")]
    workspace: Option<PathBuf>,
    /// Wait until it is settled, and show what came of it
    #[arg(long)]
    wait: bool,
    /// Leave it in the queue, also where no server takes it
    #[arg(long, conflicts_with = "wait")]
    detach: bool,
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|e| format!("no JSON object: {e}"))
}

#[derive(Serialize)]
struct Submitted {
    /// `created`, `merged`, `repeated`.
    #[serde(flatten)]
    how: Submission,
    work: Item,
    /// Whether a server takes work now.
    served: bool,
    /// Why no faculty runs it, where none does.
    unroutable: Option<String>,
}

impl Submit {
    pub(super) async fn run(self, cx: &Context) -> Result<Exit> {
        let workspace = cx.workspace(self.workspace.as_deref())?;
        let config = cx.config(&workspace)?;
        let faculties = serve::faculties(cx, &workspace)?;
        let tenant = cx.seeded().await?;
        let plugins = tenant.plugins().await?;
        let instruction = if self.instruction.is_empty() { String::new() } else { words(&self.instruction)? };
        let delayed = self.delay.is_some_and(|delay| delay > 0);
        let not_before_ms = self.delay.map(|seconds| now_ms().saturating_add(seconds.saturating_mul(1_000)));
        let new = NewWork {
            max_attempts: self.max_attempts.or_else(|| Some(serve::attempts(&faculties, &plugins, &self.faculty))),
            source: self.source,
            instruction,
            params: Value::Object(self.params.unwrap_or_default()),
            dedup_key: self.dedup_key,
            idempotency_key: self.idempotency_key,
            priority: self.priority,
            not_before_ms,
            allowance: Allowance { tokens: self.budget_tokens, microusd: self.budget_usd.map(|usd| usd.0) },
            workspace: Some(workspace.display().to_string()),
            faculty: self.faculty,
            trace: trace::current_traceparent(),
            ..NewWork::default()
        };
        let submitted = tenant.work_submit(new).await?;
        let id = submitted.work.id;
        let unroutable = serve::route(&faculties, &plugins, &submitted.work.faculty).err().map(|why| why.to_string());
        let is_served = !serve::servers(&*tenant).await?.is_empty();
        let done = Submitted { how: submitted.how, work: submitted.work, served: is_served, unroutable };
        let here = !is_served && !self.detach && done.unroutable.is_none() && (self.wait || !delayed);
        if !self.wait {
            cx.out.show(&done, |done| text(done, here));
        }
        if let Some(why) = &done.unroutable {
            cx.out.note(format_args!("it stays queued: {}", crate::out::safe(why)));
            if self.wait {
                return Err(Fault::from(animus_core::Error::Unavailable(why.clone())));
            }
        }
        if here {
            cx.out.note("no server takes work now, so this process does it");
            work_until_settled(cx, &config, tenant.clone(), workspace, id).await?;
        } else if self.wait {
            wait(cx, tenant.clone(), id).await?;
        }
        match self.wait {
            true => show::Show::of(id).run(cx).await,
            false if here => Ok(exit(&tenant.work(id).await?)),
            false => Ok(Exit::Done),
        }
    }
}

fn text(done: &Submitted, here: bool) -> String {
    let id = done.work.id;
    let how = match done.how {
        Submission::Created => format!("{id} created"),
        Submission::Merged { item } => format!("{item} merged into {id}"),
        Submission::Repeated => format!("{id} submitted before"),
    };
    if done.served || here { how } else { format!("{how}; no server takes work now: animus serve") }
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Takes work from the queue like a server, until this item is settled. Ctrl-C lets go of what runs, and leaves it queued.
pub(super) async fn work_until_settled(
    cx: &Context,
    config: &Config,
    tenant: Arc<dyn Tenant>,
    workspace: PathBuf,
    id: WorkId,
) -> Result {
    let stop = interrupt::listen_and_say(&cx.out, "stopping; what is not done stays queued; again to stop at once")?;
    let hub = Hub::new(tenant);
    let wishes = Wishes { workspace, ..Wishes::default() };
    let plane = serve::plane(cx, config, wishes, hub.clone()).await?;
    let seen = follow(cx, hub, id, CancellationToken::new());
    let (served, ()) = tokio::join!(plane.run(Until::Settled(id), &stop), async {
        let _ = stop.run_until_cancelled(seen).await;
    });
    served?;
    if stop.is_cancelled() { Err(animus_core::Error::Cancelled.into()) } else { Ok(()) }
}

/// Waits until an item is settled that somebody else does. Ctrl-C ends the waiting and nothing else.
pub(super) async fn wait(cx: &Context, tenant: Arc<dyn Tenant>, id: WorkId) -> Result {
    let stop = interrupt::listen_and_say(&cx.out, "no longer waiting; the work goes on")?;
    let hub = Hub::new(tenant);
    match stop.run_until_cancelled(follow(cx, hub, id, CancellationToken::new())).await {
        Some(()) => Ok(()),
        None => Err(animus_core::Error::Cancelled.into()),
    }
}

/// Shows on a terminal what happens to an item until it is settled.
async fn follow(cx: &Context, hub: Arc<Hub>, id: WorkId, stop: CancellationToken) {
    // Programs read what came of it, and nothing else.
    let viewer = (!cx.out.is_json()).then(|| Viewer::start(&cx.out, "waiting"));
    let watcher = viewer.as_ref().map(Viewer::watcher);
    let mut following = hub.follow(id, 0);
    while let Some(next) = stop.run_until_cancelled(following.next()).await {
        match next {
            Ok(Next::Event(_, animus_core::event::Event::Done { .. })) => {}
            Ok(Next::Event(_, event)) => {
                if let Some(watcher) = &watcher {
                    watcher.event(event);
                }
            }
            Ok(Next::Settled(_) | Next::Over) => break,
            Err(error) => {
                tracing::warn!(%error, "what happens to the work cannot be followed; trying again");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }
    if let Some(viewer) = viewer {
        viewer.finish(&cx.out);
    }
}
