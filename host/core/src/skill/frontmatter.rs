//! Frontmatters of other files than `SKILL.md`, read as strictly.

pub(crate) use super::yaml::{Map, Value};
use super::{
    MAX_FRONTMATTER_BYTES,
    parse::{Split, hidden, split},
    yaml::{Problems, load},
};
use crate::{Error, Result};

/// Reads the frontmatter of `text`, which people call `name`. `read` gets its map and returns nothing where it met a
/// problem. What follows the frontmatter is prose, and only looked through for hidden characters.
///
/// # Errors
/// [`Error::Invalid`] with all problems, one a line, each with its line in the text.
pub(crate) fn read<T>(name: &str, text: &str, read: impl FnOnce(Map<'_>) -> Option<T>) -> Result<T> {
    let problems = Problems::default();
    let result = whole(text, &problems, read);
    match result {
        Some(result) if problems.none() => Ok(result),
        _ if problems.none() => Err(Error::Invalid(format!("{name} has an empty frontmatter"))),
        _ => Err(problems.into_error(name)),
    }
}

fn whole<T>(text: &str, problems: &Problems, read: impl FnOnce(Map<'_>) -> Option<T>) -> Option<T> {
    let Split { front, body, body_line } = split(text, problems)?;
    hidden(front, 2, problems);
    hidden(body, body_line, problems);
    if front.len() > MAX_FRONTMATTER_BYTES {
        let bytes = front.len();
        problems.add(2, format_args!("the frontmatter has {bytes} bytes, over the limit of {MAX_FRONTMATTER_BYTES}"));
        return None;
    }
    let root = load(front, 2, problems)?;
    read(Map::root(problems, 2, &root)?)
}
