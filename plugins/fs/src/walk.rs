//! The entries below a folder, in the order of their paths, without what `.gitignore` excludes.

use std::{
    fs,
    path::{Path, PathBuf},
    rc::Rc,
};

use animus_sdk::prelude::*;

use crate::{
    ignore::Rules,
    workspace::{Place, Workspace},
};

/// The most entries that one walk looks at.
const MAX_ENTRIES: usize = 200_000;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Folder,
    File,
    Link,
    Other,
}

pub(crate) struct Entry {
    /// Relative to the workspace.
    pub(crate) relative: String,
    pub(crate) kind: Kind,
}

struct Folder {
    rules: Rc<Rules>,
    /// Those that are still to come, last first.
    entries: Vec<Entry>,
}

/// Links are shown and not followed; `.git` is never shown.
pub(crate) struct Walk {
    root: PathBuf,
    depth: u32,
    /// The folders that the walk is in, outermost first.
    open: Vec<Folder>,
    seen: usize,
    unreadable: usize,
}

impl Walk {
    /// Begins in a folder; `depth` levels down.
    pub(crate) fn new(workspace: &Workspace, place: &Place, depth: u32) -> Result<Self> {
        let root = workspace.root();
        let mut rules = Rules::of(root, "", None);
        // What lies in an excluded folder is shown to who asks for that folder: only the rules for its entries count.
        for (at, _) in place.relative().match_indices('/').chain([(place.relative().len(), "")]) {
            if let Some(folder) = place.relative().get(..at).filter(|folder| !folder.is_empty()) {
                rules = Rules::of(root, folder, Some(&rules));
            }
        }
        let mut walk = Self { root: root.to_owned(), depth, open: Vec::new(), seen: 0, unreadable: 0 };
        let entries = walk.read(place.relative(), &rules).map_err(|error| place.failed("list", error))?;
        walk.open.push(Folder { rules, entries });
        Ok(walk)
    }

    /// What kept the walk from being complete, for the end of an answer; empty when nothing did.
    pub(crate) fn gaps(&self) -> String {
        let mut gaps = String::new();
        if self.seen >= MAX_ENTRIES {
            gaps.push_str(&format!("[stopped after {MAX_ENTRIES} entries; look in a folder further down]\n"));
        }
        if self.unreadable > 0 {
            gaps.push_str(&format!("[{} folders could not be read]\n", self.unreadable));
        }
        gaps
    }

    fn read(&mut self, folder: &str, rules: &Rules) -> std::io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path(&self.root, folder))? {
            let entry = entry?;
            self.seen += 1;
            if self.seen >= MAX_ENTRIES {
                break;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = match entry.file_type()? {
                kind if kind.is_symlink() => Kind::Link,
                kind if kind.is_dir() => Kind::Folder,
                kind if kind.is_file() => Kind::File,
                _ => Kind::Other,
            };
            let relative = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
            if name != ".git" && !rules.exclude(&relative, kind == Kind::Folder) {
                entries.push(Entry { relative, kind });
            }
        }
        entries.sort_by(|a, b| b.relative.cmp(&a.relative));
        Ok(entries)
    }
}

impl Iterator for Walk {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        loop {
            let depth = u32::try_from(self.open.len()).unwrap_or(u32::MAX);
            let Folder { rules, entries } = self.open.last_mut()?;
            let Some(entry) = entries.pop() else {
                self.open.pop();
                continue;
            };
            if entry.kind == Kind::Folder && depth < self.depth && self.seen < MAX_ENTRIES {
                let rules = Rules::of(&self.root, &entry.relative, Some(&rules.clone()));
                match self.read(&entry.relative, &rules) {
                    Ok(entries) => self.open.push(Folder { rules, entries }),
                    Err(_) => self.unreadable += 1,
                }
            }
            return Some(entry);
        }
    }
}

pub(crate) fn path(root: &Path, relative: &str) -> PathBuf {
    if relative.is_empty() { root.to_owned() } else { root.join(relative) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(files: &[(&str, &str)], from: &str, depth: u32) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let workspace = Workspace::at(folder.path()).unwrap();
        Walk::new(&workspace, &workspace.find(from).unwrap(), depth).unwrap().map(|entry| entry.relative).collect()
    }

    #[test]
    fn excluded_folders_are_not_entered_and_git_is_never_shown() {
        let files = [(".gitignore", "out/\n"), (".git/config", ""), ("out/a", ""), ("src/b", ""), ("c", "")];
        assert_eq!(walk(&files, "", u32::MAX), [".gitignore", "c", "src", "src/b"]);
    }

    #[test]
    fn an_excluded_folder_can_be_asked_for() {
        let files = [(".gitignore", "out/\n*.o\n"), ("out/a", ""), ("out/b.o", "")];
        assert_eq!(walk(&files, "out", u32::MAX), ["out/a"]);
    }

    #[test]
    fn rules_of_folders_on_the_way_count() {
        let files = [("a/.gitignore", "/b/x\n"), ("a/b/x", ""), ("a/b/y", "")];
        assert_eq!(walk(&files, "a/b", u32::MAX), ["a/b/y"]);
    }

    #[test]
    fn the_depth_is_kept() {
        let files = [("a/b/c", ""), ("d", "")];
        assert_eq!(walk(&files, "", 1), ["a", "d"]);
        assert_eq!(walk(&files, "", 2), ["a", "a/b", "d"]);
    }
}
