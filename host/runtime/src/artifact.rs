//! From bytes to code: compiled once under our own limits, kept as machine code in an authenticated cache.
//!
//! A cached artifact is machine code, so it is trusted exactly as far as its seal: an HMAC under a key that lives
//! beside it, in a folder that only this user may enter. It is checked before a process first loads the file, and an
//! artifact never comes from anywhere but [`Artifacts`].

use std::{
    fmt, fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use animus_core::{Error, id::Digest};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tokio::sync::Semaphore;
use wasmtime::component::Component;

use crate::{engine::Engine, inspect::inspect};

/// The largest component, in bytes.
pub const MAX_WASM: usize = 64 << 20;
/// The longest compilation. A 64 MiB interpreter takes well under a minute on two cores.
const MAX_COMPILE: Duration = Duration::from_secs(180);
/// One compilation uses every core; more at once would only share them, and multiply the memory.
const COMPILATIONS: usize = 1;

const KEY_FILE: &str = "key";
const KEY_LEN: usize = 32;
const SEAL_LEN: usize = 32;

/// The cache of compiled plugins, by content.
pub struct Artifacts {
    engine: Engine,
    dir: PathBuf,
    key: [u8; KEY_LEN],
    /// What compiled code depends on beside the component: engine version, settings, processor.
    engine_hash: u64,
    compilations: Arc<Semaphore>,
}

impl fmt::Debug for Artifacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Artifacts").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Artifacts {
    /// Opens the cache in `dir`, which is made (mode 0700), with its key (mode 0600), where it is missing. Blocks on
    /// the file system.
    ///
    /// # Errors
    /// [`Error::Internal`] when folder or key cannot be made, or belong to or are open to somebody else.
    pub fn open(engine: Engine, dir: impl Into<PathBuf>) -> Result<Self, Error> {
        let dir = dir.into();
        let failed = |e: io::Error| {
            Error::Internal(format!(
                "the artifact cache {} cannot be used: {e}; it must be a folder of this user alone",
                dir.display()
            ))
        };
        fs::create_dir_all(&dir).and_then(|()| keep_private(&dir, 0o700)).map_err(failed)?;
        let key = read_or_make_key(&dir).map_err(failed)?;
        let mut hasher = DefaultHasher::new();
        engine.wasmtime().precompile_compatibility_hash().hash(&mut hasher);
        let engine_hash = hasher.finish();
        Ok(Self { engine, dir, key, engine_hash, compilations: Arc::new(Semaphore::new(COMPILATIONS)) })
    }

    /// The engine that the code is for.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The component of `digest`: from the cache, or compiled from what `wasm` yields and then kept. A file that does
    /// not bear our seal is compiled anew. The caller has `wasm` verified against `digest`.
    ///
    /// # Errors
    /// What `wasm` fails with; [`Error::Invalid`] for bytes that are too large or do not compile; [`Error::Timeout`];
    /// [`Error::Internal`] when the cache cannot be written.
    pub async fn load(
        self: &Arc<Self>,
        digest: Digest,
        wasm: impl Future<Output = Result<Arc<[u8]>, Error>>,
    ) -> Result<Component, Error> {
        if let Some(component) = self.clone().blocking(move |this| this.read(&digest)).await? {
            return Ok(component);
        }
        let wasm = wasm.await?;
        if wasm.len() > MAX_WASM {
            return Err(Error::Invalid(format!(
                "the component has {} bytes; at most {MAX_WASM} are compiled",
                wasm.len()
            )));
        }
        let permit = self.compilations.clone().acquire_owned().await.map_err(|e| Error::Internal(e.to_string()))?;
        let compiled = self.clone().blocking(move |this| {
            // The permit goes with the work: a compilation that is no longer awaited still occupies the cores.
            let _permit = permit;
            // Somebody else may have compiled it while we waited.
            if let Some(component) = this.read(&digest)? {
                return Ok(component);
            }
            let path = this.compile(&digest, &wasm)?;
            map(&this.engine, &path).map_err(|e| Error::Invalid(format!("the component does not load: {e:#}")))
        });
        tokio::time::timeout(MAX_COMPILE, compiled).await.map_err(|_| {
            Error::Timeout(format!("compiling {} took longer than {} s", digest.short(), MAX_COMPILE.as_secs()))
        })?
    }

    /// Compiles the plugin in the file at `path` into the cache: a guess at what is asked for next. Does nothing while
    /// something else is compiled, and for what would not be installed: whoever asks for that learns why.
    pub(crate) async fn foresee(self: Arc<Self>, path: PathBuf) {
        let Ok(permit) = self.compilations.clone().try_acquire_owned() else { return };
        let foreseen = self.blocking(move |this| {
            let _permit = permit;
            let mut wasm = Vec::new();
            let read = fs::File::open(&path).and_then(|file| file.take(MAX_WASM as u64 + 1).read_to_end(&mut wasm));
            match read.ok().and_then(|_| inspect(&wasm).ok()) {
                Some(plugin) if !this.is_cached(&plugin.digest) => this.compile(&plugin.digest, &wasm).map(drop),
                _ => Ok(()),
            }
        });
        if let Err(error) = foreseen.await {
            tracing::debug!(%error, "what was foreseen does not compile");
        }
    }

    /// Compiles into the cache, and returns the path there. Whoever calls it has the permit.
    fn compile(&self, digest: &Digest, wasm: &[u8]) -> Result<PathBuf, Error> {
        let code = self.engine.wasmtime().precompile_component(wasm);
        let code = code.map_err(|e| Error::Invalid(format!("the component does not compile: {e:#}")))?;
        self.write(digest, &code)
    }

    /// Whether there is a file for it; whether that bears our seal shows when it is loaded.
    pub(crate) fn is_cached(&self, digest: &Digest) -> bool {
        self.path(digest).is_file()
    }

    async fn blocking<T: Send + 'static>(
        self: Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        match tokio::task::spawn_blocking(move || work(&self)).await {
            Ok(done) => done,
            Err(e) => Err(Error::Internal(format!("the compiler failed: {e}"))),
        }
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{digest}-{:016x}.cwasm", self.engine_hash))
    }

    /// The seal binds the code to the component and the engine that it is for, so that a file cannot pass for another.
    fn seal(&self, digest: &Digest, code: &[u8]) -> Result<Hmac<Sha256>, Error> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).map_err(|e| Error::Internal(e.to_string()))?;
        mac.update(b"animus artifact 1\0");
        mac.update(digest.as_bytes());
        mac.update(&self.engine_hash.to_le_bytes());
        mac.update(code);
        Ok(mac)
    }

    /// The cached code, if it is there and bears our seal. Whatever else is there is logged and passes for missing.
    fn read(&self, digest: &Digest) -> Result<Option<Component>, Error> {
        let path = self.path(digest);
        let sealed = match fs::read(&path) {
            Ok(sealed) => sealed,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => {
                tracing::warn!(path = %path.display(), error = %e, "artifact cannot be read; compiling anew");
                return Ok(None);
            }
        };
        let genuine = match sealed.split_last_chunk::<SEAL_LEN>() {
            Some((code, seal)) => self.seal(digest, code)?.verify_slice(seal).is_ok(),
            None => false,
        };
        if !genuine {
            tracing::warn!(path = %path.display(), "artifact does not bear this host's seal; compiling anew");
            return Ok(None);
        }
        match map(&self.engine, &path) {
            Ok(component) => Ok(Some(component)),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "artifact does not load; compiling anew");
                Ok(None)
            }
        }
    }

    fn write(&self, digest: &Digest, code: &[u8]) -> Result<PathBuf, Error> {
        let seal = self.seal(digest, code)?.finalize().into_bytes();
        let path = self.path(digest);
        write_whole(&path, &[code, &seal]).map_err(|e| {
            Error::Internal(format!("the artifact {} cannot be written: {e}; check space and access", path.display()))
        })?;
        Ok(path)
    }
}

/// Maps the file's code. What follows the code in the file (the seal) is no part of any of its sections.
#[allow(unsafe_code, reason = "the one place where machine code is loaded; see the safety comment")]
fn map(engine: &Engine, path: &Path) -> wasmtime::Result<Component> {
    // SAFETY: the caller has just written the file, or verified that this host wrote it with this engine, for this
    // component. The file lies in a folder that only this user may enter, is only ever replaced by renaming, never changed in place, and so
    // stays as it is while it is mapped.
    unsafe { Component::deserialize_file(engine.wasmtime(), path) }
}

/// Writes a file that is whole or absent: a temporary one, then renamed. It is not synced, which would take longer than
/// the rest: after a loss of power it may be damaged, and then its seal tells.
fn write_whole(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let temp = temporary(path)?;
    let written = (|| {
        let mut file = private_file(&temp)?;
        parts.iter().try_for_each(|part| file.write_all(part))?;
        fs::rename(&temp, path)
    })();
    if written.is_err() {
        // The first failure is the one to report.
        let _ = fs::remove_file(&temp);
    }
    written
}

/// A name beside `path` that nobody else uses.
fn temporary(path: &Path) -> io::Result<PathBuf> {
    Ok(path.with_extension(format!("{}.tmp", hex::encode(random::<8>()?))))
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| io::Error::other(e.to_string()))?;
    Ok(bytes)
}

fn read_or_make_key(dir: &Path) -> io::Result<[u8; KEY_LEN]> {
    let path = dir.join(KEY_FILE);
    // Two processes may meet here: whichever key is at the path in the end is everybody's.
    for _ in 0..2 {
        match fs::File::open(&path) {
            Ok(file) => {
                keep_private(&path, 0o600)?;
                let mut key = Vec::new();
                file.take(KEY_LEN as u64 + 1).read_to_end(&mut key)?;
                if let Ok(key) = key.try_into() {
                    return Ok(key);
                }
                tracing::warn!(path = %path.display(), "the artifact key is damaged; making a new one");
                fs::remove_file(&path)?;
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        let key = random()?;
        let temp = temporary(&path)?;
        let mut file = private_file(&temp)?;
        file.write_all(&key)?;
        file.sync_all()?;
        // A link, unlike a rename, leaves a key alone that another process has put there meanwhile.
        let linked = fs::hard_link(&temp, &path);
        fs::remove_file(&temp)?;
        match linked {
            Ok(()) => return Ok(key),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
    }
    Err(io::Error::other("its key keeps being damaged"))
}

#[cfg(unix)]
fn keep_private(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    // Only the owner may do this, so it also tells whose it is.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn keep_private(_: &Path, _: u32) -> io::Result<()> {
    // A user's profile folder is private already.
    Ok(())
}

fn private_file(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine() -> Engine {
        Engine::new(&crate::EngineConfig { instances: 4 }).unwrap()
    }

    const WASM: &[u8] = b"(component (core module))";

    async fn load(artifacts: &Arc<Artifacts>, offer: bool) -> Result<Component, Error> {
        let wasm = async move { if offer { Ok(WASM.into()) } else { Err(Error::NotFound("asked".into())) } };
        artifacts.load(Digest::of(WASM), wasm).await
    }

    fn only_artifact(dir: &Path) -> PathBuf {
        let mut found: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
        found.retain(|path| path.extension().is_some_and(|e| e == "cwasm"));
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    #[tokio::test]
    async fn what_was_compiled_is_loaded_without_asking_for_the_component_again() {
        let dir = tempfile::tempdir().unwrap();
        let engine = engine();
        load(&Arc::new(Artifacts::open(engine.clone(), dir.path()).unwrap()), true).await.unwrap();
        load(&Arc::new(Artifacts::open(engine, dir.path()).unwrap()), false).await.unwrap();
    }

    #[tokio::test]
    async fn a_changed_truncated_renamed_or_foreign_file_is_compiled_anew() {
        let dir = tempfile::tempdir().unwrap();
        let engine = engine();
        let artifacts = Arc::new(Artifacts::open(engine.clone(), dir.path()).unwrap());
        load(&artifacts, true).await.unwrap();
        let path = only_artifact(dir.path());
        let good = fs::read(&path).unwrap();
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 1;
        let unsealed = engine.wasmtime().precompile_component(WASM).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        load(&Arc::new(Artifacts::open(engine.clone(), elsewhere.path()).unwrap()), true).await.unwrap();
        let foreign = fs::read(only_artifact(elsewhere.path())).unwrap();
        for bad in [&flipped[..], &good[..good.len() - 1], &good[..10], &[], &unsealed, &foreign] {
            fs::write(&path, bad).unwrap();
            assert!(matches!(load(&artifacts, false).await, Err(Error::NotFound(_))), "a bad file was loaded");
            load(&artifacts, true).await.unwrap();
            load(&artifacts, false).await.unwrap();
        }
        // A good artifact under another component's name.
        let other = Digest::of(b"other");
        fs::copy(
            &path,
            path.with_file_name(
                path.file_name().unwrap().to_str().unwrap().replace(&Digest::of(WASM).to_string(), &other.to_string()),
            ),
        )
        .unwrap();
        let asked = artifacts.load(other, async { Err(Error::NotFound("asked".into())) }).await;
        assert!(matches!(asked, Err(Error::NotFound(_))));
    }

    #[tokio::test]
    async fn what_is_too_large_or_broken_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let artifacts = Arc::new(Artifacts::open(engine(), dir.path()).unwrap());
        for (wasm, reason) in
            [(vec![0; MAX_WASM + 1], "at most"), (b"\0asm\x0d\0\x01\0\xff".to_vec(), "does not compile")]
        {
            let error = artifacts.load(Digest::of(&wasm), async { Ok(wasm.into()) }).await.unwrap_err();
            assert!(matches!(&error, Error::Invalid(s) if s.contains(reason)), "{error}");
        }
        assert!(fs::read_dir(dir.path()).unwrap().all(|e| e.unwrap().file_name() == KEY_FILE));
    }

    #[cfg(unix)]
    #[test]
    fn folder_and_key_are_this_users_alone_and_a_damaged_key_is_replaced() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("artifacts");
        let engine = engine();
        let first = Artifacts::open(engine.clone(), &cache).unwrap().key;
        assert_eq!(Artifacts::open(engine.clone(), &cache).unwrap().key, first);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&cache), mode(&cache.join(KEY_FILE))), (0o700, 0o600));
        fs::write(cache.join(KEY_FILE), b"short").unwrap();
        assert_ne!(Artifacts::open(engine, &cache).unwrap().key, first);
    }
}
