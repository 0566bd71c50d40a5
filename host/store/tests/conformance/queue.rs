//! The queue: claiming, leases, merging, retries, cancelling.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use animus_core::{
    Error,
    budget::Allowance,
    child::SPAWN,
    id::{FocusId, WorkId},
    journal::{COPIED, EffectKind, Intent, Outcome},
    store::{Store, Tenant},
    work::{
        Beat, Claim, Claimed, Disposal, Host, Lease, MAX_DEPTH, MAX_TAKEOVERS, NewWork, Settlement, State, Submission,
        Submitted, WorkFilter,
    },
};
use serde_json::{Value, json};

use super::{class, tenant, two_tenants};

/// Long enough that no test outlasts it.
const LONG: u64 = 600_000;

fn work(faculty: &str) -> NewWork {
    NewWork { faculty: faculty.into(), source: "test".into(), params: json!({}), ..NewWork::default() }
}

fn attempts(max_attempts: u32) -> NewWork {
    NewWork { max_attempts: Some(max_attempts), ..work("a") }
}

async fn submit(tenant: &Arc<dyn Tenant>, new: NewWork) -> WorkId {
    let Submitted { work, how } = tenant.work_submit(new).await.unwrap();
    assert_eq!(how, Submission::Created);
    work.id
}

fn claim_of(host: &str, faculties: &[&str], lease_ms: u64) -> Claim {
    Claim {
        host: Host { machine: host.into(), process: 1 },
        faculties: faculties.iter().map(|it| (*it).to_owned()).collect(),
        lease_ms,
        plugins: json!({ "by": host }),
        except: Vec::new(),
    }
}

async fn claim(tenant: &Arc<dyn Tenant>, faculties: &[&str]) -> Option<Claimed> {
    tenant.work_claim(&claim_of("one", faculties, LONG)).await.unwrap()
}

/// Claims what must be there.
async fn claimed(tenant: &Arc<dyn Tenant>) -> Claimed {
    claim(tenant, &["a"]).await.unwrap()
}

async fn state(tenant: &Arc<dyn Tenant>, id: WorkId) -> State {
    tenant.work(id).await.unwrap().state
}

fn failed(retry_in_ms: Option<u64>) -> Settlement {
    Settlement { error: Some(Error::Timeout("too long".into())), retry_in_ms, ..Settlement::default() }
}

fn done() -> Settlement {
    Settlement { outcome: Some(json!({ "success": true })), ..Settlement::default() }
}

fn intent() -> Intent {
    Intent { kind: EffectKind::Tool, caller: "a".into(), subject: "x.y".into(), request: json!({}), parent: None }
}

pub(crate) async fn the_greatest_priority_comes_first_and_of_equals_the_oldest(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let mut ids = Vec::new();
    for priority in [0, 5, -3, 5, i32::MAX, i32::MIN] {
        ids.push(submit(&tenant, NewWork { priority, ..work("a") }).await);
    }
    let mut order = Vec::new();
    while let Some(claimed) = claim(&tenant, &["a"]).await {
        assert_eq!((claimed.work.state, claimed.work.attempts, claimed.resumed), (State::Running, 1, false));
        assert_eq!(claimed.lease.token, 1);
        assert_eq!(claimed.plugins, json!({ "by": "one" }));
        order.push(claimed.work.id);
    }
    assert_eq!(order, [ids[4], ids[1], ids[3], ids[0], ids[2], ids[5]]);
}

pub(crate) async fn only_what_is_asked_for_is_given_out(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let other = submit(&tenant, NewWork { priority: 9, ..work("other") }).await;
    let mine = submit(&tenant, work("it's \"mine\", %")).await;
    let held = NewWork { disposal: Disposal::Held, priority: 99, ..work("a") };
    submit(&tenant, held).await;
    assert!(claim(&tenant, &[]).await.is_none());
    assert!(claim(&tenant, &["a", "%", ""]).await.is_none(), "held work is nobody else's");
    assert_eq!(claim(&tenant, &["it's \"mine\", %", "a"]).await.unwrap().work.id, mine);
    assert_eq!(claim(&tenant, &["other"]).await.unwrap().work.id, other);
    assert!(claim(&tenant, &["other", "a"]).await.is_none());
}

pub(crate) async fn of_many_who_claim_at_once_each_item_goes_to_one(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let mut ids = BTreeSet::new();
    for _ in 0..30 {
        ids.insert(submit(&tenant, work("a")).await);
    }
    let all = futures::future::join_all((0..45).map(|_| claim(&tenant, &["a"]))).await;
    let got: Vec<_> = all.into_iter().flatten().map(|claimed| claimed.work.id).collect();
    assert_eq!(got.len(), 30);
    assert_eq!(got.into_iter().collect::<BTreeSet<_>>(), ids);
}

pub(crate) async fn work_is_not_given_out_before_its_time(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let now = u64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let later = submit(&tenant, NewWork { not_before_ms: Some(now + LONG), priority: 9, ..work("a") }).await;
    // By the clock of this host, whatever that of the store says: in five to fifteen minutes.
    let due = tenant.work_next_due().await.unwrap().unwrap();
    assert!(due.abs_diff(now + LONG) < LONG / 2, "{due}");
    assert!(claim(&tenant, &["a"]).await.is_none());
    let soon = submit(&tenant, NewWork { not_before_ms: Some(now + 1), ..work("a") }).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(claimed(&tenant).await.work.id, soon);
    assert_eq!(state(&tenant, later).await, State::Queued);
    // What is due is no matter of time; the lease that was given is.
    submit(&tenant, work("b")).await;
    let due = tenant.work_next_due().await.unwrap().unwrap();
    assert!(due.abs_diff(now + LONG) < LONG / 2, "{due}");
}

pub(crate) async fn a_lease_that_runs_out_gives_the_same_focus_to_another_host(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let id = submit(&tenant, work("a")).await;
    let first = tenant.work_claim(&claim_of("one", &["a"], 1)).await.unwrap().unwrap();
    let seq = tenant.journal_begin(first.lease, intent()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let except = Claim { except: vec![id], ..claim_of("three", &["a"], LONG) };
    assert!(tenant.work_claim(&except).await.unwrap().is_none(), "a host that could not begin it");
    let second = tenant.work_claim(&claim_of("two", &["a"], LONG)).await.unwrap().unwrap();
    assert!(second.resumed);
    assert_eq!((second.work.id, second.work.attempts, second.work.takeovers), (id, 1, 1));
    assert_eq!(second.lease, Lease { focus: first.lease.focus, token: 2 });
    assert_eq!((second.plugins, second.began_ms), (first.plugins, first.began_ms), "it keeps what it began with");
    let record = tenant.focus(first.lease.focus).await.unwrap();
    assert_eq!((record.host.machine.as_str(), record.token, record.ended_ms), ("two", 2, None));

    // The host that was taken for dead can write nothing more.
    let zombie = first.lease;
    assert_eq!(class(tenant.journal_begin(zombie, intent()).await), "conflict");
    assert_eq!(class(tenant.journal_end(zombie, seq, Outcome::Ok { response: json!(1) }).await), "conflict");
    assert_eq!(class(tenant.focus_end(zombie, State::Completed, done()).await), "conflict");
    assert_eq!(class(tenant.focus_release(zombie).await), "conflict");
    let renewed = tenant.focus_renew(&[zombie, second.lease], LONG).await.unwrap();
    assert_eq!((renewed.lost, renewed.cancelling), (vec![zombie], Vec::new()));

    // The new one goes on in the same journal.
    assert_eq!(tenant.journal_begin(second.lease, intent()).await.unwrap(), seq + 1);
    tenant.focus_end(second.lease, State::Completed, done()).await.unwrap();
    assert_eq!(state(&tenant, id).await, State::Completed);
    assert_eq!(tenant.focuses(id).await.unwrap().len(), 1);
}

pub(crate) async fn a_lease_that_is_renewed_does_not_run_out(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    submit(&tenant, work("a")).await;
    let first = tenant.work_claim(&claim_of("one", &["a"], 1)).await.unwrap().unwrap();
    // Nobody was there to take it over, so it is still its own.
    let renewed = tenant.focus_renew(&[first.lease], LONG).await.unwrap();
    assert!(renewed.lost.is_empty() && renewed.cancelling.is_empty());
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(claim(&tenant, &["a"]).await.is_none());
    let nobody = Lease { focus: FocusId::new(), token: 1 };
    assert_eq!(tenant.focus_renew(&[nobody], LONG).await.unwrap().lost, [nobody]);
}

pub(crate) async fn what_ends_its_hosts_too_often_is_dead(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let id = submit(&tenant, attempts(3)).await;
    let mut lost = 0;
    loop {
        let next = tenant.work_claim(&claim_of("one", &["a"], 1)).await.unwrap();
        let Some(next) = next else { break };
        assert_eq!(next.lease.token, u64::from(lost) + 1);
        lost += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(lost, MAX_TAKEOVERS + 1);
    let dead = tenant.work(id).await.unwrap();
    assert_eq!((dead.state, dead.attempts), (State::Dead, 1));
    assert!(dead.error.unwrap().to_string().contains(&format!("animus work retry {id}")));
    assert!(tenant.focuses(id).await.unwrap()[0].ended_ms.is_some());

    // An operator may have it tried again, from the beginning.
    assert_eq!(tenant.work_retry("operator", id).await.unwrap().state, State::Queued);
    let again = claimed(&tenant).await;
    assert_eq!((again.work.attempts, again.work.takeovers, again.resumed), (2, 0, false));
}

pub(crate) async fn what_is_let_go_of_is_taken_over_at_once_and_counts_no_lost_host(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let id = submit(&tenant, work("a")).await;
    let mut lease = claimed(&tenant).await.lease;
    for token in 2..MAX_TAKEOVERS + 4 {
        assert!(claim(&tenant, &["a"]).await.is_none());
        tenant.focus_release(lease).await.unwrap();
        let next = claimed(&tenant).await;
        assert_eq!((next.work.id, next.lease.focus, next.lease.token), (id, lease.focus, u64::from(token)));
        assert!(next.resumed);
        lease = next.lease;
    }
    tenant.focus_end(lease, State::Completed, done()).await.unwrap();
    assert_eq!(class(tenant.focus_release(lease).await), "conflict");
}

pub(crate) async fn hosts_of_a_machine_that_are_gone_are_not_waited_for(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let id = submit(&tenant, work("a")).await;
    let first = claimed(&tenant).await;
    assert_eq!(tenant.focus_recover("elsewhere", &|_| false).await.unwrap(), []);
    assert_eq!(tenant.focus_recover("one", &|process| process == 1).await.unwrap(), []);
    assert!(claim(&tenant, &["a"]).await.is_none());
    assert_eq!(tenant.focus_recover("one", &|_| false).await.unwrap(), [], "it is taken over, and not failed");
    let second = claimed(&tenant).await;
    assert_eq!((second.work.id, second.lease.focus, second.lease.token), (id, first.lease.focus, 2));
}

pub(crate) async fn a_host_that_comes_back_in_the_last_moment_keeps_its_focus(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    submit(&tenant, work("a")).await;
    let first = claimed(&tenant).await;
    let held = tenant.work_submit(NewWork { disposal: Disposal::Held, ..work("a") }).await.unwrap().work.id;
    let mine = tenant.focus_begin(held, State::Queued, &claim_of("one", &[], LONG)).await.unwrap();
    // Whoever looks for dead hosts finds this one silent, and it renews its leases just then.
    let handle = tokio::runtime::Handle::current();
    let alive = |_: u32| {
        tokio::task::block_in_place(|| {
            let leases = [first.lease, mine.lease];
            handle.block_on(async { tenant.focus_renew(&leases, 2 * LONG).await.unwrap() });
            false
        })
    };
    assert_eq!(tenant.focus_recover("one", &alive).await.unwrap(), []);
    assert_eq!(state(&tenant, held).await, State::Running);
    assert!(claim(&tenant, &["a"]).await.is_none(), "its lease is what it renewed it to");
}

/// Has a focus spend so many tokens and as many millionths.
async fn spend(tenant: &Arc<dyn Tenant>, lease: Lease, tokens: u64, copied: bool) {
    let ask = Intent { kind: EffectKind::Llm, subject: "default".into(), ..intent() };
    let seq = tenant.journal_begin(lease, ask).await.unwrap();
    let usage = json!({ "input_tokens": tokens, "output_tokens": 0, "cached_tokens": 0, "cache_write_tokens": 0 });
    let mut response = json!({ "usage": usage, "cost_microusd": tokens, "model": "a:b" });
    if copied {
        response[COPIED] = json!(true);
    }
    tenant.journal_end(lease, seq, Outcome::Ok { response }).await.unwrap();
}

pub(crate) async fn what_a_focus_spent_counts_however_it_ended(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let spent = async |id| {
        let work = tenant.work(id).await.unwrap();
        assert_eq!(work.tokens, work.cost_microusd);
        work.tokens
    };
    // The journal has more than the settlement, or less; what another focus paid for is not in it.
    let id = submit(&tenant, attempts(9)).await;
    for (settled, sum) in [(0, 30), (100, 130)] {
        let lease = claimed(&tenant).await.lease;
        for (tokens, copied) in [(10, false), (20, false), (500, true)] {
            spend(&tenant, lease, tokens, copied).await;
        }
        let lost = tenant.journal_begin(lease, Intent { kind: EffectKind::Llm, ..intent() }).await.unwrap();
        tenant.journal_end(lease, lost, Outcome::Failed { error: Error::Cancelled }).await.unwrap();
        let settlement = Settlement { tokens: settled, cost_microusd: settled, ..failed(Some(0)) };
        tenant.focus_end(lease, State::Failed, settlement).await.unwrap();
        assert_eq!(spent(id).await, sum);
    }
    tenant.work_cancel("operator", id).await.unwrap();

    // A focus that ends its hosts.
    let id = submit(&tenant, work("a")).await;
    let mut cost = 0;
    while let Some(next) = tenant.work_claim(&claim_of("one", &["a"], 1)).await.unwrap() {
        spend(&tenant, next.lease, 7, false).await;
        cost += 7;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!((state(&tenant, id).await, spent(id).await), (State::Dead, cost));

    // A process that is gone.
    let held = tenant.work_submit(NewWork { disposal: Disposal::Held, ..work("a") }).await.unwrap().work.id;
    let lease = tenant.focus_begin(held, State::Queued, &claim_of("one", &[], LONG)).await.unwrap().lease;
    spend(&tenant, lease, 5, false).await;
    assert_eq!(tenant.focus_recover("one", &|_| false).await.unwrap(), [held]);
    assert_eq!(spent(held).await, 5);

    // Children have what they were given as long as they go on, and what they spent when they have ended.
    let parent = submit(&tenant, work("a")).await;
    let lease = claimed(&tenant).await.lease;
    for ended in [false, true] {
        let allowance = Allowance { tokens: Some(1_000), microusd: Some(1_000) };
        let child = submit(&tenant, NewWork { parent: Some(parent), allowance, ..work("child") }).await;
        let spawn = Intent { kind: EffectKind::Child, subject: SPAWN.into(), ..intent() };
        let seq = tenant.journal_begin(lease, spawn).await.unwrap();
        tenant.journal_end(lease, seq, Outcome::Ok { response: json!({ "id": child }) }).await.unwrap();
        if ended {
            let lease = claim(&tenant, &["child"]).await.unwrap();
            let other = claim(&tenant, &["child"]).await.unwrap();
            let lease = if lease.work.id == child { lease.lease } else { other.lease };
            let settlement = Settlement { tokens: 40, cost_microusd: 40, ..done() };
            tenant.focus_end(lease, State::Completed, settlement).await.unwrap();
        }
    }
    tenant.focus_end(lease, State::Failed, failed(None)).await.unwrap();
    assert_eq!(spent(parent).await, 1_040);
}

pub(crate) async fn equal_work_is_merged_while_it_is_queued_or_running(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let alike = || NewWork { dedup_key: Some("k".into()), ..work("a") };
    let first = submit(&tenant, alike()).await;
    let merged = async |first: WorkId| {
        let Submitted { work, how } = tenant.work_submit(alike()).await.unwrap();
        let Submission::Merged { item } = how else { panic!("{how:?}") };
        let item = tenant.work(item).await.unwrap();
        assert_eq!(work.id, first);
        assert_eq!((item.state, item.merged_into, item.dedup_key), (State::Merged, Some(first), None));
    };
    merged(first).await;
    submit(&tenant, NewWork { dedup_key: Some("k".into()), ..work("b") }).await;
    submit(&tenant, NewWork { dedup_key: Some("j".into()), ..work("a") }).await;
    let running = claimed(&tenant).await;
    assert_eq!(running.work.id, first);
    merged(first).await;
    tenant.focus_end(running.lease, State::Failed, failed(None)).await.unwrap();
    let second = submit(&tenant, alike()).await;
    // The dead one cannot come back beside it.
    assert_eq!(class(tenant.work_retry("operator", first).await), "conflict");
    assert_eq!(state(&tenant, first).await, State::Dead);
    merged(second).await;
}

pub(crate) async fn of_many_equal_submits_at_once_one_is_canonical(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let submits = (0..200).map(|n| {
        let params = json!({ "n": n });
        tenant.work_submit(NewWork { dedup_key: Some("k".into()), params, ..work("a") })
    });
    let all = futures::future::join_all(submits).await;
    let ids: BTreeSet<_> = all.iter().map(|submitted| submitted.as_ref().unwrap().work.id).collect();
    let created = all.iter().filter(|submitted| submitted.as_ref().unwrap().how == Submission::Created).count();
    assert_eq!((ids.len(), created), (1, 1));
    let counts = tenant.work_counts().await.unwrap();
    assert_eq!((counts.by_state["queued"], counts.by_state["merged"]), (1, 199));
}

pub(crate) async fn a_submit_that_is_repeated_is_made_once(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let keyed = || NewWork { idempotency_key: Some("k".into()), ..work("a") };
    let first = submit(&tenant, keyed()).await;
    let again = || async { tenant.work_submit(keyed()).await.unwrap() };
    let repeated = again().await;
    assert_eq!((repeated.work.id, repeated.how), (first, Submission::Repeated));
    assert_eq!(class(tenant.work_submit(NewWork { params: json!({ "other": 1 }), ..keyed() }).await), "conflict");
    let running = claimed(&tenant).await;
    tenant.focus_end(running.lease, State::Completed, done()).await.unwrap();
    let late = again().await;
    assert_eq!((late.work.id, late.work.state, late.how), (first, State::Completed, Submission::Repeated));

    // One that was merged stays so.
    let alike = |key: Option<&str>| NewWork {
        dedup_key: Some("d".into()),
        idempotency_key: key.map(str::to_owned),
        ..work("a")
    };
    let canonical = submit(&tenant, alike(None)).await;
    let once = tenant.work_submit(alike(Some("m"))).await.unwrap();
    let twice = tenant.work_submit(alike(Some("m"))).await.unwrap();
    assert_eq!((once.work.id, once.how), (canonical, twice.how));
    assert_eq!(tenant.works(WorkFilter { limit: Some(100), ..WorkFilter::default() }).await.unwrap().len(), 3);

    let many = futures::future::join_all(
        (0..50).map(|_| tenant.work_submit(NewWork { idempotency_key: Some("many".into()), ..work("a") })),
    )
    .await;
    let ids: BTreeSet<_> = many.iter().map(|submitted| submitted.as_ref().unwrap().work.id).collect();
    assert_eq!(ids.len(), 1);
}

pub(crate) async fn a_failure_is_tried_again_after_a_while_until_it_is_dead(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let id = submit(&tenant, attempts(3)).await;
    let mut foci = BTreeSet::new();
    for attempt in 1..=3 {
        let running = claimed(&tenant).await;
        assert_eq!((running.work.attempts, running.lease.token, running.resumed), (attempt, 1, false));
        assert!(foci.insert(running.lease.focus), "each attempt is a focus of its own");
        let after = tenant.focus_end(running.lease, State::Failed, failed(Some(30))).await.unwrap();
        assert_eq!(after.error, failed(None).error);
        if attempt < 3 {
            assert_eq!(after.state, State::Queued);
            assert!(after.not_before_ms > after.updated_ms, "{after:?}");
            assert!(claim(&tenant, &["a"]).await.is_none() || after.not_before_ms <= after.updated_ms + 30);
            tokio::time::sleep(Duration::from_millis(60)).await;
        } else {
            assert_eq!(after.state, State::Dead);
        }
    }
    assert!(claim(&tenant, &["a"]).await.is_none());
    assert_eq!(tenant.focuses(id).await.unwrap().len(), 3);

    // What is said to be of no use is not tried again, whatever attempts are left.
    submit(&tenant, attempts(3)).await;
    let running = claimed(&tenant).await;
    assert_eq!(tenant.focus_end(running.lease, State::Failed, failed(None)).await.unwrap().state, State::Dead);
}

pub(crate) async fn an_operator_has_failed_work_tried_again(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let id = submit(&tenant, work("a")).await;
    assert_eq!(class(tenant.work_retry("operator", id).await), "conflict");
    let running = claimed(&tenant).await;
    assert_eq!(class(tenant.work_retry("operator", id).await), "conflict");
    tenant.focus_end(running.lease, State::Failed, failed(None)).await.unwrap();
    let queued = tenant.work_retry("operator", id).await.unwrap();
    assert_eq!((queued.state, queued.max_attempts), (State::Queued, 2));
    assert_eq!(tenant.audit_read(1).await.unwrap()[0].action, "work.retry");
    let again = claimed(&tenant).await;
    tenant.focus_end(again.lease, State::Completed, done()).await.unwrap();
    assert_eq!(class(tenant.work_retry("operator", id).await), "conflict");
    assert_eq!(class(tenant.work_retry("operator", WorkId::new()).await), "not-found");
}

pub(crate) async fn a_cancel_reaches_all_children_and_marks_what_runs(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let below = |parent| NewWork { parent: Some(parent), ..work("a") };
    let parent = submit(&tenant, NewWork { priority: 9, ..work("a") }).await;
    let running = claimed(&tenant).await;
    let child = submit(&tenant, below(parent)).await;
    let grandchild = submit(&tenant, below(child)).await;
    let done_child = submit(&tenant, NewWork { priority: 5, ..below(parent) }).await;
    let finished = claimed(&tenant).await;
    assert_eq!(finished.work.id, done_child);
    tenant.focus_end(finished.lease, State::Completed, done()).await.unwrap();
    let bystander = submit(&tenant, work("a")).await;

    let cancelled = tenant.work_cancel("operator", parent).await.unwrap();
    assert_eq!((cancelled.state, cancelled.cancelling), (State::Running, true));
    assert_eq!(state(&tenant, child).await, State::Cancelled);
    assert_eq!(state(&tenant, grandchild).await, State::Cancelled);
    assert_eq!(state(&tenant, done_child).await, State::Completed);
    assert_eq!(state(&tenant, bystander).await, State::Queued);
    assert_eq!(tenant.focus_renew(&[running.lease], LONG).await.unwrap().cancelling, [running.lease]);
    // It takes no more children, and its failure is no reason to try again.
    assert_eq!(class(tenant.work_submit(below(parent)).await), "cancelled");
    let after = tenant.focus_end(running.lease, State::Failed, failed(Some(1))).await.unwrap();
    assert_eq!((after.state, after.cancelling), (State::Cancelled, false));
    assert_eq!(class(tenant.work_submit(below(parent)).await), "cancelled");
    assert_eq!(tenant.audit_read(1).await.unwrap()[0].action, "work.cancel");

    // Again changes nothing.
    assert_eq!(tenant.work_cancel("operator", parent).await.unwrap().state, State::Cancelled);
    assert_eq!(class(tenant.work_cancel("operator", WorkId::new()).await), "not-found");
}

pub(crate) async fn what_was_to_be_cancelled_when_its_host_died_is_not_begun_again(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let id = submit(&tenant, work("a")).await;
    let first = tenant.work_claim(&claim_of("one", &["a"], 1)).await.unwrap().unwrap();
    tenant.work_cancel("operator", id).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(claim(&tenant, &["a"]).await.is_none());
    assert_eq!(state(&tenant, id).await, State::Cancelled);
    assert!(tenant.focus(first.lease.focus).await.unwrap().ended_ms.is_some());
}

pub(crate) async fn children_are_only_so_deep(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let mut parent = submit(&tenant, work("a")).await;
    for depth in 1..=MAX_DEPTH {
        parent = submit(&tenant, NewWork { parent: Some(parent), ..work("a") }).await;
        assert_eq!(tenant.work(parent).await.unwrap().depth, depth);
    }
    assert_eq!(class(tenant.work_submit(NewWork { parent: Some(parent), ..work("a") }).await), "invalid");
    let nobody = NewWork { parent: Some(WorkId::new()), ..work("a") };
    assert_eq!(class(tenant.work_submit(nobody).await), "not-found");
    let filter = WorkFilter { parent: Some(parent), ..WorkFilter::default() };
    assert_eq!(tenant.works(filter).await.unwrap(), []);
}

pub(crate) async fn items_are_counted_by_state_and_by_what_is_ready(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    assert_eq!(tenant.work_counts().await.unwrap(), animus_core::work::Counts::default());
    assert_eq!(tenant.work_next_due().await.unwrap(), None);
    let oldest = submit(&tenant, work("a")).await;
    submit(&tenant, work("a")).await;
    submit(&tenant, work("b")).await;
    submit(&tenant, NewWork { not_before_ms: Some(1 << 50), ..work("c") }).await;
    submit(&tenant, NewWork { disposal: Disposal::Held, ..work("d") }).await;
    claim(&tenant, &["b"]).await.unwrap();
    let counts = tenant.work_counts().await.unwrap();
    assert_eq!(counts.by_state, [("queued".to_owned(), 4), ("running".to_owned(), 1)].into());
    assert_eq!(counts.ready, [("a".to_owned(), 2)].into());
    assert_eq!(counts.oldest_ready_ms, Some(tenant.work(oldest).await.unwrap().created_ms));
}

pub(crate) async fn a_list_goes_on_where_the_one_before_ended(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(submit(&tenant, work(if n == 2 { "b" } else { "a" })).await);
    }
    ids.reverse();
    let page = async |before, faculty: Option<&str>| {
        let filter =
            WorkFilter { before, faculty: faculty.map(str::to_owned), limit: Some(2), ..WorkFilter::default() };
        tenant.works(filter).await.unwrap().iter().map(|work| work.id).collect::<Vec<_>>()
    };
    assert_eq!(page(None, None).await, ids[..2]);
    assert_eq!(page(Some(ids[1]), None).await, ids[2..4]);
    assert_eq!(page(Some(ids[3]), None).await, ids[4..]);
    assert_eq!(page(Some(ids[4]), None).await, []);
    assert_eq!(page(Some(ids[1]), Some("a")).await, [ids[3], ids[4]]);
}

pub(crate) async fn what_one_handle_commits_wakes_the_watch_of_another(store: Arc<dyn Store>) {
    let (here, there) = (tenant(&store, "local").await, tenant(&store, "local").await);
    let mut watch = there.work_watch().await.unwrap();
    let id = submit(&here, work("a")).await;
    let woken = tokio::time::timeout(Duration::from_secs(4), watch.changed()).await;
    assert!(woken.is_ok(), "nothing was told of the submit of {id}");
    // A change between two waits is not missed.
    submit(&here, work("a")).await;
    assert!(tokio::time::timeout(Duration::from_secs(4), watch.changed()).await.is_ok());
}

pub(crate) async fn the_queue_of_another_tenant_is_out_of_reach(store: Arc<dyn Store>) {
    let (ada, bob) = two_tenants(&store).await;
    let id =
        submit(&ada, NewWork { idempotency_key: Some("k".into()), dedup_key: Some("d".into()), ..work("a") }).await;
    assert!(claim(&bob, &["a"]).await.is_none());
    assert_eq!(bob.work_counts().await.unwrap(), animus_core::work::Counts::default());
    assert_eq!(class(bob.work_cancel("bob", id).await), "not-found");
    assert_eq!(class(bob.work_retry("bob", id).await), "not-found");
    assert_eq!(class(bob.work_submit(NewWork { parent: Some(id), ..work("a") }).await), "not-found");
    // Equal keys of two tenants have nothing to do with each other.
    let own = NewWork { idempotency_key: Some("k".into()), dedup_key: Some("d".into()), ..work("a") };
    let own = submit(&bob, own).await;
    assert_ne!(own, id);
    let running = claimed(&ada).await;
    assert_eq!(running.work.id, id);
    assert_eq!(bob.focus_renew(&[running.lease], LONG).await.unwrap().lost, [running.lease]);
    assert_eq!(class(bob.focus_release(running.lease).await), "conflict");
    assert_eq!(class(bob.focus(running.lease.focus).await), "not-found");
    assert_eq!(bob.focuses(id).await.unwrap(), []);
    assert_eq!(bob.focuses_by_prefix(&running.lease.focus.to_string(), 9).await.unwrap(), []);
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(claimed(&bob).await.work.id, own);
    assert_eq!(state(&ada, id).await, State::Running);
}

fn beat(machine: &str, running: u32) -> Beat {
    Beat {
        host: Host { machine: machine.into(), process: 7 },
        faculties: vec!["a".into()],
        max_concurrent: 4,
        running,
        draining: false,
        address: Some("127.0.0.1:8420".into()),
    }
}

pub(crate) async fn hosts_are_listed_as_they_last_said(store: Arc<dyn Store>) {
    let (ada, bob) = two_tenants(&store).await;
    assert_eq!(ada.hosts().await.unwrap(), []);
    ada.host_beat(&beat("one", 0)).await.unwrap();
    ada.host_beat(&beat("two", 1)).await.unwrap();
    ada.host_beat(&beat("one", 3)).await.unwrap();
    let mut hosts = ada.hosts().await.unwrap();
    hosts.sort_by(|a, b| a.beat.host.machine.cmp(&b.beat.host.machine));
    assert_eq!(hosts.iter().map(|host| host.beat.clone()).collect::<Vec<_>>(), [beat("one", 3), beat("two", 1)]);
    assert!(hosts.iter().all(|host| host.serves() && host.since_ms > 1_600_000_000_000), "{hosts:?}");
    assert_eq!(bob.hosts().await.unwrap(), []);
    bob.host_gone(&beat("one", 0).host).await.unwrap();
    ada.host_gone(&beat("one", 0).host).await.unwrap();
    assert_eq!(ada.hosts().await.unwrap().len(), 1);
}

/// Bounded in time: what many submit at once is a few hundred commits and not thousands.
pub(crate) async fn ten_thousand_equal_submits_at_once_leave_one_item(store: Arc<dyn Store>) {
    let tenant = tenant(&store, "local").await;
    let mut canonical = BTreeSet::<WorkId>::new();
    let submit = |n: u32| {
        let new = NewWork { dedup_key: Some("k".into()), params: json!({ "n": n }), ..work("a") };
        tenant.work_submit(new)
    };
    let all = futures::future::join_all((0..10_000).map(submit));
    let all = tokio::time::timeout(Duration::from_secs(240), all).await.unwrap();
    for submitted in all {
        canonical.insert(submitted.unwrap().work.id);
    }
    assert_eq!(canonical.len(), 1);
    let counts = tenant.work_counts().await.unwrap();
    assert_eq!((counts.by_state["queued"], counts.by_state["merged"]), (1, 9_999));
    let _: Value = tenant.work(*canonical.first().unwrap()).await.unwrap().params;
}
