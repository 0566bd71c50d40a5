//! Servers on different machines, as far as one machine can show it: homes of their own, one Postgres, and now and then
//! one of them is killed.

#![allow(clippy::print_stderr, reason = "the figures of a run are worth keeping in its log")]

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use animus_core::{
    id::{TenantId, WorkId},
    journal::Outcome,
    store::{Store as _, Tenant},
    work::{NewWork, State, Work, WorkFilter},
};
use animus_store::{MasterKey, Postgres};
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::json;

use crate::{database::Database, home::Home, server::Server};

const ITEMS: usize = 1_000;
/// At once, but for those that are being replaced.
const SERVERS: usize = 3;
/// One is killed after so long,
const LIFE: Duration = Duration::from_secs(2);
/// or when so many more items are done, so that a fast machine sees some killed as well.
const LOT: u64 = 150;
/// As short as a lease may be.
const LEASE: Duration = Duration::from_secs(1);
/// What takes longer is stuck.
const BOUND: Duration = Duration::from_secs(120);

/// A home that shares a key with another one, and has a lot of work done at once.
fn home(key: &Home) -> Home {
    let home = Home::new();
    fs::copy(key.path().join("key"), home.path().join("key")).unwrap();
    home.configure(&format!("[serve]\nlease_ms = {}\n", LEASE.as_millis()));
    let faculties = home.path().join("faculties");
    fs::create_dir_all(&faculties).unwrap();
    fs::write(faculties.join("transform.toml"), "concurrent = true").unwrap();
    home
}

/// Starts a server after a while; it is ready when the thread ends.
fn start(slot: usize, home: &Home, database: &Database, after: Duration) -> JoinHandle<(usize, Server)> {
    let mut command = home.command(&["serve", "--bind", "127.0.0.1:0", "--json"]);
    command.env("DATABASE_URL", database.url());
    std::thread::spawn(move || {
        std::thread::sleep(after);
        (slot, Server::of(command))
    })
}

/// Kills a server in the middle of its work. False when it has nothing to do now, and goes on.
async fn kill(server: &Server, tenant: &dyn Tenant) -> bool {
    // What it has said to the database has come there soon; it says nothing more.
    server.signal("STOP");
    tokio::time::sleep(Duration::from_millis(20)).await;
    let running = WorkFilter { state: Some(State::Running), limit: Some(300), ..WorkFilter::default() };
    for work in tenant.works(running).await.unwrap() {
        let focus = tenant.focus(work.focus.unwrap()).await.unwrap();
        if focus.host.process == server.process() && focus.ended_ms.is_none() {
            server.signal("KILL");
            return true;
        }
    }
    server.signal("CONT");
    false
}

fn content(n: usize) -> String {
    format!("item {n}, wörd")
}

async fn submit(tenant: Arc<dyn Tenant>) -> BTreeMap<WorkId, usize> {
    let submits = (0..ITEMS).map(|n| {
        let work = NewWork {
            faculty: "transform".into(),
            source: "api".into(),
            params: json!({ "content": content(n) }),
            // One that failed would begin again, and that would be seen.
            max_attempts: Some(3),
            ..NewWork::default()
        };
        let tenant = tenant.clone();
        async move { tenant.work_submit(work).await.map(|submitted| (submitted.work.id, n)) }
    });
    futures::stream::iter(submits).buffer_unordered(8).try_collect().await.unwrap()
}

/// What the work came to, as the database has it. Returns how often an item was taken over, and how many processes began
/// one.
async fn check(tenant: &dyn Tenant, ids: &BTreeMap<WorkId, usize>) -> (u32, usize) {
    let mut works = Vec::<Work>::new();
    loop {
        let before = works.last().map(|work| work.id);
        let page = tenant.works(WorkFilter { before, limit: Some(300), ..WorkFilter::default() }).await.unwrap();
        if page.is_empty() {
            break;
        }
        works.extend(page);
    }
    assert_eq!(works.len(), ITEMS, "nothing but what was submitted");
    let (mut takeovers, mut processes) = (0, BTreeSet::new());
    for work in works {
        let reversed: String = content(ids[&work.id]).chars().rev().collect();
        assert_eq!((work.state, work.attempts), (State::Completed, 1), "{work:?}");
        assert_eq!(work.outcome.as_ref().unwrap()["summary"], reversed, "{work:?}");
        let focuses = tenant.focuses(work.id).await.unwrap();
        assert_eq!(focuses.len(), 1, "{work:?} {focuses:?}");
        let focus = &focuses[0];
        assert_eq!(Some(focus.id), work.focus);
        assert!(focus.ended_ms.is_some(), "{work:?} {focus:?}");
        // Each lease after the first one is that of a host which took over from a dead one.
        assert_eq!(focus.token, u64::from(work.takeovers) + 1, "{work:?} {focus:?}");
        let journal = tenant.journal_read(focus.id).await.unwrap();
        assert_eq!(journal.len(), 1, "whoever took it over did nothing twice: {journal:?}");
        assert!(matches!(journal[0].outcome, Some(Outcome::Ok { .. })), "{journal:?}");
        takeovers += work.takeovers;
        processes.insert(focus.host.process);
    }
    let verdict = tenant.audit_verify().await.unwrap();
    assert!(verdict.broken.is_none() && verdict.entries > 0, "{verdict:?}");
    (takeovers, processes.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_on_one_postgres_share_the_work_exactly_once_while_one_is_killed_now_and_then() {
    let Some(database) = Database::fresh().await else { return };
    let key = Home::new();
    let keys = MasterKey::load_or_create(&key.path().join("key")).unwrap();
    let tenant = Postgres::open(&database.url(), keys).await.unwrap().tenant(&TenantId::local()).await.unwrap();
    let homes: Vec<_> = (0..SERVERS).map(|_| home(&key)).collect();
    // All at once: what ships is installed into the empty store by whoever comes first.
    let mut coming: Vec<_> =
        homes.iter().enumerate().map(|(slot, home)| start(slot, home, &database, Duration::ZERO)).collect();
    let mut servers: VecDeque<_> = coming.drain(..).map(|server| server.join().unwrap()).collect();

    let began = Instant::now();
    let submitting = tokio::spawn(submit(tenant.clone()));
    let (mut killed, mut last, mut done) = (0_usize, Instant::now(), 0);
    loop {
        let counts = tenant.work_counts().await.unwrap().by_state;
        let completed = counts.get("completed").copied().unwrap_or_default();
        if completed == ITEMS as u64 {
            break;
        }
        assert!(began.elapsed() < BOUND, "after {killed} kills: {counts:?}");
        let (ready, rest): (Vec<_>, _) = coming.into_iter().partition(JoinHandle::is_finished);
        coming = rest;
        servers.extend(ready.into_iter().map(|server| server.join().unwrap()));
        let is_time = last.elapsed() > LIFE || completed >= done + LOT;
        // The oldest one goes, and never the only one.
        if !is_time || servers.len() < 2 || !kill(&servers[0].1, &*tenant).await {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        }
        let (slot, victim) = servers.pop_front().unwrap();
        assert_eq!(victim.end().0, None, "it was killed");
        killed += 1;
        // A new server sees that a process of its machine is gone. Of one on another machine the others learn it by its
        // lease, which happens where they have the time.
        let after = if killed.is_multiple_of(2) { LEASE * 3 / 2 } else { Duration::ZERO };
        coming.push(start(slot, &homes[slot], &database, after));
        (last, done) = (Instant::now(), completed);
    }
    let took = began.elapsed();
    servers.extend(coming.into_iter().map(|server| server.join().unwrap()));
    for (_, server) in servers {
        server.signal("TERM");
        let (code, rest) = server.end();
        assert!(code == Some(0) && rest.contains("\"released\":0"), "{code:?} {rest}");
    }
    let (takeovers, processes) = check(&*tenant, &submitting.await.unwrap()).await;
    eprintln!(
        "{ITEMS} items on Postgres, {SERVERS} servers at once: {killed} killed, {processes} processes ended items, \
         {takeovers} takeovers, {:.1} s",
        took.as_secs_f64()
    );
    assert!(killed > 2, "{killed}");
    assert!(takeovers > 0, "who was killed had work");
    assert!(processes > 2, "{processes}");
}
