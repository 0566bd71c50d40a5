//! The hash chain of an audit log.
//!
//! Each entry's hash covers the hash before it, so that no entry can be changed, taken out of the middle or moved
//! without breaking every hash after it. What a chain cannot show by itself: that its *end* was cut off, or that
//! somebody who may write the whole store computed it anew. Both are seen by whoever kept an earlier head elsewhere.

use animus_core::{
    Error, Result,
    id::TenantId,
    store::{AuditEntry, AuditVerdict},
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::rows::Columns;

/// What stands before the first entry: the head of an empty log.
const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

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

/// The number of the entry after the last one, if there is any, and the hash that it builds on.
pub(crate) fn next(last: Option<&impl Columns>) -> Result<(u64, String)> {
    match last {
        Some(row) => Ok((row.number("seq")?.saturating_add(1), row.text("hash")?)),
        None => Ok((1, GENESIS.to_owned())),
    }
}

/// An entry as it is read.
pub(crate) fn entry(row: &impl Columns) -> Result<AuditEntry> {
    Ok(AuditEntry {
        seq: row.number("seq")?,
        at_ms: row.number("at_ms")?,
        actor: row.text("actor")?,
        action: row.text("action")?,
        subject: row.text("subject")?,
        detail: row.json("detail")?,
        hash: row.text("hash")?,
    })
}

/// Verifies a chain row by row, without holding it.
pub(crate) struct Chain<'a> {
    tenant: &'a TenantId,
    verdict: AuditVerdict,
}

impl<'a> Chain<'a> {
    pub(crate) fn new(tenant: &'a TenantId) -> Self {
        Self { tenant, verdict: AuditVerdict { entries: 0, head: GENESIS.to_owned(), broken: None } }
    }

    /// Whether the next row follows; the first that does not is where the chain is broken.
    pub(crate) fn follows(&mut self, row: &impl Columns) -> Result<bool> {
        let (seq, expected) = (row.number("seq")?, self.verdict.entries.saturating_add(1));
        let why = if seq == expected {
            let fields = (row.text("actor")?, row.text("action")?, row.text("subject")?, row.text("detail")?);
            let (actor, action, subject, detail) = &fields;
            let link = Link { tenant: self.tenant, seq, at_ms: row.number("at_ms")?, actor, action, subject, detail };
            let hash = row.text("hash")?;
            if link.hash(&self.verdict.head)? == hash {
                self.verdict.head = hash;
                self.verdict.entries = seq;
                return Ok(true);
            }
            "it was changed, or does not follow the entry before it"
        } else {
            "the entries before it are gone"
        };
        self.verdict.broken = Some((seq, why.to_owned()));
        Ok(false)
    }

    pub(crate) fn verdict(self) -> AuditVerdict {
        self.verdict
    }
}
