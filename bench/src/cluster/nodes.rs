//! Many nodes that make themselves known at the same time, to the controller whose records are in the cluster.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use driver::{Driver, DriverError};
use futures::future::try_join_all;
use kube_suite::RECORDED_ACCOUNT;
use model::{InstanceId, NodeIdentity, NodeName};
use orchestrator::{BackendFile, Families, Orchestrator, Settings};
use serde::Serialize;
use store::{Definition, KubernetesConfig, KubernetesStore, Store as _};
use tokio::time::Instant;

use super::site::Site;

/// Milliseconds.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Nodes {
    pub(super) at_once: usize,
    /// Until all were known that nobody knew.
    pub(super) new: f64,
    /// Until all knew that they were known.
    pub(super) again: f64,
}

/// One that follows; it stands for all nodes.
const NAME: &str = "bench";
/// No more than ours has to be waited for, and filling keeps the machine busy.
const LASTS: Duration = Duration::from_secs(30);
const KINDS: [(&str, &str, &str); 4] = [
    ("volume", "Volume", "volumes"),
    ("snapshot", "Snapshot", "snapshots"),
    ("class", "Class", "classes"),
    ("node", "Node", "nodes"),
];

/// Who follows opens none.
struct NoBackends;

#[async_trait]
impl Families for NoBackends {
    async fn open(&self, _: &BackendFile) -> Result<Arc<dyn Driver>, DriverError> {
        Err(DriverError::new(driver::ErrorKind::Unsupported, "open backend", "it follows".to_owned()))
    }
}

/// Of who makes no backend through the API.
pub(super) fn config(site: &Site, namespace: &str) -> KubernetesConfig {
    let definition =
        |(kind, name, plural)| Definition { kind, name, plural, about: "", columns: &[], is_private: false };
    KubernetesConfig {
        kubeconfig: Some(site.kubeconfig.clone()),
        namespace: Some(namespace.to_owned()),
        lasts: LASTS,
        kinds: KINDS.map(definition).to_vec(),
    }
}

pub(super) async fn measure(site: &Site, count: usize) -> Result<Nodes> {
    let store = KubernetesStore::open(&config(site, RECORDED_ACCOUNT.0)).await?;
    let instance = InstanceId::new(store.keep("instance", NAME).await?)?;
    let post = store.post().expect("it is shared");
    post.claim(&format!("node/{NAME}"), NAME).await?;
    let node = NodeIdentity::named(NodeName::new(NAME)?);
    let settings = Settings { leads: false, is_node: false, ..Settings::new(instance, node) };
    let follower = Orchestrator::start(settings, Arc::new(store), Arc::new(NoBackends)).await?;
    let names: Vec<NodeName> =
        (0..count).map(|n| NodeName::new(format!("simulated-{n}"))).collect::<Result<_, _>>()?;
    let register = async || {
        let started = Instant::now();
        try_join_all(names.iter().map(|name| follower.register_node(NodeIdentity::named(name.clone()))))
            .await?;
        anyhow::Ok(started.elapsed().as_secs_f64() * 1000.0)
    };
    let new = register().await?;
    while names.iter().any(|name| follower.catalogue().node(name).is_none()) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let again = register().await?;
    follower.stop().await;
    Ok(Nodes { at_once: count, new, again })
}
