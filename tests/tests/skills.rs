//! Skills from a model's words to a plugin that serves, with the real interpreter: what they can. What they cannot get is
//! in `skill_bounds.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::{collections::BTreeSet, fs};

use animus_agent::RunContext;
use animus_core::{
    Error,
    limits::Limits,
    skill::{Author, NewSkill, Policy, Skill, SkillFiles, SkillName, SkillOrigin, Triggers, Workshop as _},
    store::PluginState,
};
use animus_tests::{
    TestHost, operator,
    skills::{COUNT, COUNT_TEST, EVERY, agent, created, creation, creator, files, forged, named, ok, refused},
};
use serde_json::{Value, json};

#[tokio::test]
async fn a_skill_made_in_a_focus_is_called_in_its_next_turn_and_by_another_host() {
    let host = TestHost::with_python().await;
    fs::write(host.workspace().join("poem.txt"), "roses are red").unwrap();
    let forge = host.forge(Policy::Auto);
    let agent = agent(&host, &forge, EVERY).await;
    let code = "def words(path: str) -> int:\n    \"\"\"Counts the words of a file.\n\n    Args:\n        path: Which.\n    \"\"\"\n    from animus import tools\n    return len(tools.fs.read_file(path=path).split())\n";
    let tests = "from skill import words\n\n\ndef test_words():\n    assert words('poem.txt') == 3\n";
    let told = agent
        .turns(
            "count",
            &[
                ("create_skill", creation("word-count", code, tests)),
                ("word-count.words", json!({ "path": "poem.txt" })),
                ("word-count.words", json!({ "file": "poem.txt" })),
                ("execute_code", json!({ "code": "return tools.word_count.words(path='poem.txt') + 1" })),
            ],
        )
        .await;
    assert!(ok(&told[0]).contains("from the next turn on you can call word-count.words"), "{told:?}");
    assert!(ok(&told[1]).contains('3'), "{told:?}");
    assert!(refused(&told[2]).contains("path"), "{told:?}");
    assert!(ok(&told[3]).contains('4'), "{told:?}");
    let offered = agent.offered();
    assert!(
        !offered[0].contains(&"word-count.words".to_owned()) && offered[1].contains(&"word-count.words".to_owned())
    );

    let elsewhere = RunContext { plugins: host.elsewhere().await, ..host.context().await };
    let report =
        animus_agent::call_tool(elsewhere, "word-count.words", json!({ "path": "poem.txt" }).to_string()).await;
    assert!(report.unwrap().output.unwrap().text.contains('3'));

    let plugin = host.tenant().plugin(&named("word-count")).await.unwrap();
    assert_eq!((plugin.source.as_str(), plugin.state), ("skill:word-count", PluginState::Serving));
    let wasm = host.tenant().artifact(&plugin.digest).await.unwrap();
    assert!(wasm.len() < 64 << 10, "a thin component of {} bytes", wasm.len());
    wasmparser::Validator::new().validate_all(&wasm).unwrap();
    // The calls inside are the skill's own, journaled below the call of it.
    let journal = agent.journal().await;
    let call = journal.iter().find(|r| r.intent.subject == "word-count.words").unwrap();
    let inner = journal.iter().find(|r| r.intent.parent == Some(call.seq)).unwrap();
    assert_eq!((inner.intent.subject.as_str(), inner.intent.caller.as_str()), ("fs.read_file", "word-count"));
}

#[tokio::test]
async fn the_same_source_gives_the_same_component_and_another_another() {
    let host = TestHost::with_python().await;
    let forge = host.forge(Policy::Auto);
    let by = creator(EVERY);
    let first = forged(&host, &forge, &by, &files("counts", COUNT, COUNT_TEST)).await.unwrap().unwrap();
    wasmparser::Validator::new().validate_all(&first.wasm).unwrap();
    let other = TestHost::with_python().await;
    let (elsewhere, by_operator) = (other.forge(Policy::Ask), operator(Limits::unlimited()));
    let again = forged(&other, &elsewhere, &by_operator, &files("counts", COUNT, COUNT_TEST)).await;
    assert_eq!(again.unwrap().unwrap().inspection.digest, first.inspection.digest, "whoever makes it");
    let changed = files("counts", &format!("{COUNT}#\n"), COUNT_TEST);
    let changed = forged(&host, &forge, &by, &changed).await.unwrap().unwrap();
    assert_ne!(changed.inspection.digest, first.inspection.digest);
}

#[tokio::test]
async fn a_trigger_activates_a_skill_once_and_it_is_recorded() {
    let host = TestHost::with_python().await;
    let skill = Skill {
        body: "\n# Whales\n\nSAY-THIS-ONCE\n".into(),
        auto_activate: true,
        triggers: Triggers { keywords: BTreeSet::from(["whales".to_owned()]), ..Triggers::default() },
        ..Skill::new(SkillName::new("whales").unwrap(), "About whales.")
    };
    let all = [
        ("SKILL.md", skill.to_markdown()),
        ("scripts/tools.py", COUNT.to_owned()),
        ("scripts/more.py", "def double(n: int) -> int:\n    return 2 * n\n".to_owned()),
        ("resources/table.csv", "a,b\n".to_owned()),
    ];
    let new = NewSkill {
        files: SkillFiles::new(all.map(|(path, text)| (path.to_owned(), text.into_bytes()))).unwrap(),
        created_by: Author::Human,
        origin: SkillOrigin::default(),
        pending: false,
        plugin: None,
        report: None,
    };
    host.tenant().skill_put("operator", new).await.unwrap();
    let name = SkillName::new("whales").unwrap();
    let forge = host.forge(Policy::Ask);

    let other = agent(&host, &forge, EVERY).await;
    other.turns("tell me of ships", &[("ledger_read", json!({}))]).await;
    assert!(!other.seen().contains("SAY-THIS-ONCE"));
    assert_eq!(host.tenant().skill_activations(&name).await.unwrap().count, 0);

    let first = agent(&host, &forge, EVERY).await;
    let import = json!({ "code": "from skills.whales.scripts.tools import count\nfrom skills.whales.scripts.more import double\nreturn double(count('a b'))" });
    let told = first
        .turns(
            "tell me of whales",
            &[("activate_skill", json!({ "skill_name": "whales" })), ("execute_code", import.clone())],
        )
        .await;
    assert!(ok(&told[0]).contains("active already"), "{told:?}");
    assert!(ok(&told[1]).contains('4'), "{told:?}");
    for prompt in first.system_prompts() {
        assert_eq!(prompt.matches("SAY-THIS-ONCE").count(), 1, "{prompt}");
    }
    assert_eq!(host.tenant().skill_activations(&name).await.unwrap().count, 1);

    // A faculty may engage again in the same focus.
    first.turns("more of whales", &[("ledger_read", json!({}))]).await;
    for prompt in first.system_prompts() {
        assert_eq!(prompt.matches("SAY-THIS-ONCE").count(), 1, "{prompt}");
    }
    assert_eq!(host.tenant().skill_activations(&name).await.unwrap().count, 1);

    // By hand, and twice in the same turn.
    let refused_before = other.call("execute_code", import.clone()).await;
    assert!(refused(&refused_before).contains("skills"), "{refused_before:?}");
    other
        .at_once(&[
            ("activate_skill", json!({ "skill_name": "whales" })),
            ("activate_skill", json!({ "skill_name": "whales" })),
        ])
        .await;
    let told = other
        .turns(
            "go on",
            &[
                ("execute_code", import),
                ("read_skill_file", json!({ "skill_name": "whales", "path": "resources/table.csv" })),
            ],
        )
        .await;
    assert!(ok(&told[0]).contains('4') && ok(&told[1]).contains("a,b"), "{told:?}");
    assert_eq!(other.system_prompts()[0].matches("SAY-THIS-ONCE").count(), 1);
    assert_eq!(host.tenant().skill_activations(&name).await.unwrap().count, 2);
    for path in ["../x", "/etc/passwd", "absent", ""] {
        refused(&other.call("read_skill_file", json!({ "skill_name": "whales", "path": path })).await);
    }
    refused(&other.call("activate_skill", json!({ "skill_name": "absent" })).await);
}

/// A skill that fails three times in a row gives way to the version before; what is refused or asked wrongly is no
/// failure of its own.
#[tokio::test]
async fn a_skill_that_keeps_failing_is_rolled_back() {
    let host = TestHost::with_python().await;
    let forge = host.forge(Policy::Auto);
    let by = creator(EVERY);
    let good = "def half(n: int) -> float:\n    \"\"\"Halves.\"\"\"\n    return n / 2\n";
    let bad = "def half(n: int) -> float:\n    \"\"\"Halves.\"\"\"\n    return n / 0 if n else 0.0\n";
    created(
        &host,
        &forge,
        &by,
        files("halves", good, "from skill import half\ndef test_it():\n    assert half(2) == 1\n"),
    )
    .await
    .unwrap();
    created(
        &host,
        &forge,
        &by,
        files("halves", bad, "from skill import half\ndef test_it():\n    assert half(0) == 0\n"),
    )
    .await
    .unwrap();
    let generation = async || host.tenant().plugin(&named("halves")).await.unwrap().generation;
    let half = async |args: Value| host.call("halves.half", args).await;
    assert_eq!(generation().await, 2);
    let halves = SkillName::new("halves").unwrap();
    let read = async || forge.catalog().await.unwrap().get(&halves).unwrap().files.clone();
    assert_eq!(read().await.get("scripts/tools.py"), Some(bad.as_bytes()));
    for _ in 0..5 {
        assert!(matches!(half(json!({ "m": 1 })).await, Err(Error::Invalid(_))), "asked wrongly");
    }
    for _ in 0..2 {
        assert!(half(json!({ "n": 1 })).await.unwrap().is_error);
    }
    assert!(!half(json!({ "n": 0 })).await.unwrap().is_error, "a success ends the row");
    for n in 0..3 {
        assert_eq!(generation().await, 2, "after {n}");
        assert!(half(json!({ "n": 1 })).await.unwrap().is_error);
    }
    assert_eq!(generation().await, 1);
    assert!(half(json!({ "n": 1 })).await.unwrap().text.contains("0.5"));
    // What agents read of it is what is called.
    assert_eq!(read().await.get("scripts/tools.py"), Some(good.as_bytes()));
    // What an agent makes next counts on from the newest, and not from what serves.
    let agent = agent(&host, &forge, EVERY).await;
    let tests = "from skill import half\ndef test_it():\n    assert half(2) == 1\n";
    let told = agent.call("create_skill", creation("halves", good, tests)).await;
    assert!(ok(&told).contains("made version 3"), "{told:?}");
    let plugin = host.tenant().plugin(&named("halves")).await.unwrap();
    assert_eq!((plugin.generation, plugin.version.as_str()), (3, "3.0.0"));
    let audit = host.tenant().audit_read(100).await.unwrap();
    let rolled = audit.iter().find(|entry| entry.action == "plugin.rollback").unwrap();
    assert!(rolled.actor == "host" && rolled.detail.to_string().contains("ZeroDivisionError"), "{rolled:?}");
}

#[tokio::test]
async fn skills_call_each_other_under_their_own_names() {
    let host = TestHost::with_python().await;
    let forge = host.forge(Policy::Auto);
    let agent = agent(&host, &forge, EVERY).await;
    let code = "from animus import tools\n\n\ndef twice(text: str) -> int:\n    \"\"\"Counts twice.\"\"\"\n    return 2 * int(tools.word_count.count(text=text))\n";
    let tests = "from skill import twice\n\n\ndef test_twice():\n    assert twice('a b') == 4\n";
    let told = agent
        .turns(
            "make",
            &[
                ("create_skill", creation("word-count", COUNT, COUNT_TEST)),
                ("create_skill", creation("twice", code, tests)),
                ("twice.twice", json!({ "text": "a b c" })),
            ],
        )
        .await;
    ok(&told[0]);
    ok(&told[1]);
    assert!(ok(&told[2]).contains('6'), "{told:?}");
    // One that calls itself ends at the depth that all calls have.
    let own = "from animus import tools\n\n\ndef go(n: int) -> int:\n    \"\"\"Goes.\"\"\"\n    return n if n == 0 else tools.again.go(n=n + 1)\n";
    let tests = "from skill import go\n\n\ndef test_go():\n    assert go(0) == 0\n";
    let told =
        agent.turns("again", &[("create_skill", creation("again", own, tests)), ("again.go", json!({ "n": 1 }))]).await;
    ok(&told[0]);
    assert!(refused(&told[1]).contains("call_depth") || refused(&told[1]).contains("depth"), "{told:?}");
}

#[tokio::test]
async fn skills_made_at_the_same_time_all_serve() {
    let host = TestHost::with_python().await;
    let forge = host.forge(Policy::Auto);
    let agent = agent(&host, &forge, EVERY).await;
    let names = ["one", "two", "three"];
    let calls: Vec<_> = names.iter().map(|name| ("create_skill", creation(name, COUNT, COUNT_TEST))).collect();
    for told in agent.at_once(&calls).await {
        ok(&told);
    }
    let uses: Vec<_> =
        ["one.count", "two.count", "three.count"].iter().map(|tool| (*tool, json!({ "text": "a b" }))).collect();
    for told in agent.at_once(&uses).await {
        assert!(ok(&told).contains('2'));
    }
}
