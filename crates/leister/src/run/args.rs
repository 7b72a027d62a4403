use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use model::{InstanceId, NodeName};
use tracing_subscriber::EnvFilter;

use super::store::StoreArgs;
use crate::cli::Failure;

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
        // Who reads the log may go: to complain of that on the same stream would be a panic of whatever logs.
        let log = log.log_internal_errors(false);
        match self.log_format {
            LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
            LogFormat::Json => log.json().flatten_event(true).init(),
        }
        Ok(())
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
