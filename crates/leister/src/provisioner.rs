//! `leister provisioner`: the orchestrator with claims of Kubernetes as its users.

use ::provisioner::{Provisioner, ProvisionerSettings};
use clap::Args;
use model::{NodeIdentity, NodeName};
use orchestrator::Settings;
use store::kubernetes_client;

use crate::cli::{Code, Failure};
use crate::config::Config;
use crate::families;
use crate::instance;
use crate::run::{Ground, InCluster, InstanceArgs, of_kubernetes, set_up};
use crate::usher::Usher;

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct ProvisionerArgs {
    /// What StorageClasses call this provisioner; several with commas
    #[arg(
        long = "provisioner-name",
        env = "LEISTER_PROVISIONER_NAME",
        value_name = "NAME",
        value_delimiter = ',',
        default_value = ::provisioner::DEFAULT_NAME,
        value_parser = provisioner_name
    )]
    names: Vec<String>,
    /// The Lease of which one replica is the holder [default: NAME-provisioner]
    #[arg(long, env = "LEISTER_LEASE", value_name = "NAME")]
    lease: Option<String>,
    /// What the cluster is called among the nodes that reach volumes: another word for each cluster on one store
    #[arg(long, env = "LEISTER_CLUSTER", value_name = "NAME", default_value = "kubernetes")]
    cluster: NodeName,
    /// So many percent of the size of each volume of files are for its snapshots, as Trident's first versions had 5;
    /// without it what backend files say comes on top of the size. For ONTAP
    #[arg(
        long,
        env = "LEISTER_SNAPSHOT_RESERVE",
        value_name = "PERCENT",
        value_parser = clap::value_parser!(u8).range(0..=90)
    )]
    snapshot_reserve: Option<u8>,
    #[command(flatten)]
    instance: InstanceArgs,
}

/// Works until a signal ends it.
///
/// # Errors
/// What keeps it from starting: nothing has been changed then.
pub(crate) async fn run(args: ProvisionerArgs) -> Result<(), Failure> {
    args.instance.log.start()?;
    let config = Config::read(&args.instance.config)?;
    for (file, _) in config.backends.values() {
        families::check_for_pvs(file).map_err(Failure::usage)?;
    }
    let node = NodeIdentity::named(args.instance.node()?);
    if node.name == args.cluster {
        let message = format!("--cluster `{}` is also the name of this node", args.cluster);
        return Err(Failure::usage(message).hint("give another one with --cluster or --node"));
    }
    let usher = Usher::listen()?;
    let ground = Ground::claim(&args.instance, &node.name, false, true).await?;
    let replica = instance::fresh(node.name.as_str())
        .map_err(|e| Failure::new(Code::Failed, format!("cannot make a name for this replica: {e}")))?;
    let settings = ProvisionerSettings {
        names: args.names,
        namespace: args.instance.store.namespace.clone(),
        lease: args.lease.unwrap_or_else(|| format!("{}-provisioner", args.instance.name)),
        replica: replica.to_string(),
        cluster: args.cluster,
        snapshot_reserve: args.snapshot_reserve,
    };
    let client =
        kubernetes_client(args.instance.store.kubeconfig.as_deref()).await.map_err(|e| of_kubernetes(&e))?;
    let provisioner = Provisioner::connect(client, settings).await.map_err(|e| {
        Failure::new(Code::Failed, e.to_string())
            .hint("deploy/kubernetes/provisioner.yaml has the rights that it needs")
    })?;
    let classes = config.classes();
    let settings = Settings { is_node: false, ..ground.settings(&args.instance, node) };
    let at_work = ground.start(&args.instance, settings, config, InCluster::default(), &usher).await?;
    let orchestrator = at_work.orchestrator.clone();
    let provisioning = tokio::spawn(provisioner.serve(orchestrator.clone(), usher.stopped()));
    let set_up = tokio::select! {
        set_up = set_up(&orchestrator, classes, None, args.instance.store.is_shared()) => set_up,
        () = usher.stopped() => Ok(()),
    };
    if set_up.is_err() {
        usher.stop();
    }
    usher.stopped().await;
    if let Err(e) = provisioning.await {
        tracing::error!(error = %e, "the provisioner ended badly");
    }
    at_work.end().await;
    set_up
}

fn provisioner_name(text: &str) -> Result<String, String> {
    ::provisioner::check_name(text).map(|()| text.to_owned())
}
