//! Thin components, seen as any tool would see them, and run by plain wasmtime with an interpreter of the test's own.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "these are tests"
)]

use std::{collections::BTreeSet, sync::OnceLock};

use animus_core::{
    Error,
    grant::{Grant, LedgerAccess, LlmGrant, MemoryAccess},
    id::Digest,
    limits::SomeLimits,
    manifest::Manifest,
    package,
    tool::{Annotations, Tool},
};
use animus_runtime::skill::{self, Interface, Thin};
use proptest::prelude::*;
use serde_json::{Value, json};
use wasmtime::{
    Store,
    component::{Component, Instance, Linker, Val},
};

const TOOLS: &str = "animus:tool/tools@0.1.0";
const CODE: &str = "animus:interpreter/code@0.1.0";

fn tool(name: &str, output: Option<Value>) -> Tool {
    Tool {
        name: name.to_owned(),
        description: format!("does {name} — naïvely, 日本語 🦀"),
        input_schema: json!({"type": "object", "properties": {"text": {"type": "string", "title": "é"}}}),
        output_schema: output,
        annotations: Annotations { read_only: true, open_world: true, ..Annotations::default() },
    }
}

fn object() -> Value {
    json!({"type": "object", "properties": {"n": {"type": "integer"}}})
}

fn wrapping(result: &Value) -> Value {
    json!({"type": "object", "properties": {"result": result}, "required": ["result"]})
}

/// A skill that owns its parts.
struct Skill {
    provenance: Value,
    source: String,
    modules: Vec<(String, String)>,
    tools: Vec<Tool>,
    imports: BTreeSet<Interface>,
}

impl Skill {
    fn new(tools: Vec<Tool>) -> Self {
        Self {
            provenance: json!({"work": "w", "by": {"z": 1, "a": [null, "é"]}}),
            source: "def count(text):\n    return len(text.split())\0\n".to_owned(),
            modules: vec![
                ("skills.helper".to_owned(), "X = 'ö'".to_owned()),
                ("skills.empty".to_owned(), String::new()),
            ],
            tools,
            imports: BTreeSet::new(),
        }
    }

    fn compile(&self) -> Result<Vec<u8>, Error> {
        skill::compile(&Thin {
            manifest: "[plugin]\nname = \"word_count\"\nversion = \"0.1.0\"\nwit = \"0.1\"\n",
            provenance: &self.provenance,
            interpreter: "python",
            name: "word_count.py",
            source: &self.source,
            modules: &self.modules,
            tools: &self.tools,
            imports: &self.imports,
        })
    }
}

fn two() -> Skill {
    Skill::new(vec![tool("count", Some(object())), tool("shout", None)])
}

/// The test's interpreter: what it answers, and what it was asked.
struct World {
    answer: Val,
    asked: Vec<Vec<Val>>,
}

struct Running {
    store: Store<World>,
    instance: Instance,
}

impl Running {
    fn new(wasm: &[u8], answer: Val) -> Self {
        static ENGINE: OnceLock<wasmtime::Engine> = OnceLock::new();
        let engine = ENGINE.get_or_init(wasmtime::Engine::default);
        let component = Component::new(engine, wasm).unwrap();
        let mut linker = Linker::<World>::new(engine);
        linker
            .instance(CODE)
            .unwrap()
            .func_new("run", |mut store, _, params, results| {
                let world = store.data_mut();
                world.asked.push(params.to_vec());
                results[0] = world.answer.clone();
                Ok(())
            })
            .unwrap();
        linker.define_unknown_imports_as_traps(&component).unwrap();
        let mut store = Store::new(engine, World { answer, asked: Vec::new() });
        let instance = linker.instantiate(&mut store, &component).unwrap();
        Self { store, instance }
    }

    fn export(&mut self, name: &str, params: &[Val]) -> Val {
        let tools = self.instance.get_export_index(&mut self.store, None, TOOLS).unwrap();
        let index = self.instance.get_export_index(&mut self.store, Some(&tools), name).unwrap();
        let function = self.instance.get_func(&mut self.store, index).unwrap();
        let mut results = [Val::Bool(false)];
        function.call(&mut self.store, params, &mut results).unwrap();
        let [result] = results;
        result
    }

    fn call(&mut self, name: &str, args: &str) -> Val {
        self.export("call-tool", &[s(name), s(args)])
    }
}

fn s(text: &str) -> Val {
    Val::String(text.to_owned())
}

fn some(value: Val) -> Val {
    Val::Option(Some(Box::new(value)))
}

fn none() -> Val {
    Val::Option(None)
}

fn record(fields: &[(&str, Val)]) -> Val {
    Val::Record(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

fn ok(value: Val) -> Val {
    Val::Result(Ok(Some(Box::new(value))))
}

fn err(value: Val) -> Val {
    Val::Result(Err(Some(Box::new(value))))
}

fn error(case: &str, text: &str) -> Val {
    Val::Variant(case.to_owned(), Some(Box::new(s(text))))
}

fn denied() -> Val {
    let denial = [
        ("capability", s("tool:fs.read_file")),
        ("gate", Val::Enum("principal".to_owned())),
        ("unlock", Val::Enum("nothing".to_owned())),
    ];
    Val::Variant("denied".to_owned(), Some(Box::new(record(&denial))))
}

fn outcome(text: &str, value: Option<&str>, failure: Val) -> Val {
    ok(record(&[
        ("text", s(text)),
        ("value", Val::Option(value.map(|value| Box::new(s(value))))),
        ("stdout", s("printed")),
        ("stderr", s("warned")),
        ("failure", failure),
        ("state", some(Val::List(vec![Val::U8(7)]))),
    ]))
}

fn failure(traceback: &str, cause: Val) -> Val {
    some(record(&[
        ("kind", s("ValueError")),
        ("message", s("no wörds")),
        ("traceback", s(traceback)),
        ("cause", cause),
    ]))
}

fn answered(text: &str, structured: Option<&str>, is_error: bool) -> Val {
    ok(record(&[
        ("text", s(text)),
        ("structured", Val::Option(structured.map(|value| Box::new(s(value))))),
        ("images", Val::List(Vec::new())),
        ("is-error", Val::Bool(is_error)),
    ]))
}

fn definition(tool: &Tool) -> Val {
    record(&[
        ("name", s(&tool.name)),
        ("description", s(&tool.description)),
        ("input-schema", s(&tool.input_schema.to_string())),
        ("output-schema", Val::Option(tool.output_schema.as_ref().map(|schema| Box::new(s(&schema.to_string()))))),
        (
            "annotations",
            record(&[
                ("read-only", Val::Bool(tool.annotations.read_only)),
                ("idempotent", Val::Bool(tool.annotations.idempotent)),
                ("destructive", Val::Bool(tool.annotations.destructive)),
                ("open-world", Val::Bool(tool.annotations.open_world)),
            ]),
        ),
    ])
}

/// What another component tool reads from the bytes: imports, exports, and the world as text.
fn decoded(wasm: &[u8]) -> (Vec<String>, Vec<String>, String) {
    let wit_component::DecodedWasm::Component(resolve, world) = wit_component::decode(wasm).unwrap() else {
        panic!("not a component");
    };
    let names = |items: &mut dyn Iterator<Item = &wit_parser::WorldKey>| {
        items.map(|key| resolve.name_world_key(key)).collect::<Vec<_>>()
    };
    let imports = names(&mut resolve.worlds[world].imports.keys());
    let exports = names(&mut resolve.worlds[world].exports.keys());
    let mut printer = wit_component::WitPrinter::default();
    let package = resolve.worlds[world].package.unwrap();
    let others: Vec<_> = resolve.packages.iter().map(|(id, _)| id).filter(|id| *id != package).collect();
    printer.print(&resolve, package, &others).unwrap();
    (imports, exports, printer.output.to_string())
}

#[test]
fn a_thin_component_is_valid_and_shows_what_it_imports_and_exports() {
    let mut skill = two();
    let wasm = skill.compile().unwrap();
    wasmparser::Validator::new().validate_all(&wasm).unwrap();
    let (imports, exports, wit) = decoded(&wasm);
    eprintln!("{} bytes\n{wit}", wasm.len());
    assert_eq!(exports, [TOOLS]);
    let base = ["animus:interpreter/types@0.1.0", "animus:tool/types@0.1.0", "animus:types/types@0.1.0"];
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    let with = |more: &[&str]| {
        sorted(base.iter().chain([&CODE]).chain(more).map(|name| (*name).to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(sorted(imports), with(&[]));

    for (interface, name, functions) in [
        (Interface::Llm, "animus:llm/llm@0.1.0", &["complete: func", "open-stream: func", "list-models: func"][..]),
        (Interface::Ledger, "animus:ledger/ledger@0.1.0", &["append: func", "read: func", "formatted: func"]),
        (Interface::Memory, "animus:memory/memory@0.1.0", &["store: func", "recall: func", "forget: func"]),
        (Interface::Tool, "animus:tool/tool@0.1.0", &["%list: func", "describe: func", "call: func"]),
        (
            Interface::SpawnChild,
            "animus:spawn-child/spawn-child@0.1.0",
            &["spawn: func", "await: func", "cancel: func"],
        ),
    ] {
        skill.imports = BTreeSet::from([interface]);
        let wasm = skill.compile().unwrap();
        wasmparser::Validator::new().validate_all(&wasm).unwrap();
        let (imports, _, wit) = decoded(&wasm);
        assert_eq!(sorted(imports), with(&[name]), "{interface:?}");
        for function in functions {
            assert!(wit.contains(function.trim_start_matches('%')), "{interface:?} lacks {function}:\n{wit}");
        }
        let mut running = Running::new(&wasm, outcome("3", None, none()));
        assert_eq!(running.call("shout", "{}"), answered("3", None, false), "with {interface:?}");
    }
}

#[test]
fn equal_skills_have_equal_bytes_and_other_skills_others() {
    let first = Digest::of(&two().compile().unwrap());
    assert_eq!(first, Digest::of(&two().compile().unwrap()));
    let mut reordered = two();
    reordered.provenance = json!({"by": {"a": [null, "é"], "z": 1}, "work": "w"});
    assert_eq!(first, Digest::of(&reordered.compile().unwrap()), "the order of keys says nothing");
    let changes: [fn(&mut Skill); 5] = [
        |skill| skill.source.push(' '),
        |skill| skill.modules[0].1.push(' '),
        |skill| skill.provenance = json!(null),
        |skill| skill.tools[0].annotations.destructive = true,
        |skill| assert!(skill.imports.insert(Interface::Ledger)),
    ];
    let mut digests = BTreeSet::from([first]);
    for change in changes {
        let mut skill = two();
        change(&mut skill);
        assert!(digests.insert(Digest::of(&skill.compile().unwrap())));
    }
}

#[test]
fn it_is_small_and_carries_its_manifest_and_provenance() {
    let mut skill = two();
    skill.source = "x".repeat(100_000);
    let wasm = skill.compile().unwrap();
    assert!(wasm.len() < 108_000, "{} bytes", wasm.len());
    assert_eq!(skill::provenance_of(&wasm), Some(skill.provenance.clone()));
    assert!(package::manifest_of(&wasm).unwrap().unwrap().contains("word_count"));
    skill.imports = BTreeSet::from([Interface::Llm, Interface::Ledger, Interface::Memory, Interface::Tool]);
    let all = skill.compile().unwrap();
    eprintln!("2 tools: {} bytes beside the source; with all interfaces {}", wasm.len() - 100_000, all.len() - 100_000);
    assert!(all.len() < 116_000, "{} bytes with every interface", all.len());

    let text = r#"{"by":{"a":[null,"é"],"z":1},"work":"w"}"#;
    assert!(wasm.windows(text.len()).any(|window| window == text.as_bytes()), "keys are in order");
    assert_eq!(skill::provenance_of(b"no component"), None);
    let broken = package::with_section(&wasm, "animus:provenance", b"{").unwrap();
    assert_eq!(skill::provenance_of(&broken), None);
}

#[test]
fn what_is_out_of_bounds_is_refused_by_name() {
    let refused = |change: &dyn Fn(&mut Skill), reason: &str| {
        let mut skill = two();
        change(&mut skill);
        let error = skill.compile().unwrap_err();
        assert!(matches!(error, Error::Invalid(_)) && error.to_string().contains(reason), "{reason}: {error}");
    };
    refused(&|skill| skill.source = "x".repeat(skill::MAX_CODE + 1), "bytes of code");
    refused(&|skill| skill.modules[1].1 = "x".repeat(skill::MAX_CODE), "bytes of code");
    refused(&|skill| skill.modules[1].0 = "skills.helper".to_owned(), "there twice");
    refused(&|skill| skill.modules[1].0 = "a\nb".to_owned(), "module name 'a\\nb'");
    refused(&|skill| skill.modules = vec![(String::new(), String::new()); skill::MAX_MODULES + 1], "257 modules");
    refused(&|skill| skill.tools.clear(), "without tools");
    refused(&|skill| skill.tools = (0..65).map(|n| tool(&format!("t{n}"), None)).collect(), "65 tools");
    refused(&|skill| skill.tools[1].name = "count".to_owned(), "defined twice");
    refused(&|skill| skill.tools[1].name = "_private".to_owned(), "'_private' is not of the form");
    refused(&|skill| skill.tools[1].name = "word_count.shout".to_owned(), "is not of the form");
    refused(&|skill| skill.tools[1].description = "x".repeat(skill::MAX_DEFINITIONS), "bytes of descriptions");
    refused(&|skill| skill.provenance = json!("x".repeat(skill::MAX_PROVENANCE)), "bytes of provenance");

    let mut largest = two();
    largest.source = "x".repeat(skill::MAX_CODE - 7);
    largest.modules[0].1 = "1234567".to_owned();
    largest.tools = (0..skill::MAX_TOOLS).map(|n| tool(&format!("t{n}"), None)).collect();
    let mut running = Running::new(&largest.compile().unwrap(), outcome("", None, none()));
    assert_eq!(running.call("t63", "{}"), answered("", None, false));
}

#[test]
fn its_tools_are_listed_as_they_were_given() {
    let mut skill = two();
    skill.tools.push(Tool {
        description: String::new(),
        input_schema: json!({}),
        annotations: Annotations { idempotent: true, destructive: true, ..Annotations::default() },
        ..tool("odd", Some(json!({})))
    });
    let mut running = Running::new(&skill.compile().unwrap(), none());
    let expected = Val::List(skill.tools.iter().map(definition).collect());
    assert_eq!(running.export("list-tools", &[]), expected);
    assert_eq!(running.export("list-tools", &[]), expected, "again");
    assert!(running.store.data().asked.is_empty(), "listing runs nothing");
}

#[test]
fn a_call_hands_over_the_program() {
    let skill = two();
    let mut running = Running::new(&skill.compile().unwrap(), outcome("3", Some(r#"{"n":3}"#), none()));
    let args = format!(r#"{{"text":"é{}"}}"#, "x".repeat(1 << 20));
    assert_eq!(running.call("shout", &args), answered("3", None, false));
    let modules = skill.modules.iter().map(|(name, source)| record(&[("name", s(name)), ("source", s(source))]));
    let program = record(&[
        ("name", s("word_count.py")),
        ("source", s(&skill.source)),
        ("modules", Val::List(modules.collect())),
        ("entry", some(s("shout"))),
        ("args", s(&args)),
        ("state", none()),
    ]);
    assert_eq!(running.store.data().asked, [vec![s("python"), program]]);
}

#[test]
fn a_name_that_is_no_tool_never_reaches_the_program() {
    let mut running = Running::new(&two().compile().unwrap(), outcome("", None, none()));
    let long = "é".repeat(33);
    for (name, shown) in
        [("_helper", "_helper"), ("coun", "coun"), ("counts", "counts"), ("", ""), ("Count", "Count"), (&long, "…")]
    {
        let expected = err(error("not-found", &format!("this plugin has no tool '{shown}'")));
        assert_eq!(running.call(name, "{}"), expected);
    }
    assert!(running.store.data().asked.is_empty());
}

#[test]
fn a_value_becomes_data_as_the_output_schema_says() {
    let (number, any) = (json!({"type": "integer"}), json!({"type": ["object", "null"]}));
    let wasm = Skill::new(vec![
        tool("none", None),
        tool("object", Some(object())),
        tool("number", Some(wrapping(&number))),
        tool("any", Some(wrapping(&any))),
        tool("open", Some(json!({"type": "object"}))),
    ])
    .compile()
    .unwrap();
    for (tool, value, structured) in [
        ("none", Some("3"), None),
        ("none", Some("{}"), None),
        ("object", None, None),
        ("object", Some(r#"{"n":1}"#), Some(r#"{"n":1}"#)),
        ("object", Some(" \t\r\n{}"), Some(" \t\r\n{}")),
        ("object", Some("[1]"), Some(r#"{"result":[1]}"#)),
        ("number", Some("3"), Some(r#"{"result":3}"#)),
        ("number", Some(r#"{"result":3}"#), Some(r#"{"result":3}"#)),
        ("any", Some(r#"{"result":3}"#), Some(r#"{"result":{"result":3}}"#)),
        ("any", Some("null"), Some(r#"{"result":null}"#)),
        ("any", Some("\"ü\""), Some(r#"{"result":"ü"}"#)),
        ("open", Some("{}"), Some("{}")),
        ("open", Some("\t"), Some("{\"result\":\t}")),
    ] {
        let mut running = Running::new(&wasm, outcome("täxt", value, none()));
        assert_eq!(running.call(tool, "{}"), answered("täxt", structured, false), "{tool} {value:?}");
    }
}

#[test]
fn a_failure_is_an_answer_and_its_cause_an_error() {
    let wasm = two().compile().unwrap();
    let errors = ["budget-exhausted", "timeout", "invalid", "not-found", "conflict", "unavailable", "internal"];
    let errors =
        errors.iter().map(|case| error(case, "wärum")).chain([denied(), Val::Variant("cancelled".to_owned(), None)]);
    for error in errors {
        let mut running = Running::new(&wasm, err(error.clone()));
        assert_eq!(running.call("count", "{}"), err(error.clone()), "the interpreter's own");
        running.store.data_mut().answer = outcome("text", Some("{}"), failure("line 3", some(error.clone())));
        assert_eq!(running.call("count", "{}"), err(error), "the cause");
        // One area after another answer: nothing of the earlier one is left.
        running.store.data_mut().answer = outcome("text", Some("{}"), none());
        assert_eq!(running.call("count", "{}"), answered("text", Some("{}"), false));
        running.store.data_mut().answer = outcome("text", Some("{}"), failure("line 3", none()));
        assert_eq!(running.call("count", "{}"), answered("line 3", None, true));
        running.store.data_mut().answer = outcome("text", Some("{}"), failure("", none()));
        assert_eq!(running.call("count", "{}"), answered("ValueError: no wörds", None, true));
    }
}

#[test]
fn memory_that_does_not_grow_traps_and_nothing_else_happens() {
    let engine = wasmtime::Engine::default();
    let component = Component::new(&engine, two().compile().unwrap()).unwrap();
    let mut linker = Linker::<wasmtime::StoreLimits>::new(&engine);
    linker.define_unknown_imports_as_traps(&component).unwrap();
    let limits = wasmtime::StoreLimitsBuilder::new().memory_size(2 << 16).build();
    let mut store = Store::new(&engine, limits);
    store.limiter(|limits| limits);
    let instance = linker.instantiate(&mut store, &component).unwrap();
    let tools = instance.get_export_index(&mut store, None, TOOLS).unwrap();
    let index = instance.get_export_index(&mut store, Some(&tools), "call-tool").unwrap();
    let function = instance.get_func(&mut store, index).unwrap();
    let args = "x".repeat(3 << 16);
    let failed = function.call(&mut store, &[s("count"), s(&args)], &mut [Val::Bool(false)]).unwrap_err();
    assert_eq!(failed.downcast_ref(), Some(&wasmtime::Trap::UnreachableCodeReached), "{failed:?}");
}

fn any_tool() -> impl Strategy<Value = Tool> {
    let schema = || any::<String>().prop_map(|text| json!({"type": "object", "title": text}));
    ("[a-z][a-z0-9_]{0,63}", any::<String>(), schema(), proptest::option::of(schema()), any::<[bool; 4]>()).prop_map(
        |(name, description, input_schema, output_schema, [read_only, idempotent, destructive, open_world])| Tool {
            name,
            description,
            input_schema,
            output_schema,
            annotations: Annotations { read_only, idempotent, destructive, open_world },
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_put_in_comes_out(
        tools in proptest::collection::vec(any_tool(), 1..8),
        source in any::<String>(),
        modules in proptest::collection::btree_map("[a-z]{1,8}", any::<String>(), 0..4),
        args in any::<String>(),
    ) {
        let mut names = BTreeSet::new();
        let mut skill = Skill::new(tools.into_iter().filter(|tool| names.insert(tool.name.clone())).collect());
        skill.source = source;
        skill.modules = modules.into_iter().collect();
        let wasm = skill.compile().unwrap();
        let mut running = Running::new(&wasm, outcome("", Some("1"), none()));
        prop_assert_eq!(running.export("list-tools", &[]), Val::List(skill.tools.iter().map(definition).collect()));
        for tool in &skill.tools {
            let structured = tool.output_schema.as_ref().map(|_| r#"{"result":1}"#);
            prop_assert_eq!(running.call(&tool.name, &args), answered("", structured, false));
            let asked = running.store.data_mut().asked.pop().unwrap();
            let Val::Record(program) = &asked[1] else { panic!("{asked:?}") };
            prop_assert_eq!(&program[1].1, &s(&skill.source));
            prop_assert_eq!(&program[3].1, &some(s(&tool.name)));
            prop_assert_eq!(&program[4].1, &s(&args));
        }
    }
}

fn uses(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn written(uses: &[String], limits: SomeLimits) -> Result<String, Error> {
    skill::manifest("word_count", "0.2.0", "Counts \"words\".", uses, "python", limits)
}

/// The manifest but for its interpreter.
fn read_back(text: &str) -> Manifest {
    let asks = "interpreter = [\"python\"]\n";
    assert_eq!(text.matches(asks).count(), 1, "{text}");
    Manifest::parse(&text.replace(asks, "")).unwrap()
}

#[test]
fn a_manifest_asks_for_what_the_code_uses() {
    let all = uses(&["ledger:append", "llm:fast", "memory:read", "tool:fs.*", "tool:web.get", "tool:fs.*"]);
    let limits = SomeLimits { wall_ms: Some(5_000), ..SomeLimits::default() };
    let manifest = read_back(&written(&all, limits).unwrap());
    assert_eq!((manifest.name.as_str(), manifest.version.to_string().as_str()), ("word_count", "0.2.0"));
    assert_eq!(manifest.description, "Counts \"words\".");
    let request = Grant {
        llm: Some(LlmGrant { roles: BTreeSet::from(["fast".parse().unwrap()]), max_tokens: 8_192 }),
        ledger: BTreeSet::from([LedgerAccess::Append]),
        memory: BTreeSet::from([MemoryAccess::Read]),
        tool: BTreeSet::from(["fs.*".parse().unwrap(), "web.get".parse().unwrap()]),
        limits,
        ..Grant::default()
    };
    assert_eq!(manifest.request, request);
    let interfaces = skill::interfaces(&all).unwrap();
    assert_eq!(interfaces, BTreeSet::from([Interface::Llm, Interface::Ledger, Interface::Memory, Interface::Tool]));

    let tokens = read_back(&written(&uses(&["llm:fast (100 tokens)", "llm:deep"]), limits).unwrap()).request.llm;
    assert_eq!(tokens.unwrap().max_tokens, 100);
    let nothing = read_back(&written(&[], SomeLimits::default()).unwrap());
    assert_eq!(nothing.request, Grant::default());
    assert_eq!(skill::interfaces(&[]).unwrap(), BTreeSet::new());
}

#[test]
fn a_manifest_that_would_not_be_read_is_not_written() {
    for (text, reason) in [
        ("http:GET example.org:443", "cannot use http:GET example.org:443"),
        ("path:ro /etc as /etc", "cannot use path:ro"),
        ("ledger:delete", "is none of"),
        ("tool:f*", "not a name or a pattern"),
        ("everything", "not a capability"),
    ] {
        for error in [
            skill::interfaces(&uses(&[text])).unwrap_err(),
            written(&uses(&[text]), SomeLimits::default()).unwrap_err(),
        ] {
            assert!(matches!(error, Error::Invalid(_)) && error.to_string().contains(reason), "{text}: {error}");
        }
    }
    let none = SomeLimits::default();
    for error in [
        skill::manifest("Word Count", "0.1.0", "", &[], "python", none),
        skill::manifest("word_count", "one", "", &[], "python", none),
        skill::manifest("word_count", "0.1.0", "two\nlines", &[], "python", none),
        skill::manifest("word_count", "0.1.0", "", &[], "not a plugin", none),
        skill::manifest("word_count", "0.1.0", "", &vec!["ledger:read".to_owned(); 1_000], "python", none),
    ] {
        assert!(matches!(error, Err(Error::Invalid(_))), "{error:?}");
    }
}
