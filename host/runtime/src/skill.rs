//! The skill compiler: code as data becomes a plugin.
//!
//! A **thin component** holds no interpreter. It carries the program as data, exports `animus:tool/tools` with the
//! skill's definitions, and hands each call to `animus:interpreter/code`. It is a component like any other: what it
//! imports is what it may ask for, and it is inspected, granted and called as every plugin is.

mod code;
mod component;
mod contract;
mod data;
mod forge;
mod request;

use std::collections::BTreeSet;

use animus_core::{
    Error,
    id::PluginName,
    package,
    tool::{Tool, is_short_name},
};
use serde_json::Value;

pub use forge::{Forge, Forged};
pub use request::{interfaces, manifest};

/// The most code of a skill, its modules included, in bytes.
pub const MAX_CODE: usize = 1 << 20;
/// The most tools of a skill: what a plugin may have.
pub const MAX_TOOLS: usize = 64;
/// The most modules of a skill.
pub const MAX_MODULES: usize = 256;
/// The longest name of a program or module, in bytes.
pub const MAX_NAME: usize = 256;
/// The longest descriptions and schemas of all tools together, in bytes.
pub const MAX_DEFINITIONS: usize = 1 << 20;
/// The longest provenance as canonical JSON, in bytes.
pub const MAX_PROVENANCE: usize = 64 << 10;

/// The name of the custom section that says where a skill comes from.
const PROVENANCE: &str = "animus:provenance";

/// A capability whose interface a thin component imports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Interface {
    /// `animus:llm/llm`.
    Llm,
    /// `animus:ledger/ledger`.
    Ledger,
    /// `animus:memory/memory`.
    Memory,
    /// `animus:tool/tool`.
    Tool,
    /// `animus:spawn-child/spawn-child`.
    SpawnChild,
}

/// What a thin component is made of.
#[derive(Clone, Copy, Debug)]
pub struct Thin<'a> {
    /// The text of `plugin.toml`, as [`manifest`] writes it. It is not read here; [`inspect()`](fn@crate::inspect) does.
    pub manifest: &'a str,
    /// Where the skill comes from: any JSON, at most [`MAX_PROVENANCE`] bytes.
    pub provenance: &'a Value,
    /// The interpreter plugin that runs it, such as `python`.
    pub interpreter: &'a str,
    /// What tracebacks call the program, such as `word_count.py`; 1 to [`MAX_NAME`] bytes.
    pub name: &'a str,
    /// The program: a function for each tool, by the tool's name.
    pub source: &'a str,
    /// What the program may import: dotted names and sources; at most [`MAX_MODULES`], [`MAX_CODE`] with the source.
    pub modules: &'a [(String, String)],
    /// The tools, by their *short* names, 1 to [`MAX_TOOLS`].
    pub tools: &'a [Tool],
    /// The capabilities that the code uses, as [`interfaces`] finds them. The interpreter needs none of these imports:
    /// they show what the code reaches to everyone who looks at the component, and to the gates of the host.
    pub imports: &'a BTreeSet<Interface>,
}

/// Compiles a skill. Equal input gives equal bytes.
///
/// A tool's answer is what the function returned: as text and, where the tool has an output schema, as data. A value
/// that is no JSON object becomes `{"result": value}`; so does every value where the schema's only property is `result`
/// and that may be an object itself. What the program wrote to its standard streams is not part of the answer.
///
/// # Errors
/// [`Error::Invalid`] for what is over a bound or out of form, naming it; [`Error::Internal`] should the contracts of
/// this host not fit what is emitted.
pub fn compile(skill: &Thin<'_>) -> Result<Vec<u8>, Error> {
    check(skill)?;
    let provenance = sorted(skill.provenance).to_string();
    at_most(provenance.len(), MAX_PROVENANCE, "bytes of provenance")?;
    let component = component::build(skill)?;
    let component = package::with_section(&component, PROVENANCE, provenance.as_bytes())?;
    package::embed(&component, skill.manifest)
}

/// Where a plugin says that it comes from; none for a plugin that says nothing readable. A claim of whoever made the
/// bytes, which nothing vouches for.
#[must_use]
pub fn provenance_of(bytes: &[u8]) -> Option<Value> {
    let data = package::section_of(bytes, PROVENANCE).ok()??;
    (data.len() <= MAX_PROVENANCE).then(|| serde_json::from_slice(data).ok())?
}

fn check(skill: &Thin<'_>) -> Result<(), Error> {
    PluginName::new(skill.interpreter)?;
    check_name("program", skill.name)?;
    at_most(skill.modules.len(), MAX_MODULES, "modules")?;
    let mut code = skill.source.len();
    let mut seen = BTreeSet::new();
    for (name, source) in skill.modules {
        check_name("module", name)?;
        if !seen.insert(name) {
            return Err(Error::Invalid(format!("the module '{name}' is there twice; keep one")));
        }
        code = code.saturating_add(source.len());
    }
    at_most(code, MAX_CODE, "bytes of code")?;
    check_tools(skill.tools)
}

fn check_tools(tools: &[Tool]) -> Result<(), Error> {
    if tools.is_empty() {
        return Err(Error::Invalid("a skill without tools cannot be a plugin; write a public function".to_owned()));
    }
    at_most(tools.len(), MAX_TOOLS, "tools")?;
    let mut seen = BTreeSet::new();
    for tool in tools {
        if !is_short_name(&tool.name) {
            return Err(Error::Invalid(format!(
                "the tool's name '{}' is not of the form [a-z][a-z0-9_]*, at most 64 bytes",
                crate::text::cut(tool.name.escape_debug().to_string(), 80)
            )));
        }
        if !seen.insert(&tool.name) {
            return Err(Error::Invalid(format!("the tool '{}' is defined twice; rename one", tool.name)));
        }
    }
    Ok(())
}

fn check_name(what: &str, name: &str) -> Result<(), Error> {
    if name.is_empty() || name.len() > MAX_NAME || name.contains(animus_core::text::is_deceptive) {
        let shown = crate::text::cut(name.escape_debug().to_string(), 80);
        return Err(Error::Invalid(format!(
            "the {what} name '{shown}' should have 1 to {MAX_NAME} bytes, without control characters"
        )));
    }
    Ok(())
}

fn at_most(has: usize, most: usize, what: &str) -> Result<(), Error> {
    if has > most {
        return Err(Error::Invalid(format!(
            "the skill has {has} {what}, over the limit of {most}; make less or split it"
        )));
    }
    Ok(())
}

/// With the keys of every object in order: the canonical form, which does not depend on who wrote it down first.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(key, _)| *key);
            Value::Object(fields.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect())
        }
        other => other.clone(),
    }
}
