//! The work ledger: what a piece of work planned, found, decided and did. Append-only.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::Error;

/// The longest content of an entry, in bytes.
pub const MAX_CONTENT: usize = 64 * 1024;
/// The most entries that one read returns.
pub const MAX_READ: u32 = 1_000;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryType {
    /// What is to be done; a newer plan replaces an older one in the formatted view.
    Plan,
    /// What was learned.
    Finding,
    /// What was chosen, and why.
    Decision,
    /// What was done.
    Step,
    /// What went wrong.
    Error,
    /// Anything else.
    Note,
}

impl EntryType {
    /// All types, in the order of the documentation.
    pub const ALL: [Self; 6] = [Self::Plan, Self::Finding, Self::Decision, Self::Step, Self::Error, Self::Note];

    /// The stable word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Finding => "finding",
            Self::Decision => "decision",
            Self::Step => "step",
            Self::Error => "error",
            Self::Note => "note",
        }
    }
}

impl fmt::Display for EntryType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for EntryType {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|t| t.as_str() == s).ok_or_else(|| {
            Error::Invalid(format!(
                "'{}' is not an entry type: plan, finding, decision, step, error or note",
                s.escape_debug()
            ))
        })
    }
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// 1, 2, 3 … within the work item.
    pub seq: u64,
    /// What it is.
    pub entry_type: EntryType,
    /// What it says.
    pub content: String,
    /// When it was written, milliseconds since the epoch.
    pub created_ms: u64,
}

/// Which entries to read; the parts compose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only this type.
    pub entry_type: Option<EntryType>,
    /// Only the last so many of what remains.
    pub last_n: Option<u32>,
}

/// The ledger as text for people and models: newest plan, findings, steps, decisions, errors, notes. Empty sections
/// are left out; an empty ledger gives an empty text.
#[must_use]
pub fn formatted(entries: &[Entry]) -> String {
    use fmt::Write as _;
    let mut text = String::new();
    let mut section = |title: &str, entry_type: EntryType, newest_only: bool| {
        let mut found: Vec<_> = entries.iter().filter(|e| e.entry_type == entry_type).collect();
        if newest_only && found.len() > 1 {
            found.drain(..found.len() - 1);
        }
        if !found.is_empty() {
            let _ = writeln!(text, "\n{title}");
            for entry in found {
                let _ = writeln!(text, "- [{}] {}", entry.seq, entry.content);
            }
        }
    };
    section("PLAN", EntryType::Plan, true);
    section("FINDINGS", EntryType::Finding, false);
    section("STEPS COMPLETED", EntryType::Step, false);
    section("DECISIONS", EntryType::Decision, false);
    section("ERRORS", EntryType::Error, false);
    section("NOTES", EntryType::Note, false);
    if text.is_empty() { text } else { format!("=== WORK LEDGER ({} entries) ===\n{text}", entries.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(seq: u64, entry_type: EntryType, content: &str) -> Entry {
        Entry { seq, entry_type, content: content.into(), created_ms: 0 }
    }

    #[test]
    fn types_round_trip_and_others_are_errors() {
        for t in EntryType::ALL {
            assert_eq!(t.as_str().parse::<EntryType>().unwrap(), t);
        }
        assert!("thought".parse::<EntryType>().is_err());
    }

    #[test]
    fn the_formatted_view_shows_the_newest_plan_only() {
        let text = formatted(&[
            entry(1, EntryType::Plan, "first"),
            entry(2, EntryType::Finding, "water is wet"),
            entry(3, EntryType::Plan, "second"),
            entry(4, EntryType::Note, "aside"),
        ]);
        assert!(!text.contains("first") && text.contains("- [3] second"), "{text}");
        assert!(text.contains("FINDINGS\n- [2] water is wet") && text.contains("NOTES\n- [4] aside"), "{text}");
        assert!(!text.contains("ERRORS"));
        assert_eq!(formatted(&[]), "");
    }
}
