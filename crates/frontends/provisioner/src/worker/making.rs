//! A volume and its PV, for a claim.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use kube::api::PostParams;
use model::{Route, Source, VolumeId};
use orchestrator::{Answer, ErrorKind, Goal, Request, VolumeRecord};

use super::{Done, PATIENCE, Trouble, Worker, reference};
use crate::call::{Call, call};
use crate::herald::Reason;
use crate::next::{bound_to, is_for};
use crate::pv::{self, Draft};
use crate::reach::Reach;
use crate::wish::{self, Wish};
use crate::{names, reserve, secret, within};

impl Worker {
    /// # Behavior
    /// Each step finds what an earlier life of ours has left of it, so that all of it can be done again.
    pub(super) async fn provision(
        &self,
        claim: &PersistentVolumeClaim,
        record: Option<Arc<VolumeRecord>>,
    ) -> Done {
        let made = self.make(claim, record).await;
        match &made {
            Err(Trouble::Storage(error)) if error.kind == ErrorKind::Busy => {}
            Err(trouble @ Trouble::Storage(_)) => {
                self.herald.tell(&reference(claim), Reason::ProvisioningFailed, &trouble.to_string()).await;
            }
            _ => {}
        }
        made
    }

    async fn make(&self, claim: &PersistentVolumeClaim, record: Option<Arc<VolumeRecord>>) -> Done {
        let class = match call(claim, &self.world.classes.state(), &self.names) {
            Call::Volume(class) => Some(class),
            _ => None,
        };
        let finished =
            record.filter(|record| record.settled && record.goal == Goal::Exist && is_for(record, claim));
        let record = match (finished, &class) {
            (Some(record), _) => record,
            (None, Some(class)) => self.create(claim, class).await?,
            (None, None) => return Err(Trouble::Passing("its class is gone".to_owned())),
        };
        let route = self.publish(&record.id).await.map_err(Trouble::Storage)?;
        let secret = match &route {
            Route::Iscsi(iscsi) => match &iscsi.chap {
                Some(chap) => Some(secret::keep(&self.client, &self.namespace, &record.backend, chap).await?),
                None => None,
            },
            _ => None,
        };
        let class = class.map(|class| class.name_any());
        let class = class.or_else(|| names::class_of(claim).map(str::to_owned)).unwrap_or_default();
        let draft = Draft { claim, class: &class, record: &record, route: &route, secret };
        let volume = match pv::build(&draft) {
            Ok(volume) => volume,
            Err(problem) => {
                self.unmake(&record.id).await?;
                return Err(self.refuse(claim, problem).await);
            }
        };
        // The claim may have gone, or found another volume, while the array worked.
        let claims = self.claims(&claim.namespace().unwrap_or_default());
        let now = within(claims.get_opt(&claim.name_any())).await?;
        let waits = |now: &PersistentVolumeClaim| {
            now.metadata.uid == claim.metadata.uid
                && now.metadata.deletion_timestamp.is_none()
                && bound_to(now).is_none()
        };
        if !now.as_ref().is_some_and(waits) {
            // That it never had a PV is known here for certain; later a copy of a disk looks as if it had been used.
            self.delete_unused(record.id.as_str(), None).await?;
            return Err(Trouble::Passing("the claim does not wait any more".to_owned()));
        }
        let fresh = self.show(claim, &volume).await?;
        self.mark(&record).await?;
        if fresh {
            let note = format!(
                "volume `{}` of {} made on backend `{}`, pool `{}`",
                record.id, record.spec.size, record.backend, record.pool
            );
            self.herald.tell(&reference(claim), Reason::ProvisioningSuccess, &note).await;
        }
        Ok(())
    }

    async fn create(
        &self,
        claim: &PersistentVolumeClaim,
        class: &StorageClass,
    ) -> Result<Arc<VolumeRecord>, Trouble> {
        let wished = wish::read(claim, class).and_then(|wish| {
            let source = self.source(claim, &wish)?;
            Ok((wish, source))
        });
        let (wish, source) = match wished {
            Ok(wished) => wished,
            Err(problem) => return Err(self.refuse(claim, problem).await),
        };
        let mut request = wish.request;
        reserve::take(&mut request, self.snapshot_reserve);
        request.source = source;
        let identity = self.orchestrator.catalogue().node(&self.cluster).map(|node| node.identity.clone());
        let narrowed = match Reach::of(identity.as_ref()).narrow(&mut request) {
            Ok(narrowed) => narrowed,
            Err(problem) => return Err(self.refuse(claim, problem).await),
        };
        let create = Request::Create(Box::new(request));
        let created = self.orchestrator.run_patiently(create, PATIENCE).await.and_then(Answer::volume);
        created.map_err(|mut error| {
            if let Some(reason) = narrowed.filter(|narrowed| error.message.contains(narrowed.refusal)) {
                error.message = format!("{}; {}", error.message, reason.because);
            }
            Trouble::Storage(error)
        })
    }

    /// The volume to be copied: that of a claim beside this one, of the same class.
    fn source(&self, claim: &PersistentVolumeClaim, wish: &Wish) -> Result<Option<Source>, String> {
        let Some(name) = &wish.clone_of else { return Ok(None) };
        let namespace = claim.namespace().unwrap_or_default();
        let told = |problem: &str| format!("cloneFromPVC `{name}`: {problem}");
        let origin = self.world.claim(&namespace, name);
        let origin =
            origin.ok_or_else(|| told(&format!("there is no such claim in namespace `{namespace}`")))?;
        let volume = bound_to(&origin).ok_or_else(|| told("that claim has no volume yet"))?;
        let (ours, theirs) = (names::class_of(claim), names::class_of(&origin));
        if ours != theirs {
            return Err(told(&format!(
                "that claim is of StorageClass `{}`, this one of `{}`; both must be of the same",
                theirs.unwrap_or_default(),
                ours.unwrap_or_default()
            )));
        }
        let foreign =
            || told(&format!("its volume `{volume}` was not made by this provisioner and cannot be cloned"));
        let record = self.record(volume).ok_or_else(foreign)?;
        Ok(Some(Source { volume: record.id.clone(), snapshot: None }))
    }

    /// Writes the PV. False: it was there.
    async fn show(&self, claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Result<bool, Trouble> {
        match within(self.volumes().create(&PostParams::default(), volume)).await {
            Ok(_) => return Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(error.into()),
        }
        let there = within(self.volumes().get_opt(&volume.name_any())).await?;
        let claim_ref = there.and_then(|there| there.spec?.claim_ref);
        if claim_ref.is_some_and(|reference| names::refers_to(&reference, claim)) {
            return Ok(false);
        }
        let problem = format!(
            "a PV `{}` is there that was not made for this claim; delete the claim and create it again: it then gets \
             another name",
            volume.name_any()
        );
        Err(self.refuse(claim, problem).await)
    }

    /// Takes back what no PV can name.
    async fn unmake(&self, volume: &VolumeId) -> Done {
        self.unpublish(volume).await?;
        self.delete(volume).await
    }

    /// Tells what cannot be right. It is tried again: somebody may mend it.
    async fn refuse(&self, claim: &PersistentVolumeClaim, problem: String) -> Trouble {
        self.herald.tell(&reference(claim), Reason::ProvisioningFailed, &problem).await;
        Trouble::Told(problem)
    }
}
