//! Anthropic Messages: <https://docs.claude.com/en/api/messages>.

use animus_core::llm::{Content, Image, Message, Role, Stop, ToolResult, Usage};
use serde_json::{Value, json};

use crate::{
    assemble::{Assembler, Slot},
    failure::Refusal,
    vendor::{Call, Decode, Fault, base64, count_at, set, str_at},
};

pub(crate) fn body(call: &Call<'_>) -> Value {
    let mut messages: Vec<Value> = call.messages().iter().map(|message| encode(message, call)).collect();
    // Everything up to a mark is answered from the cache next time: one after tools and system, which all turns share,
    // one at the end of the conversation so far, which the next turn repeats.
    if let Some(last) = messages.last_mut().filter(|last| str_at(last, "/role") == "user") {
        mark(last.pointer_mut("/content").and_then(Value::as_array_mut).and_then(|content| content.last_mut()));
    }
    let mut body = json!({
        "model": call.model,
        "max_tokens": call.max_tokens,
        "messages": messages,
        "stream": call.stream,
    });
    let mut tools: Vec<Value> = call
        .request
        .tools
        .iter()
        .map(|tool| {
            json!({
                "name": call.names.wire(&tool.name),
                "description": tool.description,
                "input_schema": tool.input_schema,
            })
        })
        .collect();
    match call.request.system.as_deref().filter(|system| !system.trim().is_empty()) {
        Some(system) => {
            let mut block = json!({"type": "text", "text": system});
            mark(Some(&mut block));
            set(&mut body, "system", json!([block]));
        }
        None => mark(tools.last_mut()),
    }
    if !tools.is_empty() {
        set(&mut body, "tools", tools);
    }
    if let Some(temperature) = call.temperature {
        // Others go up to 2.
        set(&mut body, "temperature", temperature.min(1.0));
    }
    body
}

fn mark(block: Option<&mut Value>) {
    if let Some(Value::Object(block)) = block {
        block.insert("cache_control".to_owned(), json!({"type": "ephemeral"}));
    }
}

fn encode(message: &Message, call: &Call<'_>) -> Value {
    let role = match message.role {
        Role::User => "user",
        Role::Assistant => "assistant",
    };
    let content: Vec<Value> = message
        .content
        .iter()
        .map(|part| match part {
            Content::Text { text } => json!({"type": "text", "text": text}),
            Content::Image(image) => encode_image(image),
            Content::ToolUse(tool) => json!({
                "type": "tool_use",
                "id": tool.id,
                "name": call.names.wire(&tool.name),
                "input": tool.input,
            }),
            Content::ToolResult(result) => encode_result(result),
            Content::Opaque { block, .. } => block.clone(),
        })
        .collect();
    json!({"role": role, "content": content})
}

fn encode_image(image: &Image) -> Value {
    let source = json!({"type": "base64", "media_type": image.media_type, "data": base64(image)});
    json!({"type": "image", "source": source})
}

fn encode_result(result: &ToolResult) -> Value {
    // Empty text blocks are refused, and so is a failure that says nothing.
    let text = match result.text.trim() {
        "" if result.is_error => Some("the tool failed and said nothing"),
        "" => None,
        _ => Some(result.text.as_str()),
    };
    let text = text.map(|text| json!({"type": "text", "text": text}));
    let content: Vec<Value> = text.into_iter().chain(result.images.iter().map(encode_image)).collect();
    let mut block = json!({"type": "tool_result", "tool_use_id": result.id, "content": content});
    if result.is_error {
        set(&mut block, "is_error", true);
    }
    block
}

#[derive(Default)]
pub(crate) struct Decoder {
    input: u64,
    cache_read: u64,
    cache_write: u64,
    output: u64,
}

impl Decoder {
    /// Takes what is there: later frames repeat some counts, as totals, and leave out others.
    fn count(&mut self, usage: Option<&Value>, out: &mut Assembler<'_>) {
        let Some(usage) = usage else { return };
        for (count, key) in [
            (&mut self.input, "/input_tokens"),
            (&mut self.cache_read, "/cache_read_input_tokens"),
            (&mut self.cache_write, "/cache_creation_input_tokens"),
            (&mut self.output, "/output_tokens"),
        ] {
            *count = count_at(usage, key).unwrap_or(*count);
        }
        // Their "input" leaves out what the cache read or wrote; ours is all of it.
        out.usage(Usage {
            input_tokens: self.input.saturating_add(self.cache_read).saturating_add(self.cache_write),
            output_tokens: self.output,
            cached_tokens: self.cache_read,
            cache_write_tokens: self.cache_write,
        });
    }
}

impl Decode for Decoder {
    fn frame(&mut self, data: &str, out: &mut Assembler<'_>) -> Result<(), Fault> {
        let event: Value = serde_json::from_str(data)?;
        let slot = (0, count_at(&event, "/index").unwrap_or_default());
        match str_at(&event, "/type") {
            "message_start" => self.count(event.pointer("/message/usage"), out),
            "content_block_start" => block(slot, event.get("content_block").unwrap_or(&Value::Null), out),
            "content_block_delta" => delta(slot, event.get("delta").unwrap_or(&Value::Null), out),
            "message_delta" => {
                self.count(event.get("usage"), out);
                stop(str_at(&event, "/delta/stop_reason"), out);
            }
            "message_stop" => out.end(),
            "error" => return Err(Fault::Refused(Refusal::within(&event))),
            // `ping`, `content_block_stop`, and what may be added: the format asks readers to pass over it.
            _ => {}
        }
        Ok(())
    }

    fn whole(&mut self, body: &str, out: &mut Assembler<'_>) -> Result<(), Fault> {
        let message: Value = serde_json::from_str(body)?;
        if str_at(&message, "/type") == "error" {
            return Err(Fault::Refused(Refusal::within(&message)));
        }
        let blocks = message.get("content").and_then(Value::as_array);
        let blocks = blocks.ok_or_else(|| Fault::Broken("no content".to_owned()))?;
        for (index, content) in (0..).zip(blocks) {
            block((0, index), content, out);
        }
        self.count(message.get("usage"), out);
        stop(str_at(&message, "/stop_reason"), out);
        out.end();
        Ok(())
    }
}

/// A whole block, or the beginning of a streamed one.
fn block(slot: Slot, block: &Value, out: &mut Assembler<'_>) {
    match str_at(block, "/type") {
        "text" => out.text(slot, str_at(block, "/text")),
        "tool_use" => {
            let input = block.get("input").filter(|input| **input != json!({})).map(Value::to_string);
            out.tool(slot, str_at(block, "/id"), str_at(block, "/name"), input.as_deref().unwrap_or_default());
        }
        // `thinking` with its signature, `redacted_thinking`, and what may be added.
        _ => out.opaque(slot, block.clone()),
    }
}

fn delta(slot: Slot, delta: &Value, out: &mut Assembler<'_>) {
    match str_at(delta, "/type") {
        "text_delta" => out.text(slot, str_at(delta, "/text")),
        "input_json_delta" => out.tool(slot, "", "", str_at(delta, "/partial_json")),
        "thinking_delta" => out.opaque_text(slot, "thinking", str_at(delta, "/thinking")),
        "signature_delta" => out.opaque_text(slot, "signature", str_at(delta, "/signature")),
        _ => {}
    }
}

fn stop(reason: &str, out: &mut Assembler<'_>) {
    match reason {
        // Not yet known.
        "" => {}
        "end_turn" => out.stop(Stop::EndTurn),
        "tool_use" => out.stop(Stop::ToolUse),
        "max_tokens" => out.stop(Stop::MaxTokens),
        other => out.stop(Stop::Other(other.to_owned())),
    }
}
