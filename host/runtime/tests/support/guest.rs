//! Components for tests, written as a few lines of WebAssembly text.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A tool plugin whose `call-tool` is `body`: WebAssembly text that leaves a pointer to the result, as `$ok` makes one.
/// It has `$name`, `$name_len`, `$args`, `$args_len` and the scratch locals `$a`, `$b`.
pub struct Guest<'a> {
    /// Names, schemas and read-only claims of `list-tools`.
    pub tools: &'a [(&'a str, &'a str, bool)],
    /// WIT imports, such as `import animus:llm/llm@0.1.0;`.
    pub wit: &'a str,
    /// The core module's imports and further fields.
    pub fields: &'a str,
    pub body: &'a str,
    /// What `list-tools` does before it answers.
    pub listing: &'a str,
    pub manifest: Option<&'a str>,
}

impl Default for Guest<'_> {
    fn default() -> Self {
        Self {
            tools: &[("go", r#"{"type":"object"}"#, false)],
            wit: "",
            fields: "",
            body: ECHO,
            listing: "",
            manifest: Some(MANIFEST),
        }
    }
}

/// Answers with its arguments.
pub const ECHO: &str = "(call $ok (local.get $args) (local.get $args_len))";

pub const MANIFEST: &str =
    "[plugin]\nname = \"guest\"\nversion = \"0.1.0\"\ndescription = \"A test.\"\nwit = \"0.1\"\n";

impl Guest<'_> {
    pub fn build(&self) -> Vec<u8> {
        let (data, list) = self.definitions();
        let data: String = data.iter().map(|b| format!("\\{b:02x}")).collect();
        let module = format!(
            r#"(module
              {fields}
              (memory (export "memory") 2)
              (global $top (mut i32) (i32.const 65536))
              (data (i32.const 1024) "{data}")
              (func $realloc (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (local $p i32)
                (local.set $p (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
                (global.set $top (i32.add (local.get $p) (local.get 3)))
                (block $fits
                  (br_if $fits (i32.le_u (global.get $top) (i32.mul (memory.size) (i32.const 65536))))
                  (br_if $fits (i32.ne (i32.const -1) (memory.grow (i32.add (i32.const 1) (i32.div_u (local.get 3) (i32.const 65536))))))
                  unreachable)
                (local.get $p))
              (func $ok (param $text i32) (param $len i32) (result i32)
                (memory.fill (i32.const 512) (i32.const 0) (i32.const 64))
                (i32.store (i32.const 516) (local.get $text))
                (i32.store (i32.const 520) (local.get $len))
                (i32.const 512))
              (func (export "animus:tool/tools@0.1.0#list-tools") (result i32) {listing} (i32.const {list}))
              (func (export "animus:tool/tools@0.1.0#call-tool")
                (param $name i32) (param $name_len i32) (param $args i32) (param $args_len i32) (result i32)
                (local $a i32) (local $b i32)
                {body}))"#,
            fields = self.fields,
            body = self.body,
            listing = self.listing,
        );
        let wasm = component(&module, &format!("{}\nexport animus:tool/tools@0.1.0;", self.wit));
        self.manifest.map_or(wasm.clone(), |manifest| animus_core::package::embed(&wasm, manifest).unwrap())
    }

    /// The bytes of `list-tools`' answer as they lie from address 1024, and where its list is.
    fn definitions(&self) -> (Vec<u8>, usize) {
        const BASE: usize = 1024;
        let mut data = Vec::new();
        let put = |data: &mut Vec<u8>, s: &str| {
            let at = BASE + data.len();
            data.extend_from_slice(s.as_bytes());
            [at as u32, s.len() as u32]
        };
        let mut records = Vec::new();
        for (name, schema, read_only) in self.tools {
            for word in [put(&mut data, name), put(&mut data, "A tool of a test."), put(&mut data, schema)].concat() {
                records.extend_from_slice(&word.to_le_bytes());
            }
            records.extend_from_slice(&[0; 12]);
            records.extend_from_slice(&[u8::from(*read_only), 0, 0, 0]);
        }
        data.resize(data.len().next_multiple_of(4), 0);
        let at = BASE + data.len();
        data.extend_from_slice(&records);
        let list = BASE + data.len();
        data.extend_from_slice(&(at as u32).to_le_bytes());
        data.extend_from_slice(&(self.tools.len() as u32).to_le_bytes());
        (data, list)
    }
}

/// A core module made into a component of the world with these imports and exports.
pub fn component(module: &str, world: &str) -> Vec<u8> {
    component_with(module, world, "")
}

/// The same with further WIT packages.
pub fn component_with(module: &str, world: &str, packages: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    resolve.push_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit")).unwrap();
    let package = resolve
        .push_str("guest.wit", &format!("package test:guest;\nworld guest {{\n{world}\n}}\n{WASI}{packages}"))
        .unwrap_or_else(|e| panic!("{e:#}"));
    let world = resolve.select_world(&[package], Some("guest")).unwrap();
    let mut module = wat::parse_str(module).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().validate(true).module(&module).unwrap().encode().unwrap()
}

/// As much of WASI, and of what no host has, as the tests import.
const WASI: &str = "
package wasi:cli@0.2.0 {
    interface environment { get-environment: func() -> list<tuple<string, string>>; }
    interface exit { exit: func(status: result); }
}
package wasi:config@0.2.0-rc.1 {
    interface store {
        variant error { upstream(string), io(string) }
        get: func(key: string) -> result<option<string>, error>;
    }
}
package wasi:sockets@0.2.0 {
    interface instance-network { resource network; instance-network: func() -> network; }
}
package animus:llm@0.9.0 {
    interface llm { list-models: func() -> list<string>; }
}
package other:thing@1.0.0 {
    interface stuff { f: func(); }
}
";
