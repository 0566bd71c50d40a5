//! Installing, granting, revoking, upgrading.

use std::fs;

use animus_core::id::Digest;

use crate::home::{Home, scribe};

const MEMORY: &str = "[capabilities]\nmemory = ['read', 'write']";
const RECALL: [&str; 4] = ["tool", "call", "scribe.recall", r#"{"query":""}"#];

#[test]
fn a_fresh_home_has_the_first_party_plugins_and_web_and_the_hooks_await_their_grants() {
    let home = Home::empty();
    let listed = home.json(&["plugin", "list"]);
    let states: Vec<_> = listed["plugins"]
        .as_array()
        .unwrap()
        .iter()
        .map(|plugin| (plugin["name"].as_str().unwrap(), plugin["state"].as_str().unwrap()))
        .collect();
    let (serving, waiting): (Vec<_>, Vec<_>) = states.into_iter().partition(|(_, state)| *state == "serving");
    let first = ["assistant", "fs", "notes", "python", "researcher", "transform"];
    assert_eq!(serving, first.map(|name| (name, "serving")));
    assert_eq!(waiting, ["guard", "redact", "web"].map(|name| (name, "awaiting-grant")));
    let audit = home.json(&["audit", "show"]);
    let actors: Vec<_> = audit["entries"].as_array().unwrap().iter().map(|entry| &entry["actor"]).collect();
    assert!(actors.len() >= 4 && actors.iter().all(|actor| *actor == "host"), "{audit}");
    let tools = home.ok(&["tool", "list"]).stdout;
    assert!(tools.contains("fs.read_file") && tools.contains("awaits a grant"), "{tools}");
}

#[test]
fn processes_that_meet_a_fresh_home_at_once_install_everything_once() {
    let home = Home::empty();
    let lists: Vec<_> = (0..3)
        .map(|_| home.command(&["plugin", "list"]).stdout(std::process::Stdio::null()).spawn().unwrap())
        .collect();
    for mut list in lists {
        assert!(list.wait().unwrap().success());
    }
    let listed = home.json(&["plugin", "list"]);
    assert_eq!(listed["plugins"].as_array().unwrap().len(), 9);
    // Nine plugins and a skill.
    assert_eq!(home.json(&["audit", "verify"])["entries"], 10);
}

#[test]
fn what_the_operator_removed_does_not_come_back_by_itself() {
    let home = Home::new();
    home.ok(&["plugin", "remove", "web"]);
    assert!(!home.ok(&["plugin", "list"]).stdout.contains("web"));
    home.run(&["plugin", "inspect", "web"]).expect(1);
}

#[test]
fn without_a_grant_a_plugin_waits_and_its_tools_are_denied_with_the_command_that_helps() {
    let home = Home::new();
    let wasm = home.file("scribe.wasm", scribe("1.0.0", MEMORY));
    let installed = home.ok(&["plugin", "install", &wasm]).stdout;
    assert!(installed.contains("awaiting-grant") && installed.contains("memory:write"), "{installed}");
    assert!(installed.contains("animus plugin grant scribe --requested"), "{installed}");

    let denied = home.run(&RECALL).expect(3);
    assert!(denied.stderr.contains("at the grant gate"), "{denied:?}");
    assert!(denied.stderr.contains("animus plugin grant scribe --requested"), "{denied:?}");
    let denial = home.run(&[&RECALL[..], &["--json"]].concat()).expect(3).json();
    assert_eq!(denial["error"]["class"], "denied");
    assert_eq!(denial["error"]["denial"]["gate"], "grant");

    home.ok(&["plugin", "grant", "scribe", "--requested"]);
    home.ok(&RECALL);
    home.ok(&["plugin", "grant", "scribe", "--revoke"]);
    home.run(&RECALL).expect(3);
}

#[test]
fn a_component_whose_import_is_not_granted_does_not_start() {
    let home = Home::new();
    let wasm = home.file("scribe.wasm", scribe("1.0.0", MEMORY));
    let nothing = home.file("nothing.toml", "");
    home.ok(&["plugin", "install", &wasm, "--grant", &nothing]);
    let denied = home.run(&RECALL).expect(3);
    assert!(denied.stderr.contains("'scribe' was denied memory"), "{denied:?}");
    assert!(denied.stderr.contains("animus plugin grant scribe --allow"), "{denied:?}");
}

#[test]
fn one_capability_more_is_granted_by_its_written_form_and_only_if_requested() {
    let home = Home::new();
    let wasm = home.file("scribe.wasm", scribe("1.0.0", MEMORY));
    home.ok(&["plugin", "install", &wasm]);
    let granted = home.json(&["plugin", "grant", "scribe", "--allow", "memory:read"]);
    assert_eq!(granted["plugin"]["granted"]["memory"], serde_json::json!(["read"]));
    assert_eq!(granted["plugin"]["lacking"], serde_json::json!(["memory:write"]));
    home.ok(&RECALL);
    home.run(&["tool", "call", "scribe.remember", r#"{"content":"x"}"#]).expect(3);
    let refused = home.run(&["plugin", "grant", "scribe", "--allow", "tool:fs.*"]).expect(1);
    assert!(refused.stderr.contains("does not ask for tool:fs.*"), "{refused:?}");
}

#[test]
fn the_ceiling_of_the_configuration_is_over_every_grant() {
    let home = Home::new();
    home.configure("[ceiling]\nmemory = ['read']\n");
    let denied = home.run(&["tool", "call", "notes.remember", r#"{"content":"x"}"#]).expect(3);
    assert!(denied.stderr.contains("at the ceiling gate"), "{denied:?}");
    home.configure("");
    home.ok(&["tool", "call", "notes.remember", r#"{"content":"x"}"#]);
}

#[test]
fn all_mismatches_come_in_one_report() {
    let home = Home::new();
    let rest = "descripton = 'x'\n[capabilities]\nmemory = ['red']";
    let wasm = home.file("scribe.wasm", scribe("one", rest));
    let refused = home.run(&["plugin", "install", &wasm]).expect(1);
    for part in ["descripton", "did you mean 'description'?", "plugin.version", "'red'"] {
        assert!(refused.stderr.contains(part), "{part} is missing: {refused:?}");
    }
    let wasm = home.file("scribe.wasm", scribe("1.0.0", ""));
    let refused = home.run(&["plugin", "install", &wasm]).expect(1);
    assert!(refused.stderr.contains("does not request memory"), "{refused:?}");
    assert!(!home.ok(&["plugin", "list"]).stdout.contains("scribe"));
}

#[test]
fn an_upgrade_keeps_the_grant_shows_what_is_new_and_can_be_rolled_back() {
    let home = Home::new();
    let wasm = home.file("scribe.wasm", scribe("1.0.0", MEMORY));
    home.ok(&["plugin", "install", &wasm, "--grant-requested"]);
    home.file("scribe.wasm", scribe("2.0.0", &format!("{MEMORY}\ntool = ['fs.read_file']")));
    let upgraded = home.json(&["plugin", "upgrade", "scribe"]);
    assert_eq!(upgraded["plugin"]["generation"], 2);
    assert_eq!(upgraded["plugin"]["state"], "serving");
    assert_eq!(upgraded["plugin"]["lacking"], serde_json::json!(["tool:fs.read_file"]));
    assert_eq!(home.json(&["plugin", "upgrade", "scribe"])["unchanged"], true);

    let back = home.json(&["plugin", "rollback", "scribe"]);
    assert_eq!(back["plugin"]["version"], "1.0.0");
    let inspected = home.json(&["plugin", "inspect", "scribe"]);
    assert_eq!(inspected["installed"]["generations"].as_array().unwrap().len(), 2);

    home.file("scribe.wasm", crate::home::repacked("fs", "[plugin]\nname = 'other'\nversion = '1.0.0'\nwit = '0.1'"));
    let other = home.run(&["plugin", "upgrade", "scribe"]).expect(1);
    assert!(other.stderr.contains("'other', and not 'scribe'"), "{other:?}");
}

#[test]
fn a_first_party_plugin_that_was_rolled_back_or_replaced_stays_so() {
    let home = Home::new();
    let manifest =
        "[plugin]\nname = 'notes'\nversion = '9.0.0'\nwit = '0.1'\n[capabilities]\nmemory = ['read', 'write']";
    let wasm = home.file("notes.wasm", crate::home::repacked("notes", manifest));
    let installed = home.ok(&["plugin", "install", &wasm]).stdout;
    assert!(installed.contains("it replaces generation 1 from embedded"), "{installed}");
    assert_eq!(home.json(&["plugin", "install", &wasm])["replaced"], serde_json::Value::Null);
    let serving = |home: &Home| home.json(&["plugin", "inspect", "notes"])["version"].clone();
    assert_eq!(serving(&home), "9.0.0");
    home.ok(&["plugin", "rollback", "notes"]);
    assert_eq!(serving(&home), "0.1.0");
    home.run(&["plugin", "upgrade", "notes"]).expect(2);
}

#[test]
fn a_digest_is_checked_and_an_address_needs_one() {
    let home = Home::new();
    let bytes = scribe("1.0.0", MEMORY);
    let wasm = home.file("scribe.wasm", &bytes);
    let wrong = Digest::of(b"other").to_string();
    let refused = home.run(&["plugin", "install", &wasm, "--sha256", &wrong]).expect(1);
    assert!(refused.stderr.contains(&wrong), "{refused:?}");
    home.ok(&["plugin", "install", &wasm, "--sha256", &Digest::of(&bytes).to_string()]);
    let unpinned = home.run(&["plugin", "install", "https://example.org/a.wasm"]).expect(2);
    assert!(unpinned.stderr.contains("--sha256"), "{unpinned:?}");
    home.run(&["plugin", "install", "http://example.org/a.wasm", "--sha256", &wrong]).expect(2);
    home.run(&["plugin", "install", "https://me:pw@example.org/a.wasm", "--sha256", &wrong]).expect(2);
}

#[test]
fn a_folder_without_its_component_says_how_to_build_it() {
    let home = Home::new();
    let folder = home.workspace().join("p");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("plugin.toml"), "[plugin]\nname = 'p'\nversion = '1.0.0'\nwit = '0.1'").unwrap();
    let refused = home.run(&["plugin", "install", "p"]).expect(1);
    assert!(refused.stderr.contains("animus plugin build"), "{refused:?}");
    home.run(&["plugin", "install", "nowhere"]).expect(1);
}

#[test]
fn a_folder_is_installed_with_its_manifest_as_it_stands_there() {
    let home = Home::new();
    let text = "[plugin]\nname = 'p'\nversion = '3.0.0'\nwit = '0.1'\n[extism]\nwasm = [{ path = 'p.wasm' }]\n";
    home.file("p/plugin.toml", format!("{text}{MEMORY}"));
    home.file("p/p.wasm", scribe("1.0.0", MEMORY));
    let installed = home.json(&["plugin", "install", "p", "--grant-requested"]);
    assert_eq!(installed["plugin"]["version"], "3.0.0");
    assert_eq!(installed["plugin"]["tools"][0].as_str().unwrap().split('.').next(), Some("p"));
    assert_eq!(home.json(&["plugin", "inspect", "p"])["installed"]["state"], "serving");
}

#[test]
fn a_mistyped_name_gets_the_nearest_one() {
    let home = Home::new();
    let plugin = home.run(&["plugin", "inspect", "notse"]).expect(1);
    assert!(plugin.stderr.contains("did you mean 'notes'?"), "{plugin:?}");
    let tool = home.run(&["tool", "call", "fs.raed_file"]).expect(1);
    assert!(tool.stderr.contains("fs.read_file"), "{tool:?}");
}
