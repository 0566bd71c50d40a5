//! Budgets under any order of reserving, settling, dropping and deriving.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at what it does not expect")]

use animus_core::{
    budget::{Allowance, Amount, Budget, Reservation},
    work::State,
};
use proptest::{collection::vec, prelude::*, test_runner::Config};

#[derive(Clone, Debug)]
enum Step {
    /// From budget number `.0` (modulo how many there are), so much.
    Reserve(usize, Amount),
    /// Reservation number `.0` at this share of what it holds, in per cent; over 100 is an overrun.
    Settle(usize, u64),
    Drop(usize),
    /// A child of budget number `.0`.
    Derive(usize, Allowance),
}

fn amount() -> impl Strategy<Value = Amount> {
    (0..200_u64, 0..200_u64).prop_map(|(tokens, microusd)| Amount { tokens, microusd })
}

fn allowance() -> impl Strategy<Value = Allowance> {
    (proptest::option::of(0..500_u64), proptest::option::of(0..500_u64))
        .prop_map(|(tokens, microusd)| Allowance { tokens, microusd })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<usize>(), amount()).prop_map(|(of, amount)| Step::Reserve(of, amount)),
        2 => (any::<usize>(), 0..150_u64).prop_map(|(of, percent)| Step::Settle(of, percent)),
        1 => any::<usize>().prop_map(Step::Drop),
        1 => (any::<usize>(), allowance()).prop_map(|(of, allowance)| Step::Derive(of, allowance)),
    ]
}

fn committed(budget: &Budget) -> Amount {
    let at = budget.standing();
    Amount { tokens: at.spent.tokens + at.reserved.tokens, microusd: at.spent.microusd + at.reserved.microusd }
}

fn fits(amount: Amount, allowance: Allowance) -> bool {
    allowance.tokens.is_none_or(|most| amount.tokens <= most)
        && allowance.microusd.is_none_or(|most| amount.microusd <= most)
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    #[test]
    fn any_order_of_steps_keeps_every_budget_true(first in allowance(), steps in vec(step(), 0..60)) {
        // Each budget with its parent's number, and each reservation with its budget's and its amount.
        let mut budgets: Vec<(Budget, Option<usize>)> = vec![(Budget::new("b0", first), None)];
        let mut open: Vec<(Reservation, usize, Amount)> = Vec::new();
        let mut spent = vec![Amount::default()];
        for step in steps {
            match step {
                Step::Derive(of, allowance) => {
                    let of = of % budgets.len();
                    let child = budgets[of].0.derive(format!("b{}", budgets.len()), allowance);
                    budgets.push((child, Some(of)));
                    spent.push(Amount::default());
                }
                Step::Reserve(of, amount) => {
                    let of = of % budgets.len();
                    let before: Vec<_> = budgets.iter().map(|(budget, _)| budget.standing()).collect();
                    match budgets[of].0.reserve(amount) {
                        Ok(reservation) => {
                            let mut above = Some(of);
                            while let Some(at) = above {
                                prop_assert!(fits(committed(&budgets[at].0), budgets[at].0.standing().allowance));
                                above = budgets[at].1;
                            }
                            open.push((reservation, of, amount));
                        }
                        Err(_) => {
                            let after: Vec<_> = budgets.iter().map(|(budget, _)| budget.standing()).collect();
                            prop_assert_eq!(before, after, "a refusal left a trace");
                        }
                    }
                }
                Step::Settle(which, percent) if !open.is_empty() => {
                    let (reservation, of, held) = open.swap_remove(which % open.len());
                    let actual = Amount { tokens: held.tokens * percent / 100, microusd: held.microusd * percent / 100 };
                    reservation.settle(actual);
                    let mut above = Some(of);
                    while let Some(at) = above {
                        spent[at].tokens += actual.tokens;
                        spent[at].microusd += actual.microusd;
                        above = budgets[at].1;
                    }
                }
                Step::Drop(which) if !open.is_empty() => drop(open.swap_remove(which % open.len())),
                Step::Settle(..) | Step::Drop(..) => {}
            }
            for (number, (budget, parent)) in budgets.iter().enumerate() {
                prop_assert_eq!(budget.standing().spent, spent[number]);
                if let Some(parent) = parent {
                    let (child, parent) = (committed(budget), committed(&budgets[*parent].0));
                    prop_assert!(child.tokens <= parent.tokens && child.microusd <= parent.microusd);
                }
            }
        }
        drop(open);
        for (budget, _) in &budgets {
            prop_assert_eq!(budget.standing().reserved, Amount::default());
        }
    }

    #[test]
    fn amounts_near_the_largest_number_neither_wrap_nor_pass(a in any::<u64>(), b in any::<u64>(), most in any::<u64>()) {
        let budget = Budget::new("run", Allowance { tokens: Some(most), microusd: None });
        let first = budget.reserve(Amount { tokens: a, microusd: 0 });
        prop_assert_eq!(first.is_ok(), a <= most);
        let second = budget.reserve(Amount { tokens: b, microusd: 0 });
        let held = if first.is_ok() { a } else { 0 };
        prop_assert_eq!(second.is_ok(), held.checked_add(b).is_some_and(|sum| sum <= most));
    }

    #[test]
    fn work_takes_only_steps_of_its_state_machine_and_never_leaves_an_end(walk in vec(0..State::ALL.len(), 0..40)) {
        let mut at = State::Queued;
        let mut runs = 0;
        for next in walk.into_iter().map(|index| State::ALL[index]) {
            let allowed = at.may_become(next);
            prop_assert!(!(allowed && at.is_terminal()), "{at} became {next}");
            prop_assert!(!(allowed && next == State::Running && at != State::Queued), "{at} became {next}");
            prop_assert!(!(allowed && next == State::Completed && at != State::Running), "{at} became {next}");
            prop_assert!(!(allowed && next == at));
            if allowed {
                runs += usize::from(next == State::Running);
                at = next;
            }
        }
        prop_assert!(at != State::Completed || runs > 0, "completed without a run");
    }
}

#[test]
fn threads_that_reserve_and_settle_at_once_never_pass_the_allowance_together() {
    let day = Budget::new("day", Allowance { tokens: Some(1_000), microusd: None });
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let run = day.derive(format!("run{worker}"), Allowance { tokens: Some(400), microusd: None });
            scope.spawn(move || {
                for round in 0..200_u64 {
                    if let Ok(held) = run.reserve(Amount { tokens: 7, microusd: 0 }) {
                        if round % 3 == 0 { drop(held) } else { held.settle(Amount { tokens: 5, microusd: 0 }) }
                    }
                }
            });
        }
    });
    let standing = day.standing();
    assert_eq!(standing.reserved, Amount::default());
    assert!(standing.spent.tokens <= 1_000 && standing.spent.tokens > 900, "{standing:?}");
}
