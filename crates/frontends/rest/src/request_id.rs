//! One name for a request, from its sender through our log to its answer.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;

pub(crate) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

const LONGEST: usize = 128;

/// # Behavior
/// Takes the sender's id if it is short plain text, else makes one; answers with it; logs under it.
pub(crate) async fn name_requests(request: Request, next: Next) -> Response {
    let id = request.headers().get(HEADER).and_then(sane).unwrap_or_else(fresh);
    let span =
        tracing::info_span!("rest", request = %id, method = %request.method(), path = request.uri().path());
    async {
        let started = Instant::now();
        let mut response = next.run(request).await;
        if let Ok(value) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(HEADER, value);
        }
        tracing::debug!(status = response.status().as_u16(), took = ?started.elapsed(), "answered");
        response
    }
    .instrument(span)
    .await
}

fn sane(value: &HeaderValue) -> Option<String> {
    let text = value.to_str().ok()?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/+=".contains(c);
    (!text.is_empty() && text.len() <= LONGEST && text.chars().all(is_plain)).then(|| text.to_owned())
}

/// Differs between processes by the random start, within one by the count.
fn fresh() -> String {
    static START: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(std::process::id()));
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("{:08x}-{}", *START >> 32, COUNT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_senders_id_is_kept_unless_it_could_break_the_log() {
        assert_eq!(sane(&HeaderValue::from_static("abc-1.2/3")).as_deref(), Some("abc-1.2/3"));
        assert_eq!(sane(&HeaderValue::from_static("a b")), None);
        assert_eq!(sane(&HeaderValue::from_static("")), None);
        assert_eq!(sane(&HeaderValue::from_str(&"x".repeat(129)).unwrap()), None);
        assert_ne!(fresh(), fresh());
    }
}
