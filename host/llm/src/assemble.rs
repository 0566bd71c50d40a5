//! The one assembler of answers. Whole answers and streamed ones, of every vendor, are built by the same calls.

use std::collections::BTreeMap;

use animus_core::llm::{Content, Stop, StreamEvent, ToolInput, ToolUse, Usage};
use serde_json::Value;

use crate::names::Names;

/// Where a part stands in the message: by rank, then by index. Vendors that number all parts use one rank.
pub(crate) type Slot = (u8, u64);

enum Part {
    Text(String),
    Tool { id: String, name: String, arguments: String, announced: bool },
    Opaque(Value),
}

/// An answer in the making.
pub(crate) struct Assembler<'a> {
    vendor: &'a str,
    names: &'a Names,
    /// How many messages precede the answer.
    turn: usize,
    parts: BTreeMap<Slot, Part>,
    usage: Option<Usage>,
    stop: Option<Stop>,
    ended: bool,
    events: Vec<StreamEvent>,
}

/// What an answer amounts to.
#[derive(Debug, PartialEq)]
pub(crate) struct Assembled {
    pub(crate) content: Vec<Content>,
    pub(crate) stop: Stop,
    /// None when the vendor counted nothing.
    pub(crate) usage: Option<Usage>,
}

impl<'a> Assembler<'a> {
    /// For an answer of `vendor` in a conversation of `turn` messages.
    pub(crate) fn new(vendor: &'a str, names: &'a Names, turn: usize) -> Self {
        Self { vendor, names, turn, parts: BTreeMap::new(), usage: None, stop: None, ended: false, events: Vec::new() }
    }

    /// More text.
    pub(crate) fn text(&mut self, slot: Slot, more: &str) {
        if let Part::Text(text) = self.parts.entry(slot).or_insert_with(|| Part::Text(String::new())) {
            text.push_str(more);
            if !more.is_empty() {
                self.events.push(StreamEvent::Text(more.to_owned()));
            }
        }
    }

    /// More of a tool call. Id and name count when they come for the first time; empty means "not said".
    pub(crate) fn tool(&mut self, slot: Slot, id: &str, name: &str, more_arguments: &str) {
        let taken = self
            .parts
            .iter()
            .any(|(other, part)| *other != slot && matches!(part, Part::Tool { id: known, .. } if known == id));
        let own_id = own_id(self.turn, slot);
        let part = self.parts.entry(slot).or_insert_with(|| Part::Tool {
            id: String::new(),
            name: String::new(),
            arguments: String::new(),
            announced: false,
        });
        let Part::Tool { id: known_id, name: known_name, arguments, announced } = part else { return };
        arguments.push_str(more_arguments);
        if known_id.is_empty() && !taken {
            id.clone_into(known_id);
        }
        if known_name.is_empty() {
            name.clone_into(known_name);
        }
        if !*announced && !known_name.is_empty() {
            *announced = true;
            if known_id.is_empty() {
                *known_id = own_id;
            }
            let name = self.names.full(known_name);
            self.events.push(StreamEvent::ToolStart { id: known_id.clone(), name });
        }
    }

    /// A vendor's own part, to be kept as it is.
    pub(crate) fn opaque(&mut self, slot: Slot, block: Value) {
        self.parts.insert(slot, Part::Opaque(block));
    }

    /// The vendor's own part at `slot`, to be changed in place; made if there is none.
    pub(crate) fn opaque_mut(&mut self, slot: Slot) -> Option<&mut serde_json::Map<String, Value>> {
        match self.parts.entry(slot).or_insert_with(|| Part::Opaque(Value::Object(serde_json::Map::new()))) {
            Part::Opaque(Value::Object(block)) => Some(block),
            _ => None,
        }
    }

    /// More text for a field of the vendor's own part at `slot`.
    pub(crate) fn opaque_text(&mut self, slot: Slot, field: &str, more: &str) {
        if more.is_empty() {
            return;
        }
        let Some(block) = self.opaque_mut(slot) else { return };
        match block.get_mut(field) {
            Some(Value::String(text)) => text.push_str(more),
            _ => {
                block.insert(field.to_owned(), more.into());
            }
        }
    }

    /// What the vendor has counted so far.
    pub(crate) fn usage(&mut self, usage: Usage) {
        self.usage = Some(usage);
    }

    /// Why the model stopped.
    pub(crate) fn stop(&mut self, stop: Stop) {
        self.stop = Some(stop);
    }

    /// Whether the vendor has said why the model stopped.
    pub(crate) fn has_stopped(&self) -> bool {
        self.stop.is_some()
    }

    /// The vendor says that this was all.
    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    /// Whether the vendor has said that this was all.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// What happened since the last call.
    pub(crate) fn drain(&mut self) -> Vec<StreamEvent> {
        std::mem::take(&mut self.events)
    }

    /// The answer; none when the vendor never said that this was all, because half an answer is no answer.
    pub(crate) fn finish(self) -> Option<Assembled> {
        let (true, Some(stop)) = (self.ended, self.stop) else { return None };
        let content: Vec<Content> = self
            .parts
            .into_iter()
            .filter_map(|(slot, part)| match part {
                Part::Text(text) => (!text.is_empty()).then_some(Content::Text { text }),
                Part::Opaque(block) => Some(Content::Opaque { vendor: self.vendor.to_owned(), block }),
                Part::Tool { id, name, arguments, .. } => {
                    let id = if id.is_empty() { own_id(self.turn, slot) } else { id };
                    let name = self.names.full(&name);
                    Some(Content::ToolUse(ToolUse { id, name, input: input(arguments) }))
                }
            })
            .collect();
        let asks = content.iter().any(|part| matches!(part, Content::ToolUse(_)));
        // Vendors disagree with themselves here: some say "stop" although they call tools.
        let stop = match stop {
            Stop::EndTurn if asks => Stop::ToolUse,
            Stop::ToolUse if !asks => Stop::EndTurn,
            stop => stop,
        };
        Some(Assembled { content, stop, usage: self.usage })
    }
}

/// The id of a call that came without one: unique within the conversation, and the same on every replay.
fn own_id(turn: usize, (_, index): Slot) -> String {
    format!("call_{turn}_{index}")
}

/// Reads arguments. None at all means `{}`.
fn input(arguments: String) -> ToolInput {
    if matches!(arguments.trim(), "" | "null") {
        return ToolInput::Object(serde_json::Map::new());
    }
    match serde_json::from_str::<serde_json::Map<String, Value>>(&arguments) {
        Ok(object) => ToolInput::Object(object),
        Err(_) => ToolInput::Malformed { malformed_json: arguments },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tool_uses(feed: impl FnOnce(&mut Assembler<'_>)) -> Vec<ToolUse> {
        let names = Names::default();
        let mut assembler = Assembler::new("test", &names, 7);
        feed(&mut assembler);
        assembler.stop(Stop::ToolUse);
        assembler.end();
        let content = assembler.finish().unwrap().content;
        content
            .into_iter()
            .filter_map(|part| if let Content::ToolUse(tool) = part { Some(tool) } else { None })
            .collect()
    }

    #[test]
    fn cut_off_arguments_are_malformed_and_absent_ones_are_an_empty_object() {
        let tools = tool_uses(|a| {
            a.tool((0, 0), "a", "t", "{\"path\": \"/et");
            a.tool((0, 1), "b", "t", "");
            a.tool((0, 2), "c", "t", "[1]");
            a.tool((0, 3), "d", "t", "{\"x\": 1}");
        });
        let inputs: Vec<_> = tools.iter().map(|tool| serde_json::to_value(&tool.input).unwrap()).collect();
        assert_eq!(
            inputs,
            [
                json!({"malformed_json": "{\"path\": \"/et"}),
                json!({}),
                json!({"malformed_json": "[1]"}),
                json!({"x": 1})
            ]
        );
    }

    #[test]
    fn calls_without_an_id_or_with_a_doubled_one_get_distinct_ids() {
        let tools = tool_uses(|a| {
            a.tool((0, 0), "same", "t", "");
            a.tool((0, 1), "same", "t", "");
            a.tool((0, 2), "", "t", "");
        });
        let ids: Vec<_> = tools.iter().map(|tool| tool.id.as_str()).collect();
        assert_eq!(ids, ["same", "call_7_1", "call_7_2"]);
    }

    #[test]
    fn an_answer_that_never_ended_is_no_answer() {
        let names = Names::default();
        let mut assembler = Assembler::new("test", &names, 0);
        assembler.text((0, 0), "all there is");
        assembler.stop(Stop::EndTurn);
        assert_eq!(assembler.finish(), None);
    }
}
