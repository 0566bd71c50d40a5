//! What outlives a piece of work.
//!
//! A recall looks in two ways and joins what they find: for the words of the query, and, where the query carries an
//! [`Embedding`], for the memories whose vectors point the same way. Either alone works.

use serde::{Deserialize, Serialize};

use crate::{Error, id::MemoryId};

/// The longest content of a memory, in bytes.
pub const MAX_CONTENT: usize = 64 * 1024;
/// The most tags of a memory.
pub const MAX_TAGS: usize = 32;
/// The most hits of one recall.
pub const MAX_HITS: u32 = 100;
/// Hits of one recall unless the query says otherwise.
pub const HITS: u32 = 10;
/// The most earlier versions of a memory that are kept.
pub const MAX_EARLIER: u32 = 10;
/// The most dimensions of an embedding.
pub const MAX_DIMS: usize = 4096;
/// The longest name of an embedding's model, in bytes.
pub const MAX_MODEL: usize = 256;

/// A stored memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Its identifier.
    pub id: MemoryId,
    /// What it says.
    pub content: String,
    /// The author's own sorting word.
    pub kind: String,
    /// Its tags, sorted.
    pub tags: Vec<String>,
    /// Who stored it: a plugin's name, or `operator`.
    pub source: String,
    /// 1, and one more with each update.
    pub version: u64,
    /// When it was stored, milliseconds since the epoch.
    pub created_ms: u64,
    /// When its content was last updated; when it was stored, if never.
    pub updated_ms: u64,
}

/// What a memory said at one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Its number, from 1.
    pub version: u64,
    /// What it said.
    pub content: String,
    /// Since when, milliseconds since the epoch.
    pub since_ms: u64,
}

/// Where a text points, as a model sees it: a vector of length 1. Vectors of two models, or of different dimensions, are
/// not comparable, and never compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    model: String,
    vector: Vec<f32>,
}

impl Embedding {
    /// Scales `vector` to length 1.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a vector of none or more than [`MAX_DIMS`] dimensions, one of zeros, one with a number that
    /// is infinite or none, and a model without a name or with one longer than [`MAX_MODEL`] bytes.
    pub fn new(model: impl Into<String>, mut vector: Vec<f32>) -> Result<Self, Error> {
        let model = model.into();
        if model.is_empty() || model.len() > MAX_MODEL {
            let length = model.len();
            return Err(Error::Invalid(format!(
                "an embedding names its model in 1 to {MAX_MODEL} bytes; this name has {length}"
            )));
        }
        if vector.is_empty() || vector.len() > MAX_DIMS {
            return Err(Error::Invalid(format!(
                "an embedding has 1 to {MAX_DIMS} dimensions; this one has {}",
                vector.len()
            )));
        }
        if vector.iter().any(|x| !x.is_finite()) {
            return Err(Error::Invalid("an embedding holds finite numbers only; this one holds others".into()));
        }
        // In double precision neither the square of the largest nor that of the smallest number is lost.
        let length = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
        if length == 0.0 {
            return Err(Error::Invalid("an embedding points somewhere; this one is all zeros".into()));
        }
        for x in &mut vector {
            #[allow(clippy::cast_possible_truncation, reason = "the quotient is between -1 and 1")]
            let scaled = (f64::from(*x) / length) as f32;
            *x = scaled;
        }
        Ok(Self { model, vector })
    }

    /// The model, `<vendor>:<model>`.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The vector, of length 1.
    #[must_use]
    pub fn vector(&self) -> &[f32] {
        &self.vector
    }

    /// The number of dimensions.
    #[must_use]
    pub fn dims(&self) -> usize {
        self.vector.len()
    }

    /// How alike two texts have to be so that their likeness says anything. Words that are hashed into few dimensions
    /// meet by chance: unrelated texts are alike to about one part in the root of the dimensions, hardly ever to three.
    /// The vectors of a trained model are taken as they are.
    #[must_use]
    pub fn noise(&self) -> f32 {
        #[allow(clippy::cast_precision_loss, reason = "at most MAX_DIMS")]
        let dims = self.dims() as f32;
        if self.model.starts_with("lexical:") { 3.0 / dims.sqrt() } else { 0.0 }
    }
}

/// A memory to store.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NewMemory {
    /// Its identifier, where storing must happen once however often it is asked for: when a memory of this identifier
    /// holds or held the same content, nothing changes; nor is one that was forgotten stored again. None: a new one.
    #[serde(default)]
    pub id: Option<MemoryId>,
    /// What it says.
    pub content: String,
    /// The author's own sorting word.
    pub kind: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// Who stores it.
    pub source: String,
    /// Where it points. None: it is found by its words only. Follows from the content, so no JSON holds it.
    #[serde(skip)]
    pub embedding: Option<Embedding>,
}

/// Checks the length of a memory's content.
///
/// # Errors
/// [`Error::Invalid`] for none, and for more than [`MAX_CONTENT`] bytes.
pub fn check_content(content: &str) -> Result<(), Error> {
    if content.trim().is_empty() {
        return Err(Error::Invalid("a memory needs content".into()));
    }
    if content.len() > MAX_CONTENT {
        return Err(Error::Invalid(format!(
            "a memory holds at most {MAX_CONTENT} bytes; this one has {}",
            content.len()
        )));
    }
    Ok(())
}

impl NewMemory {
    /// Checks sizes and forms, and sorts the tags.
    ///
    /// # Errors
    /// [`Error::Invalid`] that names the offending part.
    pub fn checked(mut self) -> Result<Self, Error> {
        check_content(&self.content)?;
        self.tags.sort();
        self.tags.dedup();
        if self.tags.len() > MAX_TAGS {
            return Err(Error::Invalid(format!(
                "a memory has at most {MAX_TAGS} tags; this one has {}",
                self.tags.len()
            )));
        }
        for word in self.tags.iter().chain([&self.kind]) {
            if !crate::id::is_name(word) {
                return Err(Error::Invalid(format!(
                    "'{}' is not of the form [a-z][a-z0-9_-]*, at most 64 bytes",
                    word.escape_debug()
                )));
            }
        }
        Ok(self)
    }
}

/// New content for a memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Update {
    /// What it says from now on.
    pub content: String,
    /// Where it points from now on. None: it is found by its words only.
    pub embedding: Option<Embedding>,
    /// The version that is updated; a conflict when it is another one by now. None: whichever it is.
    pub from: Option<u64>,
}

/// What to recall.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Query {
    /// The words; empty for the newest.
    pub text: String,
    /// At most so many hits, 1 to [`MAX_HITS`]; [`HITS`] when none.
    pub limit: Option<u32>,
    /// Only this kind.
    pub kind: Option<String>,
    /// Only items with all of these tags.
    pub tags: Vec<String>,
    /// Only what this plugin, or `operator`, stored.
    #[serde(default)]
    pub source: Option<String>,
    /// Only what was stored or updated at this time or later, milliseconds since the epoch.
    #[serde(default)]
    pub since_ms: Option<u64>,
    /// Only what was stored or updated before this time, milliseconds since the epoch.
    #[serde(default)]
    pub until_ms: Option<u64>,
    /// After so many days a memory counts half as much as a new one. None: age does not count.
    #[serde(default)]
    pub half_life_days: Option<f64>,
    /// Where the words point. None: only the words are looked for. Follows from the words, so no JSON holds it.
    #[serde(skip)]
    pub embedding: Option<Embedding>,
}

impl Query {
    /// How many hits are asked for.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a limit out of range and a half-life that is not more than 0 days.
    pub fn checked_limit(&self) -> Result<u32, Error> {
        let limit = self.limit.unwrap_or(HITS);
        if limit == 0 || limit > MAX_HITS {
            return Err(Error::Invalid(format!("a recall gives 1 to {MAX_HITS} hits, not {limit}")));
        }
        if self.half_life_days.is_some_and(|days| !days.is_finite() || days <= 0.0) {
            return Err(Error::Invalid("the half-life of a recall is a number of days above 0".into()));
        }
        Ok(limit)
    }

    /// Whether every memory passes its filters.
    #[must_use]
    pub fn takes_all(&self) -> bool {
        self.kind.is_none()
            && self.tags.is_empty()
            && self.source.is_none()
            && self.since_ms.is_none()
            && self.until_ms.is_none()
    }
}

/// A memory that a query found, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    /// The memory.
    pub memory: Memory,
    /// Greater is nearer. Comparable within one answer only.
    pub score: f64,
    /// Its place, from 1, among those that hold words of the query; none when it holds none.
    #[serde(default)]
    pub text_rank: Option<u32>,
    /// Its place, from 1, among those that point where the query points; none when it is not among them.
    #[serde(default)]
    pub vector_rank: Option<u32>,
    /// The cosine between it and the query, where it has a `vector_rank`.
    #[serde(default)]
    pub similarity: Option<f32>,
}

/// What a query found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recalled {
    /// The hits, best first.
    pub hits: Vec<Hit>,
    /// How many of the tenant's memories have no vector that is comparable with the query's, so that only their words were
    /// looked at. 0 for a query without an embedding.
    pub left_out: u64,
}

/// A memory that has no vector of some model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unembedded {
    /// Its identifier.
    pub id: MemoryId,
    /// Its version.
    pub version: u64,
    /// What it says.
    pub content: String,
    /// Where to go on after it.
    pub cursor: u64,
}

/// How many memories have a vector of some model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// All memories of the tenant.
    pub memories: u64,
    /// Those that have one.
    pub embedded: u64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hostile_vectors_are_refused() {
        for bad in [
            vec![],
            vec![0.0; 384],
            vec![-0.0],
            vec![1.0, f32::NAN],
            vec![f32::INFINITY, 1.0],
            vec![f32::NEG_INFINITY],
            vec![0.5; MAX_DIMS + 1],
        ] {
            assert_eq!(Embedding::new("m:x", bad).unwrap_err().class(), "invalid");
        }
        assert!(Embedding::new("", vec![1.0]).is_err());
        assert!(Embedding::new("m".repeat(MAX_MODEL + 1), vec![1.0]).is_err());
    }

    #[test]
    fn the_largest_and_the_smallest_numbers_point_somewhere() {
        for x in [f32::MAX, f32::MIN_POSITIVE, f32::from_bits(1)] {
            let it = Embedding::new("m:x", vec![x, -x, 0.0, 0.0]).unwrap();
            for (found, expected) in it.vector().iter().zip([0.5f32.sqrt(), -0.5f32.sqrt(), 0.0, 0.0]) {
                assert!((found - expected).abs() < 1e-6, "{x:e}: {it:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn every_embedding_has_length_one(vector in proptest::collection::vec(any::<f32>(), 1..50)) {
            if let Ok(it) = Embedding::new("m:x", vector) {
                let length: f64 = it.vector().iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
                prop_assert!((length - 1.0).abs() < 1e-5, "{length}");
            }
        }
    }

    #[test]
    fn a_half_life_is_a_time() {
        for days in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Query { half_life_days: Some(days), ..Query::default() }.checked_limit().is_err(), "{days}");
        }
        assert_eq!(Query { half_life_days: Some(0.5), ..Query::default() }.checked_limit().unwrap(), HITS);
    }
}
