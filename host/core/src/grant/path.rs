//! Folders.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    Error,
    text::{escape, is_deceptive},
};

/// The longest path, in bytes.
const LONGEST: usize = 4_096;

/// Access to a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathMode {
    /// Read only.
    Ro,
    /// Read and write.
    Rw,
}

/// A folder of the host, and where the guest sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathGrant {
    /// An absolute path, or `$workspace` (the run's folder), or `$workspace/…`; `*` is any (ceilings).
    pub host: String,
    /// Where the guest sees it, absolute; `*` is anywhere (ceilings).
    pub guest: String,
    /// Read, or read and write.
    pub mode: PathMode,
}

impl PathGrant {
    /// Whether it allows all that `other` allows. The guest's path has to be the same: a folder below a granted one is
    /// covered, under the name of the granted one only.
    ///
    /// Paths are compared as texts, so a symbolic link or `$workspace` is never taken for what it leads to.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        (self.guest == "*" || self.guest == other.guest)
            && self.mode >= other.mode
            && host_covers(&self.host, &other.host)
            // Of `/a` and `/a/../b` the text says that one covers the other, and the text lies.
            && self.check().is_ok()
            && other.check().is_ok()
    }

    /// Checks both paths' form.
    ///
    /// # Errors
    /// [`Error::Invalid`] for relative paths, for paths with `.`, `..`, empty parts, a slash at the end or control
    /// characters, and for more than 4096 bytes.
    pub fn check(&self) -> Result<(), Error> {
        let workspace = |path: &str| path == "$workspace" || path.starts_with("$workspace/");
        let host_ok = self.host == "*" || ((self.host.starts_with('/') || workspace(&self.host)) && plain(&self.host));
        if !host_ok {
            return Err(Error::Invalid(format!(
                "host path '{}' is neither absolute nor $workspace, or is not in its plainest form \
                 (no '.', '..', '//', final '/')",
                escape(&self.host)
            )));
        }
        // In the written form of a path capability ` as ` stands between the two.
        let guest_ok =
            self.guest == "*" || (self.guest.starts_with('/') && plain(&self.guest) && !self.guest.contains(" as "));
        if !guest_ok {
            return Err(Error::Invalid(format!(
                "guest path '{}' is not absolute, or is not in its plainest form (no '.', '..', '//', ' as ', final '/')",
                escape(&self.guest)
            )));
        }
        Ok(())
    }

    /// The narrower of host, guest and mode, each by itself.
    fn meet(&self, other: &Self) -> Option<Self> {
        let host = if host_covers(&self.host, &other.host) {
            &other.host
        } else if host_covers(&other.host, &self.host) {
            &self.host
        } else {
            return None;
        };
        let guest = match (self.guest.as_str(), other.guest.as_str()) {
            ("*", guest) | (guest, "*") => guest,
            (mine, theirs) if mine == theirs => mine,
            _ => return None,
        };
        let both = Self { host: host.clone(), guest: guest.to_owned(), mode: self.mode.min(other.mode) };
        (self.covers(&both) && other.covers(&both)).then_some(both)
    }
}

pub(super) fn meet(a: &BTreeSet<PathGrant>, b: &BTreeSet<PathGrant>) -> BTreeSet<PathGrant> {
    super::widest(a.iter().flat_map(|x| b.iter().filter_map(|y| x.meet(y))), PathGrant::covers)
}

fn plain(path: &str) -> bool {
    let mut parts = path.split('/');
    // Before the first slash stands nothing, or `$workspace`.
    parts.next();
    let fits = |part: &str| !part.is_empty() && part != "." && part != "..";
    path.len() <= LONGEST && !path.contains(is_deceptive) && (path == "/" || parts.all(fits))
}

fn host_covers(outer: &str, inner: &str) -> bool {
    outer == "*"
        || outer == inner
        || (outer == "/" && inner.starts_with('/'))
        || inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'))
}
