//! Cases as folders: `tests/cases/NAME/` holds
//!
//! - `plugin.toml`, whose `extism.wasm` names a guest of `tests/guests`,
//! - `input.json`: `{ "tool": …, "args": … }`,
//! - `grant.toml`, where the grant is not all that the manifest asks for,
//! - `workspace/`, where the call has files,
//! - and what comes of it: `expect.json` (the tool's answer) or `error.txt` (class and text).
//!
//! `BLESS=1` writes the last of these as it is now.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test these are how it fails"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use animus_core::{grant::Grant, manifest::Manifest};
use animus_tests::{Guest, TestHost};
use serde_json::Value;

include!("../guests/registry.rs");

macro_rules! names {
    ($($tool:ident),* $(,)?) => { &[$(stringify!($tool)),*] };
}

fn tools(guest: &str) -> &'static [&'static str] {
    match guest {
        "evil" => foreach_evil_tool!(names),
        "files" => foreach_files_tool!(names),
        "net" => foreach_net_tool!(names),
        "probe" => foreach_probe_tool!(names),
        other => panic!("no guest '{other}'"),
    }
}

/// What came of a case: the name of its file, and the text.
async fn play(case: &Path) -> (&'static str, String) {
    let read = |name: &str| fs::read_to_string(case.join(name));
    let text = read("plugin.toml").unwrap();
    let manifest = Manifest::parse(&text).unwrap_or_else(|e| panic!("{}: {e}", case.display()));
    let (wasm, _) = manifest.wasm.expect("extism.wasm names the guest");
    let guest = wasm.strip_suffix(".wasm").unwrap();
    let grant = read("grant.toml").map_or(manifest.request, |text| Grant::parse_toml(&text).unwrap());
    let input: Value = read("input.json").unwrap().parse().unwrap();

    let host = TestHost::new().await;
    if let Ok(files) = fs::read_dir(case.join("workspace")) {
        for file in files {
            let file = file.unwrap();
            fs::copy(file.path(), host.workspace().join(file.file_name())).unwrap();
        }
    }
    let named = Guest { name: manifest.name.to_string(), ..Guest::built(guest, tools(guest)) };
    host.install_manifest(&named, &text, Some(grant)).await;
    match host.call(input["tool"].as_str().unwrap(), input["args"].clone()).await {
        Ok(output) => ("expect.json", format!("{}\n", serde_json::to_string_pretty(&output).unwrap())),
        Err(error) => {
            let here = host.workspace().display().to_string();
            ("error.txt", format!("{}\n{}\n", error.class(), error.to_string().replace(&here, "$workspace")))
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_comes_to_what_its_folder_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut cases: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 12, "only {} cases", cases.len());
    let bless = std::env::var_os("BLESS").is_some();
    let mut wrong = Vec::new();
    for case in &cases {
        let (file, got) = play(case).await;
        let there: Vec<_> = ["expect.json", "error.txt"].into_iter().filter(|name| case.join(name).exists()).collect();
        if bless {
            there.iter().for_each(|name| fs::remove_file(case.join(name)).unwrap());
            fs::write(case.join(file), got).unwrap();
        } else {
            assert!(there.len() == 1, "{} has {there:?}; it needs one, see BLESS=1", case.display());
            let expected = fs::read_to_string(case.join(there[0])).unwrap();
            if (there[0], &expected) != (file, &got) {
                let name = case.file_name().unwrap().display();
                wrong.push(format!("── {name}: {}\n{expected}── is now {file}\n{got}", there[0]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}\nBLESS=1 accepts what is now", wrong.join("\n"));
}
