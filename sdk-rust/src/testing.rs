//! Tests of a plugin without the host: a fake one, for the thread that starts it. Not there in a component.
//!
//! ```
//! use animus_sdk::{Error, ledger, prelude::*, testing::FakeHost, tools};
//!
//! let host = FakeHost::new()
//!     .grant(["tool:fs.*", "ledger:append"])
//!     .tool("fs.read_file", |args| Ok(format!("the text of {}", args["path"])))
//!     .start();
//! let page = tools::call("fs.read_file", json!({ "path": "a.md" }))?;
//! ledger::append(ledger::EntryType::Finding, &page.text)?;
//! assert!(matches!(ledger::formatted(), Err(Error::Denied(_))));
//! assert_eq!(host.calls(), [("fs.read_file".to_owned(), json!({ "path": "a.md" }))]);
//! assert_eq!(host.entries()[0].content, "the text of \"a.md\"");
//! # Ok::<(), Error>(())
//! ```
//!
//! Files are those of the machine: have what reads them take the folder.

mod children;
mod memories;
pub(crate) mod seam;

use std::{
    cell::{RefCell, RefMut},
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use crate::{
    Annotations, Denial, Error, Gate, Result, Tool, ToolOutput, Unlock,
    children::{Child, NewChild},
    code::{Outcome, Program},
    engage::{Engagement, Options},
    http,
    ledger::{Entry, EntryType, Filter},
    llm::{Content, Embeddings, Message, Request, Response, Role, StopReason, Usage},
    memory::Item,
    tool::{Definition, IntoOutput},
};
use memories::Memories;

type Called = Rc<dyn Fn(Value) -> Result<ToolOutput>>;
type Interpreter = Rc<dyn Fn(&Program) -> Result<Outcome>>;
type Web = Rc<dyn Fn(&http::Request) -> Result<http::Response>>;
type Loop = Rc<dyn Fn(&Options) -> Result<Engagement>>;

/// The longest ledger entry and memory, in bytes, as in the host.
const LONGEST: usize = 64 << 10;
/// The most texts of one embedding.
const MOST_TEXTS: usize = 256;
/// The most ledger entries of one answer, as in the host.
const MOST_ENTRIES: usize = 1_000;

/// What the host of a test has: an empty ledger and an empty memory, and beyond that what is added here. Everything is
/// granted unless [`FakeHost::grant`] says what is.
#[derive(Default)]
#[must_use = "it serves from `start` on"]
pub struct FakeHost(State);

/// A fake host that serves this thread until it is dropped; then the one before it serves again.
#[must_use = "it serves until it is dropped"]
pub struct Serving(Rc<State>);

#[derive(Default)]
struct State {
    granted: Option<Vec<String>>,
    tools: BTreeMap<String, (Definition, Called)>,
    config: BTreeMap<String, String>,
    interpreters: BTreeMap<String, Interpreter>,
    engage: Option<Loop>,
    worker: Option<children::Worker>,
    web: Option<Web>,
    answers: RefCell<VecDeque<Result<Response>>>,
    seen: RefCell<Seen>,
    memories: RefCell<Memories>,
}

/// What a plugin did.
#[derive(Default)]
struct Seen {
    calls: Vec<(String, Value)>,
    requests: Vec<Request>,
    engagements: Vec<Options>,
    programs: Vec<(String, Program)>,
    fetches: Vec<http::Request>,
    entries: Vec<Entry>,
    children: Vec<(NewChild, Child)>,
}

thread_local! {
    static HOSTS: RefCell<Vec<Rc<State>>> = const { RefCell::new(Vec::new()) };
}

impl FakeHost {
    /// A host without tools, answers and configuration.
    pub fn new() -> Self {
        Self::default()
    }

    /// Grants these and no others, in the words of grants: `ledger:append`, `ledger:read`, `memory:read`,
    /// `memory:write`, `llm:fast`, `tool:fs.read_file`, `interpreter:python`, `spawn-child:assistant`, `http:GET example.org:443`; a `*` at the end stands for anything. The
    /// rest is refused with [`Error::Denied`]. Configuration needs no grant.
    pub fn grant<C: Into<String>>(mut self, capabilities: impl IntoIterator<Item = C>) -> Self {
        self.0.granted.get_or_insert_default().extend(capabilities.into_iter().map(Into::into));
        self
    }

    /// Has a tool of another plugin, by full name. It takes any arguments, and answers what `answer` returns.
    pub fn tool<O: IntoOutput>(self, name: &str, answer: impl Fn(Value) -> Result<O> + 'static) -> Self {
        let definition = Definition {
            name: name.to_owned(),
            description: format!("The tool {name}."),
            input_schema: json!({ "type": "object" }).to_string(),
            output_schema: O::schema().map(|schema| schema.to_string()),
            annotations: Annotations::DESTROYS,
        };
        self.serve(definition, move |args| answer(args)?.into_output())
    }

    /// Has a tool that is written with this SDK, as one of `plugin`, with its own definition and checks.
    pub fn tool_of<T: Tool>(self, plugin: &str) -> Self {
        let name = format!("{plugin}.{}", T::NAME);
        self.serve(Definition { name, ..T::definition() }, |args| T::call_json(&args.to_string()))
    }

    fn serve(mut self, definition: Definition, called: impl Fn(Value) -> Result<ToolOutput> + 'static) -> Self {
        self.0.tools.insert(definition.name.clone(), (definition, Rc::new(called)));
        self
    }

    /// Answers the next request to a model with this text; each answer is given once, in the order of these calls.
    pub fn answer(self, text: impl Into<String>) -> Self {
        self.answer_with(Ok(Response {
            message: Message { role: Role::Assistant, content: vec![Content::Text(text.into())] },
            stop: StopReason::EndTurn,
            usage: Usage { input_tokens: 0, output_tokens: 0, cached_tokens: 0, cost_microusd: None },
            model: "fake:model".to_owned(),
        }))
    }

    /// As [`FakeHost::answer`], with a whole response or an error.
    pub fn answer_with(self, answer: Result<Response>) -> Self {
        self.0.answers.borrow_mut().push_back(answer);
        self
    }

    /// Runs the agent loop of [`crate::engage`] by this function.
    pub fn engage(mut self, run: impl Fn(&Options) -> Result<Engagement> + 'static) -> Self {
        self.0.engage = Some(Rc::new(run));
        self
    }

    /// Has children done by this function, each when it is spawned: what it returns is the child's summary, and an error
    /// makes it a child that failed.
    pub fn worker(mut self, work: impl Fn(&NewChild) -> Result<String> + 'static) -> Self {
        self.0.worker = Some(Rc::new(work));
        self
    }

    /// Has an interpreter, such as `python`.
    pub fn interpreter(mut self, name: &str, run: impl Fn(&Program) -> Result<Outcome> + 'static) -> Self {
        self.0.interpreters.insert(name.to_owned(), Rc::new(run));
        self
    }

    /// Answers HTTP requests; the bounds of a request on its response hold.
    pub fn http(mut self, answer: impl Fn(&http::Request) -> Result<http::Response> + 'static) -> Self {
        self.0.web = Some(Rc::new(answer));
        self
    }

    /// Sets a key of the plugin's configuration.
    pub fn config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.config.insert(key.into(), value.into());
        self
    }

    /// Serves this thread until what it returns is dropped.
    pub fn start(self) -> Serving {
        let state = Rc::new(self.0);
        HOSTS.with_borrow_mut(|hosts| hosts.push(state.clone()));
        Serving(state)
    }
}

impl Serving {
    /// The calls of tools that were there and granted, each with its arguments.
    pub fn calls(&self) -> Vec<(String, Value)> {
        self.0.seen.borrow().calls.clone()
    }

    /// The requests to models that were granted.
    pub fn requests(&self) -> Vec<Request> {
        self.0.seen.borrow().requests.clone()
    }

    /// The agent loops that were begun.
    pub fn engagements(&self) -> Vec<Options> {
        self.0.seen.borrow().engagements.clone()
    }

    /// The children that were spawned, each with how it ended.
    pub fn children(&self) -> Vec<(NewChild, Child)> {
        self.0.seen.borrow().children.clone()
    }

    /// The programs that were run, each with its interpreter.
    pub fn programs(&self) -> Vec<(String, Program)> {
        self.0.seen.borrow().programs.clone()
    }

    /// The HTTP requests that were granted.
    pub fn fetches(&self) -> Vec<http::Request> {
        self.0.seen.borrow().fetches.clone()
    }

    /// The ledger.
    pub fn entries(&self) -> Vec<Entry> {
        self.0.seen.borrow().entries.clone()
    }

    /// The memory, in the order in which it was stored.
    pub fn memories(&self) -> Vec<Item> {
        self.0.memories.borrow().all()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // While a thread ends its own variables may be gone.
        let _ = HOSTS.try_with(|hosts| {
            if let Ok(mut hosts) = hosts.try_borrow_mut() {
                hosts.retain(|host| !Rc::ptr_eq(host, &self.0));
            }
        });
    }
}

/// The host that serves this thread.
///
/// # Panics
/// Where there is none, as a component that was built for a host cannot go on without one either.
#[expect(clippy::panic, reason = "a test that forgot its host must fail at the call, with what to do")]
fn serving(function: &str) -> Rc<State> {
    let host = HOSTS.with_borrow(|hosts| hosts.last().cloned());
    host.unwrap_or_else(|| {
        panic!("{function} was called, and this thread has no host; begin the test with: let host = animus_sdk::testing::FakeHost::new().start();")
    })
}

impl State {
    fn seen(&self) -> RefMut<'_, Seen> {
        self.seen.borrow_mut()
    }

    fn allows(&self, capability: &str) -> bool {
        let fits = |granted: &String| match granted.strip_suffix('*') {
            Some(begin) => capability.starts_with(begin),
            None => granted == capability,
        };
        self.granted.as_ref().is_none_or(|granted| granted.iter().any(fits))
    }

    fn check(&self, capability: &str) -> Result<()> {
        if self.allows(capability) {
            return Ok(());
        }
        let capability = capability.to_owned();
        Err(Error::Denied(Denial { capability, gate: Gate::Grant, unlock: Unlock::AskOperator }))
    }

    fn tool(&self, name: &str) -> Result<(Definition, Called)> {
        self.check(&format!("tool:{name}"))?;
        self.tools.get(name).cloned().ok_or_else(|| Error::not_found(format!("tool '{name}'")))
    }

    fn call(&self, name: &str, args: &str) -> Result<ToolOutput> {
        let (_, called) = self.tool(name)?;
        let args: Value = serde_json::from_str(args)?;
        if !args.is_object() {
            return Err(Error::invalid(format!("arguments of '{name}': must be a JSON object")));
        }
        self.seen().calls.push((name.to_owned(), args.clone()));
        called(args)
    }

    fn complete(&self, request: &Request) -> Result<Response> {
        self.check(&format!("llm:{}", role(&request.model)))?;
        self.seen().requests.push(request.clone());
        let answer = self.answers.borrow_mut().pop_front();
        answer.unwrap_or_else(|| Err(Error::unavailable("the fake host has no answer left: FakeHost::answer adds one")))
    }

    /// Vectors of the letters that a text has: the fake of an embedder, good for texts of the same letters only.
    fn embed(&self, texts: &[String]) -> Result<Embeddings> {
        self.check("llm:embed")?;
        if texts.is_empty() || texts.len() > MOST_TEXTS || texts.iter().any(|text| text.trim().is_empty()) {
            return Err(Error::invalid(format!("1 to {MOST_TEXTS} texts are embedded, none of them blank")));
        }
        if texts.iter().any(|text| text.len() > LONGEST) {
            return Err(Error::invalid(format!("a text to embed has at most {LONGEST} bytes")));
        }
        let vector = |text: &String| {
            let mut vector = vec![0.0; 27];
            for byte in text.bytes() {
                let place = usize::from(byte.to_ascii_lowercase().wrapping_sub(b'a').min(26));
                if let Some(count) = vector.get_mut(place) {
                    *count += 1.0;
                }
            }
            vector
        };
        let usage = Usage { input_tokens: 0, output_tokens: 0, cached_tokens: 0, cost_microusd: None };
        Ok(Embeddings { model: "fake:letters".to_owned(), vectors: texts.iter().map(vector).collect(), usage })
    }

    fn models(&self) -> Vec<String> {
        match &self.granted {
            None => vec!["default".to_owned()],
            Some(granted) => granted.iter().filter_map(|one| one.strip_prefix("llm:")).map(str::to_owned).collect(),
        }
    }

    fn run_loop(&self, options: &Options) -> Result<Engagement> {
        self.check(&format!("llm:{}", role(&options.model)))?;
        self.seen().engagements.push(options.clone());
        match &self.engage {
            Some(run) => run(options),
            None => Err(Error::unavailable("the fake host has no agent loop: FakeHost::engage adds one")),
        }
    }

    fn run_program(&self, interpreter: &str, program: &Program) -> Result<Outcome> {
        self.check(&format!("interpreter:{interpreter}"))?;
        let run = self.interpreters.get(interpreter).cloned();
        let run = run.ok_or_else(|| Error::not_found(format!("interpreter '{interpreter}'")))?;
        self.seen().programs.push((interpreter.to_owned(), program.clone()));
        run(program)
    }

    fn send(&self, request: &http::Request) -> Result<http::Response> {
        self.check(&request.capability()?)?;
        self.seen().fetches.push(request.clone());
        let Some(answer) = &self.web else {
            return Err(Error::unavailable("the fake host has no network: FakeHost::http adds one"));
        };
        let mut response = answer(request)?;
        response.truncated |= response.body.len() > request.most();
        response.body.truncate(request.most());
        Ok(response)
    }

    fn append(&self, entry_type: EntryType, content: &str) -> Result<u64> {
        self.check("ledger:append")?;
        if content.len() > LONGEST {
            return Err(Error::invalid(format!("a ledger entry has at most {LONGEST} bytes")));
        }
        let entries = &mut self.seen().entries;
        let seq = entries.len() as u64 + 1;
        entries.push(Entry { seq, entry_type, content: content.to_owned(), created_ms: now() });
        Ok(seq)
    }

    fn read(&self, filter: Filter) -> Result<Vec<Entry>> {
        self.check("ledger:read")?;
        let mut found = self.seen().entries.clone();
        found.retain(|entry| filter.entry_type.is_none_or(|wanted| wanted == entry.entry_type));
        let most = filter.last_n.map_or(MOST_ENTRIES, |n| MOST_ENTRIES.min(n as usize));
        Ok(found.split_off(found.len().saturating_sub(most)))
    }
}

fn role(model: &str) -> &str {
    if model.is_empty() { "default" } else { model }
}

/// Milliseconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests;
