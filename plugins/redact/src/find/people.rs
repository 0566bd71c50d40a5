//! How people are reached.

use std::ops::Range;

use super::{around, is_word, runs};

/// The longest text that can be an address.
const LONGEST: usize = 254;

pub(super) fn email(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices('@') {
        let (before, after) = (text.get(..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default());
        let local = before.bytes().rev().take(LONGEST).take_while(|b| is_word(*b) || b"._%+-".contains(b)).count();
        let domain = after.bytes().take(LONGEST).take_while(|b| is_word(*b) || b".-".contains(b)).count();
        let range = at - local..at + 1 + domain;
        // The full stop that ends a sentence is none of the address.
        let name = text.get(range.start..at).unwrap_or_default().trim_start_matches(['.', '-', '+', '%']);
        let host = text.get(at + 1..range.end).unwrap_or_default().trim_end_matches(['.', '-']);
        let range = at - name.len()..at + 1 + host.len();
        let (left, right) = around(text, &range);
        // `git@host:path` and `scheme://user@host` name machines, `icon@2x.png` a file.
        let is_remote = right == Some(':')
            && text
                .get(range.end + 1..)
                .and_then(|rest| rest.chars().next())
                .is_some_and(|c| c.is_alphanumeric() || c == '/');
        let is_scaled = host.split('.').next().is_some_and(|first| {
            first.strip_suffix('x').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        });
        let alone = !left.is_some_and(|c| c.is_alphanumeric() || c == '/') && !is_user_of_url(text, range.start);
        if alone && !name.is_empty() && range.len() <= LONGEST && is_domain(host) && !is_remote && !is_scaled {
            found.push(range);
        }
    }
    found
}

/// Whether what begins at `start` belongs to the user of `scheme://user:password@host`.
fn is_user_of_url(text: &str, start: usize) -> bool {
    let from = text.ceil_char_boundary(start.saturating_sub(LONGEST));
    let before = text.get(from..start).unwrap_or_default();
    before.rsplit_once("://").is_some_and(|(_, user)| !user.contains(|c: char| c.is_whitespace() || "/?#".contains(c)))
}

/// Labels, the last of which has two letters or more and nothing else.
fn is_domain(host: &str) -> bool {
    let labels: Vec<_> = host.split('.').collect();
    let sound = |label: &&str| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-');
    let top = labels.last().is_some_and(|top| top.len() >= 2 && top.bytes().all(|b| b.is_ascii_alphabetic()));
    labels.len() >= 2 && top && labels.iter().all(sound)
}

/// Numbers with a country's code, `+` and eight to fifteen digits; and those that are written in groups as in North
/// America: `(555) 123-4567`, `555-123-4567`.
pub(super) fn phone(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for run in runs(text, |b| b.is_ascii_digit() || b"+ ().-".contains(&b)) {
        let Some(range) = tight(text, run) else { continue };
        let (before, after) = around(text, &range);
        let alone = |c: Option<char>| !c.is_some_and(|c| c.is_alphanumeric() || "_/=:#".contains(c));
        let number = text.get(range.clone()).unwrap_or_default();
        let digits = number.bytes().filter(u8::is_ascii_digit).count();
        let is_international = number.starts_with('+')
            && (8..=15).contains(&digits)
            && number.bytes().filter(|b| *b == b'+').count() == 1
            // Where the groups are told apart by nothing but dots it is a version or an address.
            && number.bytes().filter(|b| *b == b'.').count() <= 4
            && !number.contains("  ");
        if alone(before) && alone(after) && (is_international || is_north_american(number)) {
            found.push(range);
        }
    }
    found
}

/// Without what surrounds the digits.
fn tight(text: &str, run: Range<usize>) -> Option<Range<usize>> {
    let inside = text.get(run.clone())?;
    let first = inside.find(|c: char| c.is_ascii_digit())?;
    let last = inside.rfind(|c: char| c.is_ascii_digit())?;
    // A plus or a bracket right before belongs to it.
    let lead = inside.get(..first)?.bytes().rev().take_while(|b| matches!(b, b'+' | b'(')).count();
    Some(run.start + first - lead..run.start + last + 1)
}

fn is_north_american(number: &str) -> bool {
    let groups: Vec<_> = number.split(|c: char| !c.is_ascii_digit()).filter(|group| !group.is_empty()).collect();
    let lengths: Vec<_> = groups.iter().map(|group| group.len()).collect();
    let area = groups.first().is_some_and(|area| area.starts_with(['2', '3', '4', '5', '6', '7', '8', '9']));
    lengths == [3, 3, 4]
        && area
        && !number.contains('+')
        && (number.starts_with('(') || number.matches('-').count() == 2)
}
