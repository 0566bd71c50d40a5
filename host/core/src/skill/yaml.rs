//! The YAML of a frontmatter read strictly: texts, lists and maps, each with its line. Anchors, aliases, tags, second
//! documents and repeated keys are problems. So is a key that the reader never asked for, so that what is known and
//! what is read cannot drift apart.

use std::{cell::RefCell, collections::BTreeSet, fmt, str::FromStr};

use saphyr_parser::{Event, Parser, ScalarStyle};

use crate::{
    Error,
    text::{escape, nearest},
};

/// A frontmatter of 32 KiB with more than this is not one that somebody wrote.
const MAX_NODES: usize = 2_048;
/// Ours has three levels.
const MAX_DEPTH: usize = 8;
/// More than anyone mends at once; a hostile text can have as many problems as bytes.
const MOST_SHOWN: usize = 50;
/// In characters: a stranger's key may be as long as the frontmatter, and stands in each problem below it.
const LONGEST_SHOWN: usize = 500;
/// The most members of one list or map.
const MAX_MEMBERS: usize = 64;

/// What is wrong, and on which line.
#[derive(Default)]
pub(crate) struct Problems {
    found: RefCell<Vec<(usize, String)>>,
}

impl Problems {
    pub(crate) fn add(&self, line: usize, what: impl fmt::Display) {
        // One problem, one line of some length, and nothing in it that a terminal would obey.
        let what: String = what.to_string().chars().take(LONGEST_SHOWN).collect();
        self.found.borrow_mut().push((line, escape(&what).to_string()));
    }

    pub(crate) fn none(&self) -> bool {
        self.found.borrow().is_empty()
    }

    pub(crate) fn into_error(self, name: &str) -> Error {
        let mut found = self.found.into_inner();
        found.sort_by_key(|(line, _)| *line);
        found.dedup();
        let plural = if found.len() == 1 { "" } else { "s" };
        let mut report = format!("{name} has {} problem{plural}:", found.len());
        for (line, what) in found.iter().take(MOST_SHOWN) {
            report.push_str(&format!("\n  line {line}: {what}"));
        }
        if found.len() > MOST_SHOWN {
            report.push_str(&format!("\n  and {} more", found.len() - MOST_SHOWN));
        }
        Error::Invalid(report)
    }
}

/// A piece of YAML.
pub(crate) enum Node {
    Scalar {
        text: String,
        /// Without quotes, so that `true` is no text but a flag.
        plain: bool,
    },
    List(Vec<(usize, Node)>),
    Map(Vec<(String, usize, Node)>),
}

impl Node {
    fn kind(&self) -> &'static str {
        match self {
            Self::Scalar { .. } => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

/// A list or map whose end is still to come.
struct Open {
    line: usize,
    node: Node,
    /// The key whose value comes next.
    key: Option<(String, usize)>,
}

/// Reads a text whose first line is the line `first` of its file. Nothing is given where no tree could be built; all
/// that is wrong is in `problems`.
pub(crate) fn load(text: &str, first: usize, problems: &Problems) -> Option<Node> {
    let mut open: Vec<Open> = Vec::new();
    let mut root = None;
    let mut documents = 0_usize;
    let mut nodes = 0_usize;
    for event in Parser::new_from_str(text) {
        // Both count from one.
        let place = |line: usize| line.saturating_add(first).saturating_sub(1);
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                problems.add(place(error.marker().line()), format_args!("is not YAML: {}", error.info()));
                return None;
            }
        };
        let line = place(span.start.line());
        let (anchor, tag) = match &event {
            Event::Scalar(_, _, anchor, tag) | Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => {
                (*anchor != 0, tag.is_some())
            }
            _ => (false, false),
        };
        if anchor {
            problems.add(line, "anchors (&name) are not read here; write the value where it is meant");
        }
        if tag {
            problems.add(line, "tags (!name) are not read here; leave it out");
        }
        let done = match event {
            Event::DocumentStart(_) => {
                documents = documents.saturating_add(1);
                if documents > 1 {
                    problems.add(line, "a second YAML document begins here; a frontmatter is one");
                    return None;
                }
                None
            }
            Event::Alias(_) => {
                problems.add(line, "aliases (*name) are not read here; write the value where it is meant");
                return None;
            }
            Event::Scalar(text, style, ..) => {
                Some((line, Node::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain }))
            }
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                if open.len() >= MAX_DEPTH {
                    problems.add(line, format_args!("lies more than {MAX_DEPTH} lists and maps deep"));
                    return None;
                }
                let is_list = matches!(event, Event::SequenceStart(..));
                let node = if is_list { Node::List(Vec::new()) } else { Node::Map(Vec::new()) };
                open.push(Open { line, node, key: None });
                None
            }
            Event::SequenceEnd | Event::MappingEnd => open.pop().map(|ended| (ended.line, ended.node)),
            Event::DocumentEnd | Event::StreamStart | Event::StreamEnd | Event::Nothing => None,
        };
        let Some((line, node)) = done else { continue };
        nodes = nodes.saturating_add(1);
        if nodes > MAX_NODES {
            problems.add(line, format_args!("has more than {MAX_NODES} keys and values"));
            return None;
        }
        let Some(parent) = open.last_mut() else {
            root = Some(node);
            continue;
        };
        match (&mut parent.node, parent.key.take()) {
            (Node::Map(entries), Some((key, at))) => match entries.iter().find(|(other, ..)| *other == key) {
                Some((_, before, _)) => {
                    problems.add(at, format_args!("{key}: stands on line {before} already; keep one of the two"));
                }
                None => entries.push((key, at, node)),
            },
            (Node::Map(_), None) => match node {
                Node::Scalar { text, .. } => parent.key = Some((text, line)),
                other => {
                    problems.add(line, format_args!("is {}, and a key should be a text", other.kind()));
                    return None;
                }
            },
            (Node::List(items), _) => items.push((line, node)),
            (Node::Scalar { .. }, _) => {}
        }
    }
    root
}

/// A map. When it is dropped, the keys that were never asked for are reported, each with the nearest known key.
///
/// A key is asked for with dashes and found with underscores too.
pub(crate) struct Map<'d> {
    problems: &'d Problems,
    path: String,
    line: usize,
    entries: &'d [(String, usize, Node)],
    known: BTreeSet<&'static str>,
}

impl<'d> Map<'d> {
    /// The outermost map, which begins on the given line.
    pub(crate) fn root(problems: &'d Problems, line: usize, node: &'d Node) -> Option<Self> {
        match node {
            Node::Map(entries) => Some(Self { problems, path: String::new(), line, entries, known: BTreeSet::new() }),
            other => {
                problems
                    .add(line, format_args!("the frontmatter is {}, and should be 'key: value' lines", other.kind()));
                None
            }
        }
    }

    /// The value of a key, if it is there.
    pub(crate) fn get(&mut self, key: &'static str) -> Option<Value<'d>> {
        self.known.insert(key);
        let mut found = self.entries.iter().filter(|(name, ..)| dashed(name) == key);
        let (name, line, node) = found.next()?;
        for (other, at, _) in found {
            let path = join(&self.path, other);
            self.problems.add(*at, format_args!("{path}: is '{name}' of line {line} again; keep one of the two"));
        }
        Some(Value { problems: self.problems, path: join(&self.path, name), line: *line, node })
    }

    /// The value of a key whose absence is a problem.
    pub(crate) fn need(&mut self, key: &'static str) -> Option<Value<'d>> {
        let value = self.get(key);
        if value.is_none() {
            self.problems.add(self.line, format_args!("{}: is missing", join(&self.path, key)));
        }
        value
    }
}

impl Drop for Map<'_> {
    fn drop(&mut self) {
        for (name, line, _) in self.entries {
            if self.known.contains(&*dashed(name)) {
                continue;
            }
            let advice = match nearest(&dashed(name), self.known.iter().copied()) {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!("known here: {}", Vec::from_iter(self.known.iter().copied()).join(", ")),
            };
            self.problems.add(*line, format_args!("{}: unknown key; {advice}", join(&self.path, name)));
        }
    }
}

/// A value and where it stands. Reading it as what it is not reports a problem and gives nothing.
#[derive(Clone)]
pub(crate) struct Value<'d> {
    problems: &'d Problems,
    path: String,
    line: usize,
    node: &'d Node,
}

impl<'d> Value<'d> {
    /// Reports what is wrong with it.
    pub(crate) fn problem(&self, what: impl fmt::Display) {
        self.problems.add(self.line, format_args!("{}: {what}", self.path));
    }

    /// The result, or its error as a problem.
    pub(crate) fn accept<T, E: fmt::Display>(&self, result: Result<T, E>) -> Option<T> {
        result.inspect_err(|e| self.problem(e)).ok()
    }

    fn expected(&self, what: &str) {
        self.problem(format_args!("is {}, and should be {what}", self.node.kind()));
    }

    /// A text. Without quotes it is what stands there, also where YAML would make a number of it; nothing is a problem.
    pub(crate) fn text(&self) -> Option<&'d str> {
        match self.node {
            Node::Scalar { text, plain } if *plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL") => {
                self.problem("has no value; give it one or leave the key out");
                None
            }
            Node::Scalar { text, .. } => Some(text),
            _ => {
                self.expected("a text");
                None
            }
        }
    }

    /// A text of a given form.
    pub(crate) fn parse<T: FromStr<Err: fmt::Display>>(&self) -> Option<T> {
        self.accept(self.text()?.parse())
    }

    /// `true` or `false`.
    pub(crate) fn flag(&self) -> Option<bool> {
        match self.node {
            Node::Scalar { text, plain: true } if text == "true" => Some(true),
            Node::Scalar { text, plain: true } if text == "false" => Some(false),
            _ => {
                self.problem("should be true or false");
                None
            }
        }
    }

    /// A whole number from 1.
    pub(crate) fn count(&self) -> Option<u32> {
        let number = match self.node {
            // `parse` takes a plus sign too.
            Node::Scalar { text, plain: true } if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
            _ => None,
        };
        let counted = number.filter(|n| *n > 0);
        if counted.is_none() {
            self.problem(format_args!("should be a whole number from 1 to {}", u32::MAX));
        }
        counted
    }

    /// A map with known keys.
    pub(crate) fn map(&self) -> Option<Map<'d>> {
        let Node::Map(entries) = self.node else {
            self.expected("a map of 'key: value' lines");
            return None;
        };
        let (problems, path, line) = (self.problems, self.path.clone(), self.line);
        Some(Map { problems, path, line, entries, known: BTreeSet::new() })
    }

    /// The entries of a map whose keys are free.
    pub(crate) fn entries(&self) -> Vec<(&'d str, Value<'d>)> {
        let Node::Map(entries) = self.node else {
            self.expected("a map of 'key: value' lines");
            return Vec::new();
        };
        self.bound(entries.len());
        let entry = |(key, line, node): &'d (String, usize, Node)| {
            (key.as_str(), Value { problems: self.problems, path: join(&self.path, key), line: *line, node })
        };
        entries.iter().take(MAX_MEMBERS).map(entry).collect()
    }

    /// Whether it is a list.
    pub(crate) fn is_list(&self) -> bool {
        matches!(self.node, Node::List(_))
    }

    /// The members of a list.
    pub(crate) fn items(&self) -> Vec<Value<'d>> {
        let Node::List(items) = self.node else {
            self.expected("a list: '- ' before each member, or [a, b]");
            return Vec::new();
        };
        self.bound(items.len());
        let item = |(index, (line, node)): (usize, &'d (usize, Node))| Value {
            problems: self.problems,
            path: format!("{}[{index}]", self.path),
            line: *line,
            node,
        };
        items.iter().take(MAX_MEMBERS).enumerate().map(item).collect()
    }

    /// A list of different members, each read by `read`.
    pub(crate) fn set<T: Ord>(&self, read: impl Fn(&Value<'d>) -> Option<T>) -> BTreeSet<T> {
        let mut set = BTreeSet::new();
        for item in self.items() {
            if read(&item).is_some_and(|member| !set.insert(member)) {
                item.problem("is in the list already");
            }
        }
        set
    }

    fn bound(&self, members: usize) {
        if members > MAX_MEMBERS {
            self.problem(format_args!("has {members} members, over the limit of {MAX_MEMBERS}"));
        }
    }
}

fn dashed(key: &str) -> String {
    key.replace('_', "-")
}

fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let key = if bare { key.to_owned() } else { format!("\"{key}\"") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}
