//! Verbs about volumes that are there without a record, or shall be left there: import, adopt, forget.

use api::{AdoptRequest, ImportRequest};
use clap::{Args, ValueEnum};

use super::reach::{Follow, Reach};
use super::work::{self, Ended};
use super::{Code, Failure, Result};
use crate::output::{self, Format};

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    backend: String,
    /// Its name on the backend now
    original: String,
    /// Its name from now on
    #[arg(long = "as", value_name = "NAME")]
    name: String,
    #[arg(long)]
    class: Option<String>,
    /// What lies on a block volume, where neither its backend nor the class says: ext4, xfs, …
    #[arg(long)]
    filesystem: Option<String>,
    /// Show what would be imported, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    follow: Follow,
}

#[derive(Debug, Args)]
pub(crate) struct AdoptArgs {
    /// Only on this backend
    backend: Option<String>,
    /// Only this volume
    volume: Option<String>,
    /// All that are found
    #[arg(long, conflicts_with = "volume")]
    all: bool,
    /// Show what could be taken up, and do nothing; so does naming neither a volume nor --all
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Args)]
pub(crate) struct ForgetArgs {
    #[arg(value_enum)]
    kind: Forgettable,
    name: String,
    /// Show what would be forgotten, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Forgettable {
    #[value(alias = "volumes", alias = "v", alias = "vol")]
    Volume,
}

pub(crate) async fn import(args: ImportArgs) -> Result<()> {
    let client = args.follow.client()?;
    let wanted = ImportRequest {
        name: args.name,
        backend: args.backend,
        original: args.original,
        class: args.class,
        filesystem: args.filesystem,
        labels: Default::default(),
    };
    if args.dry_run {
        let found = client.preview_import(&wanted).await?;
        return output::items(&[found], Format::Table, true);
    }
    let what = format!("volume/{}", wanted.name);
    let started = client.import_volume(&wanted, args.follow.first()).await?;
    match work::follow(&client, started, &args.follow, &what).await? {
        Ended::Going(operation) => work::report(&what, "imported", Some(&operation)),
        Ended::Done(_) | Ended::Later => {
            work::report(&what, &format!("imported from {}", wanted.original), None)
        }
    }
}

pub(crate) async fn adopt(args: AdoptArgs) -> Result<()> {
    let client = args.reach.client()?;
    let only_look = args.dry_run || !args.all && args.volume.is_none();
    let all = args.volume.is_none();
    let wanted = AdoptRequest { backend: args.backend, volume: args.volume, all };
    let result = client.adopt(&wanted, only_look).await?;
    if only_look {
        return output::items(&result.found, Format::Table, false);
    }
    for volume in &result.adopted {
        work::report(&format!("volume/{}", volume.name), "adopted", None)?;
    }
    if result.found.is_empty() {
        output::note("nothing to adopt")?;
    }
    match result.failed.split_first() {
        None => Ok(()),
        Some((first, [])) => {
            Err(Failure::from(first.error.clone()).about(&format!("volume/{}", first.volume)))
        }
        Some(_) => {
            let lines: Vec<String> =
                result.failed.iter().map(|f| format!("\n  volume/{}: {}", f.volume, f.error)).collect();
            let count = lines.len();
            Err(Failure::new(Code::Failed, format!("{count} were not adopted{}", lines.concat())))
        }
    }
}

pub(crate) async fn forget(args: ForgetArgs) -> Result<()> {
    let Forgettable::Volume = args.kind;
    let client = args.reach.client()?;
    if args.dry_run {
        let volume = client.preview_forget(&args.name).await?;
        return output::items(&[volume], Format::Wide, true);
    }
    work::confirm(&format!("forget volume {}? Its data stays on the backend.", args.name), args.yes)?;
    client.forget_volume(&args.name).await?;
    work::report(&format!("volume/{}", args.name), "forgotten", None)
}
