//! Where the texts of memories point.

use animus_core::{
    Error, Result,
    llm::{EMBED_ROLE, Embeddings, Models},
    memory::Embedding,
};
use tokio_util::sync::CancellationToken;

/// As much of a memory or a query is embedded, in bytes: no vendor takes much more, and a vector of a long text says
/// little. The words of the rest are found all the same.
const PART: usize = 16 << 10;

/// The part of a text that is embedded: its beginning.
#[must_use]
pub fn part(text: &str) -> &str {
    text.get(..text.floor_char_boundary(PART)).unwrap_or(text)
}

/// Where a text points, by the models of the role `embed`.
///
/// # Errors
/// [`Error::Invalid`] for a blank text, and for a vector that points nowhere; otherwise those of [`Models::embed`].
pub async fn embedding(models: &dyn Models, text: &str, cancel: CancellationToken) -> Result<Embedding> {
    one(models.embed(EMBED_ROLE, &[part(text).to_owned()], cancel).await?)
}

/// The only one of some embeddings.
pub(crate) fn one(embeddings: Embeddings) -> Result<Embedding> {
    let Embeddings { model, vectors, .. } = embeddings;
    match <[Vec<f32>; 1]>::try_from(vectors) {
        Ok([vector]) => Embedding::new(model, vector),
        Err(vectors) => Err(Error::Internal(format!("{model} gave {} vectors for one text", vectors.len()))),
    }
}

/// Whether this host computes embeddings itself, without asking anybody.
pub(crate) fn served_here(models: &dyn Models) -> bool {
    models.resolve(EMBED_ROLE).is_ok_and(|info| info.models.iter().all(|model| model.starts_with("lexical:")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_two_characters() {
        assert_eq!(part("short"), "short");
        let long = "é".repeat(PART);
        assert_eq!(part(&long).len(), PART);
        assert!(part(&format!("x{long}")).len() == PART - 1);
    }
}
