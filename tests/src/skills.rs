//! What the tests of skills share: skills with code, who makes them, and how.

use std::sync::Arc;

use animus_agent::{RunContext, operate};
use animus_core::{
    Result,
    authority::Authority,
    grant::Grant,
    id::PluginName,
    llm::ToolResult,
    skill::{Author, Created, Skill, SkillFiles, SkillName, SkillOrigin, Workshop as _},
    work::NewWork,
};
use animus_runtime::skill::{Forge, Forged};
use serde_json::{Value, json};

use crate::{Agent, TestHost};

/// The grant of a faculty that may call everything (TOML).
pub const EVERY: &str = "llm = { roles = ['*'], max_tokens = 16000 }\ninterpreter = ['python']\ntool = ['*']";
/// Code with one tool, `count`.
pub const COUNT: &str =
    "def count(text: str) -> int:\n    \"\"\"Counts the words of a text.\"\"\"\n    return len(text.split())\n";
/// A test of it.
pub const COUNT_TEST: &str = "from skill import count\n\n\ndef test_count():\n    assert count('a b') == 2\n";

/// What a model gives to `create_skill`.
#[must_use]
pub fn creation(name: &str, code: &str, tests: &str) -> Value {
    json!({ "name": name, "description": "A test's.", "content": "# It\n\n## When to Use\nNow.", "code": code, "tests": tests })
}

/// The folder of an agent's skill.
#[must_use]
pub fn files(name: &str, code: &str, tests: &str) -> SkillFiles {
    let skill = Skill {
        body: "\n# It\n\n## When to Use\nNow.\n".into(),
        created_by: Author::Animus,
        ..Skill::new(SkillName::new(name).unwrap(), "A test's.")
    };
    let files = [
        ("SKILL.md", skill.to_markdown()),
        ("scripts/tools.py", code.to_owned()),
        ("tests/test_tools.py", tests.to_owned()),
    ];
    SkillFiles::new(files.map(|(path, text)| (path.to_owned(), text.into_bytes()))).unwrap()
}

/// A plugin's name.
#[must_use]
pub fn named(name: &str) -> PluginName {
    PluginName::new(name).unwrap()
}

/// The authority of an agent under a grant (TOML).
#[must_use]
pub fn creator(grant: &str) -> Authority {
    let grant = Grant::parse_toml(grant).unwrap();
    Authority::new(named("worker"), grant.clone(), grant, Grant::everything())
}

/// An agent under a grant (TOML), that may make skills.
pub async fn agent(host: &TestHost, forge: &Arc<Forge>, grant: &str) -> Agent {
    Agent::begin(host, "worker", grant, |cx| RunContext { skills: Some(forge.clone()), ..cx }).await
}

/// The text of a result that is no error.
pub fn ok(result: &ToolResult) -> &str {
    assert!(!result.is_error, "{}", result.text);
    &result.text
}

/// The text of a result that is an error.
pub fn refused(result: &ToolResult) -> &str {
    assert!(result.is_error, "{}", result.text);
    &result.text
}

/// A work item of an operator who makes skills.
#[must_use]
pub fn work() -> NewWork {
    NewWork::held("worker", "test", "make it", json!({}))
}

/// Makes the plugin of a skill and installs nothing.
///
/// # Errors
/// As [`Forge::forge`].
pub async fn forged(host: &TestHost, forge: &Forge, by: &Authority, files: &SkillFiles) -> Result<Option<Forged>> {
    operate(host.context().await, work(), async |cx, plugins| forge.forge(&cx, &*plugins, by, files).await).await
}

/// Makes a skill as an agent does.
///
/// # Errors
/// As [`animus_core::skill::Workshop::create`].
pub async fn created(host: &TestHost, forge: &Forge, by: &Authority, files: SkillFiles) -> Result<Created> {
    operate(host.context().await, work(), async |cx, plugins| {
        forge.create(&cx, &*plugins, by, files, SkillOrigin::default()).await
    })
    .await
}

/// Whether there is a plugin of that name.
pub async fn has_plugin(host: &TestHost, name: &str) -> bool {
    host.tenant().plugin(&named(name)).await.is_ok()
}
