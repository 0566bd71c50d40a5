use super::*;

/// What all classes find, each with its word.
fn found(text: &str) -> Vec<(&'static str, &str)> {
    let all = Class::DEFAULT.into_iter().chain([Class::Ip]);
    all.flat_map(|class| class.find(text).into_iter().map(move |range| (class.as_str(), text.get(range).unwrap())))
        .collect()
}

fn only(text: &str, class: &str, what: &str) {
    assert_eq!(found(text), [(class, what)], "{text}");
}

/// Put together here, so that no scanner takes this file for a leak.
fn key(prefix: &str, tail: usize) -> String {
    let tail: String = "a1B2c3D4e5F6g7H8i9J0".chars().cycle().take(tail).collect();
    format!("{prefix}{tail}")
}

#[test]
fn keys_of_vendors_are_found_by_prefix_and_length() {
    for (prefix, _, fewest) in keys_table() {
        let key = key(prefix, fewest);
        for text in [key.clone(), format!("the key \"{key}\", please"), format!("KEY={key}\n"), format!("({key}).")] {
            let all = found(&text);
            let hit = all.iter().any(|(class, what)| *class == "api-key" && what.trim_end_matches('.') == key);
            assert!(hit, "{text}: {all:?}");
        }
        let short = self::key(prefix, fewest.min(16) - 1);
        assert!(!found(&short).iter().any(|(class, _)| *class == "api-key"), "{short}");
    }
}

fn keys_table() -> Vec<(&'static str, &'static [u8], usize)> {
    super::keys::VENDORS.to_vec()
}

#[test]
fn keys_of_other_forms_are_found() {
    let id = key("AKIA", 0) + "IOSFODNN7EXAMPLE";
    only(&format!("id {id}!"), "aws", &id);
    let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    only(&format!("aws_secret_access_key = {secret}"), "aws", secret);
    let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U";
    only(&format!("it is {jwt}."), "jwt", jwt);
    let pem = format!("-----BEGIN RSA {0}-----\nMIIE\n-----END RSA {0}-----", "PRIVATE KEY");
    only(&format!("a\n{pem}\nb"), "private-key", &pem);
    let cut = format!("-----BEGIN {}-----\\nMIIEow", "PRIVATE KEY");
    only(&format!("x = \"{cut}"), "private-key", &cut);
    only(r#"{"password": "hunter2hunter"}"#, "credential", "hunter2hunter");
    only("DB_PASSWORD=s3cr3t-Value-9", "credential", "s3cr3t-Value-9");
    only("my-api-key: 'abc12345'", "credential", "abc12345");
    only("Authorization: Bearer abcdefghij0123456789xyz", "credential", "abcdefghij0123456789xyz");
    only("postgres://app:pa55@db.internal/x", "credential", "pa55");
}

#[test]
fn people_are_found_by_address_and_number() {
    only("write to Ada.Lovelace+x@mail.example.co.uk.", "email", "Ada.Lovelace+x@mail.example.co.uk");
    only("<bob@example.org>", "email", "bob@example.org");
    only("mail: bob@example.org: now", "email", "bob@example.org");
    for phone in
        ["+49 30 901820", "+1 (555) 123-4567", "+4915112345678", "(555) 123-4567", "555-123-4567", "+44.20.7946.0958"]
    {
        only(&format!("call {phone} or not"), "phone", phone);
    }
}

#[test]
fn numbers_are_found_by_their_checksums() {
    only("IBAN DE89 3704 0044 0532 0130 00.", "iban", "DE89 3704 0044 0532 0130 00");
    only("to GB82WEST12345698765432 please", "iban", "GB82WEST12345698765432");
    only("NO9386011117947, at once", "iban", "NO9386011117947");
    for card in
        ["4111111111111111", "4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005", "6011111111111117"]
    {
        only(&format!("card {card}, thanks"), "card", card);
        only(&format!("12 and {card}"), "card", card);
    }
    for wrong in ["4111111111111112", "DE88 3704 0044 0532 0130 00", "4444444444444444"] {
        assert!(!found(wrong).iter().any(|(class, _)| matches!(*class, "card" | "iban")), "{wrong}");
    }
    only("from 203.0.113.9.", "ip", "203.0.113.9");
    only("from 2001:db8::8a2e:370:7334 on", "ip", "2001:db8::8a2e:370:7334");
}

#[test]
fn what_only_looks_like_one_stays() {
    for text in [
        // Words.
        "the secretary's password policy",
        "a secret: nobody knows it",
        "token: the smallest piece of a text",
        "sk-learn and sk-something-with-a-long-name",
        "risk-averse1 task-force2 disk-0123456789abcdefghijkl",
        "the bearer of good news",
        "password: ",
        // Code.
        "let token = parse_token2(input);",
        "const password = process.env.PASSWORD1234;",
        "if password == other_password1 {",
        "token: Option<String>, secret: &'a Secret9",
        "password = \"${DB_PASSWORD_1}\"",
        "token = my_access_token_v2",
        "https://example.org/a%20b?x=1",
        "api_key=<your-api-key-1>",
        "Token::new(12345678)",
        "#[derive(Debug)] struct ApiKey1;",
        "@media print { } @types/node user@localhost",
        "git@github.com:animus/animus.git",
        "ssh://git@example.org/x",
        "logo@2x.png",
        "pkg@1.2.3",
        // Digests and identifiers.
        "commit 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "018f0000-1234-7abc-8def-0123456789ab",
        "550e8400-e29b-41d4-a716-446655440000",
        "AKIA and AKIAIOSFODNN7EXAMPLEX7",
        "eyJhbGciOiJIUzI1NiJ9 alone",
        "aGVsbG8gd29ybGQgdGhpcyBpcyBiYXNlNjQ=",
        "-----BEGIN CERTIFICATE-----\nMIID\n-----END CERTIFICATE-----",
        "-----BEGIN PUBLIC KEY-----\nMIID\n-----END PUBLIC KEY-----",
        // Numbers.
        "1700000000000 ms, 1700000000000000 us",
        "2024-01-15T10:30:00+01:00 and 2024-01-15 10:30:00 +0100",
        "version 1.2.3.4567, 10.0.0",
        "3.14159265358979323846",
        "9007199254740993 is 2^53+1",
        "order 123-45-6789 of 12/31/2024",
        "127.0.0.1 and 0.0.0.0 and ::1",
        "std::fs::read a::b 12:34:56",
        "GB and DE12 and AB1234 rows",
        "https://example.org/a?b=c:d@e",
        "",
        "ä€😀",
    ] {
        assert_eq!(found(text), [], "{text}");
    }
}

#[test]
fn overlapping_finds_become_one_and_the_rest_stays_as_it_is() {
    let finder = Finder::new(Class::DEFAULT.to_vec(), "word = [a-z]+@").unwrap();
    assert_eq!(finder.redacted("ä bob@example.org ö").as_deref(), Some("ä [redacted:email] ö"));
    assert_eq!(finder.redacted("nothing here"), None);
    let bytes = Finder::new(Vec::new(), "any = x.\nword = \\bword\\b").unwrap();
    assert_eq!(bytes.redacted("xäy, word.").as_deref(), Some("[redacted:any]y, [redacted:word]."));
    let long = format!("{} 4111 1111 1111 1111 {}", "ä".repeat(1_000), "1 ".repeat(10_000));
    assert!(finder.redacted(&long).unwrap().contains("[redacted:card]"));
}

/// Texts of strangers must not take long, whatever they are made of.
#[test]
fn the_time_grows_with_the_text() {
    let finder = Finder::new(Class::DEFAULT.iter().copied().chain([Class::Ip]).collect(), "").unwrap();
    for piece in [
        "1 ",
        "1-",
        "AA11 ",
        "@",
        "a@b.",
        "+1 ",
        "://a:b@",
        "eyJ.",
        "-----BEGIN ",
        "sk-ant-",
        "password=",
        "4111 ",
        "_",
    ] {
        let text = piece.repeat(5_000);
        // It comes back at all.
        let _ = finder.redacted(&text);
    }
}
