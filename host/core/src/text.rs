//! Texts of strangers: what may be shown to people, and the nearest of the words that they may have meant.

use std::fmt::{self, Write as _};

/// Whether a character may do something to a terminal, or make a line read other than it is: control characters, line
/// separators, and the marks that reorder or hide what follows.
#[must_use]
pub fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Shows a text on one line, its deceptive characters as `\u{…}`.
#[must_use]
pub fn escape(text: &str) -> impl fmt::Display + '_ {
    struct Escaped<'a>(&'a str);
    impl fmt::Display for Escaped<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0
                .chars()
                .try_for_each(|c| if is_deceptive(c) { write!(f, "{}", c.escape_unicode()) } else { f.write_char(c) })
        }
    }
    Escaped(text)
}

/// The beginning of a text: at most `bytes`, whole characters.
#[must_use]
pub fn head(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or_default()
}

/// The candidate that `word` was most probably meant to be, if any comes close.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A stranger's word may be long, and the measure takes the product of both lengths.
    if word.len() > 128 {
        return None;
    }
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deceptive_characters_are_shown_and_all_others_stay() {
        assert_eq!(escape("naïve 'x' \\ 日本").to_string(), "naïve 'x' \\ 日本");
        assert_eq!(escape("a\x1b[2Jb\n\u{202e}c").to_string(), "a\\u{1b}[2Jb\\u{a}\\u{202e}c");
    }

    #[test]
    fn the_nearest_word_is_offered_only_when_it_is_near() {
        let known = ["name", "version", "description"];
        assert_eq!(nearest("nmae", known), Some("name"));
        assert_eq!(nearest("descripton", known), Some("description"));
        assert_eq!(nearest("zzz", known), None);
        assert_eq!(nearest(&"name".repeat(100), known), None);
    }
}
