//! Calls to the members of an etcd cluster, one member at a time; the next one when it does not answer.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use super::wire::{WatchCreate, WatchRequest, WatchResponse};
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
}

#[derive(Debug)]
pub(super) struct Client {
    channels: Vec<Channel>,
    current: AtomicUsize,
}

/// The longest that one call may take.
const PATIENCE: Duration = Duration::from_secs(3);
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
        Ok(Client { channels: channels.collect::<Result<_, _>>()?, current: AtomicUsize::new(0) })
    }

    /// Sends a request once. After a failure the next call goes to the next member.
    pub(super) async fn call<Q, A>(
        &self,
        operation: &'static str,
        path: &'static str,
        request: Q,
    ) -> Result<A, StoreError>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let at = self.current.load(Ordering::Relaxed);
        let answered = async {
            let mut grpc = self.grpc(at);
            grpc.ready().await.map_err(|e| Status::unavailable(e.to_string()))?;
            let codec = ProstCodec::<Q, A>::default();
            grpc.unary(tonic::Request::new(request), PathAndQuery::from_static(path), codec).await
        };
        let answered = tokio::time::timeout(PATIENCE, answered)
            .await
            .unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer within 3 s")));
        match answered {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => {
                self.turn(at);
                Err(of_status(operation, status))
            }
        }
    }

    /// The same for what changes nothing: every member is asked before it is given up.
    pub(super) async fn read<Q, A>(
        &self,
        operation: &'static str,
        path: &'static str,
        request: Q,
    ) -> Result<A, StoreError>
    where
        Q: prost::Message + Clone + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        for _ in 1..self.channels.len() {
            match self.call(operation, path, request.clone()).await {
                Err(StoreError::Unavailable { .. }) => {}
                done => return done,
            }
        }
        self.call(operation, path, request).await
    }

    /// Sends one request over a stream and takes its first answer.
    pub(super) async fn call_streamed<Q, A>(
        &self,
        operation: &'static str,
        path: &'static str,
        request: Q,
    ) -> Result<A, StoreError>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let at = self.current.load(Ordering::Relaxed);
        let answered = async {
            let mut grpc = self.grpc(at);
            grpc.ready().await.map_err(|e| Status::unavailable(e.to_string()))?;
            let codec = ProstCodec::<Q, A>::default();
            let requests = tonic::Request::new(stream::iter([request]));
            let answer = grpc.streaming(requests, PathAndQuery::from_static(path), codec).await?;
            answer.into_inner().message().await?.ok_or_else(|| Status::unavailable("the stream ended"))
        };
        let answered = tokio::time::timeout(PATIENCE, answered)
            .await
            .unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer within 3 s")));
        answered.map_err(|status| {
            self.turn(at);
            of_status(operation, status)
        })
    }

    /// What changes in a range of keys.
    pub(super) async fn watch(
        &self,
        range: WatchCreate,
    ) -> Result<BoxStream<'static, Result<WatchResponse, Status>>, StoreError> {
        let at = self.current.load(Ordering::Relaxed);
        let begun = async {
            let mut grpc = self.grpc(at);
            grpc.ready().await.map_err(|e| Status::unavailable(e.to_string()))?;
            let codec = ProstCodec::<WatchRequest, WatchResponse>::default();
            // The end of the requests would end the watch: the stream stays open behind the first.
            let requests = stream::iter([WatchRequest { create: Some(range) }]).chain(stream::pending());
            let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
            let mut changes = grpc.streaming(tonic::Request::new(requests), path, codec).await?.into_inner();
            let created = changes.message().await?.ok_or_else(|| Status::unavailable("the stream ended"))?;
            Ok(stream::iter([Ok(created)]).chain(changes).boxed())
        };
        let begun = tokio::time::timeout(PATIENCE, begun)
            .await
            .unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer within 3 s")));
        begun.map_err(|status| {
            self.turn(at);
            of_status("watch records", status)
        })
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

fn of_status(operation: &'static str, status: Status) -> StoreError {
    let is_too_large = match status.code() {
        Code::InvalidArgument => status.message().contains("too "),
        // So says gRPC itself; etcd's own words with this code are of a full disk and of haste.
        Code::ResourceExhausted => status.message().contains("larger than max"),
        _ => false,
    };
    if is_too_large {
        return StoreError::TooLarge { operation, problem: status.message().to_owned() };
    }
    StoreError::Unavailable { operation, source: Box::new(status) }
}

fn unusable(problem: &str) -> StoreError {
    StoreError::Damaged {
        place: "etcd".to_owned(),
        problem: problem.to_owned(),
        advice: "correct it and start again".to_owned(),
    }
}
