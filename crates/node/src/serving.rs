//! The end of a server: no new calls, and some time for those that run.

use std::pin::pin;
use std::time::Duration;

use tokio::sync::oneshot;

const FAREWELL: Duration = Duration::from_secs(10);

/// Drives a server until it ends by itself, with what it ended with, or until `shutdown` ends.
///
/// # Behavior
/// Then `stop` is dropped, which tells the server to finish the calls that run; it has 10 s for them.
pub async fn serve_until<T>(
    serving: impl Future<Output = T>,
    stop: oneshot::Sender<()>,
    shutdown: impl Future<Output = ()>,
) -> Option<T> {
    let mut serving = pin!(serving);
    tokio::select! {
        ended = &mut serving => Some(ended),
        () = shutdown => {
            drop(stop);
            if tokio::time::timeout(FAREWELL, serving).await.is_err() {
                tracing::info!("calls that have not ended are left to themselves");
            }
            None
        }
    }
}
