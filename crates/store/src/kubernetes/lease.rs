//! The right to write: a Lease of the cluster, of which the transitions are the fencing number.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::client::{Call, Client, Failed, LEASES};
use super::object::{Metadata, number};
use crate::{Fence, Lease, StoreError};

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Found {
    pub(super) metadata: Metadata,
    #[serde(default)]
    pub(super) spec: Spec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    #[serde(default)]
    pub(super) holder_identity: Option<String>,
    #[serde(default)]
    lease_duration_seconds: Option<u64>,
    #[serde(default)]
    lease_transitions: Option<u64>,
}

/// What this process knows of a Lease.
#[derive(Debug)]
pub(super) struct Ballot {
    name: String,
    lasts: Duration,
    /// As another's was seen last, and since when it has looked so. Clocks differ, so only our own eyes tell whether
    /// somebody has died.
    seen: Mutex<Option<(u64, Instant)>>,
    /// The highest number that it has had.
    highest: AtomicU64,
    held: Mutex<Option<Held>>,
}

/// Ours, by our own clock.
#[derive(Clone, Copy, Debug)]
struct Held {
    fence: Fence,
    until: Instant,
}

/// The year 2020: seconds since then are a number of 31 bits until 2088, and more than all acquisitions.
const BEGINNING: i64 = 1_577_836_800;
/// We write for so much less than others wait: a request on its way has ended by then.
const MARGIN: Duration = Duration::from_secs(1);

impl Ballot {
    pub(super) fn new(name: String, lasts: Duration) -> Ballot {
        Ballot { name, lasts, seen: Mutex::default(), highest: AtomicU64::new(0), held: Mutex::default() }
    }

    /// # Errors
    /// `Held`: another has it, or may have.
    pub(super) async fn acquire(&self, client: &Client, holder: &str) -> Result<Lease, StoreError> {
        const OPERATION: &str = "acquire the lease";
        let asked = Instant::now();
        let before = self.find(client).await?;
        if let Some(found) = &before
            && let Some(other) = self.is_anothers(found, holder)
        {
            return Err(StoreError::Held { holder: other });
        }
        // One that somebody has deleted does not begin anew below what was handed out before, nor below what we have
        // seen where our clock is behind.
        let seconds = u64::try_from(Timestamp::now().as_second() - BEGINNING).unwrap_or_default();
        let last = before.as_ref().map_or_else(
            || seconds.max(self.highest.load(Ordering::Relaxed)),
            |found| found.spec.lease_transitions.unwrap_or(0),
        );
        let fence = Fence(last + 1);
        let now = now();
        let mut body = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": { "name": self.name },
            "spec": {
                "holderIdentity": holder, "leaseDurationSeconds": self.lasts.as_secs(),
                "leaseTransitions": fence.0, "acquireTime": now, "renewTime": now,
            },
        });
        let (method, resource) = match &before {
            Some(found) => {
                body["metadata"]["resourceVersion"] = json!(found.metadata.resource_version);
                (Method::PUT, self.resource())
            }
            None => (Method::POST, LEASES.to_owned()),
        };
        let call = Call { body: Some(&body), ..Call::of(OPERATION, method, &resource) };
        match client.once::<Value>(&call).await {
            Ok(_) => {}
            Err(Failed::Refused { code: 409, .. }) => {
                let winner = self.find(client).await?.and_then(|found| found.spec.holder_identity);
                return Err(StoreError::Held { holder: winner.unwrap_or_default() });
            }
            Err(failed) => return Err(failed.into_error(OPERATION)),
        }
        self.highest.fetch_max(fence.0, Ordering::Relaxed);
        *lock(&self.held) = Some(Held { fence, until: self.until(asked) });
        Ok(Lease { holder: holder.to_owned(), fence, expires_in: Some(self.lasts) })
    }

    /// Who has it, while that one renews it.
    pub(super) async fn holder(&self, client: &Client) -> Result<Option<String>, StoreError> {
        let found = self.find(client).await?;
        Ok(found.and_then(|found| self.is_anothers(&found, "")))
    }

    pub(super) async fn renew(&self, client: &Client, lease: &Lease) -> Result<(), StoreError> {
        const OPERATION: &str = "renew the lease";
        let asked = Instant::now();
        let body = json!([
            { "op": "test", "path": "/spec/leaseTransitions", "value": lease.fence.0 },
            { "op": "test", "path": "/spec/holderIdentity", "value": lease.holder },
            { "op": "replace", "path": "/spec/renewTime", "value": now() },
        ]);
        match self.patch(client, OPERATION, &body).await {
            Ok(()) => {
                let mut held = lock(&self.held);
                if let Some(held) = held.as_mut().filter(|held| held.fence == lease.fence) {
                    held.until = self.until(asked);
                }
                Ok(())
            }
            Err(Failed::Refused { code: 404 | 409 | 422, .. }) => Err(self.fenced(client, lease.fence).await),
            Err(failed) => Err(failed.into_error(OPERATION)),
        }
    }

    pub(super) async fn release(&self, client: &Client, lease: &Lease) -> Result<(), StoreError> {
        const OPERATION: &str = "release the lease";
        let is_held = |held: &Option<Held>| held.is_some_and(|held| held.fence == lease.fence);
        {
            let mut held = lock(&self.held);
            if is_held(&held) {
                *held = None;
            }
        }
        let body = json!([
            { "op": "test", "path": "/spec/leaseTransitions", "value": lease.fence.0 },
            { "op": "test", "path": "/spec/holderIdentity", "value": lease.holder },
            { "op": "replace", "path": "/spec/leaseTransitions", "value": lease.fence.0 + 1 },
            { "op": "replace", "path": "/spec/holderIdentity", "value": "" },
        ]);
        match self.patch(client, OPERATION, &body).await {
            Ok(()) | Err(Failed::Refused { code: 404 | 409 | 422, .. }) => Ok(()),
            Err(failed) => Err(failed.into_error(OPERATION)),
        }
    }

    /// How long the holder of this number may still write, by our own clock.
    ///
    /// # Errors
    /// `Fenced`: it is not ours, or is over.
    pub(super) async fn left(&self, client: &Client, fence: Fence) -> Result<Duration, StoreError> {
        let held = *lock(&self.held);
        let left = held.filter(|held| held.fence == fence).map(|held| held.until - Instant::now());
        match left {
            Some(left) if !left.is_zero() => Ok(left),
            _ => Err(self.fenced(client, fence).await),
        }
    }

    /// The number that this process may write with, if it may.
    pub(super) fn fence(&self) -> Option<Fence> {
        lock(&self.held).filter(|held| held.until > Instant::now()).map(|held| held.fence)
    }

    pub(super) async fn fenced(&self, client: &Client, presented: Fence) -> StoreError {
        let found = self.find(client).await.ok().flatten();
        let current = Fence(found.and_then(|found| found.spec.lease_transitions).unwrap_or_default());
        StoreError::Fenced { presented, current }
    }

    async fn find(&self, client: &Client) -> Result<Option<Found>, StoreError> {
        let found: Option<Found> = client.get("read the lease", &self.resource()).await?;
        if let Some(number) = found.as_ref().and_then(|found| found.spec.lease_transitions) {
            self.highest.fetch_max(number, Ordering::Relaxed);
        }
        Ok(found)
    }

    /// Who else has it, unless that one has not renewed it for as long as it lasts.
    fn is_anothers(&self, found: &Found, me: &str) -> Option<String> {
        let holder = found.spec.holder_identity.as_deref().unwrap_or_default();
        if holder.is_empty() || holder == me {
            return None;
        }
        let version = number(&found.metadata.resource_version);
        let lasts = found.spec.lease_duration_seconds.map_or(self.lasts, Duration::from_secs);
        let mut seen = lock(&self.seen);
        match *seen {
            Some((last, since)) if last == version => (since.elapsed() < lasts).then(|| holder.to_owned()),
            _ => {
                *seen = Some((version, Instant::now()));
                Some(holder.to_owned())
            }
        }
    }

    fn until(&self, asked: Instant) -> Instant {
        asked + self.lasts.saturating_sub(MARGIN)
    }

    fn resource(&self) -> String {
        format!("{LEASES}/{}", self.name)
    }

    async fn patch(&self, client: &Client, operation: &'static str, body: &Value) -> Result<(), Failed> {
        let resource = self.resource();
        let call = Call { body: Some(body), ..Call::of(operation, Method::PATCH, &resource) };
        client.once::<Value>(&call).await.map(drop)
    }
}

/// As a Lease writes it.
pub(super) fn now() -> String {
    format!("{:.6}", Timestamp::now())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
