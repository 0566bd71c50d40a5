//! Listing, finding by name, and finding by content.

use std::{fs, io::Read as _};

use animus_sdk::prelude::*;
use regex_automata::{
    Input,
    hybrid::dfa::{Cache, DFA},
    nfa::thompson,
    util::syntax,
};

use crate::{
    page,
    walk::{self, Entry, Kind, Walk},
    workspace::{Place, Workspace},
};

/// The most entries that one answer lists for a model.
const MAX_ENTRIES: usize = 1000;
/// The most that it holds for a program.
const MAX_RESULT: usize = 20_000;
/// The most that one answer shows of files' contents.
const MAX_BYTES: usize = 256 << 10;
/// The most that is shown of one line.
const MAX_LINE: usize = 400;
/// Larger files are not searched.
const MAX_FILE: u64 = 16 << 20;

pub(crate) fn list(workspace: &Workspace, place: &Place, depth: u32) -> Result<Both<Vec<String>>> {
    let mut walk = Walk::new(workspace, place, depth.max(1))?;
    let mark = |entry: &Entry| match entry.kind {
        Kind::Folder => "/",
        Kind::Link => "@",
        Kind::File | Kind::Other => "",
    };
    let listed = walk.by_ref().map(|entry| format!("{}{}", entry.relative, mark(&entry)));
    let result = some(listed)?;
    Ok(Both { text: or(shown(&result) + &walk.gaps(), "[nothing here]\n"), result })
}

pub(crate) fn glob(workspace: &Workspace, place: &Place, pattern: &str) -> Result<Both<Vec<String>>> {
    let names = Names::new(pattern, place)?;
    let mut walk = Walk::new(workspace, place, u32::MAX)?;
    let matching = |entry: &Entry| entry.kind == Kind::File && names.take(&entry.relative);
    let result = some(walk.by_ref().filter(matching).map(|entry| entry.relative))?;
    Ok(Both { text: or(shown(&result) + &walk.gaps(), "[no file matches]\n"), result })
}

/// All of them. A program could not tell that some were left out, so too many are an error.
fn some(paths: impl Iterator<Item = String>) -> Result<Vec<String>> {
    let paths: Vec<String> = paths.take(MAX_RESULT + 1).collect();
    if paths.len() > MAX_RESULT {
        return Err(Error::invalid(format!("there are more than {MAX_RESULT}: narrow the pattern or the path")));
    }
    Ok(paths)
}

/// The first of them, a line each, and whether there are more.
fn shown(paths: &[String]) -> String {
    let mut lines: String = paths.iter().take(MAX_ENTRIES).map(|path| format!("{}\n", printable(path))).collect();
    if paths.len() > MAX_ENTRIES {
        lines.push_str(&format!("[the first {MAX_ENTRIES} of {}: narrow the pattern or the path]\n", paths.len()));
    }
    lines
}

fn or(text: String, nothing: &str) -> String {
    if text.is_empty() { nothing.to_owned() } else { text }
}

/// A file name goes on one line, whatever is in it.
fn printable(path: &str) -> String {
    if path.contains(char::is_control) { path.escape_debug().to_string() } else { path.to_owned() }
}

/// Which files a glob takes.
struct Names {
    glob: String,
    /// Without a slash it is about file names, at any depth.
    by_path: bool,
    /// The folder that the pattern is relative to, with a final slash.
    folder: String,
}

impl Names {
    fn new(pattern: &str, place: &Place) -> Result<Self> {
        let glob = pattern.strip_prefix("./").unwrap_or(pattern);
        if glob.is_empty() || glob.starts_with('/') || glob.split('/').any(|part| part == "..") {
            return Err(Error::invalid(format!(
                "pattern '{}' is empty, absolute, or has '..' in it",
                pattern.escape_debug()
            )));
        }
        let folder = if place.relative().is_empty() { String::new() } else { format!("{}/", place.relative()) };
        Ok(Self { glob: glob.to_owned(), by_path: glob.contains('/'), folder })
    }

    fn take(&self, relative: &str) -> bool {
        let below = relative.strip_prefix(&self.folder).unwrap_or(relative);
        let name = below.rsplit('/').next().unwrap_or(below);
        fast_glob::glob_match(&self.glob, if self.by_path { below } else { name })
    }
}

/// What grep looks for.
pub(crate) struct Sought<'a> {
    pub(crate) pattern: &'a str,
    pub(crate) glob: Option<&'a str>,
    pub(crate) context: usize,
    pub(crate) max: usize,
}

/// A line that matches.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Match {
    /// Relative to the workspace.
    path: String,
    /// From 1.
    line: usize,
    /// The line, cut where it is very long.
    text: String,
}

pub(crate) fn grep(workspace: &Workspace, place: &Place, sought: &Sought<'_>) -> Result<Both<Vec<Match>>> {
    let regex = Regex::new(sought.pattern)?;
    let mut found = Found {
        regex,
        context: sought.context,
        left: sought.max,
        text: String::new(),
        matches: Vec::new(),
        full: false,
    };
    let mut skipped = 0;
    let mut gaps = String::new();
    if place.path().is_file() {
        found.in_file(place.relative(), &contents(place)?);
    } else {
        let names = sought.glob.map(|glob| Names::new(glob, place)).transpose()?;
        let mut walk = Walk::new(workspace, place, u32::MAX)?;
        for entry in walk.by_ref() {
            if entry.kind != Kind::File || names.as_ref().is_some_and(|names| !names.take(&entry.relative)) {
                continue;
            }
            match small(&walk::path(workspace.root(), &entry.relative)) {
                Ok(Some(bytes)) => found.in_file(&entry.relative, &bytes),
                Ok(None) | Err(_) => skipped += 1,
            }
            if found.full {
                break;
            }
        }
        gaps = walk.gaps();
    }
    if found.full {
        gaps.push_str("[there may be more: narrow the pattern, path or glob, or raise max]\n");
    }
    if skipped > 0 {
        gaps.push_str(&format!("[{skipped} files were too large or could not be read]\n"));
    }
    Ok(Both { text: or(found.text, "[no match]\n") + &gaps, result: found.matches })
}

fn contents(place: &Place) -> Result<Vec<u8>> {
    let too_large = || Error::invalid(format!("{} exceeds the {MAX_FILE} bytes that are searched", place.shown()));
    small(place.path()).map_err(|error| place.failed("read", error))?.ok_or_else(too_large)
}

/// The bytes of a file that is not too large.
fn small(path: &std::path::Path) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= MAX_FILE).then_some(bytes))
}

/// Whether something matches; where exactly is not asked.
struct Regex {
    dfa: DFA,
    cache: Cache,
}

impl Regex {
    fn new(pattern: &str) -> Result<Self> {
        let dfa = DFA::builder()
            .syntax(syntax::Config::new().unicode(false).utf8(false).multi_line(true).crlf(true))
            .thompson(thompson::Config::new().utf8(false).nfa_size_limit(Some(1 << 20)))
            .build(pattern)
            .map_err(|error| Error::invalid(Error::from(error).context("pattern")))?;
        let cache = dfa.create_cache();
        Ok(Self { dfa, cache })
    }

    fn is_match(&mut self, text: &[u8]) -> bool {
        let found = self.dfa.try_search_fwd(&mut self.cache, &Input::new(text).earliest(true));
        // It fails only for bytes and efforts that were set to end a search, and none were.
        found.is_ok_and(|end| end.is_some())
    }
}

struct Found {
    regex: Regex,
    context: usize,
    /// Matching lines that may still be shown.
    left: usize,
    text: String,
    matches: Vec<Match>,
    full: bool,
}

impl Found {
    fn in_file(&mut self, relative: &str, bytes: &[u8]) {
        let head = bytes.get(..bytes.len().min(8 << 10)).unwrap_or_default();
        // The whole file at once is many times faster than line by line, and most files have no match.
        if page::is_binary(head) || !self.regex.is_match(bytes) {
            return;
        }
        let path = printable(relative);
        let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
        let mut shown_to = 0;
        for (at, line) in lines.iter().enumerate() {
            // A final line end begins no line.
            let is_line = at + 1 < lines.len() || !line.is_empty();
            if !is_line || !self.regex.is_match(line) {
                continue;
            }
            if self.left == 0 || self.text.len() > MAX_BYTES {
                self.full = true;
                return;
            }
            self.left -= 1;
            let from = at.saturating_sub(self.context).max(shown_to);
            if self.context > 0 && !self.text.is_empty() && (shown_to == 0 || from > shown_to) {
                self.text.push_str("--\n");
            }
            // Lines after this one that match themselves are shown as matches, by their own turn.
            for (number, line) in lines.iter().enumerate().take(at).skip(from) {
                self.show(&path, number, line, '-');
            }
            let text = self.show(&path, at, line, ':');
            self.matches.push(Match { path: relative.to_owned(), line: at + 1, text });
            shown_to = at + 1;
            for (number, line) in lines.iter().enumerate().skip(at + 1).take(self.context) {
                let last = number + 1 == lines.len() && line.is_empty();
                if last || self.regex.is_match(line) {
                    break;
                }
                self.show(&path, number, line, '-');
                shown_to = number + 1;
            }
        }
    }

    /// Returns the line without its place.
    fn show(&mut self, path: &str, number: usize, line: &[u8], mark: char) -> String {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let shown = String::from_utf8_lossy(line.get(..line.len().min(MAX_LINE)).unwrap_or(line));
        let cut = if line.len() > MAX_LINE { " [line cut]" } else { "" };
        let shown = format!("{shown}{cut}");
        self.text.push_str(&format!("{path}{mark}{}{mark}{shown}\n", number + 1));
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Files(tempfile::TempDir);

    impl Files {
        fn new(files: &[(&str, &str)]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            for (path, text) in files {
                let path = folder.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Self(folder)
        }

        fn at(&self, path: &str) -> (Workspace, Place) {
            let workspace = Workspace::at(self.0.path()).unwrap();
            let place = workspace.find(path).unwrap();
            (workspace, place)
        }

        fn glob(&self, path: &str, pattern: &str) -> String {
            let (workspace, place) = self.at(path);
            glob(&workspace, &place, pattern).unwrap().text
        }

        fn grep(&self, path: &str, pattern: &str, glob: Option<&str>, context: usize, max: usize) -> String {
            let (workspace, place) = self.at(path);
            grep(&workspace, &place, &Sought { pattern, glob, context, max }).unwrap().text
        }
    }

    #[test]
    fn a_listing_marks_folders_and_says_when_there_is_nothing() {
        let files = Files::new(&[("a/b.txt", ""), ("c.txt", "")]);
        let (workspace, place) = files.at("");
        assert_eq!(list(&workspace, &place, 1).unwrap().text, "a/\nc.txt\n");
        assert_eq!(list(&workspace, &place, 2).unwrap().text, "a/\na/b.txt\nc.txt\n");
        fs::create_dir(files.0.path().join("empty")).unwrap();
        let (workspace, place) = files.at("empty");
        assert_eq!(list(&workspace, &place, 1).unwrap().text, "[nothing here]\n");
    }

    #[test]
    fn a_long_listing_is_cut_and_says_so() {
        let names: Vec<String> = (0..1100).map(|i| format!("f{i:04}")).collect();
        let files = Files::new(&names.iter().map(|name| (name.as_str(), "")).collect::<Vec<_>>());
        let (workspace, place) = files.at("");
        let listed = list(&workspace, &place, 1).unwrap().text;
        assert_eq!(listed.lines().count(), 1001);
        assert!(listed.ends_with("f0999\n[the first 1000 of 1100: narrow the pattern or the path]\n"));
    }

    #[test]
    fn a_pattern_without_slash_is_for_names_and_one_with_slash_for_paths() {
        let files = Files::new(&[("a.rs", ""), ("src/b.rs", ""), ("src/x/c.ts", ""), ("src/x/d.tsx", "")]);
        assert_eq!(files.glob("", "*.rs"), "a.rs\nsrc/b.rs\n");
        assert_eq!(files.glob("", "src/**/*.{ts,tsx}"), "src/x/c.ts\nsrc/x/d.tsx\n");
        assert_eq!(files.glob("src", "*/*.ts"), "src/x/c.ts\n");
        assert_eq!(files.glob("", "*.py"), "[no file matches]\n");
        let (workspace, place) = files.at("");
        assert!(glob(&workspace, &place, "../*").is_err());
    }

    #[test]
    fn matching_lines_have_path_and_number() {
        let files = Files::new(&[("a", "one\ntwo\r\nthree two\n"), ("b/c.md", "two\n"), ("d", "\0two\n")]);
        assert_eq!(files.grep("", "two$", None, 0, 9), "a:2:two\na:3:three two\nb/c.md:1:two\n");
        assert_eq!(files.grep("", "two", Some("*.md"), 0, 9), "b/c.md:1:two\n");
        assert_eq!(files.grep("a", "(?i)ONE", None, 0, 9), "a:1:one\n");
        assert_eq!(files.grep("", "four", None, 0, 9), "[no match]\n");
    }

    #[test]
    fn context_is_shown_once_and_gaps_are_marked() {
        let files = Files::new(&[("a", "1\nx\n3\nx\n5\n6\n7\n8\nx\n")]);
        assert_eq!(files.grep("", "x", None, 1, 9), "a-1-1\na:2:x\na-3-3\na:4:x\na-5-5\n--\na-8-8\na:9:x\n");
    }

    #[test]
    fn too_many_matches_are_cut_and_the_way_on_is_told() {
        let files = Files::new(&[("a", "x\nx\nx\n")]);
        let found = files.grep("", "x", None, 0, 2);
        assert_eq!(found, "a:1:x\na:2:x\n[there may be more: narrow the pattern, path or glob, or raise max]\n");
        assert_eq!(files.grep("", "x", None, 0, 3), "a:1:x\na:2:x\na:3:x\n");
    }

    #[test]
    fn a_pattern_that_does_not_parse_is_refused_with_the_reason() {
        let files = Files::new(&[("a", "")]);
        let (workspace, place) = files.at("");
        let sought = Sought { pattern: "(", glob: None, context: 0, max: 1 };
        let error = grep(&workspace, &place, &sought).unwrap_err().to_string();
        assert!(error.starts_with("pattern: ") && error.contains("unclosed group"), "{error}");
    }

    #[test]
    fn bytes_that_are_not_utf8_do_not_hide_a_match() {
        let files = Files::new(&[("a", "")]);
        fs::write(files.0.path().join("a"), b"caf\xe9 x\n").unwrap();
        assert_eq!(files.grep("", "x", None, 0, 1), "a:1:caf\u{fffd} x\n");
    }
}
