//! The places where the interface is served: a unix socket, and a TCP port.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::serve::ListenerExt;
use host::{Socket, SocketError};
use orchestrator::Orchestrator;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::routes;

/// Where to serve. The unix socket is for its owner only; the port has no password.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestSettings {
    pub socket: Option<PathBuf>,
    pub address: Option<SocketAddr>,
    /// Whoever asks for a port that other machines can reach must say so.
    pub open_to_all: bool,
}

/// The interface with its places taken. It is answered from [`serve`](Server::serve) on.
#[derive(Debug)]
pub struct Server {
    socket: Option<(Socket, UnixListener)>,
    port: Option<TcpListener>,
}

#[derive(Debug, thiserror::Error)]
pub enum RestError {
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("{address} can be reached from other machines, and there is no password")]
    Open { address: SocketAddr },
    #[error("cannot listen on {address}")]
    Port {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
}

/// How long requests that run at the end may still take.
const FAREWELL: Duration = Duration::from_secs(10);

impl Server {
    /// Takes the places.
    ///
    /// # Behavior
    /// The socket of a process that has died is replaced.
    ///
    /// # Errors
    /// `Runs` when somebody answers there, `Occupied` when it is another file, `Open` for an address that is not
    /// loopback unless the settings allow it.
    pub async fn claim(settings: &RestSettings) -> Result<Server, RestError> {
        let port = match settings.address {
            None => None,
            Some(address) if !address.ip().is_loopback() && !settings.open_to_all => {
                return Err(RestError::Open { address });
            }
            Some(address) => {
                Some(TcpListener::bind(address).await.map_err(|source| RestError::Port { address, source })?)
            }
        };
        let socket = match &settings.socket {
            None => None,
            Some(path) => Some(Socket::claim(path).await?),
        };
        Ok(Server { socket, port })
    }

    pub fn socket(&self) -> Option<&Path> {
        self.socket.as_ref().map(|(socket, _)| socket.path())
    }

    /// The port's address; tells which port was given for 0.
    pub fn address(&self) -> Option<SocketAddr> {
        self.port.as_ref().and_then(|port| port.local_addr().ok())
    }

    /// Answers requests until `shutdown` ends, then finishes those that run, within a limit. Removes the socket.
    pub async fn serve(self, orchestrator: Orchestrator, shutdown: impl Future<Output = ()> + Send) {
        let router = routes::router(orchestrator);
        let (stop, stopped) = watch::channel(());
        let mut serving = JoinSet::new();
        let mut held = None;
        if let Some((socket, listener)) = self.socket {
            tracing::info!(socket = %socket.path().display(), "rest serves");
            let server = axum::serve(listener, router.clone()).with_graceful_shutdown(end(stopped.clone()));
            serving.spawn(server.into_future());
            held = Some(socket);
        }
        if let Some(port) = self.port {
            tracing::info!(address = ?port.local_addr().ok(), "rest serves");
            let port = port.tap_io(|stream| {
                // Without it answers are late, nothing worse.
                let _ = stream.set_nodelay(true);
            });
            let server = axum::serve(port, routes::guarded(router)).with_graceful_shutdown(end(stopped));
            serving.spawn(server.into_future());
        }
        shutdown.await;
        drop(stop);
        let all = async { while serving.join_next().await.is_some() {} };
        if tokio::time::timeout(FAREWELL, all).await.is_err() {
            tracing::info!("requests that have not ended are left to themselves");
        }
        drop(held);
    }
}

/// Ends when the sender is gone.
async fn end(mut stopped: watch::Receiver<()>) {
    while stopped.changed().await.is_ok() {}
}
