//! What holds for every command: exit codes, JSON errors, terminals, configuration.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Stdio};

use crate::home::{Done, Home};

#[test]
fn a_wrong_command_line_exits_with_2_and_json_has_an_error_object() {
    let home = Home::empty();
    home.run(&["frobnicate"]).expect(2);
    home.run(&["plugin", "grant", "fs"]).expect(2);
    home.run(&["plugin", "grant", "fs", "--requested", "--revoke"]).expect(2);
    home.run(&["plugin", "grant", "fs", "--allow", "everything"]).expect(2);
    home.run(&["run", "--budget-usd", "-1", "x"]).expect(2);
    let port = home.run(&["serve", "--bind", "8421"]).expect(2).stderr;
    assert!(port.contains("such as 127.0.0.1:8421"), "{port}");
    let error = home.run(&["frobnicate", "--json"]).expect(2).json();
    assert_eq!(error["error"]["class"], "usage");
    assert!(error["error"]["message"].as_str().unwrap().contains("frobnicate"), "{error}");
    let failed = home.run(&["ledger", "show", "--json"]).expect(1).json();
    assert_eq!(failed["error"]["class"], "not-found");
    assert!(failed["error"]["advice"].as_str().is_some(), "{failed}");
}

#[test]
fn help_and_version_exit_with_0() {
    let home = Home::empty();
    assert!(home.ok(&["--help"]).stdout.contains("doctor"));
    assert!(home.ok(&["--version"]).stdout.starts_with("animus "));
    assert!(!home.path().exists(), "asking for help made a home folder");
}

#[test]
fn an_unknown_configuration_key_is_an_error_with_its_place_and_the_nearest_key() {
    let home = Home::new();
    home.configure("[budget]\ntoknes = 5\n");
    let refused = home.run(&["run", "x"]).expect(1);
    assert!(refused.stderr.contains("animus.toml:2: unknown field `toknes`"), "{refused:?}");
    assert!(refused.stderr.contains("write 'tokens' instead"), "{refused:?}");
}

#[test]
fn completions_are_written_for_every_shell() {
    let home = Home::empty();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        assert!(home.ok(&["completions", shell]).stdout.contains("audit"), "{shell}");
    }
}

#[test]
fn escapes_are_written_only_where_they_are_wanted() {
    let home = Home::new();
    let list = ["plugin", "list"];
    assert!(!home.ok(&list).stdout.contains('\x1b'));
    let forced = Done::of(home.command(&list).env("CLICOLOR_FORCE", "1").output().unwrap()).expect(0);
    assert!(forced.stdout.contains('\x1b'), "the check below would prove nothing");
    let both = home.command(&list).env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1").output().unwrap();
    assert!(!Done::of(both).expect(0).stdout.contains('\x1b'));
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let home = Home::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let done = home.command(&["plugin", "list"]).stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(Done::of(done).expect(0).stderr, "");
}

#[test]
fn a_result_that_cannot_be_written_is_a_failure() {
    let home = Home::new();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let done = home.command(&["plugin", "list"]).stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert!(Done::of(done).expect(1).stderr.contains("could not write the result"));
}

#[test]
fn logs_go_to_standard_error_at_the_level_that_was_asked_for() {
    let home = Home::new();
    assert_eq!(home.ok(&["plugin", "list"]).stderr, "");
    let logged = home.command(&["plugin", "list", "--json"]).env("ANIMUS_LOG", "trace").output().unwrap();
    let logged = Done::of(logged).expect(0);
    assert!(!logged.stderr.is_empty());
    logged.json();
    let wrong = home.command(&["plugin", "list"]).env("ANIMUS_LOG", "a=b=c").output().unwrap();
    Done::of(wrong).expect(2);
}

#[test]
fn a_home_is_closed_to_others_and_doctor_tells_how_to_close_an_open_one() {
    let home = Home::new();
    for (file, mode) in [("", 0o700), ("artifacts", 0o700), ("key", 0o600), ("animus.db", 0o600)] {
        let path = home.path().join(file);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode, "{}", path.display());
    }
    let ollama = "[llm.providers.ollama]\nbase_url = 'http://127.0.0.1:9'\n";
    home.configure(ollama);
    let well = home.ok(&["doctor"]).stdout;
    assert!(well.contains("all is well"), "{well}");
    for (plugin, what) in [("web", "its tools are not offered"), ("guard", "it watches nothing")] {
        let line = well.lines().find(|line| line.contains(&format!("plugin:{plugin}:"))).unwrap();
        assert!(line.contains(&format!("awaits a grant, so {what}")), "{line}");
    }
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let open = home.run(&["doctor"]).expect(1).stdout;
    assert!(open.contains(&format!("chmod 700 {}", home.path().display())), "{open}");
}

#[test]
fn doctor_finds_a_model_that_cannot_be_reached() {
    let home = Home::new();
    home.configure("[llm.providers.ollama]\nbase_url = 'http://127.0.0.1:9'\n[llm.roles]\ndefault = 'ollama:x'\n");
    let report = home.run(&["doctor", "--json"]).expect(1).json();
    let model = report["checks"].as_array().unwrap().iter().find(|check| check["name"] == "model:ollama:x").unwrap();
    assert_eq!(model["level"], "broken");
}
