//! Time and randomness of programs that run again when their focus is resumed: they read the same then.
//!
//! Time stands still but for what the program waits for: an answer of the host, or its own sleep. Random numbers come from
//! a seed that follows from the focus and the program's place in it, so they are no secret: a faculty keeps no keys. Tools
//! run once, and their answers are kept, so that they have the real clock and real randomness.

use std::{convert::Infallible, sync::Arc, time::Duration};

use animus_core::services::{Deterministic, VirtualClock};
use rand::TryRng;
use sha2::{Digest as _, Sha256};
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::{
    HostMonotonicClock, HostWallClock, WasiCtxBuilder,
    clocks::{WasiClocksCtx, WasiClocksCtxView},
    p2::{DynPollable, Pollable, bindings::clocks::monotonic_clock, subscribe},
};

use crate::state::State;

/// Has a guest read the time and randomness of a program.
pub(crate) fn apply(wasi: &mut WasiCtxBuilder, program: &Deterministic) {
    let Deterministic { clock, seed } = program;
    let mut insecure_seed = [0; 16];
    Stream::new(*seed, "insecure seed").fill(&mut insecure_seed);
    wasi.wall_clock(Clock(clock.clone()))
        .monotonic_clock(Clock(clock.clone()))
        .secure_random(Stream::new(*seed, "secure"))
        .insecure_random(Stream::new(*seed, "insecure"))
        .insecure_random_seed(u128::from_be_bytes(insecure_seed));
}

struct Clock(Arc<VirtualClock>);

impl Clock {
    fn ns(&self) -> u64 {
        u64::try_from(self.0.now().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl HostWallClock for Clock {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        self.0.now()
    }
}

impl HostMonotonicClock for Clock {
    fn resolution(&self) -> u64 {
        1_000_000
    }

    fn now(&self) -> u64 {
        self.ns()
    }
}

/// SHA-256 of seed, use and counter: the same in every version of the host.
struct Stream {
    seed: [u8; 32],
    usage: &'static str,
    block: u64,
    rest: Vec<u8>,
}

fn stream(seed: &[u8; 32], usage: &str, block: u64) -> [u8; 32] {
    Sha256::new().chain_update(seed).chain_update(usage).chain_update(block.to_be_bytes()).finalize().into()
}

impl Stream {
    fn new(seed: [u8; 32], usage: &'static str) -> Self {
        Self { seed, usage, block: 0, rest: Vec::new() }
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            if self.rest.is_empty() {
                self.rest = stream(&self.seed, self.usage, self.block).into();
                self.block = self.block.wrapping_add(1);
            }
            *byte = self.rest.pop().unwrap_or_default();
        }
    }
}

impl TryRng for Stream {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        Ok(u32::from_be_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        Ok(u64::from_be_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.fill(bytes);
        Ok(())
    }
}

/// `wasi:clocks/monotonic-clock`: as WASI's own, but a program's clock goes on by what it sleeps.
pub(crate) struct Monotonic<'a> {
    ctx: &'a mut WasiClocksCtx,
    table: &'a mut ResourceTable,
    program: Option<&'a Arc<VirtualClock>>,
}

impl Monotonic<'_> {
    fn real(&mut self) -> WasiClocksCtxView<'_> {
        WasiClocksCtxView { ctx: self.ctx, table: self.table }
    }

    fn sleep(&mut self, clock: Arc<VirtualClock>, until_ns: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let now = Clock(clock.clone()).ns();
        // A time that cannot be said is never.
        let until = tokio::time::Instant::now().checked_add(Duration::from_nanos(until_ns.saturating_sub(now)));
        let sleep = self.table.push(Sleep { until, clock, until_ns })?;
        subscribe(self.table, sleep)
    }
}

impl monotonic_clock::Host for Monotonic<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        self.real().now()
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        self.real().resolution()
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        match self.program.cloned() {
            Some(clock) => self.sleep(clock, when),
            None => self.real().subscribe_instant(when),
        }
    }

    fn subscribe_duration(&mut self, duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        match self.program.cloned() {
            Some(clock) => {
                let until = Clock(clock.clone()).ns().saturating_add(duration);
                self.sleep(clock, until)
            }
            None => self.real().subscribe_duration(duration),
        }
    }
}

struct Sleep {
    until: Option<tokio::time::Instant>,
    clock: Arc<VirtualClock>,
    until_ns: u64,
}

#[wasmtime_wasi::async_trait]
impl Pollable for Sleep {
    async fn ready(&mut self) {
        match self.until {
            Some(until) => tokio::time::sleep_until(until).await,
            None => std::future::pending().await,
        }
        self.clock.advance_ns(self.until_ns);
    }
}

pub(crate) struct HasMonotonic;

impl HasData for HasMonotonic {
    type Data<'a> = Monotonic<'a>;
}

/// In place of WASI's own.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    monotonic_clock::add_to_linker::<State, HasMonotonic>(linker, |state| {
        let State { wasi, table, program, .. } = state;
        Monotonic { ctx: wasi.clocks(), table, program: program.as_ref() }
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

#[cfg(test)]
mod tests {
    use monotonic_clock::Host as _;

    use super::*;

    #[test]
    fn the_same_program_reads_the_same_numbers_and_another_one_others() {
        let read = |seed, usage| {
            let mut bytes = [0; 100];
            Stream::new([seed; 32], usage).fill(&mut bytes);
            bytes
        };
        assert_eq!(read(1, "secure"), read(1, "secure"));
        assert_ne!(read(1, "secure"), read(2, "secure"));
        assert_ne!(read(1, "secure"), read(1, "insecure"));
        let mut stream = Stream::new([1; 32], "secure");
        let (mut first, mut rest) = ([0; 33], [0; 67]);
        stream.fill(&mut first);
        stream.fill(&mut rest);
        assert_eq!([&first[..], &rest[..]].concat(), read(1, "secure"), "however it is read");
    }

    #[tokio::test]
    async fn sleeping_moves_a_programs_clock_and_nothing_else_does() {
        let clock = Arc::new(VirtualClock::at(5_000));
        let (mut ctx, mut table) = (WasiClocksCtx::default(), ResourceTable::new());
        let mut monotonic = Monotonic { ctx: &mut ctx, table: &mut table, program: Some(&clock) };
        monotonic.subscribe_duration(2_000_000).unwrap();
        assert_eq!(clock.now(), Duration::from_millis(5_000));
        let mut sleep =
            Sleep { until: Some(tokio::time::Instant::now()), clock: clock.clone(), until_ns: 5_002_000_000 };
        sleep.ready().await;
        assert_eq!(clock.now(), Duration::from_millis(5_002));
        clock.advance(4_000);
        assert_eq!(clock.now(), Duration::from_millis(5_002), "time never goes back");
    }
}
