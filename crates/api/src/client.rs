//! The typed client: over a unix socket or HTTP, with time limits.

mod calls;
mod connect;

use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{ErrorBody, OperationView};
use connect::Connector;

/// Speaks to one server. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct Client {
    server: String,
    http: legacy::Client<Connector, Full<Bytes>>,
    timeout: Duration,
}

/// How long a call stays with the work it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Until it is done, however long that takes.
    Done,
    /// The server answers with the operation when the work takes longer.
    AtMost(Duration),
}

/// Work that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Started<T> {
    Done(T),
    /// It goes on; ask for the operation.
    Running(Box<OperationView>),
}

/// Which volumes to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeFilter {
    pub backend: Option<String>,
    pub class: Option<String>,
    pub status: Option<String>,
    /// In the grammar of classes: `tier=gold; site in (a, b)`.
    pub selector: Option<String>,
    /// Ask the backends for what is used.
    pub live: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server said no, and why.
    #[error("{body}")]
    Refused { status: u16, body: ErrorBody },
    #[error("cannot reach {server}: {problem}")]
    Unreachable { server: String, problem: String },
    #[error("{server} did not answer within {} s", limit.as_secs())]
    Timeout { server: String, limit: Duration },
    /// Whatever answered does not speak this interface.
    #[error("{server} gave an answer that is not understood (status {status}): {problem}")]
    Foreign { server: String, status: u16, problem: String },
    #[error(
        "`{server}` is not a server address; write unix:///run/leister/leister.sock or http://127.0.0.1:8000"
    )]
    Address { server: String },
}

/// What an answer may have at most: far above any page, far below memory.
const LARGEST_ANSWER: usize = 256 << 20;
const TIMEOUT: Duration = Duration::from_secs(60);
const JSON: &str = "application/json";
const YAML: &str = "application/yaml";

impl Client {
    /// `unix:///path/of/socket` or `http://host:port`. Connects at the first call.
    ///
    /// # Errors
    /// `Address` for anything else.
    pub fn new(server: &str) -> Result<Client, ClientError> {
        let refuse = || ClientError::Address { server: server.to_owned() };
        let connector = if let Some(path) = server.strip_prefix("unix://") {
            if !path.starts_with('/') {
                return Err(refuse());
            }
            Connector::unix(PathBuf::from(path))
        } else {
            let authority = server.strip_prefix("http://").ok_or_else(refuse)?.trim_end_matches('/');
            if authority.is_empty() || authority.contains(['/', '@', ' ']) {
                return Err(refuse());
            }
            Connector::tcp(authority)
        };
        let http = legacy::Client::builder(TokioExecutor::new()).build(connector);
        Ok(Client { server: server.to_owned(), http, timeout: TIMEOUT })
    }

    /// How long one call may take at most, beyond the [`Wait`] it states; 60 s unless told.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Client {
        self.timeout = timeout;
        self
    }

    pub fn server(&self) -> &str {
        &self.server
    }

    async fn get<T: DeserializeOwned>(&self, target: &str) -> Result<T, ClientError> {
        let (status, body) = self.send(Method::GET, target, None, self.timeout).await?;
        self.read(status, &body)
    }

    async fn text(&self, target: &str) -> Result<String, ClientError> {
        let (status, body) = self.send(Method::GET, target, None, self.timeout).await?;
        if status.is_success() {
            return Ok(String::from_utf8_lossy(&body).into_owned());
        }
        self.read(status, &body)
    }

    async fn post<T: DeserializeOwned>(&self, target: &str, body: &impl Serialize) -> Result<T, ClientError> {
        let (status, body) = self.send(Method::POST, target, Some(json(body)), self.timeout).await?;
        self.read(status, &body)
    }

    /// A call that may go on behind its answer.
    async fn start<T: DeserializeOwned>(
        &self,
        method: Method,
        target: &str,
        body: Option<Payload>,
        wait: Wait,
    ) -> Result<Started<T>, ClientError> {
        let (target, limit) = match wait {
            // A day is "however long": nothing keeps a connection busy for ever.
            Wait::Done => (target.to_owned(), Duration::from_secs(24 * 60 * 60)),
            Wait::AtMost(limit) => {
                let mark = if target.contains('?') { '&' } else { '?' };
                (format!("{target}{mark}wait={}ms", limit.as_millis()), limit + self.timeout)
            }
        };
        let (status, body) = self.send(method, &target, body, limit).await?;
        if status == StatusCode::ACCEPTED {
            self.read(status, &body).map(|operation| Started::Running(Box::new(operation)))
        } else {
            self.read(status, &body).map(Started::Done)
        }
    }

    async fn send(
        &self,
        method: Method,
        target: &str,
        body: Option<Payload>,
        limit: Duration,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let (authority, kind, bytes) = match body {
            Some(payload) => (self.authority(), Some(payload.kind), payload.bytes),
            None => (self.authority(), None, Bytes::new()),
        };
        let mut request = Request::builder().method(method).uri(format!("http://{authority}{target}"));
        if let Ok(host) = HeaderValue::from_str(authority) {
            request = request.header(HOST, host);
        }
        if let Some(kind) = kind {
            request = request.header(CONTENT_TYPE, kind);
        }
        let request = request
            .body(Full::new(bytes))
            .map_err(|e| self.foreign(StatusCode::BAD_REQUEST, format!("the request cannot be sent: {e}")))?;
        let exchange = async {
            let answer = self.http.request(request).await.map_err(|e| ClientError::Unreachable {
                server: self.server.clone(),
                problem: deepest(&e),
            })?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), LARGEST_ANSWER).collect().await.map_err(|e| {
                ClientError::Unreachable { server: self.server.clone(), problem: e.to_string() }
            })?;
            Ok((status, body.to_bytes()))
        };
        let (status, body) = tokio::time::timeout(limit, exchange)
            .await
            .map_err(|_| ClientError::Timeout { server: self.server.clone(), limit })??;
        if status.is_success() {
            return Ok((status, body));
        }
        match serde_json::from_slice::<ErrorBody>(&body) {
            Ok(body) => Err(ClientError::Refused { status: status.as_u16(), body }),
            Err(e) => Err(self.foreign(status, e.to_string())),
        }
    }

    /// An empty answer reads as `null`.
    fn read<T: DeserializeOwned>(&self, status: StatusCode, body: &[u8]) -> Result<T, ClientError> {
        let body = if body.is_empty() { b"null" } else { body };
        serde_json::from_slice(body).map_err(|e| self.foreign(status, e.to_string()))
    }

    fn foreign(&self, status: StatusCode, problem: String) -> ClientError {
        ClientError::Foreign { server: self.server.clone(), status: status.as_u16(), problem }
    }

    fn authority(&self) -> &str {
        self.server.strip_prefix("http://").map_or("localhost", |rest| rest.trim_end_matches('/'))
    }
}

struct Payload {
    kind: &'static str,
    bytes: Bytes,
}

fn json(body: &impl Serialize) -> Payload {
    // Our request types are plain maps of texts: writing them as JSON cannot fail.
    Payload { kind: JSON, bytes: Bytes::from(serde_json::to_vec(body).unwrap_or_default()) }
}

fn text(body: &str) -> Payload {
    Payload { kind: YAML, bytes: Bytes::copy_from_slice(body.as_bytes()) }
}

/// What happened at the bottom, such as `No such file or directory`; the layers above only say "connect".
fn deepest(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
