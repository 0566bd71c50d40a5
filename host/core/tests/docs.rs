//! What the guides say of this crate is what it does.
#![allow(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

use std::path::Path;

use animus_core::{grant::Grant, limits::Limits};

const BEGIN: &str = "<!-- limits: written by the test `the_guides_table_of_limits_is_that_of_the_code` -->\n";
const END: &str = "<!-- end of limits -->";

fn guide() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operators-guide.md")
}

/// Name, default and meaning of each limit, as `limits.rs` writes them.
fn table() -> String {
    let defaults = serde_json::to_value(Limits::default()).unwrap();
    let source = include_str!("../src/limits.rs");
    let written = source.split_once("\nlimits! {\n").unwrap().1.split_once("\n}").unwrap().0;
    let mut table = "| limit | default | what it bounds |\n|---|---|---|\n".to_owned();
    let mut meaning = String::new();
    let mut names = Vec::new();
    for line in written.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            meaning.push_str(text);
        } else {
            let name = line.split(" = ").next().unwrap();
            let default = defaults.get(name).and_then(serde_json::Value::as_u64).unwrap();
            table.push_str(&format!("| `{name}` | {} |{meaning} |\n", figure(name, default)));
            names.push(name);
            meaning.clear();
        }
    }
    assert_eq!(names, Limits::NAMES);
    table
}

/// A figure as people read it, beside the one to be written.
fn figure(name: &str, value: u64) -> String {
    match value {
        _ if name.ends_with("_ms") => format!("{value} ({} s)", value / 1_000),
        bytes if name.ends_with("_bytes") && bytes >= 1 << 20 => format!("{bytes} ({} MiB)", bytes >> 20),
        bytes if name.ends_with("_bytes") => format!("{bytes} ({} KiB)", bytes >> 10),
        value => value.to_string(),
    }
}

#[test]
fn the_guides_table_of_limits_is_that_of_the_code() {
    let text = std::fs::read_to_string(guide()).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let right = format!("{before}{BEGIN}{}{END}{after}", table());
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(guide(), &right).unwrap();
    } else {
        assert_eq!(text, right, "docs/operators-guide.md is behind limits.rs; repeat this test with BLESS=1");
    }
}

#[test]
fn the_grant_file_and_the_ceiling_of_the_guide_are_valid() {
    let text = std::fs::read_to_string(guide()).unwrap();
    let examples: Vec<&str> = text.split("```toml\n").skip(1).map(|part| part.split("```").next().unwrap()).collect();
    let file = examples.iter().find(|text| text.contains("[[paths]]")).unwrap();
    let grant = Grant::parse_toml(file).unwrap();
    assert!(grant.allows(&"path:rw $workspace as /workspace".parse().unwrap()));
    let ceiling = examples.iter().find_map(|text| text.strip_prefix("[ceiling]\n")).unwrap();
    let ceiling = Grant::parse_toml(ceiling).unwrap();
    assert!(grant.meet(&ceiling).allows(&"path:rw $workspace as /workspace".parse().unwrap()));
}
