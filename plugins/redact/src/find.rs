//! Where the secrets are in a text.

mod keys;
mod numbers;
mod people;
#[cfg(test)]
mod tests;

use std::ops::Range;

use animus_sdk::{Error, Result};
use regex_automata::{
    hybrid::regex::{Cache, Regex},
    util::syntax,
};

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    PrivateKey,
    ApiKey,
    Aws,
    Jwt,
    Credential,
    Email,
    Phone,
    Iban,
    Card,
    Ip,
}

impl Class {
    /// All but addresses, which a model mostly needs.
    pub(crate) const DEFAULT: [Self; 9] = [
        Self::PrivateKey,
        Self::ApiKey,
        Self::Aws,
        Self::Jwt,
        Self::Credential,
        Self::Email,
        Self::Phone,
        Self::Iban,
        Self::Card,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::PrivateKey => "private-key",
            Self::ApiKey => "api-key",
            Self::Aws => "aws",
            Self::Jwt => "jwt",
            Self::Credential => "credential",
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Iban => "iban",
            Self::Card => "card",
            Self::Ip => "ip",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        Self::DEFAULT.into_iter().chain([Self::Ip]).find(|class| class.as_str() == word)
    }

    fn find(self, text: &str) -> Vec<Range<usize>> {
        match self {
            Self::PrivateKey => keys::private(text),
            Self::ApiKey => keys::vendors(text),
            Self::Aws => keys::aws(text),
            Self::Jwt => keys::jwt(text),
            Self::Credential => keys::credentials(text),
            Self::Email => people::email(text),
            Self::Phone => people::phone(text),
            Self::Iban => numbers::iban(text),
            Self::Card => numbers::card(text),
            Self::Ip => numbers::ip(text),
        }
    }
}

/// The most patterns of the operator's own.
const MOST_EXTRA: usize = 32;

/// Looks for the classes in their order, then for the operator's own patterns.
pub(crate) struct Finder {
    classes: Vec<Class>,
    extra: Vec<(String, Regex)>,
}

impl Finder {
    /// `extra` has a line `name = pattern` for each pattern.
    pub(crate) fn new(classes: Vec<Class>, extra: &str) -> Result<Self> {
        let wrong = |line: &str, why: &str| Error::invalid(format!("extra: '{line}': {why}"));
        let mut patterns = Vec::new();
        for line in extra.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (name, pattern) = line.split_once('=').ok_or_else(|| wrong(line, "write 'name = pattern'"))?;
            let (name, pattern) = (name.trim(), pattern.trim());
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
                return Err(wrong(line, "a name has a-z, 0-9 and '-'"));
            }
            // Classes and word boundaries are those of ASCII.
            let built = Regex::builder().syntax(syntax::Config::new().unicode(false).utf8(false)).build(pattern);
            let regex = built.map_err(|e| wrong(line, &e.to_string()))?;
            if regex.is_match(&mut regex.create_cache(), "") {
                return Err(wrong(line, "it matches where there is nothing"));
            }
            patterns.push((name.to_owned(), regex));
        }
        if patterns.len() > MOST_EXTRA {
            return Err(Error::invalid(format!("extra: there are more than {MOST_EXTRA} patterns")));
        }
        Ok(Self { classes, extra: patterns })
    }

    /// The text without what was found; none when nothing was.
    pub(crate) fn redacted(&self, text: &str) -> Option<String> {
        let mut found: Vec<(Range<usize>, &str)> = Vec::new();
        for class in &self.classes {
            found.extend(class.find(text).into_iter().map(|range| (range, class.as_str())));
        }
        for (name, regex) in &self.extra {
            let mut cache: Cache = regex.create_cache();
            // A match may begin or end inside a character, which then goes as a whole.
            let whole = |range: Range<usize>| text.floor_char_boundary(range.start)..text.ceil_char_boundary(range.end);
            found.extend(regex.find_iter(&mut cache, text).map(|found| (whole(found.range()), name.as_str())));
        }
        if found.is_empty() {
            return None;
        }
        // The first that begins, of those the longest.
        found.sort_by_key(|(range, _)| (range.start, std::cmp::Reverse(range.end)));
        let mut clean = String::with_capacity(text.len());
        let mut done = 0;
        for (range, name) in found {
            if range.start < done {
                // What one begins and another ends is hidden as a whole.
                done = done.max(range.end);
                continue;
            }
            clean.push_str(text.get(done..range.start).unwrap_or_default());
            clean.push_str(&format!("[redacted:{name}]"));
            done = range.end;
        }
        clean.push_str(text.get(done..).unwrap_or_default());
        Some(clean)
    }
}

/// Maximal runs of characters that satisfy `is`. All of them are ASCII, so the ranges are of characters too.
fn runs(text: &str, is: impl Fn(u8) -> bool) -> impl Iterator<Item = Range<usize>> {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = bytes.iter().skip(at).position(|b| is(*b))? + at;
        let length = bytes.iter().skip(start).position(|b| !is(*b)).unwrap_or(bytes.len() - start);
        at = start + length;
        Some(start..at)
    })
}

/// Letters and digits.
fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric()
}

/// What stands right before and after a range.
fn around(text: &str, range: &Range<usize>) -> (Option<char>, Option<char>) {
    let before = text.get(..range.start).and_then(|text| text.chars().next_back());
    let after = text.get(range.end..).and_then(|text| text.chars().next());
    (before, after)
}
