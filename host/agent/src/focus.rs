//! The host's side of one run: every effect passes here, is journaled before and after, and is told to the watcher.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use animus_core::{
    Denial, Error, Gate, Result, Unlock,
    budget::{Allowance, Amount, Budget},
    event::Event,
    grant::{Capability, Grant},
    id::{Digest, FocusId, WorkId},
    journal::{EffectKind, Intent, Outcome},
    plugins::PluginSet,
    services::{CallContext, Ending},
    store::Journal,
    tool::{Output, Tool},
    trace,
    work::Lease,
};
use futures::FutureExt as _;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument as _, Span};

use self::{
    children::Children,
    code::Sessions,
    hooks::Counts,
    noted::Noted,
    past::{Course, Past},
    skills::Active,
};
use crate::{engage::pages::Pages, hooks::Chain, measure, run::RunContext, spans};

mod children;
mod code;
mod hooks;
mod memory;
mod model;
mod noted;
mod past;
mod plugins;
mod replay;
mod services;
mod skills;

pub(crate) use code::Execution;
pub(crate) use hooks::About;
pub(crate) use past::{Replayed, Resumed};
pub(crate) use skills::Oriented;

/// How long a cancelled effect may take to end by itself before it is dropped.
const GRACE: Duration = Duration::from_secs(1);
/// How long a faculty may go on before it is cancelled itself: what it waits for is cancelled at once, so it can still
/// say what was done.
const PATIENCE: Duration = Duration::from_secs(2);
/// The largest request that the journal keeps whole, in bytes of JSON; it finds a larger one by its digest.
pub(crate) const REQUEST: usize = 256 << 10;
/// The largest answer that the journal keeps whole, in bytes of JSON: more than any limit on answers lets through, as long
/// as an operator does not raise them beyond it.
const RESPONSE: usize = 64 << 20;

/// One run of one work item. Clones share it.
#[derive(Clone)]
pub struct Focus(Arc<Inner>, Watching);

/// Whether what is done through a handle of a focus is shown to hooks. What a hook itself does is not, nor what is done
/// for it: a hook would be its own occasion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watching {
    On,
    Off,
}

struct Inner {
    cx: RunContext,
    work: WorkId,
    /// The right to write for this focus.
    lease: Lease,
    journal: Option<Arc<dyn Journal>>,
    /// The most that it may hold.
    cap: Option<Arc<Grant>>,
    /// Draws from the run's budget and has no limit of its own: it counts what this focus spent.
    spending: Budget,
    cancel: CancellationToken,
    /// Effects run here rather than in the task of the plugin that asked, so that a plugin which is stopped meanwhile
    /// leaves no effect without its outcome.
    tasks: TaskTracker,
    pages: Mutex<Pages>,
    sessions: Mutex<Sessions>,
    children: Mutex<Children>,
    active: Mutex<Active>,
    noted: Mutex<Noted>,
    /// Held while skills become active, so that two calls of one turn do not activate the same one.
    activating: tokio::sync::Mutex<()>,
    /// How often it gained a skill or a plugin.
    gains: AtomicU64,
    /// The pinned plugins, and those that this focus made.
    plugins: Mutex<Arc<dyn PluginSet>>,
    ending: Mutex<Option<Ending>>,
    /// What its faculty found before the work.
    context: OnceLock<String>,
    past: Past,
    /// Which hook stopped the last engage loop of the faculty, if one did.
    block: Mutex<Option<Denial>>,
    /// The hooks, as they were when the focus began.
    chain: Chain,
    counts: Mutex<Counts>,
    /// Model calls so far.
    asked: AtomicU32,
}

/// A tool call on its way.
pub(crate) struct Call {
    /// Who asks, as the journal names them: a plugin, `host`, or `operator`.
    pub(crate) caller: String,
    /// The intent inside which it happens.
    pub(crate) parent: Option<u64>,
    /// How deep inside other calls the tool will run.
    pub(crate) depth: u64,
    /// The tool's full name.
    pub(crate) name: String,
    /// Its arguments, JSON text.
    pub(crate) args: String,
}

/// What an effect knows of itself while it happens.
pub(crate) struct Acting {
    /// Its number in the journal.
    pub(crate) seq: Option<u64>,
    /// It was begun before by a host that is gone, and perhaps done.
    pub(crate) again: bool,
    /// Fires when the run is cancelled or whoever asked is gone.
    pub(crate) cancel: CancellationToken,
}

impl Focus {
    /// The host's side of a focus, which the store has begun.
    #[must_use]
    pub fn new(cx: RunContext, work: WorkId, lease: Lease) -> Self {
        Self::begun(cx, work, lease, None, past::now_ms())
    }

    /// The same for a focus that may hold no more than `cap`, whatever its faculty is granted, and of which the store says
    /// when it began, in milliseconds since the epoch.
    pub(crate) fn begun(cx: RunContext, work: WorkId, lease: Lease, cap: Option<Arc<Grant>>, began_ms: u64) -> Self {
        let journal: Arc<dyn Journal> = cx.tenant.clone();
        Self::build(cx, work, lease, Some(journal), cap, Past::none(began_ms))
    }

    /// The same without a journal, for measuring what a call costs by itself. Nothing can be recovered or audited from
    /// such a run; `animus` never makes one outside its benches.
    #[must_use]
    pub fn unjournaled(cx: RunContext, work: WorkId, id: FocusId) -> Self {
        Self::build(cx, work, Lease { focus: id, token: 1 }, None, None, Past::none(past::now_ms()))
    }

    fn build(
        cx: RunContext,
        work: WorkId,
        lease: Lease,
        journal: Option<Arc<dyn Journal>>,
        cap: Option<Arc<Grant>>,
        past: Past,
    ) -> Self {
        let inner = Inner {
            chain: cx.hooks.chain(&*cx.plugins),
            counts: Mutex::default(),
            block: Mutex::default(),
            asked: AtomicU32::default(),
            spending: cx.budget.derive("focus", Allowance::default()),
            cancel: cx.cancel.child_token(),
            tasks: TaskTracker::new(),
            pages: Mutex::default(),
            sessions: Mutex::default(),
            children: Mutex::default(),
            active: Mutex::default(),
            noted: Mutex::default(),
            activating: tokio::sync::Mutex::default(),
            gains: AtomicU64::default(),
            plugins: Mutex::new(cx.plugins.clone()),
            ending: Mutex::default(),
            context: OnceLock::new(),
            cx,
            work,
            lease,
            journal,
            past,
            cap,
        };
        Self(Arc::new(inner), Watching::On)
    }

    /// A context for a call into a plugin at `depth`, inside the journal entry `parent`.
    #[must_use]
    pub fn call_context(&self, depth: u64, parent: Option<u64>, cancel: CancellationToken) -> CallContext {
        CallContext {
            tenant: self.0.cx.tenant.id().clone(),
            focus: self.0.lease.focus,
            depth,
            parent,
            cancel,
            workspace: self.0.cx.workspace.clone(),
            cap: self.0.cap.clone(),
            services: Arc::new(self.clone()),
            deterministic: self.deterministic(parent),
        }
    }

    pub(crate) fn cx(&self) -> &RunContext {
        &self.0.cx
    }

    fn spending(&self) -> &Budget {
        &self.0.spending
    }

    pub(crate) fn work_id(&self) -> WorkId {
        self.0.work
    }

    /// What this focus spent so far.
    pub(crate) fn spent(&self) -> Amount {
        self.0.spending.standing().spent
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.cancel.is_cancelled()
    }

    /// Whether nothing more is to be begun: it was cancelled, is let go of, or must not go on.
    pub(crate) fn is_over(&self) -> bool {
        self.is_cancelled() || self.leaves() || self.halted().is_some()
    }

    /// What its faculty found before the work; empty where it looked for nothing.
    pub(crate) fn context(&self) -> &str {
        self.0.context.get().map_or("", String::as_str)
    }

    /// Sets that, once.
    pub(crate) fn set_context(&self, context: String) {
        let _ = self.0.context.set(context);
    }

    /// A phase begins, of which no loop has ended.
    pub(crate) fn forget_ending(&self) {
        *lock(&self.0.ending) = None;
        self.set_block(None);
    }

    /// How the last engage loop of the faculty in this phase ended.
    pub(crate) fn ending(&self) -> Option<Ending> {
        *lock(&self.0.ending)
    }

    /// Which hook stopped that loop, if one did.
    pub(crate) fn block(&self) -> Option<Denial> {
        lock(&self.0.block).clone()
    }

    pub(crate) fn set_block(&self, denial: Option<Denial>) {
        *lock(&self.0.block) = denial;
    }

    /// A number that changes when skills become active or plugins are made.
    pub(crate) fn gains(&self) -> u64 {
        self.0.gains.load(Ordering::Acquire)
    }

    fn gained(&self) {
        self.0.gains.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn pages(&self) -> MutexGuard<'_, Pages> {
        lock(&self.0.pages)
    }

    /// Tells the watchers, unless they were told before this focus changed hosts.
    pub(crate) fn tell(&self, event: Event) {
        if !self.is_quiet() {
            self.0.cx.watcher.event(event);
        }
    }

    pub(crate) fn notice(&self, text: impl Into<String>) {
        self.tell(Event::Notice { text: text.into() });
    }

    /// Stops whatever still runs and waits until its outcome is in the journal.
    pub(crate) async fn finish(&self) {
        self.0.cancel.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// The tools of the pinned plugins that this run may call.
    pub(crate) fn tools_in_reach(&self) -> Vec<Arc<Tool>> {
        self.plugins().tools().iter().filter(|tool| self.in_reach(&tool.name)).cloned().collect()
    }

    /// The plugins of this focus as they are now. They change only by what it makes itself.
    pub(crate) fn plugins(&self) -> Arc<dyn PluginSet> {
        lock(&self.0.plugins).clone()
    }

    /// Whether this run may call a tool, as far as the run goes: a plugin's own grant is another matter.
    pub(crate) fn in_reach(&self, tool: &str) -> bool {
        !self.is_narrowed(tool) && self.0.cap.as_ref().is_none_or(|cap| cap.allows(&Capability::Tool(tool.to_owned())))
    }

    /// Whether whoever had this run done left the tool out.
    pub(crate) fn is_narrowed(&self, tool: &str) -> bool {
        self.0.cx.tools.as_ref().is_some_and(|patterns| !patterns.iter().any(|p| p.matches(tool)))
    }

    /// Calls a tool, unless this run may not.
    pub(crate) async fn call(&self, call: Call) -> Result<Output> {
        let Call { caller, parent, depth, name, args } = call;
        let plugins = self.plugins();
        if plugins.tool(&name).is_none() {
            if let Some(denial) = plugins.awaiting(&name) {
                return Err(self.refuse(denial).await);
            }
            let known = plugins.tools().iter().map(|tool| tool.name.as_str());
            return Err(unknown_tool(&name, known));
        }
        if !self.in_reach(&name) {
            // A run's own narrowing is that of whoever may repeat it; a cap is of those who submitted the work.
            let command = self.is_narrowed(&name).then(|| format!("repeat the run with --tool '{name}'"));
            let capability = Capability::Tool(name).to_string();
            let (gate, unlock) = (Gate::Principal, Unlock::AskOperator);
            return Err(self.refuse(Denial { who: caller, capability, gate, unlock, reason: None, command }).await);
        }
        let object: Map<String, Value> = serde_json::from_str(&args)
            .map_err(|_| Error::Invalid(format!("the arguments of '{name}' are not a JSON object")))?;
        let about = About { caller: caller.clone(), parent, depth, name: name.clone() };
        self.watch_tool(about, object, |object, changed| async move {
            let args = if changed { Value::Object(object.clone()).to_string() } else { args };
            let request = bounded(&object, REQUEST);
            let intent = Intent { kind: EffectKind::Tool, caller, subject: name.clone(), request, parent };
            spans::callee(&*plugins, &name);
            let focus = self.clone();
            self.effect(intent, move |acting| async move {
                let cx = focus.call_context(depth, acting.seq, acting.cancel);
                plugins.call_tool(&cx, &name, args).await
            })
            .await
        })
        .await
    }

    /// Does an effect: intent, deed, outcome; or gives what the journal has of it. Dropping the returned future cancels
    /// the deed; its outcome is written all the same.
    pub(crate) async fn effect<T, F, A>(&self, intent: Intent, act: A) -> Result<T>
    where
        A: FnOnce(Acting) -> F + Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let course = match self.course(&intent)? {
            Course::Answered(answer) => return self.answer(&intent, *answer).await,
            course => course,
        };
        let cancel = self.0.cancel.child_token();
        let _cancels_when_dropped = cancel.clone().drop_guard();
        let deed = self.clone().perform(intent, course, cancel, act);
        if self.0.journal.is_none() {
            // There is no outcome to save, so the deed may as well run in its caller's task.
            return deed.await;
        }
        match self.0.tasks.spawn(deed).await {
            Ok(result) => result,
            Err(lost) => Err(Error::internal("an effect was lost", &lost)),
        }
    }

    /// The deed in its span, which is inside the current one, whichever task it runs in.
    fn perform<T, F, A>(
        self,
        intent: Intent,
        course: Course,
        cancel: CancellationToken,
        act: A,
    ) -> impl Future<Output = Result<T>> + Send
    where
        A: FnOnce(Acting) -> F + Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let span = spans::effect(&*self.0.cx.models, &intent);
        self.carry_out(intent, course, cancel, span.clone(), act).instrument(span)
    }

    async fn carry_out<T, F, A>(
        self,
        intent: Intent,
        course: Course,
        cancel: CancellationToken,
        span: Span,
        act: A,
    ) -> Result<T>
    where
        A: FnOnce(Acting) -> F + Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let begun = Instant::now();
        let caller = intent.caller.clone();
        let subject = intent.subject.clone();
        let (kind, parent) = (intent.kind, intent.parent);
        let (stop, patience) = match intent.kind {
            EffectKind::Phase => (CancellationToken::new(), PATIENCE),
            _ => (cancel.clone(), Duration::ZERO),
        };
        let again = matches!(course, Course::Again(..));
        let (seq, was) = match course {
            Course::Live => (self.begin(intent).await.map_err(|error| self.halt(error))?, None),
            Course::Again(seq, was) => (Some(seq), was),
            Course::Doubt(seq) => return Err(self.doubt(seq, &intent).await),
            Course::Answered(answer) => return self.answer(&intent, *answer).await,
        };
        span.record("animus.journal.seq", seq.map(trace::figure));
        self.enter(kind, parent, seq);
        let acting = Acting { seq, again, cancel: stop.clone() };
        let overdue = async {
            cancel.cancelled().await;
            tokio::time::sleep(patience).await;
            stop.cancel();
            tokio::time::sleep(GRACE).await;
        };
        let result = tokio::select! {
            biased;
            result = AssertUnwindSafe(async { act(acting).await }).catch_unwind() => {
                result.unwrap_or_else(|panic| Err(panicked(&subject, panic.as_ref())))
            }
            () = overdue => Err(Error::Cancelled),
        };
        let result = self.left(seq, result).await;
        if let Err(error) = &result {
            trace::failed(&span, error);
        }
        measure::effect(self.0.cx.tenant.id(), kind, begun.elapsed());
        // What was stopped on the way has no outcome: whoever goes on with the focus decides.
        if let Some(error) = self.halted() {
            return Err(error);
        }
        if self.leaves()
            && (matches!(result, Err(Error::Cancelled)) || matches!(kind, EffectKind::Phase | EffectKind::Code))
        {
            return Err(Error::Cancelled);
        }
        if let Some(seq) = seq {
            let mut outcome = match &result {
                Ok(answer) => Outcome::Ok { response: bounded(answer, RESPONSE) },
                Err(error) => Outcome::Failed { error: error.clone() },
            };
            if let Some(was) = was {
                self.compare(seq, was, &outcome)?;
            } else {
                self.stamp(kind, parent, &mut outcome);
                self.end(seq, &caller, outcome).await.map_err(|error| self.halt(error))?;
            }
        }
        result
    }

    async fn begin(&self, intent: Intent) -> Result<Option<u64>> {
        match &self.0.journal {
            Some(journal) => {
                let seq = journal.journal_begin(self.0.lease, intent).await?;
                tracing::trace!(target: "animus_agent::journal", seq, "an intent is written");
                Ok(Some(seq))
            }
            None => Ok(None),
        }
    }

    async fn end(&self, seq: u64, caller: &str, outcome: Outcome) -> Result<()> {
        if let Outcome::Failed { error: Error::Denied(denial) } = &outcome {
            self.audit_denial(caller, denial).await;
        }
        match &self.0.journal {
            Some(journal) => {
                journal.journal_end(self.0.lease, seq, outcome).await?;
                tracing::trace!(target: "animus_agent::journal", seq, "an outcome is written");
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Writes a refusal to the audit log and makes it an error.
    pub(crate) async fn refuse(&self, denial: Denial) -> Error {
        self.audit_denial(&denial.who, &denial).await;
        denial.into()
    }

    pub(crate) async fn audit_denial(&self, caller: &str, denial: &Denial) {
        if self.is_strict() {
            return;
        }
        let actor = match caller {
            "host" | "operator" => caller.to_owned(),
            plugin => format!("plugin:{plugin}"),
        };
        let detail =
            json!({ "who": denial.who, "gate": denial.gate, "work": self.0.work, "focus": self.0.lease.focus });
        if let Err(error) = self.0.cx.tenant.audit(&actor, "call.denied", &denial.capability, detail).await {
            // The refusal stands either way; failing the call differently would only hide it.
            tracing::error!(%error, capability = %denial.capability, "cannot write a denial to the audit log");
        }
    }
}

/// An error that names the nearest known tool.
pub(crate) fn unknown_tool<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Error {
    let nearest = known
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let hint = nearest.map_or(String::new(), |(_, candidate)| format!("; did you mean '{candidate}'?"));
    Error::NotFound(format!("there is no tool '{}'{hint}", name.escape_debug()))
}

/// What the journal keeps of a value: all of it, or its size and digest where it is too large.
pub(crate) fn bounded(value: &impl Serialize, most: usize) -> Value {
    match serde_json::to_vec(value) {
        Ok(json) if json.len() > most => json!({ "cut": true, "bytes": json.len(), "sha256": Digest::of(&json) }),
        Ok(json) => serde_json::from_slice(&json).unwrap_or(Value::Null),
        Err(error) => json!({ "cut": true, "why": error.to_string() }),
    }
}

fn panicked(subject: &str, panic: &(dyn std::any::Any + Send)) -> Error {
    let why = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::Internal(format!("'{subject}' panicked in the host: {}", why.unwrap_or("no message")))
}

/// What these locks guard is valid at every point, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
