//! The limits of one call, and the meter that enforces them.

use animus_core::{Error, limits::Limits};
use wasmtime::{ResourceLimiter, StoreContextMut, UpdateDeadline};

use crate::{
    engine::{MAX_INSTANCES, MAX_MEMORIES, MAX_TABLES, TICK},
    state::State,
};

/// A limit, by the name that manifests and grants use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    Memory,
    Tables,
    Cpu,
    Wall,
    HostCalls,
    HostCallBytes,
    Resources,
    Output,
    CallDepth,
}

impl Limit {
    /// Its name, its figure and what that counts.
    fn describe(self, limits: &Limits) -> (&'static str, u64, &'static str) {
        match self {
            Self::Memory => ("memory_bytes", limits.memory_bytes, "bytes of memory"),
            Self::Tables => ("table_elements", limits.table_elements, "table elements"),
            Self::Cpu => ("cpu_ms", limits.cpu_ms, "ms of computing"),
            Self::Wall => ("wall_ms", limits.wall_ms, "ms by the clock"),
            Self::HostCalls => ("host_calls", limits.host_calls, "calls into the host"),
            Self::HostCallBytes => ("host_call_bytes", limits.host_call_bytes, "bytes in one transfer to the host"),
            Self::Resources => ("resources", limits.resources, "resources alive at once"),
            Self::Output => ("output_bytes", limits.output_bytes, "bytes of answer"),
            Self::CallDepth => ("call_depth", limits.call_depth, "tool calls inside tool calls"),
        }
    }

    /// The error of a call of `plugin` that this limit ended. It reaches models too, hence no command in it.
    pub(crate) fn error(self, plugin: &str, limits: &Limits) -> Error {
        let (name, figure, counts) = self.describe(limits);
        let text = format!(
            "'{plugin}' reached its limit of {figure} {counts}; its operator can raise `{name}` in the limits of its grant"
        );
        if self == Self::Wall { Error::Timeout(text) } else { Error::BudgetExhausted(text) }
    }
}

/// Ends the call from inside: returned by a host function or the epoch callback.
#[derive(Debug, thiserror::Error)]
#[error("the limit {0:?} was reached")]
pub(crate) struct Reached(pub(crate) Limit);

/// Counts what one call uses.
#[derive(Debug)]
pub(crate) struct Meter {
    limits: Limits,
    memory: u64,
    tables: u64,
    /// What the last permitted growth added, to be taken back should it fail all the same.
    growing: u64,
    ticks: u64,
    host_calls: u64,
    refused: Option<Limit>,
}

impl Meter {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, memory: 0, tables: 0, growing: 0, ticks: 0, host_calls: 0, refused: None }
    }

    /// Begins the account of another call in the same store: what the guest occupies stays counted.
    pub(crate) fn renew(&mut self, limits: Limits) {
        *self = Self { memory: self.memory, tables: self.tables, ..Self::new(limits) };
    }

    /// Counts a call into the host's own interfaces.
    pub(crate) fn host_call(&mut self) -> Result<(), Reached> {
        if self.host_calls >= self.limits.host_calls {
            return Err(Reached(Limit::HostCalls));
        }
        self.host_calls += 1;
        Ok(())
    }

    /// The memory that the guest occupies, in bytes. Memories never shrink, so at the end of a call this is the most that it
    /// had.
    pub(crate) fn memory(&self) -> u64 {
        self.memory
    }

    /// How many ticks passed while the guest ran.
    pub(crate) fn ticks(&self) -> u64 {
        self.ticks
    }

    /// The limit at which a growth was refused last. The guest may have coped, or be about to abort.
    pub(crate) fn refused(&self) -> Option<Limit> {
        self.refused
    }

    /// A tick passed while the guest ran; a wait in the host counts as one tick however long it was.
    pub(crate) fn on_epoch(mut store: StoreContextMut<'_, State>) -> wasmtime::Result<UpdateDeadline> {
        let meter = &mut store.data_mut().meter;
        meter.ticks = meter.ticks.saturating_add(1);
        let tick_ms = u64::try_from(TICK.as_millis()).unwrap_or(u64::MAX);
        if meter.ticks.saturating_mul(tick_ms) > meter.limits.cpu_ms {
            return Err(Reached(Limit::Cpu).into());
        }
        // Back to the scheduler, where the deadline and the cancellation of the whole call are looked at.
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
    }

    fn grow(used: &mut u64, growing: &mut u64, current: usize, desired: usize, limit: u64) -> bool {
        let more = u64::try_from(desired.saturating_sub(current)).unwrap_or(u64::MAX);
        let total = used.saturating_add(more);
        let fits = total <= limit;
        if fits {
            *used = total;
            *growing = more;
        }
        fits
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let fits = Self::grow(&mut self.memory, &mut self.growing, current, desired, self.limits.memory_bytes);
        if !fits {
            self.refused = Some(Limit::Memory);
        }
        Ok(fits)
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.memory = self.memory.saturating_sub(std::mem::take(&mut self.growing));
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let fits = Self::grow(&mut self.tables, &mut self.growing, current, desired, self.limits.table_elements);
        if !fits {
            self.refused = Some(Limit::Tables);
        }
        Ok(fits)
    }

    fn table_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.tables = self.tables.saturating_sub(std::mem::take(&mut self.growing));
        Ok(())
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES as usize
    }

    fn tables(&self) -> usize {
        MAX_TABLES as usize
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_and_tables_are_summed_over_the_store_and_a_failed_growth_is_taken_back() {
        let mut meter = Meter::new(Limits { memory_bytes: 100, table_elements: 10, ..Limits::default() });
        // Two memories, each within the limit by itself.
        assert!(meter.memory_growing(0, 60, None).unwrap());
        assert!(!meter.memory_growing(0, 60, None).unwrap());
        assert_eq!(meter.refused(), Some(Limit::Memory));
        assert!(meter.memory_growing(0, 40, None).unwrap());
        meter.memory_grow_failed(wasmtime::Error::msg("the pool said no")).unwrap();
        assert!(meter.memory_growing(60, 100, None).unwrap());
        assert!(meter.table_growing(0, 10, None).unwrap());
        assert!(!meter.table_growing(0, 1, None).unwrap());
        assert_eq!(meter.refused(), Some(Limit::Tables));
    }

    #[test]
    fn only_the_clock_is_a_timeout_and_no_error_tells_a_model_what_to_type() {
        let limits = Limits::default();
        for limit in [Limit::Memory, Limit::Cpu, Limit::Wall, Limit::Output] {
            let error = limit.error("p", &limits);
            assert_eq!(matches!(error, Error::Timeout(_)), limit == Limit::Wall);
            assert!(error.to_string().contains(&format!("`{}`", limit.describe(&limits).0)), "{error}");
            assert!(!error.for_model().contains("animus "), "{error}");
        }
    }
}
