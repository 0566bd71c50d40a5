//! The last turn of a long conversation is no more work than the first, by structure and not by the clock.

use std::sync::{Arc, Mutex};

use animus_core::{
    journal::EffectKind,
    llm::{Message, ToolDefinition},
    services::{Ending, EngageOptions},
};
use serde_json::json;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::support::{Bench, FakePlugins, Script, call};

/// Hears how many messages were put on the scales, time by time.
#[derive(Clone, Default)]
struct Scales(Arc<Mutex<Vec<u64>>>);

impl Visit for Scales {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "messages" {
            self.0.lock().unwrap().push(value);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

impl Subscriber for Scales {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "animus_agent::conversation"
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// What two requests of a conversation share is the same allocation in both.
fn is_shared(before: &[Arc<Message>], after: &[Arc<Message>]) -> bool {
    before.iter().zip(after).all(|(before, after)| Arc::ptr_eq(before, after))
}

#[tokio::test]
async fn two_hundred_turns_copy_no_message_and_weigh_each_once() {
    let scales = Scales::default();
    let listening = tracing::subscriber::set_default(scales.clone());
    let options = EngageOptions { tools: vec!["*".into()], max_turns: Some(200), ..EngageOptions::default() };
    let plugins = FakePlugins::with_options(options).reads("fs.read", "text");
    let bench = Bench::new(Script::forever(|n| call("fs.read", json!({ "n": n }))), plugins);
    assert_eq!(bench.run().await.ending, Some(Ending::MaxTurns));
    drop(listening);

    // The task once, then every turn the model's message and its results.
    let weighed = scales.0.lock().unwrap().clone();
    assert_eq!((weighed.len(), weighed[0]), (201, 1));
    assert!(weighed[1..].iter().all(|messages| *messages == 2), "{weighed:?}");

    let requests = bench.script.requests.lock().unwrap();
    assert_eq!(requests.len(), 200);
    let tools: &Arc<[ToolDefinition]> = &requests[0].tools;
    for (before, after) in requests.iter().zip(requests.iter().skip(1)) {
        assert_eq!(after.messages.len(), before.messages.len() + 2);
        assert!(is_shared(&before.messages, &after.messages), "a message was copied");
        assert!(Arc::ptr_eq(tools, &after.tools), "the tools were copied");
    }

    // The journal does not grow with the square of the conversation either.
    let journal = bench.tenant.journal();
    let intents: Vec<_> = journal
        .iter()
        .filter(|record| record.intent.kind == EffectKind::Llm)
        .map(|record| record.intent.request.to_string().len())
        .collect();
    assert_eq!(intents.len(), 200);
    assert!(intents[199] < intents[0] + 16, "{} and {} bytes", intents[0], intents[199]);
}
