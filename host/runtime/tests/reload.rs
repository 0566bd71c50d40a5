//! Hot reload on a real store: nothing fails while versions change, what is broken changes nothing, what traps is taken
//! back.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use animus_core::{
    Error, Result,
    event::{Event, Reload},
    grant::Grant,
    id::{Digest, PluginName, TenantId},
    plugins::PluginSet as _,
    services::CallContext,
    store::{NewGeneration, Plugin, Store as _, Tenant},
};
use animus_runtime::{
    Artifacts, Egress, Prepared, Registry, Snapshot,
    reload::{Commit, DropFolder, Follower, Pace, Reloader, Sources, TOLERATED},
};
use animus_store::{MasterKey, Sqlite};
use async_trait::async_trait;
use support::{FakeServices, engine, guest::*};
use tokio::sync::broadcast;

/// A host with a real store, as one process of several may have it.
struct Host {
    dir: Arc<tempfile::TempDir>,
    tenant: Arc<dyn Tenant>,
    registry: Arc<Registry>,
}

impl Host {
    async fn new() -> Self {
        Self::beside(Arc::new(tempfile::tempdir().unwrap())).await
    }

    /// Another process on the same home.
    async fn beside(dir: Arc<tempfile::TempDir>) -> Self {
        let key = MasterKey::load_or_create(&dir.path().join("key")).unwrap();
        let store = Sqlite::open(&dir.path().join("animus.db"), key).await.unwrap();
        let artifacts = Arc::new(Artifacts::open(engine(), dir.path().join("artifacts")).unwrap());
        fs::create_dir_all(dir.path().join("plugins")).unwrap();
        Self {
            tenant: store.tenant(&TenantId::local()).await.unwrap(),
            registry: Arc::new(Registry::new(artifacts, Egress::new())),
            dir,
        }
    }

    fn drops(&self) -> PathBuf {
        self.dir.path().join("plugins").canonicalize().unwrap()
    }

    fn reloader(&self) -> Reloader<'_> {
        Reloader::new(&self.registry, self.tenant.clone(), Grant::everything(), self)
    }

    async fn snapshot(&self) -> Arc<Snapshot> {
        self.registry.refresh(&self.tenant, &Grant::everything()).await.unwrap()
    }

    async fn load(&self, wasm: &[u8]) -> Reload {
        self.reloader().load("test", None, async { Ok(wasm.to_vec()) }).await.kind
    }

    async fn generation(&self) -> u64 {
        self.snapshot().await.plugin("guest").unwrap().generation
    }

    async fn go(&self) -> Result<String> {
        go(&*self.snapshot().await, "{}").await
    }

    async fn faults(&self) -> Vec<(String, Option<String>, String)> {
        let faults = self.tenant.plugin_faults().await.unwrap().into_iter();
        faults.map(|fault| (fault.source, fault.name.map(|name| name.to_string()), fault.error)).collect()
    }
}

async fn go(snapshot: &Snapshot, args: &str) -> Result<String> {
    let cx = CallContext {
        tenant: TenantId::local(),
        focus: animus_core::id::FocusId::new(),
        depth: 0,
        parent: None,
        cancel: Default::default(),
        workspace: None,
        deterministic: None,
        cap: None,
        services: Arc::new(FakeServices::default()),
    };
    snapshot.call_tool(&cx, "guest.go", args.into()).await.map(|output| output.text)
}

#[async_trait]
impl Commit for Host {
    async fn commit(&self, wasm: Arc<[u8]>, prepared: Prepared, source: &str, _: Option<&Plugin>) -> Result<Plugin> {
        let Prepared { inspection, tools } = prepared;
        let new = NewGeneration {
            name: inspection.manifest.name,
            wasm,
            version: inspection.manifest.version.to_string(),
            manifest: inspection.manifest_text,
            source: source.into(),
            tools,
            is_faculty: inspection.is_faculty,
            is_interpreter: inspection.is_interpreter,
            is_hook: inspection.is_hook,
            grant: None,
        };
        self.tenant.plugin_install("test", new).await
    }
}

#[async_trait]
impl Sources for Host {
    async fn read(&self, path: &Path) -> Result<Vec<u8>> {
        if !path.is_dir() {
            return fs::read(path).map_err(|e| Error::Internal(e.to_string()));
        }
        let manifest = fs::read_to_string(path.join("plugin.toml")).unwrap();
        let wasm = fs::read(path.join("target/guest.wasm")).map_err(|e| Error::NotFound(e.to_string()))?;
        animus_core::package::embed(&wasm, &manifest)
    }
}

fn says(text: &str) -> Vec<u8> {
    let fields = format!("(data (i32.const 800) \"{text}\")");
    let body = format!("(call $ok (i32.const 800) (i32.const {}))", text.len());
    Guest { fields: &fields, body: &body, ..Guest::default() }.build()
}

/// Traps when its arguments are `{}`, and answers with them otherwise.
fn traps() -> Vec<u8> {
    let body = "(if (i32.eq (local.get $args_len) (i32.const 2)) (then unreachable)) (call $ok (local.get $args) (local.get $args_len))";
    Guest { body, ..Guest::default() }.build()
}

fn replace(path: &Path, bytes: &[u8]) {
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, bytes).unwrap();
    fs::rename(temporary, path).unwrap();
}

/// Runs the drop folder until `work` is done.
async fn watching<T>(host: &Host, pace: Pace, work: impl AsyncFnOnce(&mut broadcast::Receiver<Event>) -> T) -> T {
    let mut events = host.registry.reloads();
    let mut folder = DropFolder::start(&host.drops(), pace, host.reloader(), host).unwrap();
    let serve = async {
        loop {
            for plugin in folder.next().await.unwrap() {
                folder.load(&plugin).await;
            }
        }
    };
    tokio::select! {
        done = tokio::time::timeout(Duration::from_secs(300), work(&mut events)) => done.unwrap(),
        () = serve => unreachable!(),
    }
}

async fn next(events: &mut broadcast::Receiver<Event>) -> (String, Option<u64>, Reload, String) {
    match events.recv().await.unwrap() {
        Event::Reload { plugin, generation, kind, text } => (plugin.unwrap_or_default(), generation, kind, text),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_reloads_under_load_fail_no_call_and_each_is_served_by_one_generation() {
    let host = Arc::new(Host::new().await);
    let versions = [says("even"), says("odd")];
    assert_eq!(host.load(&versions[1]).await, Reload::Serving);
    let (over, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (host, over, calls) = (host.clone(), over.clone(), calls.clone());
            tokio::spawn(async move {
                let mut seen = BTreeSet::new();
                while !over.load(Ordering::SeqCst) {
                    let snapshot = host.snapshot().await;
                    let generation = snapshot.plugin("guest").unwrap().generation;
                    let answer = go(&snapshot, "{}").await.unwrap();
                    assert_eq!(answer, if generation % 2 == 0 { "even" } else { "odd" }, "generation {generation}");
                    seen.insert(generation);
                    calls.fetch_add(1, Ordering::SeqCst);
                }
                seen
            })
        })
        .collect();
    let path = host.drops().join("guest.wasm");
    let pace = Pace { quiet: Duration::from_millis(5), ..Pace::default() };
    watching(&host, pace, async |events| {
        for generation in 2..=101_u64 {
            replace(&path, &versions[(generation % 2) as usize]);
            let told = next(events).await;
            assert_eq!((told.1, told.2), (Some(generation), Reload::Serving), "{told:?}");
        }
    })
    .await;
    over.store(true, Ordering::SeqCst);
    let mut seen = BTreeSet::new();
    for caller in callers {
        seen.extend(caller.await.unwrap());
    }
    let calls = calls.load(Ordering::SeqCst);
    assert!(calls >= 100 && seen.len() > 10, "no load: {calls} calls, {} generations", seen.len());
    assert_eq!(host.faults().await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_settle_is_compiled_ahead_and_serves_only_once_it_has_settled() {
    let host = Host::new().await;
    let path = host.drops().join("guest.wasm");
    let unsettled = Pace { quiet: Duration::from_secs(3_600), ..Pace::default() };
    watching(&host, unsettled, async |_| {
        for text in ["first", "second"] {
            replace(&path, &says(text));
            while !host.registry.is_compiled(&Digest::of(&says(text))) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    })
    .await;
    assert!(host.snapshot().await.plugin("guest").is_none());
    watching(&host, Pace::default(), async |events| {
        replace(&path, &says("third"));
        let told = next(events).await;
        assert_eq!((told.1, told.2), (Some(1), Reload::Serving), "{told:?}");
    })
    .await;
    assert_eq!((host.go().await.unwrap().as_str(), host.faults().await.len()), ("third", 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_save_keeps_the_old_one_serving_and_its_fault_stays_until_a_good_one() {
    let host = Host::new().await;
    let path = host.drops().join("guest.wasm");
    let source = path.display().to_string();
    // A save that is cut off is told at once, and not after seconds.
    let hasty = Pace { patience: Duration::from_millis(50), ..Pace::default() };
    watching(&host, hasty, async |events| {
        replace(&path, &says("good"));
        assert_eq!(next(events).await.2, Reload::Serving);
        let invalid = animus_core::package::embed(b"\0asm\x0d\0\x01\0", MANIFEST).unwrap();
        for broken in [&b"no component"[..], &invalid, &says("x")[..200]] {
            replace(&path, broken);
            let (plugin, generation, kind, text) = next(events).await;
            assert_eq!((plugin.as_str(), generation, kind), ("guest", Some(1), Reload::Failed), "{text}");
            assert_eq!(host.go().await.unwrap(), "good");
            let faults = host.faults().await;
            assert_eq!((faults.len(), &faults[0].0, faults[0].1.as_deref()), (1, &source, Some("guest")));
            assert!(text.contains(&faults[0].2) && text.contains("generation 1 stays"), "{text}");
        }
        replace(&path, &says("better"));
        assert_eq!(next(events).await.1, Some(2));
        assert_eq!((host.go().await.unwrap().as_str(), host.faults().await), ("better", Vec::new()));
        // A save that takes a mistake back loads nothing, and its fault is gone all the same.
        replace(&path, b"oops");
        assert_eq!(next(events).await.2, Reload::Failed);
        replace(&path, &says("better"));
        while !host.faults().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(host.generation().await, 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_written_file_waits_for_its_other_half() {
    let host = Host::new().await;
    let path = host.drops().join("guest.wasm");
    let other = Guest { manifest: Some(&MANIFEST.replace("guest", "other")), ..Guest::default() }.build();
    let whole = says("whole");
    let patient = Pace { patience: Duration::from_secs(600), ..Pace::default() };
    watching(&host, patient, async |events| {
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        // What comes later and is whole overtakes it.
        replace(&host.drops().join("other.wasm"), &other);
        assert_eq!(next(events).await.0, "other");
        assert!(events.is_empty() && host.snapshot().await.plugin("guest").is_none());
        fs::write(&path, &whole).unwrap();
        let told = next(events).await;
        assert_eq!((told.0.as_str(), told.2), ("guest", Reload::Serving), "{told:?}");
    })
    .await;
    assert_eq!(host.go().await.unwrap(), "whole");
    // The author who stops there hears of it.
    let hasty = Pace { patience: Duration::from_millis(1), ..Pace::default() };
    watching(&host, hasty, async |events| {
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert_eq!(next(events).await.2, Reload::Failed);
    })
    .await;
    assert_eq!(host.go().await.unwrap(), "whole");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipe_that_is_named_as_a_component_holds_nobody_up() {
    let host = Host::new().await;
    let pipe = host.drops().join("pipe.wasm");
    watching(&host, Pace::default(), async |events| {
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        replace(&host.drops().join("guest.wasm"), &says("first"));
        let told = next(events).await;
        assert_eq!((told.0.as_str(), told.1, told.2), ("guest", Some(1), Reload::Serving), "{told:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_drop_folder_takes_plugin_folders_and_leaves_the_rest_and_the_deleted_alone() {
    let host = Host::new().await;
    let bare = Guest { manifest: None, ..Guest::default() }.build();
    let folder = host.drops().join("guest");
    watching(&host, Pace::default(), async |events| {
        fs::write(host.drops().join("README"), "hello").unwrap();
        fs::create_dir_all(folder.join("target/deps")).unwrap();
        replace(&folder.join("plugin.toml"), MANIFEST.as_bytes());
        let (plugin, generation, kind, _) = next(events).await;
        assert_eq!((plugin.as_str(), generation, kind), ("guest", None, Reload::Failed), "not built yet");
        replace(&folder.join("target/guest.wasm"), &bare);
        assert_eq!(next(events).await.2, Reload::Serving);
        replace(&folder.join("plugin.toml"), MANIFEST.replace("0.1.0", "0.2.0").as_bytes());
        assert_eq!(next(events).await.1, Some(2));

        // A file is not another plugin than it says.
        replace(&host.drops().join("harmless.wasm"), &says("mine"));
        let (plugin, _, kind, text) = next(events).await;
        assert_eq!((plugin.as_str(), kind), ("harmless", Reload::Failed));
        assert!(text.contains("'guest'") && text.contains("'harmless'"), "{text}");
        assert_eq!(host.faults().await.len(), 1);
        fs::remove_file(host.drops().join("harmless.wasm")).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        while !host.faults().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // The folder is replaced by another one of its name.
        fs::rename(host.drops(), host.dir.path().join("before")).unwrap();
        fs::create_dir(host.dir.path().join("plugins")).unwrap();
        replace(&host.drops().join("guest.wasm"), &says("again"));
        assert_eq!(next(events).await.1, Some(3));
    })
    .await;
    assert_eq!(host.go().await.unwrap(), "again");
}

#[tokio::test]
async fn three_traps_in_a_row_bring_the_last_good_generation_back() {
    let host = Host::new().await;
    host.load(&says("good")).await;
    host.load(&traps()).await;
    let running = host.snapshot().await;
    let mut events = host.registry.reloads();
    for n in 1..=TOLERATED {
        assert_eq!(host.generation().await, 2, "after {} traps", n - 1);
        assert!(host.go().await.unwrap_err().to_string().contains("broke"));
    }
    let (plugin, generation, kind, text) = next(&mut events).await;
    assert_eq!((plugin.as_str(), generation, kind), ("guest", Some(1), Reload::RolledBack));
    assert!(text.contains("3 times in a row") && text.contains("panicked or aborted"), "{text}");
    assert_eq!(host.go().await.unwrap(), "good");
    // Who runs keeps what it began with, and its traps roll nothing back.
    for _ in 0..=TOLERATED {
        assert!(go(&running, "{}").await.is_err());
    }
    assert_eq!(host.generation().await, 1);
    let audit = host.tenant.audit_read(1).await.unwrap();
    assert_eq!((audit[0].actor.as_str(), audit[0].action.as_str()), ("host", "plugin.rollback"));

    // The next bad one goes back over the first bad one.
    host.load(&Guest { body: "unreachable", ..Guest::default() }.build()).await;
    for _ in 0..TOLERATED {
        assert!(host.go().await.is_err());
    }
    assert_eq!(host.generation().await, 1);
}

#[tokio::test]
async fn answers_end_a_row_and_what_is_no_trap_does_not_count() {
    let host = Host::new().await;
    host.load(&says("good")).await;
    host.load(&traps()).await;
    for _ in 0..3 {
        for _ in 1..TOLERATED {
            host.go().await.unwrap_err();
        }
        go(&*host.snapshot().await, r#"{"a":1}"#).await.unwrap();
    }
    assert_eq!(host.generation().await, 2, "no three in a row");

    let manifest = format!("{MANIFEST}[limits]\nwall_ms = 20\n");
    let spins = Guest { body: "(loop $l (br $l)) unreachable", manifest: Some(&manifest), ..Guest::default() };
    host.load(&spins.build()).await;
    for _ in 0..=TOLERATED {
        let error = host.go().await.unwrap_err();
        assert!(matches!(error, Error::BudgetExhausted(_) | Error::Timeout(_)), "{error:?}");
    }
    let bomb = Guest {
        body: "(loop $l (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable)) (br $l)) unreachable",
        ..Guest::default()
    };
    host.load(&bomb.build()).await;
    for _ in 0..=TOLERATED {
        assert!(matches!(host.go().await.unwrap_err(), Error::BudgetExhausted(_)));
    }
    assert_eq!(host.generation().await, 4, "limits are no traps");

    // A skill's failing tests count like traps.
    let snapshot = host.snapshot().await;
    assert_eq!(snapshot.count_failure("guest", "a test failed").await, None);
    assert_eq!(snapshot.count_failure("guest", "a test failed").await, None);
    assert_eq!(snapshot.count_failure("guest", "a test failed").await, Some(3));
    assert_eq!(snapshot.count_failure("none", "").await, None);
}

#[tokio::test]
async fn without_an_earlier_generation_the_only_one_goes_on() {
    let host = Host::new().await;
    host.load(&traps()).await;
    for _ in 0..TOLERATED + 2 {
        host.go().await.unwrap_err();
    }
    assert_eq!(go(&*host.snapshot().await, r#"{"a":1}"#).await.unwrap(), r#"{"a":1}"#);
}

#[tokio::test]
async fn processes_count_together_and_follow_each_other() {
    let one = Host::new().await;
    let two = Host::beside(one.dir.clone()).await;
    let follower = Follower::new(&two.registry, two.tenant.clone(), Grant::everything());
    one.load(&says("good")).await;
    assert_eq!(follower.poll().await.unwrap(), [], "the first snapshot is no change");
    one.load(&traps()).await;
    let told = follower.poll().await.unwrap();
    assert!(
        matches!(&told[..], [Event::Reload { generation: Some(2), kind: Reload::Serving, .. }]),
        "another process's change is followed: {told:?}"
    );
    assert_eq!(follower.poll().await.unwrap(), []);

    for host in [&one, &two, &one] {
        host.go().await.unwrap_err();
    }
    let told = follower.poll().await.unwrap();
    assert!(matches!(&told[..], [Event::Reload { generation: Some(1), .. }]), "{told:?}");
    assert_eq!(go(&two.registry.snapshot(two.tenant.id()).unwrap(), "{}").await.unwrap(), "good");

    one.tenant.plugin_remove("operator", &PluginName::new("guest").unwrap()).await.unwrap();
    let told = follower.poll().await.unwrap();
    assert!(matches!(&told[..], [Event::Reload { generation: None, kind: Reload::Removed, .. }]), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_runs_until_it_is_cancelled() {
    let one = Host::new().await;
    let two = Host::beside(one.dir.clone()).await;
    one.load(&says("good")).await;
    two.snapshot().await;
    let mut events = two.registry.reloads();
    let follower = Follower::new(&two.registry, two.tenant.clone(), Grant::everything());
    let cancel = tokio_util::sync::CancellationToken::new();
    let follow = follower.run(&cancel);
    let change = async {
        one.load(&says("better")).await;
        assert_eq!(next(&mut events).await.1, Some(2));
        cancel.cancel();
    };
    tokio::join!(follow, change);
}

#[tokio::test]
async fn a_rollback_outlives_a_restart_and_a_save_ends_it() {
    let host = Host::new().await;
    let path = host.drops().join("guest.wasm");
    fs::write(&path, says("good")).unwrap();
    let folder = || DropFolder::start(&host.drops(), Pace::default(), host.reloader(), &host).unwrap();
    assert_eq!(folder().catch_up().await[0].kind, Reload::Serving);
    fs::write(&path, traps()).unwrap();
    let caught_up = folder().catch_up().await;
    assert_eq!((caught_up[0].kind, caught_up[0].before.as_ref().unwrap().generation), (Reload::Serving, 1));
    for _ in 0..TOLERATED {
        host.go().await.unwrap_err();
    }
    assert_eq!(folder().catch_up().await[0].kind, Reload::Unchanged);
    assert_eq!(host.generation().await, 1);
    // Somebody who saves it again means it.
    assert_eq!(folder().load(&path).await.unwrap().kind, Reload::Serving);
    assert_eq!(host.generation().await, 3);
}

#[tokio::test]
async fn what_asks_for_more_waits_and_an_upgrade_keeps_its_grant() {
    let host = Host::new().await;
    let asking = format!("{MANIFEST}[capabilities]\nmemory = [\"read\"]\n");
    let build = |manifest: &str| Guest { manifest: Some(manifest), ..Guest::default() }.build();
    let loaded = host.reloader().load("test", None, async { Ok(build(&asking)) }).await;
    assert_eq!((loaded.kind, loaded.plugin.as_ref().unwrap().granted.clone()), (Reload::AwaitingGrant, None));
    assert_eq!(loaded.tools()[0], ["guest.go"]);
    let name = PluginName::new("guest").unwrap();
    let granted = animus_core::manifest::Manifest::parse(&asking).unwrap().request;
    host.tenant.plugin_grant("operator", &name, Some(granted.clone())).await.unwrap();
    let more = asking.replace("[\"read\"]", "[\"read\", \"write\"]");
    let loaded = host.reloader().load("test", None, async { Ok(build(&more)) }).await;
    assert_eq!((loaded.kind, loaded.plugin.unwrap().granted), (Reload::Serving, Some(granted.clone())));
    let snapshot = host.snapshot().await;
    assert_eq!(snapshot.plugin("guest").unwrap().authority.effective().memory, granted.memory);
}
