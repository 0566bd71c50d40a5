//! Every key of the configuration has an effect, and mistakes are told.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests may panic")]

mod server;

use std::{collections::BTreeMap, sync::Arc};

use animus_core::{
    Error,
    llm::{Content, Image, Message, Models as _, Price, Request, Role, StreamEvent},
};
use animus_llm::{LlmConfig, NO_MODEL, Router};
use serde_json::{Value, json};
use server::{Keys, Reply, Vendor, complete, config, keys, request, stream};

macro_rules! exchange {
    ($name:literal) => {
        include_str!(concat!("exchanges/", $name))
    };
}

fn refused(wrong: Value) -> String {
    match Router::new(config(wrong), keys()) {
        Err(Error::Invalid(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn unknown_keys_are_errors_at_every_level() {
    for wrong in [
        json!({"rolls": {}}),
        json!({"providers": {"x": {"kind": "openai", "baseurl": "http://x"}}}),
        json!({"providers": {"x": {"kind": "azure"}}}),
        json!({"providers": {"x": {"timeouts": {"read_ms": 1}}}}),
        json!({"retry": {"times": 1}}),
        json!({"prices": {"a:b": {"input": 1, "output": 1, "reasoning": 1}}}),
    ] {
        assert!(serde_json::from_value::<LlmConfig>(wrong.clone()).is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn roles_lead_through_aliases_to_models_in_order() {
    let config = config(json!({"roles": {
        "default": "coder",
        "coder": ["anthropic:claude-sonnet-4-5", "cheap"],
        "cheap": ["openai:gpt-4o-mini", "anthropic:claude-sonnet-4-5"],
    }}));
    let router = Router::new(config, keys()).unwrap();
    assert_eq!(router.roles(), ["cheap", "coder", "default", "embed"]);
    let info = router.resolve("").unwrap();
    assert_eq!(info.role, "default");
    assert_eq!(info.models, ["anthropic:claude-sonnet-4-5", "openai:gpt-4o-mini"]);
    assert_eq!(info.context_window, 200_000, "that of the first");
    assert_eq!(info.max_output, 16_384);
    let highest = Price { input: 3_000_000, output: 15_000_000, cached: Some(300_000), cache_write: Some(3_750_000) };
    assert_eq!(info.price, Some(highest));
}

#[test]
fn a_role_of_which_one_model_has_no_price_has_none() {
    let config = config(json!({"roles": {"default": ["openai:gpt-4o-mini", "openai:gpt-99"]}}));
    let info = Router::new(config, keys()).unwrap().resolve("default").unwrap();
    assert_eq!(info.price, None);
}

#[test]
fn roles_that_lead_nowhere_are_errors() {
    let text = refused(json!({"roles": {"a": "b", "b": ["openai:x", "c"], "c": "a"}}));
    assert!(text.contains("leads back to itself: a → b → c → a"), "{text}");
    let text = refused(json!({"roles": {"a": "b"}}));
    assert!(text.contains("'b', which is neither a role nor a model"), "{text}");
    let text = refused(json!({"roles": {"a": []}}));
    assert!(text.contains("role 'a' has no model"), "{text}");
    let text = refused(json!({"roles": {"a": "anthropc:x"}}));
    assert!(text.contains("no provider 'anthropc' (did you mean 'anthropic'?)"), "{text}");
    let text = refused(json!({"roles": {"a": "openai:"}}));
    assert!(text.contains("names no model"), "{text}");
}

#[test]
fn an_unknown_role_is_not_found_with_the_nearest_one() {
    let router = Router::new(config(json!({"roles": {"planner": "openai:x"}})), keys()).unwrap();
    let error = router.resolve("planer").unwrap_err();
    let text = "no model has the role 'planer' (did you mean 'planner'?); there are: planner";
    assert_eq!(error, Error::NotFound(text.into()));
    let empty = Router::new(LlmConfig::default(), keys()).unwrap();
    assert_eq!(empty.resolve("").unwrap_err(), Error::Invalid(format!("no model is configured; {NO_MODEL}")));
}

#[test]
fn providers_that_cannot_be_called_are_errors() {
    for (provider, why) in [
        (json!({"base_url": "http://x"}), "set kind"),
        (json!({"kind": "openai"}), "set base_url"),
        (json!({"kind": "openai", "base_url": "ftp://x"}), "not an http or https URL"),
        (json!({"kind": "openai", "base_url": "http://me:secret@x"}), "no user, password"),
        (json!({"kind": "openai", "base_url": "http://x", "timeouts": {"idle_ms": 0}}), "at least 1 ms"),
        (json!({"kind": "openai", "base_url": "http://x", "headers": {"a b": "c"}}), "no header name"),
    ] {
        let text = refused(json!({"providers": {"mine": provider}}));
        assert!(text.starts_with("llm.providers.mine: ") && text.contains(why), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
    assert!(refused(json!({"providers": {"scripted": {"kind": "openai", "base_url": "http://x"}}})).contains("rename"));
    assert!(refused(json!({"prices": {"openia:x": {"input": 1, "output": 1}}})).contains("did you mean 'openai'?"));
    assert!(refused(json!({"windows": {"nobody:x": 5}})).contains("no provider 'nobody'"));
}

#[tokio::test]
async fn a_declared_provider_is_called_with_its_kind_address_key_headers_and_body() {
    let vendor = Vendor::start([Reply::json(exchange!("openai_text.json"))]).await;
    let config = config(json!({
        "roles": {"default": "openrouter:anthropic/claude-sonnet-4.5"},
        "providers": {"openrouter": {
            "kind": "openai",
            "base_url": format!("{}/api/v1/", vendor.base),
            "key_env": "OPENROUTER_API_KEY",
            "headers": {"x-title": "Animus"},
            "body": {"provider": {"sort": "price"}, "model": "not this"},
        }},
    }));
    let env = BTreeMap::from([("OPENROUTER_API_KEY".into(), "sk-or-v1-abcdef".into())]);
    let router = Router::new(config, Arc::new(Keys { env, ..Keys::default() })).unwrap();
    let answer = complete(&router, request()).await.unwrap();
    assert_eq!(answer.model, "openrouter:anthropic/claude-sonnet-4.5");
    let seen = &vendor.seen()[0];
    assert_eq!(seen.path, "/api/v1/chat/completions");
    assert_eq!(seen.headers["authorization"], "Bearer sk-or-v1-abcdef");
    assert_eq!(seen.headers["x-title"], "Animus");
    assert_eq!(seen.body["provider"], json!({"sort": "price"}));
    assert_eq!(seen.body["model"], "anthropic/claude-sonnet-4.5", "the host's own fields win");
}

async fn key_sent(provider: Value, keys: Keys) -> Option<String> {
    let vendor = Vendor::start([Reply::json(exchange!("openai_text.json"))]).await;
    let mut provider = provider;
    provider["base_url"] = vendor.base.clone().into();
    let config = config(json!({"roles": {"default": "mine:m"}, "providers": {"mine": provider}}));
    complete(&Router::new(config, Arc::new(keys)).unwrap(), request()).await.ok()?;
    vendor.seen()[0].headers.get("authorization").cloned()
}

#[tokio::test]
async fn keys_come_from_the_variable_then_from_the_secret() {
    let one = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
    let both = || Keys { env: one("MY_KEY", "from-variable"), secrets: one("mine", "from-secret") };
    let declared = json!({"kind": "openai", "key_env": "MY_KEY"});
    assert_eq!(key_sent(declared.clone(), both()).await.unwrap(), "Bearer from-variable");
    let only_secret = Keys { env: one("MY_KEY", " "), ..both() };
    assert_eq!(key_sent(declared.clone(), only_secret).await.unwrap(), "Bearer from-secret");
    assert_eq!(key_sent(declared, Keys::default()).await, None, "a key that was named is needed");
    let named = json!({"kind": "openai", "key_secret": "other"});
    let other = Keys { secrets: one("other", "from-other\n"), ..Keys::default() };
    assert_eq!(key_sent(named, other).await.unwrap(), "Bearer from-other");
}

#[tokio::test]
async fn a_server_of_ones_own_needs_no_key() {
    let vendor = Vendor::start([Reply::json(exchange!("openai_text.json"))]).await;
    let config = config(json!({
        "roles": {"default": "lmstudio:m"},
        "providers": {"lmstudio": {"kind": "openai", "base_url": vendor.base}},
    }));
    complete(&Router::new(config, Arc::new(Keys::default())).unwrap(), request()).await.unwrap();
    assert!(!vendor.seen()[0].headers.contains_key("authorization"));
}

#[tokio::test]
async fn stream_false_asks_for_whole_answers() {
    let vendor = Vendor::start([Reply::json(exchange!("openai_tools.json"))]).await;
    let config = config(json!({
        "roles": {"default": "openai:m"},
        "providers": {"openai": {"base_url": vendor.base, "stream": false}},
    }));
    let (events, answer) = stream(&Router::new(config, keys()).unwrap(), request()).await;
    assert_eq!(answer.unwrap().message.tool_uses().count(), 2);
    assert_eq!(vendor.body()["stream"], false);
    assert!(events.contains(&StreamEvent::ToolStart { id: "call_A".into(), name: "fs.read_file".into() }));
}

#[tokio::test]
async fn images_false_leaves_images_out() {
    for (images, parts) in [(true, 1), (false, 0)] {
        let vendor = Vendor::start([Reply::json(exchange!("openai_text.json"))]).await;
        let config = config(json!({
            "roles": {"default": "openai:m"},
            "providers": {"openai": {"base_url": vendor.base, "images": images}},
        }));
        let image = Image { media_type: "image/png".into(), data: b"x".as_slice().into() };
        let messages = vec![Message { role: Role::User, content: vec![Content::Image(image)] }.into()];
        complete(&Router::new(config, keys()).unwrap(), Request { messages, ..request() }).await.unwrap();
        let content = &vendor.body()["messages"][1]["content"];
        assert_eq!(content.as_array().map_or(0, Vec::len), parts, "{content}");
    }
}

#[tokio::test]
async fn a_window_override_holds_and_is_ollamas_num_ctx() {
    let vendor = Vendor::start([Reply::json(exchange!("ollama_tools.json"))]).await;
    let config = config(json!({
        "roles": {"default": "ollama:qwen3:8b"},
        "providers": {"ollama": {"base_url": vendor.base}},
        "windows": {"ollama:qwen3:8b": 32_768},
    }));
    let router = Router::new(config, keys()).unwrap();
    assert_eq!(router.resolve("").unwrap().context_window, 32_768);
    complete(&router, request()).await.unwrap();
    assert_eq!(vendor.body()["options"], json!({"num_ctx": 32_768, "num_predict": 8_192}));
}

#[test]
fn windows_that_nobody_set_are_those_of_the_table_or_the_defaults() {
    let window = |model: &str| {
        let router = Router::new(config(json!({"roles": {"default": model}})), keys()).unwrap();
        let info = router.resolve("").unwrap();
        (info.context_window, info.max_output)
    };
    assert_eq!(window("anthropic:claude-sonnet-5-5"), (1_000_000, 16_384));
    assert_eq!(window("openai:some-finetune"), (128_000, 8_192));
    assert_eq!(window("ollama:qwen3:8b"), (16_384, 8_192), "an answer shares the window");
}

#[test]
fn a_price_override_wins_over_the_table() {
    let config = config(json!({
        "roles": {"default": "openai:gpt-4o"},
        "prices": {"openai:gpt-4o": {"input": 7, "output": 9}},
    }));
    let price = Router::new(config, keys()).unwrap().resolve("").unwrap().price;
    assert_eq!(price, Some(Price { input: 7, output: 9, cached: None, cache_write: None }));
}

async fn tries(retry: Value) -> (usize, Vec<u128>) {
    let busy = Reply::json("{}").status(503);
    let vendor = Vendor::start(std::iter::repeat_n(busy, 9)).await;
    let config = config(json!({
        "roles": {"default": "openai:m"},
        "providers": {"openai": {"base_url": vendor.base}},
        "retry": retry,
    }));
    let (events, _) = stream(&Router::new(config, keys()).unwrap(), request()).await;
    let waits = events.iter().filter_map(|event| match event {
        StreamEvent::Retry { wait, .. } => Some(wait.as_millis()),
        _ => None,
    });
    (vendor.seen().len(), waits.collect())
}

#[tokio::test]
async fn retry_max_bounds_the_tries() {
    assert_eq!(tries(json!({"max": 0, "base_ms": 1})).await.0, 1);
    assert_eq!(tries(json!({"max": 2, "base_ms": 1})).await.0, 3);
}

#[tokio::test]
async fn retry_base_doubles_up_to_the_longest_wait() {
    let (_, waits) = tries(json!({"max": 4, "base_ms": 8, "max_wait_ms": 30})).await;
    for (wait, full) in waits.iter().zip([8, 16, 32, 64]) {
        assert!((full / 2..=full).contains(wait) || *wait == 30, "{waits:?}");
    }
    assert_eq!((waits.len(), waits[3]), (4, 30));
}
