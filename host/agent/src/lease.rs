//! Keeping the right to run a focus: renewed while it runs, and the focus stops when it is lost.

use std::{sync::Arc, time::Duration};

use animus_core::{store::Tenant, work::Lease};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long a lease lasts without being renewed, in milliseconds: as long an item waits whose host died, where nobody can
/// tell that it did. Three renewals may fail before it runs out.
pub const LEASE_MS: u64 = 15_000;

/// Renews a lease until it is dropped.
pub(crate) struct Keeper {
    lost: CancellationToken,
    _stops_when_dropped: DropGuard,
}

impl Keeper {
    /// `cancel` fires when the lease is lost, somebody asks for the end of the item, or the host is to `leave` it.
    pub(crate) fn new(
        tenant: Arc<dyn Tenant>,
        lease: Lease,
        lease_ms: u64,
        cancel: CancellationToken,
        leave: Option<CancellationToken>,
    ) -> Self {
        let lost = CancellationToken::new();
        let stop = CancellationToken::new();
        if let Some(leave) = leave {
            let (stop, cancel) = (stop.clone(), cancel.clone());
            tokio::spawn(stop.run_until_cancelled_owned(async move {
                leave.cancelled().await;
                cancel.cancel();
            }));
        }
        let keep = keep(tenant, lease, lease_ms, cancel, lost.clone());
        tokio::spawn(stop.clone().run_until_cancelled_owned(keep));
        Self { lost, _stops_when_dropped: stop.drop_guard() }
    }

    /// Whether another host may have the focus by now.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.is_cancelled()
    }

    /// Comes when [`Self::is_lost`] does.
    pub(crate) async fn lost(&self) {
        self.lost.cancelled().await;
    }
}

async fn keep(
    tenant: Arc<dyn Tenant>,
    lease: Lease,
    lease_ms: u64,
    cancel: CancellationToken,
    lost: CancellationToken,
) {
    let between = Duration::from_millis((lease_ms / 4).max(1));
    loop {
        tokio::time::sleep(between).await;
        match tenant.focus_renew(&[lease], lease_ms).await {
            Ok(renewed) if !renewed.lost.is_empty() => {
                tracing::warn!(focus = %lease.focus, token = lease.token, "the lease was lost; the focus stops here");
                lost.cancel();
                cancel.cancel();
                return;
            }
            Ok(renewed) if !renewed.cancelling.is_empty() => cancel.cancel(),
            Ok(_) => {}
            // Every write for the focus is fenced, so going on is safe whatever comes of the lease.
            Err(error) => tracing::warn!(focus = %lease.focus, %error, "the lease could not be renewed; trying again"),
        }
    }
}
