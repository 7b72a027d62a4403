//! The server: from the wire to the simulator and back, past the faults.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::calls::parsed;
use crate::tls::{self, Certificate, Tls, TlsError};
use crate::{Body, Call, Calls, Effect, Faults, Logged, Reply, Simulator};

/// A simulator on a port. Dropping it closes the port and all connections.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    certificate: Option<Certificate>,
    calls: Arc<Calls>,
    faults: Arc<Faults>,
    accepting: tokio::task::JoinHandle<Infallible>,
}

#[derive(Debug, Error)]
pub enum StartError {
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Server {
    /// Serves `simulator` on `address` (port 0: any), with TLS where it is given.
    ///
    /// # Errors
    /// The address is taken, or the certificate cannot be used.
    pub async fn start<S: Simulator>(
        simulator: Arc<S>,
        address: SocketAddr,
        tls: Option<Tls>,
    ) -> Result<Self, StartError> {
        let listen = |source| StartError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let bound = listener.local_addr().map_err(listen)?;
        let certificate = match tls {
            None => None,
            Some(Tls { certificate: Some(given) }) => Some(given),
            Some(Tls { certificate: None }) => {
                Some(Certificate::self_signed(&["localhost", &bound.ip().to_string()])?)
            }
        };
        let config = certificate.as_ref().map(tls::config).transpose()?;
        let (calls, faults) = (Arc::<Calls>::default(), Arc::<Faults>::default());
        let door = Arc::new(Door { simulator, calls: calls.clone(), faults: faults.clone() });
        let accepting = tokio::spawn(accept(listener, door, config));
        Ok(Self { address: bound, certificate, calls, faults, accepting })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `https://address` or, without TLS, `http://address`.
    pub fn url(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The certificate that clients see, as PEM.
    pub fn certificate(&self) -> Option<&str> {
        self.certificate.as_ref().map(|certificate| certificate.certificate.as_str())
    }

    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    pub fn faults(&self) -> &Faults {
        &self.faults
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

struct Door<S> {
    simulator: Arc<S>,
    calls: Arc<Calls>,
    faults: Arc<Faults>,
}

/// The connection breaks: hyper ends it without an answer.
#[derive(Debug, Error)]
#[error("the connection breaks as a fault asked")]
struct Broken;

async fn accept<S: Simulator>(
    listener: TcpListener,
    door: Arc<Door<S>>,
    config: Option<Arc<ServerConfig>>,
) -> Infallible {
    // Owned by this task, so that all connections end with it.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, for example: others must close first.
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            continue;
        };
        door.calls.connected();
        let (door, config) = (door.clone(), config.clone());
        connections.spawn(async move {
            if let Err(e) = greet(stream, door, config).await {
                tracing::debug!("a connection ended: {e}");
            }
        });
    }
}

async fn greet<S: Simulator>(
    stream: TcpStream,
    door: Arc<Door<S>>,
    config: Option<Arc<ServerConfig>>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let Some(config) = config else { return Ok(serve(stream, door, None).await?) };
    let stream = TlsAcceptor::from(config).accept(stream).await?;
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let certificate = certificate.map(|certificate| certificate.to_vec());
    Ok(serve(stream, door, certificate).await?)
}

async fn serve<S: Simulator>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    door: Arc<Door<S>>,
    certificate: Option<Vec<u8>>,
) -> hyper::Result<()> {
    let service = service_fn(|request| pass(request, door.clone(), certificate.clone()));
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .await
}

async fn pass<S: Simulator>(
    request: Request<Incoming>,
    door: Arc<Door<S>>,
    client_certificate: Option<Vec<u8>>,
) -> Result<Response<Full<Bytes>>, Broken> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
    let call = Call {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body,
        client_certificate,
        job: None,
    };
    let template = door.simulator.template(&call);
    let mut logged = Logged {
        template: template.clone(),
        method: call.method.clone(),
        path: call.path.clone(),
        query: call.query.clone(),
        body: parsed(&call.body),
        status: None,
        reply: serde_json::Value::Null,
    };
    let under_way = door.calls.begin(&template);
    let reply = door.handle(&template, call).await;
    drop(under_way);
    if let Ok(reply) = &reply {
        logged.status = Some(reply.status);
        logged.reply = parsed(&reply.body);
    }
    door.calls.note(logged);
    reply.map(response)
}

impl<S: Simulator> Door<S> {
    async fn handle(&self, template: &str, mut call: Call) -> Result<Reply, Broken> {
        let place = match self.faults.admit().await {
            Ok(place) => place,
            Err((status, after)) => {
                let reply = Reply::text(status, "too many requests");
                return Ok(reply.with_header("retry-after", after.to_string()));
            }
        };
        let latency = self.faults.latency(template);
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        let contains =
            |text: &str| call.query.contains(text) || String::from_utf8_lossy(&call.body).contains(text);
        let effect = self.faults.meet(template, contains);
        let reply = match effect {
            None => self.simulator.answer(call).await,
            Some(Effect::Answer { status, body, headers }) => answer(status, body, headers),
            Some(Effect::Drop) => return Err(Broken),
            Some(Effect::ApplyAndDrop) => {
                self.simulator.answer(call).await;
                return Err(Broken);
            }
            Some(Effect::ApplyAndTruncate) => truncate(self.simulator.answer(call).await),
            Some(Effect::Stall { milliseconds }) => {
                self.faults.wait(milliseconds).await;
                self.simulator.answer(call).await
            }
            Some(Effect::ApplyAndStall { milliseconds }) => {
                let reply = self.simulator.answer(call).await;
                self.faults.wait(milliseconds).await;
                reply
            }
            Some(Effect::ExpireSession) => self.simulator.session_expired(),
            Some(Effect::Job(fault)) => {
                call.job = Some(fault);
                self.simulator.answer(call).await
            }
        };
        drop(place);
        Ok(reply)
    }
}

fn answer(status: u16, body: Body, headers: Vec<(String, String)>) -> Reply {
    let mut reply = match body {
        Body::Json(value) => Reply::json(status, "application/json", &value),
        Body::Text(content_type, text) => Reply::new(status, &content_type, text),
    };
    reply.headers.extend(headers);
    reply
}

/// Half of the JSON, as a proxy that gave up in the middle would send it.
fn truncate(reply: Reply) -> Reply {
    let half = reply.body.slice(..reply.body.len() / 2);
    Reply { body: half, ..reply }
}

fn response(reply: Reply) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in reply.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}
