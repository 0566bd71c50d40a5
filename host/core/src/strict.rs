//! TOML read strictly: every problem at once, each with its line and key. A key that the reader never asked for is a
//! problem, so what is known and what is read cannot drift apart.

use std::{cell::RefCell, collections::BTreeSet, fmt, str::FromStr};

use serde::de::DeserializeOwned;
use toml::{
    Spanned,
    de::{DeTable, DeValue, ValueDeserializer},
};

use crate::{Error, text::nearest};

/// Reads `text`, which people call `name`. `read` gets the outermost table and returns nothing where it met a problem.
///
/// # Errors
/// [`Error::Invalid`] with all problems, one a line, in the order of the text.
pub(crate) fn read<T>(
    name: &str,
    text: &str,
    longest: usize,
    read: impl FnOnce(Table<'_>) -> Option<T>,
) -> Result<T, Error> {
    if text.len() > longest {
        return Err(Error::Invalid(format!("{name} has {} bytes, over the limit of {longest}", text.len())));
    }
    let (root, broken) = DeTable::parse_recoverable(text);
    let problems = Problems { text, found: RefCell::default() };
    for error in broken {
        problems.add(error.span().map_or(0, |span| span.start), error.message());
    }
    // What a broken text seems to say would only lead to complaints that are not meant.
    let result = if problems.none() { read(Table::new(&problems, String::new(), 0, root.get_ref())) } else { None };
    match result {
        Some(result) if problems.none() => Ok(result),
        _ => Err(problems.into_error(name)),
    }
}

/// More than anyone mends at once; a hostile text can have as many problems as bytes.
const MOST_SHOWN: usize = 50;

struct Problems<'t> {
    text: &'t str,
    /// Where in the text, and what.
    found: RefCell<Vec<(usize, String)>>,
}

impl Problems<'_> {
    fn add(&self, at: usize, what: impl fmt::Display) {
        // One problem, one line, and nothing in it that a terminal would obey.
        let what = what.to_string().split('\n').map(str::trim).collect::<Vec<_>>().join("; ");
        let what = crate::text::escape(&what).to_string();
        self.found.borrow_mut().push((at, what));
    }

    fn none(&self) -> bool {
        self.found.borrow().is_empty()
    }

    fn into_error(self, name: &str) -> Error {
        let mut found = self.found.into_inner();
        found.sort_by_key(|(at, _)| *at);
        found.dedup();
        let plural = if found.len() == 1 { "" } else { "s" };
        let mut report = format!("{name} has {} problem{plural}:", found.len());
        for (at, what) in found.iter().take(MOST_SHOWN) {
            let line = self.text.bytes().take(*at).filter(|b| *b == b'\n').count() + 1;
            report.push_str(&format!("\n  line {line}: {what}"));
        }
        if found.len() > MOST_SHOWN {
            report.push_str(&format!("\n  and {} more", found.len() - MOST_SHOWN));
        }
        Error::Invalid(report)
    }
}

/// A table. When it is dropped, the keys that were never asked for are reported, each with the nearest known key.
pub(crate) struct Table<'d> {
    problems: &'d Problems<'d>,
    path: String,
    at: usize,
    entries: &'d DeTable<'d>,
    known: BTreeSet<&'static str>,
    refused: BTreeSet<&'static str>,
    free: bool,
}

impl<'d> Table<'d> {
    fn new(problems: &'d Problems<'d>, path: String, at: usize, entries: &'d DeTable<'d>) -> Self {
        Self { problems, path, at, entries, known: BTreeSet::new(), refused: BTreeSet::new(), free: false }
    }

    /// The value of a key, if it is there.
    pub(crate) fn get(&mut self, key: &'static str) -> Option<Value<'d>> {
        self.known.insert(key);
        self.value(key)
    }

    /// The value of a key whose absence is a problem.
    pub(crate) fn need(&mut self, key: &'static str) -> Option<Value<'d>> {
        let value = self.get(key);
        if value.is_none() {
            self.problems.add(self.at, format_args!("{}: is missing", join(&self.path, key)));
        }
        value
    }

    /// A key that means something, but nothing that this host can honour here.
    pub(crate) fn refuse(&mut self, key: &'static str, why: &str) {
        self.refused.insert(key);
        if let Some(value) = self.value(key) {
            value.problem(why);
        }
    }

    /// All entries of a table whose keys are free.
    pub(crate) fn entries(&mut self) -> Vec<(&'d str, Value<'d>)> {
        self.free = true;
        let entry = |(key, value): (&'d Spanned<_>, _)| {
            let key: &'d std::borrow::Cow<'d, str> = key.get_ref();
            (&**key, Value { problems: self.problems, path: join(&self.path, key), value })
        };
        self.entries.iter().map(entry).collect()
    }

    fn value(&self, key: &str) -> Option<Value<'d>> {
        let value = self.entries.get(key)?;
        Some(Value { problems: self.problems, path: join(&self.path, key), value })
    }
}

impl Drop for Table<'_> {
    fn drop(&mut self) {
        if self.free {
            return;
        }
        for key in self.entries.keys() {
            let (name, at): (&str, _) = (key.get_ref(), key.span().start);
            if self.known.contains(name) || self.refused.contains(name) {
                continue;
            }
            let advice = match nearest(name, self.known.iter().copied()) {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!("known here: {}", Vec::from_iter(self.known.iter().copied()).join(", ")),
            };
            self.problems.add(at, format_args!("{}: unknown key; {advice}", join(&self.path, name)));
        }
    }
}

/// A value and where it stands. Reading it as what it is not reports a problem and gives nothing.
#[derive(Clone)]
pub(crate) struct Value<'d> {
    problems: &'d Problems<'d>,
    path: String,
    value: &'d Spanned<DeValue<'d>>,
}

impl<'d> Value<'d> {
    /// Reports what is wrong with it.
    pub(crate) fn problem(&self, what: impl fmt::Display) {
        self.problems.add(self.value.span().start, format_args!("{}: {what}", self.path));
    }

    /// The result, or its error as a problem.
    pub(crate) fn accept<T, E: fmt::Display>(&self, result: Result<T, E>) -> Option<T> {
        result.inspect_err(|e| self.problem(e)).ok()
    }

    fn expected(&self, what: &str) {
        self.problem(format_args!("is a {}, and should be {what}", self.value.get_ref().type_str()));
    }

    /// A text.
    pub(crate) fn str(&self) -> Option<&'d str> {
        let text = self.value.get_ref().as_str();
        if text.is_none() {
            self.expected("a text in quotes");
        }
        text
    }

    /// A text of a given form.
    pub(crate) fn parse<T: FromStr<Err: fmt::Display>>(&self) -> Option<T> {
        self.accept(self.str()?.parse())
    }

    /// A number from 0 to `T`'s largest.
    pub(crate) fn number<T: TryFrom<u64>>(&self) -> Option<T> {
        let Some(integer) = self.value.get_ref().as_integer() else {
            self.expected("a whole number");
            return None;
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok().and_then(|n| T::try_from(n).ok());
        if number.is_none() {
            self.problem(format_args!("{integer} is out of range"));
        }
        number
    }

    /// A table.
    pub(crate) fn table(&self) -> Option<Table<'d>> {
        let Some(entries) = self.value.get_ref().as_table() else {
            self.expected("a table");
            return None;
        };
        Some(Table::new(self.problems, self.path.clone(), self.value.span().start, entries))
    }

    /// The members of a list.
    pub(crate) fn items(&self) -> Vec<Value<'d>> {
        let Some(items) = self.value.get_ref().as_array() else {
            self.expected("a list in square brackets");
            return Vec::new();
        };
        let item = |(index, value)| Value { problems: self.problems, path: format!("{}[{index}]", self.path), value };
        items.iter().enumerate().map(item).collect()
    }

    /// A list of different texts of a given form.
    pub(crate) fn set<T: FromStr<Err: fmt::Display> + Ord>(&self) -> BTreeSet<T> {
        self.items().iter().filter_map(Self::parse).collect()
    }

    /// As [`Value::set`]; without members it would have no effect, so that is a problem.
    pub(crate) fn some<T: FromStr<Err: fmt::Display> + Ord>(&self) -> BTreeSet<T> {
        if self.value.get_ref().as_array().is_some_and(|items| items.is_empty()) {
            self.problem("is empty, so that all of this has no effect");
        }
        self.set()
    }

    /// As serde reads it. Where something inside it was found wrong before, serde does not get to see it.
    pub(crate) fn deserialize<T: DeserializeOwned>(&self) -> Option<T> {
        if self.problems.found.borrow().iter().any(|(_, what)| what.starts_with(&self.path)) {
            return None;
        }
        self.accept(T::deserialize(ValueDeserializer::from(self.value.clone())).map_err(|e| e.message().to_owned()))
    }
}

fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let key = if bare { key.to_owned() } else { format!("\"{key}\"") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}
