//! `leister run`: puts the parts together, serves, and ends in order.

mod args;
mod ground;
mod store;

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use ::store::StoreError;
use csi::{CsiError, CsiSettings};
use docker::{DockerError, DockerSettings, Plugin};
use host::{Host, HostConfig, SocketError};
use model::NodeIdentity;
use node::{Mounts, Secrets};
use rest::RestError;

use crate::cli::{Code, Failure};
use crate::config::Config;
use crate::usher::Usher;
pub(crate) use args::{InstanceArgs, LogArgs, RunArgs};
pub(crate) use ground::{Ground, set_up};

const MOUNTS: &str = "mounts";

/// Serves until a signal ends it.
///
/// # Errors
/// What keeps it from starting: nothing has been changed then.
pub(crate) async fn run(args: RunArgs) -> Result<(), Failure> {
    args.instance.log.start()?;
    let mut config = Config::read(&args.instance.config)?;
    if let Some(pool) = &args.pool {
        config.embed(pool, args.pool_size.as_deref())?;
    }
    if let Err(error) = host::ensure_nqn(&host::IdentityFiles::default()) {
        tracing::warn!(%error, "this node cannot use NVMe over TCP");
    }
    let identity =
        host::identity(args.instance.node()?).map_err(|e| Failure::new(Code::Failed, e.to_string()))?;
    let node = NodeIdentity { topology: args.topology(), ..identity };
    let usher = Usher::listen()?;

    let ground = Ground::claim(&args.instance, &node.name, args.pool.is_some()).await?;
    let plugin = claim_plugin(&args).await?;
    let csi = claim_csi(&args).await?;
    let paths = if args.single_path { host::Paths::One } else { host::Paths::All };
    let config_of_host =
        HostConfig { mounts_root: ground.state.join(MOUNTS), limits: host::Limits::default(), paths };
    let host = Host::open(config_of_host).await.map_err(|e| Failure::new(Code::Failed, chain(&e)))?;
    let classes = config.classes();
    let (orchestrator, server) = ground.start(&args.instance, node.clone(), config).await?;

    let rest = tokio::spawn(server.serve(orchestrator.clone(), usher.stopped()));
    let secrets = Secrets::new(args.luks_secrets.clone());
    let mounts = Arc::new(Mounts::new(orchestrator.clone(), host).with_secrets(secrets));
    let upkeep = node::keep(&mounts);
    let docker = tokio::spawn({
        let (mounts, usher) = (mounts.clone(), usher.clone());
        async move {
            let ended = plugin.serve(mounts, usher.stopped()).await;
            usher.stop();
            ended
        }
    });
    let csi = csi.map(|plugin| {
        let usher = usher.clone();
        tokio::spawn(async move {
            let ended = plugin.serve(mounts, usher.stopped()).await;
            usher.stop();
            ended
        })
    });
    let set_up = tokio::select! {
        set_up = set_up(&orchestrator, classes, node, args.instance.store.is_shared()) => set_up,
        () = usher.stopped() => Ok(()),
    };
    if set_up.is_err() {
        usher.stop();
    }
    usher.stopped().await;
    let served = docker.await;
    let served_csi = match csi {
        Some(csi) => csi.await,
        None => Ok(Ok(())),
    };
    drop(upkeep);
    if let Err(e) = rest.await {
        tracing::error!(error = %e, "the REST server ended badly");
    }
    orchestrator.stop().await;
    tracing::info!("stopped");
    set_up?;
    match served {
        Ok(Ok(())) => {}
        Ok(Err(e)) => return Err(of_docker(&e)),
        Err(e) => return Err(Failure::new(Code::Failed, format!("the docker plugin ended badly: {e}"))),
    }
    match served_csi {
        Ok(served) => served.map_err(|e| of_csi(&e)),
        Err(e) => Err(Failure::new(Code::Failed, format!("the CSI plugin ended badly: {e}"))),
    }
}

async fn claim_plugin(args: &RunArgs) -> Result<Plugin, Failure> {
    let mut settings = DockerSettings::new(args.instance.name.clone());
    settings.plugin_dir.clone_from(&args.plugin_dir);
    Plugin::claim(&settings).await.map_err(|e| of_docker(&e))
}

async fn claim_csi(args: &RunArgs) -> Result<Option<csi::Plugin>, Failure> {
    let Some(socket) = args.csi_socket() else { return Ok(None) };
    let settings = CsiSettings {
        name: args.csi_name.clone(),
        socket,
        kubelet: args.kubelet_dir.clone(),
        most_volumes: args.csi_max_volumes,
    };
    csi::Plugin::claim(&settings).await.map(Some).map_err(|e| of_csi(&e))
}

fn of_store(error: &StoreError) -> Failure {
    let message = chain(error);
    match error {
        StoreError::Held { .. } => Failure::new(Code::Conflict, message)
            .hint("an instance runs already; for a second one give --name and --state-dir"),
        StoreError::Damaged { .. }
        | StoreError::TooLarge { .. }
        | StoreError::Conflict { .. }
        | StoreError::Denied { .. }
        | StoreError::Fenced { .. }
        | StoreError::Unavailable { .. } => Failure::new(Code::Failed, message),
    }
}

fn of_rest(error: &RestError) -> Failure {
    let message = chain(error);
    match error {
        RestError::Open { .. } => Failure::usage(message)
            .hint("listen on 127.0.0.1 behind something that asks who it is, or say --open-to-all"),
        RestError::Port { .. } => {
            Failure::new(Code::Conflict, message).hint("choose another with --listen, or --listen none")
        }
        RestError::Socket(SocketError::Runs { .. }) => {
            Failure::new(Code::Conflict, message).hint("stop it, or give this one --name and --state-dir")
        }
        RestError::Socket(SocketError::Occupied { .. }) => {
            Failure::new(Code::Conflict, message).hint("remove the file, or choose another with --socket")
        }
        RestError::Socket(SocketError::System { .. }) => {
            Failure::new(Code::Failed, message).hint("run as root, or choose another place with --socket")
        }
    }
}

fn of_docker(error: &DockerError) -> Failure {
    let code = match error {
        DockerError::Runs { .. } | DockerError::Socket(SocketError::Occupied { .. }) => Code::Conflict,
        _ => Code::Failed,
    };
    Failure::new(code, chain(error))
}

fn of_csi(error: &CsiError) -> Failure {
    let code = match error {
        CsiError::Runs { .. } | CsiError::Socket(SocketError::Occupied { .. }) => Code::Conflict,
        CsiError::NoKubelet { .. } => {
            return Failure::usage(format!("--kubelet-dir: {}", chain(error)))
                .hint("write what the kubelet has as its --root-dir, /var/lib/kubelet on most systems");
        }
        CsiError::Socket(_) | CsiError::Registration { .. } | CsiError::Serving(_) => Code::Failed,
    };
    Failure::new(code, chain(error))
}

fn of_orchestrator(error: orchestrator::Error) -> Failure {
    let mut bare = error.clone();
    bare.hint = None;
    Failure { code: Code::Failed, message: bare.sentence(), hint: error.hint }
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Code::Failed, format!("cannot use the state directory {}: {error}", path.display()))
        .hint("run as root, or choose another with --state-dir")
}

/// The message with its causes, each once.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        let told = deeper.to_string();
        if !text.contains(&told) {
            text = format!("{text}: {told}");
        }
        cause = deeper.source();
    }
    text
}
