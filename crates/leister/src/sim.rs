//! `leister sim`: an array that is none, to try things on.

use std::io::IsTerminal as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand, ValueEnum};
use sim_data::{Plane, PlaneSpec};
use sim_ontap::{Builder, Personality, Sim};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{Code, Failure};
use crate::output;
use crate::run::chain;

#[derive(Debug, Args)]
pub(crate) struct SimArgs {
    #[command(subcommand)]
    array: Array,
}

#[derive(Debug, Subcommand)]
enum Array {
    /// NetApp ONTAP: its REST API, with data behind it or without
    Ontap(Box<OntapArgs>),
}

#[derive(Args)]
#[command(group = clap::ArgGroup::new("lifs").multiple(true))]
struct OntapArgs {
    /// Address and port to serve on
    #[arg(long, default_value = "127.0.0.1:8443", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Name of the SVM
    #[arg(long, default_value = "svm1", value_name = "NAME")]
    svm: String,
    /// Account of the cluster's administrator
    #[arg(long, default_value = "admin", value_name = "NAME")]
    user: String,
    /// Its password; others on this machine can see arguments, so a file or the environment is better
    #[arg(long, env = "LEISTER_SIM_PASSWORD", hide_env_values = true, value_name = "TEXT")]
    password: Option<String>,
    /// File that holds the password
    #[arg(long, conflicts_with = "password", value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// ONTAP version to be
    #[arg(long, default_value = "9.15.1", value_name = "VERSION")]
    version: String,
    /// Kind of system to be
    #[arg(long, default_value = "unified", value_enum)]
    personality: Kind,
    /// Serve without TLS
    #[arg(long)]
    http: bool,
    /// File to keep the array's state in
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    state: Option<PathBuf>,
    /// Keep volumes, LUNs and namespaces in this directory, on a mounted btrfs or XFS, and serve them by this machine's
    /// kernel; the array's state is kept there, too
    #[arg(long, value_name = "DIR", requires = "lifs")]
    data: Option<PathBuf>,
    /// What is served of them: `nfs`, `iscsi`, `nvme`
    #[arg(long, value_delimiter = ',', default_values = ["nfs", "iscsi"], value_name = "WIRES")]
    wires: Vec<WireKind>,
    /// Address of an interface for NFS, in a network of this machine; again for more, on the array's nodes in turn
    #[arg(long, value_name = "ADDRESS", group = "lifs")]
    nas_lif: Vec<IpAddr>,
    /// The same for iSCSI and NVMe
    #[arg(long, value_name = "ADDRESS", group = "lifs")]
    san_lif: Vec<IpAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum WireKind {
    Nfs,
    Iscsi,
    Nvme,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Unified,
    AsaR2,
    Afx,
}

// Not derived: it holds a password.
impl std::fmt::Debug for OntapArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OntapArgs")
            .field("listen", &self.listen)
            .field("svm", &self.svm)
            .finish_non_exhaustive()
    }
}

/// Serves until a signal ends it.
///
/// # Errors
/// What keeps it from starting.
pub(crate) async fn run(args: SimArgs) -> Result<(), Failure> {
    let Array::Ontap(args) = args.array;
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .log_internal_errors(false)
        .init();
    let password = password(&args)?;
    let personality = match args.personality {
        Kind::Unified => Personality::Unified,
        Kind::AsaR2 => Personality::AsaR2,
        Kind::Afx => Personality::Afx,
    };
    let mut builder = Sim::builder()
        .listen(args.listen)
        .svm(&args.svm)
        .user(&args.user, &password)
        .version(&args.version)
        .personality(personality);
    if args.http {
        builder = builder.http();
    }
    if let Some(file) = &args.state {
        builder = builder.state_file(file);
    }
    for (number, address) in args.nas_lif.iter().enumerate() {
        builder = builder.lif(
            &format!("nas{}", number + 1),
            &address.to_string(),
            &["data_core", "data_nfs", "management_https"],
        );
    }
    for (number, address) in args.san_lif.iter().enumerate() {
        let services = ["data_core", "data_iscsi", "data_nvme_tcp"];
        builder = builder.lif(&format!("san{}", number + 1), &address.to_string(), &services);
    }
    if let Some(dir) = args.data.clone() {
        if personality == Personality::AsaR2 {
            return Err(Failure::usage(
                "`--data` has nothing for storage units: use another `--personality`",
            ));
        }
        let wires = args.wires.clone();
        let backed = tokio::task::spawn_blocking(move || with_data(builder, &dir, &wires)).await;
        builder = backed
            .map_err(|e| Failure::new(Code::Failed, format!("opening the data ended early: {e}")))??;
    }
    // Before the first word is out: who reads it may send the signal at once.
    let handlers =
        signal(SignalKind::terminate()).and_then(|end| Ok((end, signal(SignalKind::interrupt())?)));
    let (mut end, mut stop) =
        handlers.map_err(|e| Failure::new(Code::Failed, format!("cannot hear signals: {e}")))?;
    let sim = builder.start().await.map_err(|e| Failure::new(Code::Failed, chain(&e)))?;
    output::line(&format!("serving ONTAP {} with SVM {} at {}", args.version, args.svm, sim.url()))?;
    tokio::select! {
        _ = end.recv() => {}
        _ = stop.recv() => {}
    }
    Ok(())
}

/// Gives the array its storage, and the state that lies there.
fn with_data(builder: Builder, dir: &Path, wires: &[WireKind]) -> Result<Builder, Failure> {
    let failed = |e: &dyn std::error::Error| Failure::new(Code::Failed, chain(e));
    let has = |wire| wires.contains(&wire);
    let spec = PlaneSpec {
        dir: dir.to_owned(),
        nfs: has(WireKind::Nfs),
        iscsi: has(WireKind::Iscsi),
        nvme: has(WireKind::Nvme),
    };
    let plane = Plane::open(&spec).map_err(|e| failed(&e))?;
    let mut licences = vec!["flexclone", "snaprestore"];
    let licensed = [(WireKind::Nfs, "nfs"), (WireKind::Iscsi, "iscsi"), (WireKind::Nvme, "nvme_of")];
    licences.extend(licensed.iter().filter(|(wire, _)| has(*wire)).map(|(_, licence)| *licence));
    let each = plane.capacity().map_err(|e| failed(&e))? / 2;
    let builder = builder.licences(&licences).aggregate("aggr1", each, "ssd").aggregate("aggr2", each, "ssd");
    let known = plane.load().map_err(|e| failed(&e))?;
    let is_new = known.is_none();
    let state = match known {
        Some(state) => state,
        None => builder.first_state().map_err(|e| failed(&e))?,
    };
    plane.begin(&state, is_new).map_err(|e| failed(&e))?;
    Ok(builder.state(state).backing(Arc::new(plane)))
}

fn password(args: &OntapArgs) -> Result<String, Failure> {
    if let Some(file) = &args.password_file {
        let read = std::fs::read_to_string(file);
        let text =
            read.map_err(|e| Failure::new(Code::Failed, format!("cannot read {}: {e}", file.display())))?;
        return Ok(text.trim_end_matches(['\n', '\r']).to_owned());
    }
    args.password
        .clone()
        .ok_or_else(|| Failure::usage("no password: give --password-file, or set LEISTER_SIM_PASSWORD"))
}
