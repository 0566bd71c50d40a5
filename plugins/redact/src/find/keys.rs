//! What opens doors: keys by their vendors' prefixes, tokens by their form, values by the name before them.

use std::ops::Range;

use super::{is_word, runs};

/// The longest value and tail of a key that is looked at, in bytes: what is said again and again must not be looked
/// through each time to its end.
const LONGEST: usize = 1_024;
/// The longest name of a value, from its end.
const LONGEST_NAME: usize = 64;

/// From fence to fence; to the end of the text where it was cut.
pub(super) fn private(text: &str) -> Vec<Range<usize>> {
    const BEGIN: &str = "-----BEGIN ";
    const END: &str = "-----END ";
    const KEY: &str = "PRIVATE KEY-----";
    const PGP: &str = "PRIVATE KEY BLOCK-----";
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = text.get(at..).and_then(|rest| rest.find(BEGIN)).map(|begin| at + begin) {
        let title = start + BEGIN.len();
        let rest = text.get(title..).unwrap_or_default();
        // "RSA ", "ENCRYPTED " and the like.
        let fence = rest.get(..rest.floor_char_boundary(48)).unwrap_or_default();
        let is_key = [KEY, PGP].iter().any(|key| {
            fence.find(key).is_some_and(|kind| {
                fence.get(..kind).is_some_and(|kind| kind.bytes().all(|b| b.is_ascii_uppercase() || b == b' '))
            })
        });
        if !is_key {
            at = title;
            continue;
        }
        let end = rest.find(END).and_then(|end| {
            let after = end + END.len();
            let close = rest.get(after..)?.find("-----")? + after + "-----".len();
            Some(title + close)
        });
        at = end.unwrap_or(text.len());
        found.push(start..at);
    }
    found
}

/// Prefix, the characters that may follow beside letters and digits, and the fewest of all of them.
pub(super) const VENDORS: &[(&str, &[u8], usize)] = &[
    ("sk-ant-", b"-_", 20),
    ("sk-proj-", b"-_", 20),
    ("sk-or-v1-", b"", 32),
    ("sk-", b"", 20),
    ("sk_live_", b"", 16),
    ("sk_test_", b"", 16),
    ("rk_live_", b"", 16),
    ("whsec_", b"", 24),
    ("ghp_", b"", 36),
    ("gho_", b"", 36),
    ("ghu_", b"", 36),
    ("ghs_", b"", 36),
    ("ghr_", b"", 36),
    ("github_pat_", b"_", 30),
    ("glpat-", b"-_", 20),
    ("xoxb-", b"-", 20),
    ("xoxp-", b"-", 20),
    ("xoxa-", b"-", 20),
    ("xoxr-", b"-", 20),
    ("xoxs-", b"-", 20),
    ("xapp-", b"-", 20),
    ("AIza", b"-_", 35),
    ("ya29.", b"-_", 30),
    ("hf_", b"", 30),
    ("npm_", b"", 36),
    ("pypi-AgEI", b"-_", 40),
    ("SG.", b"-_.", 60),
    ("shpat_", b"", 32),
    ("dop_v1_", b"", 60),
    ("gsk_", b"", 40),
    ("xai-", b"", 40),
    ("r8_", b"", 30),
    ("tvly-", b"-", 24),
    ("lin_api_", b"", 32),
];

/// No key with its prefix is shorter.
const SHORTEST: usize = 23;

pub(super) fn vendors(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    // Everything that a key or its prefix may have in it.
    for run in runs(text, |b| is_word(b) || b == b'-' || b == b'_' || b == b'.') {
        let token = text.get(run.clone()).unwrap_or_default().as_bytes();
        // Only where a word begins: at the start, and behind a full stop.
        let dots = token.iter().enumerate().filter(|(_, b)| **b == b'.').map(|(at, _)| at + 1);
        for at in std::iter::once(0).chain(dots) {
            let word = token.get(at..).unwrap_or_default();
            if word.len() < SHORTEST {
                continue;
            }
            for (prefix, also, fewest) in VENDORS {
                let Some(tail) = word.strip_prefix(prefix.as_bytes()) else { continue };
                let length = tail.iter().take(LONGEST).take_while(|b| is_word(**b) || also.contains(b)).count();
                let tail = tail.get(..length).unwrap_or_default();
                let mixed = tail.iter().any(u8::is_ascii_digit) && tail.iter().any(u8::is_ascii_alphabetic);
                if length >= *fewest && mixed {
                    let start = run.start + at;
                    found.push(start..start + prefix.len() + length);
                }
            }
        }
    }
    found
}

/// Identifiers of AWS keys, and the secrets that their usual names introduce.
pub(super) fn aws(text: &str) -> Vec<Range<usize>> {
    let is_id = |run: &Range<usize>| {
        let token = text.get(run.clone()).unwrap_or_default();
        token.len() == 20
            && ["AKIA", "ASIA", "ABIA", "ACCA"].iter().any(|prefix| token.starts_with(prefix))
            && token.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
    };
    let mut found: Vec<_> = runs(text, |b| is_word(b) || b == b'_').filter(is_id).collect();
    for value in values(text, |name| matches!(name, "awssecretaccesskey" | "awssecretkey" | "secretaccesskey")) {
        let token = text.get(value.clone()).unwrap_or_default();
        if token.len() == 40 && token.bytes().all(|b| is_word(b) || b == b'/' || b == b'+') {
            found.push(value);
        }
    }
    found
}

/// Three parts in base64url, the first two of which begin as JSON objects do.
pub(super) fn jwt(text: &str) -> Vec<Range<usize>> {
    let is = |run: &Range<usize>| {
        let token = text.get(run.clone()).unwrap_or_default();
        let mut parts = token.split('.');
        let (Some(head), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return false;
        };
        head.starts_with("eyJ")
            && claims.starts_with("eyJ")
            && head.len() >= 10
            && claims.len() >= 10
            && signature.len() >= 10
    };
    // Three parts of ten, and two full stops.
    let tokens = runs(text, |b| is_word(b) || b == b'-' || b == b'_' || b == b'.').filter(|run| run.len() >= 32);
    // A full stop may end the sentence.
    tokens.map(|run| trimmed(text, run)).filter(is).collect()
}

fn trimmed(text: &str, run: Range<usize>) -> Range<usize> {
    let token = text.get(run.clone()).unwrap_or_default();
    let start = run.start + (token.len() - token.trim_start_matches('.').len());
    start..(start + token.trim_matches('.').len())
}

/// Values that their names give away (`password = "…"`), bearer tokens, and passwords in addresses.
pub(super) fn credentials(text: &str) -> Vec<Range<usize>> {
    let is_name = |name: &str| {
        matches!(
            name,
            "password"
                | "passwd"
                | "pwd"
                | "passphrase"
                | "secret"
                | "clientsecret"
                | "secretkey"
                | "apikey"
                | "apitoken"
                | "accesstoken"
                | "authtoken"
                | "refreshtoken"
                | "token"
        )
    };
    let mut found: Vec<_> = values(text, is_name).filter(|value| is_secret(text, value)).collect();
    found.extend(bearers(text));
    found.extend(passwords_of_urls(text));
    found
}

/// What stands behind `name =` or `name:`, where a name passes `is_name` in small letters without `_` and `-`. The last
/// words of a longer name count: `DB_PASSWORD`, `my-api-key`.
fn values<'t>(text: &'t str, is_name: impl Fn(&str) -> bool + 't) -> impl Iterator<Item = Range<usize>> + 't {
    let names = runs(text, |b| is_word(b) || b == b'_' || b == b'-');
    names.filter_map(move |run| {
        let mut at = run.end;
        let peek = |at: usize| text.as_bytes().get(at).copied();
        let blanks = |mut at: usize| {
            while matches!(peek(at), Some(b' ' | b'\t')) {
                at += 1;
            }
            at
        };
        if matches!(peek(at), Some(b'"' | b'\'')) {
            at += 1;
        }
        at = blanks(at);
        // `==` compares and `=>`, `::` are code.
        if !matches!(peek(at), Some(b'=' | b':')) || matches!(peek(at + 1), Some(b'=' | b'>' | b':')) {
            return None;
        }
        // All of it is ASCII.
        let name = text.get(run.end.saturating_sub(LONGEST_NAME).max(run.start)..run.end)?;
        let words: Vec<String> = name.split(['_', '-']).map(str::to_ascii_lowercase).collect();
        let named = (0..words.len()).any(|from| is_name(&words.get(from..).unwrap_or_default().concat()));
        if !named {
            return None;
        }
        at = blanks(at + 1);
        let quote = peek(at).filter(|b| matches!(b, b'"' | b'\'' | b'`'));
        let start = if quote.is_some() { at + 1 } else { at };
        let rest = text.get(start..)?;
        let length = match quote {
            Some(quote) => rest.bytes().take(LONGEST).position(|b| b == quote || b == b'\n')?,
            None => rest
                .bytes()
                .take(LONGEST)
                .position(|b| {
                    b.is_ascii_whitespace() || matches!(b, b'"' | b'\'' | b'`' | b',' | b';' | b'&' | b'<' | b'>')
                })
                .unwrap_or(rest.len().min(LONGEST)),
        };
        Some(start..start + length)
    })
}

/// Whether a value looks like one that somebody keeps secret, and not like code, a placeholder or a word.
fn is_secret(text: &str, value: &Range<usize>) -> bool {
    let token = text.get(value.clone()).unwrap_or_default();
    let has = |is: fn(&u8) -> bool| token.as_bytes().iter().any(is);
    let (digit, lower, upper) = (has(u8::is_ascii_digit), has(u8::is_ascii_lowercase), has(u8::is_ascii_uppercase));
    let quoted = around_quotes(text, value);
    // `process.env.KEY1`, `my_token_v2` are names of values, where they stand without quotes.
    let is_name = token.bytes().all(|b| is_word(b) || b == b'_' || b == b'.')
        && (token.contains('.') || token.bytes().filter(u8::is_ascii_digit).count() < 3);
    let is_code = token.contains(['(', ')', '[', ']', '{', '}', '$', '<', '>', ' '])
        || token.contains("::")
        || (!quoted && is_name);
    let fewest = if quoted { 8 } else { 12 };
    let mixed = digit && (lower || upper) && (quoted || has(u8::is_ascii_punctuation) || (lower && upper));
    token.len() >= fewest && token.is_ascii() && !is_code && mixed
}

fn around_quotes(text: &str, value: &Range<usize>) -> bool {
    let before = value.start.checked_sub(1).and_then(|at| text.as_bytes().get(at));
    before.is_some_and(|b| matches!(b, b'"' | b'\'' | b'`'))
}

fn bearers(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for word in runs(text, is_word) {
        let is = word.len() == 6 && text.get(word.clone()).is_some_and(|word| word.eq_ignore_ascii_case("bearer"));
        if !is || text.as_bytes().get(word.end) != Some(&b' ') {
            continue;
        }
        let start = word.end + 1;
        let rest = text.get(start..).unwrap_or_default();
        let length = rest.bytes().take(LONGEST).take_while(|b| is_word(*b) || b"-._~+/=".contains(b)).count();
        let token = rest.get(..length).unwrap_or_default();
        if length >= 20 && token.bytes().any(|b| b.is_ascii_digit()) {
            found.push(start..start + length);
        }
    }
    found
}

/// The `secret` of `scheme://user:secret@host`.
fn passwords_of_urls(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for (at, mark) in text.match_indices("://") {
        let start = at + mark.len();
        let rest = text.get(start..).unwrap_or_default();
        let length = rest.find(|c: char| c.is_whitespace() || "/?#\"'<>`".contains(c)).unwrap_or(rest.len());
        let Some((user, _)) = rest.get(..length).and_then(|authority| authority.rsplit_once('@')) else { continue };
        let Some((name, password)) = user.split_once(':') else { continue };
        let placeholder = password.is_empty() || password.starts_with(['$', '{', '[', '*']);
        if !placeholder {
            let from = start + name.len() + 1;
            found.push(from..from + password.len());
        }
    }
    found
}
