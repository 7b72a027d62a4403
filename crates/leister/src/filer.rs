//! `leister filer`: this machine's pool as a service for others.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ::filer::{
    Authority, ErrorKind, FilerError, Image, Issued, PoolSpec, Service, ServiceSpec, Tenant, TrustFiles, Wire,
};
use clap::{Args, Subcommand};
use model::{Bytes, NoUnit};

use crate::cli::{Code, Failure};
use crate::output;
use crate::run::{LogArgs, chain};
use crate::usher::Usher;

#[derive(Debug, Args)]
pub(crate) struct FilerArgs {
    #[command(subcommand)]
    pub(crate) verb: FilerVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FilerVerb {
    /// Serve a pool of this machine to others, in the foreground
    Run(Box<ServeArgs>),
    /// Make the certificates by which a filer and its clients know each other
    Trust(TrustArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The directory where the pool is seen, on btrfs or XFS, or the mount point of its image; for a thin pool of LVM
    /// its name, as in vg0/thin
    #[arg(long, env = "LEISTER_FILER_POOL", value_name = "DIR|GROUP/POOL")]
    pool: String,
    /// Make the pool in a sparse file beside its directory if it is not there yet, such as 200GiB
    #[arg(long, env = "LEISTER_FILER_POOL_SIZE", value_name = "SIZE", value_parser = size)]
    pool_size: Option<Bytes>,
    /// How many times its space the pool may promise to thin volumes [default: 10; 1 for LVM]
    #[arg(long, value_name = "RATIO")]
    overcommit: Option<f64>,
    /// Where clients manage volumes, by HTTPS
    #[arg(long, env = "LEISTER_FILER_LISTEN", value_name = "ADDRESS", default_value = "0.0.0.0:8444")]
    listen: SocketAddr,
    /// An address of this machine that nodes reach the data by; several make several paths
    #[arg(long = "portal", env = "LEISTER_FILER_PORTALS", value_name = "IP", value_delimiter = ',')]
    portals: Vec<IpAddr>,
    /// What to serve volumes by: nfs, iscsi, nvme; or none, to manage them only
    #[arg(
        long,
        env = "LEISTER_FILER_WIRES",
        value_name = "WIRE",
        value_delimiter = ',',
        default_value = "nfs,iscsi"
    )]
    wires: Vec<String>,
    /// Where what is not on the pool is kept
    #[arg(long, env = "LEISTER_FILER_STATE_DIR", value_name = "DIR", default_value = STATE)]
    state_dir: PathBuf,
    /// The filer's certificate [default: STATE-DIR/trust/server.crt]
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// Its key [default: STATE-DIR/trust/server.key]
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// The authority that signs clients' certificates [default: STATE-DIR/trust/ca.crt]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Seconds between two comparisons of the kernel with the records
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..))]
    period: u16,
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TrustArgs {
    /// Where certificates and keys are
    #[arg(long, value_name = "DIR", default_value = TRUST, global = true)]
    dir: PathBuf,
    /// For how many days a new certificate is valid
    #[arg(
        long,
        value_name = "DAYS",
        default_value_t = 730,
        value_parser = clap::value_parser!(u16).range(1..),
        global = true
    )]
    days: u16,
    #[command(subcommand)]
    verb: TrustVerb,
}

#[derive(Debug, Subcommand)]
enum TrustVerb {
    /// Make an authority, unless there is one, and the filer's certificate; again: renew that
    Init {
        /// A name or an address that clients reach the filer by [default: the host name]
        #[arg(long = "host", value_name = "NAME|IP")]
        hosts: Vec<String>,
    },
    /// Make a certificate for a client; its volumes are those of this name
    Issue {
        /// Letters, digits, `-` and `_`
        name: String,
    },
}

const STATE: &str = "/var/lib/leister/filer";
const TRUST: &str = "/var/lib/leister/filer/trust";

pub(crate) async fn execute(args: FilerArgs) -> Result<(), Failure> {
    match args.verb {
        FilerVerb::Run(args) => serve(*args).await,
        FilerVerb::Trust(args) => trust(&args),
    }
}

async fn serve(args: ServeArgs) -> Result<(), Failure> {
    args.log.start()?;
    let spec = spec(args)?;
    let usher = Usher::listen()?;
    let (listen, pool) = (spec.listen, spec.pool.path.clone());
    let service = Service::start(spec).await.map_err(|e| failure(&e))?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), %listen, pool = %pool.display(), "the filer serves");
    service.run(usher.stopped()).await;
    tracing::info!("stopped; what nodes reach stays reachable");
    Ok(())
}

fn spec(args: ServeArgs) -> Result<ServiceSpec, Failure> {
    let absolute = |path: PathBuf| {
        std::path::absolute(&path).map_err(|e| Failure::usage(format!("{}: {e}", path.display())))
    };
    let (mut pool, state) = (pool(&args.pool, args.pool_size)?, absolute(args.state_dir)?);
    pool.overcommit = args.overcommit.unwrap_or(pool.overcommit);
    let own = |file: &str| state.join("trust").join(file);
    let wires = match args.wires.as_slice() {
        [none] if none.eq_ignore_ascii_case("none") => Vec::new(),
        wires => wires
            .iter()
            .map(|text| text.parse::<Wire>().map_err(|e| Failure::usage(format!("--wires: {e}, or none"))))
            .collect::<Result<_, _>>()?,
    };
    Ok(ServiceSpec {
        make: pool.image.is_some(),
        pool,
        listen: args.listen,
        trust: TrustFiles {
            certificate: args.certificate.unwrap_or_else(|| own("server.crt")),
            key: args.key.unwrap_or_else(|| own("server.key")),
            ca: args.ca.unwrap_or_else(|| own("ca.crt")),
        },
        portals: args.portals,
        wires,
        period: Duration::from_secs(args.period.into()),
        state,
    })
}

/// The pool that a person names: a directory that is there or is to be made may be relative.
fn pool(text: &str, size: Option<Bytes>) -> Result<PoolSpec, Failure> {
    let path = std::path::absolute(text).map_err(|e| Failure::usage(format!("--pool: {e}")))?;
    if let Some(size) = size {
        let image = Image { path: path.with_added_extension("img"), size, preallocate: false };
        return Ok(PoolSpec::in_image(path, image, "filer"));
    }
    if path.is_dir() {
        return Ok(PoolSpec::mounted(path, "filer"));
    }
    PoolSpec::named(text, "filer").map_err(|e| failure(&e))
}

fn trust(args: &TrustArgs) -> Result<(), Failure> {
    let issued = match &args.verb {
        TrustVerb::Init { hosts } => {
            let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
            let hosts = if hosts.is_empty() { vec![host()] } else { hosts.clone() };
            Authority::init(&args.dir, &hosts, args.days).map_err(|e| failure(&e))?.1
        }
        TrustVerb::Issue { name } => {
            let tenant = Tenant::new(name).map_err(|e| failure(&e))?;
            let authority = Authority::open(&args.dir).map_err(|e| failure(&e))?;
            authority.issue(&tenant, args.days).map_err(|e| failure(&e))?
        }
    };
    let Issued { files: TrustFiles { certificate, key, ca }, until } = issued;
    for (what, path) in [("certificate", certificate), ("key", key), ("ca", ca)] {
        output::line(&format!("{what}: {}", path.display()))?;
    }
    output::note(&format!("valid until {until}"))?;
    Ok(())
}

fn failure(error: &FilerError) -> Failure {
    let message = chain(error);
    match error.kind() {
        ErrorKind::Invalid => Failure::usage(message),
        ErrorKind::NotFound => Failure::new(Code::NotFound, message),
        ErrorKind::Conflict | ErrorKind::Busy | ErrorKind::InUse => Failure::new(Code::Conflict, message),
        ErrorKind::Unreachable => Failure::new(Code::Unreachable, message),
        ErrorKind::NoCapacity | ErrorKind::Unsupported | ErrorKind::Denied | ErrorKind::Io => {
            Failure::new(Code::Failed, message)
        }
    }
}

fn size(text: &str) -> Result<Bytes, String> {
    Bytes::parse(text, NoUnit::Bytes).map_err(|e| e.to_string())
}
