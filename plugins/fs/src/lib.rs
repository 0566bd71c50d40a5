//! The files of the workspace, as tools for a model.
//!
//! The wall is the host's: it opens the workspace and nothing else to this plugin. What is checked here is checked to
//! give errors that a model can act on.

mod edit;
mod ignore;
mod page;
mod search;
mod walk;
mod workspace;

use animus_sdk::prelude::*;
use workspace::Workspace;

/// Reads a text file, from a line on if you say so. What does not fit into one answer (256 KiB) is announced at its end,
/// with the offset to continue from.
#[derive(Deserialize, JsonSchema)]
struct ReadFile {
    /// Path relative to the workspace.
    path: String,
    /// The first line to read, from 1. Default: 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    offset: u64,
    /// At most so many lines. Default: 2000; a program that gives none gets the whole file, or null where that is
    /// larger than 3 MiB.
    #[serde(default)]
    #[schemars(range(min = 1))]
    limit: Option<u64>,
}

fn one() -> u64 {
    1
}

impl Tool for ReadFile {
    const NAME: &str = "read_file";
    const ANNOTATIONS: Annotations = Annotations::READ_ONLY;
    type Output = Both<Option<String>>;

    fn call(self) -> Result<Both<Option<String>>> {
        page::read(&Workspace::open()?.find(&self.path)?, self.offset, self.limit)
    }
}

/// Writes a whole file, replacing what was there; the folders above it are made. To change a part of a file, use
/// edit_file.
#[derive(Deserialize, JsonSchema)]
struct WriteFile {
    /// Path relative to the workspace.
    path: String,
    /// The whole new content.
    content: String,
}

impl Tool for WriteFile {
    const NAME: &str = "write_file";
    const ANNOTATIONS: Annotations = Annotations::DESTROYS.idempotent();
    type Output = String;

    fn call(self) -> Result<String> {
        let place = Workspace::open()?.find(&self.path)?;
        let what = if place.exists() { "replaced" } else { "created" };
        place.write(self.content.as_bytes())?;
        Ok(format!("{what} {}, {} bytes", place.shown(), self.content.len()))
    }
}

/// Replaces text in a file. The old text must occur exactly once, to the last space; give enough lines around the change
/// to make it so, or set replace_all.
#[derive(Deserialize, JsonSchema)]
struct EditFile {
    /// Path relative to the workspace.
    path: String,
    /// The text that is there.
    old: String,
    /// The text to put in its place.
    new: String,
    /// Replace every occurrence. Default: false.
    #[serde(default)]
    replace_all: bool,
}

impl Tool for EditFile {
    const NAME: &str = "edit_file";
    const ANNOTATIONS: Annotations = Annotations::DESTROYS;
    type Output = String;

    fn call(self) -> Result<String> {
        edit::edit(&Workspace::open()?.find(&self.path)?, &self.old, &self.new, self.replace_all)
    }
}

/// Lists a folder. Folders end in /, links in @. What .gitignore excludes is left out.
#[derive(Deserialize, JsonSchema)]
struct ListFiles {
    /// A folder relative to the workspace. Default: the workspace.
    #[serde(default)]
    path: String,
    /// How many levels down, from 1. Default: 1.
    #[serde(default = "shallow")]
    #[schemars(range(min = 1))]
    depth: u32,
}

fn shallow() -> u32 {
    1
}

impl Tool for ListFiles {
    const NAME: &str = "list_files";
    const ANNOTATIONS: Annotations = Annotations::READ_ONLY;
    type Output = Both<Vec<String>>;

    fn call(self) -> Result<Both<Vec<String>>> {
        let workspace = Workspace::open()?;
        search::list(&workspace, &workspace.find(&self.path)?, self.depth)
    }
}

/// Finds files by name: `*.rs` at any depth, `src/**/*.{ts,tsx}` by path. What .gitignore excludes is left out.
#[derive(Deserialize, JsonSchema)]
struct Glob {
    /// A pattern with *, ?, [a-z], {a,b}, and ** for any number of folders. Without a slash it is for file names.
    pattern: String,
    /// The folder to look in, relative to the workspace. Default: the workspace.
    #[serde(default)]
    path: String,
}

impl Tool for Glob {
    const NAME: &str = "glob";
    const ANNOTATIONS: Annotations = Annotations::READ_ONLY;
    type Output = Both<Vec<String>>;

    fn call(self) -> Result<Both<Vec<String>>> {
        let workspace = Workspace::open()?;
        search::glob(&workspace, &workspace.find(&self.path)?, &self.pattern)
    }
}

/// Searches the contents of files for a regular expression and shows the lines that match, as path:line:text. Binary
/// files and what .gitignore excludes are left out.
#[derive(Deserialize, JsonSchema)]
struct Grep {
    /// A regular expression, without look-around and back-references; \w, \d and \b are ASCII. (?i) ignores case.
    pattern: String,
    /// A file, or a folder to look in, relative to the workspace. Default: the workspace.
    #[serde(default)]
    path: String,
    /// Only files whose names match, as in glob.
    glob: Option<String>,
    /// Lines to show before and after each match, at most 20. Default: 0.
    #[serde(default)]
    #[schemars(range(max = 20))]
    context: usize,
    /// At most so many matching lines, 1 to 1000. Default: 100.
    #[serde(default = "hundred")]
    #[schemars(range(min = 1, max = 1000))]
    max: usize,
}

fn hundred() -> usize {
    100
}

impl Tool for Grep {
    const NAME: &str = "grep";
    const ANNOTATIONS: Annotations = Annotations::READ_ONLY;
    type Output = Both<Vec<search::Match>>;

    fn call(self) -> Result<Both<Vec<search::Match>>> {
        let workspace = Workspace::open()?;
        let place = workspace.find(&self.path)?;
        let what = search::Sought {
            pattern: &self.pattern,
            glob: self.glob.as_deref(),
            context: self.context.min(20),
            max: self.max.clamp(1, 1000),
        };
        search::grep(&workspace, &place, &what)
    }
}

export_tools!(ReadFile, WriteFile, EditFile, ListFiles, Glob, Grep);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_tools_that_write_say_so() {
        let definitions = [
            ReadFile::definition(),
            ListFiles::definition(),
            Glob::definition(),
            Grep::definition(),
            WriteFile::definition(),
            EditFile::definition(),
        ];
        let read_only: Vec<_> = definitions.iter().map(|tool| tool.annotations.read_only).collect();
        assert_eq!(read_only, [true, true, true, true, false, false]);
        assert!(definitions.iter().all(|tool| !tool.annotations.open_world && !tool.description.is_empty()));
    }

    #[test]
    fn an_edit_does_not_claim_to_be_repeatable() {
        assert!(WriteFile::definition().annotations.idempotent);
        assert!(!EditFile::definition().annotations.idempotent);
    }
}
