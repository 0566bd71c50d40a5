//! The memory of a fake host, within the bounds of the real one. It finds by whole words, without its ranking.

use super::{LONGEST, now};
use crate::{
    Error, Result,
    memory::{Hit, Item, RecallOptions},
};

/// The most tags of a memory, the longest of them in bytes, and the most hits of one answer, as in the host.
const MOST_TAGS: usize = 32;
const LONGEST_WORD: usize = 64;
const MOST_HITS: u32 = 100;
const HITS: u32 = 10;

#[derive(Default)]
pub(super) struct Memories {
    items: Vec<Item>,
    /// How many there ever were: no id is given twice.
    stored: u64,
}

impl Memories {
    pub(super) fn all(&self) -> Vec<Item> {
        self.items.clone()
    }

    pub(super) fn store(&mut self, content: &str, kind: &str, tags: &[String]) -> Result<String> {
        if content.trim().is_empty() {
            return Err(Error::invalid("a memory needs content"));
        }
        if content.len() > LONGEST {
            return Err(Error::invalid(format!("a memory has at most {LONGEST} bytes")));
        }
        let tags = sorted(tags.to_vec())?;
        check_word(kind)?;
        self.stored += 1;
        let id = format!("memory-{}", self.stored);
        let (content, kind, source) = (content.to_owned(), kind.to_owned(), "test".to_owned());
        self.items.push(Item { id: id.clone(), content, kind, tags, source, created_ms: now() });
        Ok(id)
    }

    pub(super) fn recall(&self, query: &str, options: &RecallOptions) -> Result<Vec<Hit>> {
        let limit = options.limit.unwrap_or(HITS);
        if !(1..=MOST_HITS).contains(&limit) {
            return Err(Error::invalid(format!("recall: the limit is 1 to {MOST_HITS}")));
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

    pub(super) fn forget(&mut self, id: &str) -> Result<()> {
        self.item(id)?;
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
