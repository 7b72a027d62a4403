//! The provisioner as a whole: finds its cluster, and works while it holds the Lease.

use std::sync::Arc;

use k8s_openapi::api::core::v1::PersistentVolume;
use kube::api::ListParams;
use kube::{Api, Client};
use model::NodeName;
use orchestrator::Orchestrator;

use crate::herald::Herald;
use crate::lease::Ballot;
use crate::names::label;
use crate::tend::Tender;
use crate::within;
use crate::worker::Worker;
use crate::world::World;

/// How the provisioner works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvisionerSettings {
    /// What StorageClasses call us: the first name is ours in events.
    pub names: Vec<String>,
    /// Where our Lease and the Secrets of iSCSI sessions are; `None`: the client's own.
    pub namespace: Option<String>,
    /// The Lease of which one replica is the holder.
    pub lease: String,
    /// What this replica calls itself in it.
    pub replica: String,
    /// What the cluster is called among the nodes that reach volumes.
    pub cluster: NodeName,
    /// So many percent of the size of each volume of files are for its snapshots, unless its claim says otherwise.
    pub snapshot_reserve: Option<u8>,
}

/// The cluster lets us do nothing.
#[derive(Debug, thiserror::Error)]
#[error("the cluster refuses us: {0}")]
pub struct Refused(String);

/// Connected, and not yet at work.
pub struct Provisioner {
    client: Client,
    settings: ProvisionerSettings,
    namespace: String,
}

impl Provisioner {
    /// # Behavior
    /// A cluster that does not answer is waited for later.
    ///
    /// # Errors
    /// The cluster knows us not, or does not let us see its PersistentVolumes.
    pub async fn connect(client: Client, settings: ProvisionerSettings) -> Result<Provisioner, Refused> {
        let namespace = settings.namespace.as_deref().unwrap_or(client.default_namespace()).to_owned();
        let volumes = Api::<PersistentVolume>::all(client.clone());
        match within(volumes.list_metadata(&ListParams::default().limit(1))).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 401 | 403) => {
                return Err(Refused(status.message.clone()));
            }
            Err(error) => tracing::warn!(%error, "the cluster does not answer yet"),
            Ok(_) => {}
        }
        Ok(Provisioner { client, settings, namespace })
    }

    /// Works until `shutdown` ends, whenever this replica is the one that does.
    pub async fn serve(self, orchestrator: Orchestrator, shutdown: impl Future<Output = ()> + Send) {
        let Provisioner { client, settings, namespace } = self;
        let mut ballot =
            Ballot::new(client.clone(), &namespace, settings.lease.clone(), settings.replica.clone());
        let name = settings.names.first().cloned().unwrap_or_default();
        let work = async {
            loop {
                ballot.win().await;
                tracing::info!(lease = settings.lease, replica = settings.replica, "this replica provisions");
                let (world, changes) = World::watched(&client);
                let seen = world.clone();
                orchestrator.ask_storage_classes_of(Arc::new(move |record| {
                    seen.volume(record.spec.labels.get(label::VOLUME)?)?
                        .spec
                        .as_ref()?
                        .storage_class_name
                        .clone()
                }));
                let worker = Worker {
                    orchestrator: orchestrator.clone(),
                    client: client.clone(),
                    world,
                    herald: Herald::new(client.clone(), name.clone()),
                    names: settings.names.clone(),
                    snapshot_reserve: settings.snapshot_reserve,
                    namespace: namespace.clone(),
                    cluster: settings.cluster.clone(),
                };
                tokio::select! {
                    () = ballot.hold() => {
                        tracing::warn!(lease = settings.lease, "the Lease is lost: another replica provisions");
                    }
                    () = Tender::new(worker).tend(changes) => {}
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = shutdown => {}
        }
        ballot.release().await;
    }
}
