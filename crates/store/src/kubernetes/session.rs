//! What shall go when this process does: its names, and its letters.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::LETTERS;
use super::client::{Call, Client, Failed, LEASES};
use super::lease::{Found, now};
use super::object::{List, name_of, number};
use crate::StoreError;

/// A Lease for each name and, from the first letter on, one for the letters.
#[derive(Debug)]
pub(super) struct Session {
    client: Arc<Client>,
    name: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Leases that are ours, and their holder.
    held: BTreeMap<String, String>,
    /// Those of others as they were seen last, and since when they have looked so.
    seen: HashMap<String, (u64, Instant)>,
}

/// On a letter: the Lease of its sender; on a Lease: that it is one of these.
pub(super) const SESSION: &str = "leister.io/session";
/// How long names and letters outlive their process.
const LASTS: Duration = Duration::from_secs(12);
const KEPT_EVERY: Duration = Duration::from_secs(4);
const OPERATION: &str = "keep a session";

impl Session {
    pub(super) fn new(client: Arc<Client>, seed: u64) -> Arc<Session> {
        let name = format!("leister-session-{seed:016x}");
        let session = Arc::new(Session { client, name, state: Mutex::default() });
        tokio::spawn(keep(Arc::downgrade(&session)));
        session
    }

    /// That of our letters.
    pub(super) async fn name(&self) -> Result<String, StoreError> {
        let mut state = self.state.lock().await;
        if !state.held.contains_key(&self.name) {
            self.take(&mut state, &self.name, &self.name).await?;
        }
        Ok(self.name.clone())
    }

    pub(super) async fn claim(&self, name: &str, owner: &str) -> Result<(), StoreError> {
        let lease = format!("leister-{}", name_of(&name.replace('/', "-")));
        self.take(&mut *self.state.lock().await, &lease, owner).await
    }

    /// Takes a Lease that is nobody's, the owner's, or a dead one's.
    async fn take(&self, state: &mut State, lease: &str, owner: &str) -> Result<(), StoreError> {
        let resource = format!("{LEASES}/{lease}");
        let found: Option<Found> = self.client.get(OPERATION, &resource).await?;
        if let Some(found) = &found {
            let holder = found.spec.holder_identity.as_deref().unwrap_or_default();
            if !holder.is_empty() && holder != owner && !state.is_dead(found) {
                return Err(StoreError::Held { holder: holder.to_owned() });
            }
        }
        let time = now();
        let mut body = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": { "name": lease, "labels": { SESSION: "yes" } },
            "spec": {
                "holderIdentity": owner, "leaseDurationSeconds": LASTS.as_secs(),
                "acquireTime": time, "renewTime": time,
            },
        });
        let (method, resource) = match &found {
            Some(found) => {
                body["metadata"]["resourceVersion"] = json!(found.metadata.resource_version);
                (Method::PUT, resource.as_str())
            }
            None => (Method::POST, LEASES),
        };
        match self.call::<Value>(method, resource, "", Some(&body)).await {
            Ok(_) => {
                state.held.insert(lease.to_owned(), owner.to_owned());
                Ok(())
            }
            Err(Failed::Refused { code: 409, .. }) => {
                Err(StoreError::Held { holder: "another instance, since just now".to_owned() })
            }
            Err(failed) => Err(failed.into_error(OPERATION)),
        }
    }

    /// Renews what is ours.
    async fn renew(&self, state: &mut State) {
        for (lease, owner) in state.held.clone() {
            let body = json!([
                { "op": "test", "path": "/spec/holderIdentity", "value": owner },
                { "op": "replace", "path": "/spec/renewTime", "value": now() },
            ]);
            let resource = format!("{LEASES}/{lease}");
            match self.call::<Value>(Method::PATCH, &resource, "", Some(&body)).await {
                Ok(_) => {}
                Err(Failed::Refused { code: 404 | 409 | 422, .. }) => {
                    if let Err(error) = self.take(state, &lease, &owner).await {
                        tracing::error!(lease, %error, "a name of this process could not be taken again");
                    }
                }
                Err(failed) => {
                    let error = failed.into_error(OPERATION);
                    tracing::debug!(lease, %error, "a session is not kept for now");
                }
            }
        }
    }

    /// Removes the letters of those who have died, and their Leases.
    async fn bury(&self, state: &mut State) -> Result<(), Failed> {
        let query = format!("labelSelector={SESSION}");
        let leases: List<Found> = self.call(Method::GET, LEASES, &query, None).await?;
        for found in &leases.items {
            let name = &found.metadata.name;
            let is_letters = name.starts_with("leister-session-");
            if !is_letters || state.held.contains_key(name) || !state.is_dead(found) {
                continue;
            }
            let letters = format!("labelSelector={SESSION}%3D{name}");
            self.call::<Value>(Method::DELETE, LETTERS, &letters, None).await?;
            let body = json!({ "preconditions": { "resourceVersion": found.metadata.resource_version } });
            self.call::<Value>(Method::DELETE, &format!("{LEASES}/{name}"), "", Some(&body)).await?;
            state.seen.remove(name);
        }
        state.seen.retain(|name, _| leases.items.iter().any(|found| found.metadata.name == *name));
        Ok(())
    }

    async fn call<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        resource: &str,
        query: &str,
        body: Option<&Value>,
    ) -> Result<T, Failed> {
        self.client.once(&Call { query, body, ..Call::of(OPERATION, method, resource) }).await
    }
}

impl State {
    /// Whether it has not been renewed for as long as it lasts, before our eyes.
    fn is_dead(&mut self, found: &Found) -> bool {
        let version = number(&found.metadata.resource_version);
        let name = &found.metadata.name;
        match self.seen.get(name) {
            Some((last, since)) if *last == version => since.elapsed() >= LASTS,
            _ => {
                self.seen.insert(name.clone(), (version, Instant::now()));
                false
            }
        }
    }
}

/// Keeps a session for as long as there is one, and looks after those of others.
async fn keep(session: Weak<Session>) {
    loop {
        tokio::time::sleep(KEPT_EVERY).await;
        let Some(session) = session.upgrade() else { return };
        let mut state = session.state.lock().await;
        session.renew(&mut state).await;
        if !state.held.is_empty()
            && let Err(failed) = session.bury(&mut state).await
        {
            tracing::debug!(error = %failed.into_error(OPERATION), "the letters of the dead stay for now");
        }
    }
}
