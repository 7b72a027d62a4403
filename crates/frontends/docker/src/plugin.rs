//! The plugin as a server: reads calls, has them done, answers and logs.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use host::{Socket, SocketError};
use model::{VolumeId, is_encrypted_by_node};
use node::{Mounts, log, serve_until, too_slow};
use orchestrator::{Error, ErrorKind, Result};
use serde::de::DeserializeOwned;
use tokio::net::UnixListener;
use tracing::{Instrument, Level};

use crate::protocol::{Answer, CONTENT_TYPE, Capabilities, Create, Named, Reference};
use crate::status;
use crate::{Deadlines, DockerError, DockerSettings, options, volumes};

/// One instance of the plugin, with its name taken. The engine may call already; it is answered from
/// [`serve`](Plugin::serve) on.
#[derive(Debug)]
pub struct Plugin {
    socket: Socket,
    listener: UnixListener,
    deadlines: Deadlines,
}

/// What every call needs.
struct Server {
    mounts: Arc<Mounts>,
    deadlines: Deadlines,
    calls: AtomicU64,
}

impl Plugin {
    /// Takes the name: listens on `<plugin_dir>/<name>.sock`.
    ///
    /// # Errors
    /// `Runs` when an instance of this name is alive.
    pub async fn claim(settings: &DockerSettings) -> Result<Plugin, DockerError> {
        let path = settings.plugin_dir.join(format!("{}.sock", settings.name));
        let (socket, listener) = Socket::claim(&path).await.map_err(|error| match error {
            SocketError::Runs { path } => DockerError::Runs { name: settings.name.to_string(), socket: path },
            SocketError::Occupied { .. } | SocketError::System { .. } => DockerError::Socket(error),
        })?;
        Ok(Plugin { socket, listener, deadlines: settings.deadlines })
    }

    pub fn socket(&self) -> &Path {
        self.socket.path()
    }

    /// Answers calls until `shutdown` ends, then finishes those that run, within a limit.
    ///
    /// # Behavior
    /// Nothing waits for backends: calls are answered while the node is still being brought in order. What
    /// containers have mounted stays mounted. The socket is removed at the end.
    ///
    /// # Errors
    /// The mount table cannot be read: without it no count would be right.
    pub async fn serve(
        self,
        mounts: Arc<Mounts>,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), DockerError> {
        mounts.host.mounted().map_err(DockerError::Node)?;
        let server = Arc::new(Server { mounts, deadlines: self.deadlines, calls: AtomicU64::new(0) });
        let router = Router::new().fallback(answer).with_state(server);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = axum::serve(self.listener, router).with_graceful_shutdown(async {
            let _ = stopped.await;
        });
        tracing::info!(socket = %self.socket.path().display(), "docker plugin serves");
        serve_until(serving.into_future(), stop, shutdown).await;
        Ok(())
    }
}

async fn answer(State(server): State<Arc<Server>>, uri: Uri, body: Bytes) -> Response {
    let call = uri.path().trim_start_matches('/').to_owned();
    let request = server.calls.fetch_add(1, Ordering::Relaxed) + 1;
    let span = tracing::info_span!("docker", call, request, volume = tracing::field::Empty);
    async {
        let started = Instant::now();
        let answer = server.call(&call, &body).await;
        let took = started.elapsed();
        match answer {
            Ok(answer) => {
                let level = if is_change(&call) { Level::INFO } else { Level::DEBUG };
                log!(level, ?took, "answered");
                respond(StatusCode::OK, &answer)
            }
            Err(error) => {
                log!(status::level(&error), ?took, error = error.sentence(), "refused");
                let answer = Answer { err: error.sentence(), ..Answer::default() };
                // The engine takes the message from the body of anything but 200.
                respond(StatusCode::INTERNAL_SERVER_ERROR, &answer)
            }
        }
    }
    .instrument(span)
    .await
}

impl Server {
    async fn call(&self, call: &str, body: &[u8]) -> Result<Answer> {
        match call {
            "Plugin.Activate" => Ok(Answer { implements: Some(["VolumeDriver"]), ..Answer::default() }),
            "VolumeDriver.Capabilities" => {
                Ok(Answer { capabilities: Some(Capabilities { scope: "global" }), ..Answer::default() })
            }
            "VolumeDriver.Create" => self.create(read(body)?).await,
            "VolumeDriver.Remove" => self.remove(named(body)?).await,
            "VolumeDriver.Mount" => self.mount(read(body)?).await,
            "VolumeDriver.Unmount" => self.unmount(read(body)?).await,
            "VolumeDriver.Path" => {
                let path = volumes::path(&self.mounts, &named(body)?, self.deadlines.short).await?;
                Ok(Answer { mountpoint: Some(path), ..Answer::default() })
            }
            "VolumeDriver.Get" => {
                let volume = volumes::get(&self.mounts, &named(body)?, self.deadlines).await?;
                Ok(Answer { volume: Some(volume), ..Answer::default() })
            }
            "VolumeDriver.List" => {
                let volumes = volumes::list(&self.mounts, self.deadlines.glance).await?;
                Ok(Answer { volumes: Some(volumes), ..Answer::default() })
            }
            other => {
                Err(Error::new(ErrorKind::Unsupported, format!("`{other}` is not a call of volume plugins")))
            }
        }
    }

    async fn create(&self, Create { name, opts }: Create) -> Result<Answer> {
        let volume = volume(&name)?;
        let request = options::read(volume, &opts.unwrap_or_default())?;
        if is_encrypted_by_node(&request.options) {
            // Before there is a volume that nobody could use.
            self.mounts.secrets.passphrases(&request.volume).await?;
        }
        volumes::create(&self.mounts, request, self.deadlines.long).await?;
        Ok(Answer::default())
    }

    async fn remove(&self, volume: VolumeId) -> Result<Answer> {
        let (mounts, limit) = (self.mounts.clone(), self.deadlines.short);
        let subject = volume.clone();
        self.to_the_end("removed", &subject, async move { volumes::remove(&mounts, &volume, limit).await })
            .await?;
        Ok(Answer::default())
    }

    async fn mount(&self, Reference { name, id }: Reference) -> Result<Answer> {
        let volume = volume(&name)?;
        let (answer, mounted) = tokio::sync::oneshot::channel();
        let (mounts, limit) = (self.mounts.clone(), self.deadlines.long);
        tokio::spawn(async move { mounts.mount(volume, id, limit, answer).await }.in_current_span());
        let path = mounted.await.map_err(|_| Error::new(ErrorKind::Internal, "the mount was given up"))??;
        Ok(Answer { mountpoint: Some(path), ..Answer::default() })
    }

    async fn unmount(&self, Reference { name, id }: Reference) -> Result<Answer> {
        let volume = volume(&name)?;
        let mounts = self.mounts.clone();
        let subject = volume.clone();
        self.to_the_end("unmounted", &subject, async move { mounts.unmount(&volume, &id).await }).await?;
        Ok(Answer::default())
    }

    /// Does work that goes on when its caller leaves or is told that it takes too long.
    async fn to_the_end(
        &self,
        what: &str,
        volume: &VolumeId,
        work: impl Future<Output = Result<()>> + Send + 'static,
    ) -> Result<()> {
        let work = tokio::spawn(work.in_current_span());
        match tokio::time::timeout(self.deadlines.short, work).await {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => Err(Error::new(ErrorKind::Internal, "the call was given up").because(error)),
            Err(_) => Err(too_slow(what, volume)),
        }
    }
}

fn named(body: &[u8]) -> Result<VolumeId> {
    volume(&read::<Named>(body)?.name)
}

fn volume(name: &str) -> Result<VolumeId> {
    tracing::Span::current().record("volume", name);
    VolumeId::new(name).map_err(|error| Error::invalid(error.to_string()))
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    if body.is_empty() {
        // Docker's client repeats a call whose connection broke without what it had to say.
        let problem =
            "the call came without its content, as Docker repeats one during a restart of the plugin";
        return Err(Error::invalid(problem).hint("try again"));
    }
    serde_json::from_slice(body)
        .map_err(|error| Error::invalid("the call cannot be understood").because(error))
}

fn is_change(call: &str) -> bool {
    ["Create", "Remove", "Mount", "Unmount"].iter().any(|verb| call.ends_with(&format!(".{verb}")))
}

fn respond(status: StatusCode, answer: &Answer) -> Response {
    match serde_json::to_vec(answer) {
        Ok(body) => (status, [(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response(),
        // Only a path that is not UTF-8 cannot be written.
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
