//! The one place that writes to standard output and standard error.

use std::{
    fmt::Display,
    io::{self, IsTerminal as _, Write},
    sync::{Arc, Mutex, PoisonError},
};

use animus_core::text::is_deceptive;
use anstyle::{AnsiColor, Style};
use serde::Serialize;
use serde_json::ser::Formatter;

/// Headings and names.
pub(crate) const BOLD: Style = Style::new().bold();
/// What matters less.
pub(crate) const DIM: Style = Style::new().dimmed();
/// What went well.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// What needs attention.
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default();
/// What failed.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();

/// `text` in a style. The streams below leave the escapes out where they do not belong.
pub(crate) fn paint(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Where a command's results go. Clones share one state.
#[derive(Clone)]
pub(crate) struct Out {
    json: bool,
    /// The first write that failed for another reason than a reader who left.
    failed: Arc<Mutex<Option<io::Error>>>,
}

impl Out {
    /// `json`: one JSON value a line instead of text.
    pub(crate) fn new(json: bool) -> Self {
        Self { json, failed: Arc::default() }
    }

    /// Whether the reader is a program.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// A result: `data` for programs, or what `text` makes of it for people.
    pub(crate) fn show<T: Serialize>(&self, data: &T, text: impl FnOnce(&T) -> String) {
        if self.json {
            self.object(data);
        } else {
            self.line(text(data).trim_end_matches('\n'));
        }
    }

    /// One JSON value on a line of its own.
    pub(crate) fn object(&self, value: &impl Serialize) {
        let mut line = Vec::new();
        let written = value.serialize(&mut serde_json::Serializer::with_formatter(&mut line, TerminalSafe));
        line.push(b'\n');
        self.keep(written.map_err(io::Error::from).and_then(|()| {
            let mut stdout = io::stdout().lock();
            stdout.write_all(&line).and_then(|()| stdout.flush())
        }));
    }

    /// A line of text, which may hold styles.
    pub(crate) fn line(&self, text: impl Display) {
        self.keep(writeln!(anstream::stdout(), "{text}"));
    }

    /// Text without an end of line, at once.
    pub(crate) fn raw(&self, text: &str) {
        let mut stdout = anstream::stdout();
        self.keep(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()));
    }

    /// A remark beside the result, on standard error.
    pub(crate) fn note(&self, text: impl Display) {
        // Nobody is left to be told when standard error itself is closed.
        let _ = writeln!(anstream::stderr(), "{text}");
    }

    /// As [`Out::note`], without an end of line, at once.
    pub(crate) fn aside(&self, text: &str) {
        let mut stderr = anstream::stderr();
        let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
    }

    /// What became of all writes so far. A reader that left (`… | head`) is no failure.
    pub(crate) fn finish(&self) -> io::Result<()> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }

    fn keep(&self, written: io::Result<()>) {
        if let Err(error) = written
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    }
}

/// Whether a person sees both streams, so that what is on one need not be repeated on the other.
pub(crate) fn is_watched() -> bool {
    io::stdout().is_terminal() && io::stderr().is_terminal()
}

/// Whether a person sees remarks come, so that a spinner may turn there.
pub(crate) fn is_seen() -> bool {
    io::stderr().is_terminal()
}

/// Whether a person can be asked something.
pub(crate) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks a yes-or-no question on standard error; anything but `y` or `yes` is no.
pub(crate) fn confirm(question: &str) -> io::Result<bool> {
    let mut stderr = anstream::stderr();
    write!(stderr, "{question} [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Text of models, plugins and files, made safe for a terminal: line ends and tabs stay, and everything else that a
/// terminal obeys, or that hides or turns text, shows as an escape.
pub(crate) fn safe(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\n' | '\t' => safe.push(c),
            '\r' if rest.peek() == Some(&'\n') => {}
            c if is_deceptive(c) => safe.extend(c.escape_unicode()),
            c => safe.push(c),
        }
    }
    safe
}

/// As [`safe`], on one line of at most `width` characters.
pub(crate) fn short(text: &str, width: usize) -> String {
    let line = safe(text).split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= width {
        return line;
    }
    line.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// A moment in local time.
pub(crate) fn time(ms: u64) -> String {
    let at = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
    at.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Millionths of a US dollar, for people.
pub(crate) fn usd(microusd: u64) -> String {
    format!("${}.{:04}", microusd / 1_000_000, microusd % 1_000_000 / 100)
}

/// A table with aligned columns.
pub(crate) struct Table {
    rows: Vec<Vec<(Style, String)>>,
}

impl Table {
    /// An empty table with its headings.
    pub(crate) fn new<const N: usize>(head: [&str; N]) -> Self {
        Self { rows: vec![head.into_iter().map(|h| (DIM, h.to_owned())).collect()] }
    }

    /// Adds a row; texts are made safe and put on one line.
    pub(crate) fn row<const N: usize>(&mut self, cells: [(Style, String); N]) {
        self.rows.push(cells.into_iter().map(|(style, text)| (style, short(&text, 120))).collect());
    }
}

/// A cell without a style.
pub(crate) fn plain(text: impl Display) -> (Style, String) {
    (Style::new(), text.to_string())
}

impl Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |i: usize| self.rows.iter().filter_map(|row| row.get(i)).map(|(_, t)| t.chars().count()).max();
        let widths: Vec<usize> = (0..columns).map(|i| width(i).unwrap_or(0)).collect();
        for row in &self.rows {
            for (i, ((style, text), width)) in row.iter().zip(&widths).enumerate() {
                f.write_str(&paint(*style, text))?;
                if i + 1 < row.len() {
                    let gap = width.saturating_sub(text.chars().count()) + 2;
                    write!(f, "{:gap$}", "")?;
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// Compact JSON that is as safe to print on a terminal as [`safe`] text; it reads back the same.
struct TerminalSafe;

impl Formatter for TerminalSafe {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if !fragment.contains(is_deceptive) {
            return writer.write_all(fragment.as_bytes());
        }
        for c in fragment.chars() {
            if is_deceptive(c) {
                // All of them lie in the basic plane, so one escape of four digits is enough.
                write!(writer, "\\u{:04x}", u32::from(c))?;
            } else {
                write!(writer, "{c}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_guests_cannot_steer_a_terminal() {
        assert_eq!(safe("a\x1b[2Jb\r\nc\td\re\u{9b}f\u{202e}"), "a\\u{1b}[2Jb\nc\td\\u{d}e\\u{9b}f\\u{202e}");
        assert_eq!(short("one\n\x07two   three", 40), "one \\u{7}two three");
        assert_eq!(short("abcdef", 4), "abc…");
    }

    #[test]
    fn json_is_safe_on_a_terminal_and_reads_back_the_same() {
        let value = serde_json::json!({"text": "a\x1b\u{9b}\u{202e}\"é"});
        let mut line = Vec::new();
        value.serialize(&mut serde_json::Serializer::with_formatter(&mut line, TerminalSafe)).unwrap();
        let line = String::from_utf8(line).unwrap();
        assert_eq!(line, r#"{"text":"a\u001b\u009b\u202e\"é"}"#);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap(), value);
    }

    #[test]
    fn columns_line_up_by_characters_and_the_last_is_not_padded() {
        let mut table = Table::new(["NAME", "WHAT"]);
        table.row([plain("é"), plain("x")]);
        table.row([plain("longer"), plain("y")]);
        let text = anstream::adapter::strip_str(&table.to_string()).to_string();
        assert_eq!(text, "NAME    WHAT\né       x\nlonger  y\n");
    }

    #[test]
    fn money_keeps_four_places() {
        assert_eq!(usd(1_234_567), "$1.2345");
        assert_eq!(usd(99), "$0.0000");
    }
}
