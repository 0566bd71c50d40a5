//! What a plugin may reach: the same vocabulary for requests, grants and ceilings, and its algebra.
//!
//! [`Grant::meet`] is what two grants have in common; [`Grant::within`] says whether one holds nothing beyond another.
//! For all a, b: `a.meet(b)` is within `a` and within `b`, and a grant allows nothing that a wider one refuses
//! (property-tested). A meet allows exactly what both allow, with one exception on the safe side: where two http
//! grants have no host or no method in common nothing is left of either, private networks included.

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

mod capability;
mod http;
mod path;
mod pattern;
mod widen;
pub(crate) mod written;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use self::{
    capability::Capability,
    http::{HostPattern, HttpGrant, SecretGrant},
    path::{PathGrant, PathMode},
    pattern::Pattern,
};
use crate::{Error, limits::SomeLimits};

/// Access to the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LedgerAccess {
    /// Append entries.
    Append,
    /// Read entries, and be told of other work in an engage loop.
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

/// What a hook may watch, and change or stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookAccess {
    /// What models are sent and what they answer.
    Llm,
    /// Tool calls and their answers.
    Tool,
    /// The end of each turn.
    Turn,
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

impl LlmGrant {
    fn meet(&self, other: &Self) -> Option<Self> {
        let roles = pairwise(&self.roles, &other.roles, Pattern::covers);
        (!roles.is_empty()).then(|| Self { roles, max_tokens: self.max_tokens.min(other.max_tokens) })
    }
}

/// Children of a focus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChildGrant {
    /// The faculties, or kinds of work, that they may be given to.
    pub faculties: BTreeSet<Pattern>,
    /// How many one focus may have in its life, at most [`crate::child::MAX_CHILDREN`].
    #[serde(default = "default_max_children")]
    pub max: u32,
}

pub(crate) fn default_max_children() -> u32 {
    8
}

impl ChildGrant {
    fn meet(&self, other: &Self) -> Option<Self> {
        let faculties = pairwise(&self.faculties, &other.faculties, Pattern::covers);
        (!faculties.is_empty()).then(|| Self { faculties, max: self.max.min(other.max) })
    }
}

/// What may be reached. The default is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grant {
    /// Models, and the engage loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub llm: Option<LlmGrant>,
    /// The ledger of the current work item, and awareness of other work.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub ledger: BTreeSet<LedgerAccess>,
    /// The tenant's memories.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub memory: BTreeSet<MemoryAccess>,
    /// Tools of other plugins.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub tool: BTreeSet<Pattern>,
    /// Interpreter plugins that run code as the holder.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub interpreter: BTreeSet<Pattern>,
    /// What it may watch as a hook.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub hook: BTreeSet<HookAccess>,
    /// Children.
    #[serde(rename = "spawn-child", skip_serializing_if = "Option::is_none")]
    pub spawn_child: Option<ChildGrant>,
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

impl Grant {
    /// Everything: the ceiling of a host whose operator set none.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            llm: Some(LlmGrant { roles: BTreeSet::from([Pattern::any()]), max_tokens: u32::MAX }),
            ledger: BTreeSet::from([LedgerAccess::Append, LedgerAccess::Read]),
            memory: BTreeSet::from([MemoryAccess::Read, MemoryAccess::Write]),
            tool: BTreeSet::from([Pattern::any()]),
            interpreter: BTreeSet::from([Pattern::any()]),
            hook: BTreeSet::from([HookAccess::Llm, HookAccess::Tool, HookAccess::Turn]),
            spawn_child: Some(ChildGrant {
                faculties: BTreeSet::from([Pattern::any()]),
                max: crate::child::MAX_CHILDREN,
            }),
            http: Some(HttpGrant::any()),
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
            Capability::Interpreter(name) => self.interpreter.iter().any(|p| p.matches(name)),
            Capability::Hook(access) => self.hook.contains(access),
            Capability::SpawnChild(faculty) => self
                .spawn_child
                .as_ref()
                .is_some_and(|it| it.max > 0 && it.faculties.iter().any(|p| p.matches(faculty))),
            Capability::Http { method, scheme, host, port } => {
                self.http.as_ref().is_some_and(|http| http.allows(method, scheme, host, *port))
            }
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
            llm: self.llm.as_ref().zip(other.llm.as_ref()).and_then(|(a, b)| a.meet(b)),
            ledger: &self.ledger & &other.ledger,
            memory: &self.memory & &other.memory,
            tool: pairwise(&self.tool, &other.tool, Pattern::covers),
            interpreter: pairwise(&self.interpreter, &other.interpreter, Pattern::covers),
            hook: &self.hook & &other.hook,
            spawn_child: self.spawn_child.as_ref().zip(other.spawn_child.as_ref()).and_then(|(a, b)| a.meet(b)),
            http: self.http.as_ref().zip(other.http.as_ref()).and_then(|(a, b)| a.meet(b)),
            paths: path::meet(&self.paths, &other.paths),
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
        for interpreter in &self.interpreter {
            check(other.interpreter.iter().any(|p| p.covers(interpreter)), format!("interpreter:{interpreter}"));
        }
        for access in self.hook.difference(&other.hook) {
            check(false, Capability::Hook(*access).to_string());
        }
        if let Some(children) = &self.spawn_child {
            let most = other.spawn_child.as_ref().map_or(0, |o| o.max);
            check(children.max <= most, format!("spawn-child: {} children", children.max));
            for faculty in &children.faculties {
                let inside = other.spawn_child.as_ref().is_some_and(|o| o.faculties.iter().any(|p| p.covers(faculty)));
                check(inside, format!("spawn-child:{faculty}"));
            }
        }
        if let Some(http) = &self.http {
            let none = HttpGrant::default();
            let o = other.http.as_ref().unwrap_or(&none);
            for host in &http.hosts {
                check(o.hosts.iter().any(|p| p.covers(host)), format!("http host {host}"));
            }
            for method in &http.methods {
                check(o.allows_method(method), format!("http method {method}"));
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

    /// Checks what serde cannot: paths, methods, networks, secrets.
    ///
    /// # Errors
    /// [`Error::Invalid`] that names the first offending part.
    pub fn check(&self) -> Result<(), Error> {
        if let Some(children) = &self.spawn_child
            && children.max > crate::child::MAX_CHILDREN
        {
            return Err(Error::Invalid(format!(
                "spawn-child.max is {}; one focus has at most {} children",
                children.max,
                crate::child::MAX_CHILDREN
            )));
        }
        let mut guests = BTreeMap::new();
        for path in &self.paths {
            path.check()?;
            if path.guest != "*"
                && let Some(other) = guests.insert(&path.guest, &path.host)
            {
                return Err(Error::Invalid(format!(
                    "the guest path '{}' stands for both '{other}' and '{}'; give them two",
                    path.guest, path.host
                )));
            }
        }
        self.http.as_ref().map_or(Ok(()), HttpGrant::check)
    }
}

/// The members of either set that a member of the other covers.
fn pairwise<T: Ord + Clone>(a: &BTreeSet<T>, b: &BTreeSet<T>, covers: impl Fn(&T, &T) -> bool) -> BTreeSet<T> {
    let inside = |x: &&T, of: &BTreeSet<T>| of.iter().any(|y| covers(y, x));
    widest(a.iter().filter(|x| inside(x, b)).chain(b.iter().filter(|x| inside(x, a))).cloned(), &covers)
}

/// The members that no other covers; the first of those that cover each other.
fn widest<T: Ord + Clone>(members: impl Iterator<Item = T>, covers: impl Fn(&T, &T) -> bool) -> BTreeSet<T> {
    let all: BTreeSet<T> = members.collect();
    let idle = |x: &T| all.iter().any(|y| y != x && covers(y, x) && (y < x || !covers(x, y)));
    all.iter().filter(|x| !idle(x)).cloned().collect()
}
