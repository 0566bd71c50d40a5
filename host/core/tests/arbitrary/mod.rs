//! Grants and capabilities by chance, from few words, so that they meet often.

use animus_core::{
    grant::{
        Capability, ChildGrant, Grant, HookAccess, HostPattern, HttpGrant, LedgerAccess, LlmGrant, MemoryAccess,
        PathGrant, PathMode, SecretGrant,
    },
    limits::SomeLimits,
};
use proptest::{
    collection::btree_set,
    option,
    prelude::{Just, Strategy, any, prop_oneof},
    sample::select,
};

const NAMES: &[&str] = &["fs.read_file", "fs.write_file", "web.fetch", "fs", "a.b:c"];
const PATTERNS: &[&str] = &["*", "fs.*", "web.*", "fs.read_file", "fs", "a.*", "a.b:*", "a.b:c"];
const HOSTS: &[&str] = &["x.a.org", "y.x.a.org", "a.org", "127.0.0.1", "[::1]"];
const WILD_HOSTS: &[&str] = &["*.a.org", "*.x.a.org", "*.org"];
const NETWORKS: &[&str] = &["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "127.0.0.1/32", "::/0", "fc00::/7", "::1/128"];
const ADDRESSES: &[&str] = &["10.1.2.3", "10.9.9.9", "127.0.0.1", "8.8.8.8", "::1", "fd00::1", "::ffff:10.1.2.3"];
const FOLDERS: &[&str] = &["*", "/", "/a", "/a/b", "/a/b/c", "/ab", "$workspace", "$workspace/x"];
const GUESTS: &[&str] = &["*", "/", "/g", "/g/h"];

fn pick(from: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(from).prop_map(str::to_owned)
}

fn access() -> impl Strategy<Value = (LedgerAccess, MemoryAccess)> {
    (select(vec![LedgerAccess::Append, LedgerAccess::Read]), select(vec![MemoryAccess::Read, MemoryAccess::Write]))
}

fn hook() -> impl Strategy<Value = HookAccess> {
    select(vec![HookAccess::Llm, HookAccess::Tool, HookAccess::Turn])
}

fn patterns() -> impl Strategy<Value = std::collections::BTreeSet<animus_core::grant::Pattern>> {
    btree_set(pick(PATTERNS).prop_map(|text| text.parse().unwrap()), 0..4)
}

pub(crate) fn host_pattern() -> impl Strategy<Value = HostPattern> {
    let scheme = option::of(pick(&["http", "https"]));
    let port = option::of(select(vec![80_u16, 443, 8080]));
    let host = prop_oneof![3 => pick(HOSTS), 3 => pick(WILD_HOSTS), 1 => pick(&["*"])];
    (scheme, host, port).prop_map(|(scheme, host, port)| HostPattern { scheme, host, port })
}

fn secret() -> impl Strategy<Value = SecretGrant> {
    let named = (
        pick(&["k", "l"]),
        pick(&["https", "http"]),
        prop_oneof![pick(HOSTS), pick(WILD_HOSTS)],
        pick(&["X-Key", "X-Other"]),
        pick(&["", "Bearer "]),
    )
        .prop_map(|(handle, scheme, host, header, prefix)| SecretGrant {
            handle,
            host: HostPattern { scheme: Some(scheme), host, port: Some(443) },
            header,
            prefix,
        });
    let any = host_pattern().prop_map(|host| SecretGrant {
        handle: "*".to_owned(),
        host,
        header: "*".to_owned(),
        prefix: String::new(),
    });
    prop_oneof![4 => named, 1 => any]
}

fn http() -> impl Strategy<Value = HttpGrant> {
    (
        btree_set(host_pattern(), 0..4),
        btree_set(pick(&["*", "GET", "POST"]), 0..3),
        btree_set(select(NETWORKS).prop_map(|net| net.parse().unwrap()), 0..4),
        btree_set(secret(), 0..3),
    )
        .prop_map(|(hosts, methods, networks, secrets)| HttpGrant { hosts, methods, networks, secrets })
}

fn path() -> impl Strategy<Value = PathGrant> {
    (pick(FOLDERS), pick(GUESTS), select(vec![PathMode::Ro, PathMode::Rw])).prop_map(|(host, guest, mode)| PathGrant {
        host,
        guest,
        mode,
    })
}

fn limits() -> impl Strategy<Value = SomeLimits> {
    (option::of(0..100_000_u64), option::of(0..100_000_u64), option::of(any::<u64>())).prop_map(
        |(wall_ms, cpu_ms, memory_bytes)| SomeLimits { wall_ms, cpu_ms, memory_bytes, ..SomeLimits::default() },
    )
}

/// A grant, ceiling or request. Two folders may stand at one guest path, which `Grant::check` would refuse.
pub(crate) fn grant() -> impl Strategy<Value = Grant> {
    let llm = (patterns(), 0..10_000_u32).prop_map(|(roles, max_tokens)| LlmGrant { roles, max_tokens });
    let children = (patterns(), 0..=64_u32).prop_map(|(faculties, max)| ChildGrant { faculties, max });
    let some =
        (
            option::of(llm),
            btree_set(access().prop_map(|(ledger, _)| ledger), 0..3),
            btree_set(access().prop_map(|(_, memory)| memory), 0..3),
            (patterns(), patterns(), option::of(children), btree_set(hook(), 0..4)),
            option::of(http()),
            btree_set(path(), 0..4),
            limits(),
        )
            .prop_map(|(llm, ledger, memory, (tool, interpreter, spawn_child, hook), http, paths, limits)| {
                Grant { llm, ledger, memory, tool, interpreter, hook, spawn_child, http, paths, limits }
            });
    prop_oneof![12 => some, 1 => Just(Grant::everything()), 1 => Just(Grant::default())]
}

/// Every kind of capability, in the form that this host itself writes.
pub(crate) fn capability() -> impl Strategy<Value = Capability> {
    let method = || pick(&["GET", "POST", "DELETE"]);
    let port = select(vec![80_u16, 443, 8080]);
    prop_oneof![
        (pick(NAMES), 0..12_000_u32).prop_map(|(role, max_tokens)| Capability::Llm { role, max_tokens }),
        access().prop_map(|(ledger, _)| Capability::Ledger(ledger)),
        access().prop_map(|(_, memory)| Capability::Memory(memory)),
        pick(NAMES).prop_map(Capability::Tool),
        pick(NAMES).prop_map(Capability::Interpreter),
        hook().prop_map(Capability::Hook),
        pick(NAMES).prop_map(Capability::SpawnChild),
        (method(), pick(&["http", "https"]), pick(HOSTS), port)
            .prop_map(|(method, scheme, host, port)| Capability::Http { method, scheme, host, port }),
        select(ADDRESSES).prop_map(|ip| Capability::Network(ip.parse().unwrap())),
        path().prop_map(Capability::Path),
        (pick(&["/a/../b", "/a/b/..", "$workspace/..", "$workspace/./x", "/a//b", "a", ""]), pick(GUESTS))
            .prop_map(|(host, guest)| Capability::Path(PathGrant { host, guest, mode: PathMode::Ro })),
        Just(Capability::Interface("wasi:sockets/tcp@0.2.0".to_owned())),
    ]
}
