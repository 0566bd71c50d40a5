use std::sync::Arc;

use animus_core::{
    id::MemoryId,
    memory::{
        Coverage, Embedding, Hit, MAX_CONTENT, MAX_EARLIER, MAX_HITS, MAX_TAGS, NewMemory, Query, Recalled, Update,
    },
    store::{Store, Tenant},
};

use super::{class, tenant, two_tenants};

fn new(content: &str, kind: &str, tags: &[&str]) -> NewMemory {
    NewMemory {
        content: content.into(),
        kind: kind.into(),
        tags: tags.iter().map(ToString::to_string).collect(),
        source: "notes".into(),
        ..NewMemory::default()
    }
}

/// A vector of a model that sees three things.
fn pointing(vector: [f32; 3]) -> Embedding {
    Embedding::new("test:three", vector.to_vec()).unwrap()
}

/// A memory that points somewhere.
async fn placed(tenant: &Arc<dyn Tenant>, content: &str, vector: [f32; 3]) -> MemoryId {
    let new = NewMemory { embedding: Some(pointing(vector)), ..new(content, "fact", &[]) };
    tenant.memory_store(new).await.unwrap()
}

fn towards(text: &str, vector: [f32; 3]) -> Query {
    Query { embedding: Some(pointing(vector)), ..words(text) }
}

async fn stored(tenant: &Arc<dyn Tenant>, content: &str) -> MemoryId {
    tenant.memory_store(new(content, "fact", &[])).await.unwrap()
}

fn words(text: &str) -> Query {
    Query { text: text.into(), ..Query::default() }
}

async fn recalled(tenant: &Arc<dyn Tenant>, query: Query) -> Vec<Hit> {
    tenant.memory_recall(query).await.unwrap().hits
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
        kind: kind.map(str::to_owned),
        tags: tags.iter().map(ToString::to_string).collect(),
        ..Query::default()
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

pub(crate) async fn what_points_the_same_way_is_found_without_a_word_in_common(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let cat = placed(&tenant, "the cat sleeps", [1.0, 0.1, 0.0]).await;
    let lion = placed(&tenant, "a lion dozes", [0.9, 0.3, 0.0]).await;
    placed(&tenant, "bread needs salt", [0.0, 0.0, 1.0]).await;
    placed(&tenant, "the opposite of a cat", [-1.0, 0.0, 0.0]).await;
    let hits = recalled(&tenant, towards("feline", [2.0, 0.0, 0.0])).await;
    assert_eq!(hits.iter().map(|hit| hit.memory.id).collect::<Vec<_>>(), [cat, lion]);
    assert_eq!((hits[0].text_rank, hits[0].vector_rank, hits[1].vector_rank), (None, Some(1), Some(2)));
    let expected = 1.0 / (1.0f32 + 0.01).sqrt();
    assert!((hits[0].similarity.unwrap() - expected).abs() < 1e-6, "{hits:?}");
    // A text without words, and none at all, leave the vectors.
    for text in ["", "***"] {
        assert_eq!(ids(&tenant, towards(text, [1.0, 0.0, 0.0])).await, [cat, lion], "{text:?}");
    }
}

pub(crate) async fn what_is_found_both_ways_comes_first(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let by_word = placed(&tenant, "harbour harbour", [0.0, 0.0, 1.0]).await;
    let both = placed(&tenant, "the harbour of a long sentence about other things", [0.9, 0.1, 0.0]).await;
    let by_vector = placed(&tenant, "where ships rest", [1.0, 0.0, 0.0]).await;
    let query = towards("harbour", [1.0, 0.0, 0.0]);
    let Recalled { hits, left_out } = tenant.memory_recall(query.clone()).await.unwrap();
    assert_eq!(left_out, 0);
    // The two others are each first of one list: of equals the newer comes first.
    assert_eq!(hits.iter().map(|hit| hit.memory.id).collect::<Vec<_>>(), [both, by_vector, by_word]);
    assert_eq!((hits[0].text_rank, hits[0].vector_rank), (Some(2), Some(2)));
    assert_eq!(hits[1].score, hits[2].score);
    assert_eq!(tenant.memory_recall(query).await.unwrap().hits, hits, "the same question has the same answer");
}

pub(crate) async fn vectors_of_another_model_are_left_out_and_counted(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let left_out = async |query: Query| tenant.memory_recall(query).await.unwrap().left_out;
    let query = || towards("", [1.0, 0.0, 0.0]);
    assert_eq!(left_out(query()).await, 0);
    let mine = placed(&tenant, "mine", [1.0, 0.0, 0.0]).await;
    let embedded = async |content: &str, model: &str, vector: Vec<f32>| {
        let embedding = Some(Embedding::new(model, vector).unwrap());
        tenant.memory_store(NewMemory { embedding, ..new(content, "fact", &[]) }).await.unwrap()
    };
    let other_model = embedded("other model", "test:other", vec![1.0, 0.0, 0.0]).await;
    let other_dims = embedded("other dims", "test:three", vec![1.0, 0.0]).await;
    let none = stored(&tenant, "no vector").await;
    assert_eq!(ids(&tenant, query()).await, [mine]);
    assert_eq!(left_out(query()).await, 3);
    assert_eq!(left_out(words("mine")).await, 0);
    assert_eq!(tenant.memory_coverage("test:three", 3).await.unwrap(), Coverage { memories: 4, embedded: 1 });
    assert_eq!(tenant.memory_coverage("test:nobody", 3).await.unwrap(), Coverage { memories: 4, embedded: 0 });

    // Embedded anew, page by page, they are found.
    let (mut after, mut seen) = (0, Vec::new());
    loop {
        let page = tenant.memory_unembedded("test:three", 3, after, 2).await.unwrap();
        assert!(page.len() <= 2);
        let Some(last) = page.last() else { break };
        after = last.cursor;
        for one in page {
            assert_eq!(one.content, tenant.memory_get(one.id).await.unwrap().content);
            seen.push(one.id);
            assert!(!tenant.memory_embed(one.id, 7, pointing([1.0, 0.0, 0.0])).await.unwrap(), "another version");
            assert!(tenant.memory_embed(one.id, one.version, pointing([1.0, 0.0, 0.0])).await.unwrap());
        }
    }
    assert_eq!(seen, [other_model, other_dims, none]);
    assert_eq!(left_out(query()).await, 0);
    assert_eq!(ids(&tenant, query()).await, [none, other_dims, other_model, mine]);
    assert_eq!(tenant.memory_unembedded("test:three", 3, 0, 9).await.unwrap(), []);
    tenant.memory_forget(mine).await.unwrap();
    assert!(!tenant.memory_embed(mine, 1, pointing([1.0, 0.0, 0.0])).await.unwrap());
    assert_eq!(tenant.memory_coverage("test:three", 3).await.unwrap(), Coverage { memories: 3, embedded: 3 });
}

pub(crate) async fn filters_hold_for_words_and_vectors_alike(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let store = async |content: &str, kind: &str, tags: &[&str], source: &str| {
        let embedding = Some(pointing([1.0, 0.0, 0.0]));
        let new = NewMemory { source: source.into(), embedding, ..new(content, kind, tags) };
        tenant.memory_store(new).await.unwrap()
    };
    let a = store("river one", "fact", &["x"], "notes").await;
    let b = store("river two", "preference", &["x", "y"], "operator").await;
    let c = store("river three", "fact", &[], "operator").await;
    let both = || towards("river", [1.0, 0.0, 0.0]);
    let found = async |query: Query| {
        let mut found = ids(&tenant, query).await;
        found.sort_unstable();
        found
    };
    assert_eq!(found(Query { kind: Some("fact".into()), ..both() }).await, [a, c]);
    assert_eq!(found(Query { tags: vec!["x".into()], ..both() }).await, [a, b]);
    assert_eq!(found(Query { source: Some("operator".into()), ..both() }).await, [b, c]);
    let kind = Some("preference".to_owned());
    assert_eq!(found(Query { kind, tags: vec!["y".into()], source: Some("notes".into()), ..both() }).await, []);

    // Times: from `since` on, and before `until`.
    let at = tenant.memory_get(b).await.unwrap().updated_ms;
    for query in [both(), words(""), words("river")] {
        let all = found(Query { since_ms: Some(0), until_ms: Some(u64::MAX), ..query.clone() }).await;
        assert_eq!(all, [a, b, c]);
        assert!(found(Query { since_ms: Some(at), ..query.clone() }).await.contains(&b));
        assert!(!found(Query { until_ms: Some(at), ..query.clone() }).await.contains(&b));
        assert!(found(Query { until_ms: Some(at + 1), ..query.clone() }).await.contains(&b));
        assert_eq!(found(Query { since_ms: Some(at + 3_600_000), ..query }).await, []);
    }
}

pub(crate) async fn a_narrow_filter_finds_what_is_far_away(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let far = NewMemory { embedding: Some(pointing([0.1, 1.0, 0.0])), ..new("far", "rare", &[]) };
    let far = tenant.memory_store(far).await.unwrap();
    // More than are looked at before the filter.
    for n in 0..1_100 {
        placed(&tenant, &format!("near {n}"), [1.0, 0.0, 0.0]).await;
    }
    let query = Query { kind: Some("rare".into()), ..towards("", [1.0, 0.0, 0.0]) };
    assert_eq!(ids(&tenant, query).await, [far]);
}

pub(crate) async fn age_counts_when_it_is_asked_to(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    stored(&tenant, "harbour").await;
    let plain = recalled(&tenant, words("harbour")).await;
    let aged = recalled(&tenant, Query { half_life_days: Some(1e-9), ..words("harbour") }).await;
    assert_eq!(aged[0].memory, plain[0].memory);
    assert!(aged[0].score < plain[0].score);
    let slow = recalled(&tenant, Query { half_life_days: Some(1e9), ..words("harbour") }).await;
    assert!((slow[0].score - plain[0].score).abs() < 1e-6);
    for days in [0.0, -1.0, f64::NAN] {
        let bad = Query { half_life_days: Some(days), ..words("harbour") };
        assert_eq!(class(tenant.memory_recall(bad).await), "invalid");
    }
}

pub(crate) async fn an_update_is_a_new_version_and_the_old_ones_are_readable(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let id = tenant.memory_store(new("the harbour is closed", "fact", &["port"])).await.unwrap();
    let before = tenant.memory_get(id).await.unwrap();
    assert_eq!((before.version, before.updated_ms), (1, before.created_ms));
    let update = |content: &str, from| Update { content: content.into(), from, ..Update::default() };
    assert_eq!(tenant.memory_update(id, update("the harbour is open", Some(1))).await.unwrap(), 2);
    let now = tenant.memory_get(id).await.unwrap();
    assert_eq!((now.version, now.content.as_str(), now.created_ms), (2, "the harbour is open", before.created_ms));
    assert!(now.updated_ms >= before.updated_ms);
    assert_eq!((now.kind, now.tags), (before.kind, before.tags));
    assert_eq!(ids(&tenant, words("open port")).await, [id]);
    assert_eq!(ids(&tenant, words("closed")).await, [], "the index has the old words");

    // The same update again, as after a crash, changes nothing; another one from an old version is refused.
    assert_eq!(tenant.memory_update(id, update("the harbour is open", Some(1))).await.unwrap(), 2);
    assert_eq!(class(tenant.memory_update(id, update("the harbour is gone", Some(1))).await), "conflict");
    assert_eq!(class(tenant.memory_update(id, update(" ", None)).await), "invalid");
    assert_eq!(class(tenant.memory_update(MemoryId::new(), update("x", None)).await), "not-found");

    for n in 3..=20 {
        assert_eq!(tenant.memory_update(id, update(&format!("state {n}"), None)).await.unwrap(), n);
    }
    let versions = tenant.memory_versions(id).await.unwrap();
    assert!(versions.iter().map(|it| it.version).eq((10..=20).rev()), "{versions:?}");
    assert_eq!(versions.len(), MAX_EARLIER as usize + 1);
    assert_eq!((versions[0].content.as_str(), versions[10].content.as_str()), ("state 20", "state 10"));
    tenant.memory_forget(id).await.unwrap();
    assert_eq!(class(tenant.memory_versions(id).await), "not-found");
}

pub(crate) async fn an_update_moves_the_vector_too(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let id = placed(&tenant, "ships", [1.0, 0.0, 0.0]).await;
    let (old, new) = (|| towards("", [1.0, 0.0, 0.0]), || towards("", [0.0, 1.0, 0.0]));
    assert_eq!(ids(&tenant, old()).await, [id]);
    let update = |content: &str, embedding| Update { content: content.into(), embedding, ..Update::default() };
    tenant.memory_update(id, update("trains", Some(pointing([0.0, 1.0, 0.0])))).await.unwrap();
    assert_eq!(ids(&tenant, old()).await, []);
    assert_eq!(ids(&tenant, new()).await, [id]);
    // Without a vector it is found by its words only, and reindexing finds it.
    tenant.memory_update(id, update("planes", None)).await.unwrap();
    assert_eq!(ids(&tenant, new()).await, []);
    assert_eq!(ids(&tenant, words("planes")).await, [id]);
    assert_eq!(tenant.memory_unembedded("test:three", 3, 0, 9).await.unwrap()[0].id, id);
    // The same content again brings the missing vector.
    tenant.memory_update(id, update("planes", Some(pointing([0.0, 1.0, 0.0])))).await.unwrap();
    assert_eq!(ids(&tenant, new()).await, [id]);
}

pub(crate) async fn a_named_memory_is_stored_once(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let id = MemoryId::new();
    let named = |content: &str| NewMemory { id: Some(id), ..new(content, "fact", &[]) };
    assert_eq!(tenant.memory_store(named("once")).await.unwrap(), id);
    assert_eq!(tenant.memory_store(named("once")).await.unwrap(), id);
    assert_eq!(ids(&tenant, words("")).await, [id]);
    assert_eq!(class(tenant.memory_store(named("something else")).await), "conflict");
    tenant.memory_update(id, Update { content: "later".into(), ..Update::default() }).await.unwrap();
    assert_eq!(tenant.memory_store(named("once")).await.unwrap(), id);
    assert_eq!(tenant.memory_get(id).await.unwrap().content, "later");
    // What was forgotten does not come back by being stored again.
    tenant.memory_forget(id).await.unwrap();
    assert_eq!(tenant.memory_store(named("once")).await.unwrap(), id);
    assert_eq!(class(tenant.memory_get(id).await), "not-found");
    assert_eq!(tenant.memory_coverage("test:three", 3).await.unwrap().memories, 0);
}

pub(crate) async fn of_many_who_store_one_name_at_once_one_does(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let id = MemoryId::new();
    let writers = (0..8).map(|n| {
        let tenant = tenant.clone();
        // Half of them say one thing, half another.
        let named = NewMemory { id: Some(id), ..new(["this", "that"][n % 2], "fact", &[]) };
        tokio::spawn(async move { tenant.memory_store(named).await })
    });
    let results: Vec<_> = futures::future::join_all(writers).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 4);
    assert_eq!(ids(&tenant, words("")).await, [id]);
}

pub(crate) async fn a_forgotten_vector_is_found_by_nothing(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let gone = placed(&tenant, "gone", [1.0, 0.0, 0.0]).await;
    let query = || towards("", [1.0, 0.0, 0.0]);
    assert_eq!(ids(&tenant, query()).await, [gone]);
    tenant.memory_forget(gone).await.unwrap();
    assert_eq!(ids(&tenant, query()).await, []);
    let stays = placed(&tenant, "stays", [0.9, 0.1, 0.0]).await;
    assert_eq!(ids(&tenant, query()).await, [stays]);
}

pub(crate) async fn every_handle_sees_the_vectors_that_another_wrote(store: Arc<dyn Store>) {
    let (one, other) = (tenant(&store, "local").await, tenant(&store, "local").await);
    let query = || towards("", [1.0, 0.0, 0.0]);
    let a = placed(&one, "a", [1.0, 0.0, 0.0]).await;
    assert_eq!(ids(&other, query()).await, [a]);
    let b = placed(&one, "b", [1.0, 0.1, 0.0]).await;
    assert_eq!(ids(&other, query()).await, [a, b]);
    one.memory_forget(a).await.unwrap();
    assert_eq!(ids(&other, query()).await, [b]);
    other.memory_update(b, Update { content: "c".into(), ..Update::default() }).await.unwrap();
    assert_eq!(ids(&one, query()).await, []);
}

pub(crate) async fn vectors_of_another_tenant_are_out_of_reach_and_change_no_order(store: Arc<dyn Store>) {
    let (ada, bob) = two_tenants(&store).await;
    for n in 0..20 {
        placed(&ada, &format!("secret {n}"), [1.0, 0.0, 0.0]).await;
    }
    let query = || towards("secret", [1.0, 0.0, 0.0]);
    let nothing = bob.memory_recall(query()).await.unwrap();
    assert_eq!(nothing, Recalled::default());
    let own = placed(&bob, "a picnic", [0.5, 0.5, 0.0]).await;
    let before = bob.memory_recall(query()).await.unwrap();
    assert_eq!(before.hits[0].memory.id, own);
    placed(&ada, "secret of a picnic", [0.5, 0.5, 0.0]).await;
    assert_eq!(bob.memory_recall(query()).await.unwrap(), before);
    assert_eq!(bob.memory_unembedded("test:other", 3, 0, 9).await.unwrap().len(), 1);
    assert_eq!(bob.memory_coverage("test:three", 3).await.unwrap(), Coverage { memories: 1, embedded: 1 });
    assert!(!bob.memory_embed(ids(&ada, words("")).await[0], 1, pointing([1.0, 0.0, 0.0])).await.unwrap());
    let stranger = ids(&ada, words("")).await[0];
    let update = Update { content: "mine now".into(), ..Update::default() };
    assert_eq!(class(bob.memory_update(stranger, update).await), "not-found");
    assert_eq!(class(bob.memory_versions(stranger).await), "not-found");
}
