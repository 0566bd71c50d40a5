//! The journal: every effect of a focus, its intent written before it is dispatched and its result after.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{budget::Amount, llm::Usage};

/// The most that one reading of a journal holds, in bytes of requests and answers: a GiB. A focus with more cannot be
/// resumed, for it would take the memory of every host that tries.
pub const MAX_READ: usize = 1 << 30;
/// In the answer of a model call: that it was copied from the journal of another focus, which paid for it.
pub const COPIED: &str = "copied";

/// The kinds of effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectKind {
    /// A faculty's phase begins.
    Phase,
    /// A model is called.
    Llm,
    /// A tool is called.
    Tool,
    /// An HTTP request leaves.
    Http,
    /// A ledger entry is appended.
    Ledger,
    /// A memory is stored, tagged or forgotten.
    Memory,
    /// Work is given to a child, awaited, looked at or cancelled.
    Child,
    /// A hook looks at what is about to happen, or has.
    Hook,
    /// A program is run, or made a skill, which runs its tests.
    Code,
    /// The host looks something up that the focus goes on from, so that it is the same when the focus is resumed.
    Host,
}

impl EffectKind {
    /// The stable word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Phase => "phase",
            Self::Llm => "llm",
            Self::Tool => "tool",
            Self::Http => "http",
            Self::Ledger => "ledger",
            Self::Memory => "memory",
            Self::Child => "child",
            Self::Hook => "hook",
            Self::Code => "code",
            Self::Host => "host",
        }
    }

    /// All kinds.
    pub const ALL: [Self; 10] = [
        Self::Phase,
        Self::Llm,
        Self::Tool,
        Self::Http,
        Self::Ledger,
        Self::Memory,
        Self::Child,
        Self::Hook,
        Self::Code,
        Self::Host,
    ];

    /// The kind of a stable word.
    #[must_use]
    pub fn parse(s: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == s)
    }
}

/// What is about to happen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// What kind of effect.
    pub kind: EffectKind,
    /// Who asked for it: a plugin (the engage loop asks as its faculty), `operator`, or `host`.
    pub caller: String,
    /// What it is about: a tool's full name, a role, a method and URL without query, an entry type.
    pub subject: String,
    /// The arguments, secrets excluded: the host injects those after this is written. Of a model call, which would hold
    /// the whole conversation again, the size and a digest that is chained from message to message
    /// (docs/engage-loop.md).
    pub request: Value,
    /// The intent inside which this one happens.
    pub parent: Option<u64>,
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Outcome {
    /// It happened.
    Ok {
        /// The answer.
        response: Value,
    },
    /// It failed.
    Failed {
        /// Why.
        error: crate::Error,
    },
}

/// One effect as the journal holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// 1, 2, 3 … within the focus, in the order of the intents.
    pub seq: u64,
    /// What was about to happen.
    pub intent: Intent,
    /// How it went; none when the host ended before it was known.
    pub outcome: Option<Outcome>,
    /// When the intent was written, milliseconds since the epoch.
    pub started_ms: u64,
    /// When the outcome was written.
    pub ended_ms: Option<u64>,
}

impl Record {
    /// What this model call cost, as its answer says; nothing for one that failed, for a copy, and for any other effect.
    #[must_use]
    pub fn cost(&self) -> Amount {
        match (&self.outcome, self.intent.kind) {
            (Some(Outcome::Ok { response }), EffectKind::Llm) if response.get(COPIED).is_none() => {
                Paid::deserialize(response).map_or_else(|_| Amount::default(), Paid::amount)
            }
            _ => Amount::default(),
        }
    }
}

/// What answers and embeddings have in common.
#[derive(Deserialize)]
struct Paid {
    usage: Usage,
    cost_microusd: Option<u64>,
}

impl Paid {
    fn amount(self) -> Amount {
        Amount { tokens: self.usage.total(), microusd: self.cost_microusd.unwrap_or_default() }
    }
}

/// What a journal comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Effects, by the word of their kind.
    pub effects: BTreeMap<String, u64>,
    /// Those that failed.
    pub failed: u64,
    /// Those whose outcome is not known (yet).
    pub open: u64,
}
