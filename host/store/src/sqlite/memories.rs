//! Memories and their full-text index. How they are found is in `recall`, their vectors are in `embeddings`.
//!
//! Each tenant has an index table of its own. One for all would rank by how rare a word is among *all* tenants, and a
//! tenant could read from the order of its own hits what the others have stored; it would also walk their rows.
//!
//! The index has no copy of the texts (`content=''`): a row leaves it by being told the same columns again.

use std::time::Duration;

use animus_core::{
    Error, Result,
    id::{MemoryId, is_name},
    memory::{
        Coverage, Embedding, MAX_EARLIER, MAX_TAGS, Memory, NewMemory, Query, Recalled, Unembedded, Update, Version,
        check_content,
    },
    store::Memories,
};
use async_trait::async_trait;
use sqlx::{AssertSqlSafe, SqliteConnection, sqlite::SqliteRow};

use super::{
    Handle,
    error::{Columns as _, During as _, missing, signed},
    now_ms,
};

/// How long it is kept that a memory was forgotten. No focus waits longer to be resumed, and an index in memory that is
/// older starts anew.
const FORGOTTEN: Duration = Duration::from_secs(30 * 24 * 60 * 60);

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
pub(super) fn index(number: u64) -> String {
    format!("memory_text_{number}")
}

/// A row of `memories`.
pub(super) fn memory(row: &SqliteRow) -> Result<Memory> {
    Ok(Memory {
        id: row.parsed("id")?,
        content: row.text("content")?,
        kind: row.text("kind")?,
        tags: row.text("tags")?.split_whitespace().map(str::to_owned).collect(),
        source: row.text("source")?,
        version: row.number("version")?,
        updated_ms: row.number("updated_ms")?,
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

    /// Whether the memory `id` was stored before, by whoever names it: it says or said `content`, or it was forgotten.
    async fn was_stored(&self, tx: &mut SqliteConnection, id: MemoryId, content: &str) -> Result<bool> {
        let row = sqlx::query(
            "SELECT (SELECT count(*) FROM memories WHERE tenant = ?1 AND id = ?2) AS there,
                    (SELECT count(*) FROM memories WHERE tenant = ?1 AND id = ?2 AND content = ?3)
                    + (SELECT count(*) FROM memory_versions WHERE tenant = ?1 AND id = ?2 AND content = ?3) AS same,
                    (SELECT count(*) FROM memories_forgotten WHERE tenant = ?1 AND id = ?2) AS forgotten",
        )
        .bind(self.t())
        .bind(id.to_string())
        .bind(content)
        .fetch_one(tx)
        .await
        .during("store a memory")?;
        if row.flag("same")? || row.flag("forgotten")? {
            Ok(true)
        } else if row.flag("there")? {
            Err(Error::Conflict(format!("the memory {id} is there already and says something else")))
        } else {
            Ok(false)
        }
    }

    /// Notes that a memory was forgotten, and lets go what was noted long ago.
    async fn note_forgotten(&self, tx: &mut SqliteConnection, id: MemoryId, doc: u64) -> Result<(), sqlx::Error> {
        let revision = self.next_revision(tx).await?;
        let count = "UPDATE memory_totals SET memories = memories - 1 WHERE tenant = ?1";
        sqlx::query(count).bind(self.t()).execute(&mut *tx).await?;
        let now = now_ms();
        sqlx::query("INSERT INTO memories_forgotten (tenant, id, doc, revision, at_ms) VALUES (?1, ?2, ?3, ?4, ?5)")
            .bind(self.t())
            .bind(id.to_string())
            .bind(signed(doc))
            .bind(signed(revision))
            .bind(now)
            .execute(&mut *tx)
            .await?;
        let before = now.saturating_sub(i64::try_from(FORGOTTEN.as_millis()).unwrap_or(i64::MAX));
        sqlx::query(
            "UPDATE memory_totals SET floor = max(floor, coalesce(
                 (SELECT max(revision) FROM memories_forgotten WHERE tenant = ?1 AND at_ms < ?2), 0))
             WHERE tenant = ?1",
        )
        .bind(self.t())
        .bind(before)
        .execute(&mut *tx)
        .await?;
        let old = sqlx::query("DELETE FROM memories_forgotten WHERE tenant = ?1 AND at_ms < ?2").bind(self.t());
        old.bind(before).execute(tx).await.map(drop)
    }

    /// Whether a memory has a vector.
    async fn has_vector(&self, tx: &mut SqliteConnection, doc: u64) -> Result<bool, sqlx::Error> {
        let find = "SELECT count(*) FROM memory_vectors WHERE tenant = ?1 AND doc = ?2";
        let many: i64 = sqlx::query_scalar(find).bind(self.t()).bind(signed(doc)).fetch_one(tx).await?;
        Ok(many > 0)
    }
}

#[async_trait]
impl Memories for Handle {
    async fn memory_store(&self, new: NewMemory) -> Result<MemoryId> {
        let NewMemory { id: named, content, kind, tags, source, embedding } = new.checked()?;
        let (id, tags) = (named.unwrap_or_else(MemoryId::new), tags.join(" "));
        let what = "store a memory";
        let mut tx = self.pool.write().await?;
        if named.is_some() && self.was_stored(&mut tx, id, &content).await? {
            return Ok(id);
        }
        let row = sqlx::query(
            "INSERT INTO memory_totals (tenant, memories, newest_doc, revision, floor) VALUES (?1, 1, 1, 0, 0)
             ON CONFLICT (tenant) DO UPDATE SET memories = memories + 1, newest_doc = newest_doc + 1
             RETURNING newest_doc",
        )
        .bind(self.t())
        .fetch_one(&mut *tx)
        .await
        .during(what)?;
        let doc = row.number("newest_doc")?;
        sqlx::query(
            "INSERT INTO memories (tenant, id, doc, content, kind, tags, source, version, created_ms, updated_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, ?8, ?8)",
        )
        .bind(self.t())
        .bind(id.to_string())
        .bind(signed(doc))
        .bind(&content)
        .bind(&kind)
        .bind(&tags)
        .bind(source)
        .bind(now_ms())
        .execute(&mut *tx)
        .await
        .during(what)?;
        self.index_add(&mut tx, doc, [&content, &kind, &tags]).await.during(what)?;
        if let Some(embedding) = &embedding {
            self.put_vector(&mut tx, doc, embedding).await.during(what)?;
        }
        tx.commit().await.during(what)?;
        Ok(id)
    }

    async fn memory_recall(&self, query: Query) -> Result<Recalled> {
        self.recall(&query).await
    }

    async fn memory_get(&self, id: MemoryId) -> Result<Memory> {
        let mut reader = self.pool.readers().acquire().await.during(format_args!("read the memory {id}"))?;
        memory(&self.memory_row(&mut reader, id).await?)
    }

    async fn memory_versions(&self, id: MemoryId) -> Result<Vec<Version>> {
        let mut tx = self.pool.snapshot().await?;
        let now = memory(&self.memory_row(&mut tx, id).await?)?;
        let earlier = "SELECT * FROM memory_versions WHERE tenant = ?1 AND id = ?2 ORDER BY version DESC";
        let rows = sqlx::query(earlier).bind(self.t()).bind(id.to_string()).fetch_all(&mut *tx).await;
        let rows = rows.during(format_args!("read the versions of the memory {id}"))?;
        let earlier = rows.iter().map(|row| {
            Ok(Version {
                version: row.number("version")?,
                content: row.text("content")?,
                since_ms: row.number("since_ms")?,
            })
        });
        let now = Version { version: now.version, content: now.content, since_ms: now.updated_ms };
        std::iter::once(Ok(now)).chain(earlier).collect()
    }

    async fn memory_update(&self, id: MemoryId, update: Update) -> Result<u64> {
        check_content(&update.content)?;
        let what = format!("update the memory {id}");
        let mut tx = self.pool.write().await?;
        let row = self.memory_row(&mut tx, id).await?;
        let (now, doc) = (memory(&row)?, row.number("doc")?);
        if now.content == update.content {
            // Perhaps the same update, repeated after a crash.
            if let Some(embedding) = &update.embedding
                && !self.has_vector(&mut tx, doc).await.during(&what)?
            {
                self.put_vector(&mut tx, doc, embedding).await.during(&what)?;
                tx.commit().await.during(&what)?;
            }
            return Ok(now.version);
        }
        if let Some(from) = update.from.filter(|from| *from != now.version) {
            return Err(Error::Conflict(format!(
                "the memory {id} is at version {}, not {from}; read it and update what it says now",
                now.version
            )));
        }
        let version = now.version.saturating_add(1);
        sqlx::query("INSERT INTO memory_versions (tenant, id, version, content, since_ms) VALUES (?1, ?2, ?3, ?4, ?5)")
            .bind(self.t())
            .bind(id.to_string())
            .bind(signed(now.version))
            .bind(&now.content)
            .bind(signed(now.updated_ms))
            .execute(&mut *tx)
            .await
            .during(&what)?;
        sqlx::query("DELETE FROM memory_versions WHERE tenant = ?1 AND id = ?2 AND version < ?3")
            .bind(self.t())
            .bind(id.to_string())
            .bind(signed(version.saturating_sub(MAX_EARLIER.into())))
            .execute(&mut *tx)
            .await
            .during(&what)?;
        sqlx::query("UPDATE memories SET content = ?3, version = ?4, updated_ms = ?5 WHERE tenant = ?1 AND id = ?2")
            .bind(self.t())
            .bind(id.to_string())
            .bind(&update.content)
            .bind(signed(version))
            .bind(now_ms())
            .execute(&mut *tx)
            .await
            .during(&what)?;
        let tags = now.tags.join(" ");
        self.index_remove(&mut tx, doc, [&now.content, &now.kind, &tags]).await.during(&what)?;
        self.index_add(&mut tx, doc, [&update.content, &now.kind, &tags]).await.during(&what)?;
        match &update.embedding {
            Some(embedding) => self.put_vector(&mut tx, doc, embedding).await.during(&what)?,
            // The old vector would find the memory by what it no longer says.
            None => self.drop_vector(&mut tx, doc).await.during(&what)?,
        }
        tx.commit().await.during(&what)?;
        Ok(version)
    }

    async fn memory_forget(&self, id: MemoryId) -> Result<()> {
        let what = format!("forget the memory {id}");
        let mut tx = self.pool.write().await?;
        let row = self.memory_row(&mut tx, id).await?;
        let (content, kind, tags) = (row.text("content")?, row.text("kind")?, row.text("tags")?);
        let doc = row.number("doc")?;
        self.index_remove(&mut tx, doc, [&content, &kind, &tags]).await.during(&what)?;
        // Versions and vector go with it.
        sqlx::query("DELETE FROM memories WHERE tenant = ?1 AND id = ?2")
            .bind(self.t())
            .bind(id.to_string())
            .execute(&mut *tx)
            .await
            .during(&what)?;
        self.note_forgotten(&mut tx, id, doc).await.during(&what)?;
        tx.commit().await.during(&what)?;
        self.indexes.remove(&self.tenant, doc).await;
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

    async fn memory_unembedded(&self, model: &str, dims: usize, after: u64, limit: u32) -> Result<Vec<Unembedded>> {
        let rows = sqlx::query(
            "SELECT memories.* FROM memories
             LEFT JOIN memory_codes ON memory_codes.tenant = ?1 AND memory_codes.doc = memories.doc
             WHERE memories.tenant = ?1 AND memories.doc > ?4 AND memory_codes.space IS NOT (
                 SELECT coalesce(max(space), 0) FROM memory_spaces WHERE tenant = ?1 AND model = ?2 AND dims = ?3)
             ORDER BY memories.doc LIMIT ?5",
        )
        .bind(self.t())
        .bind(model)
        .bind(i64::try_from(dims).unwrap_or(i64::MAX))
        .bind(signed(after))
        .bind(limit)
        .fetch_all(self.pool.readers())
        .await
        .during("look for memories without a vector")?;
        let one = |row: &SqliteRow| {
            let Memory { id, version, content, .. } = memory(row)?;
            Ok(Unembedded { id, version, content, cursor: row.number("doc")? })
        };
        rows.iter().map(one).collect()
    }

    async fn memory_embed(&self, id: MemoryId, version: u64, embedding: Embedding) -> Result<bool> {
        let what = format!("store the vector of the memory {id}");
        let mut tx = self.pool.write().await?;
        let row = match self.memory_row(&mut tx, id).await {
            Err(Error::NotFound(_)) => return Ok(false),
            row => row?,
        };
        if row.number("version")? != version {
            return Ok(false);
        }
        self.put_vector(&mut tx, row.number("doc")?, &embedding).await.during(&what)?;
        tx.commit().await.during(&what)?;
        Ok(true)
    }

    async fn memory_coverage(&self, model: &str, dims: usize) -> Result<Coverage> {
        let mut tx = self.pool.snapshot().await?;
        let memories = self.totals(&mut tx).await?.memories;
        let embedded = match self.space(&mut tx, model, dims).await? {
            Some(space) => self.count(&mut tx, space).await?,
            None => 0,
        };
        Ok(Coverage { memories, embedded })
    }
}
