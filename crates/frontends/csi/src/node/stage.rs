//! A volume comes to this node, grows there, and leaves.

use std::path::Path;
use std::time::Duration;

use model::VolumeId;
use node::{Keys, Shape, on_node};
use tonic::Status;

use crate::capability::Use;
use crate::plugin::{OnNode, volume_id};
use crate::wire::{
    NodeExpandVolumeRequest, NodeExpandVolumeResponse, NodeStageVolumeRequest, NodeUnstageVolumeRequest,
};
use crate::{shown, status};

/// Attaches a volume.
///
/// # Behavior
/// The one mount below all uses is in our own directory; nothing is mounted at the staging path.
///
/// # Errors
/// `NOT_FOUND`, `FAILED_PRECONDITION` before it is published to this node, `INVALID_ARGUMENT` for what it is not.
pub(super) async fn stage(
    node: &OnNode,
    request: &NodeStageVolumeRequest,
    limit: Duration,
) -> Result<(), Status> {
    volume_id(&request.volume_id)?;
    path("staging_target_path", &request.staging_target_path)?;
    let wanted = Use::read(request.volume_capability.as_ref())?;
    let keys = Keys::read(&request.secrets).map_err(status::refused)?;
    let record = node.service.volume(&request.volume_id, limit).await?;
    wanted.check(&record)?;
    let (mounts, volume) = (node.mounts.clone(), record.id.clone());
    node.service
        .to_the_end(limit, async move { mounts.stage(&volume, &wanted.stage, &keys, limit).await })
        .await
}

/// # Behavior
/// What is not staged is as good as unstaged.
///
/// # Errors
/// `FAILED_PRECONDITION` while it is in use.
pub(super) async fn unstage(
    node: &OnNode,
    request: &NodeUnstageVolumeRequest,
    limit: Duration,
) -> Result<(), Status> {
    let volume = known_to_us(&request.volume_id)?;
    path("staging_target_path", &request.staging_target_path)?;
    let mounts = node.mounts.clone();
    node.service.to_the_end(limit, async move { mounts.unstage(&volume).await }).await
}

/// Takes over the size that the controller gave a volume.
///
/// # Errors
/// `NOT_FOUND` volume or path; `FAILED_PRECONDITION` where the node cannot.
pub(super) async fn expand(
    node: &OnNode,
    request: &NodeExpandVolumeRequest,
    limit: Duration,
) -> Result<NodeExpandVolumeResponse, Status> {
    volume_id(&request.volume_id)?;
    path("volume_path", &request.volume_path)?;
    let record = node.service.volume(&request.volume_id, limit).await?;
    if !Path::new(&request.volume_path).exists() {
        let problem = format!("volume `{}` is not at `{}`", record.id, request.volume_path);
        return Err(Status::not_found(problem));
    }
    let mounts = node.mounts.clone();
    let keys = Keys::read(&request.secrets).map_err(status::refused)?;
    let (volume, size) = (record.id.clone(), record.spec.size);
    let is_staged = match Shape::of(&record) {
        Shape::Files => {
            let mounted =
                mounts.host.mounted().map_err(|e| status::refused(on_node("look at", &volume, e)))?;
            mounted.contains_key(&volume)
        }
        // A device that nobody is shown yet is seen by the one who grows it.
        Shape::Device => true,
    };
    if !is_staged {
        return Err(Status::failed_precondition(format!("volume `{volume}` is not staged on this node")));
    }
    let work = async move {
        mounts.hand_over(&volume, &keys);
        let passphrases = mounts.passphrases(&record).await?;
        let grown = mounts.host.grow(&volume, size, passphrases.as_ref()).await;
        grown.map_err(|e| on_node("grow", &volume, e))
    };
    node.service.to_the_end(limit, work).await?;
    Ok(NodeExpandVolumeResponse { capacity_bytes: shown::number(size) })
}

/// # Errors
/// `INVALID_ARGUMENT` where there is no path.
pub(super) fn path(field: &str, path: &str) -> Result<(), Status> {
    match path {
        "" => Err(Status::invalid_argument(format!("{field} is missing"))),
        _ => Ok(()),
    }
}

/// A volume that may be on this node although nobody knows it any more.
pub(super) fn known_to_us(id: &str) -> Result<VolumeId, Status> {
    volume_id(id)?.ok_or_else(|| Status::not_found(format!("there is no volume `{id}`")))
}
