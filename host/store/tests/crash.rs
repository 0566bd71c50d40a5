//! A host that is killed at any point leaves a store that opens, with everything in it that was said to be written.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::{
    collections::HashSet,
    env,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use animus_core::{
    id::{FocusId, TenantId, WorkId},
    journal::{EffectKind, Intent, Outcome},
    ledger::{EntryType, Filter},
    memory::{NewMemory, Query},
    store::{Store as _, Tenant},
    work::{Claim, Host, NewWork, State},
};
use animus_store::{MasterKey, Sqlite};
use serde_json::json;

/// Set for the child: the folder of its store.
const CHILD: &str = "ANIMUS_CRASH_TEST_HOME";
const SELF: &str = "a_killed_host_leaves_a_whole_store";
const KILLS: usize = 20;

async fn open(home: &Path) -> (Sqlite, Arc<dyn Tenant>) {
    let key = MasterKey::load_or_create(&home.join("key")).unwrap();
    let store = Sqlite::open(&home.join("animus.db"), key).await.unwrap();
    let tenant = store.tenant(&TenantId::local()).await.unwrap();
    (store, tenant)
}

/// Marks the memories of one child.
fn tag(focus: FocusId) -> String {
    format!("focus-{focus}")
}

/// Writes until it is killed: intent, effect, outcome. Tells of each intent once it is durable.
async fn write_for_ever(home: &Path) {
    let (_store, tenant) = open(home).await;
    let work = tenant.work_submit(NewWork::held("f", "cli", "i", json!({}))).await.unwrap().work.id;
    let claim = Claim::held(Host::this("here"), 60_000, json!({}));
    let lease = tenant.focus_begin(work, State::Queued, &claim).await.unwrap().lease;
    let focus = lease.focus;
    for n in 1_u64.. {
        let intent = Intent {
            kind: EffectKind::Ledger,
            caller: "host".into(),
            subject: "step".into(),
            request: json!({ "filler": "x".repeat(3_000) }),
            parent: None,
        };
        let seq = tenant.journal_begin(lease, intent).await.unwrap();
        println!("intent {work} {focus} {seq}");
        let entry = tenant.ledger_append(work, EntryType::Step, &seq.to_string(), None).await.unwrap();
        tenant.journal_end(lease, seq, Outcome::Ok { response: json!(entry.seq) }).await.unwrap();
        tenant.audit("host", "test", &seq.to_string(), json!({})).await.unwrap();
        let memory = NewMemory {
            content: format!("effect {n}"),
            kind: "fact".into(),
            tags: vec![tag(focus)],
            source: "host".into(),
            ..NewMemory::default()
        };
        let id = tenant.memory_store(memory).await.unwrap();
        if n % 2 == 0 {
            tenant.memory_forget(id).await.unwrap();
        }
    }
}

/// Starts a child, kills it when it has told of `intents`, and gives what it told last.
fn kill_after(home: &Path, intents: usize) -> (WorkId, FocusId, u64) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", SELF, "--nocapture"])
        .env(CHILD, home)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let told = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut told = told.filter_map(|line| Some(line.strip_prefix("intent ")?.to_owned()));
    let mut last = told.nth(intents).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    // What it told between our decision and its end.
    if let Some(later) = told.last() {
        last = later;
    }
    let mut words = last.split(' ');
    let mut word = || words.next().unwrap();
    (word().parse().unwrap(), word().parse().unwrap(), word().parse().unwrap())
}

#[test]
fn a_killed_host_leaves_a_whole_store() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if let Some(home) = env::var_os(CHILD) {
        return runtime.block_on(write_for_ever(Path::new(&home)));
    }
    let home = tempfile::tempdir().unwrap();
    for round in 0..KILLS {
        let (work, focus, told) = kill_after(home.path(), round % 5 * 3);
        runtime.block_on(async {
            let (store, tenant) = open(home.path()).await;
            store.check().await.unwrap();
            assert_eq!(tenant.audit_verify().await.unwrap().broken, None);

            let journal = tenant.journal_read(focus).await.unwrap();
            assert!(journal.len() as u64 >= told, "an intent that was told of is lost");
            assert!(journal.iter().map(|record| record.seq).eq(1..=journal.len() as u64));
            let entries = tenant.ledger_read(work, Filter::default()).await.unwrap();
            assert!(entries.iter().map(|entry| entry.seq).eq(1..=entries.len() as u64));

            // Every effect has its intent, every outcome its effect, and at most the last is in doubt.
            let intents: HashSet<_> = journal.iter().map(|record| record.seq.to_string()).collect();
            assert!(entries.iter().all(|entry| intents.contains(&entry.content)));
            let done = journal.iter().filter(|record| record.outcome.is_some()).count();
            assert!(done <= entries.len() && entries.len() <= journal.len() && journal.len() - done <= 1);

            // The index of memories agrees with the memories.
            let recall = async |text: &str| {
                let query = Query { text: text.into(), limit: Some(100), tags: vec![tag(focus)], ..Query::default() };
                let hits = tenant.memory_recall(query).await.unwrap().hits;
                hits.into_iter().map(|hit| hit.memory.id).collect::<HashSet<_>>()
            };
            let (all, found) = (recall("").await, recall("effect").await);
            assert!(all == found && all.len() <= journal.len().div_ceil(2));

            assert_eq!(tenant.focus_recover("here", &|process| process == std::process::id()).await.unwrap(), [work]);
            assert_eq!(tenant.work(work).await.unwrap().state, State::Failed);
        });
    }
}
