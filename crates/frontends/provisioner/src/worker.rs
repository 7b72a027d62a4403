//! Does what comes next for one volume.

mod ending;
mod making;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim};
use kube::{Api, Client, Resource, ResourceExt};
use model::{BackendName, NodeName, VolumeId};
use orchestrator::{Error, ErrorKind, Orchestrator, Request, VolumeRecord};

use crate::herald::{Herald, Reason};
use crate::names::BACKEND;
use crate::next::{Next, Seen, next};
use crate::wish::Reclaim;
use crate::world::World;

/// What all workers share.
pub(crate) struct Worker {
    pub(crate) orchestrator: Orchestrator,
    pub(crate) client: Client,
    pub(crate) world: World,
    pub(crate) herald: Herald,
    pub(crate) names: Vec<String>,
    pub(crate) snapshot_reserve: Option<u8>,
    /// Where our secrets are.
    pub(crate) namespace: String,
    /// What the cluster is called among the nodes.
    pub(crate) cluster: NodeName,
}

/// Why something is not done yet; it is tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// Its user has been told.
    #[error("{0}")]
    Told(String),
    /// It passes by itself.
    #[error("{0}")]
    Passing(String),
    #[error("Kubernetes: {0}")]
    Kubernetes(#[from] kube::Error),
    #[error("{}", .0.sentence())]
    Storage(Error),
}

pub(crate) type Done = Result<(), Trouble>;

/// How long we wait for work that goes on without us.
const PATIENCE: Duration = Duration::from_secs(120);

impl Worker {
    /// One look at a volume, and the one thing that it leads to.
    pub(crate) async fn look(
        &self,
        name: &str,
        claim: Option<Arc<PersistentVolumeClaim>>,
        last: Option<Reclaim>,
    ) -> Done {
        let record = self.record(name);
        let volume = self.world.volume(name);
        let seen = Seen {
            claim: claim.as_deref(),
            volume: volume.as_deref(),
            record: record.as_deref(),
            last,
            classes: &self.world.classes.state(),
            names: &self.names,
        };
        let step = next(&seen);
        if step != Next::Nothing {
            tracing::debug!(?step, "next");
        }
        match (step, claim, volume) {
            (Next::Provision, Some(claim), _) => self.provision(&claim, record).await,
            (Next::Ignore(reason), Some(claim), _) => {
                self.herald.tell(&reference(&*claim), Reason::IgnoredClaim, &reason).await;
                Ok(())
            }
            (Next::Refuse(reason), Some(claim), _) => {
                self.herald.tell(&reference(&*claim), Reason::ProvisioningFailed, &reason).await;
                Err(Trouble::Told(reason))
            }
            (Next::Left, Some(claim), _) => {
                let note = format!(
                    "the PV `{name}` is gone and nobody saw what it said of its volume, which is therefore kept; delete \
                     it with `leister delete volume {name}`, or write a PV of that name"
                );
                self.herald.tell(&reference(&*claim), Reason::VolumeKept, &note).await;
                Ok(())
            }
            (Next::Keep, _, Some(volume)) => self.keep(&volume, record).await,
            (Next::Delete, claim, _) => self.delete_unused(name, claim).await,
            (Next::Withdraw, _, Some(volume)) => self.withdraw(&volume).await,
            (Next::Reclaim, _, Some(volume)) => self.reclaim(&volume).await,
            (Next::Release, _, Some(volume)) => self.release(&volume).await,
            _ => Ok(()),
        }
    }

    pub(crate) fn record(&self, name: &str) -> Option<Arc<VolumeRecord>> {
        VolumeId::new(name).ok().and_then(|id| self.orchestrator.catalogue().volume(&id))
    }

    /// Sees that the cluster reaches a volume that has a PV, and that nobody takes it for unused.
    async fn keep(&self, volume: &PersistentVolume, record: Option<Arc<VolumeRecord>>) -> Done {
        let record = match record {
            Some(record) => record,
            None => match self.found_again(volume).await? {
                Some(record) => record,
                None => {
                    let problem =
                        format!("the volume of PV `{}` is gone from its backend", volume.name_any());
                    tracing::warn!(volume = volume.name_any(), problem);
                    return Err(Trouble::Passing(problem));
                }
            },
        };
        if record.publication(&self.cluster).is_none() {
            self.publish(&record.id).await.map_err(Trouble::Storage)?;
        }
        self.mark(&record).await
    }

    /// Notes that the volume has a PV, so that somebody may have written to it.
    async fn mark(&self, record: &VolumeRecord) -> Done {
        if record.staged {
            return Ok(());
        }
        let mark = Request::MarkStaged { volume: record.id.clone() };
        self.orchestrator.run_patiently(mark, PATIENCE).await.map(drop).map_err(Trouble::Storage)
    }

    async fn publish(&self, volume: &VolumeId) -> Result<model::Route, Error> {
        let publish = Request::Publish {
            volume: volume.clone(),
            node: self.cluster.clone(),
            read_only: false,
            force: false,
            kept: true,
        };
        self.orchestrator.run_patiently(publish, PATIENCE).await.and_then(orchestrator::Answer::route)
    }

    /// The volume of a PV whose record is lost, taken up again; `None`: there is no such volume.
    async fn found_again(&self, volume: &PersistentVolume) -> Result<Option<Arc<VolumeRecord>>, Trouble> {
        let name = volume.name_any();
        let invalid = |problem: String| Trouble::Storage(Error::invalid(problem));
        let id = VolumeId::new(&name).map_err(|e| invalid(e.to_string()))?;
        let Some(backend) = volume.annotations().get(BACKEND) else {
            let problem =
                format!("there is no record of volume `{name}`, and its PV has no annotation {BACKEND}");
            let hint = "take the volume up with `leister adopt` or `leister import`";
            return Err(Trouble::Storage(Error::new(ErrorKind::NotFound, problem).hint(hint)));
        };
        let backend = BackendName::new(backend).map_err(|e| invalid(format!("annotation {BACKEND}: {e}")))?;
        let adopt = Request::Adopt { volume: id.clone(), backend };
        match self.orchestrator.run_patiently(adopt, PATIENCE).await.and_then(orchestrator::Answer::volume) {
            Ok(record) => Ok(Some(record)),
            Err(error) if error.kind == ErrorKind::NotFound && self.record(&name).is_none() => Ok(None),
            Err(error) => Err(Trouble::Storage(error)),
        }
    }

    fn claims(&self, namespace: &str) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.client.clone(), namespace)
    }

    fn volumes(&self) -> Api<PersistentVolume> {
        Api::all(self.client.clone())
    }
}

/// As events name an object.
pub(crate) fn reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    object.object_ref(&())
}
