use std::ops::Deref;

use api::{ErrorBody, List, OperationView, SnapshotCreate, SnapshotView};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use model::SnapshotName;
use orchestrator::{Orchestrator, Request, SnapshotRecord};
use serde::Deserialize;
use utoipa::IntoParams;

use super::volumes::{Stay, answer, known};
use crate::extract::{Body, Path, Query};
use crate::status::{Refusal, Result};
use crate::{paging, view, wait, wish};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Filter {
    /// How many at most; 1000 if not given, 10000 at most.
    limit: Option<usize>,
    /// The token of the page before.
    #[serde(rename = "continue")]
    next: Option<String>,
    /// Only of this volume.
    volume: Option<String>,
}

/// List snapshots of all volumes
#[utoipa::path(get, path = "/v1/snapshots", tag = "snapshots", operation_id = "listSnapshots", params(Filter),
    responses((status = 200, body = List<SnapshotView>), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    State(orchestrator): State<Orchestrator>,
    Query(filter): Query<Filter>,
) -> Result<Json<List<SnapshotView>>> {
    let limit = paging::limit(filter.limit)?;
    let after = paging::after(filter.next.as_deref())?
        .map(|token| token.split_once('/').ok_or_else(paging::broken_token))
        .transpose()?;
    let catalogue = orchestrator.catalogue();
    let page = match &filter.volume {
        Some(name) => {
            let volume = known(&orchestrator, name)?;
            page(catalogue.snapshots_of(&volume.id), after, limit)
        }
        None => page(catalogue.snapshots(), after, limit),
    };
    Ok(Json(page))
}

/// List a volume's snapshots
#[utoipa::path(get, path = "/v1/volumes/{volume}/snapshots", tag = "snapshots", operation_id = "listVolumeSnapshots",
    params(("volume" = String, Path)),
    responses((status = 200, body = List<SnapshotView>), (status = 404, body = ErrorBody)))]
pub(crate) async fn list_of(
    State(orchestrator): State<Orchestrator>,
    Path(name): Path<String>,
) -> Result<Json<List<SnapshotView>>> {
    let volume = known(&orchestrator, &name)?;
    let catalogue = orchestrator.catalogue();
    let snapshots = catalogue.snapshots_of(&volume.id).map(|record| view::snapshot(record));
    Ok(Json(List::whole(snapshots.collect())))
}

/// Take a snapshot
///
/// An existing one of this name is the answer.
#[utoipa::path(post, path = "/v1/volumes/{volume}/snapshots", tag = "snapshots", operation_id = "takeSnapshot",
    params(("volume" = String, Path), Stay), request_body = SnapshotCreate,
    responses(
        (status = 201, body = SnapshotView), (status = 200, description = "It was there", body = SnapshotView),
        (status = 202, body = OperationView), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody), (status = 501, body = ErrorBody)))]
pub(crate) async fn take(
    State(orchestrator): State<Orchestrator>,
    Path(name): Path<String>,
    Query(stay): Query<Stay>,
    Body(wanted): Body<SnapshotCreate>,
) -> Result<Response> {
    let volume = known(&orchestrator, &name)?.id.clone();
    let snapshot: SnapshotName = wish::parse("name", &wanted.name)?;
    let wait = wait::read(stay.wait.as_deref())?;
    let was_there = orchestrator.catalogue().snapshot(&volume, &snapshot).is_some();
    let status = if was_there { StatusCode::OK } else { StatusCode::CREATED };
    answer(&orchestrator, Request::Take { volume, snapshot }, wait, status).await
}

/// Show a snapshot
#[utoipa::path(get, path = "/v1/volumes/{volume}/snapshots/{snapshot}", tag = "snapshots",
    operation_id = "getSnapshot",
    params(("volume" = String, Path), ("snapshot" = String, Path)),
    responses((status = 200, body = SnapshotView), (status = 404, body = ErrorBody)))]
pub(crate) async fn find(
    State(orchestrator): State<Orchestrator>,
    Path((volume, name)): Path<(String, String)>,
) -> Result<Json<SnapshotView>> {
    Ok(Json(view::snapshot(&*known_snapshot(&orchestrator, &volume, &name)?)))
}

/// Delete a snapshot
#[utoipa::path(delete, path = "/v1/volumes/{volume}/snapshots/{snapshot}", tag = "snapshots",
    operation_id = "deleteSnapshot", params(("volume" = String, Path), ("snapshot" = String, Path), Stay),
    responses(
        (status = 204), (status = 202, body = OperationView), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody)))]
pub(crate) async fn delete(
    State(orchestrator): State<Orchestrator>,
    Path((volume, name)): Path<(String, String)>,
    Query(stay): Query<Stay>,
) -> Result<Response> {
    let record = known_snapshot(&orchestrator, &volume, &name)?;
    let wait = wait::read(stay.wait.as_deref())?;
    let request = Request::DeleteSnapshot { volume: record.volume.clone(), snapshot: record.name.clone() };
    answer(&orchestrator, request, wait, StatusCode::OK).await
}

fn known_snapshot(
    orchestrator: &Orchestrator,
    volume: &str,
    name: &str,
) -> Result<std::sync::Arc<SnapshotRecord>> {
    let volume = known(orchestrator, volume)?;
    let catalogue = orchestrator.catalogue();
    let found = SnapshotName::new(name).ok().and_then(|name| catalogue.snapshot(&volume.id, &name));
    found.ok_or_else(|| {
        let what = format!("snapshot of volume `{}` called", volume.id);
        let names = catalogue.snapshots_of(&volume.id).map(|record| record.name.as_str());
        Refusal::not_found(&what, name).nearest(name, names)
    })
}

/// In the order of volume and name, from the one behind `after`.
fn page<'a, R: Deref<Target = SnapshotRecord> + 'a>(
    records: impl Iterator<Item = &'a R>,
    after: Option<(&str, &str)>,
    limit: usize,
) -> List<SnapshotView> {
    let behind = records
        .filter(|record| after.is_none_or(|after| (record.volume.as_str(), record.name.as_str()) > after));
    let page = paging::page(behind, limit, |record| format!("{}/{}", record.volume, record.name));
    List { items: page.items.into_iter().map(|record| view::snapshot(record)).collect(), next: page.next }
}
