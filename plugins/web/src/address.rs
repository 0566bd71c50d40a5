//! Addresses: as models and pages write them, and as a request wants them.

use animus_sdk::{Error, Result};

/// An address as it can be sent: https where it was plain http without a port of its own, without fragment,
/// percent-encoded.
pub(crate) fn normal(url: &str) -> Result<String> {
    let url = url.trim();
    let (scheme, rest) = url.split_once("://").ok_or_else(|| {
        Error::invalid(format!("'{}' is not an address such as https://example.org/", url.escape_debug()))
    })?;
    let rest = rest.split('#').next().unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
    if !host.is_ascii() {
        return Err(Error::invalid(format!("write the host '{}' in its ASCII form (xn--…)", host.escape_debug())));
    }
    let scheme = match scheme.to_ascii_lowercase() {
        http if http == "http" && !host.contains(':') => "https".to_owned(),
        scheme if scheme == "http" || scheme == "https" => scheme,
        other => return Err(Error::invalid(format!("'{}' is neither http nor https", other.escape_debug()))),
    };
    Ok(format!("{scheme}://{host}{}", encoded(path)))
}

/// Encodes what may not stand in an address and leaves alone what is encoded already.
fn encoded(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        if (0x21..0x7f).contains(&byte) && !b"\"<>\\^`{|}".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// What `reference` on the page `base` points to (RFC 3986, section 5.2).
pub(crate) fn join(base: &str, reference: &str) -> String {
    let reference = reference.trim();
    if has_scheme(reference) {
        return reference.to_owned();
    }
    let (scheme, rest) = base.split_once("://").unwrap_or(("https", base));
    let rest = rest.split('#').next().unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, tail) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let (path, _) = tail.split_once('?').unwrap_or((tail, ""));
    let path = if path.is_empty() { "/" } else { path };
    if let Some(rest) = reference.strip_prefix("//") {
        return format!("{scheme}://{rest}");
    }
    if reference.is_empty() || reference.starts_with('#') {
        return format!("{scheme}://{host}{tail}{reference}");
    }
    if reference.starts_with('?') {
        return format!("{scheme}://{host}{path}{reference}");
    }
    let cut = reference.find(['?', '#']).unwrap_or(reference.len());
    let (to, query) = reference.split_at_checked(cut).unwrap_or((reference, ""));
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let joined = if to.starts_with('/') { to.to_owned() } else { format!("{folder}/{to}") };
    format!("{scheme}://{host}{}{query}", without_dots(&joined))
}

fn has_scheme(reference: &str) -> bool {
    reference.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    })
}

fn without_dots(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let mut folder = false;
    for part in path.split('/').skip(1) {
        folder = matches!(part, "." | "..");
        match part {
            "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let end = if folder && !parts.is_empty() { "/" } else { "" };
    format!("/{}{end}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_resolve_as_the_standard_says() {
        for (reference, expected) in [
            ("g", "http://a/b/c/g"),
            ("./g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y#s", "http://a/b/c/g?y#s"),
            ("#s", "http://a/b/c/d;p?q#s"),
            ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../../../../g", "http://a/g"),
            ("g;x=1/../y", "http://a/b/c/y"),
            ("g?y/../x", "http://a/b/c/g?y/../x"),
            ("mailto:x@y", "mailto:x@y"),
        ] {
            assert_eq!(join("http://a/b/c/d;p?q", reference), expected, "{reference}");
        }
        assert_eq!(join("https://h", "g"), "https://h/g");
    }

    #[test]
    fn addresses_are_made_fit_to_send() {
        assert_eq!(normal("http://h/ä b#c").unwrap(), "https://h/%C3%A4%20b");
        assert_eq!(normal("HTTPS://h?a=%20|").unwrap(), "https://h?a=%20%7C");
        assert_eq!(normal("http://h:8080/").unwrap(), "http://h:8080/");
        for url in ["example.org", "ftp://h/", "https://bücher.example/"] {
            assert!(matches!(normal(url), Err(Error::Invalid(_))), "{url}");
        }
    }
}
