//! Vectors of memories: their rows, and the index in memory that is kept current with them.
//!
//! Every change of a vector gets the next revision of its tenant. An index knows up to which it is current, so whoever
//! searches reads the changes since then, whichever process made them; what was forgotten is told by `memories_forgotten`.

use animus_core::{Result, memory::Embedding};
use futures::TryStreamExt as _;
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};
use tokio::sync::OwnedRwLockReadGuard;

use super::{
    Handle,
    error::{Columns as _, During as _, json, signed},
};
use crate::vectors::{self, Best, Index, Probe, cosine};

const LOOK: &str = "search the vectors of memories";

/// Counts over all memories of a tenant.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) memories: u64,
    pub(super) revision: u64,
    floor: u64,
}

/// A model and a number of dimensions, as the tenant's rows name them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Space {
    number: u64,
    dims: usize,
}

/// The vectors of one space, at least as new as the transaction that asked for them.
pub(super) enum Vectors {
    /// In memory.
    Kept(OwnedRwLockReadGuard<Index>),
    /// Too many to be kept: how many there are.
    TooMany(Space, u64),
}

impl Vectors {
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Kept(index) => u64::try_from(index.len()).unwrap_or(u64::MAX),
            Self::TooMany(_, many) => *many,
        }
    }
}

/// The rounded vector of a row.
fn code(row: &SqliteRow) -> Result<(u64, f32, &[u8])> {
    #[allow(clippy::cast_possible_truncation, reason = "it was written as a 32-bit number")]
    let scale = row.try_get::<f64, _>("scale").during(LOOK)? as f32;
    Ok((row.number("doc")?, scale, row.try_get("code").during(LOOK)?))
}

impl Handle {
    pub(super) async fn totals(&self, tx: &mut SqliteConnection) -> Result<Totals> {
        let row = sqlx::query("SELECT memories, revision, floor FROM memory_totals WHERE tenant = ?1")
            .bind(self.t())
            .fetch_optional(tx)
            .await
            .during("count memories")?;
        let Some(row) = row else { return Ok(Totals::default()) };
        Ok(Totals { memories: row.number("memories")?, revision: row.number("revision")?, floor: row.number("floor")? })
    }

    /// The next revision. The tenant has a memory.
    pub(super) async fn next_revision(&self, tx: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
        let next = "UPDATE memory_totals SET revision = revision + 1 WHERE tenant = ?1 RETURNING revision";
        let revision: i64 = sqlx::query_scalar(next).bind(self.t()).fetch_one(tx).await?;
        Ok(revision.unsigned_abs())
    }

    /// The space of a model, if any vector ever was in it.
    pub(super) async fn space(&self, tx: &mut SqliteConnection, model: &str, dims: usize) -> Result<Option<Space>> {
        let find = "SELECT space FROM memory_spaces WHERE tenant = ?1 AND model = ?2 AND dims = ?3";
        let dims_column = i64::try_from(dims).unwrap_or(i64::MAX);
        let row = sqlx::query(find).bind(self.t()).bind(model).bind(dims_column).fetch_optional(tx).await;
        let row = row.during("find the vectors of a model")?;
        row.map(|row| Ok(Space { number: row.number("space")?, dims })).transpose()
    }

    /// How many vectors a space has.
    pub(super) async fn count(&self, tx: &mut SqliteConnection, space: Space) -> Result<u64> {
        let count = "SELECT count(*) AS many FROM memory_codes WHERE tenant = ?1 AND space = ?2";
        let row = sqlx::query(count).bind(self.t()).bind(signed(space.number)).fetch_one(tx).await;
        row.during("count vectors")?.number("many")
    }

    /// Gives a memory its vector, in place of the one that it has.
    pub(super) async fn put_vector(
        &self,
        tx: &mut SqliteConnection,
        doc: u64,
        embedding: &Embedding,
    ) -> Result<(), sqlx::Error> {
        let dims = i64::try_from(embedding.dims()).unwrap_or(i64::MAX);
        sqlx::query(
            "INSERT INTO memory_spaces (tenant, space, model, dims)
             SELECT ?1, 1 + coalesce(max(space), 0), ?2, ?3 FROM memory_spaces WHERE tenant = ?1
             ON CONFLICT (tenant, model, dims) DO NOTHING",
        )
        .bind(self.t())
        .bind(embedding.model())
        .bind(dims)
        .execute(&mut *tx)
        .await?;
        let revision = self.next_revision(tx).await?;
        let (scale, code) = vectors::encode(embedding.vector());
        sqlx::query(
            "INSERT INTO memory_codes (tenant, doc, revision, space, scale, code)
             SELECT ?1, ?2, ?3, space, ?6, ?7 FROM memory_spaces WHERE tenant = ?1 AND model = ?4 AND dims = ?5
             ON CONFLICT (tenant, doc) DO UPDATE
             SET revision = excluded.revision, space = excluded.space, scale = excluded.scale, code = excluded.code",
        )
        .bind(self.t())
        .bind(signed(doc))
        .bind(signed(revision))
        .bind(embedding.model())
        .bind(dims)
        .bind(f64::from(scale))
        .bind(code)
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "INSERT INTO memory_vectors (tenant, doc, exact) VALUES (?1, ?2, ?3)
             ON CONFLICT (tenant, doc) DO UPDATE SET exact = excluded.exact",
        )
        .bind(self.t())
        .bind(signed(doc))
        .bind(vectors::to_bytes(embedding.vector()))
        .execute(tx)
        .await
        .map(drop)
    }

    /// Takes a memory's vector away, if it has one.
    pub(super) async fn drop_vector(&self, tx: &mut SqliteConnection, doc: u64) -> Result<(), sqlx::Error> {
        let revision = self.next_revision(tx).await?;
        sqlx::query(
            "UPDATE memory_codes SET revision = ?3, space = NULL, scale = NULL, code = NULL
             WHERE tenant = ?1 AND doc = ?2",
        )
        .bind(self.t())
        .bind(signed(doc))
        .bind(signed(revision))
        .execute(&mut *tx)
        .await?;
        let gone = sqlx::query("DELETE FROM memory_vectors WHERE tenant = ?1 AND doc = ?2").bind(self.t());
        gone.bind(signed(doc)).execute(tx).await.map(drop)
    }

    /// The vectors of a space. Reads what changed since the last search, at the first one everything.
    pub(super) async fn vectors(&self, tx: &mut SqliteConnection, space: Space, now: Totals) -> Result<Vectors> {
        let shared = self.indexes.get(&self.tenant, space.number, space.dims);
        let current = |index: &Index| index.seen().is_some_and(|seen| seen >= now.revision);
        let index = shared.clone().read_owned().await;
        if current(&index) {
            return Ok(Vectors::Kept(index));
        }
        drop(index);
        let mut index = shared.write_owned().await;
        if !current(&index) {
            match index.seen().filter(|seen| *seen >= now.floor) {
                Some(seen) => self.follow(tx, space, &mut index, seen).await?,
                None => {
                    let many = self.count(tx, space).await?;
                    if !self.indexes.fits(many, space.dims) {
                        return Ok(Vectors::TooMany(space, many));
                    }
                    index.clear();
                    let all = "SELECT doc, scale, code FROM memory_codes WHERE tenant = ?1 AND space = ?2";
                    let mut rows = sqlx::query(all).bind(self.t()).bind(signed(space.number)).fetch(&mut *tx);
                    while let Some(row) = rows.try_next().await.during(LOOK)? {
                        let (doc, scale, code) = code(&row)?;
                        index.set(doc, scale, code);
                    }
                }
            }
            index.see(now.revision);
            self.indexes.weigh(&self.tenant, space.number, index.len(), space.dims);
        }
        Ok(Vectors::Kept(index.downgrade()))
    }

    /// Brings an index from the revision `seen` up to date.
    async fn follow(&self, tx: &mut SqliteConnection, space: Space, index: &mut Index, seen: u64) -> Result<()> {
        let changed = "SELECT doc, space, scale, code FROM memory_codes WHERE tenant = ?1 AND revision > ?2";
        let mut rows = sqlx::query(changed).bind(self.t()).bind(signed(seen)).fetch(&mut *tx);
        while let Some(row) = rows.try_next().await.during(LOOK)? {
            if row.maybe_number("space")? == Some(space.number) {
                let (doc, scale, code) = code(&row)?;
                index.set(doc, scale, code);
            } else {
                index.remove(row.number("doc")?);
            }
        }
        drop(rows);
        let gone = "SELECT doc FROM memories_forgotten WHERE tenant = ?1 AND revision > ?2";
        let rows = sqlx::query(gone).bind(self.t()).bind(signed(seen)).fetch_all(tx).await.during(LOOK)?;
        for row in rows {
            index.remove(row.number("doc")?);
        }
        Ok(())
    }

    /// The `most` nearest by rounded vectors, among some where they are named. Gives the vectors back.
    pub(super) async fn nearest(
        &self,
        tx: &mut SqliteConnection,
        vectors: Vectors,
        probe: &Probe,
        among: Option<Vec<u64>>,
        most: usize,
    ) -> Result<(Vectors, Vec<u64>)> {
        match vectors {
            Vectors::Kept(index) => {
                let probe = probe.clone();
                // Milliseconds of computing, which no task that waits should have to wait for.
                let search = tokio::task::spawn_blocking(move || {
                    let docs = match among {
                        Some(among) => index.search_among(&probe, &among, most),
                        None => index.search(&probe, most),
                    };
                    (Vectors::Kept(index), docs)
                });
                search.await.map_err(|lost| animus_core::Error::internal(format!("cannot {LOOK}"), &lost))
            }
            Vectors::TooMany(space, _) => {
                let mut best = Best::new(most);
                let some = among.as_ref().map(json).transpose()?;
                let all = "SELECT doc, scale, code FROM memory_codes WHERE tenant = ?1 AND space = ?2
                           AND (?3 IS NULL OR doc IN (SELECT value FROM json_each(?3)))";
                let query = sqlx::query(all).bind(self.t()).bind(signed(space.number)).bind(some);
                let mut rows = query.fetch(tx);
                while let Some(row) = rows.try_next().await.during(LOOK)? {
                    let (doc, scale, code) = code(&row)?;
                    best.look(probe, doc, scale, code);
                }
                Ok((vectors, best.docs()))
            }
        }
    }

    /// Each of `docs` with its exact likeness to `embedding`.
    pub(super) async fn compared(
        &self,
        tx: &mut SqliteConnection,
        embedding: &Embedding,
        docs: &[u64],
    ) -> Result<Vec<(u64, f32)>> {
        let exact = "SELECT doc, exact FROM json_each(?2) AS wanted
                     CROSS JOIN memory_vectors ON tenant = ?1 AND doc = wanted.value";
        let rows = sqlx::query(exact).bind(self.t()).bind(json(&docs)?).fetch_all(tx).await.during(LOOK)?;
        let compared = rows.iter().map(|row| {
            let exact: &[u8] = row.try_get("exact").during(LOOK)?;
            Ok((row.number("doc")?, cosine(embedding.vector(), exact)))
        });
        compared.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use animus_core::{
        id::TenantId,
        memory::{NewMemory, Query, Recalled},
        store::{Store as _, Tenant},
    };

    use super::*;
    use crate::{MasterKey, Sqlite, vectors::Indexes};

    async fn open(home: &Path, indexes: Indexes) -> Arc<dyn Tenant> {
        let keys = MasterKey::load_or_create(&home.join("key")).unwrap();
        let store = Sqlite::open(&home.join("animus.db"), keys).await.unwrap();
        let store = Sqlite { indexes: Arc::new(indexes), ..store };
        store.tenant(&TenantId::local()).await.unwrap()
    }

    fn pointing(n: u16) -> Embedding {
        let angle = f32::from(n) * 0.3;
        Embedding::new("test:two", vec![angle.cos(), angle.sin()]).unwrap()
    }

    async fn recalled(tenant: &Arc<dyn Tenant>, kind: Option<&str>) -> Recalled {
        let kind = kind.map(str::to_owned);
        let query = Query { embedding: Some(pointing(0)), limit: Some(100), kind, ..Query::default() };
        tenant.memory_recall(query).await.unwrap()
    }

    /// Three processes: one writes, one follows what it kept, one may keep nothing and reads everything each time.
    #[tokio::test]
    async fn an_index_that_is_kept_finds_what_reading_everything_finds() {
        let home = tempfile::tempdir().unwrap();
        let writer = open(home.path(), Indexes::default()).await;
        let follower = open(home.path(), Indexes::default()).await;
        let forgetful = open(home.path(), Indexes::within(0)).await;
        let (mut ids, mut found) = (Vec::new(), 0);
        for n in 0..60 {
            let kind = if n % 3 == 0 { "third" } else { "other" }.to_owned();
            let (content, embedding) = (format!("memory {n}"), Some(pointing(n)));
            let new = NewMemory { content, kind, embedding, ..NewMemory::default() };
            ids.push(writer.memory_store(new).await.unwrap());
            match n % 5 {
                1 => writer.memory_forget(ids.swap_remove(usize::from(n) / 3)).await.unwrap(),
                2 => assert!(writer.memory_embed(ids[0], 1, pointing(n + 100)).await.unwrap()),
                3 => assert!(
                    writer
                        .memory_embed(ids[1], 1, Embedding::new("test:other", vec![1.0, 0.0]).unwrap())
                        .await
                        .unwrap()
                ),
                _ => {}
            }
            for kind in [None, Some("third")] {
                let expected = recalled(&forgetful, kind).await;
                found += expected.hits.len();
                assert_eq!(recalled(&follower, kind).await, expected, "after {n}");
                assert_eq!(recalled(&writer, kind).await, expected, "after {n}");
            }
        }
        assert!(found > 500, "{found} hits are few");
    }

    /// A process slept for longer than it is kept what was forgotten.
    #[tokio::test]
    async fn an_index_that_is_too_old_to_follow_starts_anew() {
        let home = tempfile::tempdir().unwrap();
        let (writer, sleeper) =
            (open(home.path(), Indexes::default()).await, open(home.path(), Indexes::default()).await);
        let mut ids = Vec::new();
        for n in 0..3 {
            let (content, embedding) = (format!("memory {n}"), Some(pointing(n)));
            let new = NewMemory { content, kind: "fact".into(), embedding, ..NewMemory::default() };
            ids.push(writer.memory_store(new).await.unwrap());
        }
        assert_eq!(recalled(&sleeper, None).await.hits.len(), 3);
        writer.memory_forget(ids[0]).await.unwrap();
        let mut stranger = {
            use sqlx::Connection as _;
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(home.path().join("animus.db"));
            SqliteConnection::connect_with(&options).await.unwrap()
        };
        sqlx::query("UPDATE memories_forgotten SET at_ms = 0").execute(&mut stranger).await.unwrap();
        writer.memory_forget(ids[1]).await.unwrap();
        let kept = sqlx::query("SELECT id FROM memories_forgotten").fetch_all(&mut stranger).await.unwrap();
        assert_eq!(kept.len(), 1, "what is older than a month goes");
        let Recalled { hits, left_out } = recalled(&sleeper, None).await;
        assert_eq!((hits.len(), left_out), (1, 0), "the first forgetting was missed: {hits:?}");
    }
}
