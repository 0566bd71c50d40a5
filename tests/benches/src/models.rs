//! A model that answers at once: figures are about the host.

use std::sync::atomic::{AtomicU32, Ordering};

use animus_core::{
    Error,
    llm::{
        Content, Embeddings, Message, ModelInfo, Models, Request, Response, ResponseStream, Role, Stop, StreamEvent,
        ToolInput, ToolUse, Usage,
    },
};
use tokio_util::sync::CancellationToken;

/// Asks for one tool so many times, then ends.
pub(crate) struct Scripted {
    tool: String,
    turns: u32,
    played: AtomicU32,
    /// Told of every turn, when the model is asked.
    asked: Box<dyn Fn() + Send + Sync>,
}

impl Scripted {
    /// A model that has nothing to say.
    pub(crate) fn silent() -> Self {
        Self::calling("", 0, || {})
    }

    /// A model that calls `tool` in each of `turns` turns.
    pub(crate) fn calling(tool: &str, turns: u32, asked: impl Fn() + Send + Sync + 'static) -> Self {
        Self { tool: tool.to_owned(), turns, played: AtomicU32::new(0), asked: Box::new(asked) }
    }

    fn answer(&self) -> Response {
        (self.asked)();
        let turn = self.played.fetch_add(1, Ordering::Relaxed);
        let (content, stop) = if turn < self.turns {
            // Arguments differ from turn to turn, or the loop would answer from its cache.
            let input = [("text".to_owned(), format!("turn {turn}").into())].into_iter().collect();
            let tool_use = ToolUse { id: format!("t{turn}"), name: self.tool.clone(), input: ToolInput::Object(input) };
            (Content::ToolUse(tool_use), Stop::ToolUse)
        } else {
            (Content::Text { text: "done".into() }, Stop::EndTurn)
        };
        Response {
            message: Message { role: Role::Assistant, content: vec![content] },
            stop,
            usage: Usage { input_tokens: 10, output_tokens: 1, ..Usage::default() },
            cost_microusd: None,
            model: "bench:bench".into(),
        }
    }
}

#[async_trait::async_trait]
impl Models for Scripted {
    fn roles(&self) -> Vec<String> {
        vec!["bench".into()]
    }

    fn resolve(&self, role: &str) -> Result<ModelInfo, Error> {
        Ok(ModelInfo {
            role: role.into(),
            models: vec!["bench:bench".into()],
            context_window: 10_000_000,
            max_output: 1_000,
            price: None,
        })
    }

    async fn stream(&self, _: Request, _: CancellationToken) -> Result<ResponseStream, Error> {
        let answer = self.answer();
        Ok(Box::pin(futures::stream::iter([Ok(StreamEvent::Done(answer))])))
    }

    async fn complete(&self, _: Request, _: CancellationToken) -> Result<Response, Error> {
        Ok(self.answer())
    }

    async fn embed(&self, _: &str, texts: &[String], _: CancellationToken) -> Result<Embeddings, Error> {
        let vectors = texts.iter().map(|_| vec![1.0]).collect();
        let (model, usage) = ("bench:bench".to_owned(), Usage::default());
        Ok(Embeddings { model, dims: 1, vectors, usage, cost_microusd: None })
    }
}
