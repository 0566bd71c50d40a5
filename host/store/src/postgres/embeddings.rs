//! Vectors of memories.
//!
//! A space is searched vector by vector until it is [`LARGE`]; then it gets an index of its own (HNSW over half precision),
//! and what the index gives is compared exactly.

use std::fmt::Write as _;

use animus_core::{Result, memory::Embedding};
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::{
    Handle,
    error::{Columns as _, During as _, missing, signed},
    pool::LONG,
    text::kept,
};

/// From so many vectors on a space has an index. As many are compared in about ten milliseconds; making the index then
/// takes a second or two, in which others who store vectors wait.
const LARGE: i64 = 5_000;
/// A space is counted when a memory gets a vector whose number, which is one of the whole store, is a multiple of this.
const COUNTED: u64 = 500;
/// More dimensions than an index takes.
const MOST_INDEXED: usize = 4_000;
/// As many of the nearest by the index are compared exactly.
const COMPARED: u32 = 400;

/// A model and a number of dimensions, as the tenant's rows name them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Space {
    pub(super) number: u64,
    dims: usize,
    /// Whether it is time to look how large it is.
    due: bool,
}

/// A vector as the extension reads it.
fn written(embedding: &Embedding) -> String {
    let mut text = String::with_capacity(embedding.dims().saturating_mul(12));
    text.push('[');
    for (place, x) in embedding.vector().iter().enumerate() {
        if place > 0 {
            text.push(',');
        }
        // Writing to a string does not fail.
        _ = write!(text, "{x}");
    }
    text.push(']');
    text
}

impl Handle {
    /// The space of a model, if any vector ever was in it.
    pub(super) async fn space(&self, tx: &mut PgConnection, embedding: &Embedding) -> Result<Option<Space>> {
        let dims = embedding.dims();
        let row = sqlx::query("SELECT space FROM memory_spaces WHERE tenant = $1 AND model = $2 AND dims = $3")
            .bind(self.t())
            .bind(kept(embedding.model()))
            .bind(i64::try_from(dims).unwrap_or(i64::MAX))
            .fetch_optional(tx)
            .await
            .during("find the vectors of a model")?;
        row.map(|row| Ok(Space { number: row.number("space")?, dims, due: false })).transpose()
    }

    /// How many memories the tenant has, and how many of them have a vector that is comparable with this one.
    pub(super) async fn counts(&self, tx: &mut PgConnection, model: &str, dims: usize) -> Result<(u64, u64)> {
        let row = sqlx::query(
            "SELECT (SELECT count(*) FROM memories WHERE tenant = $1) AS memories,
                    (SELECT count(*) FROM memory_vectors JOIN memory_spaces USING (tenant, space)
                     WHERE tenant = $1 AND model = $2 AND dims = $3) AS embedded",
        )
        .bind(self.t())
        .bind(kept(model))
        .bind(i64::try_from(dims).unwrap_or(i64::MAX))
        .fetch_one(tx)
        .await
        .during("count memories")?;
        Ok((row.number("memories")?, row.number("embedded")?))
    }

    /// Gives a memory its vector, in place of the one that it has.
    pub(super) async fn put_vector(&self, tx: &mut PgConnection, doc: u64, embedding: &Embedding) -> Result<Space> {
        let what = "store the vector of a memory";
        let space = match self.space(tx, embedding).await? {
            Some(space) => space,
            None => {
                sqlx::query(
                    "INSERT INTO memory_spaces (tenant, model, dims) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                )
                .bind(self.t())
                .bind(kept(embedding.model()))
                .bind(i64::try_from(embedding.dims()).unwrap_or(i64::MAX))
                .execute(&mut *tx)
                .await
                .during(what)?;
                let made = self.space(tx, embedding).await?;
                made.ok_or_else(|| missing("space of vectors for", embedding.model()))?
            }
        };
        sqlx::query(
            "INSERT INTO memory_vectors (tenant, doc, space, exact) VALUES ($1, $2, $3, $4::text::vector)
             ON CONFLICT (tenant, doc) DO UPDATE SET space = excluded.space, exact = excluded.exact",
        )
        .bind(self.t())
        .bind(signed(doc))
        .bind(signed(space.number))
        .bind(written(embedding))
        .execute(tx)
        .await
        .during(what)?;
        Ok(Space { due: doc.is_multiple_of(COUNTED), ..space })
    }

    /// Takes a memory's vector away, if it has one.
    pub(super) async fn drop_vector(&self, tx: &mut PgConnection, doc: u64) -> Result<()> {
        let gone = sqlx::query("DELETE FROM memory_vectors WHERE tenant = $1 AND doc = $2").bind(self.t());
        gone.bind(signed(doc)).execute(tx).await.during("take the vector of a memory away").map(drop)
    }

    /// Whether a memory has a vector.
    pub(super) async fn has_vector(&self, tx: &mut PgConnection, doc: u64) -> Result<bool> {
        let found = sqlx::query("SELECT 1 FROM memory_vectors WHERE tenant = $1 AND doc = $2").bind(self.t());
        let row = found.bind(signed(doc)).fetch_optional(tx).await;
        Ok(row.during("look for the vector of a memory")?.is_some())
    }

    /// Makes the index of a space that has become large. The vector is stored already and found without it, so a failure
    /// is only logged.
    pub(super) async fn index_when_large(&self, space: Option<Space>) {
        let Some(space) = space.filter(|space| space.due && space.dims <= MOST_INDEXED) else { return };
        if let Err(error) = self.index_large(space).await {
            tracing::warn!(tenant = self.t(), space = space.number, %error, "a large space of vectors has no index yet");
        }
    }

    async fn index_large(&self, space: Space) -> Result<()> {
        let what = "make an index of vectors";
        let mut tx = self.tx().await?;
        let many: i64 = sqlx::query_scalar("SELECT count(*) FROM memory_vectors WHERE tenant = $1 AND space = $2")
            .bind(self.t())
            .bind(signed(space.number))
            .fetch_one(&mut *tx)
            .await
            .during(what)?;
        if many < LARGE || self.has_index(&mut tx, space).await? {
            return Ok(());
        }
        sqlx::query(LONG).execute(&mut *tx).await.during(what)?;
        sqlx::query("SELECT memory_index($1)").bind(signed(space.number)).execute(&mut *tx).await.during(what)?;
        tx.commit().await.during(what)
    }

    async fn has_index(&self, tx: &mut PgConnection, space: Space) -> Result<bool> {
        let found: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
            .bind(format!("memory_vectors_near_{}", space.number))
            .fetch_one(tx)
            .await
            .during("look for an index of vectors")?;
        Ok(found)
    }

    /// Of a space, or of these documents in it, those that point the same way: nearest first, with their likeness.
    pub(super) async fn nearest(
        &self,
        tx: &mut PgConnection,
        space: Space,
        embedding: &Embedding,
        of: Option<&[i64]>,
        depth: u32,
    ) -> Result<Vec<(u64, f32)>> {
        let what = "search the vectors of memories";
        // The numbers stand in the text, where the planner sees that they are those of the index.
        let (number, dims) = (space.number, space.dims);
        let indexed = of.is_none() && dims <= MOST_INDEXED && self.has_index(tx, space).await?;
        let sql = if indexed {
            let wide = AssertSqlSafe(format!("SET LOCAL hnsw.ef_search = {COMPARED}"));
            sqlx::query(wide).execute(&mut *tx).await.during(what)?;
            format!(
                "SELECT doc, 1 - (exact <=> $2::text::vector) AS similarity FROM (
                     SELECT doc, exact FROM memory_vectors WHERE tenant = $1 AND space = {number} AND $3::bigint[] IS NULL
                     ORDER BY exact::halfvec({dims}) <=> $2::text::halfvec({dims}) LIMIT {COMPARED}
                 ) AS near ORDER BY similarity DESC, doc DESC LIMIT $4"
            )
        } else {
            format!(
                "SELECT doc, 1 - (exact <=> $2::text::vector) AS similarity FROM memory_vectors
                 WHERE tenant = $1 AND space = {number} AND ($3::bigint[] IS NULL OR doc = ANY ($3))
                 ORDER BY similarity DESC, doc DESC LIMIT $4"
            )
        };
        let rows = sqlx::query(AssertSqlSafe(sql))
            .persistent(false)
            .bind(self.t())
            .bind(written(embedding))
            .bind(of)
            .bind(i64::from(depth))
            .fetch_all(tx)
            .await
            .during(what)?;
        let near = rows.iter().map(|row| {
            let similarity: f64 = row.try_get("similarity").during(what)?;
            #[allow(clippy::cast_possible_truncation, reason = "a cosine, of vectors of 32-bit numbers")]
            Ok((row.number("doc")?, similarity as f32))
        });
        let mut near = near.collect::<Result<Vec<_>>>()?;
        near.retain(|(_, similarity)| *similarity > embedding.noise());
        Ok(near)
    }
}
