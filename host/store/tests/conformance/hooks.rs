use std::{collections::BTreeMap, sync::Arc};

use animus_core::store::Store;

use super::{class, tenant, two_tenants};

pub(crate) async fn a_hook_stays_as_it_was_switched_last_and_the_audit_log_says_who(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "one").await;
    assert_eq!(tenant.hook_states().await.unwrap(), BTreeMap::new());
    tenant.hook_switch("operator", "guard", false).await.unwrap();
    tenant.hook_switch("operator", "command:notify", true).await.unwrap();
    tenant.hook_switch("operator", "guard", true).await.unwrap();
    let expected = BTreeMap::from([("command:notify".to_owned(), true), ("guard".to_owned(), true)]);
    assert_eq!(tenant.hook_states().await.unwrap(), expected);
    let audited = tenant.audit_read(10).await.unwrap();
    let actions: Vec<_> = audited.iter().map(|e| (e.action.as_str(), e.subject.as_str(), e.actor.as_str())).collect();
    let by = "operator";
    let told = [("hook.disable", "guard", by), ("hook.enable", "command:notify", by), ("hook.enable", "guard", by)];
    assert_eq!(actions, told);
}

pub(crate) async fn what_no_hook_is_called_is_not_switched(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "one").await;
    for name in ["", "Guard", "command:", "command:a/b", "program:x", "a b"] {
        assert_eq!(class(tenant.hook_switch("operator", name, false).await), "invalid", "{name}");
    }
    assert!(tenant.hook_states().await.unwrap().is_empty());
}

pub(crate) async fn switches_of_another_tenant_are_out_of_reach(store: Arc<dyn Store>) {
    let (one, other) = two_tenants(&store).await;
    one.hook_switch("operator", "guard", false).await.unwrap();
    assert!(other.hook_states().await.unwrap().is_empty());
}
