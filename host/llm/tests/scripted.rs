//! Transcripts in place of a model.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests may panic")]

mod server;

use animus_core::{
    Error,
    llm::{Content, Message, Models as _, Request, Response, Role, Stop, StreamEvent, ToolResult, Usage},
};
use animus_llm::Router;
use serde_json::{Value, json};
use server::{complete, config, keys, request, stream};

struct Script {
    router: Router,
    _folder: tempfile::TempDir,
}

fn script(transcript: &Value) -> Script {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("transcript.json");
    std::fs::write(&file, transcript.to_string()).unwrap();
    let model = format!("scripted:{}", file.display());
    let router = Router::new(config(json!({"roles": {"default": model}})), keys()).unwrap();
    Script { router, _folder: folder }
}

fn two_turns() -> Value {
    json!({"turns": [
        {"content": [
            {"type": "text", "text": "I look at it."},
            {"type": "tool_use", "name": "fs.read_file", "input": {"path": "README.md"}},
        ], "usage": {"input_tokens": 812, "output_tokens": 40, "cached_tokens": 0, "cache_write_tokens": 0}},
        {"expect": {"tool_error": false, "contains": "Animus"}, "content": [{"type": "text", "text": "It says Animus."}]},
    ]})
}

fn answered(first: &Response, text: &str, is_error: bool) -> Request {
    let id = first.message.tool_uses().next().unwrap().id.clone();
    let result = ToolResult { id, text: text.into(), images: vec![], is_error };
    let answer = Message { role: Role::User, content: vec![Content::ToolResult(result)] };
    Request { messages: vec![Message::user("Look.").into(), first.message.clone().into(), answer.into()], ..request() }
}

#[tokio::test]
async fn a_transcript_plays_turn_by_turn_alike_in_pieces_and_whole() {
    let script = script(&two_turns());
    let (events, first) = stream(&script.router, request()).await;
    let first = first.unwrap();
    assert_eq!(complete(&script.router, request()).await.unwrap(), first, "it keeps no state");
    assert_eq!(first.stop, Stop::ToolUse);
    assert_eq!(first.usage, Usage { input_tokens: 812, output_tokens: 40, ..Usage::default() });
    assert_eq!(first.cost_microusd, Some(0));
    assert_eq!(events[0], StreamEvent::Text("I ".into()));
    let call = first.message.tool_uses().next().unwrap();
    assert_eq!((call.id.as_str(), call.name.as_str()), ("call_1_1", "fs.read_file"));

    let second = complete(&script.router, answered(&first, "# Animus", false)).await.unwrap();
    assert_eq!((second.message.text().as_str(), second.stop), ("It says Animus.", Stop::EndTurn));
}

#[tokio::test]
async fn a_transcript_stops_when_the_world_went_another_way() {
    let script = script(&two_turns());
    let first = complete(&script.router, request()).await.unwrap();
    for (text, is_error, why) in
        [("# Animus", true, "no tool to fail"), ("# Other", false, "'Animus' in the last message")]
    {
        let error = complete(&script.router, answered(&first, text, is_error)).await.unwrap_err();
        assert!(matches!(&error, Error::Conflict(said) if said.contains(why) && said.contains(text)), "{error:?}");
    }
}

#[tokio::test]
async fn a_transcript_that_has_run_out_says_so() {
    let script = script(&json!({"turns": []}));
    let error = complete(&script.router, request()).await.unwrap_err();
    assert!(matches!(&error, Error::NotFound(text) if text.contains("has 0 turns")), "{error:?}");
}

#[tokio::test]
async fn an_unknown_key_or_a_missing_file_is_told() {
    let script = script(&json!({"turns": [{"content": [], "stopp": "end_turn"}]}));
    let error = complete(&script.router, request()).await.unwrap_err();
    assert!(matches!(&error, Error::Invalid(text) if text.contains("unknown field `stopp`")), "{error:?}");

    let missing = Router::new(config(json!({"roles": {"default": "scripted:/nowhere/t.json"}})), keys()).unwrap();
    let error = complete(&missing, request()).await.unwrap_err();
    assert!(matches!(&error, Error::NotFound(text) if text.contains("cannot read the transcript")), "{error:?}");
}

#[tokio::test]
async fn a_transcript_can_be_priced_like_a_model() {
    let Script { _folder: folder, .. } = script(&two_turns());
    let model = format!("scripted:{}", folder.path().join("transcript.json").display());
    let config = config(json!({
        "roles": {"default": model},
        "prices": {model.as_str(): {"input": 1_000_000, "output": 2_000_000}},
    }));
    let router = Router::new(config, keys()).unwrap();
    assert_eq!(router.resolve("").unwrap().price.unwrap().output, 2_000_000);
    assert_eq!(complete(&router, request()).await.unwrap().cost_microusd, Some(812 + 2 * 40));
}
