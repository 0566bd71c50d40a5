//! `SKILL.md`: every key has its effect, whatever has none is refused, all at once, each with its line; and what is
//! written reads back.
#![allow(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

use animus_core::{
    Error,
    skill::{Author, Code, MAX_BYTES, Skill, SkillName, Triggers},
};
use proptest::{
    collection::{btree_map, btree_set, vec},
    option,
    prelude::*,
    sample::select,
    string::string_regex,
    test_runner::Config,
};

const FULL: &str = r#"---
name: check-in
description: >
  Asks people how they are.
  Use it for regular conversations.
license: Apache-2.0
compatibility: needs a calendar
metadata:
  author: "ada"
  max-concurrent: 1
allowed-tools: Read Bash(git add:*)
triggers:
  faculties: [social, assistant]
  keywords:
    - check in
    - 'how are you'
  params: { person: "*", kind: weekly }
faculties: [social]
tools-needed: [fs.read_file, "web.*"]
auto-activate: true
created-by: animus
created-from: work_item:0199
creation-findings:
  - "Kelly prefers mornings"
version: 3
updated-at: 2026-11-21
depends: [calendar]
conflicts:
  - silence
code:
  interpreter: python
  source: scripts/ask.py
  tests: [tests/test_ask.py]
---

# Check in

## When to Use

Weekly.
"#;

fn parse(text: &str) -> Result<Skill, Error> {
    Skill::parse(text, None)
}

fn refused(text: &str) -> String {
    let error = parse(text).unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    error.to_string()
}

/// A skill with these lines of frontmatter, which begin on line 4.
fn with(lines: &str) -> String {
    format!("---\nname: a\ndescription: b\n{lines}\n---\nbody\n")
}

fn set(items: &[&str]) -> std::collections::BTreeSet<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

fn name(name: &str) -> SkillName {
    name.parse().unwrap()
}

#[test]
fn every_key_has_its_effect() {
    let skill = Skill::parse(FULL, Some("check-in")).unwrap();
    assert_eq!(skill.name, name("check-in"));
    assert_eq!(skill.description, "Asks people how they are. Use it for regular conversations.\n");
    assert_eq!(skill.license.as_deref(), Some("Apache-2.0"));
    assert_eq!(skill.compatibility.as_deref(), Some("needs a calendar"));
    assert_eq!(skill.metadata.get("author").map(String::as_str), Some("ada"));
    assert_eq!(skill.metadata.get("max-concurrent").map(String::as_str), Some("1"));
    assert_eq!(skill.allowed_tools, set(&["Read", "Bash(git add:*)"]));
    assert_eq!(skill.triggers.faculties, set(&["assistant", "social"]));
    assert_eq!(skill.triggers.keywords, set(&["check in", "how are you"]));
    assert_eq!(skill.triggers.params.get("person").map(String::as_str), Some("*"));
    assert_eq!(skill.triggers.params.get("kind").map(String::as_str), Some("weekly"));
    assert_eq!(skill.faculties, set(&["social"]));
    assert_eq!(skill.tools_needed, ["fs.read_file", "web.*"].map(|t| t.parse().unwrap()).into());
    assert!(skill.auto_activate);
    assert_eq!(skill.created_by, Author::Animus);
    assert_eq!(skill.created_from.as_deref(), Some("work_item:0199"));
    assert_eq!(skill.creation_findings, ["Kelly prefers mornings"]);
    assert_eq!(skill.version, 3);
    assert_eq!(skill.updated_at.as_deref(), Some("2026-11-21"));
    assert_eq!(skill.depends, [name("calendar")].into());
    assert_eq!(skill.conflicts, [name("silence")].into());
    let code = skill.code.as_ref().unwrap();
    assert_eq!((code.interpreter.as_str(), code.source.as_str()), ("python", "scripts/ask.py"));
    assert_eq!(code.tests, set(&["tests/test_ask.py"]));
    assert_eq!(skill.body, "\n# Check in\n\n## When to Use\n\nWeekly.\n");
    assert_eq!(parse(&skill.to_markdown()).unwrap(), skill);
}

#[test]
fn what_is_not_said_has_its_default() {
    let skill = parse("---\nname: a\ndescription: b\n---\n").unwrap();
    assert_eq!(skill, Skill::new(name("a"), "b"));
    let Skill { version, auto_activate, created_by, .. } = &skill;
    assert_eq!((*version, *auto_activate, *created_by), (1, false, Author::Human));
    let code = parse(&with("code: {}")).unwrap().code.unwrap();
    assert_eq!((code.interpreter.as_str(), code.source.as_str()), ("python", "scripts/tools.py"));
    // A file from elsewhere.
    let windows = "---\r\nname: a\r\ndescription: b\r\n---\r\nbody\r\n";
    assert_eq!(parse(windows).unwrap().body, "body\r\n");
}

#[test]
fn the_spelling_with_underscores_is_read_and_dashes_are_written() {
    let text = FULL
        .replace("tools-needed", "tools_needed")
        .replace("auto-activate", "auto_activate")
        .replace("created-by", "created_by")
        .replace("created-from", "created_from")
        .replace("creation-findings", "creation_findings")
        .replace("updated-at", "updated_at")
        .replace("allowed-tools", "allowed_tools");
    assert_ne!(text, FULL);
    let skill = parse(&text).unwrap();
    assert_eq!(skill, parse(FULL).unwrap());
    assert!(skill.to_markdown().contains("\nauto-activate: true\n"));
    // Keys that are not ours are left as they are.
    let skill = parse(&with("metadata:\n  a_b: x")).unwrap();
    assert!(skill.metadata.contains_key("a_b"));
}

#[test]
fn all_problems_are_told_at_once_each_with_its_line() {
    let report = refused(
        "---\nname: Check_In\ndescripton: b\nversion: 0\nauto-activate: yes\ndepends: silence\nupdated-at: 2026-13-01\n\
         triggers:\n  keyword: [a]\ncreated-by: bob\ncode:\n  source: ../../etc/passwd\n---\n",
    );
    for part in [
        "line 2: name: 'Check_In' is not the name of a skill",
        "line 2: description: is missing",
        "line 3: descripton: unknown key; did you mean 'description'?",
        "line 4: version: should be a whole number from 1",
        "line 5: auto-activate: should be true or false",
        "line 6: depends: is a text, and should be a list",
        "line 7: updated-at: should be a date such as",
        "line 9: triggers.keyword: unknown key; did you mean 'keywords'?",
        "line 10: created-by: should be 'animus' or 'human', not 'bob'",
        "line 12: code.source: is not a path inside the skill's folder",
    ] {
        assert!(report.contains(part), "{part}\n---\n{report}");
    }
    assert!(report.starts_with("SKILL.md has 10 problems:\n"), "{report}");
}

#[test]
fn what_does_not_fit_is_refused_with_its_line() {
    let long = "x".repeat(1_025);
    let list = format!("depends: [{}]", (0..65).map(|n| format!("s{n}")).collect::<Vec<_>>().join(", "));
    for (lines, part) in [
        ("x: &anchor 1", "line 4: anchors (&name) are not read here"),
        ("license: *x", "line 4: is not YAML"),
        ("metadata:\n  a: &x b\n  c: *x", "line 6: aliases (*name) are not read here"),
        ("license: !!str MIT", "line 4: tags (!name) are not read here"),
        ("license: MIT\nlicense: GPL", "line 5: license: stands on line 4 already"),
        ("auto-activate: false\nauto_activate: false", "line 5: auto_activate: is 'auto-activate' of line 4 again"),
        ("...\n%YAML 1.2\n", "line "),
        ("license: [", "is not YAML"),
        ("license: a: b", "line 4: is not YAML"),
        ("? [a]\n: b", "is a list, and a key should be a text"),
        ("license:", "line 4: license: has no value"),
        ("license: ''", "line 4: license: should be one line of text"),
        ("license: \"a\\nb\"", "line 4: license: should be one line of text"),
        ("license: \"a\\x1b[2J\"", "line 4: license: has the hidden character \\u{1b}"),
        ("license: a\u{202e}b", "line 4: has the hidden character \\u{202e}"),
        ("version: '1'", "line 4: version: should be a whole number"),
        ("version: +1", "line 4: version: should be a whole number"),
        ("version: 99999999999", "line 4: version: should be a whole number"),
        ("auto-activate: true", "line 4: auto-activate: has no effect without triggers"),
        ("depends: [a]", "line 4: depends[0]: is the skill itself"),
        ("depends: [b]\nconflicts: [b]", "line 5: conflicts: 'b' stands in 'depends' as well"),
        ("depends: [b, c, b]", "line 4: depends[2]: is in the list already"),
        (&list, "line 4: depends: has 65 members, over the limit of 64"),
        ("faculties: [Social]", "line 4: faculties[0]: is not of the form"),
        ("tools-needed: ['f*']", "line 4: tools-needed[0]: 'f*' is not a name or a pattern"),
        ("allowed-tools: Bash(a", "line 4: allowed-tools: has a parenthesis"),
        ("allowed-tools: [a b]", "line 4: allowed-tools[0]: should be one tool"),
        ("updated-at: yesterday", "line 4: updated-at: should be a date"),
        ("updated-at: 2026-01-01T24:00:00Z", "line 4: updated-at: should be a date"),
        ("code:\n  source: tests/a.py", "line 5: code.source: should be a file 'scripts/"),
        ("code:\n  tests: [tests/a.txt]", "line 5: code.tests[0]: should be a file 'tests/"),
        ("code:\n  interpreter: Py", "line 5: code.interpreter: plugin name 'Py'"),
        ("metadata: { '': x }", "its key should be one line of 1 to 128 bytes"),
        ("a: [[[[[[[[[1]]]]]]]]]", "lists and maps deep"),
    ] {
        let report = refused(&with(lines));
        assert!(report.contains(part), "{lines}\n---\n{report}");
    }
    let report = refused(&format!("---\nname: a\ndescription: {long}\n---\n"));
    assert!(report.contains("line 3: description: has 1025 characters, over the limit of 1024"), "{report}");
    let report = refused("---\nname: a\ndescription: ' '\n---\n");
    assert!(report.contains("line 3: description: is empty"), "{report}");
    let report = Skill::parse(FULL, Some("checkin")).unwrap_err().to_string();
    assert!(report.contains("line 2: name: is 'check-in' in a folder 'checkin'"), "{report}");
    let report = refused("---\nname: a\ndescription: b\n---\nfine\nnot\u{200b} fine\n");
    assert!(report.contains("line 6: has the hidden character \\u{200b}"), "{report}");
}

#[test]
fn a_text_without_a_frontmatter_is_told_what_is_missing() {
    for (text, part) in [
        ("", "line 1: should be '---'"),
        ("# Title\n", "line 1: should be '---'"),
        ("\u{feff}---\nname: a\n---\n", "line 1: should be '---'"),
        ("---\nname: a\n", "line 1: the frontmatter that begins here does not end"),
        ("---\n---\n", "the frontmatter is empty"),
        ("---\n# only a comment\n---\n", "the frontmatter is empty"),
        ("---\n- a\n---\n", "line 2: the frontmatter is a list"),
        ("---\nhello\n---\n", "line 2: the frontmatter is a text"),
    ] {
        let report = refused(text);
        assert!(report.contains(part), "{text:?}\n---\n{report}");
    }
}

#[test]
fn a_text_over_the_limit_is_not_read() {
    let body = "x".repeat(MAX_BYTES);
    assert!(refused(&format!("---\nname: a\ndescription: b\n---\n{body}")).contains("over the limit of 262144"));
    let front = format!("license: {}", "x".repeat(32 << 10));
    assert!(refused(&with(&front)).contains("line 2: the frontmatter has"));
    // As many keys as fit, each a problem: the report stays short.
    let keys: String = (0..2_000).map(|n| format!("k{n}: 1\n")).collect();
    let report = refused(&with(&keys));
    assert!(report.lines().count() < 60 && report.contains("more"), "{report}");
}

#[test]
fn real_skills_of_others_are_read() {
    let text = "---\nname: pdf-forms\ndescription: Fills PDF forms. Use when the user has a PDF with fields, or \
                mentions forms.\nlicense: Proprietary. LICENSE.txt has complete terms\nallowed-tools: Read, Grep, Bash\n\
                metadata:\n  version: \"1.0\"\n  short-description: Fill forms\n---\n# PDF\n";
    let skill = Skill::parse(text, Some("pdf-forms")).unwrap();
    assert_eq!(skill.allowed_tools, set(&["Bash", "Grep", "Read"]));
    assert_eq!(skill.license.as_deref(), Some("Proprietary. LICENSE.txt has complete terms"));
}

#[test]
fn each_level_tells_more() {
    let skill = parse(FULL).unwrap();
    assert_eq!(
        skill.line().to_string(),
        "check-in — Asks people how they are. Use it for regular conversations. (auto-activate: on | created by: animus)"
    );
    assert_eq!(skill.when_to_use().as_deref(), Some("Weekly."));
    assert_eq!(skill.full(None), "# Check in\n\n## When to Use\n\nWeekly.");
    assert_eq!(skill.full(Some("\nBe kind.\n")), "# Check in\n\n## When to Use\n\nWeekly.\n\nBe kind.");

    let of = |body: &str| Skill { body: body.to_owned(), ..Skill::new(name("a"), "b") };
    assert_eq!(of("").line().to_string(), "a — b (auto-activate: off | created by: human)");
    let nested = of("# when to use:\n\nx\n\n## more\ny\n```sh\n# not a heading\n```\nz\n# Next\nn");
    assert_eq!(nested.when_to_use().as_deref(), Some("x\n\n## more\ny\n```sh\n# not a heading\n```\nz"));
    assert_eq!(of("# When to Use\n# Next\nx").when_to_use(), None);
    assert_eq!(of("#When to Use\nx").when_to_use(), None);
    assert_eq!(of("```\n# When to Use\nx\n```").when_to_use(), None);
}

/// A text that a skill may carry, among them those that YAML would read as something else.
fn text(longest: usize) -> impl Strategy<Value = String> {
    let odd = select(vec![
        "true", "no", "~", "null", "1", "1e3", "- a", "a: b", "a #b", "#", "&a", "*a", "!a", "%a", "@a", "`a", "'",
        "\"", "\\", "{a: b}", "[a]", "|", ">", "---", "...", "é", "日本", "🦀", " a ", "a  b", "0x1", "\u{a0}", "=",
        "<<", "?",
    ])
    .prop_map(str::to_owned);
    let any = string_regex(&format!("[ -~é日🦀]{{1,{longest}}}")).unwrap();
    prop_oneof![odd, any].prop_filter("not blank", |text| !text.trim().is_empty())
}

fn names() -> impl Strategy<Value = std::collections::BTreeSet<SkillName>> {
    btree_set(string_regex("[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,4})?").unwrap().prop_map(|n| n.parse().unwrap()), 0..4)
}

fn words() -> impl Strategy<Value = std::collections::BTreeSet<String>> {
    btree_set(string_regex("[a-z][a-z0-9_-]{0,12}").unwrap(), 0..4)
}

fn code() -> impl Strategy<Value = Code> {
    let file = |folder: &str| string_regex(&format!("{folder}/[a-z é]{{1,9}}\\.py")).unwrap();
    (string_regex("[a-z][a-z0-9_-]{0,9}").unwrap(), file("scripts"), btree_set(file("tests"), 0..3))
        .prop_map(|(interpreter, source, tests)| Code { interpreter: interpreter.parse().unwrap(), source, tests })
}

fn skill() -> impl Strategy<Value = Skill> {
    let map = || btree_map(text(20), text(40), 0..4);
    let tools = btree_set(string_regex("[A-Za-z_.]{1,9}(\\([a-z :*,]{0,9}\\))?").unwrap(), 0..4);
    let needed = btree_set(select(vec!["fs.*", "a.b", "*", "web.fetch"]).prop_map(|t| t.parse().unwrap()), 0..3);
    let triggers = (words(), btree_set(text(20), 0..4), map());
    let head = (option::of(text(30)), option::of(text(30)), map(), tools);
    let origin =
        (any::<bool>(), option::of(text(30)), vec(text(60).prop_map(|t| format!("{t}\n\t{t}")), 0..3), 1_u32..);
    let date = option::of(select(vec!["2026-11-21", "1999-01-31T23:59:59Z"]).prop_map(str::to_owned));
    let relations = (names(), names(), date, option::of(code()));
    let body = prop_oneof![
        string_regex("[ -~\n\té🦀#`-]{0,200}").unwrap(),
        select(vec!["---\n", "\n---\nname: x\n---\n", "", "\r\n", "no end"]).prop_map(str::to_owned),
    ];
    (text(80), head, triggers, words(), needed, any::<bool>(), origin, relations, body).prop_map(
        |(description, head, triggers, faculties, tools_needed, auto, origin, relations, body)| {
            let (license, compatibility, metadata, allowed_tools) = head;
            let (faculty, keywords, params) = triggers;
            let triggers = Triggers { faculties: faculty, keywords, params };
            let (by_animus, created_from, creation_findings, version) = origin;
            let (depends, conflicts, updated_at, code) = relations;
            let own = name("the-skill-itself");
            Skill {
                auto_activate: auto && !triggers.is_empty(),
                created_by: if by_animus { Author::Animus } else { Author::Human },
                conflicts: conflicts.difference(&depends).cloned().collect(),
                license,
                compatibility,
                metadata,
                allowed_tools,
                triggers,
                faculties,
                tools_needed,
                created_from,
                creation_findings,
                version,
                updated_at,
                depends,
                code,
                body,
                ..Skill::new(own, description)
            }
        },
    )
}

proptest! {
    #![proptest_config(Config { cases: 500, failure_persistence: None, ..Config::default() })]

    #[test]
    fn what_is_written_reads_back(skill in skill()) {
        let text = skill.to_markdown();
        let read = Skill::parse(&text, Some("the-skill-itself"));
        prop_assert_eq!(read.as_ref(), Ok(&skill), "{}", text);
        prop_assert_eq!(read.unwrap().to_markdown(), text, "one value has one text");
    }
}
