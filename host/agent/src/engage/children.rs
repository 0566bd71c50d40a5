//! The tools by which a model gives work to others. On offer to a faculty that may spawn children.

use std::fmt::Write as _;

use animus_core::{
    Result,
    child::{Child, MAX_CHILDREN, MAX_WAIT_MS, NewChild},
    services::Principal,
    tool::{Annotations, Output, Tool},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::engine_tools::{parse, tool};
use crate::focus::Focus;

const SPAWN: &str = "spawn_child_work";
const AWAIT: &str = "await_child_work";
const CHECK: &str = "check_child_work";
const CANCEL: &str = "cancel_child_work";
/// How long a wait lasts that does not say it, in seconds.
const SECONDS: u64 = 300;

/// Their definitions, where `by` may spawn.
pub(super) fn definitions(by: &Principal) -> Vec<Tool> {
    let Some(grant) = &by.authority.effective().spawn_child else { return Vec::new() };
    let faculties: Vec<_> = grant.faculties.iter().map(ToString::to_string).collect();
    let ids = json!({
        "type": "array", "items": { "type": "string" }, "minItems": 1, "maxItems": MAX_CHILDREN,
        "description": "As spawn_child_work gave them.",
    });
    let seconds = MAX_WAIT_MS / 1_000;
    // What comes of it lies beyond this run.
    let looks = Annotations { read_only: true, idempotent: true, open_world: true, destructive: false };
    vec![
        tool(
            SPAWN,
            &format!(
                "Give a part of this task to another worker, a child, which does it by itself while you go on; at most {} in \
                 this run. Gives the child's id at once. The child knows nothing of this conversation but what the \
                 description says. Spawn all that can be done at the same time, then await them together.",
                grant.max
            ),
            json!({
                "faculty": { "type": "string", "description": format!("Who does it: {}.", faculties.join(", ")) },
                "description": { "type": "string", "description": "The whole task, with all that the child has to know." },
                "params": { "type": "object", "description": "Parameters, where the faculty takes some." },
                "priority": { "type": "integer", "description": "Greater is sooner; this task's own when absent, which is also the most." },
            }),
            &["faculty", "description"],
            Annotations { open_world: true, ..Annotations::default() },
        ),
        tool(
            AWAIT,
            "Wait until all of these children have ended, and get what each found.",
            json!({
                "work_item_ids": ids,
                "timeout_seconds": { "type": "integer", "minimum": 0, "maximum": seconds,
                    "description": format!("{SECONDS} when absent. After it, those that have not ended may be awaited again.") },
            }),
            &["work_item_ids"],
            looks,
        ),
        tool(
            CHECK,
            "See where these children stand, without waiting. To wait, use await_child_work instead of asking again.",
            json!({ "work_item_ids": ids }),
            &["work_item_ids"],
            looks,
        ),
        tool(
            CANCEL,
            "Have a child end that is no longer needed, and its own children with it.",
            json!({ "work_item_id": { "type": "string", "description": "As spawn_child_work gave it." } }),
            &["work_item_id"],
            Annotations { idempotent: true, destructive: true, open_world: true, read_only: false },
        ),
    ]
}

/// Whether it is the name of one of them.
pub(super) fn is_one(name: &str) -> bool {
    [SPAWN, AWAIT, CHECK, CANCEL].contains(&name)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Spawn {
    faculty: String,
    description: String,
    #[serde(default)]
    params: Map<String, Value>,
    priority: Option<i32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Await {
    work_item_ids: Vec<String>,
    timeout_seconds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Check {
    work_item_ids: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cancel {
    work_item_id: String,
}

/// Calls one of them; `None` when they are not on offer.
pub(super) async fn call(
    focus: &Focus,
    by: &Principal,
    name: &str,
    args: &Map<String, Value>,
) -> Option<Result<Output>> {
    by.authority.effective().spawn_child.as_ref()?;
    let text = match name {
        SPAWN => spawn(focus, by, args).await,
        AWAIT => wait(focus, by, args).await,
        CHECK => check(focus, by, args).await,
        _ => cancel(focus, by, args).await,
    };
    Some(text.map(|text| Output { text, ..Output::default() }))
}

async fn spawn(focus: &Focus, by: &Principal, args: &Map<String, Value>) -> Result<String> {
    let Spawn { faculty, description, params, priority } = parse(SPAWN, args)?;
    let new = NewChild { faculty, description, params: params.into(), priority, ..NewChild::default() };
    focus.spawn_child(by, new).await.map(|id| id.to_string())
}

async fn wait(focus: &Focus, by: &Principal, args: &Map<String, Value>) -> Result<String> {
    let Await { work_item_ids, timeout_seconds } = parse(AWAIT, args)?;
    let timeout_ms = timeout_seconds.unwrap_or(SECONDS).saturating_mul(1_000).min(MAX_WAIT_MS);
    focus.await_children(by, work_item_ids, timeout_ms).await.map(|children| readable(&children))
}

async fn check(focus: &Focus, by: &Principal, args: &Map<String, Value>) -> Result<String> {
    let Check { work_item_ids } = parse(CHECK, args)?;
    focus.check_children(by, work_item_ids).await.map(|children| readable(&children))
}

async fn cancel(focus: &Focus, by: &Principal, args: &Map<String, Value>) -> Result<String> {
    let Cancel { work_item_id } = parse(CANCEL, args)?;
    let id = work_item_id.clone();
    focus.cancel_child(by, work_item_id).await.map(|()| format!("the child {id} is to end"))
}

/// What the model reads of children. Their words are a worker's report, not an instruction.
fn readable(children: &[Child]) -> String {
    let mut text = String::new();
    for child in children {
        let gap = if text.is_empty() { "" } else { "\n\n" };
        let done = if child.success { "; the work is done" } else { "" };
        let _ = write!(text, "{gap}[child {} of {}: {}{done}]", child.id, child.faculty, child.state);
        if !child.summary.is_empty() {
            let _ = write!(text, "\n{}", child.summary);
        }
        if let Some(error) = &child.error {
            let _ = write!(text, "\n[error] {error}");
        }
        if let Some(data) = &child.data {
            let _ = write!(text, "\n[data] {data}");
        }
        if !child.ledger.is_empty() {
            let _ = write!(text, "\n[ledger]\n{}", child.ledger.trim_end());
        }
        if child.cut {
            text.push_str("\n[cut: the rest is too long to be shown here]");
        }
    }
    text
}
