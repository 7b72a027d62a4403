//! The loop for snapshots.

use std::sync::Arc;

use model::{SnapshotName, VolumeId};

use crate::catalogue::Edit;
use crate::orchestrator::Inner;
use crate::record::SnapshotRecord;
use crate::running::Operation;
use crate::volume::next::{SnapshotStep, next_snapshot};
use crate::{Error, ErrorKind, Result};

impl Inner {
    pub(super) async fn drive_snapshot_once(
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
}
