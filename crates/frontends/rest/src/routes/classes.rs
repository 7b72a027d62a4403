use api::{ClassCreate, ClassView, ErrorBody, List, manifest};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use model::{Class, ClassName};
use orchestrator::Orchestrator;

use crate::extract::{Path, Text};
use crate::status::{Refusal, Result};
use crate::view;

/// List classes
#[utoipa::path(get, path = "/v1/classes", tag = "classes", operation_id = "listClasses",
    responses((status = 200, body = List<ClassView>)))]
pub(crate) async fn list(State(orchestrator): State<Orchestrator>) -> Json<List<ClassView>> {
    let catalogue = orchestrator.catalogue();
    Json(List::whole(catalogue.classes().map(|class| view::class(class)).collect()))
}

/// Add classes, or change those of the same names
///
/// The body holds one or more documents, YAML or JSON: our shape, the one Trident stores, or Kubernetes
/// StorageClasses. All are checked before the first is stored.
#[utoipa::path(post, path = "/v1/classes", tag = "classes", operation_id = "createClasses",
    request_body(content(
        (ClassCreate = "application/json"),
        (String = "application/yaml"),
    )),
    responses(
        (status = 201, body = List<ClassView>), (status = 200, description = "All were there", body = List<ClassView>),
        (status = 400, body = ErrorBody)))]
pub(crate) async fn create(State(orchestrator): State<Orchestrator>, Text(text): Text) -> Result<Response> {
    let wanted = manifest::classes(&text).map_err(|e| Refusal::invalid(e.to_string()))?;
    let classes: Vec<Class> = wanted
        .into_iter()
        .map(|class| crate::class(class).map_err(|e| Refusal::invalid(e.problem).field(e.field)))
        .collect::<Result<_>>()?;
    let mut changed = false;
    let mut stored = Vec::with_capacity(classes.len());
    for class in classes {
        let outcome = orchestrator.create_class(class).await?;
        changed |= outcome.is_changed();
        stored.push(view::class(&outcome.into_inner()));
    }
    let status = if changed { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(List::whole(stored))).into_response())
}

/// Show a class
#[utoipa::path(get, path = "/v1/classes/{class}", tag = "classes", operation_id = "getClass",
    params(("class" = String, Path)),
    responses((status = 200, body = ClassView), (status = 404, body = ErrorBody)))]
pub(crate) async fn find(
    State(orchestrator): State<Orchestrator>,
    Path(name): Path<String>,
) -> Result<Json<ClassView>> {
    let found = ClassName::new(&name).ok().and_then(|name| orchestrator.catalogue().class(&name));
    match found {
        Some(class) => Ok(Json(view::class(&class))),
        None => Err(absent(&orchestrator, &name)),
    }
}

/// Delete a class; its volumes stay
#[utoipa::path(delete, path = "/v1/classes/{class}", tag = "classes", operation_id = "deleteClass",
    params(("class" = String, Path)),
    responses((status = 204), (status = 404, body = ErrorBody)))]
pub(crate) async fn delete(
    State(orchestrator): State<Orchestrator>,
    Path(name): Path<String>,
) -> Result<StatusCode> {
    let deleted = match ClassName::new(&name) {
        Ok(name) => orchestrator.delete_class(&name).await?,
        Err(_) => false,
    };
    if deleted { Ok(StatusCode::NO_CONTENT) } else { Err(absent(&orchestrator, &name)) }
}

fn absent(orchestrator: &Orchestrator, name: &str) -> Refusal {
    let catalogue = orchestrator.catalogue();
    Refusal::not_found("class", name).nearest(name, catalogue.classes().map(|class| class.name.as_str()))
}
