//! What the host takes of a repository that agents or strangers may have written: which commit is checked out, and the
//! files that objects are kept in.
//!
//! They are opened below the repository's own folder `.git`, and no link leads out of it, also none that somebody puts
//! there meanwhile. So whoever writes a repository can have the host take what it could read itself, and nothing else.

use std::{
    ffi::OsStr,
    fs,
    io::{self, BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
};

use animus_core::{Error, Result};
use cap_primitives::{
    ambient_authority,
    fs::{
        FollowSymlinks, OpenOptions, copy, hard_link, open, open_ambient_dir, open_dir, open_dir_nofollow, read_dir,
        stat,
    },
};

/// The most files of objects; a repository with more wants to be packed.
const MOST: usize = 1_000_000;
/// The largest file that holds one reference, and the largest of those that hold many, in bytes.
const REFERENCE: u64 = 4 << 10;
const PACKED: u64 = 256 << 20;
/// References that lead to references.
const STEPS: usize = 5;

/// A repository.
pub(super) struct Repository {
    /// For messages.
    at: PathBuf,
    git: fs::File,
}

impl Repository {
    /// The innermost one around a folder, and its working folder.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there is none, or its `.git` leads elsewhere: an agent can write a file of that name.
    pub(super) fn around(folder: &Path) -> Result<(Self, PathBuf)> {
        let top = folder.ancestors().find(|top| fs::symlink_metadata(top.join(".git")).is_ok()).ok_or_else(|| {
            Error::Invalid(format!(
                "the faculty has isolation = \"worktree\", and the workspace {} is in no git repository",
                folder.display()
            ))
        })?;
        let at = top.join(".git");
        let git = open_ambient_dir(top, ambient_authority()).and_then(|top| open_dir_nofollow(&top, Path::new(".git")));
        let git = git.map_err(|e| {
            Error::Invalid(format!(
                "the faculty has isolation = \"worktree\", and {} is no folder that can be opened ({e}); worktrees of other \
                 repositories and submodules cannot be its workspace",
                at.display()
            ))
        })?;
        Ok((Self { at, git }, top.to_owned()))
    }

    /// One that the host itself keeps.
    pub(super) fn own(at: PathBuf) -> Result<Self> {
        let git = open_ambient_dir(&at, ambient_authority()).map_err(|e| failed("open", &at, e))?;
        Ok(Self { at, git })
    }

    /// The commit that is checked out.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there is none yet, or where it is not kept in files.
    pub(super) fn commit(&self) -> Result<String> {
        let none = || {
            Error::Invalid(format!(
                "the faculty has isolation = \"worktree\", and the commit that is checked out cannot be found in {}: make a \
                 first one, and keep references in files",
                self.at.display()
            ))
        };
        let mut name = "HEAD".to_owned();
        for _ in 0..STEPS {
            let text = match self.read(&name)? {
                Some(text) => text,
                None => self.packed(&name)?.ok_or_else(none)?,
            };
            match text.strip_prefix("ref:").map(str::trim) {
                Some(next) if next.starts_with("refs/") => name = next.to_owned(),
                None if is_object(text.trim_end()) => return Ok(text.trim_end().to_owned()),
                _ => return Err(none()),
            }
        }
        Err(none())
    }

    fn read(&self, name: &str) -> Result<Option<String>> {
        let Some(file) = self.file(name)? else { return Ok(None) };
        let mut text = Vec::new();
        file.take(REFERENCE).read_to_end(&mut text).map_err(|e| failed("read", &self.at.join(name), e))?;
        Ok(String::from_utf8(text).ok())
    }

    fn packed(&self, name: &str) -> Result<Option<String>> {
        let Some(file) = self.file("packed-refs")? else { return Ok(None) };
        for line in BufReader::new(file.take(PACKED)).split(b'\n') {
            let line = line.map_err(|e| failed("read", &self.at.join("packed-refs"), e))?;
            if let Some((object, rest)) = std::str::from_utf8(&line).ok().and_then(|line| line.split_once(' '))
                && rest == name
            {
                return Ok(Some(object.to_owned()));
            }
        }
        Ok(None)
    }

    /// A plain file; none where there is nothing of the name, or something else.
    fn file(&self, name: &str) -> Result<Option<fs::File>> {
        let path = Path::new(name);
        if !stat(&self.git, path, FollowSymlinks::Yes).is_ok_and(|it| it.is_file()) {
            return Ok(None);
        }
        open(&self.git, path, OpenOptions::new().read(true))
            .map(Some)
            .map_err(|e| failed("read", &self.at.join(name), e))
    }

    /// Gives a new folder what this repository has of objects: the same files under a second name, or copies of them on
    /// another file system.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a repository that has objects elsewhere, or too many files of them.
    pub(super) fn give_objects(&self, to: &Path) -> Result<()> {
        let objects = Path::new("objects");
        if stat(&self.git, &objects.join("info/alternates"), FollowSymlinks::No).is_ok() {
            return Err(Error::Invalid(format!(
                "{} borrows objects from another repository; make it whole: git repack -a -d, and remove \
                 objects/info/alternates",
                self.at.display()
            )));
        }
        let mut files = 0;
        for folder in self.names(objects)? {
            let is_pack = folder == "pack";
            if !is_pack && !is_hex(&folder, 2) {
                continue;
            }
            let from = objects.join(&folder);
            let new = to.join(&folder);
            fs::create_dir(&new).map_err(|e| failed("make the folder", &new, e))?;
            let new_dir = open_ambient_dir(&new, ambient_authority()).map_err(|e| failed("open", &new, e))?;
            let from_dir = open_dir(&self.git, &from).map_err(|e| failed("open", &self.at.join(&from), e))?;
            for file in self.names(&from)? {
                let is_object = match is_pack {
                    true => [".pack", ".idx"].iter().any(|end| file.as_encoded_bytes().ends_with(end.as_bytes())),
                    false => is_hex(&file, 38) || is_hex(&file, 62),
                };
                if !is_object {
                    continue;
                }
                files += 1;
                if files > MOST {
                    return Err(Error::Invalid(format!(
                        "{} keeps objects in more than {MOST} files; pack them: git gc",
                        self.at.display()
                    )));
                }
                give(&from_dir, &new_dir, Path::new(&file))
                    .map_err(|e| failed("take", &self.at.join(&from).join(file), e))?;
            }
        }
        Ok(())
    }

    fn names(&self, folder: &Path) -> Result<Vec<std::ffi::OsString>> {
        let entries = read_dir(&self.git, folder).and_then(|entries| {
            entries.take(MOST + 1).map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<Vec<_>>>()
        });
        entries.map_err(|e| failed("read the folder", &self.at.join(folder), e))
    }
}

/// One plain file; nothing for one that was packed away meanwhile.
fn give(from: &fs::File, to: &fs::File, name: &Path) -> io::Result<()> {
    match stat(from, name, FollowSymlinks::No) {
        Ok(it) if it.is_file() => {}
        Ok(_) => return Err(io::Error::other("it is no plain file")),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    }
    if hard_link(from, name, to, name).is_err() {
        return copy(from, name, to, name).map(drop);
    }
    // What has been put in its place since is a link here as well, and git would follow it.
    match stat(to, name, FollowSymlinks::No)?.is_file() {
        true => Ok(()),
        false => Err(io::Error::other("it is no plain file")),
    }
}

fn is_hex(name: &OsStr, digits: usize) -> bool {
    let bytes = name.as_encoded_bytes();
    bytes.len() == digits && bytes.iter().all(u8::is_ascii_hexdigit)
}

/// Whether it is the name of an object, by either hash.
fn is_object(text: &str) -> bool {
    is_hex(OsStr::new(text), 40) || is_hex(OsStr::new(text), 64)
}

fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    Error::Unavailable(format!("cannot {what} {}: {error}", path.display()))
}
