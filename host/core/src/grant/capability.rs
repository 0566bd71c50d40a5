//! One thing to be allowed or refused, and its written form.

use std::{fmt, net::IpAddr, str::FromStr};

use super::{HookAccess, HostPattern, LedgerAccess, MemoryAccess, PathGrant, Pattern, http::check_method};
use crate::{Error, text::escape};

/// One thing to be allowed or refused. Its written form is what people, guests and models read, and what
/// `animus plugin grant --allow` takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Capability {
    /// A model role, with the longest answer asked for: `llm:fast (4000 tokens)`, `llm:fast`.
    Llm {
        /// The role or alias.
        role: String,
        /// The longest answer, in tokens; 0 for the role as such.
        max_tokens: u32,
    },
    /// The ledger: `ledger:append`.
    Ledger(LedgerAccess),
    /// Memories: `memory:read`.
    Memory(MemoryAccess),
    /// A tool by its full name: `tool:fs.read_file`.
    Tool(String),
    /// An interpreter plugin that runs the holder's code: `interpreter:python`.
    Interpreter(String),
    /// Watching as a hook: `hook:tool`.
    Hook(HookAccess),
    /// A child for a faculty: `spawn-child:research`.
    SpawnChild(String),
    /// A request: `http:GET api.example.org:443`, `http:GET http://localhost:8080`.
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
    /// A connection to an address that is not public: `network:10.0.0.1`. An IPv6 address with an IPv4 address inside
    /// is of its own family here; who connects asks for both.
    Network(IpAddr),
    /// A folder: `path:ro /usr/share as /share`.
    Path(PathGrant),
    /// An interface, such as `interface:wasi:sockets/tcp@0.2.0`, that the host links for no grant.
    Interface(String),
}

impl fmt::Display for Capability {
    /// Names come from guests, so they are escaped, and cut where no true name is so long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Llm { role, max_tokens: 0 } => write!(f, "llm:{}", name(role)),
            Self::Llm { role, max_tokens } => write!(f, "llm:{} ({max_tokens} tokens)", name(role)),
            Self::Ledger(access) => write!(f, "ledger:{access}"),
            Self::Memory(access) => write!(f, "memory:{access}"),
            Self::Tool(tool) => write!(f, "tool:{}", name(tool)),
            Self::Interpreter(interpreter) => write!(f, "interpreter:{}", name(interpreter)),
            Self::Hook(access) => write!(f, "hook:{access}"),
            Self::SpawnChild(faculty) => write!(f, "spawn-child:{}", name(faculty)),
            Self::Http { method, scheme, host, port } => match scheme.as_str() {
                "https" => write!(f, "http:{} {}:{port}", name(method), name(host)),
                scheme => write!(f, "http:{} {}://{}:{port}", name(method), name(scheme), name(host)),
            },
            Self::Network(ip) => write!(f, "network:{ip}"),
            Self::Path(PathGrant { host, guest, mode }) => {
                write!(f, "path:{mode} {} as {}", escape(host), escape(guest))
            }
            Self::Interface(interface) => write!(f, "interface:{}", name(interface)),
        }
    }
}

fn name(text: &str) -> impl fmt::Display + '_ {
    const LONGEST: usize = 256;
    let end = text.floor_char_boundary(LONGEST);
    let cut = if end < text.len() { "…" } else { "" };
    fmt::from_fn(move |f| write!(f, "{}{cut}", escape(text.get(..end).unwrap_or_default())))
}

impl FromStr for Capability {
    type Err = Error;
    /// Reads the written form. The tokens of a model and the port of a request may be left out.
    fn from_str(s: &str) -> Result<Self, Error> {
        let bad = |why: &dyn fmt::Display| {
            Error::Invalid(format!(
                "'{}' is not a capability such as 'tool:fs.read_file' or 'http:GET api.example.org:443': {why}",
                escape(s)
            ))
        };
        let kinds = "it begins with llm:, ledger:, memory:, tool:, interpreter:, spawn-child:, hook:, http:, network:, \
                     path: or interface:";
        let (kind, rest) = s.split_once(':').ok_or_else(|| bad(&kinds))?;
        let capability = match kind {
            "llm" => llm(rest),
            "ledger" => rest.parse().map(Self::Ledger),
            "memory" => rest.parse().map(Self::Memory),
            "tool" => rest.parse::<Pattern>().map(|tool| Self::Tool(tool.to_string())),
            "interpreter" => rest.parse::<Pattern>().map(|name| Self::Interpreter(name.to_string())),
            "hook" => rest.parse().map(Self::Hook),
            "spawn-child" => rest.parse::<Pattern>().map(|faculty| Self::SpawnChild(faculty.to_string())),
            "http" => http(rest),
            "network" => rest.parse().map(Self::Network).map_err(|_| invalid("write the address, without a port")),
            "path" => path(rest),
            "interface" if is_interface(rest) => Ok(Self::Interface(rest.to_owned())),
            "interface" => Err(invalid("write the interface's full name, such as wasi:sockets/tcp@0.2.0")),
            _ => Err(invalid(kinds)),
        };
        capability.map_err(|e| bad(&e))
    }
}

fn invalid(why: &str) -> Error {
    Error::Invalid(why.to_owned())
}

fn llm(rest: &str) -> Result<Capability, Error> {
    let tokens = rest.strip_suffix(" tokens)").and_then(|rest| rest.split_once(" ("));
    let (role, max_tokens) = match tokens {
        None => (rest, 0),
        Some((role, tokens)) => (role, tokens.parse().map_err(|_| invalid("the tokens are not a number"))?),
    };
    Ok(Capability::Llm { role: role.parse::<Pattern>()?.to_string(), max_tokens })
}

fn http(rest: &str) -> Result<Capability, Error> {
    let (method, destination) = rest.split_once(' ').ok_or_else(|| invalid("write 'http:METHOD host:port'"))?;
    check_method(method)?;
    match destination.parse()? {
        HostPattern { scheme: Some(scheme), host, port: Some(port) } => {
            Ok(Capability::Http { method: method.to_owned(), scheme, host, port })
        }
        _ => Err(invalid("name one scheme and one port; a grant file takes patterns for them")),
    }
}

fn path(rest: &str) -> Result<Capability, Error> {
    let parts = rest.split_once(' ').and_then(|(mode, paths)| Some((mode, paths.rsplit_once(" as ")?)));
    let (mode, (host, guest)) = parts.ok_or_else(|| invalid("write 'path:ro HOST as GUEST' or 'path:rw …'"))?;
    let path = PathGrant { host: host.to_owned(), guest: guest.to_owned(), mode: mode.parse()? };
    path.check()?;
    Ok(Capability::Path(path))
}

fn is_interface(name: &str) -> bool {
    (1..=192).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b":/@.-+_".contains(&b))
}
