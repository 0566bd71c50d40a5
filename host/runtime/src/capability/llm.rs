//! `animus:llm/llm`.

use animus_core::{
    Error,
    grant::Capability,
    llm::{EMBED_ROLE, Request, ResponseStream, StreamEvent},
};
use futures::StreamExt;
use wasmtime::component::{HasData, Linker, Resource};

use crate::{
    bindings::{llm, types},
    state::{HostView, State, Who},
};

pub(crate) struct LlmView<'a>(HostView<'a>);

pub(crate) struct HasLlm;

impl HasData for HasLlm {
    type Data<'a> = LlmView<'a>;
}

/// An answer on its way: the resource `completion`.
#[allow(unreachable_pub, reason = "the generated bindings re-export it from their own private module")]
pub struct Completion {
    /// None when it has ended.
    stream: Option<ResponseStream>,
}

/// Checks role and size of what is asked for; the size is the grant's where the guest named none.
pub(super) fn admit(who: &Who, model: &str, max_tokens: Option<u32>) -> Result<u32, Error> {
    let role = if model.is_empty() { "default" } else { model };
    let most = who.principal.authority.effective().llm.as_ref().map_or(0, |llm| llm.max_tokens);
    let max_tokens = max_tokens.unwrap_or(most);
    who.check(&Capability::Llm { role: role.to_owned(), max_tokens })?;
    Ok(max_tokens)
}

fn read(who: &Who, request: llm::Request) -> Result<Request, Error> {
    let max_tokens = admit(who, &request.model, request.max_tokens)?;
    Ok(Request { max_tokens: Some(max_tokens), ..Request::try_from(request)? })
}

impl llm::Host for LlmView<'_> {
    async fn complete(&mut self, request: llm::Request) -> wasmtime::Result<Result<llm::Response, types::Error>> {
        let who = self.0.enter()?;
        let response = async { who.services.llm_complete(&who.principal, read(who, request)?).await };
        let response = response.await;
        Ok(self.0.answer(response))
    }

    async fn open_stream(
        &mut self,
        request: llm::Request,
    ) -> wasmtime::Result<Result<Resource<Completion>, types::Error>> {
        let who = self.0.enter()?;
        let stream = async { who.services.llm_stream(&who.principal, read(who, request)?).await };
        match stream.await {
            Ok(stream) => Ok(Ok(self.0.table.push(Completion { stream: Some(stream) })?)),
            Err(error) => Ok(self.0.answer::<Resource<Completion>, _>(Err(error))),
        }
    }

    async fn embed(&mut self, texts: Vec<String>) -> wasmtime::Result<Result<llm::Embeddings, types::Error>> {
        let who = self.0.enter()?;
        let embeddings = async {
            admit(who, EMBED_ROLE, Some(0))?;
            who.services.llm_embed(&who.principal, texts).await
        };
        let embeddings = embeddings.await.map(llm::Embeddings::from);
        Ok(self.0.answer(embeddings))
    }

    fn list_models(&mut self) -> wasmtime::Result<Vec<String>> {
        let who = self.0.enter()?;
        let mut roles = who.services.llm_roles();
        roles.retain(|role| who.check(&Capability::Llm { role: role.clone(), max_tokens: 0 }).is_ok());
        Ok(roles)
    }
}

impl llm::HostCompletion for LlmView<'_> {
    async fn next(
        &mut self,
        completion: Resource<Completion>,
    ) -> wasmtime::Result<Result<Option<llm::Event>, types::Error>> {
        self.0.enter()?;
        let completion = self.0.table.get_mut(&completion)?;
        let event = next(&mut completion.stream).await;
        Ok(self.0.answer(event))
    }

    async fn drop(&mut self, completion: Resource<Completion>) -> wasmtime::Result<()> {
        self.0.table.delete(completion)?;
        Ok(())
    }
}

/// The next event that guests know of. Whatever ends the stream drops it, and with it the request.
async fn next(stream: &mut Option<ResponseStream>) -> Result<Option<llm::Event>, Error> {
    let Some(events) = stream else { return Ok(None) };
    loop {
        let event = match events.next().await {
            Some(Ok(StreamEvent::Text(text))) => llm::Event::Text(text),
            Some(Ok(StreamEvent::ToolStart { id, name })) => llm::Event::ToolStart((id, name)),
            // The terminal shows it. A guest sees no more than that the wait is longer.
            Some(Ok(StreamEvent::Retry { .. })) => continue,
            Some(Ok(StreamEvent::Done(response))) => {
                *stream = None;
                llm::Event::Done(response.into())
            }
            Some(Err(error)) => {
                *stream = None;
                return Err(error);
            }
            None => {
                *stream = None;
                return Err(Error::Unavailable("the model's stream ended before its answer did".into()));
            }
        };
        return Ok(Some(event));
    }
}

pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    llm::add_to_linker::<_, HasLlm>(linker, |state| LlmView(state.host()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use animus_core::llm::{Message, Response, Role, Stop, Usage};
    use futures::stream;

    use super::*;

    fn stream(events: Vec<Result<StreamEvent, Error>>) -> Option<ResponseStream> {
        Some(Box::pin(stream::iter(events)))
    }

    #[tokio::test]
    async fn a_stream_gives_its_pieces_then_the_answer_then_nothing() {
        let message = Message { role: Role::Assistant, ..Message::user("hello") };
        let (stop, usage) = (Stop::EndTurn, Usage::default());
        let done = Response { message, stop, usage, cost_microusd: None, model: "a:b".into() };
        let retry = StreamEvent::Retry { reason: "busy".into(), wait: Duration::ZERO };
        let events = [StreamEvent::Text("he".into()), retry, StreamEvent::Done(done)];
        let mut answer = stream(events.map(Ok).into());
        assert!(matches!(next(&mut answer).await, Ok(Some(llm::Event::Text(text))) if text == "he"));
        assert!(matches!(next(&mut answer).await, Ok(Some(llm::Event::Done(done))) if done.model == "a:b"));
        assert!(matches!(next(&mut answer).await, Ok(None)));
    }

    #[tokio::test]
    async fn a_stream_that_breaks_off_is_an_error_once() {
        let mut cut = stream(vec![Ok(StreamEvent::Text("he".into()))]);
        next(&mut cut).await.unwrap();
        assert!(matches!(next(&mut cut).await, Err(Error::Unavailable(_))));
        assert!(matches!(next(&mut cut).await, Ok(None)));
        let mut failed = stream(vec![Err(Error::Cancelled)]);
        assert!(matches!(next(&mut failed).await, Err(Error::Cancelled)));
        assert!(failed.is_none(), "a failed stream holds its request");
    }
}
