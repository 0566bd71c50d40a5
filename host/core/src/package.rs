//! A plugin's package is its component, with the manifest in a custom section.

use crate::Error;

/// The name of the custom section that carries the text of `plugin.toml`.
pub const SECTION: &str = "animus:manifest";

/// The component with `manifest` as its only manifest section; the rest of the bytes is unchanged.
///
/// # Errors
/// [`Error::Invalid`] when `wasm` is not a component.
pub fn embed(wasm: &[u8], manifest: &str) -> Result<Vec<u8>, Error> {
    let _ = (wasm, manifest);
    Err(Error::Internal("packages are not built yet".into()))
}

/// The manifest that a component carries, if any.
///
/// # Errors
/// [`Error::Invalid`] for bytes that are not a component, for two manifest sections, and for one that is not UTF-8.
pub fn manifest_of(wasm: &[u8]) -> Result<Option<&str>, Error> {
    let _ = wasm;
    Err(Error::Internal("packages are not built yet".into()))
}
