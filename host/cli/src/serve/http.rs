//! Connections: so many at once, of no one address more than its share, none that dawdles, and an orderly end.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::config::Serve;

/// Connections at once, where nobody says.
const CONNECTIONS: u32 = 256;
/// One address has at most this part of them: who has no token must not be able to keep everybody else from showing one.
const SHARE: u32 = 4;
/// How long a client may take to send the head of a request.
const HEAD: Duration = Duration::from_secs(15);
/// How long requests may go on when the server has stopped.
const LAST: Duration = Duration::from_secs(5);
/// The most bytes that a connection holds of what a client sent.
const BUFFER: usize = 64 << 10;

/// The connections of a server.
#[derive(Clone)]
pub(crate) struct Doors {
    room: Arc<Semaphore>,
    crowd: Arc<Crowd>,
    open: TaskTracker,
    close: CancellationToken,
}

impl Doors {
    pub(crate) fn new(config: &Serve) -> Self {
        let most = config.max_connections.unwrap_or(CONNECTIONS);
        Self {
            room: Arc::new(Semaphore::new(usize::try_from(most).unwrap_or(1))),
            crowd: Arc::new(Crowd { most: (most / SHARE).max(1), from: Mutex::default() }),
            open: TaskTracker::new(),
            close: CancellationToken::new(),
        }
    }

    /// Ends what is open: streams at once, requests under way when they are answered, or after some seconds.
    pub(crate) async fn close(&self) {
        self.close.cancel();
        self.open.close();
        if tokio::time::timeout(LAST, self.open.wait()).await.is_err() {
            tracing::warn!(connections = self.open.len(), "some connections are cut off");
        }
    }
}

/// How many connections there are from each address.
struct Crowd {
    most: u32,
    from: Mutex<HashMap<IpAddr, u32>>,
}

/// One of them, until it is dropped.
struct Guest {
    crowd: Arc<Crowd>,
    from: IpAddr,
}

impl Crowd {
    /// None where the address has its share. This machine itself may have all: what comes from there may be a proxy, with
    /// the clients of the whole world.
    fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Guest> {
        let from = household(address);
        let mut all = self.from.lock().unwrap_or_else(PoisonError::into_inner);
        let here = all.entry(from).or_default();
        if *here >= self.most && !from.is_loopback() {
            return None;
        }
        *here += 1;
        drop(all);
        Some(Guest { crowd: self.clone(), from })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut all = self.crowd.from.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(here) = all.get_mut(&self.from) {
            *here = here.saturating_sub(1);
            if *here == 0 {
                all.remove(&self.from);
            }
        }
    }
}

/// What counts as one address: of IPv6 one client has as many as it likes within a /64.
fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        other => other,
    }
}

/// Accepts connections until the doors are closed.
pub(crate) async fn serve(listener: TcpListener, router: Router, doors: Doors) {
    loop {
        let room = doors.room.clone();
        let accepted = async {
            // A client waits in the system's own queue where there is no room.
            let room = room.acquire_owned().await;
            (room, listener.accept().await)
        };
        let Some((room, accepted)) = doors.close.run_until_cancelled(accepted).await else { break };
        match accepted {
            Ok((stream, from)) => {
                let Some(guest) = doors.crowd.enter(from.ip()) else {
                    tracing::debug!(from = %from.ip(), "a connection is refused: its address has its share of them");
                    continue;
                };
                let (router, close) = (router.clone(), doors.close.clone());
                drop(doors.open.spawn(async move {
                    let _held = (room, guest);
                    connection(stream, router, close).await;
                }));
            }
            Err(error) => {
                // The client left, or descriptors are short for a moment.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, router: Router, close: CancellationToken) {
    // Events are small and want to be seen at once.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended");
            }
        }
        () = close.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(LAST, connection).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_a_share_of_the_connections_and_gets_it_back() {
        let doors = Doors::new(&Serve { max_connections: Some(8), ..Serve::default() });
        let enter = |address: &str| doors.crowd.enter(address.parse().unwrap());
        let held = [enter("192.0.2.1"), enter("192.0.2.1")];
        assert!(held.iter().all(Option::is_some));
        assert!(enter("192.0.2.1").is_none() && enter("::ffff:192.0.2.1").is_none());
        assert!(enter("192.0.2.2").is_some());
        drop(held);
        assert!(doors.crowd.from.lock().unwrap().is_empty(), "nothing is kept of who has left");
        let net = [enter("2001:db8::1"), enter("2001:db8::2")];
        assert!(enter("2001:db8::3").is_none() && enter("2001:db8:0:1::3").is_some());
        drop(net);
        let proxy: Vec<_> = (0..8).map(|_| enter("127.0.0.1")).collect();
        assert!(proxy.iter().all(Option::is_some));
    }
}
