//! What is known of well-known models: list prices and windows. The configuration overrides all of it.

use animus_core::llm::Price;

/// What is known of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Known {
    /// At the vendor's own address.
    pub(crate) price: Price,
    /// Tokens that fit in a conversation at that price.
    pub(crate) window: u64,
    /// The longest answer that is asked for, in tokens.
    pub(crate) max_output: u32,
    /// Whether a request may set the temperature; newer reasoning models refuse it.
    pub(crate) temperature: bool,
    /// Whether it takes images.
    pub(crate) images: bool,
}

/// The window of a model that nothing is known of.
pub(crate) const DEFAULT_WINDOW: u64 = 128_000;
/// Ollama loads a model with the window that a request asks for, and memory grows with it.
pub(crate) const OLLAMA_WINDOW: u64 = 16_384;
/// The longest answer that is asked for of a model that nothing is known of.
pub(crate) const DEFAULT_MAX_OUTPUT: u32 = 8_192;

/// Millionths of a dollar per million tokens, from cents per million tokens.
const fn cents(cents: u64) -> u64 {
    cents * 10_000
}

/// Anthropic bills writes to the five-minute cache at 1.25 times the input price.
const fn claude(input: u64, output: u64, cached: u64, window: u64, temperature: bool) -> Known {
    let price = Price {
        input: cents(input),
        output: cents(output),
        cached: Some(cached * 1_000),
        cache_write: Some(cents(input) / 4 * 5),
    };
    Known { price, window, max_output: 16_384, temperature, images: true }
}

/// `cached` is in tenths of a cent per million tokens, here and above.
const fn gpt(input: u64, output: u64, cached: u64, window: u64, temperature: bool) -> Known {
    let price = Price { input: cents(input), output: cents(output), cached: Some(cached * 1_000), cache_write: None };
    Known { price, window, max_output: 16_384, temperature, images: true }
}

/// A model that makes embeddings and answers nothing. One text may have 8,191 tokens.
const fn embedding(input: u64) -> Known {
    Known { images: false, ..gpt(input, 0, input * 10, 8_191, false) }
}

/// Looked up in November 2026, standard tier: Anthropic's rows from its own pages; OpenAI's from third parties' pages of
/// June 2026 and from memory, so that they are not to be billed on unchecked. Where a vendor charges more for long prompts, the window ends where the
/// dearer tier begins, so that the price stays true.
const TABLE: &[(&str, Known)] = &[
    ("claude-fable-5-1", claude(1000, 5000, 250, 1_000_000, false)),
    ("claude-fable-5", claude(1000, 5000, 1000, 1_000_000, false)),
    ("claude-opus-5-5", claude(400, 2000, 200, 1_000_000, false)),
    ("claude-opus-5", claude(500, 2500, 500, 1_000_000, false)),
    ("claude-opus-4-8", claude(500, 2500, 500, 200_000, false)),
    ("claude-opus-4-7", claude(500, 2500, 500, 200_000, false)),
    ("claude-opus-4-6", claude(500, 2500, 500, 200_000, true)),
    ("claude-opus-4-5", claude(500, 2500, 500, 200_000, true)),
    ("claude-opus-4-1", claude(1500, 7500, 1500, 200_000, true)),
    ("claude-sonnet-5-5", claude(200, 1000, 100, 1_000_000, false)),
    ("claude-sonnet-5", claude(200, 1000, 200, 1_000_000, false)),
    ("claude-sonnet-4-6", claude(300, 1500, 300, 200_000, true)),
    ("claude-sonnet-4-5", claude(300, 1500, 300, 200_000, true)),
    ("claude-sonnet-4", claude(300, 1500, 300, 200_000, true)),
    ("claude-haiku-5-5", claude(10, 50, 10, 100_000, false)),
    ("claude-haiku-4-5", claude(100, 500, 100, 200_000, true)),
    ("gpt-5.5", gpt(500, 3000, 500, 272_000, false)),
    ("gpt-5.4", gpt(250, 1500, 250, 272_000, false)),
    ("gpt-5.4-mini", gpt(75, 450, 75, 272_000, false)),
    ("gpt-5.4-nano", gpt(20, 125, 20, 272_000, false)),
    ("gpt-5.1", gpt(125, 1000, 125, 272_000, false)),
    ("gpt-5", gpt(125, 1000, 125, 272_000, false)),
    ("gpt-5-mini", gpt(25, 200, 25, 272_000, false)),
    ("gpt-5-nano", gpt(5, 40, 5, 272_000, false)),
    ("gpt-4.1", gpt(200, 800, 500, 1_000_000, true)),
    ("gpt-4.1-mini", gpt(40, 160, 100, 1_000_000, true)),
    ("gpt-4.1-nano", gpt(10, 40, 25, 1_000_000, true)),
    ("gpt-4o", gpt(250, 1000, 1250, 128_000, true)),
    ("gpt-4o-mini", gpt(15, 60, 75, 128_000, true)),
    ("o3", gpt(200, 800, 500, 200_000, false)),
    ("o4-mini", gpt(110, 440, 275, 200_000, false)),
    ("text-embedding-3-small", embedding(2)),
    ("text-embedding-3-large", embedding(13)),
    ("text-embedding-ada-002", embedding(10)),
    ("o3-mini", Known { images: false, ..gpt(110, 440, 550, 200_000, false) }),
];

/// What is known of a model, by its name with or without a date.
pub(crate) fn known(model: &str) -> Option<&'static Known> {
    let undated = undated(model);
    TABLE.iter().find(|(name, _)| *name == undated).map(|(_, known)| known)
}

/// The higher price of either, kind by kind: what a call may cost whichever model answers.
pub(crate) fn highest(one: Price, other: Price) -> Price {
    let cached = one.cached.unwrap_or(one.input).max(other.cached.unwrap_or(other.input));
    let cache_write = one.cache_write.unwrap_or(one.input).max(other.cache_write.unwrap_or(other.input));
    Price {
        input: one.input.max(other.input),
        output: one.output.max(other.output),
        cached: Some(cached),
        cache_write: Some(cache_write),
    }
}

/// Without `-20250929`, `-2025-08-07` or `-latest`.
fn undated(model: &str) -> &str {
    if let Some(stem) = model.strip_suffix("-latest") {
        return stem;
    }
    for length in ["-20250929".len(), "-2025-08-07".len()] {
        let at = model.len().saturating_sub(length);
        let Some((stem, date)) = model.split_at_checked(at) else { continue };
        let digits = date.bytes().filter(u8::is_ascii_digit).count();
        if digits == 8 && date.starts_with('-') && date.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit()) {
            return stem;
        }
    }
    model
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dated_name_is_the_model_itself() {
        for (dated, plain) in [
            ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
            ("claude-sonnet-4-20250514", "claude-sonnet-4"),
            ("gpt-4.1-2025-04-14", "gpt-4.1"),
            ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
            ("o3-2025-04-16", "o3"),
            ("gpt-4o-latest", "gpt-4o"),
        ] {
            assert_eq!(undated(dated), plain);
            assert!(known(dated).is_some(), "{dated}");
        }
    }

    #[test]
    fn a_model_is_never_taken_for_its_cousin() {
        for unknown in ["gpt-4o-audio-preview", "gpt-4", "claude-sonnet", "o3-pro", "llama3.1"] {
            assert_eq!(known(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn the_table_is_in_millionths_of_a_dollar() {
        let sonnet = known("claude-sonnet-4-5").unwrap().price;
        assert_eq!(
            sonnet,
            Price { input: 3_000_000, output: 15_000_000, cached: Some(300_000), cache_write: Some(3_750_000) }
        );
        let mini = known("gpt-4o-mini").unwrap().price;
        assert_eq!(mini, Price { input: 150_000, output: 600_000, cached: Some(75_000), cache_write: None });
    }
}
