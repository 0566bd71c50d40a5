//! A plugin's package is its component, with the manifest in a custom section.

use std::ops::Range;

use wasm_encoder::{CustomSection, Section as _, SectionId};
use wasmparser::{BinaryReader, CustomSectionReader, Parser};

use crate::{Error, manifest::MAX_BYTES};

/// The name of the custom section that carries the text of `plugin.toml`.
pub const SECTION: &str = "animus:manifest";

/// The component with `manifest` as its only manifest section, at the end; the rest of the bytes is unchanged.
/// Says nothing about whether the component or the manifest is any good.
///
/// # Errors
/// [`Error::Invalid`] when `wasm` is not a component, or `manifest` is longer than [`MAX_BYTES`].
pub fn embed(wasm: &[u8], manifest: &str) -> Result<Vec<u8>, Error> {
    check_length(manifest.len())?;
    with_section(wasm, SECTION, manifest.as_bytes())
}

/// The component with `data` as its only custom section of that name, at the end; the rest of the bytes is unchanged.
///
/// # Errors
/// [`Error::Invalid`] when `wasm` is not a component.
pub fn with_section(wasm: &[u8], name: &str, data: &[u8]) -> Result<Vec<u8>, Error> {
    let mut packed = Vec::with_capacity(wasm.len().saturating_add(data.len()).saturating_add(64));
    let mut kept_to = 0;
    for section in sections(wasm, name)? {
        packed.extend_from_slice(wasm.get(kept_to..section.whole.start).unwrap_or_default());
        kept_to = section.whole.end;
    }
    packed.extend_from_slice(wasm.get(kept_to..).unwrap_or_default());
    CustomSection { name: name.into(), data: data.into() }.append_to(&mut packed);
    Ok(packed)
}

/// What the custom section of that name holds: none where there is no such section, or more than one, so that it is not
/// clear which one counts. Sections of nested modules and components do not count.
///
/// # Errors
/// [`Error::Invalid`] when `wasm` is not a component.
pub fn section_of<'a>(wasm: &'a [u8], name: &str) -> Result<Option<&'a [u8]>, Error> {
    Ok(match sections(wasm, name)?.as_slice() {
        [only] => Some(only.data),
        _ => None,
    })
}

/// The manifest that a component carries, if any. Sections of nested modules and components do not count.
///
/// # Errors
/// [`Error::Invalid`] for bytes that are not a component, for two manifest sections, and for one that is not UTF-8 or
/// longer than [`MAX_BYTES`].
pub fn manifest_of(wasm: &[u8]) -> Result<Option<&str>, Error> {
    let data = match sections(wasm, SECTION)?.as_slice() {
        [] => return Ok(None),
        [only] => only.data,
        more => {
            return Err(Error::Invalid(format!(
                "the component carries {} manifests, and it is not clear which one counts; build it again",
                more.len()
            )));
        }
    };
    check_length(data.len())?;
    std::str::from_utf8(data)
        .map(Some)
        .map_err(|e| Error::Invalid(format!("the manifest in the component is not UTF-8 text: {e}")))
}

fn check_length(bytes: usize) -> Result<(), Error> {
    if bytes > MAX_BYTES {
        return Err(Error::Invalid(format!("a manifest of {bytes} bytes is over the limit of {MAX_BYTES}")));
    }
    Ok(())
}

struct Section<'a> {
    /// Where the section is, its header included.
    whole: Range<usize>,
    data: &'a [u8],
}

/// Walks the outermost sections only: what a nested module carries is that module's own affair.
fn sections<'a>(wasm: &'a [u8], name: &str) -> Result<Vec<Section<'a>>, Error> {
    const HEADER: usize = 8;
    if !Parser::is_component(wasm) {
        return Err(Error::Invalid(
            if Parser::is_core_wasm(wasm) {
                "this is a core WebAssembly module, not a component; build for the target wasm32-wasip2"
            } else {
                "these bytes are not a WebAssembly component"
            }
            .to_owned(),
        ));
    }
    let broken = |e: wasmparser::Error| Error::Invalid(format!("the component's sections do not parse: {e}"));
    let mut reader = BinaryReader::new(wasm.get(HEADER..).unwrap_or_default(), HEADER);
    let mut found = Vec::new();
    while !reader.eof() {
        let start = reader.original_position();
        let id = reader.read_u8().map_err(broken)?;
        let body = reader.read_reader().map_err(broken)?;
        if id == SectionId::Custom as u8 {
            let custom = CustomSectionReader::new(body).map_err(broken)?;
            if custom.name() == name {
                found.push(Section { whole: start..reader.original_position(), data: custom.data() });
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use wasm_encoder::{Module, RawSection};

    use super::*;

    fn custom<'a>(name: &'a str, data: &'a [u8]) -> CustomSection<'a> {
        CustomSection { name: name.into(), data: data.into() }
    }

    fn component(sections: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
        for (name, data) in sections {
            custom(name, data).append_to(&mut bytes);
        }
        bytes
    }

    #[test]
    fn what_was_embedded_is_read_back_and_the_rest_is_unchanged() {
        let bare = component(&[("producers", b"x")]);
        assert_eq!(manifest_of(&bare).unwrap(), None);
        let packed = embed(&bare, "name = \"é\"").unwrap();
        assert_eq!(manifest_of(&packed).unwrap(), Some("name = \"é\""));
        assert!(packed.starts_with(&bare));
        wasmparser::validate(&packed).unwrap();
    }

    #[test]
    fn embedding_replaces_every_manifest_that_was_there() {
        let middle = component(&[("a", b"1"), (SECTION, b"old"), ("b", b"2"), (SECTION, b"older")]);
        let packed = embed(&middle, "new").unwrap();
        assert_eq!(manifest_of(&packed).unwrap(), Some("new"));
        assert_eq!(packed, embed(&component(&[("a", b"1"), ("b", b"2")]), "new").unwrap());
        assert_eq!(packed, embed(&packed, "new").unwrap(), "embedding twice is embedding once");
    }

    #[test]
    fn sections_of_other_names_are_kept_apart() {
        let packed = with_section(&component(&[(SECTION, b"m")]), "p", b"one").unwrap();
        assert_eq!(section_of(&packed, "p").unwrap(), Some(&b"one"[..]));
        assert_eq!(manifest_of(&packed).unwrap(), Some("m"));
        assert_eq!(section_of(&with_section(&packed, "p", b"two").unwrap(), "p").unwrap(), Some(&b"two"[..]));
        assert_eq!(section_of(&packed, "q").unwrap(), None);
        assert_eq!(section_of(&component(&[("p", b"1"), ("p", b"2")]), "p").unwrap(), None, "which one counts?");
        assert!(section_of(b"no component", "p").is_err());
    }

    #[test]
    fn a_manifest_inside_a_nested_module_does_not_count() {
        let mut inner = Module::new();
        inner.section(&custom(SECTION, b"smuggled"));
        let mut outer = component(&[]);
        RawSection { id: 1, data: &inner.finish() }.append_to(&mut outer);
        assert_eq!(manifest_of(&outer).unwrap(), None);
        let packed = embed(&outer, "mine").unwrap();
        assert!(packed.starts_with(&outer), "the nested module is unchanged");
        assert_eq!(manifest_of(&packed).unwrap(), Some("mine"));
    }

    #[test]
    fn what_is_not_a_component_with_one_readable_manifest_is_refused_with_the_reason() {
        let long = vec![b'#'; MAX_BYTES + 1];
        for (bytes, reason) in [
            (Module::new().finish(), "core WebAssembly module"),
            (b"hello".to_vec(), "not a WebAssembly component"),
            (Vec::new(), "not a WebAssembly component"),
            (component(&[(SECTION, b"a"), (SECTION, b"b")]), "2 manifests"),
            (component(&[(SECTION, b"\xff")]), "not UTF-8"),
            (component(&[(SECTION, &long)]), "over the limit"),
            ([component(&[]), vec![0, 200]].concat(), "do not parse"),
            ([component(&[]), vec![0, 0]].concat(), "do not parse"),
        ] {
            let error = manifest_of(&bytes).unwrap_err();
            assert!(matches!(error, Error::Invalid(_)) && error.to_string().contains(reason), "{error}");
        }
        assert!(embed(&Module::new().finish(), "x").is_err());
        assert!(embed(&component(&[]), std::str::from_utf8(&long).unwrap()).is_err());
    }
}
