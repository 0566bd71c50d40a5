//! The size of the conversation: what stands for the messages that went, and which go first.
//!
//! In order: what led to a completed step becomes a line (L1); the oldest tool results are dropped; older messages give
//! way to the ledger (L2), or to a model's summary where the ledger says little (L3). Each rewriting makes a quarter of
//! the room free: vendors cache the unchanged beginning of a conversation, and a little change at every turn would
//! defeat that. Nothing here looks at a clock or at the store, so a focus that is resumed rewrites as it did before.

use std::{ops::Range, sync::Arc};

use animus_core::{
    ledger::{self, Entry, EntryType},
    llm::{Content, Message, Role, ToolResult},
    text::head,
};

use super::pages::{FIRST_PAGE, Pages};
use crate::{
    charge::{content_tokens, message_tokens, tokens_of},
    conversation::Conversation,
};

mod summary;

/// A result shorter than this is not worth the line that would replace it, in bytes.
const WORTH_DROPPING: usize = 400;
/// What a line shows of a completed step, in bytes.
const SHOWN: usize = 500;
/// The ledger is sparse when fewer entries than this were appended since the conversation was last shortened.
const SPARSE: u64 = 3;
/// Summaries in a row that may fail, or free too little, before no more are asked for.
const FAILURES: u32 = 2;

/// What stands for the messages of one loop that went.
#[derive(Debug, Default)]
pub(super) struct Context {
    /// What the conversation began with, once more stands in its first message.
    task: Option<Vec<Content>>,
    /// A summary, if there is one, and the ledger.
    digest: Option<String>,
    /// A line for each step that was completed since then.
    lines: Vec<String>,
    /// How many steps this loop completed.
    steps: u64,
    /// A block that is closed, and still there because the model has not yet seen the last results in it: where it ends,
    /// and the lines for it.
    closed: Option<(usize, Vec<String>)>,
    /// Ledger entries since the conversation was last shortened.
    entries: u64,
    /// Summaries in a row that failed or freed too little.
    failures: u32,
}

impl Context {
    /// Takes note of what was appended to the ledger in the turn that was just added. A step closes the block of messages
    /// up to that turn. The block before goes: the model has answered since, so that it has seen all that was in it.
    /// Returns whether it went.
    pub(super) fn turn(&mut self, conversation: &mut Conversation, appended: &[Entry], truncate: bool) -> bool {
        self.entries = self.entries.saturating_add(u64::try_from(appended.len()).unwrap_or(u64::MAX));
        let went = match self.closed.take() {
            Some((end, lines)) => self.close(conversation, end, lines),
            None => false,
        };
        let steps: Vec<_> = appended.iter().filter(|entry| entry.entry_type == EntryType::Step && truncate).collect();
        if !steps.is_empty() {
            let line = |entry: &&Entry| {
                self.steps += 1;
                let words = entry.content.split_whitespace().collect::<Vec<_>>().join(" ");
                format!("[completed step {}: {}]", self.steps, head(&words, SHOWN))
            };
            let lines = steps.iter().map(line).collect();
            self.closed = Some((conversation.messages().len(), lines));
        }
        went
    }

    fn close(&mut self, conversation: &mut Conversation, end: usize, lines: Vec<String>) -> bool {
        let block: u64 =
            conversation.messages().get(1..end).unwrap_or_default().iter().map(|it| message_tokens(it)).sum();
        let written: usize = lines.iter().map(|line| line.len() + 1).sum();
        if block <= tokens_of(written).saturating_add(1) {
            return false;
        }
        self.remember_task(conversation);
        self.lines.extend(lines);
        conversation.keep_from(end, self.first());
        true
    }

    /// Puts the ledger, and a summary where there is one, in the place of the messages before `from`. They get at most half
    /// the size of what goes; returns false, and changes nothing, where that would free nothing.
    pub(super) fn replace(
        &mut self,
        conversation: &mut Conversation,
        from: usize,
        summary: Option<&str>,
        appended: &[Entry],
    ) -> bool {
        let went: u64 =
            conversation.messages().get(..from).unwrap_or_default().iter().map(|it| message_tokens(it)).sum();
        self.remember_task(conversation);
        let task: u64 = self.task.iter().flatten().map(content_tokens).sum();
        let bytes = usize::try_from(went.saturating_sub(task).saturating_mul(2)).unwrap_or(usize::MAX);
        let mut digest =
            "[from the engine: earlier messages of this conversation were taken out to make room]".to_owned();
        if let Some(summary) = summary {
            digest.push_str("\n\n=== SUMMARY OF WHAT WENT BEFORE ===\n");
            digest.push_str(head(summary, FIRST_PAGE));
        }
        let ledger = newest(appended);
        if !ledger.is_empty() {
            digest.push_str("\n\n");
            digest.push_str(ledger.trim_end());
        }
        let digest = Some(head(&digest, bytes).to_owned()).filter(|digest| !digest.is_empty());
        if task.saturating_add(tokens_of(digest.as_ref().map_or(0, String::len))) >= went {
            return false;
        }
        self.digest = digest;
        self.lines.clear();
        // What is left of a block that is closed goes when its time comes.
        self.closed = match self.closed.take() {
            Some((end, _)) if end <= from => None,
            closed => closed.map(|(end, lines)| (end - from + 1, lines)),
        };
        self.entries = 0;
        conversation.keep_from(from, self.first());
        true
    }

    fn remember_task(&mut self, conversation: &Conversation) {
        if self.task.is_none() {
            self.task = Some(conversation.messages().first().map(|first| first.content.clone()).unwrap_or_default());
        }
    }

    /// The first message: the task, then what stands for what went.
    fn first(&self) -> Message {
        let mut content = self.task.clone().unwrap_or_default();
        content.extend(self.digest.iter().cloned().map(|text| Content::Text { text }));
        // A part each, so that those before it stay as they were.
        content.extend(self.lines.iter().cloned().map(|text| Content::Text { text }));
        Message { role: Role::User, content }
    }

    /// Whether the ledger says too little of what happened to stand for it, and a summary may still be asked for.
    pub(super) fn wants_summary(&self) -> bool {
        self.entries < SPARSE && self.failures < FAILURES
    }

    /// Takes note of how a summary came out.
    pub(super) fn summarised(&mut self, effective: bool) {
        self.failures = if effective { 0 } else { self.failures + 1 };
    }
}

/// The newest of the ledger that fits a page; the newest plan always.
fn newest(appended: &[Entry]) -> String {
    let plan = appended.iter().rfind(|entry| entry.entry_type == EntryType::Plan);
    let mut bytes = plan.map_or(0, |plan| plan.content.len());
    let others = appended.iter().rev().filter(|entry| entry.entry_type != EntryType::Plan);
    let mut kept: Vec<Entry> = others
        .take_while(|entry| {
            bytes = bytes.saturating_add(entry.content.len() + 16);
            bytes <= FIRST_PAGE
        })
        .chain(plan)
        .cloned()
        .collect();
    kept.sort_by_key(|entry| entry.seq);
    let text = ledger::formatted(&kept);
    head(&text, FIRST_PAGE + 1_024).to_owned()
}

/// Where the newest messages begin: at most `keep` of them, the first one the model's, so that no tool request is parted
/// from its result.
pub(super) fn tail(messages: &[Arc<Message>], keep: usize) -> usize {
    let from = messages.len().saturating_sub(keep.max(2)).max(1);
    let is_the_models = |at: &usize| messages.get(*at).is_none_or(|message| message.role == Role::Assistant);
    (from..=messages.len()).find(is_the_models).unwrap_or(messages.len())
}

/// Drops tool results of the messages `among`, the oldest first, until the conversation has `target` tokens. Returns how
/// many went. Each leaves a line that says how to read it again, so every tool request keeps its result.
pub(super) fn drop_results(
    conversation: &mut Conversation,
    among: Range<usize>,
    target: u64,
    pages: &mut Pages,
) -> usize {
    let mut size = conversation.weight().tokens;
    let mut dropped = 0;
    let worth = |message: &Arc<Message>| message.content.iter().any(is_worth_dropping);
    if size <= target || !conversation.messages().get(among.clone()).unwrap_or_default().iter().any(worth) {
        return 0;
    }
    conversation.rewrite(|messages| {
        for message in messages.get_mut(among).unwrap_or_default() {
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
    dropped
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
mod tests;
