//! What a model call may cost before it is made, and what it did cost after.

use animus_core::{
    Result,
    budget::{Amount, Budget, Reservation},
    llm::{Content, Embeddings, Message, ModelInfo, Price, Request, Response, ToolInput, Usage},
};

use crate::conversation::Conversation;

/// About what vendors count for an image of the largest size that they do not scale down.
const IMAGE_TOKENS: u64 = 1_600;

/// The tokens of so many bytes of text: a quarter. For English that is the usual estimate; for scripts of several bytes
/// a character it errs on the high side, which is the safe one.
pub(crate) fn tokens_of(bytes: usize) -> u64 {
    u64::try_from(bytes.div_ceil(4)).unwrap_or(u64::MAX)
}

/// The estimated tokens of one message.
pub(crate) fn message_tokens(message: &Message) -> u64 {
    message.content.iter().map(content_tokens).sum()
}

/// The estimated tokens of one part of a message.
pub(crate) fn content_tokens(content: &Content) -> u64 {
    match content {
        Content::Text { text } => tokens_of(text.len()),
        Content::Image(_) => IMAGE_TOKENS,
        Content::ToolUse(tool_use) => {
            let input = match &tool_use.input {
                ToolInput::Malformed { malformed_json } => malformed_json.len(),
                ToolInput::Object(object) => json_len(object),
            };
            tokens_of(tool_use.name.len() + tool_use.id.len() + input)
        }
        Content::ToolResult(result) => {
            let images = u64::try_from(result.images.len()).unwrap_or(u64::MAX).saturating_mul(IMAGE_TOKENS);
            tokens_of(result.id.len() + result.text.len()).saturating_add(images)
        }
        Content::Opaque { block, .. } => tokens_of(json_len(block)),
    }
}

/// The estimated tokens of what goes along with every call of a conversation: system prompt and tools.
pub(crate) fn overhead_tokens(request: &Request) -> u64 {
    let system = request.system.as_ref().map_or(0, String::len);
    let tools: usize =
        request.tools.iter().map(|t| t.name.len() + t.description.len() + json_len(&t.input_schema)).sum();
    tokens_of(system + tools)
}

fn json_len(value: &impl serde::Serialize) -> usize {
    serde_json::to_string(value).map_or(0, |text| text.len())
}

/// A model call's hold on the budget.
///
/// Dropped before [`Charge::dispatched`], it costs nothing. Dropped after (the caller went away, the work was
/// cancelled, something panicked), it costs the estimate of what was sent and streamed: the vendor bills an abandoned
/// answer too, and a plugin must not read answers for nothing by dropping them just before their end.
#[derive(Debug)]
pub(crate) struct Charge {
    reservation: Option<Reservation>,
    price: Option<Price>,
    /// What the call costs if it ends without the vendor's count.
    estimate: Usage,
    dispatched: bool,
    /// What to reserve when it is made after all, though the journal was to answer it.
    pending: Option<(Budget, Amount)>,
}

impl Charge {
    /// Reserves the estimated request and the longest answer. Fails with `BudgetExhausted`, and only so.
    pub(crate) fn reserve(budget: &Budget, conversation: &Conversation, model: &ModelInfo) -> Result<Self> {
        let mut charge = Self::answered(budget, conversation, model);
        charge.claim()?;
        Ok(charge)
    }

    /// Of a call that the journal answers: it costs what it cost. Should it be made all the same, because another one got
    /// the answer, it is reserved then.
    pub(crate) fn answered(budget: &Budget, conversation: &Conversation, model: &ModelInfo) -> Self {
        let estimate = Usage { input_tokens: conversation.weight().tokens, ..Usage::default() };
        let longest = conversation.frame().max_tokens.unwrap_or(model.max_output);
        let most = Usage { output_tokens: longest.into(), ..estimate };
        let most = amount(&most, model.price.map(|price| price.cost(&most)));
        let pending = Some((budget.clone(), most));
        Self { reservation: None, price: model.price, estimate, dispatched: false, pending }
    }

    fn claim(&mut self) -> Result<()> {
        if let Some((budget, most)) = self.pending.take() {
            self.reservation = Some(budget.reserve(most)?);
        }
        Ok(())
    }

    /// Reserves the estimated tokens of so many bytes of text. Fails with `BudgetExhausted`, and only so.
    pub(crate) fn for_embeddings(budget: &Budget, bytes: usize, model: &ModelInfo) -> Result<Self> {
        let estimate = Usage { input_tokens: tokens_of(bytes), ..Usage::default() };
        let reservation = Some(budget.reserve(amount(&estimate, model.price.map(|price| price.cost(&estimate))))?);
        Ok(Self { reservation, price: model.price, estimate, dispatched: false, pending: None })
    }

    /// From here on the call costs something, whatever happens. Fails with `BudgetExhausted`, and only so, where nothing
    /// was reserved for it: it must not be made then.
    pub(crate) fn dispatched(&mut self) -> Result<()> {
        self.claim()?;
        self.dispatched = true;
        Ok(())
    }

    /// So many bytes of the answer arrived.
    pub(crate) fn streamed(&mut self, bytes: usize) {
        self.estimate.output_tokens = self.estimate.output_tokens.saturating_add(tokens_of(bytes));
    }

    /// The vendor counted. One that reports nothing is charged by estimate, or its budget would never bite.
    pub(crate) fn settle(mut self, response: &Response) {
        if response.usage.total() == 0 {
            self.estimate.output_tokens = tokens_of(json_len(&response.message.content));
        } else if let Some(reservation) = self.reservation.take() {
            reservation.settle(amount(&response.usage, response.cost_microusd));
        }
    }

    /// The vendor counted what it embedded. One that reports nothing is charged by estimate, unless it is known to be
    /// free.
    pub(crate) fn settle_embeddings(mut self, embeddings: &Embeddings) {
        if (embeddings.usage.total() > 0 || embeddings.cost_microusd == Some(0))
            && let Some(reservation) = self.reservation.take()
        {
            reservation.settle(amount(&embeddings.usage, embeddings.cost_microusd));
        }
    }

    /// The vendor failed: nothing is owed.
    pub(crate) fn release(mut self) {
        self.reservation = None;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if let Some(reservation) = self.reservation.take().filter(|_| self.dispatched) {
            reservation.settle(amount(&self.estimate, self.price.map(|price| price.cost(&self.estimate))));
        }
    }
}

fn amount(usage: &Usage, microusd: Option<u64>) -> Amount {
    Amount { tokens: usage.total(), microusd: microusd.unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use animus_core::{
        budget::Allowance,
        llm::{Role, Stop},
    };

    use super::*;

    fn model() -> ModelInfo {
        ModelInfo {
            role: "default".into(),
            models: vec!["fake:model".into()],
            context_window: 10_000,
            max_output: 100,
            price: Some(Price { input: 1_000_000, output: 2_000_000, cached: None, cache_write: None }),
        }
    }

    fn request(text: &str) -> Conversation {
        Conversation::new(Request {
            model: "default".into(),
            system: None,
            messages: vec![Message::user(text).into()],
            tools: [].into(),
            max_tokens: None,
            temperature: None,
        })
    }

    fn response(usage: Usage) -> Response {
        Response {
            message: Message { role: Role::Assistant, content: Vec::new() },
            stop: Stop::EndTurn,
            usage,
            cost_microusd: Some(7),
            model: "fake:model".into(),
        }
    }

    #[test]
    fn the_request_and_the_longest_answer_are_reserved_in_tokens_and_money() {
        let budget = Budget::new("run", Allowance::default());
        let charge = Charge::reserve(&budget, &request(&"x".repeat(40)), &model()).unwrap();
        assert_eq!(budget.standing().reserved, Amount { tokens: 110, microusd: 210 });
        drop(charge);
        assert_eq!(budget.standing().reserved, Amount::default());
        assert_eq!(budget.standing().spent, Amount::default());
    }

    #[test]
    fn the_vendors_count_replaces_the_estimate_and_a_failed_call_costs_nothing() {
        let budget = Budget::new("run", Allowance::default());
        let mut charge = Charge::reserve(&budget, &request("hello"), &model()).unwrap();
        charge.dispatched().unwrap();
        charge.streamed(1_000);
        charge.settle(&response(Usage { input_tokens: 5, output_tokens: 3, ..Usage::default() }));
        assert_eq!(budget.standing().spent, Amount { tokens: 8, microusd: 7 });
        let mut charge = Charge::reserve(&budget, &request("hello"), &model()).unwrap();
        charge.dispatched().unwrap();
        charge.release();
        assert_eq!(budget.standing().spent, Amount { tokens: 8, microusd: 7 });
        assert_eq!(budget.standing().reserved, Amount::default());
    }

    #[test]
    fn a_call_that_the_journal_was_to_answer_is_reserved_when_it_is_made_after_all() {
        let budget = Budget::new("run", Allowance { tokens: Some(150), microusd: None });
        let mut charge = Charge::answered(&budget, &request("hello"), &model());
        drop(Charge::answered(&budget, &request("hello"), &model()));
        assert_eq!(budget.standing().reserved, Amount::default());
        charge.dispatched().unwrap();
        assert!(budget.standing().reserved.tokens > 100);
        let refused = Charge::answered(&budget, &request("hello"), &model()).dispatched();
        assert_eq!(refused.unwrap_err().class(), "budget-exhausted");
        charge.settle(&response(Usage { input_tokens: 5, output_tokens: 3, ..Usage::default() }));
        assert_eq!(budget.standing().spent, Amount { tokens: 8, microusd: 7 });
    }

    #[test]
    fn an_abandoned_answer_and_one_that_nobody_counted_cost_their_estimate() {
        let budget = Budget::new("run", Allowance::default());
        let mut charge = Charge::reserve(&budget, &request(&"x".repeat(40)), &model()).unwrap();
        charge.dispatched().unwrap();
        charge.streamed(8);
        drop(charge);
        assert_eq!(budget.standing().spent, Amount { tokens: 12, microusd: 14 });
        let mut charge = Charge::reserve(&budget, &request(&"x".repeat(40)), &model()).unwrap();
        charge.dispatched().unwrap();
        charge.settle(&response(Usage::default()));
        assert!(budget.standing().spent.tokens >= 22, "{:?}", budget.standing());
        assert_eq!(budget.standing().reserved, Amount::default());
    }
}
