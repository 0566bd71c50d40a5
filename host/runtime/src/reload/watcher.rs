//! Which files of a folder have changed, told when they are whole.

use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, Metadata},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use animus_core::{Error, Result};
use notify::{
    ErrorKind, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, ModifyKind},
};
use tokio::{
    sync::mpsc,
    time::{Instant, Interval, MissedTickBehavior, interval, sleep_until},
};

use super::{
    ignore::{is_made, is_passing},
    whole::is_whole,
};

/// Changes that wait to be looked at. What does not fit makes the watcher look at everything.
const QUEUE: usize = 1_024;
/// The most paths that wait to settle; of more, the whole folder is told instead.
const MAX_PENDING: usize = 1_024;
/// The most folders that are watched; each costs the system one watch.
const MAX_FOLDERS: usize = 1_024;
/// How often the watched folder itself is looked at: no watch tells that it was replaced by another.
const PULSE: Duration = Duration::from_secs(1);
/// How often a file that is cut off is looked at again.
const AGAIN: Duration = Duration::from_millis(200);
/// After how much quiet a `.wasm` is foretold: long enough for one write to be over, and no promise.
const EARLY: Duration = Duration::from_millis(5);

/// What of a folder is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The folder, the folders in it and those in them: a plugin folder holds its manifest, and its component at most
    /// one folder below.
    Drop,
    /// All folders below, except those that tools make: `target`, `node_modules`, `__pycache__`, `venv`.
    Source,
}

impl Scope {
    /// Whether a folder that is `depth` below the watched one is watched itself.
    fn covers(self, depth: usize, name: &str) -> bool {
        match self {
            Self::Drop => depth <= 2,
            Self::Source => !is_made(name),
        }
    }
}

/// When a change counts as settled.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long nothing must happen to a file. Default: 30 ms.
    pub quiet: Duration,
    /// How long a `.wasm` that is cut off may stay so without a further change before it is told all the same, so that
    /// its author sees the error. Default: 5 s.
    pub patience: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { quiet: Duration::from_millis(30), patience: Duration::from_secs(5) }
    }
}

/// Watches a folder. Hidden files and what editors write for a moment are left out; so are folders behind symbolic
/// links.
pub struct Watcher {
    root: PathBuf,
    scope: Scope,
    pace: Pace,
    system: RecommendedWatcher,
    changes: mpsc::Receiver<PathBuf>,
    /// Changes were lost, so everything has to be looked at.
    lost: Arc<AtomicBool>,
    /// The folders that are watched, and which ones they were.
    folders: HashMap<PathBuf, Identity>,
    pending: HashMap<PathBuf, Pending>,
    pulse: Interval,
    /// Who hears of a `.wasm` before it has settled.
    foretell: Option<Box<dyn Fn(PathBuf) + Send + Sync>>,
}

/// A change that has not settled.
struct Pending {
    /// When the file last changed, as far as is known.
    changed: Instant,
    /// When to look at it.
    due: Instant,
    /// Size and time of change when it was last looked at; none for what is not there.
    looks: Option<(u64, Option<SystemTime>)>,
}

/// Device and number of a folder; no two that exist share them.
type Identity = (u64, u64);

#[cfg(unix)]
fn identity(metadata: &Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt as _;
    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> Identity {
    // A folder that is replaced there is told by the system.
    (0, 0)
}

impl Watcher {
    /// Begins to watch the folder at `root`, which must exist. What is in it already is not told: see
    /// [`Watcher::rescan`]. Needs a Tokio runtime.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is no folder; [`Error::Unavailable`] when the system has no more watches to give, with
    /// what to do about it; [`Error::Invalid`] when it has too many folders.
    pub fn start(root: &Path, scope: Scope, pace: Pace) -> Result<Self> {
        let root = root
            .canonicalize()
            .ok()
            .filter(|root| root.is_dir())
            .ok_or_else(|| Error::NotFound(format!("cannot watch {}: it is no folder", root.display())))?;
        let (sender, changes) = mpsc::channel(QUEUE);
        let lost = Arc::new(AtomicBool::new(false));
        let (whole, missed) = (root.clone(), lost.clone());
        let tell = move |path: PathBuf| {
            if sender.try_send(path).is_err() {
                missed.store(true, Ordering::SeqCst);
            }
        };
        let system = notify::recommended_watcher(move |told: notify::Result<notify::Event>| match told {
            Ok(event) if event.need_rescan() => tell(whole.clone()),
            Ok(event) if is_change(&event.kind) => event.paths.into_iter().for_each(&tell),
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "the system's watch failed; looking at everything");
                tell(whole.clone());
            }
        });
        let system = system.map_err(|e| refused(&root, &e))?;
        let mut pulse = interval(PULSE);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (folders, pending) = (HashMap::new(), HashMap::new());
        let foretell = None;
        let mut watcher = Self { root, scope, pace, system, changes, lost, folders, pending, pulse, foretell };
        let root = watcher.root.clone();
        watcher.enter(&root, 0, false)?;
        Ok(watcher)
    }

    /// The folder, as an absolute path without symbolic links.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Has `tell` called, within [`Watcher::next`], for each changed `.wasm` that ends where a section ends, as soon as
    /// nothing happened to it for 5 ms. It may change again: what it holds may be prepared, and not be used.
    pub(super) fn foretell(&mut self, tell: impl Fn(PathBuf) + Send + Sync + 'static) {
        self.foretell = Some(Box::new(tell));
    }

    /// Has everything that is there told as if it had just changed.
    ///
    /// # Errors
    /// As [`Watcher::start`].
    pub fn rescan(&mut self) -> Result<()> {
        let root = self.root.clone();
        self.enter(&root, 0, true)
    }

    /// The next files that have changed and settled, at least one: nothing happened to them for [`Pace::quiet`], and a
    /// `.wasm` ends where a section ends. A path where nothing is (any more) was removed. The folder itself stands for
    /// everything in it, after too many changes. Dropping the future loses nothing.
    ///
    /// # Errors
    /// As [`Watcher::start`], for folders that came later.
    pub async fn next(&mut self) -> Result<BTreeSet<PathBuf>> {
        loop {
            let due = self.pending.values().map(|pending| pending.due).min();
            let settle = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            // Not in order: a file that is written without end must not hold up the others.
            tokio::select! {
                changed = self.changes.recv() => match changed {
                    Some(path) => self.note(path)?,
                    None => return Err(Error::Unavailable(format!("the watch of {} has ended", self.root.display()))),
                },
                () = settle => {
                    let settled = self.settled().await;
                    if !settled.is_empty() {
                        return Ok(settled);
                    }
                }
                _ = self.pulse.tick() => self.check_root()?,
            }
            if self.lost.swap(false, Ordering::SeqCst) {
                self.rescan()?;
            }
        }
    }

    /// Whether something at or below `path` has changed and not settled.
    #[must_use]
    pub fn is_settling(&self, path: &Path) -> bool {
        self.pending.keys().any(|pending| pending.starts_with(path))
    }

    /// Something happened at `path`.
    fn note(&mut self, path: PathBuf) -> Result<()> {
        let Ok(below) = path.strip_prefix(&self.root) else { return Ok(()) };
        let names: Vec<_> = below.iter().map(|name| name.to_string_lossy()).collect();
        let Some((_, above)) = names.split_last() else { return self.check_root().and_then(|()| self.rescan()) };
        let outside = above.iter().enumerate().any(|(i, name)| !self.scope.covers(i + 1, name));
        if outside || names.iter().any(|name| is_passing(name)) {
            return Ok(());
        }
        let depth = names.len();
        self.leave_if_gone(&path);
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => self.enter(&path, depth, true),
            _ => {
                self.wait_for(path);
                Ok(())
            }
        }
    }

    fn wait_for(&mut self, path: PathBuf) {
        if self.pending.len() >= MAX_PENDING && !self.pending.contains_key(&path) {
            self.pending.clear();
            return self.wait_for(self.root.clone());
        }
        let now = Instant::now();
        let looks = looks(&path);
        let first = if self.foretell.is_some() && is_wasm(&path) { EARLY } else { self.pace.quiet };
        self.pending.insert(path, Pending { changed: now, due: now + first.min(self.pace.quiet), looks });
    }

    /// Those that are due and settled. They are told from here on; the others wait longer.
    async fn settled(&mut self) -> BTreeSet<PathBuf> {
        let now = Instant::now();
        let due: Vec<_> = self.pending.iter().filter(|(_, p)| p.due <= now).map(|(path, _)| path.clone()).collect();
        let wasm: Vec<_> = due.iter().filter(|path| is_wasm(path)).cloned().collect();
        let cut_off = tokio::task::spawn_blocking(move || {
            wasm.into_iter().filter(|path| !is_whole(path)).collect::<BTreeSet<_>>()
        });
        // A check that failed must not hold the file back.
        let cut_off = cut_off.await.unwrap_or_default();
        let mut settled = BTreeSet::new();
        for path in due {
            let Some(pending) = self.pending.get_mut(&path) else { continue };
            let looks = looks(&path);
            if looks != pending.looks {
                *pending = Pending { changed: now, due: now + self.pace.quiet, looks };
            } else if now < pending.changed + self.pace.quiet {
                pending.due = pending.changed + self.pace.quiet;
                if let Some(foretell) = self.foretell.as_ref().filter(|_| !cut_off.contains(&path)) {
                    foretell(path);
                }
            } else if cut_off.contains(&path) && now < pending.changed + self.pace.patience {
                pending.due = now + AGAIN.min(self.pace.patience);
            } else {
                self.pending.remove(&path);
                settled.insert(path);
            }
        }
        settled
    }

    /// Watches a folder and those in it. With `tell`, what is in them has changed.
    fn enter(&mut self, folder: &Path, depth: usize, tell: bool) -> Result<()> {
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if depth > 0 && !self.scope.covers(depth, &name) {
            return Ok(());
        }
        self.leave_if_gone(folder);
        let Ok(metadata) = fs::metadata(folder) else { return Ok(()) };
        if !self.folders.contains_key(folder) {
            if self.folders.len() >= MAX_FOLDERS {
                return Err(Error::Invalid(format!(
                    "cannot watch {}: there are more than {MAX_FOLDERS} folders in it; move what is no source elsewhere",
                    self.root.display()
                )));
            }
            match self.system.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => drop(self.folders.insert(folder.to_owned(), identity(&metadata))),
                Err(_) if !folder.is_dir() => return Ok(()),
                Err(e) => return Err(refused(folder, &e)),
            }
        }
        // Read after the watch stands: what comes in between is told twice rather than not at all.
        let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
        for entry in entries.filter_map(std::result::Result::ok) {
            if is_passing(&entry.file_name().to_string_lossy()) {
                continue;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.enter(&entry.path(), depth + 1, tell)?;
            } else if tell {
                self.wait_for(entry.path());
            }
        }
        Ok(())
    }

    /// Gives up the watches of a folder that is gone, or another one than it was.
    fn leave_if_gone(&mut self, folder: &Path) {
        let Some(was) = self.folders.get(folder) else { return };
        if fs::symlink_metadata(folder).is_ok_and(|now| now.is_dir() && identity(&now) == *was) {
            return;
        }
        let below: Vec<_> = self.folders.keys().filter(|path| path.starts_with(folder)).cloned().collect();
        for path in below {
            self.folders.remove(&path);
            // The system has given up most of them by itself.
            let _ = self.system.unwatch(&path);
        }
    }

    /// The watched folder may have been replaced, or be there again.
    fn check_root(&mut self) -> Result<()> {
        let root = self.root.clone();
        self.leave_if_gone(&root);
        if self.folders.contains_key(&root) { Ok(()) } else { self.enter(&root, 0, true) }
    }
}

/// A file that may be a component. Whoever opens a pipe waits for somebody to write into it.
fn is_wasm(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "wasm") && path.is_file()
}

fn looks(path: &Path) -> Option<(u64, Option<SystemTime>)> {
    fs::metadata(path).ok().map(|metadata| (metadata.len(), metadata.modified().ok()))
}

/// Whether something of this kind may change what is loaded. To read a file, or to change its rights, does not.
fn is_change(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(access) => *access == AccessKind::Close(AccessMode::Write),
        EventKind::Modify(modify) => !matches!(modify, ModifyKind::Metadata(_)),
        EventKind::Any | EventKind::Create(_) | EventKind::Remove(_) | EventKind::Other => true,
    }
}

/// Why the system does not watch, and what to do about it.
fn refused(path: &Path, error: &notify::Error) -> Error {
    let path = path.display();
    // inotify gives these two for its own limits, whatever the numbers mean elsewhere.
    const TOO_MANY_INSTANCES: i32 = 24;
    const TOO_MANY_WATCHES: i32 = 28;
    let code = match &error.kind {
        ErrorKind::Io(e) => e.raw_os_error(),
        ErrorKind::MaxFilesWatch => Some(TOO_MANY_WATCHES),
        _ => None,
    };
    match (code, &error.kind) {
        (Some(TOO_MANY_WATCHES), _) => Error::Unavailable(format!(
            "cannot watch {path}: this system has no watches left; end other programs that watch files, or raise the \
             limit: sysctl fs.inotify.max_user_watches=524288"
        )),
        (Some(TOO_MANY_INSTANCES), _) => Error::Unavailable(format!(
            "cannot watch {path}: too many programs of this user watch files, or this one has too many files open; end \
             some, or raise the limit: sysctl fs.inotify.max_user_instances=1024"
        )),
        (_, ErrorKind::Io(e)) if e.kind() == io::ErrorKind::PermissionDenied => {
            Error::Unavailable(format!("cannot watch {path}: it may not be read; change its owner or mode"))
        }
        _ => Error::Unavailable(format!("cannot watch {path}: {error}")),
    }
}
