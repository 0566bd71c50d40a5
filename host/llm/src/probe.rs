//! Is a model there? And which one to use when none is configured.

use std::{sync::Arc, time::Duration};

use animus_core::{Error, Result, store::SecretValue};
use serde_json::Value;

use crate::{
    config::{Kind, LlmConfig},
    failure::Failure,
    http,
    keys::KeySource,
    provider::{self, Provider},
    router::{Router, Source, Target},
};

/// How long a vendor has to say that it is there.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a model stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// `<provider>:<model>`.
    pub model: String,
    /// Whether it can be used.
    pub state: ProbeState,
}

/// Whether a model can be used. The texts say what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeState {
    /// The vendor answers, takes the key, and has the model, as far as it says.
    Ready,
    /// There is no key, or the vendor refuses it.
    Key(String),
    /// The vendor does not answer.
    Unreachable(String),
    /// The vendor does not have the model.
    NoModel(String),
}

impl Router {
    /// Asks each model of a role, in order, whether it can be used, at no cost: vendors are asked for their lists of
    /// models, transcripts whether the file is there. What a list does not tell (credit, rights to a model) shows only
    /// when a model is used.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown role.
    pub async fn probe(&self, role: &str) -> Result<Vec<Probe>> {
        let targets = self.targets(role)?;
        let probes = targets
            .iter()
            .map(|target| async { Probe { model: target.label.clone(), state: state(target, self.keys()).await } });
        Ok(futures::future::join_all(probes).await)
    }
}

async fn state(target: &Target, keys: &dyn KeySource) -> ProbeState {
    match &target.source {
        Source::Lexical(_) => ProbeState::Ready,
        Source::Script(file) => match tokio::fs::metadata(file).await {
            Ok(_) => ProbeState::Ready,
            Err(error) => ProbeState::NoModel(format!("cannot read {}: {error}", file.display())),
        },
        Source::Vendor { provider, model } => {
            let key = match provider.key(keys).await {
                Ok(key) => key,
                Err(error) => return ProbeState::Key(error.to_string()),
            };
            match models(provider, key.as_ref()).await {
                Ok(models) => listed(provider, model, models.as_deref()),
                Err(failure) => match failure.error {
                    error @ Error::Invalid(_) => ProbeState::Key(provider.scrub(&error.to_string())),
                    error => ProbeState::Unreachable(provider.scrub(&error.to_string())),
                },
            }
        }
    }
}

fn listed(provider: &Provider, model: &str, models: Option<&[String]>) -> ProbeState {
    // Ollama lists `name:tag`, and takes a name alone as `name:latest`.
    let is = |known: &String| known == model || (provider.kind == Kind::Ollama && *known == format!("{model}:latest"));
    match models {
        Some(models) if !models.iter().any(is) => ProbeState::NoModel(match provider.kind {
            Kind::Ollama => format!("{} has not got '{model}'; type `ollama pull {model}`", provider.name),
            _ => format!("{} does not list '{model}'", provider.name),
        }),
        _ => ProbeState::Ready,
    }
}

/// The models that a vendor lists; none when it keeps no list.
async fn models(provider: &Provider, key: Option<&SecretValue>) -> Result<Option<Vec<String>>, Failure> {
    let (path, list, id) = match provider.kind {
        Kind::Anthropic => ("/v1/models?limit=1000", "data", "id"),
        Kind::Openai => ("/models", "data", "id"),
        Kind::Ollama => ("/api/tags", "models", "name"),
    };
    let client = provider.client().map_err(Failure::fallback)?;
    let headers = provider.headers(key).map_err(Failure::fallback)?;
    let request = client.get(format!("{}{path}", provider.base)).headers(headers).timeout(PATIENCE);
    let response = match http::send(provider, "", request, None).await {
        Ok(response) => response,
        Err(Failure { error: Error::NotFound(_), .. }) => return Ok(None),
        Err(failure) => return Err(failure),
    };
    let body: Value = serde_json::from_str(&http::text(provider, response).await?).unwrap_or_default();
    let entries = body.get(list).and_then(Value::as_array);
    Ok(entries.map(|entries| {
        entries.iter().filter_map(|it| it.get(id)).filter_map(Value::as_str).map(str::to_owned).collect()
    }))
}

/// A model to use when none is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detected {
    /// `<provider>:<model>`, for the role `default`.
    pub model: String,
    /// Why this one, for people.
    pub because: String,
}

/// Looks for a model to use when no role is configured: Anthropic if it has a key, then OpenAI, then the first model of
/// an Ollama that answers. None when there is nothing. Providers are as `config` declares them.
///
/// # Errors
/// When a declared provider or the store of secrets cannot be read.
pub async fn detect(config: &LlmConfig, keys: &dyn KeySource) -> Result<Option<Detected>> {
    let providers = provider::all(config)?;
    // OpenAI streams its reasoning models only to organisations that it has verified.
    for (name, model) in [("anthropic", "claude-sonnet-5-5"), ("openai", "gpt-4.1")] {
        let Some(provider) = providers.get(name) else { continue };
        // Without a key the provider says so by an error, which is no error here.
        if let Ok(Some(_)) = provider.key(keys).await {
            return Ok(Some(Detected {
                model: format!("{name}:{model}"),
                because: format!("there is a key for {name}"),
            }));
        }
    }
    let Some(ollama) = providers.get("ollama").map(Arc::clone) else { return Ok(None) };
    let key = ollama.key(keys).await?;
    let first = models(&ollama, key.as_ref()).await.ok().flatten().and_then(|models| models.into_iter().next());
    Ok(first.map(|model| Detected {
        model: format!("ollama:{model}"),
        because: format!("Ollama answers at {}", ollama.base),
    }))
}
