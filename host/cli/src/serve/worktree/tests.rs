use std::{os::unix::fs::symlink, sync::Arc};

use animus_core::{
    id::TenantId,
    journal::{EffectKind, Intent},
    store::Store as _,
    work::{Claim, Host, NewWork},
};
use animus_store::{MasterKey, Sqlite};

use super::*;

/// A repository with `deep/a.txt` in its only commit, a home, and a store.
struct Setting {
    folder: tempfile::TempDir,
    tenant: Arc<dyn Tenant>,
}

impl Setting {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = MasterKey::load_or_create(&folder.path().join("key")).unwrap();
        let store = Sqlite::open(&folder.path().join("store.db"), key).await.unwrap();
        let tenant = store.tenant(&TenantId::local()).await.unwrap();
        let setting = Self { folder, tenant };
        repository(&setting.path("repository"), "a");
        setting
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    /// A focus that a host of the machine has just begun.
    async fn focus(&self) -> FocusId {
        let new = NewWork { faculty: "a".into(), source: "test".into(), params: json!({}), ..NewWork::default() };
        self.tenant.work_submit(new).await.unwrap();
        let claim = Claim { faculties: vec!["a".into()], ..Claim::held(Host::this("here"), 60_000, json!({})) };
        self.tenant.work_claim(&claim).await.unwrap().unwrap().lease.focus
    }

    async fn make(&self, workspace: &Path, focus: FocusId) -> Result<Worktree> {
        Worktree::make(&*self.tenant, workspace, &self.path("worktrees"), focus).await
    }

    async fn refusal(&self, workspace: &Path) -> String {
        let refused = self.make(workspace, self.focus().await).await.unwrap_err();
        assert_eq!(refused.class(), "invalid", "{refused}");
        refused.to_string()
    }
}

/// The operator's own git.
fn git(folder: &Path, args: &[&str]) -> String {
    let mut command = std::process::Command::new("git");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GIT_")) {
        command.env_remove(name);
    }
    let identity = ["-c", "user.email=a@example.org", "-c", "user.name=a", "-c", "core.hooksPath=/dev/null"];
    let output = command.args(identity).args(args).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn repository(at: &Path, text: &str) {
    fs::create_dir_all(at.join("deep")).unwrap();
    fs::write(at.join("deep/a.txt"), text).unwrap();
    git(at, &["init", "--quiet"]);
    commit(at);
}

fn commit(at: &Path) {
    git(at, &["add", "."]);
    git(at, &["commit", "--quiet", "-m", "a commit"]);
}

fn read(folder: &Path) -> String {
    fs::read_to_string(folder.join("deep/a.txt")).unwrap()
}

#[tokio::test]
async fn one_that_was_left_unchanged_is_removed_and_one_with_changes_is_kept_and_named() {
    let setting = Setting::new().await;
    let workspace = setting.path("repository/deep");
    let first = setting.make(&workspace, setting.focus().await).await.unwrap();
    assert!(first.folder().ends_with("deep") && first.folder().join("a.txt").is_file());
    assert_eq!(first.end().await.unwrap(), None);
    assert_eq!(fs::read_dir(setting.path("worktrees")).unwrap().count(), 0, "nothing of it is left");

    let focus = setting.focus().await;
    let second = setting.make(&workspace, focus).await.unwrap();
    fs::write(second.folder().join("b.txt"), "b").unwrap();
    let again = setting.make(&workspace, focus).await.unwrap();
    assert!(again.folder().join("b.txt").is_file(), "a host that takes it over goes on there");
    let kept = second.end().await.unwrap().unwrap();
    assert_eq!((kept["path"].as_str(), kept["changed"].as_u64()), (second.git.tree.to_str(), Some(1)));
    assert_eq!(kept["commit"], git(&workspace, &["rev-parse", "HEAD"]));
    assert!(!workspace.join("b.txt").exists(), "the workspace itself stays as it was");
    // Its host may end before the store knows of the end.
    let after = setting.make(&workspace, focus).await.unwrap();
    assert!(after.folder().join("b.txt").is_file());
    // A person can go on with it.
    assert_eq!(git(second.folder(), &["status", "--porcelain", "."]), "?? deep/b.txt");
    commit(second.folder());
    assert!(second.end().await.unwrap().is_some(), "a commit is a change");
}

#[tokio::test]
async fn references_and_objects_are_found_however_they_are_packed() {
    for format in ["sha1", "sha256"] {
        let setting = Setting::new().await;
        let workspace = setting.path("other");
        fs::create_dir(&workspace).unwrap();
        git(&workspace, &["init", "--quiet", "--object-format", format]);
        repository(&workspace, "a");
        git(&workspace, &["checkout", "--quiet", "-b", "feature/one"]);
        git(&workspace, &["gc", "--quiet"]);
        assert!(!workspace.join(".git/refs/heads/feature/one").exists());
        let tree = setting.make(&workspace, setting.focus().await).await.unwrap();
        assert_eq!(read(tree.folder()), "a");
        assert_eq!(tree.commit, git(&workspace, &["rev-parse", "HEAD"]));
        assert_eq!(tree.end().await.unwrap(), None);
    }
}

#[tokio::test]
async fn what_a_focus_or_a_project_writes_makes_git_run_nothing() {
    let setting = Setting::new().await;
    let workspace = setting.path("repository");
    let bait = setting.path("bait");
    let evil = format!("touch {}", bait.display());
    // An earlier focus, which worked in the repository itself, or whoever packed it.
    let driver = format!("[filter \"evil\"]\n\tclean = {evil}\n\tsmudge = {evil}\n[core]\n\tfsmonitor = {evil}\n");
    let include = "[includeIf \"gitdir:**/worktrees/**\"]\n\tpath = evil.cfg\n[include]\n\tpath = evil.cfg\n";
    fs::write(workspace.join(".git/evil.cfg"), &driver).unwrap();
    let config = fs::read_to_string(workspace.join(".git/config")).unwrap();
    fs::write(workspace.join(".gitattributes"), "* filter=evil\n").unwrap();
    git(&workspace, &["add", "."]);
    git(&workspace, &["commit", "--quiet", "-m", "attributes"]);
    fs::write(workspace.join(".git/config"), format!("{config}{include}{driver}")).unwrap();
    fs::write(workspace.join(".git/info/attributes"), "* filter=evil\n").unwrap();
    let hook = workspace.join(".git/hooks/post-checkout");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, format!("#!/bin/sh\n{evil}\n")).unwrap();
    fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let tree = setting.make(&workspace, setting.focus().await).await.unwrap();
    assert!(!bait.exists(), "something ran that the repository names");
    // And this one.
    let own = tree.git.tree.join("own.git");
    fs::create_dir_all(own.join("objects")).unwrap();
    fs::create_dir_all(own.join("refs")).unwrap();
    fs::write(own.join("HEAD"), "ref: refs/heads/x\n").unwrap();
    fs::write(own.join("config"), format!("{include}{driver}")).unwrap();
    fs::write(own.join("evil.cfg"), driver).unwrap();
    fs::write(tree.git.tree.join(".git"), format!("gitdir: {}\n", own.display())).unwrap();
    fs::write(tree.git.tree.join("deep/a.txt"), "changed").unwrap();
    assert!(tree.end().await.unwrap().is_some());
    // Nor where a person looks at what was left.
    git(&tree.git.tree, &["status"]);
    assert!(!bait.exists(), "something ran that the focus had written");
}

#[tokio::test]
async fn no_link_and_no_pointer_leads_to_another_repository() {
    let setting = Setting::new().await;
    let (workspace, other) = (setting.path("repository"), setting.path("other"));
    repository(&other, "secret");
    let theirs = other.join(".git");
    let commit = git(&other, &["rev-parse", "HEAD"]);

    let pointing = setting.path("pointing");
    fs::create_dir(&pointing).unwrap();
    fs::write(pointing.join(".git"), format!("gitdir: {}\n", theirs.display())).unwrap();
    assert!(setting.refusal(&pointing).await.contains("no folder"));
    fs::remove_file(pointing.join(".git")).unwrap();
    symlink(&theirs, pointing.join(".git")).unwrap();
    assert!(setting.refusal(&pointing).await.contains("no folder"));

    // References are files.
    let own = workspace.join(".git");
    fs::write(own.join("HEAD"), "ref: refs/../../../other/.git/HEAD\n").unwrap();
    assert!(setting.refusal(&workspace).await.contains("cannot be found"));
    // Whoever knows the name of a commit still has none of its objects.
    fs::write(own.join("HEAD"), &commit).unwrap();
    let borrowed = own.join("objects/info/alternates");
    fs::write(&borrowed, format!("{}\n", theirs.join("objects").display())).unwrap();
    assert!(setting.refusal(&workspace).await.contains("borrows objects"));
    fs::remove_file(&borrowed).unwrap();
    let (folder, file) = commit.split_at(2);
    let object = Path::new("objects").join(folder).join(file);
    let there = own.join(&object);
    fs::create_dir_all(there.parent().unwrap()).unwrap();
    symlink(theirs.join(&object), &there).unwrap();
    assert!(setting.make(&workspace, setting.focus().await).await.is_err());
    fs::rename(own.join("objects"), own.join("kept")).unwrap();
    symlink(theirs.join("objects"), own.join("objects")).unwrap();
    assert!(setting.make(&workspace, setting.focus().await).await.is_err());
}

#[tokio::test]
async fn where_the_focus_works_is_no_link_in_the_commit() {
    let setting = Setting::new().await;
    let workspace = setting.path("repository");
    fs::rename(workspace.join("deep"), setting.path("away")).unwrap();
    symlink("/", workspace.join("deep")).unwrap();
    commit(&workspace);
    fs::remove_file(workspace.join("deep")).unwrap();
    fs::create_dir(workspace.join("deep")).unwrap();
    assert!(setting.refusal(&workspace.join("deep")).await.contains("no folder in the commit"));
}

#[tokio::test]
async fn a_childs_worktree_is_made_of_the_repository_that_its_parents_was() {
    let setting = Setting::new().await;
    let (workspace, other) = (setting.path("repository/deep"), setting.path("other"));
    repository(&other, "secret");
    let parent = setting.make(&workspace, setting.focus().await).await.unwrap();
    fs::write(parent.folder().join("a.txt"), "changed").unwrap();
    let pointer = parent.git.tree.join(".git");
    fs::remove_file(&pointer).unwrap();
    fs::write(&pointer, format!("gitdir: {}\n", other.join(".git").display())).unwrap();
    let child = setting.make(parent.folder(), setting.focus().await).await.unwrap();
    assert!(child.folder().ends_with("deep") && child.folder() != parent.folder());
    assert_eq!(fs::read_to_string(child.folder().join("a.txt")).unwrap(), "a");
    assert_eq!(child.commit, parent.commit);
    assert!(setting.refusal(&setting.path("worktrees/x")).await.contains("no worktree of a focus"));
}

#[tokio::test]
async fn what_was_left_half_made_is_made_again() {
    let setting = Setting::new().await;
    let workspace = setting.path("repository");
    let focus = setting.focus().await;
    let made = setting.make(&workspace, focus).await.unwrap();
    fs::remove_file(&made.mark).unwrap();
    fs::remove_file(made.folder().join("deep/a.txt")).unwrap();
    fs::write(made.git.data.join("index.lock"), "").unwrap();
    let again = setting.make(&workspace, focus).await.unwrap();
    assert_eq!(read(again.folder()), "a");
    assert_eq!(again.end().await.unwrap(), None);
}

#[tokio::test]
async fn a_focus_that_worked_in_a_worktree_goes_on_only_where_it_is() {
    let setting = Setting::new().await;
    let workspace = setting.path("repository");
    let new = NewWork { faculty: "a".into(), source: "test".into(), params: json!({}), ..NewWork::default() };
    setting.tenant.work_submit(new).await.unwrap();
    let claim = |machine: &str| Claim {
        faculties: vec!["a".into()],
        ..Claim::held(Host { machine: machine.into(), process: 1 }, 60_000, json!({}))
    };
    let take_over = async |machine: &str| setting.tenant.work_claim(&claim(machine)).await.unwrap().unwrap().lease;
    let first = take_over("one").await;
    setting.tenant.focus_release(first).await.unwrap();
    let second = take_over("two").await;
    let unbegun = setting.make(&workspace, second.focus).await.unwrap();
    let intent = Intent {
        kind: EffectKind::Tool,
        caller: "a".into(),
        subject: "fs.write_file".into(),
        request: json!({}),
        parent: None,
    };
    setting.tenant.journal_begin(second, intent).await.unwrap();
    assert!(setting.make(&workspace, second.focus).await.is_ok(), "it is here");
    setting.tenant.focus_release(second).await.unwrap();
    let third = take_over("three").await;
    for left in [&unbegun.mark, &unbegun.git.tree, &unbegun.git.data] {
        remove(left).unwrap();
    }
    let refused = setting.make(&workspace, third.focus).await.unwrap_err();
    assert_eq!(refused.class(), "unavailable");
    assert!(refused.to_string().contains("not on this machine"), "{refused}");
    assert!(!unbegun.git.tree.exists());
}

#[tokio::test]
async fn a_workspace_without_a_repository_is_refused() {
    let setting = Setting::new().await;
    let (bare, empty) = (setting.path("bare"), setting.path("empty"));
    fs::create_dir_all(&bare).unwrap();
    assert!(setting.refusal(&bare).await.contains("in no git repository"));
    fs::create_dir_all(&empty).unwrap();
    git(&empty, &["init", "--quiet"]);
    assert!(setting.refusal(&empty).await.contains("make a first one"));
}
