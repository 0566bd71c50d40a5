//! A hook that takes secrets and personal data out of what models read: what is sent to them, and what tools answer.
//!
//! It looks for what can be told by its form: a vendor's prefix, a checksum, a pair of fences. The same text always becomes
//! the same text, so that vendors' caches keep working.

mod find;

use animus_sdk::{
    config,
    hook::{Hook, LlmCall, LlmPatch, OutcomePatch, PartPatch, ToolOutcome, Verdict},
    prelude::*,
};
use find::{Class, Finder};

struct Redact;

impl Hook for Redact {
    fn before_llm_call(call: LlmCall) -> Result<Verdict<LlmPatch>> {
        let finder = finder()?;
        let system = call.system.and_then(|system| finder.redacted(&system));
        let mut parts = Vec::new();
        for (index, part) in (0..).zip(&call.parts) {
            let text = match part.kind {
                // Arguments stay an object.
                animus_sdk::hook::Kind::ToolUse => data(&finder, &part.text),
                _ => finder.redacted(&part.text),
            };
            parts.extend(text.map(|text| PartPatch { index, text }));
        }
        let changed = system.is_some() || !parts.is_empty();
        Ok(Verdict::modify(changed.then_some(LlmPatch { system, parts })))
    }

    fn after_tool_call(outcome: ToolOutcome) -> Result<Verdict<OutcomePatch>> {
        let finder = finder()?;
        let text = finder.redacted(&outcome.text);
        let clean = outcome.structured.as_ref().and_then(|data| value(&finder, data));
        if text.is_none() && clean.is_none() {
            return Ok(Verdict::Continue);
        }
        let structured = clean.or(outcome.structured);
        Ok(Verdict::Modify(OutcomePatch { text, structured, is_error: None }))
    }
}

/// What the configuration says is looked for.
fn finder() -> Result<Finder> {
    let classes = match config::get("classes")? {
        None => Class::DEFAULT.to_vec(),
        Some(text) => text
            .split([',', ' ', '\n'])
            .filter(|word| !word.is_empty())
            .map(|word| Class::parse(word).ok_or_else(|| Error::invalid(format!("'{word}' is none of the classes"))))
            .collect::<Result<_>>()?,
    };
    Finder::new(classes, config::get("extra")?.as_deref().unwrap_or_default())
}

/// JSON text without what its texts hide; none when nothing is hidden.
fn data(finder: &Finder, json: &str) -> Option<String> {
    match serde_json::from_str::<Value>(json) {
        Ok(parsed) => value(finder, &parsed).map(|value| value.to_string()),
        Err(_) => finder.redacted(json),
    }
}

/// The same with all texts of a value, keys included.
fn value(finder: &Finder, value: &Value) -> Option<Value> {
    let mut value = value.clone();
    clean(finder, &mut value).then_some(value)
}

fn clean(finder: &Finder, value: &mut Value) -> bool {
    match value {
        Value::String(text) => match finder.redacted(text) {
            Some(clean) => {
                *text = clean;
                true
            }
            None => false,
        },
        Value::Array(items) => items.iter_mut().fold(false, |changed, item| clean(finder, item) | changed),
        Value::Object(object) => {
            let dirty = object.keys().any(|key| finder.redacted(key).is_some());
            if dirty {
                let members = std::mem::take(object).into_iter();
                *object = members.map(|(key, value)| (finder.redacted(&key).unwrap_or(key), value)).collect();
            }
            object.values_mut().fold(dirty, |changed, member| clean(finder, member) | changed)
        }
        // A number can be a card's.
        Value::Number(number) => match finder.redacted(&number.to_string()) {
            Some(text) => {
                *value = Value::String(text);
                true
            }
            None => false,
        },
        Value::Bool(_) | Value::Null => false,
    }
}

export_hook!(Redact);

#[cfg(test)]
mod tests {
    use animus_sdk::{
        hook::{Kind, Part, Role},
        testing::FakeHost,
    };

    use super::*;

    const KEY: &str = concat!("gh", "p_0123456789abcdefghijABCDEFGHIJ012345");

    #[test]
    fn everything_that_a_model_is_sent_is_looked_through() {
        let _host = FakeHost::new().start();
        let mut call = LlmCall::of(["hello", &format!("the key is {KEY}.")]);
        call.system = Some(format!("use {KEY}"));
        let text = json!({ "header": KEY, "n": 1 }).to_string();
        call.parts.push(Part { message: 2, role: Role::Assistant, kind: Kind::ToolUse, text });
        let Ok(Verdict::Modify(patch)) = Redact::before_llm_call(call) else { panic!("nothing found") };
        assert_eq!(patch.system.as_deref(), Some("use [redacted:api-key]"));
        let parts: Vec<_> = patch.parts.iter().map(|part| (part.index, part.text.as_str())).collect();
        assert_eq!(parts, [(1, "the key is [redacted:api-key]."), (2, r#"{"header":"[redacted:api-key]","n":1}"#)]);
        assert_eq!(Redact::before_llm_call(LlmCall::of(["hello"])), Ok(Verdict::Continue));
    }

    #[test]
    fn an_answer_is_cleaned_with_its_data() {
        let _host = FakeHost::new().start();
        let mut outcome = ToolOutcome::of("fs.read_file", "ada@example.org");
        outcome.structured =
            Some(json!({ "from": ["ada@example.org"], "ada@example.org": true, "card": 4111111111111111_u64 }));
        let Ok(Verdict::Modify(patch)) = Redact::after_tool_call(outcome.clone()) else { panic!("nothing found") };
        assert_eq!(patch.text.as_deref(), Some("[redacted:email]"));
        let clean = json!({ "from": ["[redacted:email]"], "[redacted:email]": true, "card": "[redacted:card]" });
        assert_eq!((patch.structured, patch.is_error), (Some(clean), None));
        outcome.text = "nothing".into();
        outcome.structured = None;
        assert_eq!(Redact::after_tool_call(outcome), Ok(Verdict::Continue));
    }

    #[test]
    fn the_configuration_says_what_is_looked_for() {
        let text = "ada@example.org from 10.1.2.3, ticket ABC-1234";
        let say = |host: FakeHost| {
            let _host = host.start();
            match Redact::after_tool_call(ToolOutcome::of("a.b", text)) {
                Ok(Verdict::Modify(patch)) => patch.text.unwrap(),
                Ok(_) => text.to_owned(),
                Err(error) => error.to_string(),
            }
        };
        assert_eq!(say(FakeHost::new()), "[redacted:email] from 10.1.2.3, ticket ABC-1234");
        assert_eq!(say(FakeHost::new().config("classes", "ip")), "ada@example.org from [redacted:ip], ticket ABC-1234");
        assert_eq!(say(FakeHost::new().config("classes", "")), text);
        let extra = FakeHost::new().config("classes", "").config("extra", "ticket = [A-Z]+-\\d+\n\nfrom = ^ada");
        assert_eq!(say(extra), "[redacted:from]@example.org from 10.1.2.3, ticket [redacted:ticket]");
        assert_eq!(say(FakeHost::new().config("classes", "emails")), "'emails' is none of the classes");
        for extra in ["no pattern", "a b = x", "x = (", "x = a*"] {
            assert!(say(FakeHost::new().config("extra", extra)).contains("extra"), "{extra}");
        }
    }
}
