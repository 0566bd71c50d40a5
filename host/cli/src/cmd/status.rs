//! `animus status`: what is installed and what was done lately.

use std::collections::BTreeMap;

use animus_core::{
    store::{PluginState, StoreHealth},
    work::{HostRecord, OTHERS, State, Work, WorkFilter, by_name},
};
use clap::Args;
use serde::Serialize;

use super::state_style;
use crate::{
    context::Context,
    fault::{Exit, Result},
    out::{self, BOLD, DIM, Table, WARN, paint, plain},
    serve,
};

#[derive(Args)]
pub(crate) struct Status {
    /// So many of the newest work items
    #[arg(long, value_name = "N", default_value_t = 10)]
    limit: u32,
}

#[derive(Serialize)]
struct Shown {
    version: &'static str,
    home: String,
    store: StoreHealth,
    plugins: Plugins,
    queue: Queue,
    /// Hosts that take work now.
    servers: Vec<HostRecord>,
    work: Vec<Work>,
}

/// How the queue stands.
#[derive(Serialize)]
struct Queue {
    /// Items by state.
    by_state: BTreeMap<String, u64>,
    /// Items that could begin now, by what they name.
    ready: BTreeMap<String, u64>,
    /// When the oldest of them was submitted.
    oldest_ready_ms: Option<u64>,
    /// Of these, what no faculty runs, and why.
    unroutable: BTreeMap<String, String>,
    /// Items that run, the newest 100.
    running: Vec<Work>,
}

#[derive(Serialize)]
struct Plugins {
    serving: usize,
    awaiting_grant: usize,
}

impl Status {
    pub(crate) async fn run(self, cx: &Context) -> Result<Exit> {
        let tenant = cx.seeded().await?;
        let plugins = tenant.plugins().await?;
        let serving = plugins.iter().filter(|plugin| plugin.state == PluginState::Serving).count();
        let faculties = serve::faculties(cx, &cx.workspace(None)?)?;
        let counts = tenant.work_counts().await?;
        let why = |name: &String| Some((name.clone(), serve::route(&faculties, &plugins, name).err()?.to_string()));
        let running = WorkFilter { state: Some(State::Running), limit: Some(100), ..WorkFilter::default() };
        let ready = by_name(counts.ready);
        let queue = Queue {
            unroutable: ready.keys().filter(|name| *name != OTHERS).filter_map(why).collect(),
            by_state: counts.by_state,
            ready,
            oldest_ready_ms: counts.oldest_ready_ms,
            running: tenant.works(running).await?,
        };
        let shown = Shown {
            queue,
            servers: serve::servers(&*tenant).await?,
            version: env!("CARGO_PKG_VERSION"),
            home: cx.home.path().display().to_string(),
            store: cx.store().await?.check().await?,
            plugins: Plugins { serving, awaiting_grant: plugins.len() - serving },
            work: tenant.works(WorkFilter { limit: Some(self.limit), ..WorkFilter::default() }).await?,
        };
        cx.out.show(&shown, text);
        Ok(Exit::Done)
    }
}

fn queue_text(queue: &Queue, servers: &[HostRecord]) -> String {
    let mut text = String::new();
    let states: Vec<_> = queue.by_state.iter().map(|(state, n)| format!("{n} {state}")).collect();
    if !states.is_empty() {
        text.push_str(&format!("work: {}\n", states.join(", ")));
    }
    let ready: Vec<_> = queue.ready.iter().map(|(name, n)| format!("{n} {}", out::short(name, 40))).collect();
    if let Some(oldest) = queue.oldest_ready_ms {
        text.push_str(&format!("ready now: {}; the oldest since {}\n", ready.join(", "), out::time(oldest)));
    }
    for (name, why) in &queue.unroutable {
        let name = out::short(name, 40);
        text.push_str(&format!("{} {}\n", paint(WARN, format_args!("nobody runs {name}:")), out::safe(why)));
    }
    for server in servers {
        let beat = &server.beat;
        let address = beat.address.as_deref().unwrap_or("no HTTP interface");
        text.push_str(&format!(
            "server {} · {address} · {} of {} foci\n",
            beat.host, beat.running, beat.max_concurrent
        ));
    }
    if servers.is_empty() && !queue.ready.is_empty() {
        text.push_str("no server takes work now; start one: animus serve\n");
    }
    text
}

fn text(shown: &Shown) -> String {
    let Shown { version, home, store, plugins, queue, servers, work } = shown;
    let mut text = format!(
        "animus {version} · home {home}\n{} store at {}, schema {}\n{} plugins serve, {} await a grant\n",
        store.backend,
        out::safe(&store.location),
        store.schema,
        plugins.serving,
        plugins.awaiting_grant,
    );
    text.push_str(&queue_text(queue, servers));
    if work.is_empty() {
        text.push_str("no work yet; begin some: animus run \"…\"\n");
        return text;
    }
    let mut table = Table::new(["WORK", "STATE", "WHEN", "TOKENS", "COST", "WHAT"]);
    for item in work {
        table.row([
            (DIM, item.id.to_string()),
            (state_style(item.state), item.state.to_string()),
            plain(out::time(item.created_ms)),
            plain(item.tokens),
            plain(out::usd(item.cost_microusd)),
            (BOLD, out::short(&item.instruction, 60)),
        ]);
    }
    text.push('\n');
    text.push_str(&table.to_string());
    text
}
