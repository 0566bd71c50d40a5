//! Identifiers as types, so that one cannot stand where another belongs.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::Error;

/// Whether `s` is `[a-z][a-z0-9_-]*` of at most 64 bytes: the form of tenant, plugin, role and tag names.
#[must_use]
pub fn is_name(s: &str) -> bool {
    s.len() <= 64
        && s.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
        && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
}

macro_rules! name {
    ($(#[$doc:meta])* $T:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $T(Arc<str>);

        impl $T {
            /// Checks the form `[a-z][a-z0-9_-]*`, at most 64 bytes.
            ///
            /// # Errors
            /// [`Error::Invalid`] for any other text.
            pub fn new(name: impl AsRef<str>) -> Result<Self, Error> {
                let name = name.as_ref();
                if is_name(name) {
                    Ok(Self(name.into()))
                } else {
                    Err(Error::Invalid(format!(
                        concat!($what, " '{}' is not of the form [a-z][a-z0-9_-]*, at most 64 bytes"),
                        name.escape_debug()
                    )))
                }
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $T {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $T {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl FromStr for $T {
            type Err = Error;
            fn from_str(s: &str) -> Result<Self, Error> {
                Self::new(s)
            }
        }

        impl TryFrom<String> for $T {
            type Error = Error;
            fn try_from(s: String) -> Result<Self, Error> {
                Self::new(s)
            }
        }

        impl From<$T> for String {
            fn from(name: $T) -> String {
                name.0.as_ref().to_owned()
            }
        }
    };
}

name!(
    /// A tenant. Every row, cache key and log line about tenant data carries one.
    TenantId,
    "tenant"
);
name!(
    /// An installed plugin, by the name in its manifest.
    PluginName,
    "plugin name"
);

impl TenantId {
    /// The tenant of a single-user host.
    #[must_use]
    pub fn local() -> Self {
        Self("local".into())
    }
}

macro_rules! uuid {
    ($(#[$doc:meta])* $T:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $T(Uuid);

        impl $T {
            /// A new identifier; later ones sort after earlier ones.
            #[must_use]
            #[allow(clippy::new_without_default, reason = "an identifier has no default")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// Its 128 bits, most significant first.
            #[must_use]
            pub fn as_u128(self) -> u128 {
                self.0.as_u128()
            }
        }

        impl fmt::Display for $T {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $T {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $T {
            type Err = Error;
            fn from_str(s: &str) -> Result<Self, Error> {
                Uuid::parse_str(s)
                    .map(Self)
                    .map_err(|_| Error::Invalid(format!("'{}' is not an identifier", s.escape_debug())))
            }
        }
    };
}

uuid!(
    /// A work item.
    WorkId
);
uuid!(
    /// One run of a work item by its faculty.
    FocusId
);
uuid!(
    /// A stored memory.
    MemoryId
);

impl MemoryId {
    /// The identifier of the memory that an effect of a focus stores: the same however often that effect is repeated.
    #[must_use]
    pub fn of_effect(focus: FocusId, seq: u64) -> Self {
        let hash = Sha256::new().chain_update(focus.0.as_bytes()).chain_update(seq.to_be_bytes()).finalize();
        let (bytes, _) = hash.as_slice().as_chunks::<16>();
        Self(uuid::Builder::from_random_bytes(bytes.first().copied().unwrap_or_default()).into_uuid())
    }
}

/// The SHA-256 of an artifact, shown as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The raw digest.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 12 hexadecimal digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(12);
        text
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self, Error> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(s.strip_prefix("sha256:").unwrap_or(s), &mut bytes)
            .map_err(|_| Error::Invalid(format!("'{}' is not a SHA-256 digest", s.escape_debug())))?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;
    fn try_from(s: String) -> Result<Self, Error> {
        s.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["fs", "a", "my-plugin_2"] {
            assert_eq!(PluginName::new(good).unwrap().as_str(), good);
        }
        let long = "a".repeat(65);
        for bad in ["", "1a", "A", "a.b", "a b", "é", "../x", long.as_str(), "-a"] {
            assert!(PluginName::new(bad).is_err(), "{bad:?} passed");
        }
    }

    #[test]
    fn an_effect_names_its_memory_for_ever() {
        let focus: FocusId = "018f0000-0000-7000-8000-000000000000".parse().unwrap();
        assert_eq!(MemoryId::of_effect(focus, 7), MemoryId::of_effect(focus, 7));
        assert_ne!(MemoryId::of_effect(focus, 7), MemoryId::of_effect(focus, 8));
        assert_ne!(MemoryId::of_effect(focus, 7), MemoryId::of_effect(FocusId::new(), 7));
    }

    #[test]
    fn digests_round_trip() {
        let digest = Digest::of(b"abc");
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        assert_eq!(format!("sha256:{digest}").parse::<Digest>().unwrap(), digest);
        assert!("zz".parse::<Digest>().is_err());
        assert_eq!(digest.short(), "ba7816bf8f01");
    }
}
