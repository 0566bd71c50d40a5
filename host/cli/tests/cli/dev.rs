//! The author's loop and the drop folder.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use serde_json::Value;

use crate::{
    documented,
    home::{Done, Home, scribe},
};

/// For what hangs; nothing here is slow by itself but a compiler.
const PATIENCE: Duration = Duration::from_secs(300);

/// Where the first-party plugins were built, the SDK's dependencies are built already.
fn target() -> PathBuf {
    Path::new(env!("OUT_DIR")).ancestors().nth(4).unwrap().join("guests")
}

fn command(home: &Home, args: &[&str]) -> Command {
    let mut command = home.command(args);
    command.env("CARGO_TARGET_DIR", target());
    command
}

fn run(home: &Home, args: &[&str]) -> Done {
    Done::of(command(home, args).output().unwrap())
}

/// A command that goes on, and its events.
struct Running {
    child: Child,
    events: Receiver<Value>,
}

impl Running {
    fn start(home: &Home, args: &[&str]) -> Self {
        let mut child = command(home, args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, events) = channel();
        std::thread::spawn(move || {
            lines.map_while(Result::ok).try_for_each(|line| sender.send(serde_json::from_str(&line).unwrap()))
        });
        Self { child, events }
    }

    /// The next event of a type; those before it are passed over.
    fn next(&self, kind: &str) -> Value {
        loop {
            let event = self.events.recv_timeout(PATIENCE).unwrap_or_else(|e| panic!("no '{kind}' comes: {e}"));
            if event["type"] == kind {
                return event;
            }
        }
    }

    /// The next reload that changed something, or failed: two looks at one save are no mistake.
    fn reload(&self) -> Value {
        loop {
            let reload = self.next("reload");
            if reload["kind"] != "unchanged" {
                return reload;
            }
        }
    }

    /// Ctrl-C; returns the exit code.
    fn interrupt(mut self) -> i32 {
        let killed = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already where the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Saves a file as editors do, in one step.
fn save(path: &Path, bytes: impl AsRef<[u8]>) {
    let passing = path.with_extension("tmp");
    fs::write(&passing, bytes).unwrap();
    fs::rename(passing, path).unwrap();
}

/// The events of a type.
fn of<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["type"] == kind).collect()
}

#[test]
fn every_save_is_built_swapped_in_and_called_and_a_broken_one_changes_nothing() {
    let home = Home::new();
    home.ok(&["plugin", "new", "hello"]);
    let source = home.workspace().join("hello/src/lib.rs");
    let text = fs::read_to_string(&source).unwrap();
    let dev = ["plugin", "dev", "hello", "--grant-requested", "--call", r#"greet {"name":"Ada"}"#, "--json"];
    let once = [&dev[..], &["--once"]].concat();

    let events = run(&home, &once).expect(0).events();
    assert_eq!((of(&events, "watching").len(), of(&events, "building").len()), (1, 1), "{events:?}");
    let reload = of(&events, "reload")[0];
    assert_eq!((&reload["kind"], &reload["generation"]), (&Value::from("serving"), &Value::from(1)));
    assert_eq!(reload["tools"]["added"][0], "hello.greet");
    let call = of(&events, "call")[0];
    assert_eq!((&call["output"]["text"], &call["generation"]), (&Value::from("Hello, Ada!"), &Value::from(1)));

    // Broken: the compiler's own words, here and in the listing, and the old one goes on.
    save(&source, format!("{text}\nfn broken( {{}}\n"));
    let events = run(&home, &once).expect(1).events();
    let failed = of(&events, "reload")[0];
    assert_eq!((&failed["kind"], &failed["generation"]), (&Value::from("failed"), &Value::from(1)));
    let said = failed["error"]["detail"].as_str().unwrap();
    assert!(said.contains("error") && said.contains("src/lib.rs"), "{said}");
    assert!(of(&events, "call").is_empty());
    let listed = home.json(&["plugin", "list"]);
    let fault = listed["faults"][0]["error"].as_str().unwrap();
    assert!(fault.contains("src/lib.rs"), "{listed}");
    assert!(home.ok(&["plugin", "list"]).stdout.contains("hello does not load:"));
    let shown = run(&home, &["plugin", "dev", "hello", "--once"]).expect(1).stdout;
    assert!(shown.contains("src/lib.rs") && !shown.contains("serving hello"), "{shown}");
    assert_eq!(home.ok(&["tool", "call", "hello.greet", r#"{"name":"Bob"}"#]).stdout, "Hello, Bob!\n");

    // The loop takes it up from there.
    let running = Running::start(&home, &dev);
    assert_eq!(running.reload()["kind"], "failed");
    save(&source, text.replace("\"Hello\".to_owned()", "\"Goodbye\".to_owned()"));
    let reload = running.reload();
    documented::check("plugin dev", &documented::examples()["plugin dev"], &reload);
    assert_eq!((&reload["kind"], &reload["generation"]), (&Value::from("serving"), &Value::from(2)), "{reload}");
    assert_eq!(running.next("call")["output"]["text"], "Goodbye, Ada!");
    assert_eq!(home.json(&["plugin", "list"])["faults"], Value::Array(Vec::new()));
    // A rollback by another process is followed.
    home.ok(&["plugin", "rollback", "hello"]);
    let followed = running.reload();
    assert_eq!((&followed["plugin"], &followed["generation"]), (&Value::from("hello"), &Value::from(1)), "{followed}");
    // More is asked for, and granted as it was said.
    let manifest = home.workspace().join("hello/plugin.toml");
    let asking = fs::read_to_string(&manifest).unwrap() + "\n[capabilities]\nmemory = [\"read\"]\n";
    save(&manifest, asking);
    let reload = running.reload();
    assert_eq!((&reload["generation"], &reload["lacking"]), (&Value::from(3), &Value::Array(Vec::new())), "{reload}");
    assert_eq!(reload["request"]["added"][0], "memory:read");
    assert_eq!(running.interrupt(), 0);

    // A version that traps is taken back by the third trap, though each call is a process of its own.
    let trapping = text.replace("Ok(format!", "if self.name == \"Ada\" { panic!(\"not her\") }\n        Ok(format!");
    save(&source, trapping);
    let events = run(&home, &once).expect(1).events();
    assert_eq!(of(&events, "reload")[0]["generation"], 4);
    assert!(of(&events, "call")[0]["error"]["detail"].as_str().unwrap().contains("not her"), "{events:?}");
    let greet = ["tool", "call", "hello.greet", r#"{"name":"Ada"}"#];
    home.run(&greet).expect(1);
    let third = home.run(&greet).expect(1);
    assert!(third.stderr.contains("generation 3 serves again"), "{third:?}");
    assert_eq!(home.ok(&greet).stdout, "Goodbye, Ada!\n");

    // A call that is denied is the exit code's to say.
    let denied =
        [&["plugin", "dev", "hello", "--once"][..], &["--call", r#"web.fetch {"url":"https://a.example"}"#]].concat();
    run(&home, &denied).expect(3);
}

#[test]
fn what_is_put_into_the_drop_folder_is_installed_and_waits_for_its_grant() {
    const MEMORY: &str = "[capabilities]\nmemory = ['read', 'write']";
    let home = Home::new();
    let running = Running::start(&home, &["plugin", "dev", "--json", "--call", r#"scribe.recall {"query":""}"#]);
    let folder = PathBuf::from(running.next("watching")["path"].as_str().unwrap());
    assert!(folder.ends_with("home/plugins"));
    let file = folder.join("scribe.wasm");
    save(&file, scribe("1.0.0", MEMORY));
    let reload = running.reload();
    assert_eq!((&reload["kind"], &reload["plugin"]), (&Value::from("awaiting-grant"), &Value::from("scribe")));
    assert_eq!(running.next("call")["error"]["class"], "denied");

    home.ok(&["plugin", "grant", "scribe", "--requested"]);
    assert_eq!(running.reload()["kind"], "serving", "another process granted it");
    save(&file, scribe("2.0.0", MEMORY));
    let reload = running.reload();
    assert_eq!((&reload["kind"], &reload["version"]), (&Value::from("serving"), &Value::from("2.0.0")));
    assert_eq!(running.next("call")["generation"], 2);
    save(&file, "no component");
    assert_eq!(running.reload()["kind"], "failed");
    assert_eq!(home.json(&["plugin", "inspect", "scribe"])["installed"]["generation"], 2);
    let listed = home.json(&["plugin", "list"]);
    let rows = listed["plugins"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["fault"].is_null() == (row["name"] != "scribe")), "{listed}");
    assert_eq!(running.interrupt(), 0);

    // Once: the fault is still there, and the exit code says so.
    run(&home, &["plugin", "dev", "--once"]).expect(1);
    fs::remove_file(&file).unwrap();
    run(&home, &["plugin", "dev", "--once"]).expect(0);
    assert_eq!(home.json(&["plugin", "list"])["faults"], Value::Array(Vec::new()));
    assert_eq!(
        home.json(&["plugin", "inspect", "scribe"])["installed"]["generation"],
        2,
        "deleting uninstalls nothing"
    );
}

#[test]
fn a_folder_without_a_plugin_and_a_call_that_is_none_are_refused_at_once() {
    let home = Home::new();
    let refused = run(&home, &["plugin", "dev", "."]).expect(1);
    assert!(refused.stderr.contains("animus plugin new"), "{refused:?}");
    run(&home, &["plugin", "dev", "nowhere"]).expect(1);
    home.file("wrong/plugin.toml", "[plugin]\nname = 'wrong'\nversion = '1.0.0'\nwit = '0.1'\n");
    let wrong = run(&home, &["plugin", "dev", "wrong", "--once"]);
    assert!(wrong.code != 0 && wrong.stderr.contains("building…"), "{wrong:?}");
    run(&home, &["plugin", "dev", ".", "--call", "greet [1]"]).expect(2);
    run(&home, &["plugin", "dev", "--grant-requested"]).expect(2);
}
