//! Memories and their full-text index.
//!
//! Each tenant has an index table of its own. One for all would rank by how rare a word is among *all* tenants, and a
//! tenant could read from the order of its own hits what the others have stored; it would also walk their rows.
//!
//! The index has no copy of the texts (`content=''`): a row leaves it by being told the same columns again.

use animus_core::{
    Error, Result,
    id::{MemoryId, is_name},
    memory::{Hit, MAX_HITS, MAX_TAGS, Memory, NewMemory, Query},
    store::Memories,
};
use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Row as _, SqliteConnection, sqlite::SqliteRow};

use super::{
    Handle,
    error::{Columns as _, During as _, missing, signed},
    now_ms,
};

/// Hits of one recall unless the query says otherwise.
const HITS: u32 = 10;
/// Of a longer query these words count: each is a search of its own, and a model may hand in a whole page.
const MAX_WORDS: usize = 64;

/// Makes a tenant's index. `porter` joins the forms of an English word; `unicode61` folds case and accents.
/// `secure-delete` takes the words of a forgotten memory out at once, where FTS5 otherwise only marks them.
pub(super) async fn create_index(tx: &mut SqliteConnection, number: u64) -> Result<(), sqlx::Error> {
    let index = index(number);
    sqlx::raw_sql(AssertSqlSafe(format!(
        "CREATE VIRTUAL TABLE {index} USING fts5 (content, kind, tags, content = '', tokenize = 'porter unicode61');
         INSERT INTO {index} ({index}, rank) VALUES ('secure-delete', 1);"
    )))
    .execute(tx)
    .await?;
    Ok(())
}

/// The name of a tenant's index: made of a number of ours, so it is safe to put into a statement.
fn index(number: u64) -> String {
    format!("memory_text_{number}")
}

/// A query for the index that matches any of the words, and is never a syntax error: each word is letters and digits,
/// in quotes. None when there are no words.
fn any_word(text: &str) -> Option<String> {
    let mut words: Vec<_> = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    words.truncate(MAX_WORDS);
    words.sort_unstable();
    words.dedup();
    (!words.is_empty()).then(|| format!("\"{}\"", words.join("\" OR \"")))
}

fn memory(row: &SqliteRow) -> Result<Memory> {
    Ok(Memory {
        id: row.parsed("id")?,
        content: row.text("content")?,
        kind: row.text("kind")?,
        tags: row.text("tags")?.split_whitespace().map(str::to_owned).collect(),
        source: row.text("source")?,
        created_ms: row.number("created_ms")?,
    })
}

impl Handle {
    /// One row, as this transaction sees it.
    async fn memory_row(&self, tx: &mut SqliteConnection, id: MemoryId) -> Result<SqliteRow> {
        let row = sqlx::query("SELECT * FROM memories WHERE tenant = ?1 AND id = ?2")
            .bind(self.t())
            .bind(id.to_string())
            .fetch_optional(tx)
            .await
            .during(format_args!("read the memory {id}"))?;
        row.ok_or_else(|| missing("memory", id))
    }

    /// Puts a row into the index.
    async fn index_add(&self, tx: &mut SqliteConnection, doc: u64, memory: [&str; 3]) -> Result<(), sqlx::Error> {
        let index = index(self.number);
        let sql = format!("INSERT INTO {index} (rowid, content, kind, tags) VALUES (?1, ?2, ?3, ?4)");
        self.index_row(tx, sql, doc, memory).await
    }

    /// Takes a row out of the index; `memory` must be what [`Self::index_add`] was given.
    async fn index_remove(&self, tx: &mut SqliteConnection, doc: u64, memory: [&str; 3]) -> Result<(), sqlx::Error> {
        let index = index(self.number);
        let sql =
            format!("INSERT INTO {index} ({index}, rowid, content, kind, tags) VALUES ('delete', ?1, ?2, ?3, ?4)");
        self.index_row(tx, sql, doc, memory).await
    }

    async fn index_row(
        &self,
        tx: &mut SqliteConnection,
        sql: String,
        doc: u64,
        [content, kind, tags]: [&str; 3],
    ) -> Result<(), sqlx::Error> {
        let statement = sqlx::query(AssertSqlSafe(sql)).bind(signed(doc)).bind(content).bind(kind).bind(tags);
        statement.execute(tx).await.map(drop)
    }
}

#[async_trait]
impl Memories for Handle {
    async fn memory_store(&self, new: NewMemory) -> Result<MemoryId> {
        let NewMemory { content, kind, tags, source } = new.checked()?;
        let (id, tags) = (MemoryId::new(), tags.join(" "));
        let what = "store a memory";
        let mut tx = self.pool.write().await?;
        let row = sqlx::query(
            "INSERT INTO memories (tenant, id, doc, content, kind, tags, source, created_ms)
             SELECT ?1, ?2, 1 + coalesce(max(doc), 0), ?3, ?4, ?5, ?6, ?7 FROM memories WHERE tenant = ?1
             RETURNING doc",
        )
        .bind(self.t())
        .bind(id.to_string())
        .bind(&content)
        .bind(&kind)
        .bind(&tags)
        .bind(source)
        .bind(now_ms())
        .fetch_one(&mut *tx)
        .await
        .during(what)?;
        self.index_add(&mut tx, row.number("doc")?, [&content, &kind, &tags]).await.during(what)?;
        tx.commit().await.during(what)?;
        Ok(id)
    }

    async fn memory_recall(&self, query: Query) -> Result<Vec<Hit>> {
        let limit = query.limit.unwrap_or(HITS);
        if limit == 0 || limit > MAX_HITS {
            return Err(Error::Invalid(format!("a recall gives 1 to {MAX_HITS} hits, not {limit}")));
        }
        let (from, text) = if query.text.trim().is_empty() {
            ("SELECT *, 0.0 AS score FROM memories WHERE".to_owned(), None)
        } else {
            let Some(words) = any_word(&query.text) else { return Ok(Vec::new()) };
            // bm25 is the smaller the better.
            let index = index(self.number);
            (
                format!(
                    "SELECT memories.*, -bm25({index}) AS score FROM {index} JOIN memories ON doc = {index}.rowid
                     WHERE {index} MATCH ?5 AND"
                ),
                Some(words),
            )
        };
        let sql = format!(
            "{from} memories.tenant = ?1 AND (?2 IS NULL OR memories.kind = ?2)
             AND NOT EXISTS (
                 SELECT 1 FROM json_each(?3) AS wanted
                 WHERE instr(' ' || memories.tags || ' ', ' ' || wanted.value || ' ') = 0
             )
             ORDER BY score DESC, id DESC LIMIT ?4"
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(self.t())
            .bind(query.kind)
            .bind(super::error::json(&query.tags)?)
            .bind(limit)
            .bind(text)
            .fetch_all(self.pool.readers())
            .await
            .during("recall memories")?;
        let hit =
            |row: &SqliteRow| Ok(Hit { memory: memory(row)?, score: row.try_get("score").during("recall memories")? });
        rows.iter().map(hit).collect()
    }

    async fn memory_get(&self, id: MemoryId) -> Result<Memory> {
        let mut reader = self.pool.readers().acquire().await.during(format_args!("read the memory {id}"))?;
        memory(&self.memory_row(&mut reader, id).await?)
    }

    async fn memory_forget(&self, id: MemoryId) -> Result<()> {
        let what = format!("forget the memory {id}");
        let mut tx = self.pool.write().await?;
        let row = self.memory_row(&mut tx, id).await?;
        let (content, kind, tags) = (row.text("content")?, row.text("kind")?, row.text("tags")?);
        self.index_remove(&mut tx, row.number("doc")?, [&content, &kind, &tags]).await.during(&what)?;
        sqlx::query("DELETE FROM memories WHERE tenant = ?1 AND id = ?2")
            .bind(self.t())
            .bind(id.to_string())
            .execute(&mut *tx)
            .await
            .during(&what)?;
        tx.commit().await.during(&what)?;
        // The pages as they were are still in the write-ahead log. The memory is gone for every reader already, so a
        // log that cannot be emptied now is no failure: the next forgetting, or the last host's end, empties it.
        if !self.pool.checkpoint().await {
            tracing::warn!(tenant = self.t(), memory = %id, "a forgotten memory stays in the write-ahead log for now");
        }
        Ok(())
    }

    async fn memory_tag(&self, id: MemoryId, tag: &str) -> Result<()> {
        if !is_name(tag) {
            return Err(Error::Invalid(format!(
                "the tag '{}' is not of the form [a-z][a-z0-9_-]*, at most 64 bytes",
                tag.escape_debug()
            )));
        }
        let what = format!("tag the memory {id}");
        let mut tx = self.pool.write().await?;
        let row = self.memory_row(&mut tx, id).await?;
        let Memory { content, kind, mut tags, .. } = memory(&row)?;
        let Err(place) = tags.binary_search_by(|other| other.as_str().cmp(tag)) else { return Ok(()) };
        if tags.len() >= MAX_TAGS {
            return Err(Error::Invalid(format!("a memory has at most {MAX_TAGS} tags; {id} has them all")));
        }
        let doc = row.number("doc")?;
        self.index_remove(&mut tx, doc, [&content, &kind, &tags.join(" ")]).await.during(&what)?;
        tags.insert(place, tag.to_owned());
        let tags = tags.join(" ");
        self.index_add(&mut tx, doc, [&content, &kind, &tags]).await.during(&what)?;
        sqlx::query("UPDATE memories SET tags = ?3 WHERE tenant = ?1 AND id = ?2")
            .bind(self.t())
            .bind(id.to_string())
            .bind(tags)
            .execute(&mut *tx)
            .await
            .during(&what)?;
        tx.commit().await.during(&what)
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
