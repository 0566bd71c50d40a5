//! Who may ask: a token, and requests that were meant for this server.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use animus_core::Error;
use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::api::Refused;
use crate::fault::{During as _, Fault, Result};

/// The variable that holds the token.
const VARIABLE: &str = "ANIMUS_TOKEN";
/// Shorter tokens can be guessed.
const SHORTEST: usize = 16;
const LONGEST: usize = 1_024;

/// What a request must show.
#[derive(Clone)]
pub(crate) struct Auth(Arc<Inner>);

struct Inner {
    token: Option<String>,
    file: Option<PathBuf>,
    hosts: Vec<String>,
}

impl Auth {
    /// The token of the environment, else of a file, which is made when it is missing. On loopback there may be none.
    pub(crate) fn new(bind: SocketAddr, file: Option<PathBuf>, hosts: &[String]) -> Result<Self> {
        let set = std::env::var(VARIABLE).ok().filter(|token| !token.is_empty());
        let (token, file) = match (set, file) {
            (Some(token), _) => (Some(token), None),
            (None, Some(file)) => (Some(read_or_make(&file)?), Some(file)),
            (None, None) => (None, None),
        };
        if token.is_none() && !bind.ip().is_loopback() {
            return Err(Fault::usage(format!(
                "{bind} can be reached from other machines, and there is no token that would tell friends from strangers"
            ))
            .advise(format!("set {VARIABLE}, or name a file for one: animus serve --token-file FILE")));
        }
        if let Some(token) = &token
            && (token.len() < SHORTEST || token.len() > LONGEST || !token.bytes().all(|b| b.is_ascii_graphic()))
        {
            return Err(Fault::usage(format!("the token has {SHORTEST} to {LONGEST} visible ASCII characters")));
        }
        let hosts = hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        Ok(Self(Arc::new(Inner { token, file, hosts })))
    }

    /// The file that holds the token.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.0.file.as_deref()
    }

    fn check(&self, headers: &HeaderMap, needs_token: bool) -> Result<(), Refused> {
        let text = |name| headers.get(name).and_then(|value: &axum::http::HeaderValue| value.to_str().ok());
        let Some(host) = text(header::HOST) else {
            return Err(Refused::bad_request("the request names no host"));
        };
        if !self.knows(host) {
            // A page of a stranger can have its own name point here, and would be let in by where it asks from.
            return Err(Refused::forbidden(format!(
                "this server is not known as '{}'; ask for it by address, or list the name under hosts of [serve] in \
                 animus.toml",
                host.escape_debug()
            )));
        }
        if let Some(origin) = text(header::ORIGIN)
            && origin.split_once("://").map(|(_, authority)| authority) != Some(host)
        {
            return Err(Refused::forbidden("requests of other sites' pages are not answered"));
        }
        let Some(token) = self.0.token.as_ref().filter(|_| needs_token) else { return Ok(()) };
        let shown = text(header::AUTHORIZATION).and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
        });
        match shown {
            Some(shown) if is_same(shown.as_bytes(), token.as_bytes()) => Ok(()),
            Some(_) => Err(Refused::unauthorized("this is not the token of this server")),
            None => Err(Refused::unauthorized("this server wants its token: Authorization: Bearer TOKEN")),
        }
    }

    fn knows(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split_once(']').map_or(rest, |(address, _)| address),
            None => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        // An address is no name that somebody could have pointed here.
        name.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.0.hosts.contains(&name.to_ascii_lowercase())
    }
}

/// Stops what may not pass. Whether the server lives is no secret.
pub(crate) async fn guard(State(auth): State<Auth>, request: Request, next: Next) -> Response {
    let open = matches!(request.uri().path(), "/healthz" | "/readyz") && request.method() == Method::GET;
    match auth.check(request.headers(), !open) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

/// Compares in a time that tells nothing of where they differ.
fn is_same(shown: &[u8], token: &[u8]) -> bool {
    let mut differ = u8::from(shown.len() != token.len());
    for (i, byte) in token.iter().enumerate() {
        differ |= std::hint::black_box(byte ^ shown.get(i).copied().unwrap_or_default());
    }
    std::hint::black_box(differ) == 0
}

fn read_or_make(path: &Path) -> Result<String> {
    let place = path.display();
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match made {
        Ok(mut file) => {
            let mut bytes = [0; 32];
            getrandom::fill(&mut bytes).during(|| "make a token".into())?;
            let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(file, "{token}").and_then(|()| file.sync_all()).during(|| format!("write {place}"))?;
            Ok(token)
        }
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            let mode = fs::metadata(path).during(|| format!("read {place}"))?.mode();
            if mode & 0o077 != 0 {
                return Err(Fault::from(Error::Invalid(format!("others may read the token in {place}")))
                    .advise(format!("chmod 600 {place}")));
            }
            let mut text = String::new();
            let file = fs::File::open(path).during(|| format!("read {place}"))?;
            file.take(LONGEST as u64 + 2).read_to_string(&mut text).during(|| format!("read {place}"))?;
            Ok(text.trim().to_owned())
        }
        Err(e) => Err(Fault::failed(format!("could not make {place}: {e}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth(token: Option<&str>) -> Auth {
        Auth(Arc::new(Inner { token: token.map(str::to_owned), file: None, hosts: vec!["animus.example".into()] }))
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (header::HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_token_must_be_the_whole_token() {
        let auth = auth(Some("0123456789abcdef"));
        let with =
            |value: &str| auth.check(&headers(&[("host", "localhost:1"), ("authorization", value)]), true).is_ok();
        assert!(with("Bearer 0123456789abcdef") && with("bearer  0123456789abcdef"));
        for wrong in
            ["", "Bearer", "Bearer ", "Bearer 0123456789abcde", "Bearer 0123456789abcdef0", "Basic 0123456789abcdef"]
        {
            assert!(!with(wrong), "{wrong}");
        }
        assert!(auth.check(&headers(&[("host", "localhost")]), true).is_err());
        assert!(auth.check(&headers(&[("host", "localhost")]), false).is_ok());
    }

    #[test]
    fn names_that_strangers_may_point_here_and_their_pages_are_refused() {
        let auth = auth(None);
        for good in [
            "localhost",
            "localhost:8420",
            "127.0.0.1:1",
            "[::1]:8420",
            "10.1.2.3",
            "animus.example:80",
            "ANIMUS.example",
        ] {
            assert!(auth.check(&headers(&[("host", good)]), true).is_ok(), "{good}");
        }
        for evil in
            ["evil.example", "evil.example:8420", "localhost.evil.example", "127.0.0.1.evil.example", "", "[", "[::1"]
        {
            assert!(auth.check(&headers(&[("host", evil)]), true).is_err() || evil == "[::1", "{evil}");
        }
        let from = |origin: &str| auth.check(&headers(&[("host", "localhost:1"), ("origin", origin)]), true).is_ok();
        assert!(from("http://localhost:1"));
        assert!(!from("http://localhost:2") && !from("https://evil.example") && !from("null"));
    }

    #[test]
    fn beyond_loopback_there_must_be_a_token_and_its_file_is_closed_to_others() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let (open, file) = ("0.0.0.0:1".parse().unwrap(), folder.path().join("token"));
        assert!(Auth::new(open, None, &[]).is_err());
        let made = Auth::new(open, Some(file.clone()), &[]).unwrap().0.token.clone().unwrap();
        assert_eq!((made.len(), fs::metadata(&file).unwrap().mode() & 0o777), (64, 0o600));
        assert_eq!(Auth::new(open, Some(file.clone()), &[]).unwrap().0.token.as_deref(), Some(made.as_str()));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Auth::new(open, Some(file.clone()), &[]).is_err());
        fs::write(&file, "short\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(Auth::new(open, Some(file), &[]).is_err());
        assert!(Auth::new("[::1]:1".parse().unwrap(), None, &[]).unwrap().0.token.is_none());
    }
}
