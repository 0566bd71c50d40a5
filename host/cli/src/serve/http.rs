//! Connections: so many at once, none that dawdles, and an orderly end.

use std::{sync::Arc, time::Duration};

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
    open: TaskTracker,
    close: CancellationToken,
}

impl Doors {
    pub(crate) fn new(config: &Serve) -> Self {
        let most = usize::try_from(config.max_connections.unwrap_or(CONNECTIONS)).unwrap_or(1);
        Self { room: Arc::new(Semaphore::new(most)), open: TaskTracker::new(), close: CancellationToken::new() }
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
            Ok((stream, _)) => {
                let (router, close) = (router.clone(), doors.close.clone());
                drop(doors.open.spawn(async move {
                    let _room = room;
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
