//! Where hooks are shown what a focus is about to do and what came of it: the one way of every model call and tool call.
//!
//! What is refused never gets here, and a hook's word can only stop or change what is left: no verdict allows anything.

use std::{
    future::Future,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use animus_core::{
    Denial, Error, Gate, Result, Unlock,
    event::{Event, HookAction},
    grant::Capability,
    hook::{HookEvent, LlmAnswer, LlmCall, OnFailure, Point, ToolCall, ToolOutcome, TurnEnd, Verdict, reason},
    id::Digest,
    journal::{EffectKind, Intent},
    llm::{EMBED_ROLE, Request, Response},
    services::Principal,
    tool::Output,
};
use serde_json::{Map, Value, json};

use super::{Acting, Focus, Watching, lock, services::name};
use crate::{
    conversation::Conversation,
    hooks::{Link, Runner},
};

mod counts;
mod parts;

pub(super) use counts::Counts;

/// A tool call, as hooks are told of it.
pub(crate) struct About {
    /// Who asks, as the journal names them.
    pub(crate) caller: String,
    /// The intent inside which it happens.
    pub(crate) parent: Option<u64>,
    /// How deep inside other calls the tool will run.
    pub(crate) depth: u64,
    /// The tool.
    pub(crate) name: String,
}

impl About {
    /// A call of `by`, one deeper than they are.
    pub(crate) fn by(by: &Principal, tool: &str) -> Self {
        let depth = by.depth.saturating_add(1);
        Self { caller: name(by).to_owned(), parent: by.parent, depth, name: tool.to_owned() }
    }
}

/// What came of showing something to the hooks.
enum Shown {
    /// It happens like this.
    As { event: HookEvent, changed: bool },
    /// It does not happen.
    Blocked(Denial),
}

/// A verdict that is none of the hook's own words: it could not give one.
struct Failure {
    class: &'static str,
    detail: String,
}

impl Focus {
    /// The same focus for what a hook itself does: nothing of that is shown to hooks, whoever does it on its behalf.
    fn unwatched(&self) -> Self {
        Self(self.0.clone(), Watching::Off)
    }

    /// Whether anything is shown to anybody at a point.
    pub(super) fn is_watched(&self, point: Point) -> bool {
        self.1 == Watching::On && self.0.chain.at(point).next().is_some()
    }

    /// Shows a request to the hooks. Returns it when they changed it.
    ///
    /// # Errors
    /// [`Error::Denied`] at the gate of hooks when one of them stopped it.
    pub(super) async fn before_llm(
        &self,
        by: &Principal,
        number: u32,
        conversation: &Conversation,
    ) -> Result<Option<Request>> {
        if !self.is_watched(Point::BeforeLlmCall) {
            return Ok(None);
        }
        let mut request = conversation.request();
        let call = LlmCall {
            work_id: self.0.work.to_string(),
            caller: name(by).to_owned(),
            number,
            model: request.model.clone(),
            system: request.system.clone(),
            parts: parts::of(&request),
            tools: request.tools.iter().map(|tool| tool.name.clone()).collect(),
        };
        match self.show(HookEvent::BeforeLlm(call), by.parent).await? {
            Shown::As { event: HookEvent::BeforeLlm(call), changed: true } => {
                parts::put(&mut request, call);
                Ok(Some(request))
            }
            Shown::As { .. } => Ok(None),
            Shown::Blocked(denial) => Err(denial.into()),
        }
    }

    /// Shows texts that are about to go to a vendor's embedding model to the hooks. Returns them as the hooks left them.
    ///
    /// # Errors
    /// [`Error::Denied`] at the gate of hooks when one of them stopped it.
    pub(super) async fn before_embedding(&self, by: &Principal, texts: Vec<String>) -> Result<Vec<String>> {
        if !self.is_watched(Point::BeforeLlmCall) {
            return Ok(texts);
        }
        let call = LlmCall {
            work_id: self.0.work.to_string(),
            caller: name(by).to_owned(),
            number: self.0.asked.fetch_add(1, Ordering::Relaxed).saturating_add(1),
            model: EMBED_ROLE.to_owned(),
            system: None,
            parts: parts::of_texts(texts),
            tools: Vec::new(),
        };
        match self.show(HookEvent::BeforeLlm(call), by.parent).await? {
            Shown::As { event: HookEvent::BeforeLlm(call), .. } => Ok(parts::texts(call)),
            Shown::As { event, .. } => Err(Error::Internal(format!("texts to embed became {}", event.point()))),
            Shown::Blocked(denial) => Err(denial.into()),
        }
    }

    /// Shows an answer to the hooks: what they leave of it.
    ///
    /// # Errors
    /// [`Error::Denied`] at the gate of hooks when one of them stopped it.
    pub(super) async fn after_llm(
        &self,
        by: &Principal,
        (model, number): (String, u32),
        begun: Instant,
        mut response: Response,
    ) -> Result<Response> {
        if !self.is_watched(Point::AfterLlmCall) {
            return Ok(response);
        }
        let answer = LlmAnswer {
            work_id: self.0.work.to_string(),
            caller: name(by).to_owned(),
            number,
            model,
            text: response.message.text(),
            tool_uses: response.message.tool_uses().map(|tool| tool.name.clone()).collect(),
            elapsed_ms: millis(begun.elapsed()),
        };
        match self.show(HookEvent::AfterLlm(answer), by.parent).await? {
            Shown::As { event: HookEvent::AfterLlm(answer), changed: true } => {
                parts::say(&mut response.message, answer.text);
                Ok(response)
            }
            Shown::As { .. } => Ok(response),
            Shown::Blocked(denial) => Err(denial.into()),
        }
    }

    /// Does a tool call between the hooks. `act` gets the arguments, and whether they are other than they were. A call
    /// that a hook stops is an answer of the kind that a failed tool gives.
    pub(crate) async fn watch_tool<A, F>(&self, about: About, args: Map<String, Value>, act: A) -> Result<Output>
    where
        A: FnOnce(Map<String, Value>, bool) -> F,
        F: Future<Output = Result<Output>>,
    {
        let after = self.is_watched(Point::AfterToolCall);
        let (args, changed) = if self.is_watched(Point::BeforeToolCall) {
            match self.before_tool(&about, args).await? {
                Ok(args) => args,
                Err(denial) => return Ok(stopped("not run", &denial)),
            }
        } else {
            (args, false)
        };
        if !after {
            return act(args, changed).await;
        }
        let begun = Instant::now();
        let result = act(args.clone(), changed).await;
        self.after_tool(about, args, begun.elapsed(), result).await
    }

    async fn before_tool(
        &self,
        about: &About,
        args: Map<String, Value>,
    ) -> Result<Result<(Map<String, Value>, bool), Denial>> {
        let earlier = lock(&self.0.counts).begin(&about.name);
        let call = ToolCall {
            work_id: self.0.work.to_string(),
            caller: about.caller.clone(),
            depth: u32::try_from(about.depth).unwrap_or(u32::MAX),
            tool: about.name.clone(),
            args,
            calls: earlier.total,
            calls_last_minute: earlier.last_minute,
        };
        let shown = self.show(HookEvent::BeforeTool(call), about.parent).await;
        if !matches!(shown, Ok(Shown::As { .. })) {
            lock(&self.0.counts).undo(&about.name);
        }
        match shown? {
            Shown::As { event: HookEvent::BeforeTool(call), changed } => Ok(Ok((call.args, changed))),
            Shown::As { event, .. } => Err(Error::Internal(format!("a tool call became {}", event.point()))),
            Shown::Blocked(denial) => Ok(Err(denial)),
        }
    }

    async fn after_tool(
        &self,
        about: About,
        args: Map<String, Value>,
        elapsed: Duration,
        result: Result<Output>,
    ) -> Result<Output> {
        let (text, structured, is_error) = match &result {
            Ok(output) => (output.text.clone(), output.structured.clone(), output.is_error),
            Err(Error::Cancelled) => return result,
            Err(error) => (error.for_model(), None, true),
        };
        let outcome = ToolOutcome {
            work_id: self.0.work.to_string(),
            caller: about.caller,
            depth: u32::try_from(about.depth).unwrap_or(u32::MAX),
            tool: about.name,
            args,
            text,
            structured,
            is_error,
            elapsed_ms: millis(elapsed),
        };
        let shown = self.show(HookEvent::AfterTool(outcome), about.parent).await?;
        match (shown, result) {
            // The host's own word, which says nothing of the world, and which nobody talks away.
            (_, Err(error @ Error::Denied(_))) => Err(error),
            (Shown::As { event: HookEvent::AfterTool(outcome), changed: true }, Ok(output)) => {
                let ToolOutcome { text, structured, is_error, .. } = outcome;
                Ok(Output { text, structured, is_error, ..output })
            }
            (Shown::As { event: HookEvent::AfterTool(outcome), changed: true }, Err(_)) => {
                Ok(Output { text: outcome.text, is_error: true, ..Output::default() })
            }
            (Shown::As { .. }, result) => result,
            (Shown::Blocked(denial), _) => Ok(stopped("the result is withheld", &denial)),
        }
    }

    /// Shows the end of a turn to the hooks. The denial of the next one, where a hook ends the loop.
    pub(crate) async fn after_turn(
        &self,
        by: &Principal,
        turn: u32,
        text: &str,
        calls: usize,
    ) -> Result<Option<Denial>> {
        if !self.is_watched(Point::AfterTurn) {
            return Ok(None);
        }
        let end = TurnEnd {
            work_id: self.0.work.to_string(),
            caller: name(by).to_owned(),
            turn,
            text: text.to_owned(),
            tool_calls: u32::try_from(calls).unwrap_or(u32::MAX),
        };
        match self.show(HookEvent::AfterTurn(end), by.parent).await? {
            Shown::Blocked(denial) => Ok(Some(denial)),
            Shown::As { .. } => Ok(None),
        }
    }

    /// Shows an event to the hooks, one after another.
    async fn show(&self, event: HookEvent, parent: Option<u64>) -> Result<Shown> {
        let mut event = Arc::new(event);
        let mut changed = false;
        for link in self.0.chain.at(event.point()) {
            let failure = match self.ask(link, &event, parent).await {
                Ok(Verdict::Continue) => continue,
                Ok(Verdict::Block(said)) => {
                    let said = reason(&said);
                    let told = format!("the hook '{}' stopped it, which says: {said}", link.name);
                    return Ok(Shown::Blocked(self.stop(link, &event, said, told).await));
                }
                Ok(Verdict::Modify(patch)) => match Arc::make_mut(&mut event).apply(patch) {
                    Ok(()) => {
                        changed = true;
                        self.tell_hook(link, &event, HookAction::Modified, None);
                        continue;
                    }
                    Err(error) => Failure::of(&error),
                },
                // Its own word for it would not make it so.
                Err(Error::Cancelled) if self.is_cancelled() => return Err(Error::Cancelled),
                Err(error) => Failure::of(&error),
            };
            let Failure { class, detail } = failure;
            let (hook, point, what) = (&link.name, event.point(), event.subject());
            match link.settings.on_failure {
                OnFailure::Closed => {
                    tracing::warn!(%hook, %point, what, class, detail, "a hook failed, which counts as a block");
                    let told = format!("the hook '{hook}' failed ({class}), and nothing passes without it");
                    return Ok(Shown::Blocked(self.stop(link, &event, detail, told).await));
                }
                OnFailure::Open => {
                    tracing::warn!(%hook, %point, what, class, detail, "a hook failed and is passed over");
                    self.tell_hook(link, &event, HookAction::Failed, Some(detail));
                }
            }
        }
        Ok(Shown::As { event: Arc::unwrap_or_clone(event), changed })
    }

    /// Has one hook look at an event, as an effect: what it does is journaled inside it, and what it says is kept.
    async fn ask(&self, link: &Arc<Link>, event: &Arc<HookEvent>, parent: Option<u64>) -> Result<Verdict> {
        let intent = Intent {
            kind: EffectKind::Hook,
            caller: "host".to_owned(),
            subject: link.name.clone(),
            request: json!({ "event": event.point(), "about": event.subject(), "sha256": digest(event) }),
            parent,
        };
        let (focus, link, event) = (self.unwatched(), link.clone(), event.clone());
        self.effect(intent, move |acting| async move {
            let Acting { seq, cancel, .. } = acting;
            // Whatever it still does when its time is over is stopped.
            let cancel = cancel.child_token();
            let _cancels_when_dropped = cancel.clone().drop_guard();
            if matches!(link.runner, Runner::Plugin) {
                // What is done once for all calls is not on the time of one.
                focus.plugins().warm(&link.name).await?;
            }
            let timeout = link.settings.timeout();
            let asked = async {
                match (&link.runner, &focus.0.chain.commands) {
                    (Runner::Plugin, _) => {
                        let cx = focus.call_context(1, seq, cancel);
                        focus.plugins().hook(&cx, &link.name, &event).await
                    }
                    (Runner::Command(name), Some(commands)) => commands.run(name, &event).await,
                    (Runner::Command(name), None) => Err(Error::NotFound(format!("command hook '{name}'"))),
                }
            };
            tokio::time::timeout(timeout, asked).await.unwrap_or_else(|_| {
                Err(Error::Timeout(format!("the hook '{}' took longer than {} ms", link.name, timeout.as_millis())))
            })
        })
        .await
    }

    /// A block: told, audited, and as a denial.
    async fn stop(&self, link: &Link, event: &HookEvent, said: String, told: String) -> Denial {
        self.tell_hook(link, event, HookAction::Blocked, Some(said));
        let (who, capability) = match event {
            HookEvent::BeforeLlm(LlmCall { caller, model, .. })
            | HookEvent::AfterLlm(LlmAnswer { caller, model, .. }) => {
                (caller, Capability::Llm { role: model.clone(), max_tokens: 0 }.to_string())
            }
            HookEvent::BeforeTool(ToolCall { caller, tool, .. })
            | HookEvent::AfterTool(ToolOutcome { caller, tool, .. }) => {
                (caller, Capability::Tool(tool.clone()).to_string())
            }
            HookEvent::AfterTurn(TurnEnd { caller, turn, .. }) => (caller, format!("turn {}", turn.saturating_add(1))),
        };
        let denial = Denial {
            who: who.clone(),
            capability,
            gate: Gate::Hook,
            unlock: Unlock::Nothing,
            reason: Some(told),
            command: None,
        };
        self.audit_denial(who, &denial).await;
        denial
    }

    fn tell_hook(&self, link: &Link, event: &HookEvent, action: HookAction, reason: Option<String>) {
        let (hook, point, subject) = (link.name.clone(), event.point(), event.subject().to_owned());
        self.tell(Event::Hook { hook, point, subject, action, reason });
    }
}

impl Failure {
    fn of(error: &Error) -> Self {
        Self { class: error.class(), detail: reason(&error.to_string()) }
    }
}

/// Stands for an event in the journal, without what is another figure each time, and without the item: one that goes on
/// from another's journal is shown the same.
fn digest(event: &HookEvent) -> Digest {
    let mut value = serde_json::to_value(event).unwrap_or_default();
    if let Some(object) = value.as_object_mut() {
        for other in ["work_id", "number", "calls", "calls_last_minute", "elapsed_ms"] {
            object.remove(other);
        }
    }
    Digest::of(value.to_string().as_bytes())
}

/// What the caller of a stopped tool reads. The words are the host's, and the hook's reason is marked as such.
fn stopped(what: &str, denial: &Denial) -> Output {
    let why = denial.reason.as_deref().unwrap_or_default();
    Output { text: format!("{what}: {why}"), is_error: true, ..Output::default() }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
