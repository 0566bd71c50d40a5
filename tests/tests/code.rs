//! Programs in the real CPython, on the real host: what they can do, what they cannot, and what is left of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::{
    collections::BTreeSet,
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use animus_agent::RunContext;
use animus_core::{
    Error, Gate,
    code::Ran,
    event::{Event, Watcher},
    journal::Record,
    limits::Limits,
    work::WorkFilter,
};
use animus_tests::{Agent, TestHost, manifest_of, shipped};
use serde_json::{Value, json};

const READER: &str =
    "llm = { roles = ['*'] }\ninterpreter = ['python']\ntool = ['fs.read_file', 'fs.glob']\nledger = ['append']";
const EVERY_TOOL: &str = "llm = { roles = ['*'] }\ninterpreter = ['python']\ntool = ['*']\nledger = ['append']";

async fn agent(host: &TestHost, grant: &str) -> Agent {
    Agent::begin(host, "worker", grant, |cx| cx).await
}

fn failure(ran: &Ran) -> (&str, &str) {
    let failure = ran.failure.as_ref().unwrap_or_else(|| panic!("it ended well: {ran:?}"));
    (&failure.kind, &failure.message)
}

fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::unlimited();
    change(&mut limits);
    limits
}

/// How a program within limits ended for the one who ran it.
async fn ending(host: &TestHost, source: &str, limits: Limits) -> Error {
    match host.exec_within(source, limits).await.ran {
        Err(error) => error,
        Ok(ran) => {
            let failure = ran.failure.unwrap_or_else(|| panic!("{source} ended well: {}", ran.text));
            failure.cause.clone().unwrap_or_else(|| panic!("{source} raised {failure:?}"))
        }
    }
}

#[tokio::test]
async fn the_standard_library_works() {
    let host = TestHost::with_python().await;
    let found = host
        .value(
            r#"
import statistics, sqlite3, json, re, decimal, zoneinfo, csv, hashlib, io, datetime
import xml.etree.ElementTree as ET
db = sqlite3.connect(":memory:")
db.execute("create table t (n integer)")
db.executemany("insert into t values (?)", [(n,) for n in range(10)])
return {
    "statistics": statistics.median([3, 1, 2]),
    "sqlite3": db.execute("select sum(n) from t where n > ?", (4,)).fetchone()[0],
    "json": json.loads('{"a": [1, null]}')["a"][1] is None,
    "re": re.findall(r"\d+", "a1b22"),
    "decimal": str(decimal.Decimal("0.1") + decimal.Decimal("0.2")),
    "zoneinfo": datetime.datetime(2024, 7, 1, 12, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")).isoformat(),
    "xml": ET.fromstring("<a><b>text</b></a>").findtext("b"),
    "csv": list(csv.reader(io.StringIO('x,"y,z"')))[0],
    "hashlib": hashlib.sha256(b"abc").hexdigest()[:8],
}
"#,
        )
        .await;
    let expected = json!({
        "statistics": 2, "sqlite3": 35, "json": true, "re": ["1", "22"], "decimal": "0.3",
        "zoneinfo": "2024-07-01T12:00:00+02:00", "xml": "text", "csv": ["x", "y,z"], "hashlib": "ba7816bf",
    });
    assert_eq!(found, expected);
}

#[tokio::test]
async fn what_a_sandbox_has_not_fails_with_an_exception_that_says_so() {
    let host = TestHost::with_python().await;
    fs::write(host.workspace().join("mine.txt"), "x").unwrap();
    fs::write(host.outside().join("secret"), "x").unwrap();
    let outside = host.outside().join("secret");
    let outside = outside.to_str().unwrap();
    for (source, kind, says) in [
        (
            "import socket\nsocket.create_connection(('127.0.0.1', 80))".to_owned(),
            "ConnectionRefusedError",
            "no sockets",
        ),
        ("import socket\nsocket.socket()".to_owned(), "ConnectionRefusedError", "no sockets"),
        ("import _socket\n_socket.socket()".to_owned(), "ConnectionRefusedError", "no sockets"),
        ("import _socket\n_socket.getaddrinfo('localhost', 80)".to_owned(), "ConnectionRefusedError", "no sockets"),
        ("import urllib.request\nurllib.request.urlopen('http://127.0.0.1/')".to_owned(), "URLError", "no sockets"),
        ("open('/etc/passwd').read()".to_owned(), "FileNotFoundError", "tools such as fs.read_file"),
        (format!("open({outside:?}).read()"), "FileNotFoundError", "tools such as fs.read_file"),
        ("open('mine.txt').read()".to_owned(), "FileNotFoundError", "tools such as fs.read_file"),
        ("open('new.txt', 'w')".to_owned(), "", ""),
        ("import os\nos.listdir('/')".to_owned(), "", "tools such as fs.read_file"),
        ("import io\nio.FileIO('/etc/passwd')".to_owned(), "FileNotFoundError", ""),
        ("import subprocess\nsubprocess.run(['ls'])".to_owned(), "OSError", "no processes"),
        ("import os\nos.system('ls')".to_owned(), "OSError", "no processes"),
        ("import os\nos.fork()".to_owned(), "OSError", "no processes"),
        ("import multiprocessing\nmultiprocessing.Process(target=print).start()".to_owned(), "OSError", "no processes"),
        ("import threading\nthreading.Thread(target=print).start()".to_owned(), "RuntimeError", "no threads"),
        ("import _thread\n_thread.start_new_thread(print, ())".to_owned(), "RuntimeError", ""),
        ("input()".to_owned(), "EOFError", "nobody is there"),
        ("import requests".to_owned(), "ModuleNotFoundError", "web.fetch"),
        ("import ctypes".to_owned(), "ModuleNotFoundError", ""),
        ("import os\nos.environ['HOME']".to_owned(), "KeyError", "HOME"),
    ] {
        let ran = host.exec(&source).await;
        let (found, message) = failure(&ran);
        assert!(kind.is_empty() || found == kind, "{source}\n{found}: {message}");
        assert!(message.contains(says), "{source}\n{found}: {message}");
        let traceback = &ran.failure.as_ref().unwrap().traceback;
        assert!(!traceback.contains("animus_python") && !traceback.contains("site-packages"), "{traceback}");
    }
    assert_eq!(host.value("import os\nlen(os.environ)").await, 0);
    assert_eq!(host.value("import os, posix\nreturn len(posix.environ)").await, 0, "what os.environ was made of");
    assert!(!host.workspace().join("new.txt").exists());
}

#[tokio::test]
async fn a_returned_value_or_the_last_expression_is_the_answer() {
    let host = TestHost::with_python().await;
    assert_eq!(host.value("return 2+2").await, 4);
    assert_eq!(host.value("def f(n):\n    return n * 2\n\nf(21)").await, 42);
    let ran = host.exec("for i in range(3):\n    print(i)").await;
    assert_eq!((ran.text.as_str(), ran.value, ran.stdout.as_str()), ("", None, "0\n1\n2\n"));
    let text = host.exec("'plain text'").await;
    assert_eq!((text.text.as_str(), text.value), ("plain text", Some(json!("plain text"))));
}

#[tokio::test]
async fn a_call_is_plain_awaited_or_gathered() {
    let host = TestHost::with_python().await;
    for n in 0..3 {
        fs::write(host.workspace().join(format!("{n}.txt")), "x".repeat(n)).unwrap();
    }
    let found = host
        .value(
            r#"
plain = tools.fs.read_file(path="1.txt")
awaited = await tools.fs.read_file(path="1.txt")
paths = ["1.txt", "2.txt"]
gathered = await asyncio.gather(*(tools.fs.read_file(path=p) for p in paths))
async def one(path):
    return await tools.fs.read_file(path=path)
nested = await asyncio.gather(*(one(p) for p in paths))
return [plain, awaited, gathered, nested, plain == awaited]
"#,
        )
        .await;
    assert_eq!(found, json!(["x", "x", ["x", "xx"], ["x", "xx"], true]));
}

#[tokio::test]
async fn a_failed_call_raises_names_the_tool_and_shows_the_programs_own_lines() {
    let host = TestHost::with_python().await;
    let ran = host.exec("def load():\n    return tools.fs.read_file(path='absent.txt')\n\nload()").await;
    let found = ran.failure.clone().unwrap();
    assert!(found.message.contains("fs.read_file"), "{found:?}");
    for line in ["main.py\", line 4, in", "main.py\", line 2, in load", "tools.fs.read_file(path='absent.txt')"] {
        assert!(found.traceback.contains(line), "no {line:?} in {}", found.traceback);
    }
    assert!(!found.traceback.contains("toolbox"), "{}", found.traceback);
    let caught = "from animus import errors\ntry:\n    tools.fs.read_file(path='absent.txt')\nexcept errors.Error as e:\n    return e.tool";
    assert_eq!(host.value(caught).await, "fs.read_file");
    let unknown = host.exec("tools.fs.reed_file(path='x')").await;
    assert!(failure(&unknown).1.contains("fs.read_file"), "{unknown:?}");
    let wrong = host.exec("tools.fs.read_file(file='x')").await;
    assert!(failure(&wrong).1.contains("path"), "{wrong:?}");
    let syntax = host.exec("x = 1\nif x\n    pass").await;
    assert_eq!(failure(&syntax).0, "SyntaxError");
    assert!(failure(&syntax).1.contains("main.py, line 2"), "{syntax:?}");
}

#[tokio::test]
async fn what_is_printed_stands_apart_and_is_bounded() {
    let host = TestHost::with_python().await;
    let ran = host.exec("import sys\nprint('out')\nprint('err', file=sys.stderr)\n7").await;
    assert_eq!((ran.text.as_str(), ran.stdout.as_str(), ran.stderr.as_str()), ("7", "out\n", "err\n"));
    let ran = host.exec("for i in range(100_000):\n    print('line', i)\n1").await;
    assert!(ran.stdout.len() < 72 << 10, "{}", ran.stdout.len());
    assert!(
        ran.stdout.starts_with("line 0\n") && ran.stdout.ends_with("line 99999\n") && ran.stdout.contains("bytes cut")
    );
    // Past the interpreter's own streams, too.
    let ran = host.exec("import os, sys\nfor i in range(2000):\n    os.write(1, b'x' * 1000)\nreturn 1").await;
    assert_eq!(ran.text, "1");
    assert!(ran.stdout.len() < 72 << 10, "{}", ran.stdout.len());
    let escapes = host.exec("print('\\x1b[31mred')").await;
    assert!(!escapes.stdout.contains('\x1b'), "{escapes:?}");
}

#[tokio::test]
async fn limits_end_a_program_with_the_limit_and_its_neighbours_go_on() {
    let host = TestHost::with_python().await;
    let spin = "while True:\n    pass";
    let began = std::time::Instant::now();
    let (spun, neighbour) = tokio::join!(
        ending(&host, spin, limits(|l| l.wall_ms = 700)),
        host.exec("import time\ntime.sleep(0.9)\nreturn sum(range(1000))"),
    );
    assert!(matches!(&spun, Error::Timeout(why) if why.contains("wall_ms")), "{spun:?}");
    assert_eq!(neighbour.text, "499500");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let asleep = ending(&host, "import time\ntime.sleep(60)", limits(|l| l.wall_ms = 300)).await;
    assert!(matches!(&asleep, Error::Timeout(_)), "{asleep:?}");
    let cpu = ending(&host, spin, limits(|l| l.cpu_ms = 300)).await;
    assert!(matches!(&cpu, Error::Timeout(why) | Error::BudgetExhausted(why) if why.contains("cpu_ms")), "{cpu:?}");
    // One that catches everything is ended all the same.
    let stubborn =
        "while True:\n    try:\n        while True:\n            pass\n    except BaseException:\n        pass";
    assert!(matches!(ending(&host, stubborn, limits(|l| l.wall_ms = 300)).await, Error::Timeout(_)));

    let little = limits(|l| l.memory_bytes = 96 << 20);
    for source in ["x = bytearray(200 << 20)\nreturn len(x)", "x = []\nwhile True:\n    x.append('x' * 1_000_000)"] {
        let memory = ending(&host, source, little).await;
        assert!(matches!(&memory, Error::BudgetExhausted(why) if why.contains("memory_bytes")), "{memory:?}");
    }
    let output = ending(&host, "return 'x' * 100_000", limits(|l| l.output_bytes = 10_000)).await;
    assert!(matches!(&output, Error::BudgetExhausted(why) if why.contains("output_bytes")), "{output:?}");
    let calls = "n = 0\nwhile True:\n    tools.fs.glob(pattern='*')\n    n += 1";
    let calls = ending(&host, calls, limits(|l| l.host_calls = 5)).await;
    assert!(matches!(&calls, Error::BudgetExhausted(why) if why.contains("host_calls")), "{calls:?}");
    assert_eq!(host.value("return 'well'").await, "well");
}

#[tokio::test]
async fn hostile_programs_neither_hang_nor_break_the_host() {
    let host = TestHost::with_python().await;
    let within = limits(|l| {
        l.wall_ms = 5_000;
        l.memory_bytes = 256 << 20;
    });
    for source in [
        "def f():\n    return f()\nf()",
        "import sys\nsys.setrecursionlimit(10**9)\ndef f():\n    return f()\nf()",
        "import os\nos._exit(3)",
        "import os\nos.abort()",
        "import sys\nsys.exit('no')",
        "raise SystemExit(7)",
        "raise KeyboardInterrupt",
        "eval('(' * 100_000)",
        "x = []\nx.append(x)\nreturn x",
        "import re\nre.match(r'(a+)+$', 'a' * 40 + 'b')",
        "return 10 ** 10 ** 8",
        "import json\njson.loads('[' * 1_000_000)",
        "class E(Exception):\n    def __str__(self):\n        raise self\nraise E",
        "import animus_python.output as o\no.Output.texts = lambda self: 1/0\nraise ValueError",
        "import animus_python.run as r, sys\nr.told = None\nsys.modules.clear()\nraise ValueError",
        "import gc\nfor o in gc.get_objects():\n    if isinstance(o, dict):\n        try:\n            o.clear()\n        except Exception:\n            pass",
        "return float('nan')",
        "return '\\ud800'",
        "print('\\ud800')\nreturn {'\\ud800': 1}",
    ] {
        let report = tokio::time::timeout(Duration::from_secs(30), host.exec_within(source, within)).await;
        let report = report.unwrap_or_else(|_| panic!("{source} hangs"));
        if let Err(error) = &report.ran {
            assert!(
                matches!(error, Error::Internal(_) | Error::Timeout(_) | Error::BudgetExhausted(_) | Error::Invalid(_)),
                "{source}\n{error:?}"
            );
        }
    }
    assert_eq!(host.value("return 'well'").await, "well");
}

/// What a denial inside a program comes to: for the program, for the model, and in the journal for the operator.
async fn denied(agent: &Agent, call: &str) -> (String, Value, Error) {
    let told = agent.code(call).await;
    assert!(told.is_error, "{told:?}");
    let seen = format!(
        "from animus import errors\ntry:\n    {call}\nexcept errors.Denied as e:\n    return [e.gate, e.unlock, e.capability, str(e), repr(vars(e))]"
    );
    let caught = agent.code(&seen).await;
    assert!(!caught.is_error, "{caught:?}");
    for command in ["animus plugin grant", "--allow", "--tool", "--requested"] {
        assert!(!agent.seen().contains(command) && !told.text.contains(command), "{command}: {}", told.text);
    }
    let whole = agent.journal().await.into_iter().find_map(|record| {
        let failed = record.outcome.as_ref().and_then(|outcome| serde_json::to_value(outcome).ok())?;
        let cause = failed["response"]["failure"]["cause"].clone();
        serde_json::from_value::<Error>(cause).ok()
    });
    (told.text, serde_json::from_str(&caught.text).unwrap(), whole.expect("the journal has the cause"))
}

#[tokio::test]
async fn a_denied_tool_is_a_typed_denial_and_only_the_operator_reads_the_command() {
    let host = TestHost::with_python().await;
    let text = manifest_of("web");
    host.install_manifest(&shipped("web", &["fetch"]), &text, None).await;

    let reader = agent(&host, READER).await;
    let (told, caught, whole) = denied(&reader, "tools.fs.write_file(path='x', content='y')").await;
    assert!(told.contains("Denied") && told.contains("fs.write_file"), "{told}");
    assert_eq!(caught[2], "tool:fs.write_file", "{caught}");
    let Error::Denied(denial) = whole else { panic!("{whole:?}") };
    assert_eq!((denial.who.as_str(), caught[0].as_str()), ("worker", Some("manifest")), "{denial:?}");
    assert!(!host.workspace().join("x").exists());

    let any = agent(&host, EVERY_TOOL).await;
    let (_, caught, whole) = denied(&any, "tools.web.fetch(url='http://example.org/')").await;
    assert_eq!(caught[0], "grant", "{caught}");
    let Error::Denied(denial) = whole else { panic!("{whole:?}") };
    assert_eq!((denial.gate, denial.command.as_deref()), (Gate::Grant, Some("animus plugin grant web --requested")));

    let narrowed = Agent::begin(&host, "worker", EVERY_TOOL, |mut cx| {
        cx.tools = Some(BTreeSet::from(["fs.read_file".parse().unwrap()]));
        cx
    })
    .await;
    let (_, caught, whole) = denied(&narrowed, "tools.fs.write_file(path='x', content='y')").await;
    assert_eq!(caught[0], "principal", "{caught}");
    let Error::Denied(denial) = whole else { panic!("{whole:?}") };
    assert_eq!(denial.command.as_deref(), Some("repeat the run with --tool 'fs.write_file'"));
    assert!(!host.workspace().join("x").exists());
    host.tenant().audit_verify().await.unwrap();
}

#[tokio::test]
async fn who_is_granted_no_interpreter_is_offered_none() {
    let host = TestHost::with_python().await;
    let plain = agent(&host, "llm = { roles = ['*'] }\ntool = ['*']").await;
    let told = plain.code("return 1").await;
    assert!(told.is_error && !plain.offered()[0].iter().any(|tool| tool == "execute_code"), "{told:?}");
    let other = agent(&host, EVERY_TOOL).await;
    let told = other.call("execute_code", json!({ "code": "1", "interpreter": "fs" })).await;
    assert!(told.is_error && told.text.starts_with("denied"), "{told:?}");
    for (args, says) in [
        (json!({ "source": "1" }), "do not fit"),
        (json!({ "code": "1", "session": "" }), "1 to 64"),
        (json!({ "code": "1", "session": "x".repeat(65) }), "1 to 64"),
        (json!({ "code": "x".repeat((1 << 20) + 1) }), "at most"),
        (json!({ "code": "1", "timeout_seconds": -1 }), "do not fit"),
    ] {
        let told = other.call("execute_code", args).await;
        assert!(told.is_error && told.text.contains(says), "{}", told.text.get(..300).unwrap_or(&told.text));
    }
    let told = other.call("execute_code", json!({ "code": "while True: pass", "timeout_seconds": 1 })).await;
    assert!(told.is_error && told.text.starts_with("timeout"), "{told:?}");
}

#[tokio::test]
async fn every_call_inside_is_journaled_as_a_child_of_the_run() {
    let host = TestHost::with_python().await;
    let agent = agent(&host, EVERY_TOOL).await;
    let code = "await asyncio.gather(*(tools.fs.write_file(path=f'{n}.txt', content='x') for n in range(3)))\n\
                ledger.append('note', 'seen')\nreturn len(tools.fs.glob(pattern='*.txt'))";
    let told = agent.code(code).await;
    assert!(!told.is_error && told.text == "3" || told.text.contains('3'), "{told:?}");
    let journal = agent.journal().await;
    let of = |subject: &str| journal.iter().filter(|r| r.intent.subject == subject).collect::<Vec<&Record>>();
    let run = of("execute_code")[0];
    assert_eq!(run.intent.request["code"], code);
    assert_eq!((of("fs.write_file").len(), of("fs.glob").len()), (3, 1));
    for inner in of("fs.write_file").into_iter().chain(of("fs.glob")) {
        assert_eq!((inner.intent.parent, inner.intent.caller.as_str()), (Some(run.seq), "worker"), "{inner:?}");
        assert!(inner.outcome.is_some(), "{inner:?}");
    }
    // The operator's own, too.
    let report = host.exec_within("tools.fs.glob(pattern='*')", Limits::unlimited()).await;
    let journal = host.tenant().journal_read(report.focus).await.unwrap();
    let parents: Vec<_> = journal.iter().map(|r| (r.intent.subject.as_str(), r.intent.parent)).collect();
    assert_eq!(parents, [("execute_code", None), ("fs.glob", Some(journal[0].seq))]);
}

#[tokio::test]
async fn a_session_keeps_and_is_apart_by_name_caller_and_focus() {
    let host = TestHost::with_python().await;
    let first = agent(&host, EVERY_TOOL).await;
    let second = agent(&host, EVERY_TOOL).await;
    let run = |session: &str, code: &str| json!({ "code": code, "session": session });
    let kept = first
        .turns(
            "count",
            &[
                ("execute_code", run("a", "import math\nn = 41\ndef more():\n    return n + 1")),
                ("execute_code", run("a", "n += 1\nreturn [more(), math.floor(2.5)]")),
                ("execute_code", run("b", "return n")),
                ("execute_code", json!({ "code": "return n" })),
                ("execute_code", run("a", "1/0")),
                ("execute_code", run("a", "return n")),
            ],
        )
        .await;
    assert_eq!(kept[1].text, "[43,2]".replace(',', ", ").as_str().to_owned(), "{kept:?}");
    for other in [&kept[2], &kept[3]] {
        assert!(other.is_error && other.text.contains("NameError"), "{other:?}");
    }
    assert!(kept[4].text.contains("ZeroDivisionError"));
    assert_eq!(kept[5].text, "42", "a failure keeps what was there");
    let elsewhere = second.call("execute_code", run("a", "return n")).await;
    assert!(elsewhere.text.contains("NameError"), "{elsewhere:?}");
    // A task has so many sessions and no more.
    let calls: Vec<_> = (0..9).map(|n| ("execute_code", run(&format!("s{n}"), "x = 1"))).collect();
    let many = second.turns("many", &calls).await;
    assert!(many[8].is_error && many[8].text.contains("at most 8 sessions"), "{many:?}");
    let large = first.call("execute_code", run("a", "big = 'x' * (5 << 20)\nreturn 1")).await;
    assert!(large.is_error && large.text.contains("too large"), "{large:?}");
    assert_eq!(first.call("execute_code", run("a", "return n")).await.text, "42");
}

#[tokio::test]
async fn references_to_what_lasts_are_not_counted() {
    let host = TestHost::with_python().await;
    // An object of the library, a class of ours, a name of code, and one that the program makes.
    let source = "import json, sys, animus\n\
        def last(one): return sys.getrefcount(one) > 1 << 28\n\
        return [last(json), last(animus.Error), last(json.dumps.__code__.co_names), last(object())]";
    assert_eq!(host.value(source).await, json!([true, true, true, false]));
}

/// What one program leaves must not be there for the next, whichever instance that gets.
#[tokio::test]
async fn no_state_passes_from_one_run_to_the_next() {
    let host = TestHost::with_python().await;
    let dirty = r#"
import atexit, builtins, gc, json, os, random, re, sys, types, animus, animus_python.run, collections, decimal, locale, warnings
leaked = "global"
sys.modules["leaked_module"] = types.ModuleType("leaked_module")
os.environ["LEAKED"] = "x"
builtins.leaked = "builtin"
builtins.len = lambda x: -1
json.dumps = lambda *a, **k: "hijacked"
json.loads = lambda *a, **k: "hijacked"
animus.tools.call = None if False else None
"#;
    // Setting an attribute of tools is refused, so that one by itself.
    let dirty = dirty.replace("animus.tools.call = None if False else None\n", "");
    let dirty = dirty
        + r#"
type(animus.tools).call = lambda self, name, *a, **k: "hijacked"
animus_python.run.execute = lambda *a: "hijacked"
random.seed(1)
re.purge = None
sys.path.append("/leaked")
sys.argv.append("leaked")
sys.setrecursionlimit(77 + 200)
decimal.getcontext().prec = 3
warnings.filterwarnings("error")
class Leak: pass
gc.callbacks.append(lambda *a: None)
atexit.register(lambda: None)
collections.LEAKED = 1
try:
    os.chdir("/")
    open("/leaked.txt", "w").write("x")
except OSError:
    pass
try:
    import tempfile
    tempfile.NamedTemporaryFile(delete=False)
except OSError:
    pass
return 1
"#;
    let clean = r#"
import builtins, gc, json, os, random, re, sys, animus, collections, decimal, warnings
found = []
def no(what, there):
    if there:
        found.append(what)
no("globals", "leaked" in globals())
no("modules", "leaked_module" in sys.modules)
no("environment", "LEAKED" in os.environ or os.environ)
no("builtins", hasattr(builtins, "leaked") or len([1]) != 1)
no("json", json.loads(json.dumps([1])) != [1])
no("path", "/leaked" in sys.path)
no("argv", sys.argv != [""])
no("recursion", sys.getrecursionlimit() == 277)
no("decimal", decimal.getcontext().prec == 3)
no("gc", gc.callbacks)
no("attributes", hasattr(collections, "LEAKED"))
no("classes", any(c.__name__ == "Leak" for c in object.__subclasses__()))
no("warnings", any(f[0] == "error" for f in warnings.filters))
no("tools", tools.fs.glob(pattern="*.txt") == "hijacked")
no("re", re.purge is None)
no("files", os.path.exists("/leaked.txt"))
no("random", random.Random(1).random() == random.random())
return found
"#;
    for _ in 0..8 {
        // Whatever it says itself; it may have spoilt its own answer.
        let _ = host.exec_within(&dirty, Limits::unlimited()).await;
        assert_eq!(host.value(clean).await, json!([]));
    }
}

#[tokio::test]
async fn chance_differs_between_runs() {
    let host = TestHost::with_python().await;
    let source = "import random, uuid, secrets, os, tempfile, hashlib\n\
                  return [random.random(), str(uuid.uuid4()), secrets.token_hex(8), os.urandom(8).hex(), \
                  random.Random().random(), random.SystemRandom().random(), next(tempfile._get_candidate_names())]";
    let mut seen: Vec<BTreeSet<String>> = vec![BTreeSet::new(); 7];
    for _ in 0..8 {
        let values = host.value(source).await;
        for (set, value) in seen.iter_mut().zip(values.as_array().unwrap()) {
            set.insert(value.to_string());
        }
    }
    let counts: Vec<_> = seen.iter().map(BTreeSet::len).collect();
    assert_eq!(counts, [8; 7], "{seen:?}");
}

/// The lines that one run's programs wrote past their own streams.
#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl Watcher for Lines {
    fn event(&self, event: Event) {
        if let Event::Log { line, .. } = event {
            self.0.lock().unwrap().push(line);
        }
    }
}

/// Instances that wait belong to nobody: each run sees the principal that it runs as, and no other.
#[tokio::test]
async fn a_prepared_instance_serves_its_own_principal_only() {
    let host = TestHost::with_python().await;
    let reader = agent(&host, READER).await;
    let any = agent(&host, EVERY_TOOL).await;
    let own = "return tools.list()";
    for _ in 0..4 {
        let few: Vec<String> = serde_json::from_str(&reader.code(own).await.text).unwrap();
        assert_eq!(few, ["fs.glob", "fs.read_file"]);
        let many: Vec<String> = serde_json::from_str(&any.code(own).await.text).unwrap();
        assert_eq!(many.len(), 6, "{many:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // What is written to the ledger from inside lands in the focus whose code it was.
    reader.code("ledger.append('note', 'by the reader')").await;
    any.code("ledger.append('note', 'by the other')").await;
    let all = animus_core::ledger::Filter::default();
    for (agent, says) in [(&reader, "by the reader"), (&any, "by the other")] {
        let entries = host.tenant().ledger_read(agent.work(), all).await.unwrap();
        let texts: Vec<_> = entries.iter().map(|entry| entry.content.as_str()).collect();
        assert_eq!(texts, [says]);
    }
    let logs = [Arc::<Lines>::default(), Arc::default()];
    for round in 0..3 {
        for (n, log) in logs.iter().enumerate() {
            let watched = Agent::begin(&host, "worker", READER, |cx| RunContext { watcher: log.clone(), ..cx }).await;
            watched.code(&format!("import os\nos.write(1, b'agent {n} in round {round}\\n')")).await;
        }
    }
    for (n, log) in logs.iter().enumerate() {
        let lines = log.0.lock().unwrap().clone();
        assert_eq!(lines, [0, 1, 2].map(|round| format!("agent {n} in round {round}")));
    }
    // And its limits are its own, also where an instance was made under the interpreter's.
    for _ in 0..3 {
        let memory = ending(&host, "return len(bytearray(200 << 20))", limits(|l| l.memory_bytes = 96 << 20)).await;
        assert!(matches!(memory, Error::BudgetExhausted(_)), "{memory:?}");
        assert_eq!(host.value("return len(bytearray(200 << 20))").await, 200 << 20);
    }
}

#[tokio::test]
async fn programs_give_work_to_children_as_far_as_whoever_has_them_run_may() {
    let host = TestHost::with_python().await;
    let grant = format!("{READER}\nspawn-child = {{ faculties = ['assistant'], max = 2 }}");
    let worker = agent(&host, &grant).await;
    let told = worker
        .code(
            r#"
from animus import children, errors
id = children.spawn("assistant", "look at it", {"max_turns": 3}, max_tokens=500)
before = children.check(id)[0]
told = {}
try:
    children.await_([id], timeout=0)
except errors.Timeout as error:
    told["named"] = id in str(error)
for wrong in ("admin", "assistant"):
    try:
        children.spawn(wrong, "x")
        children.spawn(wrong, "x")
    except errors.Error as error:
        told[wrong] = type(error).__name__
try:
    children.check("018f0000-0000-7000-8000-000000000000")
except errors.NotFound:
    told["foreign"] = "NotFound"
children.cancel(id)
told["states"] = [before.state, children.await_(id)[0].state]
return told
"#,
        )
        .await;
    let expected = json!({
        "named": true, "admin": "Denied", "assistant": "BudgetExhausted", "foreign": "NotFound",
        "states": ["queued", "cancelled"],
    });
    assert_eq!(serde_json::from_str::<Value>(&told.text).unwrap(), expected, "{}", told.text);
    let children =
        host.tenant().works(WorkFilter { parent: Some(worker.work()), ..WorkFilter::default() }).await.unwrap();
    assert_eq!(children.len(), 2, "one was spawned and cancelled, one was spawned before the number was reached");
    let first = children.last().unwrap();
    assert_eq!((first.params["max_turns"].as_u64(), first.allowance.tokens), (Some(3), Some(500)));
    let cap = first.cap.as_ref().unwrap();
    assert!(cap.tool.iter().all(|tool| tool.to_string().starts_with("fs.")) && cap.http.is_none(), "{cap:?}");

    let without = agent(&host, READER).await;
    let refused = without.code("from animus import children\nchildren.spawn('assistant', 'x')").await;
    assert!(refused.is_error && refused.text.contains("spawn-child:assistant"), "{}", refused.text);
}
