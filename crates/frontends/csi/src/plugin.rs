//! The plugin as a server: takes its socket, answers calls and logs them.

use std::io;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::{Stream, stream};
use host::{Socket, SocketError};
use model::VolumeId;
use node::{Mounts, log, serve_until};
use orchestrator::{Orchestrator, VolumeRecord};
use tokio::net::{UnixListener, UnixStream};
use tonic::{Request, Response, Status};
use tracing::{Instrument, Level};

use crate::registration::Registration;
use crate::wire::controller_server::ControllerServer;
use crate::wire::group_controller_server::GroupControllerServer;
use crate::wire::identity_server::IdentityServer;
use crate::wire::node_server::NodeServer;
use crate::{CsiError, CsiSettings, shown, status};

/// The plugin with its socket taken. It answers from [`serve`](Plugin::serve) on.
#[derive(Debug)]
pub struct Plugin {
    settings: CsiSettings,
    socket: Socket,
    listener: UnixListener,
    registration: Option<Registration>,
}

/// What every call needs.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) topology: bool,
    /// For each node.
    pub(crate) most_volumes: Option<NonZeroU32>,
    pub(crate) orchestrator: Orchestrator,
    /// This machine, where it is a node.
    pub(crate) here: Option<Arc<Mounts>>,
    calls: Arc<AtomicU64>,
}

/// What every call to a node needs.
pub(crate) struct OnNode {
    pub(crate) service: Service,
    pub(crate) mounts: Arc<Mounts>,
}

/// How long a call waits for work that goes on without it, where its caller does not say.
const PATIENCE: Duration = Duration::from_secs(110);
/// What of a caller's own limit is left for our answer.
const ANSWERING: Duration = Duration::from_millis(500);

impl Plugin {
    /// Takes the socket, for root alone, and its place with the kubelet.
    ///
    /// # Errors
    /// `Runs` when somebody answers there; `Named` when the kubelet has a plugin of that name; `NoKubelet`.
    pub async fn claim(settings: &CsiSettings) -> Result<Plugin, CsiError> {
        // First: the socket may lie in that directory, and would make it.
        if let Some(folder) = settings.kubelet.as_ref().filter(|folder| !folder.is_dir()) {
            return Err(CsiError::NoKubelet { folder: folder.clone() });
        }
        let claimed = Socket::claim(&settings.socket).await;
        let (socket, listener) = claimed.map_err(|error| match error {
            SocketError::Runs { path } => CsiError::Runs { socket: path },
            SocketError::Occupied { .. } | SocketError::System { .. } => CsiError::Socket(error),
        })?;
        let registration = match &settings.kubelet {
            Some(folder) => Some(Registration::claim(folder, &settings.name, socket.path()).await?),
            None => None,
        };
        Ok(Plugin { settings: settings.clone(), socket, listener, registration })
    }

    pub fn socket(&self) -> &Path {
        self.socket.path()
    }

    /// Answers calls until `shutdown` ends, then finishes those that run, within a limit. `here` is this machine, where it
    /// is a node: without it no calls of a kubelet are answered.
    ///
    /// # Behavior
    /// What is staged and shown stays so. The socket is removed at the end.
    ///
    /// # Errors
    /// The socket cannot be served any more.
    pub async fn serve(
        self,
        orchestrator: Orchestrator,
        here: Option<Arc<Mounts>>,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), CsiError> {
        let CsiSettings { name, controller, topology, most_volumes, .. } = self.settings;
        let calls = Arc::default();
        let service = Service { name, topology, most_volumes, orchestrator, here: here.clone(), calls };
        let controller = controller.then(|| service.clone());
        let node = here.map(|mounts| OnNode { service: service.clone(), mounts });
        // Told only when calls are answered; it ends when they end.
        let _registered = self.registration.map(Registration::keep);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = tonic::transport::Server::builder()
            .add_service(IdentityServer::new(service))
            .add_optional_service(controller.clone().map(ControllerServer::new))
            .add_optional_service(controller.map(GroupControllerServer::new))
            .add_optional_service(node.map(NodeServer::new))
            .serve_with_incoming_shutdown(connections(self.listener), async {
                let _ = stopped.await;
            });
        tracing::info!(socket = %self.socket.path().display(), "CSI plugin serves");
        serve_until(serving, stop, shutdown).await.unwrap_or(Ok(())).map_err(CsiError::Serving)
    }
}

impl Service {
    /// Does what a call asks, and logs it once.
    pub(crate) async fn answer<T>(
        &self,
        call: &'static str,
        volume: &str,
        level: Level,
        work: impl Future<Output = Result<T, Status>>,
    ) -> Result<Response<T>, Status> {
        let request = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let span = tracing::info_span!("csi", call, request, volume);
        async {
            let started = Instant::now();
            let answer = work.await;
            let took = started.elapsed();
            match &answer {
                Ok(_) => log!(level, ?took, "answered"),
                Err(refused) => {
                    let code = refused.code();
                    log!(status::level(refused), ?took, ?code, error = refused.message(), "refused");
                }
            }
            answer.map(Response::new)
        }
        .instrument(span)
        .await
    }

    /// A volume that callers know of.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` without an id, `NOT_FOUND`.
    pub(crate) async fn volume(&self, id: &str, limit: Duration) -> Result<Arc<VolumeRecord>, Status> {
        let none = || Status::not_found(format!("there is no volume `{id}`"));
        let volume = volume_id(id)?.ok_or_else(none)?;
        let found = self.orchestrator.find(&volume, limit).await.map_err(status::refused)?;
        found.filter(|record| shown::is_there(record)).ok_or_else(none)
    }

    /// Does work on this node that goes on when its caller leaves or is told that it takes too long.
    pub(crate) async fn to_the_end(
        &self,
        limit: Duration,
        work: impl Future<Output = orchestrator::Result<()>> + Send + 'static,
    ) -> Result<(), Status> {
        let work = tokio::spawn(work.in_current_span());
        match tokio::time::timeout(limit, work).await {
            Ok(Ok(result)) => result.map_err(status::refused),
            Ok(Err(error)) => Err(Status::internal(format!("the call was given up: {error}"))),
            Err(_) => Err(Status::aborted(format!("not done within {limit:?}; it goes on, ask again"))),
        }
    }
}

/// Whoever connects.
pub(crate) fn connections(listener: UnixListener) -> impl Stream<Item = io::Result<UnixStream>> {
    stream::unfold(listener, |listener| async {
        let connection = listener.accept().await.map(|(stream, _)| stream);
        Some((connection, listener))
    })
}

/// `None` for an id that no volume of ours can have.
///
/// # Errors
/// `INVALID_ARGUMENT` where there is none.
pub(crate) fn volume_id(id: &str) -> Result<Option<VolumeId>, Status> {
    if id.is_empty() {
        return Err(Status::invalid_argument("volume_id is missing"));
    }
    Ok(VolumeId::new(id).ok())
}

/// How long to wait for work, so that the caller still gets our answer.
pub(crate) fn patience<T>(request: &Request<T>) -> Duration {
    let asked = request.metadata().get("grpc-timeout").and_then(|text| timeout(text.to_str().ok()?));
    match asked {
        Some(limit) => limit.saturating_sub(ANSWERING).max(limit / 2).min(PATIENCE),
        None => PATIENCE,
    }
}

/// A number and a unit, as gRPC writes a limit.
fn timeout(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number = number.parse::<u64>().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number.checked_mul(3600)?)),
        "M" => Some(Duration::from_secs(number.checked_mul(60)?)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_limit_leaves_time_for_the_answer() {
        let mut request = Request::new(());
        assert_eq!(patience(&request), PATIENCE);
        for (text, expected) in [
            ("10S", Duration::from_millis(9500)),
            ("800m", Duration::from_millis(400)),
            ("1H", PATIENCE),
            ("nonsense", PATIENCE),
            ("", PATIENCE),
        ] {
            request.metadata_mut().insert("grpc-timeout", text.parse().unwrap());
            assert_eq!(patience(&request), expected, "{text}");
        }
    }
}
