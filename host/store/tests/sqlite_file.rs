//! What the SQLite back end owes to its being a file: nothing forgotten stays in it, nobody changes it unseen, processes
//! share it, and damage is told from misuse.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, sync::Arc};

use animus_core::{
    Error,
    id::{Digest, PluginName, TenantId},
    ledger::{EntryType, Filter},
    memory::{Embedding, NewMemory, Update},
    store::{NewGeneration, SecretValue, Store as _, Tenant},
    work::NewWork,
};
use animus_store::{MasterKey, Sqlite};
use futures::FutureExt as _;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

#[derive(Clone)]
struct Home(Arc<TempDir>);

impl Home {
    fn new() -> Self {
        Self(Arc::new(tempfile::tempdir().unwrap()))
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("animus.db")
    }

    async fn try_open(&self) -> Result<Sqlite, Error> {
        let key = MasterKey::load_or_create(&self.0.path().join("key"))?;
        Sqlite::open(&self.path(), key).await
    }

    async fn open(&self) -> Sqlite {
        self.try_open().await.unwrap()
    }

    async fn tenant(&self, name: &str) -> Arc<dyn Tenant> {
        self.open().await.tenant(&TenantId::new(name).unwrap()).await.unwrap()
    }

    /// Another program that opens the file.
    async fn stranger(&self) -> SqliteConnection {
        SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(self.path())).await.unwrap()
    }

    /// Runs statements as another program.
    async fn run(&self, sql: &str) {
        self.stranger().await.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
    }

    /// The files in which a text stands.
    fn files_with(&self, text: &str) -> Vec<PathBuf> {
        self.files_with_bytes(text.as_bytes())
    }

    fn files_with_bytes(&self, trace: &[u8]) -> Vec<PathBuf> {
        let has = |path: &PathBuf| fs::read(path).unwrap().windows(trace.len()).any(|bytes| bytes == trace);
        fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap().path()).filter(has).collect()
    }
}

async fn some_work(tenant: &Arc<dyn Tenant>) -> animus_core::id::WorkId {
    tenant.work_submit(NewWork::held("f", "cli", "i", json!({}))).await.unwrap().work.id
}

#[tokio::test]
async fn what_was_forgotten_stands_in_no_file() {
    let home = Home::new();
    let tenant = home.tenant("local").await;
    let memory = |content: &str, tag: &str| NewMemory {
        content: content.into(),
        kind: "fact".into(),
        tags: vec![tag.into()],
        source: "operator".into(),
        ..NewMemory::default()
    };
    // Others before and after, so that their words share pages of the index with the forgotten ones.
    for n in 0..50 {
        tenant.memory_store(memory(&format!("qwert{n} filler"), "filler")).await.unwrap();
    }
    let id = tenant.memory_store(memory("qwerzyx says mybadsecret", "qwertag")).await.unwrap();
    tenant.memory_tag(id, "qwerlater").await.unwrap();
    for n in 50..100 {
        tenant.memory_store(memory(&format!("qwert{n} filler"), "filler")).await.unwrap();
    }
    assert!(!home.files_with("mybadsecret").is_empty());
    tenant.memory_forget(id).await.unwrap();
    // The index holds a word without the beginning that it shares with the one before it.
    for trace in ["qwerzyx", "zyx", "mybadsecret", "badsecret", "qwertag", "qwerlater"] {
        assert_eq!(home.files_with(trace), Vec::<PathBuf>::new(), "{trace}");
    }
    assert!(!home.files_with("filler").is_empty());
}

#[tokio::test]
async fn no_earlier_version_and_no_vector_of_what_was_forgotten_stands_in_any_file() {
    let home = Home::new();
    let tenant = home.tenant("local").await;
    let vector = |seed: u8| (0..64).map(|n| f32::from(n * 3 + seed).sin()).collect::<Vec<f32>>();
    let embedding = |seed| Some(Embedding::new("test:64", vector(seed)).unwrap());
    let new = |content: &str, seed| NewMemory {
        content: content.into(),
        kind: "fact".into(),
        embedding: embedding(seed),
        ..NewMemory::default()
    };
    tenant.memory_store(new("something else", 3)).await.unwrap();
    let id = tenant.memory_store(new("wrdlbrm the first", 1)).await.unwrap();
    let update = Update { content: "krxlpt the second".into(), embedding: embedding(2), from: None };
    tenant.memory_update(id, update).await.unwrap();
    let traces = |seed| {
        let exact = embedding(seed).unwrap().vector().iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
        exact[..64].to_vec()
    };
    for trace in [b"wrdlbrm".to_vec(), b"krxlpt".to_vec(), traces(2), traces(3)] {
        assert!(!home.files_with_bytes(&trace).is_empty());
    }
    tenant.memory_forget(id).await.unwrap();
    for trace in [b"wrdlbrm".to_vec(), b"krxlpt".to_vec(), traces(1), traces(2)] {
        assert_eq!(home.files_with_bytes(&trace), Vec::<PathBuf>::new());
    }
    assert!(!home.files_with_bytes(&traces(3)).is_empty());
}

#[tokio::test]
async fn no_value_of_a_secret_stands_in_any_file() {
    let home = Home::new();
    let tenant = home.tenant("local").await;
    tenant.secret_set("operator", "github", SecretValue::new("hunter2-very-secret")).await.unwrap();
    assert!(!home.files_with("github").is_empty());
    assert_eq!(home.files_with("hunter2"), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn all_files_are_closed_to_others() {
    let home = Home::new();
    let tenant = home.tenant("local").await;
    some_work(&tenant).await;
    let files: Vec<_> = fs::read_dir(home.0.path()).unwrap().map(Result::unwrap).collect();
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.path());
    }
}

#[tokio::test]
async fn a_sealed_row_opens_nowhere_else() {
    let home = Home::new();
    let (ada, bob) = (home.tenant("ada").await, home.tenant("bob").await);
    for (tenant, handle) in [(&ada, "bank"), (&ada, "blog"), (&bob, "bank")] {
        tenant.secret_set("operator", handle, SecretValue::new(format!("{handle} of {}", tenant.id()))).await.unwrap();
    }
    home.run("UPDATE secrets SET sealed = (SELECT sealed FROM secrets WHERE tenant = 'ada' AND handle = 'bank')").await;
    assert_eq!(ada.secret("bank").await.unwrap().expose(), "bank of ada");
    for (tenant, handle) in [(&ada, "blog"), (&bob, "bank")] {
        let error = tenant.secret(handle).await.unwrap_err();
        assert!(error.to_string().contains(&format!("animus secret set {handle}")), "{error}");
    }
}

#[tokio::test]
async fn a_changed_artifact_is_not_served() {
    let home = Home::new();
    let tenant = home.tenant("local").await;
    let wasm: Arc<[u8]> = b"component".as_slice().into();
    let new = NewGeneration {
        name: PluginName::new("p").unwrap(),
        wasm: wasm.clone(),
        version: "1.0.0".into(),
        manifest: "[plugin]\nname = \"p\"\nversion = \"1.0.0\"\nwit = \"0.1\"\n".into(),
        source: "embedded".into(),
        tools: Vec::new(),
        is_faculty: false,
        is_interpreter: false,
        is_hook: false,
        grant: None,
    };
    tenant.plugin_install("host", new).await.unwrap();
    assert_eq!(tenant.artifact(&Digest::of(&wasm)).await.unwrap(), wasm);
    home.run("UPDATE artifacts SET bytes = x'00'").await;
    let error = tenant.artifact(&Digest::of(&wasm)).await.unwrap_err();
    assert!(error.class() == "internal" && error.to_string().contains("install its plugin again"), "{error}");
}

/// What a forger does to five entries, and the first that no longer fits.
async fn forged(sql: &str) -> (Option<u64>, u64) {
    let home = Home::new();
    let tenant = home.tenant("local").await;
    for n in 1..=5 {
        tenant.audit("operator", "test", &n.to_string(), json!({ "n": n })).await.unwrap();
    }
    home.run(&format!("DROP TRIGGER audit_is_append_only; DROP TRIGGER audit_is_kept; {sql}")).await;
    let verdict = tenant.audit_verify().await.unwrap();
    (verdict.broken.map(|(seq, _)| seq), verdict.entries)
}

#[tokio::test]
async fn a_forged_audit_log_does_not_verify() {
    for (column, value) in [
        ("detail", "'{}'"),
        ("actor", "'host'"),
        ("action", "'x'"),
        ("subject", "'x'"),
        ("at_ms", "1"),
        ("hash", "'00'"),
    ] {
        let sql = format!("UPDATE audit SET {column} = {value} WHERE seq = 3");
        assert_eq!(forged(&sql).await, (Some(3), 2), "{column}");
    }
    assert_eq!(forged("DELETE FROM audit WHERE seq = 3").await, (Some(4), 2));
    assert_eq!(forged("DELETE FROM audit WHERE seq = 1").await, (Some(2), 0));
    let reordered = "UPDATE audit SET seq = 9 WHERE seq = 2; UPDATE audit SET seq = 2 WHERE seq = 3; \
                     UPDATE audit SET seq = 3 WHERE seq = 9";
    assert_eq!(forged(reordered).await, (Some(2), 1));
    let closed_up = "DELETE FROM audit WHERE seq = 3; UPDATE audit SET seq = 3 WHERE seq = 4; \
                     UPDATE audit SET seq = 4 WHERE seq = 5";
    assert_eq!(forged(closed_up).await, (Some(3), 2));
    // Only an earlier head shows that the end was cut off.
    assert_eq!(forged("DELETE FROM audit WHERE seq = 5").await, (None, 4));
}

#[tokio::test]
async fn one_tenants_log_does_not_pass_for_anothers() {
    let home = Home::new();
    let (ada, bob) = (home.tenant("ada").await, home.tenant("bob").await);
    ada.audit("operator", "test", "", json!({})).await.unwrap();
    home.run("DROP TRIGGER audit_is_append_only; UPDATE audit SET tenant = 'bob'").await;
    assert_eq!(bob.audit_verify().await.unwrap().broken.unwrap().0, 1);
}

#[tokio::test]
async fn what_is_append_only_refuses_updates() {
    let home = Home::new();
    let tenant = home.tenant("local").await;
    let work = some_work(&tenant).await;
    tenant.ledger_append(work, EntryType::Note, "as it was", None).await.unwrap();
    tenant.audit("operator", "test", "", json!({})).await.unwrap();
    let mut stranger = home.stranger().await;
    for sql in ["UPDATE ledger SET content = ''", "UPDATE audit SET actor = ''", "DELETE FROM audit"] {
        let error = stranger.execute(sql).await.unwrap_err();
        assert!(error.to_string().contains("append-only"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn hosts_that_open_a_new_file_together_make_one_store_and_share_it() {
    let home = Home::new();
    let hosts = (0..6).map(|_| {
        let home = home.clone();
        tokio::spawn(async move { home.tenant("local").await })
    });
    let tenants: Vec<_> = futures::future::join_all(hosts).await.into_iter().map(Result::unwrap).collect();
    let work = some_work(&tenants[0]).await;
    let writers = tenants.iter().cloned().map(|tenant| {
        tokio::spawn(async move {
            for _ in 0..10 {
                tenant.ledger_append(work, EntryType::Step, "s", None).await.unwrap();
            }
        })
    });
    for writer in futures::future::join_all(writers).await {
        writer.unwrap();
    }
    let seqs: Vec<_> = tenants[0].ledger_read(work, Filter::default()).await.unwrap().iter().map(|e| e.seq).collect();
    assert_eq!(seqs, (1..=60).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_store_that_another_process_keeps_locked_is_unavailable_and_comes_back() {
    let home = Home::new();
    let tenant = home.tenant("local").await;
    let work = some_work(&tenant).await;
    let mut stranger = home.stranger().await;
    stranger.execute("BEGIN IMMEDIATE").await.unwrap();
    let error = tenant.ledger_append(work, EntryType::Note, "n", None).await.unwrap_err();
    assert!(error.class() == "unavailable" && error.to_string().contains("busy"), "{error}");
    // Reading goes on meanwhile.
    assert_eq!(tenant.ledger_read(work, Filter::default()).await.unwrap(), []);
    stranger.execute("ROLLBACK").await.unwrap();
    assert_eq!(tenant.ledger_append(work, EntryType::Note, "n", None).await.unwrap().seq, 1);
}

#[tokio::test]
async fn calls_that_are_dropped_halfway_leave_no_lock_and_no_gap() {
    let home = Home::new();
    let tenant = home.tenant("local").await;
    let work = some_work(&tenant).await;
    for polls in 0..60 {
        let mut call = Box::pin(tenant.ledger_append(work, EntryType::Step, "s", None));
        for _ in 0..polls {
            if (&mut call).now_or_never().is_some() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    tenant.ledger_append(work, EntryType::Step, "last", None).await.unwrap();
    let entries = tenant.ledger_read(work, Filter::default()).await.unwrap();
    assert!(entries.iter().map(|entry| entry.seq).eq(1..=entries.len() as u64), "{entries:?}");
    assert_eq!(entries.last().unwrap().content, "last");
}

#[tokio::test]
async fn a_newer_store_is_left_alone() {
    let home = Home::new();
    home.tenant("local").await;
    home.run("INSERT INTO _sqlx_migrations VALUES (999, 'future', 0, true, x'00', 0)").await;
    let error = home.try_open().await.unwrap_err();
    assert_eq!(error.class(), "unavailable");
    assert!(error.to_string().contains("newer animus (schema 999); upgrade"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_store_is_refused_with_advice_and_kept() {
    let home = Home::new();
    let text = "this is a diary, not a database\n".repeat(300);
    fs::write(home.path(), &text).unwrap();
    let error = home.try_open().await.unwrap_err();
    assert_eq!(error.class(), "internal");
    for part in [home.path().to_str().unwrap(), "backup"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    assert_eq!(fs::read_to_string(home.path()).unwrap(), text);
}

#[tokio::test]
async fn damage_is_found_by_a_check() {
    let home = Home::new();
    let store = home.open().await;
    let tenant = store.tenant(&TenantId::local()).await.unwrap();
    let work = some_work(&tenant).await;
    for _ in 0..100 {
        tenant.ledger_append(work, EntryType::Note, &"n".repeat(1000), None).await.unwrap();
    }
    store.check().await.unwrap();

    // Rows that were taken out from under those that refer to them.
    home.run("PRAGMA foreign_keys = OFF; DELETE FROM works").await;
    let error = store.check().await.unwrap_err();
    assert!(error.to_string().contains("changed by another program"), "{error}");

    home.run("PRAGMA wal_checkpoint(TRUNCATE)").await;
    drop((store, tenant));
    let mut bytes = fs::read(home.path()).unwrap();
    // Late in the file are the rows; early is what every opening reads.
    let late = bytes.len() * 3 / 4;
    bytes[late..late + 8192].fill(0xAA);
    fs::write(home.path(), bytes).unwrap();
    let error = home.open().await.check().await.unwrap_err();
    assert!(error.class() == "internal" && error.to_string().contains("damaged"), "{error}");
    assert!(error.to_string().contains("backup"), "{error}");
}

#[tokio::test]
async fn a_place_where_nothing_can_be_made_is_unavailable() {
    let home = Home::new();
    let key = MasterKey::load_or_create(&home.0.path().join("key")).unwrap();
    let error = Sqlite::open(&home.0.path().join("none/animus.db"), key).await.unwrap_err();
    assert!(error.class() == "unavailable" && error.to_string().contains("none/animus.db"), "{error}");
}
