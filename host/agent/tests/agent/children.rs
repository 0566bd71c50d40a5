//! Children: what they may hold and spend, who may see them, and waiting for them.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use animus_agent::{RunContext, Slot, Terms, run_claimed};
use animus_core::{
    Error,
    budget::{Allowance, Budget},
    child::{MAX_FAMILY, NewChild},
    event::Event,
    grant::{ChildGrant, Grant, LlmGrant},
    id::WorkId,
    journal::EffectKind,
    llm::Content,
    plugins::{FacultyOutcome, Task},
    services::{CallContext, Principal},
    store::Works as _,
    work::{Claim, Host, MAX_DEPTH, State, Work, WorkFilter},
};
use futures::{FutureExt as _, future::BoxFuture};
use proptest::prelude::*;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::support::{Bench, FakePlugins, FakeTenant, Script, call, calls, says, tool_use};

fn grant(max: u32) -> Grant {
    Grant {
        tool: ["fs.*".parse().unwrap()].into(),
        llm: Some(LlmGrant { roles: ["*".parse().unwrap()].into(), max_tokens: 8_192 }),
        spawn_child: Some(ChildGrant { faculties: ["assistant".parse().unwrap()].into(), max }),
        ..Grant::default()
    }
}

fn child(description: &str) -> NewChild {
    NewChild { faculty: "assistant".into(), description: description.into(), params: json!({}), ..NewChild::default() }
}

fn done(summary: impl Into<String>) -> FacultyOutcome {
    FacultyOutcome { success: true, summary: summary.into(), data: None }
}

/// A faculty that does as `act` says.
fn faculty<F>(max: u32, act: F) -> FakePlugins
where
    F: Fn(CallContext, Principal, Task) -> BoxFuture<'static, animus_core::Result<FacultyOutcome>>
        + Send
        + Sync
        + 'static,
{
    let mut plugins = FakePlugins::with_faculty(act);
    plugins.grant(grant(max));
    plugins
}

/// Claims and runs what is queued, `places` items at once, until it is dropped.
fn serve(cx: &RunContext, tenant: Arc<FakeTenant>, places: Arc<Semaphore>) -> tokio::task::JoinHandle<()> {
    let cx = cx.clone();
    tokio::spawn(async move {
        let mut watch = tenant.work_watch().await.unwrap();
        let mut runs = tokio::task::JoinSet::new();
        loop {
            let slot = Arc::new(Slot::take(vec![places.clone()]).await);
            let claim =
                Claim { faculties: vec!["assistant".into()], ..Claim::held(Host::this("test"), 1_000, json!({})) };
            match tenant.work_claim(&claim).await.unwrap() {
                Some(claimed) => {
                    let budget = Budget::new("child", claimed.work.left());
                    let cx = RunContext { slot: Some(slot), budget, ..cx.clone() };
                    runs.spawn(run_claimed(cx, claimed, Terms::default()));
                }
                None => {
                    drop(slot);
                    watch.changed().await;
                }
            }
        }
    })
}

#[tokio::test]
async fn a_parent_of_eight_completes_where_one_focus_runs_at_a_time() {
    static BUSY: AtomicUsize = AtomicUsize::new(0);
    let plugins = faculty(8, |cx, by, task| {
        async move {
            if let Some(n) = task.instruction.strip_prefix("part ") {
                assert_eq!(BUSY.fetch_add(1, Ordering::SeqCst), 0, "two foci run at once");
                tokio::task::yield_now().await;
                BUSY.fetch_sub(1, Ordering::SeqCst);
                return Ok(done(format!("found {n}")));
            }
            let mut ids = Vec::new();
            for n in 0..8 {
                ids.push(cx.services.child_spawn(&by, child(&format!("part {n}"))).await?.to_string());
            }
            let children = cx.services.child_await(&by, ids, 60_000).await?;
            Ok(done(children.iter().map(|child| child.summary.as_str()).collect::<Vec<_>>().join(", ")))
        }
        .boxed()
    });
    let mut bench = Bench::new(Script::of([]), plugins);
    let places = Arc::new(Semaphore::new(1));
    let serving = serve(&bench.cx, bench.tenant.clone(), places.clone());
    bench.cx.slot = Some(Arc::new(Slot::take(vec![places]).await));
    let work = bench.tenant.submit("assistant", "all of it");
    let report = animus_agent::run(bench.cx.clone(), work.clone()).await;
    serving.abort();
    assert_eq!(report.error, None);
    let expected: Vec<_> = (0..8).map(|n| format!("found {n}")).collect();
    assert_eq!(report.summary, expected.join(", "));
    let children = bench.tenant.children(work.id);
    assert!(children.len() == 8 && children.iter().all(|it| it.state == State::Completed && it.depth == 1));
    let finished = bench.events().iter().filter(|event| matches!(event, Event::ChildFinished { .. })).count();
    assert_eq!(finished, 8);
}

#[tokio::test]
async fn a_model_spawns_awaits_checks_and_cancels() {
    let script = Script::of([
        calls(vec![
            tool_use("a", "spawn_child_work", json!({ "faculty": "assistant", "description": "one" })),
            tool_use("b", "spawn_child_work", json!({ "faculty": "assistant", "description": "two", "priority": -7 })),
            tool_use("c", "spawn_child_work", json!({ "faculty": "assistant", "description": "three", "priority": 7 })),
        ]),
        says("done"),
    ]);
    let mut plugins = FakePlugins::new();
    plugins.grant(grant(4));
    let bench = Bench::new(script, plugins);
    let report = bench.run().await;
    assert!(report.success(), "{report:?}");
    let children = bench.tenant.children(report.work);
    let mut told: Vec<_> = children.iter().map(|it| (it.instruction.as_str(), it.priority)).collect();
    told.sort_unstable();
    assert_eq!(told, [("one", 0), ("three", 0), ("two", -7)], "none goes before its parent");
    let ids: BTreeSet<String> = children.iter().map(|it| it.id.to_string()).collect();
    assert_eq!(bench.last_results().into_iter().map(|it| it.text).collect::<BTreeSet<_>>(), ids);
    let kinds: Vec<_> = bench.tenant.journal().into_iter().map(|it| it.intent).collect();
    let spawns = kinds.iter().filter(|it| it.kind == EffectKind::Child && it.subject == "spawn").count();
    assert_eq!(spawns, 3);
}

#[tokio::test]
async fn the_tools_are_not_on_offer_without_the_grant() {
    let bench = Bench::new(Script::of([call("spawn_child_work", json!({})), says("so be it")]), FakePlugins::new());
    bench.run().await;
    let offered: Vec<_> = bench.script.last_request().tools.iter().map(|tool| tool.name.clone()).collect();
    assert!(!offered.iter().any(|name| name.contains("child")), "{offered:?}");
    assert!(bench.last_results()[0].text.contains("there is no tool 'spawn_child_work'"), "{:?}", bench.last_results());
}

#[tokio::test]
async fn what_is_no_child_of_this_work_is_not_there_whether_it_is_or_not() {
    let other = Arc::new(Mutex::new(String::new()));
    let known = other.clone();
    let plugins = faculty(4, move |cx, by, _| {
        let foreign = known.lock().unwrap().clone();
        async move {
            let absent = WorkId::new().to_string();
            for id in [foreign, absent, cx.services.work().to_string(), "no id\u{1b}".to_owned()] {
                let shown = id.trim_end_matches('\u{1b}');
                let refusals = [
                    cx.services.child_await(&by, vec![id.clone()], 0).await.unwrap_err(),
                    cx.services.child_check(&by, vec![id.clone()]).await.unwrap_err(),
                    cx.services.child_cancel(&by, id.clone()).await.unwrap_err(),
                ];
                for refusal in refusals {
                    let Error::NotFound(text) = &refusal else { panic!("{id}: {refusal:?}") };
                    assert!(text.starts_with(&format!("this work has no child '{shown}")), "{text}");
                    assert!(!text.contains('\u{1b}'));
                }
            }
            let too_many = vec![WorkId::new().to_string(); 65];
            for ids in [Vec::new(), too_many] {
                assert_eq!(cx.services.child_check(&by, ids).await.unwrap_err().class(), "invalid");
            }
            Ok(done(""))
        }
        .boxed()
    });
    let bench = Bench::new(Script::of([]), plugins);
    *other.lock().unwrap() = bench.tenant.submit("assistant", "somebody else's").id.to_string();
    assert_eq!(bench.run().await.error, None);
    assert!(!bench.tenant.order().iter().any(|it| it.ends_with("cancels")));
}

#[tokio::test]
async fn more_children_than_granted_and_faculties_that_are_not_are_refused() {
    let plugins = faculty(2, |cx, by, _| {
        async move {
            let spawn = |new| cx.services.child_spawn(&by, new);
            spawn(child("one")).await?;
            assert_eq!(spawn(child(" ")).await.unwrap_err().class(), "invalid");
            let other = NewChild { faculty: "admin".into(), ..child("x") };
            let Error::Denied(denial) = spawn(other).await.unwrap_err() else { panic!("not denied") };
            assert_eq!(denial.capability, "spawn-child:admin");
            spawn(child("two")).await?;
            let refused = spawn(child("three")).await.unwrap_err();
            assert!(matches!(&refused, Error::BudgetExhausted(text) if text.contains("2 children")), "{refused}");
            Ok(done(""))
        }
        .boxed()
    });
    let bench = Bench::new(Script::of([]), plugins);
    let report = bench.run().await;
    assert_eq!(report.error, None);
    assert_eq!(bench.tenant.children(report.work).len(), 2);
    assert!(bench.tenant.audited().iter().any(|(_, action, subject, _)| {
        (action.as_str(), subject.as_str()) == ("call.denied", "spawn-child:admin")
    }));
}

/// Runs one item and all that comes of it.
async fn whole_family(bench: &Bench) -> Vec<Work> {
    let serving = serve(&bench.cx, bench.tenant.clone(), Arc::new(Semaphore::new(1)));
    let work = bench.tenant.submit("assistant", "go");
    animus_agent::run(bench.cx.clone(), work).await;
    let mut watch = bench.tenant.work_watch().await.unwrap();
    loop {
        let all = bench.tenant.works(WorkFilter::default()).await.unwrap();
        if all.iter().all(|work| work.state.is_settled()) {
            serving.abort();
            return all;
        }
        watch.changed().await;
    }
}

#[tokio::test]
async fn children_that_multiply_come_to_an_end_by_depth_and_by_number() {
    let refusals: Arc<Mutex<BTreeSet<&'static str>>> = Arc::default();
    let told = refusals.clone();
    let plugins = faculty(64, move |cx, by, _| {
        let told = told.clone();
        async move {
            for _ in 0..5 {
                if let Err(error) = cx.services.child_spawn(&by, child("go forth")).await {
                    told.lock().unwrap().insert(error.class());
                }
            }
            Ok(done(""))
        }
        .boxed()
    });
    let bench = Bench::new(Script::of([]), plugins);
    let all = whole_family(&bench).await;
    assert!(all.len() <= MAX_FAMILY, "{} items", all.len());
    assert!(all.iter().all(|work| work.depth <= MAX_DEPTH));
    assert_eq!(
        *refusals.lock().unwrap(),
        BTreeSet::from(["budget-exhausted"]),
        "five to the fifth is more than a family"
    );
    // A narrow family meets the depth.
    let plugins = faculty(1, |cx, by, _| {
        async move {
            let spawned = cx.services.child_spawn(&by, child("deeper")).await;
            Ok(done(spawned.map_or_else(|error| error.class().to_owned(), |_| String::new())))
        }
        .boxed()
    });
    let bench = Bench::new(Script::of([]), plugins);
    let all = whole_family(&bench).await;
    assert_eq!(all.len(), 1 + MAX_DEPTH as usize);
    let deepest = all.iter().max_by_key(|work| work.depth).unwrap();
    assert_eq!(deepest.outcome.as_ref().unwrap()["summary"], "invalid");
}

#[tokio::test]
async fn a_wait_in_vain_names_who_is_missing_and_loses_nothing() {
    let plugins = faculty(4, |cx, by, _| {
        async move {
            let quick = cx.services.child_spawn(&by, child("quick")).await?.to_string();
            let slow = cx.services.child_spawn(&by, child("slow")).await?.to_string();
            let error = cx.services.child_await(&by, vec![quick.clone(), slow.clone()], 0).await.unwrap_err();
            let Error::Timeout(text) = &error else { panic!("{error:?}") };
            assert!(text.contains(&quick) && text.contains(&slow) && text.contains("queued"), "{text}");
            Ok(done(format!("{quick} {slow}")))
        }
        .boxed()
    });
    let bench = Bench::new(Script::of([]), plugins).budget(900);
    let report = bench.run().await;
    assert_eq!(report.error, None);
    // Two children that go on without their parent may spend what they were given: it counts as spent.
    let given: u64 = bench.tenant.children(report.work).iter().map(|it| it.allowance.tokens.unwrap()).sum();
    assert_eq!((given, report.spent.tokens), (2 * 900 / 5, given));
}

#[tokio::test]
async fn the_end_of_the_parent_ends_its_wait() {
    let plugins = faculty(4, |cx, by, _| {
        async move {
            let id = cx.services.child_spawn(&by, child("endless")).await?.to_string();
            cx.services.child_await(&by, vec![id], 86_400_000).await?;
            Ok(done("never"))
        }
        .boxed()
    });
    let bench = Bench::new(Script::of([]), plugins);
    let (cancel, tenant) = (bench.cx.cancel.clone(), bench.tenant.clone());
    tokio::spawn(async move {
        while !tenant.order().iter().any(|it| it == "intent child await") {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    });
    assert_eq!(bench.run().await.state, State::Cancelled);
}

#[tokio::test]
async fn a_child_that_will_be_tried_again_is_waited_for() {
    let plugins = faculty(4, |cx, by, _| {
        async move {
            let id = cx.services.child_spawn(&by, child("stubborn")).await?.to_string();
            let child = cx.services.child_await(&by, vec![id], 60_000).await?.remove(0);
            Ok(done(format!("{} {:?}", child.state, child.error)))
        }
        .boxed()
    });
    let bench = Bench::new(Script::of([]), plugins);
    let tenant = bench.tenant.clone();
    tokio::spawn(async move {
        let id = loop {
            let all = tenant.works(WorkFilter::default()).await.unwrap();
            if let Some(child) = all.into_iter().find(|work| work.parent.is_some()) {
                break child.id;
            }
            tokio::task::yield_now().await;
        };
        // An attempt fails and is queued again, then the last one.
        for state in [State::Running, State::Queued, State::Running, State::Dead] {
            tenant.change(id, |work| {
                work.state = state;
                work.error = Some(Error::Unavailable("the road is closed".into()));
            });
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }
    });
    assert_eq!(bench.run().await.summary, "dead Some(\"unavailable: the road is closed\")");
}

#[tokio::test]
async fn a_child_holds_what_its_spawner_holds_within_the_run_and_the_parents_own_cap() {
    let plugins = faculty(4, |cx, by, _| {
        async move {
            cx.services.child_spawn(&by, child("x")).await?;
            Ok(done(""))
        }
        .boxed()
    });
    let mut bench = Bench::new(Script::of([]), plugins);
    bench.cx.tools = Some(["fs.read_file".parse().unwrap(), "web.*".parse().unwrap()].into());
    let work = bench.tenant.submit("assistant", "go");
    let narrow = Grant { llm: None, ..grant(2) };
    bench.tenant.change(work.id, |work| work.cap = Some(narrow.clone()));
    let report = animus_agent::run(bench.cx.clone(), bench.tenant.work(work.id).await.unwrap()).await;
    assert_eq!(report.error, None);
    let cap = bench.tenant.children(work.id)[0].cap.clone().unwrap();
    assert_eq!(cap, Grant { tool: ["fs.read_file".parse().unwrap()].into(), ..narrow });
}

#[tokio::test]
async fn an_equal_key_leads_to_the_same_child_of_this_parent_and_plugin_only() {
    let plugins = faculty(8, |cx, by, _| {
        async move {
            let keyed = || NewChild { dedup_key: Some("k".into()), ..child("x") };
            let first = cx.services.child_spawn(&by, keyed()).await?;
            assert_eq!(cx.services.child_spawn(&by, keyed()).await?, first);
            let long = NewChild { dedup_key: Some("k".repeat(129)), ..child("x") };
            assert_eq!(cx.services.child_spawn(&by, long).await.unwrap_err().class(), "invalid");
            Ok(done(""))
        }
        .boxed()
    });
    let bench = Bench::new(Script::of([]), plugins).budget(900);
    let mut children = Vec::new();
    for _ in 0..2 {
        let work = bench.tenant.submit("assistant", "go");
        let report = animus_agent::run(bench.cx.clone(), work).await;
        assert_eq!(report.error, None);
        children.push(bench.tenant.children(report.work));
    }
    assert!(children.iter().all(|it| it.len() == 1), "{children:?}");
    assert_ne!(children[0][0].id, children[1][0].id);
}

#[tokio::test]
async fn images_and_other_parts_of_a_models_message_do_not_keep_it_from_spawning() {
    let requests = vec![
        Content::Text { text: "I share the work".into() },
        tool_use("a", "spawn_child_work", json!({ "faculty": "assistant", "description": "x", "params": { "n": 1 } })),
    ];
    let mut plugins = FakePlugins::new();
    plugins.grant(grant(1));
    let bench = Bench::new(Script::of([calls(requests), says("done")]), plugins);
    let report = bench.run().await;
    assert_eq!(bench.tenant.children(report.work)[0].params, json!({ "n": 1 }));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn children_and_parent_together_never_have_more_than_the_parent_was_given(
        tokens in 1_u64..5_000,
        asks in proptest::collection::vec((proptest::option::of(0_u64..3_000), 0_u64..2_000, any::<bool>()), 1..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let tenant: Arc<Mutex<Option<Arc<FakeTenant>>>> = Arc::default();
            let (kept, plan) = (tenant.clone(), asks.clone());
            let plugins = faculty(8, move |cx, by, _| {
                let (tenant, plan) = (kept.lock().unwrap().clone().unwrap(), plan.clone());
                async move {
                    for (max_tokens, spends, looked_at) in plan {
                        let new = NewChild { max_tokens, ..child("x") };
                        let Ok(id) = cx.services.child_spawn(&by, new).await else { continue };
                        let given = tenant.work(id).await?.allowance.tokens.unwrap();
                        tenant.change(id, |work| {
                            work.tokens = spends.min(given);
                            work.state = if looked_at { State::Completed } else { State::Running };
                        });
                        if looked_at {
                            cx.services.child_check(&by, vec![id.to_string()]).await?;
                        }
                    }
                    Ok(done(""))
                }
                .boxed()
            });
            let bench = Bench::new(Script::of([]), plugins).budget(tokens);
            *tenant.lock().unwrap() = Some(bench.tenant.clone());
            let report = bench.run().await;
            assert_eq!(report.error, None);
            let could: u64 = bench.tenant.children(report.work).iter().map(|it| match it.state {
                State::Completed => it.tokens,
                _ => it.allowance.tokens.unwrap(),
            }).sum();
            assert!(could <= tokens, "{could} of {tokens}");
            assert_eq!(report.spent.tokens, could);
            assert_eq!(bench.cx.budget.left(), Allowance { tokens: Some(tokens - could), microusd: None });
        });
    }
}
