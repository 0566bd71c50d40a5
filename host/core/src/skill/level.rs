//! The three levels at which a skill is read: its line in the catalogue, when to use it, all of it.

use std::fmt;

use super::{Author, Skill, SkillName};

/// The tokens of a text by the usual estimate: a quarter of its bytes. Scripts of several bytes a character have fewer,
/// so it errs on the safe side.
#[must_use]
pub fn tokens_of(text: &str) -> u64 {
    u64::try_from(text.len().div_ceil(4)).unwrap_or(u64::MAX)
}

/// A skill in the catalogue. It shows as `name — description (auto-activate: on | created by: animus)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its name.
    pub name: SkillName,
    /// Its description, on one line.
    pub description: String,
    /// Whether it activates itself.
    pub auto_activate: bool,
    /// Who wrote it.
    pub created_by: Author,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let auto = if self.auto_activate { "on" } else { "off" };
        write!(
            f,
            "{} — {} (auto-activate: {auto} | created by: {})",
            self.name,
            crate::text::escape(&self.description),
            self.created_by
        )
    }
}

impl Skill {
    /// The first level: what the catalogue says of it.
    #[must_use]
    pub fn line(&self) -> Line {
        Line {
            name: self.name.clone(),
            description: self.description.split_whitespace().collect::<Vec<_>>().join(" "),
            auto_activate: self.auto_activate,
            created_by: self.created_by,
        }
    }

    /// The second level: the text under the heading "When to Use", in any case and of any depth, up to the next heading
    /// that is not below it. None where there is no such heading or nothing under it.
    #[must_use]
    pub fn when_to_use(&self) -> Option<String> {
        let mut depth = None;
        let mut found = Vec::new();
        let mut fence: Option<&str> = None;
        for line in self.body.lines() {
            // A '#' in a block of code is a comment.
            let mark = ["```", "~~~"].into_iter().find(|mark| line.trim_start().starts_with(mark));
            fence = match (fence, mark) {
                (None, mark) => mark,
                (Some(open), Some(mark)) if open == mark => None,
                (open, _) => open,
            };
            let heading = if fence.is_none() { heading(line) } else { None };
            match (depth, heading) {
                (None, Some((at, title))) if title.trim_end_matches(':').eq_ignore_ascii_case("when to use") => {
                    depth = Some(at);
                }
                (Some(own), Some((at, _))) if at <= own => break,
                (Some(_), _) => found.push(line),
                (None, _) => {}
            }
        }
        let text = found.join("\n").trim().to_owned();
        (!text.is_empty()).then_some(text)
    }

    /// The third level: the whole body, and after it the text of the skill's `prompt.md` if it has one.
    #[must_use]
    pub fn full(&self, prompt: Option<&str>) -> String {
        let parts = [self.body.trim(), prompt.unwrap_or_default().trim()];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n")
    }
}

/// The depth and title of a heading.
fn heading(line: &str) -> Option<(usize, &str)> {
    let title = line.trim_start_matches('#');
    let depth = line.len().saturating_sub(title.len());
    ((1..=6).contains(&depth) && title.starts_with([' ', '\t'])).then(|| (depth, title.trim()))
}
