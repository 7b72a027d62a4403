//! Keeps web pages out: a browser on this machine can reach a loopback port, and there is no password.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::status::Refusal;

/// # Behavior
/// Refuses what a page of another site sends (`Origin` is not where the request goes to), and, on a loopback
/// port, what was sent to a name that is not this machine's (a name that a stranger made to point here).
pub(crate) async fn keep_pages_out(request: Request, next: Next) -> Response {
    match check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => Refusal::http(StatusCode::FORBIDDEN, problem).into_response(),
    }
}

fn check(headers: &HeaderMap) -> Result<(), &'static str> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let host = text(header::HOST);
    if host.is_some_and(|host| !is_plain(host)) {
        return Err("the request was sent to a name; use an address such as 127.0.0.1, or localhost");
    }
    match text(header::ORIGIN) {
        Some(origin) if origin.strip_prefix("http://") != host => {
            Err("requests of other sites' pages are refused")
        }
        _ => Ok(()),
    }
}

/// `localhost` or an IP address, with or without a port: nothing that a name server could decide about.
fn is_plain(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn pages_of_other_sites_and_foreign_names_are_refused() {
        for (host, origin, fine) in [
            (Some("127.0.0.1:8000"), None, true),
            (Some("[::1]:8000"), None, true),
            (Some("localhost"), None, true),
            (None, None, true),
            (Some("127.0.0.1:8000"), Some("http://127.0.0.1:8000"), true),
            (Some("127.0.0.1:8000"), Some("https://evil.example"), false),
            (Some("127.0.0.1:8000"), Some("null"), false),
            (Some("evil.example:8000"), None, false),
            (Some("evil.example:8000"), Some("http://evil.example:8000"), false),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in [(header::HOST, host), (header::ORIGIN, origin)] {
                if let Some(value) = value {
                    headers.insert(name, HeaderValue::from_static(value));
                }
            }
            assert_eq!(check(&headers).is_ok(), fine, "{host:?} {origin:?}");
        }
    }
}
