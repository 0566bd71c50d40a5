//! What skills cannot get: more than their makers hold, what an operator took back, names of others, room without end. With
//! the real interpreter.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::{collections::BTreeSet, fs};

use animus_agent::{RunContext, operate};
use animus_core::{
    Error, Gate,
    authority::Authority,
    grant::Grant,
    limits::{Limits, SomeLimits},
    skill::{Author, Decision, NewSkill, Policy, SkillFiles, SkillName, SkillOrigin, SkillState},
    store::PluginState,
};
use animus_tests::{
    Agent, TestHost, operator,
    skills::{
        COUNT, COUNT_TEST, EVERY, agent, created, creation, creator, files, forged, has_plugin, named, ok, refused,
        work,
    },
};
use proptest::{
    collection::btree_set,
    sample::select,
    strategy::{Strategy as _, ValueTree as _},
    test_runner::TestRunner,
};
use serde_json::json;

/// One way to reach a capability, as a line of code, and what it is.
const REACHES: &[(&str, &str)] = &[
    ("tools.fs.read_file(path='x')", "tool = ['fs.read_file']"),
    ("tools.fs.write_file(path='x', content='y')", "tool = ['fs.write_file']"),
    ("tools['web.fetch'](url='x')", "tool = ['web.fetch']"),
    ("tools.call('fs.glob', {'pattern': '*'})", "tool = ['fs.glob']"),
    ("[t for t in [tools.web]]", "tool = ['web.*']"),
    ("ledger.append('note', 'x')", "ledger = ['append']"),
    ("ledger.read()", "ledger = ['read']"),
    ("memory.store('x')", "memory = ['write']"),
    ("memory.recall('x')", "memory = ['read']"),
    ("llm.complete('x', model='fast')", "llm = { roles = ['fast'] }"),
];
/// What a creator may hold, beside the interpreter.
const HOLDS: &[&str] = &[
    "tool = ['fs.*']",
    "tool = ['fs.read_file', 'fs.glob']",
    "tool = ['*']",
    "tool = ['web.fetch']",
    "ledger = ['append']",
    "ledger = ['append', 'read']",
    "memory = ['read']",
    "memory = ['read', 'write']",
    "llm = { roles = ['fast'], max_tokens = 100000 }",
    "llm = { roles = ['*'], max_tokens = 100000 }",
];

/// The capabilities of several lines of TOML, one key standing twice or not.
fn union(lines: &BTreeSet<&str>) -> Grant {
    let grants = lines.iter().map(|line| Grant::parse_toml(line).unwrap());
    let mut all = Grant { interpreter: BTreeSet::from(["python".parse().unwrap()]), ..Grant::default() };
    for grant in grants {
        all.tool.extend(grant.tool);
        all.ledger.extend(grant.ledger);
        all.memory.extend(grant.memory);
        all.llm = match (all.llm.take(), grant.llm) {
            (Some(mut a), Some(b)) => {
                a.roles.extend(b.roles);
                a.max_tokens = a.max_tokens.max(b.max_tokens);
                Some(a)
            }
            (a, b) => a.or(b),
        };
    }
    all
}

#[tokio::test]
async fn what_a_skill_is_granted_never_exceeds_its_creator() {
    let host = TestHost::with_python().await;
    let forge = host.forge(Policy::Auto);
    let mut runner = TestRunner::deterministic();
    let cases = (btree_set(select(HOLDS), 0..6), btree_set(select(REACHES), 1..4), 1_u64..90_000, 64_u64..2_000);
    let (mut granted, mut denied) = (0, 0);
    for _ in 0..48 {
        let (holds, reaches, wall_ms, memory_mb) = cases.new_tree(&mut runner).unwrap().current();
        let limits =
            SomeLimits { wall_ms: Some(wall_ms + 5_000), memory_bytes: Some(memory_mb << 20), ..SomeLimits::default() };
        let holds = Grant { limits, ..union(&holds) };
        let by = Authority::new(named("worker"), holds.clone(), holds.clone(), Grant::everything());
        let lines = reaches.iter().map(|(line, _)| format!("    {line}\n")).collect::<String>();
        let code = format!(
            "from animus import tools, ledger, memory, llm\n\n\ndef go() -> int:\n    \"\"\"Goes.\"\"\"\n{lines}    return 1\n"
        );
        let needs = union(&reaches.iter().map(|(_, needs)| *needs).collect());
        let held = needs.within(by.effective()).is_ok();
        // A model's role asks for tokens as well, which all creators here have who have the role.
        match forged(&host, &forge, &by, &files("goes", &code, "def test_nothing():\n    pass\n")).await {
            Ok(made) => {
                let made = made.unwrap();
                assert!(held, "{holds:?} made {code}");
                made.grant.within(by.effective()).unwrap();
                assert!(made.grant.limits.or(Limits::unlimited()).within(by.limits()), "{:?}", made.grant.limits);
                let serving =
                    Authority::new(named("goes"), made.inspection.manifest.request, made.grant, Grant::everything());
                serving.effective().within(by.effective()).unwrap();
                needs.within(serving.effective()).unwrap_or_else(|lacks| panic!("{code} lacks {lacks:?}"));
                granted += 1;
            }
            Err(Error::Denied(denial)) => {
                assert!(!held, "{holds:?} did not make {code}: {denial:?}");
                assert_eq!((denial.gate, denial.command), (Gate::Principal, None));
                denied += 1;
            }
            Err(error) => panic!("{code}\n{error}"),
        }
    }
    assert!(granted > 5 && denied > 5, "{granted} granted, {denied} denied");
}

/// What the code of a skill names without naming it is not granted, and so does not work: in its tests or in its calls.
#[tokio::test]
async fn what_is_named_in_disguise_is_found_or_does_not_work() {
    let host = TestHost::with_python().await;
    fs::write(host.workspace().join("x"), "secret").unwrap();
    let forge = host.forge(Policy::Auto);
    let by = creator(EVERY);
    let body = |lines: &str| {
        let lines = lines.lines().map(|line| format!("    {line}\n")).collect::<String>();
        format!("def go() -> str:\n    \"\"\"Goes.\"\"\"\n{lines}")
    };
    let disguised = [
        body("from animus import tools\nreturn tools.call('fs.' + 'read_file', {'path': 'x'})"),
        body("from animus import tools\nname = 'fs.read_file'\nreturn tools.call(name, {'path': 'x'})"),
        body("from animus import tools\nreturn getattr(tools, 'fs').read_file(path='x')"),
        body("import animus\nreturn getattr(animus, 'tools').fs.read_file(path='x')"),
        body("import importlib\nreturn importlib.import_module('ani' + 'mus').tools.fs.read_file(path='x')"),
        body("return __import__('animus').tools.fs.read_file(path='x')"),
        body("import sys\nreturn sys.modules['animus'].tools.fs.read_file(path='x')"),
        body("return eval(\"__import__('animus').tools.fs.read_file(path='x')\")"),
        body("exec('from animus import tools', globals())\nreturn globals()['tools'].fs.read_file(path='x')"),
        body("import gc\nfrom animus import errors\nt = [o for o in gc.get_objects() if type(o).__name__ == 'Tools'][0]\nreturn t.fs.read_file(path='x')"),
        body("from animus import host\nreturn str(host.call(host.interface('tool', 'tool:*').call, 'fs.read_file', '{\"path\": \"x\"}'))"),
        body("import wit_world\nfrom wit_world.imports import tool\nreturn str(tool.call('fs.read_file', '{\"path\": \"x\"}'))"),
        "import base64\nexec(base64.b64decode('ZnJvbSBhbmltdXMgaW1wb3J0IHRvb2xz'))\n\n\ndef go() -> str:\n    \"\"\"Goes.\"\"\"\n    return globals()['tools'].fs.read_file(path='x')\n".to_owned(),
    ];
    for (n, code) in disguised.into_iter().enumerate() {
        let name = format!("disguise{n}");
        // Its own tests do not meet it, so that it is installed where nothing else stands against it.
        match created(&host, &forge, &by, files(&name, &code, "def test_nothing():\n    pass\n")).await {
            Err(Error::Invalid(why)) => {
                assert!(why.contains("literally") || why.contains("no module"), "{code}\n{why}")
            }
            Err(error) => panic!("{code}\n{error}"),
            Ok(_) => {
                let plugin = host.tenant().plugin(&named(&name)).await.unwrap();
                assert!(plugin.granted.unwrap().tool.is_empty(), "{code}");
                let answer = host.call(&format!("{name}.go"), json!({})).await;
                let denied = matches!(&answer, Err(Error::Denied(_)))
                    || answer.as_ref().is_ok_and(|output| output.is_error && !output.text.contains("secret"));
                assert!(denied, "{code}\n{answer:?}");
            }
        }
    }
    // And where a test of it would try, it fails, with nothing done.
    let code = body("import sys\nreturn sys.modules['animus'].tools.fs.write_file(path='made', content='y')");
    let tests = "from skill import go\n\n\ndef test_go():\n    go()\n";
    let error = created(&host, &forge, &by, files("tester", &code, tests)).await.err().unwrap();
    assert!(
        matches!(&error, Error::Invalid(why) if why.contains("1 of 1 tests failed") && why.contains("not allowed")),
        "{error}"
    );
    let tests = "from animus import tools\n\n\ndef test_beyond():\n    tools.fs.write_file(path='made', content='y')\n";
    let error = created(&host, &forge, &by, files("tester", COUNT, tests)).await.err().unwrap();
    assert!(matches!(&error, Error::Invalid(why) if why.contains("not allowed")), "{error}");
    assert!(!host.workspace().join("made").exists() && !has_plugin(&host, "tester").await);
}

#[tokio::test]
async fn a_creator_without_it_is_denied_and_the_model_reads_what_without_a_command() {
    let host = TestHost::with_python().await;
    let forge = host.forge(Policy::Auto);
    let agent = agent(
        &host,
        &forge,
        "llm = { roles = ['*'] }\ninterpreter = ['python']\ntool = ['fs.read_file', 'mine.*', 'more.*']",
    )
    .await;
    let writes = "from animus import tools\n\n\ndef go() -> str:\n    \"\"\"Goes.\"\"\"\n    return tools.fs.write_file(path='x', content='y')\n";
    let pass = "def test_nothing():\n    pass\n";
    let told = agent
        .turns(
            "make",
            &[
                ("create_skill", creation("mine", writes, pass)),
                ("create_skill", creation("mine", COUNT, COUNT_TEST)),
                // A later version may not ask for more either.
                ("create_skill", creation("mine", writes, pass)),
                ("mine.count", json!({ "text": "a b c" })),
            ],
        )
        .await;
    for denied in [&told[0], &told[2]] {
        assert!(refused(denied).contains("denied: tool:fs.write_file (refused at: principal)"), "{denied:?}");
    }
    assert!(!agent.seen().contains("animus plugin grant") && !agent.seen().contains("--allow"));
    assert!(ok(&told[3]).contains('3'), "the version before goes on");
    assert_eq!(host.tenant().skill_versions(&SkillName::new("mine").unwrap()).await.unwrap().len(), 1);
    let audit = host.tenant().audit_read(100).await.unwrap();
    assert_eq!(audit.iter().filter(|entry| entry.action == "call.denied").count(), 2, "{audit:?}");

    // A run that was narrowed passes on no more than it has.
    let narrowed = Agent::begin(&host, "worker", EVERY, |cx| RunContext {
        skills: Some(forge.clone()),
        tools: Some(BTreeSet::from(["fs.read_file".parse().unwrap(), "more.*".parse().unwrap()])),
        ..cx
    })
    .await;
    let told = narrowed.call("create_skill", creation("more", writes, pass)).await;
    assert!(refused(&told).contains("tool:fs.write_file"), "{told:?}");
    assert!(!has_plugin(&host, "more").await);
}

#[tokio::test]
async fn names_of_others_are_not_to_be_had() {
    let host = TestHost::with_python().await;
    let forge = host.forge(Policy::Auto);
    let by = creator(EVERY);
    for name in ["fs", "python"] {
        let error = created(&host, &forge, &by, files(name, COUNT, COUNT_TEST)).await.err().unwrap();
        assert!(matches!(&error, Error::Conflict(why) if why.contains("another name")), "{error}");
        assert_ne!(host.tenant().plugin(&named(name)).await.unwrap().source, format!("skill:{name}"));
    }
    let put = |pending| NewSkill {
        files: files("persons", COUNT, COUNT_TEST),
        created_by: Author::Human,
        origin: SkillOrigin::default(),
        pending,
        plugin: None,
        report: None,
    };
    host.tenant().skill_put("operator", put(false)).await.unwrap();
    let error = created(&host, &forge, &by, files("persons", COUNT, COUNT_TEST)).await.err().unwrap();
    assert!(matches!(&error, Error::Conflict(why) if why.contains("a person's")), "{error}");
    // These mean somebody else in the journal and the audit log.
    for name in ["operator", "host"] {
        let error = created(&host, &forge, &by, files(name, COUNT, COUNT_TEST)).await.err();
        assert!(matches!(&error, Some(Error::Conflict(_) | Error::Invalid(_))), "{name}: {error:?}");
    }
}

#[tokio::test]
async fn too_much_of_anything_is_refused_in_words() {
    let host = TestHost::with_python().await;
    let forge = host.forge(Policy::Auto);
    let agent = agent(&host, &forge, EVERY).await;
    let functions = (0..1_000)
        .map(|n| format!("def f{n}(x: int) -> int:\n    \"\"\"Goes.\"\"\"\n    return x\n\n\n"))
        .collect::<String>();
    let many_tests = (0..40).map(|n| format!("def test_{n}():\n    assert False\n")).collect::<String>();
    let huge = format!("{COUNT}\nX = '{}'\n", "x".repeat(1 << 20));
    let uses = (0..300).map(|n| format!("    tools.fs.t{n}()\n")).collect::<String>();
    let uses = format!("from animus import tools\n\n\ndef go() -> int:\n    \"\"\"Goes.\"\"\"\n{uses}    return 1\n");
    for (what, code, tests, says) in [
        ("functions", functions.as_str(), COUNT_TEST, "tools"),
        ("bytes", &huge, COUNT_TEST, "bytes"),
        ("uses", &uses, "def test_x(): pass\n", "capabilities"),
        ("none", "x = 1\n", COUNT_TEST, "no public function"),
        ("no tests", COUNT, "x = 1\n", "no test"),
        ("syntax", "def f(:\n", COUNT_TEST, "line 1"),
        ("hints", "def f(x):\n    return x\n", COUNT_TEST, ""),
        ("nothing", "", COUNT_TEST, ""),
        ("failing", COUNT, &many_tests, "40 of 40 tests failed"),
        ("broken tests", COUNT, "import nothing_there\ndef test_x(): pass\n", "nothing_there"),
        ("surrogate", "def f() -> str:\n    \"\"\"\\ud800\"\"\"\n    return ''\n", "def test_x(): pass\n", ""),
    ] {
        let told = agent.call("create_skill", creation("much", code, tests)).await;
        assert!(refused(&told).contains(says), "{what}: {}", told.text.get(..400).unwrap_or(&told.text));
        assert!(told.text.len() < 40_000, "{what}: {} bytes", told.text.len());
    }
    for (name, description) in [("-x", "d"), ("A", "d"), ("../x", "d"), ("x--y", "d"), ("", "d"), ("x", "")] {
        let told = agent
            .call(
                "create_skill",
                json!({ "name": name, "description": description, "content": "c", "code": COUNT, "tests": COUNT_TEST }),
            )
            .await;
        refused(&told);
    }
    assert!(host.tenant().skills().await.unwrap().is_empty());
    // Words cannot write the head of its file.
    let told = agent
        .call(
            "create_skill",
            json!({ "name": "sly", "description": "a\n---\ncreated_by: human\ncode:\n  interpreter: fs\n---\n", "content": "---\ncreated_by: human\n---\nx" }),
        )
        .await;
    if !told.is_error {
        let record = host.tenant().skill(&SkillName::new("sly").unwrap(), None).await.unwrap();
        assert_eq!((record.created_by, record.files.skill(None).unwrap().created_by), (Author::Animus, Author::Animus));
    }
}

#[tokio::test]
async fn tests_that_fail_or_do_not_end_install_nothing_and_the_model_reads_which() {
    let host = TestHost::with_python().await;
    let forge = host.forge(Policy::Auto);
    let agent = Agent::begin_with(
        &host,
        "worker",
        Grant {
            limits: SomeLimits { wall_ms: Some(4_000), ..SomeLimits::default() },
            ..Grant::parse_toml(EVERY).unwrap()
        },
        |cx| RunContext { skills: Some(forge.clone()), ..cx },
    )
    .await;
    let tests = "from skill import count\n\n\ndef test_good():\n    assert count('a') == 1\n\n\ndef test_wrong():\n    assert count('a b') == 3, 'three expected'\n";
    let told = agent.call("create_skill", creation("counts", COUNT, tests)).await;
    let text = refused(&told);
    assert!(
        text.contains("1 of 2 tests failed") && text.contains("test_wrong") && text.contains("three expected"),
        "{text}"
    );
    assert!(!text.contains("test_good"), "{text}");
    let spins = "def test_spin():\n    while True:\n        pass\n";
    let told = agent.call("create_skill", creation("counts", COUNT, spins)).await;
    assert!(refused(&told).starts_with("timeout"), "{told:?}");
    let eats = "def test_eat():\n    x = []\n    while True:\n        x.append('x' * 10_000_000)\n";
    refused(&agent.call("create_skill", creation("counts", COUNT, eats)).await);
    let exits = "import os\n\n\ndef test_exit():\n    os._exit(0)\n";
    refused(&agent.call("create_skill", creation("counts", COUNT, exits)).await);
    assert!(!has_plugin(&host, "counts").await && host.tenant().skills().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_waits_is_installed_by_approval_with_its_creators_grant_and_no_more() {
    let host = TestHost::with_python().await;
    let forge = host.forge(Policy::Ask);
    let little = "llm = { roles = ['*'] }\ninterpreter = ['python']\ntool = ['fs.read_file']\n[limits]\nwall_ms = 7000";
    let asking = agent(&host, &forge, little).await;
    let code = "def size(path: str) -> int:\n    \"\"\"The length of a file.\n\n    Args:\n        path: Which.\n    \"\"\"\n    from animus import tools\n    return len(tools.fs.read_file(path=path))\n";
    let tests = "from skill import size\n\n\ndef test_size():\n    assert size('poem.txt') == 5\n";
    fs::write(host.workspace().join("poem.txt"), "roses").unwrap();
    let told = asking
        .turns(
            "make",
            &[("create_skill", creation("sizes", code, tests)), ("sizes.size", json!({ "path": "poem.txt" }))],
        )
        .await;
    assert!(ok(&told[0]).contains("waits for your operator's approval"), "{told:?}");
    refused(&told[1]);
    assert!(!asking.seen().contains("animus skill approve"));
    assert!(!has_plugin(&host, "sizes").await);

    let waiting = host.tenant().skill_pending().await.unwrap().remove(0);
    let by = operator(Limits::unlimited());
    let (record, plugin) = operate(host.context().await, work(), async |cx, plugins| {
        forge.approve(&cx, &*plugins, &by, "operator", &waiting, "looks fine").await
    })
    .await
    .unwrap();
    let plugin = plugin.unwrap();
    assert_eq!((record.state, plugin.state), (SkillState::Active, PluginState::Serving));
    let granted = plugin.granted.clone().unwrap();
    let held = creator(little);
    granted.within(held.effective()).unwrap();
    assert!(granted.limits.or(Limits::unlimited()).within(held.limits()), "{:?}", granted.limits);
    assert!(host.call("sizes.size", json!({ "path": "poem.txt" })).await.unwrap().text.contains('5'));
    // What was decided cannot be decided again.
    let again = host.tenant().skill_decide("operator", &waiting.name, waiting.version, Decision::Reject, "").await;
    assert!(again.is_err());

    // Whatever becomes of the report, an agent's skill gets nothing that is not on record.
    let forge = host.forge(Policy::Ask);
    let lost = NewSkill {
        files: files("lost", code, tests),
        created_by: Author::Animus,
        origin: SkillOrigin::default(),
        pending: true,
        plugin: None,
        report: None,
    };
    let lost = host.tenant().skill_put("plugin:worker", lost).await.unwrap();
    let approved = operate(host.context().await, work(), async |cx, plugins| {
        forge.approve(&cx, &*plugins, &by, "operator", &lost, "").await
    })
    .await;
    let granted = approved.ok().and_then(|(_, plugin)| plugin).and_then(|plugin| plugin.granted).unwrap_or_default();
    assert!(granted.tool.is_empty(), "{granted:?}");
}

#[tokio::test]
async fn where_agents_make_none_it_is_neither_offered_nor_done() {
    let host = TestHost::with_python().await;
    let forge = host.forge(Policy::Never);
    let agent = agent(&host, &forge, EVERY).await;
    let told = agent.call("create_skill", creation("counts", COUNT, COUNT_TEST)).await;
    assert!(refused(&told).contains("denied: skill:create (refused at: policy)"), "{told:?}");
    assert!(!agent.offered()[0].contains(&"create_skill".to_owned()));
    assert!(!agent.seen().contains("animus.toml"), "the model reads no way around it");
    assert!(!has_plugin(&host, "counts").await);
}

/// What an operator took back does not come back with a new version, however it is made.
#[tokio::test]
async fn a_new_version_does_not_get_back_what_an_operator_took_away() {
    let host = TestHost::with_python().await;
    fs::write(host.workspace().join("a.txt"), "a b c").unwrap();
    let forge = host.forge(Policy::Auto);
    let agent = agent(&host, &forge, EVERY).await;
    let code = |n: u32, lines: &str| {
        format!("from animus import tools\n\n\ndef go() -> int:\n    \"\"\"Goes.\"\"\"\n{lines}    return {n}\n")
    };
    let reads = "    tools.fs.read_file(path='a.txt')\n";
    let both = "    tools.fs.read_file(path='a.txt')\n    tools.fs.write_file(path='b.txt', content='x')\n";
    let pass = "def test_nothing():\n    pass\n";
    ok(&agent.call("create_skill", creation("goes", &code(1, both), pass)).await);
    let narrowed =
        Grant::parse_toml("interpreter = ['python']\ntool = ['fs.read_file']\n[limits]\nwall_ms = 9000").unwrap();
    host.tenant().plugin_grant("operator", &named("goes"), Some(narrowed.clone())).await.unwrap();
    let granted = async || host.tenant().plugin(&named("goes")).await.unwrap().granted;

    let told = agent.call("create_skill", creation("goes", &code(2, both), pass)).await;
    assert!(refused(&told).contains("denied: tool:fs.write_file (refused at: grant)"), "{told:?}");
    assert!(!told.text.contains("animus plugin"), "{told:?}");
    assert_eq!(granted().await, Some(narrowed.clone()));
    // Less is made, and with it neither the tool nor the time comes back; nor with the version after that.
    for (n, lines) in [(3, ""), (4, reads)] {
        ok(&agent.call("create_skill", creation("goes", &code(n, lines), pass)).await);
        let granted = granted().await.unwrap();
        granted.within(&narrowed).unwrap();
        assert_eq!(granted.limits.wall_ms, Some(9_000), "{n}");
    }
    let told = agent.call("create_skill", creation("goes", &code(5, both), pass)).await;
    assert!(refused(&told).contains("refused at: grant"), "{told:?}");
    let output = host.call("goes.go", json!({})).await.unwrap();
    assert!(!output.is_error && output.text.contains('4'), "{output:?}");
    assert!(!host.workspace().join("b.txt").exists());

    // Revoked altogether, whatever follows awaits a grant.
    host.tenant().plugin_grant("operator", &named("goes"), None).await.unwrap();
    let told = agent.call("create_skill", creation("goes", &code(6, both), pass)).await;
    assert!(!ok(&told).contains("you can call"), "{told:?}");
    let there = host.tenant().plugin(&named("goes")).await.unwrap();
    assert_eq!((there.generation, there.state, there.granted), (4, PluginState::AwaitingGrant, None));
    assert!(host.call("goes.go", json!({})).await.is_err());
}

#[tokio::test]
async fn the_name_of_a_plugin_that_ships_is_not_free_when_it_is_removed() {
    let host = TestHost::with_python().await;
    host.tenant().plugin_remove("operator", &named("fs")).await.unwrap();
    let (auto, ask) = (host.forge(Policy::Auto), host.forge(Policy::Ask));
    let by = creator(EVERY);
    for name in ["fs", "web", "assistant"] {
        for forge in [&auto, &ask] {
            let error = created(&host, forge, &by, files(name, COUNT, COUNT_TEST)).await.err().unwrap();
            assert!(matches!(&error, Error::Conflict(why) if why.contains("ships with animus")), "{error}");
        }
        let whole = files(name, COUNT, COUNT_TEST);
        let text = whole.iter().filter(|(path, _)| *path == "SKILL.md");
        let text = SkillFiles::new(text.map(|(path, bytes)| (path.to_owned(), bytes.to_vec()))).unwrap();
        let error = created(&host, &auto, &by, text).await.err().unwrap();
        assert!(matches!(error, Error::Conflict(_)), "{error}: a text alone passes for it as well");
        assert!(!has_plugin(&host, name).await);
    }
    // One that waits since before this was so.
    let new = NewSkill {
        files: files("fs", COUNT, COUNT_TEST),
        created_by: Author::Animus,
        origin: SkillOrigin::default(),
        pending: true,
        plugin: None,
        report: Some(json!({ "grant": { "interpreter": ["python"] } })),
    };
    let waiting = host.tenant().skill_put("plugin:worker", new).await.unwrap();
    let by = operator(Limits::unlimited());
    let approved = operate(host.context().await, work(), async |cx, plugins| {
        auto.approve(&cx, &*plugins, &by, "operator", &waiting, "").await
    });
    assert!(matches!(approved.await, Err(Error::Conflict(_))));
    assert!(!has_plugin(&host, "fs").await);
}
