//! From nothing to a plugin that is called, outside of the repository.

use std::{fs, path::Path};

use crate::{
    documented,
    home::{Done, Home},
};

#[test]
fn a_new_plugin_builds_installs_and_greets() {
    let home = Home::new();
    let target = Path::new(env!("OUT_DIR")).ancestors().nth(4).unwrap().join("guests");
    let run = |args: &[&str]| {
        // Where the first-party plugins were built, the SDK's dependencies are built already.
        Done::of(home.command(args).env("CARGO_TARGET_DIR", &target).output().unwrap()).expect(0)
    };
    run(&["plugin", "new", "--lang", "rust", "hello"]);
    let built = run(&["plugin", "build", "hello", "--json"]).json();
    documented::check("plugin build", &documented::examples()["plugin build"], &built);
    assert!(built["wasm"].as_str().unwrap().ends_with("hello/target/hello.wasm"), "{built}");
    run(&["plugin", "install", "hello", "--grant-requested"]);
    let greeted = run(&["tool", "call", "hello.greet", r#"{"name":"Ada"}"#]);
    assert_eq!(greeted.stdout, "Hello, Ada!\n");
    let inspected = home.json(&["plugin", "inspect", "hello/target/hello.wasm"]);
    assert_eq!(inspected["name"], "hello");

    fs::write(home.workspace().join("hello/src/new.rs"), "").unwrap();
    let stale = home.run(&["plugin", "install", "hello"]).expect(1);
    assert!(stale.stderr.contains("animus plugin build"), "{stale:?}");
}

#[test]
fn a_folder_with_something_in_it_is_not_written_to() {
    let home = Home::empty();
    home.file("taken/precious.txt", "x");
    home.run(&["plugin", "new", "--lang", "rust", "taken"]).expect(2);
    assert_eq!(fs::read_dir(home.workspace().join("taken")).unwrap().count(), 1);
    home.run(&["plugin", "new", "--lang", "rust", "Bad Name"]).expect(2);
    home.ok(&["plugin", "new", "fine", "taken/deep"]);
    let manifest = fs::read_to_string(home.workspace().join("taken/deep/plugin.toml")).unwrap();
    assert!(manifest.contains("name = \"fine\"") && !manifest.contains("{{"), "{manifest}");
}
