//! What is added to each token of a model on its way from the provider to whoever follows the work, against a client
//! that is connected to the provider itself.

mod loopback;
mod server;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use animus_agent::{
    Focus, LEASE_MS,
    events::{Following, Hub, Next},
};
use animus_core::{
    authority::Authority,
    event::Event,
    grant::Grant,
    id::{Digest, PluginName, TenantId},
    services::{EngageOptions, Principal, Services as _},
    store::{SecretValue, Tenant},
    work::{self, Claim, NewWork, Settlement, State},
};
use animus_llm::{KeySource, LlmConfig, Router};
use anyhow::{Context as _, Result, bail};
use async_trait::async_trait;
use serde_json::json;
use tempfile::tempdir;

use self::{
    loopback::{Marks, Provider},
    server::Server,
};
use crate::{
    fixture::Host,
    measure::Samples,
    table::{Row, time},
};

const ROUNDS: usize = 10;
const TOKENS: usize = 200;
/// Between two tokens: 500 a second.
const PACE: Duration = Duration::from_millis(2);
/// What the provider asks for, and gets.
const KEY: &str = "bench-key";

pub(crate) async fn measure() -> Result<Vec<Row>> {
    let here = "router → focus → event hub → follower in this process, journaled, without the HTTP of `animus serve`";
    let there =
        "`animus serve`, a process of its own: work by HTTP, router → assistant's focus → hub → SSE on a socket";
    let mut rows = Vec::new();
    rows.push(match in_process(ROUNDS, TOKENS).await {
        Ok(figures) => row(here, &figures),
        Err(error) => Row::failed("stream", &error),
    });
    rows.push(match Server::find()? {
        None => Row::unmeasured("stream", &format!("{there}: no `animus` beside this program")),
        Some(binary) => match through_server(&binary).await {
            Ok(figures) => row(there, &figures),
            Err(error) => Row::failed("stream", &error),
        },
    });
    Ok(rows)
}

/// Delays from the provider's write to the reader, token by token.
struct Figures {
    ours: Samples,
    direct: Samples,
}

fn row(way: &str, figures: &Figures) -> Row {
    let Figures { ours, direct } = figures;
    let added = (ours.p50().as_secs_f64() - direct.p50().as_secs_f64()) * 1e6;
    Row {
        id: "stream",
        figure: format!("delay of a token, {way}; a direct connection, unparsed; the medians' difference (µs)"),
        ours: format!("{} / {}", time(ours.p50()), time(ours.p99())),
        baseline: format!("{} / {}", time(direct.p50()), time(direct.p99())),
        ratio: added,
        target: "≤ 200 µs".into(),
        met: added <= 200.0,
    }
}

/// Both ways in turn, so many times after a first one of each; `ours` tells when it saw each token of a new answer.
async fn figures(
    provider: &Provider,
    rounds: usize,
    mut ours: impl AsyncFnMut() -> Result<Vec<Instant>>,
) -> Result<Figures> {
    let (mut through, mut direct) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let first = provider.delays(&provider.direct().await?)?;
        let second = provider.delays(&ours().await?)?;
        if round > 0 {
            direct.extend(first);
            through.extend(second);
        }
    }
    Ok(Figures { ours: Samples::new(through), direct: Samples::new(direct) })
}

async fn in_process(rounds: usize, tokens: usize) -> Result<Figures> {
    let home = tempdir()?;
    let host = Host::open(home.path()).await?;
    let provider = Provider::start(tokens).await?;
    let config: LlmConfig = serde_json::from_value(json!({
        "roles": { "default": "openai:bench" },
        "providers": { "openai": { "base_url": provider.base() } },
    }))?;
    let router = Arc::new(Router::new(config, Arc::new(Key))?);
    let hub = Hub::new(host.tenant.clone());
    figures(&provider, rounds, async || run(&host, &router, &hub, tokens).await).await
}

/// One piece of work with one answer of the model, as a host runs it.
async fn run(host: &Host, router: &Arc<Router>, hub: &Arc<Hub>, tokens: usize) -> Result<Vec<Instant>> {
    let tenant: &dyn Tenant = &*host.tenant;
    let work = tenant.work_submit(NewWork::held("caller", "bench", "measure", json!({}))).await?.work.id;
    let claim = Claim::held(work::Host::this("bench"), LEASE_MS, json!({}));
    let lease = tenant.focus_begin(work, State::Queued, &claim).await?.lease;
    let channel = hub.open(work).await?;
    let reader = tokio::spawn(read(hub.follow(work, 0), tokens));
    let grant = Grant::parse_toml("llm = { roles = [\"*\"] }")?;
    let by = Principal {
        tenant: TenantId::local(),
        focus: lease.focus,
        authority: Arc::new(Authority::new(PluginName::new("caller")?, grant.clone(), grant, Grant::everything())),
        generation: 1,
        digest: Digest::of(b""),
        depth: 0,
        parent: None,
    };
    let mut cx = host.run_context(router.clone());
    cx.watcher = channel.clone();
    let focus = Focus::new(cx, work, lease);
    let options = EngageOptions { prompt: "speak".into(), max_turns: Some(1), ..EngageOptions::default() };
    let engaged = focus.engage(&by, options).await;
    tenant.focus_end(lease, State::Completed, Settlement::default()).await?;
    hub.close(&channel).await;
    engaged?;
    reader.await?
}

/// Notes when each token comes.
async fn read(mut following: Following, tokens: usize) -> Result<Vec<Instant>> {
    let mut marks = Marks::new(tokens);
    loop {
        match following.next().await? {
            Next::Event(_, Event::Token { text }) => {
                if marks.take(text.as_bytes()) {
                    return Ok(marks.seen());
                }
            }
            Next::Event(..) => {}
            Next::Settled(_) | Next::Over => bail!("the work ended before its tokens came"),
        }
    }
}

async fn through_server(binary: &std::path::Path) -> Result<Figures> {
    let provider = Provider::start(TOKENS).await?;
    let server = Server::start(binary, provider.base()).await.context("`animus serve`")?;
    figures(&provider, ROUNDS, async || server.run(TOKENS).await).await
}

/// The provider's key, as from the environment.
struct Key;

#[async_trait]
impl KeySource for Key {
    fn env(&self, _: &str) -> Option<SecretValue> {
        Some(SecretValue::new(KEY))
    }

    async fn secret(&self, _: &str) -> animus_core::Result<Option<SecretValue>> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The row works: every token comes by both ways, after it was sent.
    #[tokio::test]
    async fn every_token_is_timed_on_both_ways() {
        let figures = in_process(1, 20).await.unwrap();
        assert_eq!((figures.ours.len(), figures.direct.len()), (20, 20));
        assert!(figures.direct.p50() > Duration::ZERO && figures.ours.p50() > Duration::ZERO);
    }
}
