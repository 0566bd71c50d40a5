//! The denial matrix: every function that the host offers to plugins, without a grant and with the wrong one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test these are how it fails"
)]

use std::collections::BTreeSet;

use animus_core::{Error, Gate, Unlock, grant::Grant};
use animus_tests::{Guest, TestHost, imported_functions};
use serde_json::{Value, json};

include!("../guests/registry.rs");

macro_rules! names {
    ($($tool:ident),* $(,)?) => { &[$(stringify!($tool)),*] };
}

/// Everything that `probe` imports, each with something that none of its tools asks for.
const NARROW: &str = "\
[capabilities]
llm = { roles = [\"fast\"], max_tokens = 10 }
ledger = [\"LEDGER\"]
memory = [\"MEMORY\"]
tool = [\"other.*\"]
interpreter = [\"other\"]
spawn-child = { faculties = [\"other\"], max = 1 }
";

/// What becomes of a call under a grant of the same interface that does not hold what the call needs.
enum Under {
    /// Denied, with this capability.
    Denied(&'static str),
    /// Answered with nothing, because there is nothing that the caller may see.
    Nothing,
    /// Not found, because what is not the caller's own is to it as what is not there.
    Hidden,
    /// Reached only through a function that is denied. These may only become fewer.
    Unreachable(&'static str),
}
use Under::{Denied, Hidden, Nothing, Unreachable};

const ID: &str = "018f0000-0000-7000-8000-000000000000";

/// Interface, function, the tool of `probe` that calls it, its arguments, what the ledger and memory grants hold then,
/// and what comes of it.
#[rustfmt::skip]
fn matrix() -> Vec<(&'static str, &'static str, &'static str, Value, &'static str, &'static str, Under)> {
    vec![
        ("animus:llm/llm@0.1.0", "complete", "llm_complete", json!({ "model": "planner" }), "read", "read", Denied("llm:planner")),
        ("animus:llm/llm@0.1.0", "open-stream", "llm_open_stream", json!({ "model": "fast", "max_tokens": 11 }), "read", "read", Denied("llm:fast")),
        ("animus:llm/llm@0.1.0", "embed", "llm_embed", json!({ "text": "x" }), "read", "read", Denied("llm:embed")),
        ("animus:llm/llm@0.1.0", "list-models", "llm_list_models", json!({}), "read", "read", Nothing),
        ("animus:llm/llm@0.1.0", "[method]completion.next", "", json!({}), "read", "read", Unreachable("open-stream")),
        ("animus:ledger/ledger@0.1.0", "append", "ledger_append", json!({ "text": "x" }), "read", "read", Denied("ledger:append")),
        ("animus:ledger/ledger@0.1.0", "read", "ledger_read", json!({}), "append", "read", Denied("ledger:read")),
        ("animus:ledger/ledger@0.1.0", "formatted", "ledger_formatted", json!({}), "append", "read", Denied("ledger:read")),
        ("animus:memory/memory@0.1.0", "store", "memory_store", json!({ "text": "x" }), "read", "read", Denied("memory:write")),
        ("animus:memory/memory@0.1.0", "recall", "memory_recall", json!({ "text": "x" }), "read", "write", Denied("memory:read")),
        ("animus:memory/memory@0.1.0", "get", "memory_get", json!({ "id": ID }), "read", "write", Denied("memory:read")),
        ("animus:memory/memory@0.1.0", "update", "memory_update", json!({ "id": ID, "text": "x" }), "read", "read", Denied("memory:write")),
        ("animus:memory/memory@0.1.0", "versions", "memory_versions", json!({ "id": ID }), "read", "write", Denied("memory:read")),
        ("animus:memory/memory@0.1.0", "forget", "memory_forget", json!({ "id": ID }), "read", "read", Denied("memory:write")),
        ("animus:memory/memory@0.1.0", "tag", "memory_tag", json!({ "id": ID }), "read", "read", Denied("memory:write")),
        ("animus:tool/tool@0.1.0", "list", "tool_list", json!({}), "read", "read", Nothing),
        ("animus:tool/tool@0.1.0", "describe", "tool_describe", json!({ "name": "probe.flood" }), "read", "read", Denied("tool:probe.flood")),
        ("animus:tool/tool@0.1.0", "call", "tool_call", json!({ "name": "probe.tool_list" }), "read", "read", Denied("tool:probe.tool_list")),
        ("animus:interpreter/code@0.1.0", "run", "code_run", json!({ "interpreter": "python" }), "read", "read", Denied("interpreter:python")),
        ("animus:spawn-child/spawn-child@0.1.0", "spawn", "child_spawn", json!({ "faculty": "research" }), "read", "read", Denied("spawn-child:research")),
        ("animus:spawn-child/spawn-child@0.1.0", "await", "child_await", json!({ "id": ID }), "read", "read", Hidden),
        ("animus:spawn-child/spawn-child@0.1.0", "check", "child_check", json!({ "id": ID }), "read", "read", Hidden),
        ("animus:spawn-child/spawn-child@0.1.0", "cancel", "child_cancel", json!({ "id": ID }), "read", "read", Hidden),
        ("animus:faculty/engage@0.1.0", "run", "engage_run", json!({ "model": "planner" }), "read", "read", Denied("llm:planner")),
    ]
}

#[test]
fn every_function_of_the_contracts_has_its_row() {
    let there: BTreeSet<_> =
        imported_functions().into_iter().map(|import| (import.interface, import.function)).collect();
    let rows: BTreeSet<_> = matrix().iter().map(|row| (row.0.to_owned(), row.1.to_owned())).collect();
    assert_eq!(there, rows, "wit/ and the matrix differ");
    let tools: BTreeSet<_> = matrix().iter().map(|row| row.2).filter(|tool| !tool.is_empty()).collect();
    let served: &[&str] = foreach_probe_tool!(names);
    let unused: Vec<_> =
        served.iter().filter(|tool| !["flood", "swallow_a_denial"].contains(tool) && !tools.contains(*tool)).collect();
    assert!(unused.is_empty(), "tools of probe without a row: {unused:?}");
    let exempt = matrix().iter().filter(|row| matches!(row.6, Unreachable(_))).count();
    assert!(exempt <= 1, "{exempt} functions are exempt; there may only be fewer");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_grant_no_function_links() {
    let host = TestHost::new().await;
    for import in imported_functions() {
        let guest = Guest::text("alone", &import.text, "(i32.const 0)");
        let request = "[capabilities]\nllm = { roles = [\"fast\"] }\nledger = [\"read\", \"append\"]\nmemory = [\"read\", \"write\"]\ntool = [\"*\"]\ninterpreter = [\"*\"]\nspawn-child = { faculties = [\"*\"] }\n";
        host.install_with(&guest, request, Some(Grant::default())).await;
        let what = format!("{}.{}", import.interface, import.function);
        let Err(Error::Denied(denial)) = host.call("alone.go", json!({})).await else {
            panic!("{what} was not denied")
        };
        assert_eq!((denial.gate, denial.unlock), (Gate::Grant, Unlock::AskOperator), "{what}");
        assert!(denial.command.as_ref().is_some_and(|c| c.contains("animus plugin grant alone")), "{what}: {denial:?}");

        // With the grant, the same component runs: it was the grant that was missing.
        host.install(&guest, request).await;
        host.call("alone.go", json!({})).await.unwrap_or_else(|e| panic!("{what}: {e}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_wrong_grant_every_function_is_denied() {
    let host = TestHost::new().await;
    let probe = Guest::built("probe", foreach_probe_tool!(names));
    for (interface, function, tool, args, ledger, memory, under) in matrix() {
        let narrow = NARROW.replace("LEDGER", ledger).replace("MEMORY", memory);
        // It may ask for everything; what it is granted is what counts.
        let request = NARROW.replace("LEDGER", "read\", \"append").replace("MEMORY", "read\", \"write");
        let request = request
            .replace("fast", "*")
            .replace("= 10", "= 10000")
            .replace("other.*", "*")
            .replace("[\"other\"]", "[\"*\"]")
            .replace("max = 1 }", "max = 4 }");
        let grant = Grant::parse_toml(&narrow.replace("[capabilities]\n", "")).unwrap();
        host.install_with(&probe, &request, Some(grant)).await;
        let result = host.call(&format!("probe.{tool}"), args).await;
        let what = format!("{interface}.{function}");
        match under {
            Denied(capability) => match result {
                Err(Error::Denied(denial)) => {
                    assert!(denial.capability.starts_with(capability), "{what}: {denial:?}");
                    assert_eq!(denial.gate, Gate::Grant, "{what}: {denial:?}");
                    assert!(denial.command.is_some(), "{what}: the operator is not told what to type");
                }
                other => panic!("{what}: {other:?}"),
            },
            Hidden => match result {
                Err(Error::NotFound(text)) => assert!(text.contains(ID), "{what}: {text}"),
                other => panic!("{what}: {other:?}"),
            },
            Nothing => assert!(!result.unwrap().text.contains("probe"), "{what}"),
            Unreachable(through) => assert!(matrix().iter().any(|row| row.1 == through && matches!(row.6, Denied(_)))),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn interfaces_that_the_host_links_for_nobody_are_refused_by_policy() {
    let host = TestHost::new().await;
    // `wasi:sockets` in a component of two lines: an import is all that it takes.
    let wasm =
        wat::parse_str(r#"(component (import "wasi:sockets/tcp@0.2.0" (instance (export "x" (func)))))"#).unwrap();
    let guest = Guest { name: "sockets".to_owned(), wasm, tools: vec!["go".to_owned()] };
    host.install(&guest, "").await;
    let Err(Error::Denied(denial)) = host.call("sockets.go", json!({})).await else { panic!("it was not denied") };
    assert_eq!(denial.capability, "interface:wasi:sockets/tcp@0.2.0");
    assert_eq!((denial.gate, denial.unlock, denial.command), (Gate::Policy, Unlock::Nothing, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_that_the_guest_keeps_to_itself_is_in_the_audit_log() {
    let host = TestHost::new().await;
    let narrow = NARROW.replace("LEDGER", "read").replace("MEMORY", "read");
    let request = narrow.replace("ledger = [\"read\"]", "ledger = [\"read\", \"append\"]");
    let grant = Grant::parse_toml(&narrow.replace("[capabilities]\n", "")).unwrap();
    host.install_with(&Guest::built("probe", foreach_probe_tool!(names)), &request, Some(grant)).await;
    assert_eq!(host.call("probe.swallow_a_denial", json!({})).await.unwrap().text, "all is well");
    let audit = host.tenant().audit_read(10).await.unwrap();
    let denied: Vec<_> = audit.iter().filter(|entry| entry.action == "call.denied").collect();
    assert_eq!(denied.len(), 1, "{audit:?}");
    assert_eq!((denied[0].actor.as_str(), denied[0].subject.as_str()), ("plugin:probe", "ledger:append"));
}
