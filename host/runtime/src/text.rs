//! Text that guests wrote and people read.

use animus_core::text::is_deceptive;

/// At most `max` bytes of `s`, cut at a character, with a mark where something was cut.
pub(crate) fn cut(mut s: String, max: usize) -> String {
    const MARK: &str = " […]";
    if s.len() > max {
        s.truncate(s.floor_char_boundary(max.saturating_sub(MARK.len())));
        s.push_str(MARK);
    }
    s
}

/// The text with visible escapes for what could steer a terminal or make a line read other than it is. Line ends and
/// tabs stay: a panic or a backtrace has several lines.
pub(crate) fn escaped(s: &str) -> String {
    let hidden = |c: char| c != '\n' && c != '\t' && is_deceptive(c);
    if !s.contains(hidden) {
        return s.to_owned();
    }
    s.chars().fold(String::with_capacity(s.len() + 16), |mut out, c| {
        if hidden(c) {
            out.extend(c.escape_unicode())
        } else {
            out.push(c)
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_steer_a_terminal_becomes_visible() {
        assert_eq!(escaped("a\tb\nc é"), "a\tb\nc é");
        assert_eq!(escaped("\u{1b}[2J\r\u{202e}x\u{9b}"), "\\u{1b}[2J\\u{d}\\u{202e}x\\u{9b}");
    }

    #[test]
    fn a_cut_falls_between_characters_and_shows() {
        assert_eq!(cut("short".into(), 5), "short");
        assert_eq!(cut("ééééééé".into(), 12), "ééé […]");
    }
}
