//! What every back end asks of a secret.

use animus_core::{Error, Result, id::is_name, store::SecretValue};

/// The longest value, in bytes: a header that carries it would be refused long before.
const MAX_VALUE: usize = 64 * 1024;

/// Refuses what is no handle, and no value for it.
pub(crate) fn check(handle: &str, value: &SecretValue) -> Result<()> {
    if !is_name(handle) {
        return Err(Error::Invalid(format!(
            "the secret's handle '{}' is not of the form [a-z][a-z0-9_-]*, at most 64 bytes",
            handle.escape_debug()
        )));
    }
    if value.expose().is_empty() || value.expose().len() > MAX_VALUE {
        return Err(Error::Invalid(format!("the value of the secret '{handle}' has 1 to {MAX_VALUE} bytes")));
    }
    Ok(())
}
