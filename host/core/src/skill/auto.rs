//! Which skills activate themselves when a focus orients itself.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde_json::Value;

use super::{Activation, Catalog, Entry, How, SkillName, Triggers};

/// What triggers are matched against, and how far the matches may go.
#[derive(Clone, Copy, Debug)]
pub struct AutoRequest<'r> {
    /// The faculty that works.
    pub faculty: &'r str,
    /// What is to be done. Keywords are looked for in its beginning and that of the texts among the parameters, 32 KiB in
    /// all.
    pub description: &'r str,
    /// The parameters of the work, an object.
    pub params: &'r Value,
    /// The most skills that activate themselves; what they depend on comes on top.
    pub cap: usize,
    /// The most tokens of all their prompts together, estimated.
    pub max_tokens: u64,
}

/// What activates itself, and what would have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auto {
    /// In the order in which they enter the prompt: each after what it depends on.
    pub active: Vec<Activation>,
    /// What was left out. It stays in the catalogue.
    pub notices: Vec<Notice>,
}

/// Why a skill whose trigger matched was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Another skill that matched conflicts with it; neither is activated.
    Conflict {
        /// The one.
        skill: SkillName,
        /// The other.
        with: SkillName,
    },
    /// As many as may have activated themselves already.
    OverCap {
        /// The skill.
        skill: SkillName,
        /// How many may.
        cap: usize,
    },
    /// Its prompt and those of what it depends on do not fit beside what is active.
    TooLong {
        /// The skill.
        skill: SkillName,
        /// What it takes, in tokens.
        tokens: u64,
        /// What is left, in tokens.
        left: u64,
    },
    /// It cannot be activated at all: what it depends on is missing, goes in a circle, or conflicts.
    Broken {
        /// The skill.
        skill: SkillName,
        /// The error that activating it gives.
        why: String,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict { skill, with } => {
                write!(f, "the skill '{skill}' was not activated: it conflicts with '{with}', which matches as well")
            }
            Self::OverCap { skill, cap } => {
                write!(f, "the skill '{skill}' was not activated: at most {cap} activate themselves")
            }
            Self::TooLong { skill, tokens, left } => write!(
                f,
                "the skill '{skill}' was not activated: it takes about {tokens} tokens of prompt, and {left} are left"
            ),
            Self::Broken { skill, why } => write!(f, "the skill '{skill}' was not activated: {why}"),
        }
    }
}

impl Catalog {
    /// Which skills activate themselves. Those that match by the most kinds of trigger come first, then by name; the
    /// cap and the tokens go to them in this order, and what does not fit makes room for what does.
    #[must_use]
    pub fn auto(&self, request: &AutoRequest<'_>) -> Auto {
        let mut auto = Auto::default();
        let texts = Texts::of(request);
        let mut matches: Vec<(usize, &Entry)> = self
            .entries()
            .filter(|entry| entry.skill.auto_activate && entry.skill.is_for(request.faculty))
            .map(|entry| (kinds(&entry.skill.triggers, request, &texts), entry))
            .filter(|(kinds, _)| *kinds > 0)
            .collect();
        matches.sort_by(|(a, one), (b, other)| (Reverse(a), &one.skill.name).cmp(&(Reverse(b), &other.skill.name)));

        let mut whole: Vec<(&SkillName, Vec<Activation>)> = Vec::new();
        for (_, entry) in matches {
            let name = &entry.skill.name;
            match self.activate(name, Some(request.faculty), &BTreeSet::new()) {
                Ok(all) => whole.push((name, all)),
                Err(error) => auto.notices.push(Notice::Broken { skill: name.clone(), why: error.to_string() }),
            }
        }
        let rivals = self.rivals(&whole);

        let mut active = BTreeSet::new();
        let (mut taken, mut left) = (0_usize, request.max_tokens);
        for (name, all) in whole {
            if let Some(with) = rivals.get(name) {
                auto.notices.push(Notice::Conflict { skill: name.clone(), with: (*with).clone() });
                continue;
            }
            if taken >= request.cap {
                auto.notices.push(Notice::OverCap { skill: name.clone(), cap: request.cap });
                continue;
            }
            let new: Vec<Activation> = all.into_iter().filter(|one| !active.contains(&one.name)).collect();
            let tokens = new.iter().map(Activation::tokens).fold(0, u64::saturating_add);
            if tokens > left {
                auto.notices.push(Notice::TooLong { skill: name.clone(), tokens, left });
                continue;
            }
            left = left.saturating_sub(tokens);
            taken = taken.saturating_add(1);
            active.extend(new.iter().map(|one| one.name.clone()));
            let how = |one: &Activation| if one.name == *name { How::Auto } else { How::Depends };
            auto.active.extend(new.into_iter().map(|one| Activation { how: how(&one), ..one }));
        }
        auto
    }

    /// The matches that conflict with another match, by themselves or by what they bring along, each with one of its
    /// rivals.
    fn rivals<'m>(&self, matches: &[(&'m SkillName, Vec<Activation>)]) -> BTreeMap<&'m SkillName, &'m SkillName> {
        let mut brought: BTreeMap<&SkillName, Vec<&'m SkillName>> = BTreeMap::new();
        for (name, all) in matches {
            for one in all {
                brought.entry(&one.name).or_default().push(name);
            }
        }
        let mut rivals = BTreeMap::new();
        for (name, all) in matches {
            let conflicts = all.iter().flat_map(|one| self.conflicts_of(&one.name));
            let mut with = conflicts.flat_map(|other| brought.get(other).into_iter().flatten());
            if let Some(with) = with.find(|with| **with != *name) {
                rivals.insert(*name, *with);
            }
        }
        rivals
    }
}

/// In bytes. Thousands of keywords, each looked for in megabytes that a stranger sent, would hold up every focus.
const MOST_SEARCHED: usize = 32 << 10;

/// The texts in which keywords are looked for, in the form in which they are compared.
struct Texts(Vec<String>);

impl Texts {
    fn of(request: &AutoRequest<'_>) -> Self {
        let mut room = MOST_SEARCHED;
        let mut folded = |text: &str| {
            let end = text.floor_char_boundary(room);
            room = room.saturating_sub(end);
            folded(text.get(..end).unwrap_or_default())
        };
        let mut texts = vec![folded(request.description)];
        // Without recursion: how deep parameters go is not ours to say.
        let mut rest = vec![request.params];
        while let Some(value) = rest.pop() {
            match value {
                Value::String(text) => texts.push(folded(text)),
                Value::Array(items) => rest.extend(items),
                Value::Object(entries) => rest.extend(entries.values()),
                Value::Null | Value::Bool(_) | Value::Number(_) => {}
            }
        }
        Self(texts)
    }

    fn have(&self, keyword: &str) -> bool {
        let keyword = folded(keyword);
        self.0.iter().any(|text| text.contains(&keyword))
    }
}

/// In lower case, with one space for any run of them, so that a phrase that was wrapped is still the phrase.
fn folded(text: &str) -> String {
    text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// How many kinds of trigger match.
fn kinds(triggers: &Triggers, request: &AutoRequest<'_>, texts: &Texts) -> usize {
    let faculty = triggers.faculties.contains(request.faculty);
    let keyword = triggers.keywords.iter().any(|keyword| texts.have(keyword));
    let has = |(key, wanted): (&String, &String)| {
        request.params.get(key).is_some_and(|value| match value {
            _ if wanted == "*" => true,
            Value::String(text) => text == wanted,
            Value::Bool(flag) => wanted == if *flag { "true" } else { "false" },
            Value::Number(number) => *wanted == number.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => false,
        })
    };
    let params = !triggers.params.is_empty() && triggers.params.iter().all(has);
    [faculty, keyword, params].into_iter().filter(|matches| *matches).count()
}
