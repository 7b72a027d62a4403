use std::sync::Arc;

use jiff::Timestamp;
use model::{NodeName, SnapshotName, VolumeId};

use crate::catalogue::Edit;
use crate::orchestrator::Inner;
use crate::record::{FORMAT, Goal, SnapshotRecord};
use crate::request::Answer;
use crate::running::Operation;
use crate::{Error, ErrorKind, Result};

impl Inner {
    pub(crate) async fn take(
        &self,
        id: &VolumeId,
        name: &SnapshotName,
        operation: &Operation,
    ) -> Result<Answer> {
        let volume = self.existing(id)?;
        if !volume.settled || volume.missing {
            let message =
                format!("volume `{id}` is {}; it cannot be snapshotted now", volume.status().as_str());
            return Err(Error::new(ErrorKind::Busy, message));
        }
        let found = self.writer.catalogue().snapshot(id, name);
        if let Some(snapshot) = found.as_ref().filter(|s| s.group.is_some() && s.is_unfinished()) {
            let message = format!(
                "snapshot `{name}` of volume `{id}` is {}, with those of other volumes",
                snapshot.status().as_str()
            );
            return Err(Error::new(ErrorKind::Busy, message));
        }
        if let Some(snapshot) = &found
            && snapshot.goal == Goal::Gone
        {
            self.drive_snapshot(id, name, operation).await?;
        }
        if self.writer.catalogue().snapshot(id, name).is_none() {
            let snapshot = SnapshotRecord {
                format: FORMAT,
                volume: id.clone(),
                name: name.clone(),
                goal: Goal::Exist,
                settled: false,
                size: volume.spec.size,
                staged: volume.staged,
                created: Timestamp::now(),
                group: None,
            };
            self.writer.commit(vec![Edit::PutSnapshot(Arc::new(snapshot))]).await?;
        }
        let settled = found.is_some_and(|snapshot| snapshot.settled);
        match self.drive_snapshot(id, name, operation).await {
            Ok(Some(snapshot)) => Ok(Answer::Snapshot(snapshot)),
            Ok(None) => Err(Error::not_found("snapshot", name)),
            Err(error) => {
                if !settled {
                    self.undo_snapshot(id, name, operation).await;
                }
                Err(error)
            }
        }
    }

    pub(crate) async fn delete_snapshot(
        &self,
        id: &VolumeId,
        name: &SnapshotName,
        operation: &Operation,
    ) -> Result<Answer> {
        let snapshot = self.snapshot(id, name)?;
        if let Some(group) = &snapshot.group {
            let others = group.members.keys().filter(|other| *other != id).map(|other| format!("`{other}`"));
            let others: Vec<String> = others.collect();
            let message = format!(
                "snapshot `{name}` of volume `{id}` was taken as a group{}, and is deleted only as that",
                if others.is_empty() {
                    String::new()
                } else {
                    format!(" with those of {}", others.join(", "))
                }
            );
            return Err(Error::invalid(message).hint(format!("`leister delete group {name}`")));
        }
        if self.volume(id)?.restoring.as_ref() == Some(name) {
            let message = format!("snapshot `{name}` is being restored to volume `{id}`");
            return Err(Error::new(ErrorKind::InUse, message));
        }
        self.edit_snapshot(&snapshot, Goal::Gone).await?;
        self.drive_snapshot(id, name, operation).await?;
        Ok(Answer::Gone)
    }

    /// Puts a snapshot's content in the place of the volume's.
    pub(crate) async fn restore(
        &self,
        id: &VolumeId,
        name: &SnapshotName,
        operation: &Operation,
    ) -> Result<Answer> {
        let record = self.existing(id)?;
        let snapshot = self.snapshot(id, name)?;
        if snapshot.is_unfinished() {
            let message = format!("snapshot `{name}` of volume `{id}` is {}", snapshot.status().as_str());
            return Err(Error::new(ErrorKind::Busy, message));
        }
        let nodes: Vec<&str> = record.published.keys().map(NodeName::as_str).collect();
        if !nodes.is_empty() {
            let message = format!(
                "volume `{id}` is in use on node {}; its content cannot be replaced",
                nodes.join(", ")
            );
            return Err(Error::new(ErrorKind::InUse, message).hint("stop what uses it, then restore"));
        }
        self.edit(&record, |record| record.restoring = Some(name.clone())).await?;
        match self.drive(id, operation).await {
            Ok(driven) => driven.record.map(Answer::Volume).ok_or_else(|| Error::not_found("volume", id)),
            Err(error) if error.kind == ErrorKind::Unreachable => {
                Err(error.hint("it will be restored when the backend answers"))
            }
            Err(error) => {
                let now = self.volume(id)?;
                self.edit(&now, |record| record.restoring = None).await?;
                Err(error)
            }
        }
    }

    pub(crate) async fn undo_snapshot(&self, id: &VolumeId, name: &SnapshotName, operation: &Operation) {
        let undone = async {
            let snapshot = self.snapshot(id, name)?;
            self.edit_snapshot(&snapshot, Goal::Gone).await?;
            self.drive_snapshot(id, name, operation).await
        };
        if let Err(error) = undone.await {
            tracing::info!(volume = %id, snapshot = %name, error = error.sentence(), "cleaning up goes on");
        }
    }

    async fn edit_snapshot(&self, snapshot: &SnapshotRecord, goal: Goal) -> Result<()> {
        let changed = SnapshotRecord { goal, ..snapshot.clone() };
        self.writer.commit(vec![Edit::PutSnapshot(Arc::new(changed))]).await
    }
}
