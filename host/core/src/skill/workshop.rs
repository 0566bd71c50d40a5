//! The port to where skills are kept and made.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Catalog, SkillFiles, SkillName, SkillOrigin, SkillRecord};
use crate::{
    Denial, Gate, Result, Unlock,
    authority::Authority,
    code::Tested,
    id::PluginName,
    plugins::PluginSet,
    services::CallContext,
    store::{Origin, Plugin},
};

/// What happens to a skill that an agent makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// It serves at once.
    Auto,
    /// It waits until an operator approves it.
    #[default]
    Ask,
    /// Agents make none.
    Never,
}

/// How far skills may go in one focus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What happens to a skill that an agent makes.
    pub create: Policy,
    /// The most skills that activate themselves.
    pub max_auto: usize,
    /// The most tokens of all active skills' prompts, estimated.
    pub max_prompt_tokens: u64,
}

impl Rules {
    /// Whether agents may make skills at all; `by` is who asks.
    ///
    /// # Errors
    /// The denial, where the policy is [`Policy::Never`].
    pub fn expect_making(&self, by: &PluginName) -> Result<(), Denial> {
        if self.create != Policy::Never {
            return Ok(());
        }
        Err(Denial {
            who: by.to_string(),
            capability: "skill:create".to_owned(),
            gate: Gate::Policy,
            unlock: Unlock::AskOperator,
            reason: None,
            command: Some("set skills.create in animus.toml to 'ask' or 'auto'".to_owned()),
        })
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self { create: Policy::default(), max_auto: 3, max_prompt_tokens: 8_000 }
    }
}

/// A skill that was made.
pub struct Created {
    /// The version, active or waiting.
    pub record: SkillRecord,
    /// How its tests went.
    pub tests: Vec<Tested>,
    /// The plugin that it was compiled into, in that generation, where it has code and serves.
    pub plugin: Option<Plugin>,
}

/// Where a tenant's skills are kept and made.
#[async_trait]
pub trait Workshop: Send + Sync {
    /// How far skills may go.
    fn rules(&self) -> Rules;

    /// The active skills as they are now.
    async fn catalog(&self) -> Result<Arc<Catalog>>;

    /// The number of the newest version of a skill, whatever became of it; 0 where there is none.
    async fn newest(&self, skill: &SkillName) -> Result<u64>;

    /// Checks, tests and compiles a skill that an agent made, and has it serve or wait, as the policy says. `by` is
    /// whose authority bounds it: it gets nothing that `by` does not hold, nor what an operator took back from the version
    /// before. `plugins` are those of the focus; tests run there, in `cx`. Nothing is kept before all of it is: the version
    /// and the generation of its plugin are stored together, once for each [`SkillOrigin::effect`].
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] with all that is wrong with it, failing tests included; [`crate::Error::Denied`] for
    /// what goes beyond `by`, or when the policy is never; [`crate::Error::Conflict`] for the name of a plugin, also of one
    /// that ships and is not installed, or of a person's skill.
    async fn create(
        &self,
        cx: &CallContext,
        plugins: &dyn PluginSet,
        by: &Authority,
        files: SkillFiles,
        origin: SkillOrigin,
    ) -> Result<Created>;

    /// What [`Workshop::create`] has made as this effect of a focus; none where it came to nothing, or never began.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`] for a version that was made and is no longer kept.
    async fn made(&self, effect: Origin) -> Result<Option<Created>>;

    /// A snapshot of the plugin that a skill was compiled into, in the generation that served when it was made.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`] for a generation that is no longer kept.
    async fn serving(&self, plugin: &PluginName, generation: u64) -> Result<Arc<dyn PluginSet>>;
}
