//! Work that may take longer than its caller wants to wait.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use orchestrator::{Answer, Orchestrator, Request};

use crate::status::{Refusal, Result};
use crate::view;

/// How long the caller stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    UntilDone,
    AtMost(Duration),
}

/// `true` (or nothing), `false`, or a time.
pub(crate) fn read(text: Option<&str>) -> Result<Wait> {
    match text {
        None | Some("true") => Ok(Wait::UntilDone),
        Some("false") => Ok(Wait::AtMost(Duration::ZERO)),
        Some(text) => text
            .parse::<jiff::SignedDuration>()
            .ok()
            .and_then(|limit| Duration::try_from(limit).ok())
            .map(Wait::AtMost)
            .ok_or_else(|| {
                Refusal::invalid(format!("wait is `{text}`; use true, false, or a time such as 500ms or 10s"))
                    .field("wait")
            }),
    }
}

/// Starts or joins the work.
///
/// # Behavior
/// `Ok(Ok(answer))` when it has ended in time, else `Ok(Err(response))`: 202, the operation, and where to look.
pub(crate) async fn run(
    orchestrator: &Orchestrator,
    request: Request,
    wait: Wait,
) -> Result<std::result::Result<Answer, Response>> {
    let limit = match wait {
        Wait::UntilDone => Duration::MAX,
        Wait::AtMost(limit) => limit,
    };
    let ticket = orchestrator.ask(request, limit).await?;
    let id = ticket.operation;
    let ended = match wait {
        Wait::UntilDone => Some(ticket.wait().await),
        Wait::AtMost(limit) => tokio::time::timeout(limit, ticket.wait()).await.ok(),
    };
    match ended {
        Some(result) => Ok(Ok(result?)),
        None => {
            let operation = orchestrator.operation(id).ok_or_else(|| {
                Refusal::http(StatusCode::INTERNAL_SERVER_ERROR, "the operation has been forgotten")
            })?;
            let mut response = (StatusCode::ACCEPTED, Json(view::operation(&operation))).into_response();
            if let Ok(place) = HeaderValue::from_str(&format!("/v1/operations/{id}")) {
                response.headers_mut().insert(header::LOCATION, place);
            }
            Ok(Err(response))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_yes_no_or_a_time() {
        assert_eq!(read(None).unwrap(), Wait::UntilDone);
        assert_eq!(read(Some("false")).unwrap(), Wait::AtMost(Duration::ZERO));
        assert_eq!(read(Some("0ms")).unwrap(), Wait::AtMost(Duration::ZERO));
        assert_eq!(read(Some("1500ms")).unwrap(), Wait::AtMost(Duration::from_millis(1500)));
        assert!(read(Some("soon")).is_err());
        assert!(read(Some("-1s")).is_err());
    }
}
