//! What a focus measures (docs/telemetry.md has all names and units). With nobody interested a measurement costs the
//! comparison of two levels.

use std::time::{Duration, Instant};

use animus_core::{
    Error,
    code::Ran,
    event::Compaction,
    id::TenantId,
    journal::EffectKind,
    ledger::EntryType,
    llm::Response,
    trace::{self, METRICS},
};
use tracing::{Level, Span, event};

use crate::spans;

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// An effect ended.
pub(crate) fn effect(tenant: &TenantId, kind: EffectKind, took: Duration) {
    event!(
        target: METRICS, Level::INFO,
        histogram.animus.operation.duration_ms = millis(took),
        operation = kind.as_str(),
        animus.tenant = tenant.as_str(),
    );
}

/// Something was done with memory.
pub(crate) fn memory(tenant: &TenantId, operation: &'static str) {
    event!(
        target: METRICS, Level::INFO,
        monotonic_counter.animus.memory.operations = 1_u64,
        operation,
        animus.tenant = tenant.as_str(),
    );
}

/// An entry was appended.
pub(crate) fn ledger(tenant: &TenantId, entry_type: EntryType) {
    event!(
        target: METRICS, Level::INFO,
        monotonic_counter.work.ledger.entries = 1_u64,
        entry_type = entry_type.as_str(),
        animus.tenant = tenant.as_str(),
    );
}

/// An engage loop ended.
pub(crate) fn engaged(tenant: &TenantId, faculty: &str, iterations: u32) {
    event!(
        target: METRICS, Level::INFO,
        histogram.work.engage.iterations = u64::from(iterations),
        faculty,
        animus.tenant = tenant.as_str(),
    );
}

/// A turn asked for tools.
pub(crate) fn turn(tenant: &TenantId, faculty: &str, tools: usize) {
    event!(
        target: METRICS, Level::INFO,
        histogram.work.engage.parallel_tools = u64::try_from(tools).unwrap_or(u64::MAX),
        faculty,
        animus.tenant = tenant.as_str(),
    );
}

/// Items wait that nobody here runs: so many more than before.
pub(crate) fn unroutable(tenant: &TenantId, faculty: &str, items: u64) {
    event!(
        target: METRICS, Level::INFO,
        monotonic_counter.animus.work.unroutable = items,
        faculty,
        animus.tenant = tenant.as_str(),
    );
}

/// A conversation was made shorter.
pub(crate) fn compacted(tenant: &TenantId, trigger: Compaction, summarised: bool) {
    let trigger = match trigger {
        Compaction::Step => "step",
        Compaction::Threshold => "threshold",
        Compaction::Overflow => "overflow",
    };
    event!(
        target: METRICS, Level::INFO,
        monotonic_counter.work.context.compactions = 1_u64,
        trigger,
        summarised,
        animus.tenant = tenant.as_str(),
    );
}

/// A skill became active.
pub(crate) fn skill_activated(tenant: &TenantId, skill: &str, how: &'static str) {
    event!(
        target: METRICS, Level::INFO,
        monotonic_counter.work.skills.activated = 1_u64,
        skill,
        "type" = how,
        animus.tenant = tenant.as_str(),
    );
}

/// A skill was made.
pub(crate) fn skill_created(tenant: &TenantId, created_by: &'static str) {
    event!(
        target: METRICS, Level::INFO,
        monotonic_counter.work.skills.created = 1_u64,
        created_by,
        animus.tenant = tenant.as_str(),
    );
}

/// A program ended.
pub(crate) fn executed(tenant: &TenantId, interpreter: &str, took: Duration, ran: Result<&Ran, &Error>) {
    let tenant = tenant.as_str();
    event!(
        target: METRICS, Level::INFO,
        monotonic_counter.work.sandbox.executions = 1_u64,
        histogram.work.sandbox.duration = millis(took),
        interpreter,
        animus.tenant = tenant,
    );
    match ran {
        Ok(ran) => {
            let bytes = ran.text.len() + ran.stdout.len() + ran.stderr.len();
            event!(
                target: METRICS, Level::INFO,
                histogram.work.sandbox.output_bytes = u64::try_from(bytes).unwrap_or(u64::MAX),
                interpreter,
                animus.tenant = tenant,
            );
        }
        Err(Error::Timeout(_)) => {
            event!(target: METRICS, Level::INFO, monotonic_counter.work.sandbox.timeouts = 1_u64, interpreter, animus.tenant = tenant);
        }
        Err(_) => {}
    }
    if ran.is_err() || ran.is_ok_and(|ran| ran.failure.is_some()) {
        event!(target: METRICS, Level::INFO, monotonic_counter.work.sandbox.errors = 1_u64, interpreter, animus.tenant = tenant);
    }
}

/// A model call under way.
pub(crate) struct Chat {
    tenant: TenantId,
    /// The plugin that asked.
    caller: String,
    /// The first model that is asked, `<provider>:<model>`.
    label: String,
    begun: Instant,
}

impl Chat {
    pub(crate) fn begin(tenant: TenantId, caller: String, label: String) -> Self {
        Self { tenant, caller, label, begun: Instant::now() }
    }

    /// The model answered.
    pub(crate) fn answered(&self, response: &Response) {
        let (provider, model) = spans::label(&self.label);
        let (answering, answered) = spans::label(&response.model);
        let usage = response.usage;
        Span::current()
            .record("gen_ai.response.model", answered)
            .record("gen_ai.usage.input_tokens", trace::figure(usage.input_tokens))
            .record("gen_ai.usage.output_tokens", trace::figure(usage.output_tokens))
            .record("gen_ai.usage.cache_read.input_tokens", trace::figure(usage.cached_tokens))
            .record("gen_ai.usage.cache_creation.input_tokens", trace::figure(usage.cache_write_tokens))
            .record("animus.llm.cost_microusd", response.cost_microusd.map(trace::figure));
        let tenant = self.tenant.as_str();
        for (direction, tokens) in [("input", usage.input_tokens), ("output", usage.output_tokens)] {
            event!(
                target: METRICS, Level::INFO,
                monotonic_counter.animus.llm.tokens = tokens,
                model = answered,
                provider = answering,
                direction,
                animus.tenant = tenant,
            );
            event!(
                target: METRICS, Level::INFO,
                histogram.gen_ai.client.token.usage = tokens,
                gen_ai.operation.name = "chat",
                gen_ai.provider.name = answering,
                gen_ai.request.model = model,
                gen_ai.response.model = answered,
                "gen_ai.token.type" = direction,
                animus.tenant = tenant,
            );
        }
        event!(
            target: METRICS, Level::INFO,
            histogram.gen_ai.client.operation.duration = self.begun.elapsed().as_secs_f64(),
            gen_ai.operation.name = "chat",
            gen_ai.provider.name = provider,
            gen_ai.request.model = model,
            gen_ai.response.model = answered,
            animus.tenant = tenant,
        );
        if let Some(cost) = response.cost_microusd {
            event!(
                target: METRICS, Level::INFO,
                monotonic_counter.animus.plugin.cost_microusd = cost,
                plugin = self.caller,
                animus.tenant = tenant,
            );
        }
    }

    /// It did not.
    pub(crate) fn failed(&self, error: &Error) {
        let (provider, model) = spans::label(&self.label);
        event!(
            target: METRICS, Level::INFO,
            histogram.gen_ai.client.operation.duration = self.begun.elapsed().as_secs_f64(),
            gen_ai.operation.name = "chat",
            gen_ai.provider.name = provider,
            gen_ai.request.model = model,
            "error.type" = error.class(),
            animus.tenant = self.tenant.as_str(),
        );
        trace::failed(&Span::current(), error);
    }
}
