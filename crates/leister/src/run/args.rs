use std::io::IsTerminal;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use model::{InstanceId, NodeName, Topology};
use tracing_subscriber::EnvFilter;

use super::store::StoreArgs;
use crate::cli::Failure;

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) instance: InstanceArgs,
    /// A pool in this directory of this machine, as the backend `local`
    #[arg(long, env = "LEISTER_POOL", value_name = "DIR")]
    pub(crate) pool: Option<PathBuf>,
    /// Make the pool in a sparse file beside its directory if it is not there yet, such as 20GiB
    #[arg(long, env = "LEISTER_POOL_SIZE", value_name = "SIZE", requires = "pool")]
    pub(crate) pool_size: Option<String>,
    /// Where the Docker engine looks for plugins
    #[arg(long, env = "LEISTER_PLUGIN_DIR", value_name = "DIR", default_value = "/run/docker/plugins")]
    pub(crate) plugin_dir: PathBuf,
    /// Serve CSI too, for Kubernetes or Nomad, on this socket, as in unix:///run/leister/csi.sock
    #[arg(long, env = "LEISTER_CSI_ENDPOINT", value_name = "SOCKET", value_parser = endpoint)]
    csi_endpoint: Option<PathBuf>,
    /// What the CSI plugin is called, and so the `provisioner` of a StorageClass
    #[arg(long, env = "LEISTER_CSI_NAME", value_name = "NAME", default_value = csi::DEFAULT_NAME, value_parser = csi_name)]
    pub(crate) csi_name: String,
    /// By CSI a node has at most so many volumes: say the same on all of them
    #[arg(long, env = "LEISTER_CSI_MAX_VOLUMES", value_name = "COUNT")]
    pub(crate) csi_max_volumes: Option<NonZeroU32>,
    /// This node's kubelet, which learns of the CSI plugin here, as in /var/lib/kubelet; --csi-endpoint is then
    /// plugins/NAME/csi.sock in it unless given
    #[arg(long, env = "LEISTER_KUBELET_DIR", value_name = "DIR", value_parser = full_path)]
    pub(crate) kubelet_dir: Option<PathBuf>,
    /// Where this machine is, as in `zone=east` or topology.kubernetes.io/zone=east: by CSI, volumes of pools with
    /// `supportedTopologies` go where they can be reached
    #[arg(long, env = "LEISTER_TOPOLOGY", value_name = "KEY=VALUE", value_delimiter = ',', value_parser = segment)]
    topology: Vec<(String, String)>,
    /// Passphrases of volumes that this node encrypts: a directory with the file `luks-passphrase`, or with one such
    /// directory for each volume
    #[arg(long, env = "LEISTER_LUKS_SECRETS", value_name = "DIR")]
    pub(crate) luks_secrets: Option<PathBuf>,
    /// Reach a volume by one portal of its backend, though it has several: iSCSI then needs no multipathd, and waits
    /// while that portal is away
    #[arg(long, env = "LEISTER_SINGLE_PATH")]
    pub(crate) single_path: bool,
}

// What every daemon needs, whoever its users are.
#[derive(Debug, Args)]
pub(crate) struct InstanceArgs {
    /// The instance; of `leister run` what users write behind `docker volume create -d`
    #[arg(long, env = "LEISTER_NAME", default_value = "leister", value_parser = name)]
    pub(crate) name: InstanceId,
    /// Where records and mounts are kept [default: /var/lib/leister/NAME]
    #[arg(long, env = "LEISTER_STATE_DIR", value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Backends and classes in YAML or JSON; of a directory, all files
    #[arg(long, env = "LEISTER_CONFIG", value_name = "FILE|DIR", value_delimiter = ':')]
    pub(crate) config: Vec<PathBuf>,
    /// The REST port, or `none` [default: 127.0.0.1:8000 while nobody has it]
    #[arg(long, env = "LEISTER_LISTEN", value_name = "ADDRESS", value_parser = listen)]
    pub(crate) listen: Option<Listen>,
    /// Let --listen be an address that other machines can reach; there is no password
    #[arg(long, env = "LEISTER_OPEN_TO_ALL", requires = "listen")]
    pub(crate) open_to_all: bool,
    /// The REST socket, for root alone [default: /run/leister/NAME.sock]
    #[arg(long, env = "LEISTER_SOCKET", value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Secrets that `credentials` in backend files name: a directory for each, with a file for each key, such as
    /// `username` and `password`
    #[arg(long, env = "LEISTER_BACKEND_SECRETS", value_name = "DIR")]
    pub(crate) backend_secrets: Option<PathBuf>,
    /// This machine's name among the nodes [default: the host name]
    #[arg(long, env = "LEISTER_NODE", value_name = "NAME")]
    node: Option<NodeName>,
    /// The id that volumes carry: only to get them back into a new state directory
    #[arg(long, env = "LEISTER_INSTANCE_ID", value_name = "ID")]
    pub(crate) instance_id: Option<InstanceId>,
    /// Other hosts use the same backends, each with a state directory of its own and the same --instance-id: what is
    /// on the backends holds, over what this host has recorded
    #[arg(long, env = "LEISTER_SHARED_BACKENDS", requires = "instance_id")]
    pub(crate) shared_backends: bool,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// How the log is written, to standard error
    #[arg(long, env = "LEISTER_LOG_FORMAT", value_enum, default_value_t)]
    log_format: LogFormat,
    /// error, warn, info, debug, trace, or by part: info,orchestrator=debug
    #[arg(long, env = "LEISTER_LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    log_level: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    None,
    On(SocketAddr),
}

impl LogArgs {
    /// # Errors
    /// A level that is none.
    pub(crate) fn start(&self) -> Result<(), Failure> {
        let filter = EnvFilter::try_new(&self.log_level).map_err(|e| {
            Failure::usage(format!("--log-level `{}`: {e}", self.log_level))
                .hint("write error, warn, info, debug or trace, or by part: info,orchestrator=debug")
        })?;
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        match self.log_format {
            LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
            LogFormat::Json => log.json().flatten_event(true).init(),
        }
        Ok(())
    }
}

impl RunArgs {
    /// The socket of the CSI plugin, where it is served at all.
    pub(crate) fn csi_socket(&self) -> Option<PathBuf> {
        let own = |kubelet: &PathBuf| kubelet.join("plugins").join(&self.csi_name).join("csi.sock");
        self.csi_endpoint.clone().or_else(|| self.kubelet_dir.as_ref().map(own))
    }

    pub(crate) fn topology(&self) -> Topology {
        self.topology.iter().cloned().collect()
    }
}

impl InstanceArgs {
    pub(crate) fn state_dir(&self) -> PathBuf {
        let own = || PathBuf::from("/var/lib/leister").join(self.name.as_str());
        self.state_dir.clone().unwrap_or_else(own)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        let own = || PathBuf::from(format!("/run/leister/{}.sock", self.name));
        self.socket.clone().unwrap_or_else(own)
    }

    /// # Errors
    /// The host name cannot be a node's name.
    pub(crate) fn node(&self) -> Result<NodeName, Failure> {
        if let Some(node) = &self.node {
            return Ok(node.clone());
        }
        let system = rustix::system::uname();
        NodeName::new(system.nodename().to_string_lossy()).map_err(|e| {
            Failure::usage(format!("the host name cannot be used: {e}")).hint("give a name with --node")
        })
    }
}

/// It becomes a file name, and the first part of an id.
fn name(text: &str) -> Result<InstanceId, String> {
    const LONGEST: usize = 60;
    let name = InstanceId::new(text).map_err(|e| e.to_string())?;
    if text.len() > LONGEST {
        return Err(format!("has {} characters; at most {LONGEST} are allowed", text.len()));
    }
    Ok(name)
}

fn listen(text: &str) -> Result<Listen, String> {
    if text == "none" {
        return Ok(Listen::None);
    }
    text.parse()
        .map(Listen::On)
        .map_err(|_| "write an address and a port, as in 127.0.0.1:8000, or none".into())
}

/// As orchestrators write it, or a path.
fn endpoint(text: &str) -> Result<PathBuf, String> {
    let path = text.strip_prefix("unix://").or_else(|| text.strip_prefix("unix:")).unwrap_or(text);
    if path.starts_with('/') && !path.ends_with('/') {
        return Ok(PathBuf::from(path));
    }
    Err("write the full path of a socket, as in unix:///run/leister/csi.sock".into())
}

/// Another process is told of it.
fn full_path(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() { Ok(path) } else { Err("write the full path, as in /var/lib/kubelet".into()) }
}

/// A label of a node, as Kubernetes allows them; `region` and `zone` for short.
fn segment(text: &str) -> Result<(String, String), String> {
    const LONGEST: usize = 63;
    let example = "write KEY=VALUE, as in topology.kubernetes.io/zone=east";
    let (key, value) = text.split_once('=').ok_or(example)?;
    let legal = |word: &str| {
        let is_firm = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        word.len() <= LONGEST
            && is_firm(word.chars().next())
            && is_firm(word.chars().last())
            && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    let key = match key {
        "region" | "zone" => format!("topology.kubernetes.io/{key}"),
        key => key.to_owned(),
    };
    if !key.split('/').all(legal) || key.split('/').count() > 2 || !legal(value) {
        return Err(format!("`{text}` is no label: {example}"));
    }
    Ok((key, value.to_owned()))
}

fn csi_name(text: &str) -> Result<String, String> {
    csi::check_name(text).map(|()| text.to_owned())
}
