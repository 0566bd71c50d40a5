//! The catalogue: what a search finds, what comes along with an activation, and what activates itself.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at what it does not expect")]

use std::collections::BTreeSet;

use animus_core::{
    Error,
    skill::{Activation, Auto, AutoRequest, Catalog, Entry, How, MAX_SKILLS, Notice, Search, SkillFiles, SkillName},
};
use serde_json::{Value, json};

fn name(name: &str) -> SkillName {
    name.parse().unwrap()
}

fn names(all: &[&str]) -> BTreeSet<SkillName> {
    all.iter().map(|one| name(one)).collect()
}

/// A skill with these lines of frontmatter beside its name.
fn skill(name: &str, lines: &str) -> Entry {
    let head = if lines.contains("description:") { "" } else { "description: does it\n" };
    let text = format!("---\nname: {name}\n{head}{lines}\n---\nprompt of {name}\n");
    Entry::new(1, SkillFiles::new([("SKILL.md".to_owned(), text.into_bytes())]).unwrap()).unwrap()
}

/// One that activates itself when a keyword is said.
fn on(name: &str, keyword: &str, lines: &str) -> Entry {
    skill(name, &format!("auto-activate: true\ntriggers: {{ keywords: ['{keyword}'] }}\n{lines}"))
}

fn catalog(skills: impl IntoIterator<Item = Entry>) -> Catalog {
    Catalog::new(skills).unwrap()
}

fn request<'r>(description: &'r str, params: &'r Value) -> AutoRequest<'r> {
    AutoRequest { faculty: "social", description, params, cap: 5, max_tokens: 4_000 }
}

fn auto(catalog: &Catalog, description: &str) -> Auto {
    catalog.auto(&request(description, &json!({})))
}

fn activated(all: &[Activation]) -> Vec<(&str, How)> {
    all.iter().map(|one| (one.name.as_str(), one.how)).collect()
}

fn activate(catalog: &Catalog, one: &str) -> Result<Vec<(String, How)>, Error> {
    let all = catalog.activate(&name(one), None, &BTreeSet::new())?;
    Ok(all.into_iter().map(|one| (one.name.to_string(), one.how)).collect())
}

#[test]
fn a_search_finds_by_words_and_puts_the_best_first() {
    let catalog = catalog([
        skill("calendar", "description: Reads dates"),
        skill("check-in", "description: Asks people how they are\ntriggers: { keywords: [weekly dates] }"),
        skill("people", "description: Knows PEOPLE and their dates"),
        skill("pdf", "description: Fills forms"),
    ]);
    let found = |query: &str| {
        let lines = catalog.search(&Search { query: Some(query), ..Search::default() });
        lines.into_iter().map(|line| line.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(found("people dates"), ["check-in", "people", "calendar"]);
    assert_eq!(found("Forms"), ["pdf"]);
    assert_eq!(found("nothing like it"), [""; 0]);
    assert_eq!(found(" "), ["calendar", "check-in", "pdf", "people"]);
    assert_eq!(catalog.search(&Search::default()).len(), 4);
    let line = &catalog.search(&Search { query: Some("pdf"), ..Search::default() })[0];
    assert_eq!(line.to_string(), "pdf — Fills forms (auto-activate: off | created by: human)");
}

#[test]
fn a_search_shows_a_faculty_what_is_for_it_and_narrows_by_the_kind_of_work() {
    let catalog = catalog([
        skill("all", ""),
        skill("mine", "faculties: [social]"),
        skill("theirs", "faculties: [engineer]"),
        skill("weekly", "triggers: { faculties: [review] }"),
    ]);
    let found = |faculty, work_type| {
        let lines = catalog.search(&Search { query: None, faculty, work_type });
        lines.into_iter().map(|line| line.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(found(Some("social"), None), ["all", "mine", "weekly"]);
    assert_eq!(found(None, Some("review")), ["weekly"]);
    assert_eq!(found(Some("engineer"), None), ["all", "theirs", "weekly"]);
    let refused = catalog.activate(&name("theirs"), Some("social"), &BTreeSet::new()).unwrap_err();
    assert_eq!(refused.class(), "not-found");
    assert!(catalog.activate(&name("theirs"), Some("engineer"), &BTreeSet::new()).is_ok());
}

#[test]
fn an_activation_brings_what_it_depends_on_first() {
    let catalog = catalog([
        skill("a", "depends: [b, c]"),
        skill("b", "depends: [d]"),
        skill("c", "depends: [d]"),
        skill("d", ""),
        skill("e", ""),
    ]);
    let all = catalog.activate(&name("a"), None, &BTreeSet::new()).unwrap();
    let order = [("d", How::Depends), ("b", How::Depends), ("c", How::Depends), ("a", How::Manual)];
    assert_eq!(activated(&all), order);
    assert_eq!((&*all[0].prompt, all[0].version), ("prompt of d", 1));
    // What is active is not given again.
    let rest = catalog.activate(&name("a"), None, &names(&["d", "b"])).unwrap();
    assert_eq!(activated(&rest), [("c", How::Depends), ("a", How::Manual)]);
    assert_eq!(catalog.activate(&name("d"), None, &names(&["d"])).unwrap(), []);
}

#[test]
fn what_cannot_be_activated_says_why() {
    let catalog = catalog([
        skill("a", "depends: [b]"),
        skill("b", "depends: [c]"),
        skill("c", "depends: [b]"),
        skill("lonely", "depends: [calender]"),
        skill("calendar", ""),
        skill("bound", "depends: [theirs]"),
        skill("theirs", "faculties: [engineer]"),
    ]);
    let refused = |one| activate(&catalog, one).unwrap_err();
    let circle = refused("a");
    assert!(matches!(circle, Error::Invalid(_)) && circle.to_string().ends_with("b → c → b"), "{circle}");
    let missing = refused("lonely");
    assert!(matches!(missing, Error::NotFound(_)), "{missing:?}");
    assert_eq!(
        missing.to_string(),
        "the skill 'lonely' depends on 'calender': there is no skill 'calender'; did you mean 'calendar'?"
    );
    assert_eq!(refused("calendr").to_string(), "there is no skill 'calendr'; did you mean 'calendar'?");
    let foreign = catalog.activate(&name("bound"), Some("social"), &BTreeSet::new()).unwrap_err();
    assert_eq!(
        foreign.to_string(),
        "the skill 'bound' depends on 'theirs': the skill 'theirs' is not for this faculty"
    );
}

#[test]
fn a_chain_as_long_as_the_catalogue_is_followed_and_more_than_a_catalogue_is_refused() {
    let chain = |length: usize| {
        (0..length).map(move |n| {
            let last = n + 1 == length;
            skill(&format!("s{n}"), &if last { String::new() } else { format!("depends: [s{}]", n + 1) })
        })
    };
    assert_eq!(activate(&catalog(chain(MAX_SKILLS)), "s0").unwrap().len(), MAX_SKILLS);
    assert_eq!(Catalog::new(chain(MAX_SKILLS + 1)).unwrap_err().class(), "invalid");
    assert_eq!(Catalog::new([skill("a", ""), skill("a", "")]).unwrap_err().class(), "invalid");
}

#[test]
fn a_conflict_is_refused_with_both_names_whoever_declared_it() {
    let catalog = catalog([
        skill("loud", "conflicts: [quiet]"),
        skill("quiet", ""),
        skill("brings-quiet", "depends: [quiet]"),
        skill("torn", "depends: [loud, quiet]"),
    ]);
    for (one, active) in [("loud", "quiet"), ("quiet", "loud"), ("brings-quiet", "loud")] {
        let error = catalog.activate(&name(one), None, &names(&[active])).unwrap_err();
        assert!(matches!(error, Error::Conflict(_)), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("'loud'") && text.contains("'quiet'") && text.ends_with("which is active"), "{text}");
    }
    let torn = activate(&catalog, "torn").unwrap_err().to_string();
    assert!(torn.ends_with("'loud' conflicts with 'quiet', which would come along"), "{torn}");
    assert!(activate(&catalog, "loud").is_ok());
}

#[test]
fn a_keyword_is_a_phrase_in_the_description_or_a_parameter_in_any_case() {
    let catalog = catalog([on("check-in", "Check  in", "")]);
    let matches = |description: &str, params: Value| !catalog.auto(&request(description, &params)).active.is_empty();
    assert!(matches("time to check in with Kelly", json!({})));
    assert!(matches("Time to CHECK\n  IN", json!({})));
    assert!(matches("", json!({ "deep": [{ "note": "we check in weekly" }] })));
    assert!(!matches("check the fridge, it is in the kitchen", json!({})));
    assert!(!matches("", json!({ "check in": 1 })), "a name of a parameter is not a text");
    // Texts beyond the limit are not searched.
    let long = format!("{} check in", "x".repeat(32 << 10));
    assert!(!matches(&long, json!({})));
    assert!(!matches(&"é".repeat(20_000), json!({ "note": "check in" })));
}

#[test]
fn parameters_match_exactly_or_by_a_star_and_all_of_them() {
    let catalog =
        catalog([skill("a", "auto-activate: true\ntriggers: { params: { person: '*', kind: weekly, n: '3' } }")]);
    let flag = Catalog::new([skill("f", "auto-activate: true\ntriggers: { params: { dry: true } }")]).unwrap();
    for (params, wanted) in [(json!({ "dry": true }), 1), (json!({ "dry": false }), 0), (json!({ "dry": [true] }), 0)] {
        assert_eq!(flag.auto(&request("", &params)).active.len(), wanted, "{params}");
    }
    let matches = |params: Value| !catalog.auto(&request("", &params)).active.is_empty();
    assert!(matches(json!({ "person": "Kelly", "kind": "weekly", "n": 3, "more": 1 })));
    assert!(matches(json!({ "person": null, "kind": "weekly", "n": "3" })));
    assert!(!matches(json!({ "kind": "weekly", "n": 3 })));
    assert!(!matches(json!({ "person": "Kelly", "kind": "Weekly", "n": 3 })));
    assert!(!matches(json!({ "person": "Kelly", "kind": "weekly", "n": 4 })));
    assert!(!matches(json!([])));
}

#[test]
fn only_what_wants_to_and_may_activates_itself() {
    let catalog = catalog([
        on("mine", "hello", "faculties: [social]"),
        on("theirs", "hello", "faculties: [engineer]"),
        skill("shy", "triggers: { keywords: [hello] }"),
        skill("by-faculty", "auto-activate: true\ntriggers: { faculties: [social] }"),
        skill("other-faculty", "auto-activate: true\ntriggers: { faculties: [engineer] }"),
    ]);
    let auto = auto(&catalog, "hello");
    assert_eq!(activated(&auto.active), [("by-faculty", How::Auto), ("mine", How::Auto)]);
    assert_eq!(auto.notices, []);
}

#[test]
fn the_cap_goes_to_those_that_match_in_most_ways_then_by_name() {
    let mut skills: Vec<_> = (0..9).map(|n| on(&format!("s{n}"), "hello", "")).collect();
    skills.push(skill("z", "auto-activate: true\ntriggers: { keywords: [hello], faculties: [social] }"));
    let catalog = catalog(skills);
    let auto = catalog.auto(&AutoRequest { cap: 3, ..request("hello", &json!({})) });
    assert_eq!(activated(&auto.active), [("z", How::Auto), ("s0", How::Auto), ("s1", How::Auto)]);
    let left: Vec<_> = (2..9).map(|n| Notice::OverCap { skill: name(&format!("s{n}")), cap: 3 }).collect();
    assert_eq!(auto.notices, left);
    assert_eq!(catalog.search(&Search::default()).len(), 10, "what was left out stays in the catalogue");
}

#[test]
fn what_a_match_depends_on_comes_along_and_counts_only_as_tokens() {
    let catalog =
        catalog([on("a", "hello", "depends: [base]"), on("b", "hello", "depends: [base]"), skill("base", "")]);
    let all = catalog.auto(&AutoRequest { cap: 2, ..request("hello", &json!({})) });
    assert_eq!(activated(&all.active), [("base", How::Depends), ("a", How::Auto), ("b", How::Auto)]);
    assert_eq!(all.notices, []);
}

#[test]
fn prompts_beyond_the_tokens_are_left_out_with_a_notice_and_shorter_ones_still_fit() {
    let long = |one: &str, bytes: usize| {
        let text = format!(
            "---\nname: {one}\ndescription: b\nauto-activate: true\ntriggers: {{ keywords: [hello] }}\n---\n{}\n",
            "x".repeat(bytes)
        );
        Entry::new(1, SkillFiles::new([("SKILL.md".to_owned(), text.into_bytes())]).unwrap()).unwrap()
    };
    let catalog = catalog([long("a", 400), long("b", 401), long("c", 396)]);
    let auto = catalog.auto(&AutoRequest { max_tokens: 200, ..request("hello", &json!({})) });
    assert_eq!(activated(&auto.active), [("a", How::Auto), ("c", How::Auto)]);
    assert_eq!(auto.active.iter().map(Activation::tokens).sum::<u64>(), 199);
    assert_eq!(auto.notices, [Notice::TooLong { skill: name("b"), tokens: 101, left: 100 }]);
    assert_eq!(
        auto.notices[0].to_string(),
        "the skill 'b' was not activated: it takes about 101 tokens of prompt, and 100 are left"
    );
}

#[test]
fn of_matches_that_conflict_none_is_activated() {
    let catalog = catalog([
        on("loud", "hello", "conflicts: [quiet]"),
        on("quiet", "hello", ""),
        on("brings", "hello", "depends: [base]"),
        on("hates-base", "hello", "conflicts: [base]"),
        skill("base", ""),
        on("fine", "hello", "conflicts: [absent]"),
        on("torn", "hello", "depends: [x, y]"),
        skill("x", "conflicts: [y]"),
        skill("y", ""),
    ]);
    let auto = auto(&catalog, "hello");
    assert_eq!(activated(&auto.active), [("fine", How::Auto)]);
    let conflict = |skill: &str, with: &str| Notice::Conflict { skill: name(skill), with: name(with) };
    let broken = &auto.notices[0];
    assert!(
        matches!(broken, Notice::Broken { skill, why } if *skill == name("torn") && why.contains("'x'")),
        "{broken}"
    );
    assert_eq!(
        auto.notices[1..],
        [
            conflict("brings", "hates-base"),
            conflict("hates-base", "brings"),
            conflict("loud", "quiet"),
            conflict("quiet", "loud")
        ]
    );
    // A rival that does not match is none.
    assert_eq!(activated(&catalog.auto(&request("hello", &json!({}))).active), [("fine", How::Auto)]);
    let alone = Catalog::new([on("loud", "hello", "conflicts: [quiet]"), skill("quiet", "")]).unwrap();
    assert_eq!(activated(&alone.auto(&request("hello", &json!({}))).active), [("loud", How::Auto)]);
}
