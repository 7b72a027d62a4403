//! Options of a volume change, while it is in use or not.

use std::time::Duration;

use orchestrator::{Answer, Request};
use tonic::Status;

use crate::plugin::{Service, volume_id};
use crate::wire::{ControllerModifyVolumeRequest, ControllerModifyVolumeResponse};
use crate::{parameters, status};

/// # Errors
/// `INVALID_ARGUMENT` for a parameter or a value that the volume's backend does not have or cannot change.
pub(super) async fn modify(
    service: &Service,
    request: &ControllerModifyVolumeRequest,
    limit: Duration,
) -> Result<ControllerModifyVolumeResponse, Status> {
    volume_id(&request.volume_id)?;
    let changes = parameters::options(&request.mutable_parameters)?;
    let volume = service.volume(&request.volume_id, limit).await?.id.clone();
    let modify = Request::Modify { volume, changes };
    let modified = service.orchestrator.run_patiently(modify, limit).await;
    modified.and_then(Answer::volume).map_err(status::refused)?;
    Ok(ControllerModifyVolumeResponse {})
}
