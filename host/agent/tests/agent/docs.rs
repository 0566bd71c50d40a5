//! The documentation's table of events is the code's.

use animus_core::{
    Error,
    budget::{Allowance, Budget},
    event::{Compaction, Event, HookAction, Reload},
    hook::Point,
    id::{FocusId, WorkId},
    ledger::{Entry, EntryType},
    llm::{Stop, Usage},
    work::State,
};
use serde_json::{Value, json};

const PAGE: &str = include_str!("../../../../docs/engage-loop.md");

/// One event of every kind, with every optional field.
fn every_event() -> Vec<Event> {
    let standing = Budget::new("run", Allowance::default()).standing();
    let text = String::new;
    let events = vec![
        Event::Started { work: WorkId::new(), focus: FocusId::new(), faculty: text() },
        Event::Token { text: text() },
        Event::Retry { reason: text(), wait_ms: 0 },
        Event::Message { turn: 1, text: text(), stop: Stop::EndTurn, model: text() },
        Event::ToolStart { id: text(), tool: text(), args: json!({}) },
        Event::ToolEnd {
            id: text(),
            tool: text(),
            text: text(),
            bytes: 0,
            is_error: true,
            error: Some(Error::Cancelled),
            elapsed_ms: 0,
        },
        Event::Ledger { entry: Entry { seq: 1, entry_type: EntryType::Note, content: text(), created_ms: 0 } },
        Event::ChildSpawned { child: WorkId::new(), faculty: text(), description: text() },
        Event::ChildFinished {
            child: WorkId::new(),
            faculty: text(),
            state: State::Completed,
            tokens: 0,
            cost_microusd: 0,
        },
        Event::Compacted { trigger: Compaction::Step, before: 2, after: 1, summarised: false },
        Event::Usage { usage: Usage::default(), cost_microusd: None },
        Event::Budget { percent: 50, standing },
        Event::Notice { text: text() },
        Event::Hook {
            hook: text(),
            point: Point::AfterTurn,
            subject: text(),
            action: HookAction::Blocked,
            reason: Some(text()),
        },
        Event::Log { plugin: text(), line: text() },
        Event::Reload { plugin: Some(text()), generation: Some(1), kind: Reload::Serving, text: text() },
        Event::Done {
            success: true,
            ending: Some(text()),
            summary: text(),
            data: Some(Value::Null),
            error: Some(Error::Cancelled),
            standing,
        },
    ];
    // A new kind does not compile until it is listed above and counted here.
    let kinds = events
        .iter()
        .map(|event| match event {
            Event::Started { .. } => 0,
            Event::Token { .. } => 1,
            Event::Retry { .. } => 2,
            Event::Message { .. } => 3,
            Event::ToolStart { .. } => 4,
            Event::ToolEnd { .. } => 5,
            Event::Ledger { .. } => 6,
            Event::ChildSpawned { .. } => 7,
            Event::ChildFinished { .. } => 8,
            Event::Compacted { .. } => 9,
            Event::Usage { .. } => 10,
            Event::Budget { .. } => 11,
            Event::Notice { .. } => 12,
            Event::Hook { .. } => 13,
            Event::Log { .. } => 14,
            Event::Reload { .. } => 15,
            Event::Done { .. } => 16,
        })
        .collect::<Vec<_>>();
    assert_eq!(kinds, (0..17).collect::<Vec<_>>());
    events
}

#[test]
fn the_documented_events_are_those_of_the_code_field_by_field() {
    let rows: Vec<_> =
        PAGE.lines().skip_while(|line| *line != "## Events").filter(|line| line.starts_with("| `")).collect();
    // The heading of the table has the form of a row.
    assert_eq!(rows.len(), every_event().len() + 1, "every row is an event of the code");
    for event in every_event() {
        let Value::Object(fields) = serde_json::to_value(&event).unwrap() else { panic!("an object") };
        let kind = fields["type"].as_str().unwrap();
        let row = rows.iter().find(|line| line.starts_with(&format!("| `{kind}` |")));
        let row = row.unwrap_or_else(|| panic!("docs/engage-loop.md has no row for the event '{kind}'"));
        let named = row.split('|').nth(2).unwrap();
        let documented: Vec<_> = named.split('`').skip(1).step_by(2).collect();
        let real: Vec<_> = fields.keys().map(String::as_str).filter(|field| *field != "type").collect();
        assert_eq!(documented, real, "the fields of '{kind}'");
    }
}

#[test]
fn the_documented_endings_are_those_of_the_code() {
    use animus_core::services::Ending::{Blocked, Budget, Cancelled, ContextFull, Done, MaxTurns, Repetition};
    for ending in [Done, MaxTurns, Budget, ContextFull, Repetition, Cancelled, Blocked] {
        assert!(PAGE.contains(&format!("| `{}` |", ending.as_str())), "{ending:?}");
    }
}
