//! The key that seals secrets.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
    sync::Arc,
};

use animus_core::{Error, Result, id::TenantId, store::SecretValue};
use chacha20poly1305::{
    Key, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, KeyInit as _, Payload},
};
use zeroize::Zeroizing;

const KEY: usize = 32;
const NONCE: usize = 24;

/// The key of a host, 32 random bytes. Clones share it; it is wiped from memory when the last one goes.
#[derive(Clone)]
pub struct MasterKey(Arc<Zeroizing<[u8; KEY]>>);

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

impl MasterKey {
    /// Reads the key from a file, or makes both when there is no file. The folder must exist. Blocks, briefly.
    ///
    /// An existing file is never written to: a lost key is a loss of all secrets, so it takes an operator's hand.
    ///
    /// # Errors
    /// [`Error::Invalid`] when others than the owner may read the file, or it does not hold a key;
    /// [`Error::Unavailable`] when it cannot be read or made.
    pub fn load_or_create(path: &Path) -> Result<Self> {
        match Self::load(path)? {
            Some(key) => Ok(key),
            None => {
                create(path).map_err(|e| Error::Unavailable(format!("cannot make the key {}: {e}", path.display())))?;
                // Read back: another process may have been first, and then its key is the key.
                Self::load(path)?
                    .ok_or_else(|| Error::Unavailable(format!("the key {} vanished while it was made", path.display())))
            }
        }
    }

    fn load(path: &Path) -> Result<Option<Self>> {
        let unreadable = |e: io::Error| Error::Unavailable(format!("cannot read the key {}: {e}", path.display()));
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(unreadable(e)),
        };
        let mode = file.metadata().map_err(unreadable)?.mode();
        if mode & 0o077 != 0 {
            return Err(Error::Invalid(format!(
                "the key {path} may be read by others (mode {:o}); close it with: chmod 600 {path}",
                mode & 0o777,
                path = path.display(),
            )));
        }
        // One byte more than a key, to see a longer file.
        let mut bytes = Zeroizing::new(Vec::with_capacity(KEY + 1));
        file.take(KEY as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        let key: [u8; KEY] = bytes.as_slice().try_into().map_err(|_| {
            Error::Invalid(format!(
                "{} is not a key of {KEY} bytes; put the right file back, or remove it and set all secrets again",
                path.display(),
            ))
        })?;
        Ok(Some(Self(Arc::new(Zeroizing::new(key)))))
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&Key::from(**self.0))
    }

    /// Seals a secret for one tenant and handle: nonce, then ciphertext.
    pub(crate) fn seal(&self, tenant: &TenantId, handle: &str, value: &SecretValue) -> Result<Vec<u8>> {
        let failed = || Error::Internal(format!("cannot seal the secret '{handle}'"));
        let mut sealed = [0; NONCE].to_vec();
        getrandom::fill(&mut sealed).map_err(|_| failed())?;
        let nonce = XNonce::try_from(sealed.as_slice()).map_err(|_| failed())?;
        let aad = bound_to(tenant, handle);
        let payload = Payload { msg: value.expose().as_bytes(), aad: &aad };
        sealed.extend(self.cipher().encrypt(&nonce, payload).map_err(|_| failed())?);
        Ok(sealed)
    }

    /// Opens what [`Self::seal`] sealed for the same tenant and handle.
    pub(crate) fn open(&self, tenant: &TenantId, handle: &str, sealed: &[u8]) -> Result<SecretValue> {
        let failed = || {
            Error::Internal(format!(
                "the secret '{handle}' was sealed with another key or changed since; \
                 put the key file back, or set it again with: animus secret set {handle}"
            ))
        };
        let (nonce, msg) = sealed.split_at_checked(NONCE).ok_or_else(failed)?;
        let nonce = XNonce::try_from(nonce).map_err(|_| failed())?;
        let aad = bound_to(tenant, handle);
        let plain = self.cipher().decrypt(&nonce, Payload { msg, aad: &aad }).map(Zeroizing::new);
        let plain = plain.map_err(|_| failed())?;
        Ok(SecretValue::new(std::str::from_utf8(&plain).map_err(|_| failed())?))
    }
}

/// Authenticated along with each secret, so that a row that is copied to another tenant or handle does not open.
/// Neither part can hold a zero byte.
fn bound_to(tenant: &TenantId, handle: &str) -> Vec<u8> {
    [tenant.as_str().as_bytes(), &[0], handle.as_bytes()].concat()
}

/// Makes the file appear whole or not at all, and never over another. That is why the last step is a link and not a
/// rename, which would replace the key that another process made in the meantime.
fn create(path: &Path) -> io::Result<()> {
    let mut key = Zeroizing::new([0; KEY]);
    let mut mark = [0; 8];
    getrandom::fill(&mut *key).map_err(io::Error::other)?;
    getrandom::fill(&mut mark).map_err(io::Error::other)?;
    let temporary = path.with_added_extension(hex::encode(mark));
    let made = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(&*key)?;
        file.sync_all()?;
        fs::hard_link(&temporary, path)
    })();
    // Whatever happened, the temporary name has served; a failure to remove it hides no other.
    let removed = fs::remove_file(&temporary);
    match made {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        made => made.and(removed)?,
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_closed_to_others_and_leaves_no_other_file() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("master.key");
        let first = MasterKey::load_or_create(&path).unwrap();
        let second = MasterKey::load_or_create(&path).unwrap();
        assert_eq!(first.0, second.0);
        assert_ne!(**first.0, [0; KEY]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
        assert_eq!(format!("{first:?}"), "MasterKey(…)");
    }

    #[test]
    fn those_who_come_at_once_get_one_key() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("master.key");
        let make = || MasterKey::load_or_create(&path).unwrap().0;
        let keys = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(keys.iter().all(|key| *key == make()));
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_key_that_others_may_read_is_refused_with_the_remedy() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("master.key");
        MasterKey::load_or_create(&path).unwrap();
        for mode in [0o640, 0o604, 0o660] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = MasterKey::load_or_create(&path).unwrap_err();
            assert_eq!(error.class(), "invalid");
            assert!(error.to_string().ends_with(&format!("chmod 600 {}", path.display())), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_no_key_is_refused_and_kept() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("master.key");
        for bytes in [&b""[..], b"short", &[7; KEY + 1]] {
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            assert_eq!(MasterKey::load_or_create(&path).unwrap_err().class(), "invalid");
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
    }

    #[test]
    fn a_missing_folder_is_an_error_that_names_the_key() {
        let home = tempfile::tempdir().unwrap();
        let error = MasterKey::load_or_create(&home.path().join("none/master.key")).unwrap_err();
        assert_eq!(error.class(), "unavailable");
        assert!(error.to_string().contains("none/master.key"), "{error}");
    }

    #[test]
    fn a_sealed_secret_opens_only_unchanged_under_its_key_tenant_and_handle() {
        let home = tempfile::tempdir().unwrap();
        let key = MasterKey::load_or_create(&home.path().join("a")).unwrap();
        let other = MasterKey::load_or_create(&home.path().join("b")).unwrap();
        let (a, b) = (TenantId::new("a").unwrap(), TenantId::new("b").unwrap());
        let sealed = key.seal(&a, "token", &SecretValue::new("s3cret")).unwrap();
        assert_eq!(key.open(&a, "token", &sealed).unwrap().expose(), "s3cret");
        assert_ne!(sealed, key.seal(&a, "token", &SecretValue::new("s3cret")).unwrap(), "a nonce was used twice");
        for failed in [other.open(&a, "token", &sealed), key.open(&b, "token", &sealed), key.open(&a, "tok", &sealed)] {
            assert!(failed.unwrap_err().to_string().contains("animus secret set tok"));
        }
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(key.open(&a, "token", &changed).is_err(), "byte {at} is not authenticated");
            assert!(key.open(&a, "token", &sealed[..at]).is_err(), "cut at {at}");
        }
    }
}
