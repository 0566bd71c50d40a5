use std::sync::Arc;

use animus_core::store::{SecretValue, Store};

use super::{class, tenant, two_tenants};

const VALUE: &str = "hunter2-very-secret";

pub(crate) async fn a_secret_reads_back_and_is_replaced(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    assert_eq!(class(tenant.secret("github").await), "not-found");
    let longest = "é".repeat(32 * 1024);
    for value in [VALUE, "x", longest.as_str()] {
        tenant.secret_set("operator", "github", SecretValue::new(value)).await.unwrap();
        assert!(tenant.secret("github").await.unwrap().expose() == value);
    }
    assert_eq!(tenant.secrets().await.unwrap().len(), 1);
}

pub(crate) async fn handles_are_listed_without_values(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    for handle in ["zulu", "alpha"] {
        tenant.secret_set("operator", handle, SecretValue::new(VALUE)).await.unwrap();
    }
    let listed = tenant.secrets().await.unwrap();
    assert_eq!(listed.iter().map(|(handle, _)| handle.as_str()).collect::<Vec<_>>(), ["alpha", "zulu"]);
    assert!(listed.iter().all(|(_, set_ms)| *set_ms > 1_600_000_000_000));
}

pub(crate) async fn a_removed_secret_is_gone(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    tenant.secret_set("operator", "github", SecretValue::new(VALUE)).await.unwrap();
    tenant.secret_remove("operator", "github").await.unwrap();
    assert_eq!(class(tenant.secret("github").await), "not-found");
    assert_eq!(class(tenant.secret_remove("operator", "github").await), "not-found");
    assert_eq!(tenant.secrets().await.unwrap(), []);
}

pub(crate) async fn malformed_handles_and_values_are_refused(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let long = "h".repeat(65);
    for handle in ["", "A", "a b", "a\0b", "1", &long] {
        assert_eq!(class(tenant.secret_set("operator", handle, SecretValue::new(VALUE)).await), "invalid");
        assert_eq!(class(tenant.secret(handle).await), "not-found");
    }
    for value in [String::new(), "x".repeat(64 * 1024 + 1)] {
        assert_eq!(class(tenant.secret_set("operator", "fine", SecretValue::new(value)).await), "invalid");
    }
    assert_eq!(tenant.secrets().await.unwrap(), []);
}

pub(crate) async fn no_value_reaches_audit_or_errors(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    tenant.secret_set("operator", "github", SecretValue::new(VALUE)).await.unwrap();
    tenant.secret_remove("operator", "github").await.unwrap();
    let log = tenant.audit_read(10).await.unwrap();
    let actions: Vec<_> = log.iter().map(|entry| (entry.action.as_str(), entry.subject.as_str())).collect();
    assert_eq!(actions, [("secret.set", "github"), ("secret.remove", "github")]);
    let refused = tenant.secret_set("operator", "Bad", SecretValue::new(VALUE)).await.unwrap_err();
    assert!(!format!("{log:?}{refused:?}{refused}").contains(VALUE));
}

pub(crate) async fn secrets_of_another_tenant_are_out_of_reach(store: Arc<dyn Store>) {
    let (ada, bob) = two_tenants(&store).await;
    ada.secret_set("operator", "github", SecretValue::new(VALUE)).await.unwrap();
    assert_eq!(class(bob.secret("github").await), "not-found");
    assert_eq!(bob.secrets().await.unwrap(), []);
    assert_eq!(class(bob.secret_remove("operator", "github").await), "not-found");
    bob.secret_set("operator", "github", SecretValue::new("other")).await.unwrap();
    assert_eq!(ada.secret("github").await.unwrap().expose(), VALUE);
}
