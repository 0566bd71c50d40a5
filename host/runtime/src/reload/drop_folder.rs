//! The drop folder: a plugin that is put there is installed or upgraded.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use animus_core::{Error, Result, id::PluginName};
use async_trait::async_trait;

use super::{Pace, Reloaded, Reloader, Scope, Watcher, ignore::is_passing};

/// Who reads a component, with its manifest inside, from a `.wasm` file or a plugin's folder.
#[async_trait]
pub trait Sources: Send + Sync {
    /// The component at `path`.
    ///
    /// # Errors
    /// What is wrong with the source, and how to mend it.
    async fn read(&self, path: &Path) -> Result<Vec<u8>>;
}

/// Watches a folder of plugins: `NAME.wasm`, or a folder `NAME` with `plugin.toml` and a built component. A plugin is
/// named as its file or folder is, so that none takes over another one's grant by its manifest. Everything else in the
/// folder is left alone, and what is deleted from it stays installed. A `.wasm` is compiled while it settles.
pub struct DropFolder<'a> {
    watcher: Watcher,
    reloader: Reloader<'a>,
    sources: &'a dyn Sources,
}

impl<'a> DropFolder<'a> {
    /// Begins to watch the folder at `root`, which must exist. What is there already is for [`DropFolder::catch_up`].
    ///
    /// # Errors
    /// As [`Watcher::start`].
    pub fn start(root: &Path, pace: Pace, reloader: Reloader<'a>, sources: &'a dyn Sources) -> Result<Self> {
        let mut watcher = Watcher::start(root, Scope::Drop, pace)?;
        let (folder, artifacts) = (watcher.root().to_owned(), reloader.artifacts().clone());
        // A component in a folder still gets the manifest beside it, so its bytes are not yet those that are compiled.
        watcher.foretell(move |path| {
            if path.parent() == Some(&folder) {
                tokio::spawn(artifacts.clone().foresee(path));
            }
        });
        Ok(Self { watcher, reloader, sources })
    }

    /// The folder, as an absolute path without symbolic links.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.watcher.root()
    }

    /// Loads what was put there while nobody watched, and forgets the faults of what was taken away. See
    /// [`Reloader::catch_up`].
    pub async fn catch_up(&self) -> Vec<Reloaded> {
        self.reloader.tidy(self.root()).await;
        let mut all = Vec::new();
        for plugin in self.all() {
            all.extend(self.load_with(&plugin, true).await);
        }
        all
    }

    /// The plugins that have changed and settled, as paths in the folder. Dropping the future loses nothing; what it
    /// returned is for [`DropFolder::load`].
    ///
    /// # Errors
    /// As [`Watcher::next`].
    pub async fn next(&mut self) -> Result<BTreeSet<PathBuf>> {
        loop {
            let mut plugins = BTreeSet::new();
            for path in self.watcher.next().await? {
                match path.strip_prefix(self.root()).ok().and_then(|below| below.iter().next()) {
                    Some(name) => drop(plugins.insert(self.root().join(name))),
                    None => plugins.extend(self.all()),
                }
            }
            // One whose component is still being written comes again when that is whole.
            plugins.retain(|plugin| !self.watcher.is_settling(plugin));
            if !plugins.is_empty() {
                return Ok(plugins);
            }
        }
    }

    /// Loads one of them; none when it is no plugin, or is gone.
    pub async fn load(&self, plugin: &Path) -> Option<Reloaded> {
        self.load_with(plugin, false).await
    }

    async fn load_with(&self, path: &Path, known: bool) -> Option<Reloaded> {
        let source = path.display().to_string();
        let name = if path.join("plugin.toml").exists() {
            path.file_name()
        } else if path.is_file() && path.extension().is_some_and(|e| e == "wasm") {
            path.file_stem()
        } else {
            // No plugin, or no longer one.
            self.reloader.gone(&source).await;
            return None;
        };
        let name = PluginName::new(name.unwrap_or_default().to_string_lossy());
        let read = async {
            match &name {
                Ok(_) => self.sources.read(path).await,
                Err(error) => Err(Error::Invalid(format!("it is named as no plugin may be: {error}"))),
            }
        };
        let expected = name.as_ref().ok();
        Some(match known {
            true => self.reloader.catch_up(&source, expected, read).await,
            false => self.reloader.load(&source, expected, read).await,
        })
    }

    /// Everything in the folder, sorted.
    fn all(&self) -> BTreeSet<PathBuf> {
        let Ok(entries) = fs::read_dir(self.root()) else { return BTreeSet::new() };
        let visible = entries.filter_map(std::result::Result::ok).filter(|entry| {
            // What is hidden, or there for a moment, is not told by the watch either.
            !is_passing(&entry.file_name().to_string_lossy())
        });
        visible.map(|entry| entry.path()).collect()
    }
}
