//! The metrics: units, words and buckets. Rooms give measurements names and nothing else, because `tracing` has no place
//! for more.

use opentelemetry_sdk::metrics::{Aggregation, Instrument, Stream};

/// The most series of one metric; what is beyond is counted as one more, labelled `otel.metric.overflow`.
const SERIES: usize = 2_000;

/// One metric.
pub(super) struct Metric {
    pub(super) name: &'static str,
    /// In the notation of UCUM.
    pub(super) unit: &'static str,
    pub(super) about: &'static str,
    /// The upper bounds of a histogram's buckets; empty for a counter.
    pub(super) buckets: &'static [f64],
}

const fn counter(name: &'static str, unit: &'static str, about: &'static str) -> Metric {
    Metric { name, unit, about, buckets: &[] }
}

const fn histogram(name: &'static str, unit: &'static str, about: &'static str, buckets: &'static [f64]) -> Metric {
    Metric { name, unit, about, buckets }
}

/// From a tool call's tens of microseconds to a focus of hours.
const MILLISECONDS: &[f64] =
    &[0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1e3, 5e3, 1e4, 3e4, 6e4, 3e5, 1.8e6, 7.2e6];
/// Those that the conventions for generative models name.
const MODEL_SECONDS: &[f64] = &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
const MODEL_TOKENS: &[f64] = &[
    1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0, 16777216.0,
    67108864.0,
];
const BYTES: &[f64] = &[1024.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0, 16777216.0, 67108864.0, 268435456.0];
const COUNTS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// All of them; docs/telemetry.md lists the same.
pub(super) const METRICS: &[Metric] = &[
    counter("animus.work.submitted", "{item}", "Work items submitted"),
    counter("animus.work.state_transitions", "{transition}", "Changes of the state of work items"),
    counter("animus.work.unroutable", "{item}", "Items that no faculty of this host runs"),
    counter("animus.queue.operations", "{item}", "Items that something was done with in the queue"),
    counter("animus.memory.operations", "{operation}", "Operations on memory"),
    counter("animus.llm.tokens", "{token}", "Tokens that models counted"),
    histogram("animus.operation.duration_ms", "ms", "How long the effects of foci took", MILLISECONDS),
    histogram("gen_ai.client.token.usage", "{token}", "Tokens of one model call", MODEL_TOKENS),
    histogram("gen_ai.client.operation.duration", "s", "How long one model call took", MODEL_SECONDS),
    histogram("work.engage.iterations", "{iteration}", "Model calls of one engage loop", COUNTS),
    histogram("work.engage.parallel_tools", "{call}", "Tool calls of one turn", COUNTS),
    counter("work.context.compactions", "{compaction}", "Conversations made shorter"),
    counter("work.ledger.entries", "{entry}", "Ledger entries appended"),
    counter("work.sandbox.executions", "{execution}", "Programs that foci had run"),
    histogram("work.sandbox.duration", "ms", "How long they took", MILLISECONDS),
    histogram("work.sandbox.output_bytes", "By", "What they returned and wrote", BYTES),
    counter("work.sandbox.errors", "{execution}", "Those that ended in an error"),
    counter("work.sandbox.timeouts", "{execution}", "Those that ran out of time"),
    counter("work.skills.activated", "{skill}", "Skills that became active in a focus"),
    counter("work.skills.created", "{skill}", "Skills that foci made"),
    counter("animus.plugin.calls", "{call}", "Calls into plugins"),
    counter("animus.plugin.cpu_ticks", "{tick}", "Ticks of 10 ms during which plugins ran"),
    histogram("animus.plugin.peak_memory_bytes", "By", "The most memory of one call", BYTES),
    counter("animus.plugin.egress_bytes", "By", "Bytes of plugins' HTTP exchanges"),
    counter("animus.plugin.traps", "{trap}", "Calls that broke"),
    counter(
        "animus.plugin.cost_microusd",
        "{microusd}",
        "What plugins' model calls cost, in millionths of a US dollar",
    ),
];

/// Gives a measurement its unit, words and buckets.
pub(super) fn view(instrument: &Instrument) -> Option<Stream> {
    let metric = METRICS.iter().find(|metric| metric.name == instrument.name())?;
    let stream = Stream::builder().with_unit(metric.unit).with_description(metric.about).with_cardinality_limit(SERIES);
    let stream = match metric.buckets {
        [] => stream,
        buckets => stream.with_aggregation(Aggregation::ExplicitBucketHistogram {
            boundaries: buckets.to_vec(),
            record_min_max: true,
        }),
    };
    stream.build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_in_the_documentation_with_its_unit() {
        let text = include_str!("../../../../docs/telemetry.md");
        for Metric { name, unit, .. } in METRICS {
            assert!(
                text.lines()
                    .any(|line| line.contains(&format!("| `{name}` |")) && line.contains(&format!("| `{unit}` |"))),
                "docs/telemetry.md does not list {name} in {unit}"
            );
        }
    }
}
