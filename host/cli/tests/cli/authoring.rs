//! From nothing to a plugin that is called, outside of the repository.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

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
fn a_new_python_plugin_builds_greets_and_is_upgraded() {
    if std::env::var_os("ANIMUS_WITHOUT_PYTHON").is_some() {
        return;
    }
    let home = Home::new();
    share_tools(&home);
    let hello = home.workspace().join("hello");
    let app = hello.join("app.py");
    let greeted = || home.ok(&["tool", "call", "hello.greet", r#"{"name":"Ada"}"#]).stdout;

    home.ok(&["plugin", "new", "--lang", "python", "hello"]);
    let natively = Command::new("python3").args(["-m", "unittest"]).current_dir(&hello).output().unwrap();
    let natively = Done::of(natively).expect(0);
    assert!(natively.stderr.contains("Ran 2 tests"), "{natively:?}");
    let built = home.ok(&["plugin", "build", "hello", "--json"]);
    assert!(built.stderr.contains("componentize hello"), "{built:?}");
    let built = built.json();
    documented::check("plugin build", &documented::examples()["plugin build"], &built);
    home.ok(&["plugin", "install", "hello", "--grant-requested"]);
    assert_eq!(greeted(), "Hello, Ada!\n");
    let again = home.ok(&["plugin", "build", "hello", "--json"]);
    assert_eq!((again.stderr.as_str(), &again.json()["digest"]), ("", &built["digest"]));

    let source = fs::read_to_string(&app).unwrap();
    fs::write(&app, format!("{source}\n\ndef broken(:\n")).unwrap();
    let stale = home.run(&["plugin", "install", "hello"]).expect(1);
    assert!(stale.stderr.contains("animus plugin build"), "{stale:?}");
    let broken = home.run(&["plugin", "build", "hello"]).expect(1);
    let place = format!("File \"{}\", line {}", app.display(), source.lines().count() + 3);
    assert!(broken.stderr.contains(&place) && broken.stderr.contains("SyntaxError"), "{broken:?}");
    assert!(!broken.stderr.contains("Stack backtrace"), "{broken:?}");
    assert_eq!(greeted(), "Hello, Ada!\n");

    fs::write(&app, source.replace("Hello, ", "Moin, ")).unwrap();
    home.ok(&["plugin", "build", "hello"]);
    home.ok(&["plugin", "upgrade", "hello"]);
    assert_eq!(greeted(), "Moin, Ada!\n");
}

/// Where the interpreter was built, the tools of Python builds are there already.
fn share_tools(home: &Home) {
    let tools = Path::new(env!("OUT_DIR")).ancestors().nth(4).unwrap().join("python");
    let sdk = home.path().join("sdk").join(env!("CARGO_PKG_VERSION"));
    fs::create_dir_all(&tools).unwrap();
    fs::create_dir_all(&sdk).unwrap();
    std::os::unix::fs::symlink(tools, sdk.join("python")).unwrap();
}

#[test]
fn without_a_fitting_python_the_command_that_mends_it_is_told() {
    let home = Home::empty();
    home.ok(&["plugin", "new", "--lang", "python", "hello"]);
    let bin = home.workspace().join("bin");
    fs::create_dir(&bin).unwrap();
    let python = |name: &str, script: &str| {
        let path = home.file(&format!("bin/{name}"), format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    let told = || {
        let command = &mut home.command(&["plugin", "build", "hello", "--json"]);
        let error = Done::of(command.env("PATH", &bin).output().unwrap()).expect(1).json()["error"].take();
        assert_eq!(error["class"], "unavailable");
        (error["message"].as_str().unwrap().to_owned(), error["advice"].as_str().unwrap().to_owned())
    };
    let (message, advice) = told();
    assert!(message.contains("there is none") && advice.contains("install"), "{message} {advice}");
    python("python3", "echo 3.9.2; exit 3");
    let (message, advice) = told();
    assert!(message.contains("python3 is 3.9.2") && advice.contains("install"), "{message} {advice}");
    python("python3", "echo 3.12.1; exit 4");
    let (message, advice) = told();
    assert!(message.contains("has no venv") && advice.contains("install"), "{message} {advice}");
    // One that fits is found beside it.
    python("python3.12", "case $* in *--target*) echo fake builder >&2; exit 1;; *) echo 3.12.1;; esac");
    let command = &mut home.command(&["plugin", "build", "hello"]);
    let built = Done::of(command.env("PATH", &bin).output().unwrap()).expect(1);
    assert!(built.stderr.contains("fake builder") && built.stderr.contains("to mend it"), "{built:?}");
}

#[test]
fn a_folder_with_something_in_it_is_not_written_to() {
    let home = Home::empty();
    home.file("taken/precious.txt", "x");
    home.run(&["plugin", "new", "--lang", "rust", "taken"]).expect(2);
    assert_eq!(fs::read_dir(home.workspace().join("taken")).unwrap().count(), 1);
    home.run(&["plugin", "new", "--lang", "python", "taken"]).expect(2);
    home.run(&["plugin", "new", "--lang", "rust", "Bad Name"]).expect(2);
    home.ok(&["plugin", "new", "fine", "taken/deep"]);
    let manifest = fs::read_to_string(home.workspace().join("taken/deep/plugin.toml")).unwrap();
    assert!(manifest.contains("name = \"fine\"") && !manifest.contains("{{"), "{manifest}");
}
