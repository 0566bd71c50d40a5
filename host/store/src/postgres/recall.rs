//! Recall: the list by words, the list by vectors, and what both together find.

use std::collections::HashMap;

use animus_core::{
    Result,
    memory::{Embedding, Hit, Memory, Query, Recalled},
};
use sqlx::{AssertSqlSafe, PgConnection, Postgres as Driver, postgres::PgArguments, query::Query as Statement};

use super::{
    Handle,
    error::{Columns as _, During as _, now_ms, signed},
    memories::{memory, plain},
    text::kept,
};
use crate::fusion::{self, Fused};

/// Of a longer query these words count: each is a search of its own, and a model may hand in a whole page.
const MAX_WORDS: usize = 64;
const WHAT: &str = "recall memories";

/// What a memory must be to pass the filters of a query; [`Handle::filtered`] binds $1 to $6.
const PASSES: &str = "tenant = $1 AND ($2::text IS NULL OR kind = $2) AND tags @> $3
    AND ($4::text IS NULL OR source = $4) AND updated_ms >= $5 AND updated_ms < $6";

/// The words of a query. None when there are none.
fn words(text: &str) -> Option<String> {
    let plain = plain(text);
    let mut words: Vec<_> = plain.split_whitespace().collect();
    words.truncate(MAX_WORDS);
    (!words.is_empty()).then(|| words.join(" "))
}

impl Handle {
    /// Finds memories.
    pub(super) async fn recall(&self, query: &Query) -> Result<Recalled> {
        let limit = query.checked_limit()?;
        let mut tx = self.tx().await?;
        if query.text.trim().is_empty() && query.embedding.is_none() {
            return self.newest(&mut tx, query, limit).await;
        }
        let depth = fusion::depth(limit);
        let by_words = match words(&query.text) {
            Some(words) => self.by_words(&mut tx, words, query, depth).await?,
            None => Vec::new(),
        };
        let (by_vectors, left_out) = match &query.embedding {
            Some(embedding) => self.by_vectors(&mut tx, embedding, query, depth).await?,
            None => (Vec::new(), 0),
        };
        let docs = by_words.iter().copied().chain(by_vectors.iter().map(|(doc, _)| *doc));
        // All of them at once: a memory that is forgotten meanwhile is no hit.
        let mut memories = self.memories_of(&mut tx, &docs.map(signed).collect::<Vec<_>>()).await?;
        let now = now_ms().unsigned_abs();
        let mut fused = fusion::fuse(&by_words, &by_vectors, |doc| match query.half_life_days {
            Some(days) => memories.get(&doc).map_or(0.0, |it| fusion::decay(now, it.updated_ms, days)),
            None => 1.0,
        });
        fused.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let hits = fused.into_iter().filter_map(|it| {
            let Fused { doc, score, text_rank, vector_rank, similarity } = it;
            let memory = memories.remove(&doc)?;
            Some(Hit { memory, score, text_rank, vector_rank, similarity })
        });
        Ok(Recalled { hits: hits.collect(), left_out })
    }

    async fn newest(&self, tx: &mut PgConnection, query: &Query, limit: u32) -> Result<Recalled> {
        let sql = format!("SELECT * FROM memories WHERE {PASSES} ORDER BY doc DESC LIMIT $7");
        let rows = self.filtered(sql, query).bind(i64::from(limit)).fetch_all(tx).await.during(WHAT)?;
        let hit = |memory| Hit { memory, score: 0.0, text_rank: None, vector_rank: None, similarity: None };
        let hits = rows.iter().map(|row| memory(row).map(hit)).collect::<Result<_>>()?;
        Ok(Recalled { hits, left_out: 0 })
    }

    /// A statement with [`PASSES`] in it.
    fn filtered<'q>(&self, sql: String, query: &Query) -> Statement<'q, Driver, PgArguments> {
        let text = |text: &Option<String>| text.as_deref().map(|text| kept(text).into_owned());
        sqlx::query(AssertSqlSafe(sql))
            .bind(self.t().to_owned())
            .bind(text(&query.kind))
            .bind(query.tags.iter().map(|tag| kept(tag).into_owned()).collect::<Vec<_>>())
            .bind(text(&query.source))
            .bind(signed(query.since_ms.unwrap_or(0)))
            .bind(signed(query.until_ms.unwrap_or(u64::MAX)))
    }

    /// Those that hold words, best first.
    async fn by_words(&self, tx: &mut PgConnection, words: String, query: &Query, depth: u32) -> Result<Vec<u64>> {
        // $1 is the tenant, which the function takes from the transaction itself.
        let sql = "SELECT found FROM memories_with_words($7, $2, $3, $4, $5, $6, $8) WHERE $1::text IS NOT NULL";
        let rows = self.filtered(sql.to_owned(), query).bind(words).bind(i64::from(depth)).fetch_all(tx).await;
        rows.during(WHAT)?.iter().map(|row| row.number("found")).collect()
    }

    /// Those that point the same way, nearest first, with their likeness; and how many could not be compared.
    async fn by_vectors(
        &self,
        tx: &mut PgConnection,
        embedding: &Embedding,
        query: &Query,
        depth: u32,
    ) -> Result<(Vec<(u64, f32)>, u64)> {
        let (memories, embedded) = self.counts(tx, embedding.model(), embedding.dims()).await?;
        let left_out = memories.saturating_sub(embedded);
        let Some(space) = self.space(tx, embedding).await? else { return Ok((Vec::new(), left_out)) };
        let passing = if query.takes_all() { None } else { Some(self.passing(tx, query).await?) };
        Ok((self.nearest(tx, space, embedding, passing.as_deref(), depth).await?, left_out))
    }

    /// Those that pass the filters of a query.
    async fn passing(&self, tx: &mut PgConnection, query: &Query) -> Result<Vec<i64>> {
        // One value is read sooner than a hundred thousand rows.
        let sql = format!("SELECT coalesce(array_agg(doc), '{{}}') AS docs FROM memories WHERE {PASSES}");
        let row = self.filtered(sql, query).fetch_one(tx).await.during(WHAT)?;
        sqlx::Row::try_get(&row, "docs").during(WHAT)
    }

    /// The memories of these numbers.
    async fn memories_of(&self, tx: &mut PgConnection, docs: &[i64]) -> Result<HashMap<u64, Memory>> {
        let sql = "SELECT * FROM memories WHERE tenant = $1 AND doc = ANY ($2)";
        let rows = sqlx::query(sql).bind(self.t()).bind(docs).fetch_all(tx).await.during(WHAT)?;
        rows.iter().map(|row| Ok((row.number("doc")?, memory(row)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_becomes_words_or_nothing() {
        assert_eq!(words("Rust's NEAR(\"x\" *").as_deref(), Some("rust s near x"));
        assert_eq!(words("Café\u{301}").as_deref(), Some("café\u{301}"));
        for none in ["", " \n", "\"*^():", "—"] {
            assert_eq!(words(none), None, "{none:?}");
        }
        let page = (0..10_000).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(words(&page).unwrap().split(' ').count(), MAX_WORDS);
    }
}
