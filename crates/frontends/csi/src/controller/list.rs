//! Volumes page by page, from the records alone.

use model::VolumeId;
use tonic::Status;

use crate::plugin::Service;
use crate::shown;
use crate::token::{self, Page};
use crate::wire::list_volumes_response::{Entry, VolumeStatus};
use crate::wire::{
    ControllerListVolumeHealthRequest, ControllerListVolumeHealthResponse, ListVolumesRequest,
    ListVolumesResponse,
};

/// # Errors
/// `ABORTED` for a token that is none.
pub(super) async fn volumes(
    service: &Service,
    request: &ListVolumesRequest,
) -> Result<ListVolumesResponse, Status> {
    let page = Page::read(request.max_entries, &request.starting_token)?;
    let after = after(&page, &request.starting_token)?;
    let places = service.places().await?;
    let catalogue = service.orchestrator.catalogue();
    let there = catalogue.volumes_after(after.as_ref()).filter(|record| shown::is_there(record));
    let (page, next_token) = page.fill(there, |record| record.id.to_string());
    let entries = page.into_iter().map(|record| {
        let published_node_ids = record.publications().map(ToString::to_string).collect();
        let volume = Some(shown::volume(record, &places));
        Entry { volume, status: Some(VolumeStatus { published_node_ids }) }
    });
    Ok(ListVolumesResponse { entries: entries.collect(), next_token })
}

/// Only volumes with which something is wrong.
///
/// # Errors
/// `ABORTED` for a token that is none.
pub(super) async fn health(
    service: &Service,
    request: &ControllerListVolumeHealthRequest,
) -> Result<ControllerListVolumeHealthResponse, Status> {
    let page = Page::read(request.max_entries, &request.starting_token)?;
    let after = after(&page, &request.starting_token)?;
    let outages = service.outages().await?;
    let catalogue = service.orchestrator.catalogue();
    let there = catalogue.volumes_after(after.as_ref()).filter(|record| shown::is_there(record));
    let ill = there.map(|record| outages.volume(record)).filter(|health| !health.health_statuses.is_empty());
    let (entries, next_token) = page.fill(ill, |health| health.volume_id.clone());
    Ok(ControllerListVolumeHealthResponse { entries, next_token })
}

fn after(page: &Page, token: &str) -> Result<Option<VolumeId>, Status> {
    page.after.as_ref().map(|name| VolumeId::new(name).map_err(|_| token::bad(token))).transpose()
}
