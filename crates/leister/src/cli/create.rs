use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use api::manifest::{self, Document};
use api::{Client, Quantity, SnapshotCreate, SourceView, VolumeCreate};
use clap::{Args, Subcommand};

use super::reach::{Follow, Reach};
use super::work::{self, Ended};
use super::{Code, Failure, Result, change};
use crate::output::{self, Format};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub(crate) struct CreateArgs {
    /// Backends and classes from YAML or JSON; `-` is standard input
    #[arg(short, long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    reach: Reach,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Create a volume
    #[command(visible_alias = "vol", aliases = ["v", "volumes"])]
    Volume(Box<VolumeArgs>),
    /// Take a snapshot of a volume
    #[command(visible_alias = "snap", aliases = ["s", "snapshots"])]
    Snapshot(change::SnapshotArgs),
    /// Add or update backends from files
    #[command(aliases = ["b", "be", "backends"])]
    Backend(FileArgs),
    /// Add a class, from flags or files
    #[command(visible_alias = "sc", aliases = ["c", "classes", "storageclass"])]
    Class(ClassArgs),
}

#[derive(Debug, Args)]
pub(crate) struct VolumeArgs {
    name: String,
    /// Such as 20GiB or 500M
    #[arg(long, value_parser = size)]
    size: Option<Quantity>,
    #[arg(long)]
    class: Option<String>,
    /// Only on this backend
    #[arg(long)]
    backend: Option<String>,
    /// Only in this pool
    #[arg(long)]
    pool: Option<String>,
    /// file or block
    #[arg(long)]
    layout: Option<String>,
    /// On a block volume: ext4, xfs, … or raw
    #[arg(long)]
    filesystem: Option<String>,
    /// ReadWriteOnce (RWO), ReadWriteMany (RWX), …
    #[arg(long)]
    access: Option<String>,
    /// thin or thick
    #[arg(long)]
    provisioning: Option<String>,
    /// With the content of this volume or snapshot
    #[arg(long, value_name = "VOLUME[/SNAPSHOT]")]
    from: Option<String>,
    /// A wish in the grammar of classes, such as media=ssd
    #[arg(long = "parameter", value_name = "KEY=VALUE", value_parser = pair)]
    parameters: Vec<(String, String)>,
    /// An option of the backend, such as unixPermissions=0770
    #[arg(long = "option", value_name = "KEY=VALUE", value_parser = pair)]
    options: Vec<(String, String)>,
    #[arg(long = "mount-option", value_name = "OPTION")]
    mount_options: Vec<String>,
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    #[arg(short, long, value_enum)]
    output: Option<Format>,
    #[command(flatten)]
    follow: Follow,
}

#[derive(Debug, Args)]
struct FileArgs {
    /// YAML or JSON; `-` is standard input
    #[arg(short, long = "file", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Args)]
struct ClassArgs {
    #[arg(required_unless_present = "files", conflicts_with = "files")]
    name: Option<String>,
    /// Such as provisioningType=thin, media=ssd or snapshots=true
    #[arg(long = "parameter", value_name = "KEY=VALUE", value_parser = pair, conflicts_with = "files")]
    parameters: Vec<(String, String)>,
    #[arg(long = "mount-option", value_name = "OPTION", conflicts_with = "files")]
    mount_options: Vec<String>,
    /// Ours, Trident's, or Kubernetes StorageClasses; `-` is standard input
    #[arg(short, long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    reach: Reach,
}

pub(crate) async fn execute(args: CreateArgs) -> Result<()> {
    match args.what {
        None => from_files(&args.reach.client()?, &args.files).await,
        Some(What::Volume(volume)) => create_volume(*volume).await,
        Some(What::Snapshot(snapshot)) => change::snapshot(snapshot).await,
        Some(What::Backend(file)) => from_files(&file.reach.client()?, &file.files).await,
        Some(What::Class(ClassArgs { name: Some(name), parameters, mount_options, reach, .. })) => {
            let parameters: BTreeMap<String, String> = parameters.into_iter().collect();
            create_class(&reach.client()?, api::ClassCreate { name, parameters, mount_options }).await
        }
        Some(What::Class(class)) => from_files(&class.reach.client()?, &class.files).await,
    }
}

/// A size with a unit: a bare number here would be bytes for one and GiB for another reader.
pub(crate) fn size(text: &str) -> Result<Quantity, String> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        return Err(format!("write a unit, as in {text}GiB or {text}MiB"));
    }
    model::Bytes::parse(text, model::NoUnit::Bytes).map_err(|e| e.to_string())?;
    Ok(Quantity::new(text))
}

/// `volume` or `volume/snapshot`.
pub(crate) fn source(text: &str) -> SourceView {
    match text.split_once('/') {
        Some((volume, snapshot)) => {
            SourceView { volume: volume.to_owned(), snapshot: Some(snapshot.to_owned()) }
        }
        None => SourceView { volume: text.to_owned(), snapshot: None },
    }
}

/// Starts it, follows it, and shows the result.
pub(crate) async fn start_volume(
    wanted: &VolumeCreate,
    follow: &Follow,
    format: Option<Format>,
) -> Result<()> {
    let client = follow.client()?;
    let what = format!("volume/{}", wanted.name);
    let started = client.create_volume(wanted, follow.first()).await?;
    let volume = match work::follow(&client, started, follow, &what).await? {
        Ended::Going(operation) => return work::report(&what, "created", Some(&operation)),
        Ended::Done(volume) => volume,
        Ended::Later => client.volume(&wanted.name, false).await?,
    };
    match format {
        Some(format) => output::items(&[volume], format, true),
        None => work::report(&what, "created", None),
    }
}

pub(crate) fn snapshot_name(name: Option<String>) -> SnapshotCreate {
    let name = name.unwrap_or_else(|| jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string());
    SnapshotCreate { name }
}

async fn create_volume(args: VolumeArgs) -> Result<()> {
    let wanted = VolumeCreate {
        name: args.name,
        size: args.size,
        class: args.class,
        layout: args.layout,
        filesystem: args.filesystem,
        access: args.access,
        provisioning: args.provisioning,
        source: args.from.as_deref().map(source),
        backend: args.backend,
        pool: args.pool,
        parameters: args.parameters.into_iter().collect(),
        options: args.options.into_iter().collect(),
        mount_options: args.mount_options,
        labels: args.labels.into_iter().collect(),
    };
    start_volume(&wanted, &args.follow, args.output).await
}

/// All files are read before anything is created, so that a mistake in the last one does no half work.
async fn from_files(client: &Client, files: &[PathBuf]) -> Result<()> {
    let mut documents = Vec::new();
    for file in files {
        let text = read(file)?;
        let read = manifest::read(&text)
            .map_err(|e| Failure::usage(e.to_string()).about(&file.display().to_string()))?;
        documents.extend(read);
    }
    for document in documents {
        match document {
            Document::Backend(value) => {
                let backend = client.create_backend(&value.to_string()).await?;
                work::report(&format!("backend/{}", backend.name), "created", None)?;
                if let Some(reason) = &backend.reason {
                    return Err(Failure::new(
                        Code::Failed,
                        format!("backend/{} is {}: {reason}", backend.name, backend.health.as_str()),
                    ));
                }
            }
            Document::Class(class) => create_class(client, class).await?,
        }
    }
    Ok(())
}

async fn create_class(client: &Client, class: api::ClassCreate) -> Result<()> {
    let text = serde_json::to_string(&class).map_err(|e| Failure::usage(e.to_string()))?;
    for class in client.create_classes(&text).await? {
        work::report(&format!("class/{}", class.name), "created", None)?;
    }
    Ok(())
}

fn read(file: &Path) -> Result<String> {
    let read = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    read.map_err(|e| Failure::usage(format!("cannot read {}: {e}", file.display())))
}

pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}
