//! A focus whose host ends after any write of its journal goes on elsewhere as if nothing had happened.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use animus_agent::{Focus, Hooks, RunReport, Terms, run_claimed};
use animus_core::{
    Error, Result,
    budget::Amount,
    code::{Program, Ran},
    event::Event,
    grant::{Grant, LedgerAccess, LlmGrant, MemoryAccess},
    journal::{EffectKind, Intent, Outcome, Record},
    ledger::EntryType,
    llm::{Content, Embeddings, Message, ModelInfo, Models, Request, Response, ResponseStream, Stop, StreamEvent},
    plugins::FacultyOutcome,
    services::{CallContext, EngageOptions, Services as _},
    store::Works as _,
    tool::Annotations,
    work::{Claim, Host, Lease, State},
};
use async_trait::async_trait;
use futures::{FutureExt as _, StreamExt as _, stream};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::{
    Bench, COST, FakePlugins, Looks, READS, Script, USAGE, call, outcome, response, says, text, tool_use,
};

/// A model that goes by what it reads, not by how often it was asked.
#[derive(Default)]
struct ByTurn {
    asked: AtomicUsize,
}

#[async_trait]
impl Models for ByTurn {
    fn roles(&self) -> Vec<String> {
        vec!["default".into()]
    }

    fn resolve(&self, role: &str) -> Result<ModelInfo> {
        Script::of([]).resolve(role)
    }

    async fn stream(&self, request: Request, cancel: CancellationToken) -> Result<ResponseStream> {
        let response = self.complete(request, cancel).await?;
        let pieces = [Ok(StreamEvent::Text(response.message.text())), Ok(StreamEvent::Done(response))];
        Ok(stream::iter(pieces).boxed())
    }

    async fn embed(&self, _: &str, _: &[String], _: CancellationToken) -> Result<Embeddings> {
        Err(Error::NotFound("no model of this test embeds".into()))
    }

    async fn complete(&self, request: Request, _: CancellationToken) -> Result<Response> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let content = match request.messages.len() {
            1 => vec![
                tool_use("a", "fs.read", json!({ "path": "a" })),
                tool_use("b", "fs.write", json!({ "path": "b" })),
                tool_use("c", "fs.read", json!({ "path": "a" })),
                tool_use("d", "fs.touch", json!({ "path": "d" })),
            ],
            3 => vec![
                tool_use("e", "execute_code", json!({ "code": "two calls", "session": "s" })),
                tool_use("f", "ledger_append", json!({ "entry_type": "finding", "content": "water is wet" })),
            ],
            5 => vec![tool_use("g", "execute_code", json!({ "code": "two calls", "session": "s" }))],
            _ => return Ok(response(vec![Content::Text { text: "finished".into() }], Stop::EndTurn)),
        };
        Ok(response(content, Stop::ToolUse))
    }
}

/// How often each tool ran.
type Ran_ = Arc<Mutex<BTreeMap<String, usize>>>;

fn plugins(ran: &Ran_) -> FakePlugins {
    let tool = |name: &'static str| {
        let ran = ran.clone();
        move |cx: CallContext, args: serde_json::Value| {
            assert!(cx.deterministic.is_none(), "a tool has the real clock");
            *ran.lock().unwrap().entry(format!("{name} {args} {:?}", cx.parent)).or_default() += 1;
            async move {
                // The order of what happens at the same time is any.
                for _ in 0..(args.to_string().len() * 7) % 5 {
                    tokio::task::yield_now().await;
                }
                text(format!("{name} did {args}"))
            }
            .boxed()
        }
    };
    let mut plugins = FakePlugins::with_faculty(|cx, by, task| {
        async move {
            let services = &cx.services;
            let began = cx.deterministic.clone().unwrap();
            services.memory_store(&by, "a fact".into(), "fact".into(), vec![]).await?;
            let options = EngageOptions {
                tools: vec!["*".into()],
                system: format!("seed {:?}, time {:?}", began.seed, began.clock.now()),
                prompt: task.instruction,
                ..EngageOptions::default()
            };
            let engagement = services.engage(&by, options).await?;
            let time = format!("the time is {:?}", began.clock.now());
            services.ledger_append(&by, EntryType::Note, time).await?;
            let hits = services.memory_recall(&by, Default::default()).await?;
            services.ledger_append(&by, EntryType::Note, format!("{} memories", hits.len())).await?;
            Ok(outcome(engagement))
        }
        .boxed()
    });
    plugins.grant(Grant {
        tool: ["*".parse().unwrap()].into(),
        llm: Some(LlmGrant { roles: ["*".parse().unwrap()].into(), max_tokens: 8_192 }),
        ledger: [LedgerAccess::Append, LedgerAccess::Read].into(),
        memory: [MemoryAccess::Read, MemoryAccess::Write].into(),
        interpreter: ["*".parse().unwrap()].into(),
        ..Grant::default()
    });
    let idempotent = Annotations { idempotent: true, ..Annotations::default() };
    let destructive = Annotations { destructive: true, ..Annotations::default() };
    plugins
        .tool("fs.read", READS, tool("fs.read"))
        .tool("fs.touch", idempotent, tool("fs.touch"))
        .tool("fs.write", destructive, tool("fs.write"))
        .interpreter(|cx, by, program: Program| {
            async move {
                assert!(cx.deterministic.is_some(), "code runs again when its focus is resumed");
                let by = animus_core::services::Principal {
                    tenant: cx.tenant.clone(),
                    focus: cx.focus,
                    authority: Arc::new(by),
                    generation: 1,
                    digest: animus_core::id::Digest::of(b""),
                    depth: cx.depth,
                    parent: cx.parent,
                };
                let runs = program.state.map_or(0, |state| state.len());
                let path = format!("{runs}");
                let read = cx.services.tool_call(&by, "fs.read", json!({ "path": path }).to_string()).await?;
                let wrote = cx.services.tool_call(&by, "fs.write", json!({ "path": path }).to_string()).await;
                let wrote = wrote.map_or_else(|error| error.class().to_owned(), |output| output.text);
                Ok(Ran { text: format!("{} {wrote}", read.text), state: Some(vec![0; runs + 1]), ..Ran::default() })
            }
            .boxed()
        })
}

struct Sweep {
    bench: Bench,
    ran: Ran_,
    model: Arc<ByTurn>,
}

impl Sweep {
    fn new() -> Self {
        let (ran, model) = (Ran_::default(), Arc::new(ByTurn::default()));
        let mut bench = Bench::new(Script::of([]), plugins(&ran));
        bench.cx.models = model.clone();
        Self { bench, ran, model }
    }

    /// Runs until the host is gone after so many writes; none when it came to the end before.
    async fn until(&self, writes: usize) -> Option<RunReport> {
        let tenant = &self.bench.tenant;
        *tenant.writes_left.lock().unwrap() = Some(writes);
        let work = tenant.submit("assistant", "do it");
        tokio::select! {
            report = animus_agent::run(self.bench.cx.clone(), work) => Some(report),
            () = tenant.gone.notified() => None,
        }
    }

    /// Goes on elsewhere; perhaps until that host is gone as well.
    async fn resume(&self, writes: Option<usize>) -> Option<RunReport> {
        let tenant = &self.bench.tenant;
        let work = tenant.only_work();
        let claimed = tenant.take_over(work);
        *tenant.writes_left.lock().unwrap() = writes;
        let mut cx = self.bench.cx.clone();
        cx.budget = animus_core::budget::Budget::new("run", Default::default());
        tokio::select! {
            report = run_claimed(cx, claimed, Terms::default()) => Some(report),
            () = tenant.gone.notified() => None,
        }
    }

    fn journal(&self) -> Vec<Record> {
        self.bench.tenant.journal()
    }

    /// What must hold of a focus that came to its end, however often it changed hosts.
    fn check(&self, report: &RunReport, whole: &RunReport, hosts: usize, point: &str) {
        let journal = self.journal();
        assert!(journal.iter().all(|record| record.outcome.is_some()), "{point}: {journal:#?}");
        let uncertain =
            journal.iter().any(|r| matches!(&r.outcome, Some(Outcome::Failed { error: Error::Uncertain(_) })));
        assert_eq!(report.state, State::Completed, "{point}: {report:?} {journal:#?}");
        assert_eq!((&report.summary, &report.data), (&whole.summary, &whole.data), "{point}: {journal:#?}");
        assert_eq!(report.ending, whole.ending, "{point}");
        assert_eq!(report.spent, whole.spent, "{point}: each answer is paid once");
        let ran = self.ran.lock().unwrap();
        for (call, times) in ran.iter() {
            let most = if call.starts_with("fs.write") { 1 } else { hosts };
            assert!(*times <= most, "{point}: {call} ran {times} times");
        }
        assert!(uncertain || ran.keys().filter(|call| call.starts_with("fs.write")).count() == 3, "{point}: {ran:?}");
        let ledger: Vec<_> = self.bench.tenant.ledger().into_iter().map(|entry| entry.content).collect();
        assert_eq!(ledger.len(), 3, "{point}: {ledger:?}");
        assert!(ledger[0] == "water is wet" && ledger[2] == "1 memories", "{point}: {ledger:?}");
        assert_eq!(self.bench.tenant.memories().len(), 1, "{point}");
        let asked = self.model.asked.load(Ordering::Relaxed);
        assert!((4..4 + hosts).contains(&asked), "{point}: {asked} model calls");
    }
}

#[tokio::test]
async fn a_focus_whose_host_ends_after_any_write_comes_to_the_same_end_elsewhere() {
    let whole = Sweep::new();
    let report = whole.until(usize::MAX).await.unwrap();
    whole.check(&report, &report, 1, "whole");
    assert_eq!(report.spent, Amount { tokens: 4 * USAGE.total(), microusd: 4 * COST });
    let writes = 2 * whole.journal().len();
    assert!(writes > 30, "{:#?}", whole.journal());
    for n in 0..writes {
        let sweep = Sweep::new();
        assert!(sweep.until(n).await.is_none(), "{n}");
        let resumed = sweep.resume(None).await.unwrap();
        sweep.check(&resumed, &report, 2, &format!("after {n} writes"));
    }
}

#[tokio::test]
async fn a_focus_may_lose_its_host_many_times() {
    let whole = Sweep::new();
    let report = whole.until(usize::MAX).await.unwrap();
    for step in [1, 2, 3, 5] {
        let sweep = Sweep::new();
        assert!(sweep.until(step).await.is_none());
        let mut hosts = 2;
        let resumed = loop {
            match sweep.resume(Some(step)).await {
                Some(report) => break report,
                None => hosts += 1,
            }
            assert!(hosts < 200, "it never ends: {:#?}", sweep.journal());
        };
        sweep.check(&resumed, &report, hosts, &format!("every {step} writes"));
    }
}

#[tokio::test]
async fn a_hook_that_came_or_went_meanwhile_ends_no_focus() {
    let whole = Sweep::new();
    let report = whole.until(usize::MAX).await.unwrap();
    let all = told(whole.bench.events());
    for watched_first in [true, false] {
        let hooks = |watched: bool| if watched { Looks::new().hooks() } else { Hooks::default() };
        let mut sweep = Sweep::new();
        sweep.bench.cx.hooks = hooks(watched_first);
        sweep.until(usize::MAX).await.unwrap();
        for n in 0..2 * sweep.journal().len() {
            let mut sweep = Sweep::new();
            sweep.bench.cx.hooks = hooks(watched_first);
            assert!(sweep.until(n).await.is_none(), "{n}");
            sweep.bench.cx.hooks = hooks(!watched_first);
            let resumed = sweep.resume(None).await.unwrap();
            let point = format!("after {n} writes, watched {}", if watched_first { "first" } else { "then" });
            sweep.check(&resumed, &report, 2, &point);
            let told = told(sweep.bench.events());
            assert!(told["message"] <= all["message"] + 1 && told["usage"] <= all["usage"] + 1, "{point}: {told:?}");
        }
    }
}

/// How many events of each kind there are.
fn told(events: Vec<Event>) -> BTreeMap<String, usize> {
    let kind = |event: &Event| serde_json::to_value(event).unwrap()["type"].as_str().unwrap().to_owned();
    let mut counts = BTreeMap::new();
    for event in &events {
        *counts.entry(kind(event)).or_default() += 1;
    }
    counts
}

#[tokio::test]
async fn what_watchers_were_told_is_not_told_again() {
    let whole = Sweep::new();
    whole.until(usize::MAX).await.unwrap();
    let all = told(whole.bench.events());
    for n in 0..2 * whole.journal().len() {
        let sweep = Sweep::new();
        assert!(sweep.until(n).await.is_none());
        sweep.resume(None).await.unwrap();
        for (kind, count) in told(sweep.bench.events()) {
            // What was under way when the host ended begins again.
            assert!(count <= all[&kind] + 4, "after {n} writes: {count} times {kind}, {} without", all[&kind]);
            if kind == "ledger" {
                assert!(count <= all[&kind], "after {n} writes: an entry was told twice");
            }
            if kind == "usage" {
                // An answer that was told and not kept is asked for again.
                assert!(count <= all[&kind] + 1, "after {n} writes");
            }
        }
    }
}

#[tokio::test]
async fn what_may_have_happened_is_never_repeated_and_the_model_is_told() {
    let whole = Sweep::new();
    whole.until(usize::MAX).await.unwrap();
    let mut doubts = 0;
    for n in 0..2 * whole.journal().len() {
        let sweep = Sweep::new();
        sweep.until(n).await;
        let open: Vec<_> = sweep.journal().into_iter().filter(|r| r.outcome.is_none()).collect();
        sweep.resume(None).await.unwrap();
        for record in open.iter().filter(|record| record.intent.subject == "fs.write") {
            let now = sweep.journal()[record.seq as usize - 1].outcome.clone();
            let Some(Outcome::Failed { error: error @ Error::Uncertain(_) }) = now else { panic!("{now:?}") };
            let said = error.for_model();
            assert!(said.starts_with("uncertain: ") && said.contains("fs.write") && said.contains("path"), "{said}");
            assert!(said.contains("may or may not have happened") && said.contains("check"), "{said}");
            doubts += 1;
        }
    }
    assert!(doubts >= 3, "{doubts}");
}

#[tokio::test]
async fn a_program_that_goes_another_way_fails_with_both_sides() {
    let sweep = Sweep::new();
    sweep.until(8).await;
    // The same focus with a faculty that does something else.
    let mut other = Bench::new(
        Script::of([]),
        FakePlugins::with_faculty(|cx, by, _| {
            async move {
                cx.services.memory_store(&by, "another fact".into(), "fact".into(), vec![]).await?;
                Ok(FacultyOutcome { success: true, summary: "fine".into(), data: None })
            }
            .boxed()
        }),
    );
    other.cx.tenant = sweep.bench.tenant.clone();
    let before = sweep.bench.tenant.memories();
    let claimed = sweep.bench.tenant.take_over(sweep.bench.tenant.only_work());
    let report = run_claimed(other.cx.clone(), claimed, Terms::default()).await;
    let Some(Error::Diverged(why)) = &report.error else { panic!("{report:?}") };
    // What a memory says does not stand in the journal, only its digest.
    assert!(why.contains("the journal has #2") && why.matches(" by assistant with ").count() == 2, "{why}");
    assert_eq!(report.state, State::Failed);
    assert_eq!(sweep.bench.tenant.memories(), before, "nothing was done that the journal speaks against");
}

#[tokio::test]
async fn a_program_that_asks_for_less_than_before_has_gone_another_way() {
    let sweep = Sweep::new();
    sweep.until(3).await;
    let mut other = Bench::new(
        Script::of([]),
        FakePlugins::with_faculty(|_, _, _| {
            async { Ok(FacultyOutcome { success: true, summary: "fine".into(), data: None }) }.boxed()
        }),
    );
    other.cx.tenant = sweep.bench.tenant.clone();
    let claimed = sweep.bench.tenant.take_over(sweep.bench.tenant.only_work());
    let report = run_claimed(other.cx.clone(), claimed, Terms::default()).await;
    let Some(Error::Diverged(why)) = &report.error else { panic!("{report:?}") };
    assert!(why.contains("#2") && why.contains("ended without asking for it"), "{why}");
}

#[tokio::test]
async fn a_host_that_lost_its_focus_writes_and_does_nothing_more() {
    let sweep = Sweep::new();
    let tenant = sweep.bench.tenant.clone();
    sweep.until(1).await;
    let claimed = tenant.take_over(tenant.only_work());
    let (old, new) = (Lease { token: 1, ..claimed.lease }, claimed.lease);
    let by = {
        let focus = Focus::new(sweep.bench.cx.clone(), claimed.work.id, new);
        let cx = focus.call_context(0, None, CancellationToken::new());
        plugins(&sweep.ran).principal(&cx)
    };
    let zombie = Focus::new(sweep.bench.cx.clone(), claimed.work.id, old);
    let owner = Focus::new(sweep.bench.cx.clone(), claimed.work.id, new);
    let before = sweep.journal().len();
    for _ in 0..2 {
        let refused = zombie.ledger_append(&by, EntryType::Note, "from the grave".into()).await.unwrap_err();
        assert_eq!(refused.class(), "conflict");
        let refused = zombie.tool_call(&by, "fs.write", "{}".into()).await.unwrap_err();
        assert_eq!(refused.class(), "conflict");
    }
    owner.ledger_append(&by, EntryType::Note, "alive".into()).await.unwrap();
    assert_eq!(sweep.journal().len(), before + 1);
    assert_eq!(tenant.ledger().len(), 1);
    assert!(sweep.ran.lock().unwrap().is_empty(), "{:?}", sweep.ran);
}

#[tokio::test]
async fn an_answer_that_the_journal_cut_ends_the_focus_before_it_does_anything() {
    let sweep = Sweep::new();
    sweep.until(1).await;
    let tenant = &sweep.bench.tenant;
    let cut = json!({ "cut": true, "bytes": 1 << 30, "sha256": "00" });
    let intent = Intent {
        kind: EffectKind::Tool,
        caller: "assistant".into(),
        subject: "fs.read".into(),
        request: json!({}),
        parent: Some(1),
    };
    tenant.push(Record {
        seq: 2,
        intent,
        outcome: Some(Outcome::Ok { response: cut }),
        started_ms: 0,
        ended_ms: Some(0),
    });
    let report = sweep.resume(None).await.unwrap();
    let why = report.error.unwrap().to_string();
    assert!(why.contains("#2") && why.contains("too large"), "{why}");
    assert_eq!(report.state, State::Failed);
    assert_eq!(sweep.model.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn an_answer_that_is_another_callers_pays_for_nobody_else() {
    let asks = || {
        FakePlugins::with_faculty(|cx, by, _| {
            async move {
                let request = Request {
                    model: "default".into(),
                    system: None,
                    messages: vec![Message::user("well?").into()],
                    tools: [].into(),
                    max_tokens: None,
                    temperature: None,
                };
                let answered = cx.services.llm_complete(&by, request).await;
                let summary = answered.map_or_else(|error| error.class().to_owned(), |answer| answer.message.text());
                Ok(FacultyOutcome { success: true, summary, data: None })
            }
            .boxed()
        })
        .reads("ask.model", "asked")
    };
    let first = Bench::new(Script::of([says("yes")]), asks());
    assert_eq!(first.run().await.summary, "yes");
    let mut records = first.tenant.journal();
    // The same call, made inside a tool that has no outcome yet.
    let (phase, call) = (records.remove(0), records.remove(0));
    let inside = Intent { parent: Some(2), ..call.intent.clone() };
    let ask = Intent { kind: EffectKind::Tool, subject: "ask.model".into(), request: json!({}), ..call.intent.clone() };
    let bench = Bench::new(Script::of([]), asks()).budget(50);
    let work = bench.tenant.submit("assistant", "do it");
    bench.tenant.focus_begin(work.id, State::Queued, &Claim::held(Host::this("test"), 1, json!({}))).await.unwrap();
    bench.tenant.push(Record { outcome: None, ..phase });
    bench.tenant.push(Record { intent: ask, outcome: None, ..call.clone() });
    bench.tenant.push(Record { seq: 3, intent: inside, ..call });
    let claimed = bench.tenant.take_over(work.id);
    run_claimed(bench.cx.clone(), claimed, Terms::default()).await;
    assert_eq!((bench.script.calls(), bench.tenant.journal().len()), (0, 3), "it is beyond the budget");
}

#[tokio::test]
async fn a_tool_of_the_host_that_was_not_on_offer_when_the_loop_began_is_none() {
    let grant = || Grant {
        llm: Some(LlmGrant { roles: ["*".parse().unwrap()].into(), max_tokens: 8_192 }),
        interpreter: ["*".parse().unwrap()].into(),
        ..Grant::default()
    };
    let mut plain = FakePlugins::new();
    plain.grant(grant());
    let script = Script::of([call("execute_code", json!({ "code": "1" })), says("so be it")]);
    let mut bench = Bench::new(script, plain);
    let tenant = bench.tenant.clone();
    // Up to what the loop starts from.
    *tenant.writes_left.lock().unwrap() = Some(3);
    let work = tenant.submit("assistant", "do it");
    tokio::select! {
        report = animus_agent::run(bench.cx.clone(), work.clone()) => panic!("{report:?}"),
        () = tenant.gone.notified() => {}
    }
    let mut able = FakePlugins::new();
    able.grant(grant());
    bench.cx.plugins = Arc::new(able.interpreter(|_, _, _| async { panic!("no hook was asked") }.boxed()));
    let looks = Looks::new();
    bench.cx.hooks = looks.hooks();
    let report = run_claimed(bench.cx.clone(), tenant.take_over(work.id), Terms::default()).await;
    assert!(report.success(), "{report:?}");
    let told = bench.last_results().remove(0);
    assert!(told.is_error && told.text.contains("there is no tool 'execute_code'"), "{told:?}");
}

#[tokio::test]
async fn what_was_forgotten_before_the_host_died_is_forgotten_and_not_missed() {
    let plugins = || {
        FakePlugins::with_faculty(|cx, by, _| {
            async move {
                let id = cx.services.memory_store(&by, "a fact".into(), "fact".into(), vec![]).await?;
                let forgotten = cx.services.memory_forget(&by, id).await;
                Ok(FacultyOutcome { success: true, summary: format!("{forgotten:?}"), data: None })
            }
            .boxed()
        })
    };
    for writes in 0..7 {
        let bench = Bench::new(Script::of([]), plugins());
        let tenant = bench.tenant.clone();
        *tenant.writes_left.lock().unwrap() = Some(writes);
        let work = tenant.submit("assistant", "do it");
        let ended = tokio::select! {
            report = animus_agent::run(bench.cx.clone(), work.clone()) => Some(report),
            () = tenant.gone.notified() => None,
        };
        let report = match ended {
            Some(report) => report,
            None => run_claimed(bench.cx.clone(), tenant.take_over(work.id), Terms::default()).await,
        };
        assert_eq!(report.summary, "Ok(())", "after {writes} writes: {:#?}", tenant.journal());
    }
}
