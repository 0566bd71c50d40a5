//! What becomes of work items, measured where it is decided. Both back ends call it, after the transaction.

use animus_core::{
    Result,
    id::TenantId,
    store::Renewed,
    trace::METRICS,
    work::{Claimed, Disposal, State, Submission, Submitted, Work},
};
use tracing::{Level, event};

/// A submit ended.
pub(crate) fn submitted(tenant: &TenantId, faculty: &str, disposal: Disposal, result: &Result<Submitted>) {
    let result = match result {
        Ok(Submitted { how: Submission::Created, .. }) => {
            if disposal == Disposal::Queue {
                queue(tenant, "enqueue", 1);
            }
            "ok"
        }
        Ok(_) => "duplicate",
        Err(_) => "error",
    };
    event!(
        target: METRICS, Level::INFO,
        monotonic_counter.animus.work.submitted = 1_u64,
        faculty,
        result,
        animus.tenant = tenant.as_str(),
    );
}

/// The queue gave out an item.
pub(crate) fn claimed(tenant: &TenantId, claimed: &Claimed) {
    if claimed.resumed {
        queue(tenant, "takeover", 1);
    } else {
        queue(tenant, "claim", 1);
        transition(tenant, State::Queued, claimed.work.state);
    }
}

/// A focus left its item so.
pub(crate) fn ended(tenant: &TenantId, work: &Work) {
    transition(tenant, State::Running, work.state);
    match work.state {
        State::Queued => queue(tenant, "requeue", 1),
        State::Dead => queue(tenant, "dead-letter", 1),
        _ => {}
    }
}

/// Somebody changed an item, and with it perhaps others: `items` in all.
pub(crate) fn changed(tenant: &TenantId, operation: &'static str, items: usize, before: State, work: &Work) {
    if items > 0 {
        queue(tenant, operation, items);
    }
    if before != work.state {
        transition(tenant, before, work.state);
    }
}

/// An item changed its state.
pub(crate) fn transition(tenant: &TenantId, from: State, to: State) {
    event!(
        target: METRICS, Level::INFO,
        monotonic_counter.animus.work.state_transitions = 1_u64,
        from = from.as_str(),
        to = to.as_str(),
        animus.tenant = tenant.as_str(),
    );
}

/// Something was done with the queue.
pub(crate) fn queue(tenant: &TenantId, operation: &'static str, items: usize) {
    event!(
        target: METRICS, Level::INFO,
        monotonic_counter.animus.queue.operations = u64::try_from(items).unwrap_or(u64::MAX),
        operation,
        animus.tenant = tenant.as_str(),
    );
}

/// Leases were renewed, or turned out to be lost.
pub(crate) fn renewed(tenant: &TenantId, asked: usize, renewed: &Renewed) {
    queue(tenant, "renew", asked.saturating_sub(renewed.lost.len()));
    if !renewed.lost.is_empty() {
        queue(tenant, "lost", renewed.lost.len());
    }
}
