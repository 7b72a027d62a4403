//! Calls to the members of an etcd cluster, one member at a time; the next one when it does not answer.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use super::wire::{AuthenticateRequest, AuthenticateResponse, WatchCreate, WatchRequest, WatchResponse};
use crate::StoreError;

/// Where a cluster is and how to reach it.
#[derive(Clone, Debug)]
pub struct EtcdConfig {
    /// `http://host:port` or `https://host:port`, of one member or several.
    pub endpoints: Vec<String>,
    /// Parts what several instances keep in one cluster.
    pub prefix: String,
    /// The authority that signed the members' certificates, in PEM.
    pub ca: Option<PathBuf>,
    /// Our certificate and its key, in PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
    pub user: Option<EtcdUser>,
}

/// Who we are to a cluster that asks for it.
#[derive(Clone)]
pub struct EtcdUser {
    pub name: String,
    pub password: String,
}

#[derive(Debug)]
pub(super) struct Client {
    channels: Vec<Channel>,
    current: AtomicUsize,
    user: Option<EtcdUser>,
    /// What the cluster gave us for the password.
    token: Mutex<Option<Ascii>>,
}

type Ascii = MetadataValue<tonic::metadata::Ascii>;

/// The longest that one call may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// The same for what cannot wait: a lease runs out meanwhile.
const HASTE: Duration = Duration::from_secs(1);
/// Times that something is sent which may be done twice, or as many as there are members.
const ATTEMPTS: usize = 3;
/// A page of a list may hold many large values.
const LARGEST: usize = 1 << 30;

impl Client {
    /// # Errors
    /// An endpoint or a file that cannot be used; nothing is sent yet.
    pub(super) fn open(config: &EtcdConfig) -> Result<Client, StoreError> {
        if config.endpoints.is_empty() {
            return Err(unusable("no etcd endpoint was given; write one as http://127.0.0.1:2379"));
        }
        let channels = config.endpoints.iter().map(|endpoint| channel(endpoint, config));
        Ok(Client {
            channels: channels.collect::<Result<_, _>>()?,
            current: AtomicUsize::new(0),
            user: config.user.clone(),
            token: Mutex::default(),
        })
    }

    /// Sends a request once. After a failure the next call goes to the next member.
    pub(super) async fn call<Q, A>(
        &self,
        operation: &'static str,
        path: &'static str,
        request: Q,
    ) -> Result<A, StoreError>
    where
        Q: prost::Message + Clone + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        self.call_within(PATIENCE, operation, path, request).await
    }

    /// The same for what may be done twice: every member is asked before it is given up.
    pub(super) async fn repeat<Q, A>(
        &self,
        operation: &'static str,
        path: &'static str,
        request: Q,
    ) -> Result<A, StoreError>
    where
        Q: prost::Message + Clone + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        self.insist(operation, path, request).await.map(|(answer, _)| answer)
    }

    /// The same, and whether it was sent more than once: the answer may be of a request that had been done already.
    pub(super) async fn insist<Q, A>(
        &self,
        operation: &'static str,
        path: &'static str,
        request: Q,
    ) -> Result<(A, bool), StoreError>
    where
        Q: prost::Message + Clone + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        self.on_any(|| self.call(operation, path, request.clone())).await
    }

    /// The same in haste.
    pub(super) async fn glance<Q, A>(
        &self,
        operation: &'static str,
        path: &'static str,
        request: Q,
    ) -> Result<A, StoreError>
    where
        Q: prost::Message + Clone + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let call = || self.call_within(HASTE, operation, path, request.clone());
        self.on_any(call).await.map(|(answer, _)| answer)
    }

    /// Sends one request over a stream, in haste and to any member that takes it, for its first answer.
    pub(super) async fn call_streamed<Q, A>(
        &self,
        operation: &'static str,
        path: &'static str,
        request: Q,
    ) -> Result<A, StoreError>
    where
        Q: prost::Message + Clone + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let send = |mut grpc: Grpc<Channel>, token: Option<Ascii>| {
            let requests = signed(stream::iter([request.clone()]), token);
            async move {
                let codec = ProstCodec::<Q, A>::default();
                let answer = grpc.streaming(requests, PathAndQuery::from_static(path), codec).await?;
                answer.into_inner().message().await?.ok_or_else(|| Status::unavailable("the stream ended"))
            }
        };
        self.on_any(|| self.attempt(HASTE, operation, send)).await.map(|(answer, _)| answer)
    }

    /// What changes in a range of keys.
    pub(super) async fn watch(
        &self,
        range: WatchCreate,
    ) -> Result<BoxStream<'static, Result<WatchResponse, Status>>, StoreError> {
        let begin = |mut grpc: Grpc<Channel>, token: Option<Ascii>| {
            // The end of the requests would end the watch: the stream stays open behind the first.
            let first = WatchRequest { create: Some(range.clone()) };
            let mut requests = signed(stream::iter([first]).chain(stream::pending()), token);
            // A member that is cut off from the others ends the watch instead of saying nothing.
            requests.metadata_mut().insert("hasleader", Ascii::from_static("true"));
            async move {
                let codec = ProstCodec::<WatchRequest, WatchResponse>::default();
                let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
                let mut changes = grpc.streaming(requests, path, codec).await?.into_inner();
                let created =
                    changes.message().await?.ok_or_else(|| Status::unavailable("the stream ended"))?;
                Ok(stream::iter([Ok(created)]).chain(changes).boxed())
            }
        };
        self.attempt(PATIENCE, "watch records", begin).await
    }

    async fn call_within<Q, A>(
        &self,
        patience: Duration,
        operation: &'static str,
        path: &'static str,
        request: Q,
    ) -> Result<A, StoreError>
    where
        Q: prost::Message + Clone + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let send = |mut grpc: Grpc<Channel>, token: Option<Ascii>| {
            let request = signed(request.clone(), token);
            async move {
                let codec = ProstCodec::<Q, A>::default();
                Ok(grpc.unary(request, PathAndQuery::from_static(path), codec).await?.into_inner())
            }
        };
        self.attempt(patience, operation, send).await
    }

    /// Also says whether an earlier member may have done it.
    async fn on_any<A, F>(&self, call: impl Fn() -> F) -> Result<(A, bool), StoreError>
    where
        F: Future<Output = Result<A, StoreError>>,
    {
        let mut is_again = false;
        for _ in 1..self.channels.len().max(ATTEMPTS) {
            match call().await {
                Err(StoreError::Unavailable { .. }) => is_again = true,
                done => return done.map(|answer| (answer, is_again)),
            }
        }
        call().await.map(|answer| (answer, is_again))
    }

    /// Once, and once more if the cluster has only forgotten who we are: it has done nothing then.
    async fn attempt<A, F>(
        &self,
        patience: Duration,
        operation: &'static str,
        send: impl Fn(Grpc<Channel>, Option<Ascii>) -> F,
    ) -> Result<A, StoreError>
    where
        F: Future<Output = Result<A, Status>>,
    {
        let mut is_known = false;
        loop {
            let at = self.current.load(Ordering::Relaxed);
            let answered = async {
                let mut grpc = self.grpc(at);
                grpc.ready().await.map_err(|e| Status::unavailable(told(&e.to_string(), &e)))?;
                let token = self.token(&mut grpc).await?;
                send(grpc, token).await
            };
            let silent = || Status::deadline_exceeded(format!("no answer within {} s", patience.as_secs()));
            let answered = tokio::time::timeout(patience, answered).await.unwrap_or_else(|_| Err(silent()));
            match answered {
                Err(status) if self.user.is_some() && is_forgotten(&status) && !is_known => {
                    *self.token.lock().unwrap_or_else(PoisonError::into_inner) = None;
                    is_known = true;
                }
                Err(status) => {
                    self.turn(at);
                    return Err(of_status(operation, status));
                }
                Ok(answer) => return Ok(answer),
            }
        }
    }

    /// What the cluster gives for our password, asked for once.
    async fn token(&self, grpc: &mut Grpc<Channel>) -> Result<Option<Ascii>, Status> {
        let Some(user) = &self.user else { return Ok(None) };
        let known = self.token.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if known.is_some() {
            return Ok(known);
        }
        let request = AuthenticateRequest { name: user.name.clone(), password: user.password.clone() };
        let codec = ProstCodec::<AuthenticateRequest, AuthenticateResponse>::default();
        let path = PathAndQuery::from_static("/etcdserverpb.Auth/Authenticate");
        let given = match grpc.unary(tonic::Request::new(request), path, codec).await {
            Ok(given) => given.into_inner().token,
            // A cluster that asks for no password needs none.
            Err(status) if status.message().contains("authentication is not enabled") => return Ok(None),
            Err(status) => return Err(status),
        };
        let mut token = Ascii::try_from(given).map_err(|_| Status::internal("the token is not text"))?;
        token.set_sensitive(true);
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.clone());
        grpc.ready().await.map_err(|e| Status::unavailable(told(&e.to_string(), &e)))?;
        Ok(Some(token))
    }

    fn grpc(&self, at: usize) -> Grpc<Channel> {
        Grpc::new(self.channels[at % self.channels.len()].clone())
            .max_decoding_message_size(LARGEST)
            .max_encoding_message_size(LARGEST)
    }

    /// Only the first of those who met the failure moves on.
    fn turn(&self, from: usize) {
        let _ =
            self.current.compare_exchange(from, from.wrapping_add(1), Ordering::Relaxed, Ordering::Relaxed);
    }
}

fn channel(endpoint: &str, config: &EtcdConfig) -> Result<Channel, StoreError> {
    let wrong = |problem: &dyn fmt::Display| unusable(&format!("etcd endpoint `{endpoint}`: {problem}"));
    let is_encrypted = endpoint.starts_with("https://");
    if !is_encrypted && !endpoint.starts_with("http://") {
        return Err(wrong(&"write it as http://host:port or https://host:port"));
    }
    if !is_encrypted && (config.ca.is_some() || config.identity.is_some()) {
        return Err(wrong(&"certificates were given, but it is not https"));
    }
    let mut to = Endpoint::from_shared(endpoint.to_owned())
        .map_err(|e| wrong(&e))?
        .connect_timeout(Duration::from_secs(2))
        .http2_keep_alive_interval(Duration::from_secs(2))
        .keep_alive_timeout(Duration::from_secs(2));
    if is_encrypted {
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|e| unusable(&format!("cannot read {}: {e}", path.display())))
        };
        let mut tls = ClientTlsConfig::new();
        if let Some(ca) = &config.ca {
            tls = tls.ca_certificate(Certificate::from_pem(read(ca)?));
        }
        if let Some((certificate, key)) = &config.identity {
            tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
        }
        to = to.tls_config(tls).map_err(|e| wrong(&e))?;
    }
    Ok(to.connect_lazy())
}

fn signed<Q>(request: Q, token: Option<Ascii>) -> tonic::Request<Q> {
    let mut request = tonic::Request::new(request);
    if let Some(token) = token {
        request.metadata_mut().insert("token", token);
    }
    request
}

/// The token is of a member's former life, or of rights that have changed since.
fn is_forgotten(status: &Status) -> bool {
    status.code() == Code::Unauthenticated || status.message().contains("auth store is old")
}

fn of_status(operation: &'static str, status: Status) -> StoreError {
    let text = status.message();
    let is_too_large = match status.code() {
        Code::InvalidArgument => text.contains("too "),
        // So says gRPC itself; etcd's own words with this code are of a full disk and of haste.
        Code::ResourceExhausted => text.contains("larger than max"),
        _ => false,
    };
    if is_too_large {
        return StoreError::TooLarge { operation, problem: text.to_owned() };
    }
    let is_denied = match status.code() {
        Code::Unauthenticated | Code::PermissionDenied => true,
        Code::InvalidArgument => {
            text.contains("authentication")
                || text.contains("user name is empty")
                || text.contains("auth store")
        }
        _ => false,
    };
    if is_denied {
        return StoreError::Denied { operation, problem: text.to_owned() };
    }
    let problem = told(status.message(), &status);
    StoreError::Unavailable { operation, source: problem.into() }
}

/// A message with its causes: a connection that fails hides the reason at the bottom.
fn told(message: &str, error: &dyn std::error::Error) -> String {
    let mut text = message.to_owned();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

fn unusable(problem: &str) -> StoreError {
    StoreError::Damaged {
        place: "etcd".to_owned(),
        problem: problem.to_owned(),
        advice: "correct it and start again".to_owned(),
    }
}

impl fmt::Debug for EtcdUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdUser").field("name", &self.name).finish_non_exhaustive()
    }
}
