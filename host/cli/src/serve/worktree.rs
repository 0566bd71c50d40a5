//! A folder of its own for one focus, with a commit of the workspace's repository checked out.
//!
//! Agents write into repositories, and strangers send them: what stands in a repository's configuration, its attributes or
//! its `.git` may be theirs. Git obeys all of it (it runs filters, monitors and hooks that are named there, includes other
//! files, and goes to another repository where `.git` says so), and it does so outside of the sandbox. So it never sees the
//! repository. The host takes the commit's name and the files of objects from there ([`repository`]), into a git folder of
//! its own, beside the worktree and in nobody's reach, with a configuration that the host wrote; and that is the only one
//! that git reads, neither the system's nor the operator's being asked. Filters that the operator has set up for all
//! repositories (Git LFS) therefore do not run either.
//!
//! Of the commit the host believes nothing: its paths are git's to check, and the part that the focus works in must be a
//! folder and no link. What was written in the worktree is looked at by the same git folder, whatever the worktree's own
//! `.git` says by then. A child that is to have a worktree while its parent works in one gets the commit that its parent
//! began with, from the parent's git folder.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::{ffi::OsStrExt as _, fs::DirBuilderExt as _},
    path::{Component, Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use animus_agent::Place;
use animus_core::{Error, Result, id::FocusId, store::Tenant};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{fault::Fault, sdk};

mod repository;

use repository::Repository;

/// How long git may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// The worktree of one focus. It stays until [`Place::end`]: a host that takes the focus over on this machine finds it.
#[derive(Debug)]
pub(super) struct Worktree {
    /// The same folder in it as the workspace is in the repository.
    folder: PathBuf,
    /// The commit that it began with.
    commit: String,
    /// The file that says that it is whole.
    mark: PathBuf,
    git: Git,
}

/// What the mark of a whole worktree says.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Made {
    /// The commit that it began with.
    commit: String,
    /// Where the focus works, below its root.
    below: PathBuf,
}

impl Worktree {
    /// Makes it below `parent`, or finds it there.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a workspace that is in no repository or one without a commit; [`Error::Unavailable`] where
    /// git cannot be run, or fails, and for a focus that has worked on another machine.
    pub(super) async fn make(tenant: &dyn Tenant, workspace: &Path, parent: &Path, focus: FocusId) -> Result<Self> {
        let all = folder_for_all(parent)?;
        let git = Git { data: all.join(format!("{focus}.git")), tree: all.join(focus.to_string()) };
        let mark = all.join(format!("{focus}.made"));
        let whole = match fs::read(&mark) {
            Ok(text) => serde_json::from_slice(&text).ok(),
            Err(_) => None,
        };
        let Made { commit, below } = match whole {
            Some(whole) => whole,
            None => {
                expect_unbegun(tenant, focus).await?;
                let made = git.make(workspace.to_owned(), all, &mark).await;
                if made.is_err() {
                    // The next attempt is another focus.
                    let _ = remove(&git.tree).and_then(|()| remove(&git.data));
                }
                made?
            }
        };
        let folder = folder_in(&git.tree, &below)?;
        Ok(Self { folder, commit, mark, git })
    }

    /// Where the focus works.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// A focus that has done something did it in a worktree that is not here: with a fresh one its journal would speak of files
/// that are not there.
async fn expect_unbegun(tenant: &dyn Tenant, focus: FocusId) -> Result<()> {
    let record = tenant.focus(focus).await?;
    if record.token > 1 && !tenant.journal_read(focus).await?.is_empty() {
        return Err(Error::Unavailable(format!(
            "the focus {focus} has begun in a worktree that is not on this machine; only a server that has it can go on \
             with it"
        )));
    }
    Ok(())
}

/// The folder of all worktrees, by its one real name: that is how the worktree of a parent is known.
fn folder_for_all(parent: &Path) -> Result<PathBuf> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(parent);
    made.and_then(|()| parent.canonicalize()).map_err(|e| failed("make the folder", parent, &e))
}

/// A folder below the root, where no step is a link: the commit may have one there, which leads anywhere.
fn folder_in(root: &Path, below: &Path) -> Result<PathBuf> {
    let mut folder = root.to_owned();
    for step in below.components() {
        let Component::Normal(name) = step else {
            return Err(Error::Internal(format!("{} is no place in a worktree", below.display())));
        };
        folder.push(name);
        match fs::symlink_metadata(&folder) {
            Ok(it) if it.is_dir() => {}
            Ok(_) => {
                return Err(Error::Invalid(format!(
                    "the workspace is {} in its repository, which is no folder in the commit that is checked out",
                    below.display()
                )));
            }
            Err(_) => fs::create_dir(&folder).map_err(|e| failed("make the folder", &folder, &e))?,
        }
    }
    Ok(folder)
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Error {
    Error::Internal(format!("cannot {what} {}: {error}", path.display()))
}

/// Removes a folder, or what is in its place, if there is anything.
fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(it) if it.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    };
    removed.map_err(|e| failed("remove", path, &e))
}

#[async_trait]
impl Place for Worktree {
    async fn end(&self) -> Result<Option<Value>> {
        let git = &self.git;
        // Whoever looks at it later with a git of their own is led to the host's folder, and not to what the focus put there.
        git.point()?;
        let status = ["status", "--porcelain", "--untracked-files=all", "--ignore-submodules=all"];
        let changes = git.run(&status).await?;
        let commit = git.run(&["rev-parse", "--verify", "HEAD^{commit}"]).await?;
        if changes.is_empty() && commit == self.commit {
            // What git ignores there was built, and is of no use without the rest. The mark goes first: what is left half
            // removed is not taken for whole.
            for left in [&self.mark, &git.tree, &git.data] {
                remove(left)?;
            }
            return Ok(None);
        }
        Ok(Some(json!({
            "path": git.tree,
            "began_at": self.commit,
            "commit": commit,
            "changed": changes.lines().count(),
        })))
    }
}

/// Git on a folder of the host's own, with nothing of this process's environment but where programs are: it reads no
/// configuration but that folder's, and nobody is asked anything.
#[derive(Clone, Debug)]
struct Git {
    /// The git folder.
    data: PathBuf,
    /// The root of the worktree.
    tree: PathBuf,
}

impl Git {
    /// Makes all of it for a workspace. `all` is the folder of all worktrees.
    async fn make(&self, workspace: PathBuf, all: PathBuf, mark: &Path) -> Result<Made> {
        let own = self.clone();
        let begun = tokio::task::spawn_blocking(move || own.begin(&workspace, &all)).await;
        let made = begun.map_err(|e| Error::Internal(format!("the making of a worktree ended: {e}")))??;
        self.run(&["reset", "--hard", "--quiet", &made.commit]).await?;
        folder_in(&self.tree, &made.below)?;
        self.point()?;
        let text =
            serde_json::to_vec(&made).map_err(|e| Error::Invalid(format!("cannot keep where a worktree is: {e}")))?;
        sdk::write(mark, &text).map_err(Fault::into_error)?;
        Ok(made)
    }

    /// Makes the git folder and the empty root for a workspace, in place of what a host that ended in the middle has left.
    fn begin(&self, workspace: &Path, all: &Path) -> Result<Made> {
        let (from, below) = match workspace.strip_prefix(all) {
            Ok(within) => {
                let mut steps = within.components();
                let parent = steps.next().and_then(|root| root.as_os_str().to_str()?.parse::<FocusId>().ok());
                let parent = parent.ok_or_else(|| {
                    Error::Invalid(format!("the workspace {} is in no worktree of a focus", workspace.display()))
                })?;
                (Repository::own(all.join(format!("{parent}.git")))?, steps.as_path().to_owned())
            }
            Err(_) => {
                let (repository, top) = Repository::around(workspace)?;
                (repository, workspace.strip_prefix(top).unwrap_or(Path::new("")).to_owned())
            }
        };
        let commit = from.commit()?;
        remove(&self.tree)?;
        remove(&self.data)?;
        let objects = self.data.join("objects");
        for folder in [&self.tree, &self.data, &objects, &self.data.join("refs")] {
            let made = fs::DirBuilder::new().mode(0o700).create(folder);
            made.map_err(|e| failed("make the folder", folder, &e))?;
        }
        from.give_objects(&objects)?;
        let config = match commit.len() {
            64 => "[core]\n\trepositoryformatversion = 1\n\tbare = false\n[extensions]\n\tobjectformat = sha256\n",
            _ => "[core]\n\trepositoryformatversion = 0\n\tbare = false\n",
        };
        for (name, text) in [("config", config), ("HEAD", &format!("{commit}\n"))] {
            let file = self.data.join(name);
            fs::write(&file, text).map_err(|e| failed("write", &file, &e))?;
        }
        Ok(Made { commit, below })
    }

    /// Has the root's `.git` name the git folder, for a person who looks at what was left.
    fn point(&self) -> Result<()> {
        let file = self.tree.join(".git");
        remove(&file)?;
        // Not through a link that is there again.
        let made = fs::OpenOptions::new().write(true).create_new(true).open(&file);
        let text = [b"gitdir: ", self.data.as_os_str().as_bytes(), b"\n"].concat();
        made.and_then(|mut file| file.write_all(&text)).map_err(|e| failed("write", &file, &e))
    }

    /// Runs a command, and returns what it printed.
    async fn run(&self, args: &[&str]) -> Result<String> {
        let what = format!("git {} in {}", args.join(" "), self.tree.display());
        let mut command = Command::new("git");
        command
            .args(["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"])
            .args(args)
            .current_dir(&self.tree)
            .env_clear()
            .env("GIT_DIR", &self.data)
            .env("GIT_WORK_TREE", &self.tree)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ALLOW_PROTOCOL", "none")
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        let output = match tokio::time::timeout(PATIENCE, command.output()).await {
            Ok(output) => {
                output.map_err(|e| Error::Unavailable(format!("cannot run {what}: {e}; is git installed?")))?
            }
            Err(_) => return Err(Error::Timeout(format!("{what} took longer than {} s", PATIENCE.as_secs()))),
        };
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let said: String = said.trim().chars().take(500).collect();
            return Err(Error::Unavailable(format!("{what} failed: {said}")));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned())
    }
}

#[cfg(test)]
mod tests;
