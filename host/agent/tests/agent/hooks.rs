//! The chain of hooks: order, blocks, changes, failures; and that no verdict allows anything.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::support::{Bench, FakePlugins, READS, Script, call, says, text};
use animus_agent::{Hooks, RunReport};
use animus_core::{
    Error, Gate, Result,
    event::{Event, HookAction},
    grant::{Grant, HookAccess},
    hook::{
        CommandHook, CommandHooks, HookEvent, LlmPatch, OnFailure, OutcomePatch, PartPatch, Patch, Point, Settings,
        Verdict,
    },
    id::PluginName,
    plugins::FacultyOutcome,
    services::Ending,
    tool::{Annotations, Output},
    work::State,
};
use async_trait::async_trait;
use futures::FutureExt as _;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

type Answer = Box<dyn Fn(&HookEvent) -> Result<Verdict> + Send + Sync>;

/// Hooks that are closures.
#[derive(Default)]
struct Fakes {
    hooks: Vec<CommandHook>,
    answers: BTreeMap<String, Answer>,
    /// Who was shown what.
    shown: Mutex<Vec<(String, HookEvent)>>,
}

#[async_trait]
impl CommandHooks for Fakes {
    fn hooks(&self) -> &[CommandHook] {
        &self.hooks
    }

    async fn run(&self, name: &str, event: &HookEvent) -> Result<Verdict> {
        self.shown.lock().unwrap().push((name.to_owned(), event.clone()));
        let verdict = self.answers[name](event);
        if verdict == Ok(Verdict::Block("hang".into())) {
            std::future::pending::<()>().await;
        }
        verdict
    }
}

impl Fakes {
    fn with(
        mut self,
        name: &str,
        settings: Settings,
        answer: impl Fn(&HookEvent) -> Result<Verdict> + Send + Sync + 'static,
    ) -> Self {
        self.hooks.push(CommandHook { name: name.into(), settings });
        self.answers.insert(name.into(), Box::new(answer));
        self
    }

    fn names(&self) -> Vec<String> {
        self.shown.lock().unwrap().iter().map(|(name, _)| name.clone()).collect()
    }

    fn events(&self) -> Vec<HookEvent> {
        self.shown.lock().unwrap().iter().map(|(_, event)| event.clone()).collect()
    }
}

fn at(point: Point) -> Settings {
    Settings { events: [point].into(), timeout_ms: 120_000, ..Settings::default() }
}

fn args(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn block(why: &str) -> Result<Verdict> {
    Ok(Verdict::Block(why.into()))
}

/// What a hook of each kind of failure does, and the class that is told.
fn failures() -> Vec<(&'static str, Result<Verdict>)> {
    vec![
        ("timeout", block("hang")),
        ("internal", Err(Error::Internal("it trapped".into()))),
        ("unavailable", Err(Error::Unavailable("no".into()))),
        ("cancelled", Err(Error::Cancelled)),
        ("invalid", Ok(Verdict::Modify(Patch::Answer("not for this".into())))),
    ]
}

struct Run {
    report: RunReport,
    bench: Bench,
    hooks: Arc<Fakes>,
    /// The arguments with which the tool was run.
    ran: Arc<Mutex<Vec<Value>>>,
}

impl Run {
    fn hook_events(&self) -> Vec<(String, HookAction, Option<String>)> {
        let event = |event| match event {
            Event::Hook { hook, action, reason, .. } => Some((hook, action, reason)),
            _ => None,
        };
        self.bench.events().into_iter().filter_map(event).collect()
    }
}

/// A run whose model calls `fs.write` once and then says something.
async fn run(hooks: Fakes) -> Run {
    run_with(Arc::new(hooks), Script::of([call("fs.write", json!({ "n": 1 })), says("all done")])).await
}

async fn run_with(hooks: Arc<Fakes>, script: Arc<Script>) -> Run {
    let ran = Arc::new(Mutex::new(Vec::new()));
    let seen = ran.clone();
    let plugins = FakePlugins::new().tool("fs.write", Annotations::default(), move |_, args| {
        seen.lock().unwrap().push(args);
        async { Ok(Output { text: "written".into(), structured: Some(json!({ "ok": 1 })), ..Output::default() }) }
            .boxed()
    });
    let mut bench = Bench::new(script, plugins);
    bench.cx.hooks = Hooks::new(BTreeMap::new(), Some(hooks.clone()));
    let report = bench.run().await;
    Run { report, bench, hooks, ran }
}

#[tokio::test]
async fn hooks_run_by_priority_then_by_name_and_only_where_they_are_set_to() {
    let low = |priority| Settings { priority, ..at(Point::BeforeToolCall) };
    let goes = |_: &HookEvent| Ok(Verdict::Continue);
    let run = run(Fakes::default()
        .with("z", low(1), goes)
        .with("b", low(5), goes)
        .with("a", low(5), goes)
        .with("off", Settings { enabled: false, ..low(0) }, goes)
        .with("nowhere", Settings { events: [].into(), ..low(0) }, goes)
        .with("turn", at(Point::AfterTurn), goes))
    .await;
    assert_eq!(run.hooks.names(), ["z", "a", "b", "turn", "turn"]);
    assert_eq!(run.report.state, State::Completed);
    assert!(run.hook_events().is_empty());
}

#[tokio::test]
async fn the_first_block_ends_the_row_and_the_tool_does_not_run() {
    let goes = |_: &HookEvent| Ok(Verdict::Continue);
    let run = run(Fakes::default()
        .with("a", at(Point::BeforeToolCall), goes)
        .with("b", at(Point::BeforeToolCall), |_| block("not\ntoday"))
        .with("c", at(Point::BeforeToolCall), goes))
    .await;
    assert_eq!(run.hooks.names(), ["a", "b"]);
    assert!(run.ran.lock().unwrap().is_empty());
    let result = run.bench.last_results().remove(0);
    let says = "not run: the hook 'command:b' stopped it, which says: not\\u{a}today";
    assert!(result.is_error && result.text == says, "{}", result.text);
    assert!(!run.bench.tenant.order().iter().any(|what| what.contains("fs.write")), "nothing was begun");
    let told = [("command:b".to_owned(), HookAction::Blocked, Some("not\\u{a}today".to_owned()))];
    assert_eq!(run.hook_events(), told);
    let (actor, action, subject, detail) = run.bench.tenant.audited().remove(0);
    assert_eq!((actor.as_str(), action.as_str()), ("plugin:assistant", "call.denied"));
    assert_eq!((subject.as_str(), &detail["gate"]), ("tool:fs.write", &json!("hook")));
    assert_eq!(run.report.state, State::Completed, "the model goes on without it");
}

#[tokio::test]
async fn changes_chain_and_the_journal_has_what_was_really_done() {
    let add = |event: &HookEvent| {
        let HookEvent::BeforeTool(call) = event else { panic!("not asked for") };
        let n = call.args["n"].as_u64().unwrap();
        Ok(Verdict::Modify(Patch::Args(args(json!({ "n": n * 10 })))))
    };
    let run =
        run(Fakes::default().with("a", at(Point::BeforeToolCall), add).with("b", at(Point::BeforeToolCall), add)).await;
    assert_eq!(*run.ran.lock().unwrap(), [json!({ "n": 100 })]);
    let journal = run.bench.tenant.journal();
    let record = journal.iter().find(|record| record.intent.subject == "fs.write").unwrap();
    assert_eq!(record.intent.request, json!({ "n": 100 }));
    assert!(run.hook_events().iter().all(|(_, action, _)| *action == HookAction::Modified));
}

#[tokio::test]
async fn a_hook_that_fails_blocks_when_closed_and_is_passed_over_when_open() {
    for (class, verdict) in failures() {
        for on_failure in [OnFailure::Closed, OnFailure::Open] {
            let verdict = verdict.clone();
            let timeout_ms = if class == "timeout" { 10 } else { 120_000 };
            let settings = Settings { on_failure, timeout_ms, ..at(Point::BeforeToolCall) };
            let last = |_: &HookEvent| Ok(Verdict::Modify(Patch::Args(args(json!({ "last": true })))));
            let run = run(Fakes::default().with("a", settings, move |_| verdict.clone()).with(
                "b",
                at(Point::BeforeToolCall),
                last,
            ))
            .await;
            let result = run.bench.last_results().remove(0);
            let (_, action, reason) = run.hook_events().remove(0);
            match on_failure {
                OnFailure::Closed => {
                    assert!(run.ran.lock().unwrap().is_empty(), "{class}");
                    let says = format!("not run: the hook 'command:a' failed ({class}), and nothing passes without it");
                    assert_eq!((result.text, result.is_error), (says, true));
                    assert_eq!(action, HookAction::Blocked);
                }
                OnFailure::Open => {
                    assert_eq!(*run.ran.lock().unwrap(), [json!({ "last": true })], "{class}");
                    assert_eq!((result.text.as_str(), result.is_error), ("written", false));
                    assert_eq!(action, HookAction::Failed);
                }
            }
            assert!(reason.is_some());
            assert_eq!(run.report.state, State::Completed, "{class}");
        }
    }
}

#[tokio::test]
async fn a_blocked_model_call_ends_the_run_as_denied_and_is_never_made() {
    let run = run(Fakes::default().with("a", at(Point::BeforeLlmCall), |_| block("no models"))).await;
    assert_eq!(run.bench.script.calls(), 0);
    assert_eq!((run.report.ending, run.report.state), (Some(Ending::Blocked), State::Failed));
    let Some(Error::Denied(denial)) = run.report.error else { panic!("{:?}", run.report) };
    assert_eq!((denial.gate, denial.capability.as_str()), (Gate::Hook, "llm:default"));
    assert!(denial.to_string().contains("'command:a' stopped it, which says: no models"), "{denial}");
}

#[tokio::test]
async fn a_blocked_answer_is_paid_for_and_nobody_gets_it() {
    let run = run(Fakes::default().with("a", at(Point::AfterLlmCall), |_| block("unfit"))).await;
    assert_eq!(run.report.ending, Some(Ending::Blocked));
    assert!(run.report.spent.tokens > 0);
    let events = run.bench.events();
    assert!(!events.iter().any(|event| matches!(event, Event::Token { .. } | Event::Message { .. })), "{events:#?}");
    assert!(run.ran.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_a_model_is_sent_and_what_it_says_can_be_changed() {
    let redact = |event: &HookEvent| {
        let HookEvent::BeforeLlm(call) = event else { panic!("not asked for") };
        let parts = call.parts.iter().enumerate().map(|(at, part)| PartPatch {
            index: u32::try_from(at).unwrap(),
            text: part.text.replace("do it", "do [redacted]").replace("written", "[redacted]"),
        });
        let patch = LlmPatch { system: Some("be safe".into()), parts: parts.collect() };
        Ok(Verdict::Modify(Patch::Llm(patch)))
    };
    let shout = |event: &HookEvent| {
        let HookEvent::AfterLlm(answer) = event else { panic!("not asked for") };
        Ok(Verdict::Modify(Patch::Answer(answer.text.to_uppercase())))
    };
    let run =
        run(Fakes::default().with("a", at(Point::BeforeLlmCall), redact).with("b", at(Point::AfterLlmCall), shout))
            .await;
    let request = run.bench.script.last_request();
    assert_eq!(request.system.as_deref(), Some("be safe"));
    let all = format!("{:?}", request.messages);
    assert!(all.contains("do [redacted]") && all.contains("[redacted]") && !all.contains("written"), "{all}");
    assert_eq!(run.report.summary, "ALL DONE");
    let tokens: String = run
        .bench
        .events()
        .into_iter()
        .filter_map(|event| if let Event::Token { text } = event { Some(text) } else { None })
        .collect();
    assert_eq!(tokens, "ALL DONE", "the text is withheld until it has passed");
    let second = run.hooks.events().into_iter().filter_map(|event| match event {
        HookEvent::BeforeLlm(call) => Some((call.number, call.parts.len())),
        _ => None,
    });
    assert_eq!(second.collect::<Vec<_>>(), [(1, 1), (2, 3)], "every call shows the conversation as it was");
}

#[tokio::test]
async fn an_answer_of_a_tool_is_changed_with_its_data_or_withheld() {
    let patch = OutcomePatch { text: Some("clean".into()), ..OutcomePatch::default() };
    let clean = move |_: &HookEvent| Ok(Verdict::Modify(Patch::Outcome(patch.clone())));
    let changed = run(Fakes::default().with("a", at(Point::AfterToolCall), clean)).await;
    assert_eq!(changed.bench.last_results().remove(0).text, "clean");
    let blocked = run(Fakes::default().with("a", at(Point::AfterToolCall), |_| block("secret"))).await;
    let result = blocked.bench.last_results().remove(0);
    assert!(result.is_error && result.text.starts_with("the result is withheld: the hook 'command:a'"));
    assert_eq!(blocked.ran.lock().unwrap().len(), 1, "what it did is done");
}

#[tokio::test]
async fn a_hook_ends_the_loop_after_a_turn() {
    let run = run(Fakes::default().with("a", at(Point::AfterTurn), |_| block("enough"))).await;
    assert_eq!((run.report.ending, run.bench.script.calls()), (Some(Ending::Blocked), 1));
    assert!(matches!(run.report.error, Some(Error::Denied(denial)) if denial.gate == Gate::Hook));
    let HookEvent::AfterTurn(turn) = &run.hooks.events()[0] else { panic!("not asked for") };
    assert_eq!((turn.turn, turn.tool_calls), (1, 1));
}

#[tokio::test]
async fn the_tools_of_the_host_are_watched_like_any() {
    let script =
        Script::of([call("ledger_append", json!({ "entry_type": "note", "content": "secret" })), says("well")]);
    let hooks = Fakes::default().with("a", at(Point::BeforeToolCall), |event| {
        assert_eq!(event.subject(), "ledger_append");
        block("no notes")
    });
    let run = run_with(Arc::new(hooks), script).await;
    assert!(run.bench.last_results().remove(0).text.contains("no notes"));
    assert!(!run.bench.tenant.order().iter().any(|what| what.contains("ledger")), "nothing was written");
}

#[tokio::test]
async fn calls_that_were_blocked_do_not_count() {
    let calls = (0..3).map(|_| call("fs.write", json!({})));
    let script = Script::of(calls.chain([says("well")]));
    let hooks = Fakes::default().with("a", at(Point::BeforeToolCall), |event| {
        let HookEvent::BeforeTool(call) = event else { panic!("not asked for") };
        assert_eq!(call.calls, call.calls_last_minute);
        if call.calls < 1 { Ok(Verdict::Continue) } else { block(&format!("{} are enough", call.calls)) }
    });
    let run = run_with(Arc::new(hooks), script).await;
    assert_eq!(run.ran.lock().unwrap().len(), 1);
    let all = format!("{:?}", run.bench.script.last_request().messages);
    assert_eq!(all.matches("1 are enough").count(), 2, "{all}");
}

#[tokio::test]
async fn what_was_refused_is_never_shown_and_stays_refused() {
    let plugins = FakePlugins::new()
        .tool("fs.write", Annotations::default(), |_, _| async { panic!("must not run") }.boxed())
        .tool("fs.fails", READS, |_, _| {
            let denial = animus_core::Denial {
                who: "fs".into(),
                capability: "path:/secret".into(),
                gate: Gate::Grant,
                unlock: animus_core::Unlock::AskOperator,
                reason: None,
                command: None,
            };
            async { Err(denial.into()) }.boxed()
        });
    let script = Script::of([call("fs.write", json!({})), call("fs.fails", json!({})), says("well")]);
    let pardon = OutcomePatch { text: Some("all is well".into()), structured: None, is_error: Some(false) };
    let hooks = Arc::new(Fakes::default().with("before", at(Point::BeforeToolCall), |_| Ok(Verdict::Continue)).with(
        "after",
        at(Point::AfterToolCall),
        move |_| Ok(Verdict::Modify(Patch::Outcome(pardon.clone()))),
    ));
    let mut bench = Bench::new(script, plugins);
    bench.cx.tools = Some(["fs.fails".parse().unwrap()].into());
    bench.cx.hooks = Hooks::new(BTreeMap::new(), Some(hooks.clone()));
    bench.run().await;
    let shown: Vec<_> = hooks.events().iter().map(|event| event.subject().to_owned()).collect();
    assert_eq!(shown, ["fs.fails", "fs.fails"]);
    let all = format!("{:?}", bench.script.last_request().messages);
    assert!(!all.contains("all is well"), "{all}");
    assert_eq!(all.matches("denied: ").count(), 2, "{all}");
}

#[tokio::test]
async fn what_a_hook_does_itself_is_shown_to_no_hook() {
    let plugins = FakePlugins::new()
        .tool("fs.inner", READS, |_, _| async { text("inner") }.boxed())
        .tool("fs.outer", READS, |_, _| async { text("outer") }.boxed())
        .hook("watcher", [HookAccess::Tool], |cx, by, event| {
            async move {
                assert_eq!(cx.depth, 1);
                assert_eq!(event.subject(), "fs.outer", "its own calls are not shown to it");
                let called = cx.services.tool_call(&by, "fs.inner", "{}".into()).await?;
                assert_eq!(called.text, "inner");
                Ok(Verdict::Continue)
            }
            .boxed()
        });
    let mut bench = Bench::new(Script::of([call("fs.outer", json!({})), says("well")]), plugins);
    let quiet = Settings { timeout_ms: 120_000, ..Settings::default() };
    bench.cx.hooks = Hooks::new(BTreeMap::from([(PluginName::new("watcher").unwrap(), quiet)]), None);
    assert_eq!(bench.run().await.state, State::Completed);
    assert_eq!(bench.last_results()[0].text, "outer");
    let calls = bench.tenant.order().into_iter().filter(|what| what.starts_with("intent tool fs."));
    assert_eq!(calls.collect::<Vec<_>>(), ["intent tool fs.inner", "intent tool fs.outer", "intent tool fs.inner"]);
}

#[tokio::test]
async fn a_hook_plugin_watches_what_it_is_granted_and_no_more() {
    let plugins = |granted: &[HookAccess]| {
        FakePlugins::new().reads("fs.read", "text").hook("guard", granted.iter().copied(), |_, _, event| {
            let point = event.point();
            async move { Ok(Verdict::Block(point.to_string())) }.boxed()
        })
    };
    for (granted, ending) in [
        (&[][..], Ending::Done),
        (&[HookAccess::Tool][..], Ending::Done),
        (&[HookAccess::Turn][..], Ending::Blocked),
        (&[HookAccess::Llm][..], Ending::Blocked),
    ] {
        let bench = Bench::new(Script::of([call("fs.read", json!({})), says("well")]), plugins(granted));
        let report = bench.run().await;
        assert_eq!(report.ending, Some(ending), "{granted:?}");
        let shown = bench.events().into_iter().filter_map(|event| match event {
            Event::Hook { point, .. } => Some(point.access()),
            _ => None,
        });
        assert!(shown.into_iter().all(|access| granted.contains(&access)), "{granted:?}");
    }
}

#[tokio::test]
async fn a_program_of_the_operators_own_call_is_watched_too() {
    let hooks = Arc::new(Fakes::default().with("a", at(Point::BeforeToolCall), |event| {
        let HookEvent::BeforeTool(call) = event else { panic!("not asked for") };
        assert_eq!((call.caller.as_str(), call.depth), ("operator", 0));
        block("not you either")
    }));
    let mut bench = Bench::new(Script::of([]), FakePlugins::new().reads("fs.read", "text"));
    bench.cx.hooks = Hooks::new(BTreeMap::new(), Some(hooks));
    let report = animus_agent::call_tool(bench.cx.clone(), "fs.read", "{}".into()).await.unwrap();
    let output = report.output.unwrap();
    assert!(output.is_error && output.text.contains("not you either"), "{output:?}");
}

/// Any verdict at all.
fn verdict() -> impl Strategy<Value = Result<Verdict>> {
    let patches = prop_oneof![
        Just(Patch::Args(args(json!({ "tool": "fs.write", "allow": true })))),
        Just(Patch::Args(Map::new())),
        Just(Patch::Answer("allow".into())),
        Just(Patch::Outcome(OutcomePatch { text: Some("allowed".into()), structured: None, is_error: Some(false) })),
        Just(Patch::Llm(LlmPatch::default())),
    ];
    prop_oneof![
        Just(Ok(Verdict::Continue)),
        Just(block("no")),
        patches.prop_map(|patch| Ok(Verdict::Modify(patch))),
        Just(Err(Error::Internal("trap".into()))),
        Just(Err(Error::Cancelled)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever hooks before and after it say at whatever point: a tool that a hook blocked is not run, nor is one that the
    /// run may not call.
    #[test]
    fn no_hook_can_unblock(
        before in proptest::collection::vec((verdict(), 0..100_i32), 0..4),
        after in proptest::collection::vec((verdict(), 101..200_i32), 0..4),
        open in any::<bool>(),
        forbidden in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let on_failure = if open { OnFailure::Open } else { OnFailure::Closed };
            let mut hooks = Fakes::default();
            for (n, (verdict, priority)) in before.into_iter().chain(after).enumerate() {
                let events = [Point::BeforeToolCall, Point::AfterToolCall].into();
                let settings = Settings { priority, on_failure, events, ..Settings::default() };
                hooks = hooks.with(&format!("any{n}"), settings, move |_| verdict.clone());
            }
            if !forbidden {
                let settings = Settings { priority: 100, ..at(Point::BeforeToolCall) };
                hooks = hooks.with("blocker", settings, |_| block("never"));
            }
            let ran = Arc::new(Mutex::new(0));
            let count = ran.clone();
            let plugins = FakePlugins::new().reads("fs.read", "text").tool("fs.write", Annotations::default(), move |_, _| {
                *count.lock().unwrap() += 1;
                async { text("done") }.boxed()
            });
            let mut bench = Bench::new(Script::of([call("fs.write", json!({})), says("well")]), plugins);
            if forbidden {
                bench.cx.tools = Some(["fs.read".parse().unwrap()].into());
            }
            bench.cx.hooks = Hooks::new(BTreeMap::new(), Some(Arc::new(hooks)));
            bench.run().await;
            assert_eq!(*ran.lock().unwrap(), 0, "it ran");
            assert!(bench.last_results()[0].is_error);
        });
    }
}

#[tokio::test]
async fn a_stream_of_a_faculty_is_withheld_until_the_hooks_have_passed_it() {
    use animus_core::llm::{Message, Request, StreamEvent};
    use futures::StreamExt as _;
    let plugins = FakePlugins::with_faculty(|cx, by, _| {
        async move {
            let request = Request {
                model: String::new(),
                system: None,
                messages: vec![Message::user("hi").into()],
                tools: [].into(),
                max_tokens: None,
                temperature: None,
            };
            let pieces: Vec<_> = cx.services.llm_stream(&by, request).await?.collect().await;
            let texts = pieces.iter().map(|piece| match piece {
                Ok(StreamEvent::Text(text)) => text.clone(),
                Ok(StreamEvent::Done(response)) => format!("done: {}", response.message.text()),
                other => format!("{other:?}"),
            });
            let summary = texts.collect::<Vec<_>>().join("; ");
            Ok(animus_core::plugins::FacultyOutcome { success: true, summary, data: None })
        }
        .boxed()
    });
    let say = |said: Verdict| Arc::new(Fakes::default().with("a", at(Point::AfterLlmCall), move |_| Ok(said.clone())));
    let mut bench = Bench::new(Script::of([says("one two"), says("one two")]), plugins);
    bench.cx.hooks = Hooks::new(BTreeMap::new(), Some(say(Verdict::Modify(Patch::Answer("three".into())))));
    assert_eq!(bench.run().await.summary, "three; done: three");
    bench.cx.hooks = Hooks::new(BTreeMap::new(), Some(say(Verdict::Block("no".into()))));
    bench.watch.0.lock().unwrap().clear();
    let summary = bench.run().await.summary;
    assert!(summary.starts_with("Err(Denied(") && !summary.contains("one two"), "{summary}");
}

#[tokio::test]
async fn an_unhooked_run_waits_for_nothing() {
    let grant = Grant { hook: [HookAccess::Tool].into(), ..Grant::default() };
    assert!(animus_agent::hooks::within(Settings::default(), &Grant::default()).events.is_empty());
    let within = animus_agent::hooks::within(Settings::default(), &grant);
    assert_eq!(within.events, [Point::BeforeToolCall, Point::AfterToolCall].into());
    assert_eq!(Settings { timeout_ms: 10, ..Settings::default() }.timeout(), Duration::from_millis(10));
}

#[tokio::test]
async fn what_leaves_to_be_embedded_is_shown_like_what_models_read() {
    let plugins = || {
        FakePlugins::with_faculty(|cx, by, _| {
            async move {
                let services = &cx.services;
                let embedded = services.llm_embed(&by, vec!["my secret".into(), "secret".into()]).await;
                services.memory_store(&by, "a secret place".into(), "fact".into(), vec![]).await?;
                let said = embedded.map_or_else(|error| error.class().to_owned(), |it| it.vectors.len().to_string());
                Ok(FacultyOutcome { success: true, summary: said, data: None })
            }
            .boxed()
        })
    };
    let redact = |event: &HookEvent| {
        let HookEvent::BeforeLlm(call) = event else { panic!("not asked for") };
        assert_eq!((call.model.as_str(), call.system.as_ref()), ("embed", None));
        let parts =
            (0..).zip(&call.parts).map(|(index, part)| PartPatch { index, text: part.text.replace("secret", "") });
        Ok(Verdict::Modify(Patch::Llm(LlmPatch { system: None, parts: parts.collect() })))
    };
    let run = async |hook: Fakes| {
        let mut bench = Bench::new(Script::of([]), plugins());
        bench.cx.hooks = Hooks::new(BTreeMap::new(), Some(Arc::new(hook)));
        let report = bench.run().await;
        assert_eq!(bench.tenant.memories()[0].content, "a secret place", "what stays here is not changed");
        let sent: Vec<_> = bench.script.embedded.lock().unwrap().iter().flat_map(|(_, texts)| texts.clone()).collect();
        (report.summary, sent)
    };
    let (told, sent) = run(Fakes::default().with("a", at(Point::BeforeLlmCall), redact)).await;
    assert_eq!(
        (told.as_str(), sent.as_slice()),
        ("2", ["my ", "(removed by a hook)", "a  place"].map(str::to_owned).as_slice())
    );
    let (told, sent) = run(Fakes::default().with("a", at(Point::BeforeLlmCall), |_| block("nothing leaves"))).await;
    assert_eq!((told.as_str(), sent.len()), ("denied", 0));
}
