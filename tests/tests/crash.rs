//! A host that ends after any write of a journal: the process is aborted, another one takes the work over, and the work
//! comes to the same end. Real components, real stores, real processes; only the model is not real.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::exit,
    reason = "tests, and the processes that they start"
)]

use std::{
    collections::BTreeMap,
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use animus_agent::{RunContext, Terms, pinned, run_claimed};
use animus_core::{
    Denial, Error, Result,
    authority::Authority,
    budget::{Allowance, Budget},
    code::{Description, Program, Ran, Tested},
    event::Unwatched,
    grant::Grant,
    hook::{HookEvent, Verdict},
    id::TenantId,
    journal::Outcome,
    ledger::Filter,
    llm::{
        Content, Embeddings, Message, ModelInfo, Models, Request, Response, ResponseStream, Role, Stop, StreamEvent,
        ToolInput, ToolUse, Usage,
    },
    manifest::Manifest,
    memory::Query,
    package,
    plugins::{FacultyOutcome, Loaded, PluginSet, Task},
    services::CallContext,
    store::{NewGeneration, Store as _, Tenant},
    tool::{Output, Tool},
    work::{Claim, Host, NewWork, State, WorkFilter},
};
use animus_runtime::{Artifacts, Egress, Engine, EngineConfig, Registry};
use animus_store::{MasterKey, Postgres, Sqlite};
use animus_tests::{TestHost, manifest_of, postgres::Database, shipped};
use async_trait::async_trait;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// The folder that a host of the sweep works in; set for the processes that the sweep starts.
const HOME: &str = "ANIMUS_SWEEP_HOME";
/// The URL of its database; not set, its store is a file in the folder.
const DATABASE: &str = "ANIMUS_SWEEP_DATABASE";
/// After so many writes of journals it ends.
const WRITES: &str = "ANIMUS_SWEEP_WRITES";
/// Tokens of one answer.
const USAGE: Usage = Usage { input_tokens: 7, output_tokens: 3, cached_tokens: 0, cache_write_tokens: 0 };
/// What the program of the sweep does.
const PROGRAM: &str = "\
import random
text = tools.fs.read_file(path='a.txt')
memory.store('a fact')
tools.fs.edit_file(path='code.txt', old='end', new='I end')
ledger.append('finding', f'read {len(text)} bytes, {random.random()}')
return random.random()";

// ---- the focus

/// Goes by what it reads, not by how often it was asked.
struct ByTurn;

impl ByTurn {
    fn answer(request: &Request) -> Response {
        let last: Vec<String> = request.messages.last().map_or(Vec::new(), |message| {
            let text = |part: &Content| match part {
                Content::ToolResult(result) => Some(result.text.clone()),
                _ => None,
            };
            message.content.iter().filter_map(text).collect()
        });
        let calls = match request.messages.len() {
            1 => vec![
                ("fs.read_file", json!({ "path": "a.txt" })),
                ("fs.edit_file", json!({ "path": "tool.txt", "old": "end", "new": "I end" })),
                ("fs.read_file", json!({ "path": "b.txt" })),
                ("ledger_append", json!({ "entry_type": "plan", "content": "do it" })),
                (
                    "spawn_child_work",
                    json!({ "faculty": "transform", "description": "reverse", "params": { "content": "drow" } }),
                ),
            ],
            3 => vec![
                ("execute_code", json!({ "code": PROGRAM })),
                ("await_child_work", json!({ "work_item_ids": [last[4]] })),
            ],
            _ => Vec::new(),
        };
        let turn = request.messages.len();
        let content = if calls.is_empty() {
            let child = last.get(1).is_some_and(|text| text.contains("word"));
            vec![Content::Text { text: format!("finished, the child was {}", if child { "heard" } else { "lost" }) }]
        } else {
            let call = |(n, (name, input)): (usize, (&str, Value))| {
                let input = ToolInput::Object(input.as_object().cloned().unwrap());
                Content::ToolUse(ToolUse { id: format!("t{turn}-{n}"), name: name.to_owned(), input })
            };
            calls.into_iter().enumerate().map(call).collect()
        };
        let stop = if matches!(content[0], Content::Text { .. }) { Stop::EndTurn } else { Stop::ToolUse };
        let message = Message { role: Role::Assistant, content };
        Response { message, stop, usage: USAGE, cost_microusd: Some(1), model: "test:by-turn".into() }
    }
}

#[async_trait]
impl Models for ByTurn {
    fn roles(&self) -> Vec<String> {
        vec!["default".to_owned()]
    }

    fn resolve(&self, role: &str) -> Result<ModelInfo> {
        Ok(ModelInfo {
            role: role.to_owned(),
            // Embeddings are this host's own.
            models: vec!["lexical:2".to_owned()],
            context_window: 100_000,
            max_output: 1_000,
            price: None,
        })
    }

    async fn stream(&self, request: Request, _: CancellationToken) -> Result<ResponseStream> {
        Ok(Box::pin(futures::stream::iter([Ok(StreamEvent::Done(Self::answer(&request)))])))
    }

    async fn complete(&self, request: Request, _: CancellationToken) -> Result<Response> {
        Ok(Self::answer(&request))
    }

    async fn embed(&self, _: &str, texts: &[String], _: CancellationToken) -> Result<Embeddings> {
        let vectors = texts.iter().map(|_| vec![1.0, 0.0]).collect();
        let usage = Usage::default();
        Ok(Embeddings { model: "lexical:2".into(), dims: 2, vectors, usage, cost_microusd: None })
    }
}

/// Notes every tool call in a file before it happens.
struct Counting {
    plugins: Arc<dyn PluginSet>,
    file: PathBuf,
}

#[async_trait]
impl PluginSet for Counting {
    fn plugins(&self) -> &[Arc<Loaded>] {
        self.plugins.plugins()
    }

    fn plugin(&self, name: &str) -> Option<&Arc<Loaded>> {
        self.plugins.plugin(name)
    }

    fn tools(&self) -> &[Arc<Tool>] {
        self.plugins.tools()
    }

    fn tool(&self, name: &str) -> Option<&Arc<Tool>> {
        self.plugins.tool(name)
    }

    async fn call_tool(&self, cx: &CallContext, name: &str, args: String) -> Result<Output> {
        let mut file = fs::File::options().create(true).append(true).open(&self.file).unwrap();
        file.write_all(format!("{name} {args} {:?}\n", cx.parent).as_bytes()).unwrap();
        self.plugins.call_tool(cx, name, args).await
    }

    async fn engage(&self, cx: &CallContext, faculty: &str, task: Task) -> Result<FacultyOutcome> {
        self.plugins.engage(cx, faculty, task).await
    }

    async fn run_code(&self, cx: &CallContext, interpreter: &str, by: &Authority, program: Program) -> Result<Ran> {
        self.plugins.run_code(cx, interpreter, by, program).await
    }

    async fn describe_code(&self, cx: &CallContext, interpreter: &str, program: Program) -> Result<Description> {
        self.plugins.describe_code(cx, interpreter, program).await
    }

    async fn test_code(
        &self,
        cx: &CallContext,
        interpreter: &str,
        by: &Authority,
        program: Program,
    ) -> Result<Vec<Tested>> {
        self.plugins.test_code(cx, interpreter, by, program).await
    }

    async fn warm(&self, plugin: &str) -> Result<()> {
        self.plugins.warm(plugin).await
    }

    async fn hook(&self, cx: &CallContext, plugin: &str, event: &HookEvent) -> Result<Verdict> {
        self.plugins.hook(cx, plugin, event).await
    }

    fn awaiting(&self, tool: &str) -> Option<Denial> {
        self.plugins.awaiting(tool)
    }
}

// ---- one host, a process of its own

/// Ends the process after so many writes of journals.
struct Ends(AtomicU64);

impl tracing::Subscriber for Ends {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "animus_agent::journal"
    }

    fn event(&self, _: &tracing::Event<'_>) {
        if self.0.fetch_sub(1, Ordering::AcqRel) == 1 {
            std::process::abort();
        }
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

async fn open(home: &Path, database: Option<String>) -> Arc<dyn Tenant> {
    let key = MasterKey::load_or_create(&home.join("key")).unwrap();
    let local = TenantId::local();
    match database {
        Some(url) => Postgres::open(&url, key).await.unwrap().tenant(&local).await.unwrap(),
        None => Sqlite::open(&home.join("animus.db"), key).await.unwrap().tenant(&local).await.unwrap(),
    }
}

/// Nothing in an ordinary run of the tests: the sweep starts this binary with a filter for it.
#[test]
fn a_host_of_the_sweep() {
    let Some(home) = env::var_os(HOME).map(PathBuf::from) else { return };
    let writes: u64 = env::var(WRITES).unwrap().parse().unwrap();
    if writes > 0 {
        tracing::subscriber::set_global_default(Ends(AtomicU64::new(writes))).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(serve(&home));
    std::process::exit(0);
}

/// Does all the work that there is.
async fn serve(home: &Path) {
    let tenant = open(home, env::var(DATABASE).ok()).await;
    let target = env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned();
    let engine = Engine::new(&EngineConfig { instances: 64 }).unwrap();
    let artifacts = Arc::new(Artifacts::open(engine, target.join("test-artifacts")).unwrap());
    let registry = Arc::new(Registry::new(artifacts, Egress::new()));
    // The host before this one is gone.
    tenant.focus_recover("sweep", &|process| process == std::process::id()).await.unwrap();
    let works: Vec<_> = (0..2).map(|_| tokio::spawn(work(home.to_owned(), tenant.clone(), registry.clone()))).collect();
    for work in works {
        work.await.unwrap();
    }
}

async fn work(home: PathBuf, tenant: Arc<dyn Tenant>, registry: Arc<Registry>) {
    let ceiling = Grant::everything();
    loop {
        let current = registry.refresh(&tenant, &ceiling).await.unwrap();
        let claim = Claim {
            faculties: vec!["lead".into(), "transform".into()],
            ..Claim::held(Host::this("sweep"), 60_000, pinned(&*current))
        };
        let Some(claimed) = tenant.work_claim(&claim).await.unwrap() else {
            let works = tenant.works(WorkFilter::default()).await.unwrap();
            if works.iter().all(|work| work.state.is_settled()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let plugins = registry.pinned(&tenant, &claimed.plugins, &ceiling).await.unwrap();
        let cx = RunContext {
            tenant: tenant.clone(),
            plugins: Arc::new(Counting { plugins, file: home.join("calls") }),
            skills: None,
            hooks: Default::default(),
            models: Arc::new(ByTurn),
            watcher: Arc::new(Unwatched),
            budget: Budget::new("run", Allowance::default()),
            tools: None,
            workspace: Some(home.join("workspace")),
            host: Host::this("sweep"),
            faculty: Arc::default(),
            slot: None,
            cancel: CancellationToken::new(),
        };
        run_claimed(cx, claimed, Terms::default()).await;
    }
}

// ---- the sweep

/// What the hosts of a point work with: a folder, and a store that is a file in it or a database.
struct Place {
    home: TempDir,
    database: Option<Database>,
}

impl Place {
    /// One with the plugins and the work, to be copied for each point.
    async fn template(database: Option<Database>) -> Self {
        let host = match &database {
            Some(database) => TestHost::on(database).await,
            None => TestHost::new().await,
        };
        furnish(&host).await;
        let home = tempfile::tempdir().unwrap();
        copy_files(host.outside(), home.path());
        Self { home, database }
    }

    async fn copy(&self) -> Self {
        let home = tempfile::tempdir().unwrap();
        copy_files(self.home.path(), home.path());
        let workspace = home.path().join("workspace");
        fs::create_dir(&workspace).unwrap();
        for (file, text) in [("a.txt", "aaa\n"), ("b.txt", "bbb\n"), ("tool.txt", "end\n"), ("code.txt", "end\n")] {
            fs::write(workspace.join(file), text).unwrap();
        }
        let database = match &self.database {
            Some(database) => Some(database.copy().await),
            None => None,
        };
        Self { home, database }
    }

    fn url(&self) -> Option<String> {
        self.database.as_ref().map(Database::url)
    }

    fn host_process(&self, writes: u64) -> ExitStatus {
        let mut host = Command::new(env::current_exe().unwrap());
        host.args(["--exact", "a_host_of_the_sweep", "--nocapture"]);
        host.env(HOME, self.home.path()).env(WRITES, writes.to_string()).envs(self.url().map(|url| (DATABASE, url)));
        let output = host.output().unwrap();
        let aborted = !output.status.success() && output.status.code().is_none();
        assert!(
            output.status.success() || (writes > 0 && aborted),
            "{}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        output.status
    }
}

fn copy_files(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// Installs the plugins, and submits the work.
async fn furnish(host: &TestHost) {
    host.install_python().await;
    for (name, file, text) in [
        ("fs", "fs", manifest_of("fs")),
        ("transform", "transform", manifest_of("transform")),
        (
            "lead",
            "assistant",
            "[plugin]\nname = 'lead'\nversion = '0.1.0'\ndescription = 'a faculty'\nwit = '0.1'\n\n[capabilities]\n\
             llm = { roles = ['*'], max_tokens = 1000 }\ntool = ['*']\ninterpreter = ['python']\n\
             ledger = ['read', 'append']\nmemory = ['read', 'write']\nspawn-child = { faculties = ['*'], max = 4 }\n"
                .to_owned(),
        ),
    ] {
        let wasm = package::embed(&shipped(file, &[]).wasm, &text).unwrap();
        let prepared = host.prepare(wasm.clone()).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        let new = NewGeneration {
            name: prepared.inspection.manifest.name,
            wasm: wasm.into(),
            version: "0.1.0".into(),
            manifest: text.clone(),
            source: "test".into(),
            tools: prepared.tools,
            is_faculty: prepared.inspection.is_faculty,
            is_interpreter: false,
            is_hook: false,
            grant: Some(Manifest::parse(&text).unwrap().request),
        };
        host.tenant().plugin_install("test", new).await.unwrap();
    }
    let work = NewWork {
        faculty: "lead".into(),
        source: "test".into(),
        instruction: "do it".into(),
        params: json!({}),
        ..NewWork::default()
    };
    host.tenant().work_submit(work).await.unwrap();
}

/// What must hold when all work is done, however often hosts ended. Returns the outcome, and how many calls are uncertain.
async fn check(place: &Place, hosts: usize, point: &str) -> (Value, usize) {
    let home = place.home.path();
    let tenant = open(home, place.url()).await;
    let works = tenant.works(WorkFilter::default()).await.unwrap();
    assert_eq!(works.len(), 2, "{point}: the work and its child: {works:#?}");
    assert!(works.iter().all(|work| work.state == State::Completed && work.attempts == 1), "{point}: {works:#?}");
    let lead = works.iter().find(|work| work.faculty == "lead").unwrap();
    assert_eq!((lead.tokens, lead.cost_microusd), (3 * USAGE.total(), 3), "{point}: each answer counts once");
    let mut uncertain = 0;
    for work in &works {
        let journal = tenant.journal_read(work.focus.unwrap()).await.unwrap();
        assert!(journal.iter().map(|record| record.seq).eq(1..=journal.len() as u64), "{point}");
        for record in &journal {
            match &record.outcome {
                Some(Outcome::Failed { error: Error::Uncertain(_) }) => {
                    assert_eq!(record.intent.subject, "fs.edit_file", "{point}: {record:?}");
                    uncertain += 1;
                }
                Some(Outcome::Ok { .. }) => {}
                other => panic!("{point}: {other:?} of {:?}", record.intent),
            }
        }
    }
    let ledger = tenant.ledger_read(lead.id, Filter::default()).await.unwrap();
    let said: Vec<_> = ledger.iter().map(|entry| entry.content.as_str()).collect();
    let found = said.iter().filter(|text| text.starts_with("read 4 bytes")).count();
    let planned = said.iter().filter(|text| **text == "do it").count();
    assert!(planned == 1 && found <= 1 && said.len() == planned + found, "{point}: {said:?}");
    assert!(found == 1 || uncertain > 0, "{point}: a ledger entry was lost: {said:?}");
    let memories = tenant.memory_recall(Query::default()).await.unwrap().hits;
    assert_eq!(memories.len(), 1, "{point}: {memories:?}");
    for file in ["tool.txt", "code.txt"] {
        let text = fs::read_to_string(home.join("workspace").join(file)).unwrap();
        assert!(text == "I end\n" || (uncertain > 0 && text == "end\n"), "{point}: {file} says {text:?}");
    }
    let mut calls = BTreeMap::<String, usize>::new();
    for call in fs::read_to_string(home.join("calls")).unwrap().lines() {
        *calls.entry(call.to_owned()).or_default() += 1;
    }
    for (call, times) in calls {
        let most = if call.starts_with("fs.edit_file") { 1 } else { hosts };
        assert!(times <= most, "{point}: {times} times {call}");
    }
    (lead.outcome.clone().unwrap(), uncertain)
}

#[test]
fn work_comes_to_the_same_end_whenever_its_host_ends() {
    sweep("SQLite", None);
}

#[test]
fn work_in_postgres_comes_to_the_same_end_whenever_its_host_ends() {
    let Some(database) = runtime().block_on(Database::fresh()) else { return };
    sweep("Postgres", Some(database));
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// One point after the other, until a host comes to the end of the work before its point.
fn sweep(store: &str, database: Option<Database>) {
    // One sweep at a time: each keeps the machine busy, and what it took is that of one.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let began = Instant::now();
    let template = runtime().block_on(Place::template(database));
    let whole = runtime().block_on(template.copy());
    assert!(whole.host_process(0).success());
    let (outcome, uncertain) = runtime().block_on(check(&whole, 1, "whole"));
    assert_eq!(uncertain, 0);
    assert_eq!(outcome["summary"], "finished, the child was heard");

    let next = AtomicU64::new(1);
    let (points, processes) = (Mutex::new(BTreeMap::new()), AtomicUsize::new(0));
    let some = || {
        let runtime = runtime();
        loop {
            let n = next.fetch_add(1, Ordering::AcqRel);
            let place = runtime.block_on(template.copy());
            processes.fetch_add(1, Ordering::AcqRel);
            if place.host_process(n).success() {
                return;
            }
            let mut hosts = 2;
            processes.fetch_add(1, Ordering::AcqRel);
            // At every fourth point the second host ends as well, soon after.
            if n.is_multiple_of(4) && !place.host_process(2).success() {
                hosts += 1;
                processes.fetch_add(1, Ordering::AcqRel);
            }
            if !n.is_multiple_of(4) || hosts == 3 {
                assert!(place.host_process(0).success());
            }
            let found = runtime.block_on(check(&place, hosts, &format!("on {store} after {n} writes")));
            points.lock().unwrap().insert(n, found);
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(some)).collect();
        for thread in threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
    let points = points.into_inner().unwrap();
    for (n, (found, _)) in &points {
        assert_eq!(found, &outcome, "on {store} after {n} writes");
    }
    let uncertain: usize = points.values().map(|(_, uncertain)| uncertain).sum();
    assert!(points.len() >= 20, "{}", points.len());
    assert!(uncertain > 0, "a call that may not be repeated was under way at some point");
    eprintln!(
        "crash sweep on {store}: {} points, {} processes, {uncertain} calls that nobody repeated, {:.1} s",
        points.len(),
        processes.load(Ordering::Acquire),
        began.elapsed().as_secs_f64()
    );
}
