//! Who asks, and what is answered when it cannot be done.

use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;

use super::accept::Who;
use super::order::Turn;
use crate::error::{ErrorKind, FilerError};
use crate::trust::Tenant;
use crate::wire::{INSTANCE, REQUEST, Refusal, TURN};

/// One request's sender.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) tenant: Tenant,
    pub(super) instance: String,
    pub(super) turn: Option<Turn>,
}

/// An error on its way to a client.
#[derive(Debug)]
pub(super) struct Answer(pub(super) FilerError);

/// A body of JSON; what is wrong with it is answered as every error is.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

const MAX_WORD: usize = 100;

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Answer;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Caller, Answer> {
        let who = parts.extensions.get::<Who>().map(|who| who.0.clone());
        let tenant = match who {
            Some(Ok(tenant)) => tenant,
            Some(Err(reason)) => return Err(Answer(FilerError::Denied(reason.to_string()))),
            None => return Err(Answer(FilerError::Denied("nobody knows who asks".to_owned()))),
        };
        let instance = word(&parts.headers, INSTANCE)?.unwrap_or_else(|| tenant.as_str().to_owned());
        let turn = word(&parts.headers, TURN)?.map(|text| turn(&text)).transpose()?;
        Ok(Caller { tenant, instance, turn })
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Answer;

    async fn from_request(request: Request, state: &S) -> Result<Body<T>, Answer> {
        match Json::<T>::from_request(request, state).await {
            Ok(Json(value)) => Ok(Body(value)),
            Err(e) => Err(Answer(FilerError::Invalid(e.body_text()))),
        }
    }
}

impl From<FilerError> for Answer {
    fn from(error: FilerError) -> Answer {
        Answer(error)
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = (status(self.0.kind()), Json(Refusal::from(&self.0))).into_response();
        // For the log of this request.
        response.extensions_mut().insert(Refused(self.0.kind(), self.0.to_string()));
        response
    }
}

/// What was refused, for the log.
#[derive(Clone, Debug)]
pub(super) struct Refused(pub(super) ErrorKind, pub(super) String);

/// The request's own word if it is a plain one.
pub(super) fn request_id(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(REQUEST)?.to_str().ok()?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (!text.is_empty() && text.len() <= MAX_WORD && text.bytes().all(plain)).then_some(text)
}

fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict | ErrorKind::Busy | ErrorKind::InUse => StatusCode::CONFLICT,
        ErrorKind::NoCapacity => StatusCode::INSUFFICIENT_STORAGE,
        ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::Denied => StatusCode::FORBIDDEN,
        ErrorKind::Unreachable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Io => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn word(headers: &HeaderMap, name: &str) -> Result<Option<String>, Answer> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    match value.to_str() {
        Ok(text) if !text.is_empty() && text.len() <= MAX_WORD => Ok(Some(text.to_owned())),
        _ => {
            let problem = format!("header `{name}` is not a word of at most {MAX_WORD} characters");
            Err(Answer(FilerError::Invalid(problem)))
        }
    }
}

fn turn(text: &str) -> Result<Turn, Answer> {
    let parsed = text.split_once('-').and_then(|(client, number)| {
        Some(Turn { client: client.parse().ok()?, number: number.parse().ok()? })
    });
    parsed.ok_or_else(|| {
        Answer(FilerError::Invalid(format!("header `{TURN}` is `{text}`; write two numbers, as in 7-12")))
    })
}
