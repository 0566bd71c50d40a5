//! The store in Postgres: chosen by the environment or by the operator, shared by homes that share the key.

use std::fs;

use serde_json::Value;

use crate::{
    database::{Database, PASSWORD},
    home::{Done, Home},
};

/// A command of a home whose store is in the database.
fn run(home: &Home, database: &Database, args: &[&str]) -> Done {
    Done::of(home.command(args).env("DATABASE_URL", database.url()).output().unwrap())
}

fn json(home: &Home, database: &Database, args: &[&str]) -> Value {
    run(home, database, &[args, &["--json"]].concat()).expect(0).json()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_chooses_the_store_and_no_output_holds_its_password() {
    let Some(database) = Database::fresh().await else { return };
    let home = Home::new();
    let status = json(&home, &database, &["status"]);
    assert_eq!(status["store"]["backend"], "postgres");
    assert!(status["store"]["location"].as_str().unwrap().contains(database.name()));
    let text = run(&home, &database, &["status"]).expect(0).stdout;
    assert!(text.contains("postgres store at"), "{text}");
    let doctor = json(&home, &database, &["doctor"]);
    let checks = doctor["checks"].as_array().unwrap();
    let store = checks.iter().find(|check| check["name"] == "store").unwrap();
    assert!(store["detail"].as_str().unwrap().starts_with("postgres at"), "{store}");
    for output in [status.to_string(), doctor.to_string(), text] {
        assert!(!output.contains(PASSWORD), "{output}");
    }
    // What is kept there is not in the file, and the other way round.
    json(&home, &database, &["memory", "store", "the harbour is open"]);
    let found = |recalled: Value| recalled["hits"].as_array().unwrap().len();
    assert_eq!(found(json(&home, &database, &["memory", "recall", "harbour"])), 1);
    // What ships is there, although this home was given it in another store.
    let plugins = json(&home, &database, &["plugin", "list"]).to_string();
    assert!(plugins.contains("assistant"), "{plugins}");
    assert_eq!(home.json(&["status"])["store"]["backend"], "sqlite");
    assert_eq!(found(home.json(&["memory", "recall", "harbour"])), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn homes_that_share_a_database_share_the_key_or_no_secrets() {
    let Some(database) = Database::fresh().await else { return };
    let (one, two, stranger) = (Home::new(), Home::new(), Home::new());
    fs::remove_file(stranger.path().join("key")).unwrap();
    fs::copy(one.path().join("key"), two.path().join("key")).unwrap();
    // By the operator's file this time. The vendor is nobody: whoever asks it opens the secret first.
    for home in [&one, &two, &stranger] {
        home.configure(&format!(
            "[store]\nurl = '{}'\n[llm.providers.shop]\nkind = 'openai'\nbase_url = 'http://127.0.0.1:1/v1'\n\
             [llm.roles]\ndefault = 'shop:x'\n[llm.retry]\nmax = 0\n",
            database.url()
        ));
    }
    one.feed(&["secret", "set", "shop"], "k3y").expect(0);
    let asked = |home: &Home| {
        let Done { stdout, stderr, .. } = home.run(&["model", "test"]).expect(1);
        stdout + &stderr
    };
    assert!(!asked(&two).contains("sealed with another key"));
    let refused = asked(&stranger);
    assert!(refused.contains("sealed with another key"), "{refused}");
}

#[test]
fn a_project_and_another_programs_url_choose_nothing() {
    let home = Home::new();
    home.file("animus.toml", "[store]\nurl = 'postgres://evil.example/animus'\n");
    let refused = home.run(&["run", "x"]);
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("says where everything is kept"), "{refused:?}");
    let other = home.command(&["plugin", "list", "--json"]).env("DATABASE_URL", "mysql://db.example/shop").output();
    Done::of(other.unwrap()).expect(0);
    home.configure("[store]\nurl = 'mysql://db.example/shop'\n");
    let wrong = home.run(&["plugin", "list"]).expect(1);
    assert!(wrong.stderr.contains("no URL of a Postgres database"), "{wrong:?}");
}

#[test]
fn a_server_that_does_not_answer_is_named_without_the_password() {
    let home = Home::new();
    let url = format!("postgres://ada:{PASSWORD}@127.0.0.1:1/animus");
    let failed = Done::of(home.command(&["status"]).env("DATABASE_URL", url).output().unwrap()).expect(1);
    assert!(failed.stderr.contains("127.0.0.1:1/animus") && !failed.stderr.contains(PASSWORD), "{failed:?}");
}
