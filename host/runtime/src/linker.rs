//! What is linked for a plugin: the base of every plugin, and the interfaces that its own grant opens. What is not
//! granted is absent, and an absent import is the denial.
//!
//! `wasi:filesystem` belongs to the base, because every program of Rust's or Python's standard library imports it,
//! used or not: the authority over files is the preopened folders, and without a path grant there is none.
//! `wasi:sockets` is linked for nobody.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    sync::{Mutex, PoisonError},
};

use animus_core::{
    Denial, Error,
    authority::Authority,
    grant::{Capability, Grant, LedgerAccess, MemoryAccess},
};
use wasmtime::component::{Component, Linker};
use wasmtime_wasi::{WasiView as _, cli::WasiCliView as _, filesystem::WasiFilesystemView as _, p2};
use wasmtime_wasi_config::WasiConfig;

use crate::{capability, deterministic, engine::Engine, state::State};

/// What opens an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Llm,
    Ledger,
    Memory,
    Tool,
    Interpreter,
    SpawnChild,
    Http,
}

impl Key {
    pub(crate) const ALL: [Self; 7] =
        [Self::Llm, Self::Ledger, Self::Memory, Self::Tool, Self::Interpreter, Self::SpawnChild, Self::Http];

    /// Whether `grant` holds anything of it.
    pub(crate) fn opens(self, grant: &Grant) -> bool {
        match self {
            Self::Llm => grant.llm.is_some(),
            Self::Ledger => !grant.ledger.is_empty(),
            Self::Memory => !grant.memory.is_empty(),
            Self::Tool => !grant.tool.is_empty(),
            Self::Interpreter => !grant.interpreter.is_empty(),
            Self::SpawnChild => grant.spawn_child.is_some(),
            Self::Http => grant.http.is_some(),
        }
    }

    /// Something that a plugin with this request would do with it, to be named in its denial.
    fn example(self, request: &Grant) -> Capability {
        match self {
            Self::Llm => {
                let llm = request.llm.as_ref();
                let role = llm.and_then(|llm| llm.roles.first()).map_or("default".to_owned(), ToString::to_string);
                Capability::Llm { role, max_tokens: llm.map_or(1, |llm| llm.max_tokens) }
            }
            Self::Ledger => Capability::Ledger(request.ledger.first().copied().unwrap_or(LedgerAccess::Read)),
            Self::Memory => Capability::Memory(request.memory.first().copied().unwrap_or(MemoryAccess::Read)),
            Self::Tool => Capability::Tool(request.tool.first().map_or("*".to_owned(), ToString::to_string)),
            Self::Interpreter => {
                Capability::Interpreter(request.interpreter.first().map_or("*".to_owned(), ToString::to_string))
            }
            Self::SpawnChild => {
                let first = request.spawn_child.as_ref().and_then(|it| it.faculties.first());
                Capability::SpawnChild(first.map_or("*".to_owned(), ToString::to_string))
            }
            Self::Http => {
                let http = request.http.as_ref();
                let host = http.and_then(|http| http.hosts.first());
                Capability::Http {
                    method: http.and_then(|http| http.methods.first()).map_or("*".to_owned(), Clone::clone),
                    scheme: host.and_then(|h| h.scheme.clone()).unwrap_or_else(|| "https".to_owned()),
                    host: host.map_or("*".to_owned(), |h| h.host.clone()),
                    port: host.and_then(|h| h.port).unwrap_or(443),
                }
            }
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Llm => "llm",
            Self::Ledger => "ledger",
            Self::Memory => "memory",
            Self::Tool => "tool",
            Self::Interpreter => "interpreter",
            Self::SpawnChild => "spawn-child",
            Self::Http => "http",
        })
    }
}

/// What the host makes of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Import {
    /// Linked for everybody.
    Base,
    /// Linked for those whose grant has it.
    Opened(Key),
    /// Known by name, in another version; this is the one that the host has.
    Version(&'static str),
    /// Linked for nobody.
    Unknown,
}

/// The interfaces of the host: package, interfaces, version, and what opens them.
const INTERFACES: &[(&str, &[&str], &str, Option<Key>)] = &[
    ("animus:types", &["types"], "0.1", None),
    ("animus:llm", &["llm"], "0.1", Some(Key::Llm)),
    ("animus:ledger", &["ledger"], "0.1", Some(Key::Ledger)),
    ("animus:memory", &["memory"], "0.1", Some(Key::Memory)),
    ("animus:tool", &["tool"], "0.1", Some(Key::Tool)),
    ("animus:tool", &["types"], "0.1", None),
    ("animus:faculty", &["engage"], "0.1", Some(Key::Llm)),
    ("animus:faculty", &["types"], "0.1", None),
    ("animus:interpreter", &["code"], "0.1", Some(Key::Interpreter)),
    ("animus:interpreter", &["types"], "0.1", None),
    ("animus:spawn-child", &["spawn-child"], "0.1", Some(Key::SpawnChild)),
    ("wasi:io", &["error", "poll", "streams"], "0.2", None),
    ("wasi:clocks", &["wall-clock", "monotonic-clock"], "0.2", None),
    ("wasi:random", &["random", "insecure", "insecure-seed"], "0.2", None),
    (
        "wasi:cli",
        &[
            "environment",
            "exit",
            "stdin",
            "stdout",
            "stderr",
            "terminal-input",
            "terminal-output",
            "terminal-stdin",
            "terminal-stdout",
            "terminal-stderr",
        ],
        "0.2",
        None,
    ),
    ("wasi:filesystem", &["types", "preopens"], "0.2", None),
    ("wasi:config", &["store"], "0.2.0-rc.1", None),
    ("wasi:http", &["types", "outgoing-handler"], "0.2", Some(Key::Http)),
];

/// Reads the name of an import or export, `package/interface@version`.
pub(crate) fn classify(name: &str) -> Import {
    let (path, version) = name.split_once('@').unwrap_or((name, ""));
    let Some((package, interface)) = path.split_once('/') else { return Import::Unknown };
    let known = INTERFACES.iter().find(|(p, interfaces, ..)| *p == package && interfaces.contains(&interface));
    match known {
        None => Import::Unknown,
        Some((_, _, supported, _)) if !same_track(version, supported) => Import::Version(supported),
        Some((.., None)) => Import::Base,
        Some((.., Some(key))) => Import::Opened(*key),
    }
}

/// Whether `version` is a release of the line `track`: `0.1.3` of `0.1`. A pre-release is only itself.
pub(crate) fn same_track(version: &str, track: &str) -> bool {
    version == track
        || version
            .strip_prefix(track)
            .and_then(|rest| rest.strip_prefix('.'))
            .is_some_and(|patch| !track.contains('-') && !patch.is_empty() && patch.bytes().all(|b| b.is_ascii_digit()))
}

/// Which interfaces a grant opens: plugins with equal shapes share a linker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shape(u8);

impl Shape {
    pub(crate) fn of(grant: &Grant) -> Self {
        Self(Key::ALL.iter().enumerate().filter(|(_, key)| key.opens(grant)).fold(0, |bits, (i, _)| bits | (1 << i)))
    }

    /// Everything: how interpreters are linked, who have no authority of their own.
    pub(crate) fn all() -> Self {
        Self::of(&Grant::everything())
    }

    fn has(self, key: Key) -> bool {
        Key::ALL.iter().position(|k| *k == key).is_some_and(|i| self.0 & (1 << i) != 0)
    }
}

/// The names of a component's imports.
pub(crate) fn imports(engine: &Engine, component: &Component) -> Vec<String> {
    component.component_type().imports(engine.wasmtime()).map(|(name, _)| name.to_owned()).collect()
}

/// The first import that `authority` does not open, as its denial.
///
/// # Errors
/// The denial, with the gate and, where there is one, the operator's command.
pub(crate) fn check(names: &[String], authority: &Authority) -> Result<(), Denial> {
    for name in names {
        match classify(name) {
            Import::Base => {}
            Import::Opened(key) if key.opens(authority.effective()) => {}
            Import::Opened(key) => return Err(authority.denial(&key.example(authority.requested()))),
            Import::Version(_) | Import::Unknown => {
                return Err(authority.denial(&Capability::Interface(name.clone())));
            }
        }
    }
    Ok(())
}

/// The linkers of an engine, one for each shape that was asked for.
pub(crate) struct Linkers {
    engine: Engine,
    by_shape: Mutex<HashMap<Shape, Linker<State>>>,
}

impl Linkers {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine, by_shape: Mutex::default() }
    }

    /// Links `component` by `shape`.
    ///
    /// # Errors
    /// [`Error::Invalid`] when an import has another type than the host's interface of that name.
    pub(crate) fn link(
        &self,
        component: &Component,
        shape: Shape,
    ) -> Result<wasmtime::component::InstancePre<State>, Error> {
        let mut linkers = self.by_shape.lock().unwrap_or_else(PoisonError::into_inner);
        let linker = match linkers.entry(shape) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(
                build(&self.engine, shape)
                    .map_err(|e| Error::Internal(format!("the host's interfaces do not link: {e:#}")))?,
            ),
        };
        linker
            .instantiate_pre(component)
            .map_err(|e| Error::Invalid(format!("the component does not fit this host's interfaces: {e:#}")))
    }
}

fn build(engine: &Engine, shape: Shape) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine.wasmtime());
    base(&mut linker)?;
    for key in Key::ALL.into_iter().filter(|key| shape.has(*key)) {
        match key {
            Key::Llm => {
                capability::llm::add_to_linker(&mut linker)?;
                capability::engage::add_to_linker(&mut linker)?;
            }
            Key::Ledger => capability::ledger::add_to_linker(&mut linker)?,
            Key::Memory => capability::memory::add_to_linker(&mut linker)?,
            Key::Tool => capability::tool::add_to_linker(&mut linker)?,
            Key::Interpreter => capability::code::add_to_linker(&mut linker)?,
            Key::SpawnChild => capability::spawn_child::add_to_linker(&mut linker)?,
            Key::Http => wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?,
        }
    }
    Ok(linker)
}

/// What every plugin gets. None of it reaches anything: environment and arguments are empty, standard streams are
/// captured, and there are no folders unless granted.
fn base(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    use p2::bindings::{cli, filesystem, random};
    use wasmtime_wasi::{cli::WasiCli, filesystem::WasiFilesystem, random::WasiRandom};
    // wasi:io, wasi:clocks, wasi:random/random and the standard streams.
    p2::add_to_linker_proxy_interfaces_async(linker)?;
    deterministic::add_to_linker(linker)?;
    random::insecure::add_to_linker::<State, WasiRandom>(linker, |state| state.ctx().ctx.random())?;
    random::insecure_seed::add_to_linker::<State, WasiRandom>(linker, |state| state.ctx().ctx.random())?;
    cli::environment::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::exit::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_input::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_output::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_stdin::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_stdout::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_stderr::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    filesystem::types::add_to_linker::<State, WasiFilesystem>(linker, State::filesystem)?;
    filesystem::preopens::add_to_linker::<State, WasiFilesystem>(linker, State::filesystem)?;
    wasmtime_wasi_config::add_to_linker(linker, |state: &mut State| WasiConfig::from(&*state.config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_one_line_fit_and_others_do_not() {
        for (name, import) in [
            ("animus:llm/llm@0.1.0", Import::Opened(Key::Llm)),
            ("animus:llm/llm@0.1.7", Import::Opened(Key::Llm)),
            ("animus:llm/llm@0.10.0", Import::Version("0.1")),
            ("animus:llm/llm@0.2.0", Import::Version("0.1")),
            ("animus:llm/llm@0.1.0-rc.1", Import::Version("0.1")),
            ("animus:llm/llm", Import::Version("0.1")),
            ("animus:faculty/engage@0.1.0", Import::Opened(Key::Llm)),
            ("animus:tool/types@0.1.0", Import::Base),
            ("animus:faculty/types@0.1.0", Import::Base),
            ("animus:faculty/orient@0.1.0", Import::Unknown),
            ("animus:spawn-child/spawn-child@0.1.0", Import::Opened(Key::SpawnChild)),
            ("wasi:cli/environment@0.2.3", Import::Base),
            ("wasi:http/types@0.2.0", Import::Opened(Key::Http)),
            ("wasi:config/store@0.2.0-rc.1", Import::Base),
            ("wasi:config/store@0.2.0", Import::Version("0.2.0-rc.1")),
            ("wasi:sockets/tcp@0.2.0", Import::Unknown),
            ("wasi:cli/run@0.2.0", Import::Unknown),
            ("run", Import::Unknown),
        ] {
            assert_eq!(classify(name), import, "{name}");
        }
    }

    #[test]
    fn the_shape_of_everything_links_all_and_of_nothing_the_base() {
        let engine = Engine::new(&crate::EngineConfig { instances: 1 }).unwrap();
        let all = Shape::of(&Grant::everything());
        assert!(Key::ALL.into_iter().all(|key| all.has(key)));
        build(&engine, all).unwrap();
        let none = Shape::of(&Grant::default());
        assert!(!Key::ALL.into_iter().any(|key| none.has(key)));
        build(&engine, none).unwrap();
    }
}
