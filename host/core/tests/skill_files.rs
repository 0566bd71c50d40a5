//! A skill's folder: bounded, with paths that stay inside, one digest, and code that is what it says.
#![allow(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

use animus_core::skill::{Entry, MAX_FILES, MAX_FOLDER_BYTES, Skill, SkillFiles};

const SKILL: &str = "---\nname: check-in\ndescription: asks\n---\n# When to Use\nWeekly.\n";

fn files(files: &[(&str, &[u8])]) -> Result<SkillFiles, animus_core::Error> {
    SkillFiles::new(files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec())))
}

fn folder(more: &[(&str, &[u8])]) -> SkillFiles {
    files(&[&[("SKILL.md", SKILL.as_bytes())], more].concat()).unwrap()
}

fn refused(more: &[(&str, &[u8])]) -> String {
    files(&[&[("SKILL.md", SKILL.as_bytes())], more].concat()).unwrap_err().to_string()
}

#[test]
fn paths_stay_in_the_folder() {
    for bad in [
        "../a",
        "a/../b",
        "/a",
        "a//b",
        "a/",
        "./a",
        "a/.",
        "",
        "a\\b",
        "c:a",
        "a\nb",
        "a\0",
        "a\u{202e}b",
        "..",
        "a/..",
    ] {
        assert!(refused(&[(bad, b"")]).contains("problem"), "{bad:?} passed");
    }
    assert!(refused(&[(&"a".repeat(201), b"")]).contains("not a path of 1 to 200 bytes"));
    for good in ["prompt.md", "scripts/tools.py", "resources/a b/é.txt", "references/...", ".hidden"] {
        assert!(folder(&[(good, b"x")]).get(good).is_some(), "{good}");
    }
}

#[test]
fn a_folder_is_bounded_and_is_a_skill() {
    let many: Vec<_> = (0..MAX_FILES).map(|n| format!("resources/{n}")).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|path| (path.as_str(), b"x".as_slice())).collect();
    assert!(refused(&many).contains("more than 64 files"));
    let large = vec![0; MAX_FOLDER_BYTES];
    assert!(refused(&[("resources/a", &large)]).contains("1048576 bytes in all"));
    assert!(refused(&[("a", b""), ("a", b"")]).contains("'a' stands there twice"));
    assert!(refused(&[("a", b""), ("a/b", b"")]).contains("'a' is a file, and 'a/b' would lie in it"));
    assert!(files(&[("skill.md", b"")]).unwrap_err().to_string().contains("has no SKILL.md"));
}

#[test]
fn equal_files_have_equal_bytes_and_other_files_other_digests() {
    let one = folder(&[("a", b"1"), ("b", b"2")]);
    let same = files(&[("b", b"2"), ("SKILL.md", SKILL.as_bytes()), ("a", b"1")]).unwrap();
    assert_eq!((one.digest(), one.to_bytes()), (same.digest(), same.to_bytes()));
    assert_eq!(SkillFiles::from_bytes(&one.to_bytes()).unwrap(), one);
    // Where one ends and the other begins counts.
    for other in [folder(&[("a", b"12"), ("b", b"")]), folder(&[("ab", b"1"), ("b", b"2")]), folder(&[("a", b"1")])] {
        assert_ne!(one.digest(), other.digest());
    }
    assert_eq!(one.with("b", *b"3").unwrap(), folder(&[("a", b"1"), ("b", b"3")]));
    assert!(one.with("../b", *b"3").is_err());
    // Files in another order are another sequence of bytes, and refused.
    let bytes = folder(&[("a", b"1"), ("b", b"2")]).to_bytes();
    let tail = bytes.len() - 20;
    let (head, pairs) = bytes.split_at(tail);
    let (a, b) = pairs.split_at(10);
    assert!(SkillFiles::from_bytes(&[head, a, b].concat()).is_ok());
    assert!(SkillFiles::from_bytes(&[head, b, a].concat()).is_err());
    assert!(SkillFiles::from_bytes(&[head, a, b, b].concat()).is_err());
    assert!(SkillFiles::from_bytes(b"").is_err());
}

#[test]
fn the_prompt_follows_the_body() {
    let entry = Entry::new(3, folder(&[("prompt.md", b"\nBe kind.\n")])).unwrap();
    assert_eq!(&**entry.prompt(), "# When to Use\nWeekly.\n\nBe kind.");
    for (path, bytes, part) in [
        ("prompt.md", b"\xff".as_slice(), "prompt.md is not UTF-8 text"),
        ("prompt.md", "a\u{202e}b".as_bytes(), "prompt.md has the hidden character"),
    ] {
        let error = folder(&[(path, bytes)]).skill(None).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let error = folder(&[]).skill(Some("other")).unwrap_err().to_string();
    assert!(error.contains("in a folder 'other'"), "{error}");
    let error = files(&[("SKILL.md", b"\xff")]).unwrap().skill(None).unwrap_err().to_string();
    assert!(error.contains("SKILL.md is not UTF-8 text"), "{error}");
}

#[test]
fn code_is_found_by_its_place_or_by_its_name() {
    let files = folder(&[
        ("scripts/tools.py", b"import x"),
        ("scripts/helpers.py", b"h"),
        ("scripts/deep/__init__.py", b"d"),
        ("scripts/run.sh", b"s"),
        ("tests/test_a.py", b"a"),
        ("tests/data.json", b"\xff"),
    ]);
    let skill = files.skill(Some("check-in")).unwrap();
    let code = files.code(&skill).unwrap().unwrap();
    assert_eq!((code.interpreter.as_str(), code.source), ("python", ("scripts/tools.py", "import x")));
    let modules: Vec<_> = code.modules.iter().map(|(name, text)| (name.as_str(), *text)).collect();
    assert_eq!(modules, [("skills.check_in.scripts.deep", "d"), ("skills.check_in.scripts.helpers", "h")]);
    assert_eq!(code.tests.keys().copied().collect::<Vec<_>>(), ["tests/test_a.py"]);

    let named = "---\nname: a\ndescription: b\ncode:\n  interpreter: micro\n  source: scripts/ask.py\n  tests: [tests/b.py]\n---\n";
    let files =
        folder(&[("scripts/ask.py", b"ask"), ("scripts/tools.py", b"t"), ("tests/a.py", b""), ("tests/b.py", b"")]);
    let files = files.with("SKILL.md", named).unwrap();
    let skill = files.skill(None).unwrap();
    let code = files.code(&skill).unwrap().unwrap();
    assert_eq!((code.interpreter.as_str(), code.source), ("micro", ("scripts/ask.py", "ask")));
    assert_eq!(code.modules.keys().collect::<Vec<_>>(), ["skills.a.scripts.tools"]);
    assert_eq!(code.tests.keys().copied().collect::<Vec<_>>(), ["tests/b.py"]);

    let none = folder(&[("scripts/run.sh", b"")]);
    assert_eq!(none.code(&none.skill(None).unwrap()).unwrap(), None);
}

#[test]
fn code_that_is_not_there_or_cannot_be_imported_is_refused() {
    let named = "---\nname: a\ndescription: b\ncode:\n  source: scripts/ask.py\n  tests: [tests/b.py]\n---\n";
    let files = folder(&[]).with("SKILL.md", named).unwrap();
    let error = files.skill(None).unwrap_err().to_string();
    assert!(error.contains("'tests/b.py' is named") && error.contains("'scripts/ask.py' is named"), "{error}");
    for (path, bytes, part) in [
        ("scripts/a-b.py", b"".as_slice(), "'scripts/a-b.py' cannot be imported"),
        ("scripts/3.py", b"", "cannot be imported"),
        ("scripts/h.py", b"\xff", "scripts/h.py is not UTF-8 text"),
    ] {
        let files = folder(&[("scripts/tools.py", b""), (path, bytes)]);
        let error = files.skill(None).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let skill = Skill::parse(named, None).unwrap();
    assert!(folder(&[]).code(&skill).is_err());
}
