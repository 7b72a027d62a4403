//! `leister run`: puts the parts together, serves, and ends in order.

mod args;
mod store;

use std::error::Error;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::store::StoreError;
use csi::{CsiError, CsiSettings};
use docker::{DockerError, DockerSettings, Plugin};
use host::{Host, HostConfig, SocketError};
use model::NodeIdentity;
use node::{Mounts, Secrets};
use orchestrator::{BackendOrigin, ErrorKind, Orchestrator, Settings};
use rest::{RestError, RestSettings, Server};

use crate::cli::{Code, Failure};
use crate::config::Config;
use crate::families::AllFamilies;
use crate::usher::Usher;
use crate::vault::Vault;
use args::Listen;
pub(crate) use args::{LogArgs, RunArgs};

const MOUNTS: &str = "mounts";
const PORT: &str = "127.0.0.1:8000";
/// Between tries to tell a shared store of this host.
const AGAIN: Duration = Duration::from_secs(1);

/// Serves until a signal ends it.
///
/// # Errors
/// What keeps it from starting: nothing has been changed then.
pub(crate) async fn run(args: RunArgs) -> Result<(), Failure> {
    args.log.start()?;
    let mut config = Config::read(&args.config)?;
    if let Some(pool) = &args.pool {
        config.embed(pool, args.pool_size.as_deref())?;
    }
    if let Err(error) = host::ensure_nqn(&host::IdentityFiles::default()) {
        tracing::warn!(%error, "this node cannot use NVMe over TCP");
    }
    let identity = host::identity(args.node()?).map_err(|e| Failure::new(Code::Failed, e.to_string()))?;
    let node = NodeIdentity { topology: args.topology(), ..identity };
    let usher = Usher::listen()?;

    let state = std::path::absolute(args.state_dir()).map_err(|e| failed(&args.state_dir(), &e))?;
    DirBuilder::new().recursive(true).mode(0o700).create(&state).map_err(|e| failed(&state, &e))?;
    let (store, instance) = store::open(&args, &state, &node.name).await?;
    let server = claim_rest(&args).await?;
    let plugin = claim_plugin(&args).await?;
    let csi = claim_csi(&args).await?;
    let paths = if args.single_path { host::Paths::One } else { host::Paths::All };
    let config_of_host =
        HostConfig { mounts_root: state.join(MOUNTS), limits: host::Limits::default(), paths };
    let host = Host::open(config_of_host).await.map_err(|e| Failure::new(Code::Failed, chain(&e)))?;

    let families =
        AllFamilies::new(instance.clone(), node.name.clone(), Vault::new(args.backend_secrets.clone()));
    let settings = Settings { sharing: args.shared_backends, ..Settings::new(instance, node.clone()) };
    let orchestrator =
        Orchestrator::start(settings, store, Arc::new(families)).await.map_err(of_orchestrator)?;
    let backends = config.backends.len();
    for (file, path) in config.backends.into_values() {
        for warning in file.warnings() {
            tracing::warn!(backend = %file.name(), warning);
        }
        orchestrator.add_backend(file, BackendOrigin::File(path));
    }
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        name = %args.name,
        instance = %orchestrator.settings().instance,
        node = %node.name,
        state = %state.display(),
        volumes = orchestrator.catalogue().volume_count(),
        backends,
        "leister serves"
    );

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
    let classes = config.classes.into_values().map(|(class, _)| class).collect();
    let set_up = tokio::select! {
        set_up = set_up(&orchestrator, classes, node, args.store.is_shared()) => set_up,
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

/// What files say of classes holds over what was stored; this machine is a node.
///
/// # Behavior
/// A store that others share may be away, or nobody may lead: that passes, and this host serves its users meanwhile.
async fn set_up(
    orchestrator: &Orchestrator,
    classes: Vec<model::Class>,
    node: NodeIdentity,
    is_shared: bool,
) -> Result<(), Failure> {
    let told = async || {
        for class in &classes {
            orchestrator.create_class(class.clone()).await?;
        }
        orchestrator.register_node(node.clone()).await
    };
    loop {
        match told().await {
            Err(error) if is_shared && error.kind == ErrorKind::Unreachable => {
                tracing::warn!(
                    problem = error.sentence(),
                    "this node and the files' classes are not known yet"
                );
                tokio::time::sleep(AGAIN).await;
            }
            told => return told.map_err(of_orchestrator),
        }
    }
}

async fn claim_rest(args: &RunArgs) -> Result<Server, Failure> {
    let mut settings =
        RestSettings { socket: Some(args.socket()), address: None, open_to_all: args.open_to_all };
    match args.listen {
        Some(Listen::None) => {}
        Some(Listen::On(address)) => settings.address = Some(address),
        // Nobody asked for this port: a second instance on this machine does without.
        None => settings.address = PORT.parse().ok(),
    }
    match Server::claim(&settings).await {
        Err(RestError::Port { .. }) if args.listen.is_none() => {
            tracing::info!("{PORT} is taken; the REST interface is on the socket alone");
            settings.address = None;
            Server::claim(&settings).await.map_err(|e| of_rest(&e))
        }
        claimed => claimed.map_err(|e| of_rest(&e)),
    }
}

async fn claim_plugin(args: &RunArgs) -> Result<Plugin, Failure> {
    let mut settings = DockerSettings::new(args.name.clone());
    settings.plugin_dir.clone_from(&args.plugin_dir);
    Plugin::claim(&settings).await.map_err(|e| of_docker(&e))
}

async fn claim_csi(args: &RunArgs) -> Result<Option<csi::Plugin>, Failure> {
    let Some(socket) = args.csi_socket() else { return Ok(None) };
    let settings = CsiSettings { name: args.csi_name.clone(), socket, kubelet: args.kubelet_dir.clone() };
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
