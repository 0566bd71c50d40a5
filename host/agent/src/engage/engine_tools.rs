//! The tools that the host itself offers in every engage loop.

use std::fmt::Write as _;

use animus_core::{
    Error, Result,
    ledger::{EntryType, Filter},
    services::{Principal, Services as _},
    tool::{Annotations, Output, Tool},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use super::{children, execute_code, pages::LARGEST_PAGE, skills};
use crate::focus::Focus;

/// Their definitions, as `by` has them.
pub(super) fn definitions(focus: &Focus, by: &Principal) -> Vec<Tool> {
    let given = execute_code::definition(focus, by).into_iter().chain(children::definitions(by));
    own().into_iter().chain(given).chain(skills::definitions(focus)).collect()
}

/// What changes nothing.
pub(super) const READS: Annotations =
    Annotations { read_only: true, idempotent: true, destructive: false, open_world: false };

/// A tool of the host's own, which takes no arguments but those in `properties`.
pub(super) fn tool(
    name: &str,
    description: &str,
    properties: Value,
    required: &[&str],
    annotations: Annotations,
) -> Tool {
    Tool {
        name: name.to_owned(),
        description: description.to_owned(),
        input_schema: json!({
            "type": "object", "properties": properties, "required": required, "additionalProperties": false,
        }),
        output_schema: None,
        annotations,
    }
}

/// Those that need no grant: they reach nothing but the work item itself.
fn own() -> [Tool; 3] {
    let types: Vec<_> = EntryType::ALL.iter().map(|t| t.as_str()).collect();
    [
        tool(
            "ledger_append",
            "Append an entry to the ledger of this task, its lasting record.",
            json!({
                "entry_type": { "type": "string", "enum": types },
                "content": { "type": "string", "description": "One fact, at most 64 KiB." },
            }),
            &["entry_type", "content"],
            Annotations::default(),
        ),
        tool(
            "ledger_read",
            "Read the ledger of this task, one line an entry: [number] type: content.",
            json!({
                "entry_type": { "type": "string", "enum": types, "description": "Only this type." },
                "last_n": { "type": "integer", "minimum": 1, "description": "Only the last so many." },
            }),
            &[],
            READS,
        ),
        tool(
            "read_result",
            "Read on in a tool result that was cut or dropped.",
            json!({
                "id": { "type": "string", "description": "As the cut result names it, such as r1." },
                "offset": { "type": "integer", "minimum": 0, "description": "The first byte; 0 when absent." },
                "limit": { "type": "integer", "minimum": 4, "maximum": LARGEST_PAGE, "description": "Bytes; 16000 when absent." },
            }),
            &["id"],
            READS,
        ),
    ]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Append {
    entry_type: EntryType,
    content: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    entry_type: Option<EntryType>,
    last_n: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    id: String,
    #[serde(default)]
    offset: usize,
    limit: Option<usize>,
}

/// Calls one of them; `None` when `name` is none of them.
pub(super) async fn call(
    focus: &Focus,
    by: &Principal,
    name: &str,
    args: &Map<String, Value>,
) -> Option<Result<Output>> {
    let text = match name {
        "ledger_append" => append(focus, by, args).await,
        "ledger_read" => read(focus, by, args).await,
        "read_result" => parse::<Page>(name, args)
            .and_then(|page| focus.pages().read(&page.id, page.offset, page.limit.unwrap_or(LARGEST_PAGE))),
        execute_code::NAME => return execute_code::call(focus, by, args).await,
        _ if children::is_one(name) => return children::call(focus, by, name, args).await,
        _ => return skills::call(focus, by, name, args).await,
    };
    Some(text.map(|text| Output { text, ..Output::default() }))
}

async fn append(focus: &Focus, by: &Principal, args: &Map<String, Value>) -> Result<String> {
    let Append { entry_type, content } = parse("ledger_append", args)?;
    let entry = focus.append(by, entry_type, content).await?;
    Ok(format!("appended as entry {}", entry.seq))
}

async fn read(focus: &Focus, by: &Principal, args: &Map<String, Value>) -> Result<String> {
    let Read { entry_type, last_n } = parse("ledger_read", args)?;
    let entries = focus.ledger_read(by, Filter { entry_type, last_n }).await?;
    let mut text = String::new();
    for entry in &entries {
        let _ = writeln!(text, "[{}] {}: {}", entry.seq, entry.entry_type, entry.content);
    }
    Ok(if text.is_empty() { "no entries".to_owned() } else { text })
}

pub(super) fn parse<T: DeserializeOwned>(tool: &str, args: &Map<String, Value>) -> Result<T> {
    T::deserialize(args).map_err(|error| Error::Invalid(format!("the arguments of '{tool}' do not fit: {error}")))
}
