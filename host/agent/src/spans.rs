//! The spans of a focus (docs/telemetry.md): what happens inside what. They name things and count them; what was said and
//! answered is [`crate::content`]'s.

use animus_core::{
    id::TenantId,
    journal::{EffectKind, Intent},
    llm::Models,
    plugins::PluginSet,
    trace::{self, SPANS},
    work::{Lease, Work},
};
use tracing::{Level, Span, debug_span, field::Empty, info_span, span_enabled};

/// The longest name or identifier of a model's choice that a span repeats, in bytes.
const LONGEST: usize = 128;

/// One run of a work item, in its submitter's trace.
pub(crate) fn execute(tenant: &TenantId, work: &Work, lease: Lease, resumed: bool) -> Span {
    let span = info_span!(
        target: SPANS, parent: None, "work.execute",
        animus.tenant = tenant.as_str(),
        animus.work.id = %work.id,
        animus.focus.id = %lease.focus,
        animus.faculty = work.faculty,
        animus.work.source = work.source,
        animus.work.attempt = i64::from(work.attempts),
        animus.focus.resumed = resumed,
        animus.work.state = Empty,
        otel.status_code = Empty,
        "error.type" = Empty,
    );
    trace::begin(&span, work);
    span
}

/// One turn of an engage loop, from 1.
pub(crate) fn iteration(n: u32) -> Span {
    info_span!(target: SPANS, "iteration", animus.iteration = i64::from(n))
}

/// A tool call that a model or an operator asks for; `id` is the model's own.
pub(crate) fn tool(name: &str, id: Option<&str>) -> Span {
    info_span!(
        target: SPANS, "work.tool.execute",
        gen_ai.operation.name = "execute_tool",
        gen_ai.tool.name = cut(name),
        gen_ai.tool.call.id = id.map(cut),
        animus.plugin.name = Empty,
        animus.plugin.generation = Empty,
        animus.plugin.digest = Empty,
        animus.journal.seq = Empty,
        otel.status_code = Empty,
        "error.type" = Empty,
    )
}

/// A tool call that a plugin or a program makes inside another.
pub(crate) fn nested(name: &str) -> Span {
    info_span!(
        target: SPANS, "sandbox.tool.call",
        gen_ai.operation.name = "execute_tool",
        gen_ai.tool.name = cut(name),
        animus.plugin.name = Empty,
        animus.plugin.generation = Empty,
        animus.plugin.digest = Empty,
        animus.journal.seq = Empty,
        otel.status_code = Empty,
        "error.type" = Empty,
    )
}

/// Says on the current span, a tool call's, which plugin answers it.
pub(crate) fn callee(plugins: &dyn PluginSet, tool: &str) {
    // Asking for the current span costs more than all the rest of a call that nobody traces.
    if !span_enabled!(target: SPANS, Level::INFO) {
        return;
    }
    let span = Span::current();
    if let Some(plugin) = tool.split_once('.').and_then(|(plugin, _)| plugins.plugin(plugin)) {
        span.record("animus.plugin.name", plugin.name.as_str())
            .record("animus.plugin.generation", trace::figure(plugin.generation))
            .record("animus.plugin.digest", plugin.digest.short());
    }
}

/// The span of an effect. A tool call has its own already, which says more of it: the current one.
pub(crate) fn effect(models: &dyn Models, intent: &Intent) -> Span {
    match intent.kind {
        EffectKind::Tool if span_enabled!(target: SPANS, Level::INFO) => Span::current(),
        EffectKind::Tool => Span::none(),
        EffectKind::Llm => chat(models, &intent.subject),
        EffectKind::Phase => phase(intent),
        // Nobody looks so closely; what happens inside is still inside what is around it.
        _ if !span_enabled!(target: SPANS, Level::DEBUG) => Span::current(),
        kind => debug_span!(
            target: SPANS, "work.effect",
            otel.name = format!("work.{}", kind.as_str()),
            animus.effect.subject = cut(&intent.subject),
            animus.journal.seq = Empty,
            otel.status_code = Empty,
            "error.type" = Empty,
        ),
    }
}

fn phase(intent: &Intent) -> Span {
    let faculty = intent.request.get("faculty").and_then(serde_json::Value::as_str);
    info_span!(
        target: SPANS, "work.phase",
        otel.name = format!("work.{}", intent.subject),
        gen_ai.operation.name = "invoke_agent",
        gen_ai.agent.name = faculty,
        animus.journal.seq = Empty,
        otel.status_code = Empty,
        "error.type" = Empty,
    )
}

fn chat(models: &dyn Models, role: &str) -> Span {
    if !span_enabled!(target: SPANS, Level::INFO) {
        return Span::none();
    }
    let first = models.resolve(role).ok().and_then(|model| model.models.into_iter().next()).unwrap_or_default();
    let (provider, model) = label(&first);
    info_span!(
        target: SPANS, "gen_ai.chat",
        otel.name = format!("chat {model}"),
        otel.kind = "client",
        gen_ai.operation.name = "chat",
        gen_ai.provider.name = provider,
        gen_ai.request.model = model,
        gen_ai.response.model = Empty,
        gen_ai.usage.input_tokens = Empty,
        gen_ai.usage.output_tokens = Empty,
        gen_ai.usage.cache_read.input_tokens = Empty,
        gen_ai.usage.cache_creation.input_tokens = Empty,
        animus.llm.role = role,
        animus.llm.cost_microusd = Empty,
        animus.journal.seq = Empty,
        otel.status_code = Empty,
        "error.type" = Empty,
    )
}

/// Provider and model of `<provider>:<model>`.
pub(crate) fn label(label: &str) -> (&str, &str) {
    label.split_once(':').unwrap_or(("", label))
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(LONGEST)).unwrap_or_default()
}
