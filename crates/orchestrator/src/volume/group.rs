//! Snapshots of several volumes at one instant.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use driver::Retry;
use jiff::Timestamp;
use model::{SnapshotName, VolumeId};

use crate::catalogue::Edit;
use crate::orchestrator::Inner;
use crate::record::{FORMAT, Goal, Group, SnapshotRecord, VolumeRecord};
use crate::request::{Answer, Request};
use crate::running::Operation;
use crate::{Error, ErrorKind, Result};

impl Inner {
    /// The volumes that a request may change, which are locked for it.
    pub(crate) fn changed_by(&self, request: &Request) -> BTreeSet<VolumeId> {
        let mut volumes = BTreeSet::from([request.volume().clone()]);
        match request {
            Request::TakeGroup { others, .. } | Request::DeleteGroup { others, .. } => {
                volumes.extend(others.iter().cloned());
            }
            Request::Reconcile { volume, .. } => {
                for (_, group) in self.unfinished_groups(volume) {
                    volumes.extend(group.members.into_keys());
                }
            }
            _ => {}
        }
        volumes
    }

    pub(crate) async fn take_group(
        &self,
        volumes: &BTreeSet<VolumeId>,
        name: &SnapshotName,
        operation: &Operation,
    ) -> Result<Answer> {
        if self.own().is_some() {
            let message =
                "hosts that share a backend and no store take no snapshots of several volumes at once";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let mut records = Vec::new();
        for id in volumes {
            records.push(self.existing(id)?);
        }
        let group = group_of(&records);
        let before = self.members_of(&group, name)?;
        if before.iter().any(|snapshot| snapshot.goal == Goal::Gone) {
            self.drive_group(&group, name, operation).await?;
        }
        let settled = !before.is_empty() && before.iter().all(|snapshot| snapshot.settled);
        if self.members_of(&group, name)?.is_empty() {
            self.check_group(&records, operation).await?;
            let edits = records.iter().map(|record| {
                Edit::PutSnapshot(Arc::new(SnapshotRecord {
                    format: FORMAT,
                    volume: record.id.clone(),
                    name: name.clone(),
                    goal: Goal::Exist,
                    settled: false,
                    size: record.spec.size,
                    staged: record.staged,
                    created: Timestamp::now(),
                    group: Some(group.clone()),
                }))
            });
            self.writer.commit(edits.collect()).await?;
        }
        match self.drive_group(&group, name, operation).await {
            Ok(taken) if taken.len() == volumes.len() => Ok(Answer::Group(taken)),
            Ok(_) => {
                let message = format!("group snapshot `{name}` has lost volumes that were deleted since");
                Err(Error::new(ErrorKind::Conflict, message)
                    .hint(format!("choose another name, or `leister delete group {name}` first")))
            }
            Err(error) => {
                if !settled {
                    self.undo_group(&group, name, operation).await;
                }
                Err(error)
            }
        }
    }

    pub(crate) async fn delete_group(
        &self,
        volumes: &BTreeSet<VolumeId>,
        name: &SnapshotName,
        operation: &Operation,
    ) -> Result<Answer> {
        let there = self.writer.catalogue().group(name);
        let Some(group) = there.first().and_then(|snapshot| snapshot.group.clone()) else {
            return Err(Error::not_found("group snapshot", name));
        };
        if let Some(other) = there.iter().find(|snapshot| !volumes.contains(&snapshot.volume)) {
            let message = format!("group snapshot `{name}` is of volume `{}` too", other.volume);
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        for snapshot in &there {
            if self.volume(&snapshot.volume)?.restoring.as_ref() == Some(name) {
                let message = format!("snapshot `{name}` is being restored to volume `{}`", snapshot.volume);
                return Err(Error::new(ErrorKind::InUse, message));
            }
        }
        self.revoke_group(&there).await?;
        self.drive_group(&group, name, operation).await?;
        Ok(Answer::Gone)
    }

    /// Ends what was begun with groups of this volume, as far as all their volumes are locked.
    pub(super) async fn reconcile_groups(
        &self,
        id: &VolumeId,
        locked: &BTreeSet<VolumeId>,
        operation: &Operation,
    ) -> Result<()> {
        for (name, group) in self.unfinished_groups(id) {
            // One that was begun meanwhile somebody is at work on.
            if !group.members.keys().all(|member| locked.contains(member)) {
                continue;
            }
            if let Err(error) = self.drive_group(&group, &name, operation).await {
                if error.retry != Retry::Later {
                    self.undo_group(&group, &name, operation).await;
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Writes down that all of them shall be gone.
    pub(crate) async fn revoke_group(&self, snapshots: &[Arc<SnapshotRecord>]) -> Result<()> {
        let gone = |snapshot: &Arc<SnapshotRecord>| SnapshotRecord {
            goal: Goal::Gone,
            ..SnapshotRecord::clone(snapshot)
        };
        let edits = snapshots.iter().map(|snapshot| Edit::PutSnapshot(Arc::new(gone(snapshot))));
        self.writer.commit(edits.collect()).await
    }

    async fn undo_group(&self, group: &Group, name: &SnapshotName, operation: &Operation) {
        let undone = async {
            self.revoke_group(&self.snapshots_of_group(group, name)).await?;
            self.drive_group(group, name, operation).await
        };
        if let Err(error) = undone.await {
            tracing::info!(snapshot = %name, error = error.sentence(), "cleaning up a group goes on");
        }
    }

    /// What is there of the group.
    ///
    /// # Errors
    /// `Conflict` when the name is another group's, or one of the volumes has a snapshot of that name alone.
    fn members_of(&self, group: &Group, name: &SnapshotName) -> Result<Vec<Arc<SnapshotRecord>>> {
        let catalogue = self.writer.catalogue();
        let is_other = |snapshot: &&Arc<SnapshotRecord>| snapshot.group.as_ref() != Some(group);
        if let Some(other) = catalogue.group(name).iter().find(is_other) {
            let of = other.group.iter().flat_map(|group| group.members.keys()).map(|id| format!("`{id}`"));
            let message =
                format!("group snapshot `{name}` exists, of volumes {}", of.collect::<Vec<_>>().join(", "));
            return Err(Error::new(ErrorKind::Conflict, message).hint("choose another name"));
        }
        let alone = |id: &&VolumeId| catalogue.snapshot(id, name).is_some_and(|s| s.group.is_none());
        if let Some(id) = group.members.keys().find(alone) {
            let message = format!("volume `{id}` has a snapshot `{name}` that was taken alone");
            return Err(Error::new(ErrorKind::Conflict, message).hint("choose another name"));
        }
        Ok(self.snapshots_of_group(group, name))
    }

    /// # Errors
    /// These volumes cannot be snapshotted together, or not now.
    async fn check_group(&self, records: &[Arc<VolumeRecord>], operation: &Operation) -> Result<()> {
        let Some(first) = records.first() else { return Ok(()) };
        if let Some(record) = records.iter().find(|record| !record.settled || record.missing) {
            let state = record.status().as_str();
            let message = format!("volume `{}` is {state}; it cannot be snapshotted now", record.id);
            return Err(Error::new(ErrorKind::Busy, message));
        }
        if let Some(other) = records.iter().find(|record| record.backend != first.backend) {
            let message = format!(
                "volume `{}` is on backend `{}` and volume `{}` on `{}`; only volumes of one backend can be snapshotted \
                 at one instant",
                first.id, first.backend, other.id, other.backend
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        self.can_group(first.clone(), operation).await
    }

    pub(crate) fn snapshots_of_group(&self, group: &Group, name: &SnapshotName) -> Vec<Arc<SnapshotRecord>> {
        let catalogue = self.writer.catalogue();
        let of = |id| catalogue.snapshot(id, name).filter(|snapshot| snapshot.group.as_ref() == Some(group));
        group.members.keys().filter_map(of).collect()
    }

    fn unfinished_groups(&self, id: &VolumeId) -> Vec<(SnapshotName, Group)> {
        let catalogue = self.writer.catalogue();
        let unfinished = catalogue.snapshots_of(id).filter(|snapshot| snapshot.is_unfinished());
        unfinished.filter_map(|snapshot| Some((snapshot.name.clone(), snapshot.group.clone()?))).collect()
    }
}

fn group_of(records: &[Arc<VolumeRecord>]) -> Group {
    let members: BTreeMap<_, _> =
        records.iter().map(|record| (record.id.clone(), record.handle.clone())).collect();
    Group { members }
}
