use std::sync::Arc;

use animus_core::{
    id::WorkId,
    ledger::{EntryType, Filter, MAX_CONTENT, MAX_READ},
    store::Store,
};

use super::{class, submitted, tenant, two_tenants};

const ALL: Filter = Filter { entry_type: None, last_n: None };

pub(crate) async fn numbers_count_from_one_within_each_item(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let (one, two) = (submitted(&tenant).await, submitted(&tenant).await);
    for (seq, entry_type) in (1..).zip(EntryType::ALL) {
        let entry = tenant.ledger_append(one, entry_type, entry_type.as_str(), None).await.unwrap();
        assert_eq!((entry.seq, entry.entry_type, entry.content.as_str()), (seq, entry_type, entry_type.as_str()));
    }
    assert_eq!(tenant.ledger_append(two, EntryType::Note, "é\0\n'", None).await.unwrap().seq, 1);
    assert_eq!(tenant.ledger_read(one, ALL).await.unwrap().len(), 6);
    assert_eq!(tenant.ledger_read(two, ALL).await.unwrap()[0].content, "é\0\n'");

    let three = submitted(&tenant).await;
    assert_eq!(tenant.ledger_read(three, ALL).await.unwrap(), []);
    assert_eq!(class(tenant.ledger_read(WorkId::new(), ALL).await), "not-found");
    assert_eq!(class(tenant.ledger_append(WorkId::new(), EntryType::Note, "x", None).await), "not-found");
}

pub(crate) async fn parallel_appends_leave_no_gap_and_no_duplicate(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let work = submitted(&tenant).await;
    let writers = (0..8).map(|_| {
        let tenant = tenant.clone();
        tokio::spawn(async move {
            for _ in 0..10 {
                tenant.ledger_append(work, EntryType::Step, "s", None).await.unwrap();
            }
        })
    });
    for writer in futures::future::join_all(writers).await {
        writer.unwrap();
    }
    let entries = tenant.ledger_read(work, ALL).await.unwrap();
    assert_eq!(entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), (1..=80).collect::<Vec<_>>());
}

pub(crate) async fn type_and_last_n_compose(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let work = submitted(&tenant).await;
    for seq in 1..=10 {
        let entry_type = if seq % 2 == 0 { EntryType::Finding } else { EntryType::Step };
        tenant.ledger_append(work, entry_type, &seq.to_string(), None).await.unwrap();
    }
    let read = async |entry_type, last_n| {
        let entries = tenant.ledger_read(work, Filter { entry_type, last_n }).await.unwrap();
        entries.iter().map(|entry| entry.seq).collect::<Vec<_>>()
    };
    assert_eq!(read(None, Some(3)).await, [8, 9, 10]);
    assert_eq!(read(Some(EntryType::Finding), None).await, [2, 4, 6, 8, 10]);
    assert_eq!(read(Some(EntryType::Finding), Some(2)).await, [8, 10]);
    assert_eq!(read(Some(EntryType::Plan), Some(2)).await, [0; 0]);
    assert_eq!(read(None, Some(0)).await, [0; 0]);
    assert_eq!(read(None, Some(u32::MAX)).await.len(), 10);
}

pub(crate) async fn a_read_gives_the_last_thousand(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let work = submitted(&tenant).await;
    let beyond = u64::from(MAX_READ) + 2;
    for _ in 0..beyond {
        tenant.ledger_append(work, EntryType::Note, "n", None).await.unwrap();
    }
    let entries = tenant.ledger_read(work, ALL).await.unwrap();
    assert_eq!((entries.len(), entries[0].seq, entries.last().unwrap().seq), (1_000, 3, beyond));
}

pub(crate) async fn content_up_to_the_limit_is_kept_and_beyond_it_refused(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let work = submitted(&tenant).await;
    let most = "x".repeat(MAX_CONTENT);
    tenant.ledger_append(work, EntryType::Finding, &most, None).await.unwrap();
    assert_eq!(class(tenant.ledger_append(work, EntryType::Finding, &format!("{most}x"), None).await), "invalid");
    let entries = tenant.ledger_read(work, ALL).await.unwrap();
    assert!(entries.len() == 1 && entries[0].content == most);
}

pub(crate) async fn a_ledger_of_another_tenant_is_out_of_reach(store: Arc<dyn Store>) {
    let (ada, bob) = two_tenants(&store).await;
    let work = submitted(&ada).await;
    ada.ledger_append(work, EntryType::Finding, "mine", None).await.unwrap();
    assert_eq!(class(bob.ledger_read(work, ALL).await), "not-found");
    assert_eq!(class(bob.ledger_append(work, EntryType::Finding, "yours", None).await), "not-found");
    assert_eq!(ada.ledger_read(work, ALL).await.unwrap().len(), 1);
}
