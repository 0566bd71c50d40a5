//! What all work of a host together may spend in one day.

use std::{
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use animus_core::budget::{Allowance, Budget};

/// The budget of the current day, by UTC. A focus draws from the day on which it began.
pub(super) struct Day {
    allowance: Allowance,
    current: Mutex<(u64, Budget)>,
}

impl Day {
    /// Counts from now on.
    pub(super) fn new(allowance: Allowance) -> Self {
        Self { allowance, current: Mutex::new((today(), Budget::new("day", allowance))) }
    }

    /// The budget of today.
    pub(super) fn budget(&self) -> Budget {
        self.budget_of(today())
    }

    fn budget_of(&self, day: u64) -> Budget {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.0 != day {
            *current = (day, Budget::new("day", self.allowance));
        }
        current.1.clone()
    }
}

/// Days since the epoch.
fn today() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / 86_400
}

#[cfg(test)]
mod tests {
    use animus_core::budget::Amount;

    use super::*;

    #[test]
    fn foci_of_one_day_share_a_budget_and_the_next_day_has_a_new_one() {
        let day = Day::new(Allowance { tokens: Some(10), microusd: None });
        let ten = Amount { tokens: 10, microusd: 0 };
        day.budget_of(1).derive("work", Allowance::default()).reserve(ten).unwrap().settle(ten);
        let error = day.budget_of(1).reserve(ten).unwrap_err().to_string();
        assert!(error.contains("the day budget of 10 tokens has 0 left"), "{error}");
        day.budget_of(2).reserve(ten).unwrap().settle(ten);
    }
}
