//! What can be asked, under `/v1`.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use model::{Permit, Route};
use serde_json::json;

use super::Work;
use super::caller::{Answer, Body, Caller, Refused, request_id};
use crate::error::{ErrorKind, FilerError};
use crate::volume::{CreateVolume, ForeignState, ModifyVolume, SnapshotState, VolumeState};
use crate::wire::{Grow, Import, PoolView, REQUEST, Reply};

type Done<T> = Result<Json<Reply<T>>, Answer>;
type Shown<T> = Result<Json<T>, Answer>;
type Filer = State<Arc<Work>>;

/// A record has at most 12 KiB of labels.
const LARGEST_BODY: usize = 256 << 10;

pub(super) fn router(work: Arc<Work>) -> Router {
    Router::new()
        .route("/v1/health", get(async || Json(json!({ "alive": true }))))
        .route("/v1/ready", get(ready))
        .route("/v1/pools", get(pools))
        .route("/v1/volumes", get(list))
        .route("/v1/volumes/{handle}", get(find).put(create).delete(delete))
        .route("/v1/volumes/{handle}/grow", post(grow))
        .route("/v1/volumes/{handle}/modify", post(modify))
        .route("/v1/volumes/{handle}/staged", post(mark_staged))
        .route("/v1/volumes/{handle}/import", put(import))
        .route("/v1/volumes/{handle}/permits/{node}", put(permit).delete(forbid))
        .route("/v1/volumes/{handle}/snapshots", get(list_snapshots))
        .route("/v1/volumes/{handle}/snapshots/{name}", put(take).delete(delete_snapshot))
        .route("/v1/volumes/{handle}/snapshots/{name}/restore", post(restore))
        .route("/v1/strangers/{name}", get(find_foreign))
        .fallback(async |request: Request| {
            let what = format!("{} {} is nothing of a filer's", request.method(), request.uri().path());
            Answer(FilerError::Unsupported(what))
        })
        .method_not_allowed_fallback(async || {
            Answer(FilerError::Unsupported("this can be asked for, but not with this method".to_owned()))
        })
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(axum::middleware::from_fn(log))
        .with_state(work)
}

async fn ready(State(work): Filer) -> Response {
    match work.ready() {
        true => Json(json!({ "ready": true })).into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "ready": false }))).into_response(),
    }
}

async fn pools(State(work): Filer, caller: Caller) -> Shown<Vec<PoolView>> {
    Ok(Json(vec![work.pool(&caller).await?]))
}

async fn list(State(work): Filer, caller: Caller) -> Shown<Vec<VolumeState>> {
    Ok(Json(work.look(&caller, |share| share.list()).await?))
}

async fn find(State(work): Filer, caller: Caller, Path(handle): Path<String>) -> Shown<VolumeState> {
    let wanted = handle.clone();
    let found = work.look(&caller, move |share| share.find(&wanted)).await?;
    found.map(Json).ok_or_else(|| absent(&format!("volume `{handle}`")))
}

async fn create(
    State(work): Filer,
    caller: Caller,
    Path(handle): Path<String>,
    Body(mut wanted): Body<CreateVolume>,
) -> Done<VolumeState> {
    wanted.handle.clone_from(&handle);
    let wires = work.wires();
    Ok(Json(work.change(&caller, &handle, move |share| share.create(wanted, &wires)).await?.into()))
}

async fn delete(State(work): Filer, caller: Caller, Path(handle): Path<String>) -> Done<()> {
    Ok(Json(work.delete(&caller, &handle).await?.into()))
}

async fn grow(
    State(work): Filer,
    caller: Caller,
    Path(handle): Path<String>,
    Body(Grow { size }): Body<Grow>,
) -> Done<VolumeState> {
    Ok(Json(work.grow(&caller, &handle, size).await?.into()))
}

async fn modify(
    State(work): Filer,
    caller: Caller,
    Path(handle): Path<String>,
    Body(changes): Body<ModifyVolume>,
) -> Done<VolumeState> {
    let volume = handle.clone();
    Ok(Json(work.change(&caller, &handle, move |share| share.modify(&volume, &changes)).await?.into()))
}

async fn mark_staged(State(work): Filer, caller: Caller, Path(handle): Path<String>) -> Done<VolumeState> {
    let volume = handle.clone();
    Ok(Json(work.change(&caller, &handle, move |share| share.mark_staged(&volume)).await?.into()))
}

async fn import(
    State(work): Filer,
    caller: Caller,
    Path(handle): Path<String>,
    Body(Import { original, mut wanted }): Body<Import>,
) -> Done<VolumeState> {
    wanted.handle.clone_from(&handle);
    let wires = work.wires();
    Ok(Json(
        work.change(&caller, &handle, move |share| share.import(&original, wanted, &wires)).await?.into(),
    ))
}

async fn permit(
    State(work): Filer,
    caller: Caller,
    Path((handle, node)): Path<(String, String)>,
    Body(permit): Body<Permit>,
) -> Done<Route> {
    if permit.node.name.as_str() != node {
        let problem = format!("the path names node `{node}`, the permit node `{}`", permit.node.name);
        return Err(FilerError::Invalid(problem).into());
    }
    Ok(Json(work.permit(&caller, &handle, permit).await?.into()))
}

async fn forbid(
    State(work): Filer,
    caller: Caller,
    Path((handle, node)): Path<(String, String)>,
) -> Done<()> {
    Ok(Json(work.forbid(&caller, &handle, &node).await?.into()))
}

async fn list_snapshots(
    State(work): Filer,
    caller: Caller,
    Path(handle): Path<String>,
) -> Shown<Vec<SnapshotState>> {
    Ok(Json(work.look(&caller, move |share| share.list_snapshots(&handle)).await?))
}

async fn take(
    State(work): Filer,
    caller: Caller,
    Path((handle, name)): Path<(String, String)>,
) -> Done<SnapshotState> {
    let volume = handle.clone();
    Ok(Json(work.change(&caller, &handle, move |share| share.take(&volume, &name)).await?.into()))
}

async fn delete_snapshot(
    State(work): Filer,
    caller: Caller,
    Path((handle, name)): Path<(String, String)>,
) -> Done<()> {
    let volume = handle.clone();
    Ok(Json(work.change(&caller, &handle, move |share| share.delete_snapshot(&volume, &name)).await?.into()))
}

async fn restore(
    State(work): Filer,
    caller: Caller,
    Path((handle, name)): Path<(String, String)>,
) -> Done<VolumeState> {
    Ok(Json(work.restore(&caller, &handle, &name).await?.into()))
}

async fn find_foreign(State(work): Filer, caller: Caller, Path(name): Path<String>) -> Shown<ForeignState> {
    let wanted = name.clone();
    let found = work.look(&caller, move |share| share.find_foreign(&wanted)).await?;
    found.map(Json).ok_or_else(|| absent(&format!("`{name}` at the pool's root")))
}

fn absent(what: &str) -> Answer {
    FilerError::NotFound(format!("{what} does not exist")).into()
}

/// One line per request that changes or fails, with the word that the client's log has too.
async fn log(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let id = request_id(request.headers()).unwrap_or("-").to_owned();
    let since = std::time::Instant::now();
    let mut response = next.run(request).await;
    let (status, took) = (response.status().as_u16(), since.elapsed());
    match response.extensions_mut().remove::<Refused>() {
        // What the machine does not do is for its keeper; what a client may not do is for the client.
        Some(Refused(ErrorKind::Io, why)) => {
            tracing::error!(request = id, %method, path, status, ?took, why, "a request failed");
        }
        Some(Refused(_, why)) => {
            tracing::info!(request = id, %method, path, status, ?took, why, "a request was refused");
        }
        None if method == axum::http::Method::GET => {
            tracing::debug!(request = id, %method, path, status, ?took, "answered");
        }
        None => tracing::info!(request = id, %method, path, status, ?took, "done"),
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST, value);
    }
    response
}
