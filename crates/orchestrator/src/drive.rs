//! The loop: look, ask what comes next, do that one thing, again. Everything that happens to a volume
//! happens here: first try, retry, restart and repair.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use driver::{CloneVolume, CreateVolume, Driver, ImportVolume};
use model::{NodeIdentity, NodeName, Route, SnapshotName, VolumeId, VolumeState};

use crate::admission::Queue;
use crate::backend::Backend;
use crate::catalogue::Edit;
use crate::orchestrator::Inner;
use crate::record::{Goal, Origin, SnapshotRecord, VolumeRecord};
use crate::running::Operation;
use crate::volume::next::{SnapshotStep, Step, next, next_snapshot};
use crate::{Error, ErrorKind, Result};

/// Where a volume has come to.
#[derive(Debug)]
pub(crate) struct Driven {
    /// `None`: it is gone, and its record too.
    pub(crate) record: Option<Arc<VolumeRecord>>,
    /// Routes that were handed out on the way.
    pub(crate) routes: BTreeMap<NodeName, Route>,
}

/// More steps than any volume needs: a loop that does not end is a mistake, not a reason to hammer an array.
const MOST_STEPS: usize = 64;
/// Pauses between tries of one operation; after the last the caller hears of the trouble.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(500), Duration::from_secs(2)];

/// One volume under way: what every step needs.
struct Way<'a> {
    inner: &'a Inner,
    operation: &'a Operation,
    backend: Arc<Backend>,
    driver: Arc<dyn Driver>,
    queue: Queue,
    record: Arc<VolumeRecord>,
}

impl Inner {
    /// Brings a volume to what its record says, trying again what may go right later.
    pub(crate) async fn drive(&self, id: &VolumeId, operation: &Operation) -> Result<Driven> {
        self.patiently(operation, || self.drive_once(id, operation)).await
    }

    /// Brings a snapshot to what its record says. `None`: it is gone.
    pub(crate) async fn drive_snapshot(
        &self,
        id: &VolumeId,
        name: &SnapshotName,
        operation: &Operation,
    ) -> Result<Option<Arc<SnapshotRecord>>> {
        self.patiently(operation, || self.drive_snapshot_once(id, name, operation)).await
    }

    async fn patiently<T, F: Future<Output = Result<T>>>(
        &self,
        operation: &Operation,
        mut work: impl FnMut() -> F,
    ) -> Result<T> {
        let mut pauses = PAUSES.iter();
        loop {
            match work().await {
                Err(error) if error.retry == driver::Retry::Later && !self.writer.is_lost() => {
                    match pauses.next() {
                        Some(pause) => {
                            operation.stage("waiting to try again");
                            tracing::debug!(error = error.sentence(), ?pause, "trying again");
                            tokio::time::sleep(*pause).await;
                        }
                        None => return Err(error),
                    }
                }
                done => return done,
            }
        }
    }

    async fn drive_once(&self, id: &VolumeId, operation: &Operation) -> Result<Driven> {
        let record = self.volume(id)?;
        let mut way = self.way(record, operation).await?;
        let mut routes = BTreeMap::new();
        let mut seen = way.observe().await?;
        for _ in 0..MOST_STEPS {
            match next(&way.record, seen.as_ref()) {
                Step::Create => seen = Some(way.create().await?),
                Step::Import { original } => seen = Some(way.import(original).await?),
                Step::Grow(size) => {
                    operation.stage("growing volume");
                    let resize = way.driver.resize().ok_or_else(|| way.unsupported("grow volumes"))?;
                    let grow = resize.grow(&way.record.handle, size);
                    let grown = way.backend.call(way.queue, "grow volume", grow).await?;
                    seen = Some(grown.into_inner());
                }
                Step::Restore(snapshot) => {
                    operation.stage("restoring snapshot");
                    let snapshots =
                        way.driver.snapshots().ok_or_else(|| way.unsupported("restore snapshots"))?;
                    let restore = snapshots.restore(&way.record.handle, &snapshot);
                    let restored = way.backend.call(way.queue, "restore snapshot", restore).await?;
                    way.edit(|record| record.restoring = None).await?;
                    seen = Some(restored.into_inner());
                }
                Step::Permit(node) => {
                    routes.insert(node.clone(), way.permit(&node).await?);
                    if let Some(seen) = &mut seen {
                        seen.permitted.insert(node);
                    }
                }
                Step::Forbid(node) => {
                    way.forbid(&node).await?;
                    if let Some(seen) = &mut seen {
                        seen.permitted.remove(&node);
                    }
                }
                Step::Delete => {
                    operation.stage("deleting volume");
                    let delete = way.driver.delete(&way.record.handle);
                    way.backend.call(way.queue, "delete volume", delete).await?;
                    seen = None;
                }
                Step::Settle => way.settle().await?,
                Step::Grown(size) => {
                    way.edit(|record| {
                        record.spec.size = size;
                        record.growing = None;
                    })
                    .await?;
                }
                Step::Unpublish(node) => {
                    // Should a loss of power take it back, the node is forbidden once more: no harm.
                    way.edit_ordered(|record| {
                        record.published.remove(&node);
                    })
                    .await?;
                }
                Step::Found => {
                    tracing::info!(volume = %id, "a missing volume is back");
                    way.edit(|record| {
                        record.missing = false;
                        record.trouble = None;
                    })
                    .await?;
                }
                Step::Missing => return Err(way.missing().await),
                Step::Foreign(owner) => return Err(way.foreign(&owner)),
                Step::Drop => {
                    self.drop_records(id).await?;
                    return Ok(Driven { record: None, routes });
                }
                Step::Done => {
                    if way.record.trouble.is_some() {
                        way.edit(|record| record.trouble = None).await?;
                    }
                    return Ok(Driven { record: Some(way.record), routes });
                }
            }
        }
        Err(Error::new(ErrorKind::Internal, format!("volume `{id}` does not come to rest; see the log")))
    }

    async fn drive_snapshot_once(
        &self,
        id: &VolumeId,
        name: &SnapshotName,
        operation: &Operation,
    ) -> Result<Option<Arc<SnapshotRecord>>> {
        let way = self.way(self.volume(id)?, operation).await?;
        let snapshots = way.driver.snapshots().ok_or_else(|| way.unsupported("take snapshots"))?;
        let handle = &way.record.handle;
        let find = |list: Vec<model::SnapshotState>| list.into_iter().find(|snapshot| snapshot.name == *name);
        let listed = way.backend.call(way.queue, "list snapshots", snapshots.list_snapshots(handle)).await;
        let mut seen = match listed {
            Ok(listed) => find(listed),
            // No volume, no snapshot: one that shall be gone is gone.
            Err(error) if error.kind == ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        loop {
            let record = self.snapshot(id, name)?;
            match next_snapshot(&record, seen.as_ref()) {
                SnapshotStep::Take => {
                    operation.stage("taking snapshot");
                    let take = snapshots.take(handle, name);
                    seen = Some(way.backend.call(way.queue, "take snapshot", take).await?.into_inner());
                }
                SnapshotStep::Delete => {
                    operation.stage("deleting snapshot");
                    let delete = snapshots.delete_snapshot(handle, name);
                    way.backend.call(way.queue, "delete snapshot", delete).await?;
                    seen = None;
                }
                SnapshotStep::Settle => {
                    let taken = seen.as_ref().map(|seen| (seen.created, seen.size));
                    let (created, size) = taken.unwrap_or((record.created, record.size));
                    let settled =
                        SnapshotRecord { settled: true, created, size, ..SnapshotRecord::clone(&record) };
                    self.writer.commit(vec![Edit::PutSnapshot(Arc::new(settled))]).await?;
                }
                SnapshotStep::Drop => {
                    self.writer.commit(vec![Edit::RemoveSnapshot(id.clone(), name.clone())]).await?;
                    return Ok(None);
                }
                SnapshotStep::Missing => {
                    let message = format!("snapshot `{name}` of volume `{id}` is no longer on its backend");
                    return Err(Error::new(ErrorKind::NotFound, message)
                        .hint("delete it to drop its record: `leister delete snapshot`"));
                }
                SnapshotStep::Done => return Ok(Some(record)),
            }
        }
    }

    async fn way<'a>(&'a self, record: Arc<VolumeRecord>, operation: &'a Operation) -> Result<Way<'a>> {
        let backend = self.backends.backend(&record.backend)?;
        operation.on(&backend.name);
        let driver = backend.driver(self.patience(operation.request.verb())).await?;
        let queue = Queue::of(operation.request.verb());
        Ok(Way { inner: self, operation, backend, driver, queue, record })
    }

    /// Drops a volume's record and those of its snapshots.
    pub(crate) async fn drop_records(&self, id: &VolumeId) -> Result<()> {
        let catalogue = self.writer.catalogue();
        let snapshots = catalogue.snapshots_of(id);
        let mut edits: Vec<Edit> =
            snapshots.map(|snapshot| Edit::RemoveSnapshot(id.clone(), snapshot.name.clone())).collect();
        edits.push(Edit::RemoveVolume(id.clone()));
        // Should a loss of power bring the record back, its goal is still to be gone.
        match catalogue.volume(id).map(|record| record.goal) {
            Some(Goal::Gone) => self.writer.commit_ordered(edits).await,
            _ => self.writer.commit(edits).await,
        }
    }

    /// Changes a record durably.
    pub(crate) async fn edit(
        &self,
        record: &VolumeRecord,
        change: impl FnOnce(&mut VolumeRecord),
    ) -> Result<Arc<VolumeRecord>> {
        let mut changed = record.clone();
        change(&mut changed);
        let changed = Arc::new(changed);
        if *changed != *record {
            self.writer.commit(vec![Edit::PutVolume(changed.clone())]).await?;
        }
        Ok(changed)
    }

    /// What a backend needs to know of a node; a node that was forgotten still has its name.
    pub(crate) fn identity(&self, node: &NodeName) -> NodeIdentity {
        match self.writer.catalogue().node(node) {
            Some(record) => record.identity.clone(),
            None => NodeIdentity::named(node.clone()),
        }
    }
}

impl Way<'_> {
    async fn edit(&mut self, change: impl FnOnce(&mut VolumeRecord)) -> Result<()> {
        self.record = self.inner.edit(&self.record, change).await?;
        Ok(())
    }

    async fn edit_ordered(&mut self, change: impl FnOnce(&mut VolumeRecord)) -> Result<()> {
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
    async fn settle(&mut self) -> Result<()> {
        let settle = |record: &mut VolumeRecord| {
            record.settled = true;
            record.trouble = None;
        };
        let is_empty = self.record.origin == Origin::Made && self.record.spec.source.is_none();
        if is_empty { self.edit_ordered(settle).await } else { self.edit(settle).await }
    }

    async fn observe(&self) -> Result<Option<VolumeState>> {
        self.operation.stage("looking at volume");
        Ok(self.backend.call(self.queue, "observe volume", self.driver.observe(&self.record.handle)).await?)
    }

    async fn create(&self) -> Result<VolumeState> {
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

    async fn import(&self, original: String) -> Result<VolumeState> {
        self.operation.stage("importing volume");
        let import = self.driver.import().ok_or_else(|| self.unsupported("import volumes"))?;
        let request = ImportVolume {
            original,
            handle: self.record.handle.clone(),
            volume: self.record.id.clone(),
            labels: self.record.spec.labels.clone(),
        };
        let imported = self.backend.call(self.queue, "import volume", import.import(&request)).await?;
        Ok(imported.into_inner())
    }

    async fn permit(&self, node: &NodeName) -> Result<Route> {
        self.operation.stage("permitting node");
        let identity = self.inner.identity(node);
        let permit = self.driver.permit(&self.record.handle, &identity);
        Ok(self.backend.call(self.queue, "permit node", permit).await?.into_inner())
    }

    async fn forbid(&self, node: &NodeName) -> Result<()> {
        self.operation.stage("forbidding node");
        let identity = self.inner.identity(node);
        let forbid = self.driver.forbid(&self.record.handle, &identity);
        self.backend.call(self.queue, "forbid node", forbid).await?;
        Ok(())
    }

    async fn missing(&mut self) -> Error {
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

    fn foreign(&self, owner: &model::Owner) -> Error {
        let whose = match owner {
            model::Owner::Ours => "it belongs to another volume".to_owned(),
            model::Owner::Other(instance) => format!("it belongs to instance `{instance}`"),
            model::Owner::Nobody => "it was not made by Leister".to_owned(),
        };
        let message =
            format!("`{}` exists on backend `{}`: {whose}", self.record.handle, self.record.backend);
        Error::new(ErrorKind::Conflict, message)
            .hint("choose another name, or take it over with `leister import`")
    }

    fn unsupported(&self, what: &str) -> Error {
        Error::new(ErrorKind::Unsupported, format!("backend `{}` cannot {what}", self.backend.name))
    }
}

impl Inner {
    /// Hands out the route to a node that is permitted already.
    pub(crate) async fn route(
        &self,
        record: Arc<VolumeRecord>,
        node: &NodeName,
        operation: &Operation,
    ) -> Result<Route> {
        self.way(record, operation).await?.permit(node).await
    }

    /// Takes a permit that has no publication.
    pub(crate) async fn forbid_stray(
        &self,
        record: Arc<VolumeRecord>,
        node: &NodeName,
        operation: &Operation,
    ) -> Result<()> {
        self.way(record, operation).await?.forbid(node).await
    }

    /// Asks the backend for a volume, outside of any operation.
    pub(crate) async fn look(&self, record: &VolumeRecord) -> Result<Option<VolumeState>> {
        let backend = self.backends.backend(&record.backend)?;
        let driver = backend.driver(self.settings.periods.opening).await?;
        Ok(backend.call(Queue::Read, "observe volume", driver.observe(&record.handle)).await?)
    }

    pub(crate) fn volume(&self, id: &VolumeId) -> Result<Arc<VolumeRecord>> {
        self.writer.catalogue().volume(id).ok_or_else(|| Error::not_found("volume", id))
    }

    pub(crate) fn snapshot(&self, id: &VolumeId, name: &SnapshotName) -> Result<Arc<SnapshotRecord>> {
        self.writer
            .catalogue()
            .snapshot(id, name)
            .ok_or_else(|| Error::not_found("snapshot", format!("{name}` of volume `{id}")))
    }

    /// Whether a goal to exist still stands.
    pub(crate) fn existing(&self, id: &VolumeId) -> Result<Arc<VolumeRecord>> {
        let record = self.volume(id)?;
        match record.goal {
            Goal::Exist => Ok(record),
            Goal::Gone => Err(Error::new(ErrorKind::Busy, format!("volume `{id}` is being deleted"))
                .hint("wait until it is gone")),
        }
    }
}

/// A driver's refusal of the first place is a reason to try the next, unless the request itself is wrong.
pub(crate) fn is_worth_another_place(error: &Error) -> bool {
    error.retry != driver::Retry::Never
}
