//! What a hook's patch does to an event. A patch that does not fit its event changes nothing.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{HookEvent, Kind, LlmCall, ToolOutcome};
use crate::{Error, Result};

/// Another text for one part of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartPatch {
    /// Its place in [`LlmCall::parts`].
    pub index: u32,
    /// What it says from now on.
    pub text: String,
}

/// Changes to what a model is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LlmPatch {
    /// The system prompt; unchanged when none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The parts that change.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartPatch>,
}

/// Changes to a tool's answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutcomePatch {
    /// The text; unchanged when none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The data. A patch of the text without data takes the data away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub structured: Option<Value>,
    /// Whether it counts as failed; unchanged when none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_error: Option<bool>,
}

/// Changes to an event; each kind fits one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Patch {
    /// To what a model is sent.
    Llm(LlmPatch),
    /// The text of a model's answer.
    Answer(String),
    /// The arguments of a tool call.
    Args(Map<String, Value>),
    /// To a tool's answer.
    Outcome(OutcomePatch),
}

impl HookEvent {
    /// Applies a patch: the event as the next hook is shown it, and as it then happens.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a patch of another event, a part that there is not, and arguments of a tool use that are no
    /// object any more. The event is then as it was.
    pub fn apply(&mut self, patch: Patch) -> Result<()> {
        match (self, patch) {
            (Self::BeforeLlm(call), Patch::Llm(patch)) => call.apply(patch),
            (Self::AfterLlm(answer), Patch::Answer(text)) => {
                answer.text = text;
                Ok(())
            }
            (Self::BeforeTool(call), Patch::Args(args)) => {
                call.args = args;
                Ok(())
            }
            (Self::AfterTool(outcome), Patch::Outcome(patch)) => {
                outcome.apply(patch);
                Ok(())
            }
            (event, _) => Err(Error::Invalid(format!("the patch is none for {}", event.point()))),
        }
    }
}

impl LlmCall {
    fn apply(&mut self, patch: LlmPatch) -> Result<()> {
        for PartPatch { index, text } in &patch.parts {
            let part = usize::try_from(*index).ok().and_then(|index| self.parts.get(index));
            let part = part.ok_or_else(|| {
                Error::Invalid(format!("the patch names part {index}; there are {}", self.parts.len()))
            })?;
            if part.kind == Kind::ToolUse && is_object(&part.text) && !is_object(text) {
                return Err(Error::Invalid(format!("the patch makes part {index} arguments that are no JSON object")));
            }
        }
        if let Some(system) = patch.system {
            self.system = Some(system);
        }
        for PartPatch { index, text } in patch.parts {
            if let Some(part) = usize::try_from(index).ok().and_then(|index| self.parts.get_mut(index)) {
                part.text = text;
            }
        }
        Ok(())
    }
}

fn is_object(text: &str) -> bool {
    serde_json::from_str::<Map<String, Value>>(text).is_ok()
}

impl ToolOutcome {
    fn apply(&mut self, patch: OutcomePatch) {
        let OutcomePatch { text, structured, is_error } = patch;
        if text.is_some() || structured.is_some() {
            self.structured = structured;
        }
        if let Some(text) = text {
            self.text = text;
        }
        if let Some(is_error) = is_error {
            self.is_error = is_error;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::hook::{Part, Role, TurnEnd};

    fn call() -> HookEvent {
        let part = |kind, text: &str| Part { message: 0, role: Role::User, kind, text: text.into() };
        HookEvent::BeforeLlm(LlmCall {
            work_id: "w".into(),
            caller: "assistant".into(),
            number: 1,
            model: "default".into(),
            system: None,
            parts: vec![part(Kind::Text, "hello"), part(Kind::ToolUse, r#"{"a":1}"#), part(Kind::ToolUse, "{bro")],
            tools: Vec::new(),
        })
    }

    fn parts(patches: &[(u32, &str)]) -> Patch {
        let parts = patches.iter().map(|(index, text)| PartPatch { index: *index, text: (*text).into() });
        Patch::Llm(LlmPatch { system: None, parts: parts.collect() })
    }

    fn outcome() -> HookEvent {
        HookEvent::AfterTool(ToolOutcome {
            work_id: "w".into(),
            caller: "assistant".into(),
            depth: 1,
            tool: "fs.read".into(),
            args: Map::new(),
            text: "secret".into(),
            structured: Some(json!({ "key": "secret" })),
            is_error: false,
            elapsed_ms: 1,
        })
    }

    #[test]
    fn a_patch_that_does_not_fit_changes_nothing() {
        for patch in [
            parts(&[(0, "changed"), (3, "there is none")]),
            parts(&[(0, "changed"), (1, "no object")]),
            parts(&[(0, "changed"), (1, "[1]")]),
            parts(&[(u32::MAX, "far")]),
            Patch::Answer("x".into()),
            Patch::Args(Map::new()),
        ] {
            let mut event = call();
            assert!(matches!(event.apply(patch), Err(Error::Invalid(_))));
            assert_eq!(event, call());
        }
        let turn = TurnEnd { work_id: "w".into(), caller: "a".into(), turn: 1, text: String::new(), tool_calls: 0 };
        for patch in [parts(&[]), Patch::Answer("x".into()), Patch::Outcome(OutcomePatch::default())] {
            assert!(HookEvent::AfterTurn(turn.clone()).apply(patch).is_err());
        }
    }

    #[test]
    fn arguments_that_never_were_an_object_may_say_anything() {
        let mut event = call();
        event.apply(parts(&[(2, "less"), (1, "{}")])).unwrap();
        let HookEvent::BeforeLlm(call) = event else { panic!("it stays what it is") };
        assert_eq!((call.parts[1].text.as_str(), call.parts[2].text.as_str()), ("{}", "less"));
    }

    #[test]
    fn a_changed_text_takes_the_data_along() {
        let apply = |patch| {
            let mut event = outcome();
            event.apply(Patch::Outcome(patch)).unwrap();
            let HookEvent::AfterTool(outcome) = event else { panic!("it stays what it is") };
            (outcome.text, outcome.structured, outcome.is_error)
        };
        let text = |text: &str| Some(text.to_owned());
        let gone = apply(OutcomePatch { text: text("no"), ..OutcomePatch::default() });
        assert_eq!(gone, ("no".into(), None, false));
        let both = OutcomePatch { text: text("no"), structured: Some(json!(1)), is_error: Some(true) };
        assert_eq!(apply(both), ("no".into(), Some(json!(1)), true));
        let kept = apply(OutcomePatch { is_error: Some(true), ..OutcomePatch::default() });
        assert_eq!(kept, ("secret".into(), Some(json!({ "key": "secret" })), true));
    }
}
