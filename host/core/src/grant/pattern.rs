//! Names of tools and roles, and prefixes of them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Error, text::escape};

/// A name or a prefix of names: `fs.read_file`, `fs.*`, `*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(String);

impl Pattern {
    /// The pattern that matches every name.
    #[must_use]
    pub fn any() -> Self {
        Self("*".to_owned())
    }

    /// Whether it matches `name`.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => self.0 == name,
        }
    }

    /// Whether it matches all that `other` matches.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self.0.strip_suffix('*'), other.0.strip_suffix('*')) {
            (Some(prefix), Some(of)) => of.starts_with(prefix),
            (_, None) => self.matches(&other.0),
            (None, Some(_)) => false,
        }
    }
}

impl FromStr for Pattern {
    type Err = Error;
    /// A `*` may stand alone or after a dot or colon, at the end only, so that `f*` cannot come to mean more than it
    /// says.
    fn from_str(s: &str) -> Result<Self, Error> {
        let body = s.strip_suffix('*').unwrap_or(s);
        let starred = body.len() != s.len();
        let fits = !s.is_empty()
            && s.len() <= 192
            && body.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-:".contains(&b))
            && (!starred || body.is_empty() || body.ends_with('.') || body.ends_with(':'));
        if fits {
            Ok(Self(s.to_owned()))
        } else {
            Err(Error::Invalid(format!("'{}' is not a name or a pattern such as 'fs.*'", escape(s))))
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_serde!(Pattern);
