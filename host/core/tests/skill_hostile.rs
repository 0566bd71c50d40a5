//! Skills of strangers: whatever their bytes, the answer is a value or an error, never a panic, and soon.
#![allow(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

use std::time::{Duration, Instant};

use animus_core::{
    Error,
    skill::{Entry, Skill, SkillFiles},
};
use proptest::{collection::vec, prelude::*, sample::Index, test_runner::Config};

const GOOD: &str = r#"---
name: check-in
description: >
  Asks people how they are.
license: Apache-2.0
metadata:
  author: "ada \u0041"
allowed-tools: Read Bash(git add:*)
triggers:
  faculties: [social, assistant]
  keywords:
    - check in
    - 'how are you'
  params: { person: "*", kind: weekly }
tools-needed: [fs.read_file, "web.*"]
auto-activate: true
creation-findings:
  - |
    Kelly prefers
    mornings
version: 3
code:
  source: scripts/ask.py
---
# When to Use
Weekly.
"#;

/// Pieces that mean something somewhere, to be put where they do not belong.
const PIECES: &[&str] = &[
    "",
    "\"",
    "'",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    ": ",
    "-",
    "- ",
    "\n",
    "\n  ",
    "\n-",
    "\n---\n",
    "\n...\n",
    "\r",
    "\t",
    "|",
    "|+9",
    ">-",
    ">1",
    "&a ",
    "*a",
    "!!str ",
    "!<",
    "!a ",
    "%TAG ! x:\n",
    "%YAML 1.1\n",
    "? ",
    "?",
    "#",
    " #",
    "@",
    "`",
    "\\",
    "\\x",
    "\\u",
    "\"\\UFFFFFFFF\"",
    "~",
    "null",
    "true",
    "<<: ",
    "\u{feff}",
    "\u{2028}",
    "\u{85}",
    "\0",
    "é",
    "日",
    "\u{e0041}",
    "[[[[[[[[[[",
    "{{{{{{{{",
    "- - - - - - - - - -",
    "? ? ? ?",
    "a: b: c",
];

fn is_fine<T>(result: Result<T, Error>) -> Result<(), TestCaseError> {
    if let Err(error) = result {
        prop_assert!(matches!(error, Error::Invalid(_)), "{:?}", error);
        let text = error.to_string();
        prop_assert!(text.len() < 200_000 && text.chars().all(|c| c == '\n' || !c.is_control()), "{:?}", text);
    }
    Ok(())
}

/// What parses is written and read as the same.
fn parse(text: &str) -> Result<(), TestCaseError> {
    let parsed = Skill::parse(text, None);
    if let Ok(skill) = &parsed {
        let _ = (skill.line(), skill.when_to_use());
        prop_assert_eq!(Skill::parse(&skill.to_markdown(), None), Ok(skill.clone()));
    }
    is_fine(parsed)
}

proptest! {
    #![proptest_config(Config { cases: 4_000, failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_mutated_skill_parses_or_is_invalid(
        cuts in vec((any::<Index>(), 0..12_usize, proptest::sample::select(PIECES)), 1..5),
    ) {
        let mut text: Vec<char> = GOOD.chars().collect();
        for (at, length, piece) in cuts {
            let start = at.index(text.len());
            let end = (start + length).min(text.len());
            text.splice(start..end, piece.chars());
        }
        parse(&text.into_iter().collect::<String>())?;
    }

    #[test]
    fn pieces_in_any_order_parse_or_are_invalid(
        pieces in vec(prop_oneof![proptest::sample::select(PIECES), Just("a"), Just("name: a\n"), Just("  ")], 0..40),
    ) {
        parse(&format!("---\n{}\n---\n", pieces.concat()))?;
        parse(&pieces.concat())?;
    }

    #[test]
    fn any_text_is_a_skill_or_invalid(text in any::<String>()) {
        parse(&text)?;
        parse(&format!("---\n{text}\n---\n{text}"))?;
    }

    #[test]
    fn any_bytes_are_files_or_invalid(bytes in vec(any::<u8>(), 0..200), at in any::<Index>()) {
        is_fine(SkillFiles::from_bytes(&bytes))?;
        let files = [("SKILL.md", GOOD.as_bytes()), ("scripts/ask.py", b"x = 1")];
        let files = SkillFiles::new(files.map(|(path, bytes)| (path.to_owned(), bytes.to_vec()))).unwrap();
        let mut damaged = files.to_bytes();
        let at = at.index(damaged.len());
        damaged.splice(at..at, bytes.iter().copied().take(8));
        match SkillFiles::from_bytes(&damaged) {
            Ok(read) => {
                prop_assert_eq!(read.to_bytes(), damaged, "files have one form");
                is_fine(Entry::new(1, read))?;
            }
            error => is_fine(error)?,
        }
    }

    #[test]
    fn any_paths_make_a_folder_or_are_invalid(path in any::<String>(), bytes in vec(any::<u8>(), 0..50)) {
        let good = ("SKILL.md".to_owned(), GOOD.as_bytes().to_vec());
        match SkillFiles::new([good, (path.clone(), bytes)]) {
            Ok(files) => {
                let inside = std::path::Path::new(&path).components();
                prop_assert!(inside.into_iter().all(|part| matches!(part, std::path::Component::Normal(_))));
                prop_assert_eq!(SkillFiles::from_bytes(&files.to_bytes()), Ok(files));
            }
            error => is_fine(error)?,
        }
    }
}

#[test]
fn the_seed_of_the_mutations_is_itself_good() {
    Skill::parse(GOOD, Some("check-in")).unwrap();
}

#[test]
fn no_frontmatter_takes_long() {
    let most = 32_000;
    for piece in
        ["[", "{", "- ", "? ", "a: ", "- a\n", "a:\n", "\"", "'", "&a ", "*a ", "!a ", "|\n", "a,", "\t", "#\n", "[a,"]
    {
        let text = format!("---\n{}\n---\n", piece.repeat(most / piece.len()));
        let nested: String = (0..240).map(|n| format!("{}{piece}\n", " ".repeat(n))).collect();
        for text in [text, format!("---\n{nested}\n---\n"), format!("---\na: [{}\n---\n", piece.repeat(most / 2))] {
            let start = Instant::now();
            let _ = Skill::parse(&text, None);
            assert!(start.elapsed() < Duration::from_secs(5), "{piece:?} took {:?}", start.elapsed());
        }
    }
}
