//! What `docs/serve.md` has people type to watch, cut and resume, and streams of a server that stops.

use std::{fs, process::Command};

use serde_json::{Value, json};

use crate::{
    home::{Done, Home},
    serve::{messages, talkative},
    server::{Server, wait},
};

const PAGE: &str = include_str!("../../../../docs/serve.md");

/// What a section of the page has people type.
fn typed(heading: &str) -> String {
    let section = PAGE.split("\n## ").find(|section| section.starts_with(heading)).unwrap();
    let blocks = section.split("```console\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap()).collect()
}

#[test]
fn the_page_can_be_typed_from_top_to_bottom() {
    let home = Home::new();
    let server = Server::start(&home, &[]);
    // So that the first stream is not over before the plugin is loaded.
    let first = server.submit(&json!({ "faculty": "transform", "params": { "content": "a" } }));
    server.until(&first, "completed");
    let script = typed("Watch, cut and resume").replace("127.0.0.1:8420", &server.address);
    assert!(script.contains(&server.address), "{script}");
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", &script]).current_dir(home.workspace()).env("no_proxy", "127.0.0.1");
    let done = Done::of(shell.output().unwrap()).expect(0);

    let seen = fs::read_to_string(home.workspace().join("seen")).unwrap();
    let seen = messages(seen.lines().map(str::to_owned));
    let steps: Vec<_> = seen.iter().filter(|(_, kind, _)| kind == "ledger").map(|(.., data)| &data["entry"]).collect();
    let expected: Vec<_> = (1..=12).map(|n| json!(format!("step {n} of 12"))).collect();
    assert_eq!(steps.iter().map(|entry| entry["content"].clone()).collect::<Vec<_>>(), expected, "{seen:?}");
    assert_eq!(seen.last().unwrap().2["work"]["outcome"]["summary"], "dlrow olleh");
    assert!(done.stdout.lines().any(|line| line == "12"), "{done:?}");

    let answers: Vec<Value> = done.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let results: Vec<_> = answers.iter().filter_map(|answer| answer["result"].as_str()).collect();
    assert_eq!(results, ["created", "created", "repeated", "created", "merged"], "{done:?}");
    let of = |result: &str| answers.iter().find(|answer| answer["result"] == result).unwrap();
    assert!(of("merged")["item"].is_string() && of("repeated")["item"].is_null(), "{done:?}");
    let end: Vec<_> = done.stdout.lines().rev().take(3).collect();
    let settled = end.iter().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let settled: Value = serde_json::from_str(settled).unwrap();
    assert_eq!((&settled["type"], &settled["work"]["state"]), (&json!("settled"), &json!("cancelled")), "{done:?}");
}

#[test]
fn streams_go_on_while_what_runs_has_its_grace_time() {
    let home = Home::new();
    talkative(&home, &"word ".repeat(200), 50);
    let config = fs::read_to_string(home.path().join("animus.toml")).unwrap();
    home.configure(&config.replace("grace_ms = 500", "grace_ms = 600000"));
    let server = Server::start(&home, &[]);
    let id = server.submit(&json!({ "faculty": "assistant", "instruction": "speak" }));
    server.until(&id, "running");
    let path = format!("/v1/work/{id}/events");
    let before = server.stream(&path, &[]);
    server.signal("TERM");
    wait(|| server.get("/readyz").status == 503);
    let after = server.stream(&path, &[]);
    for lines in [before, after] {
        let told = messages(lines.iter());
        assert_eq!((told[0].1.as_str(), told.last().unwrap().1.as_str()), ("started", "settled"), "{told:?}");
        assert_eq!(told.last().unwrap().2["work"]["state"], "completed");
    }
    assert_eq!(server.end().0, Some(0));
}
