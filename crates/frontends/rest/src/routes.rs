//! All routes, and their description.

mod backends;
mod classes;
mod groups;
mod nodes;
mod operations;
mod probes;
mod snapshots;
mod transfers;
mod volumes;

use axum::extract::DefaultBodyLimit;
use axum::http::{Method, StatusCode, Uri};
use axum::{Router, middleware};
use orchestrator::Orchestrator;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::extract::LARGEST_BODY;
use crate::status::Refusal;
use crate::{guard, request_id};

#[derive(OpenApi)]
#[openapi(
    info(title = "Leister", description = "Storage for containers that outlives them."),
    components(schemas(api::ErrorBody, api::ClassCreate)),
    tags(
        (name = "volumes"), (name = "snapshots"), (name = "transfers", description = "Volumes that are there without a record"),
        (name = "backends"), (name = "classes"), (name = "nodes"), (name = "operations"), (name = "server"),
    )
)]
struct Description;

/// The description as it is served at `/openapi.json`.
pub fn openapi() -> String {
    let (_, description) = described().split_for_parts();
    // The description is made of our own constants: it can be written.
    description.to_pretty_json().unwrap_or_default() + "\n"
}

/// All routes. A port, which web pages can reach too, adds [`guarded`].
pub(crate) fn router(orchestrator: Orchestrator) -> Router {
    let (router, _) = described().split_for_parts();
    router
        .fallback(unknown)
        .method_not_allowed_fallback(not_allowed)
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(middleware::from_fn(request_id::name_requests))
        .with_state(orchestrator)
}

pub(crate) fn guarded(router: Router) -> Router {
    router.layer(middleware::from_fn(guard::keep_pages_out))
}

fn described() -> OpenApiRouter<Orchestrator> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(volumes::list, volumes::create))
        .routes(routes!(volumes::find, volumes::change, volumes::delete))
        .routes(routes!(volumes::grow))
        .routes(routes!(volumes::modify))
        .routes(routes!(volumes::restore))
        .routes(routes!(volumes::fence))
        .routes(routes!(transfers::forget))
        .routes(routes!(transfers::import))
        .routes(routes!(transfers::adopt))
        .routes(routes!(snapshots::list))
        .routes(routes!(snapshots::list_of, snapshots::take))
        .routes(routes!(snapshots::find, snapshots::delete))
        .routes(routes!(groups::take))
        .routes(routes!(groups::find, groups::delete))
        .routes(routes!(backends::list, backends::create))
        .routes(routes!(backends::find, backends::delete))
        .routes(routes!(backends::pools))
        .routes(routes!(classes::list, classes::create))
        .routes(routes!(classes::find, classes::delete))
        .routes(routes!(nodes::list))
        .routes(routes!(nodes::find, nodes::delete))
        .routes(routes!(nodes::volumes))
        .routes(routes!(operations::list))
        .routes(routes!(operations::find))
        .routes(routes!(probes::doctor))
        .routes(routes!(probes::version))
        .routes(routes!(probes::alive))
        .routes(routes!(probes::ready))
        .routes(routes!(probes::metrics))
        .routes(routes!(probes::description))
}

async fn unknown(method: Method, uri: Uri) -> Refusal {
    Refusal::http(StatusCode::NOT_FOUND, format!("there is no {method} {}", uri.path()))
        .hint("see /openapi.json")
}

async fn not_allowed(method: Method, uri: Uri) -> Refusal {
    Refusal::http(StatusCode::METHOD_NOT_ALLOWED, format!("{} does not know {method}", uri.path()))
        .hint("see /openapi.json")
}
