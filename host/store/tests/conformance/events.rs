use std::sync::Arc;

use animus_core::{
    event::Event,
    id::WorkId,
    store::{MAX_EVENTS, Store},
};

use super::{class, submitted, tenant, two_tenants};

fn note(text: &str) -> Event {
    Event::Notice { text: text.into() }
}

pub(crate) async fn events_read_back_in_order_after_a_number(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let (work, other) = (submitted(&tenant).await, submitted(&tenant).await);
    assert_eq!(tenant.events_last(work).await.unwrap(), 0);
    assert_eq!(tenant.events_read(work, 0, 10).await.unwrap(), []);
    tenant.events_append(work, 1, &[note("a"), note("b")]).await.unwrap();
    tenant.events_append(work, 40, &[Event::Token { text: "é\n".into() }, note("c")]).await.unwrap();
    tenant.events_append(other, 7, &[note("x")]).await.unwrap();
    tenant.events_append(work, 99, &[]).await.unwrap();
    assert_eq!(tenant.events_last(work).await.unwrap(), 41);
    let all = tenant.events_read(work, 0, 10).await.unwrap();
    let token = Event::Token { text: "é\n".into() };
    assert_eq!(all, [(1, note("a")), (2, note("b")), (40, token.clone()), (41, note("c"))]);
    assert_eq!(tenant.events_read(work, 2, 1).await.unwrap(), [(40, token)]);
    assert_eq!(tenant.events_read(work, 41, 10).await.unwrap(), []);
    assert_eq!(tenant.events_read(other, 0, 10).await.unwrap(), [(7, note("x"))]);
}

pub(crate) async fn a_number_that_is_taken_keeps_its_event(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let work = submitted(&tenant).await;
    tenant.events_append(work, 1, &[note("a"), note("b")]).await.unwrap();
    tenant.events_append(work, 2, &[note("B"), note("c")]).await.unwrap();
    let all = tenant.events_read(work, 0, 10).await.unwrap();
    assert_eq!(all, [(1, note("a")), (2, note("b")), (3, note("c"))]);
}

pub(crate) async fn a_read_of_events_is_bounded(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let work = submitted(&tenant).await;
    let many: Vec<_> = (0..MAX_EVENTS + 5).map(|n| note(&n.to_string())).collect();
    tenant.events_append(work, 1, &many).await.unwrap();
    let page = tenant.events_read(work, 0, u32::MAX).await.unwrap();
    assert_eq!(page.len(), usize::try_from(MAX_EVENTS).unwrap());
    let rest = tenant.events_read(work, page.last().unwrap().0, u32::MAX).await.unwrap();
    assert_eq!(rest.len(), 5);
}

pub(crate) async fn events_of_another_tenant_are_out_of_reach(store: Arc<dyn Store>) {
    let (ada, bob) = two_tenants(&store).await;
    let work = submitted(&ada).await;
    ada.events_append(work, 1, &[note("a")]).await.unwrap();
    assert_eq!(bob.events_read(work, 0, 10).await.unwrap(), []);
    assert_eq!(bob.events_last(work).await.unwrap(), 0);
    assert_eq!(class(bob.events_append(work, 2, &[note("b")]).await), "not-found");
    assert_eq!(class(ada.events_append(WorkId::new(), 1, &[note("b")]).await), "not-found");
    assert_eq!(ada.events_last(work).await.unwrap(), 1);
}
