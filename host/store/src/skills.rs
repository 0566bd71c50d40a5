//! What every back end does alike with skills.

use animus_core::{
    Error, Result,
    id::Digest,
    skill::{Approvals, Author, MAX_SKILLS, SkillFiles, SkillName, SkillRecord, SkillState, SkillUse},
    store::Origin,
};

use crate::rows::{Columns, missing};

/// How many versions of a skill are kept beside the active one, the newest of them included.
pub(crate) const KEPT: u32 = 10;
/// The most bytes of all versions of all skills of a tenant.
const MOST_BYTES: u64 = 64 << 20;

/// A row of the versions with `is_active`.
pub(crate) fn record(row: &impl Columns) -> Result<SkillRecord> {
    let (name, version) = (row.parsed::<SkillName>("name")?, row.number("version")?);
    let bytes = row.bytes("files")?;
    let digest = row.parsed::<Digest>("digest")?;
    let changed = |why: &str| {
        Error::Internal(format!("version {version} of the skill '{name}' was changed in the store ({why}); remove it"))
    };
    if Digest::of(bytes) != digest {
        return Err(changed("its digest is another"));
    }
    let state = match (row.text("state")?.as_str(), row.flag("is_active")?) {
        ("approved", true) => SkillState::Active,
        ("approved", false) => SkillState::Retired,
        ("pending", false) => SkillState::Pending,
        ("rejected", false) => SkillState::Rejected,
        _ => return Err(changed("it is active without approval")),
    };
    Ok(SkillRecord {
        name,
        version,
        state,
        digest,
        files: SkillFiles::from_bytes(bytes)?,
        created_by: row.parsed::<Author>("created_by")?,
        origin: row.json("origin")?,
        plugin_generation: row.maybe_number("plugin_generation")?,
        report: row.maybe_json("report")?,
        reason: row.maybe_text("reason")?,
        at_ms: row.number("at_ms")?,
    })
}

/// The error of a version, or of an active one, that is not there.
pub(crate) fn no_version(name: &SkillName, version: Option<u64>) -> Error {
    match version {
        Some(version) => missing("version", format_args!("{version} of the skill '{name}'")),
        None => missing("active skill", format_args!("'{name}'")),
    }
}

/// The error of a version that an effect made and that is gone.
pub(crate) fn no_longer(effect: Origin, name: &SkillName, version: u64) -> Error {
    let Origin { focus, seq } = effect;
    Error::NotFound(format!(
        "#{seq} of the focus {focus} made version {version} of the skill '{name}', which is no longer kept"
    ))
}

/// Refuses another version of an effect that made one.
pub(crate) fn expect_same(effect: Origin, made: &SkillRecord, digest: Digest) -> Result<()> {
    if made.digest == digest {
        return Ok(());
    }
    let Origin { focus, seq } = effect;
    Err(Error::Conflict(format!(
        "#{seq} of the focus {focus} made version {} of the skill '{}', and cannot make another",
        made.version, made.name
    )))
}

/// Refuses one skill more than a tenant may keep: a model that makes skills all day would fill the disk.
pub(crate) fn expect_few(name: &SkillName, others: u64) -> Result<()> {
    if usize::try_from(others).is_ok_and(|others| others >= MAX_SKILLS) {
        return Err(Error::BudgetExhausted(format!(
            "cannot add the skill '{name}': there are {MAX_SKILLS} others already; remove some"
        )));
    }
    Ok(())
}

/// Refuses more bytes than a tenant may keep.
pub(crate) fn expect_small(name: &SkillName, bytes: u64) -> Result<()> {
    if bytes > MOST_BYTES {
        return Err(Error::BudgetExhausted(format!(
            "cannot keep the skill '{name}': with it, all versions of all skills have {bytes} bytes, over the limit of \
             {MOST_BYTES}; remove some skills"
        )));
    }
    Ok(())
}

/// Refuses to decide on what no longer waits.
pub(crate) fn expect_pending(what: &str, state: SkillState) -> Result<()> {
    let was = match state {
        SkillState::Pending => return Ok(()),
        SkillState::Rejected => "rejected",
        SkillState::Active | SkillState::Retired => "approved",
    };
    Err(Error::Conflict(format!("cannot {what}: it was {was} already")))
}

/// Refuses to approve a version under a newer one that is active.
pub(crate) fn expect_newest(what: &str, version: u64, active: Option<u64>) -> Result<()> {
    match active.filter(|active| *active > version) {
        Some(newer) => Err(Error::Conflict(format!("cannot {what}: version {newer} is active and newer"))),
        None => Ok(()),
    }
}

/// Refuses to activate what nobody approved. A focus that began before an update goes on with the version that it began
/// with.
pub(crate) fn expect_approved(what: &str, version: u64, state: SkillState) -> Result<()> {
    match state {
        SkillState::Active | SkillState::Retired => Ok(()),
        SkillState::Pending | SkillState::Rejected => {
            Err(Error::Conflict(format!("cannot {what}: version {version} is not approved")))
        }
    }
}

/// The counted activations.
pub(crate) fn usage(row: &impl Columns) -> Result<SkillUse> {
    Ok(SkillUse { count: row.number("count")?, last_ms: row.maybe_number("last_ms")? })
}

/// The counted decisions.
pub(crate) fn approvals(row: &impl Columns) -> Result<Approvals> {
    let [auto, approved, rejected] = ["auto", "approved", "rejected"].map(|column| row.number(column));
    Ok(Approvals { auto: auto?, approved: approved?, rejected: rejected? })
}
