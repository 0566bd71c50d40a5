//! Whatever a conversation looks like, what is sent is in order.

use std::{collections::HashSet, sync::Arc};

use animus_agent::pairing::{Ordered, adopt, repair};
use animus_core::llm::{Content, Message, Role, ToolInput, ToolResult, ToolUse};
use proptest::{collection::vec, prelude::*};

fn content() -> impl Strategy<Value = Content> {
    let id = || prop_oneof!["[ab]", Just("c".to_owned()), Just(String::new())];
    prop_oneof![
        "[ x]{0,3}".prop_map(|text| Content::Text { text }),
        (id(), "[a-z.! ]{0,4}").prop_map(|(id, name)| {
            Content::ToolUse(ToolUse { id, name, input: ToolInput::Object(serde_json::Map::new()) })
        }),
        (id(), "[a-z]{0,4}").prop_map(|(id, text)| {
            Content::ToolResult(ToolResult { id, text, images: Vec::new(), is_error: false })
        }),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    (any::<bool>(), vec(content(), 0..6)).prop_map(|(user, content)| {
        let role = if user { Role::User } else { Role::Assistant };
        Message { role, content }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_conversation_is_put_in_order_and_then_left_alone(messages in vec(message(), 0..10)) {
        let repaired = repair(messages);
        crate::support::assert_paired(&repaired);
        prop_assert_eq!(repair(repaired.clone()), repaired);
    }

    #[test]
    fn a_conversation_that_grows_is_put_in_order_as_if_it_had_come_whole(
        messages in vec(message(), 0..6), more in vec(vec(message(), 0..4), 0..4),
    ) {
        let (mut grown, mut whole) = (Ordered::default(), repair(messages.clone()));
        grown.extend(messages);
        for more in more {
            let before = grown.messages().to_vec();
            let first = grown.extend(more.clone());
            whole.extend(more);
            whole = repair(whole);
            let messages: Vec<Message> = grown.messages().iter().map(|message| (**message).clone()).collect();
            prop_assert_eq!(&messages, &whole);
            crate::support::assert_paired(&messages);
            prop_assert!(first <= before.len() && first + 1 >= before.len());
            for (old, kept) in before.iter().zip(grown.messages()).take(first) {
                prop_assert!(Arc::ptr_eq(old, kept), "what is not reported as changed is what it was");
            }
            for (old, kept) in before.iter().zip(grown.messages()).skip(first) {
                prop_assert!(old != kept, "what is reported as changed has changed");
            }
        }
    }

    #[test]
    fn no_text_and_no_first_result_of_a_request_is_lost(answers in vec("[a-z]{1,8}", 1..6)) {
        let request = |n: usize| ToolUse {
            id: format!("id{n}"), name: "fs.read".into(), input: ToolInput::Object(serde_json::Map::new()),
        };
        let result = |(n, text): (usize, &String)| {
            Content::ToolResult(ToolResult { id: format!("id{n}"), text: text.clone(), images: Vec::new(), is_error: false })
        };
        let mut results: Vec<_> = answers.iter().enumerate().map(result).collect();
        let in_order = results.clone();
        results.reverse();
        results.insert(0, Content::Text { text: "aside".into() });
        let messages = vec![
            Message::user("go"),
            Message { role: Role::Assistant, content: (0..answers.len()).map(request).map(Content::ToolUse).collect() },
            Message { role: Role::User, content: results },
        ];
        let mut expected = in_order;
        expected.push(Content::Text { text: "aside".into() });
        prop_assert_eq!(&repair(messages)[2].content, &expected);
    }

    #[test]
    fn adopted_messages_have_unique_identifiers_and_acceptable_names(messages in vec(message(), 0..10)) {
        let mut ids = HashSet::new();
        let mut seen = HashSet::new();
        for message in messages {
            for tool_use in adopt(message, &mut ids).tool_uses() {
                prop_assert!(!tool_use.id.is_empty() && seen.insert(tool_use.id.clone()));
                prop_assert!(!tool_use.name.is_empty() && !tool_use.name.contains([' ', '!']));
            }
        }
    }
}
