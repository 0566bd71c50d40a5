//! The `[llm]` part of the configuration. Unknown keys are errors.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use animus_core::{Error, Result, llm::Price};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Models, by role; how to reach their vendors; what they cost.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LlmConfig {
    /// Vendors by name. `anthropic`, `openai` and `ollama` are there without being declared; declaring one changes it.
    pub providers: BTreeMap<String, ProviderConfig>,
    /// Roles (`default`, `planner`, `coder`, `critic`, …) and the models that serve each.
    pub roles: BTreeMap<String, Candidates>,
    /// Prices by `<provider>:<model>`, over the built-in table; millionths of a US dollar per million tokens.
    pub prices: BTreeMap<String, Price>,
    /// Context windows by `<provider>:<model>`, over the built-in table; tokens. For Ollama this is `num_ctx`.
    pub windows: BTreeMap<String, u64>,
    /// When a vendor fails.
    pub retry: RetryConfig,
}

/// The models of a role: one, or several of which each later one is the fallback of the earlier ones. Each is
/// `<provider>:<model>`, or the name of another role, whose models stand in its place.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "expected a model, a role, or a list of these")]
pub enum Candidates {
    /// One.
    One(String),
    /// Several, in order of preference.
    Many(Vec<String>),
}

impl Candidates {
    fn iter(&self) -> impl Iterator<Item = &str> {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many.as_slice(),
        }
        .iter()
        .map(String::as_str)
    }
}

/// A wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Anthropic Messages.
    Anthropic,
    /// OpenAI Chat Completions, which OpenRouter, Groq, DeepSeek, vLLM, LM Studio and others speak too.
    Openai,
    /// Ollama's own `/api/chat`.
    Ollama,
}

/// How to reach a vendor.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderConfig {
    /// The wire format. May be left out for `anthropic`, `openai` and `ollama`.
    pub kind: Option<Kind>,
    /// Where it listens, without the last part of the path: `https://api.anthropic.com`, `https://api.openai.com/v1`,
    /// `http://localhost:11434`. May be left out for the three built-in providers.
    pub base_url: Option<String>,
    /// The environment variable that holds the key. Built in: `ANTHROPIC_API_KEY` and `OPENAI_API_KEY`.
    pub key_env: Option<String>,
    /// The secret that holds the key when the variable does not. Default: the provider's name.
    pub key_secret: Option<String>,
    /// Further request headers. They win over the ones that the host sets.
    pub headers: BTreeMap<String, String>,
    /// Further fields of the request body (`thinking`, `reasoning_effort`, `options`, …). The host's own fields win.
    pub body: Map<String, Value>,
    /// Whether its models take images. Default: what is known of the model.
    pub images: Option<bool>,
    /// Whether answers are asked for in pieces. `false` is for servers whose streams lose tool calls. Default: true.
    pub stream: bool,
    /// How long to wait for what.
    pub timeouts: Timeouts,
}

impl Default for ProviderConfig {
    fn default() -> Self {
        Self {
            kind: None,
            base_url: None,
            key_env: None,
            key_secret: None,
            headers: BTreeMap::new(),
            body: Map::new(),
            images: None,
            stream: true,
            timeouts: Timeouts::default(),
        }
    }
}

impl fmt::Debug for ProviderConfig {
    /// Without the values of headers, which may be keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderConfig")
            .field("kind", &self.kind)
            .field("base_url", &self.base_url)
            .field("key_env", &self.key_env)
            .field("key_secret", &self.key_secret)
            .field("headers", &self.headers.keys())
            .field("body", &self.body)
            .field("images", &self.images)
            .field("stream", &self.stream)
            .field("timeouts", &self.timeouts)
            .finish()
    }
}

/// How long one try may wait, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// For the connection, TLS included. Default: 10,000.
    pub connect_ms: u64,
    /// For the first byte of a streamed answer: a reasoning model thinks, a local one is loaded first.
    /// Default: 300,000.
    pub first_byte_ms: u64,
    /// Between two pieces of a streamed answer. Default: 90,000.
    pub idle_ms: u64,
    /// For the whole try, streamed or not; the time that a slow reader of the stream takes counts too.
    /// Default: 900,000.
    pub total_ms: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect_ms: 10_000, first_byte_ms: 300_000, idle_ms: 90_000, total_ms: 900_000 }
    }
}

/// When a vendor is overloaded, limits us or cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryConfig {
    /// Further tries with the same model. Default: 3.
    pub max: u32,
    /// The wait before the first of them, doubled before each next one, where the vendor names none. Default: 500.
    pub base_ms: u64,
    /// The longest wait. When the vendor asks for more, the next model is tried at once. Default: 60,000.
    pub max_wait_ms: u64,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self { max: 3, base_ms: 500, max_wait_ms: 60_000 }
    }
}

impl LlmConfig {
    /// The models of every role, aliases followed, doubles removed.
    pub(crate) fn flatten(&self) -> Result<BTreeMap<String, Vec<String>>> {
        self.roles
            .keys()
            .map(|role| {
                let mut models = Vec::new();
                self.follow(role, &mut Vec::new(), &mut models)?;
                let mut seen = BTreeSet::new();
                models.retain(|model| seen.insert(model.clone()));
                if models.is_empty() {
                    return Err(Error::Invalid(format!("role '{role}' has no model; name at least one")));
                }
                Ok((role.clone(), models))
            })
            .collect()
    }

    fn follow<'a>(&'a self, role: &'a str, path: &mut Vec<&'a str>, models: &mut Vec<String>) -> Result<()> {
        if path.contains(&role) {
            return Err(Error::Invalid(format!("role '{role}' leads back to itself: {} → {role}", path.join(" → "))));
        }
        path.push(role);
        for candidate in self.roles.get(role).into_iter().flat_map(Candidates::iter) {
            if candidate.contains(':') {
                models.push(candidate.to_owned());
            } else if self.roles.contains_key(candidate) {
                self.follow(candidate, path, models)?;
            } else {
                return Err(Error::Invalid(format!(
                    "role '{role}' names '{candidate}', which is neither a role nor a model of the form provider:model"
                )));
            }
        }
        path.pop();
        Ok(())
    }
}
