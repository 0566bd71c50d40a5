//! What every back end does alike with installed plugins.

use std::sync::Arc;

use animus_core::{
    Error, Result,
    grant::Grant,
    id::{Digest, PluginName},
    manifest::Manifest,
    store::{Generation, MAX_FAULT, Plugin, PluginFault, PluginState},
};
use serde_json::{Value, json};

use crate::rows::{Columns, missing};

/// How many generations of a plugin are kept to roll back to, the newest of them included.
pub(crate) const KEPT: u32 = 10;

pub(crate) fn plugin(row: &impl Columns) -> Result<Plugin> {
    let granted: Option<Grant> = row.maybe_json("granted")?;
    let waits = granted.is_none() && row.flag("requests")?;
    Ok(Plugin {
        name: row.parsed("name")?,
        generation: row.number("generation")?,
        digest: row.parsed("digest")?,
        version: row.text("version")?,
        manifest: row.text("manifest")?,
        source: row.text("source")?,
        state: if waits { PluginState::AwaitingGrant } else { PluginState::Serving },
        granted,
        tools: row.json("tools")?,
        is_faculty: row.flag("is_faculty")?,
        is_interpreter: row.flag("is_interpreter")?,
        is_hook: row.flag("is_hook")?,
        installed_ms: row.number("installed_ms")?,
    })
}

pub(crate) fn generation(row: &impl Columns) -> Result<Generation> {
    Ok(Generation {
        generation: row.number("generation")?,
        digest: row.parsed("digest")?,
        version: row.text("version")?,
        source: row.text("source")?,
        installed_ms: row.number("installed_ms")?,
        serving: row.flag("serving")?,
    })
}

pub(crate) fn fault(row: &impl Columns) -> Result<PluginFault> {
    Ok(PluginFault {
        source: row.text("source")?,
        name: row.maybe_parsed("name")?,
        error: row.text("error")?,
        at_ms: row.number("at_ms")?,
    })
}

/// As much of a text as is kept.
pub(crate) fn head(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_FAULT)).unwrap_or(text)
}

/// Whether a manifest requests anything.
pub(crate) fn requests(manifest: &str) -> Result<bool> {
    Ok(!Manifest::parse(manifest)?.request.is_nothing())
}

/// The particulars of an installation, for the audit log.
pub(crate) fn installed(plugin: &Plugin) -> Value {
    let Plugin { generation, digest, version, source, granted, .. } = plugin;
    json!({ "generation": generation, "digest": digest, "version": version, "source": source, "granted": granted })
}

/// The bytes of an artifact, if they are still those that were stored.
pub(crate) fn intact(digest: &Digest, bytes: &[u8]) -> Result<Arc<[u8]>> {
    if Digest::of(bytes) != *digest {
        return Err(Error::Internal(format!(
            "the artifact {digest} was changed in the store; install its plugin again"
        )));
    }
    Ok(bytes.into())
}

/// The error of a rollback that leads nowhere.
pub(crate) fn no_goal(name: &PluginName, serving: u64, to: Option<u64>) -> Error {
    match to {
        Some(to) => missing("generation", format_args!("{to} of the plugin '{name}'; the last {KEPT} are kept")),
        None => missing(
            "generation",
            format_args!("of the plugin '{name}' before {serving} that was not taken out of service; name one"),
        ),
    }
}
