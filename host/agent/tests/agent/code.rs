//! Code in the engage loop: who may have it run, as whom it runs, and what is kept of it. The interpreter is a closure.

use std::sync::{Arc, Mutex};

use animus_core::{
    Denial, Error, Gate, Result, Unlock,
    authority::Authority,
    code::{Failure, Program, Ran},
    grant::{Grant, HookAccess, LlmGrant},
    hook::{HookEvent, Patch, Verdict},
    id::Digest,
    journal::EffectKind,
    llm::Content,
    services::{CallContext, Principal},
};
use futures::{FutureExt as _, future::BoxFuture};
use serde_json::json;

use crate::support::{Bench, FakePlugins, READS, Script, call, calls, says, text, tool_use};

/// A faculty that may call tools, and has an interpreter when `granted`.
fn grant(granted: bool) -> Grant {
    Grant {
        tool: ["*".parse().unwrap()].into(),
        llm: Some(LlmGrant { roles: ["*".parse().unwrap()].into(), max_tokens: 8_192 }),
        interpreter: if granted { ["python".parse().unwrap()].into() } else { Default::default() },
        ..Grant::default()
    }
}

fn plugins(granted: bool) -> FakePlugins {
    let mut plugins = FakePlugins::new();
    plugins.grant(grant(granted));
    plugins
}

/// As the runtime makes it of a call's context.
fn principal(cx: &CallContext, by: Authority) -> Principal {
    Principal {
        tenant: cx.tenant.clone(),
        focus: cx.focus,
        authority: Arc::new(by),
        generation: 1,
        digest: Digest::of(b"python"),
        depth: cx.depth,
        parent: cx.parent,
    }
}

fn value(text: &str) -> Ran {
    Ran { text: text.into(), ..Ran::default() }
}

fn offered(bench: &Bench) -> bool {
    bench.script.requests.lock().unwrap()[0].tools.iter().any(|tool| tool.name == "execute_code")
}

#[tokio::test]
async fn code_runs_as_the_faculty_and_what_it_calls_is_journaled_inside_the_run() {
    let code = |cx: CallContext, by: Authority, program: Program| {
        async move {
            assert_eq!((by.plugin().as_str(), program.source.as_str()), ("assistant", "return 1"));
            assert_eq!(by.limits().wall_ms, 7_000, "the model asked for seven seconds");
            let output = cx.services.tool_call(&principal(&cx, by), "fs.read", "{}".into()).await?;
            Ok(value(&format!("read {}", output.text)))
        }
        .boxed()
    };
    let plugins = plugins(true).interpreter(code).reads("fs.read", "text");
    let script = Script::of([call("execute_code", json!({ "code": "return 1", "timeout_seconds": 7 })), says("fine")]);
    let bench = Bench::new(script, plugins);
    assert!(bench.run().await.success());
    assert!(offered(&bench));
    assert_eq!(bench.last_results()[0].text, "read text");
    let journal = bench.tenant.journal();
    let run = journal.iter().find(|record| record.intent.subject == "execute_code").unwrap();
    assert_eq!((run.intent.kind, run.intent.caller.as_str()), (EffectKind::Code, "assistant"));
    let inside = journal.iter().find(|record| record.intent.subject == "fs.read").unwrap();
    assert_eq!((inside.intent.parent, inside.intent.caller.as_str()), (Some(run.seq), "assistant"));
}

#[tokio::test]
async fn a_faculty_without_an_interpreter_is_not_offered_code_and_cannot_have_it_run() {
    let never = |_, _, _| async { panic!("must not run") }.boxed();
    let script = Script::of([call("execute_code", json!({ "code": "return 1" })), says("fine")]);
    let bench = Bench::new(script, plugins(false).interpreter(never));
    assert!(bench.run().await.success());
    assert!(!offered(&bench));
    assert!(bench.last_results()[0].is_error);

    // One interpreter is not another.
    let code = json!({ "code": "return 1", "interpreter": "other" });
    let bench = Bench::new(Script::of([call("execute_code", code), says("fine")]), plugins(true).interpreter(never));
    bench.run().await;
    let result = bench.last_results().remove(0);
    assert!(result.is_error && result.text.contains("denied") && !result.text.contains("animus plugin"), "{result:?}");
}

#[tokio::test]
async fn a_failure_of_the_code_is_the_models_to_read_and_the_run_goes_on() {
    let code = |_, _, _| {
        let failure = Failure {
            kind: "ValueError".into(),
            message: "no".into(),
            traceback: "line 1\nValueError: no".into(),
            cause: None,
        };
        async { Ok(Ran { failure: Some(failure), ..Ran::default() }) }.boxed()
    };
    let script = Script::of([call("execute_code", json!({ "code": "raise" })), says("I see")]);
    let bench = Bench::new(script, plugins(true).interpreter(code));
    assert!(bench.run().await.success());
    let result = bench.last_results().remove(0);
    assert_eq!((result.is_error, result.text.as_str()), (true, "line 1\nValueError: no"));
}

#[tokio::test]
async fn a_session_gets_what_its_last_run_left_and_other_sessions_do_not() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = seen.clone();
    let code = move |_, _, program: Program| {
        noted.lock().unwrap().push(program.state.clone());
        async move { Ok(Ran { state: program.state.map(|_| program.source.into_bytes()), ..Ran::default() }) }.boxed()
    };
    let run = |code: &str, session: Option<&str>| call("execute_code", json!({ "code": code, "session": session }));
    let script = Script::of([run("a", Some("s")), run("b", Some("s")), run("c", Some("t")), run("d", None), says("")]);
    Bench::new(script, plugins(true).interpreter(code)).run().await;
    let state = |text: &str| Some(text.as_bytes().to_vec());
    assert_eq!(*seen.lock().unwrap(), [state(""), state("a"), state(""), None]);
}

/// What the runs of a session were given, and what they are; a run leaves what it was given and itself, after a while.
type Seen = Arc<Mutex<Vec<(String, String)>>>;

fn leaving(seen: &Seen) -> impl Fn(CallContext, Authority, Program) -> BoxFuture<'static, Result<Ran>> + use<> {
    let seen = seen.clone();
    move |_, _, program: Program| {
        let seen = seen.clone();
        async move {
            let mut state = program.state.unwrap();
            seen.lock().unwrap().push((String::from_utf8(state.clone()).unwrap(), program.source.clone()));
            a_while().await;
            state.extend(program.source.bytes());
            Ok(Ran { state: Some(state), ..Ran::default() })
        }
        .boxed()
    }
}

/// Time for everything else to go on as far as it can.
async fn a_while() {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
}

fn in_session(id: &str, code: &str, session: &str) -> Content {
    tool_use(id, "execute_code", json!({ "code": code, "session": session }))
}

#[tokio::test]
async fn runs_of_one_session_go_one_after_the_other_as_the_model_asked_and_others_at_once() {
    let seen = Seen::default();
    let plugins = plugins(true).interpreter(leaving(&seen));
    // Hooks that take their time over the first one change nothing.
    let plugins = plugins.hook("slow", [HookAccess::Tool], |_, _, event| {
        async move {
            if matches!(&event, HookEvent::BeforeTool(call) if call.args["code"] == "a") {
                a_while().await;
            }
            Ok(Verdict::Continue)
        }
        .boxed()
    });
    let turn = [("a", "s"), ("b", "s"), ("x", "t"), ("c", "s")];
    let turn = turn.into_iter().enumerate().map(|(n, (code, session))| in_session(&n.to_string(), code, session));
    let script = Script::of([calls(turn.collect()), calls(vec![in_session("9", "d", "s")]), says("fine")]);
    assert!(Bench::new(script, plugins).run().await.success());
    let seen = seen.lock().unwrap();
    let of_s: Vec<_> = seen.iter().filter(|(_, code)| code != "x").map(|(state, _)| state.as_str()).collect();
    assert_eq!(of_s, ["", "a", "ab", "abc"]);
    let at = |code: &str| seen.iter().position(|(_, of)| of == code).unwrap();
    assert!(at("x") < at("b"), "another session waits for nobody: {seen:?}");
}

#[tokio::test]
async fn a_run_that_a_hook_moves_to_another_session_undoes_nothing_there() {
    let seen = Seen::default();
    let plugins = plugins(true).interpreter(leaving(&seen));
    let plugins = plugins.hook("mover", [HookAccess::Tool], |_, _, event| {
        let verdict = match event {
            HookEvent::BeforeTool(mut call) if call.args["session"] == "t" => {
                call.args.insert("session".into(), json!("s"));
                Verdict::Modify(Patch::Args(call.args))
            }
            _ => Verdict::Continue,
        };
        async { Ok(verdict) }.boxed()
    });
    let turn = vec![in_session("1", "a", "s"), in_session("2", "b", "t")];
    let script = Script::of([calls(turn), calls(vec![in_session("3", "c", "s")]), says("fine")]);
    assert!(Bench::new(script, plugins).run().await.success());
    let last = seen.lock().unwrap().last().cloned().unwrap();
    assert!(["ab", "ba"].contains(&last.0.as_str()) && last.1 == "c", "{last:?}");
}

#[tokio::test]
async fn a_tool_whose_plugin_awaits_its_grant_is_a_denial_with_the_operators_command() {
    let mut plugins = plugins(true).tool("x.y", READS, |_, _| async { text("") }.boxed());
    plugins.awaiting.push(Denial {
        who: "fs".into(),
        capability: "tool:fs.read".into(),
        gate: Gate::Grant,
        unlock: Unlock::AskOperator,
        reason: None,
        command: Some("animus plugin grant fs --requested".into()),
    });
    let kept = Arc::new(Mutex::new(None));
    let seen = kept.clone();
    let plugins = plugins.interpreter(move |cx, by, _| {
        let seen = seen.clone();
        async move {
            let error = cx.services.tool_call(&principal(&cx, by), "fs.read", "{}".into()).await.unwrap_err();
            *seen.lock().unwrap() = Some(error);
            Ok(Ran::default())
        }
        .boxed()
    });
    let bench = Bench::new(Script::of([call("execute_code", json!({ "code": "x" })), says("")]), plugins);
    bench.run().await;
    let Some(Error::Denied(denial)) = kept.lock().unwrap().take() else { panic!("it was not denied") };
    assert_eq!((denial.gate, denial.command.as_deref()), (Gate::Grant, Some("animus plugin grant fs --requested")));
}

#[tokio::test]
async fn arguments_that_do_not_fit_run_nothing() {
    let never = |_, _, _| async { panic!("must not run") }.boxed();
    let script = Script::of([
        call("execute_code", json!({ "code": "x", "session": "" })),
        call("execute_code", json!({ "code": "x", "what": 1 })),
        says("fine"),
    ]);
    let bench = Bench::new(script, plugins(true).interpreter(never));
    assert!(bench.run().await.success());
    for request in bench.script.requests.lock().unwrap().iter().skip(1) {
        assert!(crate::support::results(&request.messages)[0].is_error);
    }
}
