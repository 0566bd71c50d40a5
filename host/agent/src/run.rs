//! One run of one work item, from the store's first mark to its last.

use std::{collections::BTreeSet, fmt::Debug, path::PathBuf, sync::Arc};

use animus_core::{
    Error, Result,
    authority::Authority,
    budget::{Amount, Budget},
    code::{Program, Ran},
    event::{Event, Watcher},
    faculty::FacultyConfig,
    grant::Pattern,
    id::{FocusId, WorkId},
    journal::Record,
    llm::Models,
    plugins::{FacultyOutcome, Loaded, PluginSet},
    services::{CallContext, Ending, Principal},
    skill::Workshop,
    store::Tenant,
    tool::Output,
    trace,
    work::{Backoff, Claim, Claimed, Disposal, FocusRecord, Host, Lease, NewWork, Settlement, State, Work},
};
use async_trait::async_trait;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use crate::{
    engage::pages::{FIRST_PAGE, head},
    focus::{Call, Execution, Focus, Resumed, unknown_tool},
    hooks::Hooks,
    judge::{Judged, may_mend},
    lease::{Keeper, LEASE_MS},
    phases::{Asked, Attempts, Worked, phases},
    slot::Slot,
    spans,
};

/// What a run works with.
#[derive(Clone)]
pub struct RunContext {
    /// The tenant's store.
    pub tenant: Arc<dyn Tenant>,
    /// The plugins as they are now; the run keeps this snapshot to its end.
    pub plugins: Arc<dyn PluginSet>,
    /// Where skills are kept and made; none for a host or run without.
    pub skills: Option<Arc<dyn Workshop>>,
    /// The models.
    pub models: Arc<dyn Models>,
    /// The hooks, beside those among the plugins whatever the operator set of them.
    pub hooks: Hooks,
    /// Who is told what happens.
    pub watcher: Arc<dyn Watcher>,
    /// What the run may spend.
    pub budget: Budget,
    /// The tools that the run may call, whatever its plugins are granted; `None` leaves it to the grants.
    pub tools: Option<BTreeSet<Pattern>>,
    /// The folder that `$workspace` in a path grant stands for.
    pub workspace: Option<PathBuf>,
    /// This process, as the store is to know who runs a focus.
    pub host: Host,
    /// How the operator has the faculty run.
    pub faculty: Arc<FacultyConfig>,
    /// The run's place among those of this host, which it lends while it waits for children; none where nobody counts.
    pub slot: Option<Arc<Slot>>,
    /// Ends the run cleanly: what runs is stopped, what happened is recorded, the item becomes cancelled.
    pub cancel: CancellationToken,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunReport {
    /// The work item.
    pub work: WorkId,
    /// This run of it; none when it could not begin.
    pub focus: Option<FocusId>,
    /// Where the item stands now.
    pub state: State,
    /// How the faculty's last engage loop ended, where it ran one.
    pub ending: Option<Ending>,
    /// For people.
    pub summary: String,
    /// For programs.
    pub data: Option<Value>,
    /// Why it failed.
    pub error: Option<Error>,
    /// What it cost.
    pub spent: Amount,
}

impl RunReport {
    /// Whether the work is done.
    #[must_use]
    pub fn success(&self) -> bool {
        self.state == State::Completed
    }
}

/// What came of an operator's tool call.
#[derive(Clone, Debug, PartialEq)]
pub struct CallReport {
    /// The work item that the call became.
    pub work: WorkId,
    /// Its run.
    pub focus: FocusId,
    /// What the tool answered.
    pub output: Result<Output>,
    /// What it cost.
    pub spent: Amount,
}

/// Has the faculty of a held work item do it. The item is settled and `Done` told on every path.
///
/// The work counts as done when the faculty says so and no engage loop of it ended early that was the last of its phase.
pub async fn run(cx: RunContext, work: Work) -> RunReport {
    let (watcher, budget) = (cx.watcher.clone(), cx.budget.clone());
    let report = match Begun::begin(cx, &work).await {
        Ok(begun) => begun.engage_in_span().await,
        Err(error) => RunReport {
            work: work.id,
            focus: None,
            state: work.state,
            ending: None,
            summary: format!("the work could not begin: {error}"),
            data: None,
            error: Some(error),
            spent: Amount::default(),
        },
    };
    tell_done(&*watcher, &budget, &report);
    report
}

/// Has the faculty of an item that the queue gave out do it: a new focus, or one that lost its host, which goes on from its
/// journal. Of the latter, `cx.plugins` are the generations that it began with ([`Claimed::plugins`]). A failure that another
/// try may mend is queued again, by `backoff`. As [`run()`] otherwise; the state in the report is that of the item, so a
/// failed attempt may leave it queued.
///
/// A focus that is let go of ([`Terms::leave`]), or lost to another host, is not over: `Done` is not told then, and the
/// state in the report is [`State::Running`].
pub async fn run_claimed(cx: RunContext, claimed: Claimed, terms: Terms) -> RunReport {
    let (keeper, cx) = keep(cx, claimed.lease, terms.lease_ms, Some(terms.leave.clone()));
    run_kept(cx, claimed, terms, keeper).await
}

/// The same where the lease is kept already. What the keeper cancels is `cx.cancel`.
pub(crate) async fn run_kept(cx: RunContext, claimed: Claimed, terms: Terms, keeper: Keeper) -> RunReport {
    let (watcher, budget) = (cx.watcher.clone(), cx.budget.clone());
    let report = match Begun::claimed(cx.clone(), claimed.clone(), terms, keeper).await {
        Ok(begun) => begun.engage_in_span().await,
        Err(error) => abandon(&cx, &claimed, error).await,
    };
    if report.state != State::Running {
        tell_done(&*watcher, &budget, &report);
    }
    report
}

/// Ends a focus that cannot be resumed. What the store does not answer about is left to whoever claims it next.
async fn abandon(cx: &RunContext, claimed: &Claimed, error: Error) -> RunReport {
    let Claimed { work, lease, .. } = claimed;
    let settlement = Settlement { error: Some(error.clone()), ..Settlement::default() };
    let state = match error {
        // Not now, perhaps, but later.
        Error::Unavailable(_) | Error::Timeout(_) => State::Running,
        _ => {
            let settled = cx.tenant.focus_end(*lease, State::Failed, settlement).await;
            settled.map_or(State::Running, |work| work.state)
        }
    };
    RunReport {
        work: work.id,
        focus: Some(lease.focus),
        state,
        ending: None,
        summary: format!("the focus could not be resumed: {error}"),
        data: None,
        error: Some(error),
        spent: Amount::default(),
    }
}

/// On which terms a host runs an item of the queue.
#[derive(Clone, Debug)]
pub struct Terms {
    /// How long the next attempt waits after a failure.
    pub backoff: Backoff,
    /// How long the lease lasts without being renewed, in milliseconds; as it was claimed with.
    pub lease_ms: u64,
    /// Fires when the host stops: what runs is stopped, and the focus let go of, for another host to go on with.
    pub leave: CancellationToken,
    /// A place of its own to work in, where it has one.
    pub place: Option<Arc<dyn Place>>,
}

impl Default for Terms {
    fn default() -> Self {
        Self { backoff: Backoff::default(), lease_ms: LEASE_MS, leave: CancellationToken::new(), place: None }
    }
}

/// A place that was made for one focus to work in.
#[async_trait]
pub trait Place: Send + Sync + Debug {
    /// The focus is over. Clears the place away, or says for the outcome's data where it was left and why.
    ///
    /// # Errors
    /// What kept it from being looked at; it is left as it is then.
    async fn end(&self) -> Result<Option<Value>>;
}

fn tell_done(watcher: &dyn Watcher, budget: &Budget, report: &RunReport) {
    watcher.event(Event::Done {
        success: report.success(),
        ending: report.ending.map(|ending| ending.as_str().to_owned()),
        summary: report.summary.clone(),
        data: report.data.clone(),
        error: report.error.clone(),
        standing: budget.standing(),
    });
}

/// An operator's call of one tool, as a small work item with its own journal. `args` is JSON text. Tells no events but
/// those of what the tool does.
///
/// # Errors
/// [`Error::NotFound`] and [`Error::Invalid`] before anything is stored, and the store's own. Whatever the call itself
/// comes to is in the report.
pub async fn call_tool(cx: RunContext, name: &str, args: String) -> Result<CallReport> {
    let known = cx.plugins.tool(name).is_some();
    let plugin = name.split_once('.').filter(|_| known).map(|(plugin, _)| plugin.to_owned());
    let plugin = plugin.ok_or_else(|| unknown_tool(name, cx.plugins.tools().iter().map(|tool| tool.name.as_str())))?;
    let params: Map<String, Value> = serde_json::from_str(&args)
        .map_err(|error| Error::Invalid(format!("the arguments of '{name}' are not a JSON object: {error}")))?;
    let new = NewWork::held(plugin, "tool-call", name, Value::Object(params));
    let begun = Begun::hold(cx, new).await?;
    let focus = &begun.focus;
    let call = Call { caller: "operator".into(), parent: None, depth: 0, name: name.to_owned(), args };
    let span = begun.span.in_scope(|| spans::tool(name, None));
    let output = focus.call(call).instrument(span).await;
    let state = match &output {
        Ok(output) if output.is_error => State::Failed,
        Ok(_) => State::Completed,
        Err(Error::Cancelled) => State::Cancelled,
        Err(_) => State::Failed,
    };
    let (outcome, error) = match &output {
        // The journal has the rest.
        Ok(output) => (Some(json!({ "success": !output.is_error, "summary": head(&output.text, FIRST_PAGE) })), None),
        Err(error) => (None, Some(error.clone())),
    };
    let (spent, _) = begun.settle(state, outcome, error, false).await?;
    Ok(CallReport { work: begun.work.id, focus: begun.lease.focus, output, spent })
}

/// A program that an operator has run.
#[derive(Clone, Debug)]
pub struct Script {
    /// The interpreter plugin.
    pub interpreter: String,
    /// The program.
    pub program: Program,
    /// What it may reach: the operator's own authority, within the tenant's ceiling.
    pub authority: Authority,
    /// The longest that it may take, in milliseconds; the limits of the interpreter where none.
    pub wall_ms: Option<u64>,
}

/// What came of a script.
#[derive(Clone, Debug, PartialEq)]
pub struct ScriptReport {
    /// The work item that it became.
    pub work: WorkId,
    /// Its run.
    pub focus: FocusId,
    /// How the program ended.
    pub ran: Result<Ran>,
    /// What it cost.
    pub spent: Amount,
}

/// An operator's program, as a small work item with its own journal.
///
/// # Errors
/// [`Error::NotFound`] for no such interpreter before anything is stored, and the store's own. Whatever the program comes
/// to is in the report.
pub async fn run_script(cx: RunContext, script: Script) -> Result<ScriptReport> {
    let Script { interpreter, program, authority, wall_ms } = script;
    let found = cx.plugins.plugin(&interpreter).filter(|plugin| plugin.is_interpreter).cloned();
    let Some(plugin) = found else {
        return Err(Error::NotFound(format!("there is no interpreter '{}'", interpreter.escape_debug())));
    };
    let first = program.source.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let instruction = format!("{}: {}", program.name, head(first.trim(), 200));
    let new = NewWork::held(interpreter.clone(), "exec", instruction, json!({}));
    let begun = Begun::hold(cx, new).await?;
    let (focus, id) = (&begun.focus, begun.lease.focus);
    let by = Principal {
        tenant: focus.cx().tenant.id().clone(),
        focus: id,
        authority: Arc::new(authority),
        generation: plugin.generation,
        digest: plugin.digest,
        depth: 0,
        parent: None,
    };
    let span = begun.span.in_scope(|| spans::tool("execute_code", None));
    let ran = focus.execute(&by, Execution { interpreter, program, session: None, wall_ms }).instrument(span).await;
    let (state, outcome, error) = match &ran {
        Ok(Ran { failure: None, text, .. }) => {
            (State::Completed, Some(json!({ "success": true, "summary": head(text, FIRST_PAGE) })), None)
        }
        Ok(Ran { failure: Some(failure), .. }) => {
            let summary = format!("{}: {}", failure.kind, failure.message);
            (State::Failed, Some(json!({ "success": false, "summary": summary })), failure.cause.clone())
        }
        Err(Error::Cancelled) => (State::Cancelled, None, Some(Error::Cancelled)),
        Err(error) => (State::Failed, None, Some(error.clone())),
    };
    let (spent, _) = begun.settle(state, outcome, error, false).await?;
    Ok(ScriptReport { work: begun.work.id, focus: id, ran, spent })
}

/// Does something of an operator's that plugins or code take part in (the tests of a skill call tools), as a small work
/// item with its own journal.
///
/// # Errors
/// The store's own, and those of `deed`.
pub async fn operate<T>(
    cx: RunContext,
    new: NewWork,
    deed: impl AsyncFnOnce(CallContext, Arc<dyn PluginSet>) -> Result<T>,
) -> Result<T> {
    let begun = Begun::hold(cx, NewWork { disposal: Disposal::Held, ..new }).await?;
    let focus = &begun.focus;
    let cx = focus.call_context(0, None, focus.cx().cancel.child_token());
    let done = deed(cx, focus.plugins()).instrument(begun.span.clone()).await;
    let state = match &done {
        Ok(_) => State::Completed,
        Err(Error::Cancelled) => State::Cancelled,
        Err(_) => State::Failed,
    };
    begun.settle(state, None, done.as_ref().err().cloned(), false).await?;
    done
}

/// A focus that the store knows to be running, and that must be settled.
pub(crate) struct Begun {
    focus: Focus,
    work: Work,
    lease: Lease,
    /// Where the queue gave it out.
    terms: Option<Terms>,
    keeper: Keeper,
    span: Span,
    /// What its journal says that it was asked to do.
    asked: Option<Asked>,
}

impl Begun {
    fn of(cx: RunContext, claimed: Claimed, terms: Option<Terms>, keeper: Keeper) -> Self {
        let Claimed { work, lease, began_ms, resumed, .. } = claimed;
        let cap = work.cap.clone().map(Arc::new);
        let span = spans::execute(cx.tenant.id(), &work, lease, resumed);
        let focus = Focus::begun(cx, work.id, lease, cap, began_ms);
        focus.may_leave(terms.as_ref().map(|terms| terms.leave.clone()));
        Self { focus, work, lease, terms, keeper, span, asked: None }
    }

    /// An item of the queue, whose focus may have begun on another host.
    async fn claimed(cx: RunContext, claimed: Claimed, terms: Terms, keeper: Keeper) -> Result<Self> {
        if !claimed.resumed {
            return Ok(Self::of(cx, claimed, Some(terms), keeper));
        }
        let Claimed { work, lease, began_ms, .. } = claimed;
        let records = cx.tenant.journal_read(lease.focus).await?;
        let asked = Asked::of(&records).ok();
        let cap = work.cap.clone().map(Arc::new);
        let span = spans::execute(cx.tenant.id(), &work, lease, true);
        let focus = Focus::resumed(cx, work.id, lease, cap, Resumed { began_ms, records, forked: None })?;
        focus.may_leave(Some(terms.leave.clone()));
        Ok(Self { focus, work, lease, terms: Some(terms), keeper, span, asked })
    }

    /// A new focus that goes on from the records of another. What the keeper cancels is `cx.cancel`.
    pub(crate) fn forked(
        cx: RunContext,
        claimed: Claimed,
        keeper: Keeper,
        of: &FocusRecord,
        records: Vec<Record>,
    ) -> Result<Self> {
        let Claimed { work, lease, .. } = claimed;
        let asked = Asked::of(&records).ok();
        let cap = work.cap.clone().map(Arc::new);
        let span = spans::execute(cx.tenant.id(), &work, lease, true);
        let resumed = Resumed { began_ms: of.began_ms, records, forked: Some(of.id) };
        let focus = Focus::resumed(cx, work.id, lease, cap, resumed)?;
        Ok(Self { focus, work, lease, terms: None, keeper, span, asked })
    }

    /// Whether this host stops, so that another one is to go on.
    fn leaves(&self) -> bool {
        self.terms.as_ref().is_some_and(|terms| terms.leave.is_cancelled())
    }

    async fn begin(cx: RunContext, work: &Work) -> Result<Self> {
        let claim = Claim::held(cx.host.clone(), LEASE_MS, pinned(&*cx.plugins));
        let claimed = cx.tenant.focus_begin(work.id, work.state, &claim).await?;
        let (keeper, cx) = keep(cx, claimed.lease, LEASE_MS, None);
        Ok(Self::of(cx, claimed, None, keeper))
    }

    /// A new item of this process's own.
    async fn hold(cx: RunContext, new: NewWork) -> Result<Self> {
        let work = cx.tenant.work_submit(new).await?.work;
        Self::begin(cx, &work).await
    }

    async fn engage_in_span(self) -> RunReport {
        let span = self.span.clone();
        self.engage().instrument(span).await
    }

    pub(crate) async fn engage(self) -> RunReport {
        let Self { focus, work, lease, .. } = &self;
        focus.tell(Event::Started { work: work.id, focus: lease.focus, faculty: work.faculty.clone() });
        let asked = self.asked.clone().unwrap_or_else(|| Asked::new(focus, work));
        let Worked { judged, ending, gives_up, .. } =
            phases(focus, asked, Attempts::of(work, self.terms.is_some())).await;
        let Judged { state, mut outcome, mut error } = judged;
        let again = !gives_up && may_mend(error.as_ref());
        self.clear_away(&mut outcome).await;
        let value = outcome.as_ref().and_then(|outcome| serde_json::to_value(outcome).ok());
        let (spent, state) = match self.settle(state, value, error.clone(), again).await {
            Ok((spent, work)) => (spent, work.state),
            Err(unsettled) => {
                // The store does not know the end, so the item does not count as done; recovery will find it.
                error = Some(unsettled);
                (focus.spent(), State::Running)
            }
        };
        let (said, data) = outcome.map_or((None, None), |outcome| (Some(outcome.summary), outcome.data));
        let summary = said.or_else(|| error.as_ref().map(Error::to_string)).unwrap_or_default();
        RunReport { work: work.id, focus: Some(lease.focus), state, ending, summary, data, error, spent }
    }

    /// Ends the place of this focus, if it had one of its own, unless another host goes on there.
    async fn clear_away(&self, outcome: &mut Option<FacultyOutcome>) {
        let place = self.terms.as_ref().and_then(|terms| terms.place.as_ref());
        let Some(place) = place.filter(|_| !self.leaves() && !self.keeper.is_lost()) else { return };
        self.focus.finish().await;
        let left = match place.end().await {
            Ok(None) => return,
            Ok(Some(left)) => left,
            Err(error) => json!({ "error": error.to_string() }),
        };
        let kept = outcome.get_or_insert_with(|| FacultyOutcome {
            success: false,
            summary: "the focus failed; what it did was left where it worked".to_owned(),
            data: None,
        });
        let data = kept.data.get_or_insert_with(|| json!({}));
        if let Value::Object(data) = data {
            data.insert("worktree".to_owned(), left);
        }
    }

    /// Waits for what still runs, then closes the item. Returns what was spent, and the item.
    /// What failed is tried `again` where a queue gave it out.
    async fn settle(
        &self,
        state: State,
        outcome: Option<Value>,
        error: Option<Error>,
        again: bool,
    ) -> Result<(Amount, Work)> {
        let focus = &self.focus;
        focus.finish().await;
        focus.settle_children().await;
        if let Some(error) = &error {
            trace::failed(&self.span, error);
        }
        let spent = focus.spent();
        if self.keeper.is_lost() {
            return Err(Error::Conflict(format!(
                "the focus {} was taken over by another host, which goes on with it",
                self.lease.focus
            )));
        }
        if let Some(error) = focus.halted().filter(|error| !matches!(error, Error::Diverged(_)))
            && self.work.disposal == Disposal::Queue
        {
            // What is in the journal is true; whoever claims the item next goes on from there.
            return Err(error);
        }
        if self.leaves() && state != State::Completed {
            // Whatever it came to, it came of being stopped.
            focus.cx().tenant.focus_release(self.lease).await?;
            return Err(Error::Unavailable(format!(
                "this host stops; the focus {} was let go of, and another host goes on with it",
                self.lease.focus
            )));
        }
        let retry_in_ms = match (&self.terms, state) {
            (Some(terms), State::Failed) if again => Some(terms.backoff.wait_ms(self.work.attempts)),
            _ => None,
        };
        let settlement =
            Settlement { outcome, error, tokens: spent.tokens, cost_microusd: spent.microusd, retry_in_ms };
        let work = focus.cx().tenant.focus_end(self.lease, state, settlement).await?;
        self.span.record("animus.work.state", work.state.as_str());
        Ok((spent, work))
    }
}

/// The plugins of a snapshot, as a focus that begins keeps them.
#[must_use]
pub fn pinned(plugins: &dyn PluginSet) -> Value {
    let pin = |p: &Arc<Loaded>| (p.name.to_string(), json!({ "generation": p.generation, "digest": p.digest }));
    Value::Object(plugins.plugins().iter().map(pin).collect())
}

/// From now on the lease is kept; whoever takes the item away ends this run of it and nothing else of the process.
pub(crate) fn keep(
    mut cx: RunContext,
    lease: Lease,
    lease_ms: u64,
    leave: Option<CancellationToken>,
) -> (Keeper, RunContext) {
    cx.cancel = cx.cancel.child_token();
    let keeper = Keeper::new(cx.tenant.clone(), lease, lease_ms, cx.cancel.clone(), leave);
    (keeper, cx)
}
