//! The verbs: they talk to a server through `api` and know nothing behind it.

mod adopt;
mod change;
mod collect;
mod create;
mod delete;
mod doctor;
mod failure;
mod fence;
mod generate;
mod get;
mod kind;
mod reach;
mod work;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Parser, Subcommand};

use crate::filer::FilerArgs;
use crate::run::{ControllerArgs, CsiArgs, NodeArgs, RunArgs};
pub(crate) use failure::{Code, Failure};
pub(crate) use reach::duration;

pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default())
    .placeholder(AnsiColor::Cyan.on_default());

/// Storage for containers that outlives them.
///
/// `leister run` serves, `leister filer` makes a machine an array; all other verbs talk to a running server.
#[derive(Debug, Parser)]
#[command(name = "leister", version, styles = STYLES, max_term_width = 100, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
}

const EXIT_CODES: &str = "Exit codes: 0 done; 1 failed, or doctor found something; 2 the request cannot be \
right; 3 not found; 4 conflict, busy or in use; 5 server or backend unreachable; 6 timed out, the work goes on.";

// They serve until they are told to end. (A doc comment would become that of the program.)
#[derive(Debug, Subcommand)]
pub(crate) enum Daemon {
    /// Serve: the daemon, in the foreground
    Run(Box<RunArgs>),
    /// Serve container orchestrators alone: CSI with all its services
    Csi(Box<CsiArgs>),
    /// Serve a cluster's sidecars: CSI's controller service, for volumes that other machines use
    ///
    /// Several of them share records (--store); one leads, and another one takes over when it ends. The machines that use
    /// the volumes run `leister node`.
    Controller(Box<ControllerArgs>),
    /// Serve a machine that uses volumes: CSI's node service, beside its kubelet
    ///
    /// What changes a volume is done by the `leister controller` with the same records (--store).
    Node(Box<NodeArgs>),
    /// Serve claims of Kubernetes with PVs of its own NFS and iSCSI, without CSI
    ///
    /// Makes a volume for each PersistentVolumeClaim whose StorageClass names this provisioner, and the PV with which
    /// kubelets mount it by themselves: nothing runs on the nodes. docs/provisioner.md says more.
    Provisioner(Box<crate::provisioner::ProvisionerArgs>),
    /// Make this machine a storage array for others
    Filer(FilerArgs),
    /// Play an array, to try things on without one
    Sim(crate::sim::SimArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    #[command(flatten)]
    Daemon(Daemon),
    /// Show backends, classes, pools, volumes, snapshots, nodes or operations
    Get(get::GetArgs),
    /// Create a volume, snapshot, backend or class, from flags or files
    Create(Box<create::CreateArgs>),
    /// Delete volumes, snapshots, backends, classes or nodes
    Delete(delete::DeleteArgs),
    /// Make a volume larger, also while it is in use
    Grow(change::GrowArgs),
    /// Change options of a volume, also while it is in use
    Modify(change::ModifyArgs),
    /// Take a snapshot of a volume
    Snapshot(change::SnapshotArgs),
    /// Put a snapshot's content in its volume's place
    Restore(change::RestoreArgs),
    /// Make a volume with the content of another one
    Clone(change::CloneArgs),
    /// Take over a volume that Leister did not make
    Import(adopt::ImportArgs),
    /// Take up volumes that carry this instance's tag but have no record
    Adopt(adopt::AdoptArgs),
    /// Drop a volume's record and leave its data where it is
    Forget(adopt::ForgetArgs),
    /// Take volumes from a node that cannot give them back, such as a dead one
    Fence(fence::FenceArgs),
    /// Look for what is not as it should be
    Doctor(doctor::DoctorArgs),
    /// Write all that a person needs who looks for a fault from afar into one file, without secrets
    Collect(collect::CollectArgs),
    /// Show the versions of this program and of the server
    Version(doctor::VersionArgs),
    /// Print what a Kubernetes cluster has to know for `--store kubernetes`: for `kubectl apply -f -`
    Crds(crate::crds::CrdsArgs),
    /// Print a completion script
    Completion(generate::CompletionArgs),
    /// Write man pages into a directory
    Man(generate::ManArgs),
    /// Print the reference of all verbs as Markdown
    #[command(hide = true)]
    Reference,
}

/// Runs one verb that talks to a server, or writes what needs none.
pub(crate) async fn execute(verb: Verb) -> Result<()> {
    match verb {
        Verb::Daemon(_) => Err(Failure::usage("this is not a verb of a client")),
        Verb::Get(args) => get::execute(args).await,
        Verb::Create(args) => create::execute(*args).await,
        Verb::Delete(args) => delete::execute(args).await,
        Verb::Grow(args) => change::grow(args).await,
        Verb::Modify(args) => change::modify(args).await,
        Verb::Snapshot(args) => change::snapshot(args).await,
        Verb::Restore(args) => change::restore(args).await,
        Verb::Clone(args) => change::clone(args).await,
        Verb::Import(args) => adopt::import(args).await,
        Verb::Adopt(args) => adopt::adopt(args).await,
        Verb::Forget(args) => adopt::forget(args).await,
        Verb::Fence(args) => fence::fence(args).await,
        Verb::Doctor(args) => doctor::doctor(args).await,
        Verb::Collect(args) => collect::collect(args).await,
        Verb::Version(args) => doctor::version(args).await,
        Verb::Crds(args) => crate::crds::print(&args),
        Verb::Completion(args) => generate::completion(&args),
        Verb::Man(args) => generate::man(&args),
        Verb::Reference => generate::reference(),
    }
}
