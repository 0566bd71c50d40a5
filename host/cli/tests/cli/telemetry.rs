//! Telemetry of real runs, as a collector gets it by OTLP.

mod collector;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    process::{Command, Stdio},
    thread,
};

use serde_json::{Value, json};

use self::collector::{Collector, Got};
use crate::home::{Done, Home, repacked};

const PROMPT: &str = "PROMPT-that-nobody-else-may-read";
const ANSWER: &str = "ANSWER-that-nobody-else-may-read";
const RESULT: &str = "RESULT-that-nobody-else-may-read";
const KEY: &str = "sk-KEY-that-nobody-may-read";

fn usage(read: u32, written: u32) -> Value {
    json!({"input_tokens": read, "output_tokens": written, "cached_tokens": 40, "cache_write_tokens": 0})
}

fn call(tool: &str, input: &Value) -> Value {
    json!({"type": "tool_use", "name": tool, "input": input})
}

/// Two files read at once, an entry in the ledger, and a last word.
fn model(home: &Home) -> String {
    home.file("poem.txt", format!("{RESULT}\n"));
    home.file("other.txt", "violets\n");
    let turns = json!({"turns": [
        {"content": [
            call("fs.read_file", &json!({"path": "poem.txt"})),
            call("fs.read_file", &json!({"path": "other.txt"})),
            call("ledger_append", &json!({"entry_type": "finding", "content": "read"})),
        ], "usage": usage(100, 20)},
        {"content": [{"type": "text", "text": ANSWER}], "usage": usage(150, 5)},
    ]});
    format!("scripted:{}", home.file("transcript.json", turns.to_string()))
}

fn run(home: &Home, at: &Collector, model: &str, env: &[(&str, &str)]) -> Done {
    let mut command = home.command(&["run", "--json", "--model", model, PROMPT]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", at.endpoint()).envs(env.iter().copied());
    Done::of(command.output().unwrap())
}

fn tenants(got: &Got) -> bool {
    got.points.iter().all(|point| point.fields.get("animus.tenant") == Some(&json!("local")))
}

#[test]
fn a_run_arrives_as_a_tree_of_spans_and_as_figures_that_agree_with_it() {
    let (home, at) = (Home::new(), Collector::start());
    let model = model(&home);
    let events = run(&home, &at, &model, &[("OTEL_EXPORTER_OTLP_HEADERS", "x-token=abc")]).expect(0).events();
    let (work, focus) = (events[0]["work"].as_str().unwrap(), events[0]["focus"].as_str().unwrap());
    let got = at.got();

    let root = got.span("work.execute");
    assert_eq!((root.parent.as_str(), &root.trace), ("", &work.replace('-', "")));
    assert!(got.spans.iter().all(|span| span.trace == root.trace), "{:#?}", got.spans);
    for (field, value) in [
        ("animus.tenant", json!("local")),
        ("animus.work.id", json!(work)),
        ("animus.focus.id", json!(focus)),
        ("animus.faculty", json!("assistant")),
        ("animus.work.source", json!("cli")),
        ("animus.work.attempt", json!(1)),
        ("animus.focus.resumed", json!(false)),
        ("animus.work.state", json!("completed")),
    ] {
        assert_eq!(root.fields.get(field), Some(&value), "{field}: {root:#?}");
    }
    let engage = got.span("work.engage");
    assert_eq!(engage.parent, root.id);
    assert_eq!(engage.fields["gen_ai.operation.name"], "invoke_agent");
    assert_eq!(engage.fields["gen_ai.agent.name"], "assistant");

    let mut turns = got.named("iteration");
    turns.sort_by_key(|span| span.times);
    let numbers: Vec<_> = turns.iter().map(|turn| turn.fields["animus.iteration"].as_i64().unwrap()).collect();
    assert_eq!(numbers, [1, 2]);
    assert!(turns.iter().all(|turn| turn.parent == engage.id));

    let name = model.strip_prefix("scripted:").unwrap();
    let mut chats = got.named(&format!("chat {name}"));
    chats.sort_by_key(|span| span.times);
    let parents: Vec<_> = chats.iter().map(|chat| chat.parent.clone()).collect();
    assert_eq!(parents, [turns[0].id.clone(), turns[1].id.clone()]);
    for (chat, read, written) in [(chats[0], 100, 20), (chats[1], 150, 5)] {
        assert_eq!(chat.kind, 3);
        for (field, value) in [
            ("gen_ai.operation.name", json!("chat")),
            ("gen_ai.provider.name", json!("scripted")),
            ("gen_ai.request.model", json!(name)),
            ("gen_ai.response.model", json!(name)),
            ("gen_ai.usage.input_tokens", json!(read)),
            ("gen_ai.usage.output_tokens", json!(written)),
            ("gen_ai.usage.cache_read.input_tokens", json!(40)),
            ("animus.llm.cost_microusd", json!(0)),
        ] {
            assert_eq!(chat.fields.get(field), Some(&value), "{field}: {chat:#?}");
        }
    }

    let tools = got.named("work.tool.execute");
    assert_eq!(tools.len(), 3);
    assert!(tools.iter().all(|tool| tool.parent == turns[0].id && !tool.is_error), "{tools:#?}");
    let reads: Vec<_> = tools.iter().filter(|tool| tool.fields["gen_ai.tool.name"] == "fs.read_file").collect();
    assert_eq!(reads.len(), 2);
    assert_ne!(reads[0].fields["gen_ai.tool.call.id"], reads[1].fields["gen_ai.tool.call.id"]);
    assert!(reads[0].times.0 < reads[1].times.1 && reads[1].times.0 < reads[0].times.1, "not at once: {reads:#?}");
    let fs = &reads[0].fields;
    assert_eq!((&fs["animus.plugin.name"], &fs["animus.plugin.generation"]), (&json!("fs"), &json!(1)));
    assert_eq!(fs["animus.plugin.digest"].as_str().unwrap().len(), 12);

    // Entries of the journal and spans name each other.
    let journal = home.json(&["ledger", "show", work, "--journal"])["journal"].clone();
    for tool in reads {
        let seq = tool.fields["animus.journal.seq"].as_u64().unwrap();
        let record = journal.as_array().unwrap().iter().find(|record| record["seq"] == seq).unwrap();
        assert_eq!(record["intent"]["subject"], "fs.read_file");
    }

    let scripted = [("provider", "scripted"), ("model", name)];
    assert_eq!(got.sum("animus.llm.tokens", &[&scripted[..], &[("direction", "input")]].concat()), 250.0);
    assert_eq!(got.sum("animus.llm.tokens", &[&scripted[..], &[("direction", "output")]].concat()), 25.0);
    assert_eq!(got.sum("gen_ai.client.token.usage", &[("gen_ai.token.type", "input")]), 250.0);
    assert_eq!(got.sum("work.engage.iterations", &[("faculty", "assistant")]), 2.0);
    assert_eq!(got.sum("work.engage.parallel_tools", &[("faculty", "assistant")]), 3.0);
    assert_eq!(got.sum("work.ledger.entries", &[("entry_type", "finding")]), 1.0);
    assert_eq!(got.sum("animus.work.submitted", &[("faculty", "assistant"), ("result", "ok")]), 1.0);
    assert_eq!(got.sum("animus.work.state_transitions", &[("from", "queued"), ("to", "running")]), 1.0);
    assert_eq!(got.sum("animus.work.state_transitions", &[("from", "running"), ("to", "completed")]), 1.0);
    let calls = [("plugin", "fs"), ("tool", "read_file"), ("outcome", "ok")];
    assert_eq!(got.sum("animus.plugin.calls", &calls), 2.0);
    assert_eq!(got.sum("animus.plugin.calls", &[("plugin", "assistant"), ("tool", "engage")]), 1.0);
    assert!(got.sum("animus.plugin.peak_memory_bytes", &[("plugin", "fs")]) >= 65_536.0);
    assert_eq!(got.sum("animus.plugin.cost_microusd", &[("plugin", "assistant")]), 0.0);
    let duration = got.points.iter().find(|point| point.metric == "gen_ai.client.operation.duration").unwrap();
    assert_eq!((duration.count, duration.unit.as_str(), duration.bounds.len()), (2, "s", 14));
    assert!(tenants(&got), "{:#?}", got.points);

    let documented = include_str!("../../../../docs/telemetry.md");
    for point in &got.points {
        assert!(documented.contains(&format!("| `{}` |", point.metric)), "{}", point.metric);
        for label in point.fields.keys() {
            assert!(documented.contains(&format!("`{label}`")), "{label} of {}", point.metric);
        }
    }
    for field in got.spans.iter().flat_map(|span| span.fields.keys()) {
        assert!(documented.contains(&format!("`{field}`")), "{field}");
    }

    assert!(got.resources.iter().all(|of| of["service.name"] == "animus" && of.contains_key("service.instance.id")));
    assert!(got.headers.iter().all(|headers| headers["x-token"] == "abc"));
    for secret in [PROMPT, ANSWER, RESULT, "poem.txt"] {
        assert!(!got.holds(secret), "{secret}");
    }
}

/// A vendor that fails once, repeating what it was asked, and then answers.
fn vendor(home: &Home) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    thread::spawn(move || {
        let answer = json!({"model": "x", "choices": [{"message": {"role": "assistant", "content": ANSWER},
            "finish_reason": "stop"}], "usage": {"prompt_tokens": 11, "completion_tokens": 7}});
        let failure = json!({"error": {"message": format!("overloaded: {PROMPT} {KEY}")}});
        for (status, body) in [("503 Busy", failure.to_string()), ("200 OK", answer.to_string())] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut length = 0;
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = text.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            reader.read_exact(&mut vec![0; length]).unwrap();
            let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n");
            write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
        }
    });
    home.configure(&format!(
        "[llm.retry]\nbase_ms = 1\n[llm.providers.slow]\nkind = 'openai'\nbase_url = 'http://{at}/v1'\n\
         key_env = 'SLOW_API_KEY'\n[llm.roles]\ndefault = 'slow:x'\n"
    ));
}

#[test]
fn logs_arrive_within_their_trace_and_without_what_a_vendor_said() {
    let (home, at) = (Home::new(), Collector::start());
    vendor(&home);
    let done = run(&home, &at, "default", &[("SLOW_API_KEY", KEY)]).expect(0);
    let got = at.got();
    let log = got.logs.iter().find(|log| log.body == "a model call is tried again").unwrap_or_else(|| {
        panic!("{:#?}", got.logs);
    });
    assert_eq!((log.severity.as_str(), &log.trace), ("WARN", &got.span("work.execute").trace));
    assert_eq!(log.fields["animus.withheld"], "reason");
    assert!(done.stderr.contains("overloaded"), "the operator's own terminal has it: {done:?}");
    let chat = got.span("chat x");
    assert_eq!((&chat.fields["gen_ai.provider.name"], chat.is_error), (&json!("slow"), false));
    for secret in [PROMPT, ANSWER, KEY, "overloaded"] {
        assert!(!got.holds(secret), "{secret}");
    }
}

#[test]
fn with_content_prompts_and_results_go_along_and_keys_still_do_not() {
    let (home, at) = (Home::new(), Collector::start());
    let scripted = model(&home);
    home.configure(&format!("[telemetry]\nendpoint = '{}/'\nservice_name = 'mine'\ncontent = true\n", at.endpoint()));
    home.ok(&["run", "--model", &scripted, PROMPT]);
    let got = at.got();
    for content in [PROMPT, ANSWER, RESULT, "poem.txt"] {
        assert!(got.holds(content), "{content}");
    }
    let name = scripted.strip_prefix("scripted:").unwrap();
    let chats = got.named(&format!("chat {name}"));
    let said: Vec<_> = chats.iter().flat_map(|chat| &chat.events).collect();
    assert!(said.iter().all(|(name, _)| name == "gen_ai.client.inference.operation.details"), "{said:#?}");
    let asked: Vec<Value> = said
        .iter()
        .filter_map(|(_, fields)| fields.get("gen_ai.input.messages"))
        .map(|text| serde_json::from_str(text.as_str().unwrap()).unwrap())
        .collect();
    assert!(asked.iter().any(|messages| messages[0]["parts"][0]["content"].as_str().unwrap().contains(PROMPT)));
    let tools = got.named("work.tool.execute");
    let mut results = tools.iter().flat_map(|tool| &tool.events).filter_map(|(_, f)| f.get("gen_ai.tool.call.result"));
    assert!(results.any(|text| text.as_str().unwrap().contains(RESULT)));
    assert!(got.resources.iter().all(|of| of["service.name"] == "mine"));

    let at = Collector::start();
    vendor(&home);
    let settings = std::fs::read_to_string(home.path().join("animus.toml")).unwrap();
    home.configure(&format!("{settings}[telemetry]\ncontent = true\n"));
    run(&home, &at, "default", &[("SLOW_API_KEY", KEY)]).expect(0);
    assert!(at.got().holds(PROMPT) && at.got().holds("overloaded") && !at.got().holds(KEY));
}

#[test]
fn a_trace_that_began_elsewhere_goes_on_and_the_work_remembers_it() {
    let (home, at) = (Home::new(), Collector::start());
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let events = run(&home, &at, &model(&home), &[("TRACEPARENT", parent)]).expect(0).events();
    let got = at.got();
    let root = got.span("work.execute");
    assert_eq!((root.trace.as_str(), root.parent.as_str()), ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"));
    let shown = home.json(&["ledger", "show", events[0]["work"].as_str().unwrap()]);
    assert_eq!(shown["work"]["trace"], parent, "{shown}");

    let at = Collector::start();
    let unsampled = parent.replace("-01", "-00");
    run(&home, &at, &model(&home), &[("TRACEPARENT", &unsampled)]).expect(0);
    assert!(at.got().spans.is_empty() && !at.got().points.is_empty());
    let at = Collector::start();
    run(&home, &at, &model(&home), &[("TRACEPARENT", "nonsense")]).expect(0);
    assert_eq!(at.got().span("work.execute").parent, "");
}

#[test]
fn what_fails_is_marked_by_its_class_and_arrives_although_the_command_fails() {
    let (home, at) = (Home::new(), Collector::start());
    let turns = json!({"turns": [{"content": [
        call("fs.read_file", &json!({"path": RESULT})),
        call("fs.write_file", &json!({"path": "x", "content": "x"})),
        call("no_such_tool", &json!({})),
    ], "usage": usage(1, 1)}]});
    let script = format!("scripted:{}", home.file("transcript.json", turns.to_string()));
    let mut command =
        home.command(&["run", "--model", &script, "--max-turns", "1", "--tool", "fs.read_file", "--json", "x"]);
    Done::of(command.env("OTEL_EXPORTER_OTLP_ENDPOINT", at.endpoint()).output().unwrap()).expect(4);
    let got = at.got();
    let root = got.span("work.execute");
    assert!(root.is_error && root.status.is_empty());
    assert_eq!(
        (&root.fields["error.type"], &root.fields["animus.work.state"]),
        (&json!("budget-exhausted"), &json!("failed"))
    );
    let tools = got.named("work.tool.execute");
    assert!(tools.len() == 3 && tools.iter().all(|tool| tool.is_error && tool.status.is_empty()), "{tools:#?}");
    let named = |name: &str| tools.iter().find(|tool| tool.fields["gen_ai.tool.name"] == name).unwrap();
    assert_eq!(named("fs.read_file").fields["error.type"], "not-found");
    assert_eq!(tools.iter().filter(|tool| tool.fields["gen_ai.tool.name"] == "unknown").count(), 2);
    assert_eq!(got.sum("animus.plugin.calls", &[("plugin", "fs"), ("outcome", "error")]), 1.0);
    assert!(!got.holds(RESULT) && !got.holds("no_such_tool"));
}

#[test]
fn a_cancelled_run_delivers_what_it_has() {
    let (home, at) = (Home::new(), Collector::start());
    let vendor = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", vendor.local_addr().unwrap());
    home.configure(&format!(
        "[llm.providers.slow]\nkind = 'openai'\nbase_url = '{url}'\n[llm.roles]\ndefault = 'slow:x'\n"
    ));
    let mut command = home.command(&["run", "--json", "x"]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", at.endpoint()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut run = command.spawn().unwrap();
    let (mut taken, _) = vendor.accept().unwrap();
    let _ = taken.read(&mut [0; 1]).unwrap();
    assert!(Command::new("kill").args(["-INT", &run.id().to_string()]).status().unwrap().success());
    assert_eq!(run.wait().unwrap().code(), Some(130));
    let got = at.got();
    assert_eq!(got.span("work.execute").fields["animus.work.state"], "cancelled");
    assert_eq!(got.span("chat x").fields["error.type"], "cancelled");
}

#[test]
fn calls_of_programs_and_of_operators_are_spans_inside_their_work() {
    let (home, at) = (Home::with_python(), Collector::start());
    home.file("poem.txt", "roses\n");
    let program = home.file("main.py", "return tools.fs.read_file(path='poem.txt')");
    let command = |args: &[&str]| {
        let mut command = home.command(args);
        Done::of(command.env("OTEL_EXPORTER_OTLP_ENDPOINT", at.endpoint()).output().unwrap()).expect(0)
    };
    command(&["exec", &program]);
    let got = at.got();
    let tool = got.span("work.tool.execute");
    assert_eq!(
        (&tool.parent, &tool.fields["gen_ai.tool.name"]),
        (&got.span("work.execute").id, &json!("execute_code"))
    );
    let nested = got.span("sandbox.tool.call");
    assert_eq!((&nested.parent, &nested.fields["gen_ai.tool.name"]), (&tool.id, &json!("fs.read_file")));
    assert_eq!(nested.fields["animus.plugin.name"], "fs");
    assert_eq!(got.sum("work.sandbox.executions", &[("interpreter", "python")]), 1.0);
    assert_eq!(got.sum("animus.plugin.calls", &[("plugin", "python"), ("tool", "run")]), 1.0);

    let before = got.spans.len();
    command(&["tool", "call", "fs.read_file", r#"{"path":"poem.txt"}"#]);
    let new: Vec<_> = at.got().spans.split_off(before);
    let names: Vec<_> = new.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["work.tool.execute", "work.execute"]);
    assert_eq!(new[0].parent, new[1].id);
}

#[test]
fn a_plugins_request_is_a_span_and_tells_nobody_of_the_trace_nor_anybody_of_its_secret() {
    let (home, at) = (Home::new(), Collector::start());
    let site = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", site.local_addr().unwrap());
    let served = thread::spawn(move || {
        let (mut stream, _) = site.accept().unwrap();
        let head: Vec<String> = BufReader::new(stream.try_clone().unwrap())
            .lines()
            .map(Result::unwrap)
            .take_while(|l| !l.is_empty())
            .collect();
        let body = format!("{RESULT} {KEY}");
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{body}", body.len())
            .unwrap();
        head.join("\n").to_ascii_lowercase()
    });
    home.feed(&["secret", "set", "token"], KEY).expect(0);
    let manifest = format!(
        "[plugin]\nname = 'web'\nversion = '0.2.0'\nwit = '0.1'\n[extism]\nallowed_hosts = ['{origin}']\n\
         [capabilities]\nhttp = {{ methods = ['GET'], networks = ['127.0.0.1'], \
         secrets = [{{ handle = 'token', host = '{origin}', header = 'x-token' }}] }}\n"
    );
    let file = home.file("web.wasm", repacked("web", &manifest));
    home.ok(&["plugin", "install", &file, "--grant-requested"]);
    home.configure("[telemetry]\ncontent = true\n");
    let args = json!({"url": format!("{origin}/private?{PROMPT}")}).to_string();
    let mut command = home.command(&["tool", "call", "web.fetch", &args]);
    let done = Done::of(command.env("OTEL_EXPORTER_OTLP_ENDPOINT", at.endpoint()).output().unwrap()).expect(0);
    assert!(done.stdout.contains(RESULT), "{done:?}");
    let sent = served.join().unwrap();
    assert!(sent.contains(&KEY.to_ascii_lowercase()) && !sent.contains("traceparent"), "{sent}");

    let got = at.got();
    let request = got.span("GET");
    assert_eq!((&request.parent, request.kind), (&got.span("work.tool.execute").id, 3));
    for (field, value) in [
        ("http.request.method", json!("GET")),
        ("url.scheme", json!("http")),
        ("server.address", json!("127.0.0.1")),
        ("server.port", json!(origin.rsplit(':').next().unwrap().parse::<u16>().unwrap())),
        ("http.response.status_code", json!(200)),
    ] {
        assert_eq!(request.fields.get(field), Some(&value), "{field}: {request:#?}");
    }
    let received = (RESULT.len() + 1 + KEY.len()) as f64;
    assert_eq!(got.sum("animus.plugin.egress_bytes", &[("plugin", "web"), ("direction", "received")]), received);
    assert_eq!(got.sum("animus.plugin.egress_bytes", &[("plugin", "web"), ("direction", "sent")]), 0.0);
    assert!(!got.holds(KEY) && !got.holds("private"), "the content of an operator's own call is not a model's");
}

#[test]
fn a_server_shows_its_metrics_without_any_collector_and_continues_the_submitters_trace() {
    let (home, at) = (Home::new(), Collector::start());
    let mut serve = home.command(&["serve", "--bind", "127.0.0.1:0", "--json"]);
    serve.env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", format!("{}/v1/traces", at.endpoint()));
    // Its own surroundings are no work's.
    serve.env("TRACEPARENT", "00-00000000000000000000000000000bad-0000000000000bad-01");
    let mut serve = serve.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut said = BufReader::new(serve.stdout.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    let address = serde_json::from_str::<Value>(&line).unwrap()["address"].as_str().unwrap().to_owned();
    let scrape = || {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        write!(stream, "GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut submit =
        home.command(&["work", "submit", "transform", "cli", "--detach", "--params", r#"{"content":"hello"}"#]);
    Done::of(submit.env("TRACEPARENT", parent).output().unwrap()).expect(0);
    let done = r#"animus_work_state_transitions_total{animus_tenant="local",from="running",to="completed"} 1"#;
    let mut text = scrape();
    while !text.contains(done) {
        thread::sleep(std::time::Duration::from_millis(50));
        text = scrape();
    }
    assert!(text.contains("# TYPE animus_operation_duration_ms histogram"), "{text}");
    assert!(text.contains("\nanimus_work_items{"), "{text}");
    assert!(Command::new("kill").args(["-TERM", &serve.id().to_string()]).status().unwrap().success());
    serve.wait().unwrap();
    let got = at.got();
    let root = got.span("work.execute");
    assert_eq!((root.trace.as_str(), root.parent.as_str()), ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"));
    assert!(got.points.is_empty() && got.logs.is_empty());
}

#[test]
fn single_operations_on_the_store_are_spans_only_for_who_debugs() {
    let (home, at) = (Home::new(), Collector::start());
    let done = run(&home, &at, &model(&home), &[("ANIMUS_LOG", "animus_store=debug")]).expect(0);
    let got = at.got();
    let append = got.span("work.ledger");
    assert_eq!(append.fields["animus.effect.subject"], "finding");
    assert!(got.named("work.tool.execute").iter().any(|tool| tool.id == append.parent));
    assert!(!done.stderr.contains("work.execute") && !done.stderr.contains("monotonic_counter"), "{done:?}");
}

#[test]
fn a_collector_that_is_away_or_never_answers_costs_a_run_one_line() {
    let home = Home::new();
    let scripted = model(&home);
    let plain = home.ok(&["run", "--model", &scripted, PROMPT]);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let hangs = format!("http://user:pa55@{}", silent.local_addr().unwrap());
    for endpoint in ["http://user:pa55@127.0.0.1:9", &hangs] {
        let mut command = home.command(&["run", "--model", &scripted, PROMPT]);
        let done = Done::of(command.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint).output().unwrap()).expect(0);
        assert_eq!(done.stdout, plain.stdout);
        let warnings: Vec<_> = done.stderr.lines().filter(|line| line.contains("telemetry")).collect();
        assert_eq!(warnings.len(), 1, "{done:?}");
        assert!(warnings[0].contains("does not reach") && !warnings[0].contains("pa55"), "{done:?}");
    }
    // Without a word to say there is nobody to miss.
    let quiet = home.command(&["plugin", "list"]).env("OTEL_EXPORTER_OTLP_ENDPOINT", &hangs).output().unwrap();
    assert!(!Done::of(quiet).expect(0).stderr.contains("does not reach"));
}

#[test]
fn nothing_is_sent_where_it_is_turned_off_and_a_project_can_send_nothing() {
    let (home, at) = (Home::new(), Collector::start());
    let scripted = model(&home);
    run(&home, &at, &scripted, &[("OTEL_SDK_DISABLED", "true")]).expect(0);
    let none = [("OTEL_TRACES_EXPORTER", "none"), ("OTEL_METRICS_EXPORTER", "none"), ("OTEL_LOGS_EXPORTER", "none")];
    run(&home, &at, &scripted, &none).expect(0);
    home.configure("[telemetry]\ntraces = false\nmetrics = false\nlogs = false\n");
    run(&home, &at, &scripted, &[]).expect(0);
    home.configure("");
    home.file("animus.toml", format!("[telemetry]\nendpoint = '{}'\n", at.endpoint()));
    let refused = home.run(&["run", "--model", &scripted, PROMPT]);
    assert!(refused.code != 0 && refused.stderr.contains("a project cannot set it"), "{refused:?}");
    assert!(at.got().bytes.is_empty());
    home.file("animus.toml", "");
    let mut wrong = home.command(&["status"]);
    let wrong = Done::of(wrong.env("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318").output().unwrap()).expect(2);
    assert!(wrong.stderr.contains("OTEL_EXPORTER_OTLP_ENDPOINT"), "{wrong:?}");
}
