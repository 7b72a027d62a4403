//! A filer on another machine: the pool's own calls, over HTTPS.

mod failure;

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use model::{Bytes, Permit, Route};
use reqwest::{Method, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{ErrorKind, FilerError, Result};
use crate::trust::TrustFiles;
use crate::volume::{CreateVolume, ForeignState, ModifyVolume, Outcome, SnapshotState, VolumeState};
use crate::wire::{Grow, INSTANCE, Import, PoolView, REQUEST, Refusal, Reply, TURN};

/// A connection to a filer, as one instance of one tenant.
///
/// # Behavior
/// - Connections are kept and used again. Each call has a limit of time.
/// - What only looks is tried again when the filer does not answer; what changes something is tried again only
///   where the first request has not left this machine.
/// - A call that was given up cannot be done later by the filer, once another one for the same volume was.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    url: Url,
    instance: String,
    trust: TrustFiles,
    /// Tells this client from all others at the filer.
    id: u64,
    turn: AtomicU64,
    calls: AtomicU64,
}

/// The port of filers.
pub const PORT: u16 = 8444;

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const LOOK_LIMIT: Duration = Duration::from_secs(30);
/// A large clone or import on a slow disk.
const CHANGE_LIMIT: Duration = Duration::from_secs(120);
/// Sooner than the filer lets go of it.
const IDLE: Duration = Duration::from_secs(30);
const ATTEMPTS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// What is behind a request that got no answer.
enum Lost {
    /// It cannot have reached the filer.
    Unsent(FilerError),
    Sent(FilerError),
}

impl Client {
    /// # Behavior
    /// Reads the files, asks nobody.
    ///
    /// # Errors
    /// `Invalid` for a URL that is none of a filer, or by the file that cannot be used.
    pub fn new(url: &str, instance: &str, trust: &TrustFiles) -> Result<Client> {
        let url = address(url)?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(trust.for_client()?)
            .https_only(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_LIMIT)
            .pool_idle_timeout(IDLE)
            .tcp_keepalive(Duration::from_secs(15))
            .build()
            .map_err(|e| FilerError::Invalid(format!("cannot prepare for {url}: {}", failure::chain(&e))))?;
        let id = RandomState::new().hash_one(instance);
        let (turn, calls) = (AtomicU64::new(1), AtomicU64::new(0));
        Ok(Client { http, url, instance: instance.to_owned(), trust: trust.clone(), id, turn, calls })
    }

    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Requests made so far, each attempt.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// # Errors
    /// As every call: the filer's refusal; `Unreachable` without an answer; `Denied` where one side does not
    /// believe the other.
    pub async fn pools(&self) -> Result<Vec<PoolView>> {
        self.look(&["pools"]).await
    }

    pub async fn find(&self, handle: &str) -> Result<Option<VolumeState>> {
        absent_is_none(self.look(&["volumes", handle]).await)
    }

    /// Every volume of the tenant.
    pub async fn list(&self) -> Result<Vec<VolumeState>> {
        self.look(&["volumes"]).await
    }

    pub async fn create(&self, wanted: &CreateVolume) -> Result<Outcome<VolumeState>> {
        self.change(Method::PUT, &["volumes", &wanted.handle], Some(wanted)).await
    }

    /// Its snapshots go with it.
    pub async fn delete(&self, handle: &str) -> Result<Outcome<()>> {
        self.change::<(), _>(Method::DELETE, &["volumes", handle], None).await
    }

    pub async fn grow(&self, handle: &str, size: Bytes) -> Result<Outcome<VolumeState>> {
        self.change(Method::POST, &["volumes", handle, "grow"], Some(&Grow { size })).await
    }

    pub async fn modify(&self, handle: &str, changes: &ModifyVolume) -> Result<Outcome<VolumeState>> {
        self.change(Method::POST, &["volumes", handle, "modify"], Some(changes)).await
    }

    pub async fn mark_staged(&self, handle: &str) -> Result<Outcome<VolumeState>> {
        self.change::<(), _>(Method::POST, &["volumes", handle, "staged"], None).await
    }

    pub async fn permit(&self, handle: &str, permit: &Permit) -> Result<Outcome<Route>> {
        let path = ["volumes", handle, "permits", permit.node.name.as_str()];
        self.change(Method::PUT, &path, Some(permit)).await
    }

    pub async fn forbid(&self, handle: &str, node: &str) -> Result<Outcome<()>> {
        self.change::<(), _>(Method::DELETE, &["volumes", handle, "permits", node], None).await
    }

    pub async fn take(&self, handle: &str, name: &str) -> Result<Outcome<SnapshotState>> {
        self.change::<(), _>(Method::PUT, &["volumes", handle, "snapshots", name], None).await
    }

    pub async fn list_snapshots(&self, handle: &str) -> Result<Vec<SnapshotState>> {
        self.look(&["volumes", handle, "snapshots"]).await
    }

    pub async fn delete_snapshot(&self, handle: &str, name: &str) -> Result<Outcome<()>> {
        self.change::<(), _>(Method::DELETE, &["volumes", handle, "snapshots", name], None).await
    }

    pub async fn restore(&self, handle: &str, name: &str) -> Result<Outcome<VolumeState>> {
        self.change::<(), _>(Method::POST, &["volumes", handle, "snapshots", name, "restore"], None).await
    }

    pub async fn find_foreign(&self, name: &str) -> Result<Option<ForeignState>> {
        absent_is_none(self.look(&["strangers", name]).await)
    }

    pub async fn import(&self, original: &str, wanted: &CreateVolume) -> Result<Outcome<VolumeState>> {
        let body = Import { original: original.to_owned(), wanted: wanted.clone() };
        self.change(Method::PUT, &["volumes", &wanted.handle, "import"], Some(&body)).await
    }

    async fn look<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T> {
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            match self.ask::<(), T>(Method::GET, path, None, LOOK_LIMIT).await {
                Ok(answer) => return answer,
                Err(Lost::Unsent(e) | Lost::Sent(e))
                    if attempt == ATTEMPTS || e.kind() != ErrorKind::Unreachable =>
                {
                    return Err(e);
                }
                Err(_) => tokio::time::sleep(jittered(pause)).await,
            }
            pause *= 3;
        }
        unreachable!("the last attempt returns")
    }

    async fn change<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&B>,
    ) -> Result<Outcome<T>> {
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            match self.ask::<B, Reply<T>>(method.clone(), path, body, CHANGE_LIMIT).await {
                Ok(answer) => return answer.map(Outcome::from),
                Err(Lost::Unsent(e)) if attempt < ATTEMPTS && e.kind() == ErrorKind::Unreachable => {
                    tokio::time::sleep(jittered(pause)).await;
                }
                Err(Lost::Unsent(e) | Lost::Sent(e)) => return Err(e),
            }
            pause *= 3;
        }
        unreachable!("the last attempt returns")
    }

    /// One request. Inside is the filer's answer, outside why there is none.
    async fn ask<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&B>,
        limit: Duration,
    ) -> std::result::Result<Result<T>, Lost> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:x}-{turn}", self.id);
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(path);
        }
        tracing::debug!(request = id, %method, %url, "asking the filer");
        let mut request = self
            .http
            .request(method, url)
            .timeout(limit)
            .header(INSTANCE, &self.instance)
            .header(TURN, format!("{}-{turn}", self.id))
            .header(REQUEST, &id);
        if let Some(body) = body {
            request = request.json(body);
        }
        let lost = |e: reqwest::Error| {
            let unsent = e.is_connect() || e.is_builder();
            let told = failure::told(&self.url, &self.trust, &e);
            if unsent { Lost::Unsent(told) } else { Lost::Sent(told) }
        };
        let response = request.send().await.map_err(lost)?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(lost)?;
        if status.is_success() {
            return Ok(serde_json::from_slice(&bytes).map_err(|e| self.strange(status, &e)));
        }
        match serde_json::from_slice::<Refusal>(&bytes) {
            Ok(refusal) => Ok(Err(refusal.into())),
            Err(e) => Ok(Err(self.strange(status, &e))),
        }
    }

    fn strange(&self, status: StatusCode, error: &serde_json::Error) -> FilerError {
        FilerError::Invalid(format!(
            "what answers at {} is not a filer of this version (status {}, {error}); check the URL, and the version \
             of `leister` there",
            self.url,
            status.as_u16()
        ))
    }
}

/// What can be said of a filer's URL without asking it.
///
/// # Errors
/// `Invalid` names what is wrong with it.
pub fn check_url(text: &str) -> Result<()> {
    address(text).map(drop)
}

fn address(text: &str) -> Result<Url> {
    let refuse = |problem: &str| {
        FilerError::Invalid(format!(
            "URL `{}` {problem}; write it as in https://filer.example:{PORT}",
            text.escape_debug()
        ))
    };
    let mut url = Url::parse(text).map_err(|e| refuse(&format!("cannot be read: {e}")))?;
    if url.scheme() != "https" {
        return Err(refuse("is not https"));
    }
    if url.query().is_some()
        || url.fragment().is_some()
        || !url.username().is_empty()
        || url.password().is_some()
    {
        return Err(refuse("has more than a host and a port"));
    }
    if !matches!(url.path(), "" | "/") {
        return Err(refuse("has a path"));
    }
    if url.port().is_none() && !text.trim_end_matches('/').ends_with(":443") {
        url.set_port(Some(PORT)).map_err(|()| refuse("has no host"))?;
    }
    Ok(url)
}

fn absent_is_none<T>(found: Result<T>) -> Result<Option<T>> {
    match found {
        Ok(state) => Ok(Some(state)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Between half of it and one and a half: clients that lost the same filer do not come back all at once.
fn jittered(pause: Duration) -> Duration {
    let random = RandomState::new().hash_one(0) % 1000;
    pause / 2 + pause * u32::try_from(random).unwrap_or_default() / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_filers_url_is_taken() {
        assert_eq!(address("https://filer").unwrap().as_str(), "https://filer:8444/");
        assert_eq!(address("https://filer:443/").unwrap().port_or_known_default(), Some(443));
        assert_eq!(address("https://[fd00::1]:9000").unwrap().as_str(), "https://[fd00::1]:9000/");
        for (text, part) in [
            ("filer", "cannot be read"),
            ("http://filer", "is not https"),
            ("https://filer/v1", "has a path"),
            ("https://a:b@filer", "has more than"),
            ("https://filer?x=1", "has more than"),
        ] {
            let error = address(text).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("https://filer.example:8444"), "{text}: {error}");
        }
    }
}
