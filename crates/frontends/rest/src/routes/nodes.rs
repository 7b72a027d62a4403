use api::{ErrorBody, List, NodeView};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use model::NodeName;
use orchestrator::Orchestrator;

use crate::extract::Path;
use crate::status::{Refusal, Result};
use crate::view;

/// List nodes
#[utoipa::path(get, path = "/v1/nodes", tag = "nodes", operation_id = "listNodes",
    responses((status = 200, body = List<NodeView>)))]
pub(crate) async fn list(State(orchestrator): State<Orchestrator>) -> Json<List<NodeView>> {
    let catalogue = orchestrator.catalogue();
    Json(List::whole(catalogue.nodes().map(|node| view::node(node)).collect()))
}

/// Show a node
#[utoipa::path(get, path = "/v1/nodes/{node}", tag = "nodes", operation_id = "getNode",
    params(("node" = String, Path)),
    responses((status = 200, body = NodeView), (status = 404, body = ErrorBody)))]
pub(crate) async fn find(
    State(orchestrator): State<Orchestrator>,
    Path(name): Path<String>,
) -> Result<Json<NodeView>> {
    let found = NodeName::new(&name).ok().and_then(|name| orchestrator.catalogue().node(&name));
    match found {
        Some(node) => Ok(Json(view::node(&node))),
        None => Err(absent(&orchestrator, &name)),
    }
}

/// List the volumes that a node may reach; also by what backends say that are shared with other hosts
#[utoipa::path(get, path = "/v1/nodes/{node}/volumes", tag = "nodes", operation_id = "listVolumesOfNode",
    params(("node" = String, Path)),
    responses(
        (status = 200, body = List<String>), (status = 404, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub(crate) async fn volumes(
    State(orchestrator): State<Orchestrator>,
    Path(name): Path<String>,
) -> Result<Json<List<String>>> {
    let node = NodeName::new(&name).map_err(|_| absent(&orchestrator, &name))?;
    let volumes = orchestrator.volumes_of(&node).await?;
    Ok(Json(List::whole(volumes.into_iter().map(String::from).collect())))
}

/// Remove a node that uses no volume
#[utoipa::path(delete, path = "/v1/nodes/{node}", tag = "nodes", operation_id = "deleteNode",
    params(("node" = String, Path)),
    responses((status = 204), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn delete(
    State(orchestrator): State<Orchestrator>,
    Path(name): Path<String>,
) -> Result<StatusCode> {
    let deleted = match NodeName::new(&name) {
        Ok(name) => orchestrator.delete_node(&name).await?,
        Err(_) => false,
    };
    if deleted { Ok(StatusCode::NO_CONTENT) } else { Err(absent(&orchestrator, &name)) }
}

fn absent(orchestrator: &Orchestrator, name: &str) -> Refusal {
    let catalogue = orchestrator.catalogue();
    Refusal::not_found("node", name).nearest(name, catalogue.nodes().map(|node| node.identity.name.as_str()))
}
