//! Calls of real components through a snapshot.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::sync::Arc;

use animus_core::{
    Error, Gate, Result, Unlock, grant::Grant, manifest::Manifest, plugins::PluginSet as _, tool::Output,
};
use animus_runtime::{Artifacts, Egress, Engine, EngineConfig, Registry};
use support::{Host, guest::*};

#[tokio::test]
async fn a_tool_is_called_in_a_fresh_instance_by_its_full_name() {
    let host = Host::new();
    host.install("guest", &Guest::default().build(), MANIFEST, Grant::default());
    let snapshot = host.snapshot().await;
    let output = snapshot.call_tool(&host.cx(), "guest.go", r#"{"a":1}"#.into()).await.unwrap();
    assert_eq!(output.text, r#"{"a":1}"#);
    let error = snapshot.call_tool(&host.cx(), "guest.goo", "{}".into()).await.unwrap_err();
    assert_eq!(error.to_string(), "no tool 'guest.goo'; did you mean 'guest.go'?");
    let error = snapshot.call_tool(&host.cx(), "guest.go", "[1]".into()).await.unwrap_err();
    assert!(error.to_string().contains("not a JSON object"), "{error}");
}

fn manifest(tables: &str) -> String {
    format!("{MANIFEST}{tables}")
}

/// Imports `tool.call` as `$call`, and calls `name` with its own arguments.
fn calling(name: &str) -> (String, String) {
    let fields = format!(
        r#"(import "animus:tool/tool@0.1.0" "call" (func $call (param i32 i32 i32 i32 i32)))
           (data (i32.const 800) "{name}")"#
    );
    let body = format!(
        "(call $call (i32.const 800) (i32.const {}) (local.get $args) (local.get $args_len) (i32.const 512)) (i32.const 512)",
        name.len()
    );
    (fields, body)
}

const TOOL: &str = "import animus:tool/tool@0.1.0;";

/// A guest that passes its call on to `name` and returns what comes back.
fn relay(name: &str) -> Vec<u8> {
    let (fields, body) = calling(name);
    Guest { wit: TOOL, fields: &fields, body: &body, ..Guest::default() }.build()
}

fn exhausted(result: Result<Output>, limit: &str, figure: u64) {
    match result {
        Err(Error::BudgetExhausted(text)) => {
            assert!(text.contains(&format!("`{limit}`")) && text.contains(&format!("limit of {figure} ")), "{text}");
            assert!(!text.contains("animus plugin"), "a model reads this: {text}");
        }
        other => panic!("{limit} did not bite: {other:?}"),
    }
}

async fn bites(guest: Guest<'_>, limits: &str, limit: &str, figure: u64) {
    let host = Host::new();
    exhausted(host.go(&guest.build(), &manifest(&format!("[limits]\n{limits}\n"))).await, limit, figure);
}

#[tokio::test]
async fn a_memory_bomb_in_one_memory_ends_at_its_limit() {
    let body =
        "(loop $l (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable)) (br $l)) unreachable";
    bites(Guest { body, ..Guest::default() }, "memory_bytes = 4194304", "memory_bytes", 4 << 20).await;
}

#[tokio::test]
async fn a_guest_that_copes_with_refused_memory_goes_on() {
    let body = r#"(if (i32.ne (memory.grow (i32.const 10000)) (i32.const -1)) (then unreachable)) (call $ok (local.get $args) (local.get $args_len))"#;
    let host = Host::new();
    let wasm = Guest { body, ..Guest::default() }.build();
    assert_eq!(host.go(&wasm, &manifest("[limits]\nmemory_bytes = 4194304\n")).await.unwrap().text, "{}");
}

#[tokio::test]
async fn a_component_whose_first_memory_is_over_the_limit_does_not_start() {
    bites(Guest::default(), "memory_bytes = 65536", "memory_bytes", 65_536).await;
}

#[tokio::test]
async fn a_table_bomb_ends_at_its_limit() {
    let guest = Guest {
        fields: "(table $t 1 funcref)",
        body: "(loop $l (if (i32.eq (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1)) (then unreachable)) (br $l)) unreachable",
        ..Guest::default()
    };
    bites(guest, "table_elements = 50000", "table_elements", 50_000).await;
}

#[tokio::test]
async fn a_spinning_guest_ends_at_its_cpu_limit_and_its_neighbour_does_not() {
    let spin = Guest { body: "(loop $l (br $l)) unreachable", ..Guest::default() }.build();
    let (busy, calm) = (Host::new(), Host::new());
    let text = manifest("[limits]\ncpu_ms = 200\n");
    let echo = Guest::default().build();
    let (spun, answered) = tokio::join!(busy.go(&spin, &text), calm.go(&echo, MANIFEST));
    exhausted(spun, "cpu_ms", 200);
    assert_eq!(answered.unwrap().text, "{}");
}

#[tokio::test]
async fn a_spin_in_repeated_host_calls_ends_at_host_calls() {
    let guest = Guest {
        wit: "import animus:llm/llm@0.1.0;",
        fields: r#"(import "animus:llm/llm@0.1.0" "list-models" (func $models (param i32)))"#,
        body: "(loop $l (call $models (i32.const 512)) (br $l)) unreachable",
        ..Guest::default()
    };
    let host = Host::new();
    let text = manifest("[capabilities]\nllm = { roles = [\"coder\"] }\n[limits]\nhost_calls = 100\n");
    exhausted(host.go(&guest.build(), &text).await, "host_calls", 100);
}

#[tokio::test]
async fn a_wait_in_the_host_ends_at_the_deadline() {
    let host = Host::new();
    let text = manifest("[capabilities]\ntool = [\"host.wait\"]\n[limits]\nwall_ms = 100\n");
    let error = host.go(&relay("host.wait"), &text).await.unwrap_err();
    assert!(matches!(&error, Error::Timeout(s) if s.contains("`wall_ms`") && s.contains("100 ms")), "{error:?}");
}

#[tokio::test]
async fn a_cancelled_call_ends_wherever_it_is() {
    let spin = Guest { body: "(loop $l (br $l)) unreachable", ..Guest::default() }.build();
    for (wasm, tables) in [(spin, ""), (relay("host.wait"), "[capabilities]\ntool = [\"host.wait\"]\n")] {
        let host = Host::new();
        let text = manifest(tables);
        host.install("guest", &wasm, &text, Manifest::parse(&text).unwrap().request);
        let (snapshot, cx) = (host.snapshot().await, host.cx());
        cx.cancel.cancel();
        assert_eq!(snapshot.call_tool(&cx, "guest.go", "{}".into()).await.unwrap_err(), Error::Cancelled);
    }
}

#[tokio::test]
async fn a_huge_answer_and_a_huge_argument_are_refused_before_they_are_copied() {
    let body = "(call $ok (i32.const 4096) (i32.const 100000))";
    let limits = "output_bytes = 99999\n";
    bites(Guest { body, ..Guest::default() }, limits, "output_bytes", 99_999).await;
    bites(Guest { body, ..Guest::default() }, "host_call_bytes = 9999\n", "host_call_bytes", 9_999).await;
}

#[tokio::test]
async fn a_deep_recursion_is_an_error_with_its_backtrace_and_not_a_crash() {
    let guest = Guest {
        fields: "(func $down (param i64) (result i64) (i64.add (i64.const 1) (call $down (local.get 0))))",
        body: "(drop (call $down (i64.const 0))) unreachable",
        ..Guest::default()
    };
    let host = Host::new();
    let error = host.go(&guest.build(), MANIFEST).await.unwrap_err();
    assert!(matches!(&error, Error::Internal(s) if s.contains("recursed too deeply") && s.contains("down")), "{error}");
    assert!(error.to_string().len() <= 4096, "{}", error.to_string().len());
}

#[tokio::test]
async fn a_panic_of_the_host_ends_the_call_and_nothing_else() {
    let host = Host::new();
    let text = manifest("[capabilities]\ntool = [\"host.panic\"]\n");
    let error = host.go(&relay("host.panic"), &text).await.unwrap_err();
    assert!(matches!(&error, Error::Internal(s) if s.contains("the host failed")), "{error}");
    assert_eq!(host.go(&Guest::default().build(), MANIFEST).await.unwrap().text, "{}");
}

#[tokio::test]
async fn tools_that_call_themselves_end_at_call_depth() {
    let host = Host::new();
    let text = manifest("[capabilities]\ntool = [\"guest.*\"]\n[limits]\ncall_depth = 3\n");
    exhausted(host.go(&relay("guest.go"), &text).await, "call_depth", 3);
}

#[tokio::test]
async fn what_is_not_granted_is_not_linked_and_the_operator_reads_why() {
    let host = Host::new();
    let text = manifest("[capabilities]\ntool = [\"other.*\"]\n");
    host.install("guest", &relay("other.go"), &text, Grant::default());
    let error = host.snapshot().await.call_tool(&host.cx(), "guest.go", "{}".into()).await.unwrap_err();
    let Error::Denied(denial) = &error else { panic!("{error:?}") };
    assert_eq!((denial.gate, denial.capability.as_str()), (Gate::Grant, "tool:other.*"));
    assert!(denial.command.as_deref().unwrap().starts_with("animus plugin grant guest"), "{denial}");
    assert!(!error.for_model().contains("animus plugin"));
}

#[tokio::test]
async fn what_is_linked_is_checked_again_at_each_use_and_the_denial_comes_back_whole() {
    let host = Host::new();
    let text = manifest("[capabilities]\ntool = [\"other.*\"]\n");
    let granted = Manifest::parse(&manifest("[capabilities]\ntool = [\"other.harmless\"]\n")).unwrap().request;
    host.install("guest", &relay("other.go"), &text, granted);
    let error = host.snapshot().await.call_tool(&host.cx(), "guest.go", "{}".into()).await.unwrap_err();
    let Error::Denied(denial) = &error else { panic!("{error:?}") };
    assert_eq!((denial.gate, denial.capability.as_str()), (Gate::Grant, "tool:other.go"));
    assert!(denial.command.is_some(), "the operator's part was lost: {denial}");
    assert!(host.services.calls.lock().unwrap().is_empty(), "the refused call reached the services");
}

#[tokio::test]
async fn an_interface_of_nobody_is_denied_by_policy() {
    let guest = Guest {
        wit: "import wasi:sockets/instance-network@0.2.0;",
        fields: r#"(import "wasi:sockets/instance-network@0.2.0" "instance-network" (func $n (result i32)))"#,
        body: "(drop (call $n)) unreachable",
        ..Guest::default()
    };
    let host = Host::new();
    let Err(Error::Denied(denial)) = host.go(&guest.build(), MANIFEST).await else { panic!("sockets were linked") };
    assert_eq!((denial.gate, denial.unlock), (Gate::Policy, Unlock::Nothing));
    assert!(denial.capability.contains("wasi:sockets"), "{denial}");
}

#[tokio::test]
async fn a_plugin_sees_its_own_configuration_and_no_environment() {
    let host = Host::new();
    let get = Guest {
        wit: "import wasi:config/store@0.2.0-rc.1;",
        fields: r#"(import "wasi:config/store@0.2.0-rc.1" "get" (func $get (param i32 i32 i32))) (data (i32.const 800) "key")"#,
        // result<option<string>>: tag, then option's tag, pointer and length.
        body: "(call $get (i32.const 800) (i32.const 3) (i32.const 640)) (call $ok (i32.load (i32.const 648)) (i32.load (i32.const 652)))",
        ..Guest::default()
    };
    let text = manifest("[extism]\nconfig = { key = \"value\" }\n");
    assert_eq!(host.go(&get.build(), &text).await.unwrap().text, "value");
    let environment = Guest {
        wit: "import wasi:cli/environment@0.2.0;",
        fields: r#"(import "wasi:cli/environment@0.2.0" "get-environment" (func $env (param i32)))"#,
        body: "(call $env (i32.const 640)) (if (i32.load (i32.const 644)) (then unreachable)) (call $ok (local.get $args) (local.get $args_len))",
        ..Guest::default()
    };
    assert_eq!(host.go(&environment.build(), MANIFEST).await.unwrap().text, "{}");
}

#[tokio::test]
async fn more_calls_than_instances_are_told_to_come_again() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::new(&EngineConfig { instances: 1 }).unwrap();
    if !engine.is_pooled() {
        return; // Without a pool there is nothing to run out of.
    }
    let artifacts = Arc::new(Artifacts::open(engine, dir.path()).unwrap());
    let host = Host { registry: Registry::new(artifacts, Egress::new()), ..Host::new() };
    let text = manifest("[capabilities]\ntool = [\"guest.*\"]\n");
    // The call inside the call needs a second instance.
    let error = host.go(&relay("guest.go"), &text).await.unwrap_err();
    assert!(matches!(&error, Error::Unavailable(s) if s.contains("all instances are taken")), "{error:?}");
}
