//! What outlives a piece of work.

use serde::{Deserialize, Serialize};

use crate::{Error, id::MemoryId};

/// The longest content of a memory, in bytes.
pub const MAX_CONTENT: usize = 64 * 1024;
/// The most tags of a memory.
pub const MAX_TAGS: usize = 32;
/// The most hits of one recall.
pub const MAX_HITS: u32 = 100;

/// A stored memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Its identifier.
    pub id: MemoryId,
    /// What it says.
    pub content: String,
    /// The author's own sorting word.
    pub kind: String,
    /// Its tags, sorted.
    pub tags: Vec<String>,
    /// Who stored it: a plugin's name, or `operator`.
    pub source: String,
    /// When it was stored, milliseconds since the epoch.
    pub created_ms: u64,
}

/// A memory to store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewMemory {
    /// What it says.
    pub content: String,
    /// The author's own sorting word.
    pub kind: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// Who stores it.
    pub source: String,
}

impl NewMemory {
    /// Checks sizes and forms, and sorts the tags.
    ///
    /// # Errors
    /// [`Error::Invalid`] that names the offending part.
    pub fn checked(mut self) -> Result<Self, Error> {
        if self.content.trim().is_empty() {
            return Err(Error::Invalid("a memory needs content".into()));
        }
        if self.content.len() > MAX_CONTENT {
            return Err(Error::Invalid(format!(
                "a memory holds at most {MAX_CONTENT} bytes; this one has {}",
                self.content.len()
            )));
        }
        self.tags.sort();
        self.tags.dedup();
        if self.tags.len() > MAX_TAGS {
            return Err(Error::Invalid(format!(
                "a memory has at most {MAX_TAGS} tags; this one has {}",
                self.tags.len()
            )));
        }
        for word in self.tags.iter().chain([&self.kind]) {
            if !crate::id::is_name(word) {
                return Err(Error::Invalid(format!(
                    "'{}' is not of the form [a-z][a-z0-9_-]*, at most 64 bytes",
                    word.escape_debug()
                )));
            }
        }
        Ok(self)
    }
}

/// What to recall.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Query {
    /// The words; empty for the newest.
    pub text: String,
    /// At most so many hits, 1 to [`MAX_HITS`]; 10 when none.
    pub limit: Option<u32>,
    /// Only this kind.
    pub kind: Option<String>,
    /// Only items with all of these tags.
    pub tags: Vec<String>,
}

/// A memory that a query found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    /// The memory.
    pub memory: Memory,
    /// Greater is nearer. Comparable within one answer only.
    pub score: f64,
}
