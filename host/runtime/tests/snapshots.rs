//! Snapshots: what they share, what they keep, what they leave out.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::sync::{Arc, atomic::Ordering};

use animus_core::{Error, grant::Grant, manifest::Manifest, plugins::PluginSet as _, store::Tenant};
use animus_runtime::{Artifacts, Egress, Registry};
use support::{Host, engine, guest::*};

fn says(text: &str) -> Vec<u8> {
    let fields = format!("(data (i32.const 800) \"{text}\")");
    let body = format!("(call $ok (i32.const 800) (i32.const {}))", text.len());
    Guest { fields: &fields, body: &body, ..Guest::default() }.build()
}

#[tokio::test]
async fn a_snapshot_keeps_its_generation_when_another_is_installed() {
    let host = Host::new();
    host.install("guest", &says("first"), MANIFEST, Grant::default());
    let first = host.snapshot().await;
    host.install("guest", &says("second"), MANIFEST, Grant::default());
    let second = host.snapshot().await;
    for (snapshot, generation, answer) in [(&first, 1, "first"), (&second, 2, "second")] {
        assert_eq!(snapshot.plugin("guest").unwrap().generation, generation);
        assert_eq!(snapshot.call_tool(&host.cx(), "guest.go", "{}".into()).await.unwrap().text, answer);
    }
}

#[tokio::test]
async fn nothing_is_built_again_while_nothing_changed() {
    let host = Host::new();
    host.install("guest", &says("a"), MANIFEST, Grant::default());
    let first = host.snapshot().await;
    assert!(Arc::ptr_eq(&first, &host.snapshot().await));
    // Another plugin leaves this one as it was; another ceiling leaves none.
    host.install("other", &says("b"), &MANIFEST.replace("guest", "other"), Grant::default());
    let second = host.snapshot().await;
    assert!(Arc::ptr_eq(first.plugin("guest").unwrap(), second.plugin("guest").unwrap()));
    let tenant: Arc<dyn Tenant> = host.tenant.clone();
    let third = host.registry.refresh(&tenant, &Grant::default()).await.unwrap();
    assert!(!Arc::ptr_eq(second.plugin("guest").unwrap(), third.plugin("guest").unwrap()));
    assert!(Arc::ptr_eq(&third, &host.registry.snapshot(tenant.id()).unwrap()));
}

#[tokio::test]
async fn a_component_is_read_at_its_first_call_and_never_when_its_artifact_is_cached() {
    let host = Host::new();
    host.install("guest", &says("a"), MANIFEST, Grant::default());
    host.install("twin", &says("a"), &MANIFEST.replace("guest", "twin"), Grant::default());
    let reads = || host.tenant.artifacts_read.load(Ordering::SeqCst);
    let snapshot = host.snapshot().await;
    assert_eq!(reads(), 0);
    for tool in ["guest.go", "twin.go", "guest.go"] {
        snapshot.call_tool(&host.cx(), tool, "{}".into()).await.unwrap();
    }
    assert_eq!(reads(), 1, "one component, one read");
    let again = Artifacts::open(engine(), host.dir.path().join("artifacts")).unwrap();
    let registry = Registry::new(Arc::new(again), Egress::new());
    let tenant: Arc<dyn Tenant> = host.tenant.clone();
    let snapshot = registry.refresh(&tenant, &Grant::everything()).await.unwrap();
    snapshot.call_tool(&host.cx(), "guest.go", "{}".into()).await.unwrap();
    assert_eq!(reads(), 1);
}

#[tokio::test]
async fn a_failed_first_call_is_tried_again() {
    let host = Host::new();
    host.install("guest", &says("a"), MANIFEST, Grant::default());
    let snapshot = host.snapshot().await;
    let kept = std::mem::take(&mut *host.tenant.wasm.lock().unwrap());
    let error = snapshot.call_tool(&host.cx(), "guest.go", "{}".into()).await.unwrap_err();
    assert!(matches!(error, Error::NotFound(_)), "{error:?}");
    *host.tenant.wasm.lock().unwrap() = kept;
    snapshot.call_tool(&host.cx(), "guest.go", "{}".into()).await.unwrap();
}

#[tokio::test]
async fn what_awaits_a_grant_does_not_serve_and_a_broken_record_takes_nobody_down() {
    let host = Host::new();
    host.tenant.install("waiting", &says("a"), &MANIFEST.replace("guest", "waiting"), None);
    host.tenant.install("broken", &says("a"), "no manifest", Some(Grant::default()));
    host.install("guest", &says("a"), MANIFEST, Grant::default());
    let snapshot = host.snapshot().await;
    let names: Vec<_> = snapshot.plugins().iter().map(|plugin| plugin.name.as_str()).collect();
    assert_eq!(names, ["guest"]);
    assert_eq!(snapshot.tools().len(), 1);
}

#[tokio::test]
async fn one_component_under_two_grants_gets_what_each_allows() {
    let text = format!("{MANIFEST}[capabilities]\nllm = {{ roles = [\"*\"] }}\n");
    let wasm = Guest {
        wit: "import animus:llm/llm@0.1.0;",
        fields: r#"(import "animus:llm/llm@0.1.0" "list-models" (func $models (param i32)))"#,
        // The number of models as the answer's length.
        body: "(call $models (i32.const 640)) (call $ok (i32.const 0) (i32.load (i32.const 644)))",
        ..Guest::default()
    }
    .build();
    let host = Host::new();
    let grant = |roles: &str| {
        Manifest::parse(&format!("{MANIFEST}[capabilities]\nllm = {{ roles = {roles} }}\n")).unwrap().request
    };
    host.install("one", &wasm, &text.replace("guest", "one"), grant("[\"coder\"]"));
    host.install("all", &wasm, &text.replace("guest", "all"), grant("[\"*\"]"));
    host.install("none", &wasm, &text.replace("guest", "none"), Grant::default());
    let snapshot = host.snapshot().await;
    let call = async |tool: &str| snapshot.call_tool(&host.cx(), tool, "{}".into()).await;
    assert_eq!(call("all.go").await.unwrap().text.len(), 3);
    assert_eq!(call("one.go").await.unwrap().text.len(), 1);
    assert!(matches!(call("none.go").await, Err(Error::Denied(_))));
}
