//! A volume grows, while it is in use or not.

use std::time::Duration;

use model::Layout;
use orchestrator::{Answer, Request};
use tonic::Status;

use super::create::Range;
use crate::plugin::{Service, volume_id};
use crate::wire::{ControllerExpandVolumeRequest, ControllerExpandVolumeResponse};
use crate::{shown, status};

/// # Behavior
/// A volume that has the size already is answered with it. A node has its part to do where there is a device.
///
/// # Errors
/// `OUT_OF_RANGE` where the volume would be larger than allowed; `UNIMPLEMENTED` where its backend cannot grow.
pub(super) async fn expand(
    service: &Service,
    request: &ControllerExpandVolumeRequest,
    limit: Duration,
) -> Result<ControllerExpandVolumeResponse, Status> {
    volume_id(&request.volume_id)?;
    let range = Range::read(request.capacity_range.as_ref())?;
    let Some(least) = range.least.or(range.most) else {
        return Err(Status::invalid_argument("capacity_range is missing"));
    };
    let mut record = service.volume(&request.volume_id, limit).await?;
    range.check(record.spec.size)?;
    if record.spec.size < least {
        let backend = service.orchestrator.backend(&record.backend).await.map_err(status::refused)?;
        let pool = backend.and_then(|b| b.pools.into_iter().find(|pool| pool.name == record.pool));
        range.check(pool.map_or(least, |pool| least.round_up(pool.granularity)))?;
        let grow = Request::Grow { volume: record.id.clone(), size: least };
        let grown = service.orchestrator.run_patiently(grow, limit).await;
        record = grown.and_then(Answer::volume).map_err(status::unsupported)?;
    }
    Ok(ControllerExpandVolumeResponse {
        capacity_bytes: shown::number(record.spec.size),
        node_expansion_required: record.spec.layout == Layout::Block,
    })
}
