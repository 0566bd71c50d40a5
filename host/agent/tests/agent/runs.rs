//! Runs from the store's first mark to its last.

use crate::support::{Bench, FakePlugins, READS, Script, says, text};
use animus_core::{
    Error,
    event::Event,
    plugins::FacultyOutcome,
    store::Works as _,
    tool::Annotations,
    work::{Claim, Host, State, WorkFilter},
};
use futures::FutureExt as _;
use serde_json::json;

#[tokio::test]
async fn a_run_that_goes_well_is_completed_with_its_outcome_and_cost() {
    let bench = Bench::new(Script::of([says("well done")]), FakePlugins::new());
    let report = bench.run().await;
    assert!(report.success() && report.error.is_none());
    let settled = bench.tenant.settlement();
    assert_eq!(settled.outcome.unwrap()["summary"], "well done");
    assert_eq!((settled.tokens, settled.cost_microusd), (110, crate::support::COST));
    assert!(matches!(&bench.events()[0], Event::Started { faculty, .. } if faculty == "assistant"));
}

#[tokio::test]
async fn a_faculty_that_says_the_work_is_not_done_fails_it_with_its_own_words() {
    let plugins = FakePlugins::with_faculty(|_, _, _| {
        let outcome = FacultyOutcome { success: false, summary: "a key is missing".into(), data: None };
        async { Ok(outcome) }.boxed()
    });
    let report = Bench::new(Script::of([]), plugins).run().await;
    assert_eq!((report.state, report.summary.as_str(), report.error), (State::Failed, "a key is missing", None));
}

#[tokio::test]
async fn a_faculty_that_fails_panics_or_does_not_exist_leaves_a_failed_item() {
    let trap = Error::Internal("the plugin trapped".into());
    let failing = trap.clone();
    let plugins = FakePlugins::with_faculty(move |_, _, _| std::future::ready(Err(failing.clone())).boxed());
    let report = Bench::new(Script::of([]), plugins).run().await;
    assert_eq!((report.state, report.error), (State::Failed, Some(trap)));

    let plugins = FakePlugins::with_faculty(|_, _, _| async { panic!("boom") }.boxed());
    let report = Bench::new(Script::of([]), plugins).run().await;
    assert_eq!((report.state, report.error.unwrap().class()), (State::Failed, "internal"));

    let bench = Bench::new(Script::of([]), FakePlugins::new());
    let work = bench.tenant.submit("nobody", "do it");
    let report = animus_agent::run(bench.cx.clone(), work).await;
    assert_eq!((report.state, report.error.unwrap().class()), (State::Failed, "not-found"));
    assert_eq!(bench.tenant.state(report.work), State::Failed);
}

#[tokio::test]
async fn work_that_another_run_took_is_left_alone_and_done_is_told_all_the_same() {
    let bench = Bench::new(Script::of([]), FakePlugins::new());
    let work = bench.tenant.submit("assistant", "do it");
    bench.tenant.focus_begin(work.id, State::Queued, &Claim::held(Host::this("test"), 1_000, json!({}))).await.unwrap();
    let report = animus_agent::run(bench.cx.clone(), work).await;
    assert_eq!((report.focus, report.error.unwrap().class()), (None, "conflict"));
    assert_eq!(bench.tenant.state(report.work), State::Running);
    assert!(matches!(bench.events().as_slice(), [Event::Done { success: false, .. }]));
}

#[tokio::test]
async fn a_run_whose_end_cannot_be_stored_does_not_count_as_done() {
    let bench = Bench::new(Script::of([says("well done")]), FakePlugins::new());
    *bench.tenant.cannot_settle.lock().unwrap() = true;
    let work = bench.tenant.submit("assistant", "do it");
    let report = animus_agent::run(bench.cx.clone(), work).await;
    assert_eq!((report.success(), report.error.unwrap().class()), (false, "unavailable"));
    assert!(matches!(bench.events().last(), Some(Event::Done { success: false, .. })));
}

#[tokio::test]
async fn a_run_that_is_cancelled_before_it_begins_calls_nobody() {
    let bench = Bench::new(Script::of([]), FakePlugins::new());
    bench.cx.cancel.cancel();
    let report = bench.run().await;
    assert_eq!((report.state, report.error), (State::Cancelled, Some(Error::Cancelled)));
    assert!(bench.tenant.journal().is_empty());
}

#[tokio::test]
async fn an_operators_tool_call_is_a_work_item_with_a_journal() {
    let plugins = FakePlugins::new().tool("hello.greet", READS, |cx, args| {
        assert_eq!(cx.depth, 0);
        async move { text(format!("hello {}", args["name"].as_str().unwrap())) }.boxed()
    });
    let bench = Bench::new(Script::of([]), plugins);
    let report = animus_agent::call_tool(bench.cx.clone(), "hello.greet", r#"{"name":"Ada"}"#.into()).await.unwrap();
    assert_eq!(report.output.unwrap().text, "hello Ada");
    assert_eq!(bench.tenant.state(report.work), State::Completed);
    assert_eq!(bench.tenant.order(), ["intent tool hello.greet", "outcome tool hello.greet"]);
    assert_eq!(bench.tenant.journal()[0].intent.caller, "operator");
    assert_eq!(bench.watch.0.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn an_operators_call_that_fails_fails_its_item_and_one_that_cannot_be_is_none() {
    let plugins = FakePlugins::new()
        .tool("fs.fails", Annotations::default(), |_, _| async { Err(Error::Timeout("too slow".into())) }.boxed());
    let bench = Bench::new(Script::of([]), plugins);
    let report = animus_agent::call_tool(bench.cx.clone(), "fs.fails", "{}".into()).await.unwrap();
    assert_eq!((report.output.unwrap_err().class(), bench.tenant.state(report.work)), ("timeout", State::Failed));

    let works = bench.tenant.works(WorkFilter::default()).await.unwrap().len();
    for (name, args, class) in [
        ("fs.fail", "{}", "not-found"),
        ("fails", "{}", "not-found"),
        ("fs.fails", "[]", "invalid"),
        ("fs.fails", "{", "invalid"),
    ] {
        let error = animus_agent::call_tool(bench.cx.clone(), name, args.into()).await.unwrap_err();
        assert_eq!(error.class(), class, "{error}");
    }
    assert_eq!(bench.tenant.works(WorkFilter::default()).await.unwrap().len(), works);
}

#[tokio::test]
async fn a_plugins_own_lines_reach_the_watcher() {
    let plugins = FakePlugins::with_faculty(|cx, by, _| {
        async move {
            cx.services.log(&by, "a line".into());
            Ok(FacultyOutcome { success: true, summary: String::new(), data: None })
        }
        .boxed()
    });
    let bench = Bench::new(Script::of([]), plugins);
    bench.run().await;
    let logged = Event::Log { plugin: "assistant".into(), line: "a line".into() };
    assert!(bench.events().contains(&logged));
}
