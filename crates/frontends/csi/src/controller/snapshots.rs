//! Snapshots: taken, deleted, listed, found.

use std::time::Duration;

use orchestrator::{Answer, Error, ErrorKind, Request, SnapshotStatus};
use tonic::Status;

use crate::plugin::{Service, volume_id};
use crate::token::{self, Page};
use crate::wire::list_snapshots_response::Entry;
use crate::wire::{
    CreateSnapshotRequest, CreateSnapshotResponse, GetSnapshotResponse, ListSnapshotsRequest,
    ListSnapshotsResponse,
};
use crate::{ADDED, names, shown, status};

/// # Behavior
/// One that exists is answered with itself.
///
/// # Errors
/// `ALREADY_EXISTS`: another volume has a snapshot of this name. `UNIMPLEMENTED` where the backend cannot.
pub(super) async fn create(
    service: &Service,
    request: &CreateSnapshotRequest,
    limit: Duration,
) -> Result<CreateSnapshotResponse, Status> {
    let name = names::snapshot(&request.name)?;
    if request.source_volume_id.is_empty() {
        return Err(Status::invalid_argument("source_volume_id is missing"));
    }
    if let Some(key) = request.parameters.keys().filter(|key| !key.starts_with(ADDED)).min() {
        return Err(Status::invalid_argument(format!("unknown parameter `{key}`; snapshots have none")));
    }
    let volume = service.volume(&request.source_volume_id, limit).await?.id.clone();
    let catalogue = service.orchestrator.catalogue();
    if let Some(other) = catalogue.snapshots().find(|other| other.name == name && other.volume != volume) {
        let problem = format!("snapshot `{name}` exists, and is one of volume `{}`", other.volume);
        return Err(Status::already_exists(problem));
    }
    let take = Request::Take { volume, snapshot: name };
    let taken = service.orchestrator.run_patiently(take, limit).await;
    let record = taken.and_then(Answer::snapshot).map_err(status::unsupported)?;
    Ok(CreateSnapshotResponse { snapshot: Some(shown::snapshot(&record)) })
}

/// # Behavior
/// A snapshot that is not there is as good as deleted.
pub(super) async fn delete(service: &Service, id: &str, limit: Duration) -> Result<(), Status> {
    if id.is_empty() {
        return Err(Status::invalid_argument("snapshot_id is missing"));
    }
    let Some((volume, snapshot)) = shown::parse_snapshot_id(id) else { return Ok(()) };
    let delete = Request::DeleteSnapshot { volume, snapshot };
    match service.orchestrator.run_patiently(delete, limit).await {
        Err(Error { kind: ErrorKind::NotFound, .. }) | Ok(_) => Ok(()),
        Err(error) => Err(status::refused(error)),
    }
}

/// # Errors
/// `ABORTED` for a token that is none.
pub(super) fn list(
    service: &Service,
    request: &ListSnapshotsRequest,
) -> Result<ListSnapshotsResponse, Status> {
    let page = Page::read(request.max_entries, &request.starting_token)?;
    let after = page.after.as_deref().map(|id| shown::parse_snapshot_id(id).ok_or_else(bad(request)));
    let after = after.transpose()?;
    let only = match request.snapshot_id.as_str() {
        "" => None,
        id => match shown::parse_snapshot_id(id) {
            None => return Ok(ListSnapshotsResponse::default()),
            some => some,
        },
    };
    let source = match request.source_volume_id.as_str() {
        "" => None,
        id => match volume_id(id)? {
            None => return Ok(ListSnapshotsResponse::default()),
            some => some,
        },
    };
    let catalogue = service.orchestrator.catalogue();
    let wanted = catalogue.snapshots_after(after).filter(|record| {
        record.status() == SnapshotStatus::Ready
            && only.as_ref().is_none_or(|(volume, name)| *volume == record.volume && *name == record.name)
            && source.as_ref().is_none_or(|volume| *volume == record.volume)
    });
    let (page, next_token) = page.fill(wanted, |record| shown::snapshot_id(record));
    let entries = page.into_iter().map(|record| Entry { snapshot: Some(shown::snapshot(record)) });
    Ok(ListSnapshotsResponse { entries: entries.collect(), next_token })
}

/// # Errors
/// `NOT_FOUND`.
pub(super) fn get(service: &Service, id: &str) -> Result<GetSnapshotResponse, Status> {
    if id.is_empty() {
        return Err(Status::invalid_argument("snapshot_id is missing"));
    }
    let none = || Status::not_found(format!("there is no snapshot `{id}`"));
    let (volume, name) = shown::parse_snapshot_id(id).ok_or_else(none)?;
    let found = service.orchestrator.catalogue().snapshot(&volume, &name);
    let record = found.filter(|record| record.status() == SnapshotStatus::Ready).ok_or_else(none)?;
    Ok(GetSnapshotResponse { snapshot: Some(shown::snapshot(&record)) })
}

fn bad(request: &ListSnapshotsRequest) -> impl Fn() -> Status {
    || token::bad(&request.starting_token)
}
