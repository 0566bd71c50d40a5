//! The contracts: a released package never changes, and a newer one of the same minor only adds.
//!
//! `wit/FROZEN` has a line `<sha256> <folder>` for each released package; the folder is in `wit/deps` while it is the
//! current version and in `wit/frozen` once a newer one has taken its place.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};
use wit_parser::{PackageName, Resolve, UnresolvedPackageGroup, World, WorldItem, WorldKey};

/// Checks names, hashes and compatibility.
pub(crate) fn check(wit: &Path) -> Result<()> {
    let mut resolve = Resolve::default();
    resolve.push_dir(wit).context("wit/ does not parse")?;
    let frozen = read_frozen(wit)?;
    for folder in packages(&wit.join("deps"))? {
        let name = folder_name(&folder)?;
        let package = UnresolvedPackageGroup::parse_dir(&folder)?.main.name;
        let expected = expected_folder(&package)?;
        ensure!(name == expected, "wit/deps/{name} holds {package}: its folder must be {expected}");
    }
    for (name, hash) in &frozen {
        let current = wit.join("deps").join(name);
        let folder = if current.is_dir() { current } else { wit.join("frozen").join(name) };
        ensure!(folder.is_dir(), "{name} was released and is gone: a released contract is kept for ever");
        let found = hash_dir(&folder)?;
        ensure!(found == *hash, "{name} was released and has changed: put the change into a new version beside it");
    }
    for old in packages(&wit.join("frozen"))? {
        additive(&resolve, wit, &old)?;
    }
    Ok(())
}

/// Records the hash of every package that is not frozen yet.
pub(crate) fn freeze(wit: &Path) -> Result<()> {
    check(wit)?;
    let mut frozen = read_frozen(wit)?;
    for folder in packages(&wit.join("deps"))? {
        let hash = hash_dir(&folder)?;
        frozen.entry(folder_name(&folder)?).or_insert(hash);
    }
    let text: String = frozen.iter().map(|(name, hash)| format!("{hash} {name}\n")).collect();
    fs::write(wit.join("FROZEN"), text)?;
    Ok(())
}

/// A superseded package must be answered by the current one of the same minor: everything it had, unchanged.
fn additive(current: &Resolve, wit: &Path, old: &Path) -> Result<()> {
    let group = UnresolvedPackageGroup::parse_dir(old)?;
    let old_name = group.main.name.clone();
    let old_version = old_name.version.clone().with_context(|| format!("{old_name} has no version"))?;
    let successor = current.packages.iter().find(|(_, package)| {
        let name = &package.name;
        name.namespace == old_name.namespace
            && name.name == old_name.name
            && name.version.as_ref().is_some_and(|v| v.major == old_version.major && v.minor == old_version.minor)
    });
    let Some((new_id, new)) = successor else {
        // The whole minor was dropped; docs/wit-versions.md says which ones are supported.
        return Ok(());
    };
    let mut resolve = current.clone();
    let old_id = resolve.push_group(group).with_context(|| format!("{} does not parse beside wit/", old.display()))?;
    let interfaces: Vec<_> =
        resolve.packages.get(old_id).map(|p| p.interfaces.clone()).unwrap_or_default().into_iter().collect();
    for (name, old_interface) in interfaces {
        let Some(new_interface) = new.interfaces.get(&name).copied() else {
            bail!("{} dropped the interface {name} that {old_name} has (wit is at {})", new.name, wit.display());
        };
        let prev = world(&mut resolve, "prev", old_interface, old_id);
        let next = world(&mut resolve, "next", new_interface, new_id);
        wit_component::semver_check(resolve.clone(), prev, next)
            .with_context(|| format!("{}/{name} is not additive over {old_name}", new.name))?;
    }
    Ok(())
}

fn world(
    resolve: &mut Resolve,
    name: &str,
    interface: wit_parser::InterfaceId,
    package: wit_parser::PackageId,
) -> wit_parser::WorldId {
    let mut world = World {
        name: name.to_owned(),
        imports: Default::default(),
        exports: Default::default(),
        package: Some(package),
        docs: Default::default(),
        stability: Default::default(),
        includes: Vec::new(),
        span: Default::default(),
    };
    world.imports.insert(
        WorldKey::Interface(interface),
        WorldItem::Interface {
            id: interface,
            stability: Default::default(),
            docs: Default::default(),
            span: Default::default(),
            external_id: None,
        },
    );
    resolve.worlds.alloc(world)
}

fn expected_folder(package: &PackageName) -> Result<String> {
    let version = package.version.as_ref().with_context(|| format!("{package} has no version"))?;
    Ok(format!("{}-{}@{version}", package.namespace, package.name))
}

fn folder_name(folder: &Path) -> Result<String> {
    let name = folder.file_name().with_context(|| format!("{} has no name", folder.display()))?;
    Ok(name.to_string_lossy().into_owned())
}

fn packages(dir: &Path) -> Result<Vec<PathBuf>> {
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let mut folders: Vec<_> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    folders.retain(|path| path.is_dir());
    folders.sort();
    Ok(folders)
}

fn read_frozen(wit: &Path) -> Result<BTreeMap<String, String>> {
    let path = wit.join("FROZEN");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    text.lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (hash, name) =
                line.split_once(' ').with_context(|| format!("FROZEN: '{line}' is not '<sha256> <folder>'"))?;
            Ok((name.to_owned(), hash.to_owned()))
        })
        .collect()
}

fn hash_dir(dir: &Path) -> Result<String> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let mut files: Vec<_> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        hash.update(folder_name(&file)?.as_bytes());
        hash.update([0]);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(&bytes);
    }
    Ok(hex::encode(hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(current: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let wit = dir.path();
        fs::write(wit.join("plugin.wit"), "package animus:plugin@0.1.0;\nworld w { import animus:a/a@0.1.1; }\n")
            .unwrap();
        for (at, version, body) in [("deps", "0.1.1", current), ("frozen", "0.1.0", "f: func(x: u32) -> u32;")] {
            let folder = wit.join(at).join(format!("animus-a@{version}"));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("a.wit"), format!("package animus:a@{version};\ninterface a {{ {body} }}\n"))
                .unwrap();
        }
        let hash = hash_dir(&wit.join("frozen/animus-a@0.1.0")).unwrap();
        fs::write(wit.join("FROZEN"), format!("{hash} animus-a@0.1.0\n")).unwrap();
        dir
    }

    fn why(dir: &tempfile::TempDir) -> String {
        format!("{:#}", check(dir.path()).unwrap_err())
    }

    #[test]
    fn an_added_function_passes() {
        check(tree("f: func(x: u32) -> u32; g: func();").path()).unwrap();
    }

    #[test]
    fn a_changed_signature_is_refused() {
        let why = why(&tree("f: func(x: u64) -> u32;"));
        assert!(why.contains("not additive"), "{why}");
    }

    #[test]
    fn a_removed_function_is_refused() {
        let why = why(&tree("g: func();"));
        assert!(why.contains("not additive"), "{why}");
    }

    #[test]
    fn a_changed_release_is_refused() {
        let dir = tree("f: func(x: u32) -> u32;");
        let file = dir.path().join("frozen/animus-a@0.1.0/a.wit");
        fs::write(&file, fs::read_to_string(&file).unwrap() + "\n// edited\n").unwrap();
        assert!(why(&dir).contains("has changed"));
    }

    #[test]
    fn a_removed_release_is_refused() {
        let dir = tree("f: func(x: u32) -> u32;");
        fs::remove_dir_all(dir.path().join("frozen")).unwrap();
        assert!(why(&dir).contains("is gone"));
    }

    #[test]
    fn a_folder_named_otherwise_is_refused() {
        let dir = tree("f: func(x: u32) -> u32;");
        fs::rename(dir.path().join("deps/animus-a@0.1.1"), dir.path().join("deps/animus-a@0.1.2")).unwrap();
        assert!(why(&dir).contains("its folder must be animus-a@0.1.1"));
    }

    #[test]
    fn freezing_records_what_is_not_frozen_yet() {
        let dir = tree("f: func(x: u32) -> u32;");
        freeze(dir.path()).unwrap();
        let frozen = read_frozen(dir.path()).unwrap();
        assert_eq!(frozen.keys().collect::<Vec<_>>(), ["animus-a@0.1.0", "animus-a@0.1.1"]);
        check(dir.path()).unwrap();
    }
}
