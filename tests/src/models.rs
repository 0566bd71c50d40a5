//! A model that says one word, for tests that are not about models, and one that asks for what a test says.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use animus_core::{
    Error,
    llm::{
        Content, Embeddings, Message, ModelInfo, Models, Request, Response, ResponseStream, Role, Stop, StreamEvent,
        ToolInput, ToolUse, Usage,
    },
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

pub(crate) struct Laconic;

/// Vectors that tell how long a text is, and nothing else.
fn embeddings(texts: &[String]) -> Embeddings {
    let vectors: Vec<Vec<f32>> = texts.iter().map(|text| vec![1.0, text.len() as f32]).collect();
    let usage = Usage { input_tokens: 1, ..Usage::default() };
    Embeddings { model: "test:laconic".to_owned(), dims: 2, vectors, usage, cost_microusd: None }
}

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

    async fn embed(&self, _: &str, texts: &[String], _: CancellationToken) -> Result<Embeddings, Error> {
        Ok(embeddings(texts))
    }
}

/// The tools that a turn asks for, with their arguments.
type Turn = Vec<(String, Value)>;

/// Asks for one turn's tools after another, then ends. It keeps what it was asked.
#[derive(Default)]
pub(crate) struct Scripted {
    left: Mutex<VecDeque<Turn>>,
    asked: Mutex<Vec<Request>>,
}

impl Scripted {
    /// Begins to play; what was asked before is forgotten.
    pub(crate) fn begin(&self, turns: VecDeque<Turn>) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = turns;
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(crate) fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn answer(&self, request: Request) -> Response {
        let turn = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            asked.push(request);
            asked.len()
        };
        let Some(calls) = self.left.lock().unwrap_or_else(PoisonError::into_inner).pop_front() else {
            return answer();
        };
        let content = calls.into_iter().enumerate().map(|(n, (name, input))| {
            let input = ToolInput::Object(input.as_object().cloned().unwrap_or_default());
            Content::ToolUse(ToolUse { id: format!("t{turn}-{n}"), name, input })
        });
        Response {
            message: Message { role: Role::Assistant, content: content.collect() },
            stop: Stop::ToolUse,
            ..answer()
        }
    }
}

#[async_trait::async_trait]
impl Models for Scripted {
    fn roles(&self) -> Vec<String> {
        Laconic.roles()
    }

    fn resolve(&self, role: &str) -> Result<ModelInfo, Error> {
        Ok(ModelInfo { context_window: 10_000_000, ..Laconic.resolve(role)? })
    }

    async fn stream(&self, request: Request, _: CancellationToken) -> Result<ResponseStream, Error> {
        let answer = self.answer(request);
        Ok(Box::pin(futures::stream::iter([Ok(StreamEvent::Done(answer))])))
    }

    async fn complete(&self, request: Request, _: CancellationToken) -> Result<Response, Error> {
        Ok(self.answer(request))
    }

    async fn embed(&self, _: &str, texts: &[String], _: CancellationToken) -> Result<Embeddings, Error> {
        Ok(embeddings(texts))
    }
}
