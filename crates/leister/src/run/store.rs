//! Where the records are: in a file of this machine, or in an etcd or Kubernetes cluster that several hosts share.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use model::{InstanceId, NodeName};
use store::{
    Definition, EtcdConfig, EtcdStore, EtcdUser, KubernetesConfig, KubernetesStore, Post, SqliteStore, Store,
    StoreError,
};

use super::{InstanceArgs, chain, of_store};
use crate::cli::{Code, Failure};
use crate::instance;

#[derive(Debug, Args)]
pub(crate) struct StoreArgs {
    /// Where records are kept: `sqlite` in the state directory; `etcd` or `kubernetes` in a cluster that several hosts
    /// share
    #[arg(long = "store", env = "LEISTER_STORE", value_enum, default_value_t)]
    kind: Kind,
    /// Members of the etcd cluster, as http://host:port or https://host:port
    #[arg(
        long,
        env = "LEISTER_ETCD_ENDPOINTS",
        value_name = "URL",
        value_delimiter = ',',
        required_if_eq("kind", "etcd")
    )]
    etcd_endpoints: Vec<String>,
    /// The keys below which the records are: the same on all hosts [default: /leister/NAME]
    #[arg(long, env = "LEISTER_ETCD_PREFIX", value_name = "PREFIX")]
    etcd_prefix: Option<String>,
    /// The authority that signed the members' certificates, in PEM
    #[arg(long, env = "LEISTER_ETCD_CA", value_name = "FILE")]
    etcd_ca: Option<PathBuf>,
    /// Our certificate, for members that ask for one, in PEM
    #[arg(long, env = "LEISTER_ETCD_CERT", value_name = "FILE", requires = "etcd_key")]
    etcd_cert: Option<PathBuf>,
    /// The key of our certificate, in PEM
    #[arg(long, env = "LEISTER_ETCD_KEY", value_name = "FILE", requires = "etcd_cert")]
    etcd_key: Option<PathBuf>,
    /// Our name, for a cluster that asks for a password
    #[arg(long, env = "LEISTER_ETCD_USER", value_name = "NAME", requires = "etcd_password_file")]
    etcd_user: Option<String>,
    /// A file with our password
    #[arg(long, env = "LEISTER_ETCD_PASSWORD_FILE", value_name = "FILE", requires = "etcd_user")]
    etcd_password_file: Option<PathBuf>,
    /// How to reach the Kubernetes cluster [default: as a pod of it, with its service account]
    #[arg(long, env = "LEISTER_KUBECONFIG", value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// What is ours in Kubernetes is in this namespace [default: the pod's own, or the kubeconfig's]
    #[arg(long, env = "LEISTER_NAMESPACE", value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,
    /// Take Trident's TridentBackendConfig objects in the namespace for backends too: not while Trident does
    #[arg(long, env = "LEISTER_TRIDENT_CONFIGS")]
    trident_configs: bool,
}

/// A cluster of Kubernetes whose resources the records are.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) client: kube::Client,
    pub(crate) namespace: String,
    /// Trident's declarations hold too.
    pub(crate) trident: bool,
}

/// What was opened.
pub(super) struct Opened {
    pub(super) store: Arc<dyn Store>,
    /// With which this instance tags what it makes.
    pub(super) instance: InstanceId,
    pub(super) cluster: Option<Cluster>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Kind {
    #[default]
    Sqlite,
    Etcd,
    Kubernetes,
}

const RECORDS: &str = "leister.db";
/// What is written below the prefix, and how. Another version that writes it otherwise has another number.
const FORMAT: &str = "1";
/// A cluster that starts with this machine may take a while.
const STARTING: Duration = Duration::from_secs(10);
/// The name of a host whose instance has died is free after its session has run out.
const LEAVING: Duration = Duration::from_secs(15);
/// A lease in Kubernetes, without renewal.
const LASTS: Duration = Duration::from_secs(8);
const PAUSE: Duration = Duration::from_millis(500);

/// Opens the records.
///
/// # Errors
/// Options that do not fit together; a store that cannot be used, with the way out.
pub(super) async fn open(
    args: &InstanceArgs,
    state: &Path,
    node: &NodeName,
    has_pool: bool,
    leads: bool,
) -> Result<Opened, Failure> {
    args.store.check(args, has_pool)?;
    let records = state.join(RECORDS);
    let has_records = records.exists();
    if has_records && args.store.is_shared() {
        let place = args.store.kind.word();
        let message = format!("{} has records that would not be seen in {place}", records.display());
        return Err(Failure::new(Code::Conflict, message).hint(
            "give another --state-dir; to take the volumes along, give the id in the file `instance` there with \
             --instance-id and then `leister adopt --all`",
        ));
    }
    match args.store.kind {
        Kind::Kubernetes => return args.store.open_kubernetes(args, state, node, leads).await,
        Kind::Etcd => return args.store.open_etcd(args, state, node).await,
        Kind::Sqlite => {}
    }
    let store = tokio::task::spawn_blocking(move || SqliteStore::open(&records))
        .await
        .map_err(|e| Failure::new(Code::Failed, format!("cannot open the store: {e}")))?
        .map_err(|e| of_store(&e))?;
    let instance = instance::instance(state, args.name.as_str(), args.instance_id.as_ref(), has_records)?;
    Ok(Opened { store: Arc::new(store), instance, cluster: None })
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Sqlite => "sqlite",
            Kind::Etcd => "etcd",
            Kind::Kubernetes => "kubernetes",
        }
    }
}

impl StoreArgs {
    /// Whether other hosts may use it too.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.kind, Kind::Etcd | Kind::Kubernetes)
    }

    /// Whether the records are in a Kubernetes cluster.
    pub(crate) fn is_cluster(&self) -> bool {
        self.kind == Kind::Kubernetes
    }

    /// For who asks a Kubernetes cluster for nothing but its records.
    ///
    /// # Errors
    /// A cluster is named, and its records are elsewhere.
    pub(crate) fn check_cluster(&self) -> Result<(), Failure> {
        let named = [("--kubeconfig", self.kubeconfig.is_some()), ("--namespace", self.namespace.is_some())];
        match named.into_iter().find(|(_, is_given)| *is_given) {
            Some((option, _)) if self.kind != Kind::Kubernetes => {
                let message = format!("{option} is given, but the records are kept in {}", self.kind.word());
                Err(Failure::usage(message).hint("add --store kubernetes, or leave it out"))
            }
            _ => Ok(()),
        }
    }

    fn check(&self, args: &InstanceArgs, has_pool: bool) -> Result<(), Failure> {
        match self.kind {
            Kind::Sqlite | Kind::Etcd if self.trident_configs => {
                let word = self.kind.word();
                let message = format!("--trident-configs is given, but the records are kept in {word}");
                Err(Failure::usage(message).hint("add --store kubernetes, or leave it out"))
            }
            Kind::Sqlite if !self.etcd_endpoints.is_empty() => {
                Err(Failure::usage("--etcd-endpoints is given, but the records are kept in sqlite")
                    .hint("add --store etcd, or leave it out"))
            }
            Kind::Kubernetes if !self.etcd_endpoints.is_empty() => {
                Err(Failure::usage("--etcd-endpoints is given, but the records are kept in kubernetes")
                    .hint("choose one: --store etcd or --store kubernetes"))
            }
            Kind::Etcd | Kind::Kubernetes if args.shared_backends => {
                let word = self.kind.word();
                let message =
                    format!("--shared-backends is for hosts that share no store, and --store {word} is one");
                Err(Failure::usage(message).hint("leave --shared-backends out"))
            }
            Kind::Etcd | Kind::Kubernetes if has_pool => {
                Err(Failure::usage("--pool is a pool of this machine, which no other host that leads can use")
                    .hint("make it an array with `leister filer serve`, and give all hosts its backend file with --config"))
            }
            Kind::Sqlite | Kind::Etcd | Kind::Kubernetes => Ok(()),
        }
    }

    async fn open_etcd(&self, args: &InstanceArgs, state: &Path, node: &NodeName) -> Result<Opened, Failure> {
        let config = self.config(args)?;
        let failed = |error: &StoreError| self.failed(&config, error);
        let store = reached("etcd", async || EtcdStore::open(&config).await).await.map_err(|e| failed(&e))?;
        let kept = async |name: &'static str, value: String| store.keep(name, &value).await;
        let place = format!("etcd below {}", config.prefix);
        let way = "choose another place with --etcd-prefix";
        let instance = settled(args, &place, way, kept, &failed).await?;
        claim(&store, state, node, &failed).await?;
        Ok(Opened { store: Arc::new(store), instance, cluster: None })
    }

    async fn open_kubernetes(
        &self,
        args: &InstanceArgs,
        state: &Path,
        node: &NodeName,
        leads: bool,
    ) -> Result<Opened, Failure> {
        // Who never leads opens no backend, and reads no Secret.
        let is_read = |kind: &Definition| leads || !kind.is_private;
        let config = KubernetesConfig {
            kubeconfig: self.kubeconfig.clone(),
            namespace: self.namespace.clone(),
            lasts: LASTS,
            kinds: crate::crds::KINDS.into_iter().filter(is_read).collect(),
        };
        let store = reached("the Kubernetes cluster", async || KubernetesStore::open(&config).await)
            .await
            .map_err(|e| of_kubernetes(&e))?;
        let kept = async |name: &'static str, value: String| store.keep(name, &value).await;
        let place = format!("the namespace {} of the cluster", store.namespace());
        let instance =
            settled(args, &place, "choose another one with --namespace", kept, &of_kubernetes).await?;
        claim(&store, state, node, &of_kubernetes).await?;
        let cluster = Cluster {
            client: store.client(),
            namespace: store.namespace().to_owned(),
            trident: self.trident_configs,
        };
        Ok(Opened { store: Arc::new(store), instance, cluster: Some(cluster) })
    }

    fn config(&self, args: &InstanceArgs) -> Result<EtcdConfig, Failure> {
        let prefix = self.etcd_prefix.clone().unwrap_or_else(|| format!("/leister/{}", args.name));
        if !prefix.starts_with('/') || prefix.trim_matches('/').is_empty() {
            return Err(Failure::usage(format!("--etcd-prefix `{prefix}` must begin with / and a name"))
                .hint("write it as /leister/production"));
        }
        let user = match (&self.etcd_user, &self.etcd_password_file) {
            (Some(name), Some(file)) => Some(EtcdUser { name: name.clone(), password: password(file)? }),
            _ => None,
        };
        Ok(EtcdConfig {
            endpoints: self.etcd_endpoints.iter().map(|endpoint| endpoint.trim().to_owned()).collect(),
            prefix,
            ca: self.etcd_ca.clone(),
            identity: self.etcd_cert.clone().zip(self.etcd_key.clone()),
            user,
        })
    }

    fn failed(&self, config: &EtcdConfig, error: &StoreError) -> Failure {
        let endpoints = config.endpoints.join(", ");
        match error {
            StoreError::Unavailable { .. } => {
                let message = format!("etcd at {endpoints} cannot be used: {}", chain(error));
                let hint = if endpoints.contains("https://") {
                    "check --etcd-endpoints, and that --etcd-ca, --etcd-cert and --etcd-key are what the members ask for"
                } else {
                    "check --etcd-endpoints: is the cluster up, and does it listen for http, not https?"
                };
                Failure::new(Code::Unreachable, message).hint(hint)
            }
            StoreError::Denied { .. } => {
                let message = format!("etcd at {endpoints} refuses: {}", chain(error));
                Failure::new(Code::Failed, message).hint(format!(
                    "check --etcd-user and --etcd-password-file; the user must be allowed to read and write below {}",
                    config.prefix
                ))
            }
            StoreError::Damaged { problem, .. } => Failure::usage(problem.clone())
                .hint("see --etcd-endpoints, --etcd-ca, --etcd-cert and --etcd-key in `leister run --help`"),
            other => of_store(other),
        }
    }
}

/// Opens a store that may still be starting, as this machine is.
async fn reached<S>(what: &str, open: impl AsyncFn() -> Result<S, StoreError>) -> Result<S, StoreError> {
    let started = Instant::now();
    loop {
        match open().await {
            Err(StoreError::Unavailable { .. }) if started.elapsed() < STARTING => {
                tracing::warn!("{what} does not answer yet");
                tokio::time::sleep(PAUSE).await;
            }
            reached => return reached,
        }
    }
}

/// Which format the records have and under which id volumes are tagged: what was said first holds.
async fn settled(
    args: &InstanceArgs,
    place: &str,
    way: &str,
    keep: impl AsyncFn(&'static str, String) -> Result<String, StoreError>,
    failed: &impl Fn(&StoreError) -> Failure,
) -> Result<InstanceId, Failure> {
    let format = keep("format", FORMAT.to_owned()).await.map_err(|e| failed(&e))?;
    if format != FORMAT {
        let message = format!(
            "the records in {place} have the format {format}; this version of leister knows {FORMAT}"
        );
        return Err(Failure::new(Code::Conflict, message)
            .hint(format!("start the version that wrote them, or {way}")));
    }
    let wanted = match &args.instance_id {
        Some(wanted) => wanted.clone(),
        None => instance::fresh(args.name.as_str())
            .map_err(|e| Failure::new(Code::Failed, format!("cannot make an id: {e}")))?,
    };
    let kept = keep("instance", wanted.to_string()).await.map_err(|e| failed(&e))?;
    if args.instance_id.is_some() && kept != wanted.as_str() {
        let message = format!("the store says `{kept}`, not `{wanted}`");
        return Err(Failure::new(Code::Conflict, message)
            .hint("leave --instance-id out; it is for a store without records"));
    }
    InstanceId::new(&kept)
        .map_err(|e| Failure::new(Code::Failed, format!("the instance's id in {place} is damaged: {e}")))
}

/// No two hosts may be one node: each would mount what the other has for itself.
async fn claim(
    store: &dyn Post,
    state: &Path,
    node: &NodeName,
    failed: &impl Fn(&StoreError) -> Failure,
) -> Result<(), Failure> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let owner = format!("{} {}", boot.trim(), state.display());
    let started = Instant::now();
    loop {
        match store.claim(&format!("node/{node}"), &owner).await {
            Ok(()) => return Ok(()),
            Err(StoreError::Held { .. }) if started.elapsed() < LEAVING => {
                tokio::time::sleep(PAUSE).await;
            }
            Err(StoreError::Held { .. }) => {
                let message = format!("another instance that runs is the node `{node}` already");
                return Err(Failure::new(Code::Conflict, message)
                    .hint("give each host a name of its own with --node"));
            }
            Err(error) => return Err(failed(&error)),
        }
    }
}

pub(crate) fn of_kubernetes(error: &StoreError) -> Failure {
    match error {
        StoreError::Unavailable { .. } => {
            Failure::new(Code::Unreachable, format!("the cluster cannot be used: {}", chain(error)))
                .hint("check --kubeconfig, and that the apiserver is up")
        }
        StoreError::Denied { .. } => {
            Failure::new(Code::Failed, format!("the cluster refuses: {}", chain(error)))
                .hint("deploy/kubernetes/store.yaml has the rights that it needs")
        }
        StoreError::Damaged { problem, advice, .. } => Failure::usage(problem.clone()).hint(advice.clone()),
        other => of_store(other),
    }
}

/// Without the end of its line.
fn password(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    std::fs::File::open(file).and_then(|mut file| file.read_to_string(&mut text)).map_err(|e| {
        Failure::new(Code::Failed, format!("--etcd-password-file {}: {e}", file.display()))
            .hint("write the password into it, readable by root alone")
    })?;
    let password = text.trim_end_matches(['\r', '\n']).to_owned();
    if password.is_empty() {
        return Err(Failure::usage(format!("--etcd-password-file {} is empty", file.display()))
            .hint("write the password into it, readable by root alone"));
    }
    Ok(password)
}
