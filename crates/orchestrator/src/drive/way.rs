//! The single steps: each one call to the backend or one write to the store.

use std::sync::Arc;

use driver::{CloneVolume, CreateVolume, Driver, ImportVolume, ModifyVolume};
use model::{Bytes, NodeName, Permit, Route, SnapshotName, VolumeState};

use crate::admission::Queue;
use crate::backend::Backend;
use crate::catalogue::Edit;
use crate::orchestrator::Inner;
use crate::record::{Origin, VolumeRecord};
use crate::running::Operation;
use crate::volume::{another_instances, in_use};
use crate::{Error, ErrorKind, Result};

/// One volume under way: what every step needs.
pub(super) struct Way<'a> {
    pub(super) inner: &'a Inner,
    pub(super) operation: &'a Operation,
    pub(super) backend: Arc<Backend>,
    pub(super) driver: Arc<dyn Driver>,
    pub(super) queue: Queue,
    pub(super) record: Arc<VolumeRecord>,
}

impl Way<'_> {
    pub(super) async fn edit(&mut self, change: impl FnOnce(&mut VolumeRecord)) -> Result<()> {
        self.record = self.inner.edit(&self.record, change).await?;
        Ok(())
    }

    pub(super) async fn edit_ordered(&mut self, change: impl FnOnce(&mut VolumeRecord)) -> Result<()> {
        let mut changed = VolumeRecord::clone(&self.record);
        change(&mut changed);
        let changed = Arc::new(changed);
        self.inner.writer.commit_ordered(vec![Edit::PutVolume(changed.clone())]).await?;
        self.record = changed;
        Ok(())
    }

    /// Notes that it exists as wished.
    ///
    /// # Behavior
    /// An empty volume needs no flush for that: data comes into it only after a publication, which is durable and
    /// written later. A copy holds data from the first moment, so its absence must be an incident at once.
    pub(super) async fn settle(&mut self, seen: Option<&VolumeState>) -> Result<()> {
        let settle = |record: &mut VolumeRecord| {
            record.settled = true;
            record.made = seen.and_then(|seen| seen.created);
            record.staged |= seen.is_some_and(|seen| seen.staged == Some(true));
            record.trouble = None;
        };
        let is_empty = self.record.origin == Origin::Made && self.record.spec.source.is_none();
        if is_empty { self.edit_ordered(settle).await } else { self.edit(settle).await }
    }

    pub(super) async fn observe(&self) -> Result<Option<VolumeState>> {
        self.operation.stage("looking at volume");
        Ok(self.backend.call(self.queue, "observe volume", self.driver.observe(&self.record.handle)).await?)
    }

    pub(super) async fn create(&self) -> Result<VolumeState> {
        let record = &self.record;
        let create = CreateVolume {
            handle: record.handle.clone(),
            volume: record.id.clone(),
            pool: record.pool.clone(),
            spec: record.spec.clone(),
        };
        let Some(source) = &record.spec.source else {
            self.operation.stage("creating volume");
            let created = self.backend.call(self.queue, "create volume", self.driver.create(&create)).await?;
            return Ok(created.into_inner());
        };
        self.operation.stage("cloning volume");
        let origin = self.inner.volume(&source.volume)?;
        if origin.backend != record.backend {
            let message =
                format!("`{}` is on backend `{}`, not on `{}`", origin.id, origin.backend, record.backend);
            return Err(Error::invalid(message));
        }
        let clones = self
            .driver
            .snapshots()
            .and_then(|s| s.clones())
            .ok_or_else(|| self.unsupported("clone volumes"))?;
        let request =
            CloneVolume { create, source: origin.handle.clone(), snapshot: source.snapshot.clone() };
        let cloned = self.backend.call(self.queue, "clone volume", clones.clone_volume(&request)).await?;
        Ok(cloned.into_inner())
    }

    pub(super) async fn grow(&self, size: Bytes) -> Result<VolumeState> {
        self.operation.stage("growing volume");
        let resize = self.driver.resize().ok_or_else(|| self.unsupported("grow volumes"))?;
        let grow = resize.grow(&self.record.handle, size);
        Ok(self.backend.call(self.queue, "grow volume", grow).await?.into_inner())
    }

    pub(super) async fn modify(&mut self) -> Result<VolumeState> {
        self.operation.stage("changing options");
        let modify = self.driver.modify().ok_or_else(|| self.unsupported("change options of volumes"))?;
        let mut spec = self.record.spec.clone();
        spec.options.extend(self.record.changing.clone());
        let (handle, changes) = (self.record.handle.clone(), self.record.changing.clone());
        let request = ModifyVolume { handle, changes, spec };
        let modified = self.backend.call(self.queue, "modify volume", modify.modify_volume(&request)).await?;
        self.edit(|record| {
            record.spec = request.spec;
            record.changing.clear();
        })
        .await?;
        Ok(modified.into_inner())
    }

    pub(super) async fn restore(&mut self, snapshot: &SnapshotName) -> Result<VolumeState> {
        self.operation.stage("restoring snapshot");
        let snapshots = self.driver.snapshots().ok_or_else(|| self.unsupported("restore snapshots"))?;
        let restore = snapshots.restore(&self.record.handle, snapshot);
        let restored = self.backend.call(self.queue, "restore snapshot", restore).await?.into_inner();
        let staged = self.inner.snapshot(&self.record.id, snapshot).map_or(true, |snapshot| snapshot.staged);
        let staged = staged || restored.staged == Some(true);
        let made = restored.created;
        self.edit(|record| {
            record.restoring = None;
            record.staged = staged;
            record.made = made;
        })
        .await?;
        Ok(restored)
    }

    pub(super) async fn delete(&self) -> Result<()> {
        self.operation.stage("deleting volume");
        let delete = self.driver.delete(&self.record.handle);
        self.backend.call(self.queue, "delete volume", delete).await?;
        Ok(())
    }

    pub(super) async fn import(&self, original: String) -> Result<VolumeState> {
        self.operation.stage("importing volume");
        let import = self.driver.import().ok_or_else(|| self.unsupported("import volumes"))?;
        let request = ImportVolume {
            original,
            handle: self.record.handle.clone(),
            volume: self.record.id.clone(),
            spec: self.record.spec.clone(),
        };
        let imported = self.backend.call(self.queue, "import volume", import.import(&request)).await?;
        Ok(imported.into_inner())
    }

    pub(super) async fn permit(&self, node: &NodeName) -> Result<Route> {
        self.operation.stage("permitting node");
        let identity = self.inner.identity(node);
        let permit = Permit {
            node: identity,
            read_only: self.record.published.get(node).is_some_and(|publication| publication.read_only),
            exclusive: !self.record.spec.access.is_shared(),
        };
        let permitted = self.driver.permit(&self.record.handle, &permit);
        match self.backend.call(self.queue, "permit node", permitted).await {
            Ok(permitted) => Ok(permitted.into_inner()),
            // Who has it may not be in our records: another host of those that share the backend.
            Err(error) if error.kind == ErrorKind::InUse => {
                let seen = self.observe().await?;
                let other = seen.and_then(|seen| seen.permitted.into_iter().find(|other| other != node));
                Err(other.map_or_else(|| error.into(), |other| in_use(&self.record, &other)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps on the backend, where it can, that a node has put the volume to use.
    pub(super) async fn mark_staged(&self) -> Result<()> {
        if let Some(staging) = self.driver.staging() {
            self.operation.stage("marking volume as used");
            let mark = staging.mark_staged(&self.record.handle);
            self.backend.call(self.queue, "mark volume as staged", mark).await?;
        }
        Ok(())
    }

    pub(super) async fn forbid(&self, node: &NodeName) -> Result<()> {
        self.operation.stage("forbidding node");
        let identity = self.inner.identity(node);
        let forbid = self.driver.forbid(&self.record.handle, &identity);
        self.backend.call(self.queue, "forbid node", forbid).await?;
        Ok(())
    }

    pub(super) async fn missing(&mut self) -> Error {
        let record = self.record.clone();
        let message = format!(
            "volume `{}` is missing: backend `{}` has no `{}` any more",
            record.id, record.backend, record.handle
        );
        if record.settled && !record.missing {
            tracing::error!(volume = %record.id, backend = %record.backend, handle = %record.handle, "volume is missing");
            let text = message.clone();
            let noted = self.edit(|record| {
                record.missing = true;
                record.trouble = Some(text);
            });
            if let Err(error) = noted.await {
                tracing::warn!(error = error.sentence(), "cannot note a missing volume");
            }
        }
        Error::new(ErrorKind::NotFound, message)
            .hint("bring it back on the backend, or drop its record with `leister forget volume`")
    }

    pub(super) fn foreign(&self, owner: &model::Owner) -> Error {
        let (whose, hint) = match owner {
            model::Owner::Ours => {
                ("it is another volume of ours".to_owned(), "choose another name".to_owned())
            }
            model::Owner::Other(instance) => {
                (format!("it belongs to instance `{instance}`"), another_instances(instance))
            }
            model::Owner::Nobody => (
                "it was not made by Leister".to_owned(),
                "choose another name, or take it over with `leister import`".to_owned(),
            ),
        };
        let message =
            format!("`{}` exists on backend `{}`: {whose}", self.record.handle, self.record.backend);
        Error::new(ErrorKind::Conflict, message).hint(hint)
    }

    pub(super) fn unsupported(&self, what: &str) -> Error {
        Error::new(ErrorKind::Unsupported, format!("backend `{}` cannot {what}", self.backend.name))
    }
}
