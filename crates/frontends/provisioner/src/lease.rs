//! Who of several replicas acts: the one that holds a Lease, and renews it.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::Instant;

use crate::within;

/// # Behavior
/// The clocks of replicas may differ: whether a holder has died is told by how long its Lease has not changed before
/// our own eyes.
pub(crate) struct Ballot {
    leases: Api<Lease>,
    name: String,
    me: String,
    /// The Lease as it was seen last, and since when it has looked so.
    seen: Option<(LeaseSpec, Instant)>,
}

const LASTS: Duration = Duration::from_secs(8);
const LASTS_SECONDS: i32 = 8;
const RENEWED: Duration = Duration::from_secs(2);
/// Without an answer for so long, we stop before another may start.
const GIVEN_UP: Duration = Duration::from_secs(6);
const LOOKED_AT: Duration = Duration::from_secs(1);

impl Ballot {
    pub(crate) fn new(client: Client, namespace: &str, name: String, me: String) -> Ballot {
        Ballot { leases: Api::namespaced(client, namespace), name, me, seen: None }
    }

    /// Returns when we hold the Lease.
    pub(crate) async fn win(&mut self) {
        loop {
            match self.take().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(lease = self.name, %error, "the Lease cannot be had; it is tried again");
                }
            }
            tokio::time::sleep(LOOKED_AT).await;
        }
    }

    /// Holds it, and returns when it is lost.
    pub(crate) async fn hold(&mut self) {
        let mut held = Instant::now();
        while held.elapsed() < GIVEN_UP {
            tokio::time::sleep(RENEWED).await;
            let left = GIVEN_UP.saturating_sub(held.elapsed());
            let started = Instant::now();
            match tokio::time::timeout(left, self.take()).await {
                Ok(Ok(true)) => held = started,
                Ok(Ok(false)) => return,
                Ok(Err(error)) => tracing::warn!(lease = self.name, %error, "the Lease is not renewed yet"),
                Err(_) => return,
            }
        }
    }

    /// Leaves it to another at once.
    pub(crate) async fn release(&self) {
        let released = async {
            let Some(mut lease) = within(self.leases.get_opt(&self.name)).await? else { return Ok(()) };
            match &mut lease.spec {
                Some(spec) if spec.holder_identity.as_ref() == Some(&self.me) => {
                    spec.holder_identity = None;
                    within(self.leases.replace(&self.name, &PostParams::default(), &lease)).await.map(drop)
                }
                _ => Ok(()),
            }
        };
        if let Err(error) = released.await {
            tracing::info!(lease = self.name, %error, "the Lease is not given back; it ends by itself");
        }
    }

    /// Takes or renews it if it is ours or nobody's. False: another holds it.
    async fn take(&mut self) -> kube::Result<bool> {
        let Some(mut lease) = within(self.leases.get_opt(&self.name)).await? else {
            let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
            let lease = Lease { metadata, spec: Some(self.held(None)) };
            return won(within(self.leases.create(&PostParams::default(), &lease)).await);
        };
        let before = lease.spec.take().unwrap_or_default();
        if !self.may_take(&before) {
            return Ok(false);
        }
        lease.spec = Some(self.held(Some(&before)));
        won(within(self.leases.replace(&self.name, &PostParams::default(), &lease)).await)
    }

    fn may_take(&mut self, spec: &LeaseSpec) -> bool {
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        if holder.is_empty() || holder == self.me {
            return true;
        }
        match &self.seen {
            Some((seen, since)) if seen == spec => {
                let lasts = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
                since.elapsed() >= lasts.map_or(LASTS, Duration::from_secs)
            }
            _ => {
                self.seen = Some((spec.clone(), Instant::now()));
                false
            }
        }
    }

    fn held(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = Some(MicroTime(Timestamp::now()));
        let is_same = before.is_some_and(|before| before.holder_identity.as_ref() == Some(&self.me));
        let passed = before.and_then(|before| before.lease_transitions).unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.me.clone()),
            lease_duration_seconds: Some(LASTS_SECONDS),
            acquire_time: if is_same {
                before.and_then(|before| before.acquire_time.clone())
            } else {
                now.clone()
            },
            renew_time: now,
            lease_transitions: Some(if is_same || before.is_none() {
                passed
            } else {
                passed.saturating_add(1)
            }),
            ..LeaseSpec::default()
        }
    }
}

/// Another was faster: that is no error.
fn won(written: kube::Result<Lease>) -> kube::Result<bool> {
    match written {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}
