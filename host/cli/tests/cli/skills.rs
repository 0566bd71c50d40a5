//! `animus skill`: from a folder, or an agent's words, to tools that serve.

use std::fs;

use serde_json::{Value, json};

use crate::{documented, home::Home};

/// The sections of `docs/cli.md` that are checked here.
pub(crate) const DOCUMENTED: &[&str] = &[
    "skill new",
    "skill test",
    "skill build",
    "skill install",
    "skill list",
    "skill show",
    "skill approve",
    "skill remove",
];

fn documented(heading: &str, actual: &Value) {
    documented::check(heading, &documented::examples()[heading], actual);
}

#[test]
fn a_skill_is_begun_tested_built_installed_called_and_removed() {
    let home = Home::with_python();
    let made = home.json(&["skill", "new", "word-count"]);
    documented("skill new", &made);
    home.run(&["skill", "new", "word-count"]).expect(2);
    home.run(&["skill", "new", "No Name"]).expect(2);
    let tested = home.json(&["skill", "test", "word-count"]);
    documented("skill test", &tested);
    assert_eq!((&tested["passed"], &tested["failed"]), (&json!(1), &json!(0)));
    let built = home.json(&["skill", "build", "word-count"]);
    documented("skill build", &built);
    let wasm = fs::read(built["wasm"].as_str().unwrap()).unwrap();
    assert_eq!(wasm.len() as u64, built["bytes"].as_u64().unwrap());
    assert!(wasm.len() < 64 << 10, "{} bytes", wasm.len());
    assert_eq!(home.json(&["skill", "build", "word-count"])["digest"], built["digest"]);
    let inspected = home.json(&["plugin", "inspect", built["wasm"].as_str().unwrap()]);
    assert_eq!(inspected["digest"], built["digest"]);

    let awaiting = home.json(&["skill", "install", "word-count"]);
    documented("skill install", &awaiting);
    let granted = home.json(&["skill", "install", "word-count", "--grant-requested"]);
    assert_eq!((&granted["unchanged"], &granted["version"]), (&json!(true), &json!(1)));
    assert_eq!((&granted["plugin"]["state"], &granted["plugin"]["lacking"]), (&json!("serving"), &json!([])));
    let called = home.json(&["tool", "call", "word-count.count_words", r#"{"text": "a b c"}"#]);
    assert_eq!(called["output"]["text"], "3");
    let listed = home.json(&["skill", "list"]);
    documented("skill list", &listed);
    let shown = home.json(&["skill", "show", "word-count"]);
    documented("skill show", &shown);
    assert!(home.ok(&["skill", "show", "word-count"]).stdout.contains("word-count"));

    let tests = home.workspace().join("word-count/tests/test_tools.py");
    fs::write(&tests, "from skill import count_words\n\n\ndef test_wrong():\n    assert count_words('a') == 2\n")
        .unwrap();
    let failed = home.run(&["skill", "test", "word-count", "--json"]).expect(1).json();
    assert_eq!(failed["failed"], 1);
    assert!(failed["tests"][0]["failure"]["traceback"].as_str().unwrap().contains("test_wrong"), "{failed}");
    assert!(home.run(&["skill", "test", "word-count"]).expect(1).stdout.contains("test_wrong"));
    home.run(&["skill", "install", "word-count"]).expect(1);
    home.run(&["skill", "build", "word-count"]).expect(1);
    assert_eq!(home.json(&["skill", "show", "word-count"])["version"], 1);

    let removed = home.json(&["skill", "remove", "word-count"]);
    documented("skill remove", &removed);
    home.run(&["tool", "call", "word-count.count_words", "{}"]).expect(1);
    home.run(&["skill", "remove", "word-count"]).expect(1);
    home.run(&["skill", "approve", "word-count", "--yes"]).expect(1);
    home.ok(&["audit", "verify"]);
}

/// A run in which an agent makes the skills `first` and `second`.
fn agents_make(home: &Home) -> Vec<Value> {
    let code =
        "def count(text: str) -> int:\n    \"\"\"Counts the words of a text.\"\"\"\n    return len(text.split())\n";
    let tests = "from skill import count\n\n\ndef test_count():\n    assert count('a b') == 2\n";
    let create = |name: &str| {
        json!({"type": "tool_use", "name": "create_skill", "input": {
            "name": name, "description": "Counts words.", "content": "# Count", "code": code, "tests": tests,
            "findings": ["counting is asked for"],
        }})
    };
    let turns = json!({"turns": [
        {"content": [create("first")]},
        {"content": [create("second")]},
        {"content": [{"type": "text", "text": "made"}]},
    ]});
    let model = format!("scripted:{}", home.file("transcript.json", turns.to_string()));
    home.ok(&["run", "--json", "--model", &model, "make skills"]).events()
}

#[test]
fn what_an_agent_made_is_approved_or_rejected() {
    let home = Home::with_python();
    home.configure("[skills]\ncreate = 'ask'\n");
    let events = agents_make(&home);
    let ends: Vec<_> = events.iter().filter(|event| event["type"] == "tool_end").collect();
    assert!(
        ends.iter().all(|end| end["text"].as_str().unwrap().contains("waits for your operator's approval")),
        "{ends:?}"
    );
    assert!(!ends.iter().any(|end| end["text"].as_str().unwrap().contains("animus skill")), "{ends:?}");
    let pending = home.json(&["skill", "list", "--pending"]);
    let names: Vec<_> = pending["skills"].as_array().unwrap().iter().map(|row| row["name"].clone()).collect();
    assert_eq!(names, [json!("first"), json!("second")]);
    home.run(&["tool", "call", "first.count", r#"{"text": "a"}"#]).expect(1);

    let undecided = home.run(&["skill", "approve", "first"]).expect(2);
    for says in [
        "version 1, made by animus",
        "counting is asked for",
        "may use: interpreter:python",
        "+def count(text: str)",
        "--yes or --reject",
    ] {
        assert!(undecided.stderr.contains(says), "no {says:?} in {}", undecided.stderr);
    }
    home.run(&["skill", "approve", "first", "--yes", "--reject"]).expect(2);
    let approved = home.json(&["skill", "approve", "first", "--yes", "--reason", "useful"]);
    documented("skill approve", &approved);
    assert_eq!((&approved["state"], &approved["tools"]), (&json!("active"), &json!(["first.count"])));
    assert_eq!(home.json(&["tool", "call", "first.count", r#"{"text": "a b"}"#])["output"]["text"], "2");
    let rejected = home.json(&["skill", "approve", "second", "--reject", "--reason", "no need"]);
    assert_eq!((&rejected["state"], &rejected["tools"]), (&json!("rejected"), &json!([])));
    home.run(&["skill", "approve", "second", "--yes"]).expect(1);
    home.run(&["tool", "call", "second.count", r#"{"text": "a"}"#]).expect(1);
    let approvals = home.json(&["skill", "list"])["approvals"].clone();
    assert_eq!(approvals, json!({"auto": 0, "approved": 1, "rejected": 1, "ratio": 0.5}));
    assert_eq!(home.json(&["skill", "show", "first"])["reason"], "useful");
    home.ok(&["audit", "verify"]);

    // The strictest of the words that are said is in force.
    home.file("animus.toml", "[skills]\ncreate = 'never'\n");
    let events = agents_make(&home);
    let ends: Vec<_> = events.iter().filter(|event| event["type"] == "tool_end").collect();
    assert!(ends.iter().all(|end| end["is_error"] == true && end["error"]["class"] == "denied"), "{ends:?}");
}
