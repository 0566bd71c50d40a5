//! The contracts of `wit/` as Rust types, and their conversions from and to those of `animus-core`. The only `bindgen!`
//! site.
//!
//! Errors cross as values: what a host function returns as its `wasmtime::Result` is a trap and ends the call.

use animus_core::{
    Denial, Error, Gate, Unlock, child as core_child, ledger as core_ledger, llm as core_llm, memory as core_memory,
    plugins as core_plugins, services as core_services, tool as core_tool,
};
use serde_json::Value;

use crate::text;

#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
mod generated {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "
            package animus:host;
            world host {
                include animus:plugin/imports@0.1.0;
                export animus:tool/tools@0.1.0;
                export animus:faculty/faculty@0.1.0;
                export animus:faculty/orient@0.1.0;
                export animus:faculty/consolidate@0.1.0;
                export animus:faculty/recover@0.1.0;
                export animus:interpreter/interpreter@0.1.0;
                export animus:hook/hook@0.1.0;
            }
        ",
        world: "animus:host/host",
        imports: {
            // What only looks something up needs no fiber switch.
            "animus:llm/llm.list-models": trappable,
            "animus:tool/tool.list": trappable,
            "animus:tool/tool.describe": trappable,
            default: async | trappable,
        },
        exports: { default: async },
        with: {
            "animus:llm/llm.completion": crate::capability::llm::Completion,
        },
        require_store_data_send: true,
    });
}

pub(crate) use generated::{
    animus::{
        faculty::{engage, types as faculty_types},
        interpreter::{code, types as code_types},
        ledger::ledger,
        llm::llm,
        memory::memory,
        spawn_child::spawn_child,
        tool::{tool, types as tool_types},
        types::types,
    },
    exports::animus::{
        faculty::{consolidate, faculty, orient, recover},
        hook::hook,
        interpreter::interpreter,
        tool::tools,
    },
};

/// The longest text of an error that crosses to a guest or comes from one, in bytes.
const MAX_ERROR: usize = 4 << 10;

impl From<Gate> for types::Gate {
    fn from(gate: Gate) -> Self {
        match gate {
            Gate::Manifest => Self::Manifest,
            Gate::Grant => Self::Grant,
            Gate::Ceiling => Self::Ceiling,
            Gate::Principal => Self::Principal,
            Gate::Policy => Self::Policy,
            Gate::Hook => Self::Hook,
        }
    }
}

impl From<types::Gate> for Gate {
    fn from(gate: types::Gate) -> Self {
        match gate {
            types::Gate::Manifest => Self::Manifest,
            types::Gate::Grant => Self::Grant,
            types::Gate::Ceiling => Self::Ceiling,
            types::Gate::Principal => Self::Principal,
            types::Gate::Policy => Self::Policy,
            types::Gate::Hook => Self::Hook,
        }
    }
}

impl From<Unlock> for types::Unlock {
    fn from(unlock: Unlock) -> Self {
        match unlock {
            Unlock::AskOperator => Self::AskOperator,
            Unlock::AskForLess => Self::AskForLess,
            Unlock::Nothing => Self::Nothing,
        }
    }
}

impl From<types::Unlock> for Unlock {
    fn from(unlock: types::Unlock) -> Self {
        match unlock {
            types::Unlock::AskOperator => Self::AskOperator,
            types::Unlock::AskForLess => Self::AskForLess,
            types::Unlock::Nothing => Self::Nothing,
        }
    }
}

/// The error as a guest may read it: no operator's command, and of the host's own failures only that there was one.
impl From<Error> for types::Error {
    fn from(error: Error) -> Self {
        let cut = |s: String| text::cut(s, MAX_ERROR);
        match error {
            Error::Denied(denial) => {
                let Denial { capability, gate, unlock, .. } = *denial;
                Self::Denied(types::Denial { capability: cut(capability), gate: gate.into(), unlock: unlock.into() })
            }
            Error::BudgetExhausted(s) => Self::BudgetExhausted(cut(s)),
            Error::Cancelled => Self::Cancelled,
            Error::Timeout(s) => Self::Timeout(cut(s)),
            Error::Invalid(s) => Self::Invalid(cut(s)),
            Error::NotFound(s) => Self::NotFound(cut(s)),
            Error::Conflict(s) => Self::Conflict(cut(s)),
            Error::Unavailable(s) => Self::Unavailable(cut(s)),
            // What may have been done already is what a second try would run into.
            Error::Uncertain(s) => Self::Conflict(cut(format!("uncertain: {s}"))),
            Error::Diverged(s) | Error::Internal(s) => {
                // The first line says what failed; the rest (causes, another plugin's backtrace) is the operator's.
                Self::Internal(cut(s.lines().next().unwrap_or_default().to_owned()))
            }
        }
    }
}

/// What a plugin gave as its error. Its texts are escaped and cut: they are the plugin's, and people read them.
pub(crate) fn guest_error(who: &str, error: types::Error) -> Error {
    let clean = |s: String| text::cut(text::escaped(&s), MAX_ERROR);
    match error {
        types::Error::Denied(denial) => Denial {
            who: who.to_owned(),
            capability: clean(denial.capability),
            gate: denial.gate.into(),
            unlock: denial.unlock.into(),
            reason: None,
            command: None,
        }
        .into(),
        types::Error::BudgetExhausted(s) => Error::BudgetExhausted(clean(s)),
        types::Error::Cancelled => Error::Cancelled,
        types::Error::Timeout(s) => Error::Timeout(clean(s)),
        types::Error::Invalid(s) => Error::Invalid(clean(s)),
        types::Error::NotFound(s) => Error::NotFound(clean(s)),
        types::Error::Conflict(s) => Error::Conflict(clean(s)),
        types::Error::Unavailable(s) => Error::Unavailable(clean(s)),
        types::Error::Internal(s) => Error::Internal(clean(s)),
    }
}

/// Reads a guest's JSON text. `what` names it in the error.
pub(crate) fn json(what: &str, s: &str) -> Result<Value, Error> {
    serde_json::from_str(s).map_err(|e| Error::Invalid(format!("{what} is not JSON: {e}")))
}

/// Reads a guest's JSON text that must hold an object.
pub(crate) fn json_object(what: &str, s: &str) -> Result<serde_json::Map<String, Value>, Error> {
    serde_json::from_str(s).map_err(|e| Error::Invalid(format!("{what} is not a JSON object: {e}")))
}

// ---- tools ----

impl From<tool_types::Annotations> for core_tool::Annotations {
    fn from(a: tool_types::Annotations) -> Self {
        Self { read_only: a.read_only, idempotent: a.idempotent, destructive: a.destructive, open_world: a.open_world }
    }
}

impl From<&core_tool::Tool> for tool_types::Definition {
    fn from(tool: &core_tool::Tool) -> Self {
        let a = tool.annotations;
        Self {
            name: tool.name.clone(),
            description: tool.description.clone(),
            input_schema: tool.input_schema.to_string(),
            output_schema: tool.output_schema.as_ref().map(Value::to_string),
            annotations: tool_types::Annotations {
                read_only: a.read_only,
                idempotent: a.idempotent,
                destructive: a.destructive,
                open_world: a.open_world,
            },
        }
    }
}

impl TryFrom<tool_types::ToolResult> for core_tool::Output {
    type Error = Error;
    fn try_from(result: tool_types::ToolResult) -> Result<Self, Error> {
        Ok(Self {
            text: result.text,
            structured: result.structured.map(|s| json("the tool's structured answer", &s)).transpose()?,
            images: result
                .images
                .into_iter()
                .map(|image| core_llm::Image { media_type: image.media_type, data: image.data.into() })
                .collect(),
            is_error: result.is_error,
        })
    }
}

impl From<core_tool::Output> for tool_types::ToolResult {
    fn from(output: core_tool::Output) -> Self {
        Self {
            text: output.text,
            structured: output.structured.map(|value| value.to_string()),
            images: output
                .images
                .into_iter()
                .map(|image| tool_types::Image { media_type: image.media_type, data: image.data.to_vec() })
                .collect(),
            is_error: output.is_error,
        }
    }
}

// ---- ledger ----

impl From<ledger::EntryType> for core_ledger::EntryType {
    fn from(t: ledger::EntryType) -> Self {
        match t {
            ledger::EntryType::Plan => Self::Plan,
            ledger::EntryType::Finding => Self::Finding,
            ledger::EntryType::Decision => Self::Decision,
            ledger::EntryType::Step => Self::Step,
            ledger::EntryType::Error => Self::Error,
            ledger::EntryType::Note => Self::Note,
        }
    }
}

impl From<core_ledger::EntryType> for ledger::EntryType {
    fn from(t: core_ledger::EntryType) -> Self {
        match t {
            core_ledger::EntryType::Plan => Self::Plan,
            core_ledger::EntryType::Finding => Self::Finding,
            core_ledger::EntryType::Decision => Self::Decision,
            core_ledger::EntryType::Step => Self::Step,
            core_ledger::EntryType::Error => Self::Error,
            core_ledger::EntryType::Note => Self::Note,
        }
    }
}

impl From<ledger::Filter> for core_ledger::Filter {
    fn from(filter: ledger::Filter) -> Self {
        Self { entry_type: filter.entry_type.map(Into::into), last_n: filter.last_n }
    }
}

impl From<core_ledger::Entry> for ledger::Entry {
    fn from(entry: core_ledger::Entry) -> Self {
        Self {
            seq: entry.seq,
            entry_type: entry.entry_type.into(),
            content: entry.content,
            created_ms: entry.created_ms,
        }
    }
}

// ---- memory ----

impl From<core_memory::Memory> for memory::Item {
    fn from(m: core_memory::Memory) -> Self {
        Self {
            id: m.id.to_string(),
            content: m.content,
            kind: m.kind,
            tags: m.tags,
            source: m.source,
            created_ms: m.created_ms,
            version: m.version,
            updated_ms: m.updated_ms,
        }
    }
}

impl From<core_memory::Version> for memory::Version {
    fn from(version: core_memory::Version) -> Self {
        Self { version: version.version, content: version.content, since_ms: version.since_ms }
    }
}

impl From<memory::RecallOptions> for core_memory::Query {
    /// A query without words.
    fn from(options: memory::RecallOptions) -> Self {
        let memory::RecallOptions { limit, kind, tags, source, since_ms, until_ms, half_life_days } = options;
        Self { limit, kind, tags, source, since_ms, until_ms, half_life_days, ..Self::default() }
    }
}

impl From<core_memory::Hit> for memory::Hit {
    fn from(hit: core_memory::Hit) -> Self {
        Self { item: hit.memory.into(), score: hit.score }
    }
}

// ---- children ----

impl From<core_child::Child> for spawn_child::Child {
    fn from(child: core_child::Child) -> Self {
        use animus_core::work::State;
        Self {
            id: child.id.to_string(),
            faculty: child.faculty,
            state: match child.state {
                State::Queued => spawn_child::State::Queued,
                State::Running => spawn_child::State::Running,
                State::Completed => spawn_child::State::Completed,
                // A child that was merged is told as the one that it was merged into.
                State::Failed | State::Dead | State::Merged => spawn_child::State::Failed,
                State::Cancelled => spawn_child::State::Cancelled,
            },
            success: child.success,
            summary: child.summary,
            data: child.data.map(|data| data.to_string()),
            error: child.error,
            ledger: child.ledger,
            cut: child.cut,
            tokens: child.tokens,
            cost_microusd: child.cost_microusd,
        }
    }
}

// ---- faculty ----

impl From<engage::Options> for core_services::EngageOptions {
    fn from(options: engage::Options) -> Self {
        Self {
            system: options.system,
            prompt: options.prompt,
            model: options.model,
            tools: options.tools,
            max_turns: options.max_turns,
            max_tokens: options.max_tokens,
            temperature: options.temperature,
        }
    }
}

impl From<core_services::Engagement> for engage::Engagement {
    fn from(engagement: core_services::Engagement) -> Self {
        use core_services::Ending;
        Self {
            ending: match engagement.ending {
                Ending::Done => engage::Ending::Done,
                Ending::MaxTurns => engage::Ending::MaxTurns,
                Ending::Budget => engage::Ending::Budget,
                Ending::ContextFull => engage::Ending::ContextFull,
                Ending::Repetition => engage::Ending::Repetition,
                Ending::Cancelled => engage::Ending::Cancelled,
                Ending::Blocked => engage::Ending::Blocked,
            },
            text: engagement.text,
            turns: engagement.turns,
            tool_calls: engagement.tool_calls,
        }
    }
}

impl From<core_plugins::Task> for faculty_types::Task {
    fn from(task: core_plugins::Task) -> Self {
        Self {
            work_id: task.work_id,
            instruction: task.instruction,
            params: task.params.to_string(),
            attempt: task.attempt,
            context: task.context,
        }
    }
}

impl From<core_plugins::FacultyOutcome> for faculty_types::Outcome {
    fn from(outcome: core_plugins::FacultyOutcome) -> Self {
        Self { success: outcome.success, summary: outcome.summary, data: outcome.data.map(|data| data.to_string()) }
    }
}

impl From<core_plugins::Failure> for faculty_types::Failure {
    fn from(failure: core_plugins::Failure) -> Self {
        Self {
            phase: match failure.phase {
                core_plugins::Phase::Orient => faculty_types::Phase::Orient,
                core_plugins::Phase::Engage => faculty_types::Phase::Engage,
                core_plugins::Phase::Consolidate => faculty_types::Phase::Consolidate,
            },
            error: failure.error,
            attempt: failure.attempt,
            max_attempts: failure.max_attempts,
            will_retry: failure.will_retry,
        }
    }
}

impl From<faculty_types::Recovery> for core_plugins::Recovery {
    fn from(recovery: faculty_types::Recovery) -> Self {
        match recovery {
            faculty_types::Recovery::Retry => Self::Retry,
            faculty_types::Recovery::GiveUp => Self::GiveUp,
        }
    }
}

impl TryFrom<faculty_types::Outcome> for core_plugins::FacultyOutcome {
    type Error = Error;
    fn try_from(outcome: faculty_types::Outcome) -> Result<Self, Error> {
        Ok(Self {
            success: outcome.success,
            summary: outcome.summary,
            data: outcome.data.map(|s| json("the faculty's data", &s)).transpose()?,
        })
    }
}

// ---- models ----

impl TryFrom<llm::Request> for core_llm::Request {
    type Error = Error;
    fn try_from(request: llm::Request) -> Result<Self, Error> {
        Ok(Self {
            model: request.model,
            system: request.system,
            messages: request
                .messages
                .into_iter()
                .map(|m| m.try_into().map(std::sync::Arc::new))
                .collect::<Result<_, _>>()?,
            tools: request
                .tools
                .into_iter()
                .map(|tool| {
                    let input_schema = json_object("a tool's input schema", &tool.input_schema)?.into();
                    Ok(core_llm::ToolDefinition { name: tool.name, description: tool.description, input_schema })
                })
                .collect::<Result<_, Error>>()?,
            max_tokens: request.max_tokens,
            temperature: request.temperature,
        })
    }
}

impl TryFrom<llm::Message> for core_llm::Message {
    type Error = Error;
    fn try_from(message: llm::Message) -> Result<Self, Error> {
        Ok(Self {
            role: match message.role {
                llm::Role::User => core_llm::Role::User,
                llm::Role::Assistant => core_llm::Role::Assistant,
            },
            content: message.content.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
        })
    }
}

/// The longest image, encoded, in bytes; `wit/` promises it.
const MAX_IMAGE: usize = 5 << 20;

fn image(image: llm::Image) -> Result<core_llm::Image, Error> {
    if image.data.len() > MAX_IMAGE {
        return Err(Error::Invalid(format!(
            "an image holds at most {MAX_IMAGE} bytes; this one has {}",
            image.data.len()
        )));
    }
    Ok(core_llm::Image { media_type: image.media_type, data: image.data.into() })
}

impl TryFrom<llm::Content> for core_llm::Content {
    type Error = Error;
    fn try_from(content: llm::Content) -> Result<Self, Error> {
        Ok(match content {
            llm::Content::Text(text) => Self::Text { text },
            llm::Content::Image(data) => Self::Image(image(data)?),
            llm::Content::ToolUse(used) => Self::ToolUse(core_llm::ToolUse {
                id: used.id,
                name: used.name,
                // A guest passes back what it was given, so arguments that never were JSON stay as they came.
                input: match serde_json::from_str(&used.input) {
                    Ok(object) => core_llm::ToolInput::Object(object),
                    Err(_) => core_llm::ToolInput::Malformed { malformed_json: used.input },
                },
            }),
            llm::Content::ToolResult(result) => Self::ToolResult(core_llm::ToolResult {
                id: result.id,
                text: result.text,
                images: result.images.into_iter().map(image).collect::<Result<_, _>>()?,
                is_error: result.is_error,
            }),
            llm::Content::Opaque(block) => {
                let opaque: Opaque = serde_json::from_str(&block).map_err(|e| {
                    Error::Invalid(format!("an opaque part is not as the host gave it, pass it back unchanged: {e}"))
                })?;
                Self::Opaque { vendor: opaque.vendor, block: opaque.block }
            }
        })
    }
}

/// How a vendor's block looks to guests, who pass it back unread.
#[derive(serde::Serialize, serde::Deserialize)]
struct Opaque {
    vendor: String,
    block: Value,
}

impl From<core_llm::Content> for llm::Content {
    fn from(content: core_llm::Content) -> Self {
        let image = |image: core_llm::Image| llm::Image { media_type: image.media_type, data: image.data.to_vec() };
        match content {
            core_llm::Content::Text { text } => Self::Text(text),
            core_llm::Content::Image(data) => Self::Image(image(data)),
            core_llm::Content::ToolUse(used) => Self::ToolUse(llm::ToolUse {
                id: used.id,
                name: used.name,
                input: match used.input {
                    core_llm::ToolInput::Object(object) => Value::Object(object).to_string(),
                    core_llm::ToolInput::Malformed { malformed_json } => malformed_json,
                },
            }),
            core_llm::Content::ToolResult(result) => Self::ToolResult(llm::ToolResult {
                id: result.id,
                text: result.text,
                images: result.images.into_iter().map(image).collect(),
                is_error: result.is_error,
            }),
            core_llm::Content::Opaque { vendor, block } => {
                Self::Opaque(serde_json::json!({ "vendor": vendor, "block": block }).to_string())
            }
        }
    }
}

fn usage(usage: core_llm::Usage, cost_microusd: Option<u64>) -> llm::Usage {
    llm::Usage {
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        cached_tokens: usage.cached_tokens,
        cost_microusd,
    }
}

impl From<core_llm::Embeddings> for llm::Embeddings {
    fn from(embeddings: core_llm::Embeddings) -> Self {
        let usage = usage(embeddings.usage, embeddings.cost_microusd);
        Self { model: embeddings.model, vectors: embeddings.vectors, usage }
    }
}

impl From<core_llm::Response> for llm::Response {
    fn from(response: core_llm::Response) -> Self {
        Self {
            message: llm::Message {
                role: match response.message.role {
                    core_llm::Role::User => llm::Role::User,
                    core_llm::Role::Assistant => llm::Role::Assistant,
                },
                content: response.message.content.into_iter().map(Into::into).collect(),
            },
            stop: match response.stop {
                core_llm::Stop::EndTurn => llm::StopReason::EndTurn,
                core_llm::Stop::ToolUse => llm::StopReason::ToolUse,
                core_llm::Stop::MaxTokens => llm::StopReason::MaxTokens,
                core_llm::Stop::Other(word) => llm::StopReason::Other(word),
            },
            usage: usage(response.usage, response.cost_microusd),
            model: response.model,
        }
    }
}
