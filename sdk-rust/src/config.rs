//! The plugin's configuration: `[extism.config]` of its manifest. Needs no capability.

use crate::{Error, Result, bindings::config::wasi::config::store as wit, host::config as host};

/// The value of a key; none where the manifest has no such key.
///
/// # Errors
/// [`Error::Internal`] when the host cannot read its configuration.
pub fn get(key: &str) -> Result<Option<String>> {
    host::get(key).map_err(|error| match error {
        wit::Error::Upstream(text) | wit::Error::Io(text) => {
            Error::internal(format!("read configuration '{key}': {text}"))
        }
    })
}
