use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::Args;
use csi::CsiSettings;
use model::Topology;

use crate::cli::Failure;

// How a plugin for container orchestrators is reached.
#[derive(Debug, Args)]
pub(crate) struct CsiDoorArgs {
    /// Serve CSI, for Kubernetes or Nomad, on this socket, as in unix:///run/leister/csi.sock
    #[arg(long, env = "LEISTER_CSI_ENDPOINT", value_name = "SOCKET", value_parser = endpoint)]
    csi_endpoint: Option<PathBuf>,
    #[command(flatten)]
    name: CsiNameArgs,
    /// By CSI a node has at most so many volumes: say the same on all of them
    #[arg(long, env = "LEISTER_CSI_MAX_VOLUMES", value_name = "COUNT")]
    csi_max_volumes: Option<NonZeroU32>,
    /// This node's kubelet, which learns of the CSI plugin here, as in /var/lib/kubelet; --csi-endpoint is then
    /// plugins/NAME/csi.sock in it unless given
    #[arg(long, env = "LEISTER_KUBELET_DIR", value_name = "DIR", value_parser = full_path)]
    kubelet_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CsiNameArgs {
    /// What the CSI plugin is called, and so the `provisioner` of a StorageClass
    #[arg(long, env = "LEISTER_CSI_NAME", value_name = "NAME", default_value = csi::DEFAULT_NAME, value_parser = csi_name)]
    csi_name: String,
}

// The same without a kubelet beside it.
#[derive(Debug, Args)]
pub(crate) struct ControllerDoorArgs {
    /// The socket that the sidecars of the cluster use
    #[arg(
        long,
        env = "LEISTER_CSI_ENDPOINT",
        value_name = "SOCKET",
        default_value = "unix:///run/leister/csi.sock",
        value_parser = endpoint
    )]
    csi_endpoint: PathBuf,
    #[command(flatten)]
    name: CsiNameArgs,
    /// By CSI a node has at most so many volumes: what the nodes say too
    #[arg(long, env = "LEISTER_CSI_MAX_VOLUMES", value_name = "COUNT")]
    csi_max_volumes: Option<NonZeroU32>,
    /// The nodes say with --topology where they are: volumes of pools with `supportedTopologies` go where they can be
    /// reached
    #[arg(long, env = "LEISTER_CSI_TOPOLOGY")]
    csi_topology: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PoolArgs {
    /// A pool in this directory of this machine, as the backend `local`
    #[arg(long, env = "LEISTER_POOL", value_name = "DIR")]
    pub(crate) pool: Option<PathBuf>,
    /// Make the pool in a sparse file beside its directory if it is not there yet, such as 20GiB
    #[arg(long, env = "LEISTER_POOL_SIZE", value_name = "SIZE", requires = "pool")]
    pub(crate) pool_size: Option<String>,
}

// How this machine uses volumes.
#[derive(Debug, Args)]
pub(crate) struct HandsArgs {
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

impl CsiDoorArgs {
    /// With the controller's service too, or that of the node alone; `None`: nobody asked for it.
    pub(crate) fn settings(&self, controller: bool, hands: &HandsArgs) -> Option<CsiSettings> {
        let name = self.name.csi_name.clone();
        let own = |kubelet: &PathBuf| kubelet.join("plugins").join(&name).join("csi.sock");
        let socket = self.csi_endpoint.clone().or_else(|| self.kubelet_dir.as_ref().map(own))?;
        Some(CsiSettings {
            controller,
            socket,
            name,
            kubelet: self.kubelet_dir.clone(),
            topology: !hands.topology.is_empty(),
            most_volumes: self.csi_max_volumes,
        })
    }

    /// # Errors
    /// Nobody said where.
    pub(crate) fn required(&self, controller: bool, hands: &HandsArgs) -> Result<CsiSettings, Failure> {
        self.settings(controller, hands).ok_or_else(|| {
            Failure::usage("it is not said where CSI is served")
                .hint("give --kubelet-dir with what the kubelet has as its --root-dir, or --csi-endpoint")
        })
    }
}

impl ControllerDoorArgs {
    pub(crate) fn settings(self) -> CsiSettings {
        CsiSettings {
            controller: true,
            name: self.name.csi_name,
            socket: self.csi_endpoint,
            kubelet: None,
            topology: self.csi_topology,
            most_volumes: self.csi_max_volumes,
        }
    }
}

impl HandsArgs {
    pub(crate) fn topology(&self) -> Topology {
        self.topology.iter().cloned().collect()
    }
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
