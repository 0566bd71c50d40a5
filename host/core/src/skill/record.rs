//! What a store keeps of skills.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Author, Entry, SkillFiles, SkillName};
use crate::{
    Error,
    id::{Digest, FocusId, WorkId},
};

/// The longest report, in bytes of JSON.
const MAX_REPORT_BYTES: usize = 256 << 10;
/// The most findings, and the longest of them in bytes.
const MAX_FINDINGS: usize = 64;
const MAX_FINDING_BYTES: usize = 16 << 10;
/// The longest reason, in bytes.
const MAX_REASON_BYTES: usize = 4 << 10;

/// Where a version of a skill stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SkillState {
    /// It is the one that is used.
    Active,
    /// Somebody has to approve it.
    Pending,
    /// Somebody said no.
    Rejected,
    /// It was used until a newer one took its place.
    Retired,
}

/// Where a version came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SkillOrigin {
    /// The work item during which it was made.
    pub work: Option<WorkId>,
    /// The focus that made it.
    pub focus: Option<FocusId>,
    /// The findings that it was made from, at most 64.
    pub findings: Vec<String>,
}

/// A version to keep. Its name is the one in its `SKILL.md`.
#[derive(Clone, Debug)]
pub struct NewSkill {
    /// Its folder.
    pub files: SkillFiles,
    /// Who made it, as the host knows it: what the `SKILL.md` says of this is its author's word.
    pub created_by: Author,
    /// Where it came from.
    pub origin: SkillOrigin,
    /// Whether it waits for approval; otherwise it is active at once.
    pub pending: bool,
    /// The generation of the plugin that it was compiled into, if it was.
    pub plugin_generation: Option<u64>,
    /// What its tests gave, at most 256 KiB of JSON.
    pub report: Option<Value>,
}

impl NewSkill {
    /// Checks it, and gives its name.
    ///
    /// # Errors
    /// [`Error::Invalid`] as of [`SkillFiles::skill`], and for a report or findings that are too long.
    pub fn check(&self) -> Result<SkillName, Error> {
        let skill = self.files.skill(None)?;
        let findings = &self.origin.findings;
        if findings.len() > MAX_FINDINGS || findings.iter().any(|finding| finding.len() > MAX_FINDING_BYTES) {
            return Err(Error::Invalid(format!(
                "the skill '{}' comes of more than {MAX_FINDINGS} findings or one of more than {MAX_FINDING_BYTES} bytes",
                skill.name
            )));
        }
        let report = self.report.as_ref().map_or(0, |report| report.to_string().len());
        if report > MAX_REPORT_BYTES {
            return Err(Error::Invalid(format!(
                "the test report of the skill '{}' has {report} bytes, over the limit of {MAX_REPORT_BYTES}",
                skill.name
            )));
        }
        Ok(skill.name)
    }
}

/// A version of a skill as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct SkillRecord {
    /// Its name.
    pub name: SkillName,
    /// Its number, from 1; never given out twice while the skill exists.
    pub version: u64,
    /// Where it stands.
    pub state: SkillState,
    /// The digest of its files.
    pub digest: Digest,
    /// Its folder.
    pub files: SkillFiles,
    /// Who made it.
    pub created_by: Author,
    /// Where it came from.
    pub origin: SkillOrigin,
    /// The generation of the plugin that it was compiled into, if it was.
    pub plugin_generation: Option<u64>,
    /// What its tests gave.
    pub report: Option<Value>,
    /// Why it was approved or rejected, in the words of whoever did.
    pub reason: Option<String>,
    /// When it was stored, milliseconds since the epoch.
    pub at_ms: u64,
}

impl SkillRecord {
    /// As it stands in a [`super::Catalog`].
    ///
    /// # Errors
    /// As [`SkillFiles::skill`]: what an older build let in, this one may refuse.
    pub fn entry(&self) -> Result<Entry, Error> {
        Entry::new(self.version, self.files.clone())
    }
}

/// What somebody says to a version that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It becomes the active one.
    Approve {
        /// The generation of the plugin that it was compiled into, if it was; none keeps what is recorded.
        plugin_generation: Option<u64>,
    },
    /// It never becomes active.
    Reject,
}

impl Decision {
    /// The word in the audit log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approve { .. } => "approve",
            Self::Reject => "reject",
        }
    }

    /// Checks the reason that goes with it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for more than 4 KiB.
    pub fn check_reason(reason: &str) -> Result<(), Error> {
        if reason.len() > MAX_REASON_BYTES {
            return Err(Error::Invalid(format!(
                "the reason has {} bytes, over the limit of {MAX_REASON_BYTES}",
                reason.len()
            )));
        }
        Ok(())
    }
}

/// How often a skill was activated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkillUse {
    /// By how many foci.
    pub count: u64,
    /// When last, milliseconds since the epoch.
    pub last_ms: Option<u64>,
}

/// What became of the versions that the agent made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approvals {
    /// Active without a question.
    pub auto: u64,
    /// Approved.
    pub approved: u64,
    /// Rejected.
    pub rejected: u64,
}

impl Approvals {
    /// The share of those decided on that were approved, 0 to 1; none when nothing was decided.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "counts of decisions of people stay far below 2^52")]
    pub fn ratio(&self) -> Option<f64> {
        let decided = self.approved.saturating_add(self.rejected);
        (decided > 0).then(|| self.approved as f64 / decided as f64)
    }
}
