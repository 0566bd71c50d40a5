//! What the Postgres back end owes to its being shared by many hosts and tenants on a server of its own: the second wall
//! between tenants stands by itself, hosts do not get in each other's way, and a lost connection is told and mended.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

#[path = "../../../tests/src/postgres.rs"]
mod database;

use std::{collections::HashSet, sync::Arc};

use animus_core::{
    Error,
    event::Event,
    id::{Digest, PluginName, TenantId, WorkId},
    journal::{EffectKind, Intent, Outcome},
    ledger::{EntryType, Filter},
    memory::{Embedding, NewMemory, Query, Update},
    skill::{Author, How, NewSkill, SkillFiles, SkillOrigin},
    store::{NewGeneration, SecretValue, Store as _, Tenant},
    work::{Beat, Claim, Host, NewWork, Settlement, State, Submission},
};
use animus_store::{MasterKey, Postgres};
use futures::{FutureExt as _, future::join_all};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _, postgres::PgListener};

use self::database::{Database, PASSWORD};

fn key() -> MasterKey {
    let home = tempfile::tempdir().unwrap();
    MasterKey::load_or_create(&home.path().join("key")).unwrap()
}

async fn open(url: &str) -> Result<Postgres, Error> {
    Postgres::open(url, key()).await
}

async fn tenant(store: &Postgres, name: &str) -> Arc<dyn Tenant> {
    store.tenant(&TenantId::new(name).unwrap()).await.unwrap()
}

fn queued(instruction: &str) -> NewWork {
    NewWork {
        faculty: "f".into(),
        source: "cli".into(),
        instruction: instruction.into(),
        params: json!({}),
        ..NewWork::default()
    }
}

fn claim(machine: &str) -> Claim {
    Claim { faculties: vec!["f".into()], ..Claim::held(Host::this(machine), 60_000, json!({})) }
}

fn generation(bytes: &str) -> NewGeneration {
    NewGeneration {
        name: PluginName::new("p").unwrap(),
        wasm: bytes.as_bytes().into(),
        version: "1.0.0".into(),
        manifest: "[plugin]\nname = \"p\"\nversion = \"1.0.0\"\nwit = \"0.1\"\n".into(),
        source: "embedded".into(),
        tools: Vec::new(),
        is_faculty: false,
        is_interpreter: false,
        is_hook: false,
        grant: None,
    }
}

fn memory(content: &str, vector: [f32; 3]) -> NewMemory {
    let embedding = Some(Embedding::new("test:three", vector.to_vec()).unwrap());
    NewMemory {
        content: content.into(),
        kind: "fact".into(),
        source: "operator".into(),
        embedding,
        ..NewMemory::default()
    }
}

/// One row at least in every table that has a tenant.
async fn fill(tenant: &Arc<dyn Tenant>) {
    let id = tenant.id().to_string();
    let work = tenant.work_submit(queued(&id)).await.unwrap().work.id;
    let claimed = tenant.work_claim(&claim("here")).await.unwrap().unwrap();
    tenant.ledger_append(work, EntryType::Note, &id, None).await.unwrap();
    let intent =
        Intent { kind: EffectKind::Tool, caller: "f".into(), subject: id.clone(), request: json!({}), parent: None };
    let seq = tenant.journal_begin(claimed.lease, intent).await.unwrap();
    tenant.journal_end(claimed.lease, seq, Outcome::Ok { response: json!(id) }).await.unwrap();
    tenant.events_append(work, 1, &[Event::Token { text: id.clone() }]).await.unwrap();
    let (host, faculties) = (Host::this("here"), vec!["f".to_owned()]);
    let beat = Beat { host, faculties, max_concurrent: 1, running: 1, draining: false, address: None };
    tenant.host_beat(&beat).await.unwrap();
    tenant.hook_switch("operator", "guard", true).await.unwrap();
    tenant.secret_set("operator", "token", SecretValue::new("s3cret")).await.unwrap();
    tenant.plugin_install("operator", generation(&id)).await.unwrap();
    tenant.plugin_failed(&PluginName::new("p").unwrap(), 1).await.unwrap();
    tenant.plugin_fault("elsewhere", None, "broken").await.unwrap();
    let text = format!("---\nname: s\ndescription: of {id}\n---\n\nDo it.\n");
    let new = NewSkill {
        files: SkillFiles::new([("SKILL.md".to_owned(), text.into_bytes())]).unwrap(),
        created_by: Author::Human,
        origin: SkillOrigin { focus: Some(claimed.lease.focus), seq: Some(seq), ..SkillOrigin::default() },
        pending: false,
        plugin: None,
        report: None,
    };
    let skill = tenant.skill_put("operator", new).await.unwrap().name;
    tenant.skill_activated(work, claimed.lease.focus, &skill, 1, How::Manual).await.unwrap();
    let kept = tenant.memory_store(memory(&format!("memory of {id}"), [1.0, 0.0, 0.0])).await.unwrap();
    let update =
        Update { content: format!("what {id} knows"), embedding: memory("", [1.0, 0.0, 0.0]).embedding, from: None };
    tenant.memory_update(kept, update).await.unwrap();
    let gone = tenant.memory_store(memory("to be forgotten", [0.0, 1.0, 0.0])).await.unwrap();
    tenant.memory_forget(gone).await.unwrap();
}

/// The tables of the store that hold rows of tenants.
async fn tables(stranger: &mut PgConnection) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
         WHERE a.attname = 'tenant' AND c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace ORDER BY 1",
    )
    .fetch_all(stranger)
    .await
    .unwrap()
}

/// A transaction as the store makes them: as its role, bound to a tenant or to none.
async fn bound<'c>(stranger: &'c mut PgConnection, tenant: Option<&str>) -> sqlx::Transaction<'c, sqlx::Postgres> {
    let role: String = sqlx::query_scalar("SELECT role::text FROM store").fetch_one(&mut *stranger).await.unwrap();
    let mut tx = stranger.begin().await.unwrap();
    tx.execute(AssertSqlSafe(format!("SET LOCAL ROLE \"{role}\""))).await.unwrap();
    if let Some(tenant) = tenant {
        tx.execute(AssertSqlSafe(format!("SET LOCAL animus.tenant = '{tenant}'"))).await.unwrap();
    }
    tx
}

async fn count(tx: &mut PgConnection, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(tx).await.unwrap()
}

#[tokio::test]
async fn a_statement_that_forgets_the_tenant_sees_only_its_own_rows() {
    let Some(database) = Database::fresh().await else { return };
    let store = open(&database.url()).await.unwrap();
    for name in ["ada", "bob"] {
        fill(&tenant(&store, name).await).await;
    }
    // A superuser, for whom no policy holds: what follows is the role's doing.
    let mut stranger = database.stranger().await;
    let tables = tables(&mut stranger).await;
    assert!(tables.len() >= 19, "{tables:?}");
    for table in &tables {
        let of = |name: &str| format!("SELECT count(*) FROM {table} WHERE tenant = '{name}'");
        for name in ["ada", "bob"] {
            assert!(count(&mut stranger, &of(name)).await > 0, "{table} of {name} is empty, so nothing is proved");
        }
        let mut tx = bound(&mut stranger, Some("ada")).await;
        let seen: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!("SELECT DISTINCT tenant FROM {table}")))
            .fetch_all(&mut *tx)
            .await
            .unwrap();
        assert_eq!(seen, ["ada"], "{table}");
        assert_eq!(count(&mut tx, &of("bob")).await, 0, "{table}");
        tx.rollback().await.unwrap();
        let mut tx = bound(&mut stranger, None).await;
        assert_eq!(count(&mut tx, &format!("SELECT count(*) FROM {table}")).await, 0, "{table}, bound to nobody");
        tx.rollback().await.unwrap();
    }
    let mut tx = bound(&mut stranger, Some("ada")).await;
    let digests: Vec<String> = sqlx::query_scalar("SELECT digest FROM artifacts").fetch_all(&mut *tx).await.unwrap();
    assert_eq!(digests, [Digest::of(b"ada").to_string()]);
    let found = "SELECT found FROM memories_with_words('knows', NULL, '{}', NULL, 0, 9223372036854775807, 100)";
    assert_eq!(tx.fetch_all(found).await.unwrap().len(), 1, "the one function that walks around the wall");
    tx.rollback().await.unwrap();
    let mut tx = bound(&mut stranger, None).await;
    assert_eq!(tx.fetch_all(found).await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_statement_that_forgets_the_tenant_changes_only_its_own_rows() {
    let Some(database) = Database::fresh().await else { return };
    let store = open(&database.url()).await.unwrap();
    for name in ["ada", "bob"] {
        fill(&tenant(&store, name).await).await;
    }
    let mut stranger = database.stranger().await;
    for table in ["works", "secrets", "plugins", "skills", "memories"] {
        let mut tx = bound(&mut stranger, Some("ada")).await;
        let touched = tx.execute(AssertSqlSafe(format!("UPDATE {table} SET tenant = tenant"))).await.unwrap();
        assert_eq!(touched.rows_affected(), 1, "{table}");
        tx.rollback().await.unwrap();
    }
    for (sql, why) in [
        ("INSERT INTO secrets VALUES ('bob', 'mine', '\\x00', 0)", "row-level security"),
        ("UPDATE works SET tenant = 'bob'", "row-level security"),
        ("UPDATE ledger SET content = ''", "permission denied"),
        ("DELETE FROM audit", "permission denied"),
        ("DELETE FROM works", "permission denied"),
        ("DELETE FROM artifacts", "permission denied"),
        ("INSERT INTO tenants VALUES ('eve', 0, 0)", "permission denied"),
        ("SELECT * FROM store", "permission denied"),
        ("SELECT * FROM _sqlx_migrations", "permission denied"),
        ("SELECT artifact_put('00', '\\x01')", "not the bytes"),
        ("ALTER TABLE works DISABLE ROW LEVEL SECURITY", "must be owner"),
    ] {
        let mut tx = bound(&mut stranger, Some("ada")).await;
        let error = tx.execute(sql).await.unwrap_err();
        assert!(error.to_string().contains(why), "{sql}: {error}");
        tx.rollback().await.unwrap();
    }
    // Artifacts of others stay, whatever a tenant lets go.
    let mut tx = bound(&mut stranger, Some("ada")).await;
    let all = format!("SELECT artifacts_drop(ARRAY['{}', '{}'])", Digest::of(b"ada"), Digest::of(b"bob"));
    tx.execute(AssertSqlSafe(all)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(count(&mut stranger, "SELECT count(*) FROM artifacts").await, 2);
}

#[tokio::test]
async fn every_table_is_behind_the_wall_or_out_of_reach() {
    let Some(database) = Database::fresh().await else { return };
    let store = open(&database.url()).await.unwrap();
    store.check().await.unwrap();
    let mut stranger = database.stranger().await;
    let open: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
         AND NOT (relrowsecurity AND relforcerowsecurity) ORDER BY 1",
    )
    .fetch_all(&mut stranger)
    .await
    .unwrap();
    assert_eq!(open, ["_sqlx_migrations", "store"]);
    let row = stranger
        .fetch_one("SELECT rolsuper, rolbypassrls, rolcanlogin FROM pg_roles WHERE rolname = (SELECT role FROM store)")
        .await
        .unwrap();
    assert!((0..3).all(|column| !row.get::<bool, _>(column)));

    // A check finds when somebody takes the wall down.
    stranger.execute("ALTER TABLE works NO FORCE ROW LEVEL SECURITY").await.unwrap();
    let error = store.check().await.unwrap_err();
    assert!(error.class() == "internal" && error.to_string().contains("works"), "{error}");
}

#[tokio::test]
async fn a_superuser_is_bound_too() {
    let Some(database) = Database::fresh().await else { return };
    let url = sqlx::ConnectOptions::to_url_lossy(&database.options());
    let store = open(url.as_str()).await.unwrap();
    let (ada, bob) = (tenant(&store, "ada").await, tenant(&store, "bob").await);
    fill(&ada).await;
    fill(&bob).await;
    let words = Query { text: "knows".into(), ..Query::default() };
    let hits = ada.memory_recall(words).await.unwrap().hits;
    assert_eq!(hits.iter().map(|hit| hit.memory.content.as_str()).collect::<Vec<_>>(), ["what ada knows"]);
    assert_eq!(store.tenants().await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn hosts_that_open_an_empty_database_together_make_one_store() {
    let Some(database) = Database::empty().await else { return };
    let url = database.url();
    let hosts = (0..6).map(|_| {
        let url = url.clone();
        tokio::spawn(async move { tenant(&open(&url).await.unwrap(), "local").await })
    });
    let tenants: Vec<_> = join_all(hosts).await.into_iter().map(Result::unwrap).collect();
    let work = tenants[0].work_submit(queued("w")).await.unwrap().work.id;
    let writers = tenants.iter().cloned().map(|tenant| {
        tokio::spawn(async move {
            for n in 0..10 {
                tenant.ledger_append(work, EntryType::Step, "s", None).await.unwrap();
                tenant.audit("host", "test", &n.to_string(), json!({})).await.unwrap();
            }
        })
    });
    for writer in join_all(writers).await {
        writer.unwrap();
    }
    let seqs: Vec<_> = tenants[5].ledger_read(work, Filter::default()).await.unwrap().iter().map(|e| e.seq).collect();
    assert_eq!(seqs, (1..=60).collect::<Vec<_>>());
    let verdict = tenants[5].audit_verify().await.unwrap();
    assert_eq!((verdict.entries, verdict.broken), (60, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn hosts_that_claim_at_once_get_each_item_once() {
    let Some(database) = Database::fresh().await else { return };
    let stores = [open(&database.url()).await.unwrap(), open(&database.url()).await.unwrap()];
    let first = tenant(&stores[0], "local").await;
    let mut all = HashSet::new();
    for n in 0..60 {
        all.insert(first.work_submit(queued(&n.to_string())).await.unwrap().work.id);
    }
    let mut hosts = Vec::new();
    for n in 0..8 {
        let tenant = tenant(&stores[n % 2], "local").await;
        hosts.push(tokio::spawn(async move {
            let mut mine = Vec::new();
            while let Some(claimed) = tenant.work_claim(&claim(&n.to_string())).await.unwrap() {
                mine.push(claimed.work.id);
                tenant.focus_end(claimed.lease, State::Completed, Default::default()).await.unwrap();
            }
            mine
        }));
    }
    let claimed: Vec<WorkId> = join_all(hosts).await.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(claimed.len(), all.len());
    assert_eq!(claimed.into_iter().collect::<HashSet<_>>(), all);
    assert_eq!(first.work_counts().await.unwrap().by_state["completed"], 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_equal_submits_at_two_hosts_one_is_the_item() {
    let Some(database) = Database::fresh().await else { return };
    let stores = [open(&database.url()).await.unwrap(), open(&database.url()).await.unwrap()];
    let mut submits = Vec::new();
    for n in 0..100 {
        let tenant = tenant(&stores[n % 2], "local").await;
        let new = NewWork { dedup_key: Some("same".into()), ..queued("the same") };
        submits.push(tokio::spawn(async move { tenant.work_submit(new).await.unwrap() }));
    }
    let submitted: Vec<_> = join_all(submits).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(submitted.iter().filter(|it| it.how == Submission::Created).count(), 1);
    assert_eq!(submitted.iter().map(|it| it.work.id).collect::<HashSet<_>>().len(), 1);
    let counts = tenant(&stores[0], "local").await.work_counts().await.unwrap().by_state;
    assert_eq!((counts["queued"], counts["merged"]), (1, 99));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_child_that_comes_while_its_parent_is_cancelled_is_cancelled_or_refused() {
    let Some(database) = Database::fresh().await else { return };
    let stores = [open(&database.url()).await.unwrap(), open(&database.url()).await.unwrap()];
    let tenants = [tenant(&stores[0], "local").await, tenant(&stores[1], "local").await];
    for _ in 0..10 {
        let parent = tenants[0].work_submit(queued("parent")).await.unwrap().work.id;
        let submits = (0..4).map(|_| {
            let tenant = tenants[1].clone();
            tokio::spawn(async move { tenant.work_submit(NewWork { parent: Some(parent), ..queued("child") }).await })
        });
        let submits: Vec<_> = submits.collect();
        tenants[0].work_cancel("operator", parent).await.unwrap();
        for submit in join_all(submits).await {
            match submit.unwrap() {
                Ok(child) => {
                    let state = tenants[0].work(child.work.id).await.unwrap().state;
                    assert_eq!(state, State::Cancelled, "a child escaped");
                }
                Err(error) => assert_eq!(error.class(), "cancelled"),
            }
        }
    }
}

/// Ends the server's side of connections, as a restart of the server would: all of the store's, or those that wait.
async fn cut(stranger: &mut PgConnection, which: &str) -> usize {
    let sql = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'animus' AND {which}"
    );
    stranger.fetch_all(AssertSqlSafe(sql)).await.unwrap().len()
}

#[tokio::test]
async fn a_connection_that_is_cut_in_a_call_is_told_and_the_next_call_works() {
    let Some(database) = Database::fresh().await else { return };
    let store = open(&database.url()).await.unwrap();
    let tenant = tenant(&store, "local").await;
    tenant.audit("host", "test", "before", json!({})).await.unwrap();
    let mut stranger = database.stranger().await;
    let mut lock = database.stranger().await;
    lock.execute("BEGIN; SELECT 1 FROM tenants FOR UPDATE").await.unwrap();
    let waiting = tokio::spawn({
        let tenant = tenant.clone();
        async move { tenant.audit("host", "test", "lost", json!({})).await }
    });
    while cut(&mut stranger, "wait_event_type = 'Lock'").await == 0 {
        tokio::task::yield_now().await;
    }
    let error = waiting.await.unwrap().unwrap_err();
    assert!(error.class() == "unavailable" && error.to_string().contains("connection"), "{error}");
    lock.execute("ROLLBACK").await.unwrap();
    tenant.audit("host", "test", "after", json!({})).await.unwrap();

    // Those that lie idle are found out before anything is done on them.
    assert!(cut(&mut stranger, "true").await > 0);
    tenant.audit("host", "test", "again", json!({})).await.unwrap();
    let log = tenant.audit_read(10).await.unwrap();
    assert_eq!(log.iter().map(|entry| entry.subject.as_str()).collect::<Vec<_>>(), ["before", "after", "again"]);
}

#[tokio::test]
async fn leases_are_renewed_while_everything_else_of_a_host_waits() {
    let Some(database) = Database::fresh().await else { return };
    let tenant = tenant(&open(&database.url()).await.unwrap(), "local").await;
    tenant.work_submit(queued("x")).await.unwrap();
    let lease = tenant.work_claim(&claim("one")).await.unwrap().unwrap().lease;
    let (mut stranger, mut lock) = (database.stranger().await, database.stranger().await);
    lock.execute("BEGIN; SELECT 1 FROM tenants FOR UPDATE").await.unwrap();
    let waiting: Vec<_> = (0..20)
        .map(|n| {
            let tenant = tenant.clone();
            tokio::spawn(async move { tenant.audit("host", "test", &n.to_string(), json!({})).await })
        })
        .collect();
    let stuck = "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'animus' AND wait_event_type = 'Lock'";
    while count(&mut stranger, stuck).await < 10 {
        tokio::task::yield_now().await;
    }
    assert_eq!(tenant.focus_renew(&[lease], 60_000).await.unwrap().lost, []);
    lock.execute("ROLLBACK").await.unwrap();
    // Had the renewal waited for one of them, that one would have given up its wait for the lock first.
    for written in join_all(waiting).await {
        written.unwrap().unwrap();
    }
}

#[tokio::test]
async fn leases_go_by_the_clock_of_the_server() {
    let Some(database) = Database::fresh().await else { return };
    let mut stranger = database.stranger().await;
    // As if it were a day behind.
    let behind = "CREATE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
             AS 'SELECT pg_catalog.clock_timestamp() - interval ''1 day''';
         DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog', current_database()); END $$";
    stranger.execute(behind).await.unwrap();
    let tenant = tenant(&open(&database.url()).await.unwrap(), "local").await;
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let leases = "SELECT max(lease_until_ms) FROM focuses";
    tenant.work_submit(queued("x")).await.unwrap();
    let lease = tenant.work_claim(&claim("one")).await.unwrap().unwrap().lease;
    let hour = 3_600_000;
    assert!(count(&mut stranger, leases).await < now - hour);
    assert!(tenant.work_claim(&claim("two")).await.unwrap().is_none(), "it has not run out");
    assert_eq!(tenant.focus_renew(&[lease], 120_000).await.unwrap().lost, []);
    assert!(count(&mut stranger, leases).await < now - hour);
    let due = i64::try_from(tenant.work_next_due().await.unwrap().unwrap()).unwrap();
    assert!(due > now && due < now + hour, "{due}: by the clock of this host");
    tenant.focus_release(lease).await.unwrap();
    let lease = tenant.work_claim(&claim("two")).await.unwrap().unwrap().lease;
    assert_eq!(lease.token, 2);
    assert!(count(&mut stranger, leases).await < now - hour);

    // So do held ones of another machine, and the waits between attempts.
    let held = NewWork::held("f", "cli", "y", json!({}));
    let held = tenant.work_submit(held).await.unwrap().work.id;
    tenant.focus_begin(held, State::Queued, &claim("one")).await.unwrap();
    assert_eq!(tenant.focus_recover("elsewhere", &|_| true).await.unwrap(), []);
    let settlement = Settlement { retry_in_ms: Some(1), ..Settlement::default() };
    let again = tenant.work_submit(NewWork { max_attempts: Some(2), ..queued("z") }).await.unwrap().work.id;
    let lease = tenant.work_claim(&claim("one")).await.unwrap().unwrap().lease;
    tenant.focus_end(lease, State::Failed, settlement).await.unwrap();
    assert!(i64::try_from(tenant.work(again).await.unwrap().not_before_ms).unwrap() < now - hour);
}

#[tokio::test]
async fn calls_that_are_dropped_halfway_leave_no_lock_and_no_gap() {
    let Some(database) = Database::fresh().await else { return };
    let tenant = tenant(&open(&database.url()).await.unwrap(), "local").await;
    let work = tenant.work_submit(queued("w")).await.unwrap().work.id;
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
async fn every_change_of_work_is_told_to_whoever_listens() {
    let Some(database) = Database::fresh().await else { return };
    let store = open(&database.url()).await.unwrap();
    let (ada, bob) = (tenant(&store, "ada").await, tenant(&store, "bob").await);
    let mut listener =
        PgListener::connect(sqlx::ConnectOptions::to_url_lossy(&database.options()).as_str()).await.unwrap();
    listener.listen("animus_work").await.unwrap();
    let mut told = async || listener.recv().await.unwrap().payload().to_owned();
    let mut watch = ada.work_watch().await.unwrap();
    let work = ada.work_submit(queued("w")).await.unwrap().work.id;
    assert_eq!(told().await, "ada");
    watch.changed().await;
    // What fails tells nothing.
    assert!(ada.work_retry("operator", work).await.is_err());
    let lease = ada.work_claim(&claim("here")).await.unwrap().unwrap().lease;
    assert_eq!(told().await, "ada");
    ada.events_append(work, 1, &[Event::Token { text: "t".into() }]).await.unwrap();
    assert_eq!(told().await, "ada");
    bob.work_submit(queued("w")).await.unwrap();
    assert_eq!(told().await, "bob");
    ada.focus_release(lease).await.unwrap();
    assert_eq!(told().await, "ada");
    ada.work_cancel("operator", work).await.unwrap();
    assert_eq!(told().await, "ada");
}

#[tokio::test]
async fn a_large_space_gets_an_index_and_finds_the_same() {
    let Some(database) = Database::fresh().await else { return };
    let store = open(&database.url()).await.unwrap();
    let (tenant, other) = (tenant(&store, "ada").await, tenant(&store, "bob").await);
    tenant.memory_store(memory("near the first axis", [1.0, 0.05, 0.0])).await.unwrap();
    other.memory_store(memory("of another tenant", [1.0, 0.0, 0.0])).await.unwrap();
    database
        .run(
            "INSERT INTO memories (tenant, id, content, kind, tags, source, created_ms, updated_ms, words)
             SELECT 'ada', 'bulk-' || n, 'x', 'fact', '{}', 'test', 0, 0, '' FROM generate_series(1, 6000) AS n;
             INSERT INTO memory_vectors
             SELECT tenant, doc, (SELECT space FROM memory_spaces WHERE tenant = 'ada'),
                 ('[0,' || random() + 0.1 || ',' || random() || ']')::vector
             FROM memories WHERE id LIKE 'bulk-%';
             ANALYZE memories; ANALYZE memory_vectors; ANALYZE memory_spaces;
             SELECT setval(pg_get_serial_sequence('memories', 'doc'), 500000 - 1)",
        )
        .await;
    let near = async || {
        let query = Query { embedding: memory("", [1.0, 0.0, 0.0]).embedding, ..Query::default() };
        let hits = tenant.memory_recall(query).await.unwrap().hits;
        hits.into_iter().map(|hit| hit.memory.content).collect::<Vec<_>>()
    };
    let mut stranger = database.stranger().await;
    let indexes = "SELECT count(*) FROM pg_indexes WHERE indexdef LIKE '%hnsw%'";
    assert_eq!(near().await, ["near the first axis"]);
    assert_eq!(count(&mut stranger, indexes).await, 0);
    tenant.memory_store(memory("nearer", [1.0, 0.01, 0.0])).await.unwrap();
    assert_eq!(count(&mut stranger, indexes).await, 1);
    assert_eq!(near().await, ["nearer", "near the first axis"]);
    // It is used, and what is searched are this tenant's vectors.
    let mut tx = bound(&mut stranger, Some("ada")).await;
    let space = count(&mut tx, "SELECT space FROM memory_spaces").await;
    let plan: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!(
        "EXPLAIN SELECT doc FROM memory_vectors WHERE tenant = 'ada' AND space = {space}
         ORDER BY exact::halfvec(3) <=> '[1,0,0]'::halfvec(3) LIMIT 400"
    )))
    .fetch_all(&mut *tx)
    .await
    .unwrap();
    assert!(plan.iter().any(|line| line.contains(&format!("memory_vectors_near_{space}"))), "{plan:#?}");
}

#[tokio::test]
async fn what_is_append_only_refuses_its_owner_too() {
    let Some(database) = Database::fresh().await else { return };
    let store = open(&database.url()).await.unwrap();
    fill(&tenant(&store, "local").await).await;
    let mut stranger = database.stranger().await;
    for sql in [
        "UPDATE ledger SET content = ''",
        "UPDATE audit SET actor = ''",
        "DELETE FROM audit",
        "UPDATE journal_intents SET subject = ''",
        "UPDATE journal_outcomes SET outcome = ''",
    ] {
        let error = stranger.execute(sql).await.unwrap_err();
        assert!(error.to_string().contains("append-only"), "{sql}: {error}");
    }
    stranger
        .execute("ALTER TABLE audit DISABLE TRIGGER ALL; UPDATE audit SET actor = 'x' WHERE seq = 1")
        .await
        .unwrap();
    let verdict = tenant(&store, "local").await.audit_verify().await.unwrap();
    assert_eq!(verdict.broken.unwrap().0, 1);
}

#[tokio::test]
async fn a_location_and_an_error_name_server_and_database_and_no_password() {
    let Some(database) = Database::fresh().await else { return };
    let store = open(&database.url()).await.unwrap();
    let health = store.check().await.unwrap();
    assert_eq!(health.backend, "postgres");
    assert!(health.location.contains(database.name()) && !health.location.contains(PASSWORD), "{health:?}");
    assert!(!format!("{store:?}").contains(PASSWORD));

    let gone = database.url().replace(database.name(), "animus_nowhere");
    for (url, parts) in [
        (format!("postgres://ada:{PASSWORD}@127.0.0.1:1/animus"), ["127.0.0.1:1", "animus"]),
        (gone, ["animus_nowhere", "createdb"]),
    ] {
        let error = open(&url).await.unwrap_err();
        assert_eq!(error.class(), "unavailable", "{error}");
        assert!(parts.iter().all(|part| error.to_string().contains(part)), "{error}");
        assert!(!error.to_string().contains(PASSWORD), "{error}");
    }
    for url in [format!("postgres://ada:{PASSWORD}@[/animus"), format!("postgres://ada:{PASSWORD}@h/d?sslmode=maybe")] {
        let error = open(&url).await.unwrap_err();
        assert!(error.class() == "invalid" && error.to_string().contains("postgres://USER"), "{error}");
        assert!(!error.to_string().contains(PASSWORD), "{error}");
    }
}

#[tokio::test]
async fn a_newer_store_is_left_alone() {
    let Some(database) = Database::fresh().await else { return };
    database.run("INSERT INTO _sqlx_migrations VALUES (999, 'future', now(), true, '\\x00', 0)").await;
    let error = open(&database.url()).await.unwrap_err();
    assert_eq!(error.class(), "unavailable");
    assert!(error.to_string().contains("newer animus (schema 999); upgrade"), "{error}");
}

#[tokio::test]
async fn a_database_of_another_program_is_left_alone() {
    let Some(database) = Database::empty().await else { return };
    database.run("CREATE TABLE customers (name TEXT)").await;
    let error = open(&database.url()).await.unwrap_err();
    assert_eq!(error.class(), "invalid");
    assert!(error.to_string().contains("'customers'") && error.to_string().contains("createdb"), "{error}");
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(count(&mut database.stranger().await, tables).await, 1);
}

#[tokio::test]
async fn without_the_extension_the_error_says_what_to_do() {
    let Some(database) = Database::empty().await else { return };
    database.run("DROP EXTENSION vector").await;
    let error = open(&database.url()).await.unwrap_err();
    assert_eq!(error.class(), "unavailable");
    assert!(error.to_string().contains("vector") && error.to_string().contains("operators-guide"), "{error}");
}

#[tokio::test]
async fn whoever_gives_up_leaves_no_transaction_open() {
    let Some(database) = Database::fresh().await else { return };
    let store = open(&database.url()).await.unwrap();
    let tenant = tenant(&store, "a").await;
    let mut stranger = database.stranger().await;
    for polls in 0..8 {
        let mut call = Box::pin(tenant.work_submit(queued("given up on")));
        for _ in 0..=polls {
            if (&mut call).now_or_never().is_some() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        drop(call);
        // What is under way may end yet; what is left open would stay so until somebody takes that connection.
        let mut open = i64::MAX;
        for _ in 0..200 {
            let find = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND state LIKE 'idle in transaction%'";
            open = sqlx::query_scalar(find).bind(database.name()).fetch_one(&mut stranger).await.unwrap();
            if open == 0 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert_eq!(open, 0, "given up after {polls} waits");
    }
}
