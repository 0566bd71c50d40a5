//! From a [`Skill`] to the text of its `SKILL.md`, in one canonical form.

use std::{collections::BTreeMap, fmt::Display};

use super::{Skill, Triggers};

impl Skill {
    /// Writes it: keys with dashes, in the order of the fields, without those that say what holds anyway. What it gives
    /// parses back to the same value, if this value could have come of [`Skill::parse`].
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut out = Out(String::from("---\n"));
        out.text(0, "name", self.name.as_str());
        out.text(0, "description", &self.description);
        out.maybe("license", self.license.as_deref());
        out.maybe("compatibility", self.compatibility.as_deref());
        out.map(0, "metadata", &self.metadata);
        out.list(0, "allowed-tools", &self.allowed_tools);
        if !self.triggers.is_empty() {
            let Triggers { faculties, keywords, params } = &self.triggers;
            out.head(0, "triggers");
            out.list(1, "faculties", faculties);
            out.list(1, "keywords", keywords);
            out.map(1, "params", params);
        }
        out.list(0, "faculties", &self.faculties);
        out.list(0, "tools-needed", &self.tools_needed);
        if self.auto_activate {
            out.bare(0, "auto-activate", true);
        }
        out.text(0, "created-by", self.created_by.as_str());
        out.maybe("created-from", self.created_from.as_deref());
        out.list(0, "creation-findings", &self.creation_findings);
        out.bare(0, "version", self.version);
        out.maybe("updated-at", self.updated_at.as_deref());
        out.list(0, "depends", &self.depends);
        out.list(0, "conflicts", &self.conflicts);
        if let Some(code) = &self.code {
            out.head(0, "code");
            out.text(1, "interpreter", code.interpreter.as_str());
            out.text(1, "source", &code.source);
            out.list(1, "tests", &code.tests);
        }
        out.0.push_str("---\n");
        out.0.push_str(&self.body);
        out.0
    }
}

struct Out(String);

impl Out {
    fn bare(&mut self, depth: usize, key: &str, value: impl Display) {
        self.0.push_str(&format!("{}{key}: {value}\n", "  ".repeat(depth)));
    }

    fn head(&mut self, depth: usize, key: &str) {
        self.0.push_str(&format!("{}{key}:\n", "  ".repeat(depth)));
    }

    fn text(&mut self, depth: usize, key: &str, value: &str) {
        self.bare(depth, key, quoted(value));
    }

    fn maybe(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(0, key, value);
        }
    }

    fn list(&mut self, depth: usize, key: &str, items: impl IntoIterator<Item = impl Display>) {
        let mut items = items.into_iter().peekable();
        if items.peek().is_some() {
            self.head(depth, key);
        }
        for item in items {
            self.0.push_str(&format!("{}- {}\n", "  ".repeat(depth + 1), quoted(&item.to_string())));
        }
    }

    fn map(&mut self, depth: usize, key: &str, entries: &BTreeMap<String, String>) {
        if !entries.is_empty() {
            self.head(depth, key);
        }
        for (key, value) in entries {
            self.bare(depth + 1, &quoted(key), quoted(value));
        }
    }
}

/// A scalar that every YAML parser reads as this text: bare where nothing in it could mean more, else in quotes, whose
/// escapes are those of JSON.
fn quoted(text: &str) -> String {
    let is_word = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && !text.ends_with(' ')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || " _./-".contains(c));
    // What YAML 1.1 takes for a flag, a nothing or a number.
    let meant = ["true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", "inf"];
    if is_word && !meant.iter().any(|word| text.eq_ignore_ascii_case(word)) {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
    }
}
