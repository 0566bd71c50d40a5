//! Work through the queue of a store: how many items a second, and how soon a host that waits has one.

use std::{
    env,
    sync::Arc,
    time::{Duration, Instant},
};

use animus_agent::LEASE_MS;
use animus_core::{
    id::TenantId,
    store::{Store as _, Tenant},
    work::{Claim, Claimed, Host, NewWork, Settlement, State},
};
use animus_store::{MasterKey, Postgres, Sqlite};
use anyhow::{Context as _, Result, bail};
use serde_json::json;
use sqlx::{
    ConnectOptions as _, PgPool, SqlitePool,
    postgres::PgPoolOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tempfile::{TempDir, tempdir};
use tokio::{sync::mpsc, task::JoinSet, time::sleep};

use crate::{
    measure::Samples,
    postgres::{Database, SERVER},
    table::{Row, time},
};

const WORKERS: usize = 8;
const ROUNDS: usize = 5;
/// Items of one round, and three times as many bare transactions.
const ITEMS: usize = 1_000;
const WAITS: usize = 200;
/// The kind of work.
const KIND: &str = "bench";

/// A store under two handles, each as a process of its own would have one, and its database without the store.
struct Bench {
    name: String,
    tenant: Arc<dyn Tenant>,
    other: Arc<dyn Tenant>,
    bare: Bare,
    /// What goes when this goes.
    _place: (TempDir, Option<Database>),
}

/// One small insertion and a commit at a time, as durable as the store's own.
#[derive(Clone)]
enum Bare {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// What was seen with one database.
struct Figures {
    /// Items a second.
    items: f64,
    /// Bare transactions a second.
    bare: f64,
    /// From a submit through the claimer's own handle.
    near: Samples,
    /// From a submit through another one.
    far: Samples,
}

pub(crate) async fn measure() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let sqlite = Bench::sqlite().await;
    for bench in [sqlite, Bench::postgres().await] {
        match bench {
            Ok(bench) => match bench.figures(ROUNDS, ITEMS, WAITS).await {
                Ok(figures) => rows.extend(bench.rows(&figures)),
                Err(error) => rows.push(Row::failed("queue", &error.context(bench.name))),
            },
            Err(error) => rows.push(Row::failed("queue", &error)),
        }
    }
    Ok(rows)
}

impl Bench {
    async fn sqlite() -> Result<Self> {
        let home = tempdir()?;
        let file = home.path().join("animus.db");
        let open = async || {
            let store = Sqlite::open(&file, MasterKey::load_or_create(&home.path().join("key"))?).await?;
            anyhow::Ok(store.tenant(&TenantId::local()).await?)
        };
        let (tenant, other) = (open().await?, open().await?);
        let options = SqliteConnectOptions::new()
            .filename(&file)
            .disable_statement_logging()
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        // SQLite writes one transaction at a time: callers that wait for one connection are faster than connections that
        // wait for a lock.
        let pool = SqlitePoolOptions::new().max_connections(1).test_before_acquire(false).connect_with(options).await?;
        sqlx::query("CREATE TABLE bare (id INTEGER PRIMARY KEY, number INTEGER NOT NULL)").execute(&pool).await?;
        let name = "SQLite (WAL, synchronous=FULL)".to_owned();
        Ok(Self { name, tenant, other, bare: Bare::Sqlite(pool), _place: (home, None) })
    }

    async fn postgres() -> Result<Self> {
        if env::var_os(SERVER).is_none_or(|url| url.is_empty()) {
            bail!("Postgres: no server is named in {SERVER}; `cargo xtask bench` starts one");
        }
        // That helper is for tests, and panics with the reason.
        let database = tokio::spawn(Database::fresh()).await.context("Postgres: no database was made")?;
        let database = database.context("Postgres: it is left out by the environment")?;
        let home = tempdir()?;
        let open = async || {
            let keys = MasterKey::load_or_create(&home.path().join("key"))?;
            anyhow::Ok(Postgres::open(&database.url(), keys).await?.tenant(&TenantId::local()).await?)
        };
        let (tenant, other) = (open().await?, open().await?);
        let pool = PgPoolOptions::new()
            .max_connections(u32::try_from(WORKERS)?)
            .test_before_acquire(false)
            .connect(&database.url())
            .await?;
        sqlx::query("CREATE TABLE bare (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, number bigint NOT NULL)")
            .execute(&pool)
            .await?;
        let fsync: String = sqlx::query_scalar("SHOW fsync").fetch_one(&pool).await?;
        let commit: String = sqlx::query_scalar("SHOW synchronous_commit").fetch_one(&pool).await?;
        let name = format!("Postgres (fsync={fsync}, synchronous_commit={commit})");
        Ok(Self { name, tenant, other, bare: Bare::Postgres(pool), _place: (home, Some(database)) })
    }

    /// Takes all figures, items and bare transactions in turn.
    async fn figures(&self, rounds: usize, items: usize, waits: usize) -> Result<Figures> {
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        // The first round warms up.
        for round in 0..=rounds {
            let tenant = self.tenant.clone();
            let one = rate(items, move |_| through(tenant.clone())).await?;
            let table = self.bare.clone();
            let other = rate(items * 3, move |number| transaction(table.clone(), number)).await?;
            if round > 0 {
                ours.push(one);
                bare.push(other);
            }
        }
        let near = waits_of(&self.tenant, &self.tenant, waits).await?;
        let far = waits_of(&self.tenant, &self.other, waits).await?;
        Ok(Figures { items: median(ours), bare: median(bare), near, far })
    }

    fn rows(&self, figures: &Figures) -> Vec<Row> {
        let Figures { items, bare, near, far } = figures;
        let name = &self.name;
        let ratio = items / bare;
        let mut rows = vec![Row {
            id: "queue",
            figure: format!(
                "items/s, submit → claim → complete, {WORKERS} workers / bare transactions/s, {name} (more is better)"
            ),
            ours: format!("{items:.0}/s"),
            baseline: format!("{bare:.0}/s"),
            ratio,
            target: "≥ 0.3".into(),
            met: ratio >= 0.3,
        }];
        for (how, took) in [("the same handle", near), ("another handle", far)] {
            rows.push(Row {
                id: "queue",
                figure: format!("submit through {how} → a waiting host has claimed it (ms; ≤ 2 is beyond), {name}"),
                ours: format!("{} / {}", time(took.p50()), time(took.p99())),
                baseline: "–".into(),
                ratio: took.p50().as_secs_f64() * 1e3,
                target: "–".into(),
                met: true,
            });
        }
        rows
    }
}

/// How often a second `work` is done by [`WORKERS`] at once, who do it `times` together.
async fn rate<F>(times: usize, work: impl Fn(i64) -> F + Clone + Send + 'static) -> Result<f64>
where
    F: Future<Output = Result<()>> + Send,
{
    let each = times.div_ceil(WORKERS);
    let begun = Instant::now();
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let work = work.clone();
        workers.spawn(async move {
            for number in 0..i64::try_from(each)? {
                work(number).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker??;
    }
    Ok((each * WORKERS) as f64 / begun.elapsed().as_secs_f64())
}

/// Submits an item, claims one, and completes that.
async fn through(tenant: Arc<dyn Tenant>) -> Result<()> {
    tenant.work_submit(item()).await?;
    loop {
        // There are as many items as workers; but what another worker is about to claim is nobody else's.
        match tenant.work_claim(&claim()).await? {
            Some(claimed) => return complete(&*tenant, claimed).await,
            None => tokio::task::yield_now().await,
        }
    }
}

async fn transaction(bare: Bare, number: i64) -> Result<()> {
    match bare {
        Bare::Sqlite(pool) => {
            let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
            sqlx::query("INSERT INTO bare (number) VALUES (?)").bind(number).execute(&mut *tx).await?;
            tx.commit().await?;
        }
        Bare::Postgres(pool) => {
            let mut tx = pool.begin().await?;
            sqlx::query("INSERT INTO bare (number) VALUES ($1)").bind(number).execute(&mut *tx).await?;
            tx.commit().await?;
        }
    }
    Ok(())
}

/// How long it takes from the call that submits an item until one that waits for work has claimed it.
async fn waits_of(claims: &Arc<dyn Tenant>, submits: &Arc<dyn Tenant>, count: usize) -> Result<Samples> {
    let (tell, mut told) = mpsc::channel(1);
    let claimer = tokio::spawn(wait_and_claim(claims.clone(), count, tell));
    let mut took = Vec::with_capacity(count);
    for number in 0..count {
        // Until the other one waits again; uneven, so as not to fall into step with a watch that looks now and then.
        sleep(Duration::from_millis(5 + number as u64 % 13 * 7)).await;
        let begun = Instant::now();
        submits.work_submit(item()).await?;
        match tokio::time::timeout(Duration::from_secs(30), told.recv()).await.context("nobody claimed an item")? {
            Some(at) => took.push(at.saturating_duration_since(begun)),
            None => break,
        }
    }
    claimer.await??;
    Ok(Samples::new(took))
}

/// Claims and completes so many items as they come, and tells when it had each.
async fn wait_and_claim(tenant: Arc<dyn Tenant>, count: usize, tell: mpsc::Sender<Instant>) -> Result<()> {
    let mut watch = tenant.work_watch().await?;
    for _ in 0..count {
        let claimed = loop {
            match tenant.work_claim(&claim()).await? {
                Some(claimed) => break claimed,
                None => watch.changed().await,
            }
        };
        let at = Instant::now();
        complete(&*tenant, claimed).await?;
        tell.send(at).await?;
    }
    Ok(())
}

async fn complete(tenant: &dyn Tenant, claimed: Claimed) -> Result<()> {
    tenant.focus_end(claimed.lease, State::Completed, Settlement::default()).await?;
    Ok(())
}

fn item() -> NewWork {
    let instruction = "measure".to_owned();
    NewWork { faculty: KIND.into(), source: "bench".into(), instruction, params: json!({}), ..NewWork::default() }
}

fn claim() -> Claim {
    Claim { faculties: vec![KIND.into()], ..Claim::held(Host::this("bench"), LEASE_MS, json!({})) }
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

#[cfg(test)]
mod tests {
    use animus_core::work::WorkFilter;

    use super::*;

    /// The row works, and every item that it counts was completed.
    #[tokio::test]
    async fn what_is_counted_was_completed() {
        let bench = Bench::sqlite().await.unwrap();
        let figures = bench.figures(1, 16, 3).await.unwrap();
        assert!(figures.items > 0.0 && figures.bare > 0.0);
        let counts = bench.tenant.work_counts().await.unwrap().by_state;
        // Two rounds of 16, and three submits through each handle.
        assert_eq!(counts.into_iter().collect::<Vec<_>>(), [("completed".to_owned(), 38)]);
        let all = WorkFilter { limit: Some(100), ..WorkFilter::default() };
        let attempts: Vec<_> = bench.tenant.works(all).await.unwrap().iter().map(|work| work.attempts).collect();
        assert_eq!(attempts, [1; 38], "each by one worker");
    }
}
