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
    git: Git,
}

impl Worktree {
    /// Makes it below `parent`, or finds it there.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a workspace that is in no repository or one without a commit; [`Error::Unavailable`] where
    /// git cannot be run, or fails.
    pub(super) async fn make(workspace: &Path, parent: &Path, focus: FocusId) -> Result<Self> {
        let no_repository = |e: Error| match e {
            Error::Unavailable(why) if why.contains("failed") => Error::Invalid(format!(
                "the faculty has isolation = \"worktree\", and the workspace {} is in no git repository with a commit ({why})",
                workspace.display()
            )),
            other => other,
        };
        let plain = Git::default();
        let top = plain.run(workspace, &["rev-parse", "--show-toplevel"]).await.map_err(no_repository)?;
        let repository = PathBuf::from(top);
        let common = plain.run(&repository, &["rev-parse", "--path-format=absolute", "--git-common-dir"]).await?;
        let below = workspace.strip_prefix(&repository).unwrap_or(Path::new("")).to_owned();
        let name = focus.to_string();
        let root = parent.join(&name);
        let git = Git::without_filters_of(&repository).await?;
        if !root.is_dir() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(parent)
                .map_err(|e| Error::Internal(format!("cannot make the folder {}: {e}", parent.display())))?;
            git.run(&repository, &["rev-parse", "--verify", "HEAD^{commit}"]).await.map_err(no_repository)?;
            let at = root.to_string_lossy();
            git.run(&repository, &["worktree", "add", "--quiet", "--detach", "--", &at, "HEAD"]).await?;
        }
        // From here on what the worktree itself says of its repository is not believed: the focus may write there.
        let git = Git { place: Some((Path::new(&common).join("worktrees").join(&name), root.clone())), ..git };
        let begun = parent.join(format!("{name}.commit"));
        let commit = match fs::read_to_string(&begun) {
            Ok(commit) => commit,
            Err(_) => {
                let commit = git.run(&root, &["rev-parse", "--verify", "HEAD^{commit}"]).await?;
                fs::write(&begun, &commit)
                    .map_err(|e| Error::Internal(format!("cannot write {}: {e}", begun.display())))?;
                commit
            }
        };
        let folder = root.join(below);
        fs::create_dir_all(&folder)
            .map_err(|e| Error::Internal(format!("cannot make the folder {}: {e}", folder.display())))?;
        Ok(Self { repository, root, folder, commit, git })
    }

    /// Where the focus works.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

#[async_trait]
impl Place for Worktree {
    async fn end(&self) -> Result<Option<Value>> {
        let git = &self.git;
        let status = ["status", "--porcelain", "--untracked-files=all", "--ignore-submodules=all"];
        let changes = git.run(&self.root, &status).await?;
        let commit = git.run(&self.root, &["rev-parse", "--verify", "HEAD^{commit}"]).await?;
        let _ = fs::remove_file(self.root.with_extension("commit"));
        if changes.is_empty() && commit == self.commit {
            // What git ignores there was built, and is of no use without the rest. Git is asked to forget the worktree
            // and not to remove it: the folder is the focus's, and what it points to may be anything.
            fs::remove_dir_all(&self.root)
                .map_err(|e| Error::Internal(format!("cannot remove {}: {e}", self.root.display())))?;
            let git = Git { place: None, ..git.clone() };
            git.run(&self.repository, &["worktree", "prune"]).await?;
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

/// The operator's git, with nothing of this process's environment but where programs and the home are: no repository is
/// named by a variable, and nobody is asked anything.
///
/// Agents write files of repositories, and may have written to a repository's own configuration. What that names as
/// programs to run (hooks, monitors, filters) does not run here; what the operator has configured for all repositories does.
#[derive(Clone, Debug, Default)]
struct Git {
    /// The repository's data and the working folder, where they are known and not to be looked for.
    place: Option<(PathBuf, PathBuf)>,
    /// Settings over all others.
    settings: Vec<String>,
}

impl Git {
    /// With the filters that the repository itself configures switched off.
    async fn without_filters_of(repository: &Path) -> Result<Self> {
        let mut git = Self::default();
        let names = ["config", "--null", "--show-scope", "--name-only", "--get-regexp", r"^filter\."];
        // It fails where there is none.
        let Ok(found) = git.run(repository, &names).await else { return Ok(git) };
        let mut words = found.split('\0');
        while let (Some(scope), Some(key)) = (words.next(), words.next()) {
            if matches!(scope, "system" | "global") {
                continue;
            }
            if key.contains('=') {
                return Err(Error::Invalid(format!(
                    "{} configures a filter whose name git cannot be told to leave out: '{}'",
                    repository.display(),
                    key.escape_debug()
                )));
            }
            git.settings.push(format!("{key}="));
        }
        Ok(git)
    }

    /// Runs a command in a folder, and returns what it printed.
    async fn run(&self, folder: &Path, args: &[&str]) -> Result<String> {
        let what = format!("git {} in {}", args.join(" "), folder.display());
        let mut command = Command::new("git");
        command.args(["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"]);
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        if let Some((data, tree)) = &self.place {
            command.arg("--git-dir").arg(data).arg("--work-tree").arg(tree);
        }
        command
            .args(args)
            .current_dir(folder)
            .env_clear()
            .env("GIT_TERMINAL_PROMPT", "0")
            // Nor is anything fetched by means that a repository names.
            .env("GIT_ALLOW_PROTOCOL", "none")
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        for name in ["PATH", "HOME"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
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
mod tests {
    use super::*;

    async fn repository() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        Git::default().run(folder.path(), &["init", "--quiet"]).await.unwrap();
        for (key, value) in [("user.email", "a@example.org"), ("user.name", "a")] {
            Git::default().run(folder.path(), &["config", key, value]).await.unwrap();
        }
        fs::create_dir(folder.path().join("deep")).unwrap();
        fs::write(folder.path().join("deep/a.txt"), "a").unwrap();
        Git::default().run(folder.path(), &["add", "."]).await.unwrap();
        Git::default().run(folder.path(), &["commit", "--quiet", "-m", "first"]).await.unwrap();
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
    async fn what_a_focus_writes_into_its_worktree_makes_git_run_nothing() {
        let (repository, places) = (repository().await, tempfile::tempdir().unwrap());
        let workspace = repository.path().canonicalize().unwrap();
        let bait = places.path().join("bait");
        let evil = format!("touch {}", bait.display());
        // An earlier focus, which worked in the repository itself.
        Git::default().run(&workspace, &["config", "filter.evil.clean", &evil]).await.unwrap();
        Git::default().run(&workspace, &["config", "filter.evil.smudge", &evil]).await.unwrap();
        Git::default().run(&workspace, &["config", "core.fsmonitor", &evil]).await.unwrap();
        fs::write(workspace.join(".git/info/attributes"), "* filter=evil\n").unwrap();
        let tree = Worktree::make(&workspace, &places.path().join("trees"), FocusId::new()).await.unwrap();
        // And this one.
        let own = tree.root.join("own.git");
        fs::create_dir_all(own.join("objects")).unwrap();
        fs::create_dir_all(own.join("refs")).unwrap();
        fs::write(own.join("HEAD"), "ref: refs/heads/x\n").unwrap();
        fs::write(own.join("config"), format!("[core]\nfsmonitor = {evil}\n[filter \"evil\"]\nclean = {evil}\n"))
            .unwrap();
        fs::write(tree.root.join(".git"), format!("gitdir: {}\n", own.display())).unwrap();
        fs::write(tree.root.join("deep/a.txt"), "changed").unwrap();
        assert!(tree.end().await.unwrap().is_some());
        assert!(!bait.exists(), "something ran that the focus had written");
    }

    #[tokio::test]
    async fn a_workspace_without_a_repository_is_refused() {
        let (folder, places) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let refused = Worktree::make(folder.path(), places.path(), FocusId::new()).await.unwrap_err();
        assert_eq!(refused.class(), "invalid");
        assert!(refused.to_string().contains("in no git repository"), "{refused}");
    }
}
