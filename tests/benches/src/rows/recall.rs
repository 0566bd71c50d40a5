//! Hybrid recall through the store's own interface, against a plain scan of the exact vectors in memory.

use std::{hint::black_box, sync::Arc, time::Instant};

use animus_core::{
    id::TenantId,
    memory::{Embedding, NewMemory, Query},
    store::{Store as _, Tenant},
};
use animus_store::{MasterKey, Sqlite};
use anyhow::{Result, ensure};
use tempfile::{TempDir, tempdir};

use crate::{
    measure::{Samples, interleaved},
    table::{Row, time},
};

const MEMORIES: usize = 100_000;
const QUERIES: usize = 200;
const DIMS: usize = 384;
/// Memories are about so many subjects, so that their vectors lie in clusters like those of real texts.
const SUBJECTS: usize = 500;
const VOCABULARY: usize = 20_000;
const HITS: u32 = 10;

pub(crate) async fn measure() -> Result<Vec<Row>> {
    let figures = figures(MEMORIES, QUERIES).await?;
    let (ours, scan) = (&figures.ours, &figures.scan);
    let ms = |samples: &Samples| samples.p50().as_secs_f64() * 1e3;
    let found = figures.found;
    Ok(vec![
        Row {
            id: "recall",
            figure: format!("hybrid recall of {HITS} among {MEMORIES} × {DIMS}, SQLite; exact scan of f32 in memory"),
            ours: format!("{} / {}", time(ours.p50()), time(ours.p99())),
            baseline: format!("{} / {}", time(scan.p50()), time(scan.p99())),
            ratio: ms(ours) / ms(scan),
            target: "p50 ≤ 10 ms".into(),
            met: ms(ours) <= 10.0,
        },
        Row {
            id: "recall",
            figure: format!("of the {HITS} nearest by the exact scan, found by vectors"),
            ours: format!("{:.1} %", found * 100.0),
            baseline: "100 %".into(),
            ratio: found,
            target: "≥ 0.95".into(),
            met: found >= 0.95,
        },
        Row {
            id: "recall",
            figure: format!("first recall of a process, which reads {MEMORIES} vectors"),
            ours: time(figures.first),
            baseline: "–".into(),
            ratio: figures.first.as_secs_f64() * 1e3 / ms(ours),
            target: "–".into(),
            met: true,
        },
    ])
}

struct Figures {
    ours: Samples,
    scan: Samples,
    /// The share of the exact scan's nearest that a recall by vectors finds.
    found: f64,
    first: std::time::Duration,
}

/// Takes the figures with so many memories and queries.
async fn figures(memories: usize, queries: usize) -> Result<Figures> {
    let (world, mut chance) = World::new();
    let (home, texts, exact) = fill(&world, &mut chance, memories).await?;
    // Another process: nothing is in memory yet.
    let tenant = open(&home).await?;
    let queries: Vec<Query> = (0..queries)
        .map(|_| {
            let about = chance.below(memories);
            let words: Vec<&str> = texts[about].split(' ').collect();
            let text = (0..4).map(|_| words[chance.below(words.len())]).collect::<Vec<_>>().join(" ");
            let vector = chance.near(&exact[about * DIMS..(about + 1) * DIMS], 0.6);
            Ok(Query {
                text,
                limit: Some(HITS),
                embedding: Some(Embedding::new("bench:noise", vector)?),
                ..Query::default()
            })
        })
        .collect::<Result<_>>()?;

    let begun = Instant::now();
    tenant.memory_recall(queries[0].clone()).await?;
    let first = begun.elapsed();

    let mut found = 0;
    for query in &queries {
        let vector = query.embedding.as_ref().map_or(&[][..], Embedding::vector);
        let by_vector = Query { text: String::new(), ..query.clone() };
        let hits = tenant.memory_recall(by_vector).await?.hits;
        let nearest = scan(&exact, vector);
        found += hits.iter().filter(|hit| nearest.iter().any(|at| texts[*at] == hit.memory.content)).count();
    }
    let found = found as f64 / (queries.len() * HITS as usize) as f64;

    let (mut next, mut other) = (queries.iter().cycle(), queries.iter().cycle());
    let (ours, scan) = interleaved(
        queries.len(),
        || {
            let (tenant, query) = (tenant.clone(), next.next().cloned().unwrap_or_default());
            async move {
                let recalled = tenant.memory_recall(query).await?;
                ensure!(recalled.left_out == 0 && !recalled.hits.is_empty(), "a recall found nothing");
                Ok(())
            }
        },
        || {
            let vector = other.next().and_then(|query| query.embedding.clone());
            let exact = &exact;
            async move {
                black_box(scan(exact, vector.as_ref().map_or(&[][..], Embedding::vector)));
                Ok(())
            }
        },
    )
    .await?;
    Ok(Figures { ours, scan, found, first })
}

async fn open(home: &TempDir) -> Result<Arc<dyn Tenant>> {
    let key = MasterKey::load_or_create(&home.path().join("key"))?;
    Ok(Sqlite::open(&home.path().join("animus.db"), key).await?.tenant(&TenantId::local()).await?)
}

/// A store with so many memories; their texts, and their vectors one after another.
async fn fill(world: &World, chance: &mut Chance, memories: usize) -> Result<(TempDir, Vec<String>, Vec<f32>)> {
    let home = tempdir()?;
    let tenant = open(&home).await?;
    let (mut texts, mut exact) = (Vec::with_capacity(memories), Vec::with_capacity(memories * DIMS));
    for number in 0..memories {
        let words = (0..16).map(|_| chance.word()).collect::<Vec<_>>().join(" ");
        let content = format!("{words} n{number}");
        let subject = chance.below(SUBJECTS);
        let vector = chance.near(&world.0[subject], 1.0);
        let embedding = Embedding::new("bench:noise", vector)?;
        exact.extend_from_slice(embedding.vector());
        texts.push(content.clone());
        let new = NewMemory { content, kind: "fact".into(), embedding: Some(embedding), ..NewMemory::default() };
        tenant.memory_store(new).await?;
    }
    Ok((home, texts, exact))
}

/// The nearest by the exact vectors, nearest first: a loop over all of them, as one writes it.
fn scan(exact: &[f32], vector: &[f32]) -> Vec<usize> {
    let mut best: Vec<(f32, usize)> = Vec::with_capacity(HITS as usize + 1);
    for (at, row) in exact.chunks_exact(DIMS).enumerate() {
        let mut sums = [0.0f32; 8];
        for (xs, ys) in row.chunks_exact(8).zip(vector.chunks_exact(8)) {
            for ((sum, x), y) in sums.iter_mut().zip(xs).zip(ys) {
                *sum += x * y;
            }
        }
        let likeness: f32 = sums.iter().sum();
        if best.len() < HITS as usize || best.last().is_some_and(|(least, _)| likeness > *least) {
            let place = best.partition_point(|(other, _)| *other >= likeness);
            best.insert(place, (likeness, at));
            best.truncate(HITS as usize);
        }
    }
    best.into_iter().map(|(_, at)| at).collect()
}

/// Where the subjects lie.
struct World(Vec<Vec<f32>>);

impl World {
    /// The same at every run.
    fn new() -> (Self, Chance) {
        let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
        let subjects = (0..SUBJECTS).map(|_| (0..DIMS).map(|_| chance.bell()).collect()).collect();
        (Self(subjects), chance)
    }
}

/// Numbers without a pattern.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From 0 to below 1.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn below(&mut self, most: usize) -> usize {
        (self.fraction() * most as f64) as usize
    }

    /// About normally distributed.
    fn bell(&mut self) -> f32 {
        (0..4).map(|_| self.fraction() as f32 - 0.5).sum::<f32>() * 1.7
    }

    /// A vector near another one: with a `spread` of 1 the noise is as long as the vector.
    fn near(&mut self, centre: &[f32], spread: f32) -> Vec<f32> {
        let length = centre.iter().map(|x| x * x).sum::<f32>().sqrt() / (DIMS as f32).sqrt();
        centre.iter().map(|x| x + self.bell() * spread * length).collect()
    }

    /// A word, as often as words of its rank are in texts (Zipf's law).
    fn word(&mut self) -> String {
        let rank = (VOCABULARY as f64).powf(self.fraction());
        format!("w{}", rank as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The row works, and finds what the exact scan finds, at a size that takes seconds.
    #[tokio::test]
    async fn vectors_find_what_an_exact_scan_finds() {
        let figures = figures(1_000, 20).await.unwrap_or_else(|error| panic!("{error:#}"));
        assert!(figures.found >= 0.98, "{}", figures.found);
    }
}
