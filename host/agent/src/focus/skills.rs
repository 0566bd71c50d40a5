//! The skills of a focus: which are active, and those that it makes.

use std::{collections::BTreeSet, fmt::Write as _, sync::Arc};

use animus_core::{
    Error, Result,
    authority::Authority,
    code::Module,
    event::Event,
    grant::Grant,
    journal::{EffectKind, Intent},
    services::Principal,
    skill::{Activation, AutoRequest, Catalog, SkillFiles, SkillName, SkillOrigin, SkillState, Workshop},
};
use serde::Serialize;
use serde_json::json;

use super::{Focus, lock, plugins::With};
use crate::measure;

/// How the journal calls the making of a skill.
const SUBJECT: &str = "create_skill";

/// The active skills, in the order in which they became so.
#[derive(Default)]
pub(super) struct Active {
    skills: Vec<Activation>,
    modules: Vec<Module>,
}

/// A skill that was made, as the model and the journal read it.
#[derive(Serialize)]
pub(crate) struct Made {
    pub(crate) skill: String,
    pub(crate) version: u64,
    /// It serves, or waits for an operator.
    pub(crate) pending: bool,
    /// The tests that passed.
    pub(crate) tests: usize,
    /// The tools that it offers from now on, by full name.
    pub(crate) tools: Vec<String>,
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

    /// Activates the skills whose triggers match the work. What is wrong with one is told and holds up nothing.
    pub(crate) async fn orient(&self, by: &Principal, prompt: &str) -> Result<()> {
        let Some(workshop) = self.workshop() else { return Ok(()) };
        let catalog = workshop.catalog().await?;
        if catalog.entries().len() == 0 {
            return Ok(());
        }
        let _one_at_a_time = self.0.activating.lock().await;
        let rules = workshop.rules();
        let work = self.0.cx.tenant.work(self.0.work).await?;
        let auto = catalog.auto(&AutoRequest {
            faculty: by.authority.plugin().as_str(),
            description: prompt,
            params: &work.params,
            cap: rules.max_auto,
            max_tokens: rules.max_prompt_tokens,
        });
        for notice in &auto.notices {
            self.notice(notice.to_string());
        }
        self.put_in_force(&catalog, auto.active).await
    }

    /// Activates a skill and what it depends on; gives the names of those that were not active.
    pub(crate) async fn activate(&self, by: &Principal, name: &SkillName) -> Result<Vec<Activation>> {
        let workshop = self.workshop().ok_or_else(none)?;
        let catalog = workshop.catalog().await?;
        let _one_at_a_time = self.0.activating.lock().await;
        let (active, used) = {
            let active = lock(&self.0.active);
            let names: BTreeSet<_> = active.skills.iter().map(|skill| skill.name.clone()).collect();
            (names, active.skills.iter().map(Activation::tokens).sum::<u64>())
        };
        let new = catalog.activate(name, Some(by.authority.plugin().as_str()), &active)?;
        let tokens = new.iter().map(Activation::tokens).sum::<u64>();
        let most = workshop.rules().max_prompt_tokens;
        if used.saturating_add(tokens) > most {
            return Err(Error::BudgetExhausted(format!(
                "the skill '{name}' takes about {tokens} tokens of prompt, and of {most} are {used} taken"
            )));
        }
        self.put_in_force(&catalog, new.clone()).await?;
        Ok(new)
    }

    /// Whoever calls it holds `activating`.
    async fn put_in_force(&self, catalog: &Catalog, new: Vec<Activation>) -> Result<()> {
        for skill in new {
            // A faculty may engage again, and the same words trigger the same skills.
            if lock(&self.0.active).skills.iter().any(|active| active.name == skill.name) {
                continue;
            }
            let entry = catalog.get(&skill.name)?;
            let mut modules = Vec::new();
            if let Some(code) = entry.files.code(&entry.skill)? {
                let (path, source) = code.source;
                let stem = path.rsplit('/').next().and_then(|file| file.strip_suffix(".py"));
                let own = stem.map(|stem| (format!("skills.{}.scripts.{stem}", skill.name.snake()), source));
                let all = code.modules.iter().map(|(name, source)| (name.clone(), *source)).chain(own);
                modules.extend(all.map(|(name, source)| Module { name, source: source.to_owned() }));
            }
            self.0
                .cx
                .tenant
                .skill_activated(self.0.work, self.0.lease.focus, &skill.name, skill.version, skill.how)
                .await?;
            measure::skill_activated(self.0.cx.tenant.id(), skill.name.as_str(), skill.how.as_str());
            self.notice(format!("the skill '{}' is active ({})", skill.name, skill.how));
            let mut active = lock(&self.0.active);
            active.modules.extend(modules);
            active.skills.push(skill);
            drop(active);
            self.gained();
        }
        Ok(())
    }

    /// Makes a skill as `by`, journaled as one effect. Where it serves at once, this focus can call its tools from now on.
    pub(crate) async fn create_skill(&self, by: &Principal, files: SkillFiles, findings: Vec<String>) -> Result<Made> {
        let workshop = self.workshop().ok_or_else(none)?.clone();
        let origin = SkillOrigin { work: Some(self.0.work), focus: Some(self.0.lease.focus), findings };
        let intent = Intent {
            kind: EffectKind::Tool,
            caller: by.authority.plugin().to_string(),
            subject: SUBJECT.to_owned(),
            request: json!({ "digest": files.digest(), "bytes": files.to_bytes().len() }),
            parent: by.parent,
        };
        let authority = self.derivable(&by.authority)?;
        let (focus, depth) = (self.clone(), by.depth.saturating_add(1));
        self.effect(intent, move |acting| async move {
            let cx = focus.call_context(depth, acting.seq, acting.cancel);
            let pinned = focus.plugins();
            let created = workshop.create(&cx, &*pinned, &authority, files, origin).await?;
            let mut tools = Vec::new();
            if let Some(serving) = created.plugin {
                tools = serving.tools;
                // Several may be made at the same time: each joins what the others left.
                let mut plugins = lock(&focus.0.plugins);
                *plugins = Arc::new(With::new(plugins.clone(), serving.plugins, serving.name)?);
                drop(plugins);
                focus.gained();
            }
            measure::skill_created(focus.cx().tenant.id(), created.record.created_by.as_str());
            let name = created.record.name;
            let pending = created.record.state == SkillState::Pending;
            let what = if pending { "waits for approval: animus skill approve" } else { "serves" };
            focus.tell(Event::Notice {
                text: format!("the skill '{name}' (version {}) {what}", created.record.version),
            });
            Ok(Made {
                skill: name.to_string(),
                version: created.record.version,
                pending,
                tests: created.tests.len(),
                tools,
            })
        })
        .await
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
