//! The Rust SDK, the contracts and the template of a new plugin, as they travel inside the binary.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    fault::{During as _, Result},
    home::Home,
};

/// Every file by its path below the repository, with its text.
const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/sdk.rs"));

const TEMPLATE: &str = "sdk-rust/template/";

/// Unpacks the SDK into the home folder, where plugins depend on it by path; returns the folder of the crate.
///
/// What is there already and is right is not touched, so that cargo builds nothing again without need; what does not
/// belong (from an older build of the same version) is removed.
pub(crate) fn unpack(home: &Home) -> Result<PathBuf> {
    let root = home.sdk();
    let wanted: BTreeSet<_> = files().map(|(path, _)| root.join(path)).collect();
    for (path, text) in files() {
        write_if_changed(&root.join(path), text)?;
    }
    remove_others(&root, &wanted).during(|| format!("tidy {}", root.display()))?;
    Ok(root.join("sdk-rust"))
}

/// The template's files, by their path in the new folder.
pub(crate) fn template() -> impl Iterator<Item = (&'static str, &'static str)> {
    FILES.iter().filter_map(|(path, text)| Some((path.strip_prefix(TEMPLATE)?, *text)))
}

/// The versions that the SDK was built and tested with.
pub(crate) fn lock_file() -> Option<&'static str> {
    files().find(|(path, _)| *path == "sdk-rust/Cargo.lock").map(|(_, text)| text)
}

fn files() -> impl Iterator<Item = (&'static str, &'static str)> {
    FILES.iter().copied().filter(|(path, _)| !path.starts_with(TEMPLATE))
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
            remove_others(&path, wanted)?;
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
        let sdk = unpack(&home).unwrap();
        let manifest = sdk.join("Cargo.toml");
        let before = fs::metadata(&manifest).unwrap().modified().unwrap();
        let contract = home.sdk().join("wit/plugin.wit");
        fs::write(&contract, "changed").unwrap();
        fs::write(sdk.join("src/stale.rs"), "").unwrap();
        unpack(&home).unwrap();
        assert_ne!(fs::read_to_string(contract).unwrap(), "changed");
        assert!(!sdk.join("src/stale.rs").exists());
        assert_eq!(fs::metadata(&manifest).unwrap().modified().unwrap(), before);
        assert!(template().next().is_some() && lock_file().is_some());
    }
}
