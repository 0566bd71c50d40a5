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

mod focus;
mod host;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use animus_agent::{Retrace, Verdict, retrace};
use animus_core::{
    Error,
    grant::Grant,
    id::PluginName,
    journal::{Outcome, Record},
    ledger::Filter,
    manifest::Manifest,
    memory::Query,
    package,
    skill::{Approvals, Author, NewSkill, Skill, SkillFiles, SkillName, SkillOrigin, SkillState},
    store::{NewGeneration, Tenant},
    work::{NewWork, State, Work, WorkFilter},
};
use animus_tests::{TestHost, manifest_of, postgres::Database, shipped};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    focus::{EVERYTHING, INSTALLED, MADE, PROPOSAL, RHYME, USAGE, VERSE},
    host::{ASKS, DATABASE, HOME, WRITES, context, open, registry},
};

/// Nothing in an ordinary run of the tests: the sweep starts this binary with a filter for it.
#[test]
fn a_host_of_the_sweep() {
    if let Some(home) = env::var_os(HOME).map(PathBuf::from) {
        host::run(&home);
    }
}

/// What the hosts of a point work with: a folder, and a store that is a file in it or a database.
struct Place {
    home: TempDir,
    database: Option<Database>,
    /// Whether skills that are made wait for approval; the work is to make one then.
    asks: bool,
}

impl Place {
    /// One with the plugins and the work, to be copied for each point.
    async fn template(database: Option<Database>, asks: bool) -> Self {
        let host = match &database {
            Some(database) => TestHost::on(database).await,
            None => TestHost::new().await,
        };
        furnish(&host, if asks { PROPOSAL } else { EVERYTHING }).await;
        let home = tempfile::tempdir().unwrap();
        copy_files(host.outside(), home.path());
        Self { home, database, asks }
    }

    async fn copy(&self) -> Self {
        let home = tempfile::tempdir().unwrap();
        copy_files(self.home.path(), home.path());
        let workspace = home.path().join("workspace");
        fs::create_dir(&workspace).unwrap();
        for (file, text) in [("a.txt", "aaa\n"), ("b.txt", "bbb\n")] {
            fs::write(workspace.join(file), text).unwrap();
        }
        for file in CHANGED {
            fs::write(workspace.join(file), "end\n").unwrap();
        }
        let database = match &self.database {
            Some(database) => Some(database.copy().await),
            None => None,
        };
        Self { home, database, asks: self.asks }
    }

    fn url(&self) -> Option<String> {
        self.database.as_ref().map(Database::url)
    }

    fn host_process(&self, writes: u64) -> ExitStatus {
        let mut host = Command::new(env::current_exe().unwrap());
        host.args(["--exact", "a_host_of_the_sweep", "--nocapture"]);
        host.env(HOME, self.home.path()).env(WRITES, writes.to_string()).envs(self.url().map(|url| (DATABASE, url)));
        host.envs(self.asks.then_some((ASKS, "1")));
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

/// The files that are each changed once: by a tool, by a program, by the skill that is made.
const CHANGED: [&str; 3] = ["tool.txt", "code.txt", "skill.txt"];

fn copy_files(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// Installs the plugins and a skill, and submits the work.
async fn furnish(host: &TestHost, instruction: &str) {
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
    let skill = Skill { body: format!("\n{VERSE}\n"), ..Skill::new(INSTALLED.parse().unwrap(), "about poems") };
    let files = [("SKILL.md", skill.to_markdown()), ("scripts/tools.py", RHYME.to_owned())];
    let new = NewSkill {
        files: SkillFiles::new(files.map(|(path, text)| (path.to_owned(), text.into_bytes()))).unwrap(),
        created_by: Author::Human,
        origin: SkillOrigin::default(),
        pending: false,
        plugin: None,
        report: None,
    };
    host.tenant().skill_put("operator", new).await.unwrap();
    let work = NewWork {
        faculty: "lead".into(),
        source: "test".into(),
        instruction: instruction.into(),
        params: json!({}),
        ..NewWork::default()
    };
    host.tenant().work_submit(work).await.unwrap();
}

/// What must hold when all work is done, however often hosts ended. Returns what came of it, and how many calls are
/// uncertain.
async fn check(place: &Place, hosts: usize, point: &str) -> (Value, usize) {
    let home = place.home.path();
    let tenant = open(home, place.url()).await;
    let works = tenant.works(WorkFilter::default()).await.unwrap();
    assert_eq!(works.len(), if place.asks { 1 } else { 2 }, "{point}: the work and its child: {works:#?}");
    assert!(works.iter().all(|work| work.state == State::Completed && work.attempts == 1), "{point}: {works:#?}");
    let lead = works.iter().find(|work| work.faculty == "lead").unwrap();
    let answers = if place.asks { 2 } else { 4 };
    assert_eq!((lead.tokens, lead.cost_microusd), (answers * USAGE.total(), answers), "{point}: each counts once");
    let mut uncertain = 0;
    for work in &works {
        let journal = tenant.journal_read(work.focus.unwrap()).await.unwrap();
        assert!(journal.iter().map(|record| record.seq).eq(1..=journal.len() as u64), "{point}");
        uncertain += doubts(&journal, point);
    }
    let made = check_skill(&*tenant, place.asks, point).await;
    if !place.asks {
        check_traces(&*tenant, lead, home, uncertain, point).await;
    }
    let mut calls = BTreeMap::<String, usize>::new();
    for call in fs::read_to_string(home.join("calls")).unwrap().lines() {
        *calls.entry(call.to_owned()).or_default() += 1;
    }
    for (call, times) in calls {
        let most = if call.starts_with("fs.edit_file") { 1 } else { hosts };
        assert!(times <= most, "{point}: {times} times {call}");
    }
    (json!({ "outcome": lead.outcome, "made": made }), uncertain)
}

/// How many calls are uncertain: only those that may not be repeated, and what happened in them.
fn doubts(journal: &[Record], point: &str) -> usize {
    let mut doubted = BTreeSet::new();
    for record in journal {
        match &record.outcome {
            Some(Outcome::Failed { error: Error::Uncertain(_) }) => {
                let may_not = ["fs.edit_file", "counts.close", "counts.size"].contains(&&*record.intent.subject);
                let inside = record.intent.parent.is_some_and(|parent| doubted.contains(&parent));
                assert!(may_not || inside, "{point}: {record:?}");
                doubted.insert(record.seq);
            }
            Some(Outcome::Ok { .. }) => {}
            other => panic!("{point}: {other:?} of {:?}", record.intent),
        }
    }
    doubted.len()
}

/// There is one version of the skill that was made, and one generation of its plugin where it serves. Returns their digests.
async fn check_skill(tenant: &dyn Tenant, asks: bool, point: &str) -> Value {
    let (name, plugin): (SkillName, PluginName) = (MADE.parse().unwrap(), MADE.parse().unwrap());
    let versions = tenant.skill_versions(&name).await.unwrap();
    assert_eq!(versions.len(), 1, "{point}: {versions:#?}");
    let state = if asks { SkillState::Pending } else { SkillState::Active };
    assert_eq!((versions[0].version, versions[0].state), (1, state), "{point}");
    assert_eq!(versions[0].origin.findings, ["a.txt has 4 bytes"], "{point}");
    assert_eq!(tenant.skill_pending().await.unwrap().len(), usize::from(asks), "{point}");
    let approvals = Approvals { auto: u64::from(!asks), ..Approvals::default() };
    assert_eq!(tenant.skill_approvals().await.unwrap(), approvals, "{point}");
    let audit = tenant.audit_read(1_000).await.unwrap();
    let changes = audit.iter().filter(|entry| entry.subject == MADE).map(|entry| entry.action.as_str());
    if asks {
        assert_eq!(changes.collect::<Vec<_>>(), ["skill.put"], "{point}");
        assert_eq!(tenant.plugin(&plugin).await.unwrap_err().class(), "not-found", "{point}");
        return json!([versions[0].digest]);
    }
    assert_eq!(changes.collect::<Vec<_>>(), ["plugin.install", "skill.put"], "{point}");
    let generations = tenant.plugin_generations(&plugin).await.unwrap();
    assert_eq!(generations.len(), 1, "{point}: {generations:#?}");
    assert_eq!((versions[0].plugin_generation, generations[0].generation), (Some(1), 1), "{point}");
    let active = tenant.skill_activations(&INSTALLED.parse().unwrap()).await.unwrap();
    assert_eq!(active.count, 1, "{point}: the installed skill was active in one focus");
    json!([versions[0].digest, generations[0].digest])
}

/// What the work left in the ledger, in memory and in files.
async fn check_traces(tenant: &dyn Tenant, lead: &Work, home: &Path, uncertain: usize, point: &str) {
    let ledger = tenant.ledger_read(lead.id, Filter::default()).await.unwrap();
    let said: Vec<_> = ledger.iter().map(|entry| entry.content.as_str()).collect();
    let found = said.iter().filter(|text| text.starts_with("read 4 bytes")).count();
    let planned = said.iter().filter(|text| **text == "do it").count();
    assert!(planned == 1 && found <= 1 && said.len() == planned + found, "{point}: {said:?}");
    assert!(found == 1 || uncertain > 0, "{point}: a ledger entry was lost: {said:?}");
    let memories = tenant.memory_recall(Query::default()).await.unwrap().hits;
    assert_eq!(memories.len(), 1, "{point}: {memories:?}");
    for file in CHANGED {
        let text = fs::read_to_string(home.join("workspace").join(file)).unwrap();
        assert!(text == "I end\n" || (uncertain > 0 && text == "end\n"), "{point}: {file} says {text:?}");
    }
}

/// The focus is looked at again: as it was, and as it would be had its host ended while it made the skill, where nothing
/// is made by looking.
async fn look_again(place: &Place) {
    let tenant = open(place.home.path(), place.url()).await;
    let works = tenant.works(WorkFilter::default()).await.unwrap();
    let work = works.into_iter().find(|work| work.faculty == "lead").unwrap();
    let focus = tenant.focus(work.focus.unwrap()).await.unwrap();
    let records = tenant.journal_read(focus.id).await.unwrap();
    let making = records.iter().find(|record| record.intent.subject == "create_skill").unwrap().seq;
    let again = async |records: Vec<Record>| {
        let registry = registry();
        let plugins = registry.pinned(&tenant, &focus.plugins, &Grant::everything()).await.unwrap();
        let cx = context(place.home.path(), tenant.clone(), registry, plugins, place.asks);
        let past = Retrace { work: work.clone(), focus: focus.clone(), records };
        retrace(cx, past, None).await.unwrap().verdict
    };
    let verdict = again(records.clone()).await;
    assert!(matches!(verdict, Verdict::Reproduced { .. }), "{verdict:?}");
    let open = records.into_iter().map(|record| match record.seq {
        seq if seq == making => Record { outcome: None, ..record },
        _ => record,
    });
    let verdict = again(open.collect()).await;
    assert!(matches!(&verdict, Verdict::Stopped { why } if why.contains("the making of a skill")), "{verdict:?}");
    check_skill(&*tenant, place.asks, "looked at").await;
}

#[test]
fn work_comes_to_the_same_end_whenever_its_host_ends() {
    sweep("SQLite", None, false);
}

#[test]
fn work_in_postgres_comes_to_the_same_end_whenever_its_host_ends() {
    let Some(database) = runtime().block_on(Database::fresh()) else { return };
    sweep("Postgres", Some(database), false);
}

#[test]
fn a_skill_that_waits_is_proposed_once_whenever_its_host_ends() {
    sweep("SQLite, skills that wait", None, true);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// One point after the other, until a host comes to the end of the work before its point.
fn sweep(store: &str, database: Option<Database>, asks: bool) {
    // One sweep at a time: each keeps the machine busy, and what it took is that of one.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let began = Instant::now();
    let template = runtime().block_on(Place::template(database, asks));
    let whole = runtime().block_on(template.copy());
    assert!(whole.host_process(0).success());
    let (outcome, uncertain) = runtime().block_on(check(&whole, 1, "whole"));
    assert_eq!(uncertain, 0);
    let summary = outcome["outcome"]["summary"].as_str().unwrap();
    let expected = "finished, the child was heard, the verse is known, the tools are there";
    assert!(asks || summary == expected, "{summary}");
    runtime().block_on(look_again(&whole));

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
    assert!(points.len() >= if asks { 8 } else { 40 }, "{}", points.len());
    assert_eq!(uncertain > 0, !asks, "a call that may not be repeated was under way at some point");
    eprintln!(
        "crash sweep on {store}: {} points, {} processes, {uncertain} calls that nobody repeated, {:.1} s",
        points.len(),
        processes.load(Ordering::Acquire),
        began.elapsed().as_secs_f64()
    );
}
