//! The manifest: every key has its effect, and whatever has none is refused, all at once, each with line and key.
#![allow(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

use animus_core::{
    grant::{Capability, Grant, LedgerAccess, MemoryAccess},
    limits::{Limits, SomeLimits},
    manifest::Manifest,
};

const HEAD: &str = "[plugin]\nname = \"x\"\nversion = \"1.2.3\"\nwit = \"0.1\"\n";

const FULL: &str = r#"
[plugin]
name = "weather"
version = "1.2.3"
description = "Tells the weather"
license = "Apache-2.0"
homepage = "https://example.org/weather"
wit = "0.1"

[extism]
wasm = [{ path = "target/weather.wasm", hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" }]
memory = { max_pages = 1024, max_http_response_bytes = 65536 }
timeout_ms = 5000
allowed_hosts = ["api.example.org", "http://localhost:8080"]
allowed_paths = { "ro:/usr/share/zoneinfo" = "/zones", "$workspace" = "/workspace" }
config = { units = "metric" }

[capabilities]
llm = { roles = ["fast"], max_tokens = 4000 }
memory = ["read", "write"]
ledger = ["append", "read"]
tool = ["fs.*"]

[capabilities.http]
methods = ["GET", "POST"]
networks = ["127.0.0.1", "10.0.0.0/8"]
secrets = [{ handle = "weather", host = "api.example.org", header = "Authorization", prefix = "Bearer " }]

[limits]
cpu_ms = 1000
"#;

fn refused(text: &str) -> String {
    Manifest::parse(text).unwrap_err().to_string()
}

#[test]
fn every_key_has_its_effect() {
    let manifest = Manifest::parse(FULL).unwrap();
    assert_eq!(manifest.name.as_str(), "weather");
    assert_eq!(manifest.version.to_string(), "1.2.3");
    assert_eq!(manifest.description, "Tells the weather");
    assert_eq!(manifest.license, "Apache-2.0");
    assert_eq!(manifest.homepage, "https://example.org/weather");
    assert_eq!(manifest.config.get("units").map(String::as_str), Some("metric"));
    let (path, hash) = manifest.wasm.unwrap();
    assert_eq!(path, "target/weather.wasm");
    assert!(hash.unwrap().starts_with("ba7816bf"));

    let request = manifest.request;
    let limits = SomeLimits {
        memory_bytes: Some(64 << 20),
        http_response_bytes: Some(65_536),
        wall_ms: Some(5_000),
        cpu_ms: Some(1_000),
        ..SomeLimits::default()
    };
    assert_eq!(request.limits, limits);
    for allowed in [
        "llm:fast (4000 tokens)",
        "ledger:append",
        "ledger:read",
        "memory:read",
        "memory:write",
        "tool:fs.read_file",
        "http:POST api.example.org:443",
        "http:GET http://localhost:8080",
        "network:127.0.0.1",
        "network:10.1.2.3",
        "path:ro /usr/share/zoneinfo as /zones",
        "path:rw $workspace as /workspace",
    ] {
        assert!(request.allows(&allowed.parse().unwrap()), "{allowed}");
    }
    for refused in [
        "llm:fast (4001 tokens)",
        "llm:slow",
        "tool:web.fetch",
        "http:PUT api.example.org:443",
        "http:GET http://api.example.org:80",
        "http:GET localhost:443",
        "network:127.0.0.2",
        "path:rw /usr/share/zoneinfo as /zones",
    ] {
        assert!(!request.allows(&refused.parse().unwrap()), "{refused}");
    }
    let secret = request.http.unwrap().secrets.pop_first().unwrap();
    assert_eq!((secret.handle.as_str(), secret.prefix.as_str()), ("weather", "Bearer "));
}

#[test]
fn a_manifest_that_asks_for_nothing_requests_nothing() {
    let manifest = Manifest::parse(HEAD).unwrap();
    assert_eq!(manifest.request, Grant::default());
    assert!(manifest.wasm.is_none() && manifest.config.is_empty());
}

#[test]
fn hosts_without_methods_may_be_read_only() {
    let manifest = Manifest::parse(&format!("{HEAD}[extism]\nallowed_hosts = [\"example.org\"]")).unwrap();
    assert!(manifest.request.allows(&"http:GET example.org".parse().unwrap()));
    assert!(!manifest.request.allows(&"http:POST example.org".parse().unwrap()));
}

#[test]
fn all_problems_are_reported_at_once_each_with_its_line_and_key() {
    let report = refused(
        "[plugin]\nnmae = \"x\"\nversion = \"one\"\nwit = \"9\"\nhomepage = \"example.org\"\n\
         [extism]\ntimeout_ms = \"5s\"\nmemory = { max_var_bytes = 1 }\n\
         wasm = [{ data = { ptr = 4096, len = 10 } }]\nallowed_hosts = [\"api-*.example.org\"]\n\
         [extism.allowed_paths]\n\"ro:relative\" = \"/x\"\n\
         [capabilities]\nledger = [\"write\"]\nspawn-child = { faculties = [\"x\"], max = 400 }\n\
         [limits]\nwal_ms = 5\nmemory_bytes = -1\n[limit]\n",
    );
    let expected = [
        "plugin.toml has 16 problems:",
        "  line 1: plugin.name: is missing",
        "  line 2: plugin.nmae: unknown key; did you mean 'name'?",
        "  line 3: plugin.version: unexpected character 'o' while parsing major version number",
        "  line 4: plugin.wit: this host supports the contracts of version 0.1, and not '9'",
        "  line 5: plugin.homepage: is not an http or https URL",
        "  line 7: extism.timeout_ms: is a string, and should be a whole number",
        "  line 8: extism.memory.max_var_bytes: this host has no extism variables to limit",
        "  line 9: extism.wasm[0].path: is missing",
        "  line 9: extism.wasm[0].data: this host takes the component from a file beside the manifest; give its 'path'",
        "  line 10: extism.allowed_hosts[0]: 'api-*.example.org' is not a host pattern ([scheme://]host[:port]): \
         a * stands alone or before the first dot",
        "  line 12: extism.allowed_paths.\"ro:relative\": host path 'relative' is neither absolute nor $workspace, or \
         is not in its plainest form (no '.', '..', '//', final '/')",
        "  line 14: capabilities.ledger[0]: 'write' is none of: append, read",
        "  line 15: capabilities.spawn-child.max: should be 1 to 64",
        "  line 17: limits.wal_ms: unknown key; did you mean 'wall_ms'?",
        "  line 18: limits.memory_bytes: -1 is out of range",
        "  line 19: limit: unknown key; did you mean 'limits'?",
    ];
    assert_eq!(report.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn every_key_that_this_host_cannot_honour_is_refused() {
    for (text, key) in [
        ("[extism]\nwasm = [{ path = \"a.wasm\", name = \"main\" }]", "extism.wasm[0].name"),
        ("[extism]\nwasm = [{ url = \"https://example.org/a.wasm\" }]", "extism.wasm[0].url"),
        ("[extism]\nwasm = [{ path = \"a\", method = \"GET\" }]", "extism.wasm[0].method"),
        ("[extism]\nwasm = [{ path = \"a\", headers = {} }]", "extism.wasm[0].headers"),
        ("[extism]\nwasm = [{ data = \"AGFzbQ==\" }]", "extism.wasm[0].data"),
        ("[extism]\nwasm = [{ path = \"a\" }, { path = \"b\" }]", "extism.wasm: a plugin is one component"),
        ("[extism]\nwasm = [{ path = \"../a\" }]", "extism.wasm[0].path"),
        ("[extism]\nwasm = [{ path = \"/a\" }]", "extism.wasm[0].path"),
        ("[extism]\nwasm = [{ path = \"a\", hash = \"abc\" }]", "extism.wasm[0].hash"),
        ("[extism]\nmemory.max_var_bytes = 0", "extism.memory.max_var_bytes"),
        ("[extism]\nallowed_paths = { \"*\" = \"/x\" }", "extism.allowed_paths"),
        ("[extism]\nallowed_paths = { \"/x\" = \"*\" }", "extism.allowed_paths"),
        ("[extism]\nallowed_paths = { \"$workspace/../x\" = \"/x\" }", "extism.allowed_paths"),
        ("[capabilities]\nhook = {}", "capabilities.hook"),
        ("[capabilities]\ninterpreter = {}", "capabilities.interpreter"),
        ("[capabilities]\nhttp = { hosts = [\"a.org\"] }", "capabilities.http.hosts"),
        ("[capabilities]\nhttp = { methods = [\"GET\"] }", "has no effect without hosts"),
        ("[extism]\ntimeout_ms = 1\n[limits]\nwall_ms = 1", "wall_ms is set by [extism] as well"),
        ("[limits]\nwall_ms = 1.5", "limits.wall_ms"),
        (
            "[extism]\nallowed_hosts = [\"a.org\"]\n[capabilities]\n\
             http.secrets = [{ handle = \"k\", host = \"b.org\", header = \"X-Key\" }]",
            "the secret 'k' is for b.org",
        ),
    ] {
        let report = refused(&format!("{HEAD}{text}"));
        assert!(report.contains(key), "{text}\n{report}");
    }
}

#[test]
fn a_text_that_would_deceive_the_operators_terminal_is_refused_and_shown_escaped() {
    for text in ["\\u001b[2Jnothing to see", "a\\nb", "safe\\u202etxt"] {
        let report = refused(&format!("{HEAD}description = \"{text}\""));
        assert!(report.contains("plugin.description: should be one line"), "{report}");
    }
    let report = refused(&format!("{HEAD}\"\\u001b[2J\" = 1"));
    assert!(!report.contains('\x1b') && report.contains("\\u{1b}"), "{report}");
    let report = refused(&format!("{HEAD}[extism.allowed_paths]\n\"/a\\u001b[2J\" = \"/x\""));
    assert!(!report.contains('\x1b'), "{report}");
}

#[test]
fn broken_toml_is_reported_with_its_lines() {
    let report = refused("[plugin]\nname = \"x\nversion = 1.\n");
    assert!(report.contains("line 2: ") && report.contains("line 3: "), "{report}");
    assert!(refused(&"#".repeat(300 << 10)).contains("over the limit"));
    let deep = refused(&format!("x = {}", "[".repeat(100_000)));
    assert!(deep.lines().count() < 60 && deep.contains("recursion depth"), "{deep}");
}

#[test]
fn every_limit_can_be_requested() {
    for name in Limits::NAMES {
        let asked = Manifest::parse(&format!("{HEAD}[limits]\n{name} = 7")).unwrap().request.limits;
        assert_eq!(asked.get(name), Some(7), "{name}");
        assert_eq!(Limits::NAMES.iter().filter(|n| asked.get(n).is_some()).count(), 1, "{name}");
    }
}

#[test]
fn a_grant_file_is_read_back_as_written_and_its_mistakes_are_found() {
    let grant = Manifest::parse(FULL).unwrap().request;
    let text = grant.to_toml().unwrap();
    assert_eq!(Grant::parse_toml(&text).unwrap(), grant, "{text}");
    assert_eq!(Grant::parse_toml("").unwrap(), Grant::default());

    let report = Grant::parse_toml(
        "memry = [\"read\"]\n[http]\nmethods = [\"get\"]\nsecrets = [{ handle = \"k\" }]\n\
         [[paths]]\nhost = \"/a\"\nguest = \"b\"\nmode = \"rx\"\n",
    )
    .unwrap_err()
    .to_string();
    for part in [
        "line 1: memry: unknown key; did you mean 'memory'?",
        "line 2: http.hosts: is missing",
        "line 3: http.methods[0]: 'get' is not an HTTP method in upper case",
        "line 4: http.secrets[0].host: is missing",
        "line 4: http.secrets[0].header: is missing",
        "line 8: paths[0].mode: 'rx' is none of: ro, rw",
    ] {
        assert!(report.contains(part), "{part}\n{report}");
    }
}

#[test]
fn written_access_words_are_what_the_grant_holds() {
    let grant = Grant::parse_toml("ledger = [\"read\"]\nmemory = [\"write\"]").unwrap();
    assert!(grant.allows(&Capability::Ledger(LedgerAccess::Read)));
    assert!(!grant.allows(&Capability::Ledger(LedgerAccess::Append)));
    assert!(grant.allows(&Capability::Memory(MemoryAccess::Write)));
    assert!(!grant.allows(&Capability::Memory(MemoryAccess::Read)));
}
