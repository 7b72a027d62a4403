//! Calls to an apiserver: each bounded, counted, and by our name.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use http::{Method, Request, header};
use kube::core::WatchEvent;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::connect::kubernetes_client;
use crate::StoreError;

/// One namespace of one cluster, as we reach it.
pub(super) struct Client {
    pub(super) kube: kube::Client,
    pub(super) namespace: String,
    requests: AtomicU64,
}

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Call<'a> {
    pub(super) operation: &'static str,
    pub(super) method: Method,
    /// Below the namespace: `volumes/name`, or `volumes`.
    pub(super) resource: &'a str,
    pub(super) query: &'a str,
    pub(super) body: Option<&'a Value>,
    /// The longest that it may take, here and there.
    pub(super) limit: Duration,
}

impl<'a> Call<'a> {
    /// Without a query or a body, for as long as a call usually may take.
    pub(super) fn of(operation: &'static str, method: Method, resource: &'a str) -> Call<'a> {
        Call { operation, method, resource, query: "", body: None, limit: PATIENCE }
    }
}

/// Why there is no answer to use.
#[derive(Debug)]
pub(super) enum Failed {
    /// The apiserver says no.
    Refused { code: u16, message: String },
    /// Whether it was done is not known.
    Lost(Box<dyn std::error::Error + Send + Sync>),
}

pub(super) type Called<T> = Result<T, Failed>;

/// What we call ourselves in the objects that we write.
const MANAGER: &str = "leister";
/// The longest that one call may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
const ATTEMPTS: usize = 3;
pub(super) const PAUSE: Duration = Duration::from_millis(200);
/// Leases are of another group.
pub(super) const LEASES: &str = "leases";
/// These are of none.
pub(super) const SECRETS: &str = "secrets";

impl Client {
    /// # Errors
    /// A kubeconfig that cannot be used, or none and this is no pod; nothing is sent yet.
    pub(super) async fn open(file: Option<&Path>, namespace: Option<&str>) -> Result<Client, StoreError> {
        let kube = kubernetes_client(file).await?;
        let namespace = namespace.unwrap_or(kube.default_namespace()).to_owned();
        Ok(Client { kube, namespace, requests: AtomicU64::new(0) })
    }

    /// How many requests have been sent.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Sends it once.
    pub(super) async fn once<T: DeserializeOwned>(&self, call: &Call<'_>) -> Called<T> {
        let request = self.request(call).map_err(|e| Failed::Lost(e.into()))?;
        self.requests.fetch_add(1, Ordering::Relaxed);
        match tokio::time::timeout(call.limit, self.kube.request(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(kube::Error::Api(status))) => {
                Err(Failed::Refused { code: status.code, message: status.message.clone() })
            }
            Ok(Err(other)) => Err(Failed::Lost(other.into())),
            Err(elapsed) => Err(Failed::Lost(elapsed.into())),
        }
    }

    /// Sends what may be done twice until there is an answer, a few times.
    pub(super) async fn repeat<T: DeserializeOwned>(&self, call: &Call<'_>) -> Called<T> {
        let mut attempt = 1;
        loop {
            match self.once(call).await {
                Err(failed) if failed.is_passing() && attempt < ATTEMPTS => {
                    attempt += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                answer => return answer,
            }
        }
    }

    /// Reads an object that may not be there.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        resource: &str,
    ) -> Result<Option<T>, StoreError> {
        match self.repeat(&Call::of(operation, Method::GET, resource)).await {
            Ok(found) => Ok(Some(found)),
            Err(Failed::Refused { code: 404, .. }) => Ok(None),
            Err(failed) => Err(failed.into_error(operation)),
        }
    }

    /// Removes an object, also when it is not there any more.
    pub(super) async fn delete(&self, operation: &'static str, resource: &str) -> Result<(), StoreError> {
        match self.repeat::<Value>(&Call::of(operation, Method::DELETE, resource)).await {
            Ok(_) | Err(Failed::Refused { code: 404, .. }) => Ok(()),
            Err(failed) => Err(failed.into_error(operation)),
        }
    }

    /// Changes of a resource behind a version, for as long as the apiserver likes.
    pub(super) async fn watch<T: DeserializeOwned + Clone + Send + 'static>(
        &self,
        resource: &str,
        from: u64,
    ) -> kube::Result<BoxStream<'static, kube::Result<WatchEvent<T>>>> {
        let query = format!("watch=1&allowWatchBookmarks=true&timeoutSeconds=290&resourceVersion={from}");
        let call = Call { query: &query, ..Call::of("watch records", Method::GET, resource) };
        let request = self.request(&call).map_err(kube::Error::HttpError)?;
        self.requests.fetch_add(1, Ordering::Relaxed);
        Ok(self.kube.request_events(request).await?.boxed())
    }

    fn request(&self, call: &Call<'_>) -> http::Result<Request<Vec<u8>>> {
        let group = match call.resource.split('/').next() {
            Some(LEASES) => "apis/coordination.k8s.io".to_owned(),
            Some(SECRETS) => "api".to_owned(),
            _ => format!("apis/{}", super::GROUP),
        };
        let mut uri = format!("/{group}/v1/namespaces/{}/{}?{}", self.namespace, call.resource, call.query);
        let is_change = call.method != Method::GET;
        if is_change {
            // What is late is not begun any more: also a request that waits at the apiserver ends.
            let separator = if call.query.is_empty() { "" } else { "&" };
            let limit = call.limit.as_millis();
            uri.push_str(&format!("{separator}timeout={limit}ms"));
            if call.method != Method::DELETE {
                uri.push_str(&format!("&fieldManager={MANAGER}"));
            }
        }
        let content = match call.method {
            Method::PATCH => "application/json-patch+json",
            _ => "application/json",
        };
        let request = Request::builder().method(call.method.clone()).uri(uri);
        let body = call.body.map(ToString::to_string).unwrap_or_default();
        request
            .header(header::CONTENT_TYPE, content)
            .header(header::ACCEPT, "application/json")
            .body(body.into_bytes())
    }
}

impl Failed {
    /// Another try may do: the server was not there, or has too much to do.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Failed::Refused { code, .. } => matches!(code, 429 | 500 | 503 | 504) && !self.is_too_large(),
            Failed::Lost(_) => true,
        }
    }

    fn is_too_large(&self) -> bool {
        match self {
            Failed::Refused { code, message } => {
                *code == 413
                    || ["too large", "larger than max", "Too long"].iter().any(|word| message.contains(word))
            }
            Failed::Lost(_) => false,
        }
    }

    pub(super) fn into_error(self, operation: &'static str) -> StoreError {
        let is_too_large = self.is_too_large();
        match self {
            Failed::Refused { message, .. } if is_too_large => {
                StoreError::TooLarge { operation, problem: message }
            }
            Failed::Refused { code: 401 | 403, message } => {
                StoreError::Denied { operation, problem: message }
            }
            Failed::Refused { code, message } => {
                StoreError::Unavailable { operation, source: format!("{message} ({code})").into() }
            }
            Failed::Lost(source) => StoreError::Unavailable { operation, source },
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

pub(super) fn unusable(problem: impl Into<String>, advice: impl Into<String>) -> StoreError {
    StoreError::Damaged { place: "kubernetes".to_owned(), problem: problem.into(), advice: advice.into() }
}
