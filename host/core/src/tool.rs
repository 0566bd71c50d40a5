//! Tools: what plugins offer to models and to each other.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{id::PluginName, llm::Image};

/// What a tool does to the world (the Model Context Protocol's meaning). Recovery relies on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Annotations {
    /// It changes nothing.
    pub read_only: bool,
    /// Doing it twice is the same as doing it once.
    pub idempotent: bool,
    /// It may overwrite or remove.
    pub destructive: bool,
    /// It reaches beyond this machine.
    pub open_world: bool,
}

/// A tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    /// The full name, `<plugin>.<tool>`.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// JSON Schema of the arguments.
    pub input_schema: Value,
    /// JSON Schema of [`Output::structured`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// What it does to the world.
    pub annotations: Annotations,
}

/// What a tool answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// Text for the model.
    pub text: String,
    /// The same answer as data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub structured: Option<Value>,
    /// Images for the model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Image>,
    /// The tool ran and reports that it failed.
    #[serde(default)]
    pub is_error: bool,
}

/// Whether `name` is `[a-z][a-z0-9_]*` of at most 64 bytes: a tool's short name.
#[must_use]
pub fn is_short_name(name: &str) -> bool {
    crate::id::is_name(name) && !name.contains('-')
}

/// Splits a full tool name at its first dot; `None` unless both halves have their form.
#[must_use]
pub fn split_name(full: &str) -> Option<(PluginName, &str)> {
    let (plugin, tool) = full.split_once('.')?;
    is_short_name(tool).then_some((PluginName::new(plugin).ok()?, tool))
}
