//! Snapshots of several volumes at one instant.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use model::SnapshotName;
use orchestrator::{Answer, Error, ErrorKind, Request as Wish, SnapshotRecord};
use tonic::{Request, Response, Status};
use tracing::Level;

use crate::plugin::{Service, patience};
use crate::wire::group_controller_server::GroupController;
use crate::wire::group_controller_service_capability::{Rpc, Type, rpc};
use crate::wire::*;
use crate::{ADDED, names, shown, status};

/// Its name, and what there is of it.
type Group = (SnapshotName, Vec<Arc<SnapshotRecord>>);

#[tonic::async_trait]
impl GroupController for Service {
    async fn group_controller_get_capabilities(
        &self,
        _: Request<GroupControllerGetCapabilitiesRequest>,
    ) -> Result<Response<GroupControllerGetCapabilitiesResponse>, Status> {
        let snapshots = Rpc { r#type: rpc::Type::CreateDeleteGetVolumeGroupSnapshot.into() };
        let claim = GroupControllerServiceCapability { r#type: Some(Type::Rpc(snapshots)) };
        Ok(Response::new(GroupControllerGetCapabilitiesResponse { capabilities: vec![claim] }))
    }

    async fn create_volume_group_snapshot(
        &self,
        request: Request<CreateVolumeGroupSnapshotRequest>,
    ) -> Result<Response<CreateVolumeGroupSnapshotResponse>, Status> {
        let limit = patience(&request);
        let request = request.into_inner();
        let volumes = request.source_volume_ids.join(",");
        let work = create(self, &request, limit);
        self.answer("CreateVolumeGroupSnapshot", &volumes, Level::INFO, work).await
    }

    async fn delete_volume_group_snapshot(
        &self,
        request: Request<DeleteVolumeGroupSnapshotRequest>,
    ) -> Result<Response<DeleteVolumeGroupSnapshotResponse>, Status> {
        let limit = patience(&request);
        let request = request.into_inner();
        let work = delete(self, &request, limit);
        self.answer("DeleteVolumeGroupSnapshot", &request.group_snapshot_id, Level::INFO, work).await
    }

    async fn get_volume_group_snapshot(
        &self,
        request: Request<GetVolumeGroupSnapshotRequest>,
    ) -> Result<Response<GetVolumeGroupSnapshotResponse>, Status> {
        let GetVolumeGroupSnapshotRequest { group_snapshot_id: id, snapshot_ids, .. } = request.into_inner();
        let work = async {
            let none = || Status::not_found(format!("there is no group snapshot `{id}`"));
            let (_, records) = known(self, &id, &snapshot_ids)?.ok_or_else(none)?;
            Ok(GetVolumeGroupSnapshotResponse { group_snapshot: Some(shown::group(&records)) })
        };
        self.answer("GetVolumeGroupSnapshot", &id, Level::DEBUG, work).await
    }
}

/// # Behavior
/// One that exists, of just these volumes, is answered with itself.
///
/// # Errors
/// `FAILED_PRECONDITION`: these volumes cannot be snapshotted at one instant. `ALREADY_EXISTS`: the name is that of other
/// volumes.
async fn create(
    service: &Service,
    request: &CreateVolumeGroupSnapshotRequest,
    limit: Duration,
) -> Result<CreateVolumeGroupSnapshotResponse, Status> {
    let name = names::snapshot(&request.name)?;
    if request.source_volume_ids.is_empty() {
        return Err(Status::invalid_argument("source_volume_ids is empty"));
    }
    if let Some(key) = request.parameters.keys().filter(|key| !key.starts_with(ADDED)).min() {
        return Err(Status::invalid_argument(format!(
            "unknown parameter `{key}`; group snapshots have none"
        )));
    }
    let mut volumes = BTreeSet::new();
    for id in &request.source_volume_ids {
        volumes.insert(service.volume(id, limit).await?.id.clone());
    }
    let wish = Wish::take_group(volumes, name).map_err(status::refused)?;
    let taken = service.orchestrator.run_patiently(wish, limit).await;
    let records = taken.and_then(Answer::group).map_err(status::apart)?;
    Ok(CreateVolumeGroupSnapshotResponse { group_snapshot: Some(shown::group(&records)) })
}

/// # Behavior
/// One that is not there is as good as deleted.
async fn delete(
    service: &Service,
    request: &DeleteVolumeGroupSnapshotRequest,
    limit: Duration,
) -> Result<DeleteVolumeGroupSnapshotResponse, Status> {
    let found = known(service, &request.group_snapshot_id, &request.snapshot_ids)?;
    let Some((name, records)) = found else { return Ok(DeleteVolumeGroupSnapshotResponse {}) };
    let volumes = records.iter().map(|record| record.volume.clone()).collect();
    let wish = Wish::delete_group(volumes, name).map_err(status::refused)?;
    match service.orchestrator.run_patiently(wish, limit).await {
        Err(Error { kind: ErrorKind::NotFound, .. }) | Ok(_) => Ok(DeleteVolumeGroupSnapshotResponse {}),
        Err(error) => Err(status::apart(error)),
    }
}

/// # Errors
/// `INVALID_ARGUMENT` without an id, or when it has snapshots that the caller does not name, or the caller names others.
fn known(service: &Service, id: &str, snapshots: &[String]) -> Result<Option<Group>, Status> {
    if id.is_empty() {
        return Err(Status::invalid_argument("group_snapshot_id is missing"));
    }
    let Ok(name) = SnapshotName::new(id) else { return Ok(None) };
    let records = service.orchestrator.catalogue().group(&name);
    if records.is_empty() {
        return Ok(None);
    }
    let there: BTreeSet<String> = records.iter().map(|record| shown::snapshot_id(record)).collect();
    let named: BTreeSet<String> = snapshots.iter().cloned().collect();
    // Those of volumes that have been deleted since may still be named.
    let members =
        records.iter().flat_map(|record| record.group.iter()).flat_map(|group| group.members.keys());
    let all: BTreeSet<String> = members.map(|volume| shown::member_id(volume, &name)).collect();
    let agrees = named.is_superset(&there) && named.is_subset(&all);
    if !named.is_empty() && !agrees {
        let list = |ids: &BTreeSet<String>| ids.iter().cloned().collect::<Vec<_>>().join(", ");
        let problem =
            format!("group snapshot `{id}` is made of {}, and not of {}", list(&there), list(&named));
        return Err(Status::invalid_argument(problem));
    }
    Ok(Some((name, records)))
}
