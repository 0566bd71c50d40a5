//! What a focus does with effects: journal, budget, narrowing, cancel.

use std::sync::Arc;

use crate::support::{Bench, COST, FakePlugins, READS, Script, Turn, USAGE, call, calls, says, text, tool_use};
use animus_agent::Focus;
use animus_core::{
    Denial, Error, Gate, Unlock,
    budget::{Allowance, Budget},
    event::Event,
    grant::Grant,
    id::{Digest, FocusId, MemoryId, WorkId},
    journal::{EffectKind, Intent, Outcome},
    ledger::EntryType,
    llm::{Message, Request, Role, StreamEvent},
    plugins::FacultyOutcome,
    services::{Ending, EngageOptions},
    tool::Annotations,
    work::State,
};
use futures::{FutureExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::sync::Notify;

fn request(text: &str) -> Request {
    Request {
        model: String::new(),
        system: None,
        messages: vec![Message::user(text).into()],
        tools: [].into(),
        max_tokens: None,
        temperature: None,
    }
}

fn fine() -> FacultyOutcome {
    FacultyOutcome { success: true, summary: "fine".into(), data: None }
}

#[tokio::test]
async fn every_effect_has_its_intent_before_it_and_its_outcome_after_it() {
    let plugins = FakePlugins::with_faculty(|cx, by, _| {
        async move {
            let services = &cx.services;
            services.tool_call(&by, "fs.write", "{}".into()).await?;
            services.ledger_append(&by, EntryType::Note, "a note".into()).await?;
            let id = services.memory_store(&by, "a fact".into(), "fact".into(), vec!["tag".into()]).await?;
            services.memory_tag(&by, id, "new".into()).await?;
            services.memory_forget(&by, id).await?;
            services.llm_complete(&by, request("hello")).await?;
            Ok(fine())
        }
        .boxed()
    });
    let bench = Bench::new(Script::of([says("hello")]), FakePlugins::new());
    let tenant = bench.tenant.clone();
    let plugins = plugins.tool("fs.write", Annotations::default(), move |cx, _| {
        tenant.happens(format!("written at depth {} inside {}", cx.depth, cx.parent.unwrap()));
        async { text("ok") }.boxed()
    });
    let bench = Bench { cx: animus_agent::RunContext { plugins: Arc::new(plugins), ..bench.cx.clone() }, ..bench };
    assert_eq!(bench.run().await.state, State::Completed);
    let expected = [
        "intent phase engage",
        "intent tool fs.write",
        "written at depth 1 inside 2",
        "outcome tool fs.write",
        "intent ledger note",
        "append a note",
        "outcome ledger note",
        "intent llm embed",
        "outcome llm embed",
        "intent memory store",
        "store a fact",
        "outcome memory store",
        "intent memory tag",
        "tag new",
        "outcome memory tag",
        "intent memory forget",
        "forget",
        "outcome memory forget",
        "intent llm default",
        "outcome llm default",
        "outcome phase engage",
    ];
    assert_eq!(bench.tenant.order(), expected);
    let journal = bench.tenant.journal();
    assert!(journal[1..].iter().all(|record| record.intent.parent == Some(1)), "all inside the phase");
    assert!(journal[1..].iter().all(|record| record.intent.caller == "assistant"));
}

#[tokio::test]
async fn the_journal_holds_nothing_of_what_a_memory_says() {
    let plugins = FakePlugins::with_faculty(|cx, by, _| {
        async move {
            let services = &cx.services;
            let id = services.memory_store(&by, "the cat is grey".into(), "fact".into(), vec!["tag".into()]).await?;
            assert_eq!(services.memory_update(&by, id, "the cat is black".into(), Some(1)).await?, 2);
            Ok(fine())
        }
        .boxed()
    });
    let bench = Bench::new(Script::of([]), plugins);
    assert_eq!(bench.run().await.state, State::Completed);
    let journal = bench.tenant.journal();
    let stored = journal.iter().find(|record| record.intent.subject == "store").unwrap();
    let digest = Digest::of(b"the cat is grey");
    assert_eq!(stored.intent.request, json!({ "sha256": digest, "bytes": 15, "kind": "fact", "tags": ["tag"] }));
    let updated = journal.iter().find(|record| record.intent.subject == "update").unwrap();
    assert_eq!((&updated.intent.request["bytes"], &updated.intent.request["from"]), (&json!(16), &json!(1)));
    assert!(!json!(journal).to_string().contains("cat"), "{journal:?}");
}

#[tokio::test]
async fn an_effect_names_the_memory_that_it_stores() {
    let named = Arc::new(std::sync::Mutex::new(None));
    let kept = named.clone();
    let plugins = FakePlugins::with_faculty(move |cx, by, _| {
        let kept = kept.clone();
        async move {
            let id = cx.services.memory_store(&by, "a fact".into(), "fact".into(), vec![]).await?;
            *kept.lock().unwrap() = Some((cx.focus, id));
            Ok(fine())
        }
        .boxed()
    });
    let bench = Bench::new(Script::of([]), plugins);
    bench.run().await;
    let seq = bench.tenant.journal().iter().find(|record| record.intent.subject == "store").unwrap().seq;
    let (focus, id) = named.lock().unwrap().unwrap();
    assert_eq!(id, MemoryId::of_effect(focus, seq));
}

#[tokio::test]
async fn embedding_is_journaled_by_digest_and_charged() {
    let plugins = FakePlugins::with_faculty(|cx, by, _| {
        async move {
            let answer = cx.services.llm_embed(&by, vec!["one".into(), "three".into()]).await?;
            assert_eq!(answer.vectors, [[1.0, 3.0], [1.0, 5.0]]);
            let blank = cx.services.llm_embed(&by, vec![" ".into()]).await.unwrap_err();
            assert_eq!(blank.class(), "invalid");
            Ok(fine())
        }
        .boxed()
    });
    let bench = Bench::new(Script::of([]), plugins);
    let report = bench.run().await;
    assert_eq!(report.state, State::Completed);
    assert_eq!((bench.tenant.settlement().tokens, bench.tenant.settlement().cost_microusd), (2, 2));
    let journal = bench.tenant.journal();
    let calls: Vec<_> = journal.iter().filter(|record| record.intent.kind == EffectKind::Llm).collect();
    assert_eq!(calls.len(), 1, "what is refused beforehand is not begun");
    assert_eq!(calls[0].intent.subject, "embed");
    assert_eq!((&calls[0].intent.request["texts"], &calls[0].intent.request["bytes"]), (&json!(2), &json!(8)));
    let Some(Outcome::Ok { response }) = calls[0].outcome.clone() else { panic!("it went well") };
    let kept: animus_core::llm::Embeddings = serde_json::from_value(response).unwrap();
    assert_eq!(kept.vectors, [[1.0, 3.0], [1.0, 5.0]], "the journal can answer in the model's place");
}

#[tokio::test]
async fn a_vendor_that_cannot_embed_keeps_no_memory_from_being_stored_or_found() {
    let plugins = FakePlugins::with_faculty(|cx, by, _| {
        async move {
            cx.services.memory_store(&by, "a fact".into(), "fact".into(), vec![]).await?;
            let query = animus_core::memory::Query { text: "fact".into(), ..Default::default() };
            assert_eq!(cx.services.memory_recall(&by, query).await?.len(), 1);
            Ok(fine())
        }
        .boxed()
    });
    let script = Script::of([]);
    *script.cannot_embed.lock().unwrap() = Some(Error::Unavailable("down".into()));
    let bench = Bench::new(script.clone(), plugins);
    assert_eq!(bench.run().await.state, State::Completed);
    assert_eq!(script.embedded.lock().unwrap().len(), 2);
    assert_eq!(bench.tenant.settlement().tokens, 0, "what failed is not charged");
}

#[tokio::test]
async fn the_journal_holds_the_whole_answer_of_a_model_and_the_digest_of_what_it_was_asked() {
    let bench = Bench::new(Script::of([says("good day")]), FakePlugins::new());
    bench.run().await;
    let record = bench.tenant.journal().into_iter().find(|r| r.intent.kind == EffectKind::Llm).unwrap();
    assert_eq!(record.intent.request["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(record.intent.request["max_tokens"], 1_000);
    let Some(Outcome::Ok { response }) = record.outcome else { panic!("it went well") };
    assert_eq!(response["message"]["content"][0]["text"], "good day");
    assert_eq!(response["usage"]["input_tokens"], 100);
}

#[tokio::test]
async fn an_answer_is_kept_whole_and_a_large_request_as_size_and_digest() {
    let plugins = FakePlugins::new().tool("fs.read", READS, |_, _| async { text("x".repeat(5 << 20)) }.boxed());
    let large = json!({ "path": "y".repeat(300_000) });
    let bench = Bench::new(Script::of([call("fs.read", large), says("ok")]), plugins);
    bench.run().await;
    let record = bench.tenant.journal().into_iter().find(|r| r.intent.kind == EffectKind::Tool).unwrap();
    let request = record.intent.request;
    assert_eq!((&request["cut"], request["bytes"].as_u64().unwrap() > 300_000), (&json!(true), true));
    let Some(Outcome::Ok { response }) = record.outcome else { panic!("it went well") };
    assert_eq!(response["text"].as_str().unwrap().len(), 5 << 20, "a resumed focus needs all of it");
}

#[tokio::test]
async fn what_the_run_may_not_call_is_refused_at_the_principal_and_audited() {
    let plugins = FakePlugins::new()
        .tool("fs.write", Annotations::default(), |_, _| async { panic!("must not run") }.boxed())
        .reads("fs.read", "text");
    let script = Script::of([
        calls(vec![tool_use("a", "fs.write", json!({})), tool_use("b", "fs.read", json!({}))]),
        says("ok"),
    ]);
    let mut bench = Bench::new(script, plugins);
    bench.cx.tools = Some(["fs.read".parse().unwrap()].into());
    bench.run().await;
    let offered: Vec<_> = bench.script.last_request().tools.iter().map(|tool| tool.name.clone()).collect();
    assert!(!offered.contains(&"fs.write".to_owned()) && offered.contains(&"fs.read".to_owned()));
    let results = bench.last_results();
    assert!(results[0].is_error && results[0].text.starts_with("denied: tool:fs.write (refused at: principal)"));
    assert_eq!(results[1].text, "text");
    let (actor, action, subject, detail) = bench.tenant.audited().remove(0);
    assert_eq!((actor.as_str(), action.as_str()), ("plugin:assistant", "call.denied"));
    assert_eq!((subject.as_str(), &detail["gate"]), ("tool:fs.write", &json!("principal")));
    assert!(!bench.tenant.order().iter().any(|what| what.contains("fs.write")), "nothing was begun");
}

#[tokio::test]
async fn what_the_faculty_was_not_granted_is_refused_and_the_model_reads_no_command() {
    let mut plugins = FakePlugins::new();
    let llm = animus_core::grant::LlmGrant { roles: ["*".parse().unwrap()].into(), max_tokens: 1_000 };
    plugins.grant(Grant { llm: Some(llm), tool: ["fs.read".parse().unwrap()].into(), ..Grant::default() });
    let denied = Denial {
        who: "fs".into(),
        capability: "path:rw /etc as /etc".into(),
        gate: Gate::Grant,
        unlock: Unlock::AskOperator,
        command: Some("animus plugin grant fs --allow 'path:rw /etc as /etc'".into()),
    };
    let inner = denied.clone();
    let plugins = plugins.tool("web.fetch", READS, |_, _| async { panic!("must not run") }.boxed()).tool(
        "fs.read",
        READS,
        move |_, _| std::future::ready(Err(inner.clone().into())).boxed(),
    );
    let script = Script::of([
        calls(vec![tool_use("a", "web.fetch", json!({})), tool_use("b", "fs.read", json!({}))]),
        says("ok"),
    ]);
    let bench = Bench::new(script, plugins);
    bench.run().await;
    for (result, capability) in bench.last_results().iter().zip(["tool:web.fetch", "path:rw /etc as /etc"]) {
        assert!(result.is_error && result.text.contains(capability), "{}", result.text);
        assert!(!result.text.contains("animus") && !result.text.contains("--"), "{}", result.text);
    }
    let audited: Vec<_> = bench.tenant.audited().into_iter().map(|(_, _, subject, _)| subject).collect();
    assert_eq!(audited, ["tool:web.fetch", "path:rw /etc as /etc"]);
    // The operator's view keeps the command.
    let told = bench
        .events()
        .into_iter()
        .any(|event| matches!(event, Event::ToolEnd { error: Some(Error::Denied(d)), .. } if *d == denied));
    assert!(told);
}

#[tokio::test]
async fn an_exhausted_budget_ends_the_loop_with_what_was_done_so_far() {
    let script = Script::forever(|n| {
        let mut turn = call("fs.read", json!({ "n": n }));
        if let Turn::Stream(pieces) = &mut turn
            && let Some(Ok(StreamEvent::Done(response))) = pieces.last_mut()
        {
            response.message.content.insert(0, animus_core::llm::Content::Text { text: format!("step {n}") });
        }
        turn
    });
    let options = EngageOptions { tools: vec!["*".into()], max_tokens: Some(100), ..EngageOptions::default() };
    let bench = Bench::new(script, FakePlugins::with_options(options).reads("fs.read", "text")).budget(2_500);
    let report = bench.run().await;
    assert_eq!((report.ending, report.state), (Some(Ending::Budget), State::Failed));
    assert_eq!(report.error.unwrap().class(), "budget-exhausted");
    let made = bench.script.calls();
    assert!(made > 1);
    assert_eq!(report.summary, format!("step {}", made - 1));
    assert_eq!(report.spent.tokens, USAGE.total() * made as u64);
    assert_eq!(bench.tenant.settlement().tokens, report.spent.tokens);
    assert!(bench.notices().iter().any(|notice| notice.contains("the run budget of 2500 tokens")));
    assert!(bench.events().iter().any(|event| matches!(event, Event::Budget { percent: 50, .. })));
}

#[tokio::test]
async fn interleaved_model_calls_cost_exactly_the_sum_of_what_vendors_counted() {
    let plugins = FakePlugins::with_faculty(|cx, by, _| {
        async move {
            let calls = (0..20).map(|n| cx.services.llm_complete(&by, request(&"word ".repeat(n))));
            for answer in futures::future::join_all(calls).await {
                answer?;
            }
            Ok(fine())
        }
        .boxed()
    });
    let bench = Bench::new(Script::forever(|_| says("ok")), plugins);
    let other = Budget::new("day", Allowance::default());
    let bench = Bench {
        cx: animus_agent::RunContext { budget: other.derive("run", Allowance::default()), ..bench.cx.clone() },
        ..bench
    };
    let report = bench.run().await;
    assert_eq!((report.spent.tokens, report.spent.microusd), (20 * USAGE.total(), 20 * COST));
    assert_eq!(other.standing().spent, report.spent);
    let settled = bench.tenant.settlement();
    assert_eq!((settled.tokens, settled.cost_microusd), (report.spent.tokens, report.spent.microusd));
}

#[tokio::test]
async fn an_answer_dropped_before_its_end_is_cancelled_charged_and_journaled() {
    let plugins = FakePlugins::with_faculty(|cx, by, _| {
        async move {
            let mut answer = cx.services.llm_stream(&by, request(&"x".repeat(400))).await?;
            assert_eq!(answer.next().await.unwrap()?, StreamEvent::Text("let me think about it".into()));
            drop(answer);
            Ok(fine())
        }
        .boxed()
    });
    let bench = Bench::new(Script::of([Turn::Hangs("let me think about it")]), plugins);
    let report = bench.run().await;
    assert_eq!(report.spent.tokens, 100 + 6, "the estimate of what was sent and streamed");
    let record = bench.tenant.journal().into_iter().find(|r| r.intent.kind == EffectKind::Llm).unwrap();
    assert_eq!(record.outcome, Some(Outcome::Failed { error: Error::Cancelled }));
}

#[tokio::test]
async fn cancelling_stops_the_running_tools_records_them_and_ends_cancelled() {
    let running = Arc::new(Notify::new());
    let begun = running.clone();
    let plugins = FakePlugins::new()
        .tool("x.waits", READS, move |cx, _| {
            let begun = begun.clone();
            async move {
                begun.notify_one();
                cx.cancel.cancelled().await;
                Err(Error::Cancelled)
            }
            .boxed()
        })
        .reads("fs.read", "text");
    let script = Script::of([calls(vec![tool_use("a", "fs.read", json!({})), tool_use("b", "x.waits", json!({}))])]);
    let bench = Bench::new(script, plugins);
    let cancel = bench.cx.cancel.clone();
    let (report, ()) = tokio::join!(bench.run(), async {
        running.notified().await;
        cancel.cancel();
    });
    assert_eq!((report.state, report.ending), (State::Cancelled, Some(Ending::Cancelled)));
    let tools: Vec<_> = bench.tenant.journal().into_iter().filter(|r| r.intent.kind == EffectKind::Tool).collect();
    let outcome = |name: &str| tools.iter().find(|r| r.intent.subject == name).unwrap().outcome.clone().unwrap();
    assert_eq!(outcome("x.waits"), Outcome::Failed { error: Error::Cancelled });
    assert!(matches!(outcome("fs.read"), Outcome::Ok { .. }));
    let ends = bench.events().iter().filter(|event| matches!(event, Event::ToolEnd { .. })).count();
    assert_eq!(ends, 2);
}

#[tokio::test]
async fn a_tool_that_does_not_heed_the_cancel_is_dropped_and_recorded() {
    let running = Arc::new(Notify::new());
    let begun = running.clone();
    let plugins = FakePlugins::new().tool("x.deaf", READS, move |_, _| {
        begun.notify_one();
        std::future::pending().boxed()
    });
    let bench = Bench::new(Script::of([call("x.deaf", json!({}))]), plugins);
    let cancel = bench.cx.cancel.clone();
    let (report, ()) = tokio::join!(bench.run(), async {
        running.notified().await;
        cancel.cancel();
    });
    assert_eq!((report.state, report.ending), (State::Cancelled, Some(Ending::Cancelled)));
}

#[tokio::test]
async fn cancelling_while_the_model_answers_ends_cancelled_too() {
    let bench = Bench::new(Script::of([Turn::Hangs("hm")]), FakePlugins::new());
    let cancel = bench.cx.cancel.clone();
    let (report, ()) = tokio::join!(bench.run(), async {
        while !bench.events().iter().any(|event| matches!(event, Event::Token { .. })) {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    });
    assert_eq!((report.state, report.ending), (State::Cancelled, Some(Ending::Cancelled)));
}

#[tokio::test]
async fn an_effect_whose_caller_is_gone_is_stopped_and_still_gets_its_outcome() {
    let plugins = FakePlugins::with_faculty(|cx, by, _| {
        async move {
            let call = cx.services.tool_call(&by, "x.waits", "{}".into());
            // The caller's deadline passes as soon as the tool runs.
            futures::future::select(call, Box::pin(cx.services.tool_call(&by, "x.goes", "{}".into()))).await;
            Ok(fine())
        }
        .boxed()
    });
    let running = Arc::new(Notify::new());
    let begun = running.clone();
    let plugins = plugins
        .tool("x.waits", READS, move |cx, _| {
            running.notify_one();
            async move {
                cx.cancel.cancelled().await;
                for _ in 0..200 {
                    tokio::task::yield_now().await;
                }
                Err(Error::Conflict("half of it was done".into()))
            }
            .boxed()
        })
        .tool("x.goes", READS, move |_, _| {
            let begun = begun.clone();
            async move {
                begun.notified().await;
                text("gone")
            }
            .boxed()
        });
    let bench = Bench::new(Script::of([]), plugins);
    assert_eq!(bench.run().await.state, State::Completed);
    let waits = bench.tenant.journal().into_iter().find(|r| r.intent.subject == "x.waits").unwrap();
    let half = Error::Conflict("half of it was done".into());
    assert_eq!(waits.outcome, Some(Outcome::Failed { error: half }));
}

#[tokio::test]
async fn a_plugins_own_conversation_is_put_in_order_before_it_is_sent() {
    let plugins = FakePlugins::with_faculty(|cx, by, _| {
        async move {
            let mut request = request("go");
            let unanswered = vec![tool_use("a", "fs.read", json!({}))];
            request.messages.push(Message { role: Role::Assistant, content: unanswered }.into());
            request.messages.extend(["well?", "go on"].map(|text| Message::user(text).into()));
            cx.services.llm_complete(&by, request).await?;
            Ok(fine())
        }
        .boxed()
    });
    let bench = Bench::new(Script::of([says("ok")]), plugins);
    // That every conversation sent is in order is checked of every run.
    assert_eq!(bench.run().await.state, State::Completed);
    assert_eq!(bench.script.last_request().messages.len(), 3);
}

#[tokio::test]
async fn what_the_runtime_refuses_at_egress_is_audited() {
    let plugins = FakePlugins::with_faculty(|cx, by, _| {
        async move {
            let intent = Intent {
                kind: EffectKind::Http,
                caller: "assistant".into(),
                subject: "GET https://example.org/".into(),
                request: Value::Null,
                parent: by.parent,
            };
            let seq = cx.services.effect_begin(&by, intent).await?;
            let denial = Denial {
                who: "assistant".into(),
                capability: "http:GET example.org:443".into(),
                gate: Gate::Grant,
                unlock: Unlock::AskOperator,
                command: None,
            };
            cx.services.effect_end(&by, seq, Outcome::Failed { error: denial.into() }).await?;
            Ok(fine())
        }
        .boxed()
    });
    let bench = Bench::new(Script::of([]), plugins);
    bench.run().await;
    assert_eq!(bench.tenant.audited()[0].2, "http:GET example.org:443");
}

#[tokio::test]
async fn a_tool_runs_one_deeper_than_its_caller() {
    let plugins = FakePlugins::with_faculty(|cx, by, _| {
        async move {
            let output = cx.services.tool_call(&by, "x.outer", "{}".into()).await?;
            Ok(FacultyOutcome { summary: output.text, ..fine() })
        }
        .boxed()
    });
    let by_whom = FakePlugins::new();
    let plugins = plugins
        .tool("x.outer", READS, move |cx, _| {
            let by = by_whom.principal(&cx);
            async move { cx.services.tool_call(&by, "x.inner", "{}".into()).await }.boxed()
        })
        .tool("x.inner", READS, |cx, _| {
            async move { text(format!("depth {} inside {}", cx.depth, cx.parent.unwrap())) }.boxed()
        });
    let bench = Bench::new(Script::of([]), plugins);
    assert_eq!(bench.run().await.summary, "depth 2 inside 3");
    let parents: Vec<_> = bench.tenant.journal().into_iter().map(|record| record.intent.parent).collect();
    assert_eq!(parents, [None, Some(1), Some(2)]);
}

#[tokio::test]
async fn a_faculty_that_does_not_heed_the_cancel_is_stopped() {
    let running = Arc::new(Notify::new());
    let begun = running.clone();
    let plugins = FakePlugins::with_faculty(move |_, _, _| {
        begun.notify_one();
        std::future::pending().boxed()
    });
    let bench = Bench::new(Script::of([]), plugins);
    let cancel = bench.cx.cancel.clone();
    let (report, ()) = tokio::join!(bench.run(), async {
        running.notified().await;
        cancel.cancel();
    });
    assert_eq!((report.state, report.error), (State::Cancelled, Some(Error::Cancelled)));
}

#[tokio::test]
async fn without_a_journal_a_call_goes_through_the_same_checks_and_writes_nothing() {
    let mut bench = Bench::new(Script::of([]), FakePlugins::new().reads("fs.read", "text").reads("web.get", "page"));
    bench.cx.tools = Some(["fs.*".parse().unwrap()].into());
    let plugins = FakePlugins::new();
    let focus = Focus::unjournaled(bench.cx.clone(), WorkId::new(), FocusId::new());
    let cx = focus.call_context(0, None, bench.cx.cancel.clone());
    let by = plugins.principal(&cx);
    assert_eq!(cx.services.tool_call(&by, "fs.read", "{}".into()).await.unwrap().text, "text");
    assert_eq!(cx.services.tool_call(&by, "web.get", "{}".into()).await.unwrap_err().class(), "denied");
    assert!(bench.tenant.order().is_empty());
}
