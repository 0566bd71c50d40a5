//! Model calls: reserved, journaled, relayed, settled.

use animus_core::{
    Error, Result,
    event::Event,
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
    Reader(mpsc::Sender<Result<StreamEvent>>),
}

/// A request with its hold on the budget.
pub(crate) struct Prepared {
    request: Request,
    weight: Weight,
    charge: Charge,
    /// The model that is asked first, `<provider>:<model>`.
    label: String,
}

impl Focus {
    /// Makes a request fit to send and reserves what it may cost. `BudgetExhausted` means this run's own budget: a
    /// vendor's limit shows as `Unavailable`, and only when the call is made.
    pub(crate) fn prepare(&self, mut request: Request) -> Result<Prepared> {
        if request.model.is_empty() {
            "default".clone_into(&mut request.model);
        }
        let model = self.0.cx.models.resolve(&request.model)?;
        request.max_tokens.get_or_insert(model.max_output);
        self.reserve(&Conversation::new(request), &model)
    }

    /// The same for the next request of a conversation that is fit to send and names its model.
    pub(crate) fn prepare_next(&self, conversation: &Conversation) -> Result<Prepared> {
        let model = self.0.cx.models.resolve(&conversation.frame().model)?;
        self.reserve(conversation, &model)
    }

    fn reserve(&self, conversation: &Conversation, model: &ModelInfo) -> Result<Prepared> {
        let (frame, weight) = (conversation.frame(), conversation.weight());
        // What was paid for is not asked for again.
        let charge = if self.has_answer(&frame.model, &asked(frame.max_tokens, conversation.len(), weight)) {
            Charge::answered(conversation)
        } else {
            Charge::reserve(&self.0.spending, conversation, model)?
        };
        let label = model.models.first().cloned().unwrap_or_default();
        Ok(Prepared { request: conversation.request(), weight: conversation.weight(), charge, label })
    }

    /// Makes the call and returns the whole answer.
    pub(crate) async fn complete(&self, by: &Principal, prepared: Prepared) -> Result<Response> {
        let intent = llm_intent(by, &prepared);
        let (focus, caller) = (self.clone(), intent.caller.clone());
        self.effect(intent, |acting| async move {
            let Prepared { request, mut charge, label, .. } = prepared;
            charge.dispatched();
            let chat = focus.chat(caller, label, &request);
            match focus.0.cx.models.complete(request, acting.cancel).await {
                Ok(response) => Ok(focus.counted(charge, &chat, response)),
                Err(error) => Err(failed(charge, &chat, error)),
            }
        })
        .await
    }

    /// Makes the call, tells the watcher its pieces, and returns the whole answer.
    pub(crate) async fn listen(&self, by: &Principal, prepared: Prepared) -> Result<Response> {
        let focus = self.clone();
        let intent = llm_intent(by, &prepared);
        let caller = intent.caller.clone();
        let relay = |acting: Acting| async move { focus.relay(prepared, caller, acting.cancel, &Sink::Watcher).await };
        self.effect(intent, relay).await
    }

    /// Makes the call and hands out its pieces. The last one is `Done`, whose response is in the journal by then, or an
    /// error. Dropping the stream abandons the answer.
    pub(crate) fn stream(&self, by: &Principal, prepared: Prepared) -> ResponseStream {
        let intent = llm_intent(by, &prepared);
        let caller = intent.caller.clone();
        let (pieces, received) = mpsc::channel(PIECES);
        let (focus, reader) = (self.clone(), pieces.clone());
        let call = move |acting: Acting| async move {
            let sink = Sink::Reader(pieces.clone());
            tokio::select! {
                biased;
                answer = focus.relay(prepared, caller, acting.cancel, &sink) => answer,
                () = pieces.closed() => Err(Error::Cancelled),
            }
        };
        // Asked for here, in the program's own order.
        let course = self.course(&intent);
        let (focus, over) = (self.clone(), self.0.cancel.clone());
        self.0.tasks.spawn(async move {
            let answer = async {
                match course? {
                    Course::Answered(answer) => {
                        let response: Response = focus.answer(&intent, *answer).await?;
                        let _ = reader.send(Ok(StreamEvent::Text(response.message.text()))).await;
                        Ok(response)
                    }
                    course => focus.clone().perform(intent, course, focus.0.cancel.child_token(), call).await,
                }
            };
            let ending = answer.await.map(StreamEvent::Done);
            tokio::select! {
                biased;
                // A reader that is gone needs no ending.
                _ = reader.send(ending) => {}
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
        charge.dispatched();
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
                    match sink {
                        Sink::Watcher => self.tell_piece(piece),
                        Sink::Reader(reader) => reader.send(Ok(piece)).await.map_err(|_| Error::Cancelled)?,
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
