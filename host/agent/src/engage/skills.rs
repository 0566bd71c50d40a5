//! The tools by which a model finds, activates and makes skills.

use std::collections::{BTreeMap, BTreeSet};

use animus_core::{
    Denial, Error, Result,
    journal::{EffectKind, Intent},
    services::Principal,
    skill::{Author, DEFAULT_SOURCE, Policy, SKILL_FILE, Search, Skill, SkillFiles, SkillName, Triggers, Workshop},
    tool::{Annotations, Output, Tool},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use super::engine_tools::{READS, parse, tool};
use crate::focus::Focus;

/// The tool that makes one.
const CREATE: &str = "create_skill";
/// Where the tests of a skill stand that a model makes.
const TESTS: &str = "tests/test_tools.py";
/// The most lines of one answer.
const MOST_LINES: usize = 100;

/// Their definitions, where the host keeps skills.
pub(super) fn definitions(focus: &Focus) -> Vec<Tool> {
    let Some(workshop) = focus.workshop() else { return Vec::new() };
    let mut tools = vec![
        tool(
            "discover_skills",
            "Find skills: written instructions, some with tools, for a kind of work. Gives a line each.",
            json!({
                "query": { "type": "string", "description": "Words; all skills when absent." },
                "work_type": { "type": "string", "description": "Only those that are triggered by this faculty." },
            }),
            &[],
            READS,
        ),
        tool(
            "activate_skill",
            "Activate a skill: its instructions become part of yours for the rest of this task, and its scripts can be \
             imported in execute_code as skills.<name>.scripts.<file>.",
            json!({ "skill_name": { "type": "string", "description": "As discover_skills gives it." } }),
            &["skill_name"],
            Annotations { idempotent: true, ..Annotations::default() },
        ),
        tool(
            "read_skill_file",
            "Read a file of a skill: a resource, a reference or a script.",
            json!({
                "skill_name": { "type": "string" },
                "path": { "type": "string", "description": "As activate_skill lists it, such as resources/table.csv." },
            }),
            &["skill_name", "path"],
            READS,
        ),
    ];
    if workshop.rules().create != Policy::Never {
        tools.push(tool(
            CREATE,
            "Keep what you learned as a skill, or make a new version of one. With code, each public function of it becomes \
             a tool <name>.<function> that you and others can call from the next turn on: give every parameter and the \
             result type hints, each function a docstring, name the tools it calls literally (tools.fs.read_file(…)), and \
             give tests: functions test_… that import from 'skill' and assert. It gets no more rights than you have.",
            json!({
                "name": { "type": "string", "description": "1 to 64 of a-z, 0-9 and '-', beginning with a letter." },
                "description": { "type": "string", "description": "What it does and when to use it, in a sentence or two." },
                "content": { "type": "string", "description": "The instructions, in Markdown; '## When to Use' says when." },
                "code": { "type": "string", "description": "Python: the functions that become tools." },
                "tests": { "type": "string", "description": "Python: functions test_…; needed with code." },
                "faculties": { "type": "array", "items": { "type": "string" }, "description": "Only for these; all when absent." },
                "keywords": { "type": "array", "items": { "type": "string" }, "description": "Phrases in a task that activate it." },
                "findings": { "type": "array", "items": { "type": "string" }, "description": "What you learned it from." },
            }),
            &["name", "description", "content"],
            Annotations::default(),
        ));
    }
    tools
}

/// Why one of them is not on offer, where the operator's policy says so.
pub(super) fn withheld(focus: &Focus, by: &Principal, name: &str) -> Option<Denial> {
    (name == CREATE).then_some(focus.workshop()?)?.rules().expect_making(by.authority.plugin()).err()
}

/// Calls one of them; `None` when `name` is none of them.
pub(super) async fn call(
    focus: &Focus,
    by: &Principal,
    name: &str,
    args: &Map<String, Value>,
) -> Option<Result<Output>> {
    focus.workshop()?;
    let text = match name {
        "discover_skills" => discover(focus, by, args).await,
        "activate_skill" => activate(focus, by, args).await,
        "read_skill_file" => read_file(focus, by, args).await,
        CREATE => create(focus, by, args).await,
        _ => return None,
    };
    Some(text.map(|text| Output { text, ..Output::default() }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Discover {
    query: Option<String>,
    work_type: Option<String>,
}

async fn discover(focus: &Focus, by: &Principal, args: &Map<String, Value>) -> Result<String> {
    let Discover { query, work_type } = parse("discover_skills", args)?;
    let Some(workshop) = focus.workshop().cloned() else { return Ok(String::new()) };
    let faculty = by.authority.plugin().to_string();
    look(focus, by, "discover_skills", args, async move {
        let search = Search { query: query.as_deref(), faculty: Some(&faculty), work_type: work_type.as_deref() };
        let found = workshop.catalog().await?.search(&search);
        let lines = found.iter().take(MOST_LINES).enumerate().map(|(n, line)| format!("{}. {line}\n", n + 1));
        let text: String = lines.collect();
        Ok(if text.is_empty() { "no skill matches".to_owned() } else { text })
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Activate {
    skill_name: String,
}

async fn activate(focus: &Focus, by: &Principal, args: &Map<String, Value>) -> Result<String> {
    let Activate { skill_name } = parse("activate_skill", args)?;
    let name = SkillName::new(&skill_name)?;
    let new = focus.activate(by, &name).await?;
    if new.is_empty() {
        return Ok(format!("the skill '{name}' is active already"));
    }
    let names: Vec<_> = new.iter().map(SkillName::as_str).collect();
    let Some(workshop) = focus.workshop().cloned() else { return Ok(String::new()) };
    let files = look(focus, by, "list_skill_files", args, async move {
        let catalog = workshop.catalog().await?;
        let entry = catalog.get(&name)?;
        let files = entry.files.iter().map(|(path, _)| path.to_owned()).filter(|path| path != SKILL_FILE);
        Ok(files.collect::<Vec<_>>())
    })
    .await?;
    let files = if files.is_empty() { String::new() } else { format!("; its files: {}", files.join(", ")) };
    Ok(format!("active, see your instructions: {}{files}", names.join(", ")))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadFile {
    skill_name: String,
    path: String,
}

async fn read_file(focus: &Focus, by: &Principal, args: &Map<String, Value>) -> Result<String> {
    let ReadFile { skill_name, path } = parse("read_skill_file", args)?;
    let Some(workshop) = focus.workshop().cloned() else { return Ok(String::new()) };
    let faculty = by.authority.plugin().to_string();
    look(focus, by, "read_skill_file", args, async move { file(&*workshop, &faculty, &skill_name, &path).await }).await
}

/// Looks something up of the skills, which may change: what was found once is what the focus goes on from.
async fn look<T>(
    focus: &Focus,
    by: &Principal,
    subject: &str,
    args: &Map<String, Value>,
    deed: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T>
where
    T: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    let intent = Intent {
        kind: EffectKind::Host,
        caller: by.authority.plugin().to_string(),
        subject: subject.to_owned(),
        request: Value::Object(args.clone()),
        parent: by.parent,
    };
    focus.observe(intent, deed).await
}

async fn file(workshop: &dyn Workshop, faculty: &str, skill_name: &str, path: &str) -> Result<String> {
    let catalog = workshop.catalog().await?;
    let entry = catalog.get(&SkillName::new(skill_name)?)?;
    if !entry.skill.is_for(faculty) {
        return Err(Error::NotFound(format!("the skill '{skill_name}' is not for this faculty")));
    }
    let Some(bytes) = entry.files.get(path) else {
        let known: Vec<_> = entry.files.iter().map(|(path, _)| path).collect();
        return Err(Error::NotFound(format!(
            "the skill '{skill_name}' has no file '{}'; it has {}",
            path.escape_debug(),
            known.join(", ")
        )));
    };
    let text = std::str::from_utf8(bytes);
    text.map(str::to_owned).map_err(|_| Error::Invalid(format!("'{path}' is not text ({} bytes)", bytes.len())))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    name: String,
    description: String,
    content: String,
    code: Option<String>,
    tests: Option<String>,
    #[serde(default)]
    faculties: BTreeSet<String>,
    #[serde(default)]
    keywords: BTreeSet<String>,
    #[serde(default)]
    findings: Vec<String>,
}

async fn create(focus: &Focus, by: &Principal, args: &Map<String, Value>) -> Result<String> {
    let Create { name, description, content, code, tests, faculties, keywords, findings } = parse(CREATE, args)?;
    let name = SkillName::new(&name)?;
    let Some(workshop) = focus.workshop().cloned() else { return Ok(String::new()) };
    let (of, skills) = (name.clone(), workshop.clone());
    let before = look(focus, by, "skill_version", &Map::from_iter([("name".into(), json!(name))]), async move {
        skills.newest(&of).await
    })
    .await?;
    let skill = Skill {
        faculties,
        auto_activate: !keywords.is_empty(),
        triggers: Triggers { keywords, ..Triggers::default() },
        created_by: Author::Animus,
        creation_findings: findings.clone(),
        // Not that of the one that serves: after a rollback there is another of the next number.
        version: u32::try_from(before.saturating_add(1)).unwrap_or(u32::MAX),
        body: format!("\n{}\n", content.trim()),
        ..Skill::new(name, description)
    };
    let mut files = BTreeMap::from([(SKILL_FILE.to_owned(), skill.to_markdown().into_bytes())]);
    match (code, tests) {
        (Some(code), tests) => {
            files.insert(DEFAULT_SOURCE.to_owned(), code.into_bytes());
            if let Some(tests) = tests {
                files.insert(TESTS.to_owned(), tests.into_bytes());
            }
        }
        (None, Some(_)) => return Err(Error::Invalid("there are tests and no code that they could test".into())),
        (None, None) => {}
    }
    let made = focus.create_skill(by, SkillFiles::new(files)?, findings).await?;
    let tests = if made.tests == 0 { String::new() } else { format!("; {} tests passed", made.tests) };
    Ok(match (made.pending, made.tools.as_slice()) {
        (true, _) => format!(
            "made version {} of the skill '{}'{tests}; it waits for your operator's approval, so go on without it",
            made.version, made.skill
        ),
        (false, []) => format!("made version {} of the skill '{}'; it can be activated", made.version, made.skill),
        (false, tools) => format!(
            "made version {} of the skill '{}'{tests}; from the next turn on you can call {}",
            made.version,
            made.skill,
            tools.join(", ")
        ),
    })
}
