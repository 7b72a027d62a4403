use api::{ErrorBody, List, OperationView};
use axum::Json;
use axum::extract::State;
use model::OperationId;
use orchestrator::Orchestrator;

use crate::extract::Path;
use crate::status::{Refusal, Result};
use crate::view;

/// List operations: those that run, then the latest that ended
#[utoipa::path(get, path = "/v1/operations", tag = "operations", operation_id = "listOperations",
    responses((status = 200, body = List<OperationView>)))]
pub(crate) async fn list(State(orchestrator): State<Orchestrator>) -> Json<List<OperationView>> {
    Json(List::whole(orchestrator.operations().iter().map(view::operation).collect()))
}

/// Show an operation
#[utoipa::path(get, path = "/v1/operations/{operation}", tag = "operations", operation_id = "getOperation",
    params(("operation" = String, Path)),
    responses((status = 200, body = OperationView), (status = 404, body = ErrorBody)))]
pub(crate) async fn find(
    State(orchestrator): State<Orchestrator>,
    Path(name): Path<String>,
) -> Result<Json<OperationView>> {
    let number = name.strip_prefix("op-").unwrap_or(&name).parse().ok();
    match number.and_then(|number| orchestrator.operation(OperationId(number))) {
        Some(operation) => Ok(Json(view::operation(&operation))),
        None => Err(Refusal::not_found("operation", &name)
            .hint("operations that ended long ago, or before the last start, are forgotten")),
    }
}
