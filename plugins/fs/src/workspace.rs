//! Paths of the workspace, and what may be done at them.

use std::{
    collections::VecDeque,
    fs::{self, OpenOptions},
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use animus_sdk::{Denial, Gate, Unlock, prelude::*};

/// Where the manifest asks for the workspace.
const ROOT: &str = "/workspace";

/// Links followed in one path.
const MAX_LINKS: u32 = 32;

/// The folder that the operator granted.
pub(crate) struct Workspace {
    root: PathBuf,
}

/// A path in the workspace with no link left in it; there may be nothing at it.
pub(crate) struct Place {
    shown: String,
    relative: String,
    path: PathBuf,
}

impl Workspace {
    pub(crate) fn open() -> Result<Self> {
        Self::at(ROOT)
    }

    pub(crate) fn at(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        if root.is_dir() {
            return Ok(Self { root });
        }
        Err(Error::Denied(Denial {
            capability: format!("path:rw $workspace as {ROOT}"),
            gate: Gate::Grant,
            unlock: Unlock::AskOperator,
        }))
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The place that a model means by `path`, links resolved.
    pub(crate) fn find(&self, path: &str) -> Result<Place> {
        let shown = path.escape_debug();
        // Models tend to write the path as the guest sees it.
        let relative = match path.strip_prefix(ROOT) {
            Some(below) if below.is_empty() || below.starts_with('/') => below,
            _ if path.starts_with('/') => {
                return Err(Error::invalid(format!("'{shown}' is absolute; give a path relative to the workspace")));
            }
            _ => path,
        };
        let mut parts: VecDeque<String> = relative.split('/').map(str::to_owned).collect();
        if parts.iter().any(|part| part == "..") {
            return Err(Error::invalid(format!("'{shown}' has '..' in it; give a path relative to the workspace")));
        }
        let outside = || Error::invalid(format!("'{shown}' leads through a link out of the workspace"));
        let mut real: Vec<String> = Vec::new();
        let mut links = 0;
        while let Some(part) = parts.pop_front() {
            match part.as_str() {
                "" | "." => continue,
                // Only a link brings these.
                ".." => {
                    real.pop().ok_or_else(outside)?;
                    continue;
                }
                _ => real.push(part),
            }
            let here = self.root.join(real.join("/"));
            if !fs::symlink_metadata(&here).is_ok_and(|metadata| metadata.is_symlink()) {
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(Error::invalid(format!("'{shown}' has more than {MAX_LINKS} links in it")));
            }
            // The host refuses to read a link that is absolute.
            let target = fs::read_link(&here).map_err(|_| outside())?;
            let target = target.to_str().filter(|target| !target.starts_with('/')).ok_or_else(outside)?;
            real.pop();
            target.rsplit('/').for_each(|part| parts.push_front(part.to_owned()));
        }
        let relative = real.join("/");
        let shown =
            if path.trim_matches(['/', '.']).is_empty() { "the workspace".into() } else { format!("'{shown}'") };
        Ok(Place { shown, path: self.root.join(&relative), relative })
    }
}

impl Place {
    /// The path for messages, in quotes.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Relative to the workspace, links resolved; empty for the workspace itself.
    pub(crate) fn relative(&self) -> &str {
        &self.relative
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Opens it to read, if it is a file.
    pub(crate) fn open(&self) -> Result<fs::File> {
        let metadata = fs::metadata(&self.path).map_err(|error| self.failed("read", error))?;
        if metadata.is_dir() {
            return Err(Error::invalid(format!("{} is a folder; use list_files", self.shown)));
        }
        if !metadata.is_file() {
            return Err(Error::invalid(format!("{} is not a regular file", self.shown)));
        }
        fs::File::open(&self.path).map_err(|error| self.failed("read", error))
    }

    /// Writes it whole or not at all: a reader sees the old content or the new.
    pub(crate) fn write(&self, content: &[u8]) -> Result<()> {
        if self.path.is_dir() {
            return Err(Error::invalid(format!("{} is a folder", self.shown)));
        }
        let (Some(folder), Some(name)) = (self.path.parent(), self.path.file_name()) else {
            return Err(Error::invalid(format!("{} has no file name", self.shown)));
        };
        let random = RandomState::new().build_hasher().finish();
        let temporary = folder.join(format!(".{}.{random:016x}.tmp", name.to_string_lossy()));
        let written = fs::create_dir_all(folder).and_then(|()| {
            let mut file = OpenOptions::new().write(true).create_new(true).open(&temporary)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&temporary, &self.path)
        });
        written.map_err(|error| {
            // The first error is the one to tell.
            let _ = fs::remove_file(&temporary);
            self.failed("write", error)
        })
    }

    pub(crate) fn failed(&self, what: &str, error: io::Error) -> Error {
        let Self { shown, .. } = self;
        match error.kind() {
            io::ErrorKind::NotFound => Error::not_found(format!("{shown} does not exist")),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Error::invalid(format!(
                "{what} {shown}: not permitted; the workspace may be granted for reading only, or the file's own \
                 permissions forbid it"
            )),
            io::ErrorKind::NotADirectory => Error::invalid(format!("{what} {shown}: a part of the path is a file")),
            _ => Error::from(error).context(format!("{what} {shown}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace() -> (tempfile::TempDir, Workspace) {
        let folder = tempfile::tempdir().unwrap();
        let workspace = Workspace::at(folder.path()).unwrap();
        (folder, workspace)
    }

    fn refusal(workspace: &Workspace, path: &str) -> String {
        workspace.find(path).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn a_workspace_that_was_not_granted_is_a_denial() {
        let Err(Error::Denied(denial)) = Workspace::at("/no/such/folder") else { panic!("it opened") };
        assert_eq!(denial.capability, "path:rw $workspace as /workspace");
    }

    #[test]
    fn paths_are_normal_and_may_begin_as_the_guest_sees_them() {
        let (_folder, workspace) = workspace();
        for path in ["a/b", "./a//b/", "/workspace/a/b"] {
            assert_eq!(workspace.find(path).unwrap().relative(), "a/b", "{path}");
        }
        for path in ["", ".", "/workspace"] {
            assert_eq!(workspace.find(path).unwrap().relative(), "", "{path}");
        }
    }

    #[test]
    fn absolute_paths_and_parents_are_refused_with_the_way_out() {
        let (_folder, workspace) = workspace();
        assert_eq!(
            refusal(&workspace, "/etc/passwd"),
            "'/etc/passwd' is absolute; give a path relative to the workspace"
        );
        assert!(refusal(&workspace, "/workspaces").contains("is absolute"));
        assert!(refusal(&workspace, "a/../../b").contains("has '..' in it"));
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_inside_and_refused_outwards() {
        use std::os::unix::fs::symlink;
        let (folder, workspace) = workspace();
        let root = folder.path();
        fs::create_dir_all(root.join("a/b")).unwrap();
        symlink("../c", root.join("a/inside")).unwrap();
        symlink("../../..", root.join("a/b/up")).unwrap();
        symlink("/etc", root.join("absolute")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        assert_eq!(workspace.find("a/inside/d").unwrap().relative(), "c/d");
        for path in ["a/b/up/x", "absolute/passwd"] {
            assert!(refusal(&workspace, path).contains("leads through a link out of the workspace"), "{path}");
        }
        assert!(refusal(&workspace, "loop").contains("more than 32 links"));
    }

    #[cfg(unix)]
    #[test]
    fn writing_through_a_link_changes_what_it_points_to_and_keeps_the_link() {
        let (folder, workspace) = workspace();
        let root = folder.path();
        fs::write(root.join("real"), "old").unwrap();
        std::os::unix::fs::symlink("real", root.join("link")).unwrap();
        workspace.find("link").unwrap().write(b"new").unwrap();
        assert_eq!(fs::read_to_string(root.join("real")).unwrap(), "new");
        assert!(fs::symlink_metadata(root.join("link")).unwrap().is_symlink());
    }

    #[test]
    fn writing_makes_the_folders_above_and_leaves_nothing_else_behind() {
        let (folder, workspace) = workspace();
        workspace.find("a/b/c.txt").unwrap().write(b"x").unwrap();
        let names: Vec<_> = fs::read_dir(folder.path().join("a/b")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["c.txt"]);
        fs::create_dir(folder.path().join("d")).unwrap();
        assert_eq!(workspace.find("d").unwrap().write(b""), Err(Error::invalid("'d' is a folder")));
        let through = workspace.find("a/b/c.txt/e").unwrap().write(b"");
        assert!(matches!(through, Err(Error::Invalid(_) | Error::Conflict(_))), "{through:?}");
    }
}
