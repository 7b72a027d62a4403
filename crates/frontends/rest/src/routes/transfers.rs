//! Volumes that are there without a record, or shall be left there: import, adopt, forget.

use api::{
    AdoptFailure, AdoptRequest, AdoptResult, ErrorBody, FoundVolume, ImportRequest, OperationView, VolumeView,
};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use model::{BackendName, VolumeId, VolumeState};
use orchestrator::{Error, Orchestrator, Request};
use serde::Deserialize;
use utoipa::IntoParams;

use super::volumes::{answer, known};
use crate::extract::{Body, Path, Query};
use crate::status::{Refusal, Result, body};
use crate::{view, wait, wish};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Trial {
    /// Show what would be done, and do nothing.
    #[serde(default)]
    dry_run: bool,
    /// As for creating a volume.
    wait: Option<String>,
}

/// Drop a volume's record and leave its data where it is
#[utoipa::path(post, path = "/v1/volumes/{volume}/forget", tag = "transfers", operation_id = "forgetVolume",
    params(("volume" = String, Path), Trial),
    responses(
        (status = 200, description = "Dry run: what would be forgotten", body = VolumeView), (status = 204),
        (status = 202, body = OperationView), (status = 404, body = ErrorBody),
        (status = 409, description = "Busy, or in use", body = ErrorBody)))]
pub(crate) async fn forget(
    State(orchestrator): State<Orchestrator>,
    Path(name): Path<String>,
    Query(trial): Query<Trial>,
) -> Result<Response> {
    let record = known(&orchestrator, &name)?;
    let wait = wait::read(trial.wait.as_deref())?;
    if trial.dry_run {
        return Ok(Json(view::volume(&record, &orchestrator.catalogue(), None)).into_response());
    }
    answer(&orchestrator, Request::Forget { volume: record.id.clone() }, wait, StatusCode::OK).await
}

/// Take over a volume that Leister did not make
#[utoipa::path(post, path = "/v1/import", tag = "transfers", operation_id = "importVolume", params(Trial),
    request_body = ImportRequest,
    responses(
        (status = 201, body = VolumeView), (status = 202, body = OperationView),
        (status = 200, description = "Dry run: what would be imported; or it was imported before", body = FoundVolume),
        (status = 400, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
        (status = 501, body = ErrorBody)))]
pub(crate) async fn import(
    State(orchestrator): State<Orchestrator>,
    Query(trial): Query<Trial>,
    Body(wanted): Body<ImportRequest>,
) -> Result<Response> {
    let request = wish::import(wanted)?;
    let wait = wait::read(trial.wait.as_deref())?;
    if trial.dry_run {
        let seen = orchestrator.preview_import(&request).await?;
        return Ok(Json(view::found(&request.backend, &seen)).into_response());
    }
    let was_there = orchestrator.catalogue().volume(&request.volume).is_some();
    let status = if was_there { StatusCode::OK } else { StatusCode::CREATED };
    answer(&orchestrator, Request::Import(Box::new(request)), wait, status).await
}

/// Take up volumes that carry this instance's tag but have no record
///
/// One that cannot be taken up does not keep the others.
#[utoipa::path(post, path = "/v1/adopt", tag = "transfers", operation_id = "adoptVolumes", params(Trial),
    request_body = AdoptRequest,
    responses((status = 200, body = AdoptResult), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn adopt(
    State(orchestrator): State<Orchestrator>,
    Query(trial): Query<Trial>,
    Body(wanted): Body<AdoptRequest>,
) -> Result<Json<AdoptResult>> {
    if wanted.volume.is_none() && !wanted.all && !trial.dry_run {
        return Err(Refusal::invalid("neither a volume is named nor all are wanted")
            .field("volume")
            .hint("name one in `volume`, or set `all` to true; `dryRun=true` shows what is there"));
    }
    let backend: Option<BackendName> =
        wanted.backend.as_deref().map(|name| wish::parse("backend", name)).transpose()?;
    let mut orphans = orchestrator.orphans(backend.as_ref()).await?;
    if let Some(name) = &wanted.volume {
        orphans.retain(|(_, seen)| is_called(seen, name));
        if orphans.is_empty() {
            return Err(Refusal::not_found("volume without record", name)
                .hint("`leister adopt` shows all that could be adopted"));
        }
    }
    let mut result = AdoptResult::default();
    for (backend, seen) in &orphans {
        result.found.push(view::found(backend, seen));
        if trial.dry_run {
            continue;
        }
        match take_up(&orchestrator, backend, seen).await {
            Ok(volume) => result.adopted.push(volume),
            Err(error) => result.failed.push(AdoptFailure { volume: name_of(seen), error: body(&error) }),
        }
    }
    Ok(Json(result))
}

async fn take_up(
    orchestrator: &Orchestrator,
    backend: &BackendName,
    seen: &VolumeState,
) -> orchestrator::Result<VolumeView> {
    let volume = match &seen.volume {
        Some(volume) => volume.clone(),
        None => VolumeId::new(seen.handle.as_str()).map_err(|e| Error::invalid(e.to_string()))?,
    };
    let answer = orchestrator.run(Request::Adopt { volume, backend: backend.clone() }).await?;
    Ok(view::volume(&*answer.volume()?, &orchestrator.catalogue(), None))
}

fn is_called(seen: &VolumeState, name: &str) -> bool {
    seen.handle.as_str() == name || seen.volume.as_ref().is_some_and(|volume| volume.as_str() == name)
}

fn name_of(seen: &VolumeState) -> String {
    seen.volume.as_ref().map_or_else(|| seen.handle.to_string(), ToString::to_string)
}
