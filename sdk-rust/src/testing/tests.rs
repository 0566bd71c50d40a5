use serde::Deserialize;

use super::*;
use crate::{
    Json, code, config, engage, http, ledger, llm,
    memory::{self, RecallOptions},
    tools,
};

fn denied<T: std::fmt::Debug>(answer: Result<T>) -> String {
    match answer {
        Err(Error::Denied(denial)) => denial.capability,
        other => panic!("not denied: {other:?}"),
    }
}

/// Doubles a number.
#[derive(Deserialize, schemars::JsonSchema)]
struct Double {
    n: i64,
}

impl Tool for Double {
    const NAME: &'static str = "double";
    const ANNOTATIONS: Annotations = Annotations::READ_ONLY;
    type Output = Json<i64>;

    fn call(self) -> Result<Json<i64>> {
        Ok(Json(2 * self.n))
    }
}

#[test]
fn what_is_not_listed_is_denied_by_its_name_in_grants() {
    let host = FakeHost::new().grant(["ledger:append", "tool:fs.*", "llm:fast"]).tool("web.fetch", |_| Ok("page"));
    let host = host.tool("fs.read_file", |_| Ok("text")).tool_of::<Double>("math").start();
    assert_eq!(ledger::append(EntryType::Note, "a"), Ok(1));
    assert_eq!(denied(ledger::read(Filter::ALL)), "ledger:read");
    assert_eq!(denied(memory::get("memory-1")), "memory:read");
    assert_eq!(denied(memory::store("a", "fact", &[])), "memory:write");
    assert_eq!(denied(tools::call("web.fetch", json!({}))), "tool:web.fetch");
    assert_eq!(denied(tools::describe("math.double")), "tool:math.double");
    assert_eq!(denied(llm::complete(&llm::Request::ask("", "?"))), "llm:default");
    assert_eq!(denied(engage::run(&Options { model: "coder".into(), ..Options::default() })), "llm:coder");
    assert_eq!(denied(code::run("python", &Program::body("1"))), "interpreter:python");
    assert_eq!(tools::call("fs.read_file", json!({})), Ok(ToolOutput::text("text")));
    assert_eq!(tools::list().into_iter().map(|tool| tool.name).collect::<Vec<_>>(), ["fs.read_file"]);
    assert_eq!(llm::models(), ["fast"]);
    assert_eq!(denied(llm::embed(&["a".into()])), "llm:embed");
    assert_eq!(host.calls(), [("fs.read_file".to_owned(), json!({}))]);
    assert!(host.requests().is_empty() && host.engagements().is_empty() && host.programs().is_empty());
}

#[test]
fn a_tool_of_the_sdk_checks_its_arguments_and_answers_data() {
    let host = FakeHost::new().tool_of::<Double>("math").start();
    assert_eq!(tools::call("math.double", json!({ "n": 21 })).unwrap().structured, Some(json!(42)));
    let refusal = tools::call("math.double", json!({ "m": 1 })).unwrap_err();
    assert!(matches!(&refusal, Error::Invalid(text) if text.contains("it takes {n}")), "{refusal}");
    assert!(matches!(tools::call("math.double", 1), Err(Error::Invalid(_))));
    assert_eq!(tools::call("math.halve", json!({})), Err(Error::not_found("tool 'math.halve'")));
    assert_eq!(tools::describe("math.double").unwrap().description, "Doubles a number.");
    assert_eq!(host.calls().len(), 2);
}

#[test]
fn a_tool_may_call_others_and_tools_keep_their_errors() {
    let nested = |_| tools::call("math.double", json!({ "n": 1 })).map(|answer| answer.text);
    let _host = FakeHost::new()
        .tool_of::<Double>("math")
        .tool("outer.run", nested)
        .tool("outer.fail", |_| Err::<String, _>(Error::unavailable("busy")))
        .start();
    assert_eq!(tools::call("outer.run", json!({})), Ok(ToolOutput::text("2")));
    assert_eq!(tools::call("outer.fail", json!({})), Err(Error::unavailable("busy")));
}

#[test]
fn models_answer_in_order_and_then_not_at_all() {
    let host = FakeHost::new().answer("one").answer_with(Err(Error::Timeout("slow".into()))).answer("two").start();
    let request = Request::ask("fast", "?");
    assert_eq!(llm::complete(&request).unwrap().message.text(), "one");
    assert_eq!(llm::complete(&request), Err(Error::Timeout("slow".into())));
    let pieces: Vec<_> = llm::stream(&request).unwrap().map(Result::unwrap).collect();
    assert!(matches!(&pieces[..], [llm::Event::Text(text), llm::Event::Done(_)] if text == "two"), "{pieces:?}");
    assert!(matches!(llm::complete(&request), Err(Error::Unavailable(_))));
    assert_eq!(host.requests().len(), 4);
}

#[test]
fn the_ledger_is_numbered_filtered_and_formatted() {
    let host = FakeHost::new().start();
    for (entry_type, text) in [(EntryType::Plan, "old"), (EntryType::Step, "a"), (EntryType::Plan, "new")] {
        ledger::append(entry_type, text).unwrap();
    }
    let last = Filter { entry_type: Some(EntryType::Plan), last_n: Some(1) };
    assert_eq!(ledger::read(last).unwrap()[0].seq, 3);
    assert!(ledger::read(Filter { entry_type: None, last_n: Some(0) }).unwrap().is_empty());
    let expected = "=== WORK LEDGER (3 entries) ===\n\nPLAN\n- [3] new\n\nSTEPS COMPLETED\n- [2] a\n";
    assert_eq!(ledger::formatted().unwrap(), expected);
    assert!(matches!(ledger::append(EntryType::Note, &"a".repeat(LONGEST + 1)), Err(Error::Invalid(_))));
    assert_eq!(host.entries().len(), 3);
}

#[test]
fn texts_of_the_same_letters_point_the_same_way() {
    let _host = FakeHost::new().grant(["llm:embed"]).start();
    let answer = llm::embed(&["Tea".into(), "ate".into(), "milk".into()]).unwrap();
    assert_eq!(answer.vectors[0], answer.vectors[1]);
    assert_ne!(answer.vectors[0], answer.vectors[2]);
    for bad in [vec![], vec![" ".to_owned()], vec!["x".repeat(LONGEST + 1)], vec!["x".to_owned(); 257]] {
        assert!(matches!(llm::embed(&bad), Err(Error::Invalid(_))));
    }
}

#[test]
fn memories_are_found_by_words_kind_and_tags_and_stay_within_bounds() {
    let host = FakeHost::new().start();
    let whales = memory::store("Whales are mammals", "fact", &["sea".into(), "animal".into()]).unwrap();
    let tea = memory::store("prefers tea", "preference", &[]).unwrap();
    let ids = |query: &str, options: RecallOptions| {
        memory::recall(query, &options).unwrap().into_iter().map(|hit| hit.item.id).collect::<Vec<_>>()
    };
    assert_eq!(ids("", RecallOptions::default()), [tea.clone(), whales.clone()]);
    assert_eq!(ids("mammals?", RecallOptions::default()), std::slice::from_ref(&whales));
    assert_eq!(
        ids("", RecallOptions { kind: Some("preference".into()), ..Default::default() }),
        std::slice::from_ref(&tea)
    );
    memory::tag(&tea, "drink").unwrap();
    assert_eq!(ids("", RecallOptions { tags: vec!["drink".into()], ..Default::default() }), std::slice::from_ref(&tea));
    let mine = |since_ms| RecallOptions { source: Some("test".into()), since_ms, ..Default::default() };
    assert_eq!(ids("", mine(None)).len(), 2);
    assert!(ids("", mine(Some(u64::MAX))).is_empty());
    assert!(ids("", RecallOptions { source: Some("other".into()), ..Default::default() }).is_empty());

    assert_eq!(memory::update(&tea, "prefers coffee", Some(1)), Ok(2));
    assert_eq!(memory::update(&tea, "prefers coffee", Some(1)), Ok(2));
    assert!(matches!(memory::update(&tea, "prefers water", Some(1)), Err(Error::Conflict(_))));
    for n in 3..20 {
        assert_eq!(memory::update(&tea, &format!("drink {n}"), None), Ok(n));
    }
    let versions = memory::versions(&tea).unwrap();
    assert!(versions.iter().map(|it| it.version).eq((9..20).rev()), "{versions:?}");
    assert_eq!(versions[0].content, memory::get(&tea).unwrap().content);

    memory::forget(&tea).unwrap();
    assert!(matches!(memory::forget(&tea), Err(Error::NotFound(_))));
    assert!(matches!(memory::versions(&tea), Err(Error::NotFound(_))));
    assert_eq!(memory::get(&whales).unwrap().tags, ["animal", "sea"]);
    assert!(matches!(memory::store("a", "Not a word", &[]), Err(Error::Invalid(_))));
    assert!(matches!(
        memory::recall("", &RecallOptions { limit: Some(101), ..Default::default() }),
        Err(Error::Invalid(_))
    ));
    assert_eq!(host.memories().len(), 1);
    assert_ne!(memory::store("again", "fact", &[]).unwrap(), tea);
}

#[test]
fn loops_programs_and_configuration_are_answered_as_was_said() {
    let ended = |options: &Options| {
        let text = options.prompt.to_uppercase();
        Ok(Engagement { ending: engage::Ending::Done, text, turns: 1, tool_calls: 0 })
    };
    let ran = |program: &Program| {
        let (text, nothing) = (program.source.clone(), String::new);
        Ok(Outcome { text, value: None, stdout: nothing(), stderr: nothing(), failure: None, state: None })
    };
    let host = FakeHost::new().engage(ended).interpreter("python", ran).config("greeting", "Hi").start();
    assert_eq!(engage::run(&Options { prompt: "go".into(), ..Options::default() }).unwrap().text, "GO");
    assert_eq!(code::run("python", &Program::body("1 + 1")).unwrap().text, "1 + 1");
    assert!(matches!(code::run("ruby", &Program::body("1")), Err(Error::NotFound(_))));
    assert_eq!(config::get("greeting"), Ok(Some("Hi".to_owned())));
    assert_eq!(config::get("other"), Ok(None));
    assert_eq!((host.engagements().len(), host.programs().len()), (1, 1));
}

#[test]
fn http_is_answered_within_the_grant_and_the_bounds_of_the_request() {
    let answer = |request: &http::Request| match request.url() {
        "https://example.org/a" => Ok(http::Response::new(200, "0123456789")),
        _ => Ok(http::Response::new(404, "none")),
    };
    let host = FakeHost::new().grant(["http:GET example.org:443"]).http(answer).start();
    assert_eq!(http::get("https://example.org/a").unwrap().body, b"0123456789");
    let short = http::Request::get("https://example.org/a").max_bytes(3).send().unwrap();
    assert_eq!((short.body.as_slice(), short.truncated), (&b"012"[..], true));
    let missing = http::get("https://example.org/b").unwrap().error_for_status();
    assert!(matches!(missing, Err(Error::NotFound(_))), "{missing:?}");
    assert_eq!(denied(http::Request::post("https://example.org/a").send()), "http:POST example.org:443");
    assert_eq!(denied(http::get("http://example.org/a")), "http:GET http://example.org:80");
    assert!(matches!(http::get("example.org"), Err(Error::Invalid(_))));
    assert_eq!(host.fetches().len(), 3);
    assert_eq!(host.fetches()[0].method(), "GET");
}

#[test]
fn the_host_before_serves_again_and_without_one_the_panic_says_what_to_do() {
    let _outer = FakeHost::new().config("who", "outer").start();
    let inner = FakeHost::new().config("who", "inner").start();
    assert_eq!(config::get("who").unwrap().as_deref(), Some("inner"));
    drop(inner);
    assert_eq!(config::get("who").unwrap().as_deref(), Some("outer"));
    // Another thread has none.
    let panicked = std::thread::spawn(|| config::get("who")).join().unwrap_err();
    let text = panicked.downcast_ref::<String>().unwrap();
    assert!(text.starts_with("config::get was called") && text.contains("FakeHost::new().start()"), "{text}");
}
