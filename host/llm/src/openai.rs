//! OpenAI Chat Completions, <https://platform.openai.com/docs/api-reference/chat>, as the many servers speak it that
//! call themselves compatible.

use std::collections::HashMap;

use animus_core::llm::{Content, Image, Message, Role, Stop, ToolResult, Usage};
use serde_json::{Map, Value, json};

use crate::{
    assemble::{Assembler, Slot},
    vendor::{Call, Decode, Fault, base64, check_error, count_at, function_tools, marked, opaque_fields, set, str_at},
};

pub(crate) fn body(call: &Call<'_>) -> Value {
    let mut messages = Vec::new();
    if let Some(system) = call.request.system.as_deref().filter(|system| !system.trim().is_empty()) {
        messages.push(json!({"role": "system", "content": system}));
    }
    for message in call.messages() {
        match message.role {
            Role::User => encode_user(&message, &mut messages),
            Role::Assistant => messages.push(encode_assistant(&message, call)),
        }
    }
    let mut body = json!({"model": call.model, "messages": messages, "stream": call.stream});
    if call.stream {
        set(&mut body, "stream_options", json!({"include_usage": true}));
    }
    // Its own newer models refuse the older name; compatible servers know only that one.
    set(&mut body, if call.provider.official { "max_completion_tokens" } else { "max_tokens" }, call.max_tokens);
    if let Some(temperature) = call.temperature {
        set(&mut body, "temperature", temperature);
    }
    if !call.request.tools.is_empty() {
        set(&mut body, "tools", function_tools(call));
    }
    body
}

/// Tool results are messages of their own here, of text only: their images follow in the user's message.
fn encode_user(message: &Message, messages: &mut Vec<Value>) {
    let mut parts = Vec::new();
    for part in &message.content {
        match part {
            Content::ToolResult(result) => {
                messages.push(json!({"role": "tool", "tool_call_id": result.id, "content": marked(result)}));
                parts.extend(images_of(result));
            }
            Content::Text { text } => parts.push(json!({"type": "text", "text": text})),
            Content::Image(image) => parts.push(encode_image(image)),
            Content::ToolUse(_) | Content::Opaque { .. } => {}
        }
    }
    // Many servers take nothing but a string.
    let texts: Option<Vec<&str>> = parts.iter().map(|part| part.get("text").and_then(Value::as_str)).collect();
    match texts {
        _ if parts.is_empty() => {}
        Some(texts) => messages.push(json!({"role": "user", "content": texts.join("\n\n")})),
        None => messages.push(json!({"role": "user", "content": parts})),
    }
}

fn images_of(result: &ToolResult) -> Vec<Value> {
    let mut parts: Vec<Value> = result.images.iter().map(encode_image).collect();
    if !parts.is_empty() {
        parts.insert(0, json!({"type": "text", "text": format!("Images from tool call {}:", result.id)}));
    }
    parts
}

fn encode_image(image: &Image) -> Value {
    let url = format!("data:{};base64,{}", image.media_type, base64(image));
    json!({"type": "image_url", "image_url": {"url": url}})
}

fn encode_assistant(message: &Message, call: &Call<'_>) -> Value {
    let mut fields: Map<String, Value> = opaque_fields(message);
    fields.insert("role".to_owned(), "assistant".into());
    let text = message.text();
    let calls: Vec<Value> = message
        .tool_uses()
        .map(|tool| {
            let arguments = serde_json::to_string(&tool.input).unwrap_or_else(|_| "{}".to_owned());
            let function = json!({"name": call.names.wire(&tool.name), "arguments": arguments});
            json!({"id": tool.id, "type": "function", "function": function})
        })
        .collect();
    let content = if text.is_empty() && !calls.is_empty() { Value::Null } else { text.into() };
    fields.insert("content".to_owned(), content);
    if !calls.is_empty() {
        fields.insert("tool_calls".to_owned(), calls.into());
    }
    Value::Object(fields)
}

const REASONING: Slot = (0, 0);
const TEXT: Slot = (1, 0);
const TOOLS: u8 = 2;

#[derive(Default)]
pub(crate) struct Decoder {
    tools: Tools,
}

impl Decode for Decoder {
    fn frame(&mut self, data: &str, out: &mut Assembler<'_>) -> Result<(), Fault> {
        if data.trim() == "[DONE]" {
            self.close(out);
            return Ok(());
        }
        let chunk: Value = serde_json::from_str(data)?;
        check_error(&chunk)?;
        count(&chunk, out);
        // The last chunk has the usage and no choice.
        let Some(choice) = chunk.pointer("/choices/0") else { return Ok(()) };
        self.part(choice.get("delta").unwrap_or(&Value::Null), out);
        match str_at(choice, "/finish_reason") {
            "" => Ok(()),
            // The router behind the server gave up half-way.
            "error" => Err(Fault::Broken("the stream ended with finish_reason 'error'".to_owned())),
            reason => {
                out.stop(stop(reason));
                Ok(())
            }
        }
    }

    fn whole(&mut self, body: &str, out: &mut Assembler<'_>) -> Result<(), Fault> {
        let answer: Value = serde_json::from_str(body)?;
        check_error(&answer)?;
        count(&answer, out);
        let message = answer.pointer("/choices/0/message").ok_or_else(|| Fault::Broken("no choice".to_owned()))?;
        self.part(message, out);
        out.stop(stop(str_at(&answer, "/choices/0/finish_reason")));
        out.end();
        Ok(())
    }

    /// Some servers close without `[DONE]`. The reason to stop is what ends an answer; without it, it is half of one.
    fn close(&mut self, out: &mut Assembler<'_>) {
        if out.has_stopped() {
            out.end();
        }
    }
}

impl Decoder {
    /// A delta, or a whole message: the fields are the same.
    fn part(&mut self, part: &Value, out: &mut Assembler<'_>) {
        reasoning(part, out);
        for field in ["content", "refusal"] {
            match part.get(field) {
                Some(Value::String(text)) => out.text(TEXT, text),
                Some(Value::Array(parts)) => parts.iter().for_each(|part| out.text(TEXT, str_at(part, "/text"))),
                _ => {}
            }
        }
        for call in part.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
            let (id, name) = (str_at(call, "/id"), str_at(call, "/function/name"));
            let arguments = match call.pointer("/function/arguments") {
                Some(Value::String(text)) => text.clone(),
                None | Some(Value::Null) => String::new(),
                // Some servers send the object itself.
                Some(object) => object.to_string(),
            };
            let slot = self.tools.slot(count_at(call, "/index"), id, name);
            out.tool((TOOLS, slot), id, name, &arguments);
        }
    }
}

/// Which call a delta belongs to. The index says it; but some servers send none, and some the same for all calls.
#[derive(Default)]
struct Tools {
    ids: Vec<String>,
    by_index: HashMap<u64, usize>,
}

impl Tools {
    fn slot(&mut self, index: Option<u64>, id: &str, name: &str) -> u64 {
        let known = match index {
            Some(index) => self.by_index.get(&index).copied().filter(|at| {
                let first = self.ids.get(*at).map_or("", String::as_str);
                name.is_empty() || id.is_empty() || first.is_empty() || first == id
            }),
            None if !id.is_empty() => self.ids.iter().position(|known| known == id),
            None if name.is_empty() => self.ids.len().checked_sub(1),
            None => None,
        };
        let at = known.unwrap_or_else(|| {
            self.ids.push(id.to_owned());
            self.ids.len() - 1
        });
        if let Some(index) = index {
            self.by_index.insert(index, at);
        }
        at as u64
    }
}

/// Reasoning, in the fields that vendors beside OpenAI use for it. They go back as they came.
fn reasoning(part: &Value, out: &mut Assembler<'_>) {
    for field in ["reasoning_content", "reasoning"] {
        out.opaque_text(REASONING, field, part.get(field).and_then(Value::as_str).unwrap_or_default());
    }
    let details = part.get("reasoning_details").and_then(Value::as_array);
    let Some(details) = details.filter(|details| !details.is_empty()) else { return };
    let Some(block) = out.opaque_mut(REASONING) else { return };
    let known = block.entry("reasoning_details").or_insert_with(|| json!([]));
    let Value::Array(known) = known else { return };
    for detail in details.iter().filter_map(Value::as_object) {
        join_detail(known, detail);
    }
}

/// A streamed detail comes in pieces of the same type and index: texts grow, the rest is said once.
fn join_detail(known: &mut Vec<Value>, detail: &Map<String, Value>) {
    let same = known.iter_mut().filter_map(Value::as_object_mut).find(|known| {
        detail.get("index").is_some() && ["type", "index"].iter().all(|key| known.get(*key) == detail.get(*key))
    });
    let Some(same) = same else {
        known.push(Value::Object(detail.clone()));
        return;
    };
    for (key, value) in detail {
        match (same.get_mut(key), value) {
            (_, Value::Null) => {}
            (Some(Value::String(text)), Value::String(more)) if key == "text" || key == "summary" => {
                text.push_str(more)
            }
            _ => {
                same.insert(key.clone(), value.clone());
            }
        }
    }
}

fn stop(reason: &str) -> Stop {
    match reason {
        "stop" | "" => Stop::EndTurn,
        "tool_calls" | "function_call" => Stop::ToolUse,
        "length" => Stop::MaxTokens,
        other => Stop::Other(other.to_owned()),
    }
}

fn count(answer: &Value, out: &mut Assembler<'_>) {
    let usage = [answer.get("usage"), answer.pointer("/x_groq/usage")].into_iter().flatten().find(|it| it.is_object());
    let Some(usage) = usage else { return };
    out.usage(Usage {
        input_tokens: count_at(usage, "/prompt_tokens").unwrap_or_default(),
        output_tokens: count_at(usage, "/completion_tokens").unwrap_or_default(),
        cached_tokens: count_at(usage, "/prompt_tokens_details/cached_tokens")
            .or_else(|| count_at(usage, "/prompt_cache_hit_tokens"))
            .unwrap_or_default(),
        cache_write_tokens: 0,
    });
}

#[cfg(test)]
mod tests {
    use animus_core::llm::{Request, ToolInput};
    use proptest::prelude::*;

    use super::*;
    use crate::{
        config::{Kind, ProviderConfig},
        names::Names,
        provider::Provider,
    };

    fn limit_field(base_url: &str) -> &'static str {
        let config =
            ProviderConfig { kind: Some(Kind::Openai), base_url: Some(base_url.into()), ..ProviderConfig::default() };
        let provider = Provider::new("vendor", &config).unwrap();
        let request = Request {
            model: String::new(),
            system: None,
            messages: vec![],
            tools: [].into(),
            max_tokens: None,
            temperature: None,
        };
        let call = Call {
            provider: &provider,
            model: "m",
            request: &request,
            names: &Names::default(),
            max_tokens: 7,
            window: 100,
            temperature: None,
            images: true,
            stream: false,
        };
        let body = body(&call);
        let fields = ["max_tokens", "max_completion_tokens"];
        let set: Vec<_> = fields.into_iter().filter(|field| body.get(field) == Some(&json!(7))).collect();
        assert_eq!(set.len(), 1, "{body}");
        set[0]
    }

    #[test]
    fn only_openai_itself_is_sent_the_newer_name_of_the_limit() {
        assert_eq!(limit_field("https://api.openai.com/v1"), "max_completion_tokens");
        assert_eq!(limit_field("https://api.groq.com/openai/v1"), "max_tokens");
    }

    proptest! {
        /// Each call's arguments are cut into pieces, and the pieces of all calls are dealt out in any order.
        #[test]
        fn pieces_of_parallel_calls_find_their_call_in_any_order(
            values in proptest::collection::vec("[a-zé\"\\\\🙂]{0,12}", 1..5),
            deal in proptest::collection::vec(any::<proptest::sample::Index>(), 400),
        ) {
            let arguments: Vec<String> = values.iter().map(|value| json!({"value": value}).to_string()).collect();
            let mut pieces: Vec<std::collections::VecDeque<String>> =
                arguments.iter().map(|text| text.chars().map(String::from).collect()).collect();
            let names = Names::default();
            let mut out = Assembler::new("vendor", &names, 0);
            let mut decoder = Decoder::default();
            let mut frame = |call: Value| {
                let chunk = json!({"choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": null}]});
                decoder.frame(&chunk.to_string(), &mut out).unwrap_or_else(|_| panic!("a sound chunk"));
            };
            for index in 0..values.len() {
                frame(json!({"index": index, "id": format!("id{index}"), "function": {"name": "t", "arguments": ""}}));
            }
            for choice in deal {
                let left: Vec<usize> = (0..pieces.len()).filter(|index| !pieces[*index].is_empty()).collect();
                if left.is_empty() {
                    break;
                }
                let index = left[choice.index(left.len())];
                let piece = pieces[index].pop_front();
                frame(json!({"index": index, "function": {"arguments": piece}}));
            }
            out.stop(Stop::ToolUse);
            out.end();
            let content = out.finish().unwrap().content;
            prop_assert_eq!(content.len(), values.len());
            for (part, value) in content.iter().zip(&values) {
                let Content::ToolUse(tool) = part else { panic!("{part:?}") };
                let Value::Object(expected) = json!({"value": value}) else { panic!("an object") };
                prop_assert_eq!(&tool.input, &ToolInput::Object(expected));
            }
        }
    }
}
