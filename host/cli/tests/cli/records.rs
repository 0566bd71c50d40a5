//! Ledger, memories, secrets, audit: what the store keeps.

use std::{fs, path::Path};

use serde_json::json;
use sqlx::{Connection as _, Executor as _, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::home::Home;

#[test]
fn entries_are_appended_to_the_ledger_and_filtered_by_type_and_number() {
    let home = Home::new();
    home.run(&["ledger", "show"]).expect(1);
    home.ok(&["tool", "call", "notes.recall", r#"{"query":""}"#]);
    home.ok(&["ledger", "append", "last", "--type", "finding", "it", "holds"]);
    home.feed(&["ledger", "append", "last", "-"], "a note\n").expect(0);
    let shown = home.json(&["ledger", "show"]);
    let entries: Vec<_> =
        shown["entries"].as_array().unwrap().iter().map(|e| (&e["entry_type"], &e["content"])).collect();
    assert_eq!(entries, [(&json!("finding"), &json!("it holds")), (&json!("note"), &json!("a note"))]);
    assert_eq!(home.json(&["ledger", "show", "last", "--type", "finding"])["entries"].as_array().unwrap().len(), 1);
    assert_eq!(home.json(&["ledger", "show", "last", "--last", "1"])["entries"][0]["content"], "a note");
    home.run(&["ledger", "append", "last", "--type", "wish", "x"]).expect(2);
    let unknown = home.run(&["ledger", "show", "ffffffff"]).expect(1);
    assert!(unknown.stderr.contains("animus status"), "{unknown:?}");
}

#[test]
fn memories_are_stored_recalled_listed_and_forgotten() {
    let home = Home::new();
    let stored = home.json(&["memory", "store", "--kind", "fact", "--tag", "sea", "whales", "are", "mammals"]);
    let id = stored["memory"]["id"].as_str().unwrap();
    assert_eq!(stored["memory"]["source"], "operator");
    home.ok(&["memory", "store", "unrelated"]);
    let hits = home.json(&["memory", "recall", "whales"]);
    assert_eq!(hits["hits"].as_array().unwrap().len(), 1);
    assert_eq!(hits["hits"][0]["memory"]["id"], id);
    assert_eq!(home.json(&["memory", "list"])["memories"].as_array().unwrap().len(), 2);
    assert_eq!(home.json(&["memory", "list", "--kind", "fact"])["memories"][0]["id"], id);
    assert_eq!(home.json(&["memory", "list", "--tag", "sea"])["memories"].as_array().unwrap().len(), 1);
    assert_eq!(home.json(&["memory", "list", "--limit", "1"])["memories"].as_array().unwrap().len(), 1);
    home.ok(&["memory", "forget", id]);
    home.run(&["memory", "forget", id]).expect(1);
}

#[test]
fn a_secret_is_nowhere_to_be_read() {
    const VALUE: &str = "tr0ub4dor-and-3";
    let home = Home::new();
    let set = home.feed(&["secret", "set", "github"], &format!("{VALUE}\n")).expect(0);
    let listed = home.ok(&["secret", "list", "--json"]);
    assert_eq!(listed.json()["secrets"][0]["handle"], "github");
    let said = [set.stdout, set.stderr, listed.stdout, home.ok(&["audit", "show", "--json"]).stdout].concat();
    assert!(!said.contains(VALUE), "{said}");
    assert!(said.contains("secret.set"), "{said}");
    assert!(!holds(&home.path(), VALUE.as_bytes()));
    home.feed(&["secret", "set", "github"], "\n").expect(2);
    home.ok(&["secret", "remove", "github"]);
    home.run(&["secret", "remove", "github"]).expect(1);
}

fn holds(folder: &Path, needle: &[u8]) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            holds(&path, needle)
        } else {
            fs::read(&path).unwrap().windows(needle.len()).any(|window| window == needle)
        }
    })
}

#[test]
fn a_key_from_a_stored_secret_reaches_its_vendor_and_nothing_else() {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
    };
    let home = Home::new();
    home.feed(&["secret", "set", "shop"], "k3y-of-the-shop").expect(0);
    let vendor = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = vendor.local_addr().unwrap();
    home.configure(&format!(
        "[llm.providers.shop]\nkind = 'openai'\nbase_url = 'http://{at}/v1'\n[llm.roles]\ndefault = 'shop:x'\n\
         [llm.retry]\nmax = 0\n"
    ));
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = vendor.accept().unwrap();
        let mut head = Vec::new();
        while !head.windows(4).any(|four| four == b"\r\n\r\n") {
            let mut piece = [0; 1024];
            let read = stream.read(&mut piece).unwrap();
            head.extend_from_slice(&piece[..read]);
        }
        let body = r#"{"error":{"message":"no such key k3y-of-the-shop"}}"#;
        let length = body.len();
        write!(stream, "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}").unwrap();
        String::from_utf8(head).unwrap()
    });
    let failed = home.run(&["model", "test"]).expect(1);
    assert!(answering.join().unwrap().to_lowercase().contains("authorization: bearer k3y-of-the-shop"));
    assert!(!failed.stderr.contains("k3y") && !failed.stdout.contains("k3y"), "{failed:?}");
}

#[tokio::test]
async fn a_changed_audit_entry_is_found_and_doctor_says_so_too() {
    let home = Home::new();
    let verdict = home.json(&["audit", "verify"]);
    assert_eq!(verdict["broken"], json!(null));
    let file = SqliteConnectOptions::new().filename(home.path().join("animus.db"));
    let mut database = SqliteConnection::connect_with(&file).await.unwrap();
    database.execute("DROP TRIGGER audit_is_append_only").await.unwrap();
    database.execute("UPDATE audit SET actor = 'nobody' WHERE seq = 2").await.unwrap();
    database.close().await.unwrap();
    let broken = home.run(&["audit", "verify", "--json"]).expect(1).json();
    assert_eq!(broken["broken"][0], 2);
    let text = home.run(&["audit", "verify"]).expect(1).stdout;
    assert!(text.contains("entry 2"), "{text}");
    let report = home.run(&["doctor", "--json"]).expect(1).json();
    let audit = report["checks"].as_array().unwrap().iter().find(|check| check["name"] == "audit").unwrap();
    assert_eq!(audit["level"], "broken");
    assert!(audit["mend"].as_str().is_some());
}
