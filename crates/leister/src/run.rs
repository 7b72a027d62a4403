//! `leister run` and its kin: puts the parts together, serves, and ends in order.

mod args;
mod doors;
mod ground;
mod roles;
mod store;

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use ::store::StoreError;
use csi::CsiError;
use docker::{DockerError, DockerSettings, Plugin};
use host::{Host, HostConfig, SocketError};
use model::NodeIdentity;
use node::{Mounts, Secrets};
use rest::RestError;
use tokio::task::JoinHandle;

use crate::cli::{Code, Failure};
use crate::config::Config;
use crate::usher::Usher;
pub(crate) use args::{InstanceArgs, LogArgs};
use doors::HandsArgs;
pub(crate) use ground::{Ground, InCluster, set_up};
use orchestrator::Settings;
pub(crate) use roles::{ControllerArgs, CsiArgs, NodeArgs, Parts, RunArgs};
pub(crate) use store::of_kubernetes;

const MOUNTS: &str = "mounts";

/// Serves until a signal ends it.
///
/// # Errors
/// What keeps it from starting: nothing has been changed then.
pub(crate) async fn serve(parts: Parts) -> Result<(), Failure> {
    let Parts { instance: args, pool, plugin_dir, csi, hands, leads, lost_nodes_after } = parts;
    args.log.start()?;
    args.store.check_cluster()?;
    let mut config = Config::read(&args.config)?;
    let pool = pool.and_then(|args| args.pool.map(|pool| (pool, args.pool_size)));
    if let Some((pool, size)) = &pool {
        config.embed(pool, size.as_deref())?;
    }
    let node = identity(&args, hands.as_ref())?;
    let usher = Usher::listen()?;

    let ground = Ground::claim(&args, &node.name, pool.is_some(), leads).await?;
    let docker = match plugin_dir {
        Some(folder) => {
            let settings = DockerSettings { plugin_dir: folder, ..DockerSettings::new(args.name.clone()) };
            Some(Plugin::claim(&settings).await.map_err(|e| of_docker(&e))?)
        }
        None => None,
    };
    let driver = csi.as_ref().map(|settings| settings.name.clone());
    let in_cluster = InCluster { driver, lost_nodes_after };
    let csi = match csi {
        Some(settings) => Some(csi::Plugin::claim(&settings).await.map_err(|e| of_csi(&e))?),
        None => None,
    };
    let host = match &hands {
        Some(hands) => Some(open_host(&ground.state, hands).await?),
        None => None,
    };
    let classes = config.classes();
    let is_node = hands.is_some();
    let settings = Settings { leads, is_node, ..ground.settings(&args, node.clone()) };
    let at_work = ground.start(&args, settings, config, in_cluster, &usher).await?;
    let orchestrator = at_work.orchestrator.clone();

    let mounts = host.zip(hands).map(|(host, hands)| {
        Arc::new(Mounts::new(orchestrator.clone(), host).with_secrets(Secrets::new(hands.luks_secrets)))
    });
    let upkeep = mounts.as_ref().map(node::keep);
    let docker = docker.zip(mounts.clone()).map(|(plugin, mounts)| {
        let serving = plugin.serve(mounts, usher.stopped());
        tokio::spawn(door(usher.clone(), serving))
    });
    let csi = csi.map(|plugin| {
        let serving = plugin.serve(orchestrator.clone(), mounts, usher.stopped());
        tokio::spawn(door(usher.clone(), serving))
    });
    let set_up = tokio::select! {
        set_up = set_up(&orchestrator, classes, is_node.then_some(node), args.store.is_shared()) => set_up,
        () = usher.stopped() => Ok(()),
    };
    if set_up.is_err() {
        usher.stop();
    }
    usher.stopped().await;
    let served = [ended(docker, "docker", of_docker).await, ended(csi, "CSI", of_csi).await];
    drop(upkeep);
    at_work.end().await;
    set_up?;
    served.into_iter().collect()
}

/// This machine, with what reaches volumes where it uses them.
fn identity(args: &InstanceArgs, hands: Option<&HandsArgs>) -> Result<NodeIdentity, Failure> {
    let name = args.node()?;
    let Some(hands) = hands else { return Ok(NodeIdentity::named(name)) };
    if let Err(error) = host::ensure_nqn(&host::IdentityFiles::default()) {
        tracing::warn!(%error, "this node cannot use NVMe over TCP");
    }
    let identity = host::identity(name).map_err(|e| Failure::new(Code::Failed, e.to_string()))?;
    Ok(NodeIdentity { topology: hands.topology(), ..identity })
}

async fn open_host(state: &Path, hands: &HandsArgs) -> Result<Host, Failure> {
    let paths = if hands.single_path { host::Paths::One } else { host::Paths::All };
    let config = HostConfig { mounts_root: state.join(MOUNTS), limits: host::Limits::default(), paths };
    Host::open(config).await.map_err(|e| Failure::new(Code::Failed, chain(&e)))
}

/// When one door closes, all do.
async fn door<E>(usher: Usher, serving: impl Future<Output = Result<(), E>>) -> Result<(), E> {
    let ended = serving.await;
    usher.stop();
    ended
}

async fn ended<E>(
    door: Option<JoinHandle<Result<(), E>>>,
    name: &str,
    failure: fn(&E) -> Failure,
) -> Result<(), Failure> {
    match door {
        Some(door) => match door.await {
            Ok(served) => served.map_err(|e| failure(&e)),
            Err(e) => Err(Failure::new(Code::Failed, format!("the {name} plugin ended badly: {e}"))),
        },
        None => Ok(()),
    }
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
        CsiError::Runs { .. } | CsiError::Named { .. } | CsiError::Socket(SocketError::Occupied { .. }) => {
            Code::Conflict
        }
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
