//! What a plugin may reach: the same vocabulary for requests, grants and ceilings, and its algebra.
//!
//! [`Grant::meet`] is what two grants have in common; [`Grant::within`] says whether one holds nothing beyond the other.
//! For all a, b: `a.meet(b)` is within `a` and within `b`, and a grant allows nothing that a wider one refuses
//! (property-tested).

use std::{collections::BTreeSet, fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{Error, limits::SomeLimits};

macro_rules! text_serde {
    ($T:ty) => {
        impl TryFrom<String> for $T {
            type Error = Error;
            fn try_from(s: String) -> Result<Self, Error> {
                s.parse()
            }
        }
        impl From<$T> for String {
            fn from(value: $T) -> String {
                value.to_string()
            }
        }
    };
}

/// A name or a prefix of names: `fs.read_file`, `fs.*`, `*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(String);

impl Pattern {
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
            (Some(_), None) => self.matches(&other.0),
            (None, Some(_)) => false,
            (None, None) => self.0 == other.0,
        }
    }
}

impl FromStr for Pattern {
    type Err = Error;
    /// A `*` may stand alone or after a dot, at the end only, so that `f*` cannot come to mean more than it says.
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
            Err(Error::Invalid(format!("'{}' is not a name or a pattern such as 'fs.*'", s.escape_debug())))
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
text_serde!(Pattern);

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
    /// Whether it matches a destination. `host` is as [`url::Url::host_str`] gives it.
    #[must_use]
    pub fn matches(&self, scheme: &str, host: &str, port: u16) -> bool {
        self.scheme.as_deref().is_none_or(|s| s == scheme)
            && self.port.is_none_or(|p| p == port)
            && host_matches(&self.host, &host.trim_end_matches('.').to_ascii_lowercase())
    }

    /// Whether it matches all that `other` matches.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        (self.scheme.is_none() || self.scheme == other.scheme)
            && (self.port.is_none() || self.port == other.port)
            && (self.host == "*"
                || self.host == other.host
                || (!other.host.starts_with('*') && host_matches(&self.host, &other.host)))
    }
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
            Error::Invalid(format!("'{}' is not a host pattern ([scheme://]host[:port]): {why}", s.escape_debug()))
        };
        let (scheme, rest) = match s.split_once("://") {
            None => (Some("https"), s),
            Some(("*", rest)) => (None, rest),
            Some((scheme @ ("http" | "https"), rest)) => (Some(scheme), rest),
            Some(_) => return Err(bad("the scheme is http, https or *")),
        };
        let split = match rest.rfind(']') {
            Some(end) => rest.get(end + 1..).and_then(|tail| tail.strip_prefix(':')).map(|port| (&rest[..=end], port)),
            None => rest.rsplit_once(':'),
        };
        let (host, port) = split.map_or((rest, None), |(host, port)| (host, Some(port)));
        let port = match (port, scheme) {
            (Some("*"), _) => None,
            (Some(port), _) => {
                Some(port.parse::<u16>().ok().filter(|p| *p != 0).ok_or_else(|| bad("the port is 1 to 65535 or *"))?)
            }
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
            let parsed = url::Host::parse(name.trim_end_matches('.')).map_err(|_| bad("the host does not parse"))?;
            if !star.is_empty() && !matches!(parsed, url::Host::Domain(_)) {
                return Err(bad("an address has no labels"));
            }
            format!("{star}{parsed}")
        };
        Ok(Self { scheme: scheme.map(str::to_owned), host, port })
    }
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

/// Access to the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LedgerAccess {
    /// Append entries.
    Append,
    /// Read entries.
    Read,
}

/// Access to memories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryAccess {
    /// Recall and get.
    Read,
    /// Store, tag and forget.
    Write,
}

/// Models.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LlmGrant {
    /// The roles and aliases.
    pub roles: BTreeSet<Pattern>,
    /// The longest single answer, in tokens.
    #[serde(default = "default_max_tokens")]
    pub max_tokens: u32,
}

fn default_max_tokens() -> u32 {
    8_192
}

/// A secret that the host puts into a request header.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretGrant {
    /// The secret's handle (`animus secret set HANDLE`).
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
    fn covers(&self, other: &Self) -> bool {
        self == other || (self.handle == "*" && self.host.covers(&other.host))
    }
}

/// HTTP.
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

/// Access to a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathMode {
    /// Read only.
    Ro,
    /// Read and write.
    Rw,
}

impl fmt::Display for PathMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ro => "ro",
            Self::Rw => "rw",
        })
    }
}

/// A folder of the host, and where the guest sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathGrant {
    /// An absolute path, or `$workspace` (the run's folder), or `$workspace/…`.
    pub host: String,
    /// Where the guest sees it, absolute; `*` is anywhere (ceilings).
    pub guest: String,
    /// Read, or read and write.
    pub mode: PathMode,
}

impl PathGrant {
    /// Whether it allows all that `other` allows.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        (self.guest == "*" || self.guest == other.guest)
            && self.mode >= other.mode
            && path_covers(&self.host, &other.host)
    }

    /// Checks both paths' form.
    ///
    /// # Errors
    /// [`Error::Invalid`] for relative paths and for paths with `.` or `..`.
    pub fn check(&self) -> Result<(), Error> {
        let plain = |path: &str| !path.split('/').any(|part| part == "." || part == "..") && !path.contains('\0');
        let host_ok = self.host == "*"
            || ((self.host.starts_with('/') || self.host == "$workspace" || self.host.starts_with("$workspace/"))
                && plain(&self.host));
        if !host_ok {
            return Err(Error::Invalid(format!(
                "host path '{}' is neither absolute nor $workspace, or has . or .. in it",
                self.host.escape_debug()
            )));
        }
        if self.guest != "*" && !(self.guest.starts_with('/') && plain(&self.guest)) {
            return Err(Error::Invalid(format!(
                "guest path '{}' is not absolute, or has . or .. in it",
                self.guest.escape_debug()
            )));
        }
        Ok(())
    }
}

fn path_covers(outer: &str, inner: &str) -> bool {
    let outer = outer.trim_end_matches('/');
    outer == "*"
        || outer == inner.trim_end_matches('/')
        || inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'))
}

/// What may be reached. The default is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grant {
    /// Models, and the engage loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub llm: Option<LlmGrant>,
    /// The ledger of the current work item.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub ledger: BTreeSet<LedgerAccess>,
    /// The tenant's memories.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub memory: BTreeSet<MemoryAccess>,
    /// Tools of other plugins.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub tool: BTreeSet<Pattern>,
    /// HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpGrant>,
    /// Folders.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub paths: BTreeSet<PathGrant>,
    /// Limits other than the defaults.
    #[serde(skip_serializing_if = "is_silent")]
    pub limits: SomeLimits,
}

fn is_silent(limits: &SomeLimits) -> bool {
    *limits == SomeLimits::default()
}

/// One thing to be allowed or refused. Its written form is what people, guests and models read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Capability {
    /// A model role, with the longest answer asked for.
    Llm {
        /// The role or alias.
        role: String,
        /// The longest answer, in tokens.
        max_tokens: u32,
    },
    /// The ledger.
    Ledger(LedgerAccess),
    /// Memories.
    Memory(MemoryAccess),
    /// A tool by its full name.
    Tool(String),
    /// A request.
    Http {
        /// The method, upper case.
        method: String,
        /// `http` or `https`.
        scheme: String,
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
    /// A connection to an address that is not public.
    Network(IpAddr),
    /// A folder.
    Path(PathGrant),
    /// An interface, such as `wasi:sockets/tcp@0.2.0`, that the host links for no grant.
    Interface(String),
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Llm { role, max_tokens } => write!(f, "llm:{role} ({max_tokens} tokens)"),
            Self::Ledger(LedgerAccess::Append) => f.write_str("ledger:append"),
            Self::Ledger(LedgerAccess::Read) => f.write_str("ledger:read"),
            Self::Memory(MemoryAccess::Read) => f.write_str("memory:read"),
            Self::Memory(MemoryAccess::Write) => f.write_str("memory:write"),
            Self::Tool(name) => write!(f, "tool:{name}"),
            Self::Http { method, scheme, host, port } => match scheme.as_str() {
                "https" => write!(f, "http:{method} {host}:{port}"),
                scheme => write!(f, "http:{method} {scheme}://{host}:{port}"),
            },
            Self::Network(ip) => write!(f, "network:{ip}"),
            Self::Path(path) => write!(f, "path:{} {} as {}", path.mode, path.host, path.guest),
            Self::Interface(name) => write!(f, "interface:{name}"),
        }
    }
}

impl Grant {
    /// Everything: the ceiling of a host whose operator set none.
    #[must_use]
    pub fn everything() -> Self {
        let any = || Pattern("*".to_owned());
        let anywhere = || HostPattern { scheme: None, host: "*".to_owned(), port: None };
        Self {
            llm: Some(LlmGrant { roles: BTreeSet::from([any()]), max_tokens: u32::MAX }),
            ledger: BTreeSet::from([LedgerAccess::Append, LedgerAccess::Read]),
            memory: BTreeSet::from([MemoryAccess::Read, MemoryAccess::Write]),
            tool: BTreeSet::from([any()]),
            http: Some(HttpGrant {
                hosts: BTreeSet::from([anywhere()]),
                methods: BTreeSet::from(["*".to_owned()]),
                networks: ["0.0.0.0/0", "::/0"].iter().filter_map(|net| net.parse().ok()).collect(),
                secrets: BTreeSet::from([SecretGrant {
                    handle: "*".to_owned(),
                    host: anywhere(),
                    header: String::new(),
                    prefix: String::new(),
                }]),
            }),
            paths: BTreeSet::from([PathGrant { host: "*".to_owned(), guest: "*".to_owned(), mode: PathMode::Rw }]),
            limits: SomeLimits::default(),
        }
    }

    /// Whether it allows `capability`.
    #[must_use]
    pub fn allows(&self, capability: &Capability) -> bool {
        match capability {
            Capability::Llm { role, max_tokens } => self
                .llm
                .as_ref()
                .is_some_and(|llm| *max_tokens <= llm.max_tokens && llm.roles.iter().any(|p| p.matches(role))),
            Capability::Ledger(access) => self.ledger.contains(access),
            Capability::Memory(access) => self.memory.contains(access),
            Capability::Tool(name) => self.tool.iter().any(|p| p.matches(name)),
            Capability::Http { method, scheme, host, port } => self.http.as_ref().is_some_and(|http| {
                (http.methods.contains("*") || http.methods.contains(method))
                    && http.hosts.iter().any(|p| p.matches(scheme, host, *port))
            }),
            Capability::Network(ip) => {
                self.http.as_ref().is_some_and(|http| http.networks.iter().any(|net| net.contains(ip)))
            }
            Capability::Path(path) => self.paths.iter().any(|granted| granted.covers(path)),
            Capability::Interface(_) => false,
        }
    }

    /// What both allow.
    #[must_use]
    pub fn meet(&self, other: &Self) -> Self {
        Self {
            llm: self.llm.as_ref().zip(other.llm.as_ref()).map(|(a, b)| LlmGrant {
                roles: pairwise(&a.roles, &b.roles, Pattern::covers),
                max_tokens: a.max_tokens.min(b.max_tokens),
            }),
            ledger: &self.ledger & &other.ledger,
            memory: &self.memory & &other.memory,
            tool: pairwise(&self.tool, &other.tool, Pattern::covers),
            http: self.http.as_ref().zip(other.http.as_ref()).map(|(a, b)| HttpGrant {
                hosts: meet_hosts(&a.hosts, &b.hosts),
                methods: pairwise(&a.methods, &b.methods, |x, y| x == "*" || x == y),
                networks: pairwise(&a.networks, &b.networks, |x, y| x.contains(y)),
                secrets: pairwise(&a.secrets, &b.secrets, SecretGrant::covers),
            }),
            paths: meet_paths(&self.paths, &other.paths),
            limits: self.limits.meet(other.limits),
        }
    }

    /// Whether it holds nothing beyond `other`, limits aside: those are met when they are put in force. Lists what
    /// goes beyond.
    ///
    /// # Errors
    /// The capabilities that `other` does not hold, in their written form.
    pub fn within(&self, other: &Self) -> Result<(), Vec<String>> {
        let mut beyond = Vec::new();
        let mut check = |inside: bool, what: String| {
            if !inside {
                beyond.push(what);
            }
        };
        if let Some(llm) = &self.llm {
            let most = other.llm.as_ref().map_or(0, |o| o.max_tokens);
            check(llm.max_tokens <= most, format!("llm: {} tokens an answer", llm.max_tokens));
            for role in &llm.roles {
                let inside = other.llm.as_ref().is_some_and(|o| o.roles.iter().any(|p| p.covers(role)));
                check(inside, format!("llm:{role}"));
            }
        }
        for access in self.ledger.difference(&other.ledger) {
            check(false, Capability::Ledger(*access).to_string());
        }
        for access in self.memory.difference(&other.memory) {
            check(false, Capability::Memory(*access).to_string());
        }
        for tool in &self.tool {
            check(other.tool.iter().any(|p| p.covers(tool)), format!("tool:{tool}"));
        }
        if let Some(http) = &self.http {
            let none = HttpGrant::default();
            let o = other.http.as_ref().unwrap_or(&none);
            for host in &http.hosts {
                check(o.hosts.iter().any(|p| p.covers(host)), format!("http host {host}"));
            }
            for method in &http.methods {
                check(o.methods.contains("*") || o.methods.contains(method), format!("http method {method}"));
            }
            for net in &http.networks {
                check(o.networks.iter().any(|n| n.contains(net)), format!("network:{net}"));
            }
            for secret in &http.secrets {
                check(
                    o.secrets.iter().any(|s| s.covers(secret)),
                    format!("secret {} for {}", secret.handle, secret.host),
                );
            }
        }
        for path in &self.paths {
            check(other.paths.iter().any(|p| p.covers(path)), Capability::Path(path.clone()).to_string());
        }
        if beyond.is_empty() { Ok(()) } else { Err(beyond) }
    }

    /// Whether it allows nothing at all.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self { limits: self.limits, ..Self::default() }
    }

    /// Checks what serde cannot: paths, methods, headers.
    ///
    /// # Errors
    /// [`Error::Invalid`] that names the offending part.
    pub fn check(&self) -> Result<(), Error> {
        self.paths.iter().try_for_each(PathGrant::check)?;
        if let Some(http) = &self.http {
            for method in &http.methods {
                if method != "*" && !(!method.is_empty() && method.bytes().all(|b| b.is_ascii_uppercase())) {
                    return Err(Error::Invalid(format!(
                        "'{}' is not an HTTP method in upper case",
                        method.escape_debug()
                    )));
                }
            }
            for secret in &http.secrets {
                let token = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
                if secret.header.is_empty() || !secret.header.bytes().all(token) {
                    return Err(Error::Invalid(format!("'{}' is not a header name", secret.header.escape_debug())));
                }
                if secret.prefix.bytes().any(|b| !(0x20..0x7f).contains(&b)) {
                    return Err(Error::Invalid(format!(
                        "the prefix of secret '{}' has a control character",
                        secret.handle
                    )));
                }
            }
        }
        Ok(())
    }
}

/// The members of either set that a member of the other covers.
fn pairwise<T: Ord + Clone>(a: &BTreeSet<T>, b: &BTreeSet<T>, covers: impl Fn(&T, &T) -> bool) -> BTreeSet<T> {
    let inside = |x: &&T, of: &BTreeSet<T>| of.iter().any(|y| covers(y, x));
    a.iter().filter(|x| inside(x, b)).chain(b.iter().filter(|x| inside(x, a))).cloned().collect()
}

/// Host patterns differ in three ways at once, so neither may cover the other and they still have hosts in common.
fn meet_hosts(a: &BTreeSet<HostPattern>, b: &BTreeSet<HostPattern>) -> BTreeSet<HostPattern> {
    let mut met = BTreeSet::new();
    for x in a {
        for y in b {
            let scheme = match (&x.scheme, &y.scheme) {
                (Some(s), Some(t)) if s != t => continue,
                (s, t) => s.clone().or_else(|| t.clone()),
            };
            let port = match (x.port, y.port) {
                (Some(p), Some(q)) if p != q => continue,
                (p, q) => p.or(q),
            };
            let of = |host: &str| HostPattern { scheme: None, host: host.to_owned(), port: None };
            let host = if of(&x.host).covers(&of(&y.host)) {
                &y.host
            } else if of(&y.host).covers(&of(&x.host)) {
                &x.host
            } else {
                continue;
            };
            met.insert(HostPattern { scheme, host: host.clone(), port });
        }
    }
    met
}

/// As [`meet_hosts`]: the narrower of host, guest and mode, each by itself.
fn meet_paths(a: &BTreeSet<PathGrant>, b: &BTreeSet<PathGrant>) -> BTreeSet<PathGrant> {
    let mut met = BTreeSet::new();
    for x in a {
        for y in b {
            let host = if path_covers(&x.host, &y.host) {
                &y.host
            } else if path_covers(&y.host, &x.host) {
                &x.host
            } else {
                continue;
            };
            let guest = match (x.guest.as_str(), y.guest.as_str()) {
                ("*", guest) | (guest, "*") => guest,
                (g, h) if g == h => g,
                _ => continue,
            };
            met.insert(PathGrant { host: host.clone(), guest: guest.to_owned(), mode: x.mode.min(y.mode) });
        }
    }
    met
}
