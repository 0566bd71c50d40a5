//! `animus skill new`.

use std::{fs, path::PathBuf};

use animus_core::skill::{DEFAULT_SOURCE, SKILL_FILE, SkillName};
use clap::Args;
use serde::Serialize;

use crate::{
    context::Context,
    fault::{During as _, Exit, Fault, Result},
    sdk,
};

#[derive(Args)]
pub(crate) struct New {
    /// The skill's name: a-z, 0-9 and '-', beginning with a letter
    name: SkillName,
    /// The folder to make; its name has to be the skill's [default: the name, in the current folder]
    path: Option<PathBuf>,
    /// Instructions alone, without code
    #[arg(long)]
    no_code: bool,
}

#[derive(Serialize)]
struct Made {
    name: SkillName,
    path: PathBuf,
    files: Vec<&'static str>,
}

const SKILL: &str = "\
---
name: {{name}}
description: Says what it does and when to use it, in a sentence or two.
---

# {{name}}

## When to Use
When …

## What to do
1. …
";
const TOOLS: &str = "\
\"\"\"The tools of this skill: each public function is one.\"\"\"


def count_words(text: str) -> int:
    \"\"\"Counts the words of a text.

    Args:
        text: What is counted.
    \"\"\"
    return len(text.split())
";
const TESTS: &str = "\
from skill import count_words


def test_words_are_what_stands_between_spaces():
    assert count_words(\"one  two\\nthree\") == 3
    assert count_words(\"\") == 0
";

impl New {
    pub(super) fn run(self, cx: &Context) -> Result<Exit> {
        let path = self.path.unwrap_or_else(|| self.name.as_str().into());
        if fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(Fault::usage(format!("{} is not empty", path.display())).advise("name another folder"));
        }
        let mut files = vec![(SKILL_FILE, SKILL)];
        if !self.no_code {
            files.extend([(DEFAULT_SOURCE, TOOLS), ("tests/test_tools.py", TESTS)]);
        }
        for (file, text) in &files {
            sdk::write(&path.join(file), text.replace("{{name}}", self.name.as_str()).as_bytes())?;
        }
        let path = path.canonicalize().during(|| format!("find {}", path.display()))?;
        let files = files.into_iter().map(|(file, _)| file).collect();
        cx.out.show(&Made { name: self.name, path, files }, |made| {
            let path = made.path.display();
            format!("made {path}\nnext: animus skill test {path} && animus skill install {path}")
        });
        Ok(Exit::Done)
    }
}
