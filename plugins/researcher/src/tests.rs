use animus_sdk::testing::FakeHost;

use super::*;

fn task(params: Value) -> Task {
    Task { params, ..Task::of("Why is the sky blue?") }
}

#[test]
fn the_parts_are_answered_by_children_and_gathered_with_their_ids() {
    let host = FakeHost::new()
        .answer("Here you are:\n```json\n[\"What is light?\", \"What is air?\", \"What is light?\", \" \"]\n```")
        .worker(|new| Ok(format!("about {}", new.description)))
        .answer("Light [1] meets air [2].")
        .start();
    let outcome = Researcher::engage(task(json!({ "child_params": { "max_turns": 3 }, "child_tokens": 500 }))).unwrap();
    assert!(outcome.success);
    assert_eq!(
        outcome.summary,
        "Light [1] meets air [2].\n\nChildren:\n[1] child-1: What is light?\n[2] child-2: What is air?"
    );
    let asked: Vec<_> = host.children().into_iter().map(|(new, _)| new).collect();
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|new| new.faculty == "assistant" && new.params == "{\"max_turns\":3}"));
    assert!(asked.iter().all(|new| new.max_tokens == Some(500)));
    let gathered = host.requests()[1].messages[0].text();
    assert!(gathered.contains("Report 1 on: What is light?\nabout What is light?"), "{gathered}");
    let entries: Vec<_> = host.entries().into_iter().map(|entry| entry.content).collect();
    assert_eq!(entries, ["1. What is light?\n2. What is air?", "[1] about What is light?", "[2] about What is air?"]);
}

#[test]
fn a_child_that_failed_is_named_and_the_rest_still_counts() {
    let host = FakeHost::new()
        .answer("[\"a\", \"b\"]")
        .worker(
            |new| if new.description == "b" { Err(Error::unavailable("the road is closed")) } else { Ok("A".into()) },
        )
        .answer("A [1]; nothing is known of b.")
        .start();
    let outcome = Researcher::engage(task(json!({}))).unwrap();
    assert!(outcome.success && outcome.summary.contains("[2] child-2: b (failed: "), "{}", outcome.summary);
    assert!(outcome.summary.contains("the road is closed"), "{}", outcome.summary);
    let data = outcome.data.unwrap();
    assert_eq!((&data["children"][0]["success"], &data["children"][1]["success"]), (&json!(true), &json!(false)));
    assert!(host.requests()[1].messages[0].text().contains("(failed: failed: "));
}

#[test]
fn where_all_fail_the_work_is_not_done_and_no_model_makes_an_answer_up() {
    let host = FakeHost::new().answer("[\"a\", \"b\"]").worker(|_| Err(Error::internal("no"))).start();
    let outcome = Researcher::engage(task(json!({}))).unwrap();
    assert!(!outcome.success && outcome.summary.starts_with("no part could be answered"));
    assert_eq!(host.requests().len(), 1);
}

#[test]
fn a_question_that_does_not_split_goes_to_one_child_whole() {
    for answer in ["I cannot.", "[]", "[\"only one\"]", "{\"a\": [1, 2]}", "]["] {
        let host = FakeHost::new().answer(answer).worker(|_| Ok("yes".into())).answer("Yes [1].").start();
        let outcome = Researcher::engage(task(json!({}))).unwrap();
        assert!(outcome.summary.contains("[1] child-1: Why is the sky blue?"), "{answer}: {}", outcome.summary);
        assert_eq!(host.children().len(), 1);
    }
}

#[test]
fn more_parts_than_asked_for_are_left_out_and_odd_parameters_refused() {
    let many: Vec<String> = (0..40).map(|n| format!("q{n}")).collect();
    let host = FakeHost::new().answer(json!(many).to_string()).worker(|_| Ok("x".into())).answer("x").start();
    Researcher::engage(task(json!({ "children": 3, "faculty": "scribe" }))).unwrap();
    let asked: Vec<_> = host.children().into_iter().map(|(new, _)| (new.faculty, new.description)).collect();
    let expected = ["q0", "q1", "q2"].map(|question| ("scribe".to_owned(), question.to_owned()));
    assert_eq!(asked, expected);
    for params in
        [json!({ "children": 1 }), json!({ "children": 9 }), json!({ "childs": 2 }), json!({ "child_params": [] })]
    {
        assert!(matches!(Researcher::engage(task(params)), Err(Error::Invalid(_))));
    }
}

#[test]
fn a_refused_child_is_an_error_where_there_is_no_other() {
    let _host = FakeHost::new().grant(["llm:default", "ledger:append"]).answer("[\"a\", \"b\"]").start();
    assert!(matches!(Researcher::engage(task(json!({}))), Err(Error::Denied(_))));
}
