//! The memory of a fake host, within the bounds of the real one. It finds by whole words, without its ranking.

use std::collections::BTreeMap;

use super::{LONGEST, now};
use crate::{
    Error, Result,
    memory::{Hit, Item, RecallOptions, Version},
};

/// The most tags of a memory, the longest of them in bytes, and the most hits of one answer, as in the host.
const MOST_TAGS: usize = 32;
const LONGEST_WORD: usize = 64;
const MOST_HITS: u32 = 100;
const HITS: u32 = 10;
/// The most earlier versions that are kept.
const EARLIER: usize = 10;

#[derive(Default)]
pub(super) struct Memories {
    items: Vec<Item>,
    /// What each of them said before, by id, oldest first.
    earlier: BTreeMap<String, Vec<Version>>,
    /// How many there ever were: no id is given twice.
    stored: u64,
}

impl Memories {
    pub(super) fn all(&self) -> Vec<Item> {
        self.items.clone()
    }

    pub(super) fn store(&mut self, content: &str, kind: &str, tags: &[String]) -> Result<String> {
        check_content(content)?;
        let tags = sorted(tags.to_vec())?;
        check_word(kind)?;
        self.stored += 1;
        let id = format!("memory-{}", self.stored);
        let (content, kind, source) = (content.to_owned(), kind.to_owned(), "test".to_owned());
        let now = now();
        self.items.push(Item {
            id: id.clone(),
            content,
            kind,
            tags,
            source,
            created_ms: now,
            version: 1,
            updated_ms: now,
        });
        Ok(id)
    }

    pub(super) fn recall(&self, query: &str, options: &RecallOptions) -> Result<Vec<Hit>> {
        let limit = options.limit.unwrap_or(HITS);
        if !(1..=MOST_HITS).contains(&limit) {
            return Err(Error::invalid(format!("recall: the limit is 1 to {MOST_HITS}")));
        }
        if options.half_life_days.is_some_and(|days| !days.is_finite() || days <= 0.0) {
            return Err(Error::invalid("recall: a half-life is a number of days above 0"));
        }
        let wanted = words(query);
        let score = |item: &Item| {
            let there = words(&item.content);
            wanted.iter().filter(|word| there.contains(word)).count() as f64
        };
        // The newest first among equals.
        let fitting = self.items.iter().rev().filter(|item| {
            options.kind.as_ref().is_none_or(|kind| *kind == item.kind)
                && options.tags.iter().all(|tag| item.tags.contains(tag))
                && options.source.as_ref().is_none_or(|source| *source == item.source)
                && options.since_ms.is_none_or(|since| item.updated_ms >= since)
                && options.until_ms.is_none_or(|until| item.updated_ms < until)
        });
        let mut hits: Vec<_> = fitting.map(|item| Hit { item: item.clone(), score: score(item) }).collect();
        hits.retain(|hit| wanted.is_empty() || hit.score > 0.0);
        hits.sort_by(|a, b| b.score.total_cmp(&a.score));
        hits.truncate(limit as usize);
        Ok(hits)
    }

    pub(super) fn item(&self, id: &str) -> Result<&Item> {
        self.items.iter().find(|item| item.id == id).ok_or_else(|| none(id))
    }

    pub(super) fn update(&mut self, id: &str, content: &str, from: Option<u64>) -> Result<u64> {
        check_content(content)?;
        let item = self.items.iter_mut().find(|item| item.id == id).ok_or_else(|| none(id))?;
        if item.content == content {
            return Ok(item.version);
        }
        if from.is_some_and(|from| from != item.version) {
            return Err(Error::conflict(format!("memory '{id}' is at version {}", item.version)));
        }
        let before = std::mem::replace(&mut item.content, content.to_owned());
        let earlier = self.earlier.entry(id.to_owned()).or_default();
        earlier.push(Version { version: item.version, content: before, since_ms: item.updated_ms });
        let gone = earlier.len().saturating_sub(EARLIER);
        earlier.drain(..gone);
        item.version += 1;
        item.updated_ms = now();
        Ok(item.version)
    }

    pub(super) fn versions(&self, id: &str) -> Result<Vec<Version>> {
        let item = self.item(id)?;
        let now = Version { version: item.version, content: item.content.clone(), since_ms: item.updated_ms };
        let earlier = self.earlier.get(id).into_iter().flatten().rev().cloned();
        Ok(std::iter::once(now).chain(earlier).collect())
    }

    pub(super) fn forget(&mut self, id: &str) -> Result<()> {
        self.item(id)?;
        self.earlier.remove(id);
        self.items.retain(|item| item.id != id);
        Ok(())
    }

    pub(super) fn tag(&mut self, id: &str, tag: &str) -> Result<()> {
        let item = self.items.iter_mut().find(|item| item.id == id).ok_or_else(|| none(id))?;
        let mut tags = item.tags.clone();
        tags.push(tag.to_owned());
        item.tags = sorted(tags)?;
        Ok(())
    }
}

fn check_content(content: &str) -> Result<()> {
    if content.trim().is_empty() {
        return Err(Error::invalid("a memory needs content"));
    }
    if content.len() > LONGEST {
        return Err(Error::invalid(format!("a memory has at most {LONGEST} bytes")));
    }
    Ok(())
}

fn none(id: &str) -> Error {
    Error::not_found(format!("memory '{id}'"))
}

fn sorted(mut tags: Vec<String>) -> Result<Vec<String>> {
    tags.sort();
    tags.dedup();
    if tags.len() > MOST_TAGS {
        return Err(Error::invalid(format!("a memory has at most {MOST_TAGS} tags; this one has {}", tags.len())));
    }
    tags.iter().try_for_each(|tag| check_word(tag))?;
    Ok(tags)
}

fn check_word(word: &str) -> Result<()> {
    let is_word = word.starts_with(|c: char| c.is_ascii_lowercase())
        && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_');
    if is_word && word.len() <= LONGEST_WORD {
        return Ok(());
    }
    Err(Error::invalid(format!("'{word}' is not a-z, then a-z, 0-9, '-' and '_', at most {LONGEST_WORD} bytes")))
}

fn words(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}
