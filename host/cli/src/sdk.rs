//! The SDKs, the contracts and the templates of a new plugin, as they travel inside the binary.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use clap::ValueEnum;

use crate::{
    fault::{During as _, Result},
    home::Home,
};

/// Every file by its path below the repository, with its text.
const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/sdk.rs"));

/// What is unpacked; beside it tools of builds may lie.
const FOLDERS: [&str; 3] = ["sdk-rust", "sdk-python", "wit"];

/// What a plugin is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    /// Rust
    Rust,
    /// Python
    Python,
}

impl Language {
    /// The folder of its SDK, below where SDKs are unpacked.
    fn folder(self) -> &'static str {
        match self {
            Self::Rust => "sdk-rust",
            Self::Python => "sdk-python",
        }
    }
}

/// Unpacks the SDKs into the home folder, where plugins depend on them by path.
///
/// What is there already and is right is not touched, so that cargo builds nothing again without need; what does not
/// belong (from an older build of the same version) is removed.
pub(crate) fn unpack(home: &Home) -> Result {
    let root = home.sdk();
    // What one process tidies away is what another one is about to rename.
    let lock = root.join("lock");
    let locked = fs::create_dir_all(&root).and_then(|()| File::create(&lock)).and_then(|file| {
        file.lock()?;
        Ok(file)
    });
    let _locked = locked.during(|| format!("lock {}", lock.display()))?;
    let wanted: BTreeSet<_> = files().map(|(path, _)| root.join(path)).collect();
    for (path, text) in files() {
        write_if_changed(&root.join(path), text)?;
    }
    for folder in FOLDERS {
        remove_others(&root.join(folder), &wanted).during(|| format!("tidy {}", root.display()))?;
    }
    Ok(())
}

/// Where the SDK of a language is unpacked.
pub(crate) fn of(home: &Home, language: Language) -> PathBuf {
    home.sdk().join(language.folder())
}

/// The files of a language's template, by their path in the new folder.
pub(crate) fn template(language: Language) -> impl Iterator<Item = (&'static str, &'static str)> {
    FILES.iter().filter_map(move |(path, text)| Some((in_template(path, language)?, *text)))
}

fn in_template(path: &'static str, language: Language) -> Option<&'static str> {
    path.strip_prefix(language.folder())?.strip_prefix("/template/")
}

/// The versions that the SDK was built and tested with.
pub(crate) fn lock_file() -> Option<&'static str> {
    files().find(|(path, _)| *path == "sdk-rust/Cargo.lock").map(|(_, text)| text)
}

fn files() -> impl Iterator<Item = (&'static str, &'static str)> {
    let in_any = |path| Language::value_variants().iter().any(|language| in_template(path, *language).is_some());
    FILES.iter().copied().filter(move |(path, _)| !in_any(path))
}

fn write_if_changed(path: &Path, text: &str) -> Result {
    if fs::read(path).is_ok_and(|there| there == text.as_bytes()) {
        return Ok(());
    }
    write(path, text.as_bytes())
}

/// Writes a file whole or not at all, and the folders above it.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result {
    let folder = path.parent().unwrap_or(Path::new("."));
    let done = (|| {
        fs::create_dir_all(folder)?;
        let mut file = tempfile::Builder::new().permissions(default_mode()).tempfile_in(folder)?;
        io::Write::write_all(&mut file, bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)
    })();
    done.map(drop).during(|| format!("write {}", path.display()))
}

/// What a newly made file has by default; the process's umask is taken from it.
fn default_mode() -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o666)
}

fn remove_others(folder: &Path, wanted: &BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            // Python keeps there what it compiled, and writes to it while tests of plugins run.
            if entry.file_name() != "__pycache__" {
                remove_others(&path, wanted)?;
            }
        } else if !wanted.contains(&path) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpacking_again_mends_changed_files_removes_strangers_and_leaves_the_rest_alone() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(Some(folder.path().into())).unwrap();
        unpack(&home).unwrap();
        let sdk = of(&home, Language::Rust);
        let manifest = sdk.join("Cargo.toml");
        let before = fs::metadata(&manifest).unwrap().modified().unwrap();
        let contract = home.sdk().join("wit/plugin.wit");
        fs::write(&contract, "changed").unwrap();
        fs::write(sdk.join("src/stale.rs"), "").unwrap();
        // The tools of builds are kept from one build to the next.
        fs::create_dir_all(home.python_tools()).unwrap();
        fs::write(home.python_tools().join("tool"), "").unwrap();
        unpack(&home).unwrap();
        assert_ne!(fs::read_to_string(contract).unwrap(), "changed");
        assert!(!sdk.join("src/stale.rs").exists());
        assert_eq!(fs::metadata(&manifest).unwrap().modified().unwrap(), before);
        assert!(home.python_tools().join("tool").exists() && lock_file().is_some());
    }

    #[test]
    fn everything_is_there_that_plugins_of_each_language_are_made_of() {
        let has = |wanted| assert!(files().any(|(path, _)| path == wanted), "{wanted}");
        let rust = ["sdk-rust/src/lib.rs", "sdk-rust/Cargo.toml"];
        let builder = ["sdk-python/build/__main__.py", "sdk-python/build/component.py"];
        let package = ["sdk-python/animus/__init__.py", "sdk-python/animus/testing.py", "sdk-python/animus/py.typed"];
        rust.into_iter().chain(builder).chain(package).for_each(has);
        let of = |language| template(language).map(|(path, _)| path).collect::<Vec<_>>();
        assert_eq!(of(Language::Rust), [".gitignore", "Cargo.toml", "README.md", "plugin.toml", "src/lib.rs"]);
        let python = of(Language::Python);
        assert_eq!(python[..5], [".gitignore", "README.md", "app.py", "plugin.toml", "pyproject.toml"]);
        assert_eq!(python[5..], ["tests/__init__.py", "tests/test_app.py"]);
        assert!(files().all(|(path, _)| !path.contains("template") && !path.ends_with(".pyc")));
    }
}
