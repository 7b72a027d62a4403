//! Events: what users are told, on their claim or PV.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use crate::within;

/// Why something is told; the words are those of the case study's provisioner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    ProvisioningSuccess,
    ProvisioningFailed,
    IgnoredClaim,
    FailedVolumeDelete,
    VolumeKept,
}

/// Tells the same thing once, and then that it happened again.
pub(crate) struct Herald {
    client: Client,
    name: String,
    told: Mutex<HashMap<Key, Told>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    about: Option<String>,
    reason: Reason,
    note: String,
}

#[derive(Clone)]
struct Told {
    event: String,
    count: i32,
}

/// What the apiserver takes of a text.
const LONGEST: usize = 1024;
const REMEMBERED: usize = 4096;
/// Where events about what has no namespace are.
const OF_CLUSTER: &str = "default";

impl Reason {
    const fn as_str(self) -> &'static str {
        match self {
            Reason::ProvisioningSuccess => "ProvisioningSuccess",
            Reason::ProvisioningFailed => "ProvisioningFailed",
            Reason::IgnoredClaim => "IgnoredClaim",
            Reason::FailedVolumeDelete => "FailedVolumeDelete",
            Reason::VolumeKept => "VolumeKept",
        }
    }

    const fn kind(self) -> &'static str {
        match self {
            Reason::ProvisioningSuccess => "Normal",
            Reason::ProvisioningFailed
            | Reason::IgnoredClaim
            | Reason::FailedVolumeDelete
            | Reason::VolumeKept => "Warning",
        }
    }
}

impl Herald {
    pub(crate) fn new(client: Client, name: String) -> Herald {
        Herald { client, name, told: Mutex::default() }
    }

    /// # Behavior
    /// What cannot be told is logged: nothing waits for it.
    pub(crate) async fn tell(&self, about: &ObjectReference, reason: Reason, note: &str) {
        let note = shortened(note);
        let key = Key { about: about.uid.clone(), reason, note };
        let before = self.told().get(&key).cloned();
        let namespace = about.namespace.as_deref().unwrap_or(OF_CLUSTER);
        let events = Api::<Event>::namespaced(self.client.clone(), namespace);
        let told = match before {
            Some(before) => match self.again(&events, &before).await {
                // The apiserver forgets events after a while.
                Err(kube::Error::Api(status)) if status.code == 404 => self.first(&events, about, &key).await,
                told => told,
            },
            None => self.first(&events, about, &key).await,
        };
        match told {
            Ok(told) => {
                let mut all = self.told();
                if all.len() >= REMEMBERED {
                    all.clear();
                }
                all.insert(key, told);
            }
            Err(error) => {
                tracing::warn!(%error, reason = reason.as_str(), note = key.note, "an event cannot be told");
            }
        }
    }

    async fn first(&self, events: &Api<Event>, about: &ObjectReference, key: &Key) -> kube::Result<Told> {
        let now = Timestamp::now();
        let event = format!("{}.{:x}", about.name.as_deref().unwrap_or(&self.name), now.as_nanosecond());
        let new = Event {
            metadata: ObjectMeta {
                name: Some(event.clone()),
                namespace: Some(about.namespace.clone().unwrap_or_else(|| OF_CLUSTER.to_owned())),
                ..ObjectMeta::default()
            },
            involved_object: about.clone(),
            reason: Some(key.reason.as_str().to_owned()),
            message: Some(key.note.clone()),
            type_: Some(key.reason.kind().to_owned()),
            source: Some(EventSource { component: Some(self.name.clone()), host: None }),
            reporting_component: Some(self.name.clone()),
            count: Some(1),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            ..Event::default()
        };
        within(events.create(&PostParams::default(), &new)).await?;
        Ok(Told { event, count: 1 })
    }

    async fn again(&self, events: &Api<Event>, before: &Told) -> kube::Result<Told> {
        let count = before.count.saturating_add(1);
        let change = json!({ "count": count, "lastTimestamp": Time(Timestamp::now()) });
        within(events.patch(&before.event, &PatchParams::default(), &Patch::Merge(change))).await?;
        Ok(Told { event: before.event.clone(), count })
    }

    fn told(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Told>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shortened(note: &str) -> String {
    if note.len() <= LONGEST {
        return note.to_owned();
    }
    const MARK: &str = " …";
    let mut end = LONGEST - MARK.len();
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{MARK}", &note[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(shortened("short"), "short");
        let long = shortened(&"ä".repeat(LONGEST));
        assert!(long.len() <= LONGEST && long.ends_with("ä …"), "{}", long.len());
    }
}
