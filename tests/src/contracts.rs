//! The contracts of `wit/` as data, and components made for them by hand.

use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{
    Function, PackageId, Resolve, WorldId, WorldItem,
    abi::{AbiVariant, WasmType},
};

/// A host function that a plugin can import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Such as `animus:llm/llm@0.1.0`.
    pub interface: String,
    /// Such as `complete`, or `[method]completion.next`.
    pub function: String,
    /// Its import in a core module, in WebAssembly text.
    pub text: String,
}

fn contracts() -> (Resolve, PackageId) {
    let mut resolve = Resolve::default();
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
    let (package, _) = resolve.push_path(wit).unwrap_or_else(|e| panic!("{e:#}"));
    (resolve, package)
}

fn tool_plugin(resolve: &Resolve, package: PackageId) -> WorldId {
    resolve.select_world(&[package], Some("tool-plugin")).unwrap()
}

/// Every function of every interface that a plugin can import from the host, as `wit/` has them now.
#[must_use]
pub fn imported_functions() -> Vec<Imported> {
    let (resolve, package) = contracts();
    let world = &resolve.worlds[tool_plugin(&resolve, package)];
    let mut found = Vec::new();
    for (key, item) in &world.imports {
        let WorldItem::Interface { id, .. } = item else { panic!("the world imports more than interfaces") };
        let interface = resolve.name_world_key(key);
        for (name, function) in &resolve.interfaces[*id].functions {
            let text = format!("(import {interface:?} {name:?} (func {}))", signature(&resolve, function));
            found.push(Imported { interface: interface.clone(), function: name.clone(), text });
        }
    }
    found
}

fn signature(resolve: &Resolve, function: &Function) -> String {
    let core = resolve.wasm_signature(AbiVariant::GuestImport, function);
    let list = |what: &str, types: &[WasmType]| {
        let types = types.iter().map(|ty| match ty {
            WasmType::I64 | WasmType::PointerOrI64 => " i64",
            WasmType::F32 => " f32",
            WasmType::F64 => " f64",
            WasmType::I32 | WasmType::Pointer | WasmType::Length => " i32",
        });
        format!("({what}{})", types.collect::<String>())
    };
    format!("{} {}", list("param", &core.params), list("result", &core.results))
}

/// A tool plugin whose `call-tool` has the body `go`: WebAssembly text that leaves a pointer to a result. At address 0
/// lies an empty answer, at 256 one whose text is said to be 1 GiB long. `fields` are the module's imports and further
/// fields.
#[must_use]
pub fn encode(fields: &str, go: &str) -> Vec<u8> {
    let (resolve, package) = contracts();
    let mut module = wat::parse_str(format!(
        r#"(module
            {fields}
            (memory (export "memory") 1)
            (data (i32.const 260) "\00\10\00\00\00\00\00\40")
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
            (func (export "animus:tool/tools@0.1.0#list-tools") (result i32) (i32.const 0))
            (func (export "animus:tool/tools@0.1.0#call-tool") (param i32 i32 i32 i32) (result i32) {go}))"#
    ))
    .unwrap_or_else(|e| panic!("{e}"));
    let world = tool_plugin(&resolve, package);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let encoder = ComponentEncoder::default().validate(true).module(&module).unwrap_or_else(|e| panic!("{e:#}"));
    let mut encoder = encoder;
    encoder.encode().unwrap_or_else(|e| panic!("{e:#}"))
}
