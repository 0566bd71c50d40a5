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
fn a_memory_is_updated_tagged_and_shown_with_what_it_said_before() {
    let home = Home::new();
    let stored = home.json(&["memory", "store", "the harbour is closed"]);
    let id = stored["memory"]["id"].as_str().unwrap();
    let updated = home.json(&["memory", "update", id, "--from", "1", "the harbour is open"]);
    assert_eq!(
        (&updated["memory"]["version"], &updated["memory"]["content"]),
        (&json!(2), &json!("the harbour is open"))
    );
    let conflict = home.run(&["memory", "update", id, "--from", "1", "gone"]).expect(1);
    assert!(conflict.stderr.contains("is at version 2, not 1"), "{conflict:?}");
    assert_eq!(home.json(&["memory", "tag", id, "sea", "port"])["memory"]["tags"], json!(["port", "sea"]));
    let shown = home.json(&["memory", "show", id]);
    let said: Vec<_> = shown["versions"].as_array().unwrap().iter().map(|it| it["content"].clone()).collect();
    assert_eq!(said, ["the harbour is open", "the harbour is closed"]);
    let text = home.ok(&["memory", "show", id]).stdout;
    assert!(text.contains("version 1, since") && text.contains("the harbour is closed"), "{text}");
}

#[test]
fn a_recall_finds_forms_of_words_says_how_and_narrows_by_time_and_author() {
    let home = Home::new();
    let id = home.json(&["memory", "store", "deploying hosts by night"])["memory"]["id"].clone();
    home.ok(&["memory", "store", "bread needs salt"]);
    // No word in common: the parts of words lead there.
    let found = home.json(&["memory", "recall", "deployment"]);
    assert_eq!((found["hits"].as_array().unwrap().len(), &found["hits"][0]["memory"]["id"]), (1, &id), "{found}");
    assert_eq!((&found["hits"][0]["text_rank"], &found["hits"][0]["vector_rank"]), (&json!(null), &json!(1)));
    let text = home.ok(&["memory", "recall", "hosts", "deployment"]).stdout;
    assert!(text.contains("words #1, vector #1 (0."), "{text}");
    let hits =
        |args: &[&str]| home.json(&[&["memory", "recall", "night"], args].concat())["hits"].as_array().unwrap().len();
    assert_eq!(hits(&["--since", "1h"]), 1);
    assert_eq!(hits(&["--until", "1h"]), 0);
    assert_eq!(hits(&["--by", "notes"]), 0);
    assert_eq!(hits(&["--by", "operator", "--half-life", "7"]), 1);
    home.run(&["memory", "recall", "x", "--since", "soon"]).expect(2);
    home.run(&["memory", "recall", "x", "--half-life", "0"]).expect(1);
    assert_eq!(home.json(&["memory", "recall", "deployment", "--no-vectors"])["hits"], json!([]));
}

#[test]
fn another_model_for_embeddings_leaves_memories_out_until_they_are_reindexed() {
    let home = Home::new();
    home.ok(&["memory", "store", "deploying hosts by night"]);
    home.configure("[llm.roles]\nembed = 'lexical:1024'\n");
    let found = home.json(&["memory", "recall", "deployment"]);
    assert_eq!((&found["left_out"], &found["hits"]), (&json!(1), &json!([])));
    let told = home.ok(&["memory", "recall", "deployment"]);
    assert!(told.stderr.contains("animus memory reindex"), "{told:?}");
    let done = home.json(&["memory", "reindex"]);
    assert_eq!((&done["model"], &done["embedded"]), (&json!("lexical:1024"), &json!(1)));
    let found = home.json(&["memory", "recall", "deployment"]);
    assert_eq!((&found["left_out"], found["hits"].as_array().unwrap().len()), (&json!(0), 1));
    assert_eq!(home.json(&["memory", "reindex"])["embedded"], 0);
}

#[test]
fn a_vendor_that_cannot_embed_keeps_no_memory_from_being_stored_and_found() {
    let home = Home::new();
    home.configure("[llm.roles]\nembed = 'ollama:none'\n[llm.providers.ollama]\nbase_url = 'http://127.0.0.1:9'\n[llm.retry]\nmax = 0\n");
    let stored = home.ok(&["memory", "store", "whales", "--json"]);
    assert!(stored.stderr.contains("no embedding, so words alone count"), "{stored:?}");
    assert_eq!(home.json(&["memory", "recall", "whales"])["hits"].as_array().unwrap().len(), 1);
    home.run(&["memory", "reindex"]).expect(1);
    home.configure("[llm.roles]\nembed = 'anthropic:claude-sonnet-4-5'\n");
    let refused = home.run(&["memory", "store", "whales"]).expect(1);
    assert!(refused.stderr.contains("Anthropic has no such endpoint"), "{refused:?}");
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
