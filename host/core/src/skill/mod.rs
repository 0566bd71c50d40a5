//! Skills: folders with a `SKILL.md` that tell a model how something is done, some with code that becomes tools.
//!
//! Whoever wrote one (a person, a stranger, a model), it is text to be checked: [`Skill::parse`] is strict and reports
//! every problem with its line, [`SkillFiles`] bounds the folder, and [`Catalog`] says which skills a focus gets to see
//! and to use. Nothing here grants anything: what a skill's code may do is decided where it is installed as a plugin.

mod auto;
mod catalog;
mod files;
pub(crate) mod frontmatter;
mod level;
mod name;
mod parse;
mod record;
mod workshop;
mod write;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::grant::Pattern;

pub use self::{
    auto::{Auto, AutoRequest, Notice},
    catalog::{Activation, Catalog, Entry, How, MAX_SKILLS, Search},
    files::{DEFAULT_SOURCE, MAX_FILES, MAX_FOLDER_BYTES, PROMPT_FILE, SKILL_FILE, SkillCode, SkillFiles},
    level::{Line, tokens_of},
    name::SkillName,
    record::{
        Approvals, Decision, NewSkill, PLUGIN_SOURCE, SkillOrigin, SkillRecord, SkillState, SkillUse, plugin_source,
    },
    workshop::{Created, Policy, Rules, Workshop},
};

/// The longest `SKILL.md`, in bytes.
pub const MAX_BYTES: usize = 256 << 10;
/// The longest frontmatter, in bytes.
pub const MAX_FRONTMATTER_BYTES: usize = 32 << 10;
/// The longest description, in characters, as agentskills.io counts.
pub const MAX_DESCRIPTION_CHARS: usize = 1_024;

/// A checked `SKILL.md`.
///
/// The fields are those of its frontmatter, which writes them with dashes (`auto-activate`); the spelling with
/// underscores is read as well. Whoever fills one in by hand reads it back once ([`Skill::to_markdown`], then
/// [`Skill::parse`]): that is where it is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skill {
    /// Its name, which is the name of its folder too.
    pub name: SkillName,
    /// What it is for and when to use it; the model chooses by this.
    pub description: String,
    /// Its licence.
    pub license: Option<String>,
    /// What it needs around it, for people.
    pub compatibility: Option<String>,
    /// What others keep with it; nothing here reads it.
    pub metadata: BTreeMap<String, String>,
    /// The tools that its author had in mind, in the words of agentskills.io. It allows nothing here.
    pub allowed_tools: BTreeSet<String>,
    /// When it offers itself.
    pub triggers: Triggers,
    /// The faculties that may use it; all of them when there is none.
    pub faculties: BTreeSet<String>,
    /// The tools that its text or code calls: what its plugin requests.
    pub tools_needed: BTreeSet<Pattern>,
    /// Whether a matching trigger activates it without being asked; off by default.
    pub auto_activate: bool,
    /// Who wrote it; a human by default.
    pub created_by: Author,
    /// What it was made from, such as `work_item:<id>`.
    pub created_from: Option<String>,
    /// The findings that it was made from.
    pub creation_findings: Vec<String>,
    /// The number that its author gave it, from 1. The store counts for itself.
    pub version: u32,
    /// When its author last changed it: `YYYY-MM-DD`, or with a time, `YYYY-MM-DDThh:mm:ssZ`.
    pub updated_at: Option<String>,
    /// The skills that are activated along with it.
    pub depends: BTreeSet<SkillName>,
    /// The skills beside which it must not be active. It holds both ways.
    pub conflicts: BTreeSet<SkillName>,
    /// Its code, where it says more about it than that there is some.
    pub code: Option<Code>,
    /// All that follows the frontmatter, as it stands.
    pub body: String,
}

impl Skill {
    /// A skill of the given name and description and of nothing else.
    #[must_use]
    pub fn new(name: SkillName, description: impl Into<String>) -> Self {
        Self {
            name,
            description: description.into(),
            license: None,
            compatibility: None,
            metadata: BTreeMap::new(),
            allowed_tools: BTreeSet::new(),
            triggers: Triggers::default(),
            faculties: BTreeSet::new(),
            tools_needed: BTreeSet::new(),
            auto_activate: false,
            created_by: Author::Human,
            created_from: None,
            creation_findings: Vec::new(),
            version: 1,
            updated_at: None,
            depends: BTreeSet::new(),
            conflicts: BTreeSet::new(),
            code: None,
            body: String::new(),
        }
    }

    /// Whether a faculty may use it; one that names none is for all.
    #[must_use]
    pub fn is_for(&self, faculty: &str) -> bool {
        self.faculties.is_empty() || self.faculties.contains(faculty)
    }
}

/// When a skill offers itself. Any of the three kinds that matches is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Triggers {
    /// The faculty that works.
    pub faculties: BTreeSet<String>,
    /// Phrases that occur in the description of the work or in a text among its parameters, in any case.
    pub keywords: BTreeSet<String>,
    /// Parameters of the work that all have the given value, numbers and flags as JSON writes them; `*` stands for any
    /// value, also for those that are lists or objects.
    pub params: BTreeMap<String, String>,
}

impl Triggers {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.faculties.is_empty() && self.keywords.is_empty() && self.params.is_empty()
    }
}

/// Who wrote a skill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Author {
    /// The agent.
    Animus,
    /// A person.
    Human,
}

impl Author {
    /// The word in the frontmatter.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Animus => "animus",
            Self::Human => "human",
        }
    }
}

impl std::fmt::Display for Author {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Author {
    type Err = crate::Error;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "animus" => Ok(Self::Animus),
            "human" => Ok(Self::Human),
            other => {
                Err(crate::Error::Invalid(format!("should be 'animus' or 'human', not '{}'", other.escape_debug())))
            }
        }
    }
}

/// The code of a skill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// The interpreter plugin that runs it: `python` by default.
    pub interpreter: crate::id::PluginName,
    /// The file whose public functions are the tools: [`DEFAULT_SOURCE`] by default.
    pub source: String,
    /// The files that test it; empty for all of `tests/*.py`.
    pub tests: BTreeSet<String>,
}
