//! Guests that misbehave: each ends with its typed error, the host stays up, and a neighbour's calls go on undisturbed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test these are how it fails"
)]

use std::future::Future;

use animus_core::{Error, Gate, Result, grant::Grant, tool::Output};
use animus_tests::{Guest, TestHost};
use serde_json::{Value, json};

include!("../guests/registry.rs");

macro_rules! names {
    ($($tool:ident),* $(,)?) => { &[$(stringify!($tool)),*] };
}

/// Each tool of a guest has a test of its name in the module of the guest's: without it, this does not compile.
macro_rules! tested {
    ($($tool:ident),* $(,)?) => { $(#[allow(unused_imports, reason = "naming it is the point")] use $tool as _;)* };
}

/// Low limits, so that what is to be reached is reached soon.
const SOON: &str = "[limits]\nmemory_bytes = 33554432\ncpu_ms = 500\nwall_ms = 20000\n";

/// Runs `work` while a well-behaved neighbour is called again and again; every one of its calls must succeed.
async fn undisturbed<T>(host: &TestHost, work: impl Future<Output = T>) -> T {
    let neighbour = Guest::text("neighbour", "", "(i32.const 0)");
    host.install(&neighbour, "").await;
    let calls = async {
        loop {
            host.call("neighbour.go", json!({})).await.expect("the neighbour was disturbed");
        }
    };
    let done = tokio::select! {
        done = work => done,
        never = calls => never,
    };
    host.call("neighbour.go", json!({})).await.expect("the host did not survive");
    done
}

/// Calls a tool of a guest made by hand, next to a neighbour.
async fn go(guest: &Guest, request: &str) -> Result<Output> {
    let host = TestHost::new().await;
    host.install(guest, request).await;
    undisturbed(&host, host.call(&format!("{}.go", guest.name), json!({}))).await
}

fn limit(error: &Error, name: &str) -> bool {
    matches!(error, Error::BudgetExhausted(text) if text.contains(&format!("`{name}`")))
}

fn broke(error: &Error, says: &str) -> bool {
    matches!(error, Error::Internal(text) if text.contains("broke") && text.contains(says))
}

mod evil {
    use super::*;

    foreach_evil_tool!(tested);

    async fn installed(request: &str) -> TestHost {
        let host = TestHost::new().await;
        host.install(&Guest::built("evil", foreach_evil_tool!(names)), request).await;
        host
    }

    async fn call(tool: &str, args: Value, request: &str) -> (TestHost, Result<Output>) {
        let host = installed(request).await;
        let result = undisturbed(&host, host.call(&format!("evil.{tool}"), args)).await;
        (host, result)
    }

    async fn fails(tool: &str, request: &str) -> Error {
        call(tool, json!({}), request).await.1.expect_err("it succeeded")
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn memory_bomb() {
        let error = fails("memory_bomb", SOON).await;
        assert!(limit(&error, "memory_bytes"), "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn memory_coping() {
        let (_, result) = call("memory_coping", json!({}), SOON).await;
        let held: u64 = result.unwrap().text.parse().unwrap();
        assert!((1 << 20..=33_554_432).contains(&held), "it held {held} bytes");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn spin() {
        let error = fails("spin", SOON).await;
        assert!(limit(&error, "cpu_ms"), "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn spin_in_host_calls() {
        let error = fails("spin_in_host_calls", SOON).await;
        assert!(limit(&error, "cpu_ms"), "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn sleep() {
        let error = fails("sleep", "[limits]\nwall_ms = 300\n").await;
        assert!(matches!(&error, Error::Timeout(text) if text.contains("wall_ms")), "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn huge_result() {
        // With all the memory that it takes, the result is what stops it.
        let grant = Grant::parse_toml("limits = { memory_bytes = 2147483648 }").unwrap();
        let host = TestHost::new().await;
        let request = "[limits]\nmemory_bytes = 2147483648\n";
        host.install_with(&Guest::built("evil", foreach_evil_tool!(names)), request, Some(grant)).await;
        let error = undisturbed(&host, host.call("evil.huge_result", json!({}))).await.expect_err("1 GiB passed");
        assert!(limit(&error, "host_call_bytes") || limit(&error, "output_bytes"), "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn huge_log() {
        // Time enough on any machine: the log is what is bounded here.
        let request = "[limits]\nlog_bytes = 10000\nwall_ms = 900000\ncpu_ms = 900000\n";
        let (host, result) = call("huge_log", json!({}), request).await;
        assert_eq!(result.unwrap().text, "written");
        let kept: usize = host.log().iter().map(String::len).sum();
        // To the end of the line that crosses it.
        assert!((9_000..15_000).contains(&kept), "{kept} bytes of 1 GiB were kept");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn recurse() {
        let error = fails("recurse", SOON).await;
        assert!(broke(&error, "recursed too deeply"), "{error}");
        assert!(error.to_string().len() < 5_000, "the backtrace is {} bytes long", error.to_string().len());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn keep_pollables() {
        let error = fails("keep_pollables", "").await;
        assert!(limit(&error, "resources"), "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn flood_random() {
        let error = fails("flood_random", "").await;
        assert!(matches!(error, Error::Internal(_) | Error::BudgetExhausted(_)), "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn panics() {
        let (_, result) = call("panics", json!({ "text": "the guest's last words" }), "").await;
        let error = result.unwrap_err();
        assert!(broke(&error, "the guest's last words") && broke(&error, "evil"), "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn exit() {
        let error = fails("exit", "").await;
        assert!(broke(&error, "exited with status 0"), "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn environment() {
        let (_, result) = call("environment", json!({}), "").await;
        assert_eq!(result.unwrap().text, "", "the guest sees something of the host's process");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn escape_codes() {
        let (host, result) = call("escape_codes", json!({}), "").await;
        let error = result.unwrap_err().to_string();
        let log = host.log().concat();
        for text in [&error, &log] {
            assert!(!text.is_empty() && !text.contains(['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}']), "{text:?}");
        }
        assert!(error.contains("error") && log.contains("log"), "{error:?} {log:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn false_json() {
        let error = fails("false_json", "").await;
        assert!(matches!(&error, Error::Invalid(text) if text.contains("not JSON")), "{error}");
    }
}

mod by_hand {
    use animus_core::package::embed;
    use animus_tests::manifest;
    use wasm_encoder::{ComponentSection as _, ComponentSectionId, InstanceSection, ModuleArg, RawSection};
    use wasmparser::{Parser, Payload};

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_table_that_grows_for_ever_meets_its_limit() {
        let grow = "(loop $on (br_if $on (i32.ne (i32.const -1) (table.grow $t (ref.null func) (i32.const 1000))))) unreachable";
        let error = go(&Guest::text("table", "(table $t 1 funcref)", grow), "").await.unwrap_err();
        assert!(limit(&error, "table_elements"), "{error}");
    }

    /// A guest with `count` more instances of a module.
    fn with_instances(count: u8, module: &str) -> Guest {
        let mut guest = Guest::text("many", "", "(i32.const 0)");
        let modules = Parser::new(0).parse_all(&guest.wasm);
        let modules = modules.filter(|part| matches!(part, Ok(Payload::ModuleSection { .. }))).count();
        let mut instances = InstanceSection::new();
        for _ in 0..count {
            instances.instantiate(modules as u32, [("", ModuleArg::Instance(0)); 0]);
        }
        RawSection { id: ComponentSectionId::CoreModule.into(), data: &wat::parse_str(module).unwrap() }
            .append_to_component(&mut guest.wasm);
        instances.append_to_component(&mut guest.wasm);
        guest
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn many_memories_together_meet_the_limit_of_one() {
        // Each takes a quarter of the limit, page by page.
        let grows = "(module (memory 1) (func $grow (loop $on
            (if (i32.eq (i32.const -1) (memory.grow (i32.const 1))) (then unreachable))
            (br_if $on (i32.lt_u (memory.size) (i32.const 128))))) (start $grow))";
        go(&with_instances(3, grows), SOON).await.expect("three quarters are within the limit");
        let error = go(&with_instances(8, grows), SOON).await.unwrap_err();
        assert!(limit(&error, "memory_bytes"), "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn memory_that_a_component_begins_with_counts() {
        let error = go(&with_instances(3, "(module (memory 200))"), SOON).await.unwrap_err();
        assert!(limit(&error, "memory_bytes"), "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_module_with_many_memories_is_refused() {
        let memories: String = (0..7).map(|n| format!("(memory $m{n} 128)")).collect();
        let error = go(&Guest::text("memories", &memories, "(i32.const 0)"), SOON).await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_) | Error::Internal(_) | Error::BudgetExhausted(_)), "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_result_that_is_not_there_is_a_trap() {
        let error = go(&Guest::text("liar", "", "(i32.const 256)"), "").await.unwrap_err();
        assert!(matches!(error, Error::Internal(_) | Error::BudgetExhausted(_)), "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_start_function_that_spins_meets_the_limit() {
        let spins = "(func $spin (loop $on (br $on))) (start $spin)";
        let error = go(&Guest::text("start", spins, "(i32.const 0)"), SOON).await.unwrap_err();
        assert!(limit(&error, "cpu_ms"), "{error}");
    }

    /// Components inside each other.
    fn nested(depth: usize) -> Vec<u8> {
        const HEADER: [u8; 8] = *b"\0asm\x0d\0\x01\0";
        let mut inner = HEADER.to_vec();
        for _ in 0..depth {
            let mut outer = HEADER.to_vec();
            outer.push(4);
            let mut size = inner.len();
            while size >= 0x80 {
                outer.push(size as u8 | 0x80);
                size >>= 7;
            }
            outer.push(size as u8);
            outer.extend(inner);
            inner = outer;
        }
        inner
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn bytes_that_are_no_plugin_are_never_installed() {
        let host = TestHost::new().await;
        let manifest = manifest("malformed", "");
        let good = embed(&Guest::text("malformed", "", "(i32.const 0)").wasm, &manifest).unwrap();
        host.prepare(good.clone()).await.expect("the sound one is refused");

        let mut two = good.clone();
        two.extend_from_slice(&embed(&nested(0), &manifest).unwrap()[8..]);
        let mut bad = vec![
            ("nothing", Vec::new()),
            ("text", b"not WebAssembly".to_vec()),
            ("a header", good[..8].to_vec()),
            ("a core module", b"\0asm\x01\0\0\0".to_vec()),
            ("no manifest", Guest::text("malformed", "", "(i32.const 0)").wasm),
            ("two manifests", two),
            ("a manifest that is not one", embed(&good, "[plugin]\nname = 7\n").unwrap()),
            ("nothing but nested components", embed(&nested(2_000), &manifest).unwrap()),
        ];
        for cut in [9, good.len() / 4, good.len() / 2, good.len() - 1] {
            bad.push(("a truncated plugin", good[..cut].to_vec()));
        }
        for (what, wasm) in bad {
            let result = host.prepare(wasm).await;
            assert!(matches!(result, Err(Error::Invalid(_))), "{what}: {result:?}");
        }
        // A broken byte may lie in a name or a constant, and then the plugin is another one, and perhaps a sound one.
        for at in (8..good.len()).step_by(good.len() / 64) {
            let mut wasm = good.clone();
            wasm[at] ^= 0xff;
            let _ = host.prepare(wasm).await;
        }
        host.prepare(good).await.expect("the host did not survive");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_plugin_that_spins_when_it_is_tried_is_not_installed() {
        let host = TestHost::new().await;
        let spins = Guest::text("start", "(func $spin (loop $on (br $on))) (start $spin)", "(i32.const 0)");
        let wasm = embed(&spins.wasm, &manifest("start", SOON)).unwrap();
        let error = undisturbed(&host, host.prepare(wasm)).await.unwrap_err();
        assert!(limit(&error, "cpu_ms"), "{error}");
    }
}

mod files {
    use std::fs;

    use super::*;

    foreach_files_tool!(tested);

    const RW: &str = "[extism.allowed_paths]\n\"$workspace\" = \"/w\"\n";
    const RO: &str = "[extism.allowed_paths]\n\"ro:$workspace\" = \"/w\"\n";

    /// A secret beside the workspace, and a file inside it.
    async fn installed(request: &str) -> TestHost {
        let host = TestHost::new().await;
        host.install(&Guest::built("files", foreach_files_tool!(names)), request).await;
        fs::write(host.outside().join("secret.txt"), "outside").unwrap();
        fs::write(host.workspace().join("inside.txt"), "inside").unwrap();
        host
    }

    /// Ways to say the secret's path from inside.
    fn ways_out(host: &TestHost) -> Vec<String> {
        let absolute = host.outside().join("secret.txt").display().to_string();
        let mut ways: Vec<_> = [
            "../secret.txt",
            "./../secret.txt",
            "..//secret.txt",
            "x/../../secret.txt",
            "../workspace/../secret.txt",
            "../secret.txt/",
            "/../secret.txt",
            "....//secret.txt",
        ]
        .map(str::to_owned)
        .into();
        ways.extend([absolute.clone(), format!("/{absolute}"), format!("/proc/self/root{absolute}")]);
        ways
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn read() {
        let host = installed(RO).await;
        assert_eq!(host.call("files.read", json!({ "path": "/w/inside.txt" })).await.unwrap().text, "inside");
        for way in ways_out(&host) {
            for path in [way.clone(), format!("/w/{way}")] {
                let result = undisturbed(&host, host.call("files.read", json!({ "path": path }))).await;
                assert!(matches!(result, Err(Error::Unavailable(_))), "{path}: {result:?}");
            }
        }
        // A folder that a trailing slash makes of a file, and a link inside that leads outside.
        std::os::unix::fs::symlink(host.outside(), host.workspace().join("out")).unwrap();
        for path in ["/w/inside.txt/", "/w/inside.txt/.", "/w/out/secret.txt", "/w/out/../secret.txt"] {
            let result = host.call("files.read", json!({ "path": path })).await;
            assert!(matches!(result, Err(Error::Unavailable(_))), "{path}: {result:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn open_at() {
        let host = installed(RO).await;
        assert_eq!(host.call("files.open_at", json!({ "path": "inside.txt" })).await.unwrap().text, "inside");
        std::os::unix::fs::symlink("../secret.txt", host.workspace().join("link")).unwrap();
        std::os::unix::fs::symlink(host.outside(), host.workspace().join("out")).unwrap();
        let mut ways = ways_out(&host);
        ways.extend(["link", "link/", "out/secret.txt", "", ".", "..", "inside.txt/"].map(str::to_owned));
        for path in ways {
            let result = host.call("files.open_at", json!({ "path": path })).await;
            assert!(matches!(result, Err(Error::Unavailable(_))), "{path}: {result:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn write() {
        let host = installed(RO).await;
        for path in ["/w/new.txt", "/w/inside.txt", "/w/../new.txt"] {
            let result = host.call("files.write", json!({ "path": path, "text": "changed" })).await;
            assert!(matches!(result, Err(Error::Unavailable(_))), "{path}: {result:?}");
        }
        let host = installed(RW).await;
        host.call("files.write", json!({ "path": "/w/new.txt", "text": "changed" })).await.unwrap();
        assert_eq!(fs::read_to_string(host.workspace().join("new.txt")).unwrap(), "changed");
        for way in ways_out(&host) {
            let path = format!("/w/{way}");
            assert!(host.call("files.write", json!({ "path": path, "text": "changed" })).await.is_err(), "{path}");
        }
        assert_eq!(fs::read_to_string(host.outside().join("secret.txt")).unwrap(), "outside");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn list() {
        let host = installed(RO).await;
        assert_eq!(host.call("files.list", json!({ "path": "/w" })).await.unwrap().text, "inside.txt");
        for path in ["/", "..", "/w/..", "/w/../", "/etc", "."] {
            let result = host.call("files.list", json!({ "path": path })).await;
            assert!(result.as_ref().map_or(true, |output| output.text.is_empty()), "{path}: {result:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn symlink() {
        let host = installed(RW).await;
        for (n, way) in ways_out(&host).into_iter().enumerate() {
            let result = host.call("files.symlink", json!({ "to": way, "path": format!("link{n}") })).await;
            assert!(matches!(result, Err(Error::Unavailable(_))), "{way}: {result:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn hard_link() {
        let host = installed(RW).await;
        for (n, way) in ways_out(&host).into_iter().enumerate() {
            let args = json!({ "to": format!("/w/{way}"), "path": format!("/w/hard{n}") });
            let result = host.call("files.hard_link", args).await;
            assert!(matches!(result, Err(Error::Unavailable(_))), "{way}: {result:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn rename() {
        let host = installed(RW).await;
        for to in ["/w/../gone.txt", "/gone.txt", "../gone.txt"] {
            let result = host.call("files.rename", json!({ "path": "/w/inside.txt", "to": to })).await;
            assert!(matches!(result, Err(Error::Unavailable(_))), "{to}: {result:?}");
        }
        assert!(host.call("files.rename", json!({ "path": "/w/../secret.txt", "to": "/w/mine.txt" })).await.is_err());
        assert!(host.workspace().join("inside.txt").exists() && !host.outside().join("gone.txt").exists());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_a_path_grant_there_are_no_files() {
        let host = TestHost::new().await;
        host.install_with(&Guest::built("files", foreach_files_tool!(names)), RW, Some(Grant::default())).await;
        for path in ["/w/inside.txt", "inside.txt", "/etc/passwd"] {
            assert!(host.call("files.read", json!({ "path": path })).await.is_err(), "{path}");
        }
    }
}

mod net {
    use std::{
        io,
        net::{IpAddr, SocketAddr},
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use animus_core::{journal::Outcome, store::SecretValue};
    use animus_runtime::egress::Resolver;
    use async_trait::async_trait;
    use axum::{Router, http::HeaderMap, response::Redirect, routing::get};

    use super::*;

    foreach_net_tool!(tested);

    const SECRET: &str = "s3cret-value-0123456789";

    /// Says each address once, and the last one ever after.
    struct Rebinding(Vec<&'static str>, AtomicUsize);

    #[async_trait]
    impl Resolver for Rebinding {
        async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            let asked = self.1.fetch_add(1, Ordering::Relaxed).min(self.0.len() - 1);
            Ok(vec![self.0[asked].parse().unwrap()])
        }
    }

    async fn installed(addresses: &[&'static str], request: &str) -> TestHost {
        let host = TestHost::resolving(Arc::new(Rebinding(addresses.to_vec(), AtomicUsize::new(0)))).await;
        host.install(&Guest::built("net", foreach_net_tool!(names)), request).await;
        host
    }

    /// What may be reached: everything by name, of the networks loopback.
    const LOOPBACK: &str =
        "[extism]\nallowed_hosts = [\"*://*:*\"]\n[capabilities]\nhttp = { networks = [\"127.0.0.0/8\"] }\n";
    const PUBLIC: &str = "[extism]\nallowed_hosts = [\"*://*:*\"]\n";

    async fn serve(router: Router) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    /// A server whose body holds all headers that reached it.
    async fn echo() -> SocketAddr {
        serve(Router::new().fallback(get(|headers: HeaderMap| async move { format!("{headers:?}") }))).await
    }

    fn denied(result: &Result<Output>, capability: &str) -> bool {
        matches!(result, Err(Error::Denied(denial)) if denial.capability.starts_with(capability))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn fetch() {
        let at = echo().await;
        let host = installed(&["127.0.0.1"], LOOPBACK).await;
        let url = format!("http://name.test:{}/", at.port());
        let output = undisturbed(&host, host.call("net.fetch", json!({ "url": url }))).await.unwrap();
        assert!(output.text.starts_with("200"), "{}", output.text);

        // The same without the network: by name, and by address in every notation.
        let host = installed(&["127.0.0.1"], PUBLIC).await;
        let mut urls = vec![url];
        for literal in [
            "127.0.0.1",
            "127.0.0.1.",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "017700000001",
            "0177.0.0.1",
            "0",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "169.254.169.254",
            "0xa9fea9fe",
            "2852039166",
            "[fd00:ec2::254]",
            "[fe80::1]",
            "10.0.0.1",
            "192.168.0.1",
            "172.16.0.1",
            "100.64.0.1",
        ] {
            urls.push(format!("http://{literal}:{}/", at.port()));
        }
        for url in urls {
            let result = host.call("net.fetch", json!({ "url": url })).await;
            assert!(denied(&result, "network:"), "{url}: {result:?}");
        }
        // What is no plain destination.
        for url in ["ftp://name.test/", "http://user:pw@name.test/", "http://name.test:0/", "http://name..test/"] {
            assert!(host.call("net.fetch", json!({ "url": url })).await.is_err(), "{url}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn follow() {
        let inner = echo().await;
        let to = format!("http://forbidden.test:{}/", inner.port());
        let at = serve(Router::new().fallback(get(move || async move { Redirect::temporary(&to) }))).await;
        // Out by redirect: the second request is judged as the first one was.
        let request = format!(
            "[extism]\nallowed_hosts = [\"http://allowed.test:{}\"]\n[capabilities]\nhttp = {{ networks = [\"127.0.0.0/8\"] }}\n",
            at.port()
        );
        let host = installed(&["127.0.0.1"], &request).await;
        let url = format!("http://allowed.test:{}/", at.port());
        let result = undisturbed(&host, host.call("net.follow", json!({ "url": url }))).await;
        assert!(denied(&result, "http:GET http://forbidden.test"), "{result:?}");
        assert!(matches!(&result, Err(Error::Denied(denial)) if denial.gate == Gate::Manifest), "{result:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_name_that_changes_its_address_is_checked_each_time() {
        let at = echo().await;
        let host = installed(&["127.0.0.1", "10.0.0.1"], LOOPBACK).await;
        let url = format!("http://rebind.test:{}/", at.port());
        assert!(host.call("net.fetch", json!({ "url": url })).await.is_ok());
        let result = host.call("net.fetch", json!({ "url": url })).await;
        assert!(denied(&result, "network:10.0.0.1"), "{result:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn forge() {
        let at = echo().await;
        let host = installed(&["127.0.0.1"], LOOPBACK).await;
        let url = format!("http://name.test:{}/", at.port());
        for header in ["host", "connection", "transfer-encoding", "proxy-authorization", "te", "Upgrade"] {
            let result = host.call("net.forge", json!({ "url": url, "header": header })).await;
            assert!(
                matches!(&result, Err(Error::Unavailable(text)) if text.contains("Forbidden")),
                "{header}: {result:?}"
            );
        }
        let output = host.call("net.forge", json!({ "url": url, "header": "x-own" })).await.unwrap();
        assert!(output.text.contains(r#""x-own": "forged""#), "{}", output.text);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn flood() {
        let at = echo().await;
        let host = installed(&["127.0.0.1"], &format!("{LOOPBACK}[limits]\nhttp_requests = 5\n")).await;
        let url = format!("http://name.test:{}/", at.port());
        let (result, journal) = host.call_journaled("net.flood", json!({ "url": url })).await;
        assert_eq!(result.unwrap().text, "5");
        let ended = journal.iter().filter(|r| matches!(r.outcome, Some(Outcome::Ok { .. }))).count();
        assert_eq!(ended, 6, "the call and its five requests: {journal:#?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_secret_reaches_its_audience_and_comes_back_to_nobody() {
        let at = echo().await;
        let request = format!(
            "[extism]\nallowed_hosts = [\"*://*:*\"]\n[capabilities.http]\nnetworks = [\"127.0.0.0/8\"]\n\
             secrets = [{{ handle = \"key\", host = \"http://api.test:{}\", header = \"X-Key\" }}]\n",
            at.port()
        );
        let host = installed(&["127.0.0.1"], &request).await;
        let (api, other) = (format!("http://api.test:{}/", at.port()), format!("http://other.test:{}/", at.port()));

        // Not set: the operator reads what to type; nothing left.
        let (result, journal) = host.call_journaled("net.fetch", json!({ "url": api })).await;
        assert!(denied(&result, "secret:key"), "{result:?}");
        assert!(result.unwrap_err().to_string().ends_with("to allow it: animus secret set key"));
        assert!(format!("{journal:?}").contains("animus secret set key"), "{journal:#?}");

        host.tenant().secret_set("test", "key", SecretValue::new(SECRET)).await.unwrap();
        let (result, journal) = host.call_journaled("net.forge", json!({ "url": api, "header": "x-key" })).await;
        let text = result.unwrap().text;
        assert!(text.contains(&"*".repeat(SECRET.len())) && !text.contains("forged"), "{text}");
        let (result, elsewhere) = host.call_journaled("net.fetch", json!({ "url": other })).await;
        let text = format!("{text}{}{journal:?}{elsewhere:?}{:?}", result.unwrap().text, host.log());
        assert!(!text.contains(SECRET), "the secret came back");
        assert!(!format!("{elsewhere:?}").contains("\"key\""), "the secret went elsewhere");
    }
}

mod probe {
    use super::*;

    /// Something of every interface that it imports.
    const EVERY_IMPORT: &str = "\
[capabilities]
tool = [\"probe.*\"]
ledger = [\"read\"]
memory = [\"read\"]
llm = { roles = [\"fast\"] }
interpreter = [\"python\"]
spawn-child = { faculties = [\"research\"] }
";

    #[tokio::test(flavor = "multi_thread")]
    async fn a_flood_of_host_calls_meets_its_limit() {
        let host = TestHost::new().await;
        host.install(&Guest::built("probe", foreach_probe_tool!(names)), EVERY_IMPORT).await;
        let error = undisturbed(&host, host.call("probe.flood", json!({}))).await.unwrap_err();
        assert!(limit(&error, "host_calls"), "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_tool_that_calls_itself_meets_the_limit_of_depth() {
        let host = TestHost::new().await;
        host.install(&Guest::built("probe", foreach_probe_tool!(names)), EVERY_IMPORT).await;
        let result = undisturbed(&host, host.call("probe.tool_call", json!({ "name": "probe.tool_call" }))).await;
        let error = result.unwrap_err();
        assert!(matches!(&error, Error::BudgetExhausted(text) if text.contains("call_depth")), "{error}");
    }
}
