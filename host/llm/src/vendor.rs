//! What the wire formats share: the call that they encode, and the decoder that each of them is.

use animus_core::llm::{Content, Image, Message, Request, Role, ToolResult};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream::BoxStream};
use serde_json::{Map, Value, json};

use crate::{
    anthropic,
    assemble::Assembler,
    config::Kind,
    failure::{Failure, Refusal},
    names::Names,
    ollama, openai,
    provider::Provider,
    sse::{self, Framing},
};

/// One request to one model.
pub(crate) struct Call<'a> {
    pub(crate) provider: &'a Provider,
    pub(crate) model: &'a str,
    pub(crate) request: &'a Request,
    pub(crate) names: &'a Names,
    pub(crate) max_tokens: u32,
    pub(crate) window: u64,
    pub(crate) temperature: Option<f64>,
    pub(crate) images: bool,
    pub(crate) stream: bool,
}

/// Why an answer cannot be read.
pub(crate) enum Fault {
    /// The vendor says no.
    Refused(Refusal),
    /// It is not what the vendor's format says.
    Broken(String),
}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

/// A vendor's decoder: it tells the assembler what it reads.
pub(crate) trait Decode: Send {
    /// Reads one frame of a stream.
    fn frame(&mut self, data: &str, out: &mut Assembler<'_>) -> Result<(), Fault>;

    /// Reads an answer that came whole.
    fn whole(&mut self, body: &str, out: &mut Assembler<'_>) -> Result<(), Fault>;

    /// The stream is over, without an error. For vendors whose last frame some servers leave out.
    fn close(&mut self, _: &mut Assembler<'_>) {}
}

impl Call<'_> {
    /// The request's body: the operator's further fields, and over them the vendor's format.
    pub(crate) fn body(&self) -> Value {
        let body = match self.provider.kind {
            Kind::Anthropic => anthropic::body(self),
            Kind::Openai => openai::body(self),
            Kind::Ollama => ollama::body(self),
        };
        let mut merged = Value::Object(self.provider.body.clone());
        merge(&mut merged, body);
        merged
    }

    /// The conversation as this vendor may see it: its own opaque blocks only, images only where the model takes them,
    /// tool results first, neighbours of the same role joined.
    pub(crate) fn messages(&self) -> Vec<Message> {
        let mut messages: Vec<Message> = Vec::new();
        for message in &self.request.messages {
            let content = message.content.iter().filter_map(|part| self.presentable(part));
            match messages.last_mut() {
                Some(last) if last.role == message.role => last.content.extend(content),
                _ => messages.push(Message { role: message.role, content: content.collect() }),
            }
        }
        for message in messages.iter_mut().filter(|message| message.role == Role::User) {
            message.content.sort_by_key(|part| !matches!(part, Content::ToolResult(_)));
        }
        messages.retain(|message| !message.content.is_empty());
        messages
    }

    fn presentable(&self, part: &Content) -> Option<Content> {
        match part {
            Content::Opaque { vendor, .. } if *vendor != self.provider.name => None,
            Content::Text { text } if text.trim().is_empty() => None,
            Content::Image(image) if !self.images => Some(Content::Text { text: self.instead_of(image) }),
            Content::ToolResult(result) if !self.images && !result.images.is_empty() => {
                let notes = result.images.iter().map(|image| self.instead_of(image));
                let text = std::iter::once(result.text.clone()).chain(notes).collect::<Vec<_>>().join("\n");
                Some(Content::ToolResult(ToolResult { text, images: Vec::new(), ..result.clone() }))
            }
            part => Some(part.clone()),
        }
    }

    fn instead_of(&self, image: &Image) -> String {
        format!(
            "[an image, {}, {} bytes, is left out: {} takes no images]",
            image.media_type,
            image.data.len(),
            self.model
        )
    }

    /// Whether the conversation holds an image.
    pub(crate) fn has_images(request: &Request) -> bool {
        request.messages.iter().flat_map(|message| &message.content).any(|part| match part {
            Content::Image(_) => true,
            Content::ToolResult(result) => !result.images.is_empty(),
            _ => false,
        })
    }
}

/// Lays `over` over `base`; what both name is taken from `over`, objects being merged.
fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}

/// The part of a URL that follows the base.
pub(crate) fn path(kind: Kind) -> &'static str {
    match kind {
        Kind::Anthropic => "/v1/messages",
        Kind::Openai => "/chat/completions",
        Kind::Ollama => "/api/chat",
    }
}

fn decoder(kind: Kind) -> Box<dyn Decode> {
    match kind {
        Kind::Anthropic => Box::<anthropic::Decoder>::default(),
        Kind::Openai => Box::<openai::Decoder>::default(),
        Kind::Ollama => Box::<ollama::Decoder>::default(),
    }
}

/// Reads an answer that came whole.
pub(crate) fn read_whole(provider: &Provider, model: &str, body: &str, out: &mut Assembler<'_>) -> Result<(), Failure> {
    decoder(provider.kind).whole(body, out).map_err(|fault| failed(provider, model, fault))
}

/// Reads an answer that comes in pieces.
pub(crate) struct Reader<'a> {
    provider: &'a Provider,
    model: &'a str,
    frames: BoxStream<'static, Result<String, Failure>>,
    decoder: Box<dyn Decode>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new<S>(provider: &'a Provider, model: &'a str, bytes: S) -> Self
    where
        S: Stream<Item = Result<Bytes, Failure>> + Send + 'static,
    {
        let framing = match provider.kind {
            Kind::Anthropic | Kind::Openai => Framing::Events,
            Kind::Ollama => Framing::Lines,
        };
        Self { provider, model, frames: sse::frames(framing, bytes), decoder: decoder(provider.kind) }
    }

    /// Reads one frame, and says whether to go on. What follows the vendor's final frame is of no interest.
    pub(crate) async fn step(&mut self, out: &mut Assembler<'_>) -> Result<bool, Failure> {
        let Some(frame) = self.frames.next().await else {
            self.decoder.close(out);
            return Ok(false);
        };
        self.decoder.frame(&frame?, out).map_err(|fault| failed(self.provider, self.model, fault))?;
        Ok(!out.has_ended())
    }
}

/// Turns a fault into a failure of `provider`.
pub(crate) fn failed(provider: &Provider, model: &str, fault: Fault) -> Failure {
    match fault {
        Fault::Refused(refusal) => provider.refused(refusal, model),
        Fault::Broken(why) => Failure::again(animus_core::Error::Unavailable(format!(
            "{} sent an answer that breaks its own format: {why}",
            provider.name
        ))),
    }
}

/// A text field, or "".
pub(crate) fn str_at<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A count, if there.
pub(crate) fn count_at(value: &Value, pointer: &str) -> Option<u64> {
    value.pointer(pointer).and_then(Value::as_u64)
}

/// The error of an answer that is one.
pub(crate) fn check_error(value: &Value) -> Result<(), Fault> {
    match value.get("error") {
        None | Some(Value::Null) => Ok(()),
        Some(_) => Err(Fault::Refused(Refusal::within(value))),
    }
}

/// Sets a field of an object.
pub(crate) fn set(object: &mut Value, key: &str, value: impl Into<Value>) {
    if let Value::Object(fields) = object {
        fields.insert(key.to_owned(), value.into());
    }
}

/// The tools on offer, as OpenAI writes them, and Ollama after it.
pub(crate) fn function_tools(call: &Call<'_>) -> Vec<Value> {
    let tools = call.request.tools.iter().map(|tool| {
        let function = json!({
            "name": call.names.wire(&tool.name),
            "description": tool.description,
            "parameters": tool.input_schema,
        });
        json!({"type": "function", "function": function})
    });
    tools.collect()
}

/// What a failed tool said, marked as a failure for vendors whose format has no mark for it.
pub(crate) fn marked(result: &ToolResult) -> String {
    if result.is_error { format!("[the tool failed] {}", result.text) } else { result.text.clone() }
}

/// An image as base64.
pub(crate) fn base64(image: &Image) -> String {
    BASE64_STANDARD.encode(&image.data)
}

/// The fields of a vendor's own block, for vendors whose blocks are fields of the message.
pub(crate) fn opaque_fields(message: &Message) -> Map<String, Value> {
    let blocks = message.content.iter().filter_map(|part| match part {
        Content::Opaque { block: Value::Object(fields), .. } => Some(fields.clone()),
        _ => None,
    });
    blocks.flatten().collect()
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, stream};

    use super::*;
    use crate::{assemble::Assembled, config::ProviderConfig};

    macro_rules! exchange {
        ($name:literal) => {
            include_str!(concat!("../tests/exchanges/", $name))
        };
    }

    /// Streams, and the whole answer that each must equal.
    const PAIRS: [(Kind, &str, &str); 7] = [
        (Kind::Anthropic, exchange!("anthropic_text.sse"), exchange!("anthropic_text.json")),
        (Kind::Anthropic, exchange!("anthropic_tools.sse"), exchange!("anthropic_tools.json")),
        (Kind::Openai, exchange!("openai_text.sse"), exchange!("openai_text.json")),
        (Kind::Openai, exchange!("openai_tools.sse"), exchange!("openai_tools.json")),
        (Kind::Openai, exchange!("openrouter_reasoning.sse"), exchange!("openrouter_reasoning.json")),
        (Kind::Openai, exchange!("deepseek_reasoning.sse"), exchange!("deepseek_reasoning.json")),
        (Kind::Ollama, exchange!("ollama_tools.ndjson"), exchange!("ollama_tools.json")),
    ];

    fn provider(kind: Kind) -> Provider {
        let base_url = Some("http://127.0.0.1:9".to_owned());
        Provider::new("vendor", &ProviderConfig { kind: Some(kind), base_url, ..ProviderConfig::default() }).unwrap()
    }

    fn whole(kind: Kind, body: &str) -> Assembled {
        let names = Names::default();
        let mut out = Assembler::new("vendor", &names, 3);
        read_whole(&provider(kind), "m", body, &mut out).unwrap();
        out.finish().unwrap()
    }

    fn streamed(kind: Kind, chunks: &[&[u8]]) -> Result<Option<Assembled>, Failure> {
        let chunks: Vec<_> = chunks.iter().map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
        let (provider, names) = (provider(kind), Names::default());
        let mut out = Assembler::new("vendor", &names, 3);
        let mut reader = Reader::new(&provider, "m", stream::iter(chunks));
        async {
            while reader.step(&mut out).await? {}
            Ok::<_, Failure>(())
        }
        .now_or_never()
        .expect("all chunks are there")?;
        Ok(out.finish())
    }

    fn whole_again(kind: Kind, chunks: &[&[u8]], expected: &Assembled, what: &str) {
        match streamed(kind, chunks) {
            Ok(Some(answer)) => assert_eq!(answer, *expected, "{what}"),
            other => panic!("{what}: {other:?}"),
        }
    }

    #[test]
    fn a_stream_cut_at_any_byte_gives_the_whole_answer() {
        for (kind, stream, body) in PAIRS {
            let (expected, bytes) = (whole(kind, body), stream.as_bytes());
            for at in 0..=bytes.len() {
                let (head, tail) = bytes.split_at(at);
                whole_again(kind, &[head, tail], &expected, &format!("{kind:?} cut at {at}"));
            }
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            whole_again(kind, &single, &expected, "byte by byte");
        }
    }

    #[test]
    fn line_ends_comments_split_data_and_a_byte_order_mark_make_no_difference() {
        for (kind, stream, body) in PAIRS.into_iter().filter(|(kind, ..)| *kind != Kind::Ollama) {
            let expected = whole(kind, body);
            let variants = [
                stream.replace('\n', "\r\n"),
                stream.replace('\n', "\r"),
                format!("\u{feff}{stream}"),
                stream.replace("data:", ": a comment\nid: 7\nretry: 10\nunknown: x\ndata:"),
                stream.replace("data: ", "data:"),
                // One JSON text over several data lines: a line end between two tokens changes nothing.
                stream.replace("\",\"", "\",\ndata: \""),
            ];
            for (number, variant) in variants.iter().enumerate() {
                let bytes = variant.as_bytes();
                whole_again(kind, &[bytes], &expected, &format!("{kind:?} variant {number}"));
                // These two streams have everything that the others have; cutting all of them takes long.
                let all_there_is = [exchange!("anthropic_tools.sse"), exchange!("openrouter_reasoning.sse")];
                let cuts = if all_there_is.contains(&stream) { bytes.len() } else { 0 };
                for at in 0..=cuts {
                    let (head, tail) = bytes.split_at(at);
                    whole_again(kind, &[head, tail], &expected, &format!("{kind:?} variant {number} cut at {at}"));
                }
            }
        }
    }

    #[test]
    fn a_stream_that_stops_at_any_byte_is_refused_or_whole_but_never_half() {
        for (kind, stream, body) in PAIRS {
            let (expected, bytes) = (whole(kind, body), stream.as_bytes());
            let mut wholes = 0;
            for end in 0..bytes.len() {
                match streamed(kind, &[&bytes[..end]]) {
                    Ok(Some(answer)) => {
                        // The counts may be missing, when only they were still to come; the answer may not.
                        assert_eq!((&answer.content, &answer.stop), (&expected.content, &expected.stop), "{end}");
                        wholes += 1;
                    }
                    Ok(None) => {}
                    Err(failure) => {
                        assert!(matches!(failure.next, crate::failure::Next::Again { .. }), "{end}: {failure:?}");
                    }
                }
            }
            assert!(wholes < bytes.len() / 2, "{kind:?}: most beginnings are halves");
        }
    }

    #[test]
    fn a_final_event_without_its_blank_line_counts() {
        for (kind, stream, body) in PAIRS {
            whole_again(kind, &[stream.trim_end().as_bytes()], &whole(kind, body), "no blank line at the end");
        }
    }

    #[test]
    fn a_stream_of_openai_without_its_done_mark_counts_once_it_says_why_it_stopped() {
        let stream = exchange!("openai_text.sse").replace("data: [DONE]\n\n", "");
        whole_again(
            Kind::Openai,
            &[stream.as_bytes()],
            &whole(Kind::Openai, exchange!("openai_text.json")),
            "no [DONE]",
        );
    }

    fn calls(kind: Kind, stream: &str) -> Vec<(String, String, String)> {
        let answer = streamed(kind, &[stream.as_bytes()]).unwrap().unwrap();
        assert_eq!(answer.stop, animus_core::llm::Stop::ToolUse);
        let tools = answer
            .content
            .into_iter()
            .filter_map(|part| if let Content::ToolUse(tool) = part { Some(tool) } else { None });
        tools.map(|tool| (tool.id, tool.name, serde_json::to_string(&tool.input).unwrap())).collect()
    }

    #[test]
    fn calls_are_told_apart_without_an_index() {
        let call =
            |id: &str, name: &str, path: &str| (id.to_owned(), name.to_owned(), format!("{{\"path\":\"{path}\"}}"));
        assert_eq!(
            calls(Kind::Openai, exchange!("openai_no_index.sse")),
            [
                call("call_1", "fs.read_file", "a"),
                call("call_2", "fs.read_file", "b"),
                call("call_3_2", "fs.list_files", "c"),
            ]
        );
    }

    #[test]
    fn calls_are_told_apart_when_all_have_the_same_index() {
        let call =
            |id: &str, path: &str| (id.to_owned(), "fs.read_file".to_owned(), format!("{{\"path\":\"{path}\"}}"));
        assert_eq!(calls(Kind::Openai, exchange!("openai_same_index.sse")), [call("call_1", "a"), call("call_2", "b")]);
    }
}
