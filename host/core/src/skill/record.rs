//! What a store keeps of skills.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Author, Entry, SkillFiles, SkillName};
use crate::{
    Error,
    id::{Digest, FocusId, WorkId},
    store::{NewGeneration, Origin},
};

/// The longest report, in bytes of JSON.
const MAX_REPORT_BYTES: usize = 256 << 10;
/// The most findings, and the longest of them in bytes.
const MAX_FINDINGS: usize = 64;
const MAX_FINDING_BYTES: usize = 16 << 10;
/// The longest reason, in bytes.
const MAX_REASON_BYTES: usize = 4 << 10;
/// What the source of every skill's plugin begins with; the skill's name follows.
pub const PLUGIN_SOURCE: &str = "skill:";

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
    /// The number of the effect in the journal of that focus.
    #[serde(default)]
    pub seq: Option<u64>,
    /// The findings that it was made from, at most 64.
    pub findings: Vec<String>,
}

impl SkillOrigin {
    /// The effect that it comes from, which makes it once however often it is repeated; none for what comes from none.
    #[must_use]
    pub fn effect(&self) -> Option<Origin> {
        self.focus.zip(self.seq).map(|(focus, seq)| Origin { focus, seq })
    }
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
    /// The generation of its plugin that it was compiled into, to be installed with it; none without code, and for a
    /// version that waits.
    pub plugin: Option<NewGeneration>,
    /// What its tests gave, at most 256 KiB of JSON.
    pub report: Option<Value>,
}

impl NewSkill {
    /// Checks it, and gives its name.
    ///
    /// # Errors
    /// [`Error::Invalid`] as of [`SkillFiles::skill`], for a report or findings that are too long, for a plugin that is
    /// not this skill's, and for one of a version that waits.
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
        if self.pending && self.plugin.is_some() {
            return Err(Error::Invalid(format!(
                "a version of the skill '{}' that waits has no plugin yet; install it when it is approved",
                skill.name
            )));
        }
        self.plugin.as_ref().map_or(Ok(()), |plugin| expect_plugin_of(&skill.name, plugin))?;
        Ok(skill.name)
    }
}

/// Refuses a generation of a plugin that is not this skill's: it has the skill's name, and comes from it.
fn expect_plugin_of(skill: &SkillName, plugin: &NewGeneration) -> Result<(), Error> {
    if plugin.name.as_str() == skill.as_str() && plugin.source == plugin_source(skill) {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "the plugin '{}' from '{}' is not that of the skill '{skill}'",
        plugin.name, plugin.source
    )))
}

/// Where the store says that a skill's plugin comes from.
#[must_use]
pub fn plugin_source(skill: &SkillName) -> String {
    format!("{PLUGIN_SOURCE}{skill}")
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
    /// The generation of the plugin that it was compiled into; none without code, while it waits, and when that plugin
    /// was removed.
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
#[derive(Clone, Debug)]
pub enum Decision {
    /// It becomes the active one.
    Approve {
        /// The generation of its plugin that it was compiled into, to be installed with the decision; none without code.
        plugin: Option<Box<NewGeneration>>,
    },
    /// It never becomes active.
    Reject,
}

impl Decision {
    /// The word in the audit log.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Approve { .. } => "approve",
            Self::Reject => "reject",
        }
    }

    /// Checks it and the reason that goes with it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a plugin that is not this skill's, and for a reason of more than 4 KiB.
    pub fn check(&self, skill: &SkillName, reason: &str) -> Result<(), Error> {
        if let Self::Approve { plugin: Some(plugin) } = self {
            expect_plugin_of(skill, plugin)?;
        }
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
