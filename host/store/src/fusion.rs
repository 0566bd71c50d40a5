//! Reciprocal rank fusion: one order out of two lists whose scores mean different things.
//!
//! A place in a list is worth 1 / (60 + place), and a memory is worth the sum of its places: what both lists have comes
//! before what one of them has, unless that one has it far ahead. 60 is the constant of the method's authors (Cormack,
//! Clarke and Büttcher, 2009); it keeps the first places of one list from deciding alone.

use std::collections::HashMap;

const K: f64 = 60.0;
const DAY_MS: f64 = 86_400_000.0;

/// How many candidates each list gives, where `limit` hits are wanted: enough that what is good in both is in both.
pub(crate) fn depth(limit: u32) -> u32 {
    limit.saturating_mul(4).clamp(50, 200)
}

/// A memory that at least one list has.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fused {
    /// Its number; greater ones are newer.
    pub(crate) doc: u64,
    pub(crate) score: f64,
    pub(crate) text_rank: Option<u32>,
    pub(crate) vector_rank: Option<u32>,
    pub(crate) similarity: Option<f32>,
}

/// Joins the list by words and the list by vectors, each best first and without doubles. `weight` is what a memory's
/// score is multiplied by. Best first; of equals the newer first.
pub(crate) fn fuse(words: &[u64], vectors: &[(u64, f32)], weight: impl Fn(u64) -> f64) -> Vec<Fused> {
    let mut all: HashMap<u64, Fused> = HashMap::with_capacity(words.len().saturating_add(vectors.len()));
    let new = |doc| Fused { doc, score: 0.0, text_rank: None, vector_rank: None, similarity: None };
    for (rank, doc) in (1..).zip(words) {
        let one = all.entry(*doc).or_insert_with(|| new(*doc));
        one.score += 1.0 / (K + f64::from(rank));
        one.text_rank = Some(rank);
    }
    for (rank, (doc, similarity)) in (1..).zip(vectors) {
        let one = all.entry(*doc).or_insert_with(|| new(*doc));
        one.score += 1.0 / (K + f64::from(rank));
        (one.vector_rank, one.similarity) = (Some(rank), Some(*similarity));
    }
    let mut all: Vec<Fused> = all.into_values().collect();
    for one in &mut all {
        one.score *= weight(one.doc);
    }
    all.sort_by(|a, b| b.score.total_cmp(&a.score).then(b.doc.cmp(&a.doc)));
    all
}

/// What is left of the worth of something after so long: a half after each half-life. What claims to be of the future is
/// of now.
pub(crate) fn decay(now_ms: u64, updated_ms: u64, half_life_days: f64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "milliseconds more or less make no difference")]
    let days = now_ms.saturating_sub(updated_ms) as f64 / DAY_MS;
    (-days / half_life_days).exp2()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn docs(fused: &[Fused]) -> Vec<u64> {
        fused.iter().map(|it| it.doc).collect()
    }

    #[test]
    fn what_both_lists_have_comes_first_and_ties_go_to_the_newer() {
        let fused = fuse(&[1, 2, 3], &[(4, 0.9), (3, 0.8)], |_| 1.0);
        assert_eq!(docs(&fused), [3, 4, 1, 2]);
        assert_eq!((fused[0].text_rank, fused[0].vector_rank, fused[0].similarity), (Some(3), Some(2), Some(0.8)));
        assert_eq!(fused[0].score, 1.0 / 63.0 + 1.0 / 62.0);
        assert_eq!((fused[1].text_rank, fused[2].vector_rank), (None, None));
    }

    #[test]
    fn age_halves() {
        let day = 86_400_000;
        assert_eq!(decay(10 * day, 10 * day, 7.0), 1.0);
        assert_eq!(decay(17 * day, 10 * day, 7.0), 0.5);
        assert_eq!(decay(0, 10 * day, 7.0), 1.0);
        assert_eq!(decay(u64::MAX, 0, f64::MIN_POSITIVE), 0.0);
        let fused = fuse(&[1, 2], &[], |doc| if doc == 1 { 0.5 } else { 1.0 });
        assert_eq!(docs(&fused), [2, 1]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_added_or_doubled_and_either_list_alone_keeps_its_order(
            words in proptest::sample::subsequence((0..40u64).collect::<Vec<_>>(), 0..20).prop_shuffle(),
            vectors in proptest::sample::subsequence((0..40u64).collect::<Vec<_>>(), 0..20).prop_shuffle(),
        ) {
            let near: Vec<(u64, f32)> = vectors.iter().map(|doc| (*doc, 0.5)).collect();
            let fused = fuse(&words, &near, |_| 1.0);
            let mut all: Vec<u64> = words.iter().chain(&vectors).copied().collect();
            all.sort_unstable();
            all.dedup();
            let mut found = docs(&fused);
            found.sort_unstable();
            prop_assert_eq!(found, all);
            prop_assert!(fused.windows(2).all(|pair| pair[0].score >= pair[1].score));
            prop_assert_eq!(docs(&fuse(&words, &[], |_| 1.0)), words);
            prop_assert_eq!(docs(&fuse(&[], &near, |_| 1.0)), vectors);
        }
    }
}
