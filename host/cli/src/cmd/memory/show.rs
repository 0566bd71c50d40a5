//! Memories as people read them.

use animus_core::memory::{Hit, Memory, Version};
use serde::Serialize;

use crate::out::{self, BOLD, DIM, Table, paint, plain};

const NONE: &str = "no such memory";

/// A memory with what it said.
#[derive(Serialize)]
pub(super) struct Shown {
    pub(super) memory: Memory,
    /// The current one first.
    pub(super) versions: Vec<Version>,
}

impl Shown {
    pub(super) fn text(&self) -> String {
        let Memory { id, kind, tags, source, created_ms, .. } = &self.memory;
        let mut lines = vec![
            format!("{}  {kind}  by {source}, {}", paint(BOLD, id), out::time(*created_ms)),
            format!("tags: {}", if tags.is_empty() { "none".to_owned() } else { tags.join(", ") }),
        ];
        for version in &self.versions {
            let heading = format!("version {}, since {}", version.version, out::time(version.since_ms));
            lines.extend([String::new(), paint(DIM, heading), out::safe(&version.content).to_string()]);
        }
        lines.join("\n")
    }
}

/// Hits, each with why it was found.
pub(super) fn hits(hits: &[Hit]) -> String {
    let mut table = Table::new(["ID", "KIND", "BY", "WHEN", "FOUND BY", "CONTENT"]);
    for hit in hits {
        let Memory { id, kind, source, updated_ms, content, .. } = &hit.memory;
        table.row([
            (DIM, id.to_string()),
            plain(kind),
            plain(source),
            plain(out::time(*updated_ms)),
            (DIM, why(hit)),
            plain(content),
        ]);
    }
    if hits.is_empty() { NONE.to_owned() } else { table.to_string() }
}

/// The places of a hit in the two lists.
fn why(hit: &Hit) -> String {
    let words = hit.text_rank.map(|rank| format!("words #{rank}"));
    let vector = hit.vector_rank.map(|rank| match hit.similarity {
        Some(similarity) => format!("vector #{rank} ({similarity:.2})"),
        None => format!("vector #{rank}"),
    });
    words.into_iter().chain(vector).collect::<Vec<_>>().join(", ")
}

pub(super) fn memories(memories: &[Memory]) -> String {
    let mut table = Table::new(["ID", "KIND", "BY", "WHEN", "TAGS", "CONTENT"]);
    for memory in memories {
        table.row([
            (DIM, memory.id.to_string()),
            plain(&memory.kind),
            plain(&memory.source),
            plain(out::time(memory.created_ms)),
            plain(memory.tags.join(",")),
            plain(&memory.content),
        ]);
    }
    if memories.is_empty() { NONE.to_owned() } else { table.to_string() }
}

#[cfg(test)]
mod tests {
    use animus_core::id::MemoryId;

    use super::*;

    #[test]
    fn a_hit_says_how_it_was_found() {
        let memory = Memory {
            id: MemoryId::new(),
            content: "x".into(),
            kind: "fact".into(),
            tags: vec![],
            source: "operator".into(),
            version: 1,
            created_ms: 0,
            updated_ms: 0,
        };
        let hit = Hit { memory, score: 1.0, text_rank: Some(2), vector_rank: Some(1), similarity: Some(0.617) };
        assert_eq!(why(&hit), "words #2, vector #1 (0.62)");
        assert_eq!(why(&Hit { vector_rank: None, similarity: None, ..hit.clone() }), "words #2");
        assert_eq!(why(&Hit { text_rank: None, vector_rank: None, ..hit }), "");
    }
}
