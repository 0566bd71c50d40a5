//! Command hooks: what their `HOOK.md` says, what they read and what they answer. Starting them is the command line's.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{HookEvent, LlmPatch, OutcomePatch, PRIORITY, Patch, Point, Settings, TIMEOUT_MS, TIMEOUTS_MS, Verdict};
use crate::{
    Error, Result,
    id::is_name,
    skill::frontmatter::{self, Map as Front, Value as Field},
};

/// The longest event that a command reads, in bytes.
pub const MAX_STDIN: usize = 128 << 10;
/// The longest answer that is read from a command, in bytes.
pub const MAX_STDOUT: usize = 64 << 10;
/// The longest `HOOK.md`, in bytes.
pub const MAX_BYTES: usize = 64 << 10;
/// The longest command, in bytes.
const MAX_COMMAND: usize = 4 << 10;
/// The longest description, in bytes.
const MAX_DESCRIPTION: usize = 1_000;
/// The name of the file.
pub const FILE: &str = "HOOK.md";

/// A checked `HOOK.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookFile {
    /// The name of its folder.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// What `sh -c` runs.
    pub command: String,
    /// How it is run.
    pub settings: Settings,
    /// Whether it makes do with a part of an event that is too large to be read whole.
    pub partial: bool,
}

impl HookFile {
    /// Parses the text of the `HOOK.md` in the folder `folder`. A time beyond the bounds is brought within them.
    ///
    /// # Errors
    /// [`Error::Invalid`] that lists every problem with its line.
    pub fn parse(text: &str, folder: &str) -> Result<Self> {
        if text.len() > MAX_BYTES {
            return Err(Error::Invalid(format!("{FILE} has {} bytes, over the limit of {MAX_BYTES}", text.len())));
        }
        frontmatter::read(FILE, text, |map| file(map, folder))
    }
}

fn file(mut map: Front<'_>, folder: &str) -> Option<HookFile> {
    let name = map.need("name").and_then(|value| {
        let name = value.text()?;
        let why = if name != folder {
            Err(format!("is '{name}' in a folder '{folder}'; give both the same name"))
        } else if !is_name(name) {
            Err("is not a-z, then a-z, 0-9 and '-', at most 64 bytes".to_owned())
        } else {
            Ok(name.to_owned())
        };
        value.accept(why)
    });
    let description = map.need("description").and_then(|value| short(&value, MAX_DESCRIPTION));
    let command = map.need("command").and_then(|value| short(&value, MAX_COMMAND));
    let events = map.need("events").and_then(|value| {
        let events = value.set(Field::parse);
        value.accept((!events.is_empty()).then_some(events).ok_or("is empty; name where it is run"))
    });
    let enabled = map.get("enabled").map_or(Some(true), |value| value.flag());
    let timeout_ms = map.get("timeout-ms").map_or(Some(TIMEOUT_MS), |value| value.count().map(u64::from));
    let priority = map.get("priority").map_or(Some(PRIORITY), |value| value.parse());
    let partial = map.get("partial").map_or(Some(false), |value| value.flag());
    let on_failure = map.get("on-failure").map_or(Some(Settings::default().on_failure), |value| value.parse());
    Some(HookFile {
        name: name?,
        description: description?,
        command: command?,
        settings: Settings {
            priority: priority?,
            timeout_ms: timeout_ms?.clamp(*TIMEOUTS_MS.start(), *TIMEOUTS_MS.end()),
            on_failure: on_failure?,
            events: events?,
            enabled: enabled?,
        },
        partial: partial?,
    })
}

fn short(value: &Field<'_>, longest: usize) -> Option<String> {
    let text = value.text()?;
    let fits = !text.trim().is_empty() && text.len() <= longest && !text.contains('\0');
    value.accept(fits.then(|| text.to_owned()).ok_or_else(|| format!("should have 1 to {longest} bytes")))
}

/// What a command reads: the event as one JSON object, of at most [`MAX_STDIN`] bytes. What is larger it does not see, so
/// that its silence would approve what it was not shown: that is an error, unless the command makes do with a part. Then,
/// of a longer conversation the oldest parts are left out; each part carries its `index`, and `left_out` says how many are
/// missing. A tool's answer that is longer is cut, without its data, and says so in `cut`.
///
/// # Errors
/// [`Error::Invalid`] for an event that is too large.
pub fn input(event: &HookEvent, partial: bool) -> Result<Vec<u8>> {
    let mut value = serde_json::to_value(event).map_err(|e| Error::internal("cannot write the event", &e))?;
    let parts = value.get_mut("parts").and_then(Value::as_array_mut);
    for (index, part) in parts.into_iter().flatten().enumerate() {
        if let Some(part) = part.as_object_mut() {
            part.insert("index".into(), json!(index));
        }
    }
    let mut json = write(&value)?;
    if json.len() > MAX_STDIN && partial {
        if let Some(object) = value.as_object_mut() {
            shrink(object, json.len() - MAX_STDIN);
        }
        json = write(&value)?;
    }
    if json.len() > MAX_STDIN {
        return Err(Error::Invalid(format!(
            "the event has {} bytes; a command hook reads at most {MAX_STDIN}{}",
            json.len(),
            if partial { "" } else { ", or the rest of it with `partial: true` in its HOOK.md" },
        )));
    }
    Ok(json)
}

fn write(value: &Value) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| Error::internal("cannot write the event", &e))
}

/// Takes at least `excess` bytes of what is best left out.
fn shrink(event: &mut Map<String, Value>, excess: usize) {
    // The remark itself takes some bytes.
    const REMARK: usize = 64;
    let excess = excess.saturating_add(REMARK);
    if let Some(parts) = event.get_mut("parts").and_then(Value::as_array_mut) {
        let mut freed = 0_usize;
        let idle = parts.iter().take_while(|part| {
            let more = freed < excess;
            freed = freed.saturating_add(part.to_string().len());
            more
        });
        let idle = idle.count();
        parts.drain(..idle);
        event.insert("left_out".into(), json!(idle));
    } else if event.contains_key("structured") {
        let data = event.insert("structured".into(), Value::Null).map_or(0, |data| data.to_string().len());
        let excess = excess.saturating_sub(data);
        if let Some(Value::String(text)) = event.get_mut("text") {
            // A byte of text is at most six of JSON, so in the worst case more goes than had to.
            text.truncate(text.floor_char_boundary(text.len().saturating_sub(excess)));
        }
        event.insert("cut".into(), json!(true));
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reply {
    action: Action,
    #[serde(default)]
    reason: String,
    patch: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    #[serde(alias = "continue")]
    Allow,
    Block,
    Modify,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerPatch {
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ArgsPatch {
    args: Map<String, Value>,
}

/// What a command answered: nothing at all, or `{"action": "allow" | "block" | "modify", "reason"?, "patch"?}`. A patch is
/// `{system?, parts?: [{index, text}]}`, `{text}`, `{args}` or `{text?, structured?, is_error?}`, by the event.
///
/// # Errors
/// [`Error::Invalid`] for anything else.
pub fn verdict(point: Point, output: &[u8]) -> Result<Verdict> {
    if output.iter().all(u8::is_ascii_whitespace) {
        return Ok(Verdict::Continue);
    }
    let reply: Reply = serde_json::from_slice(output).map_err(|e| Error::Invalid(format!("its answer: {e}")))?;
    match (reply.action, reply.patch) {
        (Action::Block, None) => Ok(Verdict::Block(reply.reason)),
        (Action::Allow, None) => Ok(Verdict::Continue),
        (Action::Modify, Some(patch)) => patch_of(point, patch).map(Verdict::Modify),
        (Action::Modify, None) => Err(Error::Invalid("its answer: modify needs a patch".into())),
        (_, Some(_)) => Err(Error::Invalid("its answer: a patch has an effect only with modify".into())),
    }
}

fn patch_of(point: Point, patch: Value) -> Result<Patch> {
    let patch = match point {
        Point::BeforeLlmCall => LlmPatch::deserialize(patch).map(Patch::Llm),
        Point::AfterLlmCall => AnswerPatch::deserialize(patch).map(|patch| Patch::Answer(patch.text)),
        Point::BeforeToolCall => ArgsPatch::deserialize(patch).map(|patch| Patch::Args(patch.args)),
        Point::AfterToolCall => OutcomePatch::deserialize(patch).map(Patch::Outcome),
        Point::AfterTurn => return Err(Error::Invalid("its answer: there is nothing to modify after a turn".into())),
    };
    patch.map_err(|e| Error::Invalid(format!("its patch: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hook::{Kind, LlmCall, OnFailure, Part, Role, ToolCall, ToolOutcome};

    const GOOD: &str = "---\nname: notify\ndescription: tells the team\nevents: [after-turn, before-tool-call]\n\
                        command: ./run.sh\ntimeout-ms: 999999\npriority: -5\n---\nProse.\n";

    #[test]
    fn a_hook_file_says_when_and_how_it_is_run() {
        let file = HookFile::parse(GOOD, "notify").unwrap();
        assert_eq!(file.command, "./run.sh");
        let expected = Settings {
            priority: -5,
            timeout_ms: 120_000,
            events: [Point::AfterTurn, Point::BeforeToolCall].into(),
            ..Settings::default()
        };
        assert_eq!((file.settings, file.partial), (expected, false));
        assert!(HookFile::parse(&GOOD.replace("priority: -5", "partial: true"), "notify").unwrap().partial);
        let open = GOOD.replace("priority: -5", "on-failure: open\nenabled: false");
        let settings = HookFile::parse(&open, "notify").unwrap().settings;
        assert_eq!((settings.on_failure, settings.enabled, settings.priority), (OnFailure::Open, false, PRIORITY));
    }

    #[test]
    fn all_problems_of_a_hook_file_are_told_at_once() {
        let bad = GOOD
            .replace("name: notify", "name: other")
            .replace("after-turn", "after-life")
            .replace("command: ./run.sh", "comand: x");
        let said = HookFile::parse(&bad, "notify").unwrap_err().to_string();
        for part in ["in a folder 'notify'", "'after-life' is none of", "comand", "command"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(HookFile::parse(&"x".repeat(MAX_BYTES + 1), "notify").is_err());
        assert!(HookFile::parse(&GOOD.replace("[after-turn, before-tool-call]", "[]"), "notify").is_err());
    }

    fn conversation(parts: usize, size: usize) -> HookEvent {
        let text = "x".repeat(size);
        let part = |n| Part { message: n, role: Role::User, kind: Kind::Text, text: text.clone() };
        HookEvent::BeforeLlm(LlmCall {
            work_id: "w".into(),
            caller: "assistant".into(),
            number: 1,
            model: "default".into(),
            system: None,
            parts: (0..u32::try_from(parts).unwrap()).map(part).collect(),
            tools: Vec::new(),
        })
    }

    #[test]
    fn a_long_conversation_is_shown_from_its_end_and_keeps_its_places() {
        let json: Value = serde_json::from_slice(&input(&conversation(2, 5), false).unwrap()).unwrap();
        assert_eq!((&json["event"], &json["parts"][1]["index"]), (&json!("before-llm-call"), &json!(1)));
        assert!(json.get("left_out").is_none());

        let bytes = input(&conversation(300, 1_000), true).unwrap();
        assert!(bytes.len() <= MAX_STDIN && bytes.len() > MAX_STDIN - 4_000, "{}", bytes.len());
        let json: Value = serde_json::from_slice(&bytes).unwrap();
        let parts = json["parts"].as_array().unwrap();
        let left_out = json["left_out"].as_u64().unwrap();
        assert_eq!(left_out + parts.len() as u64, 300);
        assert_eq!((&parts[0]["index"], &parts.last().unwrap()["index"]), (&json!(left_out), &json!(299)));
    }

    #[test]
    fn a_long_answer_is_cut_and_says_so_and_long_arguments_are_refused() {
        let outcome = |text: String, structured| {
            let (work_id, caller, tool) = ("w".to_owned(), "assistant".to_owned(), "fs.read".to_owned());
            let (args, is_error, elapsed_ms) = (Map::new(), false, 0);
            HookEvent::AfterTool(ToolOutcome {
                work_id,
                caller,
                depth: 1,
                tool,
                args,
                text,
                structured,
                is_error,
                elapsed_ms,
            })
        };
        for (text, data) in [("ä".repeat(200_000), None), ("short".into(), Some(json!("y".repeat(200_000))))] {
            let event = outcome(text, data);
            assert!(matches!(input(&event, false), Err(Error::Invalid(why)) if why.contains("partial: true")));
            let bytes = input(&event, true).unwrap();
            let json: Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!((&json["cut"], &json["structured"]), (&json!(true), &Value::Null));
            assert!(bytes.len() <= MAX_STDIN);
        }
        let args = json!({ "a": "x".repeat(MAX_STDIN) }).as_object().unwrap().clone();
        let call = ToolCall {
            work_id: "w".into(),
            caller: "assistant".into(),
            depth: 1,
            tool: "fs.write".into(),
            args,
            calls: 0,
            calls_last_minute: 0,
        };
        for partial in [true, false] {
            assert!(matches!(input(&HookEvent::BeforeTool(call.clone()), partial), Err(Error::Invalid(_))));
        }
    }

    #[test]
    fn what_a_command_cannot_be_shown_whole_is_a_failure_unless_it_makes_do_with_a_part() {
        let long = conversation(300, 1_000);
        let why = input(&long, false).unwrap_err();
        assert!(matches!(&why, Error::Invalid(why) if why.contains("partial: true")), "{why}");
        assert!(input(&conversation(100, 1_000), false).is_ok());
    }

    #[test]
    fn answers_are_read_strictly() {
        let read = |point, text: &str| verdict(point, text.as_bytes());
        assert_eq!(read(Point::AfterTurn, " \n"), Ok(Verdict::Continue));
        assert_eq!(read(Point::AfterTurn, r#"{"action":"allow"}"#), Ok(Verdict::Continue));
        let block = r#"{"action":"block","reason":"no"}"#;
        assert_eq!(read(Point::BeforeToolCall, block), Ok(Verdict::Block("no".into())));
        let patch = r#"{"action":"modify","patch":{"args":{"a":1}}}"#;
        let args = json!({ "a": 1 }).as_object().unwrap().clone();
        assert_eq!(read(Point::BeforeToolCall, patch), Ok(Verdict::Modify(Patch::Args(args))));
        for (point, text) in [
            (Point::BeforeToolCall, r#"{"action":"grant"}"#),
            (Point::BeforeToolCall, r#"{"action":"modify"}"#),
            (Point::BeforeToolCall, r#"{"action":"modify","patch":{"tool":"fs.write"}}"#),
            (Point::BeforeToolCall, r#"{"action":"modify","patch":{"args":[1]}}"#),
            (Point::BeforeToolCall, r#"{"action":"allow","patch":{"args":{}}}"#),
            (Point::AfterLlmCall, patch),
            (Point::AfterTurn, r#"{"action":"modify","patch":{}}"#),
            (Point::AfterTurn, "yes"),
            (Point::AfterTurn, r#"{"action":"allow"} trailing"#),
        ] {
            assert!(matches!(read(point, text), Err(Error::Invalid(_))), "{text}");
        }
    }
}
