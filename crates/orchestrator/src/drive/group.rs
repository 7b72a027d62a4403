//! The loop for snapshots that are taken together.

use std::sync::Arc;

use driver::{GroupSnapshot, Groups};
use model::SnapshotName;

use super::way::Way;
use crate::catalogue::Edit;
use crate::orchestrator::Inner;
use crate::record::{Group, SnapshotRecord, VolumeRecord};
use crate::running::Operation;
use crate::volume::next::{GroupStep, next_group};
use crate::{Error, ErrorKind, Result};

impl Inner {
    /// Whether the backend of a volume can snapshot several of its volumes at one instant.
    ///
    /// # Errors
    /// `Unsupported` says why not.
    pub(crate) async fn can_group(&self, record: Arc<VolumeRecord>, operation: &Operation) -> Result<()> {
        let way = self.way(record, operation).await?;
        groups(&way).map(drop)
    }

    /// The volumes stay locked meanwhile, all of them. The answer is empty when the group is gone.
    pub(super) async fn drive_group_once(
        &self,
        group: &Group,
        name: &SnapshotName,
        operation: &Operation,
    ) -> Result<Vec<Arc<SnapshotRecord>>> {
        loop {
            self.writer.fence()?;
            let records = self.snapshots_of_group(group, name);
            let Some(first) = records.first() else { return Ok(records) };
            let request =
                GroupSnapshot { members: group.members.values().cloned().collect(), snapshot: name.clone() };
            match next_group(group, &records) {
                GroupStep::Take => {
                    let way = self.way(self.volume(&first.volume)?, operation).await?;
                    operation.stage("taking snapshots together");
                    let take = groups(&way)?.take_group(&request);
                    let taken = way.backend.call(way.queue, "take group snapshot", take).await?.into_inner();
                    let settled = |record: &Arc<SnapshotRecord>| {
                        let handle = group.members.get(&record.volume);
                        let seen = taken.iter().find(|seen| Some(&seen.volume) == handle);
                        let (created, size) =
                            seen.map_or((record.created, record.size), |seen| (seen.created, seen.size));
                        SnapshotRecord { settled: true, created, size, ..SnapshotRecord::clone(record) }
                    };
                    let edits = records.iter().map(|record| Edit::PutSnapshot(Arc::new(settled(record))));
                    self.writer.commit(edits.collect()).await?;
                }
                GroupStep::Revoke => self.revoke_group(&records).await?,
                GroupStep::Delete => {
                    let way = self.way(self.volume(&first.volume)?, operation).await?;
                    operation.stage("deleting snapshots together");
                    let delete = groups(&way)?.delete_group(&request);
                    way.backend.call(way.queue, "delete group snapshot", delete).await?;
                    let edits =
                        records.iter().map(|r| Edit::RemoveSnapshot(r.volume.clone(), r.name.clone()));
                    self.writer.commit(edits.collect()).await?;
                    return Ok(Vec::new());
                }
                GroupStep::Done => return Ok(records),
            }
        }
    }
}

fn groups<'a>(way: &'a Way<'_>) -> Result<&'a dyn Groups> {
    let snapshots = way.driver.snapshots().ok_or_else(|| way.unsupported("take snapshots"))?;
    snapshots.groups().map_err(|reason| {
        let message = format!(
            "backend `{}` cannot snapshot several volumes at one instant, because {reason}",
            way.backend.name
        );
        Error::new(ErrorKind::Unsupported, message)
    })
}
