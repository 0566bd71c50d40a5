//! What the sweep's focus does: a model that goes by what it reads, and plugins that note how often they are called.

use std::{fs, io::Write as _, path::PathBuf, sync::Arc};

use animus_core::{
    Denial, Result,
    authority::Authority,
    code::{Description, Program, Ran, Tested},
    hook::{HookEvent, Verdict},
    llm::{
        Content, Embeddings, Message, ModelInfo, Models, Request, Response, ResponseStream, Role, Stop, StreamEvent,
        ToolInput, ToolUse, Usage,
    },
    plugins::{FacultyOutcome, Failure, Loaded, Phases, PluginSet, Recovery, Task},
    services::CallContext,
    tool::{Output, Tool},
};
use async_trait::async_trait;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// Tokens of one answer.
pub(crate) const USAGE: Usage = Usage { input_tokens: 7, output_tokens: 3, cached_tokens: 0, cache_write_tokens: 0 };
/// The instruction of the work that does everything.
pub(crate) const EVERYTHING: &str = "do it";
/// The instruction of the work that only makes a skill, which waits.
pub(crate) const PROPOSAL: &str = "propose it";
/// The skill that is made, and the one that is installed before.
pub(crate) const MADE: &str = "counts";
pub(crate) const INSTALLED: &str = "poems";
/// What the installed skill tells the model.
pub(crate) const VERSE: &str = "Roses are red.";
/// A script of it.
pub(crate) const RHYME: &str = "def rhyme(word: str) -> str:\n    \"\"\"Finds a rhyme.\"\"\"\n    return word[1:]\n";
/// What the program of the sweep does.
const PROGRAM: &str = "\
import random
from skills.poems.scripts.tools import rhyme
text = tools.fs.read_file(path='a.txt')
memory.store('a fact')
tools.fs.edit_file(path='code.txt', old='end', new='I ' + rhyme('bend'))
ledger.append('finding', f'read {len(text)} bytes, {random.random()}')
return random.random()";
/// The code of the skill that is made: one tool reads, the other changes a file.
const CODE: &str = "\
from animus import tools


def size(path: str) -> int:
    \"\"\"Counts what is in a file.

    Args:
        path: Which.
    \"\"\"
    return len(tools.fs.read_file(path=path))


def close(path: str) -> int:
    \"\"\"Puts a word before the end of a file.

    Args:
        path: Which.
    \"\"\"
    tools.fs.edit_file(path=path, old='end', new='I end')
    return 1
";
/// Its tests, which call tools themselves and by it.
const TESTS: &str = "\
from animus import tools
from skill import size


def test_size():
    assert size('a.txt') == 4


def test_files():
    assert size('b.txt') == len(tools.fs.read_file(path='b.txt'))
";

/// Goes by what it reads, not by how often it was asked.
pub(crate) struct ByTurn;

/// The results in one message of the conversation, counted from 0.
fn results(request: &Request, message: usize) -> Vec<String> {
    let text = |part: &Content| match part {
        Content::ToolResult(result) => Some(result.text.clone()),
        _ => None,
    };
    let message = request.messages.get(message);
    message.map_or(Vec::new(), |message| message.content.iter().filter_map(text).collect())
}

impl ByTurn {
    fn answer(request: &Request) -> Response {
        let turn = request.messages.len();
        let create = json!({
            "name": MADE, "description": "Counts.", "content": "# Count\n\n## When to Use\nNow.", "code": CODE,
            "tests": TESTS, "findings": ["a.txt has 4 bytes"],
        });
        let calls = if request.messages[0].text().contains(PROPOSAL) {
            if turn == 1 { vec![("create_skill", create)] } else { Vec::new() }
        } else {
            match turn {
                1 => vec![
                    ("fs.read_file", json!({ "path": "a.txt" })),
                    ("fs.edit_file", json!({ "path": "tool.txt", "old": "end", "new": "I end" })),
                    ("fs.read_file", json!({ "path": "b.txt" })),
                    ("ledger_append", json!({ "entry_type": "plan", "content": "do it" })),
                    (
                        "spawn_child_work",
                        json!({ "faculty": "transform", "description": "reverse", "params": { "content": "drow" } }),
                    ),
                    ("activate_skill", json!({ "skill_name": INSTALLED })),
                ],
                3 => vec![
                    ("execute_code", json!({ "code": PROGRAM })),
                    ("await_child_work", json!({ "work_item_ids": [results(request, 2)[4]] })),
                    ("create_skill", create),
                ],
                5 => {
                    vec![("counts.close", json!({ "path": "skill.txt" })), ("counts.size", json!({ "path": "b.txt" }))]
                }
                _ => Vec::new(),
            }
        };
        let content = if calls.is_empty() {
            vec![Content::Text { text: Self::report(request) }]
        } else {
            let call = |(n, (name, input)): (usize, (&str, Value))| {
                let input = ToolInput::Object(input.as_object().cloned().unwrap());
                Content::ToolUse(ToolUse { id: format!("t{turn}-{n}"), name: name.to_owned(), input })
            };
            calls.into_iter().enumerate().map(call).collect()
        };
        let stop = if matches!(content[0], Content::Text { .. }) { Stop::EndTurn } else { Stop::ToolUse };
        let message = Message { role: Role::Assistant, content };
        Response { message, stop, usage: USAGE, cost_microusd: Some(1), model: "test:by-turn".into() }
    }

    /// What it knows at the end.
    fn report(request: &Request) -> String {
        let whether = |so: bool, yes: &'static str, no: &'static str| if so { yes } else { no };
        let heard = results(request, 4).get(1).is_some_and(|text| text.contains("word"));
        let told = request.system.as_deref().is_some_and(|system| system.matches(VERSE).count() == 1);
        let tools = ["counts.close", "counts.size"];
        let has = tools.iter().all(|tool| request.tools.iter().any(|there| there.name == *tool));
        format!(
            "finished, the child was {}, the verse is {}, the tools are {}",
            whether(heard, "heard", "lost"),
            whether(told, "known", "forgotten"),
            whether(has, "there", "missing")
        )
    }
}

#[async_trait]
impl Models for ByTurn {
    fn roles(&self) -> Vec<String> {
        vec!["default".to_owned()]
    }

    fn resolve(&self, role: &str) -> Result<ModelInfo> {
        Ok(ModelInfo {
            role: role.to_owned(),
            // Embeddings are this host's own.
            models: vec!["lexical:2".to_owned()],
            context_window: 100_000,
            max_output: 1_000,
            price: None,
        })
    }

    async fn stream(&self, request: Request, _: CancellationToken) -> Result<ResponseStream> {
        Ok(Box::pin(futures::stream::iter([Ok(StreamEvent::Done(Self::answer(&request)))])))
    }

    async fn complete(&self, request: Request, _: CancellationToken) -> Result<Response> {
        Ok(Self::answer(&request))
    }

    async fn embed(&self, _: &str, texts: &[String], _: CancellationToken) -> Result<Embeddings> {
        let vectors = texts.iter().map(|_| vec![1.0, 0.0]).collect();
        let usage = Usage::default();
        Ok(Embeddings { model: "lexical:2".into(), dims: 2, vectors, usage, cost_microusd: None })
    }
}

/// Notes every tool call in a file before it happens.
pub(crate) struct Counting {
    pub(crate) plugins: Arc<dyn PluginSet>,
    pub(crate) file: PathBuf,
}

#[async_trait]
impl PluginSet for Counting {
    fn plugins(&self) -> &[Arc<Loaded>] {
        self.plugins.plugins()
    }

    fn plugin(&self, name: &str) -> Option<&Arc<Loaded>> {
        self.plugins.plugin(name)
    }

    fn tools(&self) -> &[Arc<Tool>] {
        self.plugins.tools()
    }

    fn tool(&self, name: &str) -> Option<&Arc<Tool>> {
        self.plugins.tool(name)
    }

    async fn call_tool(&self, cx: &CallContext, name: &str, args: String) -> Result<Output> {
        let mut file = fs::File::options().create(true).append(true).open(&self.file).unwrap();
        file.write_all(format!("{name} {args} {:?}\n", cx.parent).as_bytes()).unwrap();
        self.plugins.call_tool(cx, name, args).await
    }

    async fn engage(&self, cx: &CallContext, faculty: &str, task: Task) -> Result<FacultyOutcome> {
        self.plugins.engage(cx, faculty, task).await
    }

    async fn phases(&self, faculty: &str) -> Result<Phases> {
        self.plugins.phases(faculty).await
    }

    async fn orient(&self, cx: &CallContext, faculty: &str, task: Task) -> Result<String> {
        self.plugins.orient(cx, faculty, task).await
    }

    async fn consolidate(
        &self,
        cx: &CallContext,
        faculty: &str,
        task: Task,
        outcome: FacultyOutcome,
    ) -> Result<FacultyOutcome> {
        self.plugins.consolidate(cx, faculty, task, outcome).await
    }

    async fn recover(&self, cx: &CallContext, faculty: &str, task: Task, failure: Failure) -> Result<Recovery> {
        self.plugins.recover(cx, faculty, task, failure).await
    }

    async fn run_code(&self, cx: &CallContext, interpreter: &str, by: &Authority, program: Program) -> Result<Ran> {
        self.plugins.run_code(cx, interpreter, by, program).await
    }

    async fn describe_code(&self, cx: &CallContext, interpreter: &str, program: Program) -> Result<Description> {
        self.plugins.describe_code(cx, interpreter, program).await
    }

    async fn test_code(
        &self,
        cx: &CallContext,
        interpreter: &str,
        by: &Authority,
        program: Program,
    ) -> Result<Vec<Tested>> {
        self.plugins.test_code(cx, interpreter, by, program).await
    }

    async fn warm(&self, plugin: &str) -> Result<()> {
        self.plugins.warm(plugin).await
    }

    async fn hook(&self, cx: &CallContext, plugin: &str, event: &HookEvent) -> Result<Verdict> {
        self.plugins.hook(cx, plugin, event).await
    }

    fn awaiting(&self, tool: &str) -> Option<Denial> {
        self.plugins.awaiting(tool)
    }
}
