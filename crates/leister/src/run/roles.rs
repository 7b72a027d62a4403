//! What instances are made of, each kind by its verb.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use csi::CsiSettings;

use super::args::InstanceArgs;
use super::doors::{ControllerDoorArgs, CsiDoorArgs, HandsArgs, PoolArgs};
use crate::cli::{Failure, duration};

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    beside: CsiArgs,
    /// Where the Docker engine looks for plugins
    #[arg(long, env = "LEISTER_PLUGIN_DIR", value_name = "DIR", default_value = "/run/docker/plugins")]
    plugin_dir: PathBuf,
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct CsiArgs {
    #[command(flatten)]
    instance: InstanceArgs,
    #[command(flatten)]
    pool: PoolArgs,
    #[command(flatten)]
    csi: CsiDoorArgs,
    #[command(flatten)]
    hands: HandsArgs,
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct ControllerArgs {
    #[command(flatten)]
    instance: InstanceArgs,
    #[command(flatten)]
    csi: ControllerDoorArgs,
    /// Take the volumes of a node whose kubelet has been silent for so long from it, and mark it as out of service, so that
    /// its pods run elsewhere; needs `--store kubernetes` [default: never]
    #[arg(long, env = "LEISTER_LOST_NODES_AFTER", value_name = "DURATION", value_parser = silence)]
    lost_nodes_after: Option<Duration>,
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct NodeArgs {
    #[command(flatten)]
    instance: InstanceArgs,
    #[command(flatten)]
    csi: CsiDoorArgs,
    #[command(flatten)]
    hands: HandsArgs,
}

/// What an instance is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(super) instance: InstanceArgs,
    pub(super) pool: Option<PoolArgs>,
    /// Where the engine looks, if one is served.
    pub(super) plugin_dir: Option<PathBuf>,
    pub(super) csi: Option<CsiSettings>,
    /// How this machine uses volumes, if it does.
    pub(super) hands: Option<HandsArgs>,
    /// Whether it may talk to backends and change records.
    pub(super) leads: bool,
    pub(super) lost_nodes_after: Option<Duration>,
}

impl RunArgs {
    pub(crate) fn parts(self) -> Parts {
        let CsiArgs { instance, pool, csi, hands } = self.beside;
        Parts {
            csi: csi.settings(true, &hands),
            instance,
            pool: Some(pool),
            plugin_dir: Some(self.plugin_dir),
            hands: Some(hands),
            leads: true,
            lost_nodes_after: None,
        }
    }
}

impl CsiArgs {
    /// # Errors
    /// It is not said where CSI is served.
    pub(crate) fn parts(self) -> Result<Parts, Failure> {
        Ok(Parts {
            csi: Some(self.csi.required(true, &self.hands)?),
            instance: self.instance,
            pool: Some(self.pool),
            plugin_dir: None,
            hands: Some(self.hands),
            leads: true,
            lost_nodes_after: None,
        })
    }
}

impl ControllerArgs {
    /// # Errors
    /// Nodes are to be watched, and there is no cluster.
    pub(crate) fn parts(self) -> Result<Parts, Failure> {
        if self.lost_nodes_after.is_some() && !self.instance.store.is_cluster() {
            return Err(Failure::usage(
                "--lost-nodes-after is given, but the records are not kept in a cluster",
            )
            .hint("add --store kubernetes, or leave it out"));
        }
        Ok(Parts {
            csi: Some(self.csi.settings()),
            instance: self.instance,
            pool: None,
            plugin_dir: None,
            hands: None,
            leads: true,
            lost_nodes_after: self.lost_nodes_after,
        })
    }
}

impl NodeArgs {
    /// # Errors
    /// It is not said where CSI is served, or there is nobody who could lead.
    pub(crate) fn parts(self) -> Result<Parts, Failure> {
        if !self.instance.store.is_shared() {
            return Err(Failure::usage("a node leads nothing, and its records are its own: nobody would do its work")
                .hint("give the records that a `leister controller` has with --store, or start `leister csi` instead"));
        }
        Ok(Parts {
            csi: Some(self.csi.required(false, &self.hands)?),
            instance: self.instance,
            pool: None,
            plugin_dir: None,
            hands: Some(self.hands),
            leads: false,
            lost_nodes_after: None,
        })
    }
}

fn silence(text: &str) -> Result<Duration, String> {
    const LEAST: Duration = Duration::from_secs(10);
    let long = duration(text)?;
    if long < LEAST { Err("must be 10s at least".to_owned()) } else { Ok(long) }
}
