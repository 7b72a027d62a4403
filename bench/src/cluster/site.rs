//! The cluster that is measured.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::{DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt as _};
use kube_suite::{Cluster, Door, RECORDED};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Way;

pub(super) struct Site {
    pub(super) cluster: Cluster,
    pub(super) kubeconfig: std::path::PathBuf,
    _door: Door,
}

/// Everything that is made in one measurement has it.
pub(super) const ROUND: &str = "round";
/// The longest that one measurement may take.
const LIMIT: Duration = Duration::from_secs(280);
/// Before several at once: what programs may ask the apiserver in a burst has come together again.
const REST: Duration = Duration::from_secs(3);
const STATIC: &str = "static";
const SIZE: &str = "64Mi";

impl Site {
    /// Leister with a pool of the node, and the same again as a controller with its records in the cluster.
    pub(super) fn start() -> Result<Site> {
        let cluster = Cluster::start()?;
        for manifest in [
            include_str!("../../../deploy/kubernetes/leister.yaml"),
            include_str!("../../../deploy/kubernetes/classes.yaml"),
        ] {
            cluster.apply(manifest)?;
        }
        cluster.serve_leister(&["--log-format=json"])?;
        let socket = cluster.path("kubelet/plugins/csi.leister.io/csi.sock").display().to_string();
        for sidecar in ["csi-provisioner", "csi-attacher"] {
            cluster.serve_installed_sidecar(sidecar, &socket)?;
        }
        cluster.serve_recorded()?;
        let (door, kubeconfig) = cluster.door()?;
        Ok(Site { cluster, kubeconfig, _door: door })
    }

    pub(super) async fn client(&self) -> Result<Client> {
        let file = Kubeconfig::read_from(&self.kubeconfig)?;
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
        Ok(Client::try_from(config)?)
    }

    /// The log of the Leister that makes these volumes.
    pub(super) fn log(&self, way: Way) -> Result<String> {
        match way {
            Way::Floor => Ok(String::new()),
            Way::Local => self.cluster.log("leister"),
            Way::Recorded => self.cluster.log(RECORDED),
        }
    }
}

impl Way {
    const fn class(self) -> &'static str {
        match self {
            Way::Floor => STATIC,
            Way::Local => "leister",
            Way::Recorded => RECORDED,
        }
    }
}

/// How long each took from before the request that makes it until it was seen to be as wanted, and all of them together.
pub(super) struct Seen<K> {
    pub(super) each: Vec<(K, Duration)>,
    pub(super) all: Duration,
}

/// Makes these at the same time.
pub(super) async fn make<K>(
    api: &Api<K>,
    round: &str,
    objects: Vec<K>,
    is_done: fn(&K) -> bool,
) -> Result<Seen<K>>
where
    K: kube::Resource<DynamicType = ()>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    if objects.len() > 1 {
        tokio::time::sleep(REST).await;
    }
    let now = api.list(&ListParams::default().limit(1)).await?.metadata.resource_version;
    let now = now.context("the list has no version")?;
    let watched = WatchParams::default().labels(&format!("{ROUND}={round}")).timeout(290);
    let mut changes = std::pin::pin!(api.watch(&watched, &now).await?);
    let (begun, count) = (Instant::now(), objects.len());
    let mut posts = tokio::task::JoinSet::new();
    for object in objects {
        let api = api.clone();
        posts.spawn(async move {
            let started = Instant::now();
            api.create(&PostParams::default(), &object).await.map(|made| (made.name_any(), started))
        });
    }
    let mut done = Vec::<(K, Instant)>::new();
    let watching = async {
        while done.len() < count {
            match changes.try_next().await?.context("the watch ended")? {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    let is_new = done.iter().all(|(other, _)| other.name_any() != object.name_any());
                    if is_new && is_done(&object) {
                        done.push((object, Instant::now()));
                    }
                }
                WatchEvent::Error(status) => bail!("the watch failed: {status:?}"),
                WatchEvent::Deleted(_) | WatchEvent::Bookmark(_) => {}
            }
        }
        Ok(())
    };
    let waited = tokio::time::timeout(LIMIT, watching).await;
    waited.unwrap_or_else(|_| bail!("not within {LIMIT:?}"))?;
    let ended = done.iter().map(|(_, at)| *at).max().unwrap_or(begun);
    let mut started = std::collections::HashMap::new();
    while let Some(post) = posts.join_next().await {
        started.extend([post??]);
    }
    let took = |(object, at): (K, Instant)| {
        let from = started.get(&object.name_any()).copied().context("it was not made here")?;
        Ok((object, at - from))
    };
    Ok(Seen { each: done.into_iter().map(took).collect::<Result<_>>()?, all: ended - begun })
}

/// Claims that this way fills, after what has to be there already.
pub(super) async fn claims(
    client: &Client,
    way: Way,
    round: &str,
    count: usize,
) -> Result<Seen<PersistentVolumeClaim>> {
    if way == Way::Floor {
        let api = Api::<PersistentVolume>::all(client.clone());
        let volume = |number: usize| {
            object(
                round,
                number,
                &json!({
                    "capacity": { "storage": SIZE }, "accessModes": ["ReadWriteOnce"],
                    "storageClassName": STATIC, "hostPath": { "path": "/nowhere" },
                    "persistentVolumeReclaimPolicy": "Retain",
                }),
            )
        };
        let volumes = (0..count).map(volume).collect::<Result<_>>()?;
        let is_free = |volume: &PersistentVolume| {
            volume.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Available"))
        };
        make(&api, round, volumes, is_free).await?;
    }
    let api = Api::default_namespaced(client.clone());
    let claim = |number: usize| {
        object(
            round,
            number,
            &json!({
                "accessModes": ["ReadWriteOnce"], "storageClassName": way.class(),
                "resources": { "requests": { "storage": SIZE } },
            }),
        )
    };
    let claims = (0..count).map(claim).collect::<Result<_>>()?;
    let is_bound = |claim: &PersistentVolumeClaim| {
        claim.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Bound"))
    };
    make(&api, round, claims, is_bound).await
}

/// Deletes the claims of a round, and waits until neither they nor their volumes are there.
pub(super) async fn no_claims(
    client: &Client,
    way: Way,
    seen: &Seen<PersistentVolumeClaim>,
    round: &str,
) -> Result<()> {
    let volume = |(claim, _): &(PersistentVolumeClaim, Duration)| claim.spec.as_ref()?.volume_name.clone();
    let volumes: BTreeSet<String> = seen.each.iter().filter_map(volume).collect();
    let of_round = ListParams::default().labels(&format!("{ROUND}={round}"));
    let api = Api::<PersistentVolumeClaim>::default_namespaced(client.clone());
    api.delete_collection(&DeleteParams::default(), &of_round).await?;
    let of_volumes = Api::<PersistentVolume>::all(client.clone());
    let gone = async {
        while !api.list(&of_round).await?.items.is_empty() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        if way == Way::Floor {
            of_volumes.delete_collection(&DeleteParams::default(), &of_round).await?;
        }
        while of_volumes
            .list(&ListParams::default())
            .await?
            .items
            .iter()
            .any(|v| volumes.contains(&v.name_any()))
        {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(LIMIT, gone)
        .await
        .unwrap_or_else(|_| bail!("what was made is not gone within {LIMIT:?}"))
}

/// One of a round.
pub(super) fn object<K: DeserializeOwned>(round: &str, number: usize, spec: &Value) -> Result<K> {
    let metadata = json!({ "name": format!("{round}-{number}"), "labels": { ROUND: round } });
    Ok(serde_json::from_value(json!({ "metadata": metadata, "spec": spec }))?)
}
