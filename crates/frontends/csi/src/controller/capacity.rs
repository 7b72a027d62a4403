//! Room for further volumes.

use model::{Bytes, VolumeId};
use orchestrator::CreateRequest;
use tonic::Status;

use crate::capability::Uses;
use crate::plugin::Service;
use crate::wire::{GetCapacityRequest, GetCapacityResponse};
use crate::{parameters, shown, status};

/// # Behavior
/// Counts pools that would take such a volume; those that do not answer have none.
///
/// # Errors
/// Parameters and uses that cannot be read.
pub(super) async fn capacity(
    service: &Service,
    request: &GetCapacityRequest,
) -> Result<GetCapacityResponse, Status> {
    // A name that every pool takes: nothing is made.
    let name = VolumeId::new("capacity").map_err(|e| Status::internal(e.to_string()))?;
    let mut wish = CreateRequest::named(name);
    parameters::read(&mut wish, &request.parameters)?;
    if !request.volume_capabilities.is_empty() {
        let uses = Uses::read(&request.volume_capabilities)?;
        wish.layout = uses.layout;
        wish.filesystem = uses.filesystem;
        wish.access = Some(uses.access);
    }
    if let Some(topology) = &request.accessible_topology {
        wish.topologies = vec![topology.segments.clone().into_iter().collect()];
    }
    let rooms = service.orchestrator.room(&wish).await.map_err(status::refused)?;
    let free: Bytes = rooms.iter().map(|room| room.free).sum();
    Ok(GetCapacityResponse {
        available_capacity: shown::number(free),
        maximum_volume_size: rooms.iter().map(|room| room.largest).max().map(shown::number),
        minimum_volume_size: rooms.iter().map(|room| room.pool.smallest).min().map(shown::number),
    })
}
