//! Requests read, with every mistake explained in our words.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;

use crate::status::Refusal;

/// No request of ours comes near it.
pub(crate) const LARGEST_BODY: usize = 1 << 20;

/// A JSON body.
pub(crate) struct Body<T>(pub(crate) T);

/// A body that a person wrote, YAML or JSON.
pub(crate) struct Text(pub(crate) String);

/// The query, unknown parameters refused by the type.
pub(crate) struct Query<T>(pub(crate) T);

/// What stands in the path.
pub(crate) struct Path<T>(pub(crate) T);

const JSON: &str = "application/json";
const YAML: [&str; 4] = ["application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml"];

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        if media_type(request.headers()) != Some(JSON.to_owned()) {
            return Err(unsupported("send JSON, with `Content-Type: application/json`"));
        }
        let bytes = read(request, state).await?;
        let mut reader = serde_json::Deserializer::from_slice(&bytes);
        let value = serde_path_to_error::deserialize(&mut reader).map_err(|e| {
            let path = e.path().to_string();
            let refusal = unreadable(&format!("the body is not right: {}", e.inner()));
            if path == "." { refusal } else { refusal.field(path) }
        })?;
        reader.end().map_err(|e| Refusal::invalid(format!("the body is not right: {e}")))?;
        Ok(Body(value))
    }
}

impl<S: Send + Sync> FromRequest<S> for Text {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        match media_type(request.headers()) {
            Some(kind) if kind == JSON || YAML.contains(&kind.as_str()) => {}
            _ => return Err(unsupported("send YAML or JSON, with `Content-Type: application/yaml`")),
        }
        let bytes = read(request, state).await?;
        String::from_utf8(bytes.into()).map(Text).map_err(|_| Refusal::invalid("the body is not UTF-8 text"))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        axum::extract::Query::try_from_uri(&parts.uri).map(|query| Query(query.0)).map_err(|e| {
            let text = e.body_text();
            let text = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
            unreadable(&format!("the query is not right: {text}"))
        })
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        axum::extract::Path::from_request_parts(parts, state)
            .await
            .map(|path| Path(path.0))
            .map_err(|e| Refusal::http(e.status(), e.body_text()))
    }
}

async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Refusal> {
    Bytes::from_request(request, state).await.map_err(|e| match e.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Refusal::http(e.status(), format!("the body is larger than {} KiB", LARGEST_BODY / 1024))
        }
        status => Refusal::http(status, e.body_text()),
    })
}

fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next()?.trim().to_ascii_lowercase())
}

fn unsupported(hint: &str) -> Refusal {
    Refusal::http(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body is of a kind that is not read here")
        .hint(hint)
}

/// serde lists what it knows: the first word in backticks is the unknown one, the others are known.
fn unreadable(problem: &str) -> Refusal {
    let refusal = Refusal::invalid(problem);
    if !problem.contains("unknown ") {
        return refusal;
    }
    let mut quoted = problem.split('`').skip(1).step_by(2);
    match quoted.next() {
        Some(unknown) => refusal.nearest(unknown, quoted),
        None => refusal,
    }
}
