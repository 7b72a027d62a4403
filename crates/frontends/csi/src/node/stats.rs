//! Space and inodes of a volume in use.

use std::path::Path;
use std::time::Duration;

use model::{Bytes, Layout};
use node::{Shape, on_node};
use orchestrator::VolumeRecord;
use tonic::Status;

use super::stage::path;
use crate::plugin::{OnNode, volume_id};
use crate::wire::volume_usage::Unit;
use crate::wire::{NodeGetVolumeStatsRequest, NodeGetVolumeStatsResponse, VolumeUsage};
use crate::{shown, status};

/// # Errors
/// `NOT_FOUND` volume, or a path at which it is not.
pub(super) async fn stats(
    node: &OnNode,
    request: &NodeGetVolumeStatsRequest,
    limit: Duration,
) -> Result<NodeGetVolumeStatsResponse, Status> {
    volume_id(&request.volume_id)?;
    path("volume_path", &request.volume_path)?;
    let record = node.service.volume(&request.volume_id, limit).await?;
    let at = Path::new(&request.volume_path);
    if !node.mounts.is_shown(&record.id, at).map_err(status::refused)? {
        let problem = format!("volume `{}` is not at `{}`", record.id, request.volume_path);
        return Err(Status::not_found(problem));
    }
    let usage = match Shape::of(&record) {
        Shape::Device => vec![bytes(None, record.spec.size, None)],
        Shape::Files => files(node, &record).await?,
    };
    Ok(NodeGetVolumeStatsResponse { usage })
}

/// A directory shows the space of the file system that it lies in, which others use too: what counts there is the size
/// that it may have, and what its storage says of it.
async fn files(node: &OnNode, record: &VolumeRecord) -> Result<Vec<VolumeUsage>, Status> {
    let seen = node.mounts.host.usage(&record.id).await;
    let seen = seen.map_err(|e| status::refused(on_node("look at", &record.id, e)))?;
    let space = match record.spec.layout {
        Layout::Block => bytes(Some(seen.available), seen.total, Some(seen.used)),
        Layout::File => {
            let total = record.spec.size;
            let state = node.service.orchestrator.observe(&record.id).await.ok().flatten();
            match state.and_then(|state| state.used) {
                Some(used) => bytes(Some(total.saturating_sub(used).min(seen.available)), total, Some(used)),
                None => bytes(Some(seen.available.min(total)), total, None),
            }
        }
    };
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let mut usage = vec![space];
    // Some file systems make inodes as they go, and count none.
    if seen.inodes > 0 {
        usage.push(VolumeUsage {
            available: number(seen.inodes.saturating_sub(seen.inodes_used)),
            total: number(seen.inodes),
            used: number(seen.inodes_used),
            unit: Unit::Inodes.into(),
        });
    }
    Ok(usage)
}

fn bytes(available: Option<Bytes>, total: Bytes, used: Option<Bytes>) -> VolumeUsage {
    VolumeUsage {
        available: available.map_or(0, shown::number),
        total: shown::number(total),
        used: used.map_or(0, shown::number),
        unit: Unit::Bytes.into(),
    }
}
