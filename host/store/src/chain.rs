//! The hash chain of an audit log.
//!
//! Each entry's hash covers the hash before it, so that no entry can be changed, taken out of the middle or moved
//! without breaking every hash after it. What a chain cannot show by itself: that its *end* was cut off, or that
//! somebody who may write the whole store computed it anew. Both are seen by whoever kept an earlier head elsewhere.

use animus_core::{Error, Result, id::TenantId};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// What stands before the first entry: the head of an empty log.
pub(crate) const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What is hashed, as JSON with the fields in this order. The tenant is part of it, so that no chain passes for
/// another tenant's. `detail` is the stored text itself, not a value that would have to be written again identically.
#[derive(Serialize)]
pub(crate) struct Link<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) seq: u64,
    pub(crate) at_ms: u64,
    pub(crate) actor: &'a str,
    pub(crate) action: &'a str,
    pub(crate) subject: &'a str,
    pub(crate) detail: &'a str,
}

impl Link<'_> {
    /// The hash of this entry after the one whose hash is `previous`, hexadecimal.
    pub(crate) fn hash(&self, previous: &str) -> Result<String> {
        let text = serde_json::to_string(self).map_err(|e| Error::internal("cannot write an audit entry", &e))?;
        Ok(hex::encode(Sha256::new().chain_update(previous).chain_update(text).finalize()))
    }
}
