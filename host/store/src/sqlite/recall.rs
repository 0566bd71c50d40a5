//! Recall: the list by words, the list by vectors, and what both together find.

use std::collections::{HashMap, HashSet};

use animus_core::{
    Error, Result,
    memory::{Embedding, Hit, Memory, Query, Recalled},
};
use sqlx::{AssertSqlSafe, Sqlite as Driver, SqliteConnection, query::Query as Statement, sqlite::SqliteArguments};

use super::{
    Handle,
    embeddings::Totals,
    error::{Columns as _, During as _, json, signed},
    memories::{index, memory},
    now_ms,
};
use crate::{
    fusion::{self, Fused},
    vectors::{Probe, rescored},
};

/// Of a longer query these words count: each is a search of its own, and a model may hand in a whole page.
const MAX_WORDS: usize = 64;
/// As many of the nearest are looked at before those that pass the filters are searched by themselves.
const TRIED: usize = 1_000;
const WHAT: &str = "recall memories";

/// What a memory must be to pass the filters of a query; [`Handle::filtered`] binds ?1 to ?6.
const PASSES: &str = "memories.tenant = ?1 AND (?2 IS NULL OR memories.kind = ?2)
    AND NOT EXISTS (
        SELECT 1 FROM json_each(?3) AS wanted
        WHERE instr(' ' || memories.tags || ' ', ' ' || wanted.value || ' ') = 0
    )
    AND (?4 IS NULL OR memories.source = ?4)
    AND memories.updated_ms >= ?5 AND memories.updated_ms < ?6";

/// A query for the index that matches any of the words, and is never a syntax error: each word is letters and digits,
/// in quotes. None when there are no words.
fn any_word(text: &str) -> Option<String> {
    let mut words: Vec<_> = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    words.truncate(MAX_WORDS);
    words.sort_unstable();
    words.dedup();
    (!words.is_empty()).then(|| format!("\"{}\"", words.join("\" OR \"")))
}

impl Handle {
    /// Finds memories.
    pub(super) async fn recall(&self, query: &Query) -> Result<Recalled> {
        let limit = query.checked_limit()?;
        let mut tx = self.pool.snapshot().await?;
        if query.text.trim().is_empty() && query.embedding.is_none() {
            return self.newest(&mut tx, query, limit).await;
        }
        let depth = fusion::depth(limit);
        let by_words = match any_word(&query.text) {
            Some(words) => self.by_words(&mut tx, &words, query, depth).await?,
            None => Vec::new(),
        };
        let (by_vectors, left_out) = match &query.embedding {
            Some(embedding) => self.by_vectors(&mut tx, embedding, query, depth).await?,
            None => (Vec::new(), 0),
        };
        let mut fused = match query.half_life_days {
            Some(days) => {
                let docs: Vec<u64> = by_words.iter().copied().chain(by_vectors.iter().map(|(doc, _)| *doc)).collect();
                let (now, ages) = (now_ms().unsigned_abs(), self.memories_of(&mut tx, &docs).await?);
                let decay = |doc| ages.get(&doc).map_or(0.0, |it| fusion::decay(now, it.updated_ms, days));
                fusion::fuse(&by_words, &by_vectors, decay)
            }
            None => fusion::fuse(&by_words, &by_vectors, |_| 1.0),
        };
        fused.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let docs: Vec<u64> = fused.iter().map(|it| it.doc).collect();
        let mut memories = self.memories_of(&mut tx, &docs).await?;
        let hits = fused.into_iter().filter_map(|it| {
            let Fused { doc, score, text_rank, vector_rank, similarity } = it;
            let memory = memories.remove(&doc)?;
            Some(Hit { memory, score, text_rank, vector_rank, similarity })
        });
        Ok(Recalled { hits: hits.collect(), left_out })
    }

    async fn newest(&self, tx: &mut SqliteConnection, query: &Query, limit: u32) -> Result<Recalled> {
        let sql = format!("SELECT * FROM memories WHERE {PASSES} ORDER BY doc DESC LIMIT ?7");
        let rows = self.filtered(sql, query)?.bind(limit).fetch_all(tx).await.during(WHAT)?;
        let hit = |memory| Hit { memory, score: 0.0, text_rank: None, vector_rank: None, similarity: None };
        let hits = rows.iter().map(|row| memory(row).map(hit)).collect::<Result<_>>()?;
        Ok(Recalled { hits, left_out: 0 })
    }

    /// A statement with [`PASSES`] in it.
    fn filtered<'q>(&self, sql: String, query: &Query) -> Result<Statement<'q, Driver, SqliteArguments>> {
        Ok(sqlx::query(AssertSqlSafe(sql))
            .bind(self.t().to_owned())
            .bind(query.kind.clone())
            .bind(json(&query.tags)?)
            .bind(query.source.clone())
            .bind(signed(query.since_ms.unwrap_or(0)))
            .bind(signed(query.until_ms.unwrap_or(u64::MAX))))
    }

    /// Those that hold words, best first.
    async fn by_words(&self, tx: &mut SqliteConnection, words: &str, query: &Query, depth: u32) -> Result<Vec<u64>> {
        // bm25 is the smaller the better. Who asks for everything needs no look at the memories themselves.
        let index = index(self.number);
        let rows = if query.takes_all() {
            let sql = format!(
                "SELECT rowid AS doc FROM {index} WHERE {index} MATCH ?1
                 ORDER BY bm25({index}), rowid DESC LIMIT ?2"
            );
            sqlx::query(AssertSqlSafe(sql)).bind(words).bind(depth).fetch_all(tx).await
        } else {
            let sql = format!(
                "SELECT doc FROM {index} JOIN memories ON memories.tenant = ?1 AND memories.doc = {index}.rowid
                 WHERE {index} MATCH ?7 AND {PASSES} ORDER BY bm25({index}), doc DESC LIMIT ?8"
            );
            self.filtered(sql, query)?.bind(words).bind(depth).fetch_all(tx).await
        };
        rows.during(WHAT)?.iter().map(|row| row.number("doc")).collect()
    }

    /// Those that point the same way, nearest first, with their likeness; and how many could not be compared.
    async fn by_vectors(
        &self,
        tx: &mut SqliteConnection,
        embedding: &Embedding,
        query: &Query,
        depth: u32,
    ) -> Result<(Vec<(u64, f32)>, u64)> {
        let now: Totals = self.totals(tx).await?;
        let Some(space) = self.space(tx, embedding.model(), embedding.dims()).await? else {
            return Ok((Vec::new(), now.memories));
        };
        let depth = usize::try_from(depth).unwrap_or(usize::MAX);
        let vectors = self.vectors(tx, space, now).await?;
        let left_out = now.memories.saturating_sub(vectors.len());
        let (probe, some) = (Probe::new(embedding.vector()), rescored(depth));
        let docs = if query.takes_all() {
            self.nearest(tx, vectors, &probe, None, some).await?.1
        } else {
            let (vectors, tried) = self.nearest(tx, vectors, &probe, None, TRIED).await?;
            let mut passing = self.passing(tx, query, Some(&tried)).await?;
            if passing.len() < depth && tried.len() == TRIED {
                let all = self.passing(tx, query, None).await?;
                passing = self.nearest(tx, vectors, &probe, Some(all), some).await?.1;
            }
            passing
        };
        let best = docs.get(..some).unwrap_or(&docs);
        let mut compared = self.compared(tx, embedding, best).await?;
        compared.retain(|(_, similarity)| *similarity > embedding.noise());
        compared.sort_by(|a, b| b.1.total_cmp(&a.1).then(b.0.cmp(&a.0)));
        compared.truncate(depth);
        Ok((compared, left_out))
    }

    /// Those that pass the filters of a query, of some in their order, or of all.
    async fn passing(&self, tx: &mut SqliteConnection, query: &Query, of: Option<&[u64]>) -> Result<Vec<u64>> {
        // One row of text is read sooner than a hundred thousand rows.
        let sql = format!(
            "SELECT coalesce(group_concat(doc), '') AS docs FROM memories
             WHERE (?7 IS NULL OR doc IN (SELECT value FROM json_each(?7))) AND {PASSES}"
        );
        let row = self.filtered(sql, query)?.bind(of.map(|docs| json(&docs)).transpose()?).fetch_one(tx).await;
        let text = row.during(WHAT)?.text("docs")?;
        let strange = |e| Error::internal(format!("cannot {WHAT}"), &e);
        let passing = text.split(',').filter(|it| !it.is_empty()).map(|it| it.parse::<u64>().map_err(strange));
        let Some(of) = of else { return passing.collect() };
        let passing: HashSet<u64> = passing.collect::<Result<_>>()?;
        Ok(of.iter().copied().filter(|doc| passing.contains(doc)).collect())
    }

    /// The memories of these numbers.
    async fn memories_of(&self, tx: &mut SqliteConnection, docs: &[u64]) -> Result<HashMap<u64, Memory>> {
        let sql = "SELECT memories.* FROM json_each(?2) AS wanted
                   CROSS JOIN memories ON tenant = ?1 AND doc = wanted.value";
        let rows = sqlx::query(sql).bind(self.t()).bind(json(&docs)?).fetch_all(tx).await.during(WHAT)?;
        rows.iter().map(|row| Ok((row.number("doc")?, memory(row)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_becomes_quoted_words_or_nothing() {
        assert_eq!(any_word("Rust's NEAR(\"x\" *"), Some("\"NEAR\" OR \"Rust\" OR \"s\" OR \"x\"".into()));
        assert_eq!(any_word("a a\0a"), Some("\"a\"".into()));
        for none in ["", " \n", "\"*^():", "—"] {
            assert_eq!(any_word(none), None, "{none:?}");
        }
        let page = (0..10_000).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(any_word(&page).unwrap().matches(" OR ").count(), MAX_WORDS - 1);
    }
}
