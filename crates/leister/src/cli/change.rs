//! Verbs on one volume: grow, modify, snapshot, restore, clone.

use api::{Client, GroupCreate, Quantity, SourceView, VolumeCreate, VolumeGrow, VolumeModify};
use clap::Args;

use super::create::{self, pair, size, snapshot_name};
use super::reach::Follow;
use super::work::{self, Ended};
use super::{Failure, Result};
use crate::output::Format;

#[derive(Debug, Args)]
pub(crate) struct GrowArgs {
    volume: String,
    /// What it shall have, such as 40GiB
    #[arg(value_parser = size)]
    size: Quantity,
    #[command(flatten)]
    follow: Follow,
}

#[derive(Debug, Args)]
pub(crate) struct ModifyArgs {
    volume: String,
    /// An option of the backend, such as qosPolicy=gold; others stay as they are
    #[arg(long = "option", value_name = "KEY=VALUE", value_parser = pair, required = true)]
    options: Vec<(String, String)>,
    #[command(flatten)]
    follow: Follow,
}

#[derive(Debug, Args)]
pub(crate) struct SnapshotArgs {
    volume: String,
    /// Named after the time if left out
    name: Option<String>,
    /// Of this volume too, at the same instant; all of them or none
    #[arg(long, value_name = "VOLUME", value_delimiter = ',')]
    with: Vec<String>,
    #[command(flatten)]
    follow: Follow,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    volume: String,
    snapshot: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    follow: Follow,
}

#[derive(Debug, Args)]
pub(crate) struct CloneArgs {
    /// The volume to copy, or VOLUME/SNAPSHOT
    source: String,
    /// The name of the new volume
    name: String,
    /// The content of this snapshot, not of this moment
    #[arg(long)]
    snapshot: Option<String>,
    /// At least that of the source
    #[arg(long, value_parser = size)]
    size: Option<Quantity>,
    #[arg(long)]
    class: Option<String>,
    #[arg(short, long, value_enum)]
    output: Option<Format>,
    #[command(flatten)]
    follow: Follow,
}

pub(crate) async fn grow(args: GrowArgs) -> Result<()> {
    let client = args.follow.client()?;
    let what = format!("volume/{}", args.volume);
    let wanted = VolumeGrow { size: args.size };
    let started = client.grow_volume(&args.volume, &wanted, args.follow.first()).await?;
    let volume = match work::follow(&client, started, &args.follow, &what).await? {
        Ended::Going(operation) => return work::report(&what, "grown", Some(&operation)),
        Ended::Done(volume) => volume,
        Ended::Later => client.volume(&args.volume, false).await?,
    };
    work::report(&what, &format!("has {}", model::Bytes::new(volume.size)), None)
}

pub(crate) async fn modify(args: ModifyArgs) -> Result<()> {
    let client = args.follow.client()?;
    let what = format!("volume/{}", args.volume);
    let wanted = VolumeModify { options: args.options.into_iter().collect() };
    let started = client.modify_volume(&args.volume, &wanted, args.follow.first()).await?;
    match work::follow(&client, started, &args.follow, &what).await? {
        Ended::Going(operation) => work::report(&what, "modified", Some(&operation)),
        Ended::Done(_) | Ended::Later => work::report(&what, "modified", None),
    }
}

pub(crate) async fn snapshot(args: SnapshotArgs) -> Result<()> {
    let client = args.follow.client()?;
    let wanted = snapshot_name(args.name);
    if !args.with.is_empty() {
        let volumes = std::iter::once(args.volume).chain(args.with).collect();
        return group(&client, GroupCreate { name: wanted.name, volumes }, &args.follow).await;
    }
    let what = format!("snapshot/{}/{}", args.volume, wanted.name);
    let started = client.take_snapshot(&args.volume, &wanted, args.follow.first()).await?;
    match work::follow(&client, started, &args.follow, &what).await? {
        Ended::Going(operation) => work::report(&what, "created", Some(&operation)),
        Ended::Done(_) | Ended::Later => work::report(&what, "created", None),
    }
}

async fn group(client: &Client, wanted: GroupCreate, follow: &Follow) -> Result<()> {
    let what = format!("group/{}", wanted.name);
    let started = client.take_group(&wanted, follow.first()).await?;
    match work::follow(client, started, follow, &what).await? {
        Ended::Going(operation) => work::report(&what, "created", Some(&operation)),
        Ended::Done(_) | Ended::Later => work::report(&what, "created", None),
    }
}

pub(crate) async fn restore(args: RestoreArgs) -> Result<()> {
    let client = args.follow.client()?;
    let what = format!("volume/{}", args.volume);
    let question = format!(
        "replace the content of volume {} by that of snapshot {}? What was written since is lost.",
        args.volume, args.snapshot
    );
    work::confirm(&question, args.yes)?;
    let started = client.restore_volume(&args.volume, &args.snapshot, args.follow.first()).await?;
    match work::follow(&client, started, &args.follow, &what).await? {
        Ended::Going(operation) => work::report(&what, "restored", Some(&operation)),
        Ended::Done(_) | Ended::Later => {
            work::report(&what, &format!("restored from {}", args.snapshot), None)
        }
    }
}

pub(crate) async fn clone(args: CloneArgs) -> Result<()> {
    let mut source: SourceView = create::source(&args.source);
    if let Some(snapshot) = args.snapshot {
        if source.snapshot.is_some() {
            return Err(Failure::usage("the snapshot is named twice").hint("leave --snapshot out"));
        }
        source.snapshot = Some(snapshot);
    }
    let wanted = VolumeCreate {
        name: args.name,
        size: args.size,
        class: args.class,
        source: Some(source),
        ..VolumeCreate::default()
    };
    create::start_volume(&wanted, &args.follow, args.output).await
}
