//! What a plugin is, from its bytes alone: nothing is compiled and nothing runs.

use std::fmt;

use animus_core::{Error, id::Digest, manifest::Manifest, package, plugins::Phases};
use wasmparser::{Parser, Payload, Validator};

use crate::{
    artifact::MAX_WASM,
    linker::{Import, Key, classify, same_track},
};

const TOOLS: &str = "animus:tool/tools";
const FACULTY: &str = "animus:faculty/faculty";
const ORIENT: &str = "animus:faculty/orient";
const CONSOLIDATE: &str = "animus:faculty/consolidate";
const RECOVER: &str = "animus:faculty/recover";
const INTERPRETER: &str = "animus:interpreter/interpreter";
const HOOK: &str = "animus:hook/hook";
/// The line of versions in which this host calls plugins.
const TRACK: &str = "0.1";

/// A component that this host could run, were it granted what it asks for.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The digest of the bytes.
    pub digest: Digest,
    /// Their number.
    pub size: usize,
    /// The manifest that it carries.
    pub manifest: Manifest,
    /// The manifest's text.
    pub manifest_text: String,
    /// The interfaces that it imports, in its own order.
    pub imports: Vec<String>,
    /// The interfaces that it exports, in its own order.
    pub exports: Vec<String>,
    /// The capabilities that its imports need, sorted: `http`, `ledger`, `llm`, `memory`, `tool`.
    pub capabilities: Vec<String>,
    /// Whether it exports tools.
    pub offers_tools: bool,
    /// Whether it is a faculty.
    pub is_faculty: bool,
    /// The phases that it has as one, beside `engage`.
    pub phases: Phases,
    /// Whether it runs code for others.
    pub is_interpreter: bool,
    /// Whether it is a hook.
    pub is_hook: bool,
    /// What is no mistake and yet worth a look before granting.
    pub notes: Vec<String>,
}

impl Inspection {
    /// Whether it does anything under a grant of its own. An interpreter that is nothing else does not.
    #[must_use]
    pub fn acts_itself(&self) -> bool {
        self.offers_tools || self.is_faculty || self.is_hook
    }
}

/// Everything that is wrong with a plugin, found in one go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The problems, each a sentence that says how to mend it.
    pub problems: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [only] => f.write_str(only),
            all => {
                write!(f, "{} problems:", all.len())?;
                all.iter().try_for_each(|problem| write!(f, "\n- {problem}"))
            }
        }
    }
}

impl std::error::Error for Report {}

impl From<Report> for Error {
    fn from(report: Report) -> Self {
        Self::Invalid(report.to_string())
    }
}

impl From<String> for Report {
    fn from(problem: String) -> Self {
        Self { problems: vec![problem] }
    }
}

/// Reads a component with its manifest, and checks that the two and this host fit together.
///
/// # Errors
/// All mismatches at once: not a component, no or a wrong manifest, imports that the manifest does not request or the
/// host does not have, exports that it does not know.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, Report> {
    if bytes.len() > MAX_WASM {
        return Err(format!("the component has {} bytes; at most {MAX_WASM} are taken", bytes.len()).into());
    }
    let manifest_text = package::manifest_of(bytes).map_err(|e| e.to_string())?;
    Validator::new().validate_all(bytes).map_err(|e| format!("the component is not valid: {e}"))?;
    let (imports, exports) = outline(bytes).map_err(|e| format!("the component does not parse: {e}"))?;

    let mut problems = Vec::new();
    let manifest = match manifest_text.map(Manifest::parse) {
        Some(Ok(manifest)) => Some(manifest),
        Some(Err(error)) => {
            problems.extend(error.to_string().lines().map(|line| format!("manifest: {line}")));
            None
        }
        None => {
            problems.push(
                "it carries no manifest; write a plugin.toml beside its source and run `animus plugin build`".into(),
            );
            None
        }
    };
    let Exports { offers_tools, is_faculty, phases, is_interpreter, is_hook } = check_exports(&exports, &mut problems);
    // What an interpreter alone imports is for the programs that it runs, under their principals' grants.
    let acts_itself = offers_tools || is_faculty || is_hook;
    let needs = check_imports(&imports, manifest.as_ref().filter(|_| acts_itself), &mut problems);
    if is_hook && manifest.as_ref().is_some_and(|manifest| manifest.request.hook.is_empty()) {
        problems.push(format!(
            "it exports {HOOK}, but its manifest does not request hook: set `hook` in [capabilities] to what it watches"
        ));
    }
    let (Some(manifest), Some(text), []) = (manifest, manifest_text, problems.as_slice()) else {
        return Err(Report { problems });
    };
    let mut capabilities: Vec<_> = needs.iter().map(Key::to_string).collect();
    capabilities.sort();
    Ok(Inspection {
        digest: Digest::of(bytes),
        size: bytes.len(),
        notes: unused(&manifest, &imports, &needs, is_hook),
        manifest,
        manifest_text: text.to_owned(),
        imports,
        exports,
        capabilities,
        offers_tools,
        is_faculty,
        phases,
        is_interpreter,
        is_hook,
    })
}

/// What the outermost component imports and exports; what it nests is its own affair.
fn outline(bytes: &[u8]) -> Result<(Vec<String>, Vec<String>), wasmparser::Error> {
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    exports.push(export?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok((imports, exports))
}

/// The capabilities that the imports need.
fn check_imports(imports: &[String], manifest: Option<&Manifest>, problems: &mut Vec<String>) -> Vec<Key> {
    let mut needs = Vec::new();
    for name in imports {
        match classify(name) {
            Import::Base => {}
            Import::Opened(key) => {
                if !needs.contains(&key) {
                    needs.push(key);
                }
                if manifest.is_some_and(|manifest| !key.opens(&manifest.request)) {
                    problems.push(format!("it imports {name}, but its manifest does not request {}", asked_by(key)));
                }
            }
            Import::Version(ours) => {
                problems.push(format!("it imports {name}; this host has version {ours} of that interface"));
            }
            Import::Unknown if name.starts_with("wasi:sockets/") => {
                problems.push(format!("it imports {name}; no plugin gets sockets, use wasi:http"));
            }
            Import::Unknown => problems.push(format!("it imports {name}, which this host does not have")),
        }
    }
    needs
}

/// Where in a manifest a capability is requested.
fn asked_by(key: Key) -> String {
    match key {
        Key::Http => "http: set `allowed_hosts` in [extism]".to_owned(),
        key => format!("{key}: set `{key}` in [capabilities]"),
    }
}

/// What a plugin may be.
#[derive(Default)]
struct Exports {
    offers_tools: bool,
    is_faculty: bool,
    phases: Phases,
    is_interpreter: bool,
    is_hook: bool,
}

fn check_exports(exports: &[String], problems: &mut Vec<String>) -> Exports {
    let mut found = Exports::default();
    for name in exports {
        let (path, version) = name.split_once('@').unwrap_or((name, ""));
        let ours = match path {
            TOOLS => &mut found.offers_tools,
            FACULTY => &mut found.is_faculty,
            ORIENT => &mut found.phases.orient,
            CONSOLIDATE => &mut found.phases.consolidate,
            RECOVER => &mut found.phases.recover,
            INTERPRETER => &mut found.is_interpreter,
            HOOK => &mut found.is_hook,
            // Other exports harm nobody: the host never calls them.
            _ => continue,
        };
        *ours = true;
        if !same_track(version, TRACK) {
            problems.push(format!("it exports {name}; this host calls version {TRACK} of that interface"));
        }
    }
    if !found.is_faculty && found.phases != Phases::default() {
        let phases = found.phases.names().into_iter().filter(|name| *name != "engage").collect::<Vec<_>>();
        problems.push(format!(
            "it exports phases of a faculty ({}), but not {FACULTY}: export that too, or leave them out",
            phases.join(", ")
        ));
    }
    if !(found.offers_tools || found.is_faculty || found.is_interpreter || found.is_hook) {
        problems.push(format!(
            "it exports neither {TOOLS} nor {FACULTY} nor {INTERPRETER} nor {HOOK}, so there is nothing to call"
        ));
    }
    found
}

fn unused(manifest: &Manifest, imports: &[String], needs: &[Key], is_hook: bool) -> Vec<String> {
    // The engage loop does this in the name of whoever runs it.
    let engages = imports.iter().any(|name| name.starts_with("animus:faculty/engage@"));
    let by_engage = |key: &Key| engages && matches!(key, Key::Ledger | Key::Tool | Key::Interpreter | Key::SpawnChild);
    let is_used = |key: &Key| needs.contains(key) || by_engage(key);
    let requested = Key::ALL.into_iter().filter(|key| key.opens(&manifest.request) && !is_used(key));
    let mut notes: Vec<_> =
        requested.map(|key| format!("its manifest requests {key}, but the component does not import it")).collect();
    if !is_hook && !manifest.request.hook.is_empty() {
        notes.push("its manifest requests hook, but the component is none".to_owned());
    }
    notes
}
