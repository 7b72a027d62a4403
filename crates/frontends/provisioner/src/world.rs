//! What Kubernetes has, kept up to date by one list and one watch for each kind.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::next::reclaim;
use crate::wish::Reclaim;

/// As it was seen last.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) claims: Store<PersistentVolumeClaim>,
    pub(crate) volumes: Store<PersistentVolume>,
    pub(crate) classes: Store<StorageClass>,
    pub(crate) nodes: Store<Node>,
}

/// What has changed in it.
#[derive(Debug)]
pub(crate) enum Change {
    Claim(Box<PersistentVolumeClaim>),
    Volume(String),
    /// With what it said of its volume at the end.
    VolumeGone(String, Reclaim),
    Classes,
    Nodes,
    /// A kind has been listed: anything may be otherwise.
    All,
}

impl World {
    /// Nothing is in it before its changes are read.
    pub(crate) fn watched(client: &Client) -> (World, BoxStream<'static, Change>) {
        let (claims, of_claims) = kind(client, |event| match event {
            Event::Apply(claim) | Event::Delete(claim) => Some(Change::Claim(Box::new(claim))),
            other => listed(&other),
        });
        let (volumes, of_volumes) = kind(client, |event| match event {
            Event::Apply(volume) => Some(Change::Volume(PersistentVolume::name_any(&volume))),
            Event::Delete(volume) => Some(Change::VolumeGone(volume.name_any(), reclaim(&volume))),
            other => listed(&other),
        });
        let (classes, of_classes) = kind::<StorageClass>(client, |event| match event {
            Event::Apply(_) | Event::Delete(_) => Some(Change::Classes),
            other => listed(&other),
        });
        let (nodes, of_nodes) = kind::<Node>(client, |event| match event {
            Event::Apply(_) | Event::Delete(_) | Event::InitDone => Some(Change::Nodes),
            Event::Init | Event::InitApply(_) => None,
        });
        let changes = stream::select_all([of_claims, of_volumes, of_classes, of_nodes]).boxed();
        (World { claims, volumes, classes, nodes }, changes)
    }

    /// Whether every kind has been listed once.
    pub(crate) async fn is_known(&self) {
        // A writer lives as long as the stream of changes, which whoever waits here reads.
        let _ = self.claims.wait_until_ready().await;
        let _ = self.volumes.wait_until_ready().await;
        let _ = self.classes.wait_until_ready().await;
        let _ = self.nodes.wait_until_ready().await;
    }

    pub(crate) fn volume(&self, name: &str) -> Option<Arc<PersistentVolume>> {
        self.volumes.get(&reflector::ObjectRef::new(name))
    }

    pub(crate) fn claim(&self, namespace: &str, name: &str) -> Option<Arc<PersistentVolumeClaim>> {
        self.claims.get(&reflector::ObjectRef::new(name).within(namespace))
    }
}

fn kind<K>(
    client: &Client,
    change: impl Fn(Event<K>) -> Option<Change> + Send + 'static,
) -> (Store<K>, BoxStream<'static, Change>)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Hash + Eq,
{
    let (store, writer) = reflector::store();
    let watched = watch(Api::<K>::all(client.clone()), watcher::Config::default()).default_backoff();
    // Nobody reads who wrote which field, and it is half of an object.
    let watched = watched.modify(|object| object.managed_fields_mut().clear());
    let kept = reflector::reflector(writer, watched);
    let changes = kept.filter_map(move |event| {
        let change = match event {
            Ok(event) => change(event),
            Err(error) => {
                tracing::warn!(kind = %K::kind(&()), %error, "cannot watch; it is tried again");
                None
            }
        };
        std::future::ready(change)
    });
    (store, changes.boxed())
}

fn listed<K>(event: &Event<K>) -> Option<Change> {
    matches!(event, Event::InitDone).then_some(Change::All)
}
