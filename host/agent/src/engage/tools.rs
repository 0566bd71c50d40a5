//! The tool calls of one turn: all at once, answered in the order in which the model asked.

use std::{collections::HashMap, time::Instant};

use animus_core::{
    Error, Result,
    event::Event,
    grant::Capability,
    llm::{Content, Stop, ToolInput, ToolResult, ToolUse},
    tool::Output,
};
use futures::{StreamExt as _, stream};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use super::{
    Engage, bounds, engine_tools, execute_code,
    pages::{FIRST_PAGE, head},
    repeat::Verdict,
    skills,
};
use crate::{
    content,
    focus::{About, Call, unknown_tool},
    spans,
};

/// Where a call of a turn stands among those that must not run at the same time.
struct Place {
    /// Fires when the call before it has ended.
    before: Option<CancellationToken>,
    /// Fires when this one has.
    done: CancellationToken,
}

/// Runs of one session of code go one after the other in the order in which the model asked, as each begins with what the
/// one before left: also when hooks take longer over the first one, and the same when the focus is resumed. All other calls
/// run at once.
fn places(requests: &[ToolUse]) -> Vec<Place> {
    let mut last = HashMap::new();
    let place = |request: &ToolUse| {
        let done = CancellationToken::new();
        let before = execute_code::session(request).and_then(|session| last.insert(session.to_owned(), done.clone()));
        Place { before, done }
    };
    requests.iter().map(place).collect()
}

/// What an event shows of a result, in bytes.
const SHOWN: usize = 2_000;

/// The results of a turn.
pub(super) struct Answers {
    /// One for each request, in their order.
    pub(super) results: Vec<Content>,
    /// A call was repeated too often.
    pub(super) repetition: bool,
}

impl Engage<'_> {
    /// Answers every request of a turn.
    pub(super) async fn answer(&mut self, requests: &[ToolUse], stop: &Stop) -> Answers {
        let verdicts: Vec<_> = requests.iter().map(|r| self.repeats.verdict(r, self.is_cacheable(&r.name))).collect();
        let repetition = verdicts.contains(&Verdict::Stop);
        let this = &*self;
        let calls: Vec<_> = requests
            .iter()
            .zip(verdicts)
            .zip(places(requests))
            .map(|((request, verdict), place)| {
                // What a model calls by a name that nobody offers is its own invention.
                let known = this.offered.get_key_value(&request.name).map_or("unknown", |(name, _)| name);
                let span = spans::tool(known, Some(&request.id));
                async move {
                    // Those before it began before it, so they come to an end, however few run at once.
                    if let Some(before) = place.before {
                        before.cancelled().await;
                    }
                    let _done = place.done.drop_guard();
                    this.answer_one(request, verdict, stop).instrument(span).await
                }
            })
            .collect();
        let answers: Vec<_> =
            stream::iter(calls).buffered(bounds::at_once(&self.focus.cx().faculty.engage)).collect().await;

        let mut results = Vec::with_capacity(requests.len());
        for (request, (mut result, is_fresh)) in requests.iter().zip(answers) {
            if is_fresh {
                // Here, where they are in the model's order: pages are named by their number, and must have the same names
                // when the focus is resumed.
                result.text = self.focus.pages().cut(result.text);
            }
            if let Some(warning) = self.repeats.note(request, &result) {
                result.text = format!("{}\n[{warning}]", result.text);
            }
            results.push(Content::ToolResult(result));
        }
        if requests.iter().any(|request| !self.is_read_only(&request.name)) {
            self.repeats.world_changed();
        }
        Answers { results, repetition }
    }

    fn is_read_only(&self, name: &str) -> bool {
        self.offered.get(name).is_some_and(|tool| tool.annotations.read_only)
    }

    /// What lies beyond this machine may change without this run's doing.
    fn is_cacheable(&self, name: &str) -> bool {
        self.offered.get(name).is_some_and(|tool| tool.annotations.read_only && !tool.annotations.open_world)
    }

    /// The result, and whether it is a new one, as it came from the tool.
    async fn answer_one(&self, request: &ToolUse, verdict: Verdict, stop: &Stop) -> (ToolResult, bool) {
        let ToolUse { id, name, input } = request;
        let args = match input {
            ToolInput::Malformed { malformed_json } => Value::String(malformed_json.clone()),
            ToolInput::Object(object) => Value::Object(object.clone()),
        };
        self.focus.tell(Event::ToolStart { id: id.clone(), tool: name.clone(), args });
        content::called(input);
        let begun = Instant::now();
        let is_fresh = verdict == Verdict::Run;
        let (result, bytes, error) = match verdict {
            Verdict::Cached(result) => {
                self.focus.notice(format!("'{name}' was answered from cache: it gave the same answer before"));
                let bytes = result.text.len();
                (result, bytes, None)
            }
            Verdict::Stop => {
                let text = "not run: this exact call gave the same answer too often; the run ends here";
                (failure(id, text.to_owned()), text.len(), None)
            }
            Verdict::Run => {
                let (result, error) = match self.call(name, input, stop).await {
                    Ok(output) => (readable(id, output), None),
                    Err(error) => (failure(id, error.for_model()), Some(error)),
                };
                let bytes = result.text.len();
                if bytes > FIRST_PAGE {
                    self.focus.notice(format!("the result of '{name}' was cut: it has {bytes} bytes"));
                }
                (result, bytes, error)
            }
        };
        content::returned(&result.text);
        if result.is_error {
            let class = error.as_ref().map_or("tool", Error::class);
            Span::current().record("otel.status_code", "ERROR").record("error.type", class);
        }
        self.focus.tell(Event::ToolEnd {
            id: id.clone(),
            tool: name.clone(),
            text: head(&result.text, SHOWN).to_owned(),
            bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
            is_error: result.is_error,
            error,
            elapsed_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
        (result, is_fresh)
    }

    async fn call(&self, name: &str, input: &ToolInput, stop: &Stop) -> Result<Output> {
        let args = match input {
            ToolInput::Object(args) => args,
            ToolInput::Malformed { malformed_json } => return Err(self.malformed(malformed_json.len(), stop)),
        };
        // Those of plugins pass the focus's own way; those of the host have no dot in their names.
        if name.contains('.') {
            return self.call_plugin(name, args).await;
        }
        if !self.offered.contains_key(name) {
            if let Some(denial) = skills::withheld(self.focus, self.by, name) {
                return Err(self.focus.refuse(denial).await);
            }
            return Err(unknown_tool(name, self.offered.keys().map(String::as_str)));
        }
        let (focus, by) = (self.focus, self.by);
        focus
            .watch_tool(About::by(by, name), args.clone(), |args, _| async move {
                let answer = engine_tools::call(focus, by, name, &args).await;
                answer.unwrap_or_else(|| Err(Error::NotFound(format!("there is no tool '{name}' any more"))))
            })
            .await
    }

    async fn call_plugin(&self, name: &str, args: &Map<String, Value>) -> Result<Output> {
        if !self.offered.contains_key(name) {
            if self.focus.plugins().tool(name).is_none() {
                return Err(unknown_tool(name, self.offered.keys().map(String::as_str)));
            }
            // Of the run's own narrowing the focus says more than the authority, which is as narrow.
            let narrowed = self.focus.is_narrowed(name);
            if let Err(denial) = self.by.authority.check(&Capability::Tool(name.to_owned()))
                && !narrowed
            {
                return Err(self.focus.refuse(denial).await);
            }
            if self.focus.in_reach(name) {
                return Err(Error::Invalid(format!("'{name}' is not on offer in this task")));
            }
        }
        let args = serde_json::to_string(args).map_err(|error| Error::internal("cannot write arguments", &error))?;
        self.focus.call(Call::by(self.by, name, args)).await
    }

    fn malformed(&self, bytes: usize, stop: &Stop) -> Error {
        Error::Invalid(if *stop == Stop::MaxTokens {
            format!(
                "the arguments were cut off after {bytes} bytes, because an answer has at most {} tokens; the tool was \
                 not run: make the arguments shorter, or do it in several calls",
                self.conversation.frame().max_tokens.unwrap_or_default()
            )
        } else {
            "the arguments are not a JSON object; the tool was not run".to_owned()
        })
    }
}

fn failure(id: &str, text: String) -> ToolResult {
    ToolResult { id: id.to_owned(), text, images: Vec::new(), is_error: true }
}

/// A tool's answer as text for the model.
fn readable(id: &str, output: Output) -> ToolResult {
    let Output { mut text, structured, images, is_error } = output;
    if let Some(structured) = structured.filter(|_| text.is_empty()) {
        text = structured.to_string();
    }
    if text.is_empty() && images.is_empty() {
        "(no output)".clone_into(&mut text);
    }
    ToolResult { id: id.to_owned(), text, images, is_error }
}
