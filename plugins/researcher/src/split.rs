//! The sub-questions in a model's answer.

use animus_sdk::prelude::Value;

/// The longest sub-question, in bytes.
const LONGEST: usize = 4_000;

/// The texts of the JSON array in an answer, at most `most`, each once; a model puts words or a fence around it now and
/// then. None where there is no such array.
pub(crate) fn questions(answer: &str, most: usize) -> Vec<String> {
    let array = answer.find('[').zip(answer.rfind(']')).and_then(|(from, to)| answer.get(from..=to));
    let texts: Vec<Value> = match array.and_then(|text| text.parse().ok()) {
        Some(Value::Array(texts)) => texts,
        _ => Vec::new(),
    };
    let mut found: Vec<String> = Vec::new();
    for text in &texts {
        let text = text.as_str().unwrap_or_default().trim();
        let text = text.get(..text.floor_char_boundary(LONGEST)).unwrap_or_default();
        if !text.is_empty() && !found.iter().any(|known| known == text) && found.len() < most {
            found.push(text.to_owned());
        }
    }
    found
}
