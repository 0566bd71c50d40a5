//! Vectors in memory: rounded to one byte a dimension, searched one after another, the best compared exactly.
//!
//! Going through all of them is what makes the answer independent of the order in which they came, of what was forgotten
//! and of how narrow the filters are, and it needs nothing to be built. One core reads 100,000 vectors of 384 dimensions
//! in a few milliseconds: they are 38 MB, and the compiler turns the loop into vector instructions.
//!
//! A vector is stored as its largest component in 127ths (`scale`) and one signed byte for each component. The order by
//! rounded vectors is nearly the exact one: whoever wants some asks for twice as many ([`rescored`]) and compares those
//! by [`cosine`].

use std::{
    cmp::{Ordering, Reverse},
    collections::{BinaryHeap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use animus_core::id::TenantId;
use tokio::sync::RwLock;

/// As many of the nearest by rounded vectors are compared exactly, where `depth` are wanted.
pub(crate) fn rescored(depth: usize) -> usize {
    depth.saturating_mul(2)
}

/// The most bytes that the indexes of a process hold together. One alone that is larger is not kept at all, and its
/// vectors are read from the database for every search.
const KEPT: usize = 512 << 20;
/// What a vector takes beside its components: scale, number, place.
const BESIDE: usize = 48;

/// Rounds a vector of length 1: its scale, and a byte for each component.
pub(crate) fn encode(vector: &[f32]) -> (f32, Vec<u8>) {
    let largest = vector.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    let scale = largest / 127.0;
    if scale <= 0.0 {
        return (0.0, vec![0; vector.len()]);
    }
    #[allow(clippy::cast_possible_truncation, reason = "from -127 to 127")]
    let byte = |x: &f32| ((x / scale).round().clamp(-127.0, 127.0) as i8).cast_unsigned();
    (scale, vector.iter().map(byte).collect())
}

/// A vector as the store holds it.
pub(crate) fn to_bytes(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// The cosine of the angle between a vector of length 1 and a stored one. The same on every machine: the sum is taken
/// in order and in double precision.
pub(crate) fn cosine(vector: &[f32], stored: &[u8]) -> f32 {
    let (stored, _) = stored.as_chunks::<4>();
    let products = vector.iter().zip(stored).map(|(x, bytes)| f64::from(*x) * f64::from(f32::from_le_bytes(*bytes)));
    #[allow(clippy::cast_possible_truncation, reason = "from -1 to 1, and a little beyond by rounding")]
    let sum = products.sum::<f64>() as f32;
    sum.clamp(-1.0, 1.0)
}

/// A query's vector, rounded.
#[derive(Clone, Debug)]
pub(crate) struct Probe(Vec<i16>);

impl Probe {
    pub(crate) fn new(vector: &[f32]) -> Self {
        Self(encode(vector).1.into_iter().map(|byte| i16::from(byte.cast_signed())).collect())
    }

    /// How near a rounded vector is. Comparable among answers to one probe only.
    fn nearness(&self, scale: f32, code: &[i8]) -> f32 {
        // No indexing and no early end: this is the loop that has to become vector instructions. At most 4096 products
        // of at most 127², which 32 bits hold.
        let sum: i32 = self.0.iter().zip(code).map(|(x, y)| i32::from(*x) * i32::from(*y)).sum();
        #[allow(clippy::cast_precision_loss, reason = "the last bits say nothing: both vectors were rounded")]
        let sum = sum as f32;
        sum * scale
    }
}

/// The order by nearness; of two that are equally near the newer comes first.
#[derive(Clone, Copy, Debug)]
struct Scored {
    nearness: f32,
    doc: u64,
}

impl Ord for Scored {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nearness.total_cmp(&other.nearness).then(self.doc.cmp(&other.doc))
    }
}

impl PartialOrd for Scored {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scored {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scored {}

/// The best so far.
#[derive(Debug)]
pub(crate) struct Best {
    most: usize,
    heap: BinaryHeap<Reverse<Scored>>,
}

impl Best {
    /// Keeps `most`.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, heap: BinaryHeap::with_capacity(most.saturating_add(1)) }
    }

    /// Looks at one more, whose code is as the store holds it.
    pub(crate) fn look(&mut self, probe: &Probe, doc: u64, scale: f32, code: &[u8]) {
        let code: Vec<i8> = code.iter().map(|byte| byte.cast_signed()).collect();
        self.offer(Scored { nearness: probe.nearness(scale, &code), doc });
    }

    fn offer(&mut self, one: Scored) {
        if self.heap.len() < self.most {
            self.heap.push(Reverse(one));
        } else if self.heap.peek().is_some_and(|Reverse(worst)| *worst < one) {
            self.heap.pop();
            self.heap.push(Reverse(one));
        }
    }

    /// The nearest first.
    pub(crate) fn docs(self) -> Vec<u64> {
        self.heap.into_sorted_vec().into_iter().map(|Reverse(one)| one.doc).collect()
    }
}

/// The rounded vectors of one tenant in one space.
#[derive(Debug, Default)]
pub(crate) struct Index {
    dims: usize,
    /// Up to which revision of the tenant's vectors it is current; none before it was loaded.
    seen: Option<u64>,
    docs: Vec<u64>,
    scales: Vec<f32>,
    /// `dims` for each doc.
    codes: Vec<i8>,
    places: HashMap<u64, usize>,
}

impl Index {
    fn new(dims: usize) -> Self {
        Self { dims, ..Self::default() }
    }

    pub(crate) fn seen(&self) -> Option<u64> {
        self.seen
    }

    pub(crate) fn see(&mut self, revision: u64) {
        self.seen = Some(revision);
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.dims);
    }

    pub(crate) fn len(&self) -> usize {
        self.docs.len()
    }

    /// Adds a vector, or replaces that of the same doc. One of other dimensions, which only damage can have brought
    /// here, is left out.
    pub(crate) fn set(&mut self, doc: u64, scale: f32, code: &[u8]) {
        if code.len() != self.dims {
            return;
        }
        self.remove(doc);
        self.places.insert(doc, self.docs.len());
        self.docs.push(doc);
        self.scales.push(scale);
        self.codes.extend(code.iter().map(|byte| byte.cast_signed()));
    }

    /// Removes a vector, if it is there; the last one takes its place.
    pub(crate) fn remove(&mut self, doc: u64) {
        let Some(place) = self.places.remove(&doc) else { return };
        let last = self.docs.len().saturating_sub(1);
        let tail = last.saturating_mul(self.dims)..self.codes.len();
        self.codes.copy_within(tail.clone(), place.saturating_mul(self.dims));
        if let Some(rest) = self.codes.get_mut(tail) {
            rest.fill(0);
        }
        self.codes.truncate(last.saturating_mul(self.dims));
        self.docs.swap_remove(place);
        self.scales.swap_remove(place);
        if let Some(moved) = self.docs.get(place) {
            self.places.insert(*moved, place);
        }
    }

    /// The `most` nearest, the nearest first.
    pub(crate) fn search(&self, probe: &Probe, most: usize) -> Vec<u64> {
        let mut best = Best::new(most);
        let rows = self.codes.chunks_exact(self.dims.max(1)).zip(&self.scales).zip(&self.docs);
        for ((code, scale), doc) in rows {
            best.offer(Scored { nearness: probe.nearness(*scale, code), doc: *doc });
        }
        best.docs()
    }

    /// The same among some.
    pub(crate) fn search_among(&self, probe: &Probe, docs: &[u64], most: usize) -> Vec<u64> {
        let mut best = Best::new(most);
        for doc in docs {
            let Some(place) = self.places.get(doc) else { continue };
            let from = place.saturating_mul(self.dims);
            let (Some(code), Some(scale)) =
                (self.codes.get(from..from.saturating_add(self.dims)), self.scales.get(*place))
            else {
                continue;
            };
            best.offer(Scored { nearness: probe.nearness(*scale, code), doc: *doc });
        }
        best.docs()
    }
}

/// What so many vectors take in an index, in bytes.
fn weight(vectors: usize, dims: usize) -> usize {
    vectors.saturating_mul(dims.saturating_add(BESIDE)).saturating_add(1024)
}

/// The indexes of a process. The least recently used ones go when they hold too much together.
#[derive(Debug)]
pub(crate) struct Indexes {
    kept: Mutex<Kept>,
    /// In bytes.
    most: usize,
}

impl Default for Indexes {
    fn default() -> Self {
        Self::within(KEPT)
    }
}

#[derive(Debug, Default)]
struct Kept {
    indexes: HashMap<(TenantId, u64), Slot>,
    uses: u64,
}

#[derive(Debug)]
struct Slot {
    index: Arc<RwLock<Index>>,
    bytes: usize,
    used: u64,
}

impl Indexes {
    /// Indexes that hold at most so many bytes together.
    pub(crate) fn within(most: usize) -> Self {
        Self { kept: Mutex::default(), most }
    }

    /// Whether so many vectors may be kept in memory.
    pub(crate) fn fits(&self, vectors: u64, dims: usize) -> bool {
        weight(usize::try_from(vectors).unwrap_or(usize::MAX), dims) <= self.most
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The index of a tenant and a space, empty at first.
    pub(crate) fn get(&self, tenant: &TenantId, space: u64, dims: usize) -> Arc<RwLock<Index>> {
        let mut kept = self.kept();
        kept.uses = kept.uses.wrapping_add(1);
        let used = kept.uses;
        let empty = || Slot { index: Arc::new(RwLock::new(Index::new(dims))), bytes: weight(0, dims), used };
        let slot = kept.indexes.entry((tenant.clone(), space)).or_insert_with(empty);
        slot.used = used;
        Arc::clone(&slot.index)
    }

    /// Takes note of how many vectors an index holds by now, and lets go what is too much.
    pub(crate) fn weigh(&self, tenant: &TenantId, space: u64, vectors: usize, dims: usize) {
        let mut kept = self.kept();
        if let Some(slot) = kept.indexes.get_mut(&(tenant.clone(), space)) {
            slot.bytes = weight(vectors, dims);
        }
        let mut total = kept.indexes.values().fold(0usize, |sum, slot| sum.saturating_add(slot.bytes));
        while total > self.most {
            let oldest = kept.indexes.iter().min_by_key(|(_, slot)| slot.used).map(|(key, _)| key.clone());
            let Some(gone) = oldest.and_then(|key| kept.indexes.remove(&key)) else { break };
            total = total.saturating_sub(gone.bytes);
        }
    }

    /// Removes a vector from the indexes of a tenant, without waiting for the next search to find it gone.
    pub(crate) async fn remove(&self, tenant: &TenantId, doc: u64) {
        let mut indexes = Vec::new();
        for ((owner, _), slot) in &self.kept().indexes {
            if owner == tenant {
                indexes.push(Arc::clone(&slot.index));
            }
        }
        for index in indexes {
            index.write().await.remove(doc);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unit(vector: &[f32]) -> Vec<f32> {
        animus_core::memory::Embedding::new("m:x", vector.to_vec()).unwrap().vector().to_vec()
    }

    /// Numbers without a pattern.
    fn noise(seed: u64) -> impl Iterator<Item = f32> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        std::iter::repeat_with(move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        })
    }

    #[test]
    fn the_ten_nearest_by_rounded_vectors_are_among_the_rescored() {
        let dims = 96;
        let vectors: Vec<Vec<f32>> = (0..2_000).map(|n| unit(&noise(n).take(dims).collect::<Vec<_>>())).collect();
        let mut index = Index::new(dims);
        for (doc, vector) in vectors.iter().enumerate() {
            let (scale, code) = encode(vector);
            index.set(doc as u64, scale, &code);
        }
        for n in 0..20 {
            let query = unit(&noise(1_000_000 + n).take(dims).collect::<Vec<_>>());
            let mut exact: Vec<(f32, u64)> =
                vectors.iter().enumerate().map(|(doc, it)| (cosine(&query, &to_bytes(it)), doc as u64)).collect();
            exact.sort_by(|a, b| b.0.total_cmp(&a.0));
            let found = index.search(&Probe::new(&query), rescored(10));
            assert_eq!(found.len(), 20);
            for (_, doc) in &exact[..10] {
                assert!(found.contains(doc), "query {n}: {doc}");
            }
        }
    }

    #[test]
    fn an_extreme_vector_is_rounded_without_loss_of_direction() {
        let mut spike = vec![0.0; 384];
        spike[7] = -1.0;
        let (scale, code) = encode(&spike);
        assert_eq!(code[7].cast_signed(), -127);
        assert!(
            (Probe::new(&spike).nearness(scale, &code.iter().map(|b| b.cast_signed()).collect::<Vec<_>>()) - 127.0)
                .abs()
                < 0.01
        );
        assert_eq!(encode(&[f32::from_bits(1)]).1.len(), 1);
        assert_eq!(encode(&[0.0, 0.0]), (0.0, vec![0, 0]));
    }

    #[test]
    fn the_least_recently_used_index_goes_first_and_one_that_is_too_large_is_not_kept() {
        let indexes = Indexes::within(weight(30, 8) + weight(0, 8));
        let [ada, bob] = ["ada", "bob"].map(|name| TenantId::new(name).unwrap());
        let add = |tenant| indexes.get(tenant, 1, 8).try_write().unwrap().set(1, 1.0, &[0; 8]);
        let kept = |tenant| indexes.get(tenant, 1, 8).try_read().unwrap().len();
        add(&ada);
        add(&bob);
        indexes.weigh(&bob, 1, 20, 8);
        assert_eq!((kept(&bob), kept(&ada)), (1, 1));
        indexes.weigh(&ada, 1, 20, 8);
        assert_eq!((kept(&ada), kept(&bob)), (1, 0), "bob's was used longer ago");
        assert!(indexes.fits(30, 8) && !indexes.fits(300, 8));
        indexes.weigh(&ada, 1, 300, 8);
        assert_eq!(kept(&ada), 0);
    }

    #[derive(Clone, Debug)]
    enum Change {
        Set(u64, Vec<i8>),
        Remove(u64),
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            3 => (0..12u64, proptest::collection::vec(-127i8..=127, 4)).prop_map(|(doc, code)| Change::Set(doc, code)),
            1 => (0..12u64).prop_map(Change::Remove),
        ]
    }

    proptest! {
        /// Whatever was set and removed before, an index answers like a plain list that is sorted.
        #[test]
        fn an_index_is_a_sorted_list(
            changes in proptest::collection::vec(change(), 0..60),
            query in proptest::collection::vec(-1.0f32..1.0, 4),
            most in 0usize..15,
        ) {
            let mut index = Index::new(4);
            let mut plain: HashMap<u64, Vec<i8>> = HashMap::new();
            for change in changes {
                match change {
                    Change::Set(doc, code) => {
                        let bytes: Vec<u8> = code.iter().map(|b| b.cast_unsigned()).collect();
                        index.set(doc, 0.5, &bytes);
                        plain.insert(doc, code);
                    }
                    Change::Remove(doc) => {
                        index.remove(doc);
                        plain.remove(&doc);
                    }
                }
            }
            let probe = Probe::new(&query);
            let mut expected: Vec<Scored> = plain
                .iter()
                .map(|(doc, code)| Scored { nearness: probe.nearness(0.5, code), doc: *doc })
                .collect();
            expected.sort_by(|a, b| b.cmp(a));
            let expected: Vec<u64> = expected.into_iter().map(|it| it.doc).collect();
            prop_assert_eq!(index.len(), plain.len());
            prop_assert_eq!(index.search(&probe, most), expected.iter().copied().take(most).collect::<Vec<_>>());
            let odd: Vec<u64> = (0..12).filter(|doc| doc % 2 == 1).collect();
            let expected: Vec<u64> = expected.into_iter().filter(|doc| doc % 2 == 1).take(most).collect();
            prop_assert_eq!(index.search_among(&probe, &odd, most), expected);
        }
    }
}
