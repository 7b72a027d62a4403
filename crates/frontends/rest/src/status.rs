//! What went wrong, as HTTP says it.

use api::ErrorBody;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use orchestrator::{Error, ErrorKind};

/// A request that was not done.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    body: Box<ErrorBody>,
}

pub(crate) type Result<T, E = Refusal> = std::result::Result<T, E>;

/// After this many seconds a busy volume is worth another try.
const RETRY_AFTER: &str = "1";

pub(crate) const fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict | ErrorKind::Busy | ErrorKind::InUse => StatusCode::CONFLICT,
        ErrorKind::NoCapacity => StatusCode::INSUFFICIENT_STORAGE,
        ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::Unreachable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Denied => StatusCode::BAD_GATEWAY,
        ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

pub(crate) const fn kind(kind: ErrorKind) -> api::ErrorKind {
    match kind {
        ErrorKind::Invalid => api::ErrorKind::Invalid,
        ErrorKind::NotFound => api::ErrorKind::NotFound,
        ErrorKind::Conflict => api::ErrorKind::Conflict,
        ErrorKind::Busy => api::ErrorKind::Busy,
        ErrorKind::InUse => api::ErrorKind::InUse,
        ErrorKind::NoCapacity => api::ErrorKind::NoCapacity,
        ErrorKind::Unsupported => api::ErrorKind::Unsupported,
        ErrorKind::Unreachable => api::ErrorKind::Unreachable,
        ErrorKind::Denied => api::ErrorKind::Denied,
        ErrorKind::Internal => api::ErrorKind::Internal,
    }
}

/// The message with its causes; the hint apart.
pub(crate) fn body(error: &Error) -> ErrorBody {
    let mut bare = error.clone();
    bare.hint = None;
    ErrorBody { hint: error.hint.clone(), ..ErrorBody::new(kind(error.kind), bare.sentence()) }
}

impl Refusal {
    /// For what is HTTP's own: a method, a media type, a size.
    pub(crate) fn http(status: StatusCode, message: impl Into<String>) -> Refusal {
        let kind = match status {
            StatusCode::NOT_FOUND => api::ErrorKind::NotFound,
            StatusCode::INTERNAL_SERVER_ERROR => api::ErrorKind::Internal,
            _ => api::ErrorKind::Invalid,
        };
        Refusal { status, body: Box::new(ErrorBody::new(kind, message)) }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Refusal {
        Refusal::http(StatusCode::BAD_REQUEST, message)
    }

    pub(crate) fn not_found(what: &str, name: &str) -> Refusal {
        Refusal::http(StatusCode::NOT_FOUND, format!("there is no {what} `{name}`"))
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Refusal {
        self.body.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub(crate) fn field(mut self, field: impl Into<String>) -> Refusal {
        self.body.field = Some(field.into());
        self
    }

    /// "Did you mean", where something known is close and nothing better is said.
    #[must_use]
    pub(crate) fn nearest<'a>(self, name: &str, known: impl IntoIterator<Item = &'a str>) -> Refusal {
        if self.body.hint.is_some() {
            return self;
        }
        match model::nearest(name, known) {
            Some(near) => self.hint(format!("did you mean `{near}`?")),
            None => self,
        }
    }

    pub(crate) fn is_not_found(&self) -> bool {
        self.body.kind == api::ErrorKind::NotFound
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal { status: status(error.kind), body: Box::new(body(&error)) }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let is_busy = self.body.kind == api::ErrorKind::Busy;
        if self.status.is_server_error() {
            tracing::info!(status = self.status.as_u16(), error = %self.body, "refused");
        } else {
            tracing::debug!(status = self.status.as_u16(), error = %self.body, "refused");
        }
        let mut response = (self.status, Json(*self.body)).into_response();
        if is_busy {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_status() {
        for (kind, status) in [
            (ErrorKind::Invalid, 400),
            (ErrorKind::NotFound, 404),
            (ErrorKind::Conflict, 409),
            (ErrorKind::Busy, 409),
            (ErrorKind::InUse, 409),
            (ErrorKind::NoCapacity, 507),
            (ErrorKind::Unsupported, 501),
            (ErrorKind::Unreachable, 503),
            (ErrorKind::Denied, 502),
            (ErrorKind::Internal, 500),
        ] {
            let response = Refusal::from(Error::new(kind, "no")).into_response();
            assert_eq!(response.status().as_u16(), status, "{kind:?}");
            let retry = response.headers().contains_key(header::RETRY_AFTER);
            assert_eq!(retry, kind == ErrorKind::Busy, "{kind:?}");
        }
    }

    #[test]
    fn causes_stand_in_the_message_and_the_hint_apart() {
        let cause = std::io::Error::other("the disk is gone");
        let told = body(&Error::new(ErrorKind::Internal, "cannot write").because(cause).hint("look at it"));
        assert_eq!(told.message, "cannot write: the disk is gone");
        assert_eq!(told.hint.as_deref(), Some("look at it"));
    }
}
