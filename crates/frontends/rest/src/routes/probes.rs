//! The server itself: what monitors and people ask of it.

use api::{ErrorBody, FindingView, List, VersionView};
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use orchestrator::Orchestrator;

use crate::status::{Refusal, Result};
use crate::view;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Look for what is not as it should be
#[utoipa::path(get, path = "/v1/doctor", tag = "server", operation_id = "doctor",
    responses((status = 200, body = List<FindingView>)))]
pub(crate) async fn doctor(State(orchestrator): State<Orchestrator>) -> Json<List<FindingView>> {
    Json(List::whole(orchestrator.doctor().await.iter().map(view::finding).collect()))
}

/// Who answers
#[utoipa::path(get, path = "/v1/version", tag = "server", operation_id = "version",
    responses((status = 200, body = VersionView)))]
pub(crate) async fn version(State(orchestrator): State<Orchestrator>) -> Json<VersionView> {
    let settings = orchestrator.settings();
    let leadership = orchestrator.leadership();
    Json(VersionView {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        instance: settings.instance.to_string(),
        node: settings.node.name.to_string(),
        leader: leadership.leader,
        trouble: leadership.trouble,
    })
}

/// Alive: answers at all
#[utoipa::path(get, path = "/healthz", tag = "server", operation_id = "healthz",
    responses((status = 200, body = String)))]
pub(crate) async fn alive() -> &'static str {
    "ok\n"
}

/// Ready: no backend is still being opened, and the store answers
#[utoipa::path(get, path = "/readyz", tag = "server", operation_id = "readyz",
    responses((status = 200, body = String), (status = 503, body = ErrorBody)))]
pub(crate) async fn ready(State(orchestrator): State<Orchestrator>) -> Result<&'static str> {
    match orchestrator.is_ready() {
        Ok(()) => Ok("ok\n"),
        Err(reason) => {
            Err(Refusal::from(orchestrator::Error::new(orchestrator::ErrorKind::Unreachable, reason)))
        }
    }
}

/// Metrics in the OpenMetrics text format
#[utoipa::path(get, path = "/metrics", tag = "server", operation_id = "metrics",
    responses((status = 200, content_type = "application/openmetrics-text", body = String)))]
pub(crate) async fn metrics(State(orchestrator): State<Orchestrator>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, OPENMETRICS)], orchestrator.metrics())
}

/// This description
#[utoipa::path(get, path = "/openapi.json", tag = "server", operation_id = "openapi",
    responses((status = 200, content_type = "application/json", body = serde_json::Value)))]
pub(crate) async fn description() -> impl IntoResponse {
    (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], super::openapi())
}
