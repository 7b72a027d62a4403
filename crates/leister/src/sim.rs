//! `leister sim`: an array that is none, to try things on.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use sim_ontap::{Personality, Sim};
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
    /// NetApp ONTAP: its REST API, without data behind it
    Ontap(Box<OntapArgs>),
}

#[derive(Args)]
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
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
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
