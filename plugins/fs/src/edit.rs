//! Exact replacement in a text file.

use std::io::Read as _;

use animus_sdk::prelude::*;

use crate::workspace::Place;

/// The largest file that is edited.
const MAX_BYTES: u64 = 8 << 20;
/// The most places that a message lists.
const MAX_PLACES: usize = 10;

pub(crate) fn edit(place: &Place, old: &str, new: &str, all: bool) -> Result<String> {
    let mut text = String::new();
    let read = place.open()?.take(MAX_BYTES + 1).read_to_string(&mut text);
    let length = read.map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => Error::invalid(format!("{} is not UTF-8 text", place.shown())),
        _ => place.failed("read", error),
    })?;
    if length as u64 > MAX_BYTES {
        return Err(Error::invalid(format!("{} exceeds the {MAX_BYTES} bytes that can be edited", place.shown())));
    }
    let (edited, lines) = replace(&text, old, new, all).map_err(|error| error.context(place.shown()))?;
    place.write(edited.as_bytes())?;
    let (count, s) = (lines.len(), if lines.len() == 1 { "" } else { "s" });
    Ok(format!("replaced {count} occurrence{s} in {}, at line{s} {}", place.shown(), join(&lines)))
}

/// The new text, and the lines at which it differs.
fn replace(text: &str, old: &str, new: &str, all: bool) -> Result<(String, Vec<usize>)> {
    if old.is_empty() {
        return Err(Error::invalid("old is empty; use write_file to write a whole file"));
    }
    if old == new {
        return Err(Error::invalid("old and new are the same"));
    }
    // A model that read the file does not see which line ends it has.
    let windows = text.contains("\r\n") && !old.contains("\r\n") && (old.contains('\n') || new.contains('\n'));
    let as_file = |part: &str| if windows { part.replace("\r\n", "\n").replace('\n', "\r\n") } else { part.to_owned() };
    let (old, new) = (as_file(old), as_file(new));
    let mut lines = Vec::new();
    let (mut line, mut before) = (1, 0);
    for (at, _) in text.match_indices(&old) {
        line += text.get(before..at).map_or(0, |between| between.matches('\n').count());
        before = at;
        lines.push(line);
    }
    match lines.len() {
        0 => Err(Error::not_found("the old text does not occur; read the file again, every space counts")),
        2.. if !all => Err(Error::conflict(format!(
            "the old text occurs {} times, at lines {}; add lines around it, or set replace_all",
            lines.len(),
            join(&lines)
        ))),
        _ => Ok((text.replace(&old, &new), lines)),
    }
}

fn join(lines: &[usize]) -> String {
    let mut list = lines.iter().take(MAX_PLACES).map(usize::to_string).collect::<Vec<_>>().join(", ");
    if lines.len() > MAX_PLACES {
        list.push_str(" …");
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Workspace;

    #[test]
    fn a_unique_text_is_replaced_and_its_line_told() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), "one\ntwo\nthree\n").unwrap();
        let place = Workspace::at(folder.path()).unwrap().find("a").unwrap();
        assert_eq!(edit(&place, "two", "2", false).unwrap(), "replaced 1 occurrence in 'a', at line 2");
        assert_eq!(std::fs::read_to_string(folder.path().join("a")).unwrap(), "one\n2\nthree\n");
    }

    #[test]
    fn several_occurrences_are_counted_and_replaced_only_when_asked() {
        let refusal = replace("a\nb\na\n", "a", "c", false).unwrap_err();
        assert_eq!(
            refusal,
            Error::conflict("the old text occurs 2 times, at lines 1, 3; add lines around it, or set replace_all")
        );
        assert_eq!(replace("a\nb\na\n", "a", "c", true).unwrap(), ("c\nb\nc\n".to_owned(), vec![1, 3]));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        assert!(matches!(replace("a", "b", "c", false), Err(Error::NotFound(_))));
        assert!(matches!(replace("a", "", "c", false), Err(Error::Invalid(_))));
        assert!(matches!(replace("a", "a", "a", false), Err(Error::Invalid(_))));
    }

    #[test]
    fn line_ends_stay_those_of_the_file() {
        assert_eq!(replace("a\r\nb\r\n", "a\nb", "c\nd", false).unwrap().0, "c\r\nd\r\n");
        assert_eq!(replace("a\r\nb\r\n", "b", "b\nc", false).unwrap().0, "a\r\nb\r\nc\r\n");
    }

    #[test]
    fn a_file_that_is_not_utf8_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), b"caf\xe9").unwrap();
        let place = Workspace::at(folder.path()).unwrap().find("a").unwrap();
        assert_eq!(edit(&place, "caf", "tea", false), Err(Error::invalid("'a' is not UTF-8 text")));
        assert_eq!(std::fs::read(folder.path().join("a")).unwrap(), b"caf\xe9");
    }
}
