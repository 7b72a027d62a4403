use api::{Client, VolumeFilter};
use clap::Args;

use super::kind::Kind;
use super::reach::Reach;
use super::{Code, Failure, Result};
use crate::output::{self, Format, Shown};

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// What to show; singular and short names work too (vol, snap, sc, op, …)
    #[arg(value_enum)]
    kind: Kind,
    /// Only these; a snapshot is VOLUME/SNAPSHOT, and VOLUME means all of its snapshots
    names: Vec<String>,
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// Volumes and pools on this backend
    #[arg(long)]
    backend: Option<String>,
    /// Volumes of this class
    #[arg(long)]
    class: Option<String>,
    /// Volumes in this state: creating, ready, restoring, deleting or missing
    #[arg(long)]
    status: Option<String>,
    /// Volumes with such labels, as in `tier=gold; site in (a, b)`
    #[arg(short = 'l', long)]
    selector: Option<String>,
    #[command(flatten)]
    reach: Reach,
}

pub(crate) async fn execute(args: GetArgs) -> Result<()> {
    let client = args.reach.client()?;
    let names = &args.names;
    match args.kind {
        Kind::Volumes => show(&args, volumes(&client, &args).await?),
        Kind::Snapshots => show(&args, snapshots(&client, names).await?),
        Kind::Backends if names.is_empty() => show(&args, client.backends().await?),
        Kind::Backends => show(&args, each(names, async |name| Ok(client.backend(name).await?)).await?),
        Kind::Classes if names.is_empty() => show(&args, client.classes().await?),
        Kind::Classes => show(&args, each(names, async |name| Ok(client.class(name).await?)).await?),
        Kind::Nodes if names.is_empty() => show(&args, client.nodes().await?),
        Kind::Nodes => show(&args, each(names, async |name| Ok(client.node(name).await?)).await?),
        Kind::Operations if names.is_empty() => show(&args, client.operations().await?),
        Kind::Operations => show(&args, each(names, async |name| Ok(client.operation(name).await?)).await?),
        Kind::Pools => {
            let mut pools = client.pools().await?;
            pools.retain(|pool| args.backend.as_ref().is_none_or(|backend| pool.backend == *backend));
            show(&args, chosen(pools, names)?)
        }
    }
}

async fn volumes(client: &Client, args: &GetArgs) -> Result<Vec<api::VolumeView>> {
    // What is used must be asked of the backend, so only where it is shown.
    let live = matches!(args.output, Format::Wide);
    if !args.names.is_empty() {
        return each(&args.names, async |name| {
            Ok(client.volume(name, live || args.names.len() == 1).await?)
        })
        .await;
    }
    let filter = VolumeFilter {
        backend: args.backend.clone(),
        class: args.class.clone(),
        status: args.status.clone(),
        selector: args.selector.clone(),
        live,
    };
    Ok(client.volumes(&filter).await?)
}

async fn snapshots(client: &Client, names: &[String]) -> Result<Vec<api::SnapshotView>> {
    if names.is_empty() {
        return Ok(client.snapshots(None).await?);
    }
    let mut found = Vec::new();
    for name in names {
        match name.split_once('/') {
            Some((volume, snapshot)) => found.push(client.snapshot(volume, snapshot).await?),
            None => found.extend(client.snapshots(Some(name)).await?),
        }
    }
    Ok(found)
}

/// Asks for one after the other; the first that fails ends it.
async fn each<T>(names: &[String], ask: impl AsyncFn(&str) -> Result<T>) -> Result<Vec<T>> {
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        found.push(ask(name).await?);
    }
    Ok(found)
}

/// Pools have no route of their own: their names are only unique within a backend.
fn chosen<T: Shown>(items: Vec<T>, names: &[String]) -> Result<Vec<T>> {
    let known: Vec<String> = items.iter().map(Shown::name).collect();
    let matches = |item: &str, name: &str| item == name || item.split('/').next_back() == Some(name);
    if let Some(missing) = names.iter().find(|name| !known.iter().any(|item| matches(item, name))) {
        let failure = Failure::new(Code::NotFound, format!("there is no {} `{missing}`", T::KIND));
        return Err(match model::nearest(missing, known.iter().map(String::as_str)) {
            Some(near) => failure.hint(format!("did you mean `{near}`?")),
            None => failure,
        });
    }
    let wanted = |item: &T| names.is_empty() || names.iter().any(|name| matches(&item.name(), name));
    Ok(items.into_iter().filter(wanted).collect())
}

fn show<T: Shown>(args: &GetArgs, items: Vec<T>) -> Result<()> {
    output::items(&items, args.output, args.names.len() == 1 && items.len() == 1)
}
