//! A git worktree for one focus, made of the workspace's current commit by the operator's own git.

use std::{
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use animus_agent::Place;
use animus_core::{Error, Result, id::FocusId};
use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::process::Command;

/// How long git may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// The worktree of one focus. It stays until [`Place::end`]: a host that takes the focus over on this machine finds it.
#[derive(Debug)]
pub(super) struct Worktree {
    /// The repository's own working folder.
    repository: PathBuf,
    /// The root of the worktree.
    root: PathBuf,
    /// The same folder in it as the workspace is in the repository.
    folder: PathBuf,
    /// The commit that it began with.
    commit: String,
}

impl Worktree {
    /// Makes it below `parent`, or finds it there.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a workspace that is in no repository or one without a commit; [`Error::Unavailable`] where
    /// git cannot be run, or fails.
    pub(super) async fn make(workspace: &Path, parent: &Path, focus: FocusId) -> Result<Self> {
        let no_repository = |e: Error| {
            Error::Invalid(format!(
                "the faculty has isolation = \"worktree\", and the workspace {} is in no git repository with a commit ({e})",
                workspace.display()
            ))
        };
        let repository = PathBuf::from(git(workspace, &["rev-parse", "--show-toplevel"]).await.map_err(no_repository)?);
        let below = workspace.strip_prefix(&repository).unwrap_or(Path::new("")).to_owned();
        let root = parent.join(focus.to_string());
        if !root.is_dir() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(parent)
                .map_err(|e| Error::Internal(format!("cannot make the folder {}: {e}", parent.display())))?;
            git(&repository, &["rev-parse", "--verify", "HEAD^{commit}"]).await.map_err(no_repository)?;
            let at = root.to_string_lossy();
            git(&repository, &["worktree", "add", "--quiet", "--detach", "--", &at, "HEAD"]).await?;
        }
        let commit = git(&root, &["rev-parse", "--verify", "HEAD^{commit}"]).await?;
        let folder = root.join(below);
        fs::create_dir_all(&folder)
            .map_err(|e| Error::Internal(format!("cannot make the folder {}: {e}", folder.display())))?;
        Ok(Self { repository, root, folder, commit })
    }

    /// Where the focus works.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

#[async_trait]
impl Place for Worktree {
    async fn end(&self) -> Result<Option<Value>> {
        let changes = git(&self.root, &["status", "--porcelain", "--ignored=no", "--untracked-files=all"]).await?;
        let commit = git(&self.root, &["rev-parse", "--verify", "HEAD^{commit}"]).await?;
        if changes.is_empty() && commit == self.commit {
            let at = self.root.to_string_lossy();
            // What git ignores there was built, and is of no use without the rest.
            git(&self.repository, &["worktree", "remove", "--force", "--", &at]).await?;
            return Ok(None);
        }
        Ok(Some(json!({
            "path": self.root,
            "began_at": self.commit,
            "commit": commit,
            "changed": changes.lines().count(),
        })))
    }
}

/// Runs git in a folder, with nothing of this process's environment but where programs and the home are: no repository is
/// named by a variable, and nobody is asked anything. Returns what it printed.
async fn git(folder: &Path, args: &[&str]) -> Result<String> {
    let what = format!("git {} in {}", args.join(" "), folder.display());
    let mut command = Command::new("git");
    command
        .args(["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"])
        .args(args)
        .current_dir(folder)
        .env_clear()
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    for name in ["PATH", "HOME"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    let output = match tokio::time::timeout(PATIENCE, command.output()).await {
        Ok(output) => output.map_err(|e| Error::Unavailable(format!("cannot run {what}: {e}; is git installed?")))?,
        Err(_) => return Err(Error::Timeout(format!("{what} took longer than {} s", PATIENCE.as_secs()))),
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said: String = said.trim().chars().take(500).collect();
        return Err(Error::Unavailable(format!("{what} failed: {said}")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn repository() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        git(folder.path(), &["init", "--quiet"]).await.unwrap();
        for (key, value) in [("user.email", "a@example.org"), ("user.name", "a")] {
            git(folder.path(), &["config", key, value]).await.unwrap();
        }
        fs::create_dir(folder.path().join("deep")).unwrap();
        fs::write(folder.path().join("deep/a.txt"), "a").unwrap();
        git(folder.path(), &["add", "."]).await.unwrap();
        git(folder.path(), &["commit", "--quiet", "-m", "first"]).await.unwrap();
        folder
    }

    #[tokio::test]
    async fn one_that_was_left_unchanged_is_removed_and_one_with_changes_is_kept_and_named() {
        let (repository, places) = (repository().await, tempfile::tempdir().unwrap());
        let workspace = repository.path().canonicalize().unwrap().join("deep");
        let first = Worktree::make(&workspace, places.path(), FocusId::new()).await.unwrap();
        assert!(first.folder().ends_with("deep") && first.folder().join("a.txt").is_file());
        assert_eq!(first.end().await.unwrap(), None);
        assert!(!first.root.exists());

        let focus = FocusId::new();
        let second = Worktree::make(&workspace, places.path(), focus).await.unwrap();
        fs::write(second.folder().join("b.txt"), "b").unwrap();
        let again = Worktree::make(&workspace, places.path(), focus).await.unwrap();
        assert!(again.folder().join("b.txt").is_file(), "a host that takes it over goes on there");
        let kept = second.end().await.unwrap().unwrap();
        assert_eq!((kept["path"].as_str(), kept["changed"].as_u64()), (second.root.to_str(), Some(1)));
        assert!(!workspace.join("b.txt").exists(), "the workspace itself stays as it was");
    }

    #[tokio::test]
    async fn a_workspace_without_a_repository_is_refused() {
        let (folder, places) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let refused = Worktree::make(folder.path(), places.path(), FocusId::new()).await.unwrap_err();
        assert_eq!(refused.class(), "invalid");
        assert!(refused.to_string().contains("in no git repository"), "{refused}");
    }
}
