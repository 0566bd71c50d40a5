//! Hooks in the real binary: the ones that ship, programs of the operator's, and who may switch what.

use std::fs;

use serde_json::{Value, json};

use crate::home::Home;

/// A transcript of one tool call and a last word. What the model must read as the call's result is in `expects`.
fn transcript(home: &Home, tool: &str, input: &Value, expects: &Value) -> String {
    let turns = json!({"turns": [
        {"content": [{"type": "text", "text": "I look."}, {"type": "tool_use", "name": tool, "input": input}]},
        {"expect": expects, "content": [{"type": "text", "text": "All done."}]},
    ]});
    format!("scripted:{}", home.file("transcript.json", turns.to_string()))
}

fn row(home: &Home, name: &str) -> Value {
    let list = home.json(&["hook", "list"]);
    let hooks = list["hooks"].as_array().unwrap();
    hooks.iter().find(|hook| hook["name"] == name).unwrap_or_else(|| panic!("{name} is not in {list}")).clone()
}

fn hook_events(events: &[Value]) -> Vec<&Value> {
    events.iter().filter(|event| event["type"] == "hook").collect()
}

/// A command hook of the operator's.
fn command(home: &Home, name: &str, events: &str, script: &str) {
    let folder = home.path().join("hooks").join(name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("run.sh"), script).unwrap();
    let front =
        format!("name: {name}\ndescription: a test's\nevents: [{events}]\ncommand: sh ./run.sh\ntimeout-ms: 120000");
    fs::write(folder.join("HOOK.md"), format!("---\n{front}\n---\n")).unwrap();
}

#[test]
fn guard_refuses_by_its_rules_once_it_is_granted() {
    let home = Home::new();
    home.file("a.env", "x");
    home.configure(
        r#"
[hooks.guard]
timeout_ms = 120000
config = { rules = '[{"tool": "fs\\.write_file", "args": "\\.env", "reason": "no secrets here"}]' }
"#,
    );
    let write = json!({"path": "a.env", "content": "new"});
    let model = transcript(&home, "fs.write_file", &write, &json!({}));
    let free = home.ok(&["run", "--json", "--model", &model, "write"]).events();
    assert!(hook_events(&free).is_empty(), "it waits for its grant");
    assert_eq!(fs::read_to_string(home.workspace().join("a.env")).unwrap(), "new");

    home.ok(&["plugin", "grant", "guard", "--requested"]);
    home.file("a.env", "old");
    let expects = json!({"tool_error": true, "contains": "the hook 'guard' stopped it, which says: no secrets here"});
    let model = transcript(&home, "fs.write_file", &write, &expects);
    let events = home.ok(&["run", "--json", "--model", &model, "write"]).events();
    assert_eq!(fs::read_to_string(home.workspace().join("a.env")).unwrap(), "old");
    let told = hook_events(&events)[0];
    assert_eq!(
        (&told["hook"], &told["action"], &told["point"]),
        (&json!("guard"), &json!("blocked"), &json!("before-tool-call"))
    );
    let shown = home.json(&["ledger", "show", "last", "--journal"]);
    let verdict =
        shown["journal"].as_array().unwrap().iter().find(|record| record["intent"]["kind"] == "hook").unwrap();
    assert_eq!(
        (&verdict["intent"]["subject"], &verdict["outcome"]["response"]["action"]),
        (&json!("guard"), &json!("block"))
    );
}

#[test]
fn redact_keeps_secrets_from_models() {
    let home = Home::new();
    let key = ["gh", "p_0123456789abcdefghijABCDEFGHIJ012345"].concat();
    home.file("notes.txt", format!("key {key}, mail ada@example.org\n"));
    home.configure("[hooks.redact]\ntimeout_ms = 120000\n");
    home.ok(&["plugin", "grant", "redact", "--requested"]);
    let expects = json!({"contains": "key [redacted:api-key], mail [redacted:email]"});
    let model = transcript(&home, "fs.read_file", &json!({"path": "notes.txt"}), &expects);
    let events = home.ok(&["run", "--json", "--model", &model, &format!("use {key}")]).events();
    let points: Vec<_> = hook_events(&events).iter().map(|event| event["point"].as_str().unwrap()).collect();
    assert_eq!(points, ["before-llm-call", "after-tool-call", "before-llm-call"]);
    let tool = events.iter().find(|event| event["type"] == "tool_end").unwrap();
    assert!(!tool.to_string().contains(&key), "{tool}");
    assert_eq!(events.last().unwrap()["success"], true);
}

#[test]
fn a_hook_is_switched_by_the_operator_and_a_project_only_insists() {
    let home = Home::new();
    assert_eq!(row(&home, "guard")["reason"], "it awaits a grant: animus plugin grant guard --requested");
    home.ok(&["plugin", "grant", "guard", "--requested"]);
    let granted = row(&home, "guard");
    assert_eq!((&granted["runs"], &granted["events"]), (&json!(true), &json!(["before-tool-call", "after-tool-call"])));
    assert!(home.ok(&["hook", "disable", "guard"]).stdout.contains("guard is not run: it is switched off"));
    assert_eq!(row(&home, "guard")["enabled"], false);
    home.file("animus.toml", "[hooks.guard]\nenabled = true\n");
    assert_eq!(row(&home, "guard")["runs"], true, "a project insists on it");
    home.file("animus.toml", "[hooks.guard]\nenabled = false\n");
    let refused = home.run(&["hook", "list"]).expect(1);
    assert!(refused.stderr.contains("a project can only make hooks stricter"), "{refused:?}");
    home.file("animus.toml", "");
    home.ok(&["hook", "enable", "guard"]);
    assert_eq!(row(&home, "guard")["runs"], true);
    let unknown = home.run(&["hook", "disable", "gaurd"]).expect(1);
    assert!(unknown.stderr.contains("did you mean 'guard'?"), "{unknown:?}");
    let audit = home.ok(&["audit", "show"]).stdout;
    assert!(audit.contains("hook.disable") && audit.contains("hook.enable"), "{audit}");
}

#[test]
fn programs_of_the_operators_run_only_where_the_home_allows_them() {
    let home = Home::new();
    home.file("poem.txt", "roses are red\n");
    command(&home, "stop", "before-tool-call", r#"echo '{"action":"block","reason":"not by me"}'"#);
    let model = transcript(&home, "fs.read_file", &json!({"path": "poem.txt"}), &json!({"contains": "roses"}));
    assert!(hook_events(&home.ok(&["run", "--json", "--model", &model, "x"]).events()).is_empty());
    let listed = row(&home, "command:stop");
    assert_eq!((&listed["kind"], &listed["runs"]), (&json!("command"), &json!(false)));
    assert_eq!(listed["reason"], "[hooks] host_processes is not set in the home's animus.toml");

    // A project does not allow them.
    home.file("animus.toml", "[hooks]\nhost_processes = true\n");
    home.run(&["run", "--model", &model, "x"]).expect(1);
    home.file("animus.toml", "");

    home.configure("[hooks]\nhost_processes = true\n");
    assert_eq!(row(&home, "command:stop")["runs"], true);
    let expects = json!({"tool_error": true, "contains": "the hook 'command:stop' stopped it, which says: not by me"});
    let model = transcript(&home, "fs.read_file", &json!({"path": "poem.txt"}), &expects);
    let events = home.ok(&["run", "--json", "--model", &model, "x"]).events();
    assert_eq!(hook_events(&events)[0]["hook"], "command:stop");

    home.ok(&["hook", "disable", "command:stop"]);
    let model = transcript(&home, "fs.read_file", &json!({"path": "poem.txt"}), &json!({"contains": "roses"}));
    home.ok(&["run", "--model", &model, "x"]);
}

#[test]
fn a_command_that_breaks_stops_everything_that_it_watches() {
    let home = Home::new();
    home.configure("[hooks]\nhost_processes = true\n");
    command(&home, "broken", "before-llm-call", "exit 7");
    let model = transcript(&home, "fs.list_files", &json!({}), &json!({}));
    let stopped = home.run(&["run", "--json", "--model", &model, "x"]).expect(3);
    let done = stopped.events().pop().unwrap();
    assert_eq!((&done["ending"], &done["error"]["class"]), (&json!("blocked"), &json!("denied")));
    assert_eq!(done["error"]["detail"]["gate"], "hook");

    fs::write(home.path().join("hooks/broken/HOOK.md"), "no frontmatter").unwrap();
    assert!(row(&home, "command:broken")["reason"].as_str().unwrap().contains("HOOK.md"));
    home.run(&["run", "--model", &model, "x"]).expect(3);
    home.ok(&["hook", "disable", "command:broken"]);
    home.ok(&["run", "--model", &model, "x"]);
}
