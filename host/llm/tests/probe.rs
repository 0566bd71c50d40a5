//! Which models are there.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests may panic")]

mod server;

use std::{collections::BTreeMap, sync::Arc};

use animus_core::Error;
use animus_llm::{Detected, ProbeState, Router, detect};
use serde_json::json;
use server::{KEY, Keys, Reply, Vendor, config, keys, router};

macro_rules! exchange {
    ($name:literal) => {
        include_str!(concat!("exchanges/", $name))
    };
}

async fn state(router: &Router) -> ProbeState {
    let mut probes = router.probe("").await.unwrap();
    assert_eq!(probes.len(), 1);
    probes.remove(0).state
}

#[tokio::test]
async fn a_model_that_the_vendor_lists_is_ready() {
    let list = r#"{"data": [{"type": "model", "id": "claude-sonnet-4-5", "display_name": "Claude Sonnet 4.5"}]}"#;
    let vendor = Vendor::start([Reply::json(list)]).await;
    assert_eq!(state(&router("anthropic:claude-sonnet-4-5", &vendor.base)).await, ProbeState::Ready);
    let seen = &vendor.seen()[0];
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("GET", "/v1/models"));
    assert_eq!(seen.headers["x-api-key"], KEY);
}

#[tokio::test]
async fn a_model_of_ollama_that_is_not_pulled_says_how_to_get_it() {
    let tags = || Reply::json(exchange!("ollama_tags.json"));
    let vendor = Vendor::start([tags(), tags()]).await;
    let missing = ProbeState::NoModel("ollama has not got 'gemma3'; type `ollama pull gemma3`".into());
    assert_eq!(state(&router("ollama:gemma3", &vendor.base)).await, missing);
    assert_eq!(state(&router("ollama:llava", &vendor.base)).await, ProbeState::Ready, "without its tag");
}

#[tokio::test]
async fn a_server_without_a_list_counts_as_ready() {
    let vendor = Vendor::start([Reply::json("{}").status(404)]).await;
    assert_eq!(state(&router("openai:m", &vendor.base)).await, ProbeState::Ready);
}

#[tokio::test]
async fn what_is_missing_is_told_apart() {
    let vendor = Vendor::start([Reply::json(exchange!("openai_bad_key.json")).status(401)]).await;
    assert!(
        matches!(state(&router("openai:m", &vendor.base)).await, ProbeState::Key(text) if text.contains("refused the key"))
    );

    let keyless = Router::new(config(json!({"roles": {"default": "openai:m"}})), Arc::new(Keys::default())).unwrap();
    assert!(matches!(state(&keyless).await, ProbeState::Key(text) if text.contains("OPENAI_API_KEY")));

    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let away = router("ollama:m", &format!("http://{free}"));
    assert!(matches!(state(&away).await, ProbeState::Unreachable(text) if text.contains("cannot reach ollama")));

    let scripted = Router::new(config(json!({"roles": {"default": "scripted:/nowhere.json"}})), keys()).unwrap();
    assert!(matches!(state(&scripted).await, ProbeState::NoModel(text) if text.contains("/nowhere.json")));

    assert!(matches!(scripted.probe("other").await, Err(Error::NotFound(_))));
}

#[tokio::test]
async fn what_is_there_is_detected_keys_first_then_ollama() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let away = config(json!({"providers": {"ollama": {"base_url": format!("http://{free}")}}}));
    let one = |name: &str| BTreeMap::from([(name.to_owned(), KEY.to_owned())]);
    let model = |found: Option<Detected>| found.map(|found| found.model);

    let both = keys();
    assert_eq!(model(detect(&away, both.as_ref()).await.unwrap()).unwrap(), "anthropic:claude-sonnet-5-5");
    let stored = Keys { secrets: one("anthropic"), ..Keys::default() };
    assert_eq!(model(detect(&away, &stored).await.unwrap()).unwrap(), "anthropic:claude-sonnet-5-5");
    let openai = Keys { env: one("OPENAI_API_KEY"), ..Keys::default() };
    assert_eq!(model(detect(&away, &openai).await.unwrap()).unwrap(), "openai:gpt-4.1");
    assert_eq!(detect(&away, &Keys::default()).await.unwrap(), None);

    let vendor = Vendor::start([Reply::json(exchange!("ollama_tags.json"))]).await;
    let there = config(json!({"providers": {"ollama": {"base_url": vendor.base}}}));
    let found = detect(&there, &Keys::default()).await.unwrap().unwrap();
    assert_eq!(found.model, "ollama:qwen3:8b");
    assert_eq!(found.because, format!("Ollama answers at {}", vendor.base));
}
