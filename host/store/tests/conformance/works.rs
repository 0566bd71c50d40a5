use std::sync::Arc;

use animus_core::{
    Error, awareness,
    id::{FocusId, WorkId},
    ledger::EntryType,
    store::{Store, Tenant},
    work::{NewWork, Settlement, State, WorkFilter},
};
use serde_json::{Value, json};

use super::{begin, begun, claim, class, end, some_work, submitted, tenant, two_tenants};

fn filter(state: Option<State>, limit: u32) -> WorkFilter {
    WorkFilter { state, limit: Some(limit), ..WorkFilter::default() }
}

pub(crate) async fn a_new_item_is_queued_and_reads_back(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let made = tenant.work_submit(some_work()).await.unwrap().work;
    assert_eq!((made.state, made.attempts, made.focus), (State::Queued, 0, None));
    assert_eq!((&made.outcome, &made.error, made.tokens, made.cost_microusd), (&None, &None, 0, 0));
    assert_eq!(
        (made.faculty.as_str(), made.source.as_str(), made.instruction.as_str()),
        ("assistant", "cli", "count the files")
    );
    assert_eq!(made.params, json!({ "deep": true }));
    assert!(made.created_ms > 1_600_000_000_000 && made.updated_ms == made.created_ms);
    assert_eq!(tenant.work(made.id).await.unwrap(), made);
    assert_eq!(class(tenant.work(WorkId::new()).await), "not-found");

    let odd = NewWork { params: json!([1]), ..some_work() };
    assert_eq!(class(tenant.work_submit(odd).await), "invalid");
}

pub(crate) async fn items_are_listed_newest_first_by_state_and_within_the_limit(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(submitted(&tenant).await);
    }
    begin(&tenant, ids[1], State::Queued).await.unwrap();
    let list = async |state, limit| {
        tenant.works(filter(state, limit)).await.unwrap().iter().map(|work| work.id).collect::<Vec<_>>()
    };
    assert_eq!(list(None, 10).await, [ids[3], ids[2], ids[1], ids[0]]);
    assert_eq!(list(None, 2).await, [ids[3], ids[2]]);
    assert_eq!(list(Some(State::Queued), 2).await, [ids[3], ids[2]]);
    assert_eq!(list(Some(State::Running), 10).await, [ids[1]]);
    assert_eq!(list(Some(State::Completed), 10).await, []);
    assert_eq!(list(None, 0).await, []);
}

pub(crate) async fn items_are_found_by_the_beginning_of_their_identifier(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let (first, second) = (submitted(&tenant).await, submitted(&tenant).await);
    let find = async |prefix: &str, limit| {
        tenant.works_by_prefix(prefix, limit).await.unwrap().iter().map(|work| work.id).collect::<Vec<_>>()
    };
    let text = first.to_string();
    assert_eq!(find(&text, 10).await, [first]);
    assert_eq!(find(&text.to_uppercase(), 10).await, [first]);
    assert_eq!(find("", 10).await, [second, first]);
    assert_eq!(find("", 1).await, [second]);
    // Both were made within a few seconds, so they begin alike.
    assert_eq!(find(&text[..6], 10).await, [second, first]);
    for nothing in ["%", "_", "zz", "'", "0000000", &format!("{text}0")] {
        assert_eq!(find(nothing, 10).await, [], "{nothing}");
    }
}

pub(crate) async fn a_focus_begins_only_from_the_state_that_was_seen(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let work = submitted(&tenant).await;
    assert_eq!(class(begin(&tenant, work, State::Failed).await), "conflict");
    let first = begin(&tenant, work, State::Queued).await.unwrap();
    let now = tenant.work(work).await.unwrap();
    assert_eq!((now.state, now.attempts, now.focus), (State::Running, 1, Some(first)));
    assert_eq!(class(begin(&tenant, work, State::Queued).await), "conflict");
    assert_eq!(class(begin(&tenant, work, State::Running).await), "conflict");

    end(&tenant, first, State::Failed, Settlement::default()).await.unwrap();
    let second = begin(&tenant, work, State::Failed).await.unwrap();
    assert_ne!(second, first);
    assert_eq!(tenant.work(work).await.unwrap().attempts, 2);

    end(&tenant, second, State::Completed, Settlement::default()).await.unwrap();
    assert_eq!(class(begin(&tenant, work, State::Completed).await), "conflict");
    assert_eq!(class(begin(&tenant, WorkId::new(), State::Queued).await), "not-found");
}

pub(crate) async fn of_many_who_begin_at_once_one_does(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let work = submitted(&tenant).await;
    let begin = || begin(&tenant, work, State::Queued);
    let done = futures::future::join_all((0..16).map(|_| begin())).await;
    assert_eq!(done.iter().filter(|done| done.is_ok()).count(), 1);
    assert!(done.iter().all(|done| !matches!(done, Err(e) if e.class() != "conflict")), "{done:?}");
    assert_eq!(tenant.work(work).await.unwrap().attempts, 1);
}

pub(crate) async fn a_focus_ends_once_and_only_the_one_that_runs(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let (work, focus) = begun(&tenant).await;
    let end = async |focus, to, settlement| end(&tenant, focus, to, settlement).await;
    assert_eq!(class(end(FocusId::new(), State::Completed, Settlement::default()).await), "not-found");
    assert_eq!(class(end(focus, State::Running, Settlement::default()).await), "invalid");

    let outcome = json!({ "success": true, "summary": "three files" });
    let settlement = Settlement { outcome: Some(outcome.clone()), ..Settlement::default() };
    end(focus, State::Completed, settlement).await.unwrap();
    let now = tenant.work(work).await.unwrap();
    assert_eq!((now.state, now.focus, now.outcome, now.error), (State::Completed, Some(focus), Some(outcome), None));
    assert_eq!(class(end(focus, State::Failed, Settlement::default()).await), "conflict");
    assert_eq!(tenant.work(work).await.unwrap().state, State::Completed);
}

pub(crate) async fn costs_add_up_over_attempts(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let (work, first) = begun(&tenant).await;
    let error = Error::Timeout("the model took too long".into());
    let failed =
        Settlement { outcome: None, error: Some(error.clone()), tokens: 100, cost_microusd: 7, retry_in_ms: None };
    end(&tenant, first, State::Failed, failed).await.unwrap();
    assert_eq!(tenant.work(work).await.unwrap().error, Some(error));

    let second = begin(&tenant, work, State::Failed).await.unwrap();
    let done = Settlement { outcome: Some(json!(1)), error: None, tokens: 11, cost_microusd: 1, retry_in_ms: None };
    end(&tenant, second, State::Completed, done).await.unwrap();
    let now = tenant.work(work).await.unwrap();
    assert_eq!((now.tokens, now.cost_microusd, now.error), (111, 8, None));
}

pub(crate) async fn a_focus_whose_process_is_gone_is_recovered_once(store: Arc<dyn Store>) {
    let (ada, bob) = two_tenants(&store).await;
    let (work, focus) = begun(&ada).await;
    let (ended, its_focus) = begun(&ada).await;
    end(&ada, its_focus, State::Completed, Settlement::default()).await.unwrap();
    let (others, _) = begun(&bob).await;

    let me = std::process::id();
    assert_eq!(ada.focus_recover("here", &|process| process == me).await.unwrap(), []);
    assert_eq!(ada.work(work).await.unwrap().state, State::Running);

    assert_eq!(ada.focus_recover("here", &|_| false).await.unwrap(), [work]);
    let now = ada.work(work).await.unwrap();
    assert_eq!((now.state, now.focus), (State::Failed, Some(focus)));
    assert!(now.error.unwrap().to_string().contains(&me.to_string()));
    assert_eq!(ada.focus_recover("here", &|_| false).await.unwrap(), []);
    assert_eq!(ada.work(ended).await.unwrap().state, State::Completed);
    assert_eq!(bob.work(others).await.unwrap().state, State::Running);
    assert_eq!(ada.audit_read(10).await.unwrap().last().unwrap().action, "focus.recover");

    // The focus is over, also for a host that was only taken for dead.
    assert_eq!(class(end(&ada, focus, State::Completed, Settlement::default()).await), "conflict");
}

pub(crate) async fn work_of_another_tenant_is_out_of_reach(store: Arc<dyn Store>) {
    let (ada, bob) = two_tenants(&store).await;
    let (work, focus) = begun(&ada).await;
    assert_eq!(class(bob.work(work).await), "not-found");
    assert_eq!(bob.works(filter(None, 10)).await.unwrap(), []);
    assert_eq!(bob.works_by_prefix(&work.to_string(), 10).await.unwrap(), []);
    assert_eq!(class(begin(&bob, work, State::Running).await), "not-found");
    assert_eq!(class(end(&bob, focus, State::Failed, Settlement::default()).await), "not-found");
    assert_eq!(bob.focus_recover("here", &|_| false).await.unwrap(), []);
    assert_eq!(ada.work(work).await.unwrap().state, State::Running);
}

async fn completed_with(tenant: &Arc<dyn Tenant>, work: NewWork, summary: Value) -> WorkId {
    let id = tenant.work_submit(work).await.unwrap().work.id;
    let claimed = tenant.focus_begin(id, State::Queued, &claim()).await.unwrap();
    let settlement = Settlement { outcome: Some(json!({ "summary": summary })), ..Settlement::default() };
    tenant.focus_end(claimed.lease, State::Completed, settlement).await.unwrap();
    id
}

pub(crate) async fn other_work_is_told_newest_first_within_limits_and_without_oneself(store: Arc<dyn Store>) {
    let (tenant, other) = two_tenants(&store).await;
    let named = |instruction: &str| NewWork { instruction: instruction.into(), ..some_work() };
    let start = async |tenant: &Arc<dyn Tenant>, work: NewWork| {
        let id = tenant.work_submit(work).await.unwrap().work.id;
        tenant.focus_begin(id, State::Queued, &claim()).await.unwrap();
        id
    };
    let own = start(&tenant, named("own")).await;
    let first = start(&tenant, named("first")).await;
    let second = start(&tenant, named(&"long ".repeat(1_000))).await;
    let child = start(&tenant, NewWork { parent: Some(own), ..named("child") }).await;
    tenant.work_submit(named("queued")).await.unwrap();
    for plan in ["old plan", "new plan"] {
        tenant.ledger_append(first, EntryType::Plan, plan, None).await.unwrap();
    }
    for (work, entry_type, text) in [
        (own, EntryType::Finding, "own finding"),
        (first, EntryType::Finding, "one"),
        (first, EntryType::Note, "a note"),
        (child, EntryType::Finding, "of a child"),
        (second, EntryType::Finding, "two"),
    ] {
        tenant.ledger_append(work, entry_type, text, None).await.unwrap();
    }
    completed_with(&tenant, named("done"), json!("it worked")).await;
    completed_with(&tenant, named("odd"), json!({ "not": "a text" })).await;
    // Of another tenant nothing is told.
    start(&other, named("secret")).await;
    completed_with(&other, named("secret"), json!("secret")).await;

    let query = awareness::Query { except: own, since_ms: 0, running: 9, completed: 9, findings: 9, children: false };
    let rows = tenant.awareness(query).await.unwrap();
    let running: Vec<_> = rows.running.iter().map(|it| (it.instruction.len(), it.plan.as_deref())).collect();
    assert_eq!(running, [(awareness::MAX_TEXT as usize, None), (5, Some("new plan"))]);
    let completed: Vec<_> = rows.completed.iter().map(|it| (it.instruction.as_str(), it.summary.as_deref())).collect();
    assert_eq!(completed, [("odd", None), ("done", Some("it worked"))]);
    let findings: Vec<_> = rows.findings.iter().map(|it| it.text.as_str()).collect();
    assert_eq!(findings, ["two", "one"]);
    assert_eq!(rows.findings[0].faculty, some_work().faculty);

    let all = tenant.awareness(awareness::Query { children: true, ..query }).await.unwrap();
    assert_eq!((all.running.len(), all.findings.len()), (3, 3));
    let few = awareness::Query { running: 1, completed: 1, findings: 0, ..query };
    let few = tenant.awareness(few).await.unwrap();
    assert_eq!((few.running.len(), few.completed.len(), few.findings.len()), (1, 1, 0));
    let late = rows.completed[0].at_ms.max(rows.findings[0].at_ms) + 1;
    let none = tenant.awareness(awareness::Query { since_ms: late, ..query }).await.unwrap();
    assert_eq!((none.running.len(), none.completed.len(), none.findings.len()), (2, 0, 0));
    assert_eq!(other.awareness(query).await.unwrap().running.len(), 1);
}
