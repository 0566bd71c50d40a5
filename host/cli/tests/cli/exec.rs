//! `animus exec`: an operator's programs, in the interpreter that ships.

use serde_json::json;

use crate::{documented, home::Home};

/// The sections of `docs/cli.md` that are checked here.
pub(crate) const DOCUMENTED: &[&str] = &["exec"];

const LINES: &str = "return sum(tools.fs.read_file(path=p).count('\\n') for p in tools.fs.glob(pattern='*.md'))";

#[test]
fn a_program_counts_what_is_there_until_the_grant_is_revoked() {
    let home = Home::with_python();
    home.file("a.md", "one\ntwo\n");
    home.file("docs/b.md", "three\n");
    home.file("c.txt", "not\ncounted\n");
    let counted = home.feed(&["exec", "-", "--json"], LINES).expect(0).json();
    assert_eq!((&counted["value"], &counted["text"]), (&json!(3), &json!("3")));
    documented::check("exec", &documented::examples()["exec"], &counted);
    let plain = home.feed(&["exec", "-"], LINES).expect(0);
    assert_eq!(plain.stdout, "3\n");
    let shown = home.json(&["ledger", "show", counted["work"].as_str().unwrap(), "--journal"]);
    let parents: Vec<_> = shown["journal"].as_array().unwrap().iter().map(|r| r["intent"]["parent"].clone()).collect();
    assert_eq!(parents, [json!(null), json!(1), json!(1), json!(1)], "{shown}");
    assert_eq!(shown["work"]["state"], "completed");

    home.ok(&["plugin", "grant", "fs", "--revoke"]);
    let denied = home.feed(&["exec", "-", "--json"], LINES).expect(3).json();
    let denial = &denied["error"]["denial"];
    assert_eq!((&denied["error"]["class"], &denial["who"]), (&json!("denied"), &json!("fs")), "{denied}");
    assert_eq!(denial["command"], "animus plugin grant fs --requested");
    let traceback = denied["failure"]["traceback"].as_str().unwrap();
    assert!(traceback.contains("<stdin>\", line 1") && !traceback.contains("animus plugin grant"), "{traceback}");
    let plain = home.feed(&["exec", "-"], LINES).expect(3);
    assert!(plain.stderr.contains("animus plugin grant fs --requested") && plain.stdout.is_empty(), "{plain:?}");
}

#[test]
fn a_file_its_arguments_its_tools_and_its_time() {
    let home = Home::with_python();
    home.file("poem.txt", "roses\n");
    let file = home.file("scripts/main.py", "print('on the way')\nreturn [args['n'] * 2, len(tools.list())]");
    let ran = home.ok(&["exec", &file, "--args", r#"{"n": 21}"#, "--tool", "fs.read_file", "--json"]).json();
    assert_eq!((&ran["value"], &ran["stdout"]), (&json!([42, 1]), &json!("on the way\n")));
    let plain = home.ok(&["exec", &file, "--args", r#"{"n": 21}"#, "--tool", "fs.*"]);
    assert!(plain.stdout.starts_with("[42,") && plain.stderr.contains("on the way"), "{plain:?}");

    let write = home.file("write.py", "tools.fs.write_file(path='made.txt', content='x')");
    let narrowed = home.run(&["exec", &write, "--tool", "fs.read_file", "--json"]).expect(3).json();
    assert_eq!(narrowed["error"]["denial"]["gate"], "principal", "{narrowed}");
    assert!(!home.workspace().join("made.txt").exists());
    home.ok(&["exec", &write]);
    assert!(home.workspace().join("made.txt").exists());

    let spin = home.file("spin.py", "while True:\n    pass");
    let late = home.run(&["exec", &spin, "--timeout", "1", "--json"]).expect(4).json();
    assert_eq!(late["error"]["class"], "timeout", "{late}");

    let wrong = home.file("wrong.py", "x = 1\nif x\n    pass\n");
    let syntax = home.run(&["exec", &wrong, "--json"]).expect(1).json();
    assert_eq!(syntax["failure"]["kind"], "SyntaxError", "{syntax}");
    assert!(syntax["failure"]["message"].as_str().unwrap().contains("line 2"), "{syntax}");
    let raised = home.feed(&["exec", "-"], "raise ValueError('no \\x1b[31m')").expect(1);
    assert!(raised.stderr.contains("ValueError: no") && !raised.stderr.contains('\x1b'), "{raised:?}");

    for usage in [
        &["exec"][..],
        &["exec", "absent.py", "--timeout", "0"],
        &["exec", &file, "--args", "[]"],
        &["exec", &file, "--args", "{"],
        &["exec", &file, "--tool", "*x*"],
        &["exec", &file, "--interpreter", "No Name"],
    ] {
        home.run(usage).expect(2);
    }
    let absent = home.run(&["exec", "absent.py"]);
    assert!(absent.code != 0 && absent.stderr.contains("absent.py"), "{absent:?}");
    let none = home.run(&["exec", &file, "--interpreter", "fs"]);
    assert!(none.code != 0 && none.stderr.contains("there is no interpreter 'fs'"), "{none:?}");
    let large = home.file("large.py", "#".repeat((1 << 20) + 1));
    home.run(&["exec", &large]).expect(2);
    home.ok(&["audit", "verify"]);
}
