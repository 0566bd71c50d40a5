//! `docs/cli.md` against the binary: every field that it shows is there, and of the same type.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::home::{Home, scribe};

const DOCS: &str = include_str!("../../../../docs/cli.md");

/// The examples by their headings.
pub(crate) fn examples() -> BTreeMap<&'static str, Value> {
    let mut examples = BTreeMap::new();
    for section in DOCS.split("\n### ").skip(1) {
        let (heading, body) = section.split_once('\n').unwrap();
        let example = body.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
        examples.insert(heading, serde_json::from_str(example).unwrap_or_else(|e| panic!("{heading}: {e}")));
    }
    examples
}

/// Everything in `shown` must be in `actual`; of a list, its first member stands for all.
pub(crate) fn check(path: &str, shown: &Value, actual: &Value) {
    match (shown, actual) {
        (Value::Object(shown), Value::Object(actual)) => {
            for (key, value) in shown {
                let actual = actual.get(key).unwrap_or_else(|| panic!("{path}.{key} is documented and missing"));
                check(&format!("{path}.{key}"), value, actual);
            }
        }
        (Value::Array(shown), Value::Array(actual)) => {
            if let Some(shown) = shown.first() {
                let actual = actual.first().unwrap_or_else(|| panic!("{path} is empty"));
                check(&format!("{path}[]"), shown, actual);
            }
        }
        (Value::Null, _) => {}
        _ => {
            let kind = std::mem::discriminant::<Value>;
            assert_eq!(kind(shown), kind(actual), "{path}: documented as {shown}, and is {actual}");
        }
    }
}

#[test]
fn every_documented_field_is_there() {
    let home = Home::new();
    let transcript = json!({"turns": [{"content": [{"type": "text", "text": "ready"}]}]});
    let model = format!("scripted:{}", home.file("transcript.json", transcript.to_string()));
    home.configure(&format!("[llm.roles]\ndefault = '{model}'\n"));
    let wasm = home.file("scribe.wasm", scribe("1.0.0", "[capabilities]\nmemory = ['read', 'write']"));

    let mut examples = examples();
    let mut matches = |heading: &str, actual: Value| {
        let shown = examples.remove(heading).unwrap_or_else(|| panic!("docs/cli.md does not show '{heading}'"));
        check(heading, &shown, &actual);
    };
    matches("errors", home.run(&["tool", "call", "web.fetch", "--json"]).expect(3).json());
    matches("plugin new", home.json(&["plugin", "new", "fresh"]));
    matches("plugin list", home.json(&["plugin", "list"]));
    matches("plugin install", home.json(&["plugin", "install", &wasm]));
    matches("plugin grant", home.json(&["plugin", "grant", "scribe", "--requested"]));
    matches("plugin inspect", home.json(&["plugin", "inspect", "notes"]));
    home.file("scribe.wasm", scribe("2.0.0", "[capabilities]\nmemory = ['read', 'write']"));
    home.ok(&["plugin", "upgrade", "scribe"]);
    matches("plugin rollback", home.json(&["plugin", "rollback", "scribe"]));
    matches("plugin remove", home.json(&["plugin", "remove", "scribe"]));
    matches("tool list", home.json(&["tool", "list"]));
    matches("run", home.ok(&["run", "--json", "say ready"]).events().pop().unwrap());
    matches("focus show", home.json(&["focus", "show"]));
    matches("focus replay", home.json(&["focus", "replay", "last"]));
    matches("tool call", home.json(&["tool", "call", "fs.list_files"]));
    matches("ledger append", home.json(&["ledger", "append", "last", "noted"]));
    matches("ledger show", home.json(&["ledger", "show", "last", "--journal"]));
    let stored = home.json(&["memory", "store", "whales are mammals"]);
    let id = stored["memory"]["id"].as_str().unwrap().to_owned();
    matches("memory store", stored);
    matches("memory recall", home.json(&["memory", "recall", "whales"]));
    matches("memory show", home.json(&["memory", "show", &id]));
    matches("memory reindex", home.json(&["memory", "reindex"]));
    matches("memory list", home.json(&["memory", "list"]));
    matches("memory forget", home.json(&["memory", "forget", &id]));
    let submit = ["work", "submit", "transform", "cli", "--params", "{\"content\":\"hello world\"}"];
    matches("work submit", home.json(&submit));
    matches("work show", home.json(&["work", "show"]));
    matches("work list", home.json(&["work", "list"]));
    matches("work watch", home.ok(&["work", "watch", "--json"]).events().pop().unwrap());
    home.json(&[&submit[..], &["--detach"]].concat());
    matches("work cancel", home.json(&["work", "cancel", "last"]));
    matches("serve --once", home.json(&["serve", "--once"]));
    matches("faculty list", home.json(&["faculty", "list"]));
    matches("faculty show", home.json(&["faculty", "show", "assistant"]));
    // Checked in `serve.rs`, which reads it at every start.
    assert!(examples.remove("serve").is_some());
    let mut matches = |heading: &str, actual: Value| {
        let shown = examples.remove(heading).unwrap_or_else(|| panic!("docs/cli.md does not show '{heading}'"));
        check(heading, &shown, &actual);
    };
    matches("model list", home.json(&["model", "list"]));
    matches("model test", home.json(&["model", "test"]));
    matches("secret set", home.feed(&["secret", "set", "github", "--json"], "value").expect(0).json());
    matches("secret list", home.json(&["secret", "list"]));
    matches("secret remove", home.json(&["secret", "remove", "github"]));
    matches("audit show", home.json(&["audit", "show"]));
    matches("audit verify", home.json(&["audit", "verify"]));
    matches("status", home.json(&["status"]));
    matches("doctor", home.json(&["doctor"]));
    // Checked in `authoring.rs`, which builds a plugin anyway.
    examples.remove("plugin build");
    // Checked in `dev.rs`.
    examples.remove("plugin dev");
    // Checked in `exec.rs` and `skills.rs`, where the interpreter is compiled.
    for checked in crate::exec::DOCUMENTED.iter().chain(crate::skills::DOCUMENTED) {
        assert!(examples.remove(checked).is_some(), "docs/cli.md does not show '{checked}'");
    }
    assert!(examples.is_empty(), "documented and not checked: {:?}", examples.keys());
}
