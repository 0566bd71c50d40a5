use std::sync::Arc;

use animus_core::{id::TenantId, store::Store};

use super::tenant;

pub(crate) async fn a_tenant_is_made_once_and_listed(store: Arc<dyn Store>) {
    assert!(store.tenants().await.unwrap().is_empty());
    for name in ["local", "a-b", "a_b", "local"] {
        let id = TenantId::new(name).unwrap();
        assert_eq!(store.tenant(&id).await.unwrap().id(), &id);
    }
    let names: Vec<_> = store.tenants().await.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["a-b", "a_b", "local"]);

    let many = (0..8).map(|_| async { tenant(&store, "new").await.plugins_revision().await.unwrap() });
    assert_eq!(futures::future::join_all(many).await, [0; 8]);
    assert_eq!(store.tenants().await.unwrap().len(), 4);
}

pub(crate) async fn the_store_is_healthy_and_says_where_it_is(store: Arc<dyn Store>) {
    tenant(&store, "local").await;
    let health = store.check().await.unwrap();
    assert!(health.schema >= 1);
    assert!(!health.backend.is_empty() && !health.location.is_empty());
}
