//! Volumes and snapshots as such: what is asked, by whom it is done, and how loudly it is told.

mod capacity;
mod create;
mod delete;
mod expand;
mod list;
mod modify;
mod publish;
mod snapshots;

use tonic::{Request, Response, Status};
use tracing::Level;

use crate::health::Outages;
use crate::places::Places;
use crate::plugin::{Service, patience};
use crate::wire::controller_server::Controller;
use crate::wire::controller_service_capability::rpc;
use crate::wire::controller_service_capability::{Rpc, Type};
use crate::wire::*;
use crate::{shown, status};

/// What works, and nothing else.
const CAPABILITIES: [rpc::Type; 16] = [
    rpc::Type::CreateDeleteVolume,
    rpc::Type::PublishUnpublishVolume,
    rpc::Type::ListVolumes,
    rpc::Type::GetCapacity,
    rpc::Type::CreateDeleteSnapshot,
    rpc::Type::ListSnapshots,
    rpc::Type::CloneVolume,
    rpc::Type::PublishReadonly,
    rpc::Type::ExpandVolume,
    rpc::Type::ListVolumesPublishedNodes,
    rpc::Type::GetVolume,
    rpc::Type::SingleNodeMultiWriter,
    rpc::Type::ModifyVolume,
    rpc::Type::GetSnapshot,
    rpc::Type::GetVolumeHealth,
    rpc::Type::ListVolumeHealth,
];

#[tonic::async_trait]
impl Controller for Service {
    async fn controller_get_capabilities(
        &self,
        _: Request<ControllerGetCapabilitiesRequest>,
    ) -> Result<Response<ControllerGetCapabilitiesResponse>, Status> {
        let claim = |rpc: rpc::Type| ControllerServiceCapability {
            r#type: Some(Type::Rpc(Rpc { r#type: rpc.into() })),
        };
        let capabilities = CAPABILITIES.map(claim).to_vec();
        Ok(Response::new(ControllerGetCapabilitiesResponse { capabilities }))
    }

    async fn create_volume(
        &self,
        request: Request<CreateVolumeRequest>,
    ) -> Result<Response<CreateVolumeResponse>, Status> {
        let limit = patience(&request);
        let request = request.into_inner();
        let work = create::create(self, &request, limit);
        self.answer("CreateVolume", &request.name, Level::INFO, work).await
    }

    async fn delete_volume(
        &self,
        request: Request<DeleteVolumeRequest>,
    ) -> Result<Response<DeleteVolumeResponse>, Status> {
        let limit = patience(&request);
        let id = request.into_inner().volume_id;
        let work = async { delete::delete(self, &id, limit).await.map(|()| DeleteVolumeResponse {}) };
        self.answer("DeleteVolume", &id, Level::INFO, work).await
    }

    async fn controller_publish_volume(
        &self,
        request: Request<ControllerPublishVolumeRequest>,
    ) -> Result<Response<ControllerPublishVolumeResponse>, Status> {
        let limit = patience(&request);
        let request = request.into_inner();
        let work = publish::publish(self, &request, limit);
        self.answer("ControllerPublishVolume", &request.volume_id, Level::INFO, work).await
    }

    async fn controller_unpublish_volume(
        &self,
        request: Request<ControllerUnpublishVolumeRequest>,
    ) -> Result<Response<ControllerUnpublishVolumeResponse>, Status> {
        let limit = patience(&request);
        let request = request.into_inner();
        let work = publish::unpublish(self, &request, limit);
        self.answer("ControllerUnpublishVolume", &request.volume_id, Level::INFO, work).await
    }

    async fn validate_volume_capabilities(
        &self,
        request: Request<ValidateVolumeCapabilitiesRequest>,
    ) -> Result<Response<ValidateVolumeCapabilitiesResponse>, Status> {
        let limit = patience(&request);
        let request = request.into_inner();
        let id = request.volume_id.clone();
        let work = create::validate(self, request, limit);
        self.answer("ValidateVolumeCapabilities", &id, Level::DEBUG, work).await
    }

    async fn list_volumes(
        &self,
        request: Request<ListVolumesRequest>,
    ) -> Result<Response<ListVolumesResponse>, Status> {
        let request = request.into_inner();
        let work = list::volumes(self, &request);
        self.answer("ListVolumes", "", Level::DEBUG, work).await
    }

    async fn controller_get_volume(
        &self,
        request: Request<ControllerGetVolumeRequest>,
    ) -> Result<Response<ControllerGetVolumeResponse>, Status> {
        let limit = patience(&request);
        let id = request.into_inner().volume_id;
        let work = async {
            let record = self.volume(&id, limit).await?;
            let published_node_ids = record.publications().map(ToString::to_string).collect();
            let status = controller_get_volume_response::VolumeStatus { published_node_ids };
            let volume = Some(shown::volume(&record, &self.places().await?));
            Ok(ControllerGetVolumeResponse { volume, status: Some(status) })
        };
        self.answer("ControllerGetVolume", &id, Level::DEBUG, work).await
    }

    async fn get_capacity(
        &self,
        request: Request<GetCapacityRequest>,
    ) -> Result<Response<GetCapacityResponse>, Status> {
        let request = request.into_inner();
        let work = capacity::capacity(self, &request);
        self.answer("GetCapacity", "", Level::DEBUG, work).await
    }

    async fn controller_expand_volume(
        &self,
        request: Request<ControllerExpandVolumeRequest>,
    ) -> Result<Response<ControllerExpandVolumeResponse>, Status> {
        let limit = patience(&request);
        let request = request.into_inner();
        let work = expand::expand(self, &request, limit);
        self.answer("ControllerExpandVolume", &request.volume_id, Level::INFO, work).await
    }

    async fn controller_modify_volume(
        &self,
        request: Request<ControllerModifyVolumeRequest>,
    ) -> Result<Response<ControllerModifyVolumeResponse>, Status> {
        let limit = patience(&request);
        let request = request.into_inner();
        let work = modify::modify(self, &request, limit);
        self.answer("ControllerModifyVolume", &request.volume_id, Level::INFO, work).await
    }

    async fn create_snapshot(
        &self,
        request: Request<CreateSnapshotRequest>,
    ) -> Result<Response<CreateSnapshotResponse>, Status> {
        let limit = patience(&request);
        let request = request.into_inner();
        let work = snapshots::create(self, &request, limit);
        self.answer("CreateSnapshot", &request.source_volume_id, Level::INFO, work).await
    }

    async fn delete_snapshot(
        &self,
        request: Request<DeleteSnapshotRequest>,
    ) -> Result<Response<DeleteSnapshotResponse>, Status> {
        let limit = patience(&request);
        let id = request.into_inner().snapshot_id;
        let work = async { snapshots::delete(self, &id, limit).await.map(|()| DeleteSnapshotResponse {}) };
        self.answer("DeleteSnapshot", &id, Level::INFO, work).await
    }

    async fn list_snapshots(
        &self,
        request: Request<ListSnapshotsRequest>,
    ) -> Result<Response<ListSnapshotsResponse>, Status> {
        let request = request.into_inner();
        let work = async { snapshots::list(self, &request) };
        self.answer("ListSnapshots", &request.source_volume_id, Level::DEBUG, work).await
    }

    async fn get_snapshot(
        &self,
        request: Request<GetSnapshotRequest>,
    ) -> Result<Response<GetSnapshotResponse>, Status> {
        let id = request.into_inner().snapshot_id;
        let work = async { snapshots::get(self, &id) };
        self.answer("GetSnapshot", &id, Level::DEBUG, work).await
    }

    async fn controller_get_volume_health(
        &self,
        request: Request<ControllerGetVolumeHealthRequest>,
    ) -> Result<Response<ControllerGetVolumeHealthResponse>, Status> {
        let limit = patience(&request);
        let id = request.into_inner().volume_id;
        let work = async {
            let record = self.volume(&id, limit).await?;
            let health = self.outages().await?.volume(&record);
            Ok(ControllerGetVolumeHealthResponse { volume_health: Some(health) })
        };
        self.answer("ControllerGetVolumeHealth", &id, Level::DEBUG, work).await
    }

    async fn controller_list_volume_health(
        &self,
        request: Request<ControllerListVolumeHealthRequest>,
    ) -> Result<Response<ControllerListVolumeHealthResponse>, Status> {
        let request = request.into_inner();
        let work = list::health(self, &request);
        self.answer("ControllerListVolumeHealth", "", Level::DEBUG, work).await
    }
}

impl Service {
    pub(crate) async fn places(&self) -> Result<Places, Status> {
        let backends = self.orchestrator.backends().await.map_err(status::refused)?;
        Ok(Places::of(&backends))
    }

    pub(crate) async fn outages(&self) -> Result<Outages, Status> {
        let backends = self.orchestrator.backends().await.map_err(status::refused)?;
        Ok(Outages::of(&backends))
    }
}
