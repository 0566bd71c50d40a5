//! Skills with code: a version and the generation of its plugin.

use std::sync::Arc;

use animus_core::{
    grant::Grant,
    id::PluginName,
    skill::{
        Approvals, Author, Decision, MAX_SKILLS, NewSkill, Skill, SkillFiles, SkillName, SkillOrigin, SkillRecord,
        SkillState, plugin_source,
    },
    store::{NewGeneration, Origin, PluginState, Store, Tenant},
};
use serde_json::json;

use super::{begun, class, tenant, two_tenants};

const BOTH: &str = "tool = ['fs.read_file', 'fs.write_file']";
const ONE: &str = "tool = ['fs.read_file']";

fn name() -> SkillName {
    "counts".parse().unwrap()
}

fn plugin() -> PluginName {
    PluginName::new("counts").unwrap()
}

fn grant(text: &str) -> Grant {
    Grant::parse_toml(text).unwrap()
}

fn files(n: u32) -> SkillFiles {
    let skill = Skill { body: format!("text {n}"), ..Skill::new(name(), "counts") };
    SkillFiles::new([("SKILL.md".to_owned(), skill.to_markdown().into_bytes())]).unwrap()
}

/// What the skill of the text `n` compiles into; it asks for two tools.
fn generation(n: u32, granted: &str) -> NewGeneration {
    NewGeneration {
        name: plugin(),
        wasm: format!("skill {n}").into_bytes().into(),
        version: format!("{n}.0.0"),
        manifest: format!("[plugin]\nname = 'counts'\nversion = '{n}.0.0'\nwit = '0.1'\n\n[capabilities]\n{BOTH}\n"),
        source: plugin_source(&name()),
        tools: Vec::new(),
        is_faculty: false,
        is_interpreter: false,
        is_hook: false,
        grant: Some(grant(granted)),
    }
}

/// What an agent makes, with code.
fn version(n: u32) -> NewSkill {
    NewSkill {
        files: files(n),
        created_by: Author::Animus,
        origin: SkillOrigin::default(),
        pending: false,
        plugin: Some(generation(n, BOTH)),
        report: None,
    }
}

fn text_alone(n: u32) -> NewSkill {
    NewSkill { plugin: None, ..version(n) }
}

fn waiting(n: u32) -> NewSkill {
    NewSkill { pending: true, ..text_alone(n) }
}

async fn put(tenant: &Arc<dyn Tenant>, new: NewSkill) -> SkillRecord {
    tenant.skill_put("plugin:assistant", new).await.unwrap()
}

async fn active(tenant: &Arc<dyn Tenant>) -> (u64, Option<u64>) {
    let record = tenant.skill(&name(), None).await.unwrap();
    (record.version, record.plugin_generation)
}

async fn granted(tenant: &Arc<dyn Tenant>) -> Option<Grant> {
    tenant.plugin(&plugin()).await.unwrap().granted
}

pub(crate) async fn a_version_and_its_plugin_are_stored_together_or_not_at_all(store: Arc<dyn Store>) {
    let (ada, bob) = two_tenants(&store).await;
    let made = put(&ada, version(1)).await;
    assert_eq!((made.version, made.state, made.plugin_generation), (1, SkillState::Active, Some(1)));
    let there = ada.plugin(&plugin()).await.unwrap();
    assert_eq!((there.generation, there.state, there.granted), (1, PluginState::Serving, Some(grant(BOTH))));
    assert_eq!(put(&ada, version(2)).await.plugin_generation, Some(2));
    let log: Vec<_> = ada.audit_read(10).await.unwrap().into_iter().map(|entry| entry.action).collect();
    assert_eq!(log, ["plugin.install", "skill.put", "plugin.install", "skill.put"]);
    assert_eq!(ada.audit_verify().await.unwrap().broken, None);

    // No room for the skill: nothing of the plugin either.
    for n in 0..MAX_SKILLS {
        let skill = Skill::new(format!("s{n}").parse().unwrap(), "one of many");
        let files = SkillFiles::new([("SKILL.md".to_owned(), skill.to_markdown().into_bytes())]).unwrap();
        put(&bob, NewSkill { files, ..text_alone(1) }).await;
    }
    let revisions = (bob.plugins_revision().await.unwrap(), bob.skills_revision().await.unwrap());
    assert_eq!(class(bob.skill_put("plugin:assistant", version(1)).await), "budget-exhausted");
    assert_eq!(class(bob.plugin(&plugin()).await), "not-found");
    assert_eq!((bob.plugins_revision().await.unwrap(), bob.skills_revision().await.unwrap()), revisions);

    // No room for the plugin, whose name another has: nothing of the skill.
    let tenant = tenant(&store, "cyd").await;
    let other = NewGeneration { source: "./counts".into(), ..generation(1, ONE) };
    tenant.plugin_install("operator", other).await.unwrap();
    assert_eq!(class(tenant.skill_put("plugin:assistant", version(1)).await), "conflict");
    assert_eq!(class(tenant.skill_versions(&name()).await), "not-found");
    assert_eq!(tenant.plugin(&plugin()).await.unwrap().generation, 1);
    // Nor is there one for a plugin that is another's, or of what waits.
    for bad in [
        NewSkill {
            plugin: Some(NewGeneration { name: PluginName::new("other").unwrap(), ..generation(1, ONE) }),
            ..version(1)
        },
        NewSkill { plugin: Some(NewGeneration { source: "embedded".into(), ..generation(1, ONE) }), ..version(1) },
        NewSkill { pending: true, ..version(1) },
    ] {
        assert_eq!(class(ada.skill_put("plugin:assistant", bad).await), "invalid");
    }
}

pub(crate) async fn an_effect_makes_one_version_however_often_it_is_repeated(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let (work, focus) = begun(&tenant).await;
    let effect = Origin { focus, seq: 7 };
    let of = |seq, new| {
        let origin = SkillOrigin { work: Some(work), focus: Some(focus), seq: Some(seq), findings: vec!["f".into()] };
        NewSkill { origin, ..new }
    };
    assert_eq!(tenant.skill_made(effect).await.unwrap(), None);
    let made = put(&tenant, of(7, version(1))).await;
    assert_eq!(made.origin.effect(), Some(effect));
    let before = (tenant.plugins_revision().await.unwrap(), tenant.skills_revision().await.unwrap());
    assert_eq!(put(&tenant, of(7, version(1))).await, made);
    assert_eq!(tenant.skill_made(effect).await.unwrap(), Some(made.clone()));
    assert_eq!((tenant.plugins_revision().await.unwrap(), tenant.skills_revision().await.unwrap()), before);
    assert_eq!(tenant.skill_approvals().await.unwrap(), Approvals { auto: 1, ..Approvals::default() });
    assert_eq!(tenant.audit_read(10).await.unwrap().len(), 2);
    // It cannot make something else; another effect makes another version, of the same files too.
    assert_eq!(class(tenant.skill_put("plugin:assistant", of(7, version(2))).await), "conflict");
    assert_eq!(put(&tenant, of(8, version(1))).await.version, 2);
    assert_eq!(tenant.skill_made(effect).await.unwrap().unwrap().version, 1);
    // One that waits is made once as well.
    for _ in 0..2 {
        assert_eq!(put(&tenant, of(9, waiting(3))).await.version, 3);
    }
    assert_eq!(tenant.skill_pending().await.unwrap().len(), 1);
    // What was removed does not come again by itself.
    tenant.skill_remove("operator", &name()).await.unwrap();
    assert_eq!(class(tenant.skill_put("plugin:assistant", of(7, version(1))).await), "not-found");
    assert_eq!(class(tenant.skill_made(effect).await), "not-found");
    assert_eq!(tenant.skills().await.unwrap(), []);
}

pub(crate) async fn of_many_who_repeat_an_effect_at_once_one_makes_it(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let (work, focus) = begun(&tenant).await;
    let origin = SkillOrigin { work: Some(work), focus: Some(focus), seq: Some(3), findings: Vec::new() };
    let tasks = (0..8).map(|_| {
        let (tenant, new) = (tenant.clone(), NewSkill { origin: origin.clone(), ..version(1) });
        tokio::spawn(async move { put(&tenant, new).await })
    });
    let tasks: Vec<_> = tasks.collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().version, 1);
    }
    assert_eq!(tenant.skill_versions(&name()).await.unwrap().len(), 1);
    assert_eq!(tenant.plugin_generations(&plugin()).await.unwrap().len(), 1);
}

pub(crate) async fn an_approval_installs_what_it_approves(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    put(&tenant, waiting(1)).await;
    put(&tenant, waiting(2)).await;
    let approve = |n| Decision::Approve { plugin: Some(Box::new(generation(n, BOTH))) };
    let approved = tenant.skill_decide("operator", &name(), 2, approve(2), "fine").await.unwrap();
    assert_eq!((approved.state, approved.plugin_generation), (SkillState::Active, Some(1)));
    assert_eq!(granted(&tenant).await, Some(grant(BOTH)));
    // What cannot be approved installs nothing.
    for version in [1, 2, 3] {
        let class = class(tenant.skill_decide("operator", &name(), version, approve(1), "").await);
        assert_eq!(class, if version == 3 { "not-found" } else { "conflict" });
    }
    let other = NewGeneration { source: "embedded".into(), ..generation(1, ONE) };
    let other = Decision::Approve { plugin: Some(Box::new(other)) };
    assert_eq!(class(tenant.skill_decide("operator", &name(), 1, other, "").await), "invalid");
    assert_eq!(tenant.plugin_generations(&plugin()).await.unwrap().len(), 1);
}

pub(crate) async fn what_serves_is_what_is_read(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    for n in 1..=3 {
        put(&tenant, version(n)).await;
    }
    assert_eq!(active(&tenant).await, (3, Some(3)));
    let before = tenant.skills_revision().await.unwrap();
    tenant.plugin_retire("host", &plugin(), 3, "it fails").await.unwrap().unwrap();
    assert_eq!(active(&tenant).await, (2, Some(2)));
    assert_eq!(tenant.skills_revision().await.unwrap(), before + 1, "whoever has read it reads it again");
    let log = tenant.audit_read(1).await.unwrap().remove(0);
    assert_eq!((log.action.as_str(), &log.detail["skill-version"]), ("plugin.rollback", &json!(2)));
    tenant.plugin_rollback("operator", &plugin(), Some(1)).await.unwrap();
    assert_eq!(active(&tenant).await, (1, Some(1)));
    tenant.plugin_rollback("operator", &plugin(), Some(3)).await.unwrap();
    assert_eq!(active(&tenant).await, (3, Some(3)));
    // The next version has a new number, and what was not the best is not lost.
    assert_eq!(put(&tenant, version(4)).await.version, 4);
    let states: Vec<_> = tenant.skill_versions(&name()).await.unwrap().iter().map(|record| record.state).collect();
    assert_eq!(states, [SkillState::Active, SkillState::Retired, SkillState::Retired, SkillState::Retired]);

    // A version without code is no plugin's.
    put(&tenant, text_alone(5)).await;
    tenant.plugin_rollback("operator", &plugin(), None).await.unwrap();
    assert_eq!(active(&tenant).await, (5, None));
    // Nor is a skill that of a plugin which only has its name.
    let (ada, _) = two_tenants(&store).await;
    put(&ada, version(1)).await;
    ada.plugin_remove("operator", &plugin()).await.unwrap();
    for n in [7, 8] {
        let other = NewGeneration { source: "./counts".into(), ..generation(n, ONE) };
        ada.plugin_install("operator", other).await.unwrap();
    }
    ada.plugin_rollback("operator", &plugin(), None).await.unwrap();
    assert_eq!(active(&ada).await, (1, None));
}

pub(crate) async fn a_version_that_a_rollback_leads_to_is_kept(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    put(&tenant, version(1)).await;
    put(&tenant, version(2)).await;
    for n in 3..=20 {
        put(&tenant, waiting(n)).await;
    }
    assert_eq!(tenant.skill_versions(&name()).await.unwrap().len(), 12);
    tenant.plugin_rollback("operator", &plugin(), None).await.unwrap();
    assert_eq!(active(&tenant).await, (1, Some(1)));
}

pub(crate) async fn a_removed_plugin_leaves_the_text_without_tools(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    for n in 1..=2 {
        put(&tenant, version(n)).await;
    }
    tenant.plugin_remove("operator", &plugin()).await.unwrap();
    assert_eq!(active(&tenant).await, (2, None));
    // Its generations count from 1 again, and are those of the versions that come now.
    assert_eq!(put(&tenant, version(3)).await.plugin_generation, Some(1));
    assert_eq!(put(&tenant, version(4)).await.plugin_generation, Some(2));
    tenant.plugin_rollback("operator", &plugin(), None).await.unwrap();
    assert_eq!(active(&tenant).await, (3, Some(1)));
}

pub(crate) async fn what_an_operator_took_back_stays_so_whatever_version_follows(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    put(&tenant, NewSkill { plugin: Some(generation(1, ONE)), ..version(1) }).await;
    put(&tenant, version(2)).await;
    assert_eq!(granted(&tenant).await, Some(grant(BOTH)), "nobody took anything back");
    tenant.plugin_grant("operator", &plugin(), Some(grant(ONE))).await.unwrap();
    put(&tenant, version(3)).await;
    assert_eq!(granted(&tenant).await, Some(grant(ONE)));
    // By way of a version that asks for nothing, or of a rollback.
    put(&tenant, NewSkill { plugin: Some(generation(4, "")), ..version(4) }).await;
    assert_eq!(granted(&tenant).await, Some(Grant::default()));
    put(&tenant, version(5)).await;
    assert_eq!(granted(&tenant).await, Some(grant(ONE)));
    tenant.plugin_retire("host", &plugin(), 5, "it fails").await.unwrap().unwrap();
    put(&tenant, version(6)).await;
    assert_eq!(granted(&tenant).await, Some(grant(ONE)));
    // The operator gives it back.
    tenant.plugin_grant("operator", &plugin(), Some(grant(BOTH))).await.unwrap();
    put(&tenant, version(7)).await;
    assert_eq!(granted(&tenant).await, Some(grant(BOTH)));
    // Revoked, it waits, and gets what the operator grants after that.
    tenant.plugin_grant("operator", &plugin(), None).await.unwrap();
    put(&tenant, version(8)).await;
    let there = tenant.plugin(&plugin()).await.unwrap();
    assert_eq!((there.generation, there.state, there.granted), (8, PluginState::AwaitingGrant, None));
    tenant.plugin_grant("operator", &plugin(), Some(grant(ONE))).await.unwrap();
    put(&tenant, version(9)).await;
    assert_eq!(granted(&tenant).await, Some(grant(ONE)));
}

pub(crate) async fn an_approval_gives_nothing_back_that_was_narrowed(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let approve = async |n: u32| {
        let decision = Decision::Approve { plugin: Some(Box::new(generation(n, BOTH))) };
        tenant.skill_decide("operator", &name(), n.into(), decision, "").await.unwrap();
        granted(&tenant).await
    };
    for n in 1..=3 {
        put(&tenant, waiting(n)).await;
    }
    assert_eq!(approve(1).await, Some(grant(BOTH)));
    tenant.plugin_grant("operator", &plugin(), Some(grant(ONE))).await.unwrap();
    assert_eq!(approve(2).await, Some(grant(ONE)));
    // What has nothing is granted what the operator reads and approves.
    tenant.plugin_grant("operator", &plugin(), None).await.unwrap();
    assert_eq!(approve(3).await, Some(grant(BOTH)));
    put(&tenant, version(4)).await;
    assert_eq!(granted(&tenant).await, Some(grant(BOTH)));
}
