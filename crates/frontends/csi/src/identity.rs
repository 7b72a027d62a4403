//! Who we are.

use tonic::{Request, Response, Status};

use crate::plugin::Service;
use crate::wire::identity_server::Identity;
use crate::wire::plugin_capability::{self, Type, VolumeExpansion, service, volume_expansion};
use crate::wire::{
    GetPluginCapabilitiesRequest, GetPluginCapabilitiesResponse, GetPluginInfoRequest, GetPluginInfoResponse,
    PluginCapability, ProbeRequest, ProbeResponse,
};

#[tonic::async_trait]
impl Identity for Service {
    async fn get_plugin_info(
        &self,
        _: Request<GetPluginInfoRequest>,
    ) -> Result<Response<GetPluginInfoResponse>, Status> {
        Ok(Response::new(GetPluginInfoResponse {
            name: self.name.clone(),
            vendor_version: env!("CARGO_PKG_VERSION").to_owned(),
            ..GetPluginInfoResponse::default()
        }))
    }

    async fn get_plugin_capabilities(
        &self,
        _: Request<GetPluginCapabilitiesRequest>,
    ) -> Result<Response<GetPluginCapabilitiesResponse>, Status> {
        let service =
            |r#type: service::Type| Type::Service(plugin_capability::Service { r#type: r#type.into() });
        let growth = VolumeExpansion { r#type: volume_expansion::Type::Online.into() };
        // Those of the plugin as a whole, whichever part of it is asked.
        let mut types = vec![
            service(service::Type::ControllerService),
            service(service::Type::GroupControllerService),
            Type::VolumeExpansion(growth),
        ];
        if self.topology {
            types.push(service(service::Type::VolumeAccessibilityConstraints));
        }
        let capabilities =
            types.into_iter().map(|r#type| PluginCapability { r#type: Some(r#type) }).collect();
        Ok(Response::new(GetPluginCapabilitiesResponse { capabilities }))
    }

    async fn probe(&self, _: Request<ProbeRequest>) -> Result<Response<ProbeResponse>, Status> {
        let ready = self.orchestrator.is_ready().is_ok();
        Ok(Response::new(ProbeResponse { ready: Some(ready) }))
    }
}
