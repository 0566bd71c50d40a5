//! Numbers that carry their own proof, and addresses of machines.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    ops::Range,
};

use super::{around, is_word, runs};

/// Country, two check digits, the account: right by its checksum. Groups may be told apart by single spaces.
pub(super) fn iban(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut done = 0;
    for word in runs(text, is_word) {
        if word.start < done {
            continue;
        }
        let head = text.get(word.clone()).unwrap_or_default().as_bytes();
        let is_head = matches!(head, [a, b, c, d, ..]
            if a.is_ascii_uppercase() && b.is_ascii_uppercase() && c.is_ascii_digit() && d.is_ascii_digit());
        let (before, _) = around(text, &word);
        if !is_head || before.is_some_and(|c| c == '_' || c == '-' || c.is_alphanumeric()) {
            continue;
        }
        if let Some(range) = longest_iban(text, word.start) {
            done = range.end;
            found.push(range);
        }
    }
    found
}

/// The longest account number that begins here.
fn longest_iban(text: &str, start: usize) -> Option<Range<usize>> {
    let mut compact = String::new();
    let mut best = None;
    let mut blank = false;
    for (at, c) in text.get(start..)?.char_indices() {
        match c {
            ' ' if !blank => blank = true,
            c if c.is_ascii_uppercase() || c.is_ascii_digit() => {
                blank = false;
                compact.push(c);
                let next = text.get(start + at + 1..).and_then(|rest| rest.chars().next());
                let ends = !next.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '-');
                if ends && (15..=34).contains(&compact.len()) && is_iban(&compact) {
                    best = Some(start..start + at + 1);
                }
                if compact.len() > 34 {
                    break;
                }
            }
            _ => break,
        }
    }
    best
}

/// ISO 13616: the head behind the rest, letters as numbers, and of that the remainder by 97 is 1.
fn is_iban(compact: &str) -> bool {
    let (Some(head), Some(rest)) = (compact.get(..4), compact.get(4..)) else { return false };
    let mut remainder = 0_u32;
    for c in rest.chars().chain(head.chars()) {
        let Some(value) = c.to_digit(36) else { return false };
        remainder = (remainder * if value > 9 { 100 } else { 10 } + value) % 97;
    }
    remainder == 1
}

/// Numbers of a card's length and beginning that are right by Luhn. Groups may be told apart by single spaces or dashes.
pub(super) fn card(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for run in runs(text, |b| b.is_ascii_digit() || b == b' ' || b == b'-') {
        let inside = text.get(run.clone()).unwrap_or_default();
        let mut from = 0;
        // Other numbers may stand before and after it.
        while let Some(first) = inside.get(from..).and_then(|rest| rest.find(|c: char| c.is_ascii_digit())) {
            let start = from + first;
            let group = inside.get(start..).unwrap_or_default();
            let length = group.bytes().take_while(u8::is_ascii_digit).count();
            match longest_card(text, run.start + start, run.end) {
                Some(range) => {
                    from = range.end - run.start;
                    found.push(range);
                }
                None => from = start + length,
            }
        }
    }
    found
}

fn longest_card(text: &str, start: usize, end: usize) -> Option<Range<usize>> {
    let (before, _) = around(text, &(start..start));
    if before.is_some_and(|c| c.is_alphanumeric() || "_.-+/=".contains(c)) {
        return None;
    }
    let bytes = text.as_bytes();
    let mut digits = Vec::new();
    let mut separator = None;
    let mut best = None;
    for at in start..end {
        match bytes.get(at)? {
            digit @ b'0'..=b'9' => {
                digits.push(u32::from(digit - b'0'));
                let next = text.get(at + 1..).and_then(|rest| rest.chars().next());
                let after = text.as_bytes().get(at + 2);
                let goes_on = matches!(next, Some('.' | '-')) && after.is_some_and(u8::is_ascii_alphanumeric);
                let ends = !next.is_some_and(|c| c.is_alphanumeric() || c == '_') && !goes_on;
                if ends && is_card(&digits) {
                    best = Some(start..at + 1);
                }
                if digits.len() > 19 {
                    break;
                }
            }
            other => {
                let doubled = at > 0 && bytes.get(at - 1).is_some_and(|b| !b.is_ascii_digit());
                if doubled || separator.is_some_and(|separator| separator != *other) {
                    break;
                }
                separator = Some(*other);
            }
        }
    }
    best
}

fn is_card(digits: &[u32]) -> bool {
    let begins = |n: usize| digits.iter().take(n).fold(0, |number, digit| number * 10 + digit);
    let (two, three, four) = (begins(2), begins(3), begins(4));
    let issued = match digits.len() {
        13 | 19 => digits.first() == Some(&4),
        14 => two == 36 || two == 38 || (300..=305).contains(&three),
        15 => two == 34 || two == 37,
        16 => {
            digits.first() == Some(&4)
                || (51..=55).contains(&two)
                || (2221..=2720).contains(&four)
                || four == 6011
                || two == 65
                || (644..=649).contains(&three)
                || (3528..=3589).contains(&four)
                || two == 62
        }
        _ => false,
    };
    // A number that somebody made up of one digit is no card's.
    let varied = digits.windows(2).any(|pair| matches!(pair, [a, b] if a != b));
    issued && varied && luhn(digits)
}

fn luhn(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| match digit * 2 {
            _ if at % 2 == 0 => *digit,
            double if double > 9 => double - 9,
            double => double,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Addresses of machines other than this one.
pub(super) fn ip(text: &str) -> Vec<Range<usize>> {
    let four = runs(text, |b| b.is_ascii_digit() || b == b'.').filter_map(|run| {
        let token = text.get(run.clone())?;
        let range = run.start..run.start + token.trim_end_matches('.').len();
        let address: Ipv4Addr = text.get(range.clone())?.parse().ok()?;
        let (before, after) = around(text, &range);
        let alone = |c: Option<char>| !c.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '-');
        (alone(before) && alone(after) && !address.is_loopback() && !address.is_unspecified()).then_some(range)
    });
    let six = runs(text, |b| b.is_ascii_hexdigit() || b == b':').filter_map(|run| {
        let token = text.get(run.clone())?;
        let address: Ipv6Addr = token.parse().ok()?;
        let (before, after) = around(text, &run);
        let alone = |c: Option<char>| !c.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '.');
        let long = token.matches(':').count() >= 3 && token.bytes().any(|b| b.is_ascii_digit());
        (long && alone(before) && alone(after) && !address.is_loopback()).then_some(run)
    });
    four.chain(six).collect()
}
