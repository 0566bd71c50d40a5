//! What every back end does alike with installed plugins.

use std::sync::Arc;

use animus_core::{
    Error, Result,
    grant::Grant,
    id::{Digest, PluginName},
    limits::Limits,
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
        at_most: row.maybe_json("at_most")?,
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

/// Whose word the grant of a new generation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grantor {
    /// Whoever runs this host, by hand or by its configuration.
    Operator,
    /// An agent that makes a skill: it gets nothing that an operator took back.
    Agent,
    /// An operator who approves what an agent asks for, having read it; what was taken back before is not in it.
    Approver,
}

/// The grant that a plugin has with a new generation and the most that agents get of it later; none keeps both.
pub(crate) fn granting(by: Grantor, before: Option<&Plugin>, grant: Option<Grant>) -> Option<(Grant, Option<Grant>)> {
    let grant = grant?;
    let Some(before) = before else { return Some((grant, None)) };
    match (by, &before.granted, &before.at_most) {
        (Grantor::Agent, None, _) => None,
        (Grantor::Agent | Grantor::Approver, Some(_), Some(most)) => Some((grant.meet(most), Some(most.clone()))),
        (Grantor::Agent | Grantor::Approver, Some(_), None) => Some((grant, None)),
        (Grantor::Approver, None, _) | (Grantor::Operator, ..) => {
            let most = left(before, Some(&grant));
            Some((grant, most))
        }
    }
}

/// The most that agents get of a plugin once an operator has granted it `new` in place of what it had: from the first time
/// that something is taken back, the operator's last word.
pub(crate) fn left(before: &Plugin, new: Option<&Grant>) -> Option<Grant> {
    let Some(new) = new else { return Some(Grant::default()) };
    let limits = |grant: &Grant| grant.limits.or(Limits::default());
    let narrows = |had: &Grant| had.within(new).is_err() || !limits(had).within(&limits(new));
    let is_bound = before.at_most.is_some() || before.granted.as_ref().is_some_and(narrows);
    is_bound.then(|| new.clone())
}

/// Refuses a generation of a skill where the plugin of its name is not the skill's.
pub(crate) fn expect_from(source: &str, before: Option<&Plugin>) -> Result<()> {
    match before.filter(|before| before.source != source) {
        Some(other) => Err(Error::Conflict(format!(
            "there is a plugin '{}' that is not this skill's; give the skill another name",
            other.name
        ))),
        None => Ok(()),
    }
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

#[cfg(test)]
mod tests {
    use animus_core::limits::SomeLimits;

    use super::*;

    fn plugin(granted: Option<&str>, at_most: Option<&str>) -> Plugin {
        let grant = |text: &str| Grant::parse_toml(text).unwrap();
        Plugin {
            name: PluginName::new("counts").unwrap(),
            generation: 1,
            digest: Digest::of(b""),
            version: "1.0.0".into(),
            manifest: String::new(),
            source: "skill:counts".into(),
            state: PluginState::Serving,
            granted: granted.map(grant),
            at_most: at_most.map(grant),
            tools: Vec::new(),
            is_faculty: false,
            is_interpreter: false,
            is_hook: false,
            installed_ms: 0,
        }
    }

    const BOTH: &str = "tool = ['fs.read_file', 'fs.write_file']";
    const ONE: &str = "tool = ['fs.read_file']";

    #[test]
    fn what_an_operator_took_back_is_kept_from_agents_and_more_is_not() {
        let grant = |text: &str| Grant::parse_toml(text).unwrap();
        let agent = |before: &Plugin| granting(Grantor::Agent, Some(before), Some(grant(BOTH)));
        // Nobody took anything back: the new version has what its maker gives it.
        assert_eq!(agent(&plugin(Some(ONE), None)), Some((grant(BOTH), None)));
        assert_eq!(left(&plugin(Some(ONE), None), Some(&grant(BOTH))), None, "more is not less");
        // Narrowed.
        assert_eq!(left(&plugin(Some(BOTH), None), Some(&grant(ONE))), Some(grant(ONE)));
        assert_eq!(agent(&plugin(Some(ONE), Some(ONE))), Some((grant(ONE), Some(grant(ONE)))));
        // A version that asks for less does not make the next one free.
        assert_eq!(agent(&plugin(Some(""), Some(ONE))), Some((grant(ONE), Some(grant(ONE)))));
        assert_eq!(left(&plugin(Some(ONE), Some(ONE)), Some(&grant(ONE))), Some(grant(ONE)), "granted again, as it is");
        // Revoked, and what was granted after that.
        assert_eq!(left(&plugin(Some(BOTH), None), None), Some(Grant::default()));
        assert_eq!(agent(&plugin(None, Some(""))), None);
        assert_eq!(left(&plugin(None, Some("")), Some(&grant(ONE))), Some(grant(ONE)));
        // Limits count as well.
        let slow = Grant { limits: SomeLimits { wall_ms: Some(1), ..SomeLimits::default() }, ..grant(BOTH) };
        assert_eq!(left(&plugin(Some(BOTH), None), Some(&slow)), Some(slow.clone()));
        let bound = Plugin { at_most: Some(slow.clone()), ..plugin(Some(BOTH), None) };
        assert_eq!(agent(&bound), Some((slow.clone(), Some(slow))));
    }

    #[test]
    fn an_approval_grants_again_what_was_revoked_and_not_what_was_narrowed() {
        let grant = |text: &str| Grant::parse_toml(text).unwrap();
        let approved = |before: &Plugin| granting(Grantor::Approver, Some(before), Some(grant(BOTH)));
        assert_eq!(approved(&plugin(Some(ONE), Some(ONE))), Some((grant(ONE), Some(grant(ONE)))));
        assert_eq!(approved(&plugin(None, Some(""))), Some((grant(BOTH), Some(grant(BOTH)))));
        assert_eq!(approved(&plugin(None, None)), Some((grant(BOTH), None)));
    }
}
