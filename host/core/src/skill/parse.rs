//! From the text of a `SKILL.md` to a [`Skill`].

use std::collections::BTreeMap;

use super::{
    Author, Code, MAX_BYTES, MAX_DESCRIPTION_CHARS, MAX_FRONTMATTER_BYTES, Skill, SkillName, Triggers,
    files::{DEFAULT_SOURCE, check_path},
    yaml::{Map, Problems, Value, load},
};
use crate::{
    Error,
    id::{PluginName, is_name},
    text::is_deceptive,
};

const FENCE: &str = "---";
/// In characters: the longest licence, origin, keyword and the like.
const LINE: usize = 512;
/// In characters: the longest finding and metadata value.
const PROSE: usize = 4_096;

impl Skill {
    /// Parses and checks the text of a `SKILL.md`: a line `---`, the frontmatter, a line `---`, the body. `folder` is
    /// the name of the folder in which it stands, if it stands in one.
    ///
    /// # Errors
    /// [`Error::Invalid`] that lists *every* unknown key (with the nearest known one) and every value that does not
    /// fit, one a line, with its line in the text. Only a frontmatter that is not YAML is reported without what else is
    /// wrong in it.
    pub fn parse(text: &str, folder: Option<&str>) -> Result<Self, Error> {
        if text.len() > MAX_BYTES {
            return Err(Error::Invalid(format!("SKILL.md has {} bytes, over the limit of {MAX_BYTES}", text.len())));
        }
        let problems = Problems::default();
        let skill = parse(text, folder, &problems);
        match skill {
            Some(skill) if problems.none() => Ok(skill),
            _ => Err(problems.into_error("SKILL.md")),
        }
    }
}

fn parse(text: &str, folder: Option<&str>, problems: &Problems) -> Option<Skill> {
    let Split { front, body, body_line } = split(text, problems)?;
    hidden(front, 2, problems);
    hidden(body, body_line, problems);
    if front.len() > MAX_FRONTMATTER_BYTES {
        problems.add(
            2,
            format_args!("the frontmatter has {} bytes, over the limit of {MAX_FRONTMATTER_BYTES}", front.len()),
        );
        return None;
    }
    let Some(root) = load(front, 2, problems) else {
        if problems.none() {
            problems.add(1, "the frontmatter is empty; it needs at least 'name' and 'description'");
        }
        return None;
    };
    let mut skill = skill(Map::root(problems, 2, &root)?, folder)?;
    body.clone_into(&mut skill.body);
    Some(skill)
}

/// A text in two.
pub(super) struct Split<'t> {
    /// Between the fences.
    pub(super) front: &'t str,
    /// What follows.
    pub(super) body: &'t str,
    /// The line on which it begins.
    pub(super) body_line: usize,
}

/// Cuts the text at its fences.
pub(super) fn split<'t>(text: &'t str, problems: &Problems) -> Option<Split<'t>> {
    let mut lines = text.split_inclusive('\n');
    let first = lines.next().unwrap_or_default();
    if first.trim_end() != FENCE {
        problems.add(1, "should be '---', which begins the frontmatter");
        return None;
    }
    let start = first.len();
    let mut end = start;
    for (index, line) in lines.enumerate() {
        let after = end.saturating_add(line.len());
        if line.trim_end() == FENCE {
            let (front, body) = (text.get(start..end)?, text.get(after..)?);
            return Some(Split { front, body, body_line: index.saturating_add(3) });
        }
        end = after;
    }
    problems.add(1, "the frontmatter that begins here does not end; put a line '---' before the body");
    None
}

/// What a reader does not see, a model obeys all the same: such characters have no place in a text that people approve.
/// The joiners are letters of several scripts and stay.
pub(super) fn is_hidden(c: char) -> bool {
    let joins = matches!(c, '\u{200c}' | '\u{200d}');
    let is_tag = matches!(c, '\u{e0000}'..='\u{e007f}');
    (is_deceptive(c) && !joins && !matches!(c, '\n' | '\r' | '\t')) || is_tag
}

/// Reports characters that a reader does not see.
pub(super) fn hidden(text: &str, first: usize, problems: &Problems) {
    for (index, line) in text.split('\n').enumerate() {
        if let Some(c) = line.chars().find(|c| is_hidden(*c)) {
            problems.add(
                first.saturating_add(index),
                format_args!("has the hidden character {}; take it out", c.escape_unicode()),
            );
        }
    }
}

fn skill(mut map: Map<'_>, folder: Option<&str>) -> Option<Skill> {
    let name = map.need("name").and_then(|value| name(&value, folder));
    let description = map.need("description").and_then(|value| {
        let text = prose(&value, MAX_DESCRIPTION_CHARS)?;
        value.accept((!text.trim().is_empty()).then_some(text).ok_or("is empty; say what the skill is for and when"))
    });
    let license = map.get("license").and_then(|value| line(&value));
    let compatibility = map.get("compatibility").and_then(|value| line(&value));
    let metadata = map.get("metadata").map(|value| metadata(&value)).unwrap_or_default();
    let allowed_tools = map.get("allowed-tools").map(|value| allowed_tools(&value)).unwrap_or_default();
    let triggers = map.get("triggers").and_then(|value| triggers(&value)).unwrap_or_default();
    let faculties = map.get("faculties").map(|value| value.set(word)).unwrap_or_default();
    let tools_needed = map.get("tools-needed").map(|value| value.set(Value::parse)).unwrap_or_default();
    let auto_activate = map.get("auto-activate").and_then(|value| {
        let flag = value.flag()?;
        if flag && triggers.is_empty() {
            value.problem("has no effect without triggers; say in 'triggers' when");
        }
        Some(flag)
    });
    let created_by = map.get("created-by").map_or(Some(Author::Human), |value| value.parse());
    let created_from = map.get("created-from").and_then(|value| line(&value));
    let findings = map.get("creation-findings").map(|value| value.items()).unwrap_or_default();
    let creation_findings = findings.iter().filter_map(|value| prose(value, PROSE)).collect();
    let version = map.get("version").map_or(Some(1), |value| value.count());
    let updated_at = map.get("updated-at").and_then(|value| date(&value));
    let depends = map.get("depends").map(|value| others(&value, name.as_ref())).unwrap_or_default();
    let conflicts = map
        .get("conflicts")
        .map(|value| {
            let conflicts = others(&value, name.as_ref());
            for both in depends.intersection(&conflicts) {
                value.problem(format_args!("'{both}' stands in 'depends' as well; keep one of the two"));
            }
            conflicts
        })
        .unwrap_or_default();
    let code = map.get("code").map(|value| code(&value));
    Some(Skill {
        name: name?,
        description: description?,
        license,
        compatibility,
        metadata,
        allowed_tools,
        triggers,
        faculties,
        tools_needed,
        auto_activate: auto_activate.unwrap_or_default(),
        created_by: created_by?,
        created_from,
        creation_findings,
        version: version?,
        updated_at,
        depends,
        conflicts,
        code: match code {
            Some(code) => Some(code?),
            None => None,
        },
        body: String::new(),
    })
}

fn name(value: &Value<'_>, folder: Option<&str>) -> Option<SkillName> {
    let name: SkillName = value.parse()?;
    if let Some(folder) = folder.filter(|folder| *folder != name.as_str()) {
        value.problem(format_args!("is '{name}' in a folder '{folder}'; give both the same name"));
    }
    Some(name)
}

/// A text of some lines, whose hidden characters were reported with their line unless an escape made them.
fn prose(value: &Value<'_>, longest: usize) -> Option<String> {
    let text = value.text()?;
    let chars = text.chars().count();
    if chars > longest {
        value.problem(format_args!("has {chars} characters, over the limit of {longest}"));
        return None;
    }
    if let Some(c) = text.chars().find(|c| is_hidden(*c)) {
        value.problem(format_args!("has the hidden character {}; take it out", c.escape_unicode()));
        return None;
    }
    Some(text.to_owned())
}

/// A text of one line, and not an empty one.
fn line(value: &Value<'_>) -> Option<String> {
    let text = prose(value, LINE)?;
    let fits = !text.trim().is_empty() && !text.contains(['\n', '\r', '\t']);
    value.accept(fits.then_some(text).ok_or("should be one line of text"))
}

/// The name of a faculty.
fn word(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    let fits = is_name(text).then(|| text.to_owned());
    value.accept(fits.ok_or("is not of the form [a-z][a-z0-9_-]*, at most 64 bytes"))
}

fn pairs(value: &Value<'_>, read: impl Fn(&Value<'_>) -> Option<String>) -> BTreeMap<String, String> {
    let pair = |(key, value): (&str, Value<'_>)| {
        let fits = !key.trim().is_empty() && key.len() <= 128 && !key.contains(is_deceptive);
        value.accept(fits.then_some(()).ok_or("its key should be one line of 1 to 128 bytes"))?;
        Some((key.to_owned(), read(&value)?))
    };
    value.entries().into_iter().filter_map(pair).collect()
}

fn metadata(value: &Value<'_>) -> BTreeMap<String, String> {
    pairs(value, |value| prose(value, PROSE))
}

fn triggers(value: &Value<'_>) -> Option<Triggers> {
    let mut map = value.map()?;
    let faculties = map.get("faculties").map(|value| value.set(word)).unwrap_or_default();
    let keywords = map.get("keywords").map(|value| value.set(line)).unwrap_or_default();
    let params = map.get("params").map(|value| pairs(&value, line)).unwrap_or_default();
    Some(Triggers { faculties, keywords, params })
}

/// `Read Bash(git add:*)` or a list: agentskills.io separates by spaces, others by commas.
fn allowed_tools(value: &Value<'_>) -> std::collections::BTreeSet<String> {
    if value.is_list() {
        return value.set(|item| {
            let text = line(item)?;
            let one = words(&text).is_some_and(|words| words == [text.as_str()]);
            item.accept(one.then_some(text).ok_or("should be one tool"))
        });
    }
    let Some(text) = line(value) else { return Default::default() };
    let Some(words) = words(&text) else {
        value.problem("has a parenthesis without its other half");
        return Default::default();
    };
    words.into_iter().map(str::to_owned).collect()
}

/// What stands between spaces and commas outside of parentheses; none where these do not pair.
fn words(text: &str) -> Option<Vec<&str>> {
    let mut depth = 0_i32;
    let mut paired = true;
    let found = text
        .split(|c: char| {
            match c {
                '(' => depth = depth.saturating_add(1),
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            paired &= depth >= 0;
            depth <= 0 && (c == ',' || c.is_whitespace())
        })
        .filter(|word| !word.is_empty())
        .collect();
    (paired && depth == 0).then_some(found)
}

fn others(value: &Value<'_>, own: Option<&SkillName>) -> std::collections::BTreeSet<SkillName> {
    value.set(|item| {
        let other: SkillName = item.parse()?;
        if own == Some(&other) {
            item.problem("is the skill itself");
        }
        Some(other)
    })
}

/// `2026-11-21`, `2026-11-21T09:30:00Z`.
fn date(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    let form = |form: &str, text: &str| {
        form.len() == text.len()
            && form.bytes().zip(text.bytes()).all(|(f, b)| if f == b'0' { b.is_ascii_digit() } else { f == b })
    };
    let between = |at: usize, low: u8, high: u8| {
        text.get(at..at.saturating_add(2)).and_then(|n| n.parse().ok()).is_some_and(|n| (low..=high).contains(&n))
    };
    let day = between(5, 1, 12) && between(8, 1, 31);
    let time = between(11, 0, 23) && between(14, 0, 59) && between(17, 0, 59);
    let fits = day && (form("0000-00-00", text) || (form("0000-00-00T00:00:00Z", text) && time));
    value.accept(fits.then(|| text.to_owned()).ok_or("should be a date such as 2026-11-21 or 2026-11-21T09:30:00Z"))
}

fn code(value: &Value<'_>) -> Option<Code> {
    let mut map = value.map()?;
    let interpreter = match map.get("interpreter") {
        Some(value) => value.parse(),
        None => PluginName::new("python").ok(),
    };
    let source = match map.get("source") {
        Some(value) => inside(&value, "scripts/"),
        None => Some(DEFAULT_SOURCE.to_owned()),
    };
    let tests = map.get("tests").map(|value| value.set(|item| inside(item, "tests/"))).unwrap_or_default();
    Some(Code { interpreter: interpreter?, source: source?, tests })
}

/// A file of Python in one of the skill's folders.
fn inside(value: &Value<'_>, folder: &str) -> Option<String> {
    let text = value.text()?;
    value.accept(check_path(text))?;
    let fits = text.starts_with(folder) && text.ends_with(".py");
    value.accept(fits.then(|| text.to_owned()).ok_or_else(|| format!("should be a file '{folder}….py'")))
}
