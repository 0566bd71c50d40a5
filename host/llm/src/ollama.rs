//! Ollama's own `/api/chat`: <https://github.com/ollama/ollama/blob/main/docs/api.md>. Its OpenAI-compatible face has no
//! `num_ctx` and loses tool calls in streams.

use std::{collections::HashMap, sync::PoisonError};

use animus_core::llm::{Content, Message, Role, Stop, Usage};
use reqwest::{Client, header::HeaderMap};
use serde_json::{Value, json};

use crate::{
    assemble::{Assembler, Slot},
    failure::Failure,
    http,
    provider::Provider,
    vendor::{
        self, Call, Decode, Fault, base64, check_error, count_at, function_tools, marked, opaque_fields, set, str_at,
    },
};

pub(crate) fn body(call: &Call<'_>) -> Value {
    let mut messages = Vec::new();
    if let Some(system) = call.request.system.as_deref().filter(|system| !system.trim().is_empty()) {
        messages.push(json!({"role": "system", "content": system}));
    }
    // Results carry the tool's name here, not the id of the call.
    let mut called: HashMap<String, String> = HashMap::new();
    for message in call.messages() {
        match message.role {
            Role::User => encode_user(&message, &called, &mut messages),
            Role::Assistant => {
                called
                    .extend(message.tool_uses().map(|tool| (tool.id.clone(), call.names.wire(&tool.name).to_owned())));
                messages.push(encode_assistant(&message, call));
            }
        }
    }
    let mut options = json!({"num_ctx": call.window, "num_predict": call.max_tokens});
    if let Some(temperature) = call.temperature {
        set(&mut options, "temperature", temperature);
    }
    let mut body = json!({
        "model": call.model,
        "messages": messages,
        "stream": call.stream,
        "options": options,
        // Without these, what does not fit is dropped without a word. Servers that do not know them pass over them.
        "truncate": false,
        "shift": false,
    });
    if !call.request.tools.is_empty() {
        set(&mut body, "tools", function_tools(call));
    }
    body
}

fn encode_user(message: &Message, called: &HashMap<String, String>, messages: &mut Vec<Value>) {
    let mut images = Vec::new();
    for part in &message.content {
        match part {
            Content::ToolResult(result) => {
                let name = called.get(&result.id).map_or("", String::as_str);
                messages.push(json!({"role": "tool", "tool_name": name, "content": marked(result)}));
                images.extend(result.images.iter().map(base64));
            }
            Content::Image(image) => images.push(base64(image)),
            Content::Text { .. } | Content::ToolUse(_) | Content::Opaque { .. } => {}
        }
    }
    let text = message.content.iter().filter_map(|part| match part {
        Content::Text { text } => Some(text.as_str()),
        _ => None,
    });
    let text = text.collect::<Vec<_>>().join("\n\n");
    if images.is_empty() && text.is_empty() {
        return;
    }
    let mut user = json!({"role": "user", "content": text});
    if !images.is_empty() {
        set(&mut user, "images", images);
    }
    messages.push(user);
}

fn encode_assistant(message: &Message, call: &Call<'_>) -> Value {
    let mut fields = opaque_fields(message);
    fields.insert("role".to_owned(), "assistant".into());
    fields.insert("content".to_owned(), message.text().into());
    let calls: Vec<Value> = message
        .tool_uses()
        .map(|tool| json!({"function": {"name": call.names.wire(&tool.name), "arguments": tool.input}}))
        .collect();
    if !calls.is_empty() {
        fields.insert("tool_calls".to_owned(), calls.into());
    }
    Value::Object(fields)
}

/// Whether a model takes images, as the server says; asked once. A server too old to say is taken to mean no.
pub(crate) async fn sees(
    provider: &Provider,
    client: &Client,
    headers: &HeaderMap,
    model: &str,
) -> Result<bool, Failure> {
    let known = provider.seeing.lock().unwrap_or_else(PoisonError::into_inner).get(model).copied();
    if let Some(known) = known {
        return Ok(known);
    }
    let request =
        client.post(format!("{}/api/show", provider.base)).headers(headers.clone()).json(&json!({"model": model}));
    let response = http::send(provider, model, request, None).await?;
    let shown: Value = serde_json::from_str(&http::text(provider, response).await?)
        .map_err(|error| vendor::failed(provider, model, error.into()))?;
    let capabilities = shown.get("capabilities").and_then(Value::as_array);
    let sees = capabilities.is_some_and(|all| all.iter().any(|capability| capability == "vision"));
    provider.seeing.lock().unwrap_or_else(PoisonError::into_inner).insert(model.to_owned(), sees);
    Ok(sees)
}

const THINKING: Slot = (0, 0);
const TEXT: Slot = (1, 0);
const TOOLS: u8 = 2;

#[derive(Default)]
pub(crate) struct Decoder {
    calls: u64,
}

impl Decode for Decoder {
    /// Calls arrive whole, in any line, mostly before the last one.
    fn frame(&mut self, data: &str, out: &mut Assembler<'_>) -> Result<(), Fault> {
        let line: Value = serde_json::from_str(data)?;
        check_error(&line)?;
        out.opaque_text(THINKING, "thinking", str_at(&line, "/message/thinking"));
        out.text(TEXT, str_at(&line, "/message/content"));
        for call in line.pointer("/message/tool_calls").and_then(Value::as_array).into_iter().flatten() {
            let arguments = call.pointer("/function/arguments").filter(|it| !it.is_null()).map(Value::to_string);
            let slot = (TOOLS, self.calls);
            self.calls += 1;
            out.tool(
                slot,
                str_at(call, "/id"),
                str_at(call, "/function/name"),
                arguments.as_deref().unwrap_or_default(),
            );
        }
        if line.get("done").and_then(Value::as_bool) == Some(true) {
            out.usage(Usage {
                input_tokens: count_at(&line, "/prompt_eval_count").unwrap_or_default(),
                output_tokens: count_at(&line, "/eval_count").unwrap_or_default(),
                ..Usage::default()
            });
            out.stop(match str_at(&line, "/done_reason") {
                "stop" | "" => Stop::EndTurn,
                "length" => Stop::MaxTokens,
                other => Stop::Other(other.to_owned()),
            });
            out.end();
        }
        Ok(())
    }

    /// A whole answer is the only line of a stream.
    fn whole(&mut self, body: &str, out: &mut Assembler<'_>) -> Result<(), Fault> {
        self.frame(body, out)
    }
}
