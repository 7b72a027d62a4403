//! Snapshots of several volumes at one instant.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::{ErrorBody, GroupCreate, GroupView, OperationView};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use model::SnapshotName;
use orchestrator::{Orchestrator, Request, SnapshotRecord};

use super::volumes::{Stay, answer, known};
use crate::extract::{Body, Path, Query};
use crate::status::{Refusal, Result};
use crate::{view, wait, wish};

/// Take snapshots of several volumes at one instant
///
/// All of them, or none. Existing ones of this name, of just these volumes, are the answer.
#[utoipa::path(post, path = "/v1/groups", tag = "snapshots", operation_id = "takeGroup",
    params(Stay), request_body = GroupCreate,
    responses(
        (status = 201, body = GroupView), (status = 200, description = "It was there", body = GroupView),
        (status = 202, body = OperationView), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody), (status = 501, body = ErrorBody)))]
pub(crate) async fn take(
    State(orchestrator): State<Orchestrator>,
    Query(stay): Query<Stay>,
    Body(wanted): Body<GroupCreate>,
) -> Result<Response> {
    let name: SnapshotName = wish::parse("name", &wanted.name)?;
    let mut volumes = BTreeSet::new();
    for volume in &wanted.volumes {
        volumes.insert(known(&orchestrator, volume)?.id.clone());
    }
    let wait = wait::read(stay.wait.as_deref())?;
    let request = Request::take_group(volumes, name.clone())
        .map_err(|error| Refusal::invalid(error.sentence()).field("volumes"))?;
    let was_there = !orchestrator.catalogue().group(&name).is_empty();
    let status = if was_there { StatusCode::OK } else { StatusCode::CREATED };
    answer(&orchestrator, request, wait, status).await
}

/// Show snapshots that were taken together
#[utoipa::path(get, path = "/v1/groups/{group}", tag = "snapshots", operation_id = "getGroup",
    params(("group" = String, Path)),
    responses((status = 200, body = GroupView), (status = 404, body = ErrorBody)))]
pub(crate) async fn find(
    State(orchestrator): State<Orchestrator>,
    Path(name): Path<String>,
) -> Result<Json<GroupView>> {
    let (name, records) = known_group(&orchestrator, &name)?;
    Ok(Json(view::group(&name, &records)))
}

/// Delete snapshots that were taken together
#[utoipa::path(delete, path = "/v1/groups/{group}", tag = "snapshots", operation_id = "deleteGroup",
    params(("group" = String, Path), Stay),
    responses(
        (status = 204), (status = 202, body = OperationView), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody)))]
pub(crate) async fn delete(
    State(orchestrator): State<Orchestrator>,
    Path(name): Path<String>,
    Query(stay): Query<Stay>,
) -> Result<Response> {
    let (name, records) = known_group(&orchestrator, &name)?;
    let wait = wait::read(stay.wait.as_deref())?;
    let volumes = records.iter().map(|record| record.volume.clone()).collect();
    answer(&orchestrator, Request::delete_group(volumes, name)?, wait, StatusCode::OK).await
}

fn known_group(orchestrator: &Orchestrator, name: &str) -> Result<(SnapshotName, Vec<Arc<SnapshotRecord>>)> {
    let catalogue = orchestrator.catalogue();
    let found = SnapshotName::new(name).ok().map(|name| (catalogue.group(&name), name));
    match found {
        Some((records, name)) if !records.is_empty() => Ok((name, records)),
        _ => {
            let together = catalogue.snapshots().filter(|record| record.group.is_some());
            let names: BTreeSet<&str> = together.map(|record| record.name.as_str()).collect();
            Err(Refusal::not_found("group snapshot called", name).nearest(name, names))
        }
    }
}
