use api::{BackendView, ErrorBody, List, PoolView};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use model::BackendName;
use orchestrator::{BackendFile, BackendOrigin, Orchestrator};

use crate::extract::{Path, Text};
use crate::status::{Refusal, Result};
use crate::view;

/// List backends
#[utoipa::path(get, path = "/v1/backends", tag = "backends", operation_id = "listBackends",
    responses((status = 200, body = List<BackendView>)))]
pub(crate) async fn list(State(orchestrator): State<Orchestrator>) -> Result<Json<List<BackendView>>> {
    Ok(Json(List::whole(orchestrator.backends().await?.iter().map(view::backend).collect())))
}

/// Add a backend, or change the one of the same name
///
/// The body is a backend file in Trident's format. The backend is opened before the answer: a file that does
/// not work replaces none that does.
#[utoipa::path(post, path = "/v1/backends", tag = "backends", operation_id = "createBackend",
    request_body(content_type = "application/yaml", content = String, description = "YAML or JSON"),
    responses(
        (status = 201, body = BackendView), (status = 200, description = "Changed", body = BackendView),
        (status = 400, body = ErrorBody), (status = 409, body = ErrorBody), (status = 502, body = ErrorBody),
        (status = 503, body = ErrorBody)))]
pub(crate) async fn create(State(orchestrator): State<Orchestrator>, Text(text): Text) -> Result<Response> {
    let file = BackendFile::parse(&text, "backend").map_err(|e| {
        let refusal = Refusal::invalid(e.to_string());
        if e.path.is_empty() { refusal } else { refusal.field(e.path) }
    })?;
    let was_there = orchestrator.backend(file.name()).await?.is_some();
    let view = orchestrator.create_backend(file, BackendOrigin::Stored).await?;
    let status = if was_there { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(view::backend(&view))).into_response())
}

/// Show a backend
#[utoipa::path(get, path = "/v1/backends/{backend}", tag = "backends", operation_id = "getBackend",
    params(("backend" = String, Path)),
    responses((status = 200, body = BackendView), (status = 404, body = ErrorBody)))]
pub(crate) async fn find(
    State(orchestrator): State<Orchestrator>,
    Path(name): Path<String>,
) -> Result<Json<BackendView>> {
    let backends = orchestrator.backends().await?;
    match backends.iter().find(|backend| backend.name.as_str() == name) {
        Some(view) => Ok(Json(view::backend(view))),
        None => Err(absent(&backends, &name)),
    }
}

/// Remove a backend that has no volumes
#[utoipa::path(delete, path = "/v1/backends/{backend}", tag = "backends", operation_id = "deleteBackend",
    params(("backend" = String, Path)),
    responses((status = 204), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn delete(
    State(orchestrator): State<Orchestrator>,
    Path(name): Path<String>,
) -> Result<StatusCode> {
    let deleted = match BackendName::new(&name) {
        Ok(name) => orchestrator.delete_backend(&name).await?,
        Err(_) => false,
    };
    if deleted { Ok(StatusCode::NO_CONTENT) } else { Err(absent(&orchestrator.backends().await?, &name)) }
}

/// List the pools of all backends
#[utoipa::path(get, path = "/v1/pools", tag = "backends", operation_id = "listPools",
    responses((status = 200, body = List<PoolView>)))]
pub(crate) async fn pools(State(orchestrator): State<Orchestrator>) -> Result<Json<List<PoolView>>> {
    let backends = orchestrator.backends().await?;
    Ok(Json(List::whole(backends.iter().flat_map(|backend| &backend.pools).map(view::pool).collect())))
}

fn absent(backends: &[orchestrator::BackendView], name: &str) -> Refusal {
    Refusal::not_found("backend", name).nearest(name, backends.iter().map(|backend| backend.name.as_str()))
}
