//! `lexical:<dimensions>`: embeddings that this host computes itself, from nothing but the text.
//!
//! They say which *words and parts of words* a text has, not what it means: `deploying` is near `deployment` and far from
//! `release`. For that they cost nothing, need no network and no download, and are the same on every machine.
//!
//! # How a text becomes a vector
//! 1. The text is lowercased and cut into words at everything that is neither letter nor digit. English words that every
//!    text has ([`COMMON`]) are left out, unless there are no others.
//! 2. Each word is a feature of weight 1; so is, with weight 1/2, every run of 3, 4 and 5 characters of the word between
//!    the marks `<` and `>`. Scripts without spaces (U+2E80 and above) give each character and each pair of neighbours
//!    too, with weight 1. A text without any word gives each of its characters.
//! 3. A feature that comes n times counts √n as much as one that comes once.
//! 4. A feature's hash is FNV-1a of its UTF-8 bytes after a byte for its sort (`w`, `g`, `c`), 64 bits. It goes to
//!    [`PLACES`] places: for the i-th, from 0, the hash plus i times 0x9e3779b97f4a7c15 is stirred by the last steps
//!    of MurmurHash3; the remainder by the dimensions is the place, and the highest bit says whether the feature is added
//!    there or taken away. Features that meet do not always add up then, and two of them hardly ever meet everywhere.
//! 5. The vector is scaled to length 1.
//!
//! This must never change: stored vectors would point elsewhere than new ones. A better way gets a new name. Only square
//! roots and sums in a fixed order are used, which every machine computes alike.

use animus_core::{Error, Result, memory::MAX_DIMS};

/// The name before the colon.
pub(crate) const PROVIDER: &str = "lexical";
/// What serves the role `embed` when the configuration says nothing.
pub(crate) const DEFAULT: &str = "lexical:384";

/// Where a feature goes. In one place alone, two words that meet by chance would look alike, or opposite.
const PLACES: u64 = 8;
/// Sorted.
const COMMON: [&str; 48] = [
    "a", "an", "and", "are", "as", "at", "be", "been", "but", "by", "can", "did", "do", "does", "for", "from", "had",
    "has", "have", "he", "how", "i", "if", "in", "is", "it", "its", "of", "on", "or", "she", "that", "the", "their",
    "there", "they", "this", "to", "was", "we", "were", "what", "when", "where", "which", "who", "with", "you",
];

/// The dimensions that a model's name asks for.
pub(crate) fn dims(model: &str) -> Result<usize> {
    let dims = model.parse().ok().filter(|dims| (64..=MAX_DIMS).contains(dims));
    dims.ok_or_else(|| {
        Error::Invalid(format!(
            "'{PROVIDER}:{}' is no model; write {PROVIDER}: and 64 to {MAX_DIMS} dimensions, as in {DEFAULT}",
            model.escape_debug()
        ))
    })
}

/// Where a text points, a vector of length 1; of zeros for a blank text.
pub(crate) fn embed(text: &str, dims: usize) -> Vec<f32> {
    let mut features = features(text);
    features.sort_unstable_by_key(|feature| (feature.hash, feature.quarters));
    let mut sums = vec![0.0f64; dims];
    for same in features.chunk_by(|a, b| a.hash == b.hash && a.quarters == b.quarters) {
        let Some(Feature { hash, quarters }) = same.first() else { continue };
        let times = u32::try_from(same.len()).unwrap_or(u32::MAX);
        let weight = f64::from(times).sqrt() * f64::from(*quarters) / 4.0;
        for number in 0..PLACES {
            let hash = stir(hash.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
            let place = usize::try_from(hash % (dims.max(1) as u64)).unwrap_or(0);
            if let Some(sum) = sums.get_mut(place) {
                *sum += if hash >> 63 == 0 { weight } else { -weight };
            }
        }
    }
    let mut length = sums.iter().map(|x| x * x).sum::<f64>().sqrt();
    if length == 0.0 && !text.trim().is_empty() {
        // All features cancel each other. Whoever takes the trouble to find such a text gets a direction all the same.
        if let Some(first) = sums.first_mut() {
            (*first, length) = (1.0, 1.0);
        }
    }
    let length = if length == 0.0 { 1.0 } else { length };
    #[allow(clippy::cast_possible_truncation, reason = "from -1 to 1")]
    let scaled = |x: f64| (x / length) as f32;
    sums.into_iter().map(scaled).collect()
}

#[derive(Clone, Copy)]
struct Feature {
    hash: u64,
    /// Its weight.
    quarters: u8,
}

fn features(text: &str) -> Vec<Feature> {
    let lower = text.to_lowercase();
    let words = || lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let rare = |word: &&str| COMMON.binary_search(word).is_err();
    let all = !words().any(|word| rare(&word));
    let mut features = Vec::new();
    for word in words().filter(|word| all || rare(word)) {
        features.push(Feature { hash: hash(b'w', word), quarters: 4 });
        let marked: Vec<char> = std::iter::once('<').chain(word.chars()).chain(std::iter::once('>')).collect();
        for length in 3..=5 {
            add(&mut features, b'g', 2, marked.windows(length));
        }
        let unspaced = |run: &&[char]| run.iter().all(|c| *c >= '\u{2e80}');
        for length in 1..=2 {
            add(&mut features, b'c', 4, marked.windows(length).filter(unspaced));
        }
    }
    if features.is_empty() {
        let signs: Vec<char> = lower.chars().filter(|c| !c.is_whitespace()).collect();
        add(&mut features, b'c', 4, signs.windows(1));
    }
    features
}

fn add<'a>(features: &mut Vec<Feature>, sort: u8, quarters: u8, runs: impl Iterator<Item = &'a [char]>) {
    features.extend(runs.map(|run| {
        let run: String = run.iter().collect();
        Feature { hash: hash(sort, &run), quarters }
    }));
}

fn hash(sort: u8, text: &str) -> u64 {
    let bytes = std::iter::once(sort).chain(text.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

fn stir(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn likeness(one: &str, other: &str) -> f32 {
        embed(one, 384).iter().zip(embed(other, 384)).map(|(x, y)| x * y).sum()
    }

    #[test]
    fn common_words_are_sorted_so_that_they_are_found() {
        assert!(COMMON.is_sorted());
    }

    /// Computed by another program after the description above. If this fails, stored vectors have become worthless.
    #[test]
    fn vectors_stay_what_they_are_for_ever() {
        for line in include_str!("../tests/exchanges/lexical_golden.jsonl").lines() {
            let golden: serde_json::Value = serde_json::from_str(line).unwrap();
            let dims = golden["dims"].as_u64().unwrap() as usize;
            let found = embed(golden["text"].as_str().unwrap(), dims);
            assert_eq!(found.len(), dims);
            let expected = golden["vector"].as_array().unwrap();
            assert_eq!(found.iter().filter(|x| **x != 0.0).count(), expected.len(), "{line}");
            for pair in expected {
                let (place, value) = (pair[0].as_u64().unwrap() as usize, pair[1].as_f64().unwrap() as f32);
                assert_eq!(found[place].to_bits(), value.to_bits(), "{place} of {line}");
            }
        }
    }

    #[test]
    fn forms_of_a_word_are_near_and_other_words_far() {
        assert!(likeness("deploying the hosts", "deployment of a host") > 0.3);
        assert!(likeness("Deploy, HOSTS!", "deploy hosts") > 0.999);
        assert!(likeness("the river is wide", "bread needs salt") < 0.15);
        assert!(likeness("河流很宽", "河流") > 0.3);
        assert!(
            likeness("what is the deploy key of staging", "deploy key staging") > 0.999,
            "common words count nothing"
        );
        assert!(likeness("what is this", "who are you") < 0.9, "unless there are no others");
    }

    #[test]
    fn every_text_but_a_blank_one_points_somewhere() {
        for text in ["!", "—", "🙂🙂", "\0", "a", "the", "\u{301}"] {
            let length: f32 = embed(text, 64).iter().map(|x| x * x).sum();
            assert!((length - 1.0).abs() < 1e-5, "{text:?}: {length}");
        }
        assert!(embed(" \n", 64).iter().all(|x| *x == 0.0));
    }

    #[test]
    fn a_name_says_how_many_dimensions() {
        assert_eq!(dims("384").unwrap(), 384);
        for bad in ["", "0", "63", "4097", "-1", "99999999999999999999", "384d"] {
            assert!(dims(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_finite_numbers_of_length_one(text in "\\PC{0,200}") {
            let vector = embed(&text, 128);
            let length: f32 = vector.iter().map(|x| x * x).sum();
            prop_assert!(text.trim().is_empty() || (length - 1.0).abs() < 1e-4);
        }

        #[test]
        fn order_and_case_of_words_make_no_difference(words in proptest::collection::vec("[a-z]{4,9}", 1..20)) {
            let (mut turned, text) = (words.clone(), words.join(" "));
            turned.reverse();
            prop_assert_eq!(embed(&text, 96), embed(&turned.join(", ").to_uppercase(), 96));
        }
    }
}
