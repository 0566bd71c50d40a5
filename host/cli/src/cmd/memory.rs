//! `animus memory`: what outlives a piece of work.

mod reindex;
mod show;
mod when;

use animus_agent::memory::{embedding, part};
use animus_core::{
    Error,
    id::MemoryId,
    memory::{Embedding, Hit, Memory as Stored, NewMemory, Query, Update},
    store::Tenant,
};
use animus_llm::Router;
use clap::{Args, Subcommand};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::words;
use crate::{
    context::Context,
    fault::{Exit, Result},
    interrupt, out,
};

#[derive(Args)]
pub(crate) struct Memory {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Store a memory
    Store {
        /// What it says; `-` reads standard input
        #[arg(required = true)]
        text: Vec<String>,
        /// Your own sorting word
        #[arg(long, default_value = "note")]
        kind: String,
        /// A tag; may be repeated
        #[arg(long = "tag", value_name = "TAG")]
        tags: Vec<String>,
    },
    /// Find memories by what they say: by words, and by embeddings
    Recall {
        /// The words
        #[arg(required = true)]
        words: Vec<String>,
        #[command(flatten)]
        filter: Filter,
        /// After so many days a memory counts half as much as a new one
        #[arg(long, value_name = "DAYS")]
        half_life: Option<f64>,
        /// Look for words only
        #[arg(long)]
        no_vectors: bool,
    },
    /// List the newest memories
    List {
        #[command(flatten)]
        filter: Filter,
    },
    /// Show a memory and what it said before
    Show {
        /// Its identifier
        id: MemoryId,
    },
    /// Give a memory new content; the earlier one stays readable
    Update {
        /// Its identifier
        id: MemoryId,
        /// What it says from now on; `-` reads standard input
        #[arg(required = true)]
        text: Vec<String>,
        /// Only if it is at this version
        #[arg(long, value_name = "VERSION")]
        from: Option<u64>,
    },
    /// Add tags to a memory
    Tag {
        /// Its identifier
        id: MemoryId,
        /// The tags
        #[arg(required = true)]
        tags: Vec<String>,
    },
    /// Remove a memory for good, with all its versions
    Forget {
        /// Its identifier
        id: MemoryId,
    },
    /// Embed all memories that have no vector of the model that serves the role `embed` now
    Reindex,
}

#[derive(Args)]
struct Filter {
    /// At most so many, 1 to 100
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u32,
    /// Only this kind
    #[arg(long)]
    kind: Option<String>,
    /// Only those with this tag; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Only what this plugin, or `operator`, stored
    #[arg(long, value_name = "WHO")]
    by: Option<String>,
    /// Only what was stored or updated since: a time (2026-11-21T08:00Z), a day, or how long ago (36h, 7d)
    #[arg(long, value_name = "WHEN", value_parser = when::parse)]
    since: Option<u64>,
    /// Only what was stored or updated before, in the same words
    #[arg(long, value_name = "WHEN", value_parser = when::parse)]
    until: Option<u64>,
}

impl Filter {
    fn query(self, text: String) -> Query {
        Query {
            text,
            limit: Some(self.limit),
            kind: self.kind,
            tags: self.tags,
            source: self.by,
            since_ms: self.since,
            until_ms: self.until,
            ..Query::default()
        }
    }
}

#[derive(Serialize)]
struct One {
    memory: Stored,
}

#[derive(Serialize)]
struct Hits {
    hits: Vec<Hit>,
    left_out: u64,
}

#[derive(Serialize)]
struct List {
    memories: Vec<Stored>,
}

#[derive(Serialize)]
struct Forgotten {
    forgotten: MemoryId,
}

impl Memory {
    pub(crate) async fn run(self, cx: &Context) -> Result<Exit> {
        let tenant = &*cx.tenant().await?;
        match self.command {
            Command::Store { text, kind, tags } => {
                let content = words(&text)?;
                let source = "operator".to_owned();
                let new = NewMemory { content, kind, tags, source, ..NewMemory::default() }.checked()?;
                let embedding = embedded(cx, &new.content).await?;
                let id = tenant.memory_store(NewMemory { embedding, ..new }).await?;
                one(cx, tenant, id, "stored").await?;
            }
            Command::Recall { words, filter, half_life, no_vectors } => {
                let query = Query { half_life_days: half_life, ..filter.query(words.join(" ")) };
                query.checked_limit()?;
                let embedding = if no_vectors { None } else { embedded(cx, &query.text).await? };
                let found = tenant.memory_recall(Query { embedding, ..query }).await?;
                if found.left_out > 0 {
                    cx.out.note(format_args!(
                        "{} memories have no vector of the model in use, so only their words were looked at; embed them: \
                         animus memory reindex",
                        found.left_out
                    ));
                }
                let hits = Hits { hits: found.hits, left_out: found.left_out };
                cx.out.show(&hits, |found| show::hits(&found.hits));
            }
            Command::List { filter } => {
                let found = tenant.memory_recall(filter.query(String::new())).await?;
                let memories = found.hits.into_iter().map(|hit| hit.memory).collect();
                cx.out.show(&List { memories }, |list| show::memories(&list.memories));
            }
            Command::Show { id } => {
                let (memory, versions) = (tenant.memory_get(id).await?, tenant.memory_versions(id).await?);
                cx.out.show(&show::Shown { memory, versions }, show::Shown::text);
            }
            Command::Update { id, text, from } => {
                let content = words(&text)?;
                let embedding = embedded(cx, &content).await?;
                tenant.memory_update(id, Update { content, embedding, from }).await?;
                one(cx, tenant, id, "updated").await?;
            }
            Command::Tag { id, tags } => {
                for tag in tags {
                    tenant.memory_tag(id, &tag).await?;
                }
                one(cx, tenant, id, "tagged").await?;
            }
            Command::Forget { id } => {
                tenant.memory_forget(id).await?;
                cx.out.show(&Forgotten { forgotten: id }, |gone| format!("forgot {}", gone.forgotten));
            }
            Command::Reindex => return reindex::run(cx, tenant).await,
        }
        Ok(Exit::Done)
    }
}

/// Shows what became of a memory.
async fn one(cx: &Context, tenant: &dyn Tenant, id: MemoryId, what: &str) -> Result {
    let memory = tenant.memory_get(id).await?;
    cx.out.show(&One { memory }, |one| match one.memory.version {
        1 => format!("{what} {}", one.memory.id),
        version => format!("{what} {}, version {version}", one.memory.id),
    });
    Ok(())
}

/// The models of the role `embed`, without a look at what else there is.
async fn embedder(cx: &Context) -> Result<Router> {
    let config = cx.config(&cx.workspace(None)?)?;
    cx.configured(&config).await
}

/// Where a text points; none, with a remark, when that cannot be told now.
async fn embedded(cx: &Context, text: &str) -> Result<Option<Embedding>> {
    if part(text).trim().is_empty() {
        return Ok(None);
    }
    let cancel: CancellationToken = interrupt::listen(&cx.out)?;
    match embedding(&embedder(cx).await?, text, cancel).await {
        Ok(embedding) => Ok(Some(embedding)),
        Err(Error::Cancelled) => Err(Error::Cancelled.into()),
        Err(error) => {
            let error = out::safe(&error.to_string());
            cx.out.note(format_args!("no embedding, so words alone count: {error}"));
            Ok(None)
        }
    }
}
