//! The folder of a skill: a bounded set of files, one digest over all of them, and what each is for.

use std::{collections::BTreeMap, sync::Arc};

use super::{Code, Skill, parse::is_hidden};
use crate::{
    Error,
    id::{Digest, PluginName},
    text::{escape, is_deceptive},
};

/// The most files of a skill.
pub const MAX_FILES: usize = 64;
/// The most bytes of all files of a skill.
pub const MAX_FOLDER_BYTES: usize = 1 << 20;
/// The file that makes a folder a skill.
pub const SKILL_FILE: &str = "SKILL.md";
/// The file whose text follows the body when the skill is activated.
pub const PROMPT_FILE: &str = "prompt.md";
/// The file whose public functions are the skill's tools, where `code.source` names no other.
pub const DEFAULT_SOURCE: &str = "scripts/tools.py";

const MAX_PATH_BYTES: usize = 200;
/// Begins the bytes of a folder, and says how they go on.
const MAGIC: &[u8; 8] = b"skill\0v1";

/// The files of a skill: relative path to bytes, sorted by path. At most [`MAX_FILES`], at most [`MAX_FOLDER_BYTES`],
/// all with paths that stay in their folder. Clones share the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkillFiles(Arc<BTreeMap<String, Vec<u8>>>);

/// The code of a skill, taken from its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkillCode<'f> {
    /// The interpreter plugin that runs it.
    pub interpreter: PluginName,
    /// The path and text of the file whose public functions are the tools.
    pub source: (&'f str, &'f str),
    /// The other files below `scripts/`, by the name under which they are imported:
    /// `skills.<snake name>.scripts.<file>`.
    pub modules: BTreeMap<String, &'f str>,
    /// The files that test it, by path.
    pub tests: BTreeMap<&'f str, &'f str>,
}

impl SkillFiles {
    /// Checks a folder's files.
    ///
    /// # Errors
    /// [`Error::Invalid`] with all problems, one a line: a path that is none or leaves the folder, a path that stands
    /// twice or is a folder as well, too many files or bytes, no `SKILL.md`.
    pub fn new(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<Self, Error> {
        let mut kept = BTreeMap::new();
        let mut problems = Vec::new();
        let mut bytes = 0_usize;
        for (path, content) in files {
            if let Err(error) = check_path(&path) {
                problems.push(format!("'{}' {error}", escape(&shown(&path))));
                continue;
            }
            bytes = bytes.saturating_add(content.len());
            if kept.len() >= MAX_FILES || bytes > MAX_FOLDER_BYTES {
                problems.push(format!("has more than {MAX_FILES} files or {MAX_FOLDER_BYTES} bytes in all"));
                break;
            }
            if kept.contains_key(&path) {
                problems.push(format!("'{path}' stands there twice"));
            }
            kept.insert(path, content);
        }
        for path in kept.keys() {
            let folders = path.match_indices('/').filter_map(|(at, _)| path.get(..at));
            problems.extend(
                folders
                    .filter(|folder| kept.contains_key(*folder))
                    .map(|folder| format!("'{folder}' is a file, and '{path}' would lie in it")),
            );
        }
        if problems.is_empty() && !kept.contains_key(SKILL_FILE) {
            problems.push(format!("has no {SKILL_FILE}"));
        }
        if problems.is_empty() { Ok(Self(Arc::new(kept))) } else { Err(report("the skill's folder", &problems)) }
    }

    /// The bytes of a file.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&[u8]> {
        self.0.get(path).map(Vec::as_slice)
    }

    /// All files, sorted by path.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice()))
    }

    /// The same folder with a file replaced or added.
    ///
    /// # Errors
    /// As [`SkillFiles::new`].
    pub fn with(&self, path: &str, bytes: impl Into<Vec<u8>>) -> Result<Self, Error> {
        let others = self.0.iter().filter(|(other, _)| *other != path);
        let others = others.map(|(path, bytes)| (path.clone(), bytes.clone()));
        Self::new(others.chain([(path.to_owned(), bytes.into())]))
    }

    /// The files as one sequence of bytes, the same for the same files: what a store keeps.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        for (path, bytes) in &*self.0 {
            for part in [path.as_bytes(), bytes] {
                // Both are bounded far below.
                out.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
                out.extend_from_slice(part);
            }
        }
        out
    }

    /// Reads what [`SkillFiles::to_bytes`] gave.
    ///
    /// # Errors
    /// [`Error::Invalid`] for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let broken = || Error::Invalid("these bytes are not the files of a skill".into());
        let mut rest = bytes.strip_prefix(MAGIC.as_slice()).ok_or_else(broken)?;
        let mut files = Vec::new();
        while !rest.is_empty() {
            let path = std::str::from_utf8(part(&mut rest).ok_or_else(broken)?).map_err(|_| broken())?.to_owned();
            files.push((path, part(&mut rest).ok_or_else(broken)?.to_vec()));
            if files.len() > MAX_FILES {
                return Err(broken());
            }
        }
        let files = Self::new(files)?;
        // Only one order is the right one, so that equal files have equal bytes.
        if files.to_bytes() == bytes { Ok(files) } else { Err(broken()) }
    }

    /// The SHA-256 of [`SkillFiles::to_bytes`]: paths, contents and their borders.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.to_bytes())
    }

    /// Parses the `SKILL.md` and checks the other files against it. `folder` is the name of the folder, if it has one.
    ///
    /// # Errors
    /// [`Error::Invalid`] as of [`Skill::parse`], or with all files that are missing, not text, or hide something.
    pub fn skill(&self, folder: Option<&str>) -> Result<Skill, Error> {
        let text = self.text(SKILL_FILE).map_err(|problem| Error::Invalid(problem.to_string()))?;
        let skill = Skill::parse(text, folder)?;
        let mut problems = Vec::new();
        if let (Some(_), Err(problem)) = (self.get(PROMPT_FILE), self.text(PROMPT_FILE)) {
            problems.push(problem.to_string());
        }
        if let Some(c) = self.prompt().and_then(|text| text.chars().find(|c| is_hidden(*c))) {
            problems.push(format!("{PROMPT_FILE} has the hidden character {}; take it out", c.escape_unicode()));
        }
        if let Err(error) = self.code(&skill) {
            problems.push(error.to_string());
        }
        if problems.is_empty() { Ok(skill) } else { Err(report(&format!("the skill '{}'", skill.name), &problems)) }
    }

    /// The text of the skill's `prompt.md`.
    #[must_use]
    pub fn prompt(&self) -> Option<&str> {
        self.text(PROMPT_FILE).ok()
    }

    /// The code of the skill whose files these are; none when its frontmatter has no `code` and it has no
    /// [`DEFAULT_SOURCE`].
    ///
    /// # Errors
    /// [`Error::Invalid`] with all problems: a source or test that is not there, a file below `scripts/` or `tests/`
    /// that ends in `.py` and is not text or has no name that Python can import.
    pub fn code(&self, skill: &Skill) -> Result<Option<SkillCode<'_>>, Error> {
        let code = match &skill.code {
            Some(code) => code.clone(),
            None if self.get(DEFAULT_SOURCE).is_some() => Code {
                interpreter: PluginName::new("python")?,
                source: DEFAULT_SOURCE.to_owned(),
                tests: std::collections::BTreeSet::new(),
            },
            None => return Ok(None),
        };
        let mut problems = Vec::new();
        let mut source = None;
        let (mut modules, mut tests) = (BTreeMap::new(), BTreeMap::new());
        for wanted in code.tests.iter().chain([&code.source]).filter(|path| self.get(path).is_none()) {
            problems.push(format!("'{wanted}' is named by its 'code', and is not there"));
        }
        for (path, _) in self.iter() {
            let (script, test) = (stem(path, "scripts/"), stem(path, "tests/"));
            if script.is_none() && test.is_none() {
                continue;
            }
            let text = match self.text(path) {
                Ok(text) => text,
                Err(problem) => {
                    problems.push(problem.to_string());
                    continue;
                }
            };
            if test.is_some() && (code.tests.is_empty() || code.tests.contains(path)) {
                tests.insert(path, text);
            }
            if path == code.source {
                source = Some((path, text));
            } else if let Some(stem) = script {
                match module(skill, stem) {
                    Some(name) => drop(modules.insert(name, text)),
                    None => problems.push(format!("'{path}' cannot be imported: its name is none of Python's")),
                }
            }
        }
        match source {
            Some(source) if problems.is_empty() => {
                Ok(Some(SkillCode { interpreter: code.interpreter, source, modules, tests }))
            }
            _ => Err(report("its code", &problems)),
        }
    }

    fn text(&self, path: &str) -> Result<&str, NoText<'_>> {
        // The caller's path may live shorter than the files.
        let (path, bytes) = self.0.get_key_value(path).ok_or(NoText("the file"))?;
        std::str::from_utf8(bytes).map_err(|_| NoText(path))
    }
}

#[derive(thiserror::Error, Debug)]
#[error("{0} is not UTF-8 text")]
struct NoText<'f>(&'f str);

/// The next length and what it counts.
fn part<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (part, after) = after.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    *rest = after;
    Some(part)
}

fn stem<'p>(path: &'p str, folder: &str) -> Option<&'p str> {
    path.strip_prefix(folder)?.strip_suffix(".py")
}

/// The name under which a script is imported; a package is its `__init__`.
fn module(skill: &Skill, stem: &str) -> Option<String> {
    let is_identifier = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    let fits = stem.split('/').all(is_identifier);
    let dotted = format!("skills.{}.scripts.{}", skill.name.snake(), stem.replace('/', "."));
    fits.then(|| dotted.strip_suffix(".__init__").map(str::to_owned).unwrap_or(dotted))
}

/// A path that stays in its folder wherever it is written: some names between single slashes.
pub(super) fn check_path(path: &str) -> Result<(), &'static str> {
    if path.is_empty() || path.len() > MAX_PATH_BYTES {
        return Err("is not a path of 1 to 200 bytes");
    }
    if path.contains(|c| is_deceptive(c) || is_hidden(c) || matches!(c, '\\' | ':')) {
        return Err("has characters that a path here must not have");
    }
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("is not a path inside the skill's folder; write it without '.', '..' and outer slashes");
    }
    Ok(())
}

fn shown(path: &str) -> String {
    path.chars().take(80).collect()
}

fn report(what: &str, problems: &[String]) -> Error {
    let plural = if problems.len() == 1 { "" } else { "s" };
    let mut text = format!("{what} has {} problem{plural}:", problems.len());
    problems.iter().take(20).for_each(|problem| text.push_str(&format!("\n  {problem}")));
    Error::Invalid(text)
}
