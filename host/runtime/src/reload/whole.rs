//! Whether a WebAssembly file has arrived completely.

use std::{fs::File, io::Read as _, path::Path};

use crate::artifact::MAX_WASM;

const MAGIC: &[u8] = b"\0asm";
const HEADER: usize = 8;

/// Whether the file at `path` ends where a section ends. What is missing, unreadable, too large or no WebAssembly is as
/// whole as it will ever be: the loader says what is wrong with it. Blocks on the file system.
pub(super) fn is_whole(path: &Path) -> bool {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_WASM as u64 + 1).read_to_end(&mut bytes));
    match read {
        Ok(read) => read > MAX_WASM || ends_whole(&bytes),
        Err(_) => true,
    }
}

/// Walks the sections, each an identifier and a length, without looking into them.
fn ends_whole(bytes: &[u8]) -> bool {
    let begins = bytes.len().min(MAGIC.len());
    if bytes.get(..begins) != MAGIC.get(..begins) {
        return true;
    }
    let Some(mut rest) = bytes.get(HEADER..) else { return false };
    while let Some((_, after)) = rest.split_first() {
        let Some((length, after)) = leb(after) else { return false };
        let Some(next) = after.get(length..) else { return false };
        rest = next;
    }
    true
}

/// An unsigned LEB128 of 32 bits, and what follows it; none when it is cut off. A longer one is malformed, which is the
/// loader's to say: it counts as the end of the file.
fn leb(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0_u64;
    for (i, byte) in bytes.iter().enumerate().take(5) {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(value).ok()?, bytes.get(i + 1..)?));
        }
    }
    (bytes.len() >= 5).then_some((0, &[]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_whole_at_the_end_of_a_section_only() {
        let wasm = wat::parse_str("(component (core module (memory 1) (data (i32.const 0) \"some data\")))").unwrap();
        assert!(ends_whole(&wasm));
        // One section here, so every cut after the header falls into it.
        for end in (0..HEADER).chain(HEADER + 1..wasm.len()) {
            assert!(!ends_whole(&wasm[..end]), "{end} of {}", wasm.len());
        }
    }

    #[test]
    fn what_is_no_webassembly_is_left_to_the_loader() {
        for bytes in [&b"hello"[..], b"\x7fELF", b"\0asn", b"\0asm\x0d\0\x01\0\x00\xff\xff\xff\xff\xff\xff"] {
            assert!(ends_whole(bytes), "{bytes:?}");
        }
        assert!(!ends_whole(b""), "an empty file is about to be written");
        assert!(is_whole(Path::new("/nowhere/at/all.wasm")));
    }
}
