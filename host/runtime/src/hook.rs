//! Events and verdicts of hooks across the boundary.

use animus_core::{
    Error, Result,
    hook::{HookEvent, Kind, LlmPatch, OutcomePatch, PartPatch, Patch, Role, Verdict},
};
use serde_json::Value;
use wasmtime::{Store, component::Instance};

use crate::{
    bindings::{hook as wit, json, json_object, types},
    state::State,
};

/// What a guest answered, not looked at yet.
pub(crate) struct Answer(Any);

/// One type for the verdicts of all points.
enum Any {
    Llm(wit::LlmVerdict),
    Answer(wit::AnswerVerdict),
    Tool(wit::ToolVerdict),
    Outcome(wit::OutcomeVerdict),
    Turn(wit::TurnVerdict),
}

/// Calls the function of the event's point.
pub(crate) async fn call(
    store: &mut Store<State>,
    instance: &Instance,
    export: &wit::GuestIndices,
    event: Event,
) -> wasmtime::Result<Result<Answer, types::Error>> {
    let guest = export.load(&mut *store, instance)?;
    let verdict = match event {
        Event::BeforeLlm(event) => guest.call_before_llm_call(store, &event).await?.map(Any::Llm),
        Event::AfterLlm(event) => guest.call_after_llm_call(store, &event).await?.map(Any::Answer),
        Event::BeforeTool(event) => guest.call_before_tool_call(store, &event).await?.map(Any::Tool),
        Event::AfterTool(event) => guest.call_after_tool_call(store, &event).await?.map(Any::Outcome),
        Event::AfterTurn(event) => guest.call_after_turn(store, &event).await?.map(Any::Turn),
    };
    Ok(verdict.map(Answer))
}

/// An event in the contract's types.
pub(crate) enum Event {
    BeforeLlm(wit::LlmCall),
    AfterLlm(wit::LlmAnswer),
    BeforeTool(wit::ToolCall),
    AfterTool(wit::ToolOutcome),
    AfterTurn(wit::TurnEnd),
}

impl From<&HookEvent> for Event {
    fn from(event: &HookEvent) -> Self {
        match event.clone() {
            HookEvent::BeforeLlm(call) => Self::BeforeLlm(wit::LlmCall {
                work_id: call.work_id,
                caller: call.caller,
                number: call.number,
                model: call.model,
                system: call.system,
                parts: call
                    .parts
                    .into_iter()
                    .map(|part| wit::Part {
                        message: part.message,
                        role: match part.role {
                            Role::User => wit::Role::User,
                            Role::Assistant => wit::Role::Assistant,
                        },
                        kind: match part.kind {
                            Kind::Text => wit::Kind::Text,
                            Kind::ToolUse => wit::Kind::ToolUse,
                            Kind::ToolResult => wit::Kind::ToolResult,
                        },
                        text: part.text,
                    })
                    .collect(),
                tools: call.tools,
            }),
            HookEvent::AfterLlm(answer) => Self::AfterLlm(wit::LlmAnswer {
                work_id: answer.work_id,
                caller: answer.caller,
                number: answer.number,
                model: answer.model,
                text: answer.text,
                tool_uses: answer.tool_uses,
                elapsed_ms: answer.elapsed_ms,
            }),
            HookEvent::BeforeTool(call) => Self::BeforeTool(wit::ToolCall {
                work_id: call.work_id,
                caller: call.caller,
                depth: call.depth,
                tool: call.tool,
                args: Value::Object(call.args).to_string(),
                calls: call.calls,
                calls_last_minute: call.calls_last_minute,
            }),
            HookEvent::AfterTool(outcome) => Self::AfterTool(wit::ToolOutcome {
                work_id: outcome.work_id,
                caller: outcome.caller,
                depth: outcome.depth,
                tool: outcome.tool,
                args: Value::Object(outcome.args).to_string(),
                text: outcome.text,
                structured: outcome.structured.map(|data| data.to_string()),
                is_error: outcome.is_error,
                elapsed_ms: outcome.elapsed_ms,
            }),
            HookEvent::AfterTurn(turn) => Self::AfterTurn(wit::TurnEnd {
                work_id: turn.work_id,
                caller: turn.caller,
                turn: turn.turn,
                text: turn.text,
                tool_calls: turn.tool_calls,
            }),
        }
    }
}

impl Answer {
    /// How large it is, in bytes of text.
    pub(crate) fn size(&self) -> usize {
        let len = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        match &self.0 {
            Any::Llm(wit::LlmVerdict::Modify(patch)) => {
                len(&patch.system) + patch.parts.iter().map(|part| part.text.len()).sum::<usize>()
            }
            Any::Outcome(wit::OutcomeVerdict::Modify(patch)) => len(&patch.text) + len(&patch.structured),
            Any::Llm(wit::LlmVerdict::Block(text))
            | Any::Answer(wit::AnswerVerdict::Modify(text) | wit::AnswerVerdict::Block(text))
            | Any::Tool(wit::ToolVerdict::Modify(text) | wit::ToolVerdict::Block(text))
            | Any::Outcome(wit::OutcomeVerdict::Block(text))
            | Any::Turn(wit::TurnVerdict::Block(text)) => text.len(),
            Any::Llm(wit::LlmVerdict::Continue)
            | Any::Answer(wit::AnswerVerdict::Continue)
            | Any::Tool(wit::ToolVerdict::Continue)
            | Any::Outcome(wit::OutcomeVerdict::Continue)
            | Any::Turn(wit::TurnVerdict::Continue) => 0,
        }
    }
}

impl TryFrom<Answer> for Verdict {
    type Error = Error;
    fn try_from(answer: Answer) -> Result<Self> {
        Ok(match answer.0 {
            Any::Llm(wit::LlmVerdict::Continue)
            | Any::Answer(wit::AnswerVerdict::Continue)
            | Any::Tool(wit::ToolVerdict::Continue)
            | Any::Outcome(wit::OutcomeVerdict::Continue)
            | Any::Turn(wit::TurnVerdict::Continue) => Self::Continue,
            Any::Llm(wit::LlmVerdict::Block(reason))
            | Any::Answer(wit::AnswerVerdict::Block(reason))
            | Any::Tool(wit::ToolVerdict::Block(reason))
            | Any::Outcome(wit::OutcomeVerdict::Block(reason))
            | Any::Turn(wit::TurnVerdict::Block(reason)) => Self::Block(reason),
            Any::Llm(wit::LlmVerdict::Modify(wit::LlmPatch { system, parts })) => {
                let parts = parts.into_iter().map(|wit::PartPatch { index, text }| PartPatch { index, text });
                Self::Modify(Patch::Llm(LlmPatch { system, parts: parts.collect() }))
            }
            Any::Answer(wit::AnswerVerdict::Modify(text)) => Self::Modify(Patch::Answer(text)),
            Any::Tool(wit::ToolVerdict::Modify(args)) => {
                Self::Modify(Patch::Args(json_object("the hook's arguments", &args)?))
            }
            Any::Outcome(wit::OutcomeVerdict::Modify(wit::OutcomePatch { text, structured, is_error })) => {
                let structured = structured.map(|data| json("the hook's data", &data)).transpose()?;
                Self::Modify(Patch::Outcome(OutcomePatch { text, structured, is_error }))
            }
        })
    }
}
