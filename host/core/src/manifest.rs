//! The manifest of a plugin (`plugin.toml`): what it is called and what it *requests*. Nothing here grants anything.

use std::collections::BTreeMap;

use semver::Version;

use crate::{Error, grant::Grant, id::PluginName};

/// A checked manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The plugin's name.
    pub name: PluginName,
    /// Its version.
    pub version: Version,
    /// What it is for, in a sentence.
    pub description: String,
    /// Its licence, an SPDX expression; may be empty.
    pub license: String,
    /// Where people find more; may be empty.
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
        let _ = text;
        Err(Error::Internal("manifest parsing is not built yet".into()))
    }
}
