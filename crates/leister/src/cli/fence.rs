//! The verb that takes volumes from a node that cannot give them back.

use clap::{Args, Subcommand};

use super::reach::Follow;
use super::work::{self, Ended};
use super::{Failure, Result};
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct FenceArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// One volume, from one node
    #[command(visible_alias = "volumes")]
    Volume {
        volume: String,
        /// It can neither read nor write the volume any more
        #[arg(long)]
        node: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        #[command(flatten)]
        follow: Follow,
    },
    /// All volumes that one node may reach
    #[command(visible_alias = "nodes")]
    Node {
        node: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        #[command(flatten)]
        follow: Follow,
    },
}

pub(crate) async fn fence(args: FenceArgs) -> Result<()> {
    let (volumes, node, yes, follow) = match args.what {
        What::Volume { volume, node, yes, follow } => (vec![volume], node, yes, follow),
        What::Node { node, yes, follow } => {
            let volumes = follow.client()?.volumes_of_node(&node).await?;
            (volumes, node, yes, follow)
        }
    };
    if volumes.is_empty() {
        return Ok(output::note(&format!("node {node} has no volume"))?);
    }
    let client = follow.client()?;
    let question = format!(
        "take {} from node {node}? What runs there and uses it fails from then on.",
        volumes.join(", ")
    );
    work::confirm(&question, yes)?;
    let mut failures: Vec<Failure> = Vec::new();
    for volume in &volumes {
        let what = format!("volume/{volume}");
        let fenced = async {
            let started = client.fence_volume(volume, &node, follow.first()).await?;
            let done = format!("taken from node {node}");
            match work::follow(&client, started, &follow, &what).await? {
                Ended::Going(operation) => work::report(&what, &done, Some(&operation)),
                Ended::Done(()) | Ended::Later => work::report(&what, &done, None),
            }
        };
        if let Err(failure) = fenced.await {
            failures.push(failure.about(&what));
        }
    }
    super::delete::all(failures, volumes.len(), "fenced")
}
