//! Which changes of files are told, and which are not.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use animus_core::Error;
use animus_runtime::reload::{Pace, Scope, Watcher};

struct Folder {
    _dir: tempfile::TempDir,
    root: PathBuf,
}

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap().join("watched");
        fs::create_dir(&root).unwrap();
        Self { _dir: dir, root }
    }

    fn write(&self, name: &str) -> PathBuf {
        let path = self.root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "text").unwrap();
        path
    }

    fn watch(&self, scope: Scope) -> Watcher {
        Watcher::start(&self.root, scope, Pace { quiet: Duration::from_millis(10), ..Pace::default() }).unwrap()
    }
}

/// What is told until `last` is, which was changed last.
async fn until(watcher: &mut Watcher, last: &Path) -> BTreeSet<PathBuf> {
    let mut told = BTreeSet::new();
    while !told.contains(last) {
        let next = tokio::time::timeout(Duration::from_secs(60), watcher.next()).await;
        told.extend(next.unwrap_or_else(|_| panic!("{} is not told, only {told:?}", last.display())).unwrap());
    }
    told
}

#[tokio::test]
async fn writes_renames_and_removals_are_told_and_what_passes_is_not() {
    let folder = Folder::new();
    let old = folder.write("src/old.rs");
    let mut watcher = folder.watch(Scope::Source);
    let written = folder.write("src/lib.rs");
    for passing in ["src/.lib.rs.swp", "src/lib.rs~", "src/4913", ".git/index", "target/release/x.rs", "a/target/y.rs"]
    {
        folder.write(passing);
    }
    fs::remove_file(&old).unwrap();
    let renamed = folder.root.join("src/renamed.rs");
    fs::rename(folder.root.join("src/.lib.rs.swp"), &renamed).unwrap();
    fs::read(&written).unwrap();
    let mut told = until(&mut watcher, &renamed).await;
    let last = folder.write("last.rs");
    told.extend(until(&mut watcher, &last).await);
    assert_eq!(told, BTreeSet::from([written, old, renamed, last]));
}

#[tokio::test]
async fn folders_that_come_and_come_again_are_watched_too() {
    let folder = Folder::new();
    let mut watcher = folder.watch(Scope::Source);
    let first = folder.write("new/deep/er/a.rs");
    until(&mut watcher, &first).await;
    fs::rename(folder.root.join("new"), folder.root.join("moved")).unwrap();
    until(&mut watcher, &folder.root.join("moved/deep/er/a.rs")).await;
    let again = folder.write("new/deep/er/a.rs");
    until(&mut watcher, &again).await;
    fs::write(&again, "more text").unwrap();
    assert_eq!(until(&mut watcher, &again).await, BTreeSet::from([again]));
}

#[tokio::test]
async fn the_watched_folder_may_be_replaced() {
    let folder = Folder::new();
    let mut watcher = folder.watch(Scope::Drop);
    fs::remove_dir_all(&folder.root).unwrap();
    let file = folder.write("a.txt");
    until(&mut watcher, &file).await;
    fs::rename(&folder.root, folder.root.with_extension("old")).unwrap();
    let file = folder.write("b.txt");
    until(&mut watcher, &file).await;
    let file = folder.write("c.txt");
    until(&mut watcher, &file).await;
}

#[tokio::test]
async fn the_drop_folder_is_watched_as_deep_as_a_component_lies() {
    let folder = Folder::new();
    folder.write("plugin/target/deps/x.txt");
    let mut watcher = folder.watch(Scope::Drop);
    folder.write("plugin/target/deps/x.txt");
    let component = folder.write("plugin/target/plugin.txt");
    let told = until(&mut watcher, &component).await;
    let last = folder.write("last.txt");
    let told: BTreeSet<_> = told.into_iter().chain(until(&mut watcher, &last).await).collect();
    assert_eq!(told, BTreeSet::from([component, last]));
}

#[tokio::test]
async fn what_was_there_is_told_when_it_is_asked_for_and_too_much_is_told_as_the_folder() {
    let folder = Folder::new();
    let file = folder.write("a.txt");
    let mut watcher = folder.watch(Scope::Drop);
    watcher.rescan().unwrap();
    assert!(watcher.is_settling(&file) && watcher.is_settling(&folder.root));
    assert_eq!(until(&mut watcher, &file).await, BTreeSet::from([file]));
    for n in 0..3_000 {
        folder.write(&format!("{n}.txt"));
    }
    watcher.rescan().unwrap();
    let root = folder.root.clone();
    assert!(until(&mut watcher, &root).await.contains(&root));
}

#[tokio::test]
async fn what_cannot_be_watched_is_refused_with_a_reason() {
    let folder = Folder::new();
    let file = folder.write("a.txt");
    for path in [&file, &folder.root.join("nowhere")] {
        let error = Watcher::start(path, Scope::Drop, Pace::default()).err().unwrap();
        assert!(matches!(&error, Error::NotFound(text) if text.contains("it is no folder")), "{error}");
    }
    for n in 0..1_100 {
        fs::create_dir(folder.root.join(format!("d{n}"))).unwrap();
    }
    let error = Watcher::start(&folder.root, Scope::Drop, Pace::default()).err().unwrap();
    assert!(error.to_string().contains("more than 1024 folders"), "{error}");
}
