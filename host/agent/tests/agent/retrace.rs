//! A focus that is looked at again: nothing is done, and what differs is told.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use animus_agent::{Hooks, Retrace, Verdict, fork, retrace};
use animus_core::{
    budget::Allowance,
    grant::Grant,
    journal::Outcome,
    ledger::EntryType,
    llm::Message,
    plugins::FacultyOutcome,
    services::{Ending, EngageOptions},
    tool::Annotations,
    work::{FocusRecord, Host},
};
use futures::FutureExt as _;
use serde_json::json;

use crate::support::{Bench, FakePlugins, Looks, Script, call, outcome, says, text};

/// A faculty that notes `word` when the model has done.
fn plugins(word: &'static str, wrote: &Arc<AtomicUsize>) -> FakePlugins {
    let wrote = wrote.clone();
    FakePlugins::with_faculty(move |cx, by, task| {
        async move {
            let options =
                EngageOptions { tools: vec!["*".into()], prompt: task.instruction, ..EngageOptions::default() };
            let engagement = cx.services.engage(&by, options).await?;
            cx.services.ledger_append(&by, EntryType::Note, word.into()).await?;
            Ok(FacultyOutcome { summary: format!("{word}: {}", engagement.text), ..outcome(engagement) })
        }
        .boxed()
    })
    .tool("fs.write", Annotations::default(), move |_, args| {
        wrote.fetch_add(1, Ordering::Relaxed);
        async move { text(format!("wrote {args}")) }.boxed()
    })
    .tool("fs.delete", Annotations::default(), |_, _| async { panic!("no run of these tests may") }.boxed())
}

struct Past {
    bench: Bench,
    wrote: Arc<AtomicUsize>,
    past: Retrace,
}

impl Past {
    /// A run of three model calls and two writes.
    async fn new() -> Self {
        Self::under(None, Hooks::default()).await
    }

    /// The same of an item that may hold so much, with these hooks.
    async fn under(cap: Option<Grant>, hooks: Hooks) -> Self {
        let wrote = Arc::default();
        let script =
            Script::of([call("fs.write", json!({ "n": 1 })), call("fs.write", json!({ "n": 2 })), says("done")]);
        let mut bench = Bench::new(script, plugins("noted", &wrote));
        bench.cx.hooks = hooks;
        let work = bench.tenant.submit("assistant", "do it");
        bench.tenant.change(work.id, |work| work.cap = cap);
        let report = animus_agent::run(bench.cx.clone(), bench.tenant.submitted(work.id)).await;
        assert!(report.success() && wrote.load(Ordering::Relaxed) == 2, "{report:?}");
        let work = bench.tenant.submitted(report.work);
        let focus = FocusRecord {
            id: report.focus.unwrap(),
            work: report.work,
            token: 1,
            host: Host::this("test"),
            plugins: json!({}),
            began_ms: 0,
            ended_ms: Some(0),
        };
        let records = bench.tenant.journal();
        Self { bench, wrote, past: Retrace { work, focus, records } }
    }

    async fn look(&self, word: &'static str, until: Option<u64>) -> Verdict {
        let before = (self.bench.tenant.order(), self.bench.script.calls(), self.bench.events().len());
        let cx = animus_agent::RunContext { plugins: Arc::new(plugins(word, &self.wrote)), ..self.bench.cx.clone() };
        let found = retrace(cx, self.past.clone(), until).await.unwrap();
        let after = (self.bench.tenant.order(), self.bench.script.calls(), self.bench.events().len());
        assert_eq!(before, after, "nothing is done, asked or told");
        assert_eq!(self.wrote.load(Ordering::Relaxed), 2);
        assert_eq!(found.records, self.past.records.len());
        found.verdict
    }
}

#[tokio::test]
async fn the_same_program_comes_to_the_same_outcome_and_nothing_is_done() {
    let past = Past::new().await;
    let Verdict::Reproduced { outcome: Outcome::Ok { response } } = past.look("noted", None).await else {
        panic!("it is the same program")
    };
    assert_eq!(response["summary"], "noted: done");
}

#[tokio::test]
async fn another_program_is_told_where_it_goes_another_way() {
    let past = Past::new().await;
    let Verdict::Diverged { why } = past.look("other", None).await else { panic!("it is another program") };
    assert!(why.contains("note by assistant") && why.contains("\"noted\"") && why.contains("\"other\""), "{why}");
}

#[tokio::test]
async fn a_replay_ends_where_it_is_asked_to() {
    let past = Past::new().await;
    let Verdict::Stopped { why } = past.look("noted", Some(4)).await else { panic!("there is more") };
    assert!(why.contains("before #5"), "{why}");
}

#[tokio::test]
async fn a_journal_that_ends_early_is_told_so() {
    let mut past = Past::new().await;
    past.past.records.truncate(4);
    past.past.records[3].outcome = None;
    let Verdict::Stopped { why } = past.look("noted", None).await else { panic!("it ends in #4") };
    assert!(why.contains("the journal ends in #4"), "{why}");
}

#[tokio::test]
async fn a_fork_answers_up_to_a_record_and_goes_on_as_work_of_its_own() {
    let past = Past::new().await;
    let records = past.past.records.clone();
    let first_write = records.iter().find(|r| r.intent.subject == "fs.write").unwrap().seq;
    let tenant = Arc::new(crate::support::FakeTenant::default());
    let script = Script::of([call("fs.write", json!({ "n": 3 })), says("otherwise")]);
    let cx = animus_agent::RunContext { tenant: tenant.clone(), models: script.clone(), ..past.bench.cx.clone() };
    let report = fork(cx, past.past.clone(), first_write).await.unwrap();
    assert!(report.success(), "{report:?}");
    assert_eq!(report.summary, "noted: otherwise");
    assert_eq!((script.calls(), past.wrote.load(Ordering::Relaxed)), (2, 3), "the first answer and write are answered");
    assert_eq!(past.bench.tenant.journal(), records, "what was stays as it was");
    let copied = tenant.journal();
    assert_eq!(copied[1].intent, records[1].intent);
    assert_eq!(copied[first_write as usize - 1].outcome, records[first_write as usize - 1].outcome);
    assert!(report.work != past.past.work.id && copied.iter().all(|record| record.outcome.is_some()));
    let asked = script.requests.lock().unwrap()[0].messages.clone();
    assert_eq!(asked[0].text(), Message::user("do it").text());
    assert_eq!(asked.len(), 3, "the conversation goes on where it was");
}

#[tokio::test]
async fn a_fork_of_capped_work_holds_and_spends_no_more_than_that_did() {
    let cap = Grant { tool: ["fs.write".parse().unwrap()].into(), ..Grant::everything() };
    let mut past = Past::under(Some(cap.clone()), Hooks::default()).await;
    assert!(matches!(past.look("noted", None).await, Verdict::Reproduced { .. }), "a look is under the cap as well");
    let from = past.past.records.iter().find(|r| r.intent.subject == "fs.write").unwrap().seq;
    for (tokens, ending) in [(100_000, Ending::Done), (500, Ending::Budget)] {
        let allowance = Allowance { tokens: Some(tokens), microusd: None };
        past.past.work.allowance = allowance;
        let tenant = Arc::new(crate::support::FakeTenant::default());
        let script = Script::of([call("fs.delete", json!({})), says("so be it")]);
        let cx = animus_agent::RunContext { tenant: tenant.clone(), models: script.clone(), ..past.bench.cx.clone() };
        let report = fork(cx, past.past.clone(), from).await.unwrap();
        assert_eq!(report.ending, Some(ending), "{report:?}");
        let item = tenant.submitted(report.work);
        assert_eq!((item.cap, item.allowance), (Some(cap.clone()), allowance), "who tries it again has no more either");
        assert_eq!(script.calls(), if ending == Ending::Done { 2 } else { 0 });
    }
}

#[tokio::test]
async fn what_hooks_said_of_a_focus_answers_for_its_fork() {
    let looks = Looks::new();
    let past = Past::under(None, looks.hooks()).await;
    // Two turns with a tool call, one without.
    assert_eq!(looks.asked(), 5 + 5 + 3);
    let from = past.past.records.iter().find(|r| r.intent.subject == "fs.write").unwrap().seq;
    let tenant = Arc::new(crate::support::FakeTenant::default());
    let script = Script::of([call("fs.write", json!({ "n": 3 })), says("otherwise")]);
    let cx = animus_agent::RunContext { tenant, models: script, ..past.bench.cx.clone() };
    let report = fork(cx, past.past.clone(), from).await.unwrap();
    assert!(report.success(), "{report:?}");
    assert_eq!(looks.asked(), 13 + 10, "the first model call and the first write are not shown again");
}
