//! The request of a conversation: in order, weighed, and shared with the requests that were sent before.
//!
//! A loop sends its whole conversation in every turn. Whatever is done to the whole of it in every turn makes the last
//! turn dearer than the first, so a message is put in order once, weighed once and never copied.

use std::{collections::HashSet, sync::Arc};

use animus_core::{
    id::Digest,
    llm::{Message, Request, ToolDefinition},
};

use crate::{
    charge::{message_tokens, overhead_tokens},
    engage::pairing::Ordered,
};

/// What a request weighs, up to one of its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Weight {
    /// Estimated tokens.
    pub(crate) tokens: u64,
    /// Bytes of JSON, of the frame and of each message.
    pub(crate) bytes: usize,
    /// Of the frame: the SHA-256 of its JSON. With one more message: the SHA-256 of the digest before it, 32 bytes, and
    /// of its JSON. So it stands for all that comes before, and only what is new has to be read.
    pub(crate) digest: Digest,
}

impl Weight {
    /// A request without messages.
    fn of_frame(frame: &Request) -> Self {
        let json = serde_json::to_vec(frame).unwrap_or_default();
        Self { tokens: overhead_tokens(frame), bytes: json.len(), digest: Digest::of(&json) }
    }

    /// The same with one more message.
    fn and(self, message: &Message) -> Self {
        let json = serde_json::to_vec(message).unwrap_or_default();
        Self {
            tokens: self.tokens.saturating_add(message_tokens(message)),
            bytes: self.bytes.saturating_add(json.len()),
            digest: Digest::of(&[self.digest.as_bytes(), json.as_slice()].concat()),
        }
    }
}

/// A request whose messages are in order, and what it weighs.
#[derive(Debug)]
pub(crate) struct Conversation {
    /// What goes along with the messages. It has none itself.
    frame: Request,
    frame_weight: Weight,
    ordered: Ordered,
    /// The weight up to and with each message.
    weights: Vec<Weight>,
}

impl Conversation {
    /// Puts the request's messages in order and weighs it.
    pub(crate) fn new(mut request: Request) -> Self {
        let messages = std::mem::take(&mut request.messages);
        let frame_weight = Weight::of_frame(&request);
        let mut new = Self { frame: request, frame_weight, ordered: Ordered::default(), weights: Vec::new() };
        new.extend(messages.into_iter().map(Arc::unwrap_or_clone));
        new
    }

    /// Adds messages, tool requests together with their results.
    pub(crate) fn extend(&mut self, messages: impl IntoIterator<Item = Message>) {
        let first = self.ordered.extend(messages);
        self.weigh(first);
    }

    /// Changes what messages say. Roles, tool requests, and the identifiers and order of results have to stay.
    pub(crate) fn rewrite(&mut self, change: impl FnOnce(&mut [Arc<Message>])) {
        change(self.ordered.messages_mut());
        self.weigh(0);
    }

    /// The messages.
    pub(crate) fn messages(&self) -> &[Arc<Message>] {
        self.ordered.messages()
    }

    /// The identifiers of the tool requests in it.
    pub(crate) fn ids(&self) -> HashSet<String> {
        self.ordered.asked().clone()
    }

    /// Puts a user's message in the place of all messages before the place `from`, or before the next of the
    /// model's where one of the user's stands there.
    pub(crate) fn keep_from(&mut self, from: usize, first: Message) {
        self.ordered.keep_from(from, first);
        self.weigh(0);
    }

    /// Changes the longest answer, in tokens.
    pub(crate) fn lengthen(&mut self, max_tokens: u32) {
        self.frame.max_tokens = Some(max_tokens);
        self.frame_weight = Weight::of_frame(&self.frame);
        self.weigh(0);
    }

    /// Changes what goes along with the messages.
    pub(crate) fn reframe(&mut self, system: String, tools: Arc<[ToolDefinition]>) {
        self.frame.system = Some(system);
        self.frame.tools = tools;
        self.frame_weight = Weight::of_frame(&self.frame);
        self.weigh(0);
    }

    /// Weighs the messages from the place `first` on.
    fn weigh(&mut self, first: usize) {
        self.weights.truncate(first);
        let new = self.ordered.messages().iter().skip(first);
        tracing::trace!(messages = new.len(), "weighed");
        let mut weight = self.weight();
        for message in new {
            weight = weight.and(message);
            self.weights.push(weight);
        }
    }

    /// How many messages there are.
    pub(crate) fn len(&self) -> usize {
        self.ordered.messages().len()
    }

    /// The whole request's weight.
    pub(crate) fn weight(&self) -> Weight {
        self.weights.last().copied().unwrap_or(self.frame_weight)
    }

    /// The estimated tokens of what goes along with the messages.
    pub(crate) fn frame_tokens(&self) -> u64 {
        self.frame_weight.tokens
    }

    /// What goes along with the messages: a request without any.
    pub(crate) fn frame(&self) -> &Request {
        &self.frame
    }

    /// The request to send. It shares the messages.
    pub(crate) fn request(&self) -> Request {
        Request { messages: self.ordered.messages().to_vec(), ..self.frame.clone() }
    }
}

#[cfg(test)]
mod tests {
    use animus_core::llm::{Content, Role, ToolInput, ToolResult, ToolUse};
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn frame() -> Request {
        Request {
            model: "default".into(),
            system: Some("x".repeat(4_000)),
            messages: Vec::new(),
            tools: [].into(),
            max_tokens: Some(10),
            temperature: None,
        }
    }

    /// One turn: a request for a tool, now and then two of them, and the results.
    fn turn(n: usize, said: &str, result: &str) -> Vec<Message> {
        let ids: Vec<String> = (0..=n % 2).map(|part| format!("{n}.{part}")).collect();
        let mut asks = vec![Content::Text { text: said.into() }];
        asks.extend(ids.iter().map(|id| {
            let input = ToolInput::Object(serde_json::Map::new());
            Content::ToolUse(ToolUse { id: id.clone(), name: "fs.read".into(), input })
        }));
        let answer = |id| ToolResult { id, text: result.into(), images: Vec::new(), is_error: false };
        let answers = ids.into_iter().map(|id| Content::ToolResult(answer(id))).collect();
        vec![Message { role: Role::Assistant, content: asks }, Message { role: Role::User, content: answers }]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_grew_is_what_would_be_made_of_the_whole(
            prompt in "[a ]{0,3}",
            turns in vec(("[a ]{0,9}", "[a-z]{0,600}"), 0..12),
            shortened in any::<prop::sample::Index>(),
        ) {
            let mut grown = Conversation::new(Request { messages: vec![Message::user(&prompt).into()], ..frame() });
            let mut all = vec![Arc::new(Message::user(prompt))];
            for (n, (said, result)) in turns.iter().enumerate() {
                let turn = turn(n, said, result);
                all.extend(turn.iter().cloned().map(Arc::new));
                grown.extend(turn);
                if shortened.index(turns.len()) == n {
                    let shorten = |messages: &mut [Arc<Message>]| {
                        let results = messages.iter_mut().flat_map(|message| &mut Arc::make_mut(message).content);
                        results.for_each(|part| if let Content::ToolResult(result) = part { result.text.truncate(3) });
                    };
                    grown.rewrite(shorten);
                    shorten(&mut all);
                }
            }
            let whole = Conversation::new(Request { messages: all, ..frame() });
            prop_assert_eq!(grown.request(), whole.request());
            prop_assert_eq!(grown.weight(), whole.weight());
            let tokens: u64 = grown.request().messages.iter().map(|message| message_tokens(message)).sum();
            prop_assert_eq!(grown.weight().tokens, tokens + overhead_tokens(&frame()));
        }

        #[test]
        fn no_two_requests_have_one_digest(texts in vec("[ab]{1,2}", 1..4), others in vec("[ab]{1,2}", 1..4)) {
            let digest = |texts: &[String]| {
                let content = texts.iter().map(|text| Content::Text { text: text.clone() }).collect();
                let messages = vec![Arc::new(Message { role: Role::User, content })];
                Conversation::new(Request { messages, ..frame() }).weight().digest
            };
            prop_assert_eq!(digest(&texts) == digest(&others), texts == others);
        }
    }

    #[test]
    fn the_frame_is_in_the_digest() {
        let mut digests: Vec<Digest> = [
            frame(),
            Request { system: None, ..frame() },
            Request { model: "fast".into(), ..frame() },
            Request { max_tokens: Some(11), ..frame() },
            Request { temperature: Some(0.5), ..frame() },
        ]
        .map(|frame| Conversation::new(frame).weight().digest)
        .into();
        digests.sort();
        digests.dedup();
        assert_eq!(digests.len(), 5);
    }
}
