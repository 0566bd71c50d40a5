//! The manifest of a plugin (`plugin.toml`): what it is called and what it *requests*. Nothing here grants anything.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path},
};

use semver::Version;

use crate::{
    Error,
    grant::{Grant, HostPattern, HttpGrant, PathGrant, PathMode, written},
    id::{Digest, PluginName},
    limits::{Limits, SomeLimits},
    strict::{self, Table, Value},
    text::is_deceptive,
};

/// The longest manifest, in bytes.
pub const MAX_BYTES: usize = 256 << 10;

/// The versions of the contracts (`wit = …`) that this host supports.
pub const WIT_VERSIONS: [&str; 1] = ["0.1"];

const PAGE_BYTES: u64 = 64 << 10;

/// A checked manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The plugin's name.
    pub name: PluginName,
    /// Its version.
    pub version: Version,
    /// What it is for, in a sentence; may be empty.
    pub description: String,
    /// Its licence, an SPDX expression; may be empty.
    pub license: String,
    /// Where people find more, an http(s) URL; may be empty.
    pub homepage: String,
    /// What it asks for, limits included.
    pub request: Grant,
    /// Values of `wasi:config/store`.
    pub config: BTreeMap<String, String>,
    /// The component's file relative to the manifest, and its digest where the manifest pins one.
    pub wasm: Option<(String, Option<String>)>,
}

impl Manifest {
    /// Parses and checks a `plugin.toml`.
    ///
    /// # Errors
    /// [`Error::Invalid`] that lists *every* unknown key (with the nearest known one), every key that this host cannot
    /// enforce, and every value that does not fit, one a line.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let manifest = strict::read("plugin.toml", text, MAX_BYTES, manifest)?;
        manifest.request.check()?;
        Ok(manifest)
    }
}

fn manifest(mut root: Table<'_>) -> Option<Manifest> {
    let head = root.need("plugin").and_then(|value| head(value.table()?));
    let asked = root.get("capabilities").and_then(|value| capabilities(value.table()?)).unwrap_or_default();
    let limits = root.get("limits");
    let wrapped = root.get("extism").and_then(|value| extism(&value)).unwrap_or_default();

    let http = http(wrapped.hosts, asked.http);
    let limits = limits.and_then(|value| one_voice(&value, wrapped.limits)).unwrap_or(wrapped.limits);
    let request = Grant { http, paths: wrapped.paths, limits, ..asked.grant };
    let Head { name, version, description, license, homepage } = head?;
    Some(Manifest {
        name,
        version,
        description,
        license,
        homepage,
        request,
        config: wrapped.config,
        wasm: wrapped.wasm,
    })
}

struct Head {
    name: PluginName,
    version: Version,
    description: String,
    license: String,
    homepage: String,
}

fn head(mut table: Table<'_>) -> Option<Head> {
    let name = table.need("name").and_then(|value| {
        let name: PluginName = value.parse()?;
        // Journal and audit log call people and the host by these words.
        let reserved = ["operator", "host"].contains(&name.as_str());
        value.accept((!reserved).then_some(name).ok_or("is a word of the host's own; choose another name"))
    });
    let version = table.need("version").and_then(|version| version.parse());
    let description = table.get("description").map_or(Some(String::new()), |text| line(&text));
    let license = table.get("license").map_or(Some(String::new()), |text| line(&text));
    let homepage = table.get("homepage").map_or(Some(String::new()), |text| homepage(&text));
    let wit = table.need("wit").and_then(|value| {
        let wit = value.str()?;
        let supported = WIT_VERSIONS.join(", ");
        value.accept(
            WIT_VERSIONS
                .contains(&wit)
                .then_some(())
                .ok_or_else(|| format!("this host supports the contracts of version {supported}, and not '{wit}'")),
        )
    });
    wit?;
    Some(Head { name: name?, version: version?, description: description?, license: license?, homepage: homepage? })
}

/// One line that shows as what it is: it comes from a stranger and stands in the operator's prompt.
fn line(value: &Value<'_>) -> Option<String> {
    const LONGEST: usize = 1_000;
    let text = value.str()?;
    let fits = text.len() <= LONGEST && !text.contains(is_deceptive);
    value.accept(
        fits.then(|| text.to_owned())
            .ok_or_else(|| format!("should be one line of at most {LONGEST} bytes, without control characters")),
    )
}

fn homepage(value: &Value<'_>) -> Option<String> {
    let text = line(value)?;
    let fits = url::Url::parse(&text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    value.accept(fits.then_some(text).ok_or("is not an http or https URL"))
}

#[derive(Default)]
struct Asked<'d> {
    /// Without hosts, paths and limits.
    grant: Grant,
    /// Without its hosts, and where it stands.
    http: Option<(HttpGrant, Value<'d>)>,
}

fn capabilities(mut table: Table<'_>) -> Option<Asked<'_>> {
    table.refuse("paths", "folders are asked for in extism.allowed_paths");
    table.refuse("limits", "limits stand in a table of their own, [limits]");
    let grant = written::capabilities(&mut table);
    let http = table.get("http").and_then(|value| {
        let mut http = value.table()?;
        http.refuse("hosts", "hosts are asked for in extism.allowed_hosts");
        Some((written::http_but_hosts(&mut http), value))
    });
    Some(Asked { grant, http })
}

/// Hosts come from the one table and the rest from the other; each is idle without the hosts.
fn http(hosts: BTreeSet<HostPattern>, rest: Option<(HttpGrant, Value<'_>)>) -> Option<HttpGrant> {
    let Some((rest, value)) = rest else {
        let methods = BTreeSet::from([written::DEFAULT_METHOD.to_owned()]);
        return (!hosts.is_empty()).then(|| HttpGrant { hosts, methods, ..HttpGrant::default() });
    };
    if hosts.is_empty() {
        value.problem("has no effect without hosts in extism.allowed_hosts");
    }
    for secret in &rest.secrets {
        if !hosts.iter().any(|host| host.covers(&secret.host)) {
            value.problem(format_args!(
                "the secret '{}' is for {}, which extism.allowed_hosts does not have",
                secret.handle, secret.host
            ));
        }
    }
    Some(HttpGrant { hosts, ..rest })
}

/// The limits of both tables, each said once.
fn one_voice(value: &Value<'_>, wrapped: SomeLimits) -> Option<SomeLimits> {
    let own = written::limits(value)?;
    for name in Limits::NAMES {
        if own.get(name).is_some() && wrapped.get(name).is_some() {
            value.problem(format_args!("{name} is set by [extism] as well; keep one of the two"));
        }
    }
    Some(own.meet(wrapped))
}

/// What the `[extism]` table says.
#[derive(Default)]
struct Wrapped {
    wasm: Option<(String, Option<String>)>,
    hosts: BTreeSet<HostPattern>,
    paths: BTreeSet<PathGrant>,
    limits: SomeLimits,
    config: BTreeMap<String, String>,
}

fn extism(value: &Value<'_>) -> Option<Wrapped> {
    let mut table = value.table()?;
    let (wasm, hosts, paths) = (table.get("wasm"), table.get("allowed_hosts"), table.get("allowed_paths"));
    // Hosts and paths are read here, where each has its line.
    let hosts = hosts.map(|hosts| hosts.set()).unwrap_or_default();
    let paths = paths.and_then(|paths| Some(folders(paths.table()?))).unwrap_or_default();
    if let Some(wasm) = wasm {
        check_wasm(&wasm);
    }
    if let Some(mut memory) = table.get("memory").and_then(|memory| memory.table()) {
        memory.refuse("max_var_bytes", "this host has no extism variables to limit");
        memory.get("max_pages").and_then(|pages| pages.number::<u32>());
        memory.get("max_http_response_bytes").and_then(|bytes| bytes.number::<u64>());
    }
    table.get("timeout_ms").and_then(|ms| ms.number::<u64>());
    if let Some(mut config) = table.get("config").and_then(|config| config.table()) {
        config.entries().iter().for_each(|(key, value)| check_config(key, value));
    }
    drop(table);

    // Only a table with nothing else in it may reach the foreign type: its `wasm.data = { ptr, len }` reads the host's
    // memory at any address that the text names.
    let manifest: extism_manifest::Manifest = value.deserialize()?;
    let limits = SomeLimits {
        memory_bytes: manifest.memory.max_pages.map(|pages| u64::from(pages).saturating_mul(PAGE_BYTES)),
        http_response_bytes: manifest.memory.max_http_response_bytes,
        wall_ms: manifest.timeout_ms,
        ..SomeLimits::default()
    };
    let wasm = manifest.wasm.into_iter().next().and_then(|wasm| match wasm {
        extism_manifest::Wasm::File { path, meta } => Some((path.to_str()?.to_owned(), meta.hash)),
        _ => None,
    });
    Some(Wrapped { wasm, hosts, paths, limits, config: manifest.config })
}

fn check_wasm(value: &Value<'_>) {
    let items = value.items();
    if items.len() > 1 {
        value.problem("a plugin is one component; keep one");
    }
    for item in items {
        let Some(mut table) = item.table() else { continue };
        for elsewhere in ["data", "url", "method", "headers"] {
            table.refuse(elsewhere, "this host takes the component from a file beside the manifest; give its 'path'");
        }
        table.refuse("name", "a plugin has one component, and its name is plugin.name");
        table.get("hash").and_then(|hash| hash.parse::<Digest>());
        if let Some((value, path)) = table.need("path").and_then(|value| Some((value.clone(), value.str()?))) {
            let inside =
                Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
            if path.is_empty() || !inside || path.contains(is_deceptive) {
                value.problem("should be a file in the manifest's folder or below");
            }
        }
    }
}

fn check_config(key: &str, value: &Value<'_>) {
    if key.contains(is_deceptive) {
        value.problem("the key has control characters");
    }
    if value.str().is_some_and(|text| text.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\t'))) {
        value.problem("the value has control characters");
    }
}

/// `"/src" = "/dest"`, `"ro:/src" = "/dest"`.
fn folders(mut table: Table<'_>) -> BTreeSet<PathGrant> {
    let folder = |(key, value): &(&str, Value<'_>)| {
        let (mode, host) = key.strip_prefix("ro:").map_or((PathMode::Rw, *key), |host| (PathMode::Ro, host));
        let path = PathGrant { host: host.to_owned(), guest: value.str()?.to_owned(), mode };
        if host == "*" || path.guest == "*" {
            value.problem("name the folder; '*' is for ceilings");
        }
        value.accept(path.check()).map(|()| path)
    };
    table.entries().iter().filter_map(folder).collect()
}
