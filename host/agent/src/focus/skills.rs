//! The skills of a focus: which are active, and those that it makes.

use std::{collections::BTreeSet, fmt::Write as _, sync::Arc};

use animus_core::{
    Error, Result,
    authority::Authority,
    code::Module,
    grant::Grant,
    id::PluginName,
    journal::{EffectKind, Intent},
    services::Principal,
    skill::{Activation, AutoRequest, Catalog, Created, How, SkillFiles, SkillName, SkillOrigin, SkillState, Workshop},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Acting, Focus, lock, plugins::With, services::intent};
use crate::measure;

/// How the journal calls the making of a skill.
const SUBJECT: &str = "create_skill";

/// The active skills, in the order in which they became so.
#[derive(Default)]
pub(super) struct Active {
    skills: Vec<Activation>,
    modules: Vec<Module>,
}

/// A skill as it becomes active: all that the focus needs of it, whatever becomes of the skill itself.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct InForce {
    name: SkillName,
    version: u64,
    prompt: Arc<str>,
    how: How,
    modules: Vec<Module>,
}

/// What was found to begin with.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Oriented {
    skills: Vec<InForce>,
    notices: Vec<String>,
}

/// A skill that was made, as the model and the journal read it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Made {
    pub(crate) skill: String,
    pub(crate) version: u64,
    /// It serves, or waits for an operator.
    pub(crate) pending: bool,
    /// The tests that passed.
    pub(crate) tests: usize,
    /// The tools that it offers from now on, by full name.
    pub(crate) tools: Vec<String>,
    /// The plugin that it was compiled into, where it serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plugin: Option<(PluginName, u64)>,
}

impl Focus {
    /// Where skills are kept and made, where this host has such a place.
    pub(crate) fn workshop(&self) -> Option<&Arc<dyn Workshop>> {
        self.0.cx.skills.as_ref()
    }

    /// The prompts of the active skills.
    pub(crate) fn skill_prompts(&self) -> String {
        let mut text = String::new();
        for skill in &lock(&self.0.active).skills {
            let _ = write!(text, "\n\n# Skill: {}\n{}", skill.name, skill.prompt.trim());
        }
        text
    }

    /// The scripts of the active skills, which code may import.
    pub(super) fn skill_modules(&self) -> Vec<Module> {
        lock(&self.0.active).modules.clone()
    }

    /// Finds the skills whose triggers match the work, and notes that they become active. What is wrong with one is told
    /// and holds up nothing.
    pub(crate) async fn orient(&self, faculty: &str, prompt: &str) -> Result<Oriented> {
        let Some(workshop) = self.workshop() else { return Ok(Oriented::default()) };
        let config = self.0.cx.faculty.orient;
        let catalog = workshop.catalog().await?;
        if catalog.entries().len() == 0 || !config.auto_activate_skills {
            return Ok(Oriented::default());
        }
        let rules = workshop.rules();
        let work = self.0.cx.tenant.work(self.0.work).await?;
        let auto = catalog.auto(&AutoRequest {
            faculty,
            description: prompt,
            params: &work.params,
            cap: rules.max_auto.min(usize::try_from(config.max_auto_activated).unwrap_or(usize::MAX)),
            max_tokens: rules.max_prompt_tokens,
        });
        let notices = auto.notices.iter().map(ToString::to_string).collect();
        Ok(Oriented { skills: self.record_activations(&catalog, auto.active).await?, notices })
    }

    /// Held while skills become active.
    pub(crate) async fn activating(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.0.activating.lock().await
    }

    /// What [`Focus::orient`] found is active from now on.
    pub(crate) fn settle_in(&self, oriented: Oriented) {
        for notice in oriented.notices {
            self.notice(notice);
        }
        self.put_in_force(oriented.skills);
    }

    /// Activates a skill and what it depends on; gives the names of those that were not active.
    pub(crate) async fn activate(&self, by: &Principal, name: &SkillName) -> Result<Vec<SkillName>> {
        let workshop = self.workshop().ok_or_else(none)?.clone();
        let _one_at_a_time = self.0.activating.lock().await;
        let request = json!({ "skill_name": name });
        let (focus, name, faculty) = (self.clone(), name.clone(), by.authority.plugin().to_string());
        let activated = self
            .observe(intent(by, EffectKind::Host, "activate_skill", request), async move {
                let catalog = workshop.catalog().await?;
                let (active, used) = {
                    let active = lock(&focus.0.active);
                    let names: BTreeSet<_> = active.skills.iter().map(|skill| skill.name.clone()).collect();
                    (names, active.skills.iter().map(Activation::tokens).sum::<u64>())
                };
                let new = catalog.activate(&name, Some(&faculty), &active)?;
                let tokens = new.iter().map(Activation::tokens).sum::<u64>();
                let most = workshop.rules().max_prompt_tokens;
                if used.saturating_add(tokens) > most {
                    return Err(Error::BudgetExhausted(format!(
                        "the skill '{name}' takes about {tokens} tokens of prompt, and of {most} are {used} taken"
                    )));
                }
                focus.record_activations(&catalog, new).await
            })
            .await?;
        let names = activated.iter().map(|skill| skill.name.clone()).collect();
        self.put_in_force(activated);
        Ok(names)
    }

    /// Collects what becomes active, and has the store note it. A faculty may engage again, and the same words trigger the
    /// same skills.
    async fn record_activations(&self, catalog: &Catalog, new: Vec<Activation>) -> Result<Vec<InForce>> {
        let mut in_force = Vec::new();
        for Activation { name, version, prompt, how } in new {
            if lock(&self.0.active).skills.iter().any(|active| active.name == name) {
                continue;
            }
            let entry = catalog.get(&name)?;
            let mut modules = Vec::new();
            if let Some(code) = entry.files.code(&entry.skill)? {
                let (path, source) = code.source;
                let stem = path.rsplit('/').next().and_then(|file| file.strip_suffix(".py"));
                let own = stem.map(|stem| (format!("skills.{}.scripts.{stem}", name.snake()), source));
                let all = code.modules.iter().map(|(name, source)| (name.clone(), *source)).chain(own);
                modules.extend(all.map(|(name, source)| Module { name, source: source.to_owned() }));
            }
            self.0.cx.tenant.skill_activated(self.0.work, self.0.lease.focus, &name, version, how).await?;
            in_force.push(InForce { name, version, prompt, how, modules });
        }
        Ok(in_force)
    }

    fn put_in_force(&self, new: Vec<InForce>) {
        for InForce { name, version, prompt, how, modules } in new {
            {
                let mut active = lock(&self.0.active);
                if active.skills.iter().any(|active| active.name == name) {
                    continue;
                }
                active.modules.extend(modules);
                active.skills.push(Activation { name: name.clone(), version, prompt, how });
            }
            measure::skill_activated(self.0.cx.tenant.id(), name.as_str(), how.as_str());
            self.notice(format!("the skill '{name}' is active ({how})"));
            self.gained();
        }
    }

    /// Makes a skill as `by`, journaled as one effect: a program whose tests call tools, each of them journaled inside it,
    /// and at the end the store keeps what was made under this effect's number. So it can be done again where a host ended
    /// in the middle. Where the skill serves at once, this focus can call its tools from now on.
    pub(crate) async fn create_skill(&self, by: &Principal, files: SkillFiles, findings: Vec<String>) -> Result<Made> {
        let workshop = self.workshop().ok_or_else(none)?.clone();
        let intent = Intent {
            kind: EffectKind::Code,
            caller: by.authority.plugin().to_string(),
            subject: SUBJECT.to_owned(),
            request: json!({ "digest": files.digest(), "bytes": files.to_bytes().len() }),
            parent: by.parent,
        };
        let authority = self.derivable(&by.authority)?;
        let (focus, depth) = (self.clone(), by.depth.saturating_add(1));
        let made = self
            .effect(intent, move |acting| async move {
                let created = focus.make(depth, acting, &authority, files, findings).await?;
                let (name, version) = (created.record.name, created.record.version);
                let pending = created.record.state == SkillState::Pending;
                let what = if pending { "waits for approval: animus skill approve" } else { "serves" };
                focus.notice(format!("the skill '{name}' (version {version}) {what}"));
                let plugin = created.plugin.as_ref().map(|plugin| (plugin.name.clone(), plugin.generation));
                let tools = created.plugin.map(|plugin| plugin.tools).unwrap_or_default();
                Ok(Made {
                    skill: name.to_string(),
                    version,
                    pending,
                    tests: created.tests.len(),
                    tools: tools.into_iter().map(|tool| tool.name).collect(),
                    plugin,
                })
            })
            .await?;
        if let Some((name, generation)) = made.plugin.clone() {
            // That generation, whatever others have made of the skill meanwhile: also when this focus changes hosts.
            let newer = workshop.serving(&name, generation).await?;
            // Several may be made at the same time: each joins what the others left.
            let mut plugins = lock(&self.0.plugins);
            *plugins = Arc::new(With::new(plugins.clone(), newer, name)?);
            drop(plugins);
            self.gained();
        }
        Ok(made)
    }

    /// Has the workshop make it, once.
    async fn make(
        &self,
        depth: u64,
        acting: Acting,
        authority: &Authority,
        files: SkillFiles,
        findings: Vec<String>,
    ) -> Result<Created> {
        let Acting { seq, cancel, .. } = acting;
        if self.is_strict() {
            return Err(self.halt(Error::Unavailable(format!(
                "the journal ends in {}, the making of a skill, which has no outcome",
                seq.map_or_else(|| "this".to_owned(), |seq| format!("#{seq}"))
            ))));
        }
        let workshop = self.workshop().ok_or_else(none)?;
        let origin = SkillOrigin { work: Some(self.0.work), focus: Some(self.0.lease.focus), seq, findings };
        if let (Some(seq), Some(effect)) = (seq, origin.effect())
            && let Some(created) = workshop.made(effect).await?
        {
            // Before this focus changed hosts. Its tests ran then, and nobody asks any more for what they did.
            self.pass_over(seq).await?;
            return Ok(created);
        }
        let cx = self.call_context(depth, seq, cancel);
        let pinned = self.plugins();
        let created = workshop.create(&cx, &*pinned, authority, files, origin).await?;
        measure::skill_created(self.cx().tenant.id(), created.record.created_by.as_str());
        Ok(created)
    }

    /// What may be derived from a plugin's authority in this run: a run that was narrowed passes on no more than it has.
    fn derivable(&self, authority: &Authority) -> Result<Authority> {
        let Some(tools) = &self.0.cx.tools else { return Ok(authority.clone()) };
        let narrowed = Grant { tool: tools.clone(), ..Grant::everything() };
        let granted = authority.effective().meet(&narrowed);
        Ok(Authority::new(authority.plugin().clone(), granted.clone(), granted, Grant::everything())
            .bounded(authority.limits()))
    }
}

fn none() -> Error {
    Error::NotFound("this host keeps no skills".into())
}
