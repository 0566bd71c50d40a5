use std::collections::HashSet;

use animus_core::{
    ledger::{Entry, EntryType},
    llm::{Content, Image, Message, Request, Role, ToolInput, ToolResult, ToolUse},
};
use proptest::{collection::vec, prelude::*};

use super::*;
use crate::engage::pairing::repair;

fn started(prompt: &str) -> Conversation {
    let (model, tools) = (String::new(), [].into());
    let messages = vec![Message::user(prompt).into()];
    Conversation::new(Request { model, system: None, messages, tools, max_tokens: None, temperature: None })
}

fn turn(n: usize, said: &str, results: &[(usize, bool)]) -> [Message; 2] {
    let mut asks = vec![Content::Text { text: said.to_owned() }];
    let mut answers = Vec::new();
    for (at, (bytes, has_image)) in results.iter().enumerate() {
        let id = format!("call_{n}_{at}");
        let input = ToolInput::Object(serde_json::Map::new());
        asks.push(Content::ToolUse(ToolUse { id: id.clone(), name: "fs.read".into(), input }));
        let image = Image { media_type: "image/png".into(), data: [1_u8].as_slice().into() };
        let images = if *has_image { vec![image] } else { Vec::new() };
        let is_error = bytes % 7 == 0;
        // Each text is another, so that each is a page of its own.
        let text = format!("{n}.{at} {}", "x".repeat(*bytes));
        answers.push(Content::ToolResult(ToolResult { id, text, images, is_error }));
    }
    [Message { role: Role::Assistant, content: asks }, Message { role: Role::User, content: answers }]
}

fn entry(seq: u64, entry_type: EntryType, content: &str) -> Entry {
    Entry { seq, entry_type, content: content.into(), created_ms: 0 }
}

fn conversation(results: &[usize]) -> Conversation {
    let mut conversation = started("go");
    for (n, bytes) in results.iter().enumerate() {
        conversation.extend(turn(n, "", &[(*bytes, false)]));
    }
    conversation
}

fn sizes(conversation: &Conversation) -> Vec<usize> {
    let results = conversation.messages().iter().flat_map(|m| &m.content).filter_map(|part| match part {
        Content::ToolResult(result) => Some(result.text.len()),
        _ => None,
    });
    results.collect()
}

/// As every vendor wants it, and as a conversation that was never rewritten.
fn assert_ordered(conversation: &Conversation) {
    let messages: Vec<Message> = conversation.messages().iter().map(|it| (**it).clone()).collect();
    assert_eq!(repair(messages.clone()), messages);
    let weighed = Conversation::new(conversation.request());
    assert_eq!(weighed.weight(), conversation.weight());
}

#[test]
fn the_oldest_results_go_first_and_pairs_stay() {
    let mut conversation = conversation(&[4_000, 100, 4_000, 4_000]);
    let sent = conversation.request();
    let mut pages = Pages::default();
    let len = conversation.messages().len();
    assert_eq!(drop_results(&mut conversation, 1..len, 2_250, &mut pages), 1);
    let left = sizes(&conversation);
    assert!(left[0] < 200 && left[1] < 110 && left[2] > 4_000 && left[3] > 4_000, "{left:?}");
    assert_ordered(&conversation);
    assert!(pages.read("r1", 0, 10).unwrap().contains("of 4004"));
    let shared = conversation.messages().iter().zip(&sent.messages).filter(|(new, old)| Arc::ptr_eq(new, old));
    assert_eq!(shared.count(), sent.messages.len() - 1, "only what changed was copied");
    assert_eq!(drop_results(&mut conversation, 1..len, 10_000, &mut pages), 0, "what fits is left alone");
}

#[test]
fn three_completed_steps_are_three_lines_and_the_open_block_is_as_it_was() {
    let mut conversation = started("go");
    let mut context = Context::default();
    let mut said = Vec::new();
    for n in 0..8 {
        let turn = turn(n, "on with it", &[(2_000, false)]);
        conversation.extend(turn.clone());
        said.extend(turn);
        // Turns 1, 3 and 5 complete a step each.
        let step = [entry(n as u64, EntryType::Step, &format!("step\nof turn {n}"))];
        let appended: &[Entry] = if n % 2 == 1 && n < 6 { &step } else { &[] };
        context.turn(&mut conversation, appended, true);
        assert_ordered(&conversation);
    }
    let messages = conversation.messages();
    let lines: Vec<_> = messages[0].content.iter().map(|part| format!("{part:?}")).collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    for (n, line) in lines.iter().skip(1).enumerate() {
        assert!(line.contains(&format!("[completed step {}: step of turn {}]", n + 1, 2 * n + 1)), "{line}");
    }
    let open: Vec<Message> = messages[1..].iter().map(|it| (**it).clone()).collect();
    assert_eq!(open, said[12..]);
}

#[test]
fn the_last_results_of_a_block_are_seen_before_they_go() {
    let mut conversation = started("go");
    let mut context = Context::default();
    conversation.extend(turn(0, "", &[(2_000, false), (3_000, false)]));
    let step = [entry(1, EntryType::Step, "both read")];
    assert!(!context.turn(&mut conversation, &step, true));
    assert_eq!(sizes(&conversation), [2_004, 3_004], "the model has not seen them yet");
    conversation.extend(turn(1, "", &[(10, false)]));
    assert!(context.turn(&mut conversation, &[], true));
    assert_eq!(sizes(&conversation), [14]);
    let mut kept = Context::default();
    assert!(!kept.turn(&mut conversation, &step, false) && !kept.turn(&mut conversation, &[], false));
    assert_eq!(sizes(&conversation), [14]);
}

#[test]
fn the_newest_of_a_long_ledger_and_its_plan_stand_for_what_went() {
    let mut entries = vec![entry(1, EntryType::Plan, "the plan")];
    entries.extend((2..60).map(|seq| entry(seq, EntryType::Finding, &format!("found {seq} {}", "x".repeat(1_000)))));
    let text = newest(&entries);
    assert!(text.contains("the plan") && text.contains("found 59") && !text.contains("found 2 "), "{text}");
    assert!(text.len() <= FIRST_PAGE + 1_024, "{}", text.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_done_to_a_conversation_it_stays_in_order_and_never_grows(
        prompt in "[a ]{0,200}",
        turns in vec(("[a ]{0,9}", vec((0_usize..3_000, any::<bool>()), 0..3), 0_usize..6, 0_u64..4_000), 1..30),
        keep in 2_usize..12,
    ) {
        let mut conversation = started(&prompt);
        let (mut context, mut pages, mut appended) = (Context::default(), Pages::default(), Vec::new());
        for (n, (said, results, what, target)) in turns.into_iter().enumerate() {
            let newest = turn(n, &said, &results);
            conversation.extend(newest);
            let before = conversation.weight().tokens;
            let last: Vec<Message> = conversation.messages().iter().map(|it| (**it).clone()).collect();
            let new = match what {
                0 => vec![entry(n as u64, EntryType::Step, &"done ".repeat(n))],
                1 => vec![entry(n as u64, EntryType::Plan, "plan"), entry(n as u64 + 1, EntryType::Finding, "f")],
                _ => Vec::new(),
            };
            context.turn(&mut conversation, &new, true);
            appended.extend(new);
            assert_ordered(&conversation);
            let closed = conversation.messages().len();
            let from = tail(conversation.messages(), keep);
            prop_assert!(conversation.messages().get(from).is_none_or(|it| it.role == Role::Assistant));
            let tail_before: Vec<Message> = conversation.messages()[from..].iter().map(|it| (**it).clone()).collect();
            prop_assert!(tail_before.len() <= keep && (closed <= keep || tail_before.len() + 1 >= keep));
            if what >= 3 {
                drop_results(&mut conversation, 1..from, target, &mut pages);
                assert_ordered(&conversation);
            }
            if what >= 4 && from > 1 {
                let summary = "what was found ".repeat(n);
                context.replace(&mut conversation, from, (what == 5).then_some(summary.as_str()), &appended);
                assert_ordered(&conversation);
            }
            prop_assert!(conversation.weight().tokens <= before, "{} of {before}", conversation.weight().tokens);
            let len = conversation.messages().len();
            let tail_after: Vec<Message> =
                conversation.messages()[len - tail_before.len()..].iter().map(|it| (**it).clone()).collect();
            prop_assert_eq!(&tail_after, &tail_before, "the newest messages stay as they are");
            prop_assert!(last.ends_with(&tail_after));
            let ids: HashSet<_> =
                conversation.messages().iter().flat_map(|it| it.tool_uses()).map(|it| it.id.clone()).collect();
            prop_assert_eq!(conversation.ids(), ids);
        }
    }
}
