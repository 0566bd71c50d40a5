use std::sync::Arc;

use animus_core::{
    id::FocusId,
    skill::{
        Approvals, Author, Decision, How, MAX_SKILLS, NewSkill, Skill, SkillFiles, SkillName, SkillOrigin, SkillRecord,
        SkillState, SkillUse,
    },
    store::{Store, Tenant},
};
use serde_json::json;

use super::{begun, class, submitted, tenant, two_tenants};

const APPROVE: Decision = Decision::Approve { plugin: None };

fn name() -> SkillName {
    named("check-in")
}

fn named(name: &str) -> SkillName {
    name.parse().unwrap()
}

fn files(name: &SkillName, n: u32, ballast: usize) -> SkillFiles {
    let skill = Skill { body: format!("text {n}"), ..Skill::new(name.clone(), "asks people how they are") };
    let files = [
        ("SKILL.md".to_owned(), skill.to_markdown().into_bytes()),
        ("scripts/tools.py".to_owned(), b"def ask() -> str:\n    return 'well'\n".to_vec()),
        ("resources/ballast".to_owned(), vec![0; ballast]),
    ];
    SkillFiles::new(files).unwrap()
}

/// What the agent made, the text being that of `n`.
fn version(n: u32) -> NewSkill {
    NewSkill {
        files: files(&name(), n, 0),
        created_by: Author::Animus,
        origin: SkillOrigin { findings: vec![format!("finding {n}")], ..SkillOrigin::default() },
        pending: false,
        plugin: None,
        report: Some(json!({ "passed": n })),
    }
}

fn waiting(n: u32) -> NewSkill {
    NewSkill { pending: true, ..version(n) }
}

async fn put(tenant: &Arc<dyn Tenant>, new: NewSkill) -> SkillRecord {
    tenant.skill_put("host", new).await.unwrap()
}

async fn states(tenant: &Arc<dyn Tenant>) -> Vec<(u64, SkillState)> {
    let versions = tenant.skill_versions(&name()).await.unwrap();
    versions.iter().map(|record| (record.version, record.state)).collect()
}

pub(crate) async fn a_version_is_active_at_once_or_waits(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let (work, focus) = begun(&tenant).await;
    let origin = SkillOrigin { work: Some(work), focus: Some(focus), seq: None, findings: vec!["é".into()] };
    let new = NewSkill { origin, ..version(1) };
    let active = put(&tenant, new.clone()).await;
    assert_eq!((active.version, active.state, active.created_by), (1, SkillState::Active, Author::Animus));
    assert_eq!((&active.files, active.digest), (&new.files, new.files.digest()));
    assert_eq!((&active.origin, &active.report, active.plugin_generation), (&new.origin, &new.report, None));
    assert_eq!((active.reason.as_deref(), active.at_ms > 0), (None, true));
    assert_eq!(tenant.skill(&name(), None).await.unwrap(), active);
    assert_eq!(tenant.skills().await.unwrap(), [active]);
    assert_eq!(tenant.skill_pending().await.unwrap(), []);

    let other = named("other");
    let waits = put(&tenant, NewSkill { files: files(&other, 1, 0), ..waiting(1) }).await;
    assert_eq!(waits.state, SkillState::Pending);
    assert_eq!(tenant.skill_pending().await.unwrap(), std::slice::from_ref(&waits));
    assert_eq!(tenant.skills().await.unwrap().len(), 1);
    assert_eq!(class(tenant.skill(&other, None).await), "not-found");
    assert_eq!(tenant.skill(&other, Some(1)).await.unwrap(), waits);
}

pub(crate) async fn an_update_is_a_new_version_and_the_old_one_is_kept(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let first = put(&tenant, version(1)).await;
    let second = put(&tenant, version(2)).await;
    assert_eq!((second.version, second.state), (2, SkillState::Active));
    assert_eq!(tenant.skills().await.unwrap(), [second]);
    let kept = tenant.skill(&name(), Some(1)).await.unwrap();
    assert_eq!(kept, SkillRecord { state: SkillState::Retired, ..first });
    assert_eq!(states(&tenant).await, [(2, SkillState::Active), (1, SkillState::Retired)]);
    assert_eq!(class(tenant.skill(&name(), Some(3)).await), "not-found");
    assert_eq!(class(tenant.skill(&name(), Some(u64::MAX)).await), "not-found");
}

pub(crate) async fn an_approved_version_takes_the_place_of_the_active_one(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    put(&tenant, version(1)).await;
    put(&tenant, waiting(2)).await;
    assert_eq!(tenant.skill(&name(), None).await.unwrap().version, 1);
    let approved = tenant.skill_decide("operator", &name(), 2, APPROVE, "reads well").await.unwrap();
    assert_eq!((approved.version, approved.state, approved.plugin_generation), (2, SkillState::Active, None));
    assert_eq!(approved.reason.as_deref(), Some("reads well"));
    assert_eq!(tenant.skills().await.unwrap(), [approved]);
    assert_eq!(tenant.skill_pending().await.unwrap(), []);
    assert_eq!(states(&tenant).await, [(2, SkillState::Active), (1, SkillState::Retired)]);
}

pub(crate) async fn a_rejected_version_never_becomes_active(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    put(&tenant, waiting(1)).await;
    let rejected = tenant.skill_decide("operator", &name(), 1, Decision::Reject, "too broad").await.unwrap();
    assert_eq!((rejected.state, rejected.reason.as_deref()), (SkillState::Rejected, Some("too broad")));
    assert_eq!((tenant.skills().await.unwrap(), tenant.skill_pending().await.unwrap()), (vec![], vec![]));
    assert_eq!(class(tenant.skill(&name(), None).await), "not-found");
    // The next attempt is another version.
    assert_eq!(put(&tenant, version(2)).await.version, 2);
    assert_eq!(states(&tenant).await, [(2, SkillState::Active), (1, SkillState::Rejected)]);
}

pub(crate) async fn a_decision_is_made_once(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    put(&tenant, waiting(1)).await;
    put(&tenant, waiting(2)).await;
    tenant.skill_decide("operator", &name(), 1, APPROVE, "").await.unwrap();
    tenant.skill_decide("operator", &name(), 2, Decision::Reject, "").await.unwrap();
    for version in [1, 2] {
        for decision in [APPROVE, Decision::Reject] {
            assert_eq!(class(tenant.skill_decide("operator", &name(), version, decision, "").await), "conflict");
        }
    }
    assert_eq!(states(&tenant).await, [(2, SkillState::Rejected), (1, SkillState::Active)]);
    assert_eq!(class(tenant.skill_decide("operator", &name(), 3, APPROVE, "").await), "not-found");
    assert_eq!(class(tenant.skill_decide("operator", &named("none"), 1, APPROVE, "").await), "not-found");
    assert_eq!(class(tenant.skill_decide("operator", &name(), 1, APPROVE, &"x".repeat(5_000)).await), "invalid");
}

pub(crate) async fn of_many_who_decide_at_once_one_does(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    put(&tenant, waiting(1)).await;
    let decide = |n: u32| {
        let tenant = Arc::clone(&tenant);
        let decision = if n.is_multiple_of(2) { APPROVE } else { Decision::Reject };
        tokio::spawn(async move { tenant.skill_decide("operator", &name(), 1, decision, "").await })
    };
    let tasks: Vec<_> = (0..8).map(decide).collect();
    let mut won = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => won += 1,
            Err(error) => assert_eq!(error.class(), "conflict"),
        }
    }
    let Approvals { approved, rejected, .. } = tenant.skill_approvals().await.unwrap();
    assert_eq!((won, approved + rejected), (1, 1));
}

pub(crate) async fn an_old_version_does_not_undo_a_newer_one(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    put(&tenant, waiting(1)).await;
    put(&tenant, version(2)).await;
    assert_eq!(class(tenant.skill_decide("operator", &name(), 1, APPROVE, "").await), "conflict");
    assert_eq!(states(&tenant).await, [(2, SkillState::Active), (1, SkillState::Pending)]);
    tenant.skill_decide("operator", &name(), 1, Decision::Reject, "").await.unwrap();
}

pub(crate) async fn the_last_ten_versions_and_the_active_one_are_kept(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    put(&tenant, version(1)).await;
    put(&tenant, version(2)).await;
    for n in 3..=14 {
        put(&tenant, waiting(n)).await;
    }
    let mut kept: Vec<_> = (5..=14).rev().map(|n| (n, SkillState::Pending)).collect();
    kept.push((2, SkillState::Active));
    assert_eq!(states(&tenant).await, kept);
}

pub(crate) async fn what_is_not_a_skill_is_not_stored(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let good = version(1);
    let broken = good.files.with("SKILL.md", "---\nname: check-in\n---\n").unwrap();
    let hidden = good.files.with("prompt.md", "a\u{202e}b").unwrap();
    let findings = SkillOrigin { findings: vec![String::new(); 65], ..SkillOrigin::default() };
    for bad in [
        NewSkill { files: broken, ..good.clone() },
        NewSkill { files: hidden, ..good.clone() },
        NewSkill { report: Some(json!("x".repeat(300_000))), ..good.clone() },
        NewSkill { origin: findings, ..good },
    ] {
        assert_eq!(class(tenant.skill_put("host", bad).await), "invalid");
    }
    assert_eq!(tenant.skills().await.unwrap(), []);
    assert_eq!(tenant.audit_read(10).await.unwrap(), []);
}

pub(crate) async fn a_tenant_keeps_so_many_skills_and_no_more(store: Arc<dyn Store>) {
    let (ada, bob) = two_tenants(&store).await;
    for n in 0..MAX_SKILLS {
        put(&ada, NewSkill { files: files(&named(&format!("s{n}")), 1, 0), ..version(1) }).await;
    }
    assert_eq!(class(ada.skill_put("host", version(1)).await), "budget-exhausted");
    assert_eq!(class(ada.skill(&name(), None).await), "not-found");
    // Those that are there can still change, and the limit is each tenant's own.
    put(&ada, NewSkill { files: files(&named("s0"), 2, 0), ..version(2) }).await;
    put(&bob, version(1)).await;
    ada.skill_remove("operator", &named("s1")).await.unwrap();
    put(&ada, version(1)).await;
}

pub(crate) async fn a_tenant_keeps_so_many_bytes_and_no_more(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let big = |n: u32| NewSkill { files: files(&named(&format!("s{n}")), n, 1_000_000), ..version(n) };
    let mut stored = 0;
    for n in 0..100 {
        match tenant.skill_put("host", big(n)).await {
            Ok(_) => stored += 1,
            Err(error) => {
                assert_eq!(error.class(), "budget-exhausted");
                break;
            }
        }
    }
    assert_eq!((stored, tenant.skills().await.unwrap().len()), (67, 67));
}

pub(crate) async fn activations_are_counted_once_for_each_focus(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    put(&tenant, version(1)).await;
    assert_eq!(tenant.skill_activations(&name()).await.unwrap(), SkillUse { count: 0, last_ms: None });
    let (work, focus) = begun(&tenant).await;
    tenant.skill_activated(work, focus, &name(), 1, How::Auto).await.unwrap();
    let once = tenant.skill_activations(&name()).await.unwrap();
    assert!(once.count == 1 && once.last_ms.is_some_and(|ms| ms > 0), "{once:?}");
    tenant.skill_activated(work, focus, &name(), 1, How::Manual).await.unwrap();
    assert_eq!(tenant.skill_activations(&name()).await.unwrap(), once);
    // An update later, a focus that began before it still counts, with the version that it has.
    put(&tenant, version(2)).await;
    let (other, second) = begun(&tenant).await;
    tenant.skill_activated(other, second, &name(), 1, How::Depends).await.unwrap();
    assert_eq!(tenant.skill_activations(&name()).await.unwrap().count, 2);

    assert_eq!(class(tenant.skill_activated(work, second, &name(), 1, How::Auto).await), "not-found");
    let queued = submitted(&tenant).await;
    assert_eq!(class(tenant.skill_activated(queued, FocusId::new(), &name(), 1, How::Auto).await), "not-found");
    assert_eq!(class(tenant.skill_activated(work, focus, &name(), 9, How::Auto).await), "not-found");
    assert_eq!(class(tenant.skill_activated(work, focus, &named("none"), 1, How::Auto).await), "not-found");
    assert_eq!(class(tenant.skill_activations(&named("none")).await), "not-found");
}

pub(crate) async fn what_nobody_approved_is_not_activated(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let (work, focus) = begun(&tenant).await;
    put(&tenant, waiting(1)).await;
    assert_eq!(class(tenant.skill_activated(work, focus, &name(), 1, How::Manual).await), "conflict");
    tenant.skill_decide("operator", &name(), 1, Decision::Reject, "").await.unwrap();
    assert_eq!(class(tenant.skill_activated(work, focus, &name(), 1, How::Manual).await), "conflict");
    assert_eq!(tenant.skill_activations(&name()).await.unwrap().count, 0);
}

pub(crate) async fn decisions_are_counted_also_when_the_skill_is_gone(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    assert_eq!(tenant.skill_approvals().await.unwrap(), Approvals::default());
    assert_eq!(Approvals::default().ratio(), None);
    put(&tenant, version(1)).await;
    put(&tenant, NewSkill { created_by: Author::Human, ..version(2) }).await;
    for n in 3..=6 {
        put(&tenant, waiting(n)).await;
        let decision = if n == 4 { Decision::Reject } else { APPROVE };
        tenant.skill_decide("operator", &name(), n.into(), decision, "").await.unwrap();
    }
    tenant.skill_remove("operator", &name()).await.unwrap();
    let counted = tenant.skill_approvals().await.unwrap();
    assert_eq!(counted, Approvals { auto: 1, approved: 3, rejected: 1 });
    assert_eq!(counted.ratio(), Some(0.75));
}

pub(crate) async fn a_removed_skill_leaves_only_its_counts(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    put(&tenant, version(1)).await;
    put(&tenant, waiting(2)).await;
    let (work, focus) = begun(&tenant).await;
    tenant.skill_activated(work, focus, &name(), 1, How::Manual).await.unwrap();
    tenant.skill_remove("operator", &name()).await.unwrap();
    assert_eq!((tenant.skills().await.unwrap(), tenant.skill_pending().await.unwrap()), (vec![], vec![]));
    for version in [None, Some(1), Some(2)] {
        assert_eq!(class(tenant.skill(&name(), version).await), "not-found");
    }
    assert_eq!(class(tenant.skill_versions(&name()).await), "not-found");
    assert_eq!(class(tenant.skill_remove("operator", &name()).await), "not-found");
    assert_eq!(put(&tenant, version(3)).await.version, 1);
    assert_eq!(tenant.skill_activations(&name()).await.unwrap().count, 0);
}

pub(crate) async fn every_change_of_a_skill_raises_the_revision_and_is_audited(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    assert_eq!(tenant.skills_revision().await.unwrap(), 0);
    put(&tenant, version(1)).await;
    put(&tenant, waiting(2)).await;
    put(&tenant, waiting(3)).await;
    tenant.skill_decide("operator", &name(), 2, Decision::Reject, "no").await.unwrap();
    tenant.skill_decide("operator", &name(), 3, APPROVE, "yes").await.unwrap();
    tenant.skill_remove("operator", &name()).await.unwrap();
    assert_eq!(tenant.skills_revision().await.unwrap(), 6);

    let log = tenant.audit_read(10).await.unwrap();
    let actions: Vec<_> = log.iter().map(|entry| (entry.actor.as_str(), entry.action.as_str())).collect();
    assert_eq!(
        actions,
        [
            ("host", "skill.put"),
            ("host", "skill.put"),
            ("host", "skill.put"),
            ("operator", "skill.reject"),
            ("operator", "skill.approve"),
            ("operator", "skill.remove"),
        ]
    );
    assert!(log.iter().all(|entry| entry.subject == "check-in"));
    assert_eq!(log[1].detail["digest"], json!(version(2).files.digest()));
    assert_eq!(log[1].detail["state"], json!("pending"));
    assert_eq!((&log[4].detail["version"], &log[4].detail["active-before"]), (&json!(3), &json!(1)));
    assert_eq!(log[4].detail["reason"], json!("yes"));
    assert_eq!(tenant.audit_verify().await.unwrap().broken, None);
}

pub(crate) async fn a_failed_change_of_a_skill_changes_nothing(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    put(&tenant, version(1)).await;
    let before = (tenant.skill_versions(&name()).await.unwrap(), tenant.skill_approvals().await.unwrap());
    assert_eq!(class(tenant.skill_decide("operator", &name(), 1, Decision::Reject, "").await), "conflict");
    assert_eq!(class(tenant.skill_decide("operator", &name(), 2, APPROVE, "").await), "not-found");
    assert_eq!(class(tenant.skill_remove("operator", &named("none")).await), "not-found");
    assert_eq!(tenant.skills_revision().await.unwrap(), 1);
    assert_eq!(tenant.audit_read(10).await.unwrap().len(), 1);
    assert_eq!((tenant.skill_versions(&name()).await.unwrap(), tenant.skill_approvals().await.unwrap()), before);
}

pub(crate) async fn skills_of_another_tenant_are_out_of_reach(store: Arc<dyn Store>) {
    let (ada, bob) = two_tenants(&store).await;
    put(&ada, version(1)).await;
    put(&ada, waiting(2)).await;
    let (work, focus) = begun(&ada).await;
    assert_eq!((bob.skills().await.unwrap(), bob.skill_pending().await.unwrap()), (vec![], vec![]));
    assert_eq!(class(bob.skill(&name(), None).await), "not-found");
    assert_eq!(class(bob.skill(&name(), Some(1)).await), "not-found");
    assert_eq!(class(bob.skill_versions(&name()).await), "not-found");
    assert_eq!(class(bob.skill_decide("operator", &name(), 2, APPROVE, "").await), "not-found");
    assert_eq!(class(bob.skill_remove("operator", &name()).await), "not-found");
    assert_eq!(class(bob.skill_activations(&name()).await), "not-found");
    assert_eq!(bob.skills_revision().await.unwrap(), 0);
    assert_eq!(bob.skill_approvals().await.unwrap(), Approvals::default());

    // One name, two skills: each tenant has its own, and its own foci.
    assert_eq!(put(&bob, version(9)).await.version, 1);
    assert_eq!(class(bob.skill_activated(work, focus, &name(), 1, How::Auto).await), "not-found");
    ada.skill_activated(work, focus, &name(), 1, How::Auto).await.unwrap();
    assert_eq!(bob.skill_activations(&name()).await.unwrap().count, 0);
    bob.skill_remove("operator", &name()).await.unwrap();
    assert_eq!(ada.skill(&name(), None).await.unwrap().files, version(1).files);
    assert_eq!(ada.skill_approvals().await.unwrap(), Approvals { auto: 1, approved: 0, rejected: 0 });
}
