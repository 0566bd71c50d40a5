//! What happens when a vendor fails: retries, fallbacks, timeouts, cancellation, and texts without keys.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests may panic")]

mod server;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use animus_core::{
    Error,
    llm::{Models as _, StreamEvent},
};
use animus_llm::Router;
use futures::StreamExt as _;
use serde_json::{Value, json};
use server::{KEY, Keys, Reply, Vendor, complete, config, keys, request, router, stream};
use tokio_util::sync::CancellationToken;

macro_rules! exchange {
    ($name:literal) => {
        include_str!(concat!("exchanges/", $name))
    };
}

const CLAUDE: &str = "anthropic:claude-sonnet-4-5";

fn hello() -> Reply {
    Reply::sse(exchange!("anthropic_text.sse"))
}

/// A stream that stops after its text.
fn half_a_stream() -> &'static str {
    exchange!("anthropic_text.sse").split("event: content_block_stop").next().unwrap()
}

fn retries(events: &[StreamEvent]) -> Vec<(String, Duration)> {
    let retries = events.iter().filter_map(|event| match event {
        StreamEvent::Retry { reason, wait } => Some((reason.clone(), *wait)),
        _ => None,
    });
    retries.collect()
}

/// Two providers: the role `default` tries the first, then the second.
fn with_fallback(first: &Vendor, second: &Vendor) -> Router {
    let config = config(json!({
        "roles": {"default": ["anthropic:first", "openai:second"]},
        "providers": {"anthropic": {"base_url": first.base}, "openai": {"base_url": second.base}},
        "retry": {"max": 1, "base_ms": 1, "max_wait_ms": 1000},
    }));
    Router::new(config, keys()).unwrap()
}

#[tokio::test]
async fn a_limit_is_waited_out_as_long_as_the_vendor_asks() {
    let limited = Reply::json(exchange!("anthropic_limited.json")).status(429).header("retry-after-ms", "25");
    let vendor = Vendor::start([limited, hello()]).await;
    let (events, answer) = stream(&router(CLAUDE, &vendor.base), request()).await;
    assert_eq!(answer.unwrap().message.text(), "Hello!");
    let retries = retries(&events);
    assert_eq!(retries.len(), 1);
    assert!(retries[0].0.contains("anthropic limits us (429): This request would exceed"), "{retries:?}");
    assert_eq!(retries[0].1, Duration::from_millis(25));
}

#[tokio::test]
async fn a_vendors_limit_is_unavailability_and_never_our_own_budget() {
    let limited = || Reply::json(exchange!("anthropic_limited.json")).status(429).header("retry-after", "0");
    let vendor = Vendor::start([limited(), limited(), limited(), limited()]).await;
    let error = complete(&router(CLAUDE, &vendor.base), request()).await.unwrap_err();
    assert!(matches!(&error, Error::Unavailable(text) if text.contains("limits us (429)")), "{error:?}");
    assert_eq!(vendor.seen().len(), 4, "one try and three more");
}

#[tokio::test]
async fn a_wait_beyond_the_longest_is_not_waited_for_but_told() {
    let limited = Reply::json(exchange!("anthropic_limited.json")).status(429).header("retry-after", "30");
    let vendor = Vendor::start([limited]).await;
    let error = complete(&router(CLAUDE, &vendor.base), request()).await.unwrap_err();
    assert!(error.to_string().ends_with("; retry after 30 s"), "{error}");
    assert_eq!(vendor.seen().len(), 1);
}

#[tokio::test]
async fn an_overload_before_the_answer_and_one_within_it_are_tried_again() {
    let before = Reply::json(exchange!("anthropic_overloaded.json")).status(529);
    let within = Reply::sse(exchange!("anthropic_overloaded.sse"));
    let vendor = Vendor::start([before, within, hello()]).await;
    let (events, answer) = stream(&router(CLAUDE, &vendor.base), request()).await;
    assert_eq!(answer.unwrap().message.text(), "Hello!", "nothing of the failed try is left");
    let half = events.iter().position(|event| *event == StreamEvent::Text("Half an ans".into())).unwrap();
    assert!(
        matches!(&events[half + 1], StreamEvent::Retry { reason, .. } if reason.contains("is overloaded (529): Overloaded"))
    );
    assert_eq!(retries(&events).len(), 2);
}

#[tokio::test]
async fn every_vendors_error_within_a_stream_is_tried_again() {
    for (model, broken, whole) in [
        ("openai:m", Reply::sse(exchange!("openrouter_broken.sse")), Reply::sse(exchange!("openai_text.sse"))),
        ("ollama:m", Reply::ndjson(exchange!("ollama_broken.ndjson")), Reply::ndjson(exchange!("ollama_tools.ndjson"))),
    ] {
        let vendor = Vendor::start([broken, whole]).await;
        let (events, answer) = stream(&router(model, &vendor.base), request()).await;
        assert!(!answer.unwrap().message.content.is_empty());
        assert_eq!(retries(&events).len(), 1, "{model}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_within_the_answer_is_tried_again() {
    let half = half_a_stream();
    let vendor = Vendor::start([Reply::sse(half).then_cut(), hello()]).await;
    let (events, answer) = stream(&router(CLAUDE, &vendor.base), request()).await;
    assert_eq!(answer.unwrap().message.text(), "Hello!");
    assert!(retries(&events)[0].0.contains("the connection to anthropic broke"), "{events:?}");
}

#[tokio::test]
async fn a_stream_that_closes_before_its_final_event_is_never_presented_as_whole() {
    let unfinished = exchange!("anthropic_text.sse").split("event: message_stop").next().unwrap();
    let vendor = Vendor::start(std::iter::repeat_n(Reply::sse(unfinished), 4)).await;
    let (events, answer) = stream(&router(CLAUDE, &vendor.base), request()).await;
    let error = answer.unwrap_err();
    assert!(matches!(&error, Error::Unavailable(text) if text.contains("broke off before its end")), "{error:?}");
    assert_eq!(retries(&events).len(), 3);
}

#[tokio::test]
async fn a_refused_request_is_not_repeated_and_keeps_status_and_words() {
    let refusal = Reply::json(exchange!("openai_bad_request.json")).status(400);
    let (first, second) = (Vendor::start([]).await, Vendor::start([]).await);
    let vendor = Vendor::start([refusal]).await;
    let error = complete(&router("openai:m", &vendor.base), request()).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)));
    assert!(
        error.to_string().contains("refused the request (400): Invalid schema for function 'fs__read_file'"),
        "{error}"
    );
    assert!(!error.is_context_overflow());
    assert_eq!((first.seen().len(), second.seen().len(), vendor.seen().len()), (0, 0, 1));
}

#[tokio::test]
async fn a_conversation_that_is_too_long_is_recognised_by_every_vendors_words() {
    for (model, status, body) in [
        (CLAUDE, 400, exchange!("anthropic_too_long.json")),
        (
            CLAUDE,
            413,
            r#"{"type":"error","error":{"type":"request_too_large","message":"Request exceeds the maximum size"}}"#,
        ),
        ("openai:m", 400, exchange!("openai_too_long.json")),
        (
            "openai:llama-cpp",
            400,
            r#"{"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error"}}"#,
        ),
        ("ollama:m", 400, r#"{"error":"the input length exceeds the context length"}"#),
    ] {
        let vendor = Vendor::start([Reply::json(body).status(status)]).await;
        let error = complete(&router(model, &vendor.base), request()).await.unwrap_err();
        assert!(error.is_context_overflow(), "{model}: {error}");
    }
}

#[tokio::test]
async fn when_a_model_stays_away_the_next_one_answers() {
    let overloaded = || Reply::json(exchange!("anthropic_overloaded.json")).status(529);
    let first = Vendor::start([overloaded(), overloaded()]).await;
    let second = Vendor::start([Reply::sse(exchange!("openai_text.sse"))]).await;
    let (events, answer) = stream(&with_fallback(&first, &second), request()).await;
    assert_eq!(answer.unwrap().model, "openai:second");
    let last = retries(&events).pop().unwrap();
    assert!(last.0.ends_with("; now trying openai:second"), "{last:?}");
    assert_eq!(last.1, Duration::ZERO);
    assert_eq!(first.seen().len(), 2, "one try and one more");
}

#[tokio::test]
async fn what_waiting_does_not_cure_goes_to_the_next_model_at_once() {
    for (status, body) in [
        (401, exchange!("openai_bad_key.json")),
        (402, r#"{"error":{"message":"Insufficient Balance"}}"#),
        (403, r#"{"error":{"message":"not for you"}}"#),
        (404, exchange!("ollama_no_model.json")),
        (429, exchange!("openai_no_credit.json")),
        (400, exchange!("anthropic_too_long.json")),
        (302, ""),
    ] {
        let first = Vendor::start([Reply::json(body).status(status)]).await;
        let second = Vendor::start([Reply::json(exchange!("openai_text.json"))]).await;
        let answer = complete(&with_fallback(&first, &second), request()).await.unwrap();
        assert_eq!(answer.model, "openai:second", "{status}");
        assert_eq!(first.seen().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_request_that_one_vendor_finds_wrong_is_not_taken_to_the_next() {
    let first = Vendor::start([Reply::json(exchange!("openai_bad_request.json")).status(400)]).await;
    let second = Vendor::start([]).await;
    complete(&with_fallback(&first, &second), request()).await.unwrap_err();
    assert_eq!(second.seen().len(), 0);
}

#[tokio::test]
async fn when_all_models_fail_the_last_error_names_the_earlier_ones() {
    let first = Vendor::start([Reply::json(exchange!("ollama_no_model.json")).status(404)]).await;
    let second = Vendor::start([Reply::json(exchange!("openai_too_long.json")).status(400)]).await;
    let error = complete(&with_fallback(&first, &second), request()).await.unwrap_err();
    assert!(error.is_context_overflow(), "the class is that of the last: {error}");
    assert!(error.to_string().contains("(before that: anthropic does not know model 'first' (404)"), "{error}");
}

#[tokio::test]
async fn a_redirect_is_not_followed_because_the_key_would_go_with_it() {
    let elsewhere = Vendor::start([]).await;
    let vendor = Vendor::start([Reply::json("").status(307).header("location", elsewhere.base.clone())]).await;
    let error = complete(&router(CLAUDE, &vendor.base), request()).await.unwrap_err();
    assert!(error.to_string().contains("correct its base_url (307)"), "{error}");
    assert_eq!(elsewhere.seen().len(), 0);
}

#[tokio::test]
async fn a_vendor_that_cannot_be_reached_is_unavailable() {
    // Bound and dropped: nobody listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = complete(&router("ollama:m", &format!("http://{free}")), request()).await.unwrap_err();
    assert!(matches!(&error, Error::Unavailable(text) if text.starts_with("cannot reach ollama at")), "{error:?}");
}

fn impatient(base: &str, timeouts: Value) -> Router {
    let config = config(json!({
        "roles": {"default": CLAUDE},
        "providers": {"anthropic": {"base_url": base, "timeouts": timeouts}},
        "retry": {"max": 0},
    }));
    Router::new(config, keys()).unwrap()
}

fn assert_timeout(error: &Error, what: &str) {
    assert!(matches!(error, Error::Timeout(text) if text.contains(what)), "{error:?}");
}

#[tokio::test]
async fn a_connection_that_is_never_made_times_out() {
    // It accepts, and then says nothing: the TLS handshake never ends.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("https://{}", silent.local_addr().unwrap());
    let error = complete(&impatient(&base, json!({"connect_ms": 50})), request()).await.unwrap_err();
    assert_timeout(&error, "cannot connect to anthropic");
}

#[tokio::test]
async fn a_stream_that_never_begins_times_out() {
    for silence in [Reply::silence(), Reply::sse("").then_hang()] {
        let vendor = Vendor::start([silence]).await;
        let (_, answer) = stream(&impatient(&vendor.base, json!({"first_byte_ms": 50})), request()).await;
        assert_timeout(&answer.unwrap_err(), "no first byte");
    }
}

#[tokio::test]
async fn a_stream_that_falls_silent_times_out() {
    let half = half_a_stream();
    let vendor = Vendor::start([Reply::sse(half).then_hang()]).await;
    let (events, answer) = stream(&impatient(&vendor.base, json!({"idle_ms": 50})), request()).await;
    assert_timeout(&answer.unwrap_err(), "nothing further");
    assert!(!events.is_empty());
}

#[tokio::test]
async fn an_answer_that_takes_too_long_in_all_times_out() {
    for whole in [true, false] {
        let vendor = Vendor::start([Reply::silence()]).await;
        let router = impatient(&vendor.base, json!({"total_ms": 50}));
        let error = if whole {
            complete(&router, request()).await.unwrap_err()
        } else {
            stream(&router, request()).await.1.unwrap_err()
        };
        assert_timeout(&error, "did not finish its answer");
    }
}

#[tokio::test]
async fn cancelling_ends_a_call_wherever_it_waits() {
    let busy = || Reply::json(exchange!("anthropic_overloaded.json")).status(529).header("retry-after", "1");
    let half = || Reply::sse(half_a_stream()).then_hang();
    for waiting in [Reply::silence(), busy(), half()] {
        let vendor = Vendor::start([waiting]).await;
        let router = router(CLAUDE, &vendor.base);
        let cancel = CancellationToken::new();
        let mut stream = router.stream(request(), cancel.clone()).await.unwrap();
        while vendor.seen().is_empty() {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
        let mut last = None;
        while let Some(event) = stream.next().await {
            last = Some(event);
        }
        assert_eq!(last, Some(Err(Error::Cancelled)));
    }
}

#[tokio::test]
async fn a_cancelled_whole_call_says_so() {
    let vendor = Vendor::start([Reply::silence()]).await;
    let cancel = CancellationToken::new();
    cancel.cancel();
    let error = router(CLAUDE, &vendor.base).complete(request(), cancel).await.unwrap_err();
    assert_eq!(error, Error::Cancelled);
    assert!(vendor.seen().is_empty(), "nothing was asked");
}

#[tokio::test]
async fn dropping_a_stream_gives_up_the_request() {
    let busy = Reply::json(exchange!("anthropic_overloaded.json")).status(529);
    let vendor = Vendor::start([busy, Reply::silence()]).await;
    let held = Arc::new(Keys { env: BTreeMap::from([("ANTHROPIC_API_KEY".into(), KEY.into())]), ..Keys::default() });
    let config = config(json!({"roles": {"default": CLAUDE}, "providers": {"anthropic": {"base_url": vendor.base}}}));
    let router = Router::new(config, held.clone()).unwrap();
    let mut stream = router.stream(request(), CancellationToken::new()).await.unwrap();
    assert!(matches!(stream.next().await, Some(Ok(StreamEvent::Retry { .. }))));
    drop((stream, router));
    // The task that drove the request held the other handle.
    let given_up = async {
        while Arc::strong_count(&held) > 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), given_up).await.unwrap();
}

#[tokio::test]
async fn no_key_reaches_an_error_or_an_event_even_if_the_vendor_echoes_it() {
    let secret_header = "header-secret-value-42";
    for model in [CLAUDE, "openai:m"] {
        let provider = model.split(':').next().unwrap();
        for status in [400, 401, 404, 429, 500] {
            let vendor = Vendor::start(std::iter::repeat_n(Reply::json("").status(status).echo_headers(), 2)).await;
            let config = config(json!({
                "roles": {"default": model},
                "providers": {provider: {"base_url": vendor.base, "headers": {"x-gateway-key": secret_header}}},
                "retry": {"max": 1, "base_ms": 1},
            }));
            let router = Router::new(config.clone(), keys()).unwrap();
            let (events, answer) = stream(&router, request()).await;
            let error = answer.unwrap_err();
            let all = format!("{events:?} {error} {error:?} {config:?} {router:?}");
            assert!(!all.contains(KEY) && !all.contains(secret_header), "{all}");
            assert!(all.contains("you sent") && all.contains("[secret]"), "the echo was there: {all}");
            assert_eq!(vendor.seen()[0].headers["x-gateway-key"], secret_header);
        }
    }
}

#[tokio::test]
async fn a_key_echoed_within_a_stream_is_removed_too() {
    let echo = format!("data: {{\"error\": {{\"code\": 401, \"message\": \"bad key {KEY}\"}}}}\n\n");
    let vendor = Vendor::start([Reply::sse(echo)]).await;
    let (_, answer) = stream(&router("openai:m", &vendor.base), request()).await;
    let error = answer.unwrap_err().to_string();
    assert!(error.contains("refused the key (401): bad key [secret]"), "{error}");
}

#[tokio::test]
async fn a_missing_key_names_both_places_to_set_it_and_nothing_is_sent() {
    let vendor = Vendor::start([]).await;
    let config = config(json!({"roles": {"default": CLAUDE}, "providers": {"anthropic": {"base_url": vendor.base}}}));
    let router = Router::new(config, Arc::new(Keys::default())).unwrap();
    let error = complete(&router, request()).await.unwrap_err();
    assert_eq!(
        error,
        Error::Invalid(
            "anthropic has no key; set it with `animus secret set anthropic` or in the variable ANTHROPIC_API_KEY"
                .into()
        )
    );
    assert!(vendor.seen().is_empty());
}

#[tokio::test]
async fn a_refused_key_names_the_places_to_set_it() {
    let vendor = Vendor::start([Reply::json(exchange!("openai_bad_key.json")).status(401)]).await;
    let error = complete(&router("openai:m", &vendor.base), request()).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)));
    let text = error.to_string();
    assert!(text.starts_with("openai refused the key (401): Incorrect API key provided"), "{text}");
    assert!(text.ends_with("set it with `animus secret set openai` or in the variable OPENAI_API_KEY"), "{text}");
}

#[tokio::test]
async fn pages_of_html_and_control_characters_do_not_reach_the_terminal() {
    let page = format!("<html>\u{1b}[31m{}</html>", "x".repeat(5000));
    let vendor = Vendor::start([Reply::json(page).status(400)]).await;
    let error = complete(&router(CLAUDE, &vendor.base), request()).await.unwrap_err().to_string();
    assert!(error.len() < 800 && !error.contains('\u{1b}'), "{error}");
}
