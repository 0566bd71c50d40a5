//! Running text: blanks collapse, and marks stand next to what they mark.

/// Text that grows line by line.
#[derive(Default)]
pub(crate) struct Text {
    out: String,
    /// What every line begins with: quotation and list indents.
    prefix: String,
    /// Line ends to write before the next text.
    breaks: usize,
    space: bool,
    /// Opening marks, to be written right before the next text.
    opening: Vec<&'static str>,
    /// List markers and the like, to be written at the beginning of the next line.
    lead: String,
}

impl Text {
    /// Text in which any blanks count as one.
    pub(crate) fn flow(&mut self, text: &str) {
        for c in text.chars() {
            if c.is_whitespace() {
                self.space = true;
            } else {
                self.begin();
                self.out.push(c);
            }
        }
    }

    /// Text as it stands.
    pub(crate) fn verbatim(&mut self, text: &str) {
        for c in text.chars() {
            if c == '\n' {
                self.breaks += 1;
            } else if c != '\r' {
                self.begin();
                self.out.push(c);
            }
        }
    }

    /// Opens a mark, which [`Text::close`] ends.
    pub(crate) fn open(&mut self, mark: &'static str) {
        self.opening.push(mark);
    }

    /// Ends a mark, or takes it back when nothing stands in it.
    pub(crate) fn close(&mut self, open: &str, close: &str) {
        match self.opening.iter().rposition(|waiting| *waiting == open) {
            Some(at) => {
                self.opening.remove(at);
            }
            None => self.out.push_str(close),
        }
    }

    /// Goes to a new line, `lines` of them at least; none at the beginning.
    pub(crate) fn break_line(&mut self, lines: usize) {
        self.breaks = self.breaks.max(lines);
    }

    /// What the lines from here on begin with.
    pub(crate) fn set_prefix(&mut self, prefix: String) {
        self.prefix = prefix;
    }

    /// Puts this at the beginning of the next line.
    pub(crate) fn lead(&mut self, lead: String) {
        self.lead = lead;
    }

    /// Forgets what was written.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn finish(self) -> String {
        self.out
    }

    fn begin(&mut self) {
        let fresh = self.out.is_empty();
        if self.breaks > 0 || fresh {
            if !fresh {
                let prefix = self.prefix.trim_end();
                for written in 0..self.breaks {
                    self.out.push('\n');
                    if written + 1 < self.breaks {
                        self.out.push_str(prefix);
                    }
                }
            }
            self.out.push_str(&self.prefix);
            self.breaks = 0;
            self.space = false;
        }
        self.out.push_str(&std::mem::take(&mut self.lead));
        if std::mem::take(&mut self.space) {
            self.out.push(' ');
        }
        for mark in self.opening.drain(..) {
            self.out.push_str(mark);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stand_next_to_their_text_and_empty_ones_vanish() {
        let mut text = Text::default();
        text.flow("a");
        text.open("**");
        text.flow(" b ");
        text.close("**", "**");
        text.flow("c");
        text.open("_");
        text.flow("  ");
        text.close("_", "_");
        assert_eq!(text.finish(), "a **b** c");
    }

    #[test]
    fn breaks_do_not_add_up_and_prefixes_fill_them() {
        let mut text = Text::default();
        text.break_line(2);
        text.flow("a");
        text.break_line(1);
        text.break_line(2);
        text.set_prefix("> ".into());
        text.flow("b");
        text.break_line(2);
        text.flow("c");
        assert_eq!(text.finish(), "a\n>\n> b\n>\n> c");
    }
}
