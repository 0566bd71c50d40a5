//! What calls into plugins measure (docs/telemetry.md has all names and units). With nobody interested a measurement costs
//! the comparison of two levels.

use animus_core::{
    services::{CallContext, Principal},
    trace::METRICS,
};
use tracing::{Level, event};

use crate::limits::Meter;

/// A call ended.
pub(crate) fn call(cx: &CallContext, plugin: &str, tool: &str, outcome: &str, meter: &Meter) {
    let tenant = cx.tenant.as_str();
    event!(
        target: METRICS, Level::INFO,
        monotonic_counter.animus.plugin.calls = 1_u64,
        plugin,
        tool,
        outcome,
        animus.tenant = tenant,
    );
    event!(
        target: METRICS, Level::INFO,
        monotonic_counter.animus.plugin.cpu_ticks = meter.ticks(),
        histogram.animus.plugin.peak_memory_bytes = meter.memory(),
        plugin,
        animus.tenant = tenant,
    );
    if outcome == "trap" {
        event!(target: METRICS, Level::INFO, monotonic_counter.animus.plugin.traps = 1_u64, plugin, animus.tenant = tenant);
    }
}

/// An exchange over HTTP ended.
pub(crate) fn exchange(by: &Principal, sent: u64, received: u64) {
    let (plugin, tenant) = (by.authority.plugin().as_str(), by.tenant.as_str());
    for (direction, bytes) in [("sent", sent), ("received", received)] {
        event!(
            target: METRICS, Level::INFO,
            monotonic_counter.animus.plugin.egress_bytes = bytes,
            plugin,
            direction,
            animus.tenant = tenant,
        );
    }
}
