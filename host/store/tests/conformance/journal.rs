use std::{collections::BTreeMap, sync::Arc};

use animus_core::{
    Error,
    id::FocusId,
    journal::{EffectKind, Intent, Outcome, Tally},
    store::Store,
    work::{Settlement, State},
};
use serde_json::{Value, json};

use super::{begun, class, end, lease, tenant, two_tenants};

fn intent(parent: Option<u64>) -> Intent {
    Intent {
        kind: EffectKind::Tool,
        caller: "assistant".into(),
        subject: "fs.read_file".into(),
        request: json!({ "z": 1, "a": [1.5, null] }),
        parent,
    }
}

fn ok(response: Value) -> Outcome {
    Outcome::Ok { response }
}

pub(crate) async fn intents_count_from_one_and_read_back_in_order(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let (_, focus) = begun(&tenant).await;
    assert_eq!(tenant.journal_read(focus).await.unwrap(), []);
    let kinds = EffectKind::ALL;
    for (seq, kind) in (1..).zip(kinds) {
        assert_eq!(tenant.journal_begin(lease(focus), Intent { kind, ..intent(None) }).await.unwrap(), seq);
    }
    let failed = Outcome::Failed { error: Error::Timeout("too long".into()) };
    tenant.journal_end(lease(focus), 2, failed.clone()).await.unwrap();
    let records = tenant.journal_read(focus).await.unwrap();
    assert_eq!(records.iter().map(|record| record.seq).collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
    assert_eq!(records.iter().map(|record| record.intent.kind).collect::<Vec<_>>(), kinds);
    assert_eq!(records[2].intent, intent(None));
    assert_eq!(records[1].outcome, Some(failed));
    assert!(records[1].ended_ms.unwrap() >= records[1].started_ms);
    assert!(records[0].outcome.is_none() && records[0].ended_ms.is_none());

    let (_, other) = begun(&tenant).await;
    assert_eq!(tenant.journal_begin(lease(other), intent(None)).await.unwrap(), 1);
    let nowhere = FocusId::new();
    assert_eq!(class(tenant.journal_begin(lease(nowhere), intent(None)).await), "not-found");
    assert_eq!(class(tenant.journal_read(nowhere).await), "not-found");
}

pub(crate) async fn an_outcome_is_written_once_and_only_to_an_intent(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let (_, focus) = begun(&tenant).await;
    let seq = tenant.journal_begin(lease(focus), intent(None)).await.unwrap();
    tenant.journal_end(lease(focus), seq, ok(json!("first"))).await.unwrap();
    assert_eq!(class(tenant.journal_end(lease(focus), seq, ok(json!("second"))).await), "conflict");
    assert_eq!(class(tenant.journal_end(lease(focus), seq + 1, ok(json!(1))).await), "not-found");
    assert_eq!(class(tenant.journal_end(lease(FocusId::new()), seq, ok(json!(1))).await), "not-found");
    let records = tenant.journal_read(focus).await.unwrap();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].outcome, Some(ok(json!("first"))));
}

pub(crate) async fn a_long_response_is_kept_whole(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let (_, focus) = begun(&tenant).await;
    let seq = tenant.journal_begin(lease(focus), intent(None)).await.unwrap();
    let long = ok(json!({ "text": "é".repeat(2 << 20) }));
    tenant.journal_end(lease(focus), seq, long.clone()).await.unwrap();
    assert!(tenant.journal_read(focus).await.unwrap()[0].outcome == Some(long));
}

pub(crate) async fn a_parent_is_an_earlier_intent(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let (_, focus) = begun(&tenant).await;
    assert_eq!(class(tenant.journal_begin(lease(focus), intent(Some(1))).await), "invalid");
    let outer = tenant.journal_begin(lease(focus), intent(None)).await.unwrap();
    assert_eq!(tenant.journal_begin(lease(focus), intent(Some(outer))).await.unwrap(), 2);
    for not_earlier in [0, 3, 4, u64::MAX] {
        assert_eq!(
            class(tenant.journal_begin(lease(focus), intent(Some(not_earlier))).await),
            "invalid",
            "{not_earlier}"
        );
    }
    assert_eq!(tenant.journal_read(focus).await.unwrap()[1].intent.parent, Some(outer));
}

pub(crate) async fn a_journal_is_counted_without_being_read(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let (_, focus) = begun(&tenant).await;
    assert_eq!(tenant.journal_tally(focus).await.unwrap(), Tally::default());
    // An answer that looks like a failure is none.
    let odd = ok(json!({ "status": "failed", "text": "\u{0} \"status\":\"failed\"" }));
    let failed = Outcome::Failed { error: Error::Invalid("status ok".into()) };
    let effects = [(EffectKind::Tool, Some(odd)), (EffectKind::Tool, Some(failed)), (EffectKind::Llm, None)];
    for (kind, outcome) in effects {
        let seq = tenant.journal_begin(lease(focus), Intent { kind, ..intent(None) }).await.unwrap();
        if let Some(outcome) = outcome {
            tenant.journal_end(lease(focus), seq, outcome).await.unwrap();
        }
    }
    let effects = BTreeMap::from([("tool".to_owned(), 2), ("llm".to_owned(), 1)]);
    assert_eq!(tenant.journal_tally(focus).await.unwrap(), Tally { effects, failed: 1, open: 1 });
    assert_eq!(class(tenant.journal_tally(FocusId::new()).await), "not-found");
}

pub(crate) async fn nothing_begins_in_a_focus_that_has_ended(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let (_, focus) = begun(&tenant).await;
    let seq = tenant.journal_begin(lease(focus), intent(None)).await.unwrap();
    end(&tenant, focus, State::Failed, Settlement::default()).await.unwrap();
    assert_eq!(class(tenant.journal_begin(lease(focus), intent(None)).await), "conflict");
    // What had begun may still tell how it went.
    tenant.journal_end(lease(focus), seq, ok(json!(1))).await.unwrap();
    assert_eq!(tenant.journal_read(focus).await.unwrap().len(), 1);
}

pub(crate) async fn a_journal_of_another_tenant_is_out_of_reach(store: Arc<dyn Store>) {
    let (ada, bob) = two_tenants(&store).await;
    let (_, focus) = begun(&ada).await;
    let seq = ada.journal_begin(lease(focus), intent(None)).await.unwrap();
    assert_eq!(class(bob.journal_read(focus).await), "not-found");
    assert_eq!(class(bob.journal_tally(focus).await), "not-found");
    assert_eq!(class(bob.journal_begin(lease(focus), intent(None)).await), "not-found");
    assert_eq!(class(bob.journal_end(lease(focus), seq, ok(json!(1))).await), "not-found");
    assert!(ada.journal_read(focus).await.unwrap()[0].outcome.is_none());
}
