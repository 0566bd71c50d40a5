//! What a skill's code uses, as the interpreter finds it, and the manifest that asks for it.

use std::collections::BTreeSet;

use animus_core::{
    Error,
    grant::{Capability, LedgerAccess, MemoryAccess, Pattern},
    id::PluginName,
    limits::SomeLimits,
    manifest::{Manifest, WIT_VERSIONS},
};
use serde::Serialize;

use super::{Interface, at_most};

/// The most capabilities that one skill names.
const MAX_USES: usize = 256;

/// The interfaces that the capabilities of `uses` need: `ledger:append`, `memory:read`, `tool:fs.*`, `llm:fast`.
///
/// # Errors
/// [`Error::Invalid`] for a text that is no capability, and for one that code of an interpreter cannot use.
pub fn interfaces(uses: &[String]) -> Result<BTreeSet<Interface>, Error> {
    let asked = Asked::of(uses)?;
    let all = [
        (Interface::Llm, asked.llm.is_some()),
        (Interface::Ledger, !asked.ledger.is_empty()),
        (Interface::Memory, !asked.memory.is_empty()),
        (Interface::Tool, !asked.tool.is_empty()),
        (Interface::SpawnChild, asked.children.is_some()),
    ];
    Ok(all.into_iter().filter_map(|(interface, needed)| needed.then_some(interface)).collect())
}

/// Writes the `plugin.toml` of a skill: it requests what `uses` names and the interpreter, and nothing else.
/// A model's role without tokens asks for the default longest answer.
///
/// # Errors
/// [`Error::Invalid`] for capabilities as [`interfaces`] has it, and for a name, version, description (one line) or
/// limit that [`Manifest::parse`] refuses.
pub fn manifest(
    name: &str,
    version: &str,
    description: &str,
    uses: &[String],
    interpreter: &str,
    limits: SomeLimits,
) -> Result<String, Error> {
    let interpreter = PluginName::new(interpreter)?;
    let plugin = Head { name, version, description, wit: WIT_VERSIONS.last().copied().unwrap_or_default() };
    let mut written = Written { plugin, capabilities: Asked::of(uses)?, limits };
    // What is wrong with any of it is said in the words of the manifest itself.
    Manifest::parse(&written.to_toml()?)?;
    written.capabilities.interpreter.insert(interpreter.to_string());
    written.to_toml()
}

#[derive(Serialize)]
struct Written<'a> {
    plugin: Head<'a>,
    capabilities: Asked,
    limits: SomeLimits,
}

impl Written<'_> {
    fn to_toml(&self) -> Result<String, Error> {
        toml::to_string(self).map_err(|e| Error::Invalid(format!("the skill's manifest cannot be written: {e}")))
    }
}

#[derive(Serialize)]
struct Head<'a> {
    name: &'a str,
    version: &'a str,
    description: &'a str,
    wit: &'a str,
}

/// The table `[capabilities]`.
#[derive(Default, Serialize)]
struct Asked {
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    interpreter: BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    ledger: BTreeSet<LedgerAccess>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    memory: BTreeSet<MemoryAccess>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    tool: BTreeSet<Pattern>,
    #[serde(skip_serializing_if = "Option::is_none")]
    llm: Option<Models>,
    #[serde(rename = "spawn-child", skip_serializing_if = "Option::is_none")]
    children: Option<Children>,
}

#[derive(Default, Serialize)]
struct Children {
    faculties: BTreeSet<Pattern>,
}

#[derive(Default, Serialize)]
struct Models {
    roles: BTreeSet<Pattern>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
}

impl Asked {
    fn of(uses: &[String]) -> Result<Self, Error> {
        at_most(uses.len(), MAX_USES, "capabilities")?;
        let mut asked = Self::default();
        for text in uses {
            match text.parse()? {
                Capability::Ledger(access) => {
                    asked.ledger.insert(access);
                }
                Capability::Memory(access) => {
                    asked.memory.insert(access);
                }
                Capability::Tool(name) => {
                    asked.tool.insert(name.parse()?);
                }
                Capability::Llm { role, max_tokens } => {
                    let models = asked.llm.get_or_insert_default();
                    models.roles.insert(role.parse()?);
                    models.max_tokens = models.max_tokens.max((max_tokens > 0).then_some(max_tokens));
                }
                Capability::SpawnChild(faculty) => {
                    asked.children.get_or_insert_default().faculties.insert(faculty.parse()?);
                }
                other => {
                    return Err(Error::Invalid(format!(
                        "the code of a skill cannot use {other}; it may use llm, ledger, memory, tool and spawn-child"
                    )));
                }
            }
        }
        Ok(asked)
    }
}
