//! A model that says one word: these tests are not about models.

use animus_core::{
    Error,
    llm::{Content, Message, ModelInfo, Models, Request, Response, ResponseStream, Role, Stop, StreamEvent, Usage},
};
use tokio_util::sync::CancellationToken;

pub(crate) struct Laconic;

fn answer() -> Response {
    Response {
        message: Message { role: Role::Assistant, content: vec![Content::Text { text: "done".to_owned() }] },
        stop: Stop::EndTurn,
        usage: Usage { input_tokens: 1, output_tokens: 1, ..Usage::default() },
        cost_microusd: None,
        model: "test:laconic".to_owned(),
    }
}

#[async_trait::async_trait]
impl Models for Laconic {
    fn roles(&self) -> Vec<String> {
        vec!["default".to_owned(), "fast".to_owned()]
    }

    fn resolve(&self, role: &str) -> Result<ModelInfo, Error> {
        Ok(ModelInfo {
            role: role.to_owned(),
            models: vec!["test:laconic".to_owned()],
            context_window: 100_000,
            max_output: 1_000,
            price: None,
        })
    }

    async fn stream(&self, _: Request, _: CancellationToken) -> Result<ResponseStream, Error> {
        Ok(Box::pin(futures::stream::iter([Ok(StreamEvent::Done(answer()))])))
    }

    async fn complete(&self, _: Request, _: CancellationToken) -> Result<Response, Error> {
        Ok(answer())
    }
}
