//! Grants as people write them, in TOML. Manifests use the same words for what they request.

use std::{collections::BTreeSet, fmt, str::FromStr};

use ipnet::IpNet;

use super::{
    ChildGrant, Grant, HookAccess, HttpGrant, LedgerAccess, LlmGrant, MemoryAccess, PathGrant, PathMode, SecretGrant,
    http::{check_method, check_network},
};
use crate::{
    Error,
    limits::{Limits, SomeLimits},
    manifest::MAX_BYTES,
    strict::{self, Table, Value},
};

/// The methods that an http grant without `methods` allows.
pub(crate) const DEFAULT_METHOD: &str = "GET";

impl Grant {
    /// Parses a grant file or a ceiling: the keys `llm`, `ledger`, `memory`, `tool`, `interpreter`, `spawn-child`, `hook`,
    /// `http`, `paths` and `limits`.
    ///
    /// # Errors
    /// [`Error::Invalid`] that lists every problem with its line, one a line.
    pub fn parse_toml(text: &str) -> Result<Self, Error> {
        strict::read("the grant", text, MAX_BYTES, |mut table| {
            let mut grant = capabilities(&mut table);
            grant.http = table.get("http").and_then(|value| {
                let mut http = value.table()?;
                let hosts = http.need("hosts").map(|hosts| hosts.some()).unwrap_or_default();
                Some(HttpGrant { hosts, ..http_but_hosts(&mut http) })
            });
            grant.paths =
                table.get("paths").map(|paths| paths.items().iter().filter_map(path).collect()).unwrap_or_default();
            grant.limits = table.get("limits").and_then(|value| limits(&value)).unwrap_or_default();
            Some(grant)
        })
        .and_then(|grant| grant.check().map(|()| grant))
    }

    /// The grant as [`Grant::parse_toml`] reads it.
    ///
    /// # Errors
    /// [`Error::Internal`] should the encoder refuse.
    pub fn to_toml(&self) -> Result<String, Error> {
        toml::to_string(self).map_err(|e| Error::internal("cannot write the grant as TOML", &e))
    }
}

/// What needs no host and no path: models, ledger, memories, tools, interpreters, children, hooks.
pub(crate) fn capabilities(table: &mut Table<'_>) -> Grant {
    Grant {
        llm: table.get("llm").and_then(|value| llm(&value)),
        ledger: table.get("ledger").map(|value| value.set()).unwrap_or_default(),
        memory: table.get("memory").map(|value| value.set()).unwrap_or_default(),
        tool: table.get("tool").map(|value| value.set()).unwrap_or_default(),
        interpreter: table.get("interpreter").map(|value| value.set()).unwrap_or_default(),
        hook: table.get("hook").map(|value| value.set()).unwrap_or_default(),
        spawn_child: table.get("spawn-child").and_then(|value| children(&value)),
        ..Grant::default()
    }
}

fn children(value: &Value<'_>) -> Option<ChildGrant> {
    let mut table = value.table()?;
    let (faculties, max) = (table.need("faculties"), table.get("max"));
    let max = max.map_or(Some(super::default_max_children()), |max| {
        let (number, most) = (max.number()?, crate::child::MAX_CHILDREN);
        let fits = (1..=most).contains(&number);
        max.accept(fits.then_some(number).ok_or_else(|| format!("should be 1 to {most}")))
    });
    Some(ChildGrant { faculties: faculties?.some(), max: max? })
}

fn llm(value: &Value<'_>) -> Option<LlmGrant> {
    let mut table = value.table()?;
    let roles = table.need("roles")?;
    let max_tokens = match table.get("max_tokens") {
        None => super::default_max_tokens(),
        Some(tokens) => tokens.number()?,
    };
    Some(LlmGrant { roles: roles.some(), max_tokens })
}

/// An http grant without its hosts.
pub(crate) fn http_but_hosts(table: &mut Table<'_>) -> HttpGrant {
    let methods = match table.get("methods") {
        None => BTreeSet::from([DEFAULT_METHOD.to_owned()]),
        Some(methods) => methods.items().iter().filter_map(method).collect(),
    };
    let networks = table.get("networks").map(|nets| nets.items().iter().filter_map(network).collect());
    let secrets = table.get("secrets").map(|secrets| secrets.items().iter().filter_map(secret).collect());
    HttpGrant {
        hosts: BTreeSet::new(),
        methods,
        networks: networks.unwrap_or_default(),
        secrets: secrets.unwrap_or_default(),
    }
}

fn method(value: &Value<'_>) -> Option<String> {
    let method = value.str()?;
    value.accept(check_method(method)).map(|()| method.to_owned())
}

/// A network, or one address.
fn network(value: &Value<'_>) -> Option<IpNet> {
    let text = value.str()?;
    let parsed = text.parse().or_else(|_| text.parse().map(|ip: std::net::IpAddr| IpNet::from(ip)));
    let network = value.accept(parsed.map_err(|_| "is neither an address nor a network such as 10.0.0.0/8"))?;
    value.accept(check_network(&network)).map(|()| network)
}

fn secret(value: &Value<'_>) -> Option<SecretGrant> {
    let mut table = value.table()?;
    let (handle, host, header) = (table.need("handle"), table.need("host"), table.need("header"));
    let prefix = table.get("prefix").map_or(Some(""), |prefix| prefix.str());
    let secret = SecretGrant {
        handle: handle?.str()?.to_owned(),
        host: host?.parse()?,
        header: header?.str()?.to_owned(),
        prefix: prefix?.to_owned(),
    };
    value.accept(secret.check()).map(|()| secret)
}

fn path(value: &Value<'_>) -> Option<PathGrant> {
    let mut table = value.table()?;
    let (host, guest, mode) = (table.need("host"), table.need("guest"), table.need("mode"));
    let path = PathGrant { host: host?.str()?.to_owned(), guest: guest?.str()?.to_owned(), mode: mode?.parse()? };
    value.accept(path.check()).map(|()| path)
}

/// A table of limits.
pub(crate) fn limits(value: &Value<'_>) -> Option<SomeLimits> {
    let mut table = value.table()?;
    for name in Limits::NAMES {
        if let Some(limit) = table.get(name) {
            limit.number::<u64>();
        }
    }
    drop(table);
    value.deserialize()
}

/// Words for [`FromStr`] and [`fmt::Display`].
macro_rules! words {
    ($T:ident, $($variant:ident = $word:literal),+) => {
        impl FromStr for $T {
            type Err = Error;
            fn from_str(s: &str) -> Result<Self, Error> {
                match s {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(Error::Invalid(format!(
                        "'{}' is none of: {}", crate::text::escape(s), [$($word),+].join(", ")
                    ))),
                }
            }
        }
        impl fmt::Display for $T {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$variant => $word,)+
                })
            }
        }
    };
}
words!(LedgerAccess, Append = "append", Read = "read");
words!(MemoryAccess, Read = "read", Write = "write");
words!(HookAccess, Llm = "llm", Tool = "tool", Turn = "turn");
words!(PathMode, Ro = "ro", Rw = "rw");
