//! Bytes and texts from strangers: whatever they are, the answer is a value or an error, never a panic.
#![allow(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

use animus_core::{
    Error,
    grant::Grant,
    manifest::Manifest,
    package::{SECTION, embed, manifest_of},
};
use proptest::{collection::vec, prelude::*, sample::Index, test_runner::Config};
use wasm_encoder::{CustomSection, RawSection, Section as _};

const GOOD: &str = r#"
[plugin]
name = "weather"
version = "1.2.3"
wit = "0.1"
[extism]
wasm = [{ path = "a.wasm" }]
memory = { max_pages = 1024 }
timeout_ms = 5000
allowed_hosts = ["api.example.org", "*.a.org:8443"]
allowed_paths = { "ro:/usr/share" = "/share", "$workspace" = "/workspace" }
config = { units = "metric" }
[capabilities]
llm = { roles = ["fast"], max_tokens = 4000 }
http = { methods = ["GET"], secrets = [{ handle = "k", host = "api.example.org", header = "X-Key" }] }
[limits]
cpu_ms = 1000
"#;

/// Pieces that mean something somewhere, to be put where they do not belong.
const PIECES: &[&str] = &[
    "",
    "\"",
    "'",
    "[",
    "]",
    "[[",
    "{",
    "}",
    "=",
    ",",
    ".",
    "\n",
    "\\u0000",
    "\\u202e",
    "-1",
    "1e999",
    "nan",
    "1979-05-27",
    "0x",
    "true",
    "*",
    "$workspace/..",
    "[plugin]",
    "[extism]",
    "data = { ptr = 1, len = 1000000 }",
    "wasm = [",
    "\u{feff}",
    "99999999999999999999999999",
    "\0",
    "é",
];

fn component() -> Vec<u8> {
    let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
    CustomSection { name: "producers".into(), data: b"x".as_slice().into() }.append_to(&mut bytes);
    RawSection { id: 1, data: b"\0asm\x01\0\0\0" }.append_to(&mut bytes);
    CustomSection { name: SECTION.into(), data: GOOD.as_bytes().into() }.append_to(&mut bytes);
    bytes
}

fn is_invalid<T>(result: Result<T, Error>) -> bool {
    matches!(result, Ok(_) | Err(Error::Invalid(_)))
}

proptest! {
    #![proptest_config(Config { cases: 1_000, failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_mutated_manifest_parses_or_is_invalid(
        cuts in vec((any::<Index>(), 0..12_usize, proptest::sample::select(PIECES)), 1..4),
    ) {
        let mut text: Vec<char> = GOOD.chars().collect();
        for (at, length, piece) in cuts {
            let start = at.index(text.len());
            let end = (start + length).min(text.len());
            text.splice(start..end, piece.chars());
        }
        let text: String = text.into_iter().collect();
        prop_assert!(is_invalid(Manifest::parse(&text)));
        prop_assert!(is_invalid(Grant::parse_toml(&text)));
    }

    #[test]
    fn any_text_is_a_manifest_or_invalid_and_its_report_is_fit_for_a_terminal(text in any::<String>()) {
        if let Err(error) = Manifest::parse(&text) {
            prop_assert!(matches!(error, Error::Invalid(_)));
            prop_assert!(error.to_string().chars().all(|c| c == '\n' || !c.is_control()), "{error:?}");
        }
        prop_assert!(is_invalid(Grant::parse_toml(&text)));
    }

    #[test]
    fn any_bytes_are_a_package_or_invalid(bytes in vec(any::<u8>(), 0..200)) {
        prop_assert!(is_invalid(manifest_of(&bytes)));
        let framed = [b"\0asm\x0d\0\x01\0".as_slice(), &bytes].concat();
        prop_assert!(is_invalid(manifest_of(&framed)));
        prop_assert!(is_invalid(embed(&framed, "x")));
    }

    #[test]
    fn a_mutated_package_is_read_or_invalid_and_can_be_packed_again_where_it_is_read(
        changes in vec((any::<Index>(), any::<u8>()), 1..6), end in any::<Index>(), cut in any::<bool>(),
    ) {
        let mut bytes = component();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes.splice(at..=at, [byte]);
        }
        if cut {
            bytes.truncate(end.index(bytes.len()));
        }
        prop_assert!(is_invalid(manifest_of(&bytes)));
        match embed(&bytes, "new") {
            Ok(packed) => prop_assert_eq!(manifest_of(&packed), Ok(Some("new"))),
            Err(error) => prop_assert!(matches!(error, Error::Invalid(_))),
        }
    }
}

#[test]
fn the_seeds_of_the_mutations_are_themselves_good() {
    Manifest::parse(GOOD).unwrap();
    assert_eq!(manifest_of(&component()).unwrap(), Some(GOOD));
}

#[test]
fn a_manifest_cannot_make_the_host_read_its_own_memory() {
    // The type that the [extism] table is parsed into takes an address and a length, and reads them.
    for entry in ["{ data = { ptr = 1, len = 8 } }", "{ path = \"a\", data = { ptr = 1, len = 8 } }"] {
        let text = GOOD.replace("{ path = \"a.wasm\" }", entry);
        let report = Manifest::parse(&text).unwrap_err().to_string();
        assert!(report.contains("extism.wasm[0].data"), "{report}");
    }
}
