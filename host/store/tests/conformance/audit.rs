use std::{collections::HashSet, sync::Arc};

use animus_core::store::Store;
use serde_json::json;

use super::{tenant, two_tenants};

pub(crate) async fn entries_are_chained_and_read_back(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    for n in 1..=5 {
        tenant.audit("plugin:web", "call.denied", &format!("subject {n}"), json!({ "n": n })).await.unwrap();
    }
    let log = tenant.audit_read(3).await.unwrap();
    assert_eq!(log.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [3, 4, 5]);
    let last = &log[2];
    assert_eq!(
        (last.actor.as_str(), last.action.as_str(), last.subject.as_str()),
        ("plugin:web", "call.denied", "subject 5")
    );
    assert_eq!(last.detail, json!({ "n": 5 }));
    assert!(last.at_ms > 1_600_000_000_000);

    let verdict = tenant.audit_verify().await.unwrap();
    assert_eq!((verdict.entries, verdict.broken, &verdict.head), (5, None, &last.hash));
    let hashes: HashSet<_> = tenant.audit_read(10).await.unwrap().into_iter().map(|entry| entry.hash).collect();
    assert_eq!(hashes.len(), 5);
}

pub(crate) async fn an_empty_log_verifies(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let verdict = tenant.audit_verify().await.unwrap();
    assert_eq!((verdict.entries, verdict.broken), (0, None));
    assert_eq!(tenant.audit_read(10).await.unwrap(), []);
}

pub(crate) async fn parallel_entries_keep_one_chain(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let writers = (0..8).map(|n| {
        let tenant = tenant.clone();
        tokio::spawn(async move {
            for _ in 0..5 {
                tenant.audit("host", "test", &n.to_string(), json!({})).await.unwrap();
            }
        })
    });
    for writer in futures::future::join_all(writers).await {
        writer.unwrap();
    }
    let verdict = tenant.audit_verify().await.unwrap();
    assert_eq!((verdict.entries, verdict.broken), (40, None));
}

pub(crate) async fn every_detail_that_json_can_say_verifies(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let details = [
        json!(null),
        json!({ "z": 1, "a": { "y": [], "b": "\u{0}é\"\\" } }),
        json!([0.1, 1e300, -0.0, u64::MAX, i64::MIN]),
    ];
    for detail in &details {
        tenant.audit("", "", "\u{0}\n", detail.clone()).await.unwrap();
    }
    assert_eq!(tenant.audit_verify().await.unwrap().broken, None);
    let read = tenant.audit_read(10).await.unwrap();
    assert!(read.iter().map(|entry| &entry.detail).eq(&details));
}

pub(crate) async fn a_log_of_another_tenant_is_out_of_reach(store: Arc<dyn Store>) {
    let (ada, bob) = two_tenants(&store).await;
    ada.audit("operator", "test", "mine", json!({})).await.unwrap();
    assert_eq!(bob.audit_read(10).await.unwrap(), []);
    assert_eq!(bob.audit_verify().await.unwrap().entries, 0);
    bob.audit("operator", "test", "mine", json!({})).await.unwrap();
    assert_eq!(bob.audit_read(10).await.unwrap()[0].seq, 1);
    assert_ne!(bob.audit_verify().await.unwrap().head, ada.audit_verify().await.unwrap().head);
}
