//! Scripted fakes of the ports, and a bench to run the loop on.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, VecDeque},
    fmt::Debug,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use animus_agent::{Hooks, RunContext, RunReport};
use animus_core::{
    Denial, Error, Result,
    authority::Authority,
    budget::{Allowance, Budget},
    code::{Description, Program, Ran, Tested},
    event::{Event, Watcher},
    grant::{Grant, HookAccess, LedgerAccess, LlmGrant},
    hook::{CommandHook, CommandHooks, HookEvent, Point, Settings, Verdict},
    id::{Digest, PluginName},
    llm::{
        Content, Embeddings, Message, ModelInfo, Models, Price, Request, Response, ResponseStream, Role, Stop,
        StreamEvent, ToolInput, ToolResult, ToolUse, Usage,
    },
    plugins::{FacultyOutcome, Failure, Loaded, Phases, PluginSet, Recovery, Task},
    services::{CallContext, EngageOptions, Engagement, Principal},
    tool::{Annotations, Output, Tool},
    work::Host,
};
use async_trait::async_trait;
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

mod tenant;
pub use tenant::FakeTenant;

// ---- models

/// One scripted answer of the model.
pub enum Turn {
    /// The pieces of a stream; the last one is `Done`.
    Stream(Vec<Result<StreamEvent, Error>>),
    /// The call itself fails.
    Fails(Error),
    /// Some text, then silence.
    Hangs(&'static str),
}

/// A model that plays a script and keeps what it was asked.
#[derive(Default)]
pub struct Script {
    turns: Mutex<VecDeque<Turn>>,
    /// What to answer when the script is over.
    forever: Mutex<Option<TurnFn>>,
    /// What to answer when a summary is asked for; as to anything else where nothing is said.
    summaries: Mutex<Option<TurnFn>>,
    pub requests: Mutex<Vec<Request>>,
    pub window: Mutex<Option<u64>>,
    /// The roles and texts that were to be embedded.
    pub embedded: Mutex<Vec<(String, Vec<String>)>>,
    /// What embedding fails with.
    pub cannot_embed: Mutex<Option<Error>>,
}

pub const USAGE: Usage = Usage { input_tokens: 100, output_tokens: 10, cached_tokens: 0, cache_write_tokens: 0 };
/// What [`USAGE`] costs by the scripted model's price.
pub const COST: u64 = 120;

pub fn response(content: Vec<Content>, stop: Stop) -> Response {
    Response {
        message: Message { role: Role::Assistant, content },
        stop,
        usage: USAGE,
        cost_microusd: Some(COST),
        model: "scripted:model".into(),
    }
}

pub fn says(text: &str) -> Turn {
    let pieces: Vec<_> = text.split_inclusive(' ').map(|word| Ok(StreamEvent::Text(word.to_owned()))).collect();
    let content = if text.is_empty() { Vec::new() } else { vec![Content::Text { text: text.to_owned() }] };
    done(pieces, response(content, Stop::EndTurn))
}

pub fn done(mut pieces: Vec<Result<StreamEvent, Error>>, response: Response) -> Turn {
    pieces.push(Ok(StreamEvent::Done(response)));
    Turn::Stream(pieces)
}

pub fn tool_use(id: &str, name: &str, args: Value) -> Content {
    let Value::Object(object) = args else { panic!("arguments are an object") };
    Content::ToolUse(ToolUse { id: id.into(), name: name.into(), input: ToolInput::Object(object) })
}

pub fn calls(requests: Vec<Content>) -> Turn {
    done(Vec::new(), response(requests, Stop::ToolUse))
}

pub fn call(name: &str, args: Value) -> Turn {
    calls(vec![tool_use("c", name, args)])
}

impl Script {
    pub fn of(turns: impl IntoIterator<Item = Turn>) -> Arc<Self> {
        Arc::new(Self { turns: Mutex::new(turns.into_iter().collect()), ..Self::default() })
    }

    /// Answers the n-th call (from 0) with `turn(n)`, for ever.
    pub fn forever(turn: impl Fn(usize) -> Turn + Send + 'static) -> Arc<Self> {
        Arc::new(Self { forever: Mutex::new(Some(Box::new(turn))), ..Self::default() })
    }

    /// Answers the n-th request for a summary with `turn(n)`.
    pub fn summaries(&self, turn: impl Fn(usize) -> Turn + Send + 'static) {
        *self.summaries.lock().unwrap() = Some(Box::new(turn));
    }

    pub fn calls(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    pub fn last_request(&self) -> Request {
        self.requests.lock().unwrap().last().unwrap().clone()
    }
}

#[async_trait]
impl Models for Script {
    fn roles(&self) -> Vec<String> {
        vec!["default".into()]
    }

    fn resolve(&self, role: &str) -> Result<ModelInfo> {
        Ok(ModelInfo {
            role: role.to_owned(),
            models: vec!["scripted:model".into()],
            context_window: self.window.lock().unwrap().unwrap_or(200_000),
            max_output: 1_000,
            price: Some(Price { input: 1_000_000, output: 2_000_000, cached: None, cache_write: None }),
        })
    }

    async fn stream(&self, request: Request, cancel: CancellationToken) -> Result<ResponseStream> {
        let n = self.calls();
        let is_summary = request.system.as_deref().is_some_and(|it| it.contains("You keep the memory"));
        self.requests.lock().unwrap().push(request);
        let summary = self.summaries.lock().unwrap().as_ref().filter(|_| is_summary).map(|turn| turn(n));
        let next = summary.or_else(|| self.turns.lock().unwrap().pop_front());
        let turn = next.unwrap_or_else(|| match &*self.forever.lock().unwrap() {
            Some(turn) => turn(n),
            None => panic!("the script is over"),
        });
        match turn {
            Turn::Fails(error) => Err(error),
            Turn::Stream(pieces) => Ok(stream::iter(pieces).boxed()),
            Turn::Hangs(text) => {
                let first = stream::iter([Ok(StreamEvent::Text(text.to_owned()))]);
                let silence = async move {
                    cancel.cancelled().await;
                    Err(Error::Cancelled)
                };
                Ok(first.chain(silence.into_stream()).boxed())
            }
        }
    }

    async fn complete(&self, request: Request, cancel: CancellationToken) -> Result<Response> {
        let mut pieces = self.stream(request, cancel).await?;
        while let Some(piece) = pieces.next().await {
            if let StreamEvent::Done(response) = piece? {
                return Ok(response);
            }
        }
        panic!("the script's turn has no end")
    }

    /// Vectors that tell how long a text is, from a vendor that bills: a token for each text.
    async fn embed(&self, role: &str, texts: &[String], _: CancellationToken) -> Result<Embeddings> {
        self.embedded.lock().unwrap().push((role.to_owned(), texts.to_vec()));
        if let Some(error) = self.cannot_embed.lock().unwrap().clone() {
            return Err(error);
        }
        let vectors: Vec<Vec<f32>> = texts.iter().map(|text| vec![1.0, text.len() as f32]).collect();
        let tokens = texts.len() as u64;
        let usage = Usage { input_tokens: tokens, ..Usage::default() };
        Ok(Embeddings { model: "scripted:embedder".into(), dims: 2, vectors, usage, cost_microusd: Some(tokens) })
    }
}

// ---- plugins

type ToolFn = Box<dyn Fn(CallContext, Value) -> BoxFuture<'static, Result<Output>> + Send + Sync>;
type TurnFn = Box<dyn Fn(usize) -> Turn + Send>;
type FacultyFn = Box<dyn Fn(CallContext, Principal, Task) -> BoxFuture<'static, Result<FacultyOutcome>> + Send + Sync>;

/// A phase beside `engage`: of what it is given beside its task it makes an answer.
type PhaseFn<G, A> = Box<dyn Fn(CallContext, Principal, Task, G) -> BoxFuture<'static, Result<A>> + Send + Sync>;

type CodeFn = Box<dyn Fn(CallContext, Authority, Program) -> BoxFuture<'static, Result<Ran>> + Send + Sync>;

type HookFn = Box<dyn Fn(CallContext, Principal, HookEvent) -> BoxFuture<'static, Result<Verdict>> + Send + Sync>;

/// A snapshot whose plugins are closures.
pub struct FakePlugins {
    loaded: Vec<Arc<Loaded>>,
    tools: Vec<Arc<Tool>>,
    functions: BTreeMap<String, ToolFn>,
    faculty: FacultyFn,
    orient: Option<PhaseFn<(), String>>,
    consolidate: Option<PhaseFn<FacultyOutcome, FacultyOutcome>>,
    recover: Option<PhaseFn<Failure, Recovery>>,
    /// Why the faculty's code cannot be loaded.
    pub broken: Option<Error>,
    interpreter: CodeFn,
    hooks: BTreeMap<String, HookFn>,
    /// Denials of tools whose plugin awaits a grant.
    pub awaiting: Vec<Denial>,
}

pub fn text(text: impl Into<String>) -> Result<Output> {
    Ok(Output { text: text.into(), ..Output::default() })
}

pub const READS: Annotations = Annotations { read_only: true, idempotent: true, destructive: false, open_world: false };

impl FakePlugins {
    /// The faculty `assistant`, thin over the engage loop: all tools, `max_turns` as given.
    pub fn new() -> Self {
        Self::with_options(EngageOptions { tools: vec!["*".into()], ..EngageOptions::default() })
    }

    pub fn with_options(options: EngageOptions) -> Self {
        Self::with_faculty(move |cx, by, task| {
            let options = EngageOptions { prompt: task.instruction, ..options.clone() };
            async move { Ok(outcome(cx.services.engage(&by, options).await?)) }.boxed()
        })
    }

    pub fn with_faculty(
        faculty: impl Fn(CallContext, Principal, Task) -> BoxFuture<'static, Result<FacultyOutcome>> + Send + Sync + 'static,
    ) -> Self {
        let mut plugins = Self {
            loaded: Vec::new(),
            tools: Vec::new(),
            functions: BTreeMap::new(),
            faculty: Box::new(faculty),
            orient: None,
            consolidate: None,
            recover: None,
            broken: None,
            interpreter: Box::new(|_, _, _| async { panic!("no interpreter") }.boxed()),
            hooks: BTreeMap::new(),
            awaiting: Vec::new(),
        };
        plugins.grant(Grant {
            tool: ["*".parse().unwrap()].into(),
            llm: Some(LlmGrant { roles: ["*".parse().unwrap()].into(), max_tokens: 8_192 }),
            ledger: [LedgerAccess::Append, LedgerAccess::Read].into(),
            ..Grant::default()
        });
        plugins
    }

    /// The faculty's phase before the work.
    pub fn orient(
        mut self,
        phase: impl Fn(CallContext, Principal, Task, ()) -> BoxFuture<'static, Result<String>> + Send + Sync + 'static,
    ) -> Self {
        self.orient = Some(Box::new(phase));
        self
    }

    /// The faculty's phase after the work.
    pub fn consolidate(
        mut self,
        phase: impl Fn(CallContext, Principal, Task, FacultyOutcome) -> BoxFuture<'static, Result<FacultyOutcome>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.consolidate = Some(Box::new(phase));
        self
    }

    /// The faculty's phase after a failure.
    pub fn recover(
        mut self,
        phase: impl Fn(CallContext, Principal, Task, Failure) -> BoxFuture<'static, Result<Recovery>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.recover = Some(Box::new(phase));
        self
    }

    /// What the faculty may do.
    pub fn grant(&mut self, grant: Grant) {
        let name = PluginName::new("assistant").unwrap();
        let authority = Authority::new(name.clone(), Grant::everything(), grant, Grant::everything());
        self.loaded = vec![Arc::new(Loaded {
            name,
            generation: 3,
            digest: Digest::of(b"assistant"),
            authority: Arc::new(authority),
            is_faculty: true,
            is_interpreter: false,
            is_hook: false,
            tools: Vec::new(),
        })];
    }

    /// An interpreter plugin, `python`.
    pub fn interpreter(
        mut self,
        run: impl Fn(CallContext, Authority, Program) -> BoxFuture<'static, Result<Ran>> + Send + Sync + 'static,
    ) -> Self {
        let name = PluginName::new("python").unwrap();
        let nothing = Grant::default();
        let authority = Authority::new(name.clone(), nothing.clone(), nothing.clone(), nothing);
        self.loaded.push(Arc::new(Loaded {
            name,
            generation: 1,
            digest: Digest::of(b"python"),
            authority: Arc::new(authority),
            is_faculty: false,
            is_interpreter: true,
            is_hook: false,
            tools: Vec::new(),
        }));
        self.interpreter = Box::new(run);
        self
    }

    /// A hook plugin that may call every tool.
    pub fn hook(
        mut self,
        name: &str,
        watches: impl IntoIterator<Item = HookAccess>,
        function: impl Fn(CallContext, Principal, HookEvent) -> BoxFuture<'static, Result<Verdict>> + Send + Sync + 'static,
    ) -> Self {
        let plugin = PluginName::new(name).unwrap();
        let hook = watches.into_iter().collect();
        let grant = Grant { hook, tool: ["*".parse().unwrap()].into(), ..Grant::default() };
        let authority = Authority::new(plugin.clone(), Grant::everything(), grant, Grant::everything());
        self.loaded.push(Arc::new(Loaded {
            name: plugin,
            generation: 1,
            digest: Digest::of(name.as_bytes()),
            authority: Arc::new(authority),
            is_faculty: false,
            is_interpreter: false,
            is_hook: true,
            tools: Vec::new(),
        }));
        self.hooks.insert(name.into(), Box::new(function));
        self
    }

    pub fn tool(
        mut self,
        name: &str,
        annotations: Annotations,
        function: impl Fn(CallContext, Value) -> BoxFuture<'static, Result<Output>> + Send + Sync + 'static,
    ) -> Self {
        self.tools.push(Arc::new(Tool {
            name: name.into(),
            description: format!("does {name}"),
            input_schema: json!({ "type": "object" }),
            output_schema: None,
            annotations,
        }));
        self.tools.sort_by(|a, b| a.name.cmp(&b.name));
        self.functions.insert(name.into(), Box::new(function));
        self
    }

    /// A tool that only reads and always answers the same.
    pub fn reads(self, name: &str, answer: &'static str) -> Self {
        self.tool(name, READS, move |_, _| async move { text(answer) }.boxed())
    }

    /// The faculty, which holds no more than its work may, as the runtime has it.
    pub fn principal(&self, cx: &CallContext) -> Principal {
        let principal = Self::principal_of(&self.loaded[0], cx);
        match &cx.cap {
            Some(cap) => Principal { authority: Arc::new(principal.authority.capped(cap)), ..principal },
            None => principal,
        }
    }

    fn principal_of(plugin: &Loaded, cx: &CallContext) -> Principal {
        Principal {
            tenant: cx.tenant.clone(),
            focus: cx.focus,
            authority: plugin.authority.clone(),
            generation: plugin.generation,
            digest: plugin.digest,
            depth: cx.depth,
            parent: cx.parent,
        }
    }
}

pub fn outcome(engagement: Engagement) -> FacultyOutcome {
    FacultyOutcome {
        success: true,
        summary: engagement.text,
        data: Some(json!({ "ending": engagement.ending, "turns": engagement.turns, "calls": engagement.tool_calls })),
    }
}

#[async_trait]
impl PluginSet for FakePlugins {
    fn plugins(&self) -> &[Arc<Loaded>] {
        &self.loaded
    }

    fn plugin(&self, name: &str) -> Option<&Arc<Loaded>> {
        self.loaded.iter().find(|p| p.name.as_str() == name)
    }

    fn tools(&self) -> &[Arc<Tool>] {
        &self.tools
    }

    fn tool(&self, name: &str) -> Option<&Arc<Tool>> {
        self.tools.iter().find(|t| t.name == name)
    }

    async fn call_tool(&self, cx: &CallContext, name: &str, args: String) -> Result<Output> {
        let function = &self.functions[name];
        function(cx.clone(), serde_json::from_str(&args).unwrap()).await
    }

    async fn run_code(&self, cx: &CallContext, _: &str, by: &Authority, program: Program) -> Result<Ran> {
        (self.interpreter)(cx.clone(), by.clone(), program).await
    }

    async fn describe_code(&self, _: &CallContext, _: &str, _: Program) -> Result<Description> {
        Ok(Description::default())
    }

    async fn test_code(&self, _: &CallContext, _: &str, _: &Authority, _: Program) -> Result<Vec<Tested>> {
        Ok(Vec::new())
    }

    async fn warm(&self, _: &str) -> Result<()> {
        Ok(())
    }

    async fn hook(&self, cx: &CallContext, plugin: &str, event: &HookEvent) -> Result<Verdict> {
        let by = Self::principal_of(self.plugin(plugin).unwrap(), cx);
        self.hooks[plugin](cx.clone(), by, event.clone()).await
    }

    fn awaiting(&self, tool: &str) -> Option<Denial> {
        self.awaiting.iter().find(|denial| denial.capability == format!("tool:{tool}")).cloned()
    }

    async fn engage(&self, cx: &CallContext, faculty: &str, task: Task) -> Result<FacultyOutcome> {
        self.loads()?;
        if self.plugin(faculty).is_none() {
            return Err(Error::NotFound(format!("there is no plugin '{faculty}'")));
        }
        until_cancelled(cx, (self.faculty)(cx.clone(), self.principal(cx), task)).await
    }

    async fn phases(&self, faculty: &str) -> Result<Phases> {
        self.loads()?;
        if self.plugin(faculty).is_none() {
            return Err(Error::NotFound(format!("there is no plugin '{faculty}'")));
        }
        Ok(Phases {
            orient: self.orient.is_some(),
            consolidate: self.consolidate.is_some(),
            recover: self.recover.is_some(),
        })
    }

    async fn orient(&self, cx: &CallContext, _: &str, task: Task) -> Result<String> {
        self.loads()?;
        until_cancelled(cx, self.orient.as_ref().unwrap()(cx.clone(), self.principal(cx), task, ())).await
    }

    async fn consolidate(
        &self,
        cx: &CallContext,
        _: &str,
        task: Task,
        outcome: FacultyOutcome,
    ) -> Result<FacultyOutcome> {
        self.loads()?;
        until_cancelled(cx, self.consolidate.as_ref().unwrap()(cx.clone(), self.principal(cx), task, outcome)).await
    }

    async fn recover(&self, cx: &CallContext, _: &str, task: Task, failure: Failure) -> Result<Recovery> {
        self.loads()?;
        until_cancelled(cx, self.recover.as_ref().unwrap()(cx.clone(), self.principal(cx), task, failure)).await
    }
}

impl FakePlugins {
    fn loads(&self) -> Result<()> {
        self.broken.clone().map_or(Ok(()), Err)
    }
}

/// As the runtime does: a call that is cancelled is dropped where it stands.
async fn until_cancelled<T>(cx: &CallContext, call: BoxFuture<'static, Result<T>>) -> Result<T> {
    tokio::select! {
        biased;
        answer = call => answer,
        () = cx.cancel.cancelled() => Err(Error::Cancelled),
    }
}

// ---- watchers

/// Keeps every event.
#[derive(Default)]
pub struct Watch(pub Mutex<Vec<Event>>);

impl Watcher for Watch {
    fn event(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

// ---- hooks

/// A command hook that looks at everything, changes nothing, and counts.
pub struct Looks {
    hooks: Vec<CommandHook>,
    asked: AtomicUsize,
}

impl Looks {
    pub fn new() -> Arc<Self> {
        let settings = Settings { events: Point::ALL.into(), timeout_ms: 120_000, ..Settings::default() };
        let hooks = vec![CommandHook { name: "looks".into(), settings }];
        Arc::new(Self { hooks, asked: AtomicUsize::default() })
    }

    pub fn hooks(self: &Arc<Self>) -> Hooks {
        Hooks::new(BTreeMap::new(), Some(self.clone()))
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl CommandHooks for Looks {
    fn hooks(&self) -> &[CommandHook] {
        &self.hooks
    }

    async fn run(&self, _: &str, _: &HookEvent) -> Result<Verdict> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Ok(Verdict::Continue)
    }
}

// ---- the bench

/// Everything that a run needs.
pub struct Bench {
    pub tenant: Arc<FakeTenant>,
    pub script: Arc<Script>,
    pub watch: Arc<Watch>,
    pub cx: RunContext,
}

impl Bench {
    pub fn new(script: Arc<Script>, plugins: FakePlugins) -> Self {
        let (tenant, watch) = (Arc::new(FakeTenant::default()), Arc::new(Watch::default()));
        let cx = RunContext {
            skills: None,
            hooks: Hooks::default(),
            tenant: tenant.clone(),
            plugins: Arc::new(plugins),
            models: script.clone(),
            watcher: watch.clone(),
            budget: Budget::new("run", Allowance::default()),
            tools: None,
            workspace: None,
            host: Host::this("test"),
            faculty: Arc::default(),
            slot: None,
            cancel: CancellationToken::new(),
        };
        Self { tenant, script, watch, cx }
    }

    pub fn budget(mut self, tokens: u64) -> Self {
        self.cx.budget = Budget::new("run", Allowance { tokens: Some(tokens), microusd: None });
        self
    }

    /// Runs one work item and checks what holds of every run: it is settled, everything that began has its outcome,
    /// nothing stays reserved, `Done` is the last event and the only one of its kind, and every conversation that a
    /// model was sent is in order.
    pub async fn run(&self) -> RunReport {
        let work = self.tenant.submit("assistant", "do it");
        let report = animus_agent::run(self.cx.clone(), work).await;
        assert_eq!(self.tenant.state(report.work), report.state);
        assert!(self.tenant.journal().iter().all(|record| record.outcome.is_some()), "{:#?}", self.tenant.journal());
        assert_eq!(self.cx.budget.standing().reserved, Default::default());
        let events = self.events();
        let dones = events.iter().filter(|event| matches!(event, Event::Done { .. })).count();
        assert!(dones == 1 && matches!(events.last(), Some(Event::Done { .. })), "{events:#?}");
        for request in self.script.requests.lock().unwrap().iter() {
            assert_paired(&request.messages);
        }
        report
    }

    pub fn events(&self) -> Vec<Event> {
        self.watch.0.lock().unwrap().clone()
    }

    /// The results that the model read last, in order.
    pub fn last_results(&self) -> Vec<ToolResult> {
        results(&self.script.last_request().messages)
    }

    pub fn notices(&self) -> Vec<String> {
        let notice = |event| match event {
            Event::Notice { text } => Some(text),
            _ => None,
        };
        self.events().into_iter().filter_map(notice).collect()
    }
}

/// The results in the last message.
pub fn results<M: Borrow<Message>>(messages: &[M]) -> Vec<ToolResult> {
    let result = |part: &Content| match part {
        Content::ToolResult(result) => Some(result.clone()),
        _ => None,
    };
    messages.last().unwrap().borrow().content.iter().filter_map(result).collect()
}

/// Roles alternate, the user begins, and every tool request has exactly one result, in the next message.
pub fn assert_paired<M: Borrow<Message> + Debug>(messages: &[M]) {
    let mut open: Vec<String> = Vec::new();
    for (at, message) in messages.iter().map(Borrow::borrow).enumerate() {
        assert_eq!(message.role, if at % 2 == 0 { Role::User } else { Role::Assistant }, "{messages:#?}");
        assert!(!message.content.is_empty(), "{messages:#?}");
        let answered: Vec<String> = results(std::slice::from_ref(message)).into_iter().map(|r| r.id).collect();
        assert_eq!(answered, open, "{messages:#?}");
        open = message.tool_uses().map(|tool_use| tool_use.id.clone()).collect();
    }
    assert!(open.is_empty(), "{messages:#?}");
}
