//! `$ANIMUS_HOME`: where this host keeps what is its own.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use crate::fault::{During as _, Fault, Result};

/// The home folder. Nobody but its owner may enter it.
#[derive(Clone, Debug)]
pub(crate) struct Home(PathBuf);

impl Home {
    /// The folder that was named, or `~/.animus`; made when it is new.
    pub(crate) fn open(named: Option<PathBuf>) -> Result<Self> {
        let path = match named {
            Some(path) => std::path::absolute(&path).during(|| format!("find {}", path.display()))?,
            None => std::env::home_dir()
                .ok_or_else(|| Fault::failed("there is no home folder").advise("set ANIMUS_HOME"))?
                .join(".animus"),
        };
        let mut make = fs::DirBuilder::new();
        make.recursive(true).mode(0o700);
        for folder in [path.clone(), path.join("artifacts")] {
            make.create(&folder).during(|| format!("make the folder {}", folder.display()))?;
        }
        Ok(Self(path))
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The store.
    pub(crate) fn database(&self) -> PathBuf {
        self.0.join("animus.db")
    }

    /// The key that seals secrets.
    pub(crate) fn key(&self) -> PathBuf {
        self.0.join("key")
    }

    /// Compiled components, a cache.
    pub(crate) fn artifacts(&self) -> PathBuf {
        self.0.join("artifacts")
    }

    /// Where plugins are put to be installed; made for its owner alone when it is first watched.
    pub(crate) fn drop_folder(&self) -> Result<PathBuf> {
        let path = self.0.join("plugins");
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.during(|| format!("make the folder {}", path.display()))?;
        Ok(path)
    }

    /// What the store was given of what ships: the store in this folder, or the one in a database of this name.
    pub(crate) fn given(&self, database: Option<&str>) -> PathBuf {
        self.0.join(database.map_or("first-party".to_owned(), |name| format!("first-party-{name}")))
    }

    /// Where the SDK is unpacked, one folder for each version.
    pub(crate) fn sdk(&self) -> PathBuf {
        self.0.join("sdk").join(env!("CARGO_PKG_VERSION"))
    }

    /// Where building Python plugins keeps its own tools.
    pub(crate) fn python_tools(&self) -> PathBuf {
        self.sdk().join("python")
    }

    /// What is too open, and the command that closes it.
    pub(crate) fn exposed(&self) -> Vec<(PathBuf, String)> {
        [self.0.clone(), self.database(), self.key(), self.artifacts()]
            .into_iter()
            .filter_map(|path| {
                let mode = fs::metadata(&path).ok()?.mode();
                (mode & 0o077 != 0).then(|| {
                    let closed = if path.is_dir() { "700" } else { "600" };
                    let command = format!("chmod {closed} {}", path.display());
                    (path, command)
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_new_home_is_closed_to_others_and_an_open_one_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(Some(folder.path().join("deep/home"))).unwrap();
        assert!(home.exposed().is_empty());
        fs::set_permissions(home.artifacts(), fs::Permissions::from_mode(0o755)).unwrap();
        let [(path, command)] = home.exposed().try_into().unwrap();
        assert_eq!(path, home.artifacts());
        assert_eq!(command, format!("chmod 700 {}", path.display()));
    }
}
