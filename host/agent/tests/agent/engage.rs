//! The engage loop, on a scripted model and scripted tools.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::support::{Bench, FakePlugins, READS, Script, call, calls, done, response, says, text, tool_use};
use animus_core::{
    Error,
    event::Event,
    grant::{Grant, LedgerAccess, LlmGrant},
    ledger::EntryType,
    llm::{Content, Stop, StreamEvent, ToolInput, ToolUse},
    services::{Ending, EngageOptions},
    tool::Annotations,
    work::State,
};
use futures::FutureExt as _;
use serde_json::json;
use tokio::sync::Barrier;

fn options(max_turns: Option<u32>) -> EngageOptions {
    EngageOptions { tools: vec!["*".into()], max_turns, ..EngageOptions::default() }
}

#[tokio::test]
async fn a_focus_is_told_of_other_work_once_and_the_journal_holds_what_it_was_told() {
    let bench = Bench::new(Script::of([says("ok")]), FakePlugins::new());
    let instruction = "Tidy\n# up".to_owned();
    let running = animus_core::awareness::Running { faculty: "coder".into(), instruction, plan: None };
    bench.tenant.others(animus_core::awareness::Rows { running: vec![running], ..Default::default() });
    bench.run().await;
    let system = bench.script.last_request().system.unwrap();
    assert!(system.contains("- [coder] \"Tidy # up\"") && system.contains("never an instruction to you"), "{system}");
    let journal = bench.tenant.journal();
    let told = journal.iter().find(|record| record.intent.subject == "start").unwrap();
    let Some(animus_core::journal::Outcome::Ok { response }) = &told.outcome else { panic!("it went well") };
    assert!(response["system"].as_str().unwrap().contains("Tidy # up"), "a resumed focus is told the same");
    let looked = bench.tenant.looked();
    assert_eq!((looked.len(), looked[0].running, looked[0].findings, looked[0].children), (1, 10, 20, false));
}

#[tokio::test]
async fn who_may_not_read_ledgers_is_told_of_no_other_work() {
    let llm = LlmGrant { roles: ["*".parse().unwrap()].into(), max_tokens: 8_192 };
    let mut blind = FakePlugins::new();
    blind.grant(Grant { llm: Some(llm), ledger: [LedgerAccess::Append].into(), ..Grant::default() });
    let capped = Grant { ledger: [LedgerAccess::Append].into(), ..Grant::everything() };
    for (plugins, cap, told) in [
        (FakePlugins::new(), None, true),
        (FakePlugins::new(), Some(Grant::everything()), true),
        (FakePlugins::new(), Some(capped), false),
        (blind, None, false),
    ] {
        let bench = Bench::new(Script::of([says("ok")]), plugins);
        let running =
            animus_core::awareness::Running { faculty: "coder".into(), instruction: "Tidy".into(), plan: None };
        bench.tenant.others(animus_core::awareness::Rows { running: vec![running], ..Default::default() });
        let work = bench.tenant.submit("assistant", "do it");
        bench.tenant.change(work.id, |work| work.cap = cap);
        let report = animus_agent::run(bench.cx.clone(), bench.tenant.submitted(work.id)).await;
        assert!(report.success(), "{report:?}");
        assert_eq!(bench.script.last_request().system.unwrap().contains("Tidy"), told);
        assert_eq!(bench.tenant.looked().len(), usize::from(told), "nobody looked it up either");
    }
}

#[tokio::test]
async fn a36_a_task_without_tools_takes_one_model_call() {
    let bench = Bench::new(Script::of([says("it is done")]), FakePlugins::new());
    let report = bench.run().await;
    assert_eq!((report.state, report.ending), (State::Completed, Some(Ending::Done)));
    assert_eq!((report.summary.as_str(), bench.script.calls()), ("it is done", 1));
}

#[tokio::test]
async fn a36_the_results_of_all_tools_of_a_turn_go_back_in_one_message() {
    let script = Script::of([
        calls(vec![tool_use("a", "fs.read", json!({})), tool_use("b", "fs.list", json!({}))]),
        says("fine"),
    ]);
    let bench = Bench::new(script, FakePlugins::new().reads("fs.read", "text").reads("fs.list", "names"));
    let report = bench.run().await;
    assert_eq!(report.data.unwrap(), json!({ "ending": "done", "turns": 2, "calls": 2 }));
    let results: Vec<_> = bench.last_results().into_iter().map(|r| (r.id, r.text)).collect();
    assert_eq!(results, [("a".into(), "text".into()), ("b".into(), "names".into())]);
}

#[tokio::test]
async fn a36_an_answer_that_was_cut_off_is_still_the_answer() {
    let cut = response(vec![Content::Text { text: "it is".into() }], Stop::MaxTokens);
    let bench = Bench::new(Script::of([done(Vec::new(), cut)]), FakePlugins::new());
    let report = bench.run().await;
    assert_eq!((report.summary.as_str(), report.ending), ("it is", Some(Ending::Done)));
    assert!(bench.notices().iter().any(|notice| notice.contains("cut off")));
}

#[tokio::test]
async fn a37_three_turns_allowed_are_three_model_calls_and_a_typed_ending() {
    let script = Script::forever(|n| call("fs.read", json!({ "n": n })));
    let plugins = FakePlugins::with_options(options(Some(3))).reads("fs.read", "text");
    let bench = Bench::new(script, plugins);
    let report = bench.run().await;
    assert_eq!((bench.script.calls(), report.ending), (3, Some(Ending::MaxTurns)));
    assert_eq!((report.state, report.error.unwrap().class()), (State::Failed, "budget-exhausted"));
}

#[tokio::test]
async fn a_faculty_gets_fifty_turns_unasked_and_two_hundred_at_most() {
    for (asked, got) in [(None, 50), (Some(u32::MAX), 200)] {
        let script = Script::forever(|n| call("fs.read", json!({ "n": n })));
        let bench = Bench::new(script, FakePlugins::with_options(options(asked)).reads("fs.read", "text"));
        assert_eq!(bench.run().await.ending, Some(Ending::MaxTurns));
        assert_eq!(bench.script.calls(), got);
    }
}

#[tokio::test]
async fn a38_failing_and_unknown_tools_are_results_and_the_loop_goes_on() {
    let script = Script::of([
        calls(vec![
            tool_use("a", "fs.fails", json!({})),
            tool_use("b", "fs.raed", json!({})),
            tool_use("c", "fs.complains", json!({})),
        ]),
        says("noted"),
    ]);
    let plugins = FakePlugins::new()
        .tool("fs.fails", READS, |_, _| async { Err(Error::Timeout("the disk sleeps".into())) }.boxed())
        .tool("fs.complains", READS, |_, _| {
            async {
                let mut output = text("no such line")?;
                output.is_error = true;
                Ok(output)
            }
            .boxed()
        })
        .reads("fs.read", "text");
    let bench = Bench::new(script, plugins);
    assert_eq!(bench.run().await.state, State::Completed);
    let results = bench.last_results();
    assert!(results.iter().all(|r| r.is_error));
    assert_eq!(results[0].text, "timeout: the disk sleeps");
    assert_eq!(results[1].text, "not-found: there is no tool 'fs.raed'; did you mean 'fs.read'?");
    assert_eq!(results[2].text, "no such line");
}

#[tokio::test]
async fn a39_identifiers_that_repeat_or_are_empty_are_made_unique() {
    let twins = || {
        calls(vec![
            tool_use("x", "fs.read", json!({ "n": 1 })),
            tool_use("x", "fs.read", json!({ "n": 2 })),
            tool_use("", "fs.read", json!({ "n": 3 })),
            tool_use("y", "not a name!", json!({})),
        ])
    };
    let bench = Bench::new(Script::of([twins(), twins(), says("ok")]), FakePlugins::new().reads("fs.read", "text"));
    // That every request kept exactly one result is checked of every run.
    assert_eq!(bench.run().await.state, State::Completed);
    assert_eq!(bench.last_results().len(), 4);
}

#[tokio::test]
async fn a40_the_hosts_sections_come_first_then_the_facultys_and_a_retry_sees_the_ledger() {
    let options = EngageOptions { system: "You are terse.".into(), ..options(None) };
    let bench = Bench::new(Script::of([says("ok"), says("ok")]), FakePlugins::with_options(options));
    bench.run().await;
    let system = bench.script.last_request().system.unwrap();
    assert!(system.contains("ledger_append") && system.contains("denied") && system.ends_with("You are terse."));
    let work = bench.tenant.submit("assistant", "again");
    animus_core::store::Ledger::ledger_append(&*bench.tenant, work.id, EntryType::Plan, "dig a well", None)
        .await
        .unwrap();
    animus_agent::run(bench.cx.clone(), work).await;
    assert!(bench.script.last_request().system.unwrap().contains("PLAN\n- [1] dig a well"));
}

#[tokio::test]
async fn a41_the_tools_of_a_turn_run_at_the_same_time_and_answer_in_the_order_of_the_requests() {
    // Each waits for the two others: one after the other they would wait for ever.
    let barrier = Arc::new(Barrier::new(3));
    let plugins = FakePlugins::new().tool("x.meet", READS, move |_, args| {
        let barrier = barrier.clone();
        async move {
            barrier.wait().await;
            // The first to be asked is the last to answer.
            for _ in args["n"].as_u64().unwrap()..5 {
                tokio::task::yield_now().await;
            }
            text(args["n"].to_string())
        }
        .boxed()
    });
    let three = (1..=3).map(|n| tool_use(&format!("id{n}"), "x.meet", json!({ "n": n }))).collect();
    let bench = Bench::new(Script::of([calls(three), says("met")]), plugins);
    bench.run().await;
    let results: Vec<_> = bench.last_results().into_iter().map(|r| (r.id, r.text)).collect();
    assert_eq!(results, [1, 2, 3].map(|n| (format!("id{n}"), n.to_string())));
}

#[tokio::test]
async fn a41_no_more_than_eight_tools_run_at_the_same_time() {
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = most.clone();
    let plugins = FakePlugins::new().tool("x.busy", READS, move |_, _| {
        let (running, most) = (running.clone(), most.clone());
        async move {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            running.fetch_sub(1, Ordering::SeqCst);
            text("done")
        }
        .boxed()
    });
    let many = (0..30).map(|n| tool_use(&format!("id{n}"), "x.busy", json!({ "n": n }))).collect();
    let bench = Bench::new(Script::of([calls(many), says("ok")]), plugins);
    bench.run().await;
    assert_eq!(seen.load(Ordering::SeqCst), 8);
    assert_eq!(bench.last_results().len(), 30);
}

#[tokio::test]
async fn a41_a_panicking_tool_is_an_error_result_and_its_neighbours_answer() {
    let script = Script::of([
        calls(vec![tool_use("a", "x.bomb", json!({})), tool_use("b", "fs.read", json!({}))]),
        says("survived"),
    ]);
    let plugins =
        FakePlugins::new().tool("x.bomb", READS, |_, _| async { panic!("boom") }.boxed()).reads("fs.read", "text");
    let bench = Bench::new(script, plugins);
    assert_eq!(bench.run().await.state, State::Completed);
    let results = bench.last_results();
    assert!(results[0].is_error && results[0].text.contains("panicked") && results[0].text.contains("boom"));
    assert_eq!((results[1].is_error, results[1].text.as_str()), (false, "text"));
}

#[tokio::test]
async fn a45_the_hosts_own_tools_are_offered_whatever_the_faculty_asks_for() {
    let plugins = FakePlugins::with_options(EngageOptions::default()).reads("fs.read", "text");
    let script = Script::of([
        calls(vec![
            tool_use("a", "ledger_append", json!({ "entry_type": "finding", "content": "water is wet" })),
            tool_use("b", "ledger_append", json!({ "entry_type": "thought", "content": "hm" })),
            tool_use("c", "fs.read", json!({})),
        ]),
        call("ledger_read", json!({ "entry_type": "finding", "last_n": 1 })),
        says("ok"),
    ]);
    let bench = Bench::new(script, plugins);
    bench.run().await;
    let offered: Vec<_> = bench.script.last_request().tools.iter().map(|tool| tool.name.clone()).collect();
    assert_eq!(offered, ["ledger_append", "ledger_read", "read_result"]);
    let first = bench.script.requests.lock().unwrap()[1].clone();
    let results = crate::support::results(&first.messages);
    assert_eq!(results[0].text, "appended as entry 1");
    assert!(results[1].is_error && results[1].text.contains("unknown variant `thought`"), "{}", results[1].text);
    assert!(results[2].is_error && results[2].text.contains("not on offer"), "{}", results[2].text);
    assert_eq!(bench.last_results()[0].text, "[1] finding: water is wet\n");
    assert!(bench.events().iter().any(|event| matches!(event, Event::Ledger { entry } if entry.seq == 1)));
}

#[tokio::test]
async fn a46_pieces_are_told_as_they_come_and_the_assembled_answer_counts() {
    let retry = StreamEvent::Retry { reason: "overloaded".into(), wait: Duration::from_millis(7) };
    let answer = response(vec![Content::Text { text: "good day".into() }], Stop::EndTurn);
    let pieces = vec![
        Ok(StreamEvent::Text("go".into())),
        Ok(retry),
        Ok(StreamEvent::Text("good ".into())),
        Ok(StreamEvent::Text("day".into())),
    ];
    let bench = Bench::new(Script::of([done(pieces, answer)]), FakePlugins::new());
    assert_eq!(bench.run().await.summary, "good day");
    let told: Vec<_> = bench
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Token { text } => Some(text),
            Event::Retry { wait_ms, .. } => Some(format!("retry in {wait_ms}")),
            Event::Message { text, .. } => Some(format!("message {text}")),
            _ => None,
        })
        .collect();
    assert_eq!(told, ["go", "retry in 7", "good ", "day", "message good day"]);
}

#[tokio::test]
async fn an_empty_reply_is_asked_for_once_more_and_then_accepted() {
    let bench = Bench::new(Script::of([says(""), says("here")]), FakePlugins::new());
    assert_eq!(bench.run().await.summary, "here");
    let bench = Bench::new(Script::of([says(""), says("")]), FakePlugins::new());
    assert_eq!((bench.run().await.ending, bench.script.calls()), (Some(Ending::Done), 2));
}

#[tokio::test]
async fn arguments_that_were_cut_off_are_not_run_and_the_model_is_told_the_limit() {
    let broken = Content::ToolUse(ToolUse {
        id: "a".into(),
        name: "fs.write".into(),
        input: ToolInput::Malformed { malformed_json: "{\"text\": \"once upon".into() },
    });
    let cut = response(vec![broken, tool_use("b", "fs.read", json!({}))], Stop::MaxTokens);
    let plugins = FakePlugins::new()
        .tool("fs.write", Annotations::default(), |_, _| async { panic!("must not run") }.boxed())
        .reads("fs.read", "text");
    let bench = Bench::new(Script::of([done(Vec::new(), cut), says("ok")]), plugins);
    bench.run().await;
    let results = bench.last_results();
    assert!(results[0].is_error && results[0].text.contains("cut off after 19 bytes"), "{}", results[0].text);
    assert!(results[0].text.contains("at most 1000 tokens"), "{}", results[0].text);
    assert_eq!(results[1].text, "text");
}

#[tokio::test]
async fn a_repeated_call_is_answered_from_cache_then_warned_about_then_stopped() {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let plugins = FakePlugins::new().tool("fs.read", READS, move |_, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { text("same") }.boxed()
    });
    let bench = Bench::new(Script::forever(|_| call("fs.read", json!({ "path": "a" }))), plugins);
    let report = bench.run().await;
    assert_eq!((report.ending, report.state), (Some(Ending::Repetition), State::Failed));
    assert_eq!((bench.script.calls(), runs.load(Ordering::SeqCst)), (6, 2));
    assert!(bench.notices().iter().any(|notice| notice.contains("answered from cache")));
    assert!(bench.last_results()[0].text.contains("this exact answer 5 times"));
}

#[tokio::test]
async fn a_cached_answer_is_that_of_its_own_call_whichever_tool_of_the_turn_was_faster() {
    let plugins = FakePlugins::new()
        .tool("x.slow", READS, |_, _| {
            async {
                for _ in 0..200 {
                    tokio::task::yield_now().await;
                }
                text("slow")
            }
            .boxed()
        })
        .reads("x.fast", "fast");
    let both = || calls(vec![tool_use("a", "x.slow", json!({})), tool_use("b", "x.fast", json!({}))]);
    let bench = Bench::new(Script::of([both(), both(), both(), says("ok")]), plugins);
    bench.run().await;
    let cached: Vec<_> = bench.last_results().into_iter().map(|result| result.text).collect();
    assert_eq!(cached, ["slow", "fast"]);
    assert_eq!(bench.notices().iter().filter(|notice| notice.contains("from cache")).count(), 2);
}

#[tokio::test]
async fn oversized_answers_repeat_like_any_other_and_are_cut_once() {
    let plugins = FakePlugins::new().tool("fs.read", READS, |_, _| async { text("x".repeat(50_000)) }.boxed());
    let bench = Bench::new(Script::forever(|_| call("fs.read", json!({}))), plugins);
    assert_eq!(bench.run().await.ending, Some(Ending::Repetition));
    let last = &bench.last_results()[0].text;
    assert_eq!((last.matches("[cut: ").count(), last.contains("\"r1\"")), (1, true));
}

#[tokio::test]
async fn a_call_that_changes_something_is_never_answered_from_cache() {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let plugins = FakePlugins::new().tool("fs.write", Annotations::default(), move |_, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { text("written") }.boxed()
    });
    let bench = Bench::new(Script::forever(|_| call("fs.write", json!({}))), plugins);
    assert_eq!(bench.run().await.ending, Some(Ending::Repetition));
    assert_eq!(runs.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn an_oversized_result_is_cut_and_can_be_read_on() {
    let plugins = FakePlugins::new().tool("fs.read", READS, |_, _| {
        let long: String = (0..5_000).map(|n| format!("line {n}\n")).collect();
        async { text(long) }.boxed()
    });
    let script = Script::of([
        call("fs.read", json!({})),
        call("read_result", json!({ "id": "r1", "offset": 16_384 })),
        call("read_result", json!({ "id": "r9" })),
        says("read"),
    ]);
    let bench = Bench::new(script, plugins);
    bench.run().await;
    let requests = bench.script.requests.lock().unwrap().clone();
    let cut = &crate::support::results(&requests[1].messages)[0].text;
    assert!(cut.len() < 17_000 && cut.contains("read_result {\"id\": \"r1\", \"offset\": 16384}"), "{}", cut.len());
    let page = &crate::support::results(&requests[2].messages)[0].text;
    assert!(page.starts_with("[bytes 16384 to 32384 of ") && page.len() < 16_384, "{}", page.len());
    let whole: String = (0..5_000).map(|n| format!("line {n}\n")).collect();
    assert_eq!(page.split_once("]\n").unwrap().1, whole.get(16_384..32_384).unwrap());
    assert!(crate::support::results(&requests[3].messages)[0].is_error);
    let sizes: Vec<_> = bench
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::ToolEnd { text, bytes, .. } => Some((text.len() <= 2_000, bytes)),
            _ => None,
        })
        .collect();
    assert_eq!(sizes[0], (true, whole.len() as u64));
}

#[tokio::test]
async fn old_results_make_room_before_the_window_is_full() {
    let plugins = FakePlugins::with_options(EngageOptions { max_tokens: Some(500), ..options(None) }).tool(
        "fs.read",
        READS,
        |_, args| async move { text(format!("{} {}", args["n"], "x".repeat(8_000))) }.boxed(),
    );
    let script = Script::forever(|n| if n < 12 { call("fs.read", json!({ "n": n })) } else { says("done") });
    *script.window.lock().unwrap() = Some(10_000);
    let bench = Bench::new(script, plugins);
    assert_eq!(bench.run().await.ending, Some(Ending::Done));
    assert!(bench.last_results()[0].text.starts_with("11 xxx"), "the newest result is whole");
    assert!(bench.notices().iter().any(|notice| notice.contains("dropped to make room")));
}

#[tokio::test]
async fn a_conversation_that_cannot_fit_ends_before_the_model_is_called() {
    let script = Script::of([]);
    *script.window.lock().unwrap() = Some(1_200);
    let bench = Bench::new(script, FakePlugins::new());
    let report = bench.run().await;
    assert_eq!((report.ending, bench.script.calls()), (Some(Ending::ContextFull), 0));
}

#[tokio::test]
async fn a_vendor_that_finds_the_conversation_too_long_gets_a_shorter_one() {
    let overflow = || crate::support::Turn::Fails(Error::context_overflow("210000 tokens > 200000"));
    let plugins = FakePlugins::new().tool("fs.read", READS, |_, _| async { text("x".repeat(16_000)) }.boxed());
    let bench = Bench::new(Script::of([call("fs.read", json!({})), overflow(), says("ok")]), plugins);
    assert_eq!(bench.run().await.ending, Some(Ending::Done));
    assert!(bench.last_results()[0].text.contains("dropped here to make room"));
    let bench = Bench::new(Script::of([overflow()]), FakePlugins::new());
    assert_eq!(bench.run().await.ending, Some(Ending::ContextFull));
}

#[tokio::test]
async fn a_faculty_gets_no_model_and_no_answer_beyond_its_grant() {
    let limited = |max_tokens| {
        let mut plugins = FakePlugins::with_options(EngageOptions { max_tokens, ..options(None) });
        let llm = LlmGrant { roles: ["default".parse().unwrap()].into(), max_tokens: 300 };
        plugins.grant(Grant { llm: Some(llm), ..Grant::default() });
        plugins
    };
    let bench = Bench::new(Script::of([says("ok")]), limited(None));
    assert_eq!(bench.run().await.state, State::Completed);
    assert_eq!(bench.script.last_request().max_tokens, Some(300));
    let bench = Bench::new(Script::of([]), limited(Some(301)));
    let report = bench.run().await;
    assert_eq!((report.error.unwrap().class(), bench.script.calls()), ("denied", 0));
    assert_eq!(bench.tenant.audited()[0].1, "call.denied");
}

#[tokio::test]
async fn a_vendors_failure_is_the_loops_error_and_never_our_budget() {
    let limited = Error::Unavailable("anthropic limits us: 429, retry after 60 s".into());
    for turn in [crate::support::Turn::Fails(limited.clone()), crate::support::Turn::Stream(vec![Err(limited.clone())])]
    {
        let bench = Bench::new(Script::of([turn]), FakePlugins::new()).budget(1_000_000);
        let report = bench.run().await;
        assert_eq!((report.state, report.error.as_ref()), (State::Failed, Some(&limited)));
        assert_eq!(report.spent.tokens, 0, "a failed call costs nothing");
    }
}

#[tokio::test]
async fn every_call_is_told_with_its_begin_and_its_end() {
    let bench = Bench::new(
        Script::of([call("fs.read", json!({ "path": "a" })), says("ok")]),
        FakePlugins::new().reads("fs.read", "text"),
    );
    bench.run().await;
    let told: Vec<_> =
        bench.events().iter().map(|event| serde_json::to_value(event).unwrap()["type"].clone()).collect();
    let expected = ["started", "usage", "message", "tool_start", "tool_end", "token", "usage", "message", "done"];
    assert_eq!(told, expected);
}
