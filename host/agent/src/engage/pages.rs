//! Oversized results: cut for the model, kept to be paged through.

use std::collections::VecDeque;

use animus_core::{Error, Result};

/// What a model reads of one result at first, in bytes.
pub(crate) const FIRST_PAGE: usize = 16 * 1024;
/// The most of one later page, in bytes: with its heading it stays below [`FIRST_PAGE`] and is never cut itself.
pub(crate) const LARGEST_PAGE: usize = 16_000;
/// What one focus keeps, in bytes; the oldest results go first.
const KEPT: usize = 8 * 1024 * 1024;

/// The beginning of a text: at most `bytes`, whole characters.
pub(crate) fn head(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or_default()
}

/// The oversized results of one focus.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    kept: VecDeque<(u64, String)>,
    bytes: usize,
    last: u64,
}

impl Pages {
    /// Keeps a text and names it. The same text has the same name, so that two answers that are alike stay alike.
    pub(crate) fn keep(&mut self, text: String) -> String {
        if let Some((known, _)) = self.kept.iter().find(|(_, kept)| *kept == text) {
            return format!("r{known}");
        }
        self.last += 1;
        self.bytes += text.len();
        self.kept.push_back((self.last, text));
        while self.bytes > KEPT && self.kept.len() > 1 {
            self.bytes -= self.kept.pop_front().map_or(0, |(_, text)| text.len());
        }
        format!("r{}", self.last)
    }

    /// The text as the model reads it: whole, or its beginning and how to read on.
    pub(crate) fn cut(&mut self, text: String) -> String {
        if text.len() <= FIRST_PAGE {
            return text;
        }
        let (total, head) = (text.len(), head(&text, FIRST_PAGE).to_owned());
        let (id, end) = (self.keep(text), head.len());
        format!(
            "{head}\n[cut: the first {end} of {total} bytes; read on with read_result {{\"id\": \"{id}\", \"offset\": {end}}}]"
        )
    }

    /// A page of a kept text, at most `limit` bytes from `offset`, both moved back to whole characters.
    pub(crate) fn read(&self, id: &str, offset: usize, limit: usize) -> Result<String> {
        let number = id.strip_prefix('r').and_then(|number| number.parse().ok());
        let (_, text) = self.kept.iter().find(|(kept, _)| Some(*kept) == number).ok_or_else(|| {
            Error::NotFound(format!("there is no result '{}', or no longer; call the tool again", id.escape_debug()))
        })?;
        let start = text.floor_char_boundary(offset);
        // Four bytes hold any one character, so that a page never is empty before the end.
        let end = text.floor_char_boundary(start.saturating_add(limit.clamp(4, LARGEST_PAGE)));
        let page = text.get(start..end).unwrap_or_default();
        let next = if end < text.len() { format!("; the next page is at offset {end}") } else { "; the end".into() };
        Ok(format!("[bytes {start} to {end} of {}{next}]\n{page}", text.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paging_from_the_cut_on_gives_back_the_whole_text() {
        let mut pages = Pages::default();
        let text: String = ('a'..='z').chain("äöü€😀".chars()).cycle().take(60_000).collect();
        let cut = pages.cut(text.clone());
        let (head, pointer) = cut.rsplit_once("\n[cut: ").unwrap();
        assert!(head.len() <= FIRST_PAGE && pointer.contains("\"id\": \"r1\""), "{pointer}");
        let mut whole = head.to_owned();
        while whole.len() < text.len() {
            let page = pages.read("r1", whole.len(), usize::MAX).unwrap();
            assert!(page.len() <= FIRST_PAGE);
            whole.push_str(page.split_once("]\n").unwrap().1);
        }
        assert_eq!(whole, text);
        assert!(pages.read("r1", text.len(), 10).unwrap().contains("; the end]"));
    }

    #[test]
    fn a_text_that_fits_is_left_alone_and_unknown_ones_are_errors() {
        let mut pages = Pages::default();
        assert_eq!(pages.cut("x".repeat(FIRST_PAGE)).len(), FIRST_PAGE);
        for id in ["r1", "", "1", "rx"] {
            assert_eq!(pages.read(id, 0, 10).unwrap_err().class(), "not-found");
        }
    }

    #[test]
    fn the_oldest_result_goes_when_memory_is_full() {
        let mut pages = Pages::default();
        for letter in ["x", "y", "z"] {
            pages.keep(letter.repeat(KEPT / 2));
        }
        assert_eq!(pages.keep("z".repeat(KEPT / 2)), "r3");
        assert!(pages.read("r1", 0, 10).is_err());
        assert!(pages.read("r2", 0, 10).is_ok() && pages.read("r3", 0, 10).is_ok());
        assert!(pages.bytes <= KEPT);
    }
}
