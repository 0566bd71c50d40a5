//! From a host name to a connection: resolved once, checked, and connected to the very address that was checked.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock},
    time::Duration,
};

use animus_core::{Error, authority::Authority};
use async_trait::async_trait;
use rustls::{ClientConfig, pki_types::ServerName};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::Error as Code;

use super::{Failure, address, target::Target};

/// The longest that one connection, its TLS included, may take to stand.
const CONNECT: Duration = Duration::from_secs(10);

/// Names to addresses.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// The addresses of `host`, the best one first.
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's resolver.
pub(super) struct System;

#[async_trait]
impl Resolver for System {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// A TCP or TLS stream.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What opens connections; one for the whole host.
pub(super) struct Connector {
    resolver: Arc<dyn Resolver>,
    /// Made at the first use: reading the system's certificates takes milliseconds, and a host without any can still
    /// speak plain HTTP.
    tls: OnceLock<Result<TlsConnector, String>>,
}

impl Connector {
    pub(super) fn new(resolver: Arc<dyn Resolver>) -> Self {
        Self { resolver, tls: OnceLock::new() }
    }

    /// The addresses of the target that the plugin may connect to. A name that has none is refused; a name with some
    /// keeps those, and only those are ever connected to.
    pub(super) async fn addresses(&self, authority: &Authority, target: &Target) -> Result<Vec<SocketAddr>, Failure> {
        let found = match target.address() {
            Some(ip) => vec![ip],
            None => self.resolver.resolve(target.host()).await.map_err(|source| {
                Failure::new(
                    Code::DnsError { rcode: None, info_code: None },
                    Error::Unavailable(format!("cannot resolve '{}': {source}", target.host())),
                )
            })?,
        };
        let mut refused = None;
        let mut allowed = Vec::new();
        for ip in found {
            match address::check(authority, ip) {
                Ok(()) => allowed.push(SocketAddr::new(ip, target.port())),
                Err(denial) => refused = refused.or(Some(denial)),
            }
        }
        match refused {
            _ if !allowed.is_empty() => Ok(allowed),
            Some(denial) => Err(Failure::new(Code::DestinationIpProhibited, denial.into())),
            None => Err(Failure::new(
                Code::DestinationNotFound,
                Error::Unavailable(format!("'{}' has no address", target.host())),
            )),
        }
    }

    /// Connects to the first address that answers, and speaks TLS where the target says so. `limit` is the guest's own.
    pub(super) async fn connect(
        &self,
        target: &Target,
        addresses: &[SocketAddr],
        limit: Option<Duration>,
    ) -> Result<(Box<dyn Stream>, SocketAddr), Failure> {
        let limit = limit.map_or(CONNECT, |limit| limit.min(CONNECT));
        let connected = async {
            let (stream, address) = first(target, addresses).await?;
            // Requests leave in one piece; waiting to fill a segment only adds delay. A socket that refuses works too.
            let _ = stream.set_nodelay(true);
            if target.is_https() {
                Ok((Box::new(self.secure(target, stream).await?) as Box<dyn Stream>, address))
            } else {
                Ok((Box::new(stream) as Box<dyn Stream>, address))
            }
        };
        tokio::time::timeout(limit, connected).await.unwrap_or_else(|_| {
            Err(Failure::new(
                Code::ConnectionTimeout,
                Error::Timeout(format!("no connection to {} within {} ms", target.origin(), limit.as_millis())),
            ))
        })
    }

    async fn secure(&self, target: &Target, stream: TcpStream) -> Result<impl Stream + use<>, Failure> {
        let connector = self.tls.get_or_init(|| client_config().map_err(|error| error.to_string()));
        let connector = connector.as_ref().map_err(|why| {
            Failure::new(
                Code::ConfigurationError,
                Error::Unavailable(format!(
                    "cannot read the system's TLS certificates: {why}; install ca-certificates"
                )),
            )
        })?;
        let name = match target.address() {
            Some(ip) => ServerName::from(ip),
            None => ServerName::try_from(target.host().to_owned()).map_err(|_| {
                Failure::new(
                    Code::HttpRequestUriInvalid,
                    Error::Invalid(format!("'{}' is not a name that a certificate can hold", target.host())),
                )
            })?,
        };
        connector.connect(name, stream).await.map_err(|source| {
            let code = match source.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                Some(rustls::Error::InvalidCertificate(_)) => Code::TlsCertificateError,
                _ => Code::TlsProtocolError,
            };
            Failure::new(code, Error::Unavailable(format!("TLS with {} failed: {source}", target.origin())))
        })
    }
}

async fn first(target: &Target, addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), Failure> {
    let mut last = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok((stream, *address)),
            Err(source) => last = Some((address, source)),
        }
    }
    let (code, why) = match last {
        Some((address, source)) if source.kind() == io::ErrorKind::ConnectionRefused => {
            (Code::ConnectionRefused, format!("{address}: {source}"))
        }
        Some((address, source)) => (Code::DestinationUnavailable, format!("{address}: {source}")),
        None => (Code::DestinationNotFound, "it has no address".to_owned()),
    };
    Err(Failure::new(code, Error::Unavailable(format!("cannot connect to {}: {why}", target.origin()))))
}

fn client_config() -> Result<TlsConnector, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()?
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
