//! The plugins that ship, in the real host: what they do under the grant they ask for, and what they cannot do without.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{fs, net::SocketAddr, os::unix::fs::symlink, path::Path, process::Command, sync::OnceLock};

use animus_core::{Error, Gate, grant::Grant, manifest::Manifest, tool::Output};
use animus_tests::{Guest, TestHost};
use axum::{Router, http::header, response::Redirect, routing::get};
use serde_json::{Value, json};

const FS: &[&str] = &["read_file", "write_file", "edit_file", "list_files", "glob", "grep"];
const NOTES: &[&str] = &["remember", "recall", "forget"];
const WEB: &[&str] = &["fetch"];

/// The workspace of the guests.
fn plugins() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins"))
}

/// A plugin that ships. Where the command line was built before, its components are there already.
fn shipped(name: &str, tools: &[&str]) -> Guest {
    static BUILT: OnceLock<std::path::PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let out = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().join("guests");
        let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--quiet", "--locked", "--release", "--target", "wasm32-wasip2"])
            .current_dir(plugins())
            .env("CARGO_TARGET_DIR", &out)
            .status()
            .unwrap();
        assert!(status.success(), "plugins/ does not build ({status})");
        out.join("wasm32-wasip2/release")
    });
    let wasm = fs::read(folder.join(format!("animus_{name}.wasm"))).unwrap();
    Guest { name: name.to_owned(), wasm, tools: tools.iter().map(|tool| (*tool).to_owned()).collect() }
}

/// What its manifest asks for: the tables after `[plugin]`.
fn request(name: &str) -> String {
    let text = fs::read_to_string(plugins().join(name).join("plugin.toml")).unwrap();
    Manifest::parse(&text).unwrap();
    text.split_once("\n\n").unwrap().1.to_owned()
}

async fn host(name: &str, tools: &[&str]) -> TestHost {
    let host = TestHost::new().await;
    host.install(&shipped(name, tools), &request(name)).await;
    host
}

async fn text(host: &TestHost, tool: &str, args: Value) -> String {
    let Output { text, is_error, .. } = host.call(tool, args).await.unwrap();
    assert!(!is_error, "{text}");
    text
}

#[tokio::test]
async fn fs_writes_reads_edits_and_finds_files_of_the_workspace() {
    let host = host("fs", FS).await;
    let written = text(&host, "fs.write_file", json!({ "path": "a/b.txt", "content": "one\ntwo\nthree\n" })).await;
    assert_eq!(written, "created 'a/b.txt', 14 bytes");
    let edited = text(&host, "fs.edit_file", json!({ "path": "a/b.txt", "old": "two", "new": "2" })).await;
    assert_eq!(edited, "replaced 1 occurrence in 'a/b.txt', at line 2");
    assert_eq!(fs::read_to_string(host.workspace().join("a/b.txt")).unwrap(), "one\n2\nthree\n");
    let page = text(&host, "fs.read_file", json!({ "path": "a/b.txt", "offset": 2, "limit": 1 })).await;
    assert_eq!(page, "2\n[there is more; continue with offset 3]\n");

    fs::write(host.workspace().join(".gitignore"), "out/\n").unwrap();
    fs::create_dir(host.workspace().join("out")).unwrap();
    fs::write(host.workspace().join("out/c.txt"), "three\n").unwrap();
    assert_eq!(text(&host, "fs.list_files", json!({})).await, ".gitignore\na/\n");
    assert_eq!(text(&host, "fs.glob", json!({ "pattern": "*.txt" })).await, "a/b.txt\n");
    assert_eq!(text(&host, "fs.grep", json!({ "pattern": "^th\\w+$" })).await, "a/b.txt:3:three\n");
}

#[tokio::test]
async fn fs_leaves_no_other_file_behind_when_it_replaces_one() {
    let host = host("fs", FS).await;
    fs::write(host.workspace().join("a"), "old").unwrap();
    text(&host, "fs.write_file", json!({ "path": "a", "content": "new" })).await;
    let names: Vec<_> = fs::read_dir(host.workspace()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["a"]);
    assert_eq!(fs::read_to_string(host.workspace().join("a")).unwrap(), "new");
}

#[tokio::test]
async fn fs_cannot_be_led_out_of_the_workspace() {
    let host = host("fs", FS).await;
    fs::write(host.outside().join("secret"), "hidden").unwrap();
    symlink("../secret", host.workspace().join("relative")).unwrap();
    symlink(host.outside().join("secret"), host.workspace().join("absolute")).unwrap();
    symlink("..", host.workspace().join("up")).unwrap();
    for path in ["../secret", "/etc/passwd", "relative", "absolute", "up/secret", "a/../../secret"] {
        for (tool, args) in [
            ("fs.read_file", json!({ "path": path })),
            ("fs.write_file", json!({ "path": path, "content": "x" })),
            ("fs.grep", json!({ "path": path, "pattern": "hidden" })),
        ] {
            let refused = host.call(tool, args).await;
            assert!(matches!(refused, Err(Error::Invalid(_))), "{tool} {path}: {refused:?}");
        }
    }
    assert_eq!(text(&host, "fs.grep", json!({ "pattern": "hidden" })).await, "[no match]\n");
    assert_eq!(fs::read_to_string(host.outside().join("secret")).unwrap(), "hidden");
}

#[tokio::test]
async fn fs_with_a_grant_to_read_cannot_write_and_says_so() {
    let host = TestHost::new().await;
    host.install(&shipped("fs", FS), "[extism.allowed_paths]\n\"ro:$workspace\" = \"/workspace\"\n").await;
    fs::write(host.workspace().join("a"), "kept").unwrap();
    assert_eq!(text(&host, "fs.read_file", json!({ "path": "a" })).await, "kept");
    for path in ["a", "b", "c/d"] {
        let refused = host.call("fs.write_file", json!({ "path": path, "content": "x" })).await;
        let Err(Error::Invalid(why)) = refused else { panic!("{path}: {refused:?}") };
        assert!(why.contains("not permitted"), "{why}");
    }
    assert_eq!(fs::read_to_string(host.workspace().join("a")).unwrap(), "kept");
}

#[tokio::test]
async fn no_plugin_that_ships_does_anything_without_its_grant() {
    for (name, tools, args, lacking) in [
        ("fs", FS, json!({ "path": "a" }), "path:rw $workspace as /workspace"),
        ("notes", NOTES, json!({ "content": "x" }), "memory:"),
        ("web", WEB, json!({ "url": "https://example.org/" }), "http:GET "),
    ] {
        let tool = format!("{name}.{}", tools.first().unwrap());
        let host = TestHost::new().await;
        host.install_with(&shipped(name, tools), &request(name), None).await;
        let waiting = host.call(&tool, args.clone()).await;
        assert!(matches!(waiting, Err(Error::NotFound(_))), "{tool}: {waiting:?}");

        let host = TestHost::new().await;
        host.install_with(&shipped(name, tools), &request(name), Some(Grant::default())).await;
        let refused = host.call(&tool, args).await;
        let Err(Error::Denied(denial)) = refused else { panic!("{tool}: {refused:?}") };
        assert_eq!((denial.who.as_str(), denial.gate), (name, Gate::Grant));
        assert!(denial.capability.starts_with(lacking), "{denial:?}");
    }
}

#[tokio::test]
async fn notes_are_recalled_until_they_are_forgotten() {
    let host = host("notes", NOTES).await;
    let note = json!({ "content": "the tide turns at noon", "kind": "fact", "tags": ["sea"] });
    let stored = host.call("notes.remember", note).await.unwrap().structured.unwrap();
    let recall = |args| async { host.call("notes.recall", args).await.unwrap().structured.unwrap() };

    let found = recall(json!({ "query": "tide", "kind": "fact", "tags": ["sea"] })).await;
    let memory = found.pointer("/memories/0").unwrap();
    assert_eq!(memory.get("id"), stored.get("id"));
    assert_eq!(memory.get("content").unwrap(), "the tide turns at noon");
    assert_eq!(memory.get("source").unwrap(), "notes");
    assert_eq!(recall(json!({ "query": "tide", "kind": "preference" })).await, json!({ "memories": [] }));

    text(&host, "notes.forget", stored.clone()).await;
    assert_eq!(recall(json!({ "query": "tide" })).await, json!({ "memories": [] }));
    let again = host.call("notes.forget", stored).await;
    assert!(matches!(again, Err(Error::NotFound(_))), "{again:?}");
}

/// A site on this machine, which the public grant of `web` does not reach.
async fn site() -> SocketAddr {
    let page = "<title>Tides</title><nav>menu</nav><main><p>High at <a href='/noon'>noon</a>.</main>";
    let latin = ([(header::CONTENT_TYPE, "text/plain; charset=iso-8859-1")], b"caf\xe9".as_slice());
    let router = Router::new()
        .route("/old", get(|| async { Redirect::permanent("/tides") }))
        .route("/tides", get(move || async move { axum::response::Html(page) }))
        .route("/latin", get(move || async move { latin }))
        .route("/away", get(|| async { Redirect::temporary("http://127.0.0.2:1/") }))
        .route("/endless", get(|| async { Redirect::temporary("/endless") }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

#[tokio::test]
async fn web_reads_a_page_behind_a_redirect_as_markdown() {
    let site = site().await;
    let host = TestHost::new().await;
    let asks = format!(
        "[extism]\nallowed_hosts = [\"http://{site}\"]\n[capabilities]\nhttp = {{ methods = [\"GET\"], networks = [\"127.0.0.1/32\"] }}\n"
    );
    host.install(&shipped("web", WEB), &asks).await;
    let page = text(&host, "web.fetch", json!({ "url": format!("http://{site}/old") })).await;
    let expected =
        format!("[http://{site}/tides, text/html, HTTP status 200]\n\n# Tides\n\nHigh at [noon](http://{site}/noon).");
    assert_eq!(page, expected);
    let latin = text(&host, "web.fetch", json!({ "url": format!("http://{site}/latin") })).await;
    assert!(latin.ends_with("café"), "{latin}");

    let missing = host.call("web.fetch", json!({ "url": format!("http://{site}/no") })).await.unwrap();
    assert!(missing.is_error && missing.text.contains("HTTP status 404"), "{missing:?}");
    let endless = host.call("web.fetch", json!({ "url": format!("http://{site}/endless") })).await;
    assert!(matches!(endless, Err(Error::Unavailable(_))), "{endless:?}");

    let away = host.call("web.fetch", json!({ "url": format!("http://{site}/away") })).await;
    let Err(Error::Denied(denial)) = away else { panic!("{away:?}") };
    assert_eq!((denial.capability.as_str(), denial.gate), ("http:GET http://127.0.0.2:1", Gate::Manifest));
}

#[tokio::test]
async fn web_reaches_no_address_of_this_machine_under_the_grant_it_asks_for() {
    let site = site().await;
    let host = host("web", WEB).await;
    for url in [format!("http://{site}/tides"), "https://127.0.0.1/".to_owned(), "https://[::1]/".to_owned()] {
        let refused = host.call("web.fetch", json!({ "url": url })).await;
        assert!(matches!(refused, Err(Error::Denied(_))), "{url}: {refused:?}");
    }
}

#[test]
fn the_manifest_in_the_authors_guide_and_that_of_the_template_are_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let guide = fs::read_to_string(root.join("docs/plugin-authors-guide.md")).unwrap();
    let example = guide.split_once("```toml\n").unwrap().1.split_once("```").unwrap().0;
    let manifest = Manifest::parse(example).unwrap();
    assert!(manifest.request.allows(&"http:GET api.github.com".parse().unwrap()));

    let template = fs::read_to_string(root.join("sdk-rust/template/plugin.toml")).unwrap().replace("{{name}}", "hello");
    assert!(Manifest::parse(&template).unwrap().request.is_nothing());
    // What it shows in comments is what an author will uncomment.
    let shown = template.replace("# [", "[").replace("# llm", "llm").replace("# ledger", "ledger");
    let shown = shown.replace("# memory", "memory").replace("# tool", "tool").replace("# http", "http");
    let shown = shown.replace("# allowed", "allowed").replace("# config", "config").replace("# wall", "wall");
    assert!(!Manifest::parse(&shown).unwrap().request.is_nothing());
}
