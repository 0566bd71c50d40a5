//! Which skills there are, which of them a search finds, and which come along when one is activated.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{Line, Skill, SkillFiles, SkillName, tokens_of};
use crate::{Error, text::nearest};

/// The most skills of a tenant.
pub const MAX_SKILLS: usize = 512;

/// A skill in the catalogue. Clones share its text and files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What its `SKILL.md` says.
    pub skill: Arc<Skill>,
    /// The version that the store gave it, from 1.
    pub version: u64,
    /// Its folder.
    pub files: SkillFiles,
    prompt: Arc<str>,
}

impl Entry {
    /// Parses a folder's `SKILL.md`.
    ///
    /// # Errors
    /// As [`SkillFiles::skill`].
    pub fn new(version: u64, files: SkillFiles) -> Result<Self, Error> {
        let skill = files.skill(None)?;
        // Put together once: a skill on which many depend is weighed once for each.
        let prompt = skill.full(files.prompt()).into();
        Ok(Self { skill: Arc::new(skill), version, files, prompt })
    }

    /// The text that enters the system prompt: the whole body and `prompt.md`.
    #[must_use]
    pub fn prompt(&self) -> &Arc<str> {
        &self.prompt
    }
}

/// How a skill came to be active.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// The model asked for it.
    Manual,
    /// One of its triggers matched.
    Auto,
    /// Another one depends on it.
    Depends,
}

impl How {
    /// The word in records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Auto => "auto",
            Self::Depends => "depends",
        }
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for How {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self, Error> {
        [Self::Manual, Self::Auto, Self::Depends].into_iter().find(|how| how.as_str() == s).ok_or_else(|| {
            Error::Invalid(format!("a skill is activated manual, auto or depends, not '{}'", s.escape_debug()))
        })
    }
}

/// A skill that becomes active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activation {
    /// Its name.
    pub name: SkillName,
    /// Its version in the store.
    pub version: u64,
    /// The text for the system prompt.
    pub prompt: Arc<str>,
    /// How it came to be.
    pub how: How,
}

impl Activation {
    /// The tokens of its prompt, estimated.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        tokens_of(&self.prompt)
    }
}

/// What to look for; every part narrows, and none finds all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Search<'q> {
    /// Words; a skill is found that has any of them, and comes the earlier the more it has.
    pub query: Option<&'q str>,
    /// The faculty that asks: skills that are not for it are not shown to it.
    pub faculty: Option<&'q str>,
    /// The kind of work: skills that have it among their trigger's faculties.
    pub work_type: Option<&'q str>,
}

/// The active skills of a tenant as they were at one moment. It does not change.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    entries: BTreeMap<SkillName, Entry>,
    /// Who must not be active beside whom, both ways.
    conflicts: BTreeMap<SkillName, BTreeSet<SkillName>>,
}

impl Catalog {
    /// Puts it together.
    ///
    /// # Errors
    /// [`Error::Invalid`] for two skills of one name and for more than [`MAX_SKILLS`].
    pub fn new(skills: impl IntoIterator<Item = Entry>) -> Result<Self, Error> {
        let mut catalog = Self::default();
        for entry in skills {
            let name = entry.skill.name.clone();
            for other in &entry.skill.conflicts {
                catalog.conflicts.entry(name.clone()).or_default().insert(other.clone());
                catalog.conflicts.entry(other.clone()).or_default().insert(name.clone());
            }
            if catalog.entries.insert(name.clone(), entry).is_some() {
                return Err(Error::Invalid(format!("there are two skills '{name}'; remove one")));
            }
            if catalog.entries.len() > MAX_SKILLS {
                return Err(Error::Invalid(format!("there are more than {MAX_SKILLS} skills; remove some")));
            }
        }
        Ok(catalog)
    }

    /// All skills, by name.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.values()
    }

    /// One skill.
    ///
    /// # Errors
    /// [`Error::NotFound`], with the nearest name.
    pub fn get(&self, name: &SkillName) -> Result<&Entry, Error> {
        self.entries.get(name).ok_or_else(|| {
            let near = nearest(name.as_str(), self.entries.keys().map(SkillName::as_str));
            let advice = near.map(|near| format!("; did you mean '{near}'?")).unwrap_or_default();
            Error::NotFound(format!("there is no skill '{name}'{advice}"))
        })
    }

    /// The lines of what is found: those that match most words first, then by name.
    #[must_use]
    pub fn search(&self, search: &Search<'_>) -> Vec<Line> {
        let words: BTreeSet<String> =
            search.query.unwrap_or_default().to_lowercase().split_whitespace().take(32).map(str::to_owned).collect();
        let mut found: Vec<(usize, &Skill)> = self
            .entries()
            .map(|entry| &*entry.skill)
            .filter(|skill| search.faculty.is_none_or(|faculty| skill.is_for(faculty)))
            .filter(|skill| search.work_type.is_none_or(|kind| skill.triggers.faculties.contains(kind)))
            .map(|skill| {
                let keywords = skill.triggers.keywords.iter().map(String::as_str);
                let texts = [skill.name.as_str(), &skill.description].into_iter().chain(keywords);
                let text = texts.collect::<Vec<_>>().join("\n").to_lowercase();
                (words.iter().filter(|word| text.contains(word.as_str())).count(), skill)
            })
            .filter(|(hits, _)| words.is_empty() || *hits > 0)
            .collect();
        found.sort_by(|(a, one), (b, other)| (Reverse(a), &one.name).cmp(&(Reverse(b), &other.name)));
        found.into_iter().map(|(_, skill)| skill.line()).collect()
    }

    /// What becomes active when the model asks for one skill: it, after all that it depends on, each after what it
    /// depends on itself. What is in `active` already is not given again, so that nothing is given
    /// where all of it is. `faculty` is the one that asks; none asks for the operator, who sees all.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a skill that is not there, or not for this faculty, also among what it depends on;
    /// [`Error::Invalid`] for dependencies that go in a circle, with the circle; [`Error::Conflict`] for two skills
    /// that must not be active together, with both.
    pub fn activate(
        &self,
        name: &SkillName,
        faculty: Option<&str>,
        active: &BTreeSet<SkillName>,
    ) -> Result<Vec<Activation>, Error> {
        let all = self.closure(name, faculty)?;
        let new: Vec<&Entry> = all.into_iter().filter(|entry| !active.contains(&entry.skill.name)).collect();
        let names: BTreeSet<&SkillName> = new.iter().map(|entry| &entry.skill.name).collect();
        for entry in &new {
            let conflicts = self.conflicts_of(&entry.skill.name);
            if let Some(other) = conflicts.iter().find(|other| active.contains(*other) || names.contains(other)) {
                let state = if active.contains(other) { "which is active" } else { "which would come along" };
                return Err(Error::Conflict(format!(
                    "cannot activate the skill '{name}': '{}' conflicts with '{other}', {state}",
                    entry.skill.name
                )));
            }
        }
        let how = |entry: &Entry| if entry.skill.name == *name { How::Manual } else { How::Depends };
        Ok(new.into_iter().map(|entry| activation(entry, how(entry))).collect())
    }

    /// A skill and all that it depends on, each after what it depends on.
    fn closure(&self, name: &SkillName, faculty: Option<&str>) -> Result<Vec<&Entry>, Error> {
        let find = |wanted: &SkillName| -> Result<&Entry, Error> {
            let found = match self.get(wanted) {
                Ok(entry) if !faculty.is_none_or(|faculty| entry.skill.is_for(faculty)) => {
                    Err(Error::NotFound(format!("the skill '{wanted}' is not for this faculty")))
                }
                found => found,
            };
            found.map_err(|error| match error {
                Error::NotFound(text) if wanted != name => {
                    Error::NotFound(format!("the skill '{name}' depends on '{wanted}': {text}"))
                }
                other => other,
            })
        };
        // Depth first, without recursion: a chain may be as long as the catalogue.
        let first = find(name)?;
        let mut order: Vec<&Entry> = Vec::new();
        let mut done = BTreeSet::new();
        let mut path = vec![(first, first.skill.depends.iter())];
        while let Some((entry, rest)) = path.last_mut() {
            let entry: &Entry = entry;
            let Some(next) = rest.next() else {
                done.insert(&entry.skill.name);
                order.push(entry);
                path.pop();
                continue;
            };
            if done.contains(next) {
                continue;
            }
            if let Some(at) = path.iter().position(|(on, _)| on.skill.name == *next) {
                let circle = path.iter().skip(at).map(|(on, _)| on.skill.name.as_str());
                let circle = circle.chain([next.as_str()]).collect::<Vec<_>>().join(" → ");
                return Err(Error::Invalid(format!("the skill '{name}' depends on itself in a circle: {circle}")));
            }
            let next = find(next)?;
            path.push((next, next.skill.depends.iter()));
        }
        Ok(order)
    }

    pub(super) fn conflicts_of(&self, name: &SkillName) -> &BTreeSet<SkillName> {
        const NONE: &BTreeSet<SkillName> = &BTreeSet::new();
        self.conflicts.get(name).unwrap_or(NONE)
    }
}

fn activation(entry: &Entry, how: How) -> Activation {
    Activation { name: entry.skill.name.clone(), version: entry.version, prompt: Arc::clone(entry.prompt()), how }
}
