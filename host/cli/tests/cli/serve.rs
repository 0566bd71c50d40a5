//! `animus serve` and `animus work`: the queue from outside, with real processes that are stopped and killed.

use std::{collections::BTreeMap, io::Write as _, process::Stdio};

use serde_json::{Value, json};

use crate::{
    home::{Done, Home},
    server::{Server, wait},
};

fn transform(content: &str) -> Value {
    json!({ "faculty": "transform", "params": { "content": content } })
}

/// A model that says `text` in words, `ms` apart, for a faculty that works with models.
pub(crate) fn talkative(home: &Home, text: &str, ms: u64) {
    let turns = json!({"turns": [{"content": [{"type": "text", "text": text}], "pace_ms": ms}]});
    let model = format!("scripted:{}", home.file("transcript.json", turns.to_string()));
    home.configure(&format!("[llm.roles]\ndefault = '{model}'\n[serve]\nlease_ms = 1000\ngrace_ms = 500\n"));
}

#[test]
fn work_that_is_submitted_without_a_server_is_done_at_once() {
    let home = Home::new();
    let submit = ["work", "submit", "transform", "cli", "--params", "{\"content\":\"hello world\"}"];
    let submitted = home.json(&submit);
    assert_eq!((&submitted["result"], &submitted["served"]), (&json!("created"), &json!(false)));
    let shown = home.ok(&["work", "show"]).stdout;
    assert!(shown.contains("dlrow olleh") && shown.contains("completed"), "{shown}");
    let shown = home.json(&["work", "show", "last"]);
    assert_eq!(shown["work"]["outcome"]["summary"], "dlrow olleh");
    assert_eq!(shown["work"]["max_attempts"], 3, "the faculty's default");
    assert_eq!(shown["foci"].as_array().unwrap().len(), 1);

    // What nobody could do says so, and what is left in the queue stays there until somebody works.
    home.ok(&[&submit[..], &["--detach", "--dedup-key", "k"]].concat());
    let merged = home.json(&[&submit[..], &["--detach", "--dedup-key", "k"]].concat());
    assert_eq!(merged["result"], "merged");
    assert!(home.ok(&["work", "show", "last"]).stdout.contains("merged into"));
    let queued = merged["work"]["id"].as_str().unwrap();
    assert!(home.ok(&["work", "show", queued]).stdout.contains("no server takes work now"));
    let once = home.json(&["serve", "--once"]);
    assert_eq!(once["claimed"], 1);
    assert_eq!(home.json(&["work", "show", queued])["work"]["state"], "completed");
    let waited = home.ok(&[&submit[..], &["--wait"]].concat()).stdout;
    assert!(waited.contains("dlrow olleh"), "{waited}");
}

#[test]
fn work_that_fails_is_tried_again_and_tells_so_by_its_exit_code() {
    let home = Home::new();
    let faculties = home.path().join("faculties");
    std::fs::create_dir_all(&faculties).unwrap();
    let quick = "plugin = 'assistant'\naccepts = ['hasty']\n[recover]\nmax_attempts = 2\nbackoff = { first_ms = 10, most_ms = 20 }";
    std::fs::write(faculties.join("quick.toml"), quick).unwrap();
    // A model that cannot be reached: another try may find it.
    let gone =
        "[llm.providers.gone]\nkind = 'openai'\nbase_url = 'http://127.0.0.1:9/v1'\n[llm.roles]\ndefault = 'gone:x'\n";
    home.configure(gone);
    home.run(&["work", "submit", "hasty", "cli", "say something"]).expect(1);
    let shown = home.json(&["work", "show"]);
    assert_eq!((&shown["work"]["state"], &shown["work"]["attempts"]), (&json!("dead"), &json!(2)), "{shown}");
    assert_eq!(shown["foci"].as_array().unwrap().len(), 2);
    let id = shown["work"]["id"].as_str().unwrap();
    assert_eq!(home.json(&["work", "retry", id])["work"]["state"], "queued");
    assert_eq!(home.json(&["work", "cancel", id])["work"]["state"], "cancelled");
    let refused = home.run(&["work", "retry", id]).expect(1).stderr;
    assert!(refused.contains("it is cancelled") && refused.contains("submit it again"), "{refused}");
}

#[test]
fn work_without_a_model_is_not_tried_again_and_says_what_to_set() {
    let home = Home::new();
    home.configure("[llm.providers.ollama]\nbase_url = 'http://127.0.0.1:9'\n");
    home.run(&["work", "submit", "assistant", "cli", "say something"]).expect(1);
    let shown = home.json(&["work", "show"]);
    assert_eq!((&shown["work"]["state"], &shown["work"]["attempts"]), (&json!("dead"), &json!(1)), "{shown}");
    let why = shown["work"]["error"]["detail"].as_str().unwrap();
    assert!(why.contains("ANTHROPIC_API_KEY") && why.contains("[llm.roles]"), "{why}");
}

#[test]
fn what_nobody_runs_stays_queued_and_says_why() {
    let home = Home::new();
    let submitted = home.json(&["work", "submit", "tranform", "cli"]);
    assert!(submitted["unroutable"].as_str().unwrap().contains("no faculty is named 'tranform'"), "{submitted}");
    let server = Server::start(&home, &[]);
    let web = server.post("/v1/work", &json!({ "faculty": "web" })).expect(201).json();
    assert!(web["unroutable"].as_str().unwrap().contains("exports no faculty"), "{web}");
    let events = format!("/v1/work/{}/events", web["work"]["id"].as_str().unwrap());
    let first = messages(server.stream(&events, &[]).iter().take(3));
    assert_eq!((first[0].0, first[0].1.as_str()), (None, "notice"));
    assert!(first[0].2["text"].as_str().unwrap().contains("exports no faculty"), "{first:?}");
    let status = server.get("/v1/status").expect(200).json();
    assert!(status["unroutable"]["web"].as_str().unwrap().contains("exports no faculty"), "{status}");
    assert!(status["unroutable"]["tranform"].is_string(), "{status}");
    assert!(home.ok(&["status"]).stdout.contains("nobody runs web"));
    let shown = home.ok(&["work", "show", "last"]).stdout;
    assert!(shown.contains("waiting:") && shown.contains("exports no faculty"), "{shown}");
    wait(|| server.get("/metrics").expect(200).body.contains("animus_work_unroutable{faculty=\"web\"} 1"));
    // Configured meanwhile, it is run.
    std::fs::create_dir_all(home.path().join("faculties")).unwrap();
    std::fs::write(home.path().join("faculties/tranform.toml"), "plugin = 'transform'\n[recover]\nmax_attempts = 1")
        .unwrap();
    let id = submitted["work"]["id"].as_str().unwrap();
    // It has no content, so the faculty refuses it; that it was asked is what counts here.
    assert_eq!(server.until(id, "dead")["error"]["class"], "invalid");
}

#[test]
fn work_goes_in_over_http_and_comes_out() {
    let home = Home::new();
    let server = Server::start(&home, &[]);
    let id = server.submit(&transform("abc"));
    let done = server.until(&id, "completed");
    assert_eq!(done["outcome"]["summary"], "cba");
    assert_eq!((&done["source"], &done["max_attempts"]), (&json!("api"), &json!(3)));
    let shown = server.get(&format!("/v1/work/{id}")).expect(200).json();
    let focus = shown["foci"][0]["id"].as_str().unwrap();
    let focus = server.get(&format!("/v1/foci/{focus}")).expect(200).json();
    assert_eq!(focus["journal"]["effects"]["phase"], 1, "{focus}");
    assert_eq!(server.get(&format!("/v1/work/{id}/foci")).expect(200).json()["foci"][0]["work"], id.as_str());
    home.ok(&["ledger", "append", &id, "noted"]);
    assert_eq!(server.get(&format!("/v1/work/{id}/ledger")).expect(200).json()["entries"][0]["content"], "noted");
    assert_eq!(server.get(&format!("/v1/work/{id}/ledger?type=plan")).expect(200).json()["entries"], json!([]));
    let faculties = server.get("/v1/faculties").expect(200).json();
    let faculty = faculties["faculties"].as_array().unwrap().iter().find(|it| it["name"] == "transform").unwrap();
    assert!(faculty["description"].as_str().unwrap().contains("reverses a text"), "its plugin's: {faculty}");
    assert!(server.get("/v1/plugins").expect(200).body.contains("\"transform\""));
    assert!(server.get("/healthz").expect(200).body.ends_with("}\n"), "a line for whoever reads lines");

    // Lists compose, and go on where they ended.
    for n in 0..3 {
        server.until(&server.submit(&transform(&n.to_string())), "completed");
    }
    let page = server.get("/v1/work?limit=3&state=completed&faculty=transform").expect(200).json();
    assert_eq!(page["work"].as_array().unwrap().len(), 3);
    let next = page["next"].as_str().unwrap();
    let rest = server.get(&format!("/v1/work?limit=3&cursor={next}")).expect(200).json();
    assert_eq!((rest["work"][0]["id"].as_str(), &rest["next"]), (Some(id.as_str()), &Value::Null));

    // What is not there, or makes no sense, is refused in one shape.
    let nobody = "01a1ff03-05fd-74e2-ada4-d427f3cc2f67";
    for (answer, status, class) in [
        (server.get(&format!("/v1/work/{nobody}")), 404, "not-found"),
        (server.get("/v1/work/nonsense"), 404, "not-found"),
        (server.get(&format!("/v1/work/{nobody}/events")), 404, "not-found"),
        (server.get(&format!("/v1/work/{nobody}/ledger")), 404, "not-found"),
        (server.get(&format!("/v1/foci/{nobody}")), 404, "not-found"),
        (server.get("/v1/nowhere"), 404, "not-found"),
        (server.get("/v1/work?limit=0"), 400, "invalid"),
        (server.get("/v1/work?state=odd"), 400, "invalid"),
        (server.get("/v1/work?stat=queued"), 400, "invalid"),
        (server.ask("DELETE", "/v1/work", &[], None), 405, "invalid"),
        (server.ask("POST", "/v1/work", &["Content-Type: text/plain"], Some("{\"faculty\":\"x\"}")), 415, "invalid"),
        (server.ask("POST", "/v1/work", &["Content-Type: application/json"], Some("{")), 400, "invalid"),
        (server.post("/v1/work", &json!({ "faculty": "transform", "parms": {} })), 422, "invalid"),
        (server.post("/v1/work", &json!({ "faculty": "" })), 400, "invalid"),
        (server.post("/v1/work", &json!({ "faculty": "x", "instruction": "y".repeat(1 << 20) })), 413, "invalid"),
        (server.ask("POST", &format!("/v1/work/{id}/retry"), &[], None), 409, "conflict"),
        (server.ask("POST", &format!("/v1/work/{nobody}/cancel"), &[], None), 404, "not-found"),
    ] {
        let answer = answer.expect(status);
        assert_eq!(answer.json()["error"]["class"], class, "{answer:?}");
        assert!(answer.json()["error"]["message"].is_string());
    }
}

#[test]
fn the_same_submit_gives_the_same_item() {
    let home = Home::new();
    let server = Server::start(&home, &[]);
    let keyed = |body: &Value| {
        let headers = ["Content-Type: application/json", "Idempotency-Key: one"];
        server.ask("POST", "/v1/work", &headers, Some(&body.to_string()))
    };
    let first = keyed(&transform("a")).expect(201).json();
    let again = keyed(&transform("a")).expect(200).json();
    assert_eq!((&again["result"], &again["work"]["id"]), (&json!("repeated"), &first["work"]["id"]));
    assert_eq!(keyed(&transform("b")).expect(409).json()["error"]["class"], "conflict");
}

#[test]
fn strangers_are_refused() {
    let home = Home::new();
    let server = Server::start(&home, &[]);
    let get = |headers: &[&str]| server.ask("GET", "/v1/status", headers, None).status;
    assert_eq!(get(&[]), 200);
    assert_eq!(get(&["Host: evil.example"]), 403);
    assert_eq!(get(&["Origin: https://evil.example"]), 403);
    let cors = server.ask("OPTIONS", "/v1/work", &["Origin: https://evil.example"], None);
    assert!(!cors.head.to_ascii_lowercase().contains("access-control"), "{cors:?}");

    // With a token, that and nothing else opens; whether the server lives is no secret.
    let token = "0123456789abcdef0123";
    let mut command = home.command(&["serve", "--bind", "127.0.0.1:0", "--json", "--no-work"]);
    command.env("ANIMUS_TOKEN", token);
    let guarded = Server::of(command);
    let status = |header: &str, path: &str| {
        let headers: &[&str] = if header.is_empty() { &[] } else { &[header] };
        guarded.ask("GET", path, headers, None).status
    };
    let right = format!("Authorization: Bearer {token}");
    for path in ["/v1/status", "/v1/work", "/metrics", "/openapi.json", "/v1/nowhere"] {
        assert_eq!(status("", path), 401, "{path}");
        assert_eq!(status("Authorization: Bearer 0123456789abcdef0124", path), 401, "{path}");
        assert_ne!(status(&right, path), 401, "{path}");
    }
    assert_eq!((status("", "/healthz"), status("", "/readyz")), (200, 200));

    // Where strangers can come from, it does not begin without one.
    let refused = home.run(&["serve", "--bind", "0.0.0.0:0", "--json"]).expect(2).json();
    assert!(refused["error"]["message"].as_str().unwrap().contains("no token"), "{refused}");
    let file = home.path().join("token");
    let mut command = home.command(&["serve", "--bind", "0.0.0.0:0", "--json", "--token-file", file.to_str().unwrap()]);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    wait(|| std::fs::read_to_string(&file).is_ok_and(|text| text.trim().len() == 64));
    child.kill().unwrap();
    let out = Done::of(child.wait_with_output().unwrap()).stdout;
    assert!(out.contains(file.to_str().unwrap()), "{out}");
}

#[test]
fn the_document_describes_what_is_answered() {
    let home = Home::new();
    let document: Value = serde_json::from_str(&home.ok(&["serve", "--openapi"]).stdout).unwrap();
    let server = Server::start(&home, &[]);
    assert_eq!(server.get("/openapi.json").expect(200).json(), document);
    let id = server.submit(&transform("abc"));
    server.until(&id, "completed");
    let focus = server.get(&format!("/v1/work/{id}/foci")).json()["foci"][0]["id"].as_str().unwrap().to_owned();
    for (path, template) in [
        ("/healthz".to_owned(), "/healthz"),
        ("/v1/work".to_owned(), "/v1/work"),
        (format!("/v1/work/{id}"), "/v1/work/{id}"),
        (format!("/v1/work/{id}/ledger"), "/v1/work/{id}/ledger"),
        (format!("/v1/work/{id}/foci"), "/v1/work/{id}/foci"),
        (format!("/v1/foci/{focus}"), "/v1/foci/{id}"),
        ("/v1/plugins".to_owned(), "/v1/plugins"),
        ("/v1/faculties".to_owned(), "/v1/faculties"),
        ("/v1/status".to_owned(), "/v1/status"),
    ] {
        let schema = &document["paths"][template]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        assert!(schema.is_object(), "{template}: {document}");
        fits(&document, schema, &server.get(&path).expect(200).json(), &path);
    }
    let failure =
        &document["paths"]["/v1/work/{id}"]["get"]["responses"]["404"]["content"]["application/json"]["schema"];
    fits(&document, failure, &server.get("/v1/work/x").expect(404).json(), "404");
}

/// Whether a value has the fields and types that a schema says, and no others.
fn fits(document: &Value, schema: &Value, value: &Value, path: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(reference.trim_start_matches('#')).unwrap_or_else(|| panic!("{reference}"));
        return fits(document, target, value, path);
    }
    if let Some(any) = schema["oneOf"].as_array() {
        if value.is_null() {
            return assert!(any.iter().any(|it| it["type"] == "null"), "{path} is null");
        }
        let other = any.iter().find(|it| it["type"] != "null").unwrap();
        return fits(document, other, value, path);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let kinds = schema["type"].as_array().cloned().unwrap_or_else(|| vec![schema["type"].clone()]);
    assert!(kinds.contains(&json!(kind)), "{path} is {value}, and {schema} is said");
    match value {
        Value::Array(items) => {
            items.iter().for_each(|item| fits(document, &schema["items"], item, &format!("{path}[]")))
        }
        Value::Object(fields) if schema["properties"].is_object() => {
            for (name, value) in fields {
                let schema = &schema["properties"][name];
                assert!(schema.is_object(), "{path}.{name} is not in the document");
                fits(document, schema, value, &format!("{path}.{name}"));
            }
            for required in schema["required"].as_array().into_iter().flatten() {
                assert!(fields.contains_key(required.as_str().unwrap()), "{path} has no {required}");
            }
        }
        _ => {}
    }
}

/// The events of an SSE stream: number, kind, data.
pub(crate) fn messages(lines: impl Iterator<Item = String>) -> Vec<(Option<u64>, String, Value)> {
    let (mut all, mut id, mut kind) = (Vec::new(), None, String::new());
    for line in lines {
        if let Some(number) = line.strip_prefix("id: ") {
            id = Some(number.parse().unwrap());
        } else if let Some(name) = line.strip_prefix("event: ") {
            name.clone_into(&mut kind);
        } else if let Some(data) = line.strip_prefix("data: ") {
            all.push((id.take(), std::mem::take(&mut kind), serde_json::from_str(data).unwrap()));
        }
    }
    all
}

fn text_of(messages: &[(Option<u64>, String, Value)]) -> String {
    let tokens = messages.iter().filter(|(_, kind, _)| kind == "token");
    tokens.map(|(_, _, data)| data["text"].as_str().unwrap()).collect()
}

#[test]
fn a_stream_that_is_cut_goes_on_where_it_was_without_gap_or_repetition() {
    let home = Home::new();
    let text: String = (0..60).map(|n| format!("wörd{n} ")).collect();
    talkative(&home, text.trim(), 20);
    let server = Server::start(&home, &[]);
    let id = server.submit(&json!({ "faculty": "assistant", "instruction": "speak" }));
    let path = format!("/v1/work/{id}/events");
    let (mut seen, mut last) = (Vec::new(), 0);
    // Cut after a few messages again and again, while it runs and after.
    for cut in [4, 9, 1, 30] {
        let lines = server.stream(&path, &[&format!("Last-Event-ID: {last}")]);
        let mut got = 0;
        let lines = lines.iter().take_while(|line| {
            got += usize::from(line.starts_with("data: "));
            got <= cut
        });
        for message in messages(lines) {
            last = message.0.unwrap_or(last);
            seen.push(message);
        }
    }
    let rest = messages(server.stream(&format!("{path}?after={last}"), &[]).iter());
    seen.extend(rest);
    assert_eq!(text_of(&seen), text.trim());
    assert_eq!(seen.iter().filter(|(_, kind, _)| kind == "settled").count(), 1, "{seen:?}");
    let kinds: Vec<_> = seen.iter().map(|(_, kind, _)| kind.as_str()).filter(|kind| *kind != "token").collect();
    assert_eq!((kinds[0], kinds[kinds.len() - 2], kinds[kinds.len() - 1]), ("started", "done", "settled"));
    let numbers: Vec<_> = seen.iter().filter_map(|(number, _, _)| *number).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    assert_eq!(seen.last().unwrap().2["work"]["state"], "completed");

    // The same from the store alone, by another server, from any number on.
    let other = Server::start(&home, &["--no-work"]);
    let whole = messages(other.stream(&path, &[]).iter());
    assert_eq!(text_of(&whole), text.trim());
    for number in numbers.iter().step_by(7) {
        let after = messages(other.stream(&format!("{path}?after={number}"), &[]).iter());
        let before: Vec<_> = seen.iter().filter(|(n, _, _)| n.is_some_and(|n| n <= *number)).cloned().collect();
        assert_eq!(text_of(&before) + &text_of(&after), text.trim(), "after {number}");
    }
    // What a browser takes as the end.
    other.ask("GET", &path, &[&format!("Last-Event-ID: {}", numbers.last().unwrap())], None).expect(204);
    other.ask("GET", &path, &["Last-Event-ID: x"], None).expect(400);

    // As lines of JSON.
    let lines: Vec<Value> = other
        .stream(&path, &["Accept: application/x-ndjson"])
        .iter()
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str(&line).unwrap())
        .collect();
    assert_eq!((&lines[0]["type"], &lines[0]["number"]), (&json!("started"), &json!(1)));
    assert_eq!(lines.last().unwrap()["type"], "settled");
    let watched = home.ok(&["work", "watch", &id, "--json"]).events();
    assert_eq!((watched[0]["number"].as_u64(), &watched.last().unwrap()["type"]), (Some(1), &json!("settled")));
}

#[test]
fn what_runs_is_cancelled_soon() {
    let home = Home::new();
    talkative(&home, &"word ".repeat(2_000), 50);
    let server = Server::start(&home, &[]);
    let id = server.submit(&json!({ "faculty": "assistant", "instruction": "speak" }));
    server.until(&id, "running");
    server.ask("POST", &format!("/v1/work/{id}/cancel"), &[], None).expect(200);
    server.until(&id, "cancelled");
    // By another process too.
    let id = server.submit(&json!({ "faculty": "assistant", "instruction": "speak" }));
    server.until(&id, "running");
    assert_eq!(home.json(&["work", "cancel", &id])["work"]["cancelling"], true);
    server.until(&id, "cancelled");
}

#[test]
fn a_server_that_stops_lets_short_work_end_and_lets_go_of_the_rest() {
    let home = Home::new();
    talkative(&home, &"word ".repeat(2_000), 50);
    let server = Server::start(&home, &[]);
    let id = server.submit(&json!({ "faculty": "assistant", "instruction": "speak" }));
    server.until(&id, "running");
    let lines = server.stream(&format!("/v1/work/{id}/events"), &[]);
    server.signal("TERM");
    let last = lines.iter().filter(|line| !line.is_empty()).last().unwrap();
    assert!(last.starts_with(": the server stops"), "a stream that is cut says so: {last}");
    let (code, rest) = server.end();
    assert_eq!(code, Some(0), "{rest}");
    let ended: Value = serde_json::from_str(rest.lines().last().unwrap()).unwrap();
    assert_eq!((&ended["claimed"], &ended["released"]), (&json!(1), &json!(1)));
    // Not cancelled and not failed: another host goes on with it, in the same attempt.
    let shown = home.json(&["work", "show", &id]);
    assert_eq!((&shown["work"]["state"], &shown["work"]["attempts"]), (&json!("running"), &json!(1)));
    let why = shown["waiting"].as_str().unwrap();
    assert!(why.contains("let go of it or is gone") && why.contains("animus serve"), "{shown}");
    assert_eq!(home.json(&["status"])["servers"], json!([]));
    talkative(&home, "short", 1);
    let next = Server::start(&home, &[]);
    assert_eq!(next.until(&id, "completed")["takeovers"], 0, "a host that stops on purpose is not lost");
}

#[test]
fn cancelling_what_a_server_let_go_of_says_that_nobody_hears_of_it_yet() {
    let home = Home::new();
    talkative(&home, &"word ".repeat(2_000), 50);
    let server = Server::start(&home, &[]);
    let id = server.submit(&json!({ "faculty": "assistant", "instruction": "speak" }));
    server.until(&id, "running");
    server.signal("KILL");
    server.end();
    let cancelled = home.json(&["work", "cancel", &id]);
    assert_eq!(cancelled["work"]["cancelling"], true);
    assert!(cancelled["waiting"].as_str().unwrap().contains("the next server goes on with it"), "{cancelled}");
    let next = Server::start(&home, &[]);
    next.until(&id, "cancelled");
}

#[test]
fn a_second_signal_ends_a_server_at_once() {
    let home = Home::new();
    talkative(&home, &"word ".repeat(5_000), 50);
    let config = std::fs::read_to_string(home.path().join("animus.toml")).unwrap();
    home.configure(&config.replace("grace_ms = 500", "grace_ms = 600000"));
    let server = Server::start(&home, &[]);
    let id = server.submit(&json!({ "faculty": "assistant", "instruction": "speak" }));
    server.until(&id, "running");
    server.signal("TERM");
    wait(|| server.get("/readyz").status == 503);
    assert_eq!(server.get("/readyz").json()["status"], "draining");
    server.signal("TERM");
    assert_eq!(server.end().0, Some(130));
}

#[test]
fn work_of_a_server_that_is_killed_is_taken_over_by_another() {
    let home = Home::new();
    talkative(&home, &"word ".repeat(2_000), 50);
    let first = Server::start(&home, &[]);
    let id = first.submit(&json!({ "faculty": "assistant", "instruction": "speak" }));
    first.until(&id, "running");
    first.signal("KILL");
    first.end();
    talkative(&home, "short", 1);
    let second = Server::start(&home, &[]);
    let done = second.until(&id, "completed");
    assert_eq!((&done["attempts"], &done["takeovers"]), (&json!(1), &json!(1)));
    assert_eq!(done["outcome"]["summary"], "short");
    let foci = second.get(&format!("/v1/work/{id}/foci")).json();
    assert_eq!((foci["foci"].as_array().unwrap().len(), &foci["foci"][0]["token"]), (1, &json!(2)));
}

#[test]
fn two_servers_share_the_work_exactly_once_while_one_is_killed_now_and_then() {
    const ITEMS: usize = 200;
    let home = Home::new();
    home.configure("[serve]\nlease_ms = 1000\nmax_concurrent = 8\n");
    let faculties = home.path().join("faculties");
    std::fs::create_dir_all(&faculties).unwrap();
    std::fs::write(faculties.join("transform.toml"), "concurrent = true").unwrap();
    let steady = Server::start(&home, &[]);
    let mut ids = Vec::new();
    for n in 0..ITEMS {
        ids.push(steady.submit(&transform(&n.to_string())));
        if n % 50 == 25 {
            let victim = Server::start(&home, &[]);
            for m in 0..5 {
                ids.push(victim.submit(&transform(&format!("v{n}-{m}"))));
            }
            victim.signal("KILL");
            victim.end();
        }
    }
    let all = ids.len();
    wait(|| steady.get("/v1/status").json()["by_state"] == json!({ "completed": all }));
    let mut outcomes = BTreeMap::<String, usize>::new();
    for id in &ids {
        let shown = steady.get(&format!("/v1/work/{id}")).expect(200).json();
        assert_eq!(shown["work"]["attempts"], 1, "{shown}");
        assert_eq!(shown["foci"].as_array().unwrap().len(), 1);
        *outcomes.entry(shown["work"]["outcome"]["summary"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!(outcomes.len(), all, "each was done, with its own content");
}

#[test]
fn greater_priority_is_done_first() {
    let home = Home::new();
    for (content, priority) in [("low", "-1"), ("usual", "0"), ("high", "7")] {
        let params = json!({ "content": content }).to_string();
        let submit =
            ["work", "submit", "transform", "cli", content, "--detach", "--priority", priority, "--params", &params];
        home.ok(&submit);
    }
    home.ok(&["serve", "--once", "--max-concurrent", "1"]);
    let mut done: Vec<_> = home.json(&["work", "list"])["work"].as_array().unwrap().clone();
    // By the identifier of the focus, which sorts by time.
    done.sort_by_key(|work| work["focus"].as_str().unwrap().to_owned());
    let order: Vec<_> = done.iter().map(|work| work["instruction"].as_str().unwrap()).collect();
    assert_eq!(order, ["high", "usual", "low"]);
}

#[test]
fn what_is_put_into_the_drop_folder_serves_while_a_server_runs() {
    let home = Home::new();
    let server = Server::start(&home, &[]);
    let manifest = "[plugin]\nname = 'turner'\nversion = '1.0.0'\nwit = '0.1'\n[capabilities]\nledger = ['append']\n";
    let mut file = std::fs::File::create(home.path().join("plugins/turner.wasm")).unwrap();
    file.write_all(&crate::home::repacked("transform", manifest)).unwrap();
    drop(file);
    wait(|| server.get("/v1/faculties").body.contains("\"turner\""));
    home.ok(&["plugin", "grant", "turner", "--requested"]);
    let id = server.submit(&json!({ "faculty": "turner", "params": { "content": "abc" } }));
    assert_eq!(server.until(&id, "completed")["outcome"]["summary"], "cba");
}
