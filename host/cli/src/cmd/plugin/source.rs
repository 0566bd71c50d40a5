//! Where a plugin comes from: a folder, a file, or an address with the digest that it must have.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use animus_core::{Error, id::Digest, package};

use super::build;
use crate::{
    context::Context,
    fault::{During as _, Fault, Result},
    watch::Spinner,
};

/// The largest component, in bytes.
const LARGEST: u64 = animus_runtime::MAX_WASM as u64;
/// For a download, from its first byte to its last.
const PATIENCE: Duration = Duration::from_secs(300);

/// What was named, and its bytes with the manifest inside.
pub(super) struct Source {
    /// As the store keeps it, so that `upgrade` finds it from any folder.
    pub(super) name: String,
    pub(super) wasm: Vec<u8>,
}

/// Reads a source. Where a digest is given, what was read must have it.
pub(super) async fn read(cx: &Context, source: &str, sha256: Option<Digest>) -> Result<Source> {
    let read = if source.contains("://") {
        let Some(sha256) = sha256 else {
            return Err(Fault::usage(format!("{source} needs the digest that the file must have"))
                .advise("add --sha256 DIGEST, from where the plugin is published"));
        };
        let wasm = download(cx, source).await?;
        check(&wasm, sha256, source)?;
        Source { name: source.to_owned(), wasm }
    } else {
        let path = Path::new(source);
        let path = path.canonicalize().map_err(|e| {
            Fault::from(Error::NotFound(format!("could not find {source}: {e}")))
                .advise("name a folder with plugin.toml, a .wasm file, or an https address")
        })?;
        let name = path.display().to_string();
        let wasm = at(&path)?;
        if let Some(sha256) = sha256 {
            check(&wasm, sha256, source)?;
        }
        Source { name, wasm }
    };
    if package::manifest_of(&read.wasm)?.is_none() {
        return Err(Fault::invalid(format!("the component {source} carries no manifest"))
            .advise("put it beside its plugin.toml and install the folder, or build it with: animus plugin build"));
    }
    Ok(read)
}

/// What is at a path: a plugin's folder or a file.
pub(super) fn at(path: &Path) -> Result<Vec<u8>> {
    if path.is_dir() { folder(path) } else { file(path) }
}

fn check(wasm: &[u8], wanted: Digest, source: &str) -> Result {
    let found = Digest::of(wasm);
    if found == wanted {
        return Ok(());
    }
    Err(Fault::invalid(format!("{source} is not what was expected: its digest is {found}, and should be {wanted}"))
        .advise("do not install it; ask its publisher"))
}

/// A plugin's folder: the component that its manifest names, or the one that `animus plugin build` made; with the
/// manifest as it stands there now.
fn folder(folder: &Path) -> Result<Vec<u8>> {
    let (text, manifest) = build::read_manifest(folder)?;
    let (path, pinned) = match manifest.wasm {
        Some((path, pinned)) => (folder.join(path), pinned),
        None => (build::output(folder, &manifest.name), None),
    };
    if !path.is_file() {
        return Err(Fault::from(Error::NotFound(format!("there is no component at {}", path.display())))
            .advise(format!("animus plugin build {}", folder.display())));
    }
    let wasm = file(&path)?;
    if let Some(pinned) = pinned {
        check(&wasm, pinned.parse()?, &path.display().to_string())?;
    }
    // Only what was built here: a checkout gives the files that came with it any order of time.
    if path == build::output(folder, &manifest.name)
        && let Some(newer) = newer_source(folder, &path)
    {
        return Err(Fault::from(Error::Conflict(format!("{} is newer than {}", newer.display(), path.display())))
            .advise(format!("animus plugin build {}", folder.display())));
    }
    Ok(package::embed(&wasm, &text)?)
}

/// A source file that was changed after the component was built: what would be installed is not what is read there.
fn newer_source(folder: &Path, component: &Path) -> Option<PathBuf> {
    let built = fs::metadata(component).ok()?.modified().ok()?;
    let is_python = build::is_python(folder);
    let mut left = match is_python {
        true => entries(folder),
        false => vec![folder.join("src")],
    };
    while let Some(path) = left.pop() {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        if is_python && is_no_source(name) {
            continue;
        }
        // A link to a folder may lead in a circle.
        if path.is_dir() && !path.is_symlink() {
            left.extend(entries(&path));
        } else if fs::metadata(&path).and_then(|meta| meta.modified()).is_ok_and(|at| at > built) {
            return Some(path);
        }
    }
    None
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
        .unwrap_or_default()
}

/// What lies beside the sources of a Python plugin; the builder leaves out the same.
fn is_no_source(name: &str) -> bool {
    name.starts_with('.')
        || matches!(name, "__pycache__" | "node_modules" | "target" | "venv")
        || matches!(name, "tests" | "README.md" | "pyproject.toml")
}

fn file(path: &Path) -> Result<Vec<u8>> {
    let mut wasm = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut wasm));
    read.during(|| format!("read {}", path.display()))?;
    within_bounds(wasm.len() as u64, &path.display().to_string())?;
    Ok(wasm)
}

fn within_bounds(bytes: u64, source: &str) -> Result {
    if bytes > LARGEST {
        return Err(Fault::invalid(format!("{source} is larger than a component may be, {LARGEST} bytes")));
    }
    Ok(())
}

async fn download(cx: &Context, url: &str) -> Result<Vec<u8>> {
    let fits = url::Url::parse(url).is_ok_and(|u| u.scheme() == "https" && u.username().is_empty());
    if !fits {
        // Its name is kept and shown, so a password has no place in it.
        return Err(Fault::usage("the source is not an https address without a user name"));
    }
    let _spinner = Spinner::start(&cx.out, &format!("fetching {url}"));
    // Another part of this process may have chosen already; it chose the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let failed = |e: reqwest::Error| Fault::from(Error::Unavailable(format!("could not fetch {url}: {e}")));
    let client = reqwest::Client::builder().https_only(true).timeout(PATIENCE).build().map_err(failed)?;
    let mut response = client.get(url).send().await.and_then(reqwest::Response::error_for_status).map_err(failed)?;
    let mut wasm = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(failed)? {
        wasm.extend_from_slice(&piece);
        within_bounds(wasm.len() as u64, url)?;
    }
    Ok(wasm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_changed_after_the_build_is_found_below_src() {
        let folder = tempfile::tempdir().unwrap();
        let (component, deep) = (folder.path().join("a.wasm"), folder.path().join("src/deep"));
        fs::create_dir_all(&deep).unwrap();
        let at = |seconds| std::time::UNIX_EPOCH + Duration::from_secs(seconds);
        let touch = |path: &Path, seconds| {
            fs::write(path, "").unwrap();
            File::options().write(true).open(path).unwrap().set_modified(at(seconds)).unwrap();
        };
        touch(&component, 100);
        touch(&deep.join("old.rs"), 50);
        assert_eq!(newer_source(folder.path(), &component), None);
        touch(&deep.join("new.rs"), 150);
        assert_eq!(newer_source(folder.path(), &component), Some(deep.join("new.rs")));
    }

    #[test]
    fn sources_of_python_are_everywhere_but_where_the_builder_does_not_look() {
        let folder = tempfile::tempdir().unwrap();
        let component = folder.path().join("target/a.wasm");
        let touch = |path: &Path, seconds| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
            let at = std::time::UNIX_EPOCH + Duration::from_secs(seconds);
            File::options().write(true).open(path).unwrap().set_modified(at).unwrap();
        };
        touch(&component, 100);
        touch(&folder.path().join("app.py"), 50);
        for beside in ["target/b.wasm", "tests/test_app.py", "__pycache__/app.pyc", ".git/HEAD", "README.md", "a/.b"] {
            touch(&folder.path().join(beside), 150);
            assert_eq!(newer_source(folder.path(), &component), None, "{beside}");
        }
        for source in ["parts/words.py", "plugin.toml"] {
            let source = folder.path().join(source);
            touch(&source, 150);
            assert_eq!(newer_source(folder.path(), &component), Some(source.clone()));
            touch(&source, 50);
        }
    }

    #[test]
    fn other_bytes_than_expected_are_refused_with_both_digests() {
        let fault = format!("{:?}", check(b"a", Digest::of(b"b"), "x.wasm").unwrap_err());
        assert!(fault.contains(&Digest::of(b"a").to_string()) && fault.contains(&Digest::of(b"b").to_string()));
    }
}
