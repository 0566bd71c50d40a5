//! Embeddings: <https://platform.openai.com/docs/api-reference/embeddings>,
//! <https://github.com/ollama/ollama/blob/main/docs/api.md#generate-embeddings>, and our own.
//!
//! The operator's further fields of a provider's requests are meant for conversations, so they are not sent here.

use std::{sync::Arc, time::Duration};

use animus_core::{
    Error, Result,
    llm::{Embeddings, Usage},
    memory::MAX_DIMS,
};
use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    config::Kind,
    failure::Failure,
    http, lexical,
    provider::Provider,
    router::{Inner, Job, Source, Target},
    vendor::{self, Fault, check_error, count_at},
};

/// The most texts of one request. Vendors take more; but what fails is sent again whole.
const TEXTS: usize = 64;
/// The most bytes of one request, unless one text alone has more. OpenAI takes 300,000 tokens.
const BYTES: usize = 256 << 10;

/// Texts that are to be embedded.
pub(crate) struct Embedding<'a> {
    pub(crate) texts: &'a [String],
}

/// Whether a model can make embeddings, as far as is known beforehand.
///
/// # Errors
/// [`Error::Invalid`] that names another way.
pub(crate) fn able(target: &Target) -> Result<()> {
    let cannot = |why: String| {
        Err(Error::Invalid(format!(
            "{why}; name a model of OpenAI or Ollama, or {} (words and parts of words, not meanings)",
            lexical::DEFAULT
        )))
    };
    match &target.source {
        Source::Vendor { provider, .. } if provider.kind == Kind::Anthropic => {
            cannot(format!("{} makes no embeddings: Anthropic has no such endpoint", target.label))
        }
        Source::Script(_) => cannot(format!("{} makes no embeddings: a transcript holds none", target.label)),
        Source::Vendor { .. } | Source::Lexical(_) => Ok(()),
    }
}

#[async_trait]
impl Job for Embedding<'_> {
    type Done = Embeddings;

    async fn attempt(&self, inner: &Inner, target: &Target) -> Result<Embeddings, Failure> {
        able(target).map_err(Failure::fallback)?;
        let (vectors, usage) = match &target.source {
            Source::Vendor { provider, model } => {
                let total = Duration::from_millis(provider.timeouts.total_ms);
                timeout(total, all(inner, provider, model, self.texts)).await.map_err(|_| http::overdue(provider))??
            }
            Source::Lexical(dims) => {
                let (texts, dims) = (self.texts.to_vec(), *dims);
                let computed = move || texts.iter().map(|text| lexical::embed(text, dims)).collect();
                let vectors = tokio::task::spawn_blocking(computed).await;
                let vectors = vectors.map_err(|e| Failure::stop(Error::internal("cannot embed", &e)))?;
                (vectors, Some(Usage::default()))
            }
            Source::Script(_) => (Vec::new(), None),
        };
        let dims = vectors.first().map_or(0, Vec::len);
        Ok(Embeddings {
            model: target.label.clone(),
            dims: u32::try_from(dims).unwrap_or(u32::MAX),
            vectors,
            usage: usage.unwrap_or_default(),
            cost_microusd: target.price.zip(usage).map(|(price, usage)| price.cost(&usage)),
        })
    }

    async fn retry(&self, reason: String, wait: Duration) -> Result<(), Failure> {
        tracing::warn!(wait_ms = wait.as_millis(), "{reason}");
        Ok(())
    }
}

/// All texts, request after request; and what the vendor counted, if it did for each.
async fn all(
    inner: &Inner,
    provider: &Arc<Provider>,
    model: &str,
    texts: &[String],
) -> Result<(Vec<Vec<f32>>, Option<Usage>), Failure> {
    let (mut vectors, mut usage) = (Vec::with_capacity(texts.len()), Some(Usage::default()));
    for batch in batches(texts) {
        let answer = exchange(inner, provider, model, batch).await?;
        let (found, tokens) =
            read(provider.kind, &answer, batch.len()).map_err(|fault| vendor::failed(provider, model, fault))?;
        vectors.extend(found);
        usage = usage
            .zip(tokens)
            .map(|(sum, tokens)| Usage { input_tokens: sum.input_tokens.saturating_add(tokens), ..sum });
    }
    let dims = vectors.first().map_or(0, Vec::len);
    if vectors.iter().any(|vector| vector.len() != dims) {
        let broken = Fault::Broken("its vectors have different dimensions".to_owned());
        return Err(vendor::failed(provider, model, broken));
    }
    Ok((vectors, usage))
}

/// Cuts texts into requests of a size that vendors take.
fn batches(mut texts: &[String]) -> impl Iterator<Item = &[String]> {
    std::iter::from_fn(move || {
        let mut bytes = 0usize;
        let fits = texts.iter().take(TEXTS).take_while(|text| {
            bytes = bytes.saturating_add(text.len());
            bytes <= BYTES
        });
        let (batch, rest) = texts.split_at_checked(fits.count().max(1))?;
        texts = rest;
        Some(batch)
    })
}

/// One request and its answer.
async fn exchange(inner: &Inner, provider: &Arc<Provider>, model: &str, texts: &[String]) -> Result<Value, Failure> {
    let key = provider.key(inner.keys.as_ref()).await.map_err(Failure::fallback)?;
    let headers = provider.headers(key.as_ref()).map_err(Failure::fallback)?;
    let client = provider.client().map_err(Failure::fallback)?;
    let (path, body) = match provider.kind {
        // Ollama cuts what is too long for its model; it would rather not know.
        Kind::Ollama => ("/api/embed", json!({"model": model, "input": texts})),
        Kind::Openai | Kind::Anthropic => {
            ("/embeddings", json!({"model": model, "input": texts, "encoding_format": "float"}))
        }
    };
    let post = client.post(format!("{}{path}", provider.base)).headers(headers).json(&body);
    let response = http::send(provider, model, post, None).await?;
    let text = http::text(provider, response).await?;
    serde_json::from_str(&text).map_err(|error| vendor::failed(provider, model, error.into()))
}

/// The vectors of an answer, in the order of the texts, and the tokens that the vendor counted.
fn read(kind: Kind, answer: &Value, wanted: usize) -> Result<(Vec<Vec<f32>>, Option<u64>), Fault> {
    check_error(answer)?;
    let broken = |why: String| Fault::Broken(why);
    let (mut vectors, tokens) = match kind {
        Kind::Ollama => {
            let all = answer.get("embeddings").and_then(Value::as_array).into_iter().flatten().zip(0u64..);
            let all = all.map(|(numbers, place)| Ok((place, numbers_of(numbers)?)));
            (all.collect::<Result<Vec<_>, Fault>>()?, count_at(answer, "/prompt_eval_count"))
        }
        Kind::Openai | Kind::Anthropic => {
            let data = answer.get("data").and_then(Value::as_array).into_iter().flatten().zip(0u64..);
            let all = data.map(|(one, place)| {
                let numbers = one.get("embedding").unwrap_or(&Value::Null);
                Ok((count_at(one, "/index").unwrap_or(place), numbers_of(numbers)?))
            });
            (all.collect::<Result<Vec<_>, Fault>>()?, count_at(answer, "/usage/prompt_tokens"))
        }
    };
    vectors.sort_by_key(|(place, _)| *place);
    if vectors.len() != wanted || !vectors.iter().map(|(place, _)| *place).eq(0..vectors.len() as u64) {
        return Err(broken(format!("{} vectors for {wanted} texts", vectors.len())));
    }
    Ok((vectors.into_iter().map(|(_, vector)| vector).collect(), tokens))
}

fn numbers_of(numbers: &Value) -> Result<Vec<f32>, Fault> {
    let numbers = numbers.as_array().map(Vec::as_slice).unwrap_or_default();
    if numbers.is_empty() || numbers.len() > MAX_DIMS {
        return Err(Fault::Broken(format!("a vector of {} dimensions; 1 to {MAX_DIMS} are taken", numbers.len())));
    }
    #[allow(clippy::cast_possible_truncation, reason = "a number that is too large becomes infinite, and is refused")]
    let number = |number: &Value| number.as_f64().map(|x| x as f32).filter(|x| x.is_finite());
    let numbers: Option<Vec<f32>> = numbers.iter().map(number).collect();
    numbers.ok_or_else(|| Fault::Broken("a vector holds what is no number".to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn batches_are_all_texts_in_order_and_small(lengths in proptest::collection::vec(0usize..(100 << 10), 0..150)) {
            let texts: Vec<String> = lengths.iter().map(|length| "x".repeat(*length)).collect();
            let cut: Vec<&[String]> = batches(&texts).collect();
            prop_assert_eq!(&cut.concat(), &texts);
            for batch in cut {
                prop_assert!((1..=TEXTS).contains(&batch.len()));
                prop_assert!(batch.len() == 1 || batch.iter().map(String::len).sum::<usize>() <= BYTES);
            }
        }
    }
}
