//! A page of a text file.

use std::io::{self, BufRead, BufReader, Read as _};

use animus_sdk::prelude::*;

use crate::workspace::Place;

/// The most that one answer shows of a file.
const MAX_BYTES: usize = 256 << 10;
/// The most that a program gets at once.
const MAX_RESULT: usize = 3 << 20;
/// Lines that are shown where nothing is said.
const LINES: u64 = 2_000;
/// The most that is shown of one line.
const MAX_LINE: usize = 16 << 10;
/// A NUL byte this early means that the file is not text.
const SNIFF: u64 = 8 << 10;

/// The lines from `offset`, `limit` of them where it is given: a page for a model, all for a program, none where that
/// is too much.
pub(crate) fn read(place: &Place, offset: u64, limit: Option<u64>) -> Result<Both<Option<String>>> {
    if offset == 0 || limit == Some(0) {
        return Err(Error::invalid("offset and limit count from 1"));
    }
    let file = place.open()?;
    let size = file.metadata().map_err(|error| place.failed("read", error))?.len();
    let mut head = Vec::new();
    let mut reader = BufReader::new(file);
    reader.by_ref().take(SNIFF).read_to_end(&mut head).map_err(|error| place.failed("read", error))?;
    if is_binary(&head) {
        return Err(Error::invalid(format!("{} is not text ({size} bytes)", place.shown())));
    }
    let shown = page(&mut head.as_slice().chain(reader), offset, limit.unwrap_or(LINES));
    let shown = shown.map_err(|error| place.failed("read", error))?;
    let whole = lines(&mut BufReader::new(place.open()?), offset, limit.unwrap_or(u64::MAX));
    Ok(Both { text: shown, result: whole.map_err(|error| place.failed("read", error))? })
}

/// The lines as they stand there; none where they are more than [`MAX_RESULT`].
fn lines(text: &mut impl BufRead, offset: u64, limit: u64) -> io::Result<Option<String>> {
    let (mut kept, mut number) = (Vec::new(), 1_u64);
    let mut line = Vec::new();
    while number < offset.saturating_add(limit) {
        line.clear();
        // One line of a file without line ends would fill the memory, so that no more is read than may be kept.
        let most = u64::try_from(MAX_RESULT + 1 - kept.len()).unwrap_or(u64::MAX);
        if number < offset {
            let mut unused = Vec::new();
            if next_line(text, &mut unused)?.is_none() {
                break;
            }
        } else if text.by_ref().take(most).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        kept.append(&mut line);
        if kept.len() > MAX_RESULT {
            return Ok(None);
        }
        number += 1;
    }
    Ok(Some(String::from_utf8_lossy(&kept).into_owned()))
}

pub(crate) fn is_binary(head: &[u8]) -> bool {
    head.contains(&0)
}

fn page(text: &mut impl BufRead, offset: u64, limit: u64) -> io::Result<String> {
    let mut shown = String::new();
    let mut number = 1;
    let mut line = Vec::new();
    while let Some(length) = next_line(text, &mut line)? {
        if number >= offset {
            let full = shown.len() + line.len() > MAX_BYTES;
            if full || number - offset >= limit {
                shown.push_str(&format!("[there is more; continue with offset {number}]\n"));
                return Ok(shown);
            }
            shown.push_str(&String::from_utf8_lossy(&line));
            if length > line.len() {
                shown.push_str(&format!(" [line cut; it has {length} bytes]\n"));
            }
        }
        number += 1;
    }
    if number <= offset && offset > 1 {
        return Ok(format!("[the file has {} lines]\n", number - 1));
    }
    Ok(if shown.is_empty() { "[the file is empty]\n".to_owned() } else { shown })
}

/// Reads a line, its end included, and returns its length; keeps at most [`MAX_LINE`] bytes of it, so that a file
/// without line ends cannot fill the memory.
fn next_line(text: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<usize>> {
    line.clear();
    let mut length = 0;
    loop {
        let chunk = text.fill_buf()?;
        if chunk.is_empty() {
            return Ok((length > 0).then_some(length));
        }
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(chunk.len(), |end| end + 1);
        line.extend(chunk.iter().take(used.min(MAX_LINE - line.len())));
        length += used;
        text.consume(used);
        if end.is_some() {
            return Ok(Some(length));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Workspace;

    fn of(text: &str, offset: u64, limit: u64) -> String {
        page(&mut text.as_bytes(), offset, limit).unwrap()
    }

    #[test]
    fn a_page_ends_with_where_to_continue() {
        assert_eq!(of("a\nb\nc\n", 2, 1), "b\n[there is more; continue with offset 3]\n");
        assert_eq!(of("a\nb\nc\n", 3, 1), "c\n");
        assert_eq!(of("a\nb\nc", 1, 9), "a\nb\nc");
        assert_eq!(of("a\nb\n", 5, 1), "[the file has 2 lines]\n");
        assert_eq!(of("", 1, 1), "[the file is empty]\n");
    }

    #[test]
    fn an_answer_is_bounded_and_its_parts_put_together_are_the_file() {
        let whole: String = (0..100_000).map(|i| format!("line {i}\n")).collect();
        let (mut read, mut offset) = (String::new(), 1);
        loop {
            let part = of(&whole, offset, u64::MAX);
            assert!(part.len() <= MAX_BYTES + 100);
            let Some((lines, more)) = part.split_once("[there is more; continue with offset ") else {
                read.push_str(&part);
                break;
            };
            read.push_str(lines);
            offset = more.trim_end().trim_end_matches(']').parse().unwrap();
        }
        assert_eq!(read, whole);
    }

    #[test]
    fn a_line_without_end_is_cut_and_says_its_length() {
        let text = of(&format!("{}\nb\n", "x".repeat(1 << 20)), 1, 9);
        assert!(text.len() < MAX_LINE + 100);
        assert!(text.ends_with("x [line cut; it has 1048577 bytes]\nb\n"), "{}", text.len());
    }

    #[test]
    fn folders_binary_files_and_nothing_are_each_refused_in_their_words() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("b"), b"\x7fELF\0").unwrap();
        let workspace = Workspace::at(folder.path()).unwrap();
        let refusal = |path| read(&workspace.find(path).unwrap(), 1, Some(1)).unwrap_err();
        assert_eq!(refusal("b"), Error::invalid("'b' is not text (5 bytes)"));
        assert_eq!(refusal(""), Error::invalid("the workspace is a folder; use list_files"));
        assert_eq!(refusal("c"), Error::not_found("'c' does not exist"));
    }

    #[test]
    fn a_program_gets_the_lines_as_they_are_and_nothing_of_what_is_too_much() {
        let read = |text: &str, offset, limit| lines(&mut text.as_bytes(), offset, limit).unwrap();
        assert_eq!(read("a\r\nb\nc", 1, u64::MAX).as_deref(), Some("a\r\nb\nc"));
        assert_eq!(read("a\nb\nc\n", 2, 1).as_deref(), Some("b\n"));
        assert_eq!(read("a\n", 5, 9).as_deref(), Some(""));
        assert_eq!(read(&"x".repeat(MAX_RESULT), 1, u64::MAX).map(|text| text.len()), Some(MAX_RESULT));
        assert_eq!(read(&"x".repeat(MAX_RESULT + 1), 1, u64::MAX), None);
        // A line before the offset may be of any length.
        assert_eq!(read(&format!("{}\nb", "x".repeat(2 * MAX_RESULT)), 2, 1).as_deref(), Some("b"));
    }
}
