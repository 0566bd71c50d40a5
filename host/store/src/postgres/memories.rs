//! Memories and their full-text index.

use animus_core::{
    Error, Result,
    id::{MemoryId, is_name},
    memory::{Hit, MAX_HITS, MAX_TAGS, Memory, NewMemory, Query},
    store::Memories,
};
use async_trait::async_trait;
use sqlx::{PgConnection, Row as _, postgres::PgRow};

use super::{
    Handle,
    error::{Columns as _, During as _, missing, now_ms},
    text::kept,
};

/// Hits of one recall unless the query says otherwise.
const HITS: u32 = 10;
/// Of a longer query these words count: each is a search of its own, and a model may hand in a whole page.
const MAX_WORDS: usize = 64;

/// A text as words and spaces, in small letters: nothing in it means anything to a parser. Accents stay, as the marks that
/// they may be; the database takes them off.
fn plain(text: &str) -> String {
    let mark = |c: char| ('\u{300}'..='\u{36f}').contains(&c);
    text.chars().flat_map(char::to_lowercase).map(|c| if c.is_alphanumeric() || mark(c) { c } else { ' ' }).collect()
}

/// The words of a query.
fn query_words(text: &str) -> String {
    let plain = plain(text);
    let mut words: Vec<_> = plain.split_whitespace().collect();
    words.truncate(MAX_WORDS);
    words.join(" ")
}

fn memory(row: &PgRow) -> Result<Memory> {
    Ok(Memory {
        id: row.parsed("id")?,
        content: row.text("content")?,
        kind: row.text("kind")?,
        tags: row.try_get("tags").during("read the tags of a memory")?,
        source: row.text("source")?,
        created_ms: row.number("created_ms")?,
    })
}

impl Handle {
    async fn memory_in(&self, tx: &mut PgConnection, sql: &'static str, id: MemoryId) -> Result<Memory> {
        let row = sqlx::query(sql)
            .bind(self.t())
            .bind(id.to_string())
            .fetch_optional(tx)
            .await
            .during(format_args!("read the memory {id}"))?;
        memory(&row.ok_or_else(|| missing("memory", id))?)
    }
}

#[async_trait]
impl Memories for Handle {
    async fn memory_store(&self, new: NewMemory) -> Result<MemoryId> {
        let NewMemory { content, kind, tags, source } = new.checked()?;
        let id = MemoryId::new();
        let what = "store a memory";
        let mut tx = self.tx().await?;
        sqlx::query("INSERT INTO memories VALUES ($1, $2, $3, $4, $5, $6, $7, words($8))")
            .bind(self.t())
            .bind(id.to_string())
            .bind(kept(&content))
            .bind(&kind)
            .bind(&tags)
            .bind(kept(&source))
            .bind(now_ms())
            .bind(plain(&format!("{content} {kind} {}", tags.join(" "))))
            .execute(&mut *tx)
            .await
            .during(what)?;
        tx.commit().await.during(what)?;
        Ok(id)
    }

    async fn memory_recall(&self, query: Query) -> Result<Vec<Hit>> {
        let limit = query.limit.unwrap_or(HITS);
        if limit == 0 || limit > MAX_HITS {
            return Err(Error::Invalid(format!("a recall gives 1 to {MAX_HITS} hits, not {limit}")));
        }
        let all = query.text.trim().is_empty();
        let mut tx = self.tx().await?;
        let rows = sqlx::query(
            "WITH asked AS (
                 SELECT string_agg(quote_literal(word), ' | ')::tsquery AS words
                 FROM unnest(tsvector_to_array(words($2))) AS word
             )
             SELECT memories.*, coalesce(ts_rank(memories.words, asked.words, 1), 0)::float8 AS score
             FROM memories, asked
             WHERE tenant = $1 AND ($3 OR memories.words @@ asked.words)
             AND ($4::text IS NULL OR kind = $4) AND tags @> $5
             ORDER BY score DESC, id DESC LIMIT $6",
        )
        .bind(self.t())
        .bind(query_words(&query.text))
        .bind(all)
        .bind(query.kind.as_deref().map(kept))
        .bind(query.tags.iter().map(|tag| kept(tag).into_owned()).collect::<Vec<_>>())
        .bind(i64::from(limit))
        .fetch_all(&mut *tx)
        .await
        .during("recall memories")?;
        let hit =
            |row: &PgRow| Ok(Hit { memory: memory(row)?, score: row.try_get("score").during("recall memories")? });
        rows.iter().map(hit).collect()
    }

    async fn memory_get(&self, id: MemoryId) -> Result<Memory> {
        let mut tx = self.tx().await?;
        self.memory_in(&mut tx, "SELECT * FROM memories WHERE tenant = $1 AND id = $2", id).await
    }

    async fn memory_forget(&self, id: MemoryId) -> Result<()> {
        let what = format!("forget the memory {id}");
        let mut tx = self.tx().await?;
        let gone = sqlx::query("DELETE FROM memories WHERE tenant = $1 AND id = $2")
            .bind(self.t())
            .bind(id.to_string())
            .execute(&mut *tx)
            .await
            .during(&what)?;
        if gone.rows_affected() == 0 {
            return Err(missing("memory", id));
        }
        tx.commit().await.during(&what)
    }

    async fn memory_tag(&self, id: MemoryId, tag: &str) -> Result<()> {
        if !is_name(tag) {
            return Err(Error::Invalid(format!(
                "the tag '{}' is not of the form [a-z][a-z0-9_-]*, at most 64 bytes",
                tag.escape_debug()
            )));
        }
        let what = format!("tag the memory {id}");
        let mut tx = self.tx().await?;
        let held = "SELECT * FROM memories WHERE tenant = $1 AND id = $2 FOR NO KEY UPDATE";
        let Memory { content, kind, mut tags, .. } = self.memory_in(&mut tx, held, id).await?;
        let Err(place) = tags.binary_search_by(|other| other.as_str().cmp(tag)) else { return Ok(()) };
        if tags.len() >= MAX_TAGS {
            return Err(Error::Invalid(format!("a memory has at most {MAX_TAGS} tags; {id} has them all")));
        }
        tags.insert(place, tag.to_owned());
        sqlx::query("UPDATE memories SET tags = $3, words = words($4) WHERE tenant = $1 AND id = $2")
            .bind(self.t())
            .bind(id.to_string())
            .bind(&tags)
            .bind(plain(&format!("{content} {kind} {}", tags.join(" "))))
            .execute(&mut *tx)
            .await
            .during(&what)?;
        tx.commit().await.during(&what)
    }
}
