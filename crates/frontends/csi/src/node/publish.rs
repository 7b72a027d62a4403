//! A staged volume, shown to one user.

use std::path::PathBuf;
use std::time::Duration;

use model::AccessMode;
use tonic::Status;

use super::stage::{known_to_us, path};
use crate::capability::Use;
use crate::plugin::{OnNode, volume_id};
use crate::wire::{NodePublishVolumeRequest, NodeUnpublishVolumeRequest};

/// # Behavior
/// Its files are given to the group that the caller names, unless it will only read them.
///
/// # Errors
/// `NOT_FOUND`; `FAILED_PRECONDITION` before it is staged, or while another has it that nobody may share it with;
/// `ALREADY_EXISTS` where it is shown otherwise.
pub(super) async fn publish(
    node: &OnNode,
    request: &NodePublishVolumeRequest,
    limit: Duration,
) -> Result<(), Status> {
    volume_id(&request.volume_id)?;
    path("target_path", &request.target_path)?;
    let wanted = Use::read(request.volume_capability.as_ref())?;
    let record = node.service.volume(&request.volume_id, limit).await?;
    if request.staging_target_path.is_empty() {
        return Err(Status::failed_precondition("staging_target_path is missing; stage the volume first"));
    }
    wanted.check(&record)?;
    let mounts = node.mounts.clone();
    let publication = record.publication(&mounts.node).cloned();
    let Some(publication) = publication else {
        let problem = format!("volume `{}` is not published to node `{}`", record.id, mounts.node);
        return Err(Status::failed_precondition(problem));
    };
    let read_only = request.readonly || wanted.is_read_only() || publication.read_only;
    let alone = wanted.is_alone() || record.spec.access == AccessMode::ReadWriteOncePod;
    let target = PathBuf::from(&request.target_path);
    let group = wanted.group.filter(|_| !read_only);
    let work = async move {
        if let Some(group) = group {
            mounts.give(&record.id, group).await?;
        }
        mounts.show(&record.id, &target, read_only, alone).await
    };
    node.service.to_the_end(limit, work).await
}

/// # Behavior
/// What is not shown is as good as ended; the target path is removed.
///
/// # Errors
/// `FAILED_PRECONDITION` while something holds it.
pub(super) async fn unpublish(
    node: &OnNode,
    request: &NodeUnpublishVolumeRequest,
    limit: Duration,
) -> Result<(), Status> {
    let volume = known_to_us(&request.volume_id)?;
    path("target_path", &request.target_path)?;
    let (mounts, target) = (node.mounts.clone(), PathBuf::from(&request.target_path));
    node.service.to_the_end(limit, async move { mounts.hide(&volume, &target).await }).await
}
