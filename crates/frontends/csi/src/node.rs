//! Volumes on this machine: what is asked, by whom it is done, and how loudly it is told.

mod publish;
mod stage;
mod stats;

use tonic::{Request, Response, Status};
use tracing::Level;

use crate::places;
use crate::plugin::{OnNode, patience};
use crate::wire::node_server::Node;
use crate::wire::node_service_capability::rpc;
use crate::wire::node_service_capability::{Rpc, Type};
use crate::wire::*;

/// What works, and nothing else.
const CAPABILITIES: [rpc::Type; 7] = [
    rpc::Type::StageUnstageVolume,
    rpc::Type::GetVolumeStats,
    rpc::Type::ExpandVolume,
    rpc::Type::SingleNodeMultiWriter,
    rpc::Type::VolumeMountGroup,
    rpc::Type::GetVolumeHealth,
    rpc::Type::GetStorageHealth,
];

#[tonic::async_trait]
impl Node for OnNode {
    async fn node_get_capabilities(
        &self,
        _: Request<NodeGetCapabilitiesRequest>,
    ) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        let claim =
            |rpc: rpc::Type| NodeServiceCapability { r#type: Some(Type::Rpc(Rpc { r#type: rpc.into() })) };
        let capabilities = CAPABILITIES.map(claim).to_vec();
        Ok(Response::new(NodeGetCapabilitiesResponse { capabilities }))
    }

    async fn node_get_info(
        &self,
        _: Request<NodeGetInfoRequest>,
    ) -> Result<Response<NodeGetInfoResponse>, Status> {
        let node_id = self.mounts.node.to_string();
        let topology = &self.service.orchestrator.settings().node.topology;
        let accessible_topology = (!topology.is_empty()).then(|| places::shown(topology));
        Ok(Response::new(NodeGetInfoResponse {
            node_id,
            max_volumes_per_node: self.service.most_volumes.map_or(0, |most| most.get().into()),
            accessible_topology,
        }))
    }

    async fn node_stage_volume(
        &self,
        request: Request<NodeStageVolumeRequest>,
    ) -> Result<Response<NodeStageVolumeResponse>, Status> {
        let limit = patience(&request);
        let request = request.into_inner();
        let work = async { stage::stage(self, &request, limit).await.map(|()| NodeStageVolumeResponse {}) };
        self.service.answer("NodeStageVolume", &request.volume_id, Level::INFO, work).await
    }

    async fn node_unstage_volume(
        &self,
        request: Request<NodeUnstageVolumeRequest>,
    ) -> Result<Response<NodeUnstageVolumeResponse>, Status> {
        let limit = patience(&request);
        let request = request.into_inner();
        let work =
            async { stage::unstage(self, &request, limit).await.map(|()| NodeUnstageVolumeResponse {}) };
        self.service.answer("NodeUnstageVolume", &request.volume_id, Level::INFO, work).await
    }

    async fn node_publish_volume(
        &self,
        request: Request<NodePublishVolumeRequest>,
    ) -> Result<Response<NodePublishVolumeResponse>, Status> {
        let limit = patience(&request);
        let request = request.into_inner();
        let work =
            async { publish::publish(self, &request, limit).await.map(|()| NodePublishVolumeResponse {}) };
        self.service.answer("NodePublishVolume", &request.volume_id, Level::INFO, work).await
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        let limit = patience(&request);
        let request = request.into_inner();
        let work = async {
            publish::unpublish(self, &request, limit).await.map(|()| NodeUnpublishVolumeResponse {})
        };
        self.service.answer("NodeUnpublishVolume", &request.volume_id, Level::INFO, work).await
    }

    async fn node_get_volume_stats(
        &self,
        request: Request<NodeGetVolumeStatsRequest>,
    ) -> Result<Response<NodeGetVolumeStatsResponse>, Status> {
        let limit = patience(&request);
        let request = request.into_inner();
        let work = stats::stats(self, &request, limit);
        self.service.answer("NodeGetVolumeStats", &request.volume_id, Level::DEBUG, work).await
    }

    async fn node_expand_volume(
        &self,
        request: Request<NodeExpandVolumeRequest>,
    ) -> Result<Response<NodeExpandVolumeResponse>, Status> {
        let limit = patience(&request);
        let request = request.into_inner();
        let work = stage::expand(self, &request, limit);
        self.service.answer("NodeExpandVolume", &request.volume_id, Level::INFO, work).await
    }

    async fn node_get_volume_health(
        &self,
        request: Request<NodeGetVolumeHealthRequest>,
    ) -> Result<Response<NodeGetVolumeHealthResponse>, Status> {
        let limit = patience(&request);
        let id = request.into_inner().volume_id;
        let work = async {
            let record = self.service.volume(&id, limit).await?;
            let health = self.service.outages().await?.volume(&record);
            Ok(NodeGetVolumeHealthResponse { volume_health: Some(health) })
        };
        self.service.answer("NodeGetVolumeHealth", &id, Level::DEBUG, work).await
    }

    async fn node_get_storage_health(
        &self,
        _: Request<NodeGetStorageHealthRequest>,
    ) -> Result<Response<NodeGetStorageHealthResponse>, Status> {
        let work = async {
            let backend_health = self.service.outages().await?.storages();
            Ok(NodeGetStorageHealthResponse { backend_health })
        };
        self.service.answer("NodeGetStorageHealth", "", Level::DEBUG, work).await
    }
}
