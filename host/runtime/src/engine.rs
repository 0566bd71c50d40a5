//! The engine: one configuration for all plugins of a host, and the thread that advances its epochs.

use std::{fmt, sync::Arc, thread, time::Duration};

use animus_core::Error;
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::functions::Functions;

/// How often the epoch advances: the grain of `cpu_ms` and of yielding.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// What an operator may want other than the default.
#[derive(Clone, Copy, Debug)]
pub struct EngineConfig {
    /// How many plugin calls may be under way at once; one more is answered with [`Error::Unavailable`]. Costs address
    /// space (4 GiB each), not memory. Default 1,000. Bounds calls only while [`Engine::is_pooled`].
    pub instances: u32,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self { instances: 1_000 }
    }
}

/// The engine. Clones share it; its epoch thread ends with the last one.
#[derive(Clone)]
pub struct Engine {
    inner: wasmtime::Engine,
    pooled: bool,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("pooled", &self.pooled).finish_non_exhaustive()
    }
}

impl Engine {
    /// Reserves the pool of instances; where the address space for it is not to be had (a small `ulimit -v`, a
    /// container's policy), logs that and allocates on demand, which is slower and otherwise the same.
    ///
    /// # Errors
    /// [`Error::Internal`] when neither works on this machine.
    pub fn new(config: &EngineConfig) -> Result<Self, Error> {
        let failed = |e| Error::Internal(format!("the WebAssembly engine does not start: {e:#}"));
        let common = common().map_err(failed)?;
        let (inner, pooled) = match wasmtime::Engine::new(&pooling(common.clone(), config)) {
            Ok(engine) => (engine, true),
            Err(error) => {
                tracing::warn!(%error, "no address space for the instance pool; plugins are allocated on demand");
                (wasmtime::Engine::new(&common).map_err(failed)?, false)
            }
        };
        tick(&inner)?;
        Ok(Self { inner, pooled })
    }

    /// Whether instances come from a pool.
    #[must_use]
    pub fn is_pooled(&self) -> bool {
        self.pooled
    }

    /// The engine itself, for baselines in benches.
    #[must_use]
    pub fn wasmtime(&self) -> &wasmtime::Engine {
        &self.inner
    }
}

/// What holds for both ways of allocation. Compiled code depends on it, so it is part of the artifacts' key.
fn common() -> wasmtime::Result<Config> {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        // WASI 0.2 and the synchronous ABI: the asynchronous one is outside upstream's security promise.
        .concurrency_support(false)
        .wasm_memory64(false)
        .epoch_interruption(true)
        // Above the default 16 MiB, a big heap (a Python interpreter's) would silently lose copy-on-write.
        .memory_init_cow(true)
        .memory_guaranteed_dense_image_size(64 << 20)
        // The guest may use 1 MiB, because CPython recurses in C; what remains of a fiber's 2 MiB is for the host
        // functions that run on it.
        .max_wasm_stack(1 << 20)
        .async_stack_size(2 << 20)
        .enable_incremental_compilation(Arc::new(Functions::default()))?;
    Ok(config)
}

fn pooling(mut common: Config, config: &EngineConfig) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    let calls = config.instances;
    // A component is a few core instances (code, shims, adapters), and one made of dynamic libraries, such as CPython, a
    // few dozen. These are counters and address space: none of them is memory before it is used.
    pool.total_component_instances(calls)
        .total_stacks(calls)
        .total_core_instances(calls.saturating_mul(64))
        .total_memories(calls.saturating_mul(2))
        .total_tables(calls.saturating_mul(8))
        .max_core_instances_per_component(MAX_INSTANCES)
        .max_memories_per_module(8)
        .max_tables_per_module(8)
        .max_memories_per_component(MAX_MEMORIES)
        .max_tables_per_component(MAX_TABLES)
        // All that 32 bits can address: what a plugin may have of it is `memory_bytes`, summed over its store.
        .max_memory_size(4 << 30)
        .table_elements(1 << 20)
        // What a call changed is set back by copying instead of page faults, as far as it lies in few places: at most so
        // much of each slot that was used. CPython's table alone has 45 KiB.
        .linear_memory_keep_resident(1 << 20)
        .table_keep_resident(128 << 10)
        .pagemap_scan(Enabled::Auto);
    common.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    common
}

/// The most core instances, memories and tables of one store.
pub(crate) const MAX_INSTANCES: u32 = 128;
pub(crate) const MAX_MEMORIES: u32 = 16;
pub(crate) const MAX_TABLES: u32 = 128;

/// An OS thread, so that epochs advance even when every runtime thread is stuck in a guest. It holds the engine weakly
/// and ends at the first tick after it is gone.
fn tick(engine: &wasmtime::Engine) -> Result<(), Error> {
    let engine = engine.weak();
    thread::Builder::new()
        .name("animus-epochs".to_owned())
        .spawn(move || {
            while let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
                drop(engine);
                thread::sleep(TICK);
            }
        })
        .map(drop)
        .map_err(|e| Error::Internal(format!("the epoch thread does not start: {e}")))
}
