//! The size of the conversation, checked before every model call.

use std::sync::Arc;

use animus_core::llm::{Content, ToolResult};

use super::pages::Pages;
use crate::{charge::message_tokens, conversation::Conversation};

/// A result shorter than this is not worth the line that would replace it, in bytes.
const WORTH_DROPPING: usize = 400;

/// Makes the conversation fit into `room` tokens and returns how many results had to go, or `None` when it cannot fit.
///
/// The oldest tool results go first and leave a line that says how to read them again, so every tool request keeps its
/// result. Once anything has to go, a quarter of the room is made free: vendors cache the unchanged beginning of a
/// conversation, and a little change at every turn would defeat that.
pub(super) fn fit(conversation: &mut Conversation, room: u64, pages: &mut Pages) -> Option<usize> {
    let mut size = conversation.weight().tokens;
    if size <= room {
        return Some(0);
    }
    let target = room.saturating_sub(room / 4);
    if conversation.frame_tokens() > room {
        return None;
    }
    let mut dropped = 0;
    conversation.rewrite(|messages| {
        for message in messages {
            if size <= target {
                break;
            }
            // Only what changes is copied, should a request that was sent still be read.
            if !message.content.iter().any(is_worth_dropping) {
                continue;
            }
            let before = message_tokens(message);
            for part in &mut Arc::make_mut(message).content {
                if let Content::ToolResult(result) = part
                    && is_long(result)
                {
                    drop_result(result, pages);
                    dropped += 1;
                }
            }
            size = size.saturating_sub(before.saturating_sub(message_tokens(message)));
        }
    });
    (conversation.weight().tokens <= room).then_some(dropped)
}

fn is_worth_dropping(part: &Content) -> bool {
    matches!(part, Content::ToolResult(result) if is_long(result))
}

fn is_long(result: &ToolResult) -> bool {
    result.text.len() >= WORTH_DROPPING || !result.images.is_empty()
}

fn drop_result(result: &mut ToolResult, pages: &mut Pages) {
    let text = std::mem::take(&mut result.text);
    let images = match std::mem::take(&mut result.images).len() {
        0 => String::new(),
        n => format!(" and {n} images"),
    };
    let bytes = text.len();
    let id = pages.keep(text);
    result.text = format!(
        "[{bytes} bytes{images} were dropped here to make room; read the text again with read_result {{\"id\": \"{id}\"}}]"
    );
}

#[cfg(test)]
mod tests {
    use animus_core::llm::{Message, Request, Role, ToolInput, ToolUse};

    use super::*;

    fn conversation(results: &[usize]) -> Conversation {
        let mut messages = vec![Message::user("go").into()];
        for (n, bytes) in results.iter().enumerate() {
            let id = format!("call_{n}");
            let input = ToolInput::Object(serde_json::Map::new());
            let tool_use = ToolUse { id: id.clone(), name: "fs.read".into(), input };
            messages.push(Message { role: Role::Assistant, content: vec![Content::ToolUse(tool_use)] }.into());
            let result = ToolResult { id, text: "x".repeat(*bytes), images: Vec::new(), is_error: false };
            messages.push(Message { role: Role::User, content: vec![Content::ToolResult(result)] }.into());
        }
        let (model, tools) = (String::new(), [].into());
        Conversation::new(Request { model, system: None, messages, tools, max_tokens: None, temperature: None })
    }

    fn sizes(request: &Request) -> Vec<usize> {
        let results = request.messages.iter().flat_map(|m| &m.content).filter_map(|part| match part {
            Content::ToolResult(result) => Some(result.text.len()),
            _ => None,
        });
        results.collect()
    }

    #[test]
    fn the_oldest_results_go_first_and_pairs_stay() {
        let mut conversation = conversation(&[4_000, 100, 4_000, 4_000]);
        let sent = conversation.request();
        let mut pages = Pages::default();
        assert_eq!(fit(&mut conversation, 3_000, &mut pages), Some(1));
        let request = conversation.request();
        let left = sizes(&request);
        assert!(left[0] < 200 && left[1] == 100 && left[2] == 4_000 && left[3] == 4_000, "{left:?}");
        let again = Conversation::new(request.clone());
        assert_eq!((again.request(), again.weight()), (request.clone(), conversation.weight()));
        assert!(pages.read("r1", 0, 10).unwrap().contains("of 4000"));
        assert_eq!(sizes(&sent), [4_000, 100, 4_000, 4_000], "what was sent stays as it was");
        let shared = request.messages.iter().zip(&sent.messages).filter(|(new, old)| Arc::ptr_eq(new, old));
        assert_eq!(shared.count(), sent.messages.len() - 1, "only what changed was copied");
    }

    #[test]
    fn what_fits_is_left_alone_and_what_cannot_fit_is_said_so() {
        let mut conversation = conversation(&[4_000]);
        let whole = conversation.request();
        assert_eq!(fit(&mut conversation, 5_000, &mut Pages::default()), Some(0));
        assert_eq!(conversation.request(), whole);
        conversation.extend([Message::user("x".repeat(40_000))]);
        assert_eq!(fit(&mut conversation, 5_000, &mut Pages::default()), None);
    }
}
