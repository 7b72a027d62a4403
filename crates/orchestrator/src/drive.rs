//! The loop: look, ask what comes next, do that one thing, again. Everything that happens to a volume
//! happens here: first try, retry, restart and repair.

mod group;
mod snapshot;
mod way;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::{NodeIdentity, NodeName, Route, SnapshotName, VolumeId, VolumeState};

use crate::admission::Queue;
use crate::catalogue::Edit;
use crate::orchestrator::Inner;
use crate::record::{Goal, Group, SnapshotRecord, VolumeRecord};
use crate::running::Operation;
use crate::volume::in_use;
use crate::volume::next::{Step, next};
use crate::{Error, ErrorKind, Result};
use way::Way;

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

    /// Brings the snapshots of a group to what their records say, all of them. Empty: they are gone.
    pub(crate) async fn drive_group(
        &self,
        group: &Group,
        name: &SnapshotName,
        operation: &Operation,
    ) -> Result<Vec<Arc<SnapshotRecord>>> {
        self.patiently(operation, || self.drive_group_once(group, name, operation)).await
    }

    async fn patiently<T, F: Future<Output = Result<T>>>(
        &self,
        operation: &Operation,
        mut work: impl FnMut() -> F,
    ) -> Result<T> {
        let mut pauses = PAUSES.iter();
        loop {
            match work().await {
                Err(error) if error.retry == driver::Retry::Later && self.writer.leads() => {
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

    pub(crate) async fn drive_once(&self, id: &VolumeId, operation: &Operation) -> Result<Driven> {
        let record = self.volume(id)?;
        let mut way = self.way(record, operation).await?;
        let mut routes = BTreeMap::new();
        let mut seen = way.observe().await?;
        for _ in 0..MOST_STEPS {
            // Whoever leads now may be at it already.
            self.writer.fence()?;
            match next(&way.record, seen.as_ref(), self.own()) {
                Step::Create => seen = Some(way.create().await?),
                Step::Import { original } => seen = Some(way.import(original).await?),
                Step::Grow(size) => seen = Some(way.grow(size).await?),
                Step::Modify => seen = Some(way.modify().await?),
                Step::Restore(snapshot) => seen = Some(way.restore(&snapshot).await?),
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
                    way.delete().await?;
                    seen = None;
                }
                Step::MarkStaged => {
                    way.mark_staged().await?;
                    if let Some(seen) = &mut seen {
                        seen.staged = None;
                    }
                }
                Step::Settle => way.settle(seen.as_ref()).await?,
                Step::Staged => way.edit(|record| record.staged = true).await?,
                // Only a loss of power can take it back, and with it goes what was mounted.
                Step::Hold(node) => {
                    way.edit_ordered(|record| {
                        if let Some(publication) = record.published.get_mut(&node) {
                            publication.held = true;
                        }
                    })
                    .await?;
                }
                Step::Fenced(node) => {
                    tracing::error!(volume = %id, %node, "another host has taken the volume from this node");
                    way.edit(|record| {
                        record.fence(&node);
                        record.published.remove(&node);
                    })
                    .await?;
                }
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
                Step::Elsewhere(node) => return Err(in_use(&way.record, &node)),
                Step::Drop => {
                    if way.record.goal == Goal::Exist {
                        tracing::info!(volume = %id, "another host has deleted the volume");
                    }
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

    async fn way<'a>(&'a self, record: Arc<VolumeRecord>, operation: &'a Operation) -> Result<Way<'a>> {
        self.writer.fence()?;
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

    /// Keeps on the backend, where it can, that a node has put the volume to use.
    pub(crate) async fn mark_on_backend(
        &self,
        record: Arc<VolumeRecord>,
        operation: &Operation,
    ) -> Result<()> {
        self.way(record, operation).await?.mark_staged().await
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
