//! Model calls: reserved, journaled, relayed, settled.

use std::{sync::atomic::Ordering, time::Instant};

use animus_core::{
    Error, Result,
    event::Event,
    hook::Point,
    journal::{EffectKind, Intent},
    llm::{ModelInfo, Request, Response, ResponseStream, StreamEvent},
    services::Principal,
};
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Acting, Course, Focus, services::intent};
use crate::{
    charge::Charge,
    content,
    conversation::{Conversation, Weight},
    measure::Chat,
};

/// Pieces of an answer that wait for a slow reader.
const PIECES: usize = 64;

/// Where the pieces of an answer go.
enum Sink {
    Watcher,
    /// To the watcher, without the text: that is told when the hooks have passed the whole of it.
    Withheld,
    Reader(mpsc::Sender<Result<StreamEvent>>),
    /// As `Withheld`, for a reader.
    WithheldReader(mpsc::Sender<Result<StreamEvent>>),
}

/// A request with its hold on the budget.
pub(crate) struct Prepared {
    /// Which model call of this focus, from 1.
    number: u32,
    request: Request,
    weight: Weight,
    charge: Charge,
    /// The model that is asked first, `<provider>:<model>`.
    label: String,
}

impl Focus {
    /// Makes a request fit to send, shows it to the hooks, and reserves what it may cost. `BudgetExhausted` means this
    /// run's own budget: a vendor's limit shows as `Unavailable`, and only when the call is made. Only what was prepared
    /// can be sent.
    pub(crate) async fn prepare(&self, by: &Principal, mut request: Request) -> Result<Prepared> {
        if request.model.is_empty() {
            "default".clone_into(&mut request.model);
        }
        let model = self.0.cx.models.resolve(&request.model)?;
        request.max_tokens.get_or_insert(model.max_output);
        self.ready(by, &Conversation::new(request), &model).await
    }

    /// The same for the next request of a conversation that is fit to send and names its model.
    pub(crate) async fn prepare_next(&self, by: &Principal, conversation: &Conversation) -> Result<Prepared> {
        let model = self.0.cx.models.resolve(&conversation.frame().model)?;
        self.ready(by, conversation, &model).await
    }

    async fn ready(&self, by: &Principal, conversation: &Conversation, model: &ModelInfo) -> Result<Prepared> {
        let number = self.0.asked.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        match self.before_llm(by, number, conversation).await? {
            None => self.reserve(by, number, conversation, model),
            Some(changed) => self.reserve(by, number, &Conversation::new(changed), model),
        }
    }

    fn reserve(&self, by: &Principal, number: u32, conversation: &Conversation, model: &ModelInfo) -> Result<Prepared> {
        let (frame, weight) = (conversation.frame(), conversation.weight());
        let request = asked(frame.max_tokens, conversation.len(), weight);
        // What was paid for is not asked for again.
        let charge = if self.has_answer(&intent(by, EffectKind::Llm, &frame.model, request)) {
            Charge::answered(&self.0.spending, conversation, model)
        } else {
            Charge::reserve(&self.0.spending, conversation, model)?
        };
        let label = model.models.first().cloned().unwrap_or_default();
        Ok(Prepared { number, request: conversation.request(), weight: conversation.weight(), charge, label })
    }

    /// Makes the call and returns the whole answer.
    pub(crate) async fn complete(&self, by: &Principal, prepared: Prepared) -> Result<Response> {
        let intent = llm_intent(by, &prepared);
        let (focus, caller) = (self.clone(), intent.caller.clone());
        let (about, begun) = (prepared.about(), Instant::now());
        let answered = self.effect(intent, |acting| async move {
            let Prepared { request, mut charge, label, .. } = prepared;
            charge.dispatched()?;
            let chat = focus.chat(caller, label, &request);
            match focus.0.cx.models.complete(request, acting.cancel).await {
                Ok(response) => Ok(focus.counted(charge, &chat, response)),
                Err(error) => Err(failed(charge, &chat, error)),
            }
        });
        self.after_llm(by, about, begun, answered.await?).await
    }

    /// Makes the call, tells the watcher its pieces, and returns the whole answer.
    pub(crate) async fn listen(&self, by: &Principal, prepared: Prepared) -> Result<Response> {
        let (focus, about, begun) = (self.clone(), prepared.about(), Instant::now());
        let intent = llm_intent(by, &prepared);
        let withheld = self.is_watched(Point::AfterLlmCall);
        let sink = if withheld { Sink::Withheld } else { Sink::Watcher };
        let caller = intent.caller.clone();
        let relay = |acting: Acting| async move { focus.relay(prepared, caller, acting.cancel, &sink).await };
        let answered = self.effect(intent, relay);
        let response = self.after_llm(by, about, begun, answered.await?).await?;
        if withheld {
            self.tell(Event::Token { text: response.message.text() });
        }
        Ok(response)
    }

    /// Makes the call and hands out its pieces. The last one is `Done`, whose response is in the journal by then, or an
    /// error. Dropping the stream abandons the answer. Where hooks look at answers, the pieces come when they have passed
    /// the whole.
    pub(crate) fn stream(&self, by: &Principal, prepared: Prepared) -> ResponseStream {
        let intent = llm_intent(by, &prepared);
        let caller = intent.caller.clone();
        let (pieces, received) = mpsc::channel(PIECES);
        let (focus, reader) = (self.clone(), pieces.clone());
        let (about, begun, by) = (prepared.about(), Instant::now(), by.clone());
        let withheld = self.is_watched(Point::AfterLlmCall);
        let call = move |acting: Acting| async move {
            let sink = if withheld { Sink::WithheldReader(pieces.clone()) } else { Sink::Reader(pieces.clone()) };
            tokio::select! {
                biased;
                answer = focus.relay(prepared, caller, acting.cancel, &sink) => answer,
                () = pieces.closed() => Err(Error::Cancelled),
            }
        };
        // Asked for here, in the program's own order.
        let course = self.course(&intent);
        let (this, over) = (self.clone(), self.0.cancel.clone());
        self.0.tasks.spawn(async move {
            // An answer of the journal has no pieces.
            let whole = withheld || matches!(course, Ok(Course::Answered(_)));
            let answer = async {
                match course? {
                    Course::Answered(answer) => this.answer(&intent, *answer).await,
                    course => this.clone().perform(intent, course, this.0.cancel.child_token(), call).await,
                }
            };
            let passed = match answer.await {
                Ok(response) => this.after_llm(&by, about, begun, response).await,
                Err(error) => Err(error),
            };
            let mut last = Vec::new();
            if let (true, Ok(response)) = (whole, &passed) {
                last.extend(pieces_of(response).map(Ok));
            }
            last.push(passed.map(StreamEvent::Done));
            let send = async {
                for piece in last {
                    // A reader that is gone needs no ending.
                    if reader.send(piece).await.is_err() {
                        return;
                    }
                }
            };
            tokio::select! {
                biased;
                () = send => {}
                // One that does not read must not keep the focus from its end.
                () = over.cancelled() => {}
            }
        });
        Box::pin(stream::unfold(received, |mut received| async { Some((received.recv().await?, received)) }))
    }

    async fn relay(
        &self,
        prepared: Prepared,
        caller: String,
        cancel: CancellationToken,
        sink: &Sink,
    ) -> Result<Response> {
        let Prepared { request, mut charge, label, .. } = prepared;
        charge.dispatched()?;
        let chat = self.chat(caller, label, &request);
        let mut answer = match self.0.cx.models.stream(request, cancel.clone()).await {
            Ok(answer) => answer,
            Err(error) => return Err(failed(charge, &chat, error)),
        };
        loop {
            let event = tokio::select! {
                biased;
                event = answer.next() => event,
                () = cancel.cancelled() => return Err(Error::Cancelled),
            };
            match event {
                Some(Ok(StreamEvent::Done(response))) => return Ok(self.counted(charge, &chat, response)),
                Some(Ok(piece)) => {
                    if let StreamEvent::Text(text) = &piece {
                        charge.streamed(text.len());
                    }
                    let is_retry = matches!(piece, StreamEvent::Retry { .. });
                    match sink {
                        Sink::Watcher => self.tell_piece(piece),
                        Sink::Withheld if is_retry => self.tell_piece(piece),
                        Sink::Reader(reader) => reader.send(Ok(piece)).await.map_err(|_| Error::Cancelled)?,
                        Sink::WithheldReader(reader) if is_retry => {
                            reader.send(Ok(piece)).await.map_err(|_| Error::Cancelled)?;
                        }
                        Sink::Withheld | Sink::WithheldReader(_) => {}
                    }
                }
                Some(Err(error)) => return Err(failed(charge, &chat, error)),
                None => {
                    let error = Error::Unavailable("the model's stream ended without an answer".into());
                    return Err(failed(charge, &chat, error));
                }
            }
        }
    }

    fn tell_piece(&self, piece: StreamEvent) {
        match piece {
            StreamEvent::Text(text) => self.tell(Event::Token { text }),
            StreamEvent::Retry { reason, wait } => {
                let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                self.tell(Event::Retry { reason, wait_ms });
            }
            // The whole message tells these.
            StreamEvent::ToolStart { .. } | StreamEvent::Done(_) => {}
        }
    }

    /// From here on the call is under way, for whoever measures it.
    fn chat(&self, caller: String, label: String, request: &Request) -> Chat {
        content::asked(request);
        Chat::begin(self.0.cx.tenant.id().clone(), caller, label)
    }

    fn counted(&self, charge: Charge, chat: &Chat, response: Response) -> Response {
        charge.settle(&response);
        chat.answered(&response);
        content::answered(&response);
        self.tell(Event::Usage { usage: response.usage, cost_microusd: response.cost_microusd });
        if let Some(percent) = self.0.cx.budget.warning() {
            self.tell(Event::Budget { percent, standing: self.0.cx.budget.standing() });
        }
        response
    }
}

impl Prepared {
    /// The role, and which call it is.
    fn about(&self) -> (String, u32) {
        (self.request.model.clone(), self.number)
    }
}

/// The pieces of an answer that is whole.
fn pieces_of(response: &Response) -> impl Iterator<Item = StreamEvent> {
    let text = Some(response.message.text()).filter(|text| !text.is_empty()).map(StreamEvent::Text);
    let uses = response.message.tool_uses();
    text.into_iter().chain(uses.map(|tool| StreamEvent::ToolStart { id: tool.id.clone(), name: tool.name.clone() }))
}

/// A call that was cancelled is billed by the vendor like any other; one that the vendor failed is not.
fn failed(charge: Charge, chat: &Chat, error: Error) -> Error {
    chat.failed(&error);
    if error != Error::Cancelled {
        charge.release();
    }
    error
}

fn llm_intent(by: &Principal, prepared: &Prepared) -> Intent {
    let Prepared { request, weight, .. } = prepared;
    intent(by, EffectKind::Llm, &request.model, asked(request.max_tokens, request.messages.len(), *weight))
}

/// The whole conversation would make the journal grow with the square of its length, so the intent holds its digest:
/// the messages can be rebuilt from the answers before it.
fn asked(max_tokens: Option<u32>, messages: usize, weight: Weight) -> Value {
    json!({
        "sha256": weight.digest,
        "bytes": weight.bytes,
        "messages": messages,
        "max_tokens": max_tokens,
        "estimated_tokens": weight.tokens,
    })
}
