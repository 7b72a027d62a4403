use std::time::Duration;

use api::{
    ErrorBody, FenceRequest, List, OperationView, RestoreRequest, VolumeCreate, VolumeGrow, VolumeModify,
    VolumeView,
};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use model::{BackendName, Bytes, ClassName, Selector, VolumeId};
use orchestrator::{Answer, Orchestrator, Request, VolumeRecord, VolumeStatus};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::extract::{Body, Path, Query};
use crate::status::{Refusal, Result};
use crate::wait::{self, Wait};
use crate::{paging, view, wish};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Filter {
    /// How many at most; 1000 if not given, 10000 at most.
    limit: Option<usize>,
    /// The token of the page before.
    #[serde(rename = "continue")]
    next: Option<String>,
    backend: Option<String>,
    class: Option<String>,
    /// `creating`, `ready`, `restoring`, `deleting` or `missing`.
    status: Option<String>,
    /// Labels, in the grammar of classes: `tier=gold; site in (a, b)`.
    selector: Option<String>,
    /// Ask the backends for what is used.
    #[serde(default)]
    live: bool,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Look {
    /// Ask the backend for what is used.
    #[serde(default)]
    live: bool,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Stay {
    /// `true` (also when not given): until it is done. `false`, or a time such as `500ms`: when the work takes
    /// longer, the answer is 202 and the operation.
    pub(super) wait: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Removal {
    /// `delete`: the volume's snapshots go with it. Otherwise a volume that has some stays.
    snapshots: Option<String>,
    /// As for creating.
    wait: Option<String>,
}

/// A backend that does not answer must not hold up the picture of all others.
const LOOK: Duration = Duration::from_secs(2);
const LOOKS_AT_ONCE: usize = 16;
/// Names compared for "did you mean".
const SIMILAR_AMONG: usize = 10_000;

/// List volumes
#[utoipa::path(get, path = "/v1/volumes", tag = "volumes", operation_id = "listVolumes", params(Filter),
    responses((status = 200, body = List<VolumeView>), (status = 400, body = ErrorBody)))]
pub(crate) async fn list(
    State(orchestrator): State<Orchestrator>,
    Query(filter): Query<Filter>,
) -> Result<Json<List<VolumeView>>> {
    let limit = paging::limit(filter.limit)?;
    let after: Option<VolumeId> = match paging::after(filter.next.as_deref())? {
        Some(name) => Some(VolumeId::new(name).map_err(|_| paging::broken_token())?),
        None => None,
    };
    let catalogue = orchestrator.catalogue();
    let matches = matcher(&filter)?;
    let matching = catalogue.volumes_after(after.as_ref()).filter(|record| matches(record));
    let page = paging::page(matching, limit, |record| record.id.to_string());
    let next = page.next;
    let items = if filter.live {
        let records = page.items.into_iter().cloned();
        let looked = futures::stream::iter(records.map(|record| {
            let orchestrator = orchestrator.clone();
            async move { (used(&orchestrator, &record.id).await, record) }
        }));
        let looked: Vec<_> = looked.buffered(LOOKS_AT_ONCE).collect().await;
        looked.iter().map(|(used, record)| view::volume(record, &catalogue, *used)).collect()
    } else {
        page.items.into_iter().map(|record| view::volume(record, &catalogue, None)).collect()
    };
    Ok(Json(List { items, next }))
}

/// Create a volume
///
/// An existing volume that fits the request is the answer; one that does not is a conflict.
#[utoipa::path(post, path = "/v1/volumes", tag = "volumes", operation_id = "createVolume", params(Stay),
    request_body = VolumeCreate,
    responses(
        (status = 201, body = VolumeView), (status = 200, description = "It was there", body = VolumeView),
        (status = 202, description = "It goes on", body = OperationView),
        (status = 400, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
        (status = 507, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub(crate) async fn create(
    State(orchestrator): State<Orchestrator>,
    Query(stay): Query<Stay>,
    Body(wanted): Body<VolumeCreate>,
) -> Result<Response> {
    let request = wish::create(wanted)?;
    let wait = wait::read(stay.wait.as_deref())?;
    let was_there = orchestrator.catalogue().volume(&request.volume).is_some();
    let status = if was_there { StatusCode::OK } else { StatusCode::CREATED };
    answer(&orchestrator, Request::Create(Box::new(request)), wait, status).await
}

/// Show a volume
#[utoipa::path(get, path = "/v1/volumes/{volume}", tag = "volumes", operation_id = "getVolume", params(("volume" = String, Path), Look),
    responses((status = 200, body = VolumeView), (status = 404, body = ErrorBody)))]
pub(crate) async fn find(
    State(orchestrator): State<Orchestrator>,
    Path(name): Path<String>,
    Query(look): Query<Look>,
) -> Result<Json<VolumeView>> {
    let record = known(&orchestrator, &name)?;
    let used = if look.live { used(&orchestrator, &record.id).await } else { None };
    Ok(Json(view::volume(&record, &orchestrator.catalogue(), used)))
}

/// Change a volume: its size
#[utoipa::path(patch, path = "/v1/volumes/{volume}", tag = "volumes", operation_id = "changeVolume", params(("volume" = String, Path), Stay),
    request_body = VolumeGrow,
    responses(
        (status = 200, body = VolumeView), (status = 202, body = OperationView), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 501, body = ErrorBody),
        (status = 507, body = ErrorBody)))]
pub(crate) async fn change(
    orchestrator: State<Orchestrator>,
    name: Path<String>,
    stay: Query<Stay>,
    wanted: Body<VolumeGrow>,
) -> Result<Response> {
    grow(orchestrator, name, stay, wanted).await
}

/// Make a volume larger, also while it is in use
#[utoipa::path(post, path = "/v1/volumes/{volume}/grow", tag = "volumes", operation_id = "growVolume", params(("volume" = String, Path), Stay),
    request_body = VolumeGrow,
    responses(
        (status = 200, body = VolumeView), (status = 202, body = OperationView), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 501, body = ErrorBody),
        (status = 507, body = ErrorBody)))]
pub(crate) async fn grow(
    State(orchestrator): State<Orchestrator>,
    Path(name): Path<String>,
    Query(stay): Query<Stay>,
    Body(wanted): Body<VolumeGrow>,
) -> Result<Response> {
    let volume = known(&orchestrator, &name)?.id.clone();
    let size = wish::size("size", &wanted.size)?;
    let wait = wait::read(stay.wait.as_deref())?;
    answer(&orchestrator, Request::Grow { volume, size }, wait, StatusCode::OK).await
}

/// Change options of a volume, also while it is in use
#[utoipa::path(post, path = "/v1/volumes/{volume}/modify", tag = "volumes", operation_id = "modifyVolume", params(("volume" = String, Path), Stay),
    request_body = VolumeModify,
    responses(
        (status = 200, body = VolumeView), (status = 202, body = OperationView), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 501, body = ErrorBody)))]
pub(crate) async fn modify(
    State(orchestrator): State<Orchestrator>,
    Path(name): Path<String>,
    Query(stay): Query<Stay>,
    Body(wanted): Body<VolumeModify>,
) -> Result<Response> {
    let volume = known(&orchestrator, &name)?.id.clone();
    let changes = wish::options(&wanted.options)?;
    let wait = wait::read(stay.wait.as_deref())?;
    answer(&orchestrator, Request::Modify { volume, changes }, wait, StatusCode::OK).await
}

/// Delete a volume
#[utoipa::path(delete, path = "/v1/volumes/{volume}", tag = "volumes", operation_id = "deleteVolume", params(("volume" = String, Path), Removal),
    responses(
        (status = 204), (status = 202, body = OperationView), (status = 404, body = ErrorBody),
        (status = 409, description = "Busy, in use, or has snapshots", body = ErrorBody)))]
pub(crate) async fn delete(
    State(orchestrator): State<Orchestrator>,
    Path(name): Path<String>,
    Query(removal): Query<Removal>,
) -> Result<Response> {
    let with_snapshots = match removal.snapshots.as_deref() {
        None => false,
        Some("delete") => true,
        Some(other) => {
            let refusal =
                Refusal::invalid(format!("snapshots is `{other}`; write `delete`, or leave it out"));
            return Err(refusal.field("snapshots"));
        }
    };
    let volume = known(&orchestrator, &name)?.id.clone();
    let wait = wait::read(removal.wait.as_deref())?;
    answer(&orchestrator, Request::Delete { volume, with_snapshots }, wait, StatusCode::OK).await
}

/// Put a snapshot's content in the volume's place
#[utoipa::path(post, path = "/v1/volumes/{volume}/restore", tag = "volumes", operation_id = "restoreVolume",
    params(("volume" = String, Path), Stay), request_body = RestoreRequest,
    responses(
        (status = 200, body = VolumeView), (status = 202, body = OperationView), (status = 404, body = ErrorBody),
        (status = 409, description = "Busy, or in use", body = ErrorBody), (status = 501, body = ErrorBody)))]
pub(crate) async fn restore(
    State(orchestrator): State<Orchestrator>,
    Path(name): Path<String>,
    Query(stay): Query<Stay>,
    Body(wanted): Body<RestoreRequest>,
) -> Result<Response> {
    let volume = known(&orchestrator, &name)?.id.clone();
    let snapshot = wish::parse("snapshot", &wanted.snapshot)?;
    let wait = wait::read(stay.wait.as_deref())?;
    let catalogue = orchestrator.catalogue();
    let restored =
        answer(&orchestrator, Request::Restore { volume: volume.clone(), snapshot }, wait, StatusCode::OK);
    restored.await.map_err(|refusal| {
        let known = || catalogue.snapshots_of(&volume).map(|snapshot| snapshot.name.as_str());
        if refusal.is_not_found() { refusal.nearest(&wanted.snapshot, known()) } else { refusal }
    })
}

/// Take a volume from a node that cannot give it back, such as a dead one
#[utoipa::path(post, path = "/v1/volumes/{volume}/fence", tag = "volumes", operation_id = "fenceVolume",
    params(("volume" = String, Path), Stay), request_body = FenceRequest,
    responses(
        (status = 204), (status = 202, body = OperationView), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub(crate) async fn fence(
    State(orchestrator): State<Orchestrator>,
    Path(name): Path<String>,
    Query(stay): Query<Stay>,
    Body(wanted): Body<FenceRequest>,
) -> Result<Response> {
    let volume = VolumeId::new(&name).map_err(|_| Refusal::not_found("volume", &name))?;
    let node = wish::parse("node", &wanted.node)?;
    let wait = wait::read(stay.wait.as_deref())?;
    answer(&orchestrator, Request::Fence { volume, node }, wait, StatusCode::OK).await
}

/// The record, or "did you mean".
pub(super) fn known(orchestrator: &Orchestrator, name: &str) -> Result<std::sync::Arc<VolumeRecord>> {
    let catalogue = orchestrator.catalogue();
    let found = VolumeId::new(name).ok().and_then(|id| catalogue.volume(&id));
    found.ok_or_else(|| {
        let names = catalogue.volumes().take(SIMILAR_AMONG).map(|record| record.id.as_str());
        Refusal::not_found("volume", name).nearest(name, names)
    })
}

/// Does the work and shows what came of it.
pub(super) async fn answer(
    orchestrator: &Orchestrator,
    request: Request,
    wait: Wait,
    status: StatusCode,
) -> Result<Response> {
    Ok(match wait::run(orchestrator, request, wait).await? {
        Err(goes_on) => goes_on,
        Ok(Answer::Volume(record)) => {
            (status, Json(view::volume(&record, &orchestrator.catalogue(), None))).into_response()
        }
        Ok(Answer::Snapshot(record)) => (status, Json(view::snapshot(&record))).into_response(),
        Ok(Answer::Group(records)) => match records.first() {
            Some(first) => (status, Json(view::group(&first.name, &records))).into_response(),
            None => StatusCode::NO_CONTENT.into_response(),
        },
        Ok(Answer::Gone | Answer::Route(_)) => StatusCode::NO_CONTENT.into_response(),
    })
}

fn matcher(filter: &Filter) -> Result<impl Fn(&VolumeRecord) -> bool + use<>> {
    let backend: Option<BackendName> =
        filter.backend.as_deref().map(|text| wish::parse("backend", text)).transpose()?;
    let class: Option<ClassName> =
        filter.class.as_deref().map(|text| wish::parse("class", text)).transpose()?;
    let status = filter.status.as_deref().map(status).transpose()?;
    let selector = match &filter.selector {
        Some(text) => {
            Some(Selector::parse(text).map_err(|e| Refusal::invalid(e.to_string()).field("selector"))?)
        }
        None => None,
    };
    Ok(move |record: &VolumeRecord| {
        backend.as_ref().is_none_or(|backend| record.backend == *backend)
            && class.as_ref().is_none_or(|class| record.spec.class.as_ref() == Some(class))
            && status.is_none_or(|status| record.status() == status)
            && selector.as_ref().is_none_or(|selector| selector.matches(&record.spec.labels))
    })
}

fn status(text: &str) -> Result<VolumeStatus> {
    let known = VolumeStatus::ALL;
    known.into_iter().find(|status| status.as_str().eq_ignore_ascii_case(text)).ok_or_else(|| {
        let all: Vec<&str> = known.iter().map(|status| status.as_str()).collect();
        Refusal::invalid(format!("unknown status `{text}`; known: {}", all.join(", "))).field("status")
    })
}

/// `None` also when the backend does not answer: the record is still worth showing.
async fn used(orchestrator: &Orchestrator, volume: &VolumeId) -> Option<Bytes> {
    tokio::time::timeout(LOOK, orchestrator.observe(volume)).await.ok()?.ok()??.used
}
