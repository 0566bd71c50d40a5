//! Memories and their words. How they are found is in `recall`, their vectors are in `embeddings`.

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
use sqlx::{PgConnection, Row as _, postgres::PgRow};

use super::{
    Handle,
    error::{Columns as _, During as _, missing, now_ms, signed},
    text::kept,
};

/// How long it is kept that a memory was forgotten. No focus waits longer to be resumed.
const FORGOTTEN: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A text as words and spaces, in small letters: nothing in it means anything to a parser. Accents stay, as the marks that
/// they may be; the database takes them off.
pub(super) fn plain(text: &str) -> String {
    let mark = |c: char| ('\u{300}'..='\u{36f}').contains(&c);
    text.chars().flat_map(char::to_lowercase).map(|c| if c.is_alphanumeric() || mark(c) { c } else { ' ' }).collect()
}

/// What a memory is found by.
fn found_by(content: &str, kind: &str, tags: &[String]) -> String {
    plain(&format!("{content} {kind} {}", tags.join(" ")))
}

/// A row of `memories`.
pub(super) fn memory(row: &PgRow) -> Result<Memory> {
    Ok(Memory {
        id: row.parsed("id")?,
        content: row.text("content")?,
        kind: row.text("kind")?,
        tags: row.try_get("tags").during("read the tags of a memory")?,
        source: row.text("source")?,
        version: row.number("version")?,
        updated_ms: row.number("updated_ms")?,
        created_ms: row.number("created_ms")?,
    })
}

impl Handle {
    /// One row, as this transaction sees it.
    async fn memory_row(&self, tx: &mut PgConnection, id: MemoryId) -> Result<PgRow> {
        let row = sqlx::query("SELECT * FROM memories WHERE tenant = $1 AND id = $2")
            .bind(self.t())
            .bind(id.to_string())
            .fetch_optional(tx)
            .await
            .during(format_args!("read the memory {id}"))?;
        row.ok_or_else(|| missing("memory", id))
    }

    /// One row, which nobody else changes until the transaction ends.
    async fn memory_held(&self, tx: &mut PgConnection, id: MemoryId) -> Result<PgRow> {
        let row = sqlx::query("SELECT * FROM memories WHERE tenant = $1 AND id = $2 FOR NO KEY UPDATE")
            .bind(self.t())
            .bind(id.to_string())
            .fetch_optional(tx)
            .await
            .during(format_args!("read the memory {id}"))?;
        row.ok_or_else(|| missing("memory", id))
    }

    /// Whether the memory `id` was stored before, by whoever names it: it says or said `content`, or it was forgotten.
    async fn was_stored(&self, tx: &mut PgConnection, id: MemoryId, content: &str) -> Result<bool> {
        let row = sqlx::query(
            "SELECT EXISTS (SELECT FROM memories WHERE tenant = $1 AND id = $2) AS there,
                    EXISTS (SELECT FROM memories WHERE tenant = $1 AND id = $2 AND content = $3)
                    OR EXISTS (SELECT FROM memory_versions WHERE tenant = $1 AND id = $2 AND content = $3) AS same,
                    EXISTS (SELECT FROM memories_forgotten WHERE tenant = $1 AND id = $2) AS forgotten",
        )
        .bind(self.t())
        .bind(id.to_string())
        .bind(kept(content))
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
    async fn note_forgotten(&self, tx: &mut PgConnection, id: MemoryId) -> Result<(), sqlx::Error> {
        let now = now_ms();
        let before = now.saturating_sub(i64::try_from(FORGOTTEN.as_millis()).unwrap_or(i64::MAX));
        let old = sqlx::query("DELETE FROM memories_forgotten WHERE tenant = $1 AND at_ms < $2").bind(self.t());
        old.bind(before).execute(&mut *tx).await?;
        let note = "INSERT INTO memories_forgotten VALUES ($1, $2, $3) ON CONFLICT (tenant, id) DO NOTHING";
        sqlx::query(note).bind(self.t()).bind(id.to_string()).bind(now).execute(tx).await.map(drop)
    }
}

#[async_trait]
impl Memories for Handle {
    async fn memory_store(&self, new: NewMemory) -> Result<MemoryId> {
        let NewMemory { id: named, content, kind, tags, source, embedding } = new.checked()?;
        let id = named.unwrap_or_else(MemoryId::new);
        let what = "store a memory";
        let mut tx = self.tx().await?;
        if named.is_some() && self.was_stored(&mut tx, id, &content).await? {
            return Ok(id);
        }
        let row = sqlx::query(
            "INSERT INTO memories (tenant, id, content, kind, tags, source, created_ms, updated_ms, words)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $7, stored_words($1, $8))
             ON CONFLICT (tenant, id) DO NOTHING RETURNING doc",
        )
        .bind(self.t())
        .bind(id.to_string())
        .bind(kept(&content))
        .bind(&kind)
        .bind(&tags)
        .bind(kept(&source))
        .bind(now_ms())
        .bind(found_by(&content, &kind, &tags))
        .fetch_optional(&mut *tx)
        .await
        .during(what)?;
        let Some(row) = row else {
            // Another store of the same name was a moment faster.
            self.was_stored(&mut tx, id, &content).await?;
            return Ok(id);
        };
        let space = match &embedding {
            Some(embedding) => Some(self.put_vector(&mut tx, row.number("doc")?, embedding).await?),
            None => None,
        };
        tx.commit().await.during(what)?;
        self.index_when_large(space).await;
        Ok(id)
    }

    async fn memory_recall(&self, query: Query) -> Result<Recalled> {
        self.recall(&query).await
    }

    async fn memory_get(&self, id: MemoryId) -> Result<Memory> {
        let mut tx = self.tx().await?;
        memory(&self.memory_row(&mut tx, id).await?)
    }

    async fn memory_versions(&self, id: MemoryId) -> Result<Vec<Version>> {
        let mut tx = self.tx().await?;
        // One statement sees one state.
        let rows = sqlx::query(
            "SELECT version, content, updated_ms AS since_ms FROM memories WHERE tenant = $1 AND id = $2
             UNION ALL
             SELECT version, content, since_ms FROM memory_versions WHERE tenant = $1 AND id = $2
             ORDER BY version DESC",
        )
        .bind(self.t())
        .bind(id.to_string())
        .fetch_all(&mut *tx)
        .await
        .during(format_args!("read the versions of the memory {id}"))?;
        if rows.is_empty() {
            return Err(missing("memory", id));
        }
        let version = |row: &PgRow| {
            Ok(Version {
                version: row.number("version")?,
                content: row.text("content")?,
                since_ms: row.number("since_ms")?,
            })
        };
        rows.iter().map(version).collect()
    }

    async fn memory_update(&self, id: MemoryId, update: Update) -> Result<u64> {
        check_content(&update.content)?;
        let what = format!("update the memory {id}");
        let mut tx = self.tx().await?;
        let row = self.memory_held(&mut tx, id).await?;
        let (now, doc) = (memory(&row)?, row.number("doc")?);
        let mut space = None;
        if now.content == update.content {
            // Perhaps the same update, repeated after a crash.
            if let Some(embedding) = &update.embedding
                && !self.has_vector(&mut tx, doc).await?
            {
                space = Some(self.put_vector(&mut tx, doc, embedding).await?);
                tx.commit().await.during(&what)?;
            }
            self.index_when_large(space).await;
            return Ok(now.version);
        }
        if let Some(from) = update.from.filter(|from| *from != now.version) {
            return Err(Error::Conflict(format!(
                "the memory {id} is at version {}, not {from}; read it and update what it says now",
                now.version
            )));
        }
        let version = now.version.saturating_add(1);
        sqlx::query("INSERT INTO memory_versions (tenant, id, version, content, since_ms) VALUES ($1, $2, $3, $4, $5)")
            .bind(self.t())
            .bind(id.to_string())
            .bind(signed(now.version))
            .bind(kept(&now.content))
            .bind(signed(now.updated_ms))
            .execute(&mut *tx)
            .await
            .during(&what)?;
        sqlx::query("DELETE FROM memory_versions WHERE tenant = $1 AND id = $2 AND version < $3")
            .bind(self.t())
            .bind(id.to_string())
            .bind(signed(version.saturating_sub(MAX_EARLIER.into())))
            .execute(&mut *tx)
            .await
            .during(&what)?;
        sqlx::query(
            "UPDATE memories SET content = $3, version = $4, updated_ms = $5, words = stored_words($1, $6)
             WHERE tenant = $1 AND id = $2",
        )
        .bind(self.t())
        .bind(id.to_string())
        .bind(kept(&update.content))
        .bind(signed(version))
        .bind(now_ms())
        .bind(found_by(&update.content, &now.kind, &now.tags))
        .execute(&mut *tx)
        .await
        .during(&what)?;
        match &update.embedding {
            Some(embedding) => space = Some(self.put_vector(&mut tx, doc, embedding).await?),
            // The old vector would find the memory by what it no longer says.
            None => self.drop_vector(&mut tx, doc).await?,
        }
        tx.commit().await.during(&what)?;
        self.index_when_large(space).await;
        Ok(version)
    }

    /// The rows are gone for every reader at once. Their bytes stay on the server's disk until it vacuums the table and
    /// recycles its log, and in backups: docs/operators-guide.md says so.
    async fn memory_forget(&self, id: MemoryId) -> Result<()> {
        let what = format!("forget the memory {id}");
        let mut tx = self.tx().await?;
        // Versions and vector go with it.
        let gone = sqlx::query("DELETE FROM memories WHERE tenant = $1 AND id = $2")
            .bind(self.t())
            .bind(id.to_string())
            .execute(&mut *tx)
            .await
            .during(&what)?;
        if gone.rows_affected() == 0 {
            return Err(missing("memory", id));
        }
        self.note_forgotten(&mut tx, id).await.during(&what)?;
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
        let Memory { content, kind, mut tags, .. } = memory(&self.memory_held(&mut tx, id).await?)?;
        let Err(place) = tags.binary_search_by(|other| other.as_str().cmp(tag)) else { return Ok(()) };
        if tags.len() >= MAX_TAGS {
            return Err(Error::Invalid(format!("a memory has at most {MAX_TAGS} tags; {id} has them all")));
        }
        tags.insert(place, tag.to_owned());
        sqlx::query("UPDATE memories SET tags = $3, words = stored_words($1, $4) WHERE tenant = $1 AND id = $2")
            .bind(self.t())
            .bind(id.to_string())
            .bind(&tags)
            .bind(found_by(&content, &kind, &tags))
            .execute(&mut *tx)
            .await
            .during(&what)?;
        tx.commit().await.during(&what)
    }

    async fn memory_unembedded(&self, model: &str, dims: usize, after: u64, limit: u32) -> Result<Vec<Unembedded>> {
        let mut tx = self.tx().await?;
        let rows = sqlx::query(
            "SELECT m.* FROM memories AS m LEFT JOIN memory_vectors AS v USING (tenant, doc)
             WHERE tenant = $1 AND doc > $4 AND v.space IS DISTINCT FROM (
                 SELECT coalesce(max(space), 0) FROM memory_spaces WHERE tenant = $1 AND model = $2 AND dims = $3)
             ORDER BY doc LIMIT $5",
        )
        .bind(self.t())
        .bind(kept(model))
        .bind(i64::try_from(dims).unwrap_or(i64::MAX))
        .bind(signed(after))
        .bind(i64::from(limit))
        .fetch_all(&mut *tx)
        .await
        .during("look for memories without a vector")?;
        let one = |row: &PgRow| {
            let Memory { id, version, content, .. } = memory(row)?;
            Ok(Unembedded { id, version, content, cursor: row.number("doc")? })
        };
        rows.iter().map(one).collect()
    }

    async fn memory_embed(&self, id: MemoryId, version: u64, embedding: Embedding) -> Result<bool> {
        let mut tx = self.tx().await?;
        let row = match self.memory_held(&mut tx, id).await {
            Err(Error::NotFound(_)) => return Ok(false),
            row => row?,
        };
        if row.number("version")? != version {
            return Ok(false);
        }
        let space = self.put_vector(&mut tx, row.number("doc")?, &embedding).await?;
        tx.commit().await.during(format_args!("store the vector of the memory {id}"))?;
        self.index_when_large(Some(space)).await;
        Ok(true)
    }

    async fn memory_coverage(&self, model: &str, dims: usize) -> Result<Coverage> {
        let mut tx = self.tx().await?;
        let (memories, embedded) = self.counts(&mut tx, model, dims).await?;
        Ok(Coverage { memories, embedded })
    }
}
