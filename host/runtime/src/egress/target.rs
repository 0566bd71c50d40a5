//! Where a request goes, in the one form that grants, journal, resolver and certificate all read.

use std::net::IpAddr;

use animus_core::{Error, grant::Capability};
use http::{HeaderValue, Method, Uri};
use url::{Host, Url};
use wasmtime_wasi_http::Error as Code;

use super::Failure;

/// The longest path that the journal keeps, in bytes.
const JOURNALED_PATH: usize = 1024;

/// A checked destination.
#[derive(Debug)]
pub(super) struct Target {
    https: bool,
    host: Host,
    /// As text, IPv6 in brackets, without a final dot.
    name: String,
    port: u16,
    path_and_query: String,
}

impl Target {
    /// Reads a request's destination. The `url` crate has the last word on what the host is, so that `0x7f.1`, `2130706433`
    /// and `127.0.0.1.` are all the address that they would be connected to.
    pub(super) fn of(method: &Method, uri: &Uri) -> Result<Self, Failure> {
        // CONNECT asks for a tunnel and TRACE for an echo of all headers, the host's own among them.
        if matches!(*method, Method::CONNECT | Method::TRACE) {
            let error = Error::Invalid(format!("method {method} is not supported; use another"));
            return Err(Failure::new(Code::HttpRequestMethodInvalid, error));
        }
        let bad = |why: &str| Failure::new(Code::HttpRequestUriInvalid, Error::Invalid(format!("the URL {why}")));
        let authority = uri.authority().ok_or_else(|| bad("names no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("has a user name in it; credentials travel as granted secrets"));
        }
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad("is neither http nor https")),
        };
        let scheme = if https { "https" } else { "http" };
        let url =
            Url::parse(&format!("{scheme}://{authority}/")).map_err(|_| bad("names a host that does not parse"))?;
        let host = match url.host().ok_or_else(|| bad("names no host"))?.to_owned() {
            Host::Domain(name) => Host::Domain(name.strip_suffix('.').unwrap_or(&name).to_owned()),
            address => address,
        };
        let name = host.to_string();
        if name.is_empty() || name.len() > 253 || name.split('.').any(str::is_empty) && matches!(host, Host::Domain(_))
        {
            return Err(bad("names a host with an empty label, or none"));
        }
        let port = url.port_or_known_default().filter(|port| *port != 0).ok_or_else(|| bad("has no port"))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path_and_query = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { https, host, name, port, path_and_query })
    }

    pub(super) fn is_https(&self) -> bool {
        self.https
    }

    pub(super) fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    /// The host as text.
    pub(super) fn host(&self) -> &str {
        &self.name
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The address, where the host is one.
    pub(super) fn address(&self) -> Option<IpAddr> {
        match self.host {
            Host::Domain(_) => None,
            Host::Ipv4(ip) => Some(ip.into()),
            Host::Ipv6(ip) => Some(ip.into()),
        }
    }

    /// `scheme://host:port`.
    pub(super) fn origin(&self) -> String {
        format!("{}://{}:{}", self.scheme(), self.name, self.port)
    }

    /// The URL as the journal keeps it: without query, where tokens travel, and no longer than people read.
    pub(super) fn journaled(&self) -> String {
        let path = self.path_and_query.split('?').next().unwrap_or_default();
        match path.get(..JOURNALED_PATH) {
            Some(start) if start.len() < path.len() => format!("{}{start}…", self.origin()),
            _ => format!("{}{path}", self.origin()),
        }
    }

    /// The capability that the request needs.
    pub(super) fn capability(&self, method: &Method) -> Capability {
        Capability::Http {
            method: method.as_str().to_owned(),
            scheme: self.scheme().to_owned(),
            host: self.name.clone(),
            port: self.port,
        }
    }

    /// What stands in the request line.
    pub(super) fn request_target(&self) -> Result<Uri, Failure> {
        self.path_and_query.parse().map_err(|_| {
            Failure::new(Code::HttpRequestUriInvalid, Error::Invalid("the URL's path does not parse".to_owned()))
        })
    }

    /// The `Host` header.
    pub(super) fn host_header(&self) -> Result<HeaderValue, Failure> {
        let text = match (self.https, self.port) {
            (true, 443) | (false, 80) => self.name.clone(),
            (_, port) => format!("{}:{port}", self.name),
        };
        HeaderValue::try_from(text).map_err(|_| {
            Failure::new(Code::HttpRequestUriInvalid, Error::Invalid("the URL's host fits no header".to_owned()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(uri: &str) -> Result<Target, Failure> {
        Target::of(&Method::GET, &uri.parse().map_err(|_| Failure::new(Code::HttpRequestUriInvalid, Error::Cancelled))?)
    }

    #[test]
    fn every_notation_of_an_address_is_that_address() {
        let notations = [
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1.", "127.0.0.1"),
            ("127.1", "127.0.0.1"),
            ("127.0.1", "127.0.0.1"),
            ("127", "0.0.0.127"),
            ("2130706433", "127.0.0.1"),
            ("017700000001", "127.0.0.1"),
            ("0x7f000001", "127.0.0.1"),
            ("0X7F.1", "127.0.0.1"),
            ("0x7f.0.0.0x1", "127.0.0.1"),
            ("0177.0.0.1", "127.0.0.1"),
            ("0177.0x0.0.01", "127.0.0.1"),
            ("0", "0.0.0.0"),
            ("0x0", "0.0.0.0"),
            ("2852039166", "169.254.169.254"),
            ("0xa9fea9fe", "169.254.169.254"),
            ("0251.0376.0251.0376", "169.254.169.254"),
            ("[::1]", "::1"),
            ("[0:0:0:0:0:0:0:1]", "::1"),
            ("[::ffff:127.0.0.1]", "::ffff:127.0.0.1"),
            ("[::FFFF:7f00:1]", "::ffff:127.0.0.1"),
            ("[::127.0.0.1]", "::127.0.0.1"),
            ("[64:ff9b::169.254.169.254]", "64:ff9b::a9fe:a9fe"),
            ("[fd00:ec2::254]", "fd00:ec2::254"),
        ];
        for (notation, address) in notations {
            let target = of(&format!("http://{notation}:8080/x")).unwrap_or_else(|f| panic!("{notation}: {f:?}"));
            assert_eq!(target.address(), Some(address.parse().unwrap()), "{notation}");
            assert_eq!(target.port(), 8080);
        }
    }

    #[test]
    fn names_are_lower_case_and_have_no_final_dot() {
        for name in ["LocalHost", "localhost.", "LOCALHOST."] {
            let target = of(&format!("https://{name}/a/../b?q=1")).unwrap();
            assert_eq!((target.host(), target.port(), target.address()), ("localhost", 443, None));
            assert_eq!(target.journaled(), "https://localhost:443/a/../b");
            assert_eq!(target.host_header().unwrap(), "localhost");
            assert_eq!(target.request_target().unwrap(), "/a/../b?q=1");
        }
    }

    #[test]
    fn what_is_no_plain_destination_is_refused() {
        for uri in [
            "ftp://example.org/",
            "/only/a/path",
            "http://user@example.org/",
            "http://user:pw@example.org/",
            "http://example.org:0/",
            "http://example..org/",
            "http://./",
            "http://a..",
            "http://256.256.256.256/",
            "http://0x100000000/",
            "http://1.2.3.4.5/",
            "http://exa%6dple%00.org/",
        ] {
            assert!(of(uri).is_err(), "{uri} passed: {:?}", of(uri));
        }
        for method in [Method::CONNECT, Method::TRACE] {
            assert!(Target::of(&method, &Uri::from_static("http://example.org/")).is_err());
        }
    }

    #[test]
    fn the_journal_never_holds_a_query_or_an_endless_path() {
        let target = of(&format!("http://example.org/{}?token=t0p", "p".repeat(5000))).unwrap();
        assert!(target.journaled().len() < 1100 && !target.journaled().contains("t0p"));
        assert_eq!(of("http://example.org?q").unwrap().request_target().unwrap(), "/?q");
    }
}
