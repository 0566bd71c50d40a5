//! From HTML to what is to be read on a page.
//!
//! The page is read as a stream of tags, without a tree: pages come from strangers, and nesting without end costs nothing
//! this way.

use html5gum::{DefaultEmitter, HtmlString, StartTag, Token, Tokenizer};

use crate::{address, inline::Text};

/// How a page is written down.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// With headings, emphasis, links and code marked.
    Markdown,
    /// The words.
    Plain,
}

/// What is not read: code, controls, and what leads around the site.
const SKIPPED: &[&str] = &[
    "script", "style", "noscript", "template", "svg", "iframe", "object", "canvas", "audio", "video", "select",
    "button", "textarea", "nav", "footer", "aside", "dialog", "noframes", "noembed",
];

/// Deeper indents are not shown.
const MAX_INDENT: usize = 20;
/// Wider tables have no rule.
const MAX_CELLS: usize = 100;
/// More marks inside each other mean nothing.
const MAX_MARKS: usize = 32;

/// The readable part of `html`, which was found at `url`: the page's `<main>` where it has one, else all of it.
pub(crate) fn read(html: &str, url: &str, style: Style) -> String {
    let mut emitter = DefaultEmitter::default();
    // Scripts and styles hold no tags.
    emitter.naively_switch_states(true);
    let mut page = Page::new(url, style);
    for token in Tokenizer::new_with_emitter(html, emitter) {
        let Ok(token) = token;
        match token {
            Token::StartTag(tag) => page.start(&tag),
            Token::EndTag(tag) => page.end(&name(&tag.name)),
            Token::String(text) => page.text(&String::from_utf8_lossy(&text)),
            Token::Comment(_) | Token::Doctype(_) | Token::Error(_) => {}
        }
    }
    page.finish()
}

fn name(name: &HtmlString) -> String {
    String::from_utf8_lossy(name).into_owned()
}

struct Page<'a> {
    url: &'a str,
    style: Style,
    text: Text,
    title: String,
    in_title: bool,
    /// The skipped element that is open, and how many of its name.
    skipping: Option<(String, usize)>,
    main: Main,
    /// The lists that are open: the next number, or none for bullets.
    lists: Vec<Option<u32>>,
    quotes: usize,
    pre: bool,
    /// The line end right after `<pre>` does not count.
    pre_begins: bool,
    /// The marks that are open.
    marks: Vec<&'static str>,
    /// Where the open link leads.
    link: Option<String>,
    /// The tables that are open. Those inside others are layout: only the outermost has rows.
    tables: usize,
    /// The cells so far of the row that is open.
    row: Option<usize>,
    /// Whether the next row is the table's first.
    first_row: bool,
}

#[derive(PartialEq)]
enum Main {
    NotSeen,
    Open,
    Over,
}

impl<'a> Page<'a> {
    fn new(url: &'a str, style: Style) -> Self {
        Self {
            url,
            style,
            text: Text::default(),
            title: String::new(),
            in_title: false,
            skipping: None,
            main: Main::NotSeen,
            lists: Vec::new(),
            quotes: 0,
            pre: false,
            pre_begins: false,
            marks: Vec::new(),
            link: None,
            tables: 0,
            row: None,
            first_row: false,
        }
    }

    fn finish(mut self) -> String {
        self.end_link();
        self.end_pre();
        let body = self.text.finish();
        let title = self.title.split_whitespace().collect::<Vec<_>>().join(" ");
        let heading = if self.style == Style::Markdown { "# " } else { "" };
        let body = body.trim();
        // Most pages repeat their title as the first heading.
        if title.is_empty() || body.lines().next().is_some_and(|first| first.trim_start_matches("# ") == title) {
            body.to_owned()
        } else {
            format!("{heading}{title}\n\n{body}").trim_end().to_owned()
        }
    }

    fn text(&mut self, text: &str) {
        if self.in_title {
            self.title.push_str(text);
        } else if self.skipping.is_none() && self.main != Main::Over {
            if self.pre {
                let begins = std::mem::take(&mut self.pre_begins);
                self.text.verbatim(text.strip_prefix('\n').filter(|_| begins).unwrap_or(text));
            } else {
                self.text.flow(text);
            }
        }
    }

    fn start(&mut self, tag: &StartTag<()>) {
        let name = name(&tag.name);
        let name = name.as_str();
        if name == "main" && self.main == Main::NotSeen {
            self.main = Main::Open;
            self.reset();
            return;
        }
        match &mut self.skipping {
            Some((open, count)) => {
                if open == name {
                    *count += 1;
                }
                return;
            }
            None if SKIPPED.contains(&name) && !tag.self_closing => {
                self.skipping = Some((name.to_owned(), 1));
                return;
            }
            None => {}
        }
        if self.main == Main::Over {
            return;
        }
        match name {
            "title" => self.in_title = self.title.is_empty(),
            "br" => self.text.break_line(1),
            "hr" => self.rule(),
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => self.heading(name),
            "ul" | "menu" => self.open_list(None),
            "ol" => self.open_list(Some(attribute(tag, b"start").and_then(|start| start.parse().ok()).unwrap_or(1))),
            "li" => self.item(),
            "blockquote" => {
                self.text.break_line(2);
                self.quotes += 1;
                self.indent();
            }
            "pre" => self.start_pre(),
            "code" | "kbd" | "samp" => self.mark("`"),
            "b" | "strong" => self.mark("**"),
            "i" | "em" => self.mark("_"),
            "a" => self.start_link(tag),
            "img" => self.image(tag),
            "table" => {
                self.tables += 1;
                self.first_row = self.tables == 1;
                self.text.break_line(2);
            }
            "tr" => self.start_row(),
            "td" | "th" => self.cell(),
            _ => self.text.break_line(lines_around(name, self.row.is_some())),
        }
    }

    fn end(&mut self, name: &str) {
        if name == "title" {
            self.in_title = false;
            return;
        }
        if let Some((open, count)) = &mut self.skipping {
            if open == name {
                *count -= 1;
                if *count == 0 {
                    self.skipping = None;
                }
            }
            return;
        }
        if self.main == Main::Over {
            return;
        }
        match name {
            "main" if self.main == Main::Open => {
                self.end_link();
                self.end_pre();
                self.main = Main::Over;
            }
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => self.text.break_line(2),
            "ul" | "menu" | "ol" => {
                self.lists.pop();
                self.indent();
                self.text.break_line(if self.lists.is_empty() { 2 } else { 1 });
            }
            "blockquote" => {
                self.quotes = self.quotes.saturating_sub(1);
                self.text.break_line(2);
                self.indent();
            }
            "pre" => self.end_pre(),
            "code" | "kbd" | "samp" => self.unmark("`"),
            "b" | "strong" => self.unmark("**"),
            "i" | "em" => self.unmark("_"),
            "a" => self.end_link(),
            "tr" => self.end_row(),
            "table" => {
                self.end_row();
                self.tables = self.tables.saturating_sub(1);
                self.text.break_line(2);
            }
            _ => self.text.break_line(lines_around(name, self.row.is_some())),
        }
    }

    /// Forgets what stood before the main part.
    fn reset(&mut self) {
        self.text.clear();
        self.skipping = None;
        self.lists.clear();
        self.marks.clear();
        (self.quotes, self.tables) = (0, 0);
        (self.link, self.row, self.pre) = (None, None, false);
    }

    fn mark(&mut self, mark: &'static str) {
        if self.style == Style::Markdown && !self.pre && self.marks.len() < MAX_MARKS {
            self.marks.push(mark);
            self.text.open(mark);
        }
    }

    fn unmark(&mut self, mark: &'static str) {
        if let Some(at) = self.marks.iter().rposition(|open| *open == mark) {
            self.marks.remove(at);
            self.text.close(mark, mark);
        }
    }

    fn heading(&mut self, name: &str) {
        self.text.break_line(2);
        if self.style == Style::Markdown {
            let level = name.bytes().last().map_or(1, |digit| usize::from(digit.saturating_sub(b'0')));
            self.text.lead(format!("{} ", "#".repeat(level)));
        }
    }

    fn rule(&mut self) {
        self.text.break_line(2);
        if self.style == Style::Markdown {
            self.text.flow("---");
            self.text.break_line(2);
        }
    }

    fn open_list(&mut self, first: Option<u32>) {
        self.text.break_line(if self.lists.is_empty() { 2 } else { 1 });
        self.lists.push(first);
        self.indent();
    }

    fn item(&mut self) {
        self.text.break_line(1);
        let lead = match self.lists.last_mut() {
            Some(Some(number)) => {
                let lead = format!("{number}. ");
                *number = number.saturating_add(1);
                lead
            }
            _ => "- ".to_owned(),
        };
        self.text.lead(lead);
    }

    fn indent(&mut self) {
        let quotes = "> ".repeat(self.quotes.min(MAX_INDENT));
        let lists = "  ".repeat(self.lists.len().saturating_sub(1).min(MAX_INDENT));
        let quotes = if self.style == Style::Markdown { quotes } else { String::new() };
        self.text.set_prefix(quotes + &lists);
    }

    fn start_pre(&mut self) {
        self.end_pre();
        self.text.break_line(2);
        if self.style == Style::Markdown {
            self.text.flow("```");
            self.text.break_line(1);
        }
        (self.pre, self.pre_begins) = (true, true);
    }

    fn end_pre(&mut self) {
        if std::mem::take(&mut self.pre) {
            if self.style == Style::Markdown {
                self.text.break_line(1);
                self.text.flow("```");
            }
            self.text.break_line(2);
        }
    }

    fn start_link(&mut self, tag: &StartTag<()>) {
        self.end_link();
        let to = attribute(tag, b"href").map(|to| address::join(self.url, &to));
        let Some(to) = to.filter(|to| self.style == Style::Markdown && !self.pre && is_address(to)) else { return };
        // A place on this very page leads nowhere for a reader of its text.
        if to.split('#').next() != self.url.split('#').next() {
            self.link = Some(to.replace(' ', "%20"));
            self.text.open("[");
        }
    }

    fn end_link(&mut self) {
        if let Some(to) = self.link.take() {
            self.text.close("[", &format!("]({to})"));
        }
    }

    fn image(&mut self, tag: &StartTag<()>) {
        let Some(alt) = attribute(tag, b"alt").filter(|alt| !alt.trim().is_empty()) else { return };
        let from = attribute(tag, b"src").map(|from| address::join(self.url, &from)).filter(|from| is_address(from));
        match from {
            Some(from) if self.style == Style::Markdown && self.link.is_none() => {
                self.text.open("![");
                self.text.flow(alt.trim());
                self.text.close("![", &format!("]({})", from.replace(' ', "%20")));
            }
            _ => self.text.flow(&alt),
        }
    }

    fn start_row(&mut self) {
        self.end_row();
        self.text.break_line(1);
        self.row = (self.tables == 1).then_some(0);
    }

    fn cell(&mut self) {
        match &mut self.row {
            Some(cells) if self.tables == 1 => {
                *cells += 1;
                self.text.flow(if *cells == 1 { "| " } else { " | " });
            }
            _ => self.text.flow(" "),
        }
    }

    fn end_row(&mut self) {
        if self.tables != 1 {
            return;
        }
        let Some(cells) = self.row.take().filter(|cells| *cells > 0) else { return };
        self.text.flow(" |");
        self.text.break_line(1);
        if std::mem::take(&mut self.first_row) && self.style == Style::Markdown {
            self.text.flow(&format!("|{}", "---|".repeat(cells.min(MAX_CELLS))));
            self.text.break_line(1);
        }
    }
}

/// How many line ends an element has around it.
fn lines_around(name: &str, in_row: bool) -> usize {
    match name {
        "p" | "dl" | "figure" | "details" | "form" | "fieldset" if !in_row => 2,
        "div" | "section" | "article" | "header" | "hgroup" | "address" | "figcaption" | "summary" | "dt" | "dd"
        | "caption" | "legend" | "option"
            if !in_row =>
        {
            1
        }
        _ => 0,
    }
}

fn is_address(to: &str) -> bool {
    to.starts_with("https://") || to.starts_with("http://") || to.starts_with("mailto:")
}

fn attribute(tag: &StartTag<()>, name: &[u8]) -> Option<String> {
    tag.attributes.get(name).map(|value| String::from_utf8_lossy(value).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn markdown(html: &str) -> String {
        read(html, "https://h/a/b", Style::Markdown)
    }

    #[test]
    fn headings_paragraphs_and_emphasis() {
        assert_eq!(
            markdown("<h1>A</h1><p>b <b>c</b>\n <i> d</i><p>e<br>f</p><h2>g</h2>"),
            "# A\n\nb **c** _d_\n\ne\nf\n\n## g"
        );
    }

    #[test]
    fn links_and_images_become_whole_addresses() {
        assert_eq!(markdown("<a href='../c?d'>e</a> <a href='#f'>g</a>"), "[e](https://h/c?d) g");
        assert_eq!(markdown("<a href='javascript:x()'>h</a><a href='/i'> </a>"), "h");
        assert_eq!(markdown("<img src='/j.png' alt='k'><img src='/l.png'>"), "![k](https://h/j.png)");
        assert_eq!(markdown("<a href='/m'>n<a href='/o'>p</a>"), "[n](https://h/m)[p](https://h/o)");
    }

    #[test]
    fn lists_nest_and_count() {
        let html = "<ul><li>a<li>b<ol start=3><li>c</li><li>d</li></ol></li></ul><p>e";
        assert_eq!(markdown(html), "- a\n- b\n  3. c\n  4. d\n\ne");
    }

    #[test]
    fn code_keeps_its_lines_and_quotes_their_mark() {
        assert_eq!(
            markdown("<p>a <code>b</code><pre>\n  c\n\n   <b>d</b>\n</pre>e"),
            "a `b`\n\n```\n  c\n\n   d\n```\n\ne"
        );
        assert_eq!(markdown("<blockquote><p>a</p><p>b</p></blockquote>c"), "> a\n>\n> b\n\nc");
    }

    #[test]
    fn tables_have_rows_and_a_rule_after_the_first() {
        let html = "<table><tr><th>a<th>b<tr><td><p>c</p></td><td>d</td></tr></table>e";
        assert_eq!(markdown(html), "| a | b |\n|---|---|\n| c | d |\n\ne");
    }

    #[test]
    fn what_is_not_for_reading_is_left_out() {
        let html =
            "<title>T</title><nav>x<nav>y</nav></nav><script>if (a < b) '<p>'</script><p>a</p><footer>z</footer>";
        assert_eq!(markdown(html), "# T\n\na");
    }

    #[test]
    fn the_main_part_is_read_where_there_is_one() {
        let html = "<title>T</title><div>head<nav>unclosed<main><h1>T</h1><p>a</main><p>after";
        assert_eq!(markdown(html), "# T\n\na");
    }

    #[test]
    fn plain_text_has_the_words_alone() {
        let html = "<h1>A</h1><p><b>b</b> <a href='/c'>d</a> &amp; <code>e</code></p><ul><li>f</ul>";
        assert_eq!(read(html, "https://h/", Style::Plain), "A\n\nb d & e\n\n- f");
    }

    #[test]
    fn tags_without_end_or_beginning_do_no_harm() {
        assert_eq!(markdown("</b></p>a</ul></main></table><b>b"), "a\n\n**b");
        for tag in
            ["<div>", "<ul><li>", "<blockquote>", "<b>", "<table><tr><td>", "<a href='/x'>", "<nav>", "<pre>", "</ul>"]
        {
            let text = markdown(&(tag.repeat(20_000) + "end"));
            assert!(text.len() < 2_000_000, "{tag}: {}", text.len());
        }
    }
}
