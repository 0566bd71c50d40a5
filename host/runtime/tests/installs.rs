//! What a plugin has to pass before it is installed.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use animus_core::Error;
use animus_runtime::inspect;
use support::{Host, guest::*};

const OBJECT: &str = r#"{"type":"object"}"#;

async fn prepare(guest: Guest<'_>) -> animus_core::Result<animus_runtime::Prepared> {
    Host::new().registry.prepare(guest.build().into()).await
}

async fn refused(guest: Guest<'_>) -> String {
    match prepare(guest).await {
        Err(Error::Invalid(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_good_plugin_is_prepared_with_its_tools_by_full_name() {
    let prepared =
        prepare(Guest { tools: &[("go", OBJECT, false), ("look", OBJECT, true)], ..Guest::default() }).await.unwrap();
    let names: Vec<_> = prepared.tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(names, ["guest.go", "guest.look"]);
    assert!(prepared.tools[1].annotations.read_only && !prepared.tools[0].annotations.read_only);
    let inspection = prepared.inspection;
    assert!(inspection.offers_tools && !inspection.is_faculty);
    assert_eq!(inspection.manifest_text, MANIFEST);
    assert_eq!(inspection.exports, ["animus:tool/tools@0.1.0"]);
    assert_eq!((inspection.capabilities.len(), inspection.notes.len()), (0, 0));
}

#[test]
fn all_mismatches_are_in_one_report() {
    let guest = Guest {
        wit: "import animus:ledger/ledger@0.1.0; import animus:llm/llm@0.9.0; import other:thing/stuff@1.0.0;
              import wasi:sockets/instance-network@0.2.0;",
        fields: r#"(import "animus:ledger/ledger@0.1.0" "formatted" (func (param i32)))
                   (import "animus:llm/llm@0.9.0" "list-models" (func (param i32)))
                   (import "other:thing/stuff@1.0.0" "f" (func))
                   (import "wasi:sockets/instance-network@0.2.0" "instance-network" (func (result i32)))"#,
        ..Guest::default()
    };
    let report = inspect(&guest.build()).unwrap_err();
    let text = report.to_string();
    for expected in [
        "imports animus:ledger/ledger@0.1.0, but its manifest does not request ledger",
        "imports animus:llm/llm@0.9.0; this host has version 0.1",
        "imports other:thing/stuff@1.0.0, which this host does not have",
        "imports wasi:sockets/instance-network@0.2.0; no plugin gets sockets",
    ] {
        assert!(text.contains(expected), "missing '{expected}' in:\n{text}");
    }
    assert!(text.starts_with(&format!("{} problems:", report.problems.len())), "{text}");
}

#[test]
fn what_is_no_plugin_is_told_apart() {
    let core = wat::parse_str("(module)").unwrap();
    let nothing_of_ours = component("(module)", "");
    let mut cut = Guest::default().build();
    cut.truncate(cut.len() / 2);
    for (bytes, reason) in [
        (core, "core WebAssembly module"),
        (b"MZ".to_vec(), "not a WebAssembly component"),
        (cut, "the component"),
        (nothing_of_ours.clone(), "carries no manifest"),
        (nothing_of_ours, "nothing to call"),
        (Guest { manifest: Some("[plugin]\nnmae = \"x\"\n"), ..Guest::default() }.build(), "nmae"),
    ] {
        let text = inspect(&bytes).unwrap_err().to_string();
        assert!(text.contains(reason), "missing '{reason}' in: {text}");
    }
}

#[tokio::test]
async fn every_bad_tool_is_reported() {
    let text = refused(Guest {
        tools: &[("Go", OBJECT, false), ("a", "[]", false), ("b", r#"{"type":"string"}"#, false), ("b", OBJECT, false)],
        ..Guest::default()
    })
    .await;
    for expected in [
        "'Go': its name",
        "'a': its input schema is not a JSON object",
        "'b': its input schema does not describe an object",
        "'b': it is defined twice",
    ] {
        assert!(text.contains(expected), "missing '{expected}' in:\n{text}");
    }
    let names: Vec<_> = (0..65).map(|n| format!("t{n}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), OBJECT, false)).collect();
    assert!(refused(Guest { tools: &many, ..Guest::default() }).await.contains("65 tools; at most 64"));
}

#[tokio::test]
async fn a_trial_reaches_nothing_even_what_it_requests() {
    let manifest = format!("{MANIFEST}[capabilities]\nllm = {{ roles = [\"*\"] }}\n");
    let guest = Guest {
        wit: "import animus:llm/llm@0.1.0;",
        fields: r#"(import "animus:llm/llm@0.1.0" "list-models" (func $models (param i32)))"#,
        listing: "(call $models (i32.const 640)) (if (i32.load (i32.const 644)) (then unreachable))",
        manifest: Some(&manifest),
        ..Guest::default()
    };
    let prepared = prepare(guest).await.unwrap();
    assert_eq!(prepared.inspection.capabilities, ["llm"]);
}

#[tokio::test]
async fn a_request_without_use_and_a_doubtful_read_only_claim_are_noted() {
    let manifest = format!("{MANIFEST}[capabilities]\nmemory = [\"write\"]\n");
    let prepared = prepare(Guest { tools: &[("look", OBJECT, true)], manifest: Some(&manifest), ..Guest::default() })
        .await
        .unwrap();
    let notes = prepared.inspection.notes.join("\n");
    assert!(notes.contains("requests memory, but the component does not import it"), "{notes}");
    assert!(notes.contains("guest.look says that it is read-only"), "{notes}");
}

#[tokio::test]
async fn a_plugin_that_breaks_when_asked_for_its_tools_is_not_installed() {
    let spin = Guest { fields: "(func $spin (loop $l (br $l))) (start $spin)", ..Guest::default() };
    let manifest = format!("{MANIFEST}[limits]\ncpu_ms = 50\n");
    let error = prepare(Guest { manifest: Some(&manifest), ..spin }).await.unwrap_err();
    assert!(matches!(&error, Error::BudgetExhausted(s) if s.contains("cpu_ms")), "{error:?}");
}

#[tokio::test]
async fn an_interface_with_other_types_than_ours_is_refused() {
    let module = r#"(module (memory (export "memory") 1)
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0))
        (func (export "animus:tool/tools@0.1.9#list-tools") (result i32) (i32.const 7)))"#;
    let world = "export animus:tool/tools@0.1.9;";
    let wasm =
        component_with(module, world, "package animus:tool@0.1.9 { interface tools { list-tools: func() -> u32; } }");
    let wasm = animus_core::package::embed(&wasm, MANIFEST).unwrap();
    let error = Host::new().registry.prepare(wasm.into()).await.unwrap_err();
    assert!(matches!(&error, Error::Invalid(s) if s.contains("other types")), "{error:?}");
}

/// A component that exports this of `animus:faculty`, whose functions are never called.
fn faculty(interfaces: &[&str]) -> Vec<u8> {
    let strings = "i32 i32 ";
    let task = format!("{}i32 {strings}", strings.repeat(3));
    let signature = |interface: &str| match interface {
        "faculty" => ("engage", task.clone()),
        "consolidate" => ("consolidate", "i32 ".repeat(15)),
        _ => ("orient", task.clone()),
    };
    let exports: String = interfaces.iter().map(|it| format!("export animus:faculty/{it}@0.1.0;")).collect();
    let functions: String = interfaces
        .iter()
        .map(|it| {
            let (name, params) = signature(it);
            format!(r#"(func (export "animus:faculty/{it}@0.1.0#{name}") (param {params}) (result i32) unreachable)"#)
        })
        .collect();
    let module = format!(
        r#"(module (memory (export "memory") 1)
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0)) {functions})"#
    );
    animus_core::package::embed(&component(&module, &exports), MANIFEST).unwrap()
}

#[tokio::test]
async fn a_faculty_has_the_phases_that_it_exports_and_nothing_else_has_any() {
    let prepared = Host::new().registry.prepare(faculty(&["faculty", "orient"]).into()).await.unwrap();
    let found = prepared.inspection;
    assert!(found.is_faculty && found.phases.orient && !found.phases.consolidate && !found.phases.recover);
    assert_eq!(found.phases.names(), ["orient", "engage"]);
    let plain = Host::new().registry.prepare(faculty(&["faculty"]).into()).await.unwrap().inspection;
    assert_eq!((plain.is_faculty, plain.phases.names()), (true, vec!["engage"]));

    let why = inspect(&faculty(&["orient", "consolidate"])).unwrap_err().to_string();
    let expected = "it exports phases of a faculty (orient, consolidate), but not animus:faculty/faculty: export that too, \
                    or leave them out";
    assert!(why.contains(expected), "{why}");
}
