//! Hooks as real components, on the real host: each does what it is set to, and none allows anything.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;

use animus_agent::{Hooks, RunContext};
use animus_core::{
    Error, Gate,
    grant::Grant,
    hook::{OnFailure, Point, Settings},
    id::PluginName,
    manifest::Manifest,
    memory::Query,
    store::NewGeneration,
};
use animus_tests::{Agent, Guest, TestHost, manifest};
use serde_json::json;

const WORKER: &str = "llm = { roles = ['*'] }\ntool = ['*']\nledger = ['append', 'read']";
/// The guest imports tools and memories, so it asks for some of each.
const ALL: &str = "hook = ['llm', 'tool', 'turn']\ntool = ['none.*']\nmemory = ['read']";

/// Installs the guest `hooker` as `name`: what it does at each point is in `does`, and what it asks for is all granted.
async fn install(host: &TestHost, name: &str, asks: &str, does: &[(&str, &str)]) {
    let guest = Guest { name: name.to_owned(), ..Guest::built("hooker", &["echo"]) };
    let config: String = does.iter().map(|(point, what)| format!("{point} = '{what}'\n")).collect();
    let text = manifest(name, &format!("[capabilities]\n{asks}\n[extism.config]\n{config}"));
    let grant = Manifest::parse(&text).unwrap().request;
    host.install_kind(&guest, &text, Some(grant), |new| NewGeneration { is_hook: true, ..new }).await;
}

/// An agent beside these hooks, each with its settings.
async fn agent(host: &TestHost, settings: &[(&str, Settings)]) -> Agent {
    let all = ["a", "b", "c", "spinner", "hooker"].into_iter().map(|name| (name, patient()));
    let settings: BTreeMap<_, _> =
        all.chain(settings.iter().cloned()).map(|(n, s)| (PluginName::new(n).unwrap(), s)).collect();
    Agent::begin(host, "worker", WORKER, |cx| RunContext { hooks: Hooks::new(settings, None), ..cx }).await
}

/// A machine at its limit is slow; nothing here is about time unless it says so.
fn patient() -> Settings {
    Settings { timeout_ms: 120_000, ..Settings::default() }
}

async fn tool_host() -> TestHost {
    let host = TestHost::new().await;
    let echo = Guest { name: "tools".to_owned(), ..Guest::built("hooker", &["echo"]) };
    host.install(&echo, "[capabilities]\ntool = ['none.*']\nmemory = ['read']\n").await;
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_blocks_keeps_a_tool_from_running() {
    let host = tool_host().await;
    install(&host, "a", ALL, &[("before_tool", "block not here")]).await;
    let agent = agent(&host, &[]).await;
    let result = agent.call("tools.echo", json!({ "x": 1 })).await;
    assert!(result.is_error);
    assert_eq!(result.text, "not run: the hook 'a' stopped it, which says: not here");
    let journal = agent.journal().await;
    assert!(!journal.iter().any(|record| record.intent.subject == "tools.echo"), "{journal:?}");
    let audit = host.tenant().audit_read(10).await.unwrap();
    assert!(audit.iter().any(|entry| entry.action == "call.denied" && entry.detail["gate"] == "hook"));
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_that_modify_see_each_others_changes() {
    let host = tool_host().await;
    install(&host, "a", ALL, &[("before_tool", r#"modify {"from":"a"}"#), ("after_tool", "modify <$shown>")]).await;
    install(&host, "b", ALL, &[("after_tool", "modify [$shown]")]).await;
    let agent = agent(&host, &[]).await;
    let result = agent.call("tools.echo", json!({ "x": 1 })).await;
    assert_eq!((result.text.as_str(), result.is_error), (r#"[<{"from":"a"}>]"#, false));
    let journal = agent.journal().await;
    let ran = journal.iter().find(|record| record.intent.subject == "tools.echo").unwrap();
    assert_eq!(ran.intent.request, json!({ "from": "a" }), "the journal has what was really sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_object_is_no_change_of_arguments() {
    let host = tool_host().await;
    for patch in ["modify [1]", "modify no json", "modify"] {
        install(&host, "a", ALL, &[("before_tool", patch)]).await;
        let result = agent(&host, &[]).await.call("tools.echo", json!({ "x": 1 })).await;
        assert_eq!(result.text, "not run: the hook 'a' failed (invalid), and nothing passes without it", "{patch}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_that_hang_trap_or_fail_do_as_they_are_set_to() {
    for (what, class) in
        [("spin", "timeout"), ("trap", "internal"), ("fail busy", "unavailable"), ("cancel", "cancelled")]
    {
        let host = tool_host().await;
        install(&host, "a", ALL, &[("before_tool", what)]).await;
        let timeout_ms = if what == "spin" { 50 } else { 120_000 };
        let closed = Settings { timeout_ms, events: [Point::BeforeToolCall].into(), ..Settings::default() };
        let blocked = agent(&host, &[("a", closed.clone())]).await.call("tools.echo", json!({ "x": 1 })).await;
        let says = format!("not run: the hook 'a' failed ({class}), and nothing passes without it");
        assert_eq!((blocked.text, blocked.is_error), (says, true), "{what}");
        let open = Settings { on_failure: OnFailure::Open, ..closed };
        let passed = agent(&host, &[("a", open)]).await.call("tools.echo", json!({ "x": 1 })).await;
        assert_eq!((passed.text.as_str(), passed.is_error), (r#"{"x":1}"#, false), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_hook_lifts_a_block_or_a_denial() {
    let host = tool_host().await;
    install(&host, "a", ALL, &[("before_tool", "block never"), ("after_tool", "modify all is well")]).await;
    install(&host, "b", ALL, &[("before_tool", r#"modify {"allow":true}"#), ("after_tool", "modify all is well")])
        .await;
    for (first, last) in [("a", "b"), ("b", "a")] {
        let at = |priority| Settings { priority, ..patient() };
        let agent = agent(&host, &[(first, at(1)), (last, at(2))]).await;
        let result = agent.call("tools.echo", json!({})).await;
        assert!(result.is_error && result.text.contains("'a' stopped it"), "{}", result.text);
    }
    let host = tool_host().await;
    install(&host, "b", ALL, &[("before_tool", r#"modify {"allow":true}"#), ("after_tool", "modify all is well")])
        .await;
    let settings = BTreeMap::from([(PluginName::new("b").unwrap(), patient())]);
    let grant = "llm = { roles = ['*'] }\ntool = ['b.*']";
    let narrow =
        Agent::begin(&host, "worker", grant, |cx| RunContext { hooks: Hooks::new(settings, None), ..cx }).await;
    let denied = narrow.call("tools.echo", json!({})).await;
    assert!(denied.is_error && denied.text.starts_with("denied: tool:tools.echo"), "{}", denied.text);
    let failed = narrow.call("b.echo", json!({ "fail": 1 })).await;
    assert_eq!(failed.text, "all is well", "the hook took the argument away that makes it fail");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_call_is_changed_or_stopped() {
    let host = tool_host().await;
    install(&host, "a", ALL, &[("before_llm", "modify 0:[redacted]"), ("after_llm", "modify said by a hook")]).await;
    let agent_a = agent(&host, &[]).await;
    agent_a.call("tools.echo", json!({ "x": 1 })).await;
    assert!(agent_a.seen().contains("[redacted]") && !agent_a.seen().contains("do it"), "{}", agent_a.seen());
    assert_eq!(agent_a.system_prompts().last().unwrap(), "from a hook");
    assert!(agent_a.seen().contains("said by a hook"), "the answer with its tool call too");

    let host = tool_host().await;
    install(&host, "a", ALL, &[("before_llm", "modify 99:far")]).await;
    let Err(Error::Denied(denial)) = agent(&host, &[]).await.ask("hello").await else { panic!("it was sent") };
    assert_eq!(denial.gate, Gate::Hook);
    assert!(denial.reason.unwrap().contains("failed (invalid)"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_runs_under_its_own_grant_and_is_not_watched_itself() {
    let host = tool_host().await;
    let asks = "hook = ['llm', 'tool', 'turn']\ntool = ['tools.*']\nmemory = ['write']";
    install(&host, "a", asks, &[("before_tool", "call tools.echo"), ("after_llm", "remember")]).await;
    let agent_a = agent(&host, &[]).await;
    let result = agent_a.call("tools.echo", json!({ "x": 1 })).await;
    assert!(result.text.ends_with("which says: called, and got: {}"), "{}", result.text);
    let remembered = host.tenant().memory_recall(Query::default()).await.unwrap().hits;
    assert!(remembered.iter().all(|hit| hit.memory.source == "a") && !remembered.is_empty());

    let host = tool_host().await;
    install(&host, "a", ALL, &[("before_tool", "call tools.echo")]).await;
    let result = agent(&host, &[]).await.call("tools.echo", json!({ "x": 1 })).await;
    assert!(result.text.contains("failed (denied)"), "{}", result.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_watches_only_what_it_is_granted() {
    let host = tool_host().await;
    let guest = Guest { name: "a".to_owned(), ..Guest::built("hooker", &["echo"]) };
    let config = "before_tool = 'block tools'\nbefore_llm = 'block models'\nafter_turn = 'block turns'\n";
    let text = manifest("a", &format!("[capabilities]\n{ALL}\n[extism.config]\n{config}"));
    for (granted, says) in [("hook = ['tool']", "tools"), ("hook = ['turn']", ""), ("hook = ['llm']", "models")] {
        let grant = Grant::parse_toml(&format!("{granted}\ntool = ['none.*']\nmemory = ['read']")).unwrap();
        host.install_kind(&guest, &text, Some(grant), |new| NewGeneration { is_hook: true, ..new }).await;
        let agent = agent(&host, &[]).await;
        match says {
            "models" => assert!(agent.ask("hello").await.is_err()),
            "" => assert!(agent.ask("hello").await.is_ok()),
            says => assert!(agent.call("tools.echo", json!({})).await.text.ends_with(says)),
        }
    }
    // The runtime asks again: a chain that showed more than is granted would be refused.
    let snapshot = host.snapshot().await;
    let cx = agent(&host, &[]).await.call_context();
    let event = animus_core::hook::HookEvent::AfterTurn(animus_core::hook::TurnEnd {
        work_id: "w".into(),
        caller: "worker".into(),
        turn: 1,
        text: String::new(),
        tool_calls: 0,
    });
    let refused = animus_core::plugins::PluginSet::hook(&*snapshot, &cx, "a", &event).await;
    assert!(matches!(&refused, Err(Error::Denied(denial)) if denial.capability == "hook:turn"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_counts_are_those_of_the_focus() {
    let host = tool_host().await;
    install(&host, "a", ALL, &[("after_tool", "modify $shown"), ("before_tool", "")]).await;
    install(&host, "b", ALL, &[("before_tool", "tell")]).await;
    let off = Settings { events: [Point::AfterToolCall].into(), ..patient() };
    let seen = agent(&host, &[("b", off)]).await;
    seen.call("tools.echo", json!({})).await;
    let told = agent(&host, &[]).await.call("tools.echo", json!({ "x": 1 })).await;
    assert!(told.text.ends_with(r#"tools.echo {"x":1} 0 0"#), "each focus counts by itself: {}", told.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_says_what_a_hook_lacks() {
    let host = TestHost::new().await;
    let guest = Guest::built("hooker", &["echo"]);
    let embed = |request: &str| animus_core::package::embed(&guest.wasm, &manifest("hooker", request)).unwrap();
    let asks = "[capabilities]\ntool = ['*']\nmemory = ['write']\n";
    let refused = host.prepare(embed(asks)).await.unwrap_err().to_string();
    assert!(refused.contains("does not request hook: set `hook` in [capabilities]"), "{refused}");
    let prepared = host.prepare(embed(&format!("{asks}hook = ['tool']\n"))).await.unwrap();
    assert!(prepared.inspection.is_hook && prepared.inspection.offers_tools);
    assert_eq!(prepared.tools.len(), 1);
}
