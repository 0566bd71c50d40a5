//! Canonical model messages, and the port to models. Vendors' wire formats live in `animus-llm`.

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use futures::Stream;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::Error;

/// An image, inline.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// `image/png`, `image/jpeg`, `image/gif` or `image/webp`.
    pub media_type: String,
    /// The encoded image; base64 in JSON.
    #[serde(with = "base64_bytes")]
    pub data: Arc<[u8]>,
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Image({}, {} bytes)", self.media_type, self.data.len())
    }
}

mod base64_bytes {
    use std::sync::Arc;

    use base64::{Engine as _, prelude::BASE64_STANDARD};
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(data: &Arc<[u8]>, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&BASE64_STANDARD.encode(data))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Arc<[u8]>, D::Error> {
        let text = String::deserialize(d)?;
        BASE64_STANDARD.decode(text).map(Into::into).map_err(D::Error::custom)
    }
}

mod base64_vectors {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(vectors: &[Vec<f32>], s: S) -> Result<S::Ok, S::Error> {
        let bytes = |vector: &Vec<f32>| vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
        vectors.iter().map(|vector| BASE64_STANDARD.encode(bytes(vector))).collect::<Vec<_>>().serialize(s)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Vec<f32>>, D::Error> {
        let texts = Vec::<String>::deserialize(d)?;
        let vector = |text: String| {
            let bytes = BASE64_STANDARD.decode(text).map_err(D::Error::custom)?;
            let (numbers, rest) = bytes.as_chunks::<4>();
            if !rest.is_empty() {
                return Err(D::Error::custom("a vector ends within a number"));
            }
            Ok(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
        };
        texts.into_iter().map(vector).collect()
    }
}

/// One part of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Content {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// An image.
    Image(Image),
    /// The model asks for a tool.
    ToolUse(ToolUse),
    /// What a tool answered.
    ToolResult(ToolResult),
    /// A vendor's own block (reasoning, signatures), passed back unchanged to the same vendor and dropped for others.
    Opaque {
        /// The vendor that wrote it.
        vendor: String,
        /// The block as that vendor sent it.
        block: Value,
    },
}

/// The model asks for a tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolUse {
    /// The model's identifier of this request.
    pub id: String,
    /// The full tool name, `<plugin>.<tool>`.
    pub name: String,
    /// The arguments, or why they could not be read.
    pub input: ToolInput,
}

/// The arguments of a [`ToolUse`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ToolInput {
    /// The model sent text that is not a JSON object, mostly because `max_tokens` cut it off. The tool is not run;
    /// the model is told.
    Malformed {
        /// What arrived.
        malformed_json: String,
    },
    /// A JSON object.
    Object(serde_json::Map<String, Value>),
}

/// What a tool answered, as the model reads it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolResult {
    /// The [`ToolUse::id`] that this answers.
    pub id: String,
    /// Text for the model.
    pub text: String,
    /// Images for the model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Image>,
    /// Whether the tool failed.
    #[serde(default)]
    pub is_error: bool,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The user, or a tool on their behalf.
    User,
    /// The model.
    Assistant,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What they say.
    pub content: Vec<Content>,
}

impl Message {
    /// A user's text.
    #[must_use]
    pub fn user(text: impl Into<String>) -> Self {
        Self { role: Role::User, content: vec![Content::Text { text: text.into() }] }
    }

    /// The message's text parts, joined.
    #[must_use]
    pub fn text(&self) -> String {
        self.content
            .iter()
            .filter_map(|part| match part {
                Content::Text { text } => Some(text.as_str()),
                _ => None,
            })
            .collect::<Vec<_>>()
            .join("")
    }

    /// The message's tool requests, in order.
    pub fn tool_uses(&self) -> impl Iterator<Item = &ToolUse> {
        self.content.iter().filter_map(|part| match part {
            Content::ToolUse(tool_use) => Some(tool_use),
            _ => None,
        })
    }
}

/// A tool on offer to the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolDefinition {
    /// The full tool name, `<plugin>.<tool>`.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// JSON Schema of its arguments.
    pub input_schema: Value,
}

/// What to complete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// A role or alias of the configuration; empty means `default`.
    pub model: String,
    /// The system prompt.
    pub system: Option<String>,
    /// The conversation so far. Shared, because the next request of a conversation is this one and a little more.
    pub messages: Vec<Arc<Message>>,
    /// The tools on offer, which all requests of a conversation share.
    pub tools: Arc<[ToolDefinition]>,
    /// The longest answer, in tokens.
    pub max_tokens: Option<u32>,
    /// 0 to 2.
    pub temperature: Option<f32>,
}

/// What the vendor counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens read, cached ones included.
    pub input_tokens: u64,
    /// Tokens written, reasoning included.
    pub output_tokens: u64,
    /// Of the tokens read, those answered from the vendor's cache.
    pub cached_tokens: u64,
    /// Of the tokens read, those written to the vendor's cache.
    pub cache_write_tokens: u64,
}

impl Usage {
    /// Tokens read and written.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }
}

/// Why the model stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// It had finished.
    EndTurn,
    /// It waits for tool results.
    ToolUse,
    /// `max_tokens` cut it off.
    MaxTokens,
    /// The vendor's own word.
    Other(String),
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// The assistant's message.
    pub message: Message,
    /// Why it stopped.
    pub stop: Stop,
    /// What the vendor counted.
    pub usage: Usage,
    /// The price by the host's table, in millionths of a US dollar; none when the model has no price.
    pub cost_microusd: Option<u64>,
    /// The model that answered, `<vendor>:<model>`.
    pub model: String,
}

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum StreamEvent {
    /// More text.
    Text(String),
    /// A tool request begins.
    ToolStart {
        /// Its identifier.
        id: String,
        /// The full tool name.
        name: String,
    },
    /// A failed try; another follows. What was streamed so far is void.
    Retry {
        /// Why, and what is tried next.
        reason: String,
        /// The wait before it.
        wait: Duration,
    },
    /// The end: the assembled answer. Always the last event.
    Done(Response),
}

/// An answer on its way. Dropping it cancels the request.
pub type ResponseStream = Pin<Box<dyn Stream<Item = Result<StreamEvent, Error>> + Send>>;

/// A price, in millionths of a US dollar per million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Per million tokens read.
    pub input: u64,
    /// Per million tokens written.
    pub output: u64,
    /// Per million tokens read from the vendor's cache; `input` when none.
    #[serde(default)]
    pub cached: Option<u64>,
    /// Per million tokens written to the vendor's cache; `input` when none.
    #[serde(default)]
    pub cache_write: Option<u64>,
}

impl Price {
    /// What `usage` costs, rounded up.
    #[must_use]
    pub fn cost(&self, usage: &Usage) -> u64 {
        let plain = usage.input_tokens.saturating_sub(usage.cached_tokens).saturating_sub(usage.cache_write_tokens);
        let total = u128::from(plain) * u128::from(self.input)
            + u128::from(usage.cached_tokens) * u128::from(self.cached.unwrap_or(self.input))
            + u128::from(usage.cache_write_tokens) * u128::from(self.cache_write.unwrap_or(self.input))
            + u128::from(usage.output_tokens) * u128::from(self.output);
        u64::try_from(total.div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }
}

/// The role whose models embed what memories say. Where the configuration names none, `lexical:384` serves it.
pub const EMBED_ROLE: &str = "embed";
/// The most texts of one call to [`Models::embed`].
pub const MAX_EMBEDDED_TEXTS: usize = 256;
/// The longest text of one call to [`Models::embed`], in bytes.
pub const MAX_EMBEDDED_TEXT: usize = 64 << 10;

/// Where texts point, as one model sees them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Embeddings {
    /// The model, `<vendor>:<model>`. Vectors of two models are not comparable.
    pub model: String,
    /// The dimensions of each vector.
    pub dims: u32,
    /// One for each text, in the order of the texts; finite numbers, of any length that the model gives. In JSON each is
    /// the base64 of its 32-bit numbers, low byte first: half the size, and exact.
    #[serde(with = "base64_vectors")]
    pub vectors: Vec<Vec<f32>>,
    /// What the vendor counted.
    pub usage: Usage,
    /// The price by the host's table, in millionths of a US dollar; none when the model has no price, or nobody counted.
    pub cost_microusd: Option<u64>,
}

/// Checks the texts of a call to [`Models::embed`].
///
/// # Errors
/// [`Error::Invalid`] for no text and for more than [`MAX_EMBEDDED_TEXTS`], and for one that is blank or longer than
/// [`MAX_EMBEDDED_TEXT`].
pub fn check_embedded(texts: &[String]) -> Result<(), Error> {
    if texts.is_empty() || texts.len() > MAX_EMBEDDED_TEXTS {
        return Err(Error::Invalid(format!(
            "1 to {MAX_EMBEDDED_TEXTS} texts are embedded at once, not {}",
            texts.len()
        )));
    }
    for (number, text) in (1..).zip(texts) {
        let number: usize = number;
        if text.trim().is_empty() {
            return Err(Error::Invalid(format!("text {number} to embed is blank")));
        }
        if text.len() > MAX_EMBEDDED_TEXT {
            return Err(Error::Invalid(format!(
                "a text to embed has at most {MAX_EMBEDDED_TEXT} bytes; text {number} has {}",
                text.len()
            )));
        }
    }
    Ok(())
}

/// What is known of the model that a role leads to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// The role or alias.
    pub role: String,
    /// The model, `<vendor>:<model>`; fallbacks follow it in order.
    pub models: Vec<String>,
    /// How many tokens fit in a conversation.
    pub context_window: u64,
    /// The longest answer that is asked for when a request names none, in tokens.
    pub max_output: u32,
    /// The highest price among the models, for reservations; none when one has no price.
    pub price: Option<Price>,
}

/// The port to models.
#[async_trait::async_trait]
pub trait Models: Send + Sync {
    /// The roles and aliases of the configuration, sorted.
    fn roles(&self) -> Vec<String>;

    /// What a role leads to.
    ///
    /// # Errors
    /// [`Error::NotFound`], with the known roles and the nearest one.
    fn resolve(&self, role: &str) -> Result<ModelInfo, Error>;

    /// Complete, piece by piece: retries and fallbacks happen inside and show as [`StreamEvent::Retry`].
    ///
    /// # Errors
    /// By class: [`Error::Unavailable`] for a vendor that is overloaded, limits us or cannot be reached,
    /// [`Error::Denied`] never, [`Error::Invalid`] for a request that the vendor refuses, [`Error::Timeout`],
    /// [`Error::Cancelled`].
    async fn stream(&self, request: Request, cancel: CancellationToken) -> Result<ResponseStream, Error>;

    /// Complete, and return the whole answer, equal to the [`StreamEvent::Done`] of a stream.
    ///
    /// # Errors
    /// As [`Models::stream`].
    async fn complete(&self, request: Request, cancel: CancellationToken) -> Result<Response, Error>;

    /// Where each of `texts` points, as the models of `role` see it (usually [`EMBED_ROLE`]): retries and fallbacks
    /// happen inside, and one model answers for all texts.
    ///
    /// # Errors
    /// [`Error::Invalid`] for texts that [`check_embedded`] refuses and for a model that makes no embeddings; otherwise
    /// as [`Models::stream`].
    async fn embed(&self, role: &str, texts: &[String], cancel: CancellationToken) -> Result<Embeddings, Error>;
}
