use std::sync::Arc;

use animus_core::{
    id::MemoryId,
    memory::{Hit, MAX_CONTENT, MAX_HITS, MAX_TAGS, NewMemory, Query},
    store::{Store, Tenant},
};

use super::{class, tenant, two_tenants};

fn new(content: &str, kind: &str, tags: &[&str]) -> NewMemory {
    NewMemory {
        content: content.into(),
        kind: kind.into(),
        tags: tags.iter().map(ToString::to_string).collect(),
        source: "notes".into(),
    }
}

async fn stored(tenant: &Arc<dyn Tenant>, content: &str) -> MemoryId {
    tenant.memory_store(new(content, "fact", &[])).await.unwrap()
}

fn words(text: &str) -> Query {
    Query { text: text.into(), ..Query::default() }
}

async fn recalled(tenant: &Arc<dyn Tenant>, query: Query) -> Vec<Hit> {
    tenant.memory_recall(query).await.unwrap()
}

async fn ids(tenant: &Arc<dyn Tenant>, query: Query) -> Vec<MemoryId> {
    recalled(tenant, query).await.iter().map(|hit| hit.memory.id).collect()
}

pub(crate) async fn words_find_memories_best_first(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let both = stored(&tenant, "the deploy key of the staging host").await;
    let one = stored(&tenant, "the staging host reboots on Sundays, in the night, and nobody has found out why").await;
    stored(&tenant, "bread needs salt").await;
    let hits = recalled(&tenant, words("Where is the STAGING deploy key?")).await;
    assert_eq!(hits.iter().map(|hit| hit.memory.id).collect::<Vec<_>>(), [both, one]);
    assert!(hits[0].score > hits[1].score, "{hits:?}");
    assert_eq!(hits[0].memory, tenant.memory_get(both).await.unwrap());
    assert_eq!(ids(&tenant, words("submarine")).await, []);
}

pub(crate) async fn other_forms_of_a_word_find_it_too(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let id = stored(&tenant, "Deploying to Café hosts").await;
    for form in ["deploys", "deployed", "cafe", "HOST"] {
        assert_eq!(ids(&tenant, words(form)).await, [id], "{form}");
    }
}

pub(crate) async fn kind_and_tags_are_searched_and_narrow(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let store = async |content, kind, tags| tenant.memory_store(new(content, kind, tags)).await.unwrap();
    let a = store("tea, green", "preference", &["drinks", "a_c"]).await;
    let b = store("coffee", "preference", &["drinks", "abc", "drinks"]).await;
    let c = store("tea grows in hills", "fact", &["plants"]).await;
    assert_eq!(tenant.memory_get(b).await.unwrap().tags, ["abc", "drinks"]);

    let query = |text: &str, kind: Option<&str>, tags: &[&str]| Query {
        text: text.into(),
        limit: None,
        kind: kind.map(str::to_owned),
        tags: tags.iter().map(ToString::to_string).collect(),
    };
    assert_eq!(ids(&tenant, query("plants", None, &[])).await, [c]);
    assert_eq!(ids(&tenant, query("preference", None, &["abc"])).await, [b]);
    assert_eq!(ids(&tenant, query("tea", Some("fact"), &[])).await, [c]);
    assert_eq!(ids(&tenant, query("", None, &["drinks"])).await, [b, a]);
    assert_eq!(ids(&tenant, query("", None, &["drinks", "abc"])).await, [b]);
    // `_` is no wildcard, and half a tag is no tag.
    assert_eq!(ids(&tenant, query("", None, &["a_c"])).await, [a]);
    assert_eq!(ids(&tenant, query("", None, &["drink"])).await, []);
    assert_eq!(ids(&tenant, query("tea", Some("fact"), &["drinks"])).await, []);
}

pub(crate) async fn an_empty_query_gives_the_newest(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let mut all = Vec::new();
    for n in 0..12 {
        all.insert(0, stored(&tenant, &format!("number {n}")).await);
    }
    assert_eq!(ids(&tenant, words("")).await, all[..10]);
    assert_eq!(ids(&tenant, Query { limit: Some(3), ..words(" \n") }).await, all[..3]);
    assert_eq!(ids(&tenant, Query { limit: Some(MAX_HITS), ..words("") }).await, all);
}

pub(crate) async fn no_query_text_is_an_error(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let id = stored(&tenant, "near the river and not or").await;
    let long = "river ".repeat(20_000);
    for text in
        ["NEAR(river, 1)", "river AND", "\"river", "river*", "content:river", "-river", "river^2", "ri\0ver river"]
    {
        assert_eq!(ids(&tenant, words(text)).await, [id], "{text:?}");
    }
    assert_eq!(ids(&tenant, words(&long)).await, [id]);
    for text in ["\"", "'", "*", "(", "^", ":", "()\"\"", "\0", "\u{301}", "河", "%", "; DROP TABLE memories"] {
        assert_eq!(ids(&tenant, words(text)).await, [], "{text:?}");
    }
}

pub(crate) async fn a_limit_out_of_range_is_refused(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    for limit in [0, MAX_HITS + 1] {
        assert_eq!(class(tenant.memory_recall(Query { limit: Some(limit), ..words("x") }).await), "invalid");
    }
}

pub(crate) async fn a_forgotten_memory_is_found_by_nothing(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let gone = stored(&tenant, "the cat sleeps").await;
    let stays = stored(&tenant, "the cat eats").await;
    tenant.memory_forget(gone).await.unwrap();
    assert_eq!(class(tenant.memory_get(gone).await), "not-found");
    assert_eq!(ids(&tenant, words("cat sleeps")).await, [stays]);
    assert_eq!(ids(&tenant, words("")).await, [stays]);
    assert_eq!(class(tenant.memory_forget(gone).await), "not-found");
    assert_eq!(class(tenant.memory_tag(gone, "late").await), "not-found");
    // Its place in the index is free for others.
    tenant.memory_forget(stays).await.unwrap();
    let next = stored(&tenant, "the cat dreams").await;
    assert_eq!(ids(&tenant, words("cat sleeps eats")).await, [next]);
}

pub(crate) async fn a_tag_is_added_once_and_found(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let id = tenant.memory_store(new("tea", "fact", &["m"])).await.unwrap();
    for tag in ["z", "a", "z"] {
        tenant.memory_tag(id, tag).await.unwrap();
    }
    assert_eq!(tenant.memory_get(id).await.unwrap().tags, ["a", "m", "z"]);
    assert_eq!(ids(&tenant, words("z")).await, [id]);
    assert_eq!(ids(&tenant, words("tea")).await, [id]);
    assert_eq!(class(tenant.memory_tag(id, "two words").await), "invalid");

    for n in 3..MAX_TAGS {
        tenant.memory_tag(id, &format!("t{n}")).await.unwrap();
    }
    tenant.memory_tag(id, "a").await.unwrap();
    assert_eq!(class(tenant.memory_tag(id, "one-too-many").await), "invalid");
    tenant.memory_forget(id).await.unwrap();
    assert_eq!(ids(&tenant, words("tea z t5")).await, []);
}

pub(crate) async fn malformed_memories_are_refused(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let long = "x".repeat(MAX_CONTENT + 1);
    for bad in [new(" ", "fact", &[]), new(&long, "fact", &[]), new("x", "A Kind", &[]), new("x", "fact", &["a b"])] {
        assert_eq!(class(tenant.memory_store(bad).await), "invalid");
    }
    assert_eq!(ids(&tenant, words("")).await, []);
}

pub(crate) async fn memories_of_another_tenant_are_out_of_reach(store: Arc<dyn Store>) {
    let (ada, bob) = two_tenants(&store).await;
    let id = stored(&ada, "the key is under the mat").await;
    let own = stored(&bob, "the key is in the door").await;
    assert_eq!(class(bob.memory_get(id).await), "not-found");
    assert_eq!(class(bob.memory_forget(id).await), "not-found");
    assert_eq!(class(bob.memory_tag(id, "mine").await), "not-found");
    assert_eq!(ids(&bob, words("key mat")).await, [own]);
    assert_eq!(ids(&bob, words("")).await, [own]);
    assert_eq!(ids(&ada, words("key door")).await, [id]);
    assert_eq!(ada.memory_get(id).await.unwrap().tags, Vec::<String>::new());
}

pub(crate) async fn the_order_of_hits_tells_nothing_of_other_tenants(store: Arc<dyn Store>) {
    let (ada, bob) = two_tenants(&store).await;
    stored(&bob, "merger").await;
    stored(&bob, "picnic").await;
    let score = async || {
        let hits = recalled(&bob, words("merger picnic")).await;
        hits.iter().map(|hit| (hit.memory.content.clone(), hit.score)).collect::<Vec<_>>()
    };
    let before = score().await;
    for n in 0..50 {
        stored(&ada, &format!("merger number {n}")).await;
    }
    assert_eq!(score().await, before);
}
