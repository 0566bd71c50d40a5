//! What goes over the wire, vendor by vendor, and that a streamed answer equals a whole one.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests may panic")]

mod server;

use animus_core::llm::{
    Content, Image, Message, Models as _, Request, Response, Role, Stop, StreamEvent, ToolInput, ToolResult, ToolUse,
    Usage,
};
use animus_llm::Router;
use serde_json::{Value, json};
use server::{KEY, Reply, Vendor, complete, config, keys, request, router, stream};

macro_rules! exchange {
    ($name:literal) => {
        include_str!(concat!("exchanges/", $name))
    };
}

/// Asks once in pieces and once whole, and returns the answer that both give, with the events.
async fn both(model: &str, streamed: Reply, whole: Reply) -> (Response, Vec<StreamEvent>) {
    let vendor = Vendor::start([streamed, whole]).await;
    let router = router(model, &vendor.base);
    let (events, done) = stream(&router, request()).await;
    let done = done.unwrap();
    assert_eq!(complete(&router, request()).await.unwrap(), done);
    let asked: Vec<_> = vendor.seen().iter().map(|seen| seen.body["stream"].clone()).collect();
    assert_eq!(asked, [json!(true), json!(false)]);
    (done, events)
}

fn text(text: &str) -> Content {
    Content::Text { text: text.into() }
}

fn tool(id: &str, name: &str, input: Value) -> Content {
    let Value::Object(input) = input else { panic!("an object") };
    Content::ToolUse(ToolUse { id: id.into(), name: name.into(), input: ToolInput::Object(input) })
}

fn result(id: &str, text: &str) -> ToolResult {
    ToolResult { id: id.into(), text: text.into(), images: vec![], is_error: false }
}

fn image() -> Image {
    Image { media_type: "image/png".into(), data: b"\x89PNG".as_slice().into() }
}

#[tokio::test]
async fn anthropic_answers_alike_in_pieces_and_whole() {
    let (answer, events) = both(
        "anthropic:claude-sonnet-4-5",
        Reply::sse(exchange!("anthropic_tools.sse")),
        Reply::json(exchange!("anthropic_tools.json")),
    )
    .await;
    let opaque = |block: Value| Content::Opaque { vendor: "anthropic".into(), block };
    assert_eq!(
        answer.message.content,
        [
            opaque(json!({
                "type": "thinking",
                "thinking": "The user wants both files. 🙂",
                "signature": "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pkiMOYds",
            })),
            opaque(json!({"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3pzix/LafPsn4a"})),
            text("I'll read both — größer than “one”.\n\nNow:"),
            tool("toolu_01T1x", "fs.read_file", json!({"path": "README.md", "offset": 12})),
            tool("toolu_02T2y", "ledger_read", json!({})),
        ]
    );
    assert_eq!(answer.stop, Stop::ToolUse);
    // Their count of input leaves out the cache; ours does not.
    let usage = Usage { input_tokens: 4015, output_tokens: 89, cached_tokens: 1800, cache_write_tokens: 120 };
    assert_eq!(answer.usage, usage);
    assert_eq!(answer.model, "anthropic:claude-sonnet-4-5");
    assert_eq!(events[0], StreamEvent::Text("I'll read ".into()));
    assert_eq!(events[3], StreamEvent::ToolStart { id: "toolu_01T1x".into(), name: "fs.read_file".into() });
    assert_eq!(events[4], StreamEvent::ToolStart { id: "toolu_02T2y".into(), name: "ledger_read".into() });
    assert_eq!(events.len(), 5);
}

#[tokio::test]
async fn openai_answers_alike_in_pieces_and_whole() {
    let (answer, events) =
        both("openai:gpt-4.1", Reply::sse(exchange!("openai_tools.sse")), Reply::json(exchange!("openai_tools.json")))
            .await;
    assert_eq!(
        answer.message.content,
        [
            text("Reading both — größer."),
            tool("call_A", "fs.read_file", json!({"path": "README.md", "offset": 12})),
            tool("call_B", "ledger_read", json!({})),
        ]
    );
    assert_eq!(answer.stop, Stop::ToolUse);
    let usage = Usage { input_tokens: 512, output_tokens: 40, cached_tokens: 384, cache_write_tokens: 0 };
    assert_eq!(answer.usage, usage);
    assert_eq!(events.len(), 4);
}

#[tokio::test]
async fn ollama_answers_alike_in_pieces_and_whole_and_calls_in_the_middle_are_kept() {
    let (answer, events) = both(
        "ollama:qwen3:8b",
        Reply::ndjson(exchange!("ollama_tools.ndjson")),
        Reply::json(exchange!("ollama_tools.json")),
    )
    .await;
    assert_eq!(
        answer.message.content,
        [
            Content::Opaque { vendor: "ollama".into(), block: json!({"thinking": "Both files."}) },
            text("Reading both."),
            tool("call_1_0", "fs.read_file", json!({"path": "größer.md", "offset": 12})),
            tool("call_1_1", "ledger_read", json!({})),
        ]
    );
    assert_eq!(answer.stop, Stop::ToolUse);
    assert_eq!(answer.usage, Usage { input_tokens: 261, output_tokens: 52, ..Usage::default() });
    assert_eq!(answer.cost_microusd, Some(0), "a local model has no bill");
    assert_eq!(events.len(), 4);
}

#[tokio::test]
async fn arguments_that_max_tokens_cut_off_are_marked_malformed() {
    let vendor = Vendor::start([Reply::sse(exchange!("anthropic_cut_off.sse"))]).await;
    let (_, answer) = stream(&router("anthropic:claude-sonnet-4-5", &vendor.base), request()).await;
    let answer = answer.unwrap();
    assert_eq!(answer.stop, Stop::MaxTokens);
    let tool = answer.message.tool_uses().next().unwrap();
    let cut = r#"{"path": "a.txt", "content": "half of"#;
    assert_eq!(tool.input, ToolInput::Malformed { malformed_json: cut.into() });
}

#[tokio::test]
async fn a_server_that_answers_whole_although_pieces_were_asked_for_is_understood() {
    let vendor = Vendor::start([Reply::json(exchange!("openai_text.json"))]).await;
    let (events, answer) = stream(&router("openai:local", &vendor.base), request()).await;
    assert_eq!(answer.unwrap().message.text(), "Hello!");
    assert_eq!(events, [StreamEvent::Text("Hello!".into())]);
}

/// A conversation with everything in it, as vendor `own` left it.
fn conversation(own: &str, block: Value) -> Request {
    let assistant = vec![
        Content::Opaque { vendor: own.into(), block },
        Content::Opaque { vendor: "elsewhere".into(), block: json!({"type": "thinking", "thinking": "not yours"}) },
        text("Reading."),
        tool("t1", "fs.read_file", json!({"path": "a"})),
        Content::ToolUse(ToolUse {
            id: "t2".into(),
            name: "ledger_read".into(),
            input: ToolInput::Malformed { malformed_json: "{\"x".into() },
        }),
    ];
    let answers = vec![
        text("Go on."),
        Content::ToolResult(ToolResult { images: vec![image()], ..result("t1", "contents of a") }),
        Content::ToolResult(ToolResult { is_error: true, ..result("t2", "arguments were cut off") }),
    ];
    Request {
        messages: vec![
            Message::user("Look.").into(),
            Message { role: Role::User, content: vec![Content::Image(image())] }.into(),
            Message { role: Role::Assistant, content: assistant }.into(),
            Message { role: Role::User, content: answers }.into(),
        ],
        max_tokens: Some(900),
        temperature: Some(0.2),
        ..request()
    }
}

#[tokio::test]
async fn anthropic_gets_its_headers_and_the_messages_format() {
    let vendor = Vendor::start([Reply::json(exchange!("anthropic_text.json"))]).await;
    let thinking = json!({"type": "thinking", "thinking": "hm", "signature": "c2ln"});
    let router = router("anthropic:claude-sonnet-4-5", &vendor.base);
    complete(&router, conversation("anthropic", thinking.clone())).await.unwrap();
    let seen = &vendor.seen()[0];
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/v1/messages"));
    assert_eq!(seen.headers["x-api-key"], KEY);
    assert_eq!(seen.headers["anthropic-version"], "2023-06-01");
    assert_eq!(seen.headers["content-type"], "application/json");
    assert!(!seen.headers.contains_key("authorization"));
    let cached = json!({"type": "ephemeral"});
    let picture = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw=="}});
    assert_eq!(
        vendor.body(),
        json!({
            "model": "claude-sonnet-4-5",
            "max_tokens": 900,
            "stream": false,
            "temperature": 0.2,
            "system": [{"type": "text", "text": "Be brief.", "cache_control": cached}],
            "tools": [{
                "name": "fs__read_file",
                "description": "Reads a file",
                "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}},
            }],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Look."}, picture]},
                {"role": "assistant", "content": [
                    thinking,
                    {"type": "text", "text": "Reading."},
                    {"type": "tool_use", "id": "t1", "name": "fs__read_file", "input": {"path": "a"}},
                    {"type": "tool_use", "id": "t2", "name": "ledger_read", "input": {"malformed_json": "{\"x"}},
                ]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "t1",
                     "content": [{"type": "text", "text": "contents of a"}, picture]},
                    {"type": "tool_result", "tool_use_id": "t2", "is_error": true,
                     "content": [{"type": "text", "text": "arguments were cut off"}]},
                    {"type": "text", "text": "Go on.", "cache_control": cached},
                ]},
            ],
        })
    );
}

#[tokio::test]
async fn openai_gets_a_bearer_key_and_the_chat_format() {
    let vendor = Vendor::start([Reply::sse(exchange!("openai_text.sse"))]).await;
    let router = router("openai:local-model", &vendor.base);
    stream(&router, conversation("openai", json!({"reasoning_content": "hm"}))).await.1.unwrap();
    let seen = &vendor.seen()[0];
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/chat/completions"));
    assert_eq!(seen.headers["authorization"], format!("Bearer {KEY}"));
    let picture = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}});
    assert_eq!(
        vendor.body(),
        json!({
            "model": "local-model",
            "max_tokens": 900,
            "stream": true,
            "stream_options": {"include_usage": true},
            "temperature": 0.2,
            "tools": [{"type": "function", "function": {
                "name": "fs__read_file",
                "description": "Reads a file",
                "parameters": {"type": "object", "properties": {"path": {"type": "string"}}},
            }}],
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "Look."}, picture]},
                {"role": "assistant", "content": "Reading.", "reasoning_content": "hm", "tool_calls": [
                    {"id": "t1", "type": "function",
                     "function": {"name": "fs__read_file", "arguments": "{\"path\":\"a\"}"}},
                    {"id": "t2", "type": "function",
                     "function": {"name": "ledger_read", "arguments": "{\"malformed_json\":\"{\\\"x\"}"}},
                ]},
                {"role": "tool", "tool_call_id": "t1", "content": "contents of a"},
                {"role": "tool", "tool_call_id": "t2", "content": "[the tool failed] arguments were cut off"},
                {"role": "user", "content": [
                    {"type": "text", "text": "Images from tool call t1:"},
                    picture,
                    {"type": "text", "text": "Go on."},
                ]},
            ],
        })
    );
}

#[tokio::test]
async fn ollama_gets_its_window_and_results_by_tool_name() {
    let sees = Reply::json(r#"{"capabilities": ["completion", "tools", "vision"]}"#);
    let vendor = Vendor::start([sees, Reply::ndjson(exchange!("ollama_tools.ndjson"))]).await;
    let router = router("ollama:llava:latest", &vendor.base);
    stream(&router, conversation("ollama", json!({"thinking": "hm"}))).await.1.unwrap();
    let seen = vendor.seen();
    assert_eq!((seen[0].path.as_str(), &seen[0].body), ("/api/show", &json!({"model": "llava:latest"})));
    assert_eq!(seen[1].path, "/api/chat");
    assert!(!seen[1].headers.contains_key("authorization"));
    assert_eq!(
        seen[1].body,
        json!({
            "model": "llava:latest",
            "stream": true,
            "truncate": false,
            "shift": false,
            "options": {"num_ctx": 16384, "num_predict": 900, "temperature": 0.2},
            "tools": [{"type": "function", "function": {
                "name": "fs__read_file",
                "description": "Reads a file",
                "parameters": {"type": "object", "properties": {"path": {"type": "string"}}},
            }}],
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Look.", "images": ["iVBORw=="]},
                {"role": "assistant", "content": "Reading.", "thinking": "hm", "tool_calls": [
                    {"function": {"name": "fs__read_file", "arguments": {"path": "a"}}},
                    {"function": {"name": "ledger_read", "arguments": {"malformed_json": "{\"x"}}},
                ]},
                {"role": "tool", "tool_name": "fs__read_file", "content": "contents of a"},
                {"role": "tool", "tool_name": "ledger_read", "content": "[the tool failed] arguments were cut off"},
                {"role": "user", "content": "Go on.", "images": ["iVBORw=="]},
            ],
        })
    );
}

#[tokio::test]
async fn a_model_without_images_reads_that_one_was_left_out() {
    let blind = Reply::json(r#"{"capabilities": ["completion"]}"#);
    let vendor = Vendor::start([blind, Reply::ndjson(exchange!("ollama_tools.ndjson"))]).await;
    stream(&router("ollama:qwen3:8b", &vendor.base), conversation("x", json!({}))).await.1.unwrap();
    let messages = &vendor.seen()[1].body["messages"];
    let note = "[an image, image/png, 4 bytes, is left out: qwen3:8b takes no images]";
    assert_eq!(messages[1], json!({"role": "user", "content": format!("Look.\n\n{note}")}));
    assert_eq!(messages[3]["content"], format!("contents of a\n{note}"));
    assert_eq!(messages[5], json!({"role": "user", "content": "Go on."}));
}

#[tokio::test]
async fn models_that_refuse_a_temperature_are_not_sent_one() {
    let vendor = Vendor::start([Reply::json(exchange!("anthropic_text.json"))]).await;
    let request = Request { temperature: Some(0.2), ..request() };
    complete(&router("anthropic:claude-opus-5-5", &vendor.base), request).await.unwrap();
    assert_eq!(vendor.body().get("temperature"), None);
}

#[tokio::test]
async fn anthropics_temperature_ends_at_one() {
    let vendor = Vendor::start([Reply::json(exchange!("anthropic_text.json"))]).await;
    let request = Request { temperature: Some(1.5), ..request() };
    complete(&router("anthropic:claude-sonnet-4-5", &vendor.base), request).await.unwrap();
    assert_eq!(vendor.body()["temperature"], json!(1.0));
}

#[tokio::test]
async fn without_a_system_prompt_the_tools_carry_the_cache_mark() {
    let vendor = Vendor::start([Reply::json(exchange!("anthropic_text.json"))]).await;
    let request = Request { system: None, ..request() };
    complete(&router("anthropic:claude-sonnet-4-5", &vendor.base), request).await.unwrap();
    let body = vendor.body();
    assert_eq!(body.get("system"), None);
    assert_eq!(body["tools"][0]["cache_control"], json!({"type": "ephemeral"}));
}

#[tokio::test]
async fn an_answer_is_priced_by_what_the_vendor_counted() {
    let vendor = Vendor::start([Reply::json(exchange!("openai_tools.json"))]).await;
    let config = config(json!({
        "roles": {"default": "openai:gpt-4.1"},
        "providers": {"openai": {"base_url": vendor.base}},
        "prices": {"openai:gpt-4.1": {"input": 2_000_000, "output": 8_000_000, "cached": 500_000}},
    }));
    let answer = complete(&Router::new(config, keys()).unwrap(), request()).await.unwrap();
    // 128 plain at $2, 384 cached at $0.50, 40 written at $8, per million.
    assert_eq!(answer.cost_microusd, Some(128 * 2 + 192 + 40 * 8));
}

#[tokio::test]
async fn an_answer_that_the_vendor_did_not_count_has_no_price() {
    let uncounted = exchange!("openai_text.sse").replace("\"usage\"", "\"other\"");
    let vendor = Vendor::start([Reply::sse(uncounted)]).await;
    let config = config(json!({
        "roles": {"default": "openai:m"},
        "providers": {"openai": {"base_url": vendor.base}},
        "prices": {"openai:m": {"input": 1_000_000, "output": 1_000_000}},
    }));
    let answer = stream(&Router::new(config, keys()).unwrap(), request()).await.1.unwrap();
    assert_eq!((answer.usage, answer.cost_microusd), (Usage::default(), None));
}

#[tokio::test]
async fn list_prices_hold_at_the_vendors_own_address_only() {
    let elsewhere = router("openai:gpt-4.1", "http://127.0.0.1:9").resolve("").unwrap();
    assert_eq!(elsewhere.price, None);
    let config = config(json!({"roles": {"default": "openai:gpt-4.1"}}));
    let own = Router::new(config, keys()).unwrap().resolve("default").unwrap();
    assert_eq!(own.price.unwrap().input, 2_000_000);
}
