//! Connections: TLS with a certificate on both sides, then HTTP.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt;

use crate::trust::Tenant;

/// More wait in the kernel's queue.
const CONNECTIONS: usize = 512;
/// For the handshake.
const PATIENCE: Duration = Duration::from_secs(10);
/// For the next request on a connection; clients let go of an idle one sooner.
const IDLE: Duration = Duration::from_secs(60);
/// For requests under way when the service stops.
const FAREWELL: Duration = Duration::from_secs(30);
/// The first byte of a TLS connection (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;
const NOT_TLS: &str = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain\r\n\
    content-length: 43\r\n\r\nthis port speaks HTTPS; write https:// here";

/// Serves until `stop` ends; what is under way then is answered.
pub(super) async fn serve(
    listener: TcpListener,
    tls: TlsAcceptor,
    router: Router,
    stop: impl Future<Output = ()>,
) {
    let (graceful, room) = (GracefulShutdown::new(), Arc::new(Semaphore::new(CONNECTIONS)));
    tokio::pin!(stop);
    loop {
        let accepted = async {
            let place = room.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut stop => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, mostly: others will close theirs.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (tls, router, watcher) = (tls.clone(), router.clone(), graceful.watcher());
        tokio::spawn(async move {
            let _place = place;
            let Some((stream, who)) = greet(stream, peer, &tls).await else { return };
            let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(who.clone());
                let answer = router.clone().oneshot(request.map(Body::new));
                async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|never| match never {})) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(IDLE)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = watcher.watch(connection).await {
                tracing::debug!(%peer, %error, "a connection ended early");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(FAREWELL, graceful.shutdown()).await.is_err() {
        tracing::warn!(
            "requests were still under way after {FAREWELL:?}; what they began is done or undone at the next start"
        );
    }
}

/// What a client's certificate says: a tenant, or why it is none.
#[derive(Clone, Debug)]
pub(super) struct Who(pub(super) Result<Tenant, Arc<str>>);

/// Finds out who it is. Whoever cannot show that has its connection closed.
async fn greet(
    mut stream: TcpStream,
    peer: SocketAddr,
    tls: &TlsAcceptor,
) -> Option<(TlsStream<TcpStream>, Who)> {
    let greeting = async {
        let mut first = [0; 1];
        match stream.peek(&mut first).await {
            Ok(1) if first[0] == HANDSHAKE => {}
            Ok(0) | Err(_) => return None,
            Ok(_) => {
                tracing::warn!(%peer, "a client that does not speak TLS was turned away");
                let _ = stream.write_all(NOT_TLS.as_bytes()).await;
                let _ = stream.shutdown().await;
                return None;
            }
        }
        let _ = stream.set_nodelay(true);
        let stream = match tls.accept(stream).await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%peer, %error, "a client that could not show who it is was turned away");
                return None;
            }
        };
        let certificate = stream.get_ref().1.peer_certificates()?.first()?;
        let who = Who(Tenant::of(certificate).map_err(|e| e.to_string().into()));
        Some((stream, who))
    };
    tokio::time::timeout(PATIENCE, greeting).await.ok().flatten()
}
