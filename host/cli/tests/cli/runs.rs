//! `animus run`: transcripts in place of models, real tools on real files.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::TcpListener,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::home::{Done, Home};

fn usage(read: u32, written: u32) -> Value {
    json!({"input_tokens": read, "output_tokens": written, "cached_tokens": 0, "cache_write_tokens": 0})
}

/// A transcript of one tool call and a last word.
fn transcript(home: &Home, tool: &str, input: &Value) -> String {
    let turns = json!({"turns": [
        {"content": [{"type": "text", "text": "I look."}, {"type": "tool_use", "name": tool, "input": input}],
         "usage": usage(100, 20)},
        {"content": [{"type": "text", "text": "All done."}],
         "usage": usage(150, 5)},
    ]});
    format!("scripted:{}", home.file("transcript.json", turns.to_string()))
}

fn reading(home: &Home) -> String {
    home.file("poem.txt", "roses are red\n");
    transcript(home, "fs.read_file", &json!({"path": "poem.txt"}))
}

fn of_type<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["type"] == kind).collect()
}

#[test]
fn a_run_works_on_real_files_and_leaves_ledger_journal_and_audit_trail() {
    let home = Home::new();
    let model = reading(&home);
    let events = home.ok(&["run", "--json", "--model", &model, "read", "the", "poem"]).events();
    assert_eq!(events[0]["type"], "started");
    let tool = of_type(&events, "tool_end")[0];
    assert!(tool["text"].as_str().unwrap().contains("roses are red"), "{tool}");
    let done = events.last().unwrap();
    assert_eq!(
        (&done["type"], &done["success"], &done["summary"]),
        (&json!("done"), &json!(true), &json!("All done."))
    );
    assert_eq!(done["standing"]["spent"]["tokens"], 275);

    let shown = home.json(&["ledger", "show", "last", "--journal"]);
    assert_eq!(shown["work"]["state"], "completed");
    assert_eq!(shown["work"]["instruction"], "read the poem");
    let journal = shown["journal"].as_array().unwrap();
    assert!(journal.iter().all(|record| record["outcome"]["status"] == "ok"), "{shown}");
    assert!(journal.iter().any(|record| record["intent"]["subject"] == "fs.read_file"), "{shown}");
    let id = shown["work"]["id"].as_str().unwrap();
    assert_eq!(home.json(&["ledger", "show", id.get(..30).unwrap()])["work"]["id"], id);
    home.ok(&["audit", "verify"]);
}

#[test]
fn on_a_pipe_standard_output_is_the_answer_alone_without_escapes() {
    let home = Home::new();
    let done = home.ok(&["run", "--model", &reading(&home), "read"]);
    assert_eq!(done.stdout, "All done.\n");
    assert!(done.stderr.contains("fs.read_file") && !done.stderr.contains('\x1b'), "{done:?}");
}

#[test]
fn the_prompt_can_come_from_standard_input_and_must_not_be_empty() {
    let home = Home::new();
    let model = reading(&home);
    home.feed(&["run", "--model", &model, "-"], "from the pipe\n").expect(0);
    assert_eq!(home.json(&["status"])["work"][0]["instruction"], "from the pipe");
    home.feed(&["run", "--model", &model, "-"], "\n").expect(2);
}

#[test]
fn the_workspace_is_the_folder_that_was_named() {
    let home = Home::new();
    let model = reading(&home);
    home.file("elsewhere/other.txt", "x");
    let elsewhere = home.workspace().join("elsewhere");
    let run = ["run", "--json", "--model", &model, "--workspace", elsewhere.to_str().unwrap(), "read"];
    let events = home.run(&run).events();
    assert_eq!(of_type(&events, "tool_end")[0]["is_error"], true);
}

#[test]
fn a_budget_from_configuration_environment_or_flag_ends_the_run_with_4() {
    let home = Home::new();
    let model = reading(&home);
    let run = ["run", "--json", "--model", &model, "read"];
    let ending = |done: Done| done.expect(4).events().last().unwrap()["ending"].clone();
    home.configure("[budget]\ntokens = 1\n");
    assert_eq!(ending(home.run(&run)), "budget");
    home.ok(&[&run[..], &["--budget-tokens", "1000000"]].concat());
    home.configure("");
    assert_eq!(ending(Done::of(home.command(&run).env("ANIMUS_BUDGET_TOKENS", "1").output().unwrap())), "budget");
    assert_eq!(ending(home.run(&[&run[..], &["--budget-tokens", "1"]].concat())), "budget");

    home.configure(&format!("[llm.prices]\n'{model}' = {{ input = 1000000000, output = 1000000000 }}\n"));
    assert_eq!(ending(home.run(&[&run[..], &["--budget-usd", "0.001"]].concat())), "budget");
    home.configure(&format!(
        "[budget]\nusd = 0.001\n[llm.prices]\n'{model}' = {{ input = 1000000000, output = 1000000000 }}\n"
    ));
    assert_eq!(ending(home.run(&run)), "budget");
}

#[test]
fn too_many_turns_end_the_run_with_4() {
    let home = Home::new();
    let model = reading(&home);
    let run = ["run", "--json", "--model", &model, "read"];
    let last = home.run(&[&run[..], &["--max-turns", "1"]].concat()).expect(4).events().pop().unwrap();
    assert_eq!(last["ending"], "max-turns");
    home.configure("[run]\nmax_turns = 1\n");
    home.run(&run).expect(4);
    home.ok(&[&run[..], &["--max-turns", "5"]].concat());
}

#[test]
fn a_run_that_is_narrowed_to_some_tools_is_refused_the_others() {
    let home = Home::new();
    let model = transcript(&home, "fs.write_file", &json!({"path": "new.txt", "content": "x"}));
    let run = ["run", "--json", "--model", &model, "write"];
    home.run(&[&run[..], &["--tool", "fs.read_file", "--tool", "notes.*"]].concat());
    assert!(!home.workspace().join("new.txt").exists());
    home.ok(&[&run[..], &["--tool", "fs.*"]].concat());
    assert!(home.workspace().join("new.txt").exists());
}

#[test]
fn a_run_that_a_server_tries_again_holds_no_more_there_and_works_in_the_same_place() {
    let home = Home::new();
    let model = transcript(&home, "fs.write_file", &json!({"path": "new.txt", "content": "x"}));
    home.configure(&format!("[llm.roles]\ndefault = '{model}'\n[run]\nmax_turns = 1\n"));
    home.file("elsewhere/x", "");
    let elsewhere = home.workspace().join("elsewhere");
    let folder = elsewhere.to_str().unwrap();
    let narrow = ["--tool", "fs.read_file", "--budget-tokens", "90000", "--workspace", folder];
    home.run(&[&["run", "--json", "write"], &narrow[..]].concat()).expect(4);
    let shown = home.json(&["work", "show", "last"]);
    let (id, work) = (shown["work"]["id"].as_str().unwrap(), &shown["work"]);
    assert_eq!((&work["allowance"]["tokens"], &work["workspace"]), (&json!(90_000), &json!(folder)), "{shown}");
    assert_eq!(work["cap"]["tool"], json!(["fs.read_file"]), "{shown}");

    home.ok(&["work", "retry", id]);
    home.run(&["serve", "--once", "--json"]);
    let shown = home.json(&["work", "show", id]);
    assert_eq!((&shown["work"]["state"], &shown["work"]["attempts"]), (&json!("dead"), &json!(2)), "{shown}");
    assert!(shown["work"]["tokens"].as_u64().unwrap() > 120, "it asked the model again: {shown}");
    assert!(!home.workspace().join("new.txt").exists() && !elsewhere.join("new.txt").exists());
}

#[test]
fn configuration_names_model_and_faculty_and_a_project_may_choose_among_roles() {
    let home = Home::new();
    let model = reading(&home);
    home.configure(&format!("[llm.roles]\ndefault = 'ollama:none'\nreader = '{model}'\n[run]\nmodel = 'reader'\n"));
    home.ok(&["run", "read"]);
    home.configure(&format!("[llm.roles]\nreader = '{model}'\n"));
    home.file("animus.toml", "[run]\nmodel = 'reader'\n");
    home.ok(&["run", "read"]);
    home.file("animus.toml", "[run]\nmodel = 'reader'\nfaculty = 'fs'\n");
    let no_faculty = home.run(&["run", "read"]).expect(2);
    assert!(no_faculty.stderr.contains("'fs' is no faculty"), "{no_faculty:?}");
    home.ok(&["run", "--faculty", "assistant", "read"]);
}

#[test]
fn variables_of_the_environment_stand_over_the_configuration_and_under_the_flags() {
    let home = Home::new();
    let model = reading(&home);
    home.configure("[run]\nmodel = 'ollama:none'\nmax_turns = 5\nfaculty = 'assistant'\n[budget]\nusd = 9.0\n");
    let run = |name: &str, value: &str, flags: &[&str]| {
        let args = [&["run", "read"], flags].concat();
        let done = home.command(&args).env("ANIMUS_MODEL", &model).env(name, value).output().unwrap();
        Done::of(done)
    };
    run("ANIMUS_MODEL", &model, &[]).expect(0);
    run("ANIMUS_FACULTY", "fs", &[]).expect(2);
    run("ANIMUS_FACULTY", "fs", &["--faculty", "assistant"]).expect(0);
    run("ANIMUS_MAX_TURNS", "1", &[]).expect(4);
    run("ANIMUS_MAX_TURNS", "1", &["--max-turns", "2"]).expect(0);
    home.configure(&format!("[llm.prices]\n'{model}' = {{ input = 1000000000, output = 1000000000 }}\n"));
    run("ANIMUS_BUDGET_USD", "0.001", &[]).expect(4);
    run("ANIMUS_BUDGET_USD", "0.001", &["--budget-usd", "1000"]).expect(0);
}

#[test]
fn a_faculty_that_awaits_its_grant_is_denied_before_any_work_is_stored() {
    let home = Home::new();
    let model = reading(&home);
    home.ok(&["plugin", "grant", "assistant", "--revoke"]);
    let denied = home.run(&["run", "--json", "--model", &model, "read"]).expect(3).json();
    assert_eq!(denied["error"]["denial"]["command"], "animus plugin grant assistant --requested");
    assert_eq!(home.json(&["status"])["work"], json!([]));
}

#[test]
fn without_a_model_a_run_fails_and_says_what_to_set() {
    let home = Home::new();
    home.configure("[llm.providers.ollama]\nbase_url = 'http://127.0.0.1:9'\n");
    let failed = home.run(&["run", "read"]).expect(1);
    assert!(failed.stderr.contains("ANTHROPIC_API_KEY"), "{failed:?}");
}

#[test]
fn ctrl_c_cancels_cleanly_and_the_work_is_marked_so() {
    let home = Home::new();
    // A vendor that takes the request and never answers.
    let vendor = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = vendor.local_addr().unwrap();
    home.configure(&format!(
        "[llm.providers.slow]\nkind = 'openai'\nbase_url = 'http://{at}/v1'\n[llm.roles]\ndefault = 'slow:x'\n"
    ));
    let mut run =
        home.command(&["run", "--json", "read"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut taken, _) = vendor.accept().unwrap();
    let _ = taken.read(&mut [0; 1]).unwrap();
    assert!(Command::new("kill").args(["-INT", &run.id().to_string()]).status().unwrap().success());
    let lines: Vec<_> = BufReader::new(run.stdout.take().unwrap()).lines().map(Result::unwrap).collect();
    assert_eq!(run.wait().unwrap().code(), Some(130));
    let last: Value = serde_json::from_str(lines.last().unwrap()).unwrap();
    assert_eq!((&last["type"], &last["success"]), (&json!("done"), &json!(false)));
    assert_eq!(home.json(&["ledger", "show"])["work"]["state"], "cancelled");
}

#[test]
fn a_tool_call_is_a_work_item_with_its_own_journal() {
    let home = Home::new();
    home.file("poem.txt", "roses are red\n");
    let called = home.json(&["tool", "call", "fs.read_file", r#"{"path":"poem.txt"}"#]);
    assert!(called["output"]["text"].as_str().unwrap().contains("roses"), "{called}");
    assert_eq!(home.json(&["ledger", "show"])["work"]["id"], called["work"]);
    home.run(&["tool", "call", "fs.read_file", r#"{"path":"nowhere.txt"}"#]).expect(1);
    home.run(&["tool", "call", "fs.read_file", "no json"]).expect(1);
    home.feed(&["tool", "call", "fs.read_file", "-"], r#"{"path":"poem.txt"}"#).expect(0);
}

#[test]
fn text_of_files_cannot_steer_the_terminal() {
    let home = Home::new();
    home.file("evil.txt", "a\x1b]0;title\x07b\n");
    let shown = home.ok(&["tool", "call", "fs.read_file", r#"{"path":"evil.txt"}"#]);
    assert!(shown.stdout.contains("\\u{1b}]0;title\\u{7}b"), "{shown:?}");
}
