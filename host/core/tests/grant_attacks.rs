//! What somebody would try who wants more than was granted.
#![allow(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

use std::collections::BTreeSet;

use animus_core::{
    authority::Authority,
    grant::{Capability, Grant, HostPattern, HttpGrant, PathGrant, PathMode, Pattern, SecretGrant},
    id::PluginName,
};

fn host(text: &str) -> HostPattern {
    text.parse().unwrap()
}

fn folder(host: &str, guest: &str, mode: PathMode) -> PathGrant {
    PathGrant { host: host.to_owned(), guest: guest.to_owned(), mode }
}

fn grant(toml: &str) -> Grant {
    Grant::parse_toml(toml).unwrap()
}

#[test]
fn a_host_pattern_matches_what_it_says_and_no_neighbour() {
    for (pattern, scheme, name, port, matches) in [
        ("example.org", "https", "example.org", 443, true),
        ("example.org", "https", "EXAMPLE.org.", 443, true),
        ("example.org", "https", "example.org..", 443, false),
        ("example.org", "http", "example.org", 80, false),
        ("example.org", "http", "example.org", 443, false),
        ("example.org", "https", "example.org", 8443, false),
        ("example.org", "https", "evil-example.org", 443, false),
        ("example.org", "https", "example.org.evil.net", 443, false),
        ("example.org", "https", "sub.example.org", 443, false),
        ("example.org", "https", "", 443, false),
        ("*.example.org", "https", "sub.example.org", 443, true),
        ("*.example.org", "https", "a.sub.example.org", 443, false),
        ("*.example.org", "https", "example.org", 443, false),
        ("*.example.org", "https", ".example.org", 443, false),
        ("*.example.org", "https", "evilexample.org", 443, false),
        ("http://example.org", "http", "example.org", 80, true),
        ("http://example.org", "https", "example.org", 443, false),
        ("example.org:*", "https", "example.org", 1, true),
        ("*://example.org", "http", "example.org", 8080, true),
        ("*://example.org", "ftp", "example.org", 21, false),
        ("*://*:*", "gopher", "example.org", 70, false),
        ("*", "https", "anything.example", 443, true),
        ("*", "http", "anything.example", 80, false),
        ("[::1]:8080", "https", "[::1]", 8080, true),
        ("[::1]:8080", "https", "[::1]", 443, false),
        ("[0:0::1]", "https", "[::1]", 443, true),
        ("127.0.0.1", "https", "[::ffff:127.0.0.1]", 443, false),
        ("0x7f.1", "https", "127.0.0.1", 443, true),
        ("bücher.example", "https", "xn--bcher-kva.example", 443, true),
    ] {
        assert_eq!(host(pattern).matches(scheme, name, port), matches, "{pattern} on {scheme}://{name}:{port}");
    }
}

#[test]
fn host_patterns_that_say_two_things_are_refused() {
    for text in [
        "",
        "*.",
        "*.*",
        "a*.org",
        "*a.org",
        "a.*.org",
        "**",
        "*.*.org",
        "*.127.0.0.1",
        "*.[::1]",
        "::1",
        "[::1",
        "::1]",
        "[::1]443",
        "[::1]x:443",
        "a.org:",
        "a.org:0",
        "a.org:65536",
        "a.org:+443",
        "a.org:-1",
        "a.org:443:80",
        "a.org/x",
        "user@a.org",
        "a.org?x",
        "a.org#x",
        "a b.org",
        "a.org\n",
        "https://",
        "://a.org",
        "file://a.org",
        "HTTPS://a.org",
        "https://https://a.org",
        "a.org:443/..",
        "a\\b.org",
        "a.org:https",
        "%2e%2e/",
        "https:a.org",
    ] {
        assert!(text.parse::<HostPattern>().is_err(), "'{text}' became {}", text.parse::<HostPattern>().unwrap());
    }
}

#[test]
fn a_name_pattern_ends_at_a_dot_or_colon_so_that_it_reaches_no_neighbour() {
    let files: Pattern = "fs.*".parse().unwrap();
    for (name, matches) in
        [("fs.read", true), ("fs2.read", false), ("fsx", false), ("fs", false), ("web.fs.read", false)]
    {
        assert_eq!(files.matches(name), matches, "{name}");
    }
    for text in ["f*", "*.read", "fs.*.x", "**", "fs.**", "FS.*", "fs. *", "", "fs.\n", "é"] {
        assert!(text.parse::<Pattern>().is_err(), "'{text}' is a pattern");
    }
}

#[test]
fn a_folder_is_covered_by_itself_or_a_parent_and_by_no_trick() {
    let granted = folder("$workspace/data", "/data", PathMode::Ro);
    for (host, guest, mode, covered) in [
        ("$workspace/data", "/data", PathMode::Ro, true),
        ("$workspace/data/sub", "/data", PathMode::Ro, true),
        ("$workspace/data", "/data", PathMode::Rw, false),
        ("$workspace/data", "/data/sub", PathMode::Ro, false),
        ("$workspace/data", "*", PathMode::Ro, false),
        ("$workspace", "/data", PathMode::Ro, false),
        ("$workspace/database", "/data", PathMode::Ro, false),
        ("$workspace/data/..", "/data", PathMode::Ro, false),
        ("$workspace/data/../x", "/data", PathMode::Ro, false),
        ("$workspace/data/./x", "/data", PathMode::Ro, false),
        ("$workspace/data//x", "/data", PathMode::Ro, false),
        ("$workspace/data/", "/data", PathMode::Ro, false),
        ("$workspacex/data", "/data", PathMode::Ro, false),
        ("/data", "/data", PathMode::Ro, false),
        ("*", "/data", PathMode::Ro, false),
        ("", "/data", PathMode::Ro, false),
    ] {
        let asked = folder(host, guest, mode);
        assert_eq!(granted.covers(&asked), covered, "{asked:?}");
        let own = Grant { paths: BTreeSet::from([granted.clone()]), ..Grant::default() };
        assert_eq!(own.allows(&Capability::Path(asked)), covered);
    }
    let root = folder("/", "*", PathMode::Rw);
    assert!(root.covers(&folder("/etc", "/x", PathMode::Rw)));
    assert!(!root.covers(&folder("$workspace", "/x", PathMode::Rw)), "the workspace is not a path of the host");
}

#[test]
fn a_meet_never_yields_a_folder_that_leaves_its_parent() {
    let request = Grant { paths: BTreeSet::from([folder("$workspace", "/w", PathMode::Rw)]), ..Grant::default() };
    for escape in ["$workspace/..", "$workspace/../../etc", "$workspace/a/../..", "$workspace//", "$workspace/\0"] {
        let granted = Grant { paths: BTreeSet::from([folder(escape, "/w", PathMode::Rw)]), ..Grant::default() };
        assert!(request.meet(&granted).paths.is_empty(), "{escape}");
        assert!(granted.check().is_err(), "{escape}");
    }
}

#[test]
fn one_guest_path_for_two_folders_is_refused() {
    let twice = "paths = [{ host = '/a', guest = '/x', mode = 'ro' }, { host = '/b', guest = '/x', mode = 'ro' }]";
    assert!(Grant::parse_toml(twice).unwrap_err().to_string().contains("'/x' stands for both"));
}

#[test]
fn a_network_holds_the_addresses_that_it_writes_and_no_other_form_of_them() {
    let private = grant("http = { hosts = ['*'], networks = ['10.0.0.0/8', '192.168.0.7'] }");
    for (ip, allowed) in [
        ("10.255.0.1", true),
        ("11.0.0.1", false),
        ("192.168.0.7", true),
        ("192.168.0.8", false),
        ("::ffff:10.0.0.1", false),
        ("64:ff9b::10.0.0.1", false),
    ] {
        assert_eq!(private.allows(&Capability::Network(ip.parse().unwrap())), allowed, "{ip}");
    }
    let bits = Grant::parse_toml("http = { hosts = ['*'], networks = ['10.0.0.5/8'] }").unwrap_err();
    assert!(bits.to_string().contains("has host bits; write 10.0.0.0/8"), "{bits}");
}

#[test]
fn a_secret_needs_an_audience_a_header_of_its_own_and_a_plain_prefix() {
    let good = SecretGrant {
        handle: "key".to_owned(),
        host: host("api.example.org"),
        header: "Authorization".to_owned(),
        prefix: "Bearer ".to_owned(),
    };
    good.check().unwrap();
    for bad in [
        SecretGrant { handle: "KEY".to_owned(), ..good.clone() },
        SecretGrant { handle: "../key".to_owned(), ..good.clone() },
        SecretGrant { handle: "*".to_owned(), ..good.clone() },
        SecretGrant { host: host("*"), ..good.clone() },
        SecretGrant { host: host("*://api.example.org"), ..good.clone() },
        SecretGrant { header: String::new(), ..good.clone() },
        SecretGrant { header: "X: y\r\nHost".to_owned(), ..good.clone() },
        SecretGrant { header: "Host".to_owned(), ..good.clone() },
        SecretGrant { header: "content-length".to_owned(), ..good.clone() },
        SecretGrant { header: "Transfer-Encoding".to_owned(), ..good.clone() },
        SecretGrant { prefix: "Bearer\r\nX-Evil: ".to_owned(), ..good.clone() },
    ] {
        assert!(bad.check().is_err(), "{bad:?}");
    }
}

#[test]
fn a_secret_reaches_the_part_of_its_audience_that_was_granted() {
    let http = |hosts: &str, secret: &str| {
        grant(&format!(
            "http = {{ hosts = [{hosts}], secrets = [{{ handle = 'k', host = '{secret}', header = 'X-Key' }}] }}"
        ))
    };
    let wide = http("'*.example.org'", "*.example.org");
    let narrow = http("'api.example.org'", "api.example.org");
    let name = PluginName::new("p").unwrap();
    let authority = Authority::new(name, wide, narrow, Grant::everything());
    assert_eq!(authority.secrets_for("https", "api.example.org", 443).count(), 1);
    assert_eq!(authority.secrets_for("https", "www.example.org", 443).count(), 0);
    assert_eq!(authority.secrets_for("http", "api.example.org", 80).count(), 0);
}

#[test]
fn secrets_that_differ_in_handle_header_or_prefix_have_nothing_in_common() {
    let with = |handle: &str, header: &str, prefix: &str| {
        grant(&format!(
            "[http]\nhosts = ['a.org']\n[[http.secrets]]\nhandle = '{handle}'\nhost = 'a.org'\nheader = '{header}'\n\
             prefix = '{prefix}'"
        ))
    };
    let secrets = |a: &Grant, b: &Grant| a.meet(b).http.unwrap().secrets.len();
    let mine = with("k", "X-Key", "");
    for other in [with("l", "X-Key", ""), with("k", "X-Other", ""), with("k", "X-Key", "Bearer ")] {
        assert_eq!(secrets(&mine, &other), 0);
        assert!(other.within(&mine).is_err());
    }
    assert_eq!(secrets(&mine, &with("k", "x-key", "")), 1, "names of headers have no case");
}

#[test]
fn granting_what_is_granted_already_changes_nothing() {
    let mut paths = grant("paths = [{ host = '/a', guest = '/x', mode = 'rw' }]");
    let before = paths.clone();
    for again in ["path:rw /a as /x", "path:ro /a as /x", "path:rw /a/b as /x"] {
        assert_eq!(paths.add(&again.parse().unwrap(), &Grant::everything()), Ok(Vec::new()));
        assert_eq!(paths, before, "{again}");
    }
}

#[test]
fn the_ceilings_any_secret_is_never_itself_sent() {
    let name = PluginName::new("p").unwrap();
    let everything = Authority::new(name, Grant::everything(), Grant::everything(), Grant::everything());
    assert_eq!(everything.secrets_for("https", "example.org", 443).count(), 0);
    Grant::everything().check().unwrap();
}

#[test]
fn nothing_is_left_of_http_or_models_where_a_dimension_is_empty() {
    let get = grant("http = { hosts = ['a.org'], methods = ['GET'] }\nllm = { roles = ['fast'] }");
    let post = grant("http = { hosts = ['a.org'], methods = ['POST'] }\nllm = { roles = ['slow'] }");
    assert_eq!(get.meet(&post), Grant::default());
    assert!(get.meet(&post).is_nothing());
    let elsewhere = Grant {
        http: Some(HttpGrant { hosts: BTreeSet::from([host("b.org")]), ..get.http.clone().unwrap() }),
        ..Grant::default()
    };
    assert!(get.meet(&elsewhere).is_nothing());
}

#[test]
fn widening_says_what_comes_with_it() {
    let request = grant(
        "llm = { roles = ['fast', 'slow'], max_tokens = 4000 }\n\
         http = { hosts = ['a.org', 'b.org'], methods = ['GET', 'POST'],\
         secrets = [{ handle = 'k', host = 'b.org', header = 'X-Key' }] }",
    );
    let mut granted = grant("http = { hosts = ['a.org'] }\nllm = { roles = ['slow'], max_tokens = 10 }");
    let also = granted.add(&"http:POST b.org".parse().unwrap(), &request).unwrap();
    assert_eq!(also, ["http:POST a.org", "http:GET b.org", "the secret 'k' is sent to b.org"]);
    let also = granted.add(&"llm:fast".parse().unwrap(), &request).unwrap();
    assert_eq!(also, ["llm:slow (4000 tokens)"]);
    assert_eq!(granted.llm.as_ref().unwrap().max_tokens, 4_000);
    let before = granted.clone();
    let error = granted.add(&"http:GET c.org".parse().unwrap(), &request).unwrap_err();
    assert!(error.to_string().contains("the manifest does not ask for http:GET c.org:443"), "{error}");
    assert_eq!(granted, before);
}

#[test]
fn a_stored_grant_with_an_unknown_key_or_a_bad_word_is_refused() {
    for json in [
        r#"{"tools":["*"]}"#,
        r#"{"tool":["f*"]}"#,
        r#"{"http":{"hosts":["a.org"],"method":["GET"]}}"#,
        r#"{"ledger":["write"]}"#,
        r#"{"limits":{"wall":5}}"#,
    ] {
        assert!(serde_json::from_str::<Grant>(json).is_err(), "{json}");
    }
}
