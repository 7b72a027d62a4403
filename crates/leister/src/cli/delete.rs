use api::Client;
use clap::Args;

use super::kind::Deletable;
use super::reach::Follow;
use super::work::{self, Ended};
use super::{Code, Failure, Result};

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// What to delete; plural and short names work too
    #[arg(value_enum)]
    kind: Deletable,
    /// A snapshot is VOLUME/SNAPSHOT
    #[arg(required = true)]
    names: Vec<String>,
    /// Delete a volume's snapshots with it
    #[arg(long)]
    snapshots: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// What is not there counts as deleted
    #[arg(long)]
    ignore_not_found: bool,
    #[command(flatten)]
    follow: Follow,
}

/// Goes on after an error, so that one volume in use does not keep the others.
pub(crate) async fn execute(args: DeleteArgs) -> Result<()> {
    let client = args.follow.client()?;
    if matches!(args.kind, Deletable::Volume | Deletable::Snapshot | Deletable::Group) {
        let question = format!("delete {} {} and the data?", args.kind.as_str(), args.names.join(", "));
        work::confirm(&question, args.yes)?;
    }
    let mut failures = Vec::new();
    for name in &args.names {
        match delete(&client, &args, name).await {
            Err(failure) if args.ignore_not_found && failure.code == Code::NotFound => {}
            Err(failure) => failures.push(failure.about(&format!("{}/{name}", args.kind.as_str()))),
            Ok(()) => {}
        }
    }
    all(failures, args.names.len(), "deleted")
}

async fn delete(client: &Client, args: &DeleteArgs, name: &str) -> Result<()> {
    let what = format!("{}/{name}", args.kind.as_str());
    let started = match args.kind {
        Deletable::Volume => client.delete_volume(name, args.snapshots, args.follow.first()).await?,
        Deletable::Snapshot => {
            let (volume, snapshot) = name.split_once('/').ok_or_else(|| {
                Failure::usage("a snapshot is named VOLUME/SNAPSHOT")
                    .hint("see `leister get snapshots -o name`")
            })?;
            client.delete_snapshot(volume, snapshot, args.follow.first()).await?
        }
        Deletable::Group => client.delete_group(name, args.follow.first()).await?,
        Deletable::Backend => api::Started::Done(client.delete_backend(name).await?),
        Deletable::Class => api::Started::Done(client.delete_class(name).await?),
        Deletable::Node => api::Started::Done(client.delete_node(name).await?),
    };
    match work::follow(client, started, &args.follow, &what).await? {
        Ended::Going(operation) => work::report(&what, "deleted", Some(&operation)),
        Ended::Done(()) | Ended::Later => work::report(&what, "deleted", None),
    }
}

/// One failure with each on its line; the code is theirs where they agree.
pub(super) fn all(mut failures: Vec<Failure>, asked: usize, done: &str) -> Result<()> {
    if failures.len() < 2 {
        return failures.pop().map_or(Ok(()), Err);
    }
    let code = failures[0].code;
    let code = if failures.iter().all(|failure| failure.code == code) { code } else { Code::Failed };
    let mut message = format!("{} of {asked} were not {done}", failures.len());
    for failure in &failures {
        message.push_str("\n  ");
        message.push_str(&failure.message);
        if let Some(hint) = &failure.hint {
            message.push_str(&format!(" ({hint})"));
        }
    }
    Err(Failure::new(code, message))
}
