//! The end of a volume, and of its PV.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use model::VolumeId;
use orchestrator::{ErrorKind, Request};
use serde_json::{Value, json};

use super::{Done, PATIENCE, Trouble, Worker, reference};
use crate::herald::Reason;
use crate::names::{FINALIZER, label};
use crate::next::{bound_to, has_finalizer, phase, reclaim};
use crate::wish::Reclaim;
use crate::within;

impl Worker {
    /// Deletes a volume that has no PV. What we have been told may be old: Kubernetes is asked before.
    pub(super) async fn delete_unused(&self, name: &str, claim: Option<Arc<PersistentVolumeClaim>>) -> Done {
        let Some(record) = self.record(name) else { return Ok(()) };
        if within(self.volumes().get_opt(name)).await?.is_some() {
            return Err(Trouble::Passing(format!("PV `{name}` is seen later than expected")));
        }
        let of_record = |key: &str| record.spec.labels.get(key).cloned().unwrap_or_default();
        let claims = self.claims(&of_record(label::NAMESPACE));
        let now = within(claims.get_opt(&of_record(label::CLAIM))).await?;
        let is_wanted = |now: &PersistentVolumeClaim| {
            now.metadata.uid.as_ref() == record.spec.labels.get(label::CLAIM_ID)
                && now.metadata.deletion_timestamp.is_none()
                && bound_to(now).is_none()
        };
        if now.as_ref().is_some_and(is_wanted) {
            return Err(Trouble::Passing("the claim is seen later than expected".to_owned()));
        }
        let gone = async {
            self.unpublish(&record.id).await?;
            self.delete(&record.id).await
        };
        let gone = gone.await;
        match (&gone, claim) {
            (Ok(()), _) => tracing::info!(volume = name, "deleted, since no claim has it any more"),
            (Err(trouble), Some(claim)) => {
                self.herald.tell(&reference(&*claim), Reason::FailedVolumeDelete, &trouble.to_string()).await;
            }
            (Err(trouble), None) => {
                tracing::warn!(volume = name, %trouble, "an unused volume is not deleted yet")
            }
        }
        gone
    }

    /// The claim has another volume: from now on nobody may take this one, and it goes.
    pub(super) async fn withdraw(&self, volume: &PersistentVolume) -> Done {
        let name = volume.name_any();
        let change = json!({
            "metadata": { "resourceVersion": volume.metadata.resource_version },
            "spec": { "persistentVolumeReclaimPolicy": Reclaim::Delete.as_str() },
        });
        let changed =
            within(self.volumes().patch(&name, &PatchParams::default(), &Patch::Merge(change))).await;
        let Some(changed) = unless_gone(changed)? else { return Ok(()) };
        self.end(&changed, changed.metadata.resource_version.clone()).await
        // Its end is the next thing that we see, and what leads on.
    }

    /// The volume, then the PV.
    pub(super) async fn reclaim(&self, volume: &PersistentVolume) -> Done {
        let name = volume.name_any();
        let Some(now) = within(self.volumes().get_opt(&name)).await? else { return Ok(()) };
        // Somebody may have wanted to keep it at the last moment.
        if now.metadata.uid != volume.metadata.uid
            || phase(&now) == "Bound"
            || reclaim(&now) != Reclaim::Delete
        {
            return Err(Trouble::Passing(format!("PV `{name}` has changed")));
        }
        let gone = self.volume_gone(&now).await;
        if let Err(trouble) = gone {
            if !matches!(&trouble, Trouble::Storage(error) if error.kind == ErrorKind::Busy) {
                self.fail(&now, &trouble.to_string()).await?;
            }
            return Err(trouble);
        }
        self.end(&now, None).await?;
        self.let_go(&now).await?;
        tracing::info!(volume = name, "deleted with its PV");
        Ok(())
    }

    /// The PV goes, the volume stays, and nobody of the cluster reaches it any more.
    pub(super) async fn release(&self, volume: &PersistentVolume) -> Done {
        let name = volume.name_any();
        let Some(now) = within(self.volumes().get_opt(&name)).await? else { return Ok(()) };
        let goes = now.metadata.deletion_timestamp.is_some();
        if now.metadata.uid != volume.metadata.uid || !goes || reclaim(&now) != Reclaim::Retain {
            return Err(Trouble::Passing(format!("PV `{name}` has changed")));
        }
        if let Some(record) = self.record(&name) {
            self.mark(&record).await?;
            self.unpublish(&record.id).await?;
        }
        self.let_go(&now).await?;
        tracing::info!(volume = name, "its PV is gone; the volume is kept, as its reclaim policy says");
        Ok(())
    }

    pub(super) async fn unpublish(&self, volume: &VolumeId) -> Done {
        let Some(record) = self.orchestrator.catalogue().volume(volume) else { return Ok(()) };
        if !record.published.contains_key(&self.cluster) {
            return Ok(());
        }
        let unpublish = Request::Unpublish { volume: volume.clone(), node: self.cluster.clone() };
        self.orchestrator.run_patiently(unpublish, PATIENCE).await.map(drop).map_err(Trouble::Storage)
    }

    pub(super) async fn delete(&self, volume: &VolumeId) -> Done {
        let delete = Request::Delete { volume: volume.clone(), with_snapshots: false };
        match self.orchestrator.run_patiently(delete, PATIENCE).await {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
            deleted => deleted.map(drop).map_err(Trouble::Storage),
        }
    }

    async fn volume_gone(&self, volume: &PersistentVolume) -> Done {
        let record = match self.record(&volume.name_any()) {
            Some(record) => record,
            // Deleted just before a death of ours, or the records are lost.
            None => match self.found_again(volume).await? {
                Some(record) => record,
                None => return Ok(()),
            },
        };
        self.unpublish(&record.id).await?;
        self.delete(&record.id).await
    }

    /// Marks the PV, as the PV controller does with those of its own.
    async fn fail(&self, volume: &PersistentVolume, problem: &str) -> Done {
        self.herald.tell(&reference(volume), Reason::FailedVolumeDelete, problem).await;
        let failed =
            json!({ "status": { "phase": "Failed", "reason": "FailedVolumeDelete", "message": problem } });
        let name = volume.name_any();
        let patched =
            within(self.volumes().patch_status(&name, &PatchParams::default(), &Patch::Merge(failed))).await;
        unless_gone(patched).map(drop)
    }

    async fn end(&self, volume: &PersistentVolume, resource_version: Option<String>) -> Done {
        if volume.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let preconditions = Some(Preconditions { uid: volume.metadata.uid.clone(), resource_version });
        let parameters = DeleteParams { preconditions, ..DeleteParams::default() };
        unless_gone(within(self.volumes().delete(&volume.name_any(), &parameters)).await).map(drop)
    }

    /// Takes our finalizer off, and no other.
    async fn let_go(&self, volume: &PersistentVolume) -> Done {
        let name = volume.name_any();
        loop {
            let Some(now) = within(self.volumes().get_opt(&name)).await? else { return Ok(()) };
            if now.metadata.uid != volume.metadata.uid || !has_finalizer(&now) {
                return Ok(());
            }
            let others: Vec<Value> = now
                .finalizers()
                .iter()
                .filter(|other| *other != FINALIZER)
                .map(|other| json!(other))
                .collect();
            let change = json!({ "metadata": { "resourceVersion": now.metadata.resource_version, "finalizers": others } });
            match within(self.volumes().patch(&name, &PatchParams::default(), &Patch::Merge(change))).await {
                // Somebody else took off his at the same moment.
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                patched => return unless_gone(patched).map(drop),
            }
        }
    }
}

/// What is gone needs no change.
fn unless_gone<T>(result: kube::Result<T>) -> Result<Option<T>, Trouble> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error.into()),
    }
}
