//! Every kind of capability, refused at every gate: which gate, what lifts it, what the operator types.
#![allow(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

use animus_core::{
    Denial, Error, Gate, Unlock,
    authority::Authority,
    grant::{Capability, Grant, PathGrant, PathMode},
    id::PluginName,
};

/// Each with its written form, and with what the command names where that differs.
const KINDS: &[(&str, &str)] = &[
    ("llm:fast (9000 tokens)", "llm:fast"),
    ("ledger:append", "ledger:append"),
    ("ledger:read", "ledger:read"),
    ("memory:read", "memory:read"),
    ("memory:write", "memory:write"),
    ("tool:fs.read_file", "tool:fs.read_file"),
    ("spawn-child:research", "spawn-child:research"),
    ("http:GET api.example.org:443", "http:GET api.example.org:443"),
    ("http:GET http://localhost:8080", "http:GET http://localhost:8080"),
    ("network:10.0.0.1", "network:10.0.0.1"),
    ("http:GET a'$(id):443", "http:GET a'\\''$(id):443"),
    ("path:rw /srv/it's here as /data", "path:rw /srv/it'\\''s here as /data"),
];

fn denied(requested: Grant, granted: Grant, ceiling: Grant, capability: &Capability) -> Denial {
    let authority = Authority::new(PluginName::new("web").unwrap(), requested, granted, ceiling);
    authority.check(capability).unwrap_err()
}

#[test]
fn every_kind_at_every_gate_names_the_gate_and_what_lifts_it() {
    let (all, none) = (Grant::everything, Grant::default);
    for (text, typed) in KINDS {
        let capability: Capability = text.parse().unwrap();
        let authority = Authority::new(PluginName::new("web").unwrap(), all(), all(), all());
        assert_eq!(authority.check(&capability), Ok(()), "{text}");

        for (requested, granted, ceiling, gate, unlock, command) in [
            (none(), all(), all(), Gate::Manifest, Unlock::Nothing, None),
            (none(), none(), none(), Gate::Manifest, Unlock::Nothing, None),
            (
                all(),
                none(),
                all(),
                Gate::Grant,
                Unlock::AskOperator,
                Some(format!("animus plugin grant web --allow '{typed}'")),
            ),
            (
                all(),
                none(),
                none(),
                Gate::Grant,
                Unlock::AskOperator,
                Some(format!("animus plugin grant web --allow '{typed}'")),
            ),
            (
                all(),
                all(),
                none(),
                Gate::Ceiling,
                Unlock::AskOperator,
                Some(format!("raise [ceiling] in animus.toml to allow '{typed}'")),
            ),
        ] {
            let denial = denied(requested, granted, ceiling, &capability);
            let expected =
                Denial { who: "web".into(), capability: (*text).into(), gate, unlock, reason: None, command };
            assert_eq!(denial, expected);
            let seen = Error::from(denial).for_model();
            assert!(seen.contains(text) && !seen.contains("--allow") && !seen.contains("animus"), "{seen}");
        }
    }
}

#[test]
fn no_grant_lifts_the_refusal_of_an_interface() {
    let socket: Capability = "interface:wasi:sockets/tcp@0.2.0".parse().unwrap();
    let denial = denied(Grant::everything(), Grant::everything(), Grant::everything(), &socket);
    assert_eq!((denial.gate, denial.unlock, denial.command), (Gate::Policy, Unlock::Nothing, None));
}

#[test]
fn too_many_tokens_ask_for_less_at_the_manifest_and_for_the_operator_at_the_grant() {
    let llm = |tokens| Grant::parse_toml(&format!("llm = {{ roles = ['fast'], max_tokens = {tokens} }}")).unwrap();
    let capability: Capability = "llm:fast (5000 tokens)".parse().unwrap();
    let denial = denied(llm(4_000), llm(4_000), Grant::everything(), &capability);
    assert_eq!((denial.gate, denial.unlock), (Gate::Manifest, Unlock::AskForLess));
    assert!(denial.to_string().ends_with("a smaller request would pass"), "{denial}");
    let denial = denied(llm(9_000), llm(4_000), Grant::everything(), &capability);
    assert_eq!((denial.gate, denial.unlock), (Gate::Grant, Unlock::AskOperator));
    let denial = denied(llm(4_000), Grant::default(), Grant::everything(), &capability);
    assert_eq!((denial.gate, denial.unlock), (Gate::Manifest, Unlock::Nothing), "less would not pass either");
}

#[test]
fn a_name_that_a_guest_made_up_reaches_no_shell_and_no_terminal() {
    let hostile = [
        Capability::Tool("x'; rm -rf ~ #".into()),
        Capability::Tool("\x1b[2J\u{202e}".into()),
        Capability::Tool("a".repeat(1 << 20)),
        Capability::Http { method: "GET".into(), scheme: "https".into(), host: "a b'".into(), port: 443 },
        Capability::Llm { role: "fast`id`".into(), max_tokens: 1 },
        Capability::Path(PathGrant { host: "/a\n/b".into(), guest: "/x".into(), mode: PathMode::Ro }),
    ];
    for capability in hostile {
        let denial = denied(Grant::everything(), Grant::default(), Grant::everything(), &capability);
        assert_eq!(denial.command, None, "{denial}");
        assert!(denial.capability.len() < 1_024);
        assert!(!denial.to_string().contains(['\x1b', '\n', '\u{202e}']), "{denial:?}");
    }
}
