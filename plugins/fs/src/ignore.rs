//! `.gitignore`: which paths it excludes.

use std::{fs, path::Path, rc::Rc};

use fast_glob::glob_match;

/// The rules of one folder, over those of the folders above.
#[derive(Default)]
pub(crate) struct Rules {
    /// The folder, relative to the workspace, with a final slash; empty for the workspace.
    folder: String,
    patterns: Vec<Pattern>,
    above: Option<Rc<Rules>>,
}

struct Pattern {
    glob: String,
    /// Takes back what an earlier pattern excluded.
    includes: bool,
    only_folders: bool,
    /// Has a slash: it is about the whole path, not about the last part.
    whole: bool,
}

impl Rules {
    /// The rules in force in `folder`; those above where it has none of its own.
    pub(crate) fn of(root: &Path, folder: &str, above: Option<&Rc<Self>>) -> Rc<Self> {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let mut patterns = Vec::new();
        if folder.is_empty() {
            patterns.extend(read(&root.join(".git/info/exclude")));
        }
        patterns.extend(read(&root.join(format!("{prefix}.gitignore"))));
        match above {
            Some(above) if patterns.is_empty() => above.clone(),
            above => Rc::new(Self { folder: prefix, patterns, above: above.cloned() }),
        }
    }

    /// Whether they exclude `path`, which is relative to the workspace and in this folder or below.
    pub(crate) fn exclude(&self, path: &str, is_folder: bool) -> bool {
        let below = path.strip_prefix(&self.folder).unwrap_or(path);
        let name = below.rsplit('/').next().unwrap_or(below);
        let decides = |pattern: &&Pattern| {
            (is_folder || !pattern.only_folders) && glob_match(&pattern.glob, if pattern.whole { below } else { name })
        };
        match self.patterns.iter().rev().find(decides) {
            Some(pattern) => !pattern.includes,
            None => self.above.as_ref().is_some_and(|above| above.exclude(path, is_folder)),
        }
    }
}

fn read(file: &Path) -> Vec<Pattern> {
    // No file and an unreadable one exclude nothing.
    let text = fs::read(file).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().filter_map(pattern).collect()
}

fn pattern(line: &str) -> Option<Pattern> {
    if line.starts_with('#') {
        return None;
    }
    let trimmed = line.trim_end_matches(' ');
    // A backslash keeps the space after it.
    let line =
        if trimmed.ends_with('\\') && trimmed.len() < line.len() { format!("{trimmed} ") } else { trimmed.into() };
    let (includes, line) = line.strip_prefix('!').map_or((false, line.as_str()), |rest| (true, rest));
    let (only_folders, line) = line.strip_suffix('/').map_or((false, line), |rest| (true, rest));
    let whole = line.contains('/');
    let line = line.strip_prefix('/').unwrap_or(line);
    if line.is_empty() {
        return None;
    }
    Some(Pattern { glob: literal_where_git_is(line), includes, only_folders, whole })
}

/// Braces, and a `!` in front, are plain characters to git, but not to the matcher.
fn literal_where_git_is(pattern: &str) -> String {
    let mut glob = String::with_capacity(pattern.len());
    let mut escaped = false;
    for c in pattern.chars() {
        if !escaped && (matches!(c, '{' | '}') || (c == '!' && glob.is_empty())) {
            glob.push('\\');
        }
        escaped = c == '\\' && !escaped;
        glob.push(c);
    }
    glob
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Rules {
        Rules { patterns: text.lines().filter_map(pattern).collect(), ..Rules::default() }
    }

    #[test]
    fn patterns_mean_what_they_mean_to_git() {
        for (text, path, is_folder, excluded) in [
            ("target/", "a/target", true, true),
            ("target/", "a/target", false, false),
            ("/target", "a/target", true, false),
            ("/target", "target", true, true),
            ("*.log", "a/b/c.log", false, true),
            ("a/*.log", "a/b/c.log", false, false),
            ("a/**/*.log", "a/b/c.log", false, true),
            ("**/cache", "x/y/cache", true, true),
            ("a/**", "a/b/c", false, true),
            ("# *.rs", "x.rs", false, false),
            ("\\#x", "#x", false, true),
            ("*.rs\n!keep.rs", "keep.rs", false, false),
            ("!keep.rs\n*.rs", "keep.rs", false, true),
            ("{a,b}", "a", false, false),
            ("{a,b}", "{a,b}", false, true),
            ("x  ", "x", false, true),
            ("x\\ ", "x ", false, true),
            ("[a-c]?", "b1", false, true),
        ] {
            assert_eq!(rules(text).exclude(path, is_folder), excluded, "{text:?} on {path}");
        }
    }

    #[test]
    fn the_nearer_folder_decides() {
        let above = Rc::new(rules("*.rs\n*.md"));
        let near = Rules {
            folder: "a/".into(),
            patterns: "!x.rs\n/y".lines().filter_map(pattern).collect(),
            above: Some(above),
        };
        assert!(!near.exclude("a/x.rs", false));
        assert!(near.exclude("a/z.rs", false));
        assert!(near.exclude("a/y", false) && !near.exclude("a/b/y", false));
    }
}
