//! From a skill's folder to a plugin that serves: describe, bound by its creator, test, compile, try, install.

use std::sync::{Arc, Mutex, PoisonError};

use animus_core::{
    Denial, Error, Gate, Result, Unlock,
    authority::Authority,
    code::{Module, Program, Tested},
    grant::Grant,
    id::PluginName,
    limits::{Limits, SomeLimits},
    manifest::Manifest,
    plugins::{PluginSet, SHIPPED},
    services::CallContext,
    skill::{
        Author, Catalog, Created, Decision, NewSkill, Policy, Rules, Skill, SkillCode, SkillFiles, SkillName,
        SkillOrigin, SkillRecord, Workshop, plugin_source,
    },
    store::{NewGeneration, Origin, Plugin, PluginState, Tenant},
    tool::Tool,
};
use async_trait::async_trait;
use serde::Deserialize as _;
use serde_json::json;

use super::{Thin, compile, interfaces, manifest};
use crate::{Inspection, Prepared, Registry};

/// The name under which a skill's tests import its code.
const TESTED_AS: &str = "skill";

/// A skill's plugin, ready to be installed.
#[derive(Clone, Debug)]
pub struct Forged {
    /// The skill.
    pub skill: Skill,
    /// The component.
    pub wasm: Arc<[u8]>,
    /// What it is.
    pub inspection: Inspection,
    /// Its tools, by full name.
    pub tools: Vec<Tool>,
    /// The most that it may be granted: what it requests, which is within its creator's authority and limits.
    pub grant: Grant,
    /// How its tests went.
    pub tests: Vec<Tested>,
}

impl Forged {
    /// Whether it has tests and all of them passed.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the failures, or that there is no test.
    pub fn expect_tested(&self) -> Result<()> {
        if self.tests.is_empty() {
            return Err(Error::Invalid(format!(
                "the skill '{}' has code and no test; give it functions test_… that import from '{TESTED_AS}' and assert",
                self.skill.name
            )));
        }
        let failed: Vec<String> = self
            .tests
            .iter()
            .filter_map(|test| test.failure.as_ref().map(|failure| (test, failure)))
            .map(|(test, failure)| {
                let why = if failure.traceback.is_empty() { &failure.message } else { &failure.traceback };
                format!("{}: {}", test.name, why.trim_end())
            })
            .collect();
        if failed.is_empty() {
            return Ok(());
        }
        Err(Error::Invalid(format!("{} of {} tests failed:\n{}", failed.len(), self.tests.len(), failed.join("\n"))))
    }
}

/// Makes plugins of skills, for one tenant.
pub struct Forge {
    registry: Arc<Registry>,
    tenant: Arc<dyn Tenant>,
    ceiling: Grant,
    rules: Rules,
    catalog: Mutex<Option<(u64, Arc<Catalog>)>>,
}

impl Forge {
    /// A forge for a tenant.
    #[must_use]
    pub fn new(registry: Arc<Registry>, tenant: Arc<dyn Tenant>, ceiling: Grant, rules: Rules) -> Self {
        Self { registry, tenant, ceiling, rules, catalog: Mutex::default() }
    }

    /// Makes the plugin of a skill that has code; none for one that has none. Installs nothing. Tests run as the skill
    /// would; whether they passed, [`Forged::expect_tested`] says.
    ///
    /// # Errors
    /// [`Error::Invalid`] with all that is wrong with its folder or code; [`Error::Denied`] for a capability that `by`
    /// does not hold; what the interpreter, the compiler and the trial fail with.
    pub async fn forge(
        &self,
        cx: &CallContext,
        plugins: &dyn PluginSet,
        by: &Authority,
        files: &SkillFiles,
    ) -> Result<Option<Forged>> {
        self.forge_within(cx, plugins, by, None, files).await
    }

    /// The same, and no more than `at_most` of what `by` holds: what an operator left when they took something back.
    async fn forge_within(
        &self,
        cx: &CallContext,
        plugins: &dyn PluginSet,
        by: &Authority,
        at_most: Option<&Grant>,
        files: &SkillFiles,
    ) -> Result<Option<Forged>> {
        let skill = files.skill(None)?;
        let Some(code) = files.code(&skill)? else { return Ok(None) };
        let name = plugin_name(&skill.name)?;
        let interpreter = code.interpreter.as_str();
        let program = program(&code);
        let described = plugins.describe_code(cx, interpreter, program.clone()).await?;
        let mut problems: Vec<String> =
            described.problems.iter().map(|problem| format!("{}, {problem}", program.name)).collect();
        if described.tools.is_empty() && problems.is_empty() {
            problems.push(format!("{} has no public function, so there is no tool in it", program.name));
        }
        if !problems.is_empty() {
            let text = problems.join("\n- ");
            return Err(Error::Invalid(format!(
                "the code of the skill '{}' cannot become tools:\n- {text}",
                skill.name
            )));
        }
        let uses = resolved(described.uses, plugins);
        let version = format!("{}.0.0", skill.version);
        let description = skill.line().description;
        let text = manifest(name.as_str(), &version, &description, &uses, interpreter, SomeLimits::default())?;
        let request = Manifest::parse(&text)?.request;
        let grant = bounded(&name, request.clone(), by, at_most)?;
        let authority = Authority::new(name, request, grant.clone(), self.ceiling.clone());
        let tests = test(cx, plugins, &authority, &skill, &code).await?;
        let wasm: Arc<[u8]> = compile(&Thin {
            manifest: &text,
            provenance: &json!({ "skill": skill.name, "files": files.digest(), "interpreter": interpreter }),
            interpreter,
            name: &program.name,
            source: &program.source,
            modules: &program.modules.iter().map(|m| (m.name.clone(), m.source.clone())).collect::<Vec<_>>(),
            tools: &described.tools,
            imports: &interfaces(&uses)?,
        })?
        .into();
        let Prepared { inspection, tools } = self.registry.prepare(wasm.clone()).await?;
        Ok(Some(Forged { skill, wasm, inspection, tools, grant, tests }))
    }

    /// What was forged as a generation of the skill's plugin, to be stored with the version that it was compiled from. The
    /// grant is what it is to hold; without one it keeps the one there is, or awaits one.
    ///
    /// # Errors
    /// [`Error::Conflict`] when a plugin of that name is no skill's.
    pub async fn generation(&self, forged: &Forged, grant: Option<Grant>) -> Result<NewGeneration> {
        self.expect_free(&forged.skill.name).await?;
        let manifest = &forged.inspection.manifest;
        Ok(NewGeneration {
            name: manifest.name.clone(),
            wasm: forged.wasm.clone(),
            version: manifest.version.to_string(),
            manifest: forged.inspection.manifest_text.clone(),
            source: plugin_source(&forged.skill.name),
            tools: forged.tools.clone(),
            is_faculty: false,
            is_interpreter: false,
            is_hook: false,
            grant,
        })
    }

    /// Approves a version that waits. It is compiled again: the same files give the same component, which is installed with
    /// the decision.
    ///
    /// # Errors
    /// As [`Forge::forge`], [`Forge::generation`] and the store's own; [`Error::Conflict`] for an agent's skill with the name
    /// of a plugin that ships.
    pub async fn approve(
        &self,
        cx: &CallContext,
        plugins: &dyn PluginSet,
        by: &Authority,
        actor: &str,
        waiting: &SkillRecord,
        reason: &str,
    ) -> Result<(SkillRecord, Option<Plugin>)> {
        if waiting.created_by == Author::Animus {
            expect_unshipped(&waiting.name)?;
        }
        let plugin = match self.forge(cx, plugins, by, &waiting.files).await? {
            Some(forged) => {
                forged.expect_tested()?;
                Some(Box::new(self.generation(&forged, Some(grant_of(waiting, &forged)?)).await?))
            }
            None => None,
        };
        let decision = Decision::Approve { plugin };
        let record = self.tenant.skill_decide(actor, &waiting.name, waiting.version, decision, reason).await?;
        let plugin = self.plugin_of(&record).await?;
        Ok((record, plugin))
    }

    /// The generation that a version was compiled into; none without code, and none that is no longer kept.
    async fn plugin_of(&self, record: &SkillRecord) -> Result<Option<Plugin>> {
        let Some(generation) = record.plugin_generation else { return Ok(None) };
        match self.tenant.plugin_at(&plugin_name(&record.name)?, generation).await {
            Err(Error::NotFound(_)) => Ok(None),
            found => found.map(Some),
        }
    }

    /// What the focus that makes a skill needs to know of it.
    async fn created(&self, record: SkillRecord) -> Result<Created> {
        let plugin = self.plugin_of(&record).await?.filter(|plugin| plugin.state == PluginState::Serving);
        let tests = record.report.as_ref().and_then(|report| report.get("tests")).map(Vec::deserialize);
        let tests = tests.transpose().map_err(|error| Error::internal("the store holds a broken report", &error))?;
        Ok(Created { record, tests: tests.unwrap_or_default(), plugin })
    }

    /// Refuses the name of a plugin that is not a skill's: a skill must not pass for it.
    async fn expect_free(&self, skill: &SkillName) -> Result<()> {
        let name = plugin_name(skill)?;
        match self.tenant.plugin(&name).await {
            Ok(plugin) if plugin.source != plugin_source(skill) => Err(Error::Conflict(format!(
                "there is a plugin '{name}' that is not this skill's; give the skill another name"
            ))),
            Ok(_) | Err(Error::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// An agent may go on with what agents made, and leaves people's skills alone.
    async fn expect_agents(&self, skill: &SkillName) -> Result<()> {
        match self.tenant.skill(skill, None).await {
            Ok(there) if there.created_by == Author::Human => {
                Err(Error::Conflict(format!("the skill '{skill}' is a person's; choose another name")))
            }
            Ok(_) | Err(Error::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl Workshop for Forge {
    fn rules(&self) -> Rules {
        self.rules
    }

    async fn catalog(&self) -> Result<Arc<Catalog>> {
        let revision = self.tenant.skills_revision().await?;
        let kept = self.catalog.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, catalog)) = kept.filter(|(of, _)| *of == revision) {
            return Ok(catalog);
        }
        let mut entries = Vec::new();
        for record in self.tenant.skills().await? {
            match record.entry() {
                Ok(entry) => entries.push(entry),
                Err(error) => tracing::error!(skill = %record.name, %error, "skill left out"),
            }
        }
        let catalog = Arc::new(Catalog::new(entries)?);
        *self.catalog.lock().unwrap_or_else(PoisonError::into_inner) = Some((revision, catalog.clone()));
        Ok(catalog)
    }

    async fn newest(&self, skill: &SkillName) -> Result<u64> {
        match self.tenant.skill_versions(skill).await {
            Ok(versions) => Ok(versions.first().map_or(0, |newest| newest.version)),
            Err(Error::NotFound(_)) => Ok(0),
            Err(error) => Err(error),
        }
    }

    async fn create(
        &self,
        cx: &CallContext,
        plugins: &dyn PluginSet,
        by: &Authority,
        files: SkillFiles,
        origin: SkillOrigin,
    ) -> Result<Created> {
        let actor = format!("plugin:{}", by.plugin());
        self.rules.expect_making(by.plugin())?;
        let skill = files.skill(None)?;
        expect_unshipped(&skill.name)?;
        self.expect_agents(&skill.name).await?;
        let mut at_most = None;
        if files.code(&skill)?.is_some() {
            self.expect_free(&skill.name).await?;
            // What an operator has taken back stays so, whatever version follows. One that was revoked altogether is
            // made, and awaits its grant as before.
            let there = self.tenant.plugin(&plugin_name(&skill.name)?).await;
            at_most = there.ok().filter(|plugin| plugin.granted.is_some()).and_then(|plugin| plugin.at_most);
        }
        let forged = self.forge_within(cx, plugins, by, at_most.as_ref(), &files).await?;
        if let Some(forged) = &forged {
            forged.expect_tested()?;
        }
        let report = forged.as_ref().map(|forged| {
            json!({
                "tests": forged.tests, "tools": forged.tools, "digest": forged.inspection.digest, "grant": forged.grant,
            })
        });
        let pending = self.rules.create == Policy::Ask;
        let plugin = match forged.as_ref().filter(|_| !pending) {
            Some(forged) => Some(self.generation(forged, Some(forged.grant.clone())).await?),
            None => None,
        };
        let new = NewSkill { files, created_by: Author::Animus, origin, pending, plugin, report };
        let record = self.tenant.skill_put(&actor, new).await?;
        tracing::debug!(skill = %record.name, version = record.version, "a skill is kept");
        self.created(record).await
    }

    async fn made(&self, effect: Origin) -> Result<Option<Created>> {
        match self.tenant.skill_made(effect).await? {
            Some(record) => self.created(record).await.map(Some),
            None => Ok(None),
        }
    }

    async fn serving(&self, plugin: &PluginName, generation: u64) -> Result<Arc<dyn PluginSet>> {
        let pins = json!({ plugin.as_str(): { "generation": generation } });
        Ok(self.registry.pinned(&self.tenant, &pins, &self.ceiling).await?)
    }
}

/// Refuses the name of a plugin that ships, whether it is installed or not.
fn expect_unshipped(skill: &SkillName) -> Result<()> {
    if SHIPPED.contains(&skill.as_str()) {
        return Err(Error::Conflict(format!(
            "'{skill}' is the name of a plugin that ships with animus; give the skill another name"
        )));
    }
    Ok(())
}

/// A skill's plugin has the skill's name.
fn plugin_name(skill: &SkillName) -> Result<PluginName> {
    PluginName::new(skill.as_str()).map_err(|_| {
        Error::Invalid(format!("a skill with code needs a name that begins with a letter, unlike '{skill}'"))
    })
}

fn program(code: &SkillCode<'_>) -> Program {
    let modules = code.modules.iter().map(|(name, source)| Module { name: name.clone(), source: (*source).to_owned() });
    let (name, source) = code.source;
    Program { modules: modules.collect(), ..Program::body(name, source) }
}

/// Code writes `tools.word_count.count` of the plugin `word-count`; what is asked for has the plugin's own name.
fn resolved(uses: Vec<String>, plugins: &dyn PluginSet) -> Vec<String> {
    let resolve = |text: String| {
        let Some((plugin, tool)) = text.strip_prefix("tool:").and_then(|tool| tool.split_once('.')) else {
            return text;
        };
        if plugins.plugin(plugin).is_some() {
            return text;
        }
        let meant = plugins.plugins().iter().find(|there| there.name.as_str().replace('-', "_") == plugin);
        meant.map_or_else(|| text.clone(), |there| format!("tool:{}.{tool}", there.name))
    };
    uses.into_iter().map(resolve).collect()
}

/// What its creator held when it was made bounds it, whoever approves it.
fn grant_of(waiting: &SkillRecord, forged: &Forged) -> Result<Grant> {
    let bound = waiting.report.as_ref().and_then(|report| report.get("grant").cloned());
    let bound = bound.and_then(|grant| serde_json::from_value::<Grant>(grant).ok());
    // Without it nothing says how far it may go, and the operator's own rights are no measure.
    let bound = bound.ok_or_else(|| {
        Error::Invalid(format!(
            "version {} of the skill '{}' does not say what its creator held; reject it, and install it from a folder",
            waiting.version, waiting.name
        ))
    })?;
    Ok(forged.grant.meet(&bound))
}

/// What of a skill's request its creator can give, and an operator left of the version before: all of it, or nothing.
fn bounded(name: &PluginName, request: Grant, by: &Authority, at_most: Option<&Grant>) -> Result<Grant> {
    let everything = Grant::everything();
    let left = at_most.unwrap_or(&everything);
    for (held, gate) in [(by.effective(), Gate::Principal), (left, Gate::Grant)] {
        if let Err(beyond) = request.within(held) {
            let denial = Denial {
                who: name.to_string(),
                capability: beyond.join(", "),
                gate,
                unlock: Unlock::AskOperator,
                reason: None,
                command: None,
            };
            return Err(denial.into());
        }
    }
    let limits = SomeLimits::all(by.limits().meet(Limits::default())).meet(left.limits);
    Ok(Grant { limits, ..request.meet(by.effective()).meet(left) })
}

/// Runs the skill's tests as the skill, each file by itself.
async fn test(
    cx: &CallContext,
    plugins: &dyn PluginSet,
    authority: &Authority,
    skill: &Skill,
    code: &SkillCode<'_>,
) -> Result<Vec<Tested>> {
    let (path, source) = code.source;
    let stem = path.rsplit('/').next().and_then(|file| file.strip_suffix(".py")).unwrap_or("tools");
    let own = [TESTED_AS.to_owned(), format!("skills.{}.scripts.{stem}", skill.name.snake())];
    let mut tested = Vec::new();
    for (path, text) in &code.tests {
        let mut tests = program(code);
        tests.modules.extend(own.iter().map(|name| Module { name: name.clone(), source: source.to_owned() }));
        let tests = Program { name: (*path).to_owned(), source: (*text).to_owned(), ..tests };
        tested.extend(plugins.test_code(cx, code.interpreter.as_str(), authority, tests).await?);
    }
    Ok(tested)
}
