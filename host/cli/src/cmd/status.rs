//! `animus status`: what is installed and what was done lately.

use animus_core::{
    store::{PluginState, StoreHealth},
    work::{Work, WorkFilter},
};
use clap::Args;
use serde::Serialize;

use super::state_style;
use crate::{
    context::Context,
    fault::{Exit, Result},
    out::{self, BOLD, DIM, Table, plain},
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
    work: Vec<Work>,
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
        let shown = Shown {
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

fn text(shown: &Shown) -> String {
    let Shown { version, home, store, plugins, work } = shown;
    let mut text = format!(
        "animus {version} · home {home}\n{} store at {}, schema {}\n{} plugins serve, {} await a grant\n",
        store.backend,
        out::safe(&store.location),
        store.schema,
        plugins.serving,
        plugins.awaiting_grant,
    );
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
