//! `animus memory`: what outlives a piece of work.

use animus_core::{
    id::MemoryId,
    memory::{Hit, Memory as Stored, NewMemory, Query},
};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::words;
use crate::{
    context::Context,
    fault::{Exit, Result},
    out::{self, DIM, Table, plain},
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
    /// Find memories by words
    Recall {
        /// The words
        #[arg(required = true)]
        words: Vec<String>,
        #[command(flatten)]
        filter: Filter,
    },
    /// List the newest memories
    List {
        #[command(flatten)]
        filter: Filter,
    },
    /// Remove a memory for good
    Forget {
        /// Its identifier
        id: MemoryId,
    },
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
}

impl Filter {
    fn query(self, text: String) -> Query {
        Query { text, limit: Some(self.limit), kind: self.kind, tags: self.tags, ..Query::default() }
    }
}

#[derive(Serialize)]
struct One {
    memory: Stored,
}

#[derive(Serialize)]
struct Hits {
    hits: Vec<Hit>,
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
        let tenant = cx.tenant().await?;
        match self.command {
            Command::Store { text, kind, tags } => {
                let content = words(&text)?;
                let new =
                    NewMemory { content, kind, tags, source: "operator".into(), ..NewMemory::default() }.checked()?;
                let memory = tenant.memory_get(tenant.memory_store(new).await?).await?;
                cx.out.show(&One { memory }, |one| format!("stored {}", one.memory.id));
            }
            Command::Recall { words, filter } => {
                let hits = tenant.memory_recall(filter.query(words.join(" "))).await?.hits;
                cx.out.show(&Hits { hits }, |found| table(found.hits.iter().map(|hit| &hit.memory)));
            }
            Command::List { filter } => {
                let hits = tenant.memory_recall(filter.query(String::new())).await?.hits;
                let memories = hits.into_iter().map(|hit| hit.memory).collect();
                cx.out.show(&List { memories }, |list| table(list.memories.iter()));
            }
            Command::Forget { id } => {
                tenant.memory_forget(id).await?;
                cx.out.show(&Forgotten { forgotten: id }, |gone| format!("forgot {}", gone.forgotten));
            }
        }
        Ok(Exit::Done)
    }
}

fn table<'a>(memories: impl Iterator<Item = &'a Stored>) -> String {
    let mut table = Table::new(["ID", "KIND", "BY", "WHEN", "TAGS", "CONTENT"]);
    let mut any = false;
    for memory in memories {
        any = true;
        table.row([
            (DIM, memory.id.to_string()),
            plain(&memory.kind),
            plain(&memory.source),
            plain(out::time(memory.created_ms)),
            plain(memory.tags.join(",")),
            plain(&memory.content),
        ]);
    }
    if any { table.to_string() } else { "no such memory".to_owned() }
}
