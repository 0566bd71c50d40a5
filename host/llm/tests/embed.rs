//! Embeddings over the wire, and those that this host computes.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests may panic")]

mod server;

use animus_core::{
    Error,
    llm::{Embeddings, MAX_EMBEDDED_TEXT, MAX_EMBEDDED_TEXTS, Models as _, Usage},
};
use animus_llm::{ProbeState, Router};
use serde_json::{Value, json};
use server::{KEY, Reply, Vendor, complete, config, keys, request};
use tokio_util::sync::CancellationToken;

macro_rules! exchange {
    ($name:literal) => {
        include_str!(concat!("exchanges/", $name))
    };
}

/// The role `embed` served by `models` at `base`; one quick retry.
fn router(models: Value, base: &str) -> Router {
    let config = config(json!({
        "roles": {"embed": models},
        "providers": {"openai": {"base_url": base, "body": {"reasoning_effort": "low"}}, "ollama": {"base_url": base}},
        "retry": {"max": 1, "base_ms": 1, "max_wait_ms": 1000},
    }));
    Router::new(config, keys()).unwrap()
}

async fn embed(router: &Router, texts: &[&str]) -> Result<Embeddings, Error> {
    let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
    router.embed("embed", &texts, CancellationToken::new()).await
}

fn numbers(vectors: &[&[f32]]) -> Reply {
    let data: Vec<_> = vectors.iter().enumerate().map(|(n, v)| json!({"index": n, "embedding": v})).collect();
    Reply::json(json!({"data": data, "usage": {"prompt_tokens": vectors.len()}}).to_string())
}

#[tokio::test]
async fn openai_is_asked_for_numbers_and_its_order_is_that_of_the_texts() {
    let vendor = Vendor::start([Reply::json(exchange!("openai_embeddings.json"))]).await;
    let router = router(json!("openai:text-embedding-3-small"), &vendor.base);
    let answer = embed(&router, &["tea", "coffee"]).await.unwrap();
    assert_eq!(answer.vectors, [[0.5, -0.25, 0.125], [-0.006_929_283, 1.0, 0.0]]);
    assert_eq!((answer.model.as_str(), answer.dims), ("openai:text-embedding-3-small", 3));
    assert_eq!(answer.usage, Usage { input_tokens: 5, ..Usage::default() });
    assert_eq!(answer.cost_microusd, None, "the list price holds at the vendor's own address");
    let seen = &vendor.seen()[0];
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/embeddings"));
    assert_eq!(seen.headers["authorization"], format!("Bearer {KEY}"));
    let body = json!({"model": "text-embedding-3-small", "input": ["tea", "coffee"], "encoding_format": "float"});
    assert_eq!(seen.body, body, "further fields are for conversations");
}

#[tokio::test]
async fn ollama_is_asked_by_its_own_endpoint_and_has_no_bill() {
    let vendor = Vendor::start([Reply::json(exchange!("ollama_embed.json"))]).await;
    let answer = embed(&router(json!("ollama:all-minilm"), &vendor.base), &["tea", "coffee"]).await.unwrap();
    assert_eq!(answer.vectors.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4]);
    assert_eq!(answer.usage.input_tokens, 8);
    assert_eq!(answer.cost_microusd, Some(0));
    let seen = &vendor.seen()[0];
    assert_eq!(seen.path, "/api/embed");
    assert_eq!(seen.body, json!({"model": "all-minilm", "input": ["tea", "coffee"]}));
}

#[tokio::test]
async fn what_was_counted_is_charged_by_the_price_of_the_configuration() {
    let vendor = Vendor::start([numbers(&[&[1.0]])]).await;
    let config = config(json!({
        "roles": {"embed": "openai:e"},
        "providers": {"openai": {"base_url": vendor.base}},
        "prices": {"openai:e": {"input": 3_000_000, "output": 0}},
    }));
    let router = Router::new(config, keys()).unwrap();
    assert_eq!(embed(&router, &["x"]).await.unwrap().cost_microusd, Some(3));
    assert_eq!(router.resolve("embed").unwrap().price.unwrap().input, 3_000_000);
}

#[tokio::test]
async fn many_texts_are_several_requests_and_one_answer() {
    let (first, second) = (vec![[1.0f32].as_slice(); 64], vec![[2.0f32].as_slice(); 6]);
    let vendor = Vendor::start([numbers(&first), numbers(&second)]).await;
    let texts: Vec<String> = (0..70).map(|n| format!("text {n}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let answer = embed(&router(json!("openai:e"), &vendor.base), &texts).await.unwrap();
    assert_eq!(answer.vectors.len(), 70);
    assert_eq!((&answer.vectors[63], &answer.vectors[64]), (&vec![1.0], &vec![2.0]));
    assert_eq!(answer.usage.input_tokens, 70);
    assert_eq!(vendor.seen()[1].body["input"][0], "text 64");
}

#[tokio::test]
async fn a_limit_is_waited_out_and_then_the_next_model_answers_for_all_texts() {
    let limited = || Reply::json(exchange!("anthropic_limited.json")).status(429).header("retry-after-ms", "1");
    let vendor = Vendor::start([limited(), numbers(&[&[1.0]])]).await;
    assert_eq!(embed(&router(json!("openai:e"), &vendor.base), &["x"]).await.unwrap().vectors, [[1.0]]);

    let vendor = Vendor::start([limited(), limited(), Reply::json(exchange!("ollama_embed.json"))]).await;
    let answer = embed(&router(json!(["openai:e", "ollama:all-minilm"]), &vendor.base), &["a", "b"]).await.unwrap();
    assert_eq!(answer.model, "ollama:all-minilm");
    let paths: Vec<_> = vendor.seen().into_iter().map(|seen| seen.path).collect();
    assert_eq!(paths, ["/embeddings", "/embeddings", "/api/embed"]);
}

#[tokio::test]
async fn a_refused_key_is_told_without_the_key() {
    let refused = || Reply::json(exchange!("openai_bad_key.json")).status(401);
    let vendor = Vendor::start([refused()]).await;
    let error = embed(&router(json!("openai:e"), &vendor.base), &["x"]).await.unwrap_err();
    assert!(error.class() == "invalid" && !error.to_string().contains(KEY), "{error}");
}

#[tokio::test]
async fn answers_that_are_no_vectors_are_refused() {
    let long = json!({"data": [{"index": 0, "embedding": vec![0.5; 5_000]}]});
    for broken in [
        json!({}),
        json!({"data": []}),
        json!({"data": [{"index": 0, "embedding": []}]}),
        json!({"data": [{"index": 0, "embedding": ["a"]}]}),
        json!({"data": [{"index": 0, "embedding": [1e300]}]}),
        json!({"data": [{"index": 7, "embedding": [1.0]}]}),
        json!({"data": [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}]}),
        json!({"data": "AAAA"}),
        json!([]),
        long,
    ] {
        let reply = || Reply::json(broken.to_string());
        let vendor = Vendor::start([reply(), reply()]).await;
        let error = embed(&router(json!("openai:e"), &vendor.base), &["x"]).await.unwrap_err();
        assert!(matches!(&error, Error::Unavailable(text) if text.contains("breaks its own format")), "{error}");
    }
    let uneven = || numbers(&[&[1.0], &[1.0, 2.0]]);
    let vendor = Vendor::start([uneven(), uneven()]).await;
    let error = embed(&router(json!("openai:e"), &vendor.base), &["x", "y"]).await.unwrap_err();
    assert!(error.to_string().contains("different dimensions"), "{error}");
}

#[tokio::test]
async fn texts_out_of_bounds_are_refused_before_anybody_is_asked() {
    let router = Router::new(config(json!({})), keys()).unwrap();
    let long = "x".repeat(MAX_EMBEDDED_TEXT + 1);
    for bad in [vec![], vec![" "], vec!["x", ""], vec![long.as_str()], vec!["x"; MAX_EMBEDDED_TEXTS + 1]] {
        assert_eq!(embed(&router, &bad).await.unwrap_err().class(), "invalid");
    }
}

#[tokio::test]
async fn without_configuration_this_host_embeds_itself() {
    let router = Router::new(config(json!({})), keys()).unwrap();
    let info = router.resolve("embed").unwrap();
    assert_eq!(info.models, ["lexical:384"]);
    assert_eq!(info.price.unwrap().input, 0);
    let answer = embed(&router, &["The deploy key", "THE DEPLOY KEY!", "bread"]).await.unwrap();
    assert_eq!((answer.model.as_str(), answer.dims, answer.cost_microusd), ("lexical:384", 384, Some(0)));
    assert_eq!(answer.vectors[0], answer.vectors[1]);
    assert_ne!(answer.vectors[0], answer.vectors[2]);
    assert_eq!(router.probe("embed").await.unwrap()[0].state, ProbeState::Ready);

    let router = Router::new(config(json!({"roles": {"embed": "lexical:100"}})), keys()).unwrap();
    assert_eq!(embed(&router, &["x"]).await.unwrap().dims, 100);
}

#[tokio::test]
async fn models_that_make_no_embeddings_say_so_and_name_others() {
    for (model, why) in [
        (json!("anthropic:claude-sonnet-4-5"), "Anthropic has no such endpoint"),
        (json!(["openai:e", "scripted:x.json"]), "a transcript holds none"),
    ] {
        let error = Router::new(config(json!({"roles": {"embed": model}})), keys()).unwrap_err().to_string();
        assert!(error.contains("llm.roles.embed: ") && error.contains(why) && error.contains("lexical:384"), "{error}");
    }
    // Any other role may be asked too, and says so then.
    let router = Router::new(config(json!({"roles": {"default": "anthropic:x"}})), keys()).unwrap();
    let error = router.embed("default", &["x".into()], CancellationToken::new()).await.unwrap_err();
    assert!(error.class() == "invalid" && error.to_string().contains("no such endpoint"), "{error}");
    let error = router.embed("nobody", &["x".into()], CancellationToken::new()).await.unwrap_err();
    assert_eq!(error.class(), "not-found");
}

#[tokio::test]
async fn an_embedder_answers_no_questions_and_has_no_provider_to_declare() {
    let router = Router::new(config(json!({"roles": {"default": "lexical:384"}})), keys()).unwrap();
    let error = complete(&router, request()).await.unwrap_err();
    assert!(error.to_string().contains("lexical:384 makes embeddings only"), "{error}");
    for wrong in [
        json!({"roles": {"embed": "lexical:7"}}),
        json!({"roles": {"embed": "lexical:many"}}),
        json!({"providers": {"lexical": {"kind": "openai", "base_url": "http://x"}}}),
    ] {
        assert!(matches!(Router::new(config(wrong), keys()), Err(Error::Invalid(_))));
    }
}

#[tokio::test]
async fn cancelling_ends_the_waiting() {
    let vendor = Vendor::start([Reply::silence()]).await;
    let router = router(json!("openai:e"), &vendor.base);
    let cancel = CancellationToken::new();
    let texts = ["x".to_owned()];
    let asked = router.embed("embed", &texts, cancel.clone());
    let stop = async {
        while vendor.seen().is_empty() {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    assert_eq!(tokio::join!(asked, stop).0.unwrap_err(), Error::Cancelled);
}
