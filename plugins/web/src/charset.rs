//! From bytes to text.

use encoding_rs::{Encoding, UTF_8};

/// How far into a page its own declaration may stand.
const DECLARED_WITHIN: usize = 1024;

/// By byte order mark, else the content type, else the page's own declaration, else UTF-8. Bytes that do not fit are
/// replaced.
pub(crate) fn decode(content_type: &str, body: &[u8]) -> String {
    let head = String::from_utf8_lossy(body.get(..body.len().min(DECLARED_WITHIN)).unwrap_or(body));
    let declared = || head.to_ascii_lowercase().split_once("<meta").and_then(|(_, rest)| named(rest));
    let encoding = named(content_type).or_else(declared).unwrap_or(UTF_8);
    // `decode` looks for a byte order mark by itself.
    encoding.decode(body).0.into_owned()
}

/// What follows `charset=`, in a header and in a `<meta>` alike.
fn named(text: &str) -> Option<&'static Encoding> {
    let lower = text.to_ascii_lowercase();
    let (_, rest) = lower.split_once("charset=")?;
    let label = rest.trim_start_matches(['"', '\'', ' ']);
    let end = label.find(['"', '\'', ' ', ';', '>', '/']).unwrap_or(label.len());
    Encoding::for_label(label.get(..end)?.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_then_page_then_utf8_decide_and_a_mark_beats_them() {
        assert_eq!(decode("text/html; charset=ISO-8859-1", b"\xe9"), "é");
        assert_eq!(decode("text/html", b"<meta charset='windows-1251'>\xc0"), "<meta charset='windows-1251'>А");
        assert_eq!(decode("text/html", "é".as_bytes()), "é");
        assert_eq!(decode("text/plain", "charset=latin1 é".as_bytes()), "charset=latin1 é");
        assert_eq!(decode("text/html; charset=latin1", b"\xef\xbb\xbf\xc3\xa9"), "é");
        assert_eq!(decode("text/html; charset=nonsense", b"\xff"), "\u{fffd}");
    }
}
