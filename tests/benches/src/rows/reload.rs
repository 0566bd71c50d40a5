//! From saving a built component into the drop folder to its first answer, while callers go on calling.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use animus_core::{
    Error,
    event::Reload,
    grant::Grant,
    id::{Digest, TenantId},
    plugins::PluginSet as _,
    store::{NewGeneration, Plugin, Tenant},
};
use animus_runtime::{
    Prepared,
    reload::{Commit, DropFolder, Pace, Reloader, Sources},
};
use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use tempfile::tempdir;

use crate::{
    fixture::{Host, versions},
    measure::Samples,
    table::{Row, time},
};

const RELOADS: usize = 100;
const CALLERS: usize = 8;
/// Between two calls of one caller: together some thousand calls a second.
const PAUSE: Duration = Duration::from_millis(8);
const PLUGIN: &str = "versioned";
const TOOL: &str = "versioned.version";

/// Installs what is dropped, and grants what it asks for.
struct Drops(Arc<dyn Tenant>);

#[async_trait]
impl Commit for Drops {
    async fn commit(
        &self,
        wasm: Arc<[u8]>,
        prepared: Prepared,
        source: &str,
        _: Option<&Plugin>,
    ) -> Result<Plugin, Error> {
        let Prepared { inspection, tools } = prepared;
        let grant = Some(inspection.manifest.request.clone());
        let new = NewGeneration {
            name: inspection.manifest.name,
            wasm,
            version: inspection.manifest.version.to_string(),
            manifest: inspection.manifest_text,
            source: source.into(),
            tools,
            is_faculty: false,
            is_interpreter: false,
            is_hook: false,
            grant,
        };
        self.0.plugin_install("bench", new).await
    }
}

#[async_trait]
impl Sources for Drops {
    async fn read(&self, path: &Path) -> Result<Vec<u8>, Error> {
        fs::read(path).map_err(|e| Error::Internal(format!("cannot read {}: {e}", path.display())))
    }
}

/// What the callers saw.
#[derive(Default)]
struct Seen {
    calls: AtomicU64,
    failed: AtomicU64,
    /// Calls that another version answered than the one that their snapshot holds.
    mixed: AtomicU64,
    over: AtomicBool,
}

pub(crate) async fn measure() -> Result<Vec<Row>> {
    let few = reloads(1).await?;
    // What an edit comes to that moves data: a longer message in one function changes addresses in half of the others.
    let half = reloads(5).await?;
    let figure = |what: &str, reloads: &Reloads| {
        let kilobytes = reloads.size / 1_000;
        let took = &reloads.took;
        Row {
            id: "reload",
            figure: format!("{kilobytes} kB, {what} changed → its first answer, {CALLERS} callers meanwhile (ms)"),
            ours: format!("{} / {}", time(took.p50()), time(took.p99())),
            baseline: "–".into(),
            ratio: took.p50().as_secs_f64() * 1e3,
            target: "–".into(),
            met: true,
        }
    };
    let row = figure("a tenth of its functions", &few);
    let met = row.ratio <= 150.0;
    let calls = few.calls + half.calls;
    let (failed, mixed) = (few.failed + half.failed, few.mixed + half.mixed);
    Ok(vec![
        Row { target: "≤ 150 ms".into(), met, ..row },
        figure("half of its functions", &half),
        Row {
            id: "reload",
            figure: format!(
                "calls that failed, or that another version answered, of {calls} during {} reloads",
                2 * RELOADS
            ),
            ours: format!("{failed} failed, {mixed} mixed"),
            baseline: "–".into(),
            ratio: (failed + mixed) as f64,
            target: "0".into(),
            met: failed + mixed == 0 && calls > 2 * RELOADS as u64,
        },
    ])
}

/// What came of reloads one after another.
struct Reloads {
    /// The bytes of a version.
    size: usize,
    took: Samples,
    calls: u64,
    failed: u64,
    mixed: u64,
}

/// Reloads versions that differ in `changed` of ten functions, while callers go on calling.
async fn reloads(changed: u32) -> Result<Reloads> {
    let home = tempdir()?;
    let folder = home.path().join("plugins");
    fs::create_dir_all(&folder)?;
    let host = Arc::new(Host::with_plugins(home.path(), 0).await?);
    let versions = versions(PLUGIN, RELOADS + 1, changed)?;
    let size = versions.first().map_or(0, Vec::len);
    let expected: HashMap<Digest, String> = versions
        .iter()
        .enumerate()
        .map(|(i, wasm)| (Digest::of(wasm), format!("bench-guest-version:{i:04}")))
        .collect();
    let drops = Drops(host.tenant.clone());
    let reloader = Reloader::new(&host.registry, host.tenant.clone(), Grant::everything(), &drops);
    let mut watched = DropFolder::start(&folder, Pace::default(), reloader, &drops)?;
    let mut versions = versions.iter();
    let first = versions.next().context("there is a first version")?;
    saved(&host, &mut watched, first, &expected).await?;
    let (seen, expected) = (Arc::new(Seen::default()), Arc::new(expected));
    let callers: Vec<_> =
        (0..CALLERS).map(|_| tokio::spawn(call(host.clone(), seen.clone(), expected.clone()))).collect();
    let mut took = Vec::new();
    for wasm in versions {
        took.push(saved(&host, &mut watched, wasm, &expected).await);
    }
    seen.over.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await??;
    }
    let took = Samples::new(took.into_iter().collect::<Result<_>>()?);
    let [calls, failed, mixed] = [&seen.calls, &seen.failed, &seen.mixed].map(|count| count.load(Ordering::Relaxed));
    Ok(Reloads { size, took, calls, failed, mixed })
}

/// Saves a version as an editor does, and returns how long it took until that version answered.
async fn saved(
    host: &Host,
    watched: &mut DropFolder<'_>,
    wasm: &[u8],
    expected: &HashMap<Digest, String>,
) -> Result<Duration> {
    let file = watched.root().join(format!("{PLUGIN}.wasm"));
    let begun = Instant::now();
    fs::write(&file, wasm)?;
    loop {
        let changed =
            tokio::time::timeout(Duration::from_secs(30), watched.next()).await.context("nothing was told")??;
        for path in changed {
            let Some(reloaded) = watched.load(&path).await else { continue };
            if let Some(error) = reloaded.error {
                return Err(error.into());
            }
            if reloaded.kind != Reload::Serving {
                continue;
            }
            let (digest, answer) = answer(host).await?;
            ensure!(digest == Digest::of(wasm) && expected.get(&digest) == Some(&answer), "'{answer}' still serves");
            return Ok(begun.elapsed());
        }
    }
}

/// One call in the newest snapshot: the version that it holds, and what answered.
async fn answer(host: &Host) -> Result<(Digest, String)> {
    let plugins = host.registry.snapshot(&TenantId::local()).context("there is no snapshot")?;
    let digest = plugins.plugin(PLUGIN).context("the plugin is not in the snapshot")?.digest;
    let (focus, _) = host.caller()?;
    let cx = focus.call_context(0, None, tokio_util::sync::CancellationToken::new());
    Ok((digest, plugins.call_tool(&cx, TOOL, "{}".into()).await?.text))
}

/// Calls until it is over.
async fn call(host: Arc<Host>, seen: Arc<Seen>, expected: Arc<HashMap<Digest, String>>) -> Result<()> {
    while !seen.over.load(Ordering::Relaxed) {
        seen.calls.fetch_add(1, Ordering::Relaxed);
        match answer(&host).await {
            Ok((digest, answer)) if expected.get(&digest) == Some(&answer) => {}
            Ok(_) => drop(seen.mixed.fetch_add(1, Ordering::Relaxed)),
            Err(_) => drop(seen.failed.fetch_add(1, Ordering::Relaxed)),
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}
