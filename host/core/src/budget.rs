//! Budgets of tokens and money: reserved before a call, settled after it, released on every path.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::Error;

/// The most that may be spent; `None` is no limit of that kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Allowance {
    /// Tokens, read and written.
    pub tokens: Option<u64>,
    /// Millionths of a US dollar.
    pub microusd: Option<u64>,
}

impl Allowance {
    /// The lower of both, where both or either speaks.
    #[must_use]
    pub fn meet(self, other: Self) -> Self {
        let lower = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Self { tokens: lower(self.tokens, other.tokens), microusd: lower(self.microusd, other.microusd) }
    }
}

/// An amount spent or reserved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Tokens, read and written.
    pub tokens: u64,
    /// Millionths of a US dollar.
    pub microusd: u64,
}

impl Amount {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_add(other.tokens),
            microusd: self.microusd.saturating_add(other.microusd),
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_sub(other.tokens),
            microusd: self.microusd.saturating_sub(other.microusd),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    spent: Amount,
    reserved: Amount,
    /// The highest warning given so far, in per cent.
    warned: u8,
}

#[derive(Debug)]
struct Node {
    name: String,
    allowance: Allowance,
    state: Mutex<State>,
    parent: Option<Budget>,
}

/// A budget. Clones share it; a derived budget draws from its parent as well.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Node>);

/// How much of a budget is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// What was spent.
    pub spent: Amount,
    /// What is reserved by calls under way.
    pub reserved: Amount,
    /// The most that may be spent.
    pub allowance: Allowance,
    /// The larger share of tokens and money spent, in per cent of the allowance; 0 without one.
    pub percent: u8,
}

/// The shares of a budget at which a warning is given, in per cent.
pub const WARNINGS: [u8; 3] = [50, 75, 90];

impl Budget {
    /// A budget of its own. `name` appears in errors: `run`, `day`, …
    #[must_use]
    pub fn new(name: impl Into<String>, allowance: Allowance) -> Self {
        Self(Arc::new(Node { name: name.into(), allowance, state: Mutex::default(), parent: None }))
    }

    /// A budget that draws from this one too, so that it can never hold more than is left here.
    #[must_use]
    pub fn derive(&self, name: impl Into<String>, allowance: Allowance) -> Self {
        Self(Arc::new(Node { name: name.into(), allowance, state: Mutex::default(), parent: Some(self.clone()) }))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // A poisoned lock holds plain numbers that are valid at every point.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves `amount` here and in every budget above, or nowhere.
    ///
    /// # Errors
    /// [`Error::BudgetExhausted`] naming the budget that refuses, what is left and what was asked.
    pub fn reserve(&self, amount: Amount) -> Result<Reservation, Error> {
        {
            let mut state = self.lock();
            let committed = state.spent.plus(state.reserved);
            let next = committed.plus(amount);
            let refuse = |kind: &str, limit: u64, used: u64, asked: u64| {
                Err(Error::BudgetExhausted(format!(
                    "the {} budget of {limit} {kind} has {} left; the call may need {asked}",
                    self.0.name,
                    limit.saturating_sub(used),
                )))
            };
            if let Some(limit) = self.0.allowance.tokens.filter(|limit| next.tokens > *limit) {
                return refuse("tokens", limit, committed.tokens, amount.tokens);
            }
            if let Some(limit) = self.0.allowance.microusd.filter(|limit| next.microusd > *limit) {
                return refuse("millionths of a dollar", limit, committed.microusd, amount.microusd);
            }
            state.reserved = state.reserved.plus(amount);
        }
        // Should the parent refuse, dropping `own` releases what was just reserved here.
        let mut own = Reservation { budget: self.clone(), amount, parent: None };
        if let Some(parent) = &self.0.parent {
            own.parent = Some(Box::new(parent.reserve(amount)?));
        }
        Ok(own)
    }

    /// Counts what was spent already, here and in every budget above, whatever is left: a focus that is resumed does not
    /// pay again, but what it spent before is gone.
    pub fn spend(&self, amount: Amount) {
        {
            let mut state = self.lock();
            state.spent = state.spent.plus(amount);
        }
        if let Some(parent) = &self.0.parent {
            parent.spend(amount);
        }
    }

    /// How much is used.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let state = self.lock();
        let share = |spent: u64, limit: Option<u64>| match limit {
            None => 0,
            Some(0) => 100,
            Some(limit) => u8::try_from((u128::from(spent) * 100 / u128::from(limit)).min(100)).unwrap_or(100),
        };
        Standing {
            spent: state.spent,
            reserved: state.reserved,
            allowance: self.0.allowance,
            percent: share(state.spent.tokens, self.0.allowance.tokens)
                .max(share(state.spent.microusd, self.0.allowance.microusd)),
        }
    }

    /// What is neither spent nor reserved, here and in every budget above; the least of them counts.
    #[must_use]
    pub fn left(&self) -> Allowance {
        let Standing { spent, reserved, allowance, .. } = self.standing();
        let used = spent.plus(reserved);
        let own = Allowance {
            tokens: allowance.tokens.map(|most| most.saturating_sub(used.tokens)),
            microusd: allowance.microusd.map(|most| most.saturating_sub(used.microusd)),
        };
        self.0.parent.as_ref().map_or(own, |parent| own.meet(parent.left()))
    }

    /// The highest of [`WARNINGS`] that was crossed since this was last asked; each is told once.
    #[must_use]
    pub fn warning(&self) -> Option<u8> {
        let percent = self.standing().percent;
        let mut state = self.lock();
        let crossed = WARNINGS.into_iter().rfind(|w| percent >= *w && *w > state.warned)?;
        state.warned = crossed;
        Some(crossed)
    }
}

/// An amount set aside. Dropping it without [`Reservation::settle`] releases all of it.
#[derive(Debug)]
#[must_use = "a reservation that is dropped is released"]
pub struct Reservation {
    budget: Budget,
    amount: Amount,
    parent: Option<Box<Reservation>>,
}

impl Reservation {
    /// How much is set aside.
    #[must_use]
    pub fn amount(&self) -> Amount {
        self.amount
    }

    /// Records what was really spent, which may exceed what was reserved, and releases the rest.
    pub fn settle(mut self, actual: Amount) {
        self.record(actual);
    }

    fn record(&mut self, actual: Amount) {
        {
            let mut state = self.budget.lock();
            state.spent = state.spent.plus(actual);
        }
        if let Some(parent) = &mut self.parent {
            parent.record(actual);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut state = self.budget.lock();
        state.reserved = state.reserved.minus(self.amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(n: u64) -> Amount {
        Amount { tokens: n, microusd: 0 }
    }

    #[test]
    fn a_dropped_reservation_is_released_and_a_settled_one_is_spent() {
        let budget = Budget::new("run", Allowance { tokens: Some(100), microusd: None });
        drop(budget.reserve(tokens(100)).unwrap());
        budget.reserve(tokens(80)).unwrap().settle(tokens(60));
        assert_eq!(budget.standing().spent, tokens(60));
        assert_eq!(budget.standing().reserved, tokens(0));
        let error = budget.reserve(tokens(41)).unwrap_err();
        assert_eq!(error.to_string(), "the run budget of 100 tokens has 40 left; the call may need 41");
    }

    #[test]
    fn a_derived_budget_draws_from_its_parent_and_a_refusal_leaves_no_trace() {
        let parent = Budget::new("day", Allowance { tokens: Some(50), microusd: None });
        let child = parent.derive("run", Allowance { tokens: Some(1_000), microusd: None });
        assert!(child.reserve(tokens(51)).unwrap_err().to_string().contains("the day budget"));
        assert_eq!(child.standing().reserved, tokens(0));
        child.reserve(tokens(50)).unwrap().settle(tokens(50));
        assert_eq!(parent.standing().spent, tokens(50));
        assert!(parent.reserve(tokens(1)).is_err());
    }

    #[test]
    fn what_was_spent_before_counts_even_beyond_the_allowance() {
        let day = Budget::new("day", Allowance { tokens: Some(10), microusd: None });
        let run = day.derive("run", Allowance::default());
        run.spend(tokens(11));
        assert_eq!((run.standing().spent, day.standing().spent), (tokens(11), tokens(11)));
        assert!(run.reserve(tokens(1)).is_err());
    }

    #[test]
    fn warnings_are_told_once_each() {
        let budget = Budget::new("run", Allowance { tokens: Some(100), microusd: None });
        let spend = |n| budget.reserve(tokens(n)).unwrap().settle(tokens(n));
        spend(49);
        assert_eq!(budget.warning(), None);
        spend(1);
        assert_eq!(budget.warning(), Some(50));
        assert_eq!(budget.warning(), None);
        spend(45);
        assert_eq!(budget.warning(), Some(90));
        assert_eq!(budget.warning(), None);
    }
}
