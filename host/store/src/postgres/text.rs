//! Texts with zero bytes, which Postgres does not take: models and tools write them, and what they wrote must read back.

use std::borrow::Cow;

/// Data link escape. It is as rare in texts as the zero byte, so that what an operator reads with `psql` is the text.
const ESCAPE: char = '\u{10}';

/// The text as it is stored: a zero byte is the escape and `0`, an escape stands twice.
pub(super) fn kept(text: &str) -> Cow<'_, str> {
    if !text.contains(['\0', ESCAPE]) {
        return Cow::Borrowed(text);
    }
    let mut kept = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\0' => kept.extend([ESCAPE, '0']),
            ESCAPE => kept.extend([ESCAPE, ESCAPE]),
            c => kept.push(c),
        }
    }
    Cow::Owned(kept)
}

/// The text that was stored so; none when [`kept`] did not write it.
pub(super) fn restored(kept: String) -> Option<String> {
    if !kept.contains(ESCAPE) {
        return Some(kept);
    }
    let mut text = String::with_capacity(kept.len());
    let mut chars = kept.chars();
    while let Some(c) = chars.next() {
        text.push(match c {
            ESCAPE => match chars.next()? {
                '0' => '\0',
                ESCAPE => ESCAPE,
                _ => return None,
            },
            c => c,
        });
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_reads_back_and_none_is_stored_with_a_zero_byte() {
        for text in ["", "plain é", "\0", "a\0\0b", "\u{10}", "\u{10}0", "\0\u{10}\0", "0\u{10}\u{10}0"] {
            let stored = kept(text);
            assert!(!stored.contains('\0'), "{text:?}");
            assert_eq!(restored(stored.into_owned()).as_deref(), Some(text));
        }
        assert!(matches!(kept("plain"), Cow::Borrowed(_)));
    }

    #[test]
    fn what_was_not_stored_so_does_not_read_back() {
        for strange in ["\u{10}", "a\u{10}b", "\u{10}1"] {
            assert_eq!(restored(strange.to_owned()), None, "{strange:?}");
        }
    }
}
