//! Long conversations: bounded, flat, in order, and shortened in the documented order.

use std::sync::Arc;

use animus_core::{
    Error,
    event::{Compaction, Event},
    faculty::{Engage, FacultyConfig},
    llm::{Content, Message, Request, Role, Stop, ToolInput, ToolUse},
    services::{Ending, EngageOptions},
    store::Ledger as _,
    work::State,
};
use futures::FutureExt as _;
use serde_json::json;

use crate::support::{Bench, FakePlugins, READS, Script, Turn, call, calls, done, response, says, text, tool_use};

fn options(max_turns: u32) -> EngageOptions {
    EngageOptions { tools: vec!["*".into()], max_turns: Some(max_turns), ..EngageOptions::default() }
}

/// A faculty whose tool `fs.read` answers with so many bytes, another text each time.
fn reader(max_turns: u32, bytes: usize) -> FakePlugins {
    FakePlugins::with_options(options(max_turns)).tool("fs.read", READS, move |_, args| {
        async move { text(format!("{} {}", args["n"], "x".repeat(bytes))) }.boxed()
    })
}

fn bench(script: Arc<Script>, plugins: FakePlugins, window: u64, engage: Engage) -> Bench {
    *script.window.lock().unwrap() = Some(window);
    let mut bench = Bench::new(script, plugins);
    bench.cx.faculty = Arc::new(FacultyConfig { engage, ..FacultyConfig::default() });
    bench
}

/// No nudges, so that only what a test is about happens.
fn quiet() -> Engage {
    Engage { ledger_nudge_interval: 0, ..Engage::default() }
}

fn compactions(bench: &Bench) -> Vec<(Compaction, u64, u64, bool)> {
    let told = |event| match event {
        Event::Compacted { trigger, before, after, summarised } => Some((trigger, before, after, summarised)),
        _ => None,
    };
    bench.events().into_iter().filter_map(told).collect()
}

/// The bytes of what the messages of a request say.
fn size(request: &Request) -> usize {
    let said = |part: &Content| match part {
        Content::Text { text } => text.len(),
        Content::ToolUse(tool_use) => tool_use.name.len() + serde_json::to_string(&tool_use.input).unwrap().len(),
        Content::ToolResult(result) => result.text.len(),
        _ => 0,
    };
    request.messages.iter().flat_map(|message| &message.content).map(said).sum()
}

fn first_text(request: &Request) -> String {
    request.messages[0].text()
}

fn is_summary(request: &Request) -> bool {
    request.system.as_deref().is_some_and(|system| system.contains("You keep the memory"))
}

#[tokio::test]
async fn two_hundred_turns_stay_bounded_and_the_last_twenty_cost_what_the_first_did() {
    // Now and then something is found, so that the ledger can stand for what goes.
    let script = Script::forever(|n| {
        if n % 3 == 2 {
            call("ledger_append", json!({ "entry_type": "finding", "content": format!("found {n}") }))
        } else {
            call("fs.read", json!({ "n": n }))
        }
    });
    let bench = bench(script, reader(200, 3_000), 20_000, Engage::default());
    assert_eq!(bench.run().await.ending, Some(Ending::MaxTurns));
    let requests = bench.script.requests.lock().unwrap();
    assert_eq!(requests.len(), 200, "no summary was needed");
    let sizes: Vec<usize> = requests.iter().map(size).collect();
    // 70 % of the window, a token being four bytes.
    assert!(sizes.iter().all(|bytes| *bytes < 20_000 * 4 * 7 / 10), "{sizes:?}");
    let most = |from: usize, to: usize| *sizes[from..to].iter().max().unwrap();
    let (warm, last) = (most(40, 60), most(180, 200));
    assert!(last <= warm + warm / 4, "{warm} bytes at turn 40 to 60, {last} at the end");
    assert!(requests.iter().all(|request| first_text(request).starts_with("do it")), "the task stays");
    assert!(compactions(&bench).iter().all(|(trigger, before, after, summarised)| {
        *trigger == Compaction::Threshold && after < before && !summarised
    }));
    // The beginning of the conversation stays as it was but for a few times.
    let kept = requests.windows(2).filter(|pair| Arc::ptr_eq(&pair[0].messages[0], &pair[1].messages[0])).count();
    assert!(kept > 170, "the first message was rewritten in {} of 199 turns", 199 - kept);
}

#[tokio::test]
async fn two_hundred_turns_of_completed_steps_stay_bounded() {
    let script = Script::forever(|n| match n % 4 {
        3 => call("ledger_append", json!({ "entry_type": "step", "content": format!("read the parts up to {n}") })),
        _ => call("fs.read", json!({ "n": n })),
    });
    let bench = bench(script, reader(200, 2_000), 50_000, Engage::default());
    assert_eq!(bench.run().await.ending, Some(Ending::MaxTurns));
    let requests = bench.script.requests.lock().unwrap();
    assert_eq!(requests.len(), 200);
    let most = requests.iter().map(size).max().unwrap();
    assert!(most < 30_000, "{most} bytes: what a step has read goes when it is completed");
    let last = first_text(requests.last().unwrap());
    assert!(last.contains("[completed step 1: read the parts up to 3]"), "{last}");
    assert!(last.contains("[completed step 49: read the parts up to 195]"), "{last}");
    assert!(compactions(&bench).iter().all(|(trigger, ..)| *trigger == Compaction::Step));
}

#[tokio::test]
async fn blocks_stay_where_the_operator_wants_them_to() {
    let script = Script::of([
        call("fs.read", json!({ "n": 1 })),
        call("ledger_append", json!({ "entry_type": "step", "content": "read" })),
        call("fs.read", json!({ "n": 2 })),
        says("done"),
    ]);
    let keeps = Engage { truncate_closed_blocks: false, ..quiet() };
    let bench = bench(script, reader(10, 2_000), 200_000, keeps);
    bench.run().await;
    assert_eq!(bench.script.last_request().messages.len(), 7);
    assert!(compactions(&bench).is_empty());
}

#[tokio::test]
async fn a_full_ledger_stands_for_what_went_and_no_model_is_asked() {
    let note =
        |n: usize| tool_use("l", "ledger_append", json!({ "entry_type": "finding", "content": format!("fact {n}") }));
    let script = Script::forever(move |n| {
        // Words of the model's own, which cannot be dropped like results.
        let said = Content::Text { text: format!("thinking {n} {}", "y".repeat(1_500)) };
        calls(vec![said, tool_use("r", "fs.read", json!({ "n": n })), note(n)])
    });
    let bench = bench(script, reader(60, 100), 12_000, quiet());
    bench.run().await;
    let last = bench.script.last_request();
    assert!(!bench.script.requests.lock().unwrap().iter().any(is_summary));
    let told = first_text(&last);
    assert!(told.starts_with("do it[from the engine: earlier messages"), "{told}");
    assert!(told.contains("FINDINGS\n") && told.contains("fact 4"), "{told}");
    assert!(last.messages.len() >= 10, "the newest stay: {}", last.messages.len());
}

/// An answer that makes the conversation grow without a word in the ledger.
fn rambling(n: usize) -> Turn {
    let said = Content::Text { text: format!("thinking {n} {}", "y".repeat(1_500)) };
    calls(vec![said, tool_use("r", "fs.read", json!({ "n": n }))])
}

#[tokio::test]
async fn where_the_ledger_is_silent_a_model_summarises_and_the_budget_knows() {
    let script = Script::forever(rambling);
    script.summaries(|_| says("the plan is to read on; file 7 was odd"));
    let bench = bench(script, reader(40, 100), 12_000, quiet());
    let report = bench.run().await;
    assert_eq!(report.ending, Some(Ending::MaxTurns));
    let requests = bench.script.requests.lock().unwrap();
    let asked: Vec<_> = requests.iter().filter(|request| is_summary(request)).collect();
    assert!(!asked.is_empty() && asked.iter().all(|request| request.tools.is_empty() && request.messages.len() == 1));
    assert!(asked[0].messages[0].text().contains("thinking 0"), "what goes is what is summarised");
    assert!(first_text(requests.last().unwrap()).contains("file 7 was odd"));
    assert!(compactions(&bench).iter().all(|(.., summarised)| *summarised));
    assert_eq!(report.spent.tokens, 110 * requests.len() as u64, "summaries are paid like any other call");
}

#[tokio::test]
async fn two_summaries_in_a_row_that_fail_are_the_last_and_the_work_goes_on() {
    let script = Script::forever(rambling);
    script.summaries(|_| Turn::Fails(Error::Unavailable("overloaded".into())));
    let bench = bench(script, reader(80, 100), 12_000, quiet());
    assert_eq!(bench.run().await.ending, Some(Ending::MaxTurns));
    assert_eq!(bench.script.requests.lock().unwrap().iter().filter(|request| is_summary(request)).count(), 2);
    let told = compactions(&bench);
    assert!(told.len() > 2 && told.iter().all(|(_, before, after, summarised)| after < before && !summarised));
    assert!(bench.notices().iter().any(|text| text.contains("could not be summarised")));
}

#[tokio::test]
async fn a_vendor_that_finds_it_too_long_gets_a_shorter_one() {
    let script = Script::of([
        call("fs.read", json!({ "n": 1 })),
        Turn::Fails(Error::context_overflow("prompt is too long")),
        says("done"),
    ]);
    let bench = bench(script, reader(10, 4_000), 200_000, quiet());
    assert_eq!(bench.run().await.state, State::Completed);
    let requests = bench.script.requests.lock().unwrap();
    assert!(size(&requests[2]) < size(&requests[1]) * 3 / 4);
    assert_eq!(compactions(&bench)[0].0, Compaction::Overflow);
}

#[tokio::test]
async fn a_vendor_that_is_never_content_ends_the_loop() {
    let script = Script::forever(|_| Turn::Fails(Error::context_overflow("prompt is too long")));
    let bench = bench(script, reader(200, 10), 200_000, quiet());
    assert_eq!(bench.run().await.ending, Some(Ending::ContextFull));
    assert!(bench.script.calls() < 30, "{}", bench.script.calls());
}

#[tokio::test]
async fn a34_three_idle_turns_bring_one_nudge_and_an_entry_starts_the_count_over() {
    let read = |n: usize| call("fs.read", json!({ "n": n }));
    let note = || call("ledger_append", json!({ "entry_type": "note", "content": "x" }));
    let nudged = |request: &Request| {
        let last = request.messages.last().unwrap();
        let text = last.text();
        assert!(text.is_empty() || text.starts_with("[from the engine, not from the user: 3 turns"), "{text}");
        !text.is_empty() && last.role == Role::User && request.messages.len() > 1
    };
    let run = async |turns: Vec<Turn>, interval: u32| {
        let script = Script::of(turns.into_iter().chain([says("done")]));
        let engage = Engage { ledger_nudge_interval: interval, ..Engage::default() };
        let bench = bench(script, reader(20, 10), 200_000, engage);
        assert_eq!(bench.run().await.ending, Some(Ending::Done));
        let requests = bench.script.requests.lock().unwrap();
        requests.iter().skip(1).map(nudged).collect::<Vec<_>>()
    };
    assert_eq!(run(vec![read(1), read(2), read(3), read(4)], 3).await, [false, false, true, false]);
    assert_eq!(run(vec![read(1), read(2), note(), read(3), read(4)], 3).await, [false; 5]);
    assert_eq!(run((0..7).map(read).collect(), 3).await, [false, false, true, false, false, true, false]);
    assert_eq!(run((0..7).map(read).collect(), 0).await, [false; 7]);
}

/// A call whose arguments were cut off.
fn cut_off(n: usize) -> Turn {
    let input = ToolInput::Malformed { malformed_json: format!("{{\"text\": \"{}", "a".repeat(n)) };
    let request = Content::ToolUse(ToolUse { id: format!("c{n}"), name: format!("fs.write{n}"), input });
    done(Vec::new(), response(vec![request], Stop::MaxTokens))
}

#[tokio::test]
async fn answers_that_are_cut_off_three_times_may_be_longer_as_far_as_the_grant_goes() {
    let asks = EngageOptions { max_tokens: Some(300), ..options(20) };
    let script = Script::forever(cut_off);
    let bench = bench(script, FakePlugins::with_options(asks), 200_000, quiet());
    let report = bench.run().await;
    let error = report.error.unwrap();
    assert!(matches!(&error, Error::BudgetExhausted(text) if text.contains("cut off 3 times in a row")), "{error}");
    let allowed: Vec<_> = bench.script.requests.lock().unwrap().iter().map(|it| it.max_tokens.unwrap()).collect();
    assert_eq!(allowed, [[300; 3], [600; 3], [1_000; 3]].concat(), "the model writes at most 1,000");
    assert!(bench.notices().iter().any(|text| text.contains("from now on 600 are allowed")));
}

#[tokio::test]
async fn a_block_goes_when_the_model_has_seen_the_last_of_it() {
    let script = Script::of([
        call("fs.read", json!({ "n": 1 })),
        call("ledger_append", json!({ "entry_type": "step", "content": "first\nthing" })),
        call("fs.read", json!({ "n": 2 })),
        says("done"),
    ]);
    let bench = bench(script, reader(10, 2_000), 200_000, quiet());
    let report = bench.run().await;
    let entries = bench.tenant.ledger_read(report.work, Default::default()).await.unwrap();
    assert_eq!(entries.len(), 1);
    let requests = bench.script.requests.lock().unwrap();
    assert_eq!(requests[2].messages.len(), 5, "the model sees the whole block once more");
    assert_eq!(requests[3].messages.len(), 3);
    assert_eq!(first_text(&requests[3]), "do it[completed step 1: first thing]");
    let kept: &Message = &requests[3].messages[1];
    assert_eq!(kept.tool_uses().next().unwrap().name, "fs.read");
}
