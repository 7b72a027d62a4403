//! What every daemon stands on: its records, its orchestrator, and the interface for its operators.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cluster::{ClusterInspector, Keeper, LostNodes, Secrets, StorageClasses};
use model::{Class, NodeIdentity, NodeName};
use orchestrator::{BackendOrigin, ErrorKind, Orchestrator, Settings};
use rest::{RestError, RestSettings, Server};
use tokio::task::JoinHandle;

use super::args::{InstanceArgs, Listen};
use super::store::{Cluster, Opened};
use super::{failed, of_orchestrator, of_rest, store};
use crate::cli::Failure;
use crate::config::Config;
use crate::families::{self, AllFamilies};
use crate::usher::Usher;
use crate::vault::Vault;

/// At work.
pub(crate) struct Served {
    pub(crate) orchestrator: Orchestrator,
    /// What ends with it, and what that is.
    beside: Vec<(&'static str, JoinHandle<()>)>,
}

/// What is done in a cluster that the records are in.
#[derive(Debug, Default)]
pub(crate) struct InCluster {
    /// The doctor looks at what the cluster has of this CSI driver.
    pub(crate) driver: Option<String>,
    /// Nodes that are silent for so long are lost.
    pub(crate) lost_nodes_after: Option<Duration>,
}

const PORT: &str = "127.0.0.1:8000";
/// Between tries to tell a shared store of this host.
const AGAIN: Duration = Duration::from_secs(1);

/// Claimed, with nothing done yet.
pub(crate) struct Ground {
    pub(crate) state: PathBuf,
    records: Opened,
    server: Server,
}

impl Ground {
    /// With the records that it needs: whether it may ever lead says which.
    ///
    /// # Errors
    /// Another instance has it, or it cannot be used.
    pub(crate) async fn claim(
        args: &InstanceArgs,
        node: &NodeName,
        has_pool: bool,
        leads: bool,
    ) -> Result<Ground, Failure> {
        let state = std::path::absolute(args.state_dir()).map_err(|e| failed(&args.state_dir(), &e))?;
        DirBuilder::new().recursive(true).mode(0o700).create(&state).map_err(|e| failed(&state, &e))?;
        let records = store::open(args, &state, node, has_pool, leads).await?;
        let server = claim_rest(args).await?;
        Ok(Ground { state, records, server })
    }

    /// How the orchestrator shall be, unless somebody knows better.
    pub(crate) fn settings(&self, args: &InstanceArgs, node: NodeIdentity) -> Settings {
        Settings { sharing: args.shared_backends, ..Settings::new(self.records.instance.clone(), node) }
    }

    /// Starts the orchestrator with the backends of files and, where the records are in a cluster, with those that are
    /// declared in it; and lets its operators in.
    ///
    /// # Errors
    /// The records cannot be read.
    pub(crate) async fn start(
        self,
        args: &InstanceArgs,
        settings: Settings,
        config: Config,
        in_cluster: InCluster,
        usher: &Usher,
    ) -> Result<Served, Failure> {
        let Ground { state, records: Opened { store, cluster, .. }, server } = self;
        let secrets = cluster.as_ref().map(|cluster| Secrets::of(cluster.client.clone(), &cluster.namespace));
        // Who never leads needs no backends.
        let cluster = cluster.filter(|_| settings.leads);
        let vault = Vault::new(args.backend_secrets.clone(), secrets);
        let families = AllFamilies::new(settings.instance.clone(), settings.node.name.clone(), vault);
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
            node = %orchestrator.settings().node.name,
            state = %state.display(),
            volumes = orchestrator.catalogue().volume_count(),
            backends,
            "leister serves"
        );
        let mut beside = Vec::new();
        if let Some(Cluster { client, namespace, trident }) = cluster {
            if let Some(driver) = in_cluster.driver {
                let inspector = ClusterInspector::new(client.clone(), &driver);
                orchestrator.add_inspector(Arc::new(inspector));
                let classes = StorageClasses::new(client.clone(), &driver);
                let classes = tokio::spawn(classes.serve(orchestrator.clone(), usher.stopped()));
                beside.push(("the watch for classes of volumes", classes));
                if let Some(after) = in_cluster.lost_nodes_after {
                    let lost = LostNodes::new(client.clone(), &driver, after);
                    let lost = tokio::spawn(lost.serve(orchestrator.clone(), usher.stopped()));
                    beside.push(("the watch for lost nodes", lost));
                }
            }
            let keeper = Keeper::new(client, &namespace, trident, families::check);
            let keeper = tokio::spawn(keeper.serve(orchestrator.clone(), usher.stopped()));
            beside.push(("the keeper of declared backends", keeper));
        }
        let rest = tokio::spawn(server.serve(orchestrator.clone(), usher.stopped()));
        beside.push(("the REST server", rest));
        Ok(Served { orchestrator, beside })
    }
}

impl Served {
    /// Ends in order, once somebody has asked for the end.
    pub(crate) async fn end(self) {
        for (what, task) in self.beside {
            if let Err(error) = task.await {
                tracing::error!(%error, "{what} ended badly");
            }
        }
        self.orchestrator.stop().await;
        tracing::info!("stopped");
    }
}

/// What files say of classes holds over what was stored; this machine is a node, if it uses volumes.
///
/// # Behavior
/// A store that others share may be away, or nobody may lead: that passes, and this host serves its users meanwhile.
pub(crate) async fn set_up(
    orchestrator: &Orchestrator,
    classes: Vec<Class>,
    node: Option<NodeIdentity>,
    is_shared: bool,
) -> Result<(), Failure> {
    let told = async || {
        for class in &classes {
            orchestrator.create_class(class.clone()).await?;
        }
        match &node {
            Some(node) => orchestrator.register_node(node.clone()).await,
            None => Ok(()),
        }
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

async fn claim_rest(args: &InstanceArgs) -> Result<Server, Failure> {
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
