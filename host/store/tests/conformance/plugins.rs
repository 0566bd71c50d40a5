use std::{collections::BTreeSet, sync::Arc};

use animus_core::{
    grant::{Grant, MemoryAccess},
    id::{Digest, PluginName},
    store::{MAX_FAULT, MAX_FAULTS, NewGeneration, Plugin, PluginState, Store, Tenant},
    tool::{Annotations, Tool},
};
use serde_json::json;

use super::{class, tenant, two_tenants};

fn name() -> PluginName {
    PluginName::new("notes").unwrap()
}

/// A generation whose bytes and version are those of `n`, that requests memories.
fn generation(n: u32) -> NewGeneration {
    let version = format!("0.{n}.0");
    let tool = Tool {
        name: "notes.remember".into(),
        description: "stores a note".into(),
        input_schema: json!({ "type": "object" }),
        output_schema: None,
        annotations: Annotations::default(),
    };
    NewGeneration {
        name: name(),
        wasm: wasm(n),
        manifest: format!(
            "[plugin]\nname = \"notes\"\nversion = \"{version}\"\nwit = \"0.1\"\n\n[capabilities]\nmemory = [\"read\"]\n"
        ),
        version,
        source: format!("./notes-{n}"),
        tools: vec![tool],
        is_faculty: false,
        is_interpreter: false,
        is_hook: false,
        grant: None,
    }
}

fn quiet(n: u32) -> NewGeneration {
    let manifest = format!("[plugin]\nname = \"notes\"\nversion = \"0.{n}.0\"\nwit = \"0.1\"\n");
    NewGeneration { manifest, is_faculty: true, ..generation(n) }
}

fn wasm(n: u32) -> Arc<[u8]> {
    format!("component {n}").into_bytes().into()
}

fn granted() -> Grant {
    Grant { memory: BTreeSet::from([MemoryAccess::Read]), ..Grant::default() }
}

async fn install(tenant: &Arc<dyn Tenant>, new: NewGeneration) {
    tenant.plugin_install("operator", new).await.unwrap();
}

async fn numbers(tenant: &Arc<dyn Tenant>) -> Vec<(u64, bool)> {
    let generations = tenant.plugin_generations(&name()).await.unwrap();
    generations.iter().map(|generation| (generation.generation, generation.serving)).collect()
}

pub(crate) async fn what_requests_nothing_serves_at_once(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let plugin = tenant.plugin_install("operator", quiet(1)).await.unwrap();
    assert_eq!((plugin.state, &plugin.granted), (PluginState::Serving, &None));
    assert!(plugin.is_faculty);
    assert_eq!(tenant.plugin(&name()).await.unwrap(), plugin);
}

pub(crate) async fn what_requests_something_waits_for_a_grant(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let new = generation(1);
    let plugin = tenant.plugin_install("operator", new.clone()).await.unwrap();
    assert_eq!((plugin.state, plugin.generation, plugin.digest), (PluginState::AwaitingGrant, 1, Digest::of(&wasm(1))));
    assert_eq!((&plugin.name, &plugin.version, &plugin.manifest), (&new.name, &new.version, &new.manifest));
    assert_eq!((&plugin.source, &plugin.tools, plugin.is_faculty), (&new.source, &new.tools, false));
    assert_eq!(tenant.plugins().await.unwrap(), std::slice::from_ref(&plugin));

    let serving = tenant.plugin_grant("operator", &name(), Some(granted())).await.unwrap();
    assert_eq!((serving.state, serving.granted.as_ref()), (PluginState::Serving, Some(&granted())));
    // To grant nothing is an answer too: it serves, and may do nothing.
    let empty = tenant.plugin_grant("operator", &name(), Some(Grant::default())).await.unwrap();
    assert_eq!((empty.state, empty.granted), (PluginState::Serving, Some(Grant::default())));
    let revoked = tenant.plugin_grant("operator", &name(), None).await.unwrap();
    // That it was taken back is kept.
    assert_eq!(revoked, Plugin { at_most: Some(Grant::default()), ..plugin });

    let at_once = NewGeneration { grant: Some(granted()), ..generation(2) };
    assert_eq!(tenant.plugin_install("operator", at_once).await.unwrap().state, PluginState::Serving);
}

pub(crate) async fn a_grant_survives_an_upgrade_and_a_rollback(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    install(&tenant, NewGeneration { grant: Some(granted()), ..generation(1) }).await;
    let upgraded = tenant.plugin_install("operator", generation(2)).await.unwrap();
    assert_eq!((upgraded.generation, upgraded.granted), (2, Some(granted())));
    let back = tenant.plugin_rollback("operator", &name(), None).await.unwrap();
    assert_eq!((back.generation, back.granted, back.state), (1, Some(granted()), PluginState::Serving));
}

pub(crate) async fn a_rollback_goes_one_back_or_where_it_is_told(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    for n in 1..=3 {
        install(&tenant, generation(n)).await;
    }
    let back = tenant.plugin_rollback("operator", &name(), None).await.unwrap();
    assert_eq!((back.generation, back.version.as_str(), back.digest), (2, "0.2.0", Digest::of(&wasm(2))));
    assert_eq!(tenant.plugin_rollback("operator", &name(), None).await.unwrap().generation, 1);
    assert_eq!(class(tenant.plugin_rollback("operator", &name(), None).await), "not-found");
    assert_eq!(class(tenant.plugin_rollback("operator", &name(), Some(1)).await), "conflict");
    assert_eq!(class(tenant.plugin_rollback("operator", &name(), Some(4)).await), "not-found");
    assert_eq!(class(tenant.plugin_rollback("operator", &name(), Some(u64::MAX)).await), "not-found");
    assert_eq!(tenant.plugin_rollback("operator", &name(), Some(3)).await.unwrap().generation, 3);
    assert_eq!(numbers(&tenant).await, [(3, true), (2, false), (1, false)]);
}

pub(crate) async fn a_new_generation_after_a_rollback_has_a_new_number(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    for n in 1..=2 {
        install(&tenant, generation(n)).await;
    }
    tenant.plugin_rollback("operator", &name(), None).await.unwrap();
    install(&tenant, generation(3)).await;
    assert_eq!(numbers(&tenant).await, [(3, true), (2, false), (1, false)]);
    assert_eq!(&tenant.artifact(&Digest::of(&wasm(3))).await.unwrap()[..], &wasm(3)[..]);
}

pub(crate) async fn the_last_ten_generations_are_kept(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    for n in 1..=12 {
        install(&tenant, generation(n)).await;
    }
    let kept: Vec<_> = (3..=12).rev().map(|n| (n, n == 12)).collect();
    assert_eq!(numbers(&tenant).await, kept);
    for n in 1..=12 {
        let artifact = tenant.artifact(&Digest::of(&wasm(n))).await;
        assert_eq!(artifact.is_ok(), n > 2, "{n}");
        let at = tenant.plugin_at(&name(), u64::from(n)).await.map(|plugin| (plugin.generation, plugin.digest));
        let kept = if n > 2 { Ok((u64::from(n), Digest::of(&wasm(n)))) } else { Err("not-found") };
        assert_eq!(at.map_err(|error| error.class()), kept);
    }
    assert_eq!(class(tenant.plugin_rollback("operator", &name(), Some(2)).await), "not-found");
}

pub(crate) async fn a_removed_plugin_leaves_nothing_behind(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    install(&tenant, NewGeneration { grant: Some(granted()), ..generation(1) }).await;
    tenant.plugin_remove("operator", &name()).await.unwrap();
    assert_eq!(tenant.plugins().await.unwrap(), []);
    assert_eq!(class(tenant.plugin(&name()).await), "not-found");
    assert_eq!(class(tenant.plugin_generations(&name()).await), "not-found");
    assert_eq!(class(tenant.artifact(&Digest::of(&wasm(1))).await), "not-found");
    // The grant went with it.
    let again = tenant.plugin_install("operator", generation(1)).await.unwrap();
    assert_eq!((again.generation, again.granted, again.state), (1, None, PluginState::AwaitingGrant));
}

pub(crate) async fn every_change_raises_the_revision_and_is_audited(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    assert_eq!(tenant.plugins_revision().await.unwrap(), 0);
    install(&tenant, generation(1)).await;
    install(&tenant, NewGeneration { grant: Some(granted()), ..generation(2) }).await;
    tenant.plugin_grant("operator", &name(), Some(Grant::default())).await.unwrap();
    tenant.plugin_grant("operator", &name(), None).await.unwrap();
    tenant.plugin_rollback("host", &name(), None).await.unwrap();
    tenant.plugin_remove("operator", &name()).await.unwrap();
    assert_eq!(tenant.plugins_revision().await.unwrap(), 6);

    let log = tenant.audit_read(10).await.unwrap();
    let actions: Vec<_> = log.iter().map(|entry| (entry.actor.as_str(), entry.action.as_str())).collect();
    assert_eq!(
        actions,
        [
            ("operator", "plugin.install"),
            ("operator", "plugin.install"),
            ("operator", "plugin.grant"),
            ("operator", "plugin.revoke"),
            ("host", "plugin.rollback"),
            ("operator", "plugin.remove"),
        ]
    );
    assert!(log.iter().all(|entry| entry.subject == "notes"));
    assert_eq!(log[1].detail["digest"], json!(Digest::of(&wasm(2))));
    assert_eq!(log[1].detail["granted"], json!(granted()));
    assert_eq!(log[4].detail["generation"], json!(1));
    assert_eq!(tenant.audit_verify().await.unwrap().broken, None);
}

pub(crate) async fn a_failed_change_changes_nothing(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let (none, known) = (PluginName::new("none").unwrap(), name());
    install(&tenant, generation(1)).await;
    assert_eq!(class(tenant.plugin_grant("operator", &none, Some(granted())).await), "not-found");
    assert_eq!(class(tenant.plugin_rollback("operator", &none, None).await), "not-found");
    assert_eq!(class(tenant.plugin_remove("operator", &none).await), "not-found");
    assert_eq!(class(tenant.plugin_rollback("operator", &known, Some(9)).await), "not-found");
    assert_eq!(tenant.plugins_revision().await.unwrap(), 1);
    assert_eq!(tenant.audit_read(10).await.unwrap().len(), 1);
}

pub(crate) async fn a_manifest_that_does_not_parse_is_not_installed(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let bad = NewGeneration { manifest: "[plugin".into(), ..generation(1) };
    assert_eq!(class(tenant.plugin_install("operator", bad).await), "invalid");
    assert_eq!(tenant.plugins().await.unwrap(), []);
    assert_eq!(class(tenant.artifact(&Digest::of(&wasm(1))).await), "not-found");
}

pub(crate) async fn plugins_of_another_tenant_are_out_of_reach(store: Arc<dyn Store>) {
    let (ada, bob) = two_tenants(&store).await;
    install(&ada, NewGeneration { grant: Some(granted()), ..generation(1) }).await;
    let digest = Digest::of(&wasm(1));
    assert_eq!(bob.plugins().await.unwrap(), []);
    assert_eq!(class(bob.plugin(&name()).await), "not-found");
    assert_eq!(class(bob.plugin_generations(&name()).await), "not-found");
    assert_eq!(class(bob.plugin_grant("operator", &name(), None).await), "not-found");
    assert_eq!(class(bob.plugin_rollback("operator", &name(), None).await), "not-found");
    assert_eq!(class(bob.plugin_remove("operator", &name()).await), "not-found");
    assert_eq!(class(bob.artifact(&digest).await), "not-found");
    assert_eq!(bob.plugins_revision().await.unwrap(), 0);

    // One name, two plugins: each tenant has its own.
    install(&bob, generation(2)).await;
    bob.plugin_grant("operator", &name(), Some(Grant::default())).await.unwrap();
    let of_ada = ada.plugin(&name()).await.unwrap();
    assert_eq!((of_ada.digest, of_ada.granted), (digest, Some(granted())));
    assert_eq!(class(bob.artifact(&digest).await), "not-found");
    assert_eq!(ada.plugins_revision().await.unwrap(), 1);
}

pub(crate) async fn equal_bytes_stay_while_one_tenant_needs_them(store: Arc<dyn Store>) {
    let (ada, bob) = two_tenants(&store).await;
    install(&ada, generation(1)).await;
    install(&bob, generation(1)).await;
    let digest = Digest::of(&wasm(1));
    ada.plugin_remove("operator", &name()).await.unwrap();
    assert_eq!(class(ada.artifact(&digest).await), "not-found");
    assert_eq!(&bob.artifact(&digest).await.unwrap()[..], &wasm(1)[..]);
}

async fn failed(tenant: &Arc<dyn Tenant>, generation: u64) -> u32 {
    tenant.plugin_failed(&name(), generation).await.unwrap()
}

/// The generation that serves after `generation` was retired.
async fn retired(tenant: &Arc<dyn Tenant>, generation: u64) -> Option<u64> {
    tenant.plugin_retire("host", &name(), generation, "it trapped").await.unwrap().map(|plugin| plugin.generation)
}

pub(crate) async fn failures_count_in_a_row_and_change_nothing_else(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    install(&tenant, generation(1)).await;
    install(&tenant, generation(2)).await;
    assert_eq!((failed(&tenant, 2).await, failed(&tenant, 2).await, failed(&tenant, 1).await), (1, 2, 1));
    tenant.plugin_worked(&name(), 2).await.unwrap();
    tenant.plugin_worked(&name(), 2).await.unwrap();
    assert_eq!((failed(&tenant, 2).await, failed(&tenant, 1).await), (1, 2));
    // What is gone has nothing to count.
    assert_eq!(failed(&tenant, 9).await, 0);
    assert_eq!(tenant.plugin_failed(&PluginName::new("none").unwrap(), 1).await.unwrap(), 0);
    assert_eq!(tenant.plugins_revision().await.unwrap(), 2);
    assert_eq!(tenant.audit_read(10).await.unwrap().len(), 2);
}

pub(crate) async fn a_failing_generation_gives_way_to_the_last_one_that_was_not_retired(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    install(&tenant, NewGeneration { grant: Some(granted()), ..generation(1) }).await;
    install(&tenant, generation(2)).await;
    assert_eq!(retired(&tenant, 2).await, Some(1));
    install(&tenant, generation(3)).await;
    let back = tenant.plugin_retire("host", &name(), 3, "it trapped").await.unwrap().unwrap();
    assert_eq!((back.generation, back.digest, back.granted), (1, Digest::of(&wasm(1)), Some(granted())));
    assert_eq!(tenant.plugin(&name()).await.unwrap().generation, 1);
    assert_eq!(tenant.plugins_revision().await.unwrap(), 5);
    let log = tenant.audit_read(1).await.unwrap();
    assert_eq!((log[0].actor.as_str(), log[0].action.as_str()), ("host", "plugin.rollback"));
    let detail = &log[0].detail;
    assert_eq!((&detail["from"], &detail["generation"], &detail["why"]), (&json!(3), &json!(1), &json!("it trapped")));
    // The operator's own rollback passes over what was retired as well.
    install(&tenant, generation(4)).await;
    assert_eq!(tenant.plugin_rollback("operator", &name(), None).await.unwrap().generation, 1);
}

pub(crate) async fn only_the_serving_generation_is_retired_and_only_once(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    install(&tenant, generation(1)).await;
    assert_eq!(retired(&tenant, 1).await, None, "there is nothing to serve instead");
    install(&tenant, generation(2)).await;
    install(&tenant, generation(3)).await;
    assert_eq!(retired(&tenant, 2).await, None, "it does not serve");
    let many: Vec<_> = (0..8)
        .map(|_| {
            tokio::spawn({
                let tenant = tenant.clone();
                async move { retired(&tenant, 3).await }
            })
        })
        .collect();
    let mut goals = Vec::new();
    for one in many {
        goals.extend(one.await.unwrap());
    }
    assert_eq!(goals, [2]);
    assert_eq!(tenant.plugins_revision().await.unwrap(), 4);
    let none = PluginName::new("none").unwrap();
    assert_eq!(class(tenant.plugin_retire("host", &none, 1, "").await), "not-found");
}

pub(crate) async fn an_operator_may_serve_a_retired_generation_again(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    install(&tenant, generation(1)).await;
    install(&tenant, generation(2)).await;
    failed(&tenant, 2).await;
    assert_eq!(retired(&tenant, 2).await, Some(1));
    assert_eq!(tenant.plugin_rollback("operator", &name(), Some(2)).await.unwrap().generation, 2);
    assert_eq!(failed(&tenant, 2).await, 1, "its past was forgiven");
    install(&tenant, generation(3)).await;
    assert_eq!(retired(&tenant, 3).await, Some(2));
}

pub(crate) async fn failures_go_with_their_generation(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    install(&tenant, generation(1)).await;
    failed(&tenant, 1).await;
    for n in 2..=11 {
        install(&tenant, generation(n)).await;
    }
    assert_eq!(failed(&tenant, 1).await, 0);
    failed(&tenant, 11).await;
    tenant.plugin_remove("operator", &name()).await.unwrap();
    install(&tenant, generation(1)).await;
    assert_eq!(failed(&tenant, 1).await, 1);
}

pub(crate) async fn a_fault_stays_until_its_source_loads(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    assert_eq!(tenant.plugin_faults().await.unwrap(), []);
    tenant.plugin_fault("./notes-1", Some(&name()), "first").await.unwrap();
    tenant.plugin_fault("./notes-1", Some(&name()), "second").await.unwrap();
    tenant.plugin_fault("./broken", None, "no manifest").await.unwrap();
    let faults = tenant.plugin_faults().await.unwrap();
    let told: Vec<_> = faults.iter().map(|f| (f.source.as_str(), f.name.clone(), f.error.as_str())).collect();
    assert_eq!(told, [("./broken", None, "no manifest"), ("./notes-1", Some(name()), "second")]);
    assert!(faults[0].at_ms > 0);

    install(&tenant, generation(1)).await;
    assert_eq!(tenant.plugin_faults().await.unwrap().len(), 1, "that source loaded");
    for _ in 0..2 {
        tenant.plugin_fault_clear("./broken").await.unwrap();
    }
    assert_eq!(tenant.plugin_faults().await.unwrap(), []);
    tenant.plugin_fault("./notes-1", Some(&name()), "third").await.unwrap();
    tenant.plugin_remove("operator", &name()).await.unwrap();
    assert_eq!(tenant.plugin_faults().await.unwrap(), []);
    // No change of what is installed, so nobody has to load anything anew.
    assert_eq!(tenant.plugins_revision().await.unwrap(), 2);
}

pub(crate) async fn faults_and_their_texts_are_bounded(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let long = "é".repeat(MAX_FAULT);
    for n in 0..MAX_FAULTS + 5 {
        tenant.plugin_fault(&format!("./{n}"), None, &long).await.unwrap();
    }
    let faults = tenant.plugin_faults().await.unwrap();
    assert_eq!(faults.len(), MAX_FAULTS as usize);
    assert!(faults.iter().all(|fault| fault.error.len() <= MAX_FAULT && long.starts_with(&fault.error)));
    assert!(faults.iter().any(|fault| fault.source == format!("./{}", MAX_FAULTS + 4)), "the newest stay");
}

pub(crate) async fn health_and_faults_of_another_tenant_are_out_of_reach(store: Arc<dyn Store>) {
    let (ada, bob) = two_tenants(&store).await;
    for tenant in [&ada, &bob] {
        install(tenant, generation(1)).await;
        install(tenant, generation(2)).await;
    }
    assert_eq!((failed(&ada, 2).await, failed(&ada, 2).await, failed(&bob, 2).await), (1, 2, 1));
    bob.plugin_worked(&name(), 2).await.unwrap();
    assert_eq!(failed(&ada, 2).await, 3);
    assert_eq!(retired(&ada, 2).await, Some(1));
    assert_eq!(bob.plugin(&name()).await.unwrap().generation, 2);
    install(&bob, generation(3)).await;
    assert_eq!(retired(&bob, 3).await, Some(2), "what ada retired is not retired for bob");

    ada.plugin_fault("./x", None, "broken").await.unwrap();
    bob.plugin_fault_clear("./x").await.unwrap();
    assert_eq!((ada.plugin_faults().await.unwrap().len(), bob.plugin_faults().await.unwrap().len()), (1, 0));
}
