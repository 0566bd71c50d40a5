//! HTTP: where to, by which methods, into which networks, with which secrets.

use std::{collections::BTreeSet, fmt, str::FromStr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{pairwise, widest};
use crate::{Error, id::is_name, text::escape};

/// Where HTTP may go: `[scheme://]host[:port]`.
///
/// Without a scheme it means `https`; without a port, the scheme's own. The host is a name, an address, `*.` before a
/// name for exactly one more label, or `*`. `*://*:*` is everything.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPattern {
    /// `http` or `https`; none for both.
    pub scheme: Option<String>,
    /// Lower case, no final dot; `*`, `*.name` or exact. IPv6 addresses in brackets.
    pub host: String,
    /// None for all.
    pub port: Option<u16>,
}

impl HostPattern {
    /// The pattern that matches every destination.
    #[must_use]
    pub fn any() -> Self {
        Self { scheme: None, host: "*".to_owned(), port: None }
    }

    /// Whether it matches a destination. `host` is as [`url::Url::host_str`] gives it.
    #[must_use]
    pub fn matches(&self, scheme: &str, host: &str, port: u16) -> bool {
        self.scheme.as_deref().map_or(matches!(scheme, "http" | "https"), |s| s == scheme)
            && self.port.is_none_or(|p| p == port)
            && host_matches(&self.host, &host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase())
    }

    /// Whether it matches all that `other` matches.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        (self.scheme.is_none() || self.scheme == other.scheme)
            && (self.port.is_none() || self.port == other.port)
            && host_covers(&self.host, &other.host)
    }

    /// What both match. They differ in three ways at once, so neither may cover the other and they still have
    /// destinations in common.
    pub(super) fn meet(&self, other: &Self) -> Option<Self> {
        let scheme = narrower(self.scheme.as_ref(), other.scheme.as_ref())?;
        let port = narrower(self.port.as_ref(), other.port.as_ref())?;
        let host = if host_covers(&self.host, &other.host) {
            &other.host
        } else if host_covers(&other.host, &self.host) {
            &self.host
        } else {
            return None;
        };
        Some(Self { scheme: scheme.cloned(), host: host.clone(), port: port.copied() })
    }
}

/// Of two things of which `None` stands for all, the one that says more; nothing when they differ.
#[allow(clippy::option_option, reason = "the outer says whether there is one, the inner is what it is")]
fn narrower<'a, T: PartialEq>(a: Option<&'a T>, b: Option<&'a T>) -> Option<Option<&'a T>> {
    match (a, b) {
        (Some(a), Some(b)) if a != b => None,
        (a, b) => Some(a.or(b)),
    }
}

fn host_covers(outer: &str, inner: &str) -> bool {
    outer == inner || outer == "*" || (!inner.starts_with('*') && host_matches(outer, inner))
}

fn host_matches(pattern: &str, host: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    match pattern.strip_prefix("*.") {
        Some(parent) => host
            .strip_suffix(parent)
            .and_then(|rest| rest.strip_suffix('.'))
            .is_some_and(|label| !label.is_empty() && !label.contains('.')),
        None => pattern == host,
    }
}

impl FromStr for HostPattern {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self, Error> {
        let bad = |why: &str| {
            Error::Invalid(format!("'{}' is not a host pattern ([scheme://]host[:port]): {why}", escape(s)))
        };
        let (scheme, rest) = match s.split_once("://") {
            None => (Some("https"), s),
            Some(("*", rest)) => (None, rest),
            Some((scheme @ ("http" | "https"), rest)) => (Some(scheme), rest),
            Some(_) => return Err(bad("the scheme is http, https or *")),
        };
        // The colons of an IPv6 address stand inside its brackets.
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (rest, None),
        };
        let port = match (port, scheme) {
            (Some("*"), _) => None,
            (Some(port), _) => Some(parse_port(port).ok_or_else(|| bad("the port is 1 to 65535 or *"))?),
            (None, Some("http")) => Some(80),
            (None, Some(_)) => Some(443),
            (None, None) => None,
        };
        // The form that an URL would have, so that patterns and requests compare as texts.
        let host = if host == "*" {
            host.to_owned()
        } else {
            let (star, name) = host.strip_prefix("*.").map_or(("", host), |name| ("*.", name));
            if name.contains('*') {
                return Err(bad("a * stands alone or before the first dot"));
            }
            let name = name.strip_suffix('.').unwrap_or(name);
            let parsed = url::Host::parse(name).map_err(|_| bad("the host does not parse"))?;
            if !star.is_empty() && !matches!(parsed, url::Host::Domain(_)) {
                return Err(bad("an address has no labels"));
            }
            format!("{star}{parsed}")
        };
        Ok(Self { scheme: scheme.map(str::to_owned), host, port })
    }
}

fn parse_port(text: &str) -> Option<u16> {
    // Rust's own parser takes a sign as well.
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scheme.as_deref() {
            Some("https") => {}
            Some(scheme) => write!(f, "{scheme}://")?,
            None => f.write_str("*://")?,
        }
        f.write_str(&self.host)?;
        match (self.port, self.scheme.as_deref()) {
            (Some(443), Some("https")) | (Some(80), Some("http")) | (None, None) => Ok(()),
            (Some(port), _) => write!(f, ":{port}"),
            (None, _) => f.write_str(":*"),
        }
    }
}

text_serde!(HostPattern);

/// A secret that the host puts into a request header.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretGrant {
    /// The secret's handle (`animus secret set HANDLE`); `*` is any, in any header (ceilings).
    pub handle: String,
    /// Its audience: the requests that carry it.
    pub host: HostPattern,
    /// The header that carries it.
    pub header: String,
    /// What stands before the value, such as `"Bearer "`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
}

impl SecretGrant {
    /// Every secret for every destination.
    #[must_use]
    pub(super) fn any() -> Self {
        Self { handle: "*".to_owned(), host: HostPattern::any(), header: "*".to_owned(), prefix: String::new() }
    }

    /// Checks the form of handle, audience, header and prefix.
    ///
    /// # Errors
    /// [`Error::Invalid`] that names the offending part.
    pub fn check(&self) -> Result<(), Error> {
        let bad = |why: String| Err(Error::Invalid(why));
        let handle = escape(&self.handle);
        if self.handle == "*" {
            return if self.header == "*" && self.prefix.is_empty() {
                Ok(())
            } else {
                bad("the secret '*' is for ceilings, and its header is '*' without a prefix".to_owned())
            };
        }
        if !is_name(&self.handle) {
            return bad(format!("'{handle}' is not a secret's handle ([a-z][a-z0-9_-]*, at most 64 bytes)"));
        }
        if self.host.host == "*" || self.host.scheme.is_none() {
            return bad(format!("the audience {} of the secret '{handle}' does not name scheme and host", self.host));
        }
        let token = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if self.header.is_empty() || self.header.len() > 128 || !self.header.bytes().all(token) {
            return bad(format!("'{}' is not a header name", escape(&self.header)));
        }
        // A secret there would be a lever on where the request ends or whom it reaches.
        const FRAMING: [&str; 7] =
            ["connection", "content-length", "expect", "host", "te", "transfer-encoding", "upgrade"];
        if FRAMING.iter().any(|name| self.header.eq_ignore_ascii_case(name)) {
            return bad(format!("the header '{}' frames the request and carries no secret", self.header));
        }
        if self.prefix.len() > 128 || self.prefix.bytes().any(|b| !(0x20..0x7f).contains(&b)) {
            return bad(format!("the prefix of the secret '{handle}' is over 128 bytes, or not plain ASCII"));
        }
        Ok(())
    }

    /// Whether it allows all that `other` allows.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        (self.handle == "*" || self.is_same(other)) && self.host.covers(&other.host)
    }

    fn is_same(&self, other: &Self) -> bool {
        self.handle == other.handle && self.header.eq_ignore_ascii_case(&other.header) && self.prefix == other.prefix
    }

    /// The same secret for a narrower audience, if the two have one in common.
    pub(super) fn narrowed(&self, to: &HostPattern) -> Option<Self> {
        Some(Self { host: self.host.meet(to)?, ..self.clone() })
    }

    fn meet(&self, other: &Self) -> Option<Self> {
        if self.handle == "*" {
            other.narrowed(&self.host)
        } else if other.handle == "*" || self.is_same(other) {
            self.narrowed(&other.host)
        } else {
            None
        }
    }
}

/// HTTP. Methods count for all hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpGrant {
    /// Where requests may go.
    pub hosts: BTreeSet<HostPattern>,
    /// Their methods, upper case; `*` is any.
    pub methods: BTreeSet<String>,
    /// Networks that are not public (loopback, private, link-local …) and may be reached all the same.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub networks: BTreeSet<IpNet>,
    /// Secrets for their audiences.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub secrets: BTreeSet<SecretGrant>,
}

impl HttpGrant {
    pub(super) fn any() -> Self {
        Self {
            hosts: BTreeSet::from([HostPattern::any()]),
            methods: BTreeSet::from(["*".to_owned()]),
            networks: ["0.0.0.0/0", "::/0"].iter().filter_map(|net| net.parse().ok()).collect(),
            secrets: BTreeSet::from([SecretGrant::any()]),
        }
    }

    pub(super) fn allows_method(&self, method: &str) -> bool {
        self.methods.contains("*") || self.methods.contains(method)
    }

    pub(super) fn allows(&self, method: &str, scheme: &str, host: &str, port: u16) -> bool {
        self.allows_method(method) && self.hosts.iter().any(|pattern| pattern.matches(scheme, host, port))
    }

    /// What both allow; nothing when that leaves no host or no method, so that the import is not even linked.
    pub(super) fn meet(&self, other: &Self) -> Option<Self> {
        let hosts = self.hosts.iter().flat_map(|x| other.hosts.iter().filter_map(|y| x.meet(y)));
        let secrets = self.secrets.iter().flat_map(|x| other.secrets.iter().filter_map(|y| x.meet(y)));
        let met = Self {
            hosts: widest(hosts, HostPattern::covers),
            methods: pairwise(&self.methods, &other.methods, |x, y| x == "*" || x == y),
            networks: pairwise(&self.networks, &other.networks, |x, y| x.contains(y)),
            secrets: widest(secrets, SecretGrant::covers),
        };
        (!met.hosts.is_empty() && !met.methods.is_empty()).then_some(met)
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        self.methods.iter().try_for_each(|method| check_method(method))?;
        self.networks.iter().try_for_each(check_network)?;
        self.secrets.iter().try_for_each(SecretGrant::check)
    }
}

/// Checks the form of an HTTP method.
pub(super) fn check_method(method: &str) -> Result<(), Error> {
    if method == "*" || ((1..=32).contains(&method.len()) && method.bytes().all(|b| b.is_ascii_uppercase())) {
        return Ok(());
    }
    Err(Error::Invalid(format!("'{}' is not an HTTP method in upper case", escape(method))))
}

/// Checks that a network says what it means: `10.0.0.5/8` is either one address or all of 10.0.0.0/8.
pub(super) fn check_network(network: &IpNet) -> Result<(), Error> {
    if *network != network.trunc() {
        return Err(Error::Invalid(format!("the network {network} has host bits; write {}", network.trunc())));
    }
    Ok(())
}
