//! The right of a node to use a volume: given, and taken back, by name.

use std::sync::Arc;
use std::time::Duration;

use model::{NodeName, VolumeId};
use node::{Mounts, on_node, too_slow};
use orchestrator::{Error, ErrorKind, Orchestrator, Request, Result};
use tonic::Status;

use crate::capability::Use;
use crate::plugin::{Service, volume_id};
use crate::status;
use crate::wire::{
    ControllerPublishVolumeRequest, ControllerPublishVolumeResponse, ControllerUnpublishVolumeRequest,
    ControllerUnpublishVolumeResponse,
};

/// # Errors
/// `NOT_FOUND` volume or node, `ALREADY_EXISTS` where it is published otherwise, `FAILED_PRECONDITION` where another
/// node has it for itself, `RESOURCE_EXHAUSTED` where the node has as many as it may have.
pub(super) async fn publish(
    service: &Service,
    request: &ControllerPublishVolumeRequest,
    limit: Duration,
) -> Result<ControllerPublishVolumeResponse, Status> {
    volume_id(&request.volume_id)?;
    if request.node_id.is_empty() {
        return Err(Status::invalid_argument("node_id is missing"));
    }
    let wanted = Use::read(request.volume_capability.as_ref())?;
    let record = service.volume(&request.volume_id, limit).await?;
    let node = node(&request.node_id)?;
    wanted.check(&record)?;
    if !record.publications().any(|has| *has == node) {
        room(service, &node)?;
    }
    let publish = Request::Publish {
        volume: record.id.clone(),
        node: node.clone(),
        read_only: request.readonly || wanted.is_read_only(),
        force: false,
        kept: true,
    };
    let (orchestrator, here) = (service.orchestrator.clone(), is_here(service, &node));
    let work = async move {
        // What frees volumes on this node must not meet us half way.
        let _held = match &here {
            Some(mounts) => Some(mounts.hold(&record.id).await),
            None => None,
        };
        orchestrator.run_patiently(publish, limit).await.map(drop)
    };
    service.to_the_end(limit, work).await?;
    Ok(ControllerPublishVolumeResponse::default())
}

fn room(service: &Service, node: &NodeName) -> Result<(), Status> {
    let Some(most) = service.most_volumes else { return Ok(()) };
    let catalogue = service.orchestrator.catalogue();
    let has = catalogue.volumes().filter(|record| record.publications().any(|has| has == node)).count();
    if has < usize::try_from(most.get()).unwrap_or(usize::MAX) {
        return Ok(());
    }
    Err(Status::resource_exhausted(format!(
        "node `{node}` has {has} volumes, and may have {most}; see `--csi-max-volumes`"
    )))
}

/// # Behavior
/// Without a node, all of them. A volume that is not there, or not published, is as good as unpublished.
///
/// # Errors
/// `FAILED_PRECONDITION` while this very node has it staged and in use.
pub(super) async fn unpublish(
    service: &Service,
    request: &ControllerUnpublishVolumeRequest,
    limit: Duration,
) -> Result<ControllerUnpublishVolumeResponse, Status> {
    let done = ControllerUnpublishVolumeResponse {};
    let Some(volume) = volume_id(&request.volume_id)? else { return Ok(done) };
    let found = service.orchestrator.find(&volume, limit).await.map_err(status::refused)?;
    let Some(record) = found else { return Ok(done) };
    let nodes: Vec<NodeName> = if request.node_id.is_empty() {
        record.published.keys().chain(record.fenced.keys()).cloned().collect()
    } else {
        vec![node(&request.node_id)?]
    };
    let nodes = nodes.into_iter().map(|node| (is_here(service, &node), node));
    // A node that it was taken from says itself that it has let go: until then it does not get it again.
    let nodes: Vec<_> = nodes
        .filter(|(here, node)| {
            here.is_some() || record.published.contains_key(node) || !record.fenced.contains_key(node)
        })
        .collect();
    let orchestrator = service.orchestrator.clone();
    let work = async move {
        for (here, node) in nodes {
            take_back(&orchestrator, here, &volume, node, limit).await?;
        }
        Ok(())
    };
    service.to_the_end(limit, work).await.map(|()| done)
}

/// On this node the volume is detached first: nothing is left that would still write.
async fn take_back(
    orchestrator: &Orchestrator,
    here: Option<Arc<Mounts>>,
    volume: &VolumeId,
    node: NodeName,
    limit: Duration,
) -> Result<()> {
    let unpublish = Request::Unpublish { volume: volume.clone(), node: node.clone() };
    let Some(mounts) = here else {
        return orchestrator.run_patiently(unpublish, limit).await.map(drop);
    };
    let held = tokio::time::timeout(limit, mounts.hold(volume)).await;
    let _held = held.map_err(|_| too_slow("unpublished", volume))?;
    let references = mounts.host.references(volume).map_err(|e| on_node("look at", volume, e))?;
    if !references.is_empty() {
        let problem = format!("volume `{volume}` is still shown on node `{node}`");
        return Err(Error::new(ErrorKind::InUse, problem).hint("unpublish and unstage it there first"));
    }
    mounts.host.detach(volume).await.map_err(|e| on_node("detach", volume, e))?;
    orchestrator.run_patiently(unpublish, limit).await.map(drop)
}

/// This machine, if it is that node.
fn is_here(service: &Service, node: &NodeName) -> Option<Arc<Mounts>> {
    service.here.clone().filter(|mounts| mounts.node == *node)
}

fn node(id: &str) -> Result<NodeName, Status> {
    NodeName::new(id).map_err(|_| Status::not_found(format!("there is no node `{id}`")))
}
