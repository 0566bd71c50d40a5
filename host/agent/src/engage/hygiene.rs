//! What keeps a long loop in order between its turns: completed steps, nudges, answers that are cut off.

use animus_core::{
    Error, Result,
    event::{Compaction, Event},
    faculty,
    ledger::{Entry, EntryType},
    llm::{Content, Stop, ToolInput, ToolUse},
};

use super::Engage;
use crate::measure;

/// Turns in a row whose tool calls are cut off or unreadable, before something is done about it.
const MALFORMED: u32 = 3;
/// What is kept of the ledger to stand for messages, in bytes; a message shows less.
const KEPT: usize = 64 << 10;

/// From which size on a conversation is made shorter.
pub(super) fn threshold(window: u64, share: f32) -> u64 {
    // In thousandths, so that it is the same on every machine.
    let thousandths = (1..=1_000_u16).take_while(|n| f32::from(*n) <= share * 1_000.0 + 0.5).last().unwrap_or(1);
    window / 1_000 * u64::from(thousandths) + window % 1_000 * u64::from(thousandths) / 1_000
}

/// Leaves the newest entries, and the newest plan.
fn forget(entries: &mut Vec<Entry>) {
    let (plan, mut bytes) = (entries.iter().rposition(|entry| entry.entry_type == EntryType::Plan), 0_usize);
    let fits = |entry: &&Entry| {
        bytes = bytes.saturating_add(entry.content.len());
        bytes <= KEPT
    };
    let first = entries.len() - entries.iter().rev().take_while(fits).count();
    let mut at = 0;
    entries.retain(|_| {
        at += 1;
        at > first || plan == Some(at - 1)
    });
}

impl Engage<'_> {
    /// How the operator has this faculty's loops run.
    pub(super) fn rules(&self) -> &faculty::Engage {
        &self.focus.cx().faculty.engage
    }

    /// A reminder of the ledger, after so many turns without an entry. It goes along with the results of the turn.
    pub(super) fn nudge(&mut self) -> Option<Content> {
        let interval = self.rules().ledger_nudge_interval;
        let (count, _) = self.focus.appended(u64::MAX);
        self.idle = if count > self.seen { 0 } else { self.idle.saturating_add(1) };
        if interval == 0 || self.idle < interval {
            return None;
        }
        self.idle = 0;
        let text = format!(
            "[from the engine, not from the user: {interval} turns have passed without a ledger entry. Append what you \
             found, decided or completed since then with ledger_append; what is not in the ledger may be lost.]"
        );
        Some(Content::Text { text })
    }

    /// Takes note of what the turn appended; a step that was completed makes room.
    pub(super) fn end_turn(&mut self) {
        let (count, new) = self.focus.appended(self.seen);
        self.seen = count;
        let before = self.conversation.weight().tokens;
        let truncate = self.rules().truncate_closed_blocks;
        let went = self.context.turn(&mut self.conversation, &new, truncate);
        self.appended.extend(new);
        forget(&mut self.appended);
        if went {
            self.ids = self.conversation.ids();
            self.compacted(Compaction::Step, before, false);
        }
    }

    /// Tells that the conversation was made shorter.
    pub(super) fn compacted(&self, trigger: Compaction, before: u64, summarised: bool) {
        let after = self.conversation.weight().tokens;
        if after >= before {
            return;
        }
        measure::compacted(&self.by.tenant, trigger, summarised);
        self.focus.tell(Event::Compacted { trigger, before, after, summarised });
    }

    /// Tool calls that are cut off turn by turn, because an answer may not be longer: allow it more, as far as the grant
    /// and the model go.
    ///
    /// # Errors
    /// [`Error::BudgetExhausted`] when they go no further.
    pub(super) fn lengthen_answers(&mut self, requests: &[ToolUse], stop: &Stop) -> Result<()> {
        let broken = requests.iter().any(|request| matches!(request.input, ToolInput::Malformed { .. }));
        self.malformed = if broken { self.malformed.saturating_add(1) } else { 0 };
        if self.malformed < MALFORMED || *stop != Stop::MaxTokens {
            return Ok(());
        }
        let model = self.focus.cx().models.resolve(&self.conversation.frame().model)?;
        let granted = self.by.authority.effective().llm.as_ref().map_or(0, |llm| llm.max_tokens);
        let configured = self.rules().max_tokens.unwrap_or(u32::MAX);
        let now = self.conversation.frame().max_tokens.unwrap_or(model.max_output);
        let most =
            granted.min(model.max_output).min(configured).min(u32::try_from(self.window / 2).unwrap_or(u32::MAX));
        let next = now.saturating_mul(2).min(most);
        if next <= now {
            return Err(Error::BudgetExhausted(format!(
                "the model's tool calls were cut off {} times in a row, because an answer has at most {now} tokens, which is \
                 all that the grant and the model allow; raise llm.max_tokens, or split the work",
                self.malformed
            )));
        }
        self.malformed = 0;
        self.focus.notice(format!(
            "tool calls were cut off {MALFORMED} times in a row at {now} tokens an answer; from now on {next} are allowed"
        ));
        self.conversation.lengthen(next);
        self.room = self.room.min(self.window.saturating_sub(next.into()));
        Ok(())
    }
}
